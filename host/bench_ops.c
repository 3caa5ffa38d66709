/* bench_ops.c: qmoe-gpu bench --per-op and --predict: where a token's time goes, op by op. */
#include "bench.h"

int qm_bench_per_op(const qm_bench_options *o) {
    (void)o;
    qm_host_say("bench: --per-op is not part of this build yet");
    return QM_EXIT_FAIL;
}

int qm_bench_predict(const qm_bench_options *o, const char *chip) {
    (void)o;
    qm_host_say("bench: --predict %s is not part of this build yet", chip);
    return QM_EXIT_FAIL;
}
