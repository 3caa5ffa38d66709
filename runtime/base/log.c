#include "log.h"
#include "text.h"
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

static qm_log_fn sink;
static void *sink_user;

void qm_log_set(qm_log_fn fn, void *user) {
    sink = fn;
    sink_user = user;
}

void qm_log(int level, const char *fmt, ...) {
    if (!sink) return;
    char text[1024], line[1024];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    sink(sink_user, level, qm_text_show(line, sizeof line, text, strlen(text)));
}
