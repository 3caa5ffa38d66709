/* op_path.h: an op's own way with memory, as far as it can be told without running it: what it has on its way at once, and what
 * waits for what. Read off its operands (contracts/ops.def), and off a PATH there where a kernel's text does more in turn. */
#ifndef QM_OP_PATH_H
#define QM_OP_PATH_H
#include "../plan/plan.h"

typedef struct {
    /* to the L2, each waiting for the one before it, until the op knows where its weights, keys and values are, or the vectors that
     * it works on; further ones that its text makes wait */
    double trips;
    double clocks; /* of other work in a chain */
    int indexed;   /* 1: where they are, another op of the step says */
    /* bytes of weights, keys and values that a CTA has on their way at once, and waits for; 0: it reads none */
    double flight;
    double walked; /* the same in the kernel that walks a plan */
    /* chunks that a warp may have in all to ask for them at once (QM_RUN_CHUNKS), by the text for sm_90; 0: never */
    double run;
    double rounds; /* so often at least: a warp has a page of keys and values, however many others there are */
    /* trips to the L2 in each of these, one after the other: for what it has been asked to fetch meanwhile */
    double again;
} qm_op_path;
qm_op_path qm_op_path_of(const qm_plan *p, const qm_op *op);

/* Warps that a multiprocessor holds: 128 registers a thread. */
enum { QM_RESIDENT_WARPS = 16 };
/* CTAs of an op that are on the device at once, of `ctas`. */
double qm_ctas_at_once(const qm_op *op, double ctas, double n_sm);
/* Bytes on their way at once, of `bytes` in all, for each of the device's multiprocessors, those without a CTA included. */
double qm_in_flight(const qm_op *op, const qm_op_path *path, double ctas, double bytes, double n_sm);
#endif
