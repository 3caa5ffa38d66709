/* bench_tests.c: which tests the options of qmoe-gpu bench ask for. */
#include "bench.h"

enum { TESTS_MAX = 4096 };

/* As llama-bench orders them: for each depth the prompts, then the generations; each for every number of sequences. -1:
 * they are too many. */
static int list_tests(const qm_bench_options *o, qm_bench_test *t) {
    int n = 0;
    for (int d = 0; d < o->depth.n; d++)
        for (int gen = 0; gen < 2; gen++) {
            const qm_bench_list *l = gen ? &o->n_gen : &o->n_prompt;
            for (int i = 0; i < l->n * o->n_seqs.n; i++) {
                const uint32_t tokens = l->v[i / o->n_seqs.n];
                if (!tokens) continue;
                if (n == TESTS_MAX) return -1;
                t[n++] = (qm_bench_test){.n_prompt = gen ? 0 : tokens,
                                         .n_gen = gen ? tokens : 0,
                                         .depth = o->depth.v[d],
                                         .n_seqs = o->n_seqs.v[i % o->n_seqs.n],
                                         .reps = o->reps,
                                         .seed = o->seed,
                                         .warmup = o->warmup,
                                         .prefill = o->prefill};
            }
        }
    return n;
}

int qm_bench_list_tests(const qm_bench_options *o, const qm_bench_test **out) {
    static qm_bench_test tests[TESTS_MAX];
    const int n = list_tests(o, tests);
    *out = tests;
    if (n > 0) return n;
    qm_host_usage(n ? "bench: more than 4096 tests" : "bench: nothing to do: every number of -p and -n is 0");
    return 0;
}
