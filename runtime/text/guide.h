/* guide.h: guides for a tokenizer: qmoe_guide.h for whoever has one. */
#ifndef QM_GUIDE_H
#define QM_GUIDE_H
#include "../qmoe_guide.h"
#include "lexicon.h"

struct qm_guide {
    const qm_lexicon *x; /* the tokenizer's */
    qm_grammar grammar;
};
/* t outlives the guide. */
int qm_guide_make(qm_guide **out, const qm_tokenizer *t, const qm_guide_opts *o, qm_err *e);
/* As qm_guided_accept, of bytes: for tests, and to begin in the middle of an answer. */
int qm_guided_accept_bytes(qm_guided *s, const char *p, size_t n);
int qm_guided_complete(const qm_guided *s); /* 1: the end may come */
#endif
