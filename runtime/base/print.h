/* print.h: reports for a caller's qm_write_fn: text a formatted piece at a time, or JSON. */
#ifndef QM_PRINT_H
#define QM_PRINT_H
#include <stddef.h>
#include "err.h"

typedef struct {
    int (*w)(void *user, const char *s, size_t n); /* a qm_write_fn: non-zero stops */
    void *user;
    int stopped; /* w wanted no more, or there was no memory: what follows is dropped */
} qm_printer;

void qm_print(qm_printer *p, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void qm_print_bytes(qm_printer *p, const char *s, size_t n);
/* j (NULL: there was no memory for it) with jansson's flags, and a line's end. Takes j. */
struct json_t;
void qm_print_json(qm_printer *p, struct json_t *j, size_t flags);
/* QM_ERR_IO where not everything could be written. */
int qm_print_end(const qm_printer *p, qm_err *e);
#endif
