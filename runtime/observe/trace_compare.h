/* trace_compare.h: what the device computes against what the references say, op by op: each op's reference gets
 * the device's own inputs, so that errors cannot add up and the first op that departs is the one that is wrong. */
#ifndef QM_TRACE_COMPARE_H
#define QM_TRACE_COMPARE_H
#include "../engine/inside.h"

/* One comparison of two vectors, the first being the one in question. */
typedef struct {
    int op, layer;         /* -1 where there is none */
    const char *slot;      /* of the op: "qkv" */
    const char *tensor;    /* what departed most: the operand's name in contracts/ops.def: "y", "yq", "k_pool", "ids" */
    double cosine, rel_l2; /* of that tensor; rel_l2 = ||got - want|| / ||want|| */
    uint32_t n, worst;     /* elements; index of the largest |got - want| */
    double got, want;      /* there */
} qm_difference;

/* cosine, rel_l2, worst, got, want of a against b. Non-finite elements: cosine 0 unless they are alike. */
void qm_difference_of(qm_difference *d, const float *a, const float *b, uint32_t n);
/* Negative where a is further off than b is. */
int qm_difference_worse(const qm_difference *a, const qm_difference *b);

/* A step of a device and a mirror of its memory for the references. */
typedef struct qm_mirror qm_mirror;
int qm_mirror_open(qm_mirror **out, const qm_inside *x, qm_err *e);
void qm_mirror_close(qm_mirror *m);
/* Runs op i of the step, which has begun, on the device; and its reference on the inputs that the device had (compare
 * = 0: only on the device). Every operand that the op writes is compared by its kind, but for scratch memory of its
 * own: F32 as vectors, sums of parts and part by part; Q16A by what it stands for; of a cache what has been written;
 * all else word by word. d: the worst of them. */
int qm_mirror_op(qm_mirror *m, int i, int compare, qm_difference *d, qm_err *e);
#endif
