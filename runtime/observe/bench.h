/* bench.h: measuring from inside: what qmoe.h's bench functions share with tests and other measurements. */
#ifndef QM_BENCH_H
#define QM_BENCH_H
#include "../engine/session.h"
#include "../qmoe_tools.h"

/* Makes an empty session one of n tokens (n <= context) without computing them: random ids, and random keys
 * and values in every page of the pool, finite and of magnitude 1/16 to 1. What a step costs depends on how
 * many positions it attends to and not on what they hold. seed: the same one gives the same bytes. */
int qm_session_fill(qm_session *s, uint32_t n, uint64_t seed, qm_err *e);

/* Averages and deviations of n runs of `tokens` tokens each; the other fields of r are left alone. */
void qm_bench_stats(const uint64_t *samples_ns, uint32_t n, uint32_t tokens, qm_bench_result *r);

/* Bytes of weights, and of keys and values, that a step at position pos reads. */
int qm_bench_step_bytes(qm_engine *g, uint32_t pos, int logits, uint64_t *weight_bytes, uint64_t *kv_bytes, qm_err *e);
#endif
