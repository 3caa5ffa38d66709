/* bench.c: qmoe-gpu bench: how fast a model runs here, in the tests and names of llama-bench: ppN is a
 * prompt of N tokens, tgN the generation of N tokens, "@ dN" behind N positions that the cache holds. */
#include "bench.h"
#include <stdlib.h>
#include <string.h>

static struct {
    char *model, *device, *executor, *output, *predict;
    char **n_prompt, **n_gen, **depth;
    int reps, ctx, no_warmup, prefill, per_op, verbose, quiet;
    long long seed;
} opt = {.reps = 5, .seed = 1};

static const struct poptOption table[] = {
    {"model", 'm', POPT_ARG_STRING, &opt.model, 0, "the model, a GGUF file (any part of a split set)", "FILE"},
    {"n-prompt", 'p', POPT_ARG_ARGV, &opt.n_prompt, 0, "prompt lengths, separated by commas; 0: none (default: 512)", "N"},
    {"n-gen", 'n', POPT_ARG_ARGV, &opt.n_gen, 0, "tokens to generate, likewise (default: 128)", "N"},
    {"n-depth", 'd', POPT_ARG_ARGV, &opt.depth, 0, "positions in the cache before each test (default: 0)", "N"},
    {"repetitions", 'r', POPT_ARG_INT, &opt.reps, 0, "runs of each test (default: 5)", "N"},
    {"output", 'o', POPT_ARG_STRING, &opt.output, 0, "md, csv, json or jsonl (default: md)", "FORMAT"},
    {"no-warmup", 0, POPT_ARG_NONE, &opt.no_warmup, 0, "leave out the run before each test that is not counted", NULL},
    {"prefill", 0, POPT_ARG_NONE, &opt.prefill, 0,
     "reach a depth by computing it, not by random keys and values (same speed, a long wait)", NULL},
    {"ctx", 'c', POPT_ARG_INT, &opt.ctx, 0, "context: positions to make room for (default: what the tests need)", "N"},
    {"seed", 0, POPT_ARG_LONGLONG, &opt.seed, 0, "of the random tokens (default: 1)", "N"},
    {"device", 0, POPT_ARG_STRING, &opt.device, 0, "auto, cuda:N, or sim (default: auto)", "DEVICE"},
    {"executor", 0, POPT_ARG_STRING, &opt.executor, 0, "graph, or ref: the C reference (default: graph)", "NAME"},
    {"per-op", 0, POPT_ARG_NONE, &opt.per_op, 0, "the ops of one decode step, one by one, instead of the tests", NULL},
    {"predict", 0, POPT_ARG_STRING, &opt.predict, 0, "estimate a GPU that is not here, e.g. rtx4090", "CHIP"},
    {"verbose", 'v', POPT_ARG_NONE, &opt.verbose, 0, "more about what happens on stderr", NULL},
    {"quiet", 'q', POPT_ARG_NONE, &opt.quiet, 0, "nothing on stderr but errors", NULL},
    POPT_TABLEEND};

/* "0,4096,32768", one or several such words. */
static int read_list(char *const *words, uint32_t otherwise, const char *name, qm_bench_list *l) {
    l->n = 0;
    if (!words) l->v[l->n++] = otherwise;
    for (; words && *words; words++)
        for (const char *s = *words;; s++) {
            char *end;
            unsigned long long v = *s >= '0' && *s <= '9' ? strtoull(s, &end, 10) : (end = (char *)s, 0);
            if (end == s || (*end && *end != ',') || v > INT32_MAX)
                return qm_host_usage("bench: --%s %s: expected numbers separated by commas, e.g. 0,4096", name, *words);
            if (l->n == QM_BENCH_LIST_MAX)
                return qm_host_usage("bench: --%s: more than %d numbers", name, QM_BENCH_LIST_MAX);
            l->v[l->n++] = (uint32_t)v;
            s = end;
            if (!*s) break;
        }
    return -1;
}

static int read_format(qm_bench_format *f) {
    static const char *const names[] = {"md", "csv", "json", "jsonl"};
    *f = QM_BENCH_MD;
    if (!opt.output) return -1;
    for (int i = 0; i < 4; i++)
        if (!strcmp(opt.output, names[i])) {
            *f = (qm_bench_format)i;
            return -1;
        }
    return qm_host_usage("bench: --output %s: expected md, csv, json or jsonl", opt.output);
}

static int run(const qm_bench_options *o) {
    (void)o;
    qm_host_say("bench: the tests are not part of this build yet");
    return QM_EXIT_FAIL;
}

int qm_cmd_bench(int argc, char **argv) {
    poptContext con;
    qm_bench_options o = {0};
    int rc = qm_host_options(&con, argc, argv, table,
                             "[-m] FILE [options]\n\n"
                             "Runs the tests of llama-bench, with its names: pp512 is a prompt of 512 tokens, tg128 the\n"
                             "generation of 128, \"@ d4096\" behind 4096 positions. Sampling is part of the time.\n"
                             "  example: qmoe-gpu bench -m model.gguf -p 512 -n 128 -d 0,4096,32768 -o json");
    if (rc >= 0) return rc;
    if (!opt.model && poptPeekArg(con)) opt.model = strdup(poptGetArg(con));
    if ((rc = qm_host_args(&con, NULL, 0, "")) >= 0) return rc;
    poptFreeContext(con);
    if (!opt.model) return qm_host_usage("bench: no model: give --model FILE");
    if (opt.reps < 1 || opt.reps > 1000) return qm_host_usage("bench: --repetitions %d: expected 1 to 1000", opt.reps);
    if (opt.ctx < 0) return qm_host_usage("bench: --ctx %d: expected 1 and above", opt.ctx);
    if (opt.seed < 0) return qm_host_usage("bench: --seed %lld: must not be negative", opt.seed);
    if ((rc = read_list(opt.n_prompt, 512, "n-prompt", &o.n_prompt)) >= 0 ||
        (rc = read_list(opt.n_gen, 128, "n-gen", &o.n_gen)) >= 0 ||
        (rc = read_list(opt.depth, 0, "n-depth", &o.depth)) >= 0 || (rc = read_format(&o.format)) >= 0)
        return rc;
    qm_host_log(opt.verbose ? QM_LOG_DEBUG : opt.quiet ? -1 : QM_LOG_WARN);
    o.model = opt.model;
    o.device = opt.device;
    o.executor = opt.executor;
    o.reps = (uint32_t)opt.reps;
    o.n_ctx = (uint32_t)opt.ctx;
    o.seed = (uint64_t)opt.seed;
    o.warmup = !opt.no_warmup;
    o.prefill = opt.prefill;
    if (opt.per_op && opt.predict) return qm_host_usage("bench: give --per-op or --predict, not both");
    if (opt.per_op) return qm_bench_per_op(&o);
    if (opt.predict) return qm_bench_predict(&o, opt.predict);
    return run(&o);
}
