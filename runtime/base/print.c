/* print.c: see print.h. */
#include "print.h"
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

void qm_print_bytes(qm_printer *p, const char *s, size_t n) {
    if (!p->stopped && p->w(p->user, s, n)) p->stopped = 1;
}

void qm_print(qm_printer *p, const char *fmt, ...) {
    char line[1024], *text = line;
    va_list ap;
    if (p->stopped) return;
    va_start(ap, fmt);
    int n = vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    if (n >= (int)sizeof line) {
        va_start(ap, fmt);
        n = vasprintf(&text, fmt, ap);
        va_end(ap);
    }
    if (n < 0) p->stopped = 1;
    else qm_print_bytes(p, text, (size_t)n);
    if (n >= 0 && text != line) free(text);
}

static int piece(const char *s, size_t n, void *user) {
    qm_printer *p = user;
    qm_print_bytes(p, s, n);
    return p->stopped ? -1 : 0;
}

void qm_print_json(qm_printer *p, json_t *j, size_t flags) {
    if (!j || json_dump_callback(j, piece, p, flags)) p->stopped = 1;
    qm_print_bytes(p, "\n", 1);
    json_decref(j);
}

int qm_print_end(const qm_printer *p, qm_err *e) {
    return p->stopped ? qm_fail(e, QM_ERR_IO, "the report could not be written") : 0;
}
