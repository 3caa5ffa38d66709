#include "err.h"
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int qm_fail(qm_err *e, int code, const char *fmt, ...) {
    if (e) {
        va_list ap;
        va_start(ap, fmt);
        vsnprintf(e->msg, sizeof e->msg, fmt, ap);
        va_end(ap);
        e->code = code;
    }
    return code;
}

int qm_err_prefix(qm_err *e, const char *fmt, ...) {
    if (!e) return QM_ERR_ARG;
    char head[sizeof e->msg], tail[sizeof e->msg];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(head, sizeof head, fmt, ap);
    va_end(ap);
    memcpy(tail, e->msg, sizeof tail);
    size_t n = strlen(head);
    if (n > sizeof e->msg - 3) n = sizeof e->msg - 3;
    memcpy(e->msg, head, n);
    memcpy(e->msg + n, ": ", 3);
    strncat(e->msg, tail, sizeof e->msg - n - 3);
    return e->code;
}
