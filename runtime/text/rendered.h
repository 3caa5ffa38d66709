/* rendered.h: a conversation as text that knows which of its bytes are the chat format's own: they stand in the
 * template's text, or in ChatML's. All else is data, whatever it looks like. */
#ifndef QM_RENDERED_H
#define QM_RENDERED_H
#include <stddef.h>

typedef struct {
    size_t start, end;
} qm_span;
typedef struct {
    char *text; /* [n], and a NUL after it */
    size_t n;
    qm_span *own; /* [n_own] the format's own bytes: in order, apart, not empty */
    size_t n_own;
} qm_rendered;
void qm_rendered_free(qm_rendered *r); /* it is empty again */
#endif
