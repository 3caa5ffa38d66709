#include "err.h"
#include "text.h"
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* A message is one line that is fit to be printed, whatever names and paths went into it. */
int qm_fail(qm_err *e, int code, const char *fmt, ...) {
    if (e) {
        char text[2 * sizeof e->msg];
        va_list ap;
        va_start(ap, fmt);
        vsnprintf(text, sizeof text, fmt, ap);
        va_end(ap);
        qm_text_show(e->msg, sizeof e->msg, text, strlen(text));
        e->code = code;
    }
    return code;
}

int qm_err_prefix(qm_err *e, const char *fmt, ...) {
    if (!e) return QM_ERR_ARG;
    char text[2 * sizeof e->msg + 2];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof e->msg, fmt, ap);
    va_end(ap);
    size_t n = strlen(text);
    snprintf(text + n, sizeof text - n, ": %s", e->msg);
    qm_text_show(e->msg, sizeof e->msg, text, strlen(text));
    return e->code;
}
