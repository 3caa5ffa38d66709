/* bench_choose.c: qmoe-gpu bench --choose: which executor is faster on this device with this model, for `auto` to know. */
#include "bench.h"
#include <stdio.h>
#include <string.h>

/* Tokens a second over all tests of generation, by this executor. *g stays open where there is an error in none. */
static int measure(const qm_bench_options *o, const char *executor, const qm_bench_test *t, int n, uint32_t n_ctx,
                   qm_engine **g, double *rate, qm_err *e) {
    static uint64_t samples[QM_BENCH_REPS_MAX];
    double tokens = 0, ns = 0;
    const qm_engine_opts eo = qm_bench_engine(o, executor, n_ctx);
    int rc = qm_engine_open(g, o->model, &eo, e);
    for (int i = 0; i < n && !rc; i++) {
        qm_bench_result r;
        if ((rc = qm_bench_run(*g, &t[i], samples, &r, e))) break;
        tokens += t[i].n_gen;
        ns += r.avg_ns;
    }
    *rate = ns > 0 ? 1e9 * tokens / ns : 0;
    return rc;
}

int qm_bench_choose(const qm_bench_options *o) {
    static const char *const executors[] = {"graph", "persistent"};
    double rate[2];
    qm_bench_options only = *o;
    const qm_bench_test *tests;
    qm_engine *g = NULL;
    qm_err e;
    uint32_t n_ctx = o->n_ctx;
    only.n_prompt.n = 0;
    only.n_seqs.n = 1;
    only.n_seqs.v[0] = 1;
    const int n = qm_bench_list_tests(&only, &tests);
    if (!n) return QM_EXIT_USAGE;
    for (int i = 0; i < n && !o->n_ctx; i++)
        if (tests[i].depth + tests[i].n_gen > n_ctx) n_ctx = tests[i].depth + tests[i].n_gen;
    for (int x = 0; x < 2; x++) {
        qm_engine_close(g);
        g = NULL;
        const int rc = measure(o, executors[x], tests, n, n_ctx, &g, &rate[x], &e);
        if (rc) {
            if (x && rc == QM_ERR_UNSUPPORTED && !g) { /* there is nothing to choose */
                printf("%s\nauto takes graph\n", e.msg);
                return QM_EXIT_OK;
            }
            qm_engine_close(g);
            return qm_host_open_fail(&e, (int)o->n_ctx);
        }
        printf("%-10s %.1f tokens/s\n", executors[x], rate[x]);
    }
    int rc = qm_engine_keep_choice(g, rate[0], rate[1], &e);
    qm_engine_close(g);
    if (rc) return qm_host_fail(&e);
    printf("auto takes %s here from now on, with this model\n", executors[rate[1] > rate[0]]);
    return QM_EXIT_OK;
}
