/* emitter.h: an answer's bytes on their way out: whole UTF-8 characters only, and never a part of a stop string. */
#ifndef QM_EMITTER_H
#define QM_EMITTER_H
#include "unicode.h"

typedef struct {
    char *s;        /* [n], with a NUL */
    uint32_t n, at; /* at: so many of its bytes end what has come so far */
    uint32_t *back; /* [n] of a beginning of it, the longest shorter one that ends it too (Knuth, Morris, Pratt) */
} qm_stop;

typedef struct {
    qm_stop *stop; /* [n_stop] */
    size_t n_stop;
    qm_utf8_stream utf8;
    char *held; /* [n] what came; the first [given] are out, the rest may begin a stop string */
    size_t n, cap, given;
    const char *stopped; /* the stop string that is complete */
} qm_emitter;

/* Copies the stop strings; empty ones stop nothing. QM_ERR_NOMEM. */
int qm_emitter_open(qm_emitter *m, const char *const *stop, size_t n_stop, qm_err *e);
void qm_emitter_close(qm_emitter *m);
/* Takes a token's bytes; *text [*n_text], valid until the next call, is what is safe to give out now; last != 0: the answer
 * ends, all of it. 1: a stop string is complete, and the text ends before it: the one that is complete first, of several the
 * longest, however the bytes were cut. After that nothing comes. */
int qm_emitter_push(qm_emitter *m, const char *s, size_t n, int last, const char **text, size_t *n_text, qm_err *e);
#endif
