/* trace_compare.h: what the device computes against what the references say, op by op: each op's reference gets
 * the device's own inputs, so that errors cannot add up and the first op that departs is the one that is wrong. */
#ifndef QM_TRACE_COMPARE_H
#define QM_TRACE_COMPARE_H
#include "../engine/session.h"

/* One comparison of two vectors, the first being the one in question. */
typedef struct {
    int op, layer;         /* -1 where there is none */
    const char *slot;      /* of the op: "qkv" */
    const char *tensor;    /* what departed most: "output", "x", "q16a", "k cache", "v cache", "ids", "token" */
    double cosine, rel_l2; /* of that tensor; rel_l2 = ||got - want|| / ||want|| */
    uint32_t n, worst;     /* elements; index of the largest |got - want| */
    double got, want;      /* there */
} qm_difference;

/* cosine, rel_l2, worst, got, want of a against b. Non-finite elements: cosine 0 unless they are alike. */
void qm_difference_of(qm_difference *d, const float *a, const float *b, uint32_t n);
/* Negative where a is further off than b is. */
int qm_difference_worse(const qm_difference *a, const qm_difference *b);

/* A session of the executor "graph" and a mirror of its memory for the references. */
typedef struct qm_twin qm_twin;
int qm_twin_open(qm_twin **out, qm_session *s, qm_err *e);
void qm_twin_close(qm_twin *t);
/* Runs op i of p, the step at position pos, on the device; and its reference on the inputs that the device had
 * (compare = 0: only on the device). All that the op leaves is compared: output, the residual of rmsnorm,
 * quantised activations, the appended row of the KV cache, expert ids, the chosen token. d: the worst of them. */
int qm_twin_op(qm_twin *t, const qm_plan *p, uint32_t pos, int i, int compare, qm_difference *d, qm_err *e);
#endif
