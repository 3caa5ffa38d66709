/* parts.h: an answer's parts on their way to who wants them: neighbours of one kind are joined until a push is over. */
#ifndef QM_PARTS_H
#define QM_PARTS_H
#include "../qmoe_text.h"
#include "bytes.h"

typedef struct {
    qm_part_fn out;
    void *user;
    qm_part kind; /* of what waits */
    qm_bytes wait;
    int calls; /* QM_PART_CALL so far */
    int rc;    /* out's, not 0: it wants no more */
} qm_parts;
void qm_parts_flush(qm_parts *p);
/* A piece of text, thinking or arguments. */
void qm_parts_put(qm_parts *p, qm_part kind, const char *s, size_t n);
void qm_parts_call(qm_parts *p, const char *name, size_t n);
void qm_parts_call_end(qm_parts *p);
#endif
