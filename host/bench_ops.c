/* bench_ops.c: qmoe-gpu bench --per-op and --predict: where a token's time goes, op by op. */
#include "bench.h"
#include <stdio.h>

static qm_ops_opts opts_of(const qm_bench_options *o) {
    return (qm_ops_opts){.depth = o->depth.v,
                         .n_depth = o->depth.n,
                         .format = o->format,
                         .by_kind = o->per_op,
                         .every_op = o->verbose,
                         .runs = (int)o->reps * 10,
                         .seed = o->seed,
                         .executor = o->executor,
                         .apart = qm_apart,
                         .cache_k = qm_cache.k,
                         .cache_v = qm_cache.v,
                         .dependent_launch = qm_dependent,
                         .n_ubatch = o->n_ubatch};
}

int qm_bench_per_op(const qm_bench_options *o) {
    qm_ops_opts w = opts_of(o);
    uint32_t deepest = 0;
    qm_engine *g;
    qm_err e;
    for (int i = 0; i < o->depth.n; i++)
        if (o->depth.v[i] > deepest) deepest = o->depth.v[i];
    const qm_engine_opts eo = qm_bench_engine(o, o->executor, o->n_ctx ? o->n_ctx : deepest + 1);
    if (qm_engine_open(&g, o->model, &eo, &e)) return qm_host_open_fail(&e, (int)o->n_ctx);
    int rc = qm_bench_ops(g, &w, qm_host_write, stdout, &e);
    if (rc) rc = qm_host_fail(&e);
    qm_engine_close(g);
    return rc;
}

int qm_bench_predict(const qm_bench_options *o, const char *chip) {
    qm_ops_opts w = opts_of(o);
    qm_err e;
    const qm_bench_test *tests = NULL;
    const int n = o->tests ? qm_bench_list_tests(o, &tests) : 0;
    if (o->tests && !n) return QM_EXIT_USAGE;
    int rc = n ? qm_bench_predict_tests(o->model, chip, tests, n, &w, qm_host_write, stdout, &e)
               : qm_bench_predict_ops(o->model, chip, &w, qm_host_write, stdout, &e);
    return !rc ? QM_EXIT_OK : rc == QM_ERR_ARG ? qm_host_usage("bench: %s", e.msg) : qm_host_fail(&e);
}
