/* bytes.h: bytes that grow. Running out of memory is noted once, so that who writes a byte need not ask each time. */
#ifndef QM_BYTES_H
#define QM_BYTES_H
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    char *s; /* [n] */
    size_t n, cap;
    int failed; /* no memory: what is put is dropped */
} qm_bytes;

static inline void qm_bytes_put(qm_bytes *b, const char *s, size_t n) {
    if (b->failed || !n) return;
    if (b->n + n > b->cap) {
        size_t cap = 2 * (b->n + n) + 32;
        char *p = realloc(b->s, cap);
        if (!p) {
            b->failed = 1;
            return;
        }
        b->s = p;
        b->cap = cap;
    }
    memcpy(b->s + b->n, s, n);
    b->n += n;
}
static inline void qm_bytes_put1(qm_bytes *b, char c) { qm_bytes_put(b, &c, 1); }
static inline void qm_bytes_str(qm_bytes *b, const char *s) { qm_bytes_put(b, s, strlen(s)); }
static inline void qm_bytes_free(qm_bytes *b) {
    free(b->s);
    *b = (qm_bytes){0};
}
#endif
