/* bench.h: measuring from inside: what qmoe.h's bench functions share with tests and other measurements. */
#ifndef QM_BENCH_H
#define QM_BENCH_H
#include "../engine/inside.h"
#include "../qmoe_tools.h"
#include "op_records.h"

/* Averages and deviations of n runs of `tokens` tokens each; the other fields of r are left alone. */
void qm_bench_stats(const uint64_t *samples_ns, uint32_t n, uint32_t tokens, qm_bench_result *r);

/* Bytes of weights, and of keys and values, that such a step reads. */
int qm_bench_step_bytes(qm_engine *g, qm_work w, uint64_t *weight_bytes, uint64_t *kv_bytes, qm_err *e);
#endif
