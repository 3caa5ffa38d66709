/* bench.h: measuring from inside: what qmoe.h's bench functions share with tests and other measurements. */
#ifndef QM_BENCH_H
#define QM_BENCH_H
#include "../engine/inside.h"
#include "../qmoe_tools.h"

/* Averages and deviations of n runs of `tokens` tokens each; the other fields of r are left alone. */
void qm_bench_stats(const uint64_t *samples_ns, uint32_t n, uint32_t tokens, qm_bench_result *r);

/* Bytes of weights, and of keys and values, that a step at position pos reads. */
int qm_bench_step_bytes(qm_engine *g, uint32_t pos, int logits, uint64_t *weight_bytes, uint64_t *kv_bytes, qm_err *e);
#endif
