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
    qm_fact sms, clock, bandwidth, reach, latency, l2, trip, issue, mma_int, mma_float, node, ramp, graph, barrier;
} qm_chip;
extern const qm_chip qm_chips[];
extern const int qm_n_chips;
const qm_chip *qm_chip_find(const char *id, size_t n); /* n bytes; NULL if unknown */

/* ---- an op's own way with memory (predict_flight.c) ---- */
/* Bytes of weights, keys and values that one of its CTAs has on their way at once, and waits for; 0: it reads none. */
double qm_flight_bytes(const qm_op *op);
/* How often it streams its weights: once for each group of rows that a CTA takes. All but the first find them in the L2. */
double qm_flight_passes(const qm_op_record *r);
/* Trips to the L2 or to memory that wait for each other, and clocks of other work in a chain, from the first to the last. */
void qm_serial(const qm_op *op, double *trips, double *clocks);

/* Fills time, gap and bound of a counted record. busy = CTAs / (CTAs / multiprocessors, rounded up): the last wave counts
 * as a whole one.
 *   dram     (weights + KV + activations beyond half of the L2) / (bandwidth * reach)
 *   issue    warp instructions / (4 schedulers * busy * clock * issue)
 *   tensor   (multiply-adds of integers / mma_int + of floats / mma_float) / (busy * clock)
 *   l2       32-byte sectors / (busy * 64 bytes * clock)
 *   flight   (weights + KV) * passes / (bytes on their way at once) * (latency, of later passes the L2's, and the work on them)
 *   time   = ramp + serial trips beyond the ramp's two + the longest of the five, gap = node
 * bound is the longest of the five, or latency where what comes before it and the node are longer still. An op that runs
 * beside the ones before it has no gap, and of its time only what they leave; one that has nothing to do costs two trips. */
void qm_predict_op(const qm_chip *c, qm_op_record *r);
/* All ops, one after another, and the whole: graph + sum of gaps and times. one_kernel 0: a node an op. Else the
 * plan's resident ops are one node, the persistent kernel: between them a barrier and not a node, and whenever the
 * memory would be idle it delivers what has been prefetched, in the order in which it was asked for; those bytes are
 * missing from the op that needs them. */
void qm_predict_step(const qm_chip *c, int one_kernel, qm_op_records *r);

typedef struct qm_predictor qm_predictor;
/* path NULL: the shape of the 30B. apart: of all its plans, as in qm_limits. */
int qm_predictor_open(qm_predictor **out, const char *path, uint32_t apart, qm_err *e);
void qm_predictor_close(qm_predictor *p);
/* The type of the KV cache in all its plans: before the first step. f16 where nobody says. */
void qm_predictor_kv(qm_predictor *p, qm_kv_cache_type kv);
/* executor: by name, NULL: the users'; QM_ERR_UNSUPPORTED where it does not run the plan's ops. Steps of several rows are
 * always the graph's. *out lives until the predictor is closed; the same step asked for again is the same records. */
int qm_predictor_step(qm_predictor *p, const qm_chip *c, qm_work w, const char *executor, const qm_op_records **out,
                      qm_err *e);
const char *qm_predictor_model(const qm_predictor *p); /* its name */
#endif
