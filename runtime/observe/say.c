/* say.c: see say.h. */
#include "say.h"
#include <stdarg.h>
#include <stdio.h>

void qm_say(qm_out *o, const char *fmt, ...) {
    char line[1024];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    if (n >= (int)sizeof line) n = sizeof line - 1;
    if (!o->stopped && o->w(o->user, line, (size_t)n)) o->stopped = 1;
}
