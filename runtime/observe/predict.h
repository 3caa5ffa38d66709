/* predict.h: how long a step would take on a chip that is not here: an estimate. The plan is made for
 * the chip's number of multiprocessors; its ops run one by one on the software device, over zeros, and are
 * counted (predict_count.h); the chip's facts (contracts/chips.def) turn counts into times. Needs a file's header only: no
 * weight is read, and without a file the shape of Qwen3-30B-A3B in Q4_K_M is taken. docs/prediction.md. */
#ifndef QM_PREDICT_H
#define QM_PREDICT_H
#include "../engine/inside.h"
#include "op_records.h"

typedef enum { QM_FACT_SPEC, QM_FACT_MEASURED, QM_FACT_ALIKE, QM_FACT_ASSUMED } qm_fact_kind;
const char *qm_fact_kind_name(qm_fact_kind k);
typedef struct {
    double v;
    qm_fact_kind kind;
    const char *source;
} qm_fact;
typedef struct {
    const char *id, *name;
    qm_fact sms, cc, clock, bandwidth, reach, latency, l2, shared, kept, trip, issue, mma_int, mma_float, node, start,
        edge, handoff, graph;
} qm_chip;
extern const qm_chip qm_chips[];
extern const int qm_n_chips;
const qm_chip *qm_chip_find(const char *id, size_t n); /* n bytes; NULL if unknown */

/* Fills time, gap and bound of a counted record. busy = CTAs / (CTAs / multiprocessors, rounded up): the last wave counts
 * as a whole one.
 *   before   start + serial trips (op_path.h) + the latency of the first load from memory, or where there is none a trip
 *   dram     (weights + KV + activations beyond half of the L2, less what the L2 has kept) / (bandwidth * reach)
 *   issue    warp instructions / (4 schedulers * busy * clock * issue), or those of a warp at the pace of a lone one
 *   tensor   (multiply-adds of integers / mma_int + of floats / mma_float) / (busy * clock)
 *   l2       32-byte sectors / (busy * 64 bytes * clock)
 *   flight   (weights + KV) * passes / (bytes on their way at once) * (latency, of later passes the L2's, further trips there for
 *            what came into it meanwhile, and the work on them), less the first latency
 *   time   = before + the longest of the five, gap = node
 * bound is the longest of the five, or latency where what comes before it and the node are longer still. An op that runs
 * beside the ones before it has no gap, and of its time only what they leave; one that has nothing to do costs two trips. */
/* early: 1: it is launched before the one that it waits for ends (DEPENDENT, below). */
void qm_predict_op(const qm_chip *c, int early, qm_op_record *r);
/* How the ops of a step come after one another.
 *   NODES       a node of a graph each
 *   DEPENDENT   the same; where an op comes after one other, which nobody else comes after, it is launched before that ends: an
 *               edge in place of node and start. Weights whose place does not depend on the step are asked for before it waits: of
 *               the latency a trip for its vector remains, and the first chunks of all warps come in that time
 *   PERSISTENT  the plan's resident ops are one node: between them a handoff, and the first weights likewise. Whenever the memory
 *               would be idle (and nothing that a CTA copies to shared memory before it waits is on its way, qm_op.ring: that comes
 *               first) it delivers what has been prefetched, in the order in which it was asked for; those bytes are
 *               missing from the op that needs them */
typedef enum { QM_WAY_NODES, QM_WAY_DEPENDENT, QM_WAY_PERSISTENT } qm_predict_way;
/* All ops, one after another, and the whole: graph + sum of gaps and times. */
void qm_predict_step(const qm_chip *c, qm_predict_way way, qm_op_records *r);

typedef struct qm_predictor qm_predictor;
/* Of all its steps. */
typedef struct {
    uint32_t apart; /* of plans, as in qm_limits */
    int nodes;      /* 1: no dependent launches, where the chip has them */
    int unasked;    /* 1: nothing is prefetched, or all such hints are dropped */
    int ringless;   /* 1: nothing is copied to shared memory before the wait */
    int keeps; /* 1: weights that the L2 is asked to keep are there, as far as chips.def believes it; 0: none are */
    qm_kv_cache_type kv;
} qm_predict_opts;
/* path NULL: the shape of the 30B; o NULL: all zero. */
int qm_predictor_open(qm_predictor **out, const char *path, const qm_predict_opts *o, qm_err *e);
void qm_predictor_close(qm_predictor *p);
/* executor: by name, NULL: the users'; QM_ERR_UNSUPPORTED where it does not run the plan's ops. Steps of several rows are
 * always the graph's. *out lives until the predictor is closed; the same step asked for again is the same records. */
int qm_predictor_step(qm_predictor *p, const qm_chip *c, qm_work w, const char *executor, const qm_op_records **out,
                      qm_err *e);
const char *qm_predictor_model(const qm_predictor *p); /* its name */
#endif
