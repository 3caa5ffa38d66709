/* bench_engine.c: the engine that the options of bench ask for. */
#include "bench.h"

qm_engine_opts qm_bench_engine(const qm_bench_options *o, const char *executor, uint32_t n_ctx) {
    return (qm_engine_opts){.device = o->device,
                            .executor = executor,
                            .n_ctx = n_ctx,
                            .cache_k = qm_cache.k,
                            .cache_v = qm_cache.v,
                            .apart = qm_apart,
                            .dependent_launch = qm_dependent,
                            .before_load = o->quiet ? NULL : qm_host_before_load,
                            .notice = o->quiet ? NULL : qm_host_notice};
}
