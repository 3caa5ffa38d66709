/* bench.c: qmoe-gpu bench: how fast a model runs here, in the tests and names of llama-bench: ppN is a
 * prompt of N tokens, tgN the generation of N tokens, "@ dN" after N positions that the cache holds. */
#include "bench.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static struct {
    char *model, *device, *executor, *output, *predict;
    char **n_prompt, **n_gen, **depth, **n_seqs;
    int reps, ctx, no_warmup, prefill, per_op, choose, verbose, quiet;
    long long seed;
} opt = {.reps = 5, .seed = 1};

static const struct poptOption table[] = {
    {"model", 'm', POPT_ARG_STRING, &opt.model, 0, "the model, a GGUF file (any part of a split set)", "FILE"},
    {"n-prompt", 'p', POPT_ARG_ARGV, &opt.n_prompt, 0, "prompt lengths, separated by commas; 0: none (default: 512)",
     "N"},
    {"n-gen", 'n', POPT_ARG_ARGV, &opt.n_gen, 0, "tokens to generate, likewise (default: 128)", "N"},
    {"n-depth", 'd', POPT_ARG_ARGV, &opt.depth, 0, "positions in the cache before each test (default: 0)", "N"},
    {"parallel", 0, POPT_ARG_ARGV, &opt.n_seqs, 0,
     "sequences at once, likewise: each has the prompt, or generates, in steps that they share (default: 1)", "N"},
    {"repetitions", 'r', POPT_ARG_INT, &opt.reps, 0, "runs of each test (default: 5)", "N"},
    {"output", 'o', POPT_ARG_STRING, &opt.output, 0, "how results are written (default: md)", "md|csv|json|jsonl"},
    {"no-warmup", 0, POPT_ARG_NONE, &opt.no_warmup, 0, "leave out the run before each test that is not counted", NULL},
    {"prefill", 0, POPT_ARG_NONE, &opt.prefill, 0,
     "reach a depth by computing it: by default random keys and values stand in for it", NULL},
    {"ctx", 'c', POPT_ARG_INT, &opt.ctx, 0, "context: positions to make room for (default: what the tests need)", "N"},
    {NULL, 0, POPT_ARG_INCLUDE_TABLE, (void *)qm_cache_table, 0, NULL, NULL},
    {NULL, 0, POPT_ARG_INCLUDE_TABLE, (void *)qm_apart_table, 0, NULL, NULL},
    {NULL, 0, POPT_ARG_INCLUDE_TABLE, (void *)qm_ubatch_table, 0, NULL, NULL},
    {"seed", 0, POPT_ARG_LONGLONG, &opt.seed, 0, "of the random tokens (default: 1)", "N"},
    {"device", 0, POPT_ARG_STRING, &opt.device, 0, "where to run (default: auto)", "auto|cuda:N|sim"},
    {"executor", 0, POPT_ARG_STRING, &opt.executor, 0,
     "one CUDA graph a step, one resident kernel that walks it, or the C reference (default: auto, the faster of the "
     "two, as measured or by the GPU's generation)",
     "auto|graph|persistent|ref"},
    {"per-op", 0, POPT_ARG_NONE, &opt.per_op, 0,
     "a decode step op by op instead of the tests; -v: each op, not each kind", NULL},
    {"choose", 0, POPT_ARG_NONE, &opt.choose, 0,
     "measure graph against persistent (-n, -d) and keep for --executor auto which is faster here with this model",
     NULL},
    {"predict", 0, POPT_ARG_STRING, &opt.predict, 0,
     "estimate a GPU that is not here: rtx4090, gb10, h200, rtx5090, or all; with --per-op each kind of op; without "
     "FILE the 30B's shape",
     "CHIP"},
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

static int read_format(qm_format *f) {
    static const char *const names[] = {"md", "csv", "json", "jsonl"};
    *f = QM_FORMAT_MD;
    if (!opt.output) return -1;
    for (int i = 0; i < 4; i++)
        if (!strcmp(opt.output, names[i])) {
            *f = (qm_format)i;
            return -1;
        }
    return qm_host_usage("bench: --output %s: expected md, csv, json or jsonl", opt.output);
}

/* ---- the tests ---- */

enum { PARALLEL_MOST = 512 };

/* The test that needs the longest context, and how long. */
static uint64_t longest(const qm_bench_test *t, int n, int *which) {
    uint64_t most = 0;
    for (int i = 0; i < n; i++) {
        uint64_t need = (uint64_t)t[i].depth + t[i].n_prompt + t[i].n_gen;
        if (need > most) {
            most = need;
            *which = i;
        }
    }
    return most;
}

/* A line that is written over by the next, only where a person watches. "" clears it. */
static void say_where(const char *what, int index, int n) {
    if (opt.quiet || !isatty(2)) return;
    fprintf(stderr, "\r\033[K%s", what);
    if (n) fprintf(stderr, " (%d of %d)", index, n);
}

static uint32_t most_of(const qm_bench_list *l) {
    uint32_t most = 0;
    for (int i = 0; i < l->n; i++)
        if (l->v[i] > most) most = l->v[i];
    return most;
}

/* Opens the engine and measures what is measured once. */
static int prepare(const qm_bench_options *o, uint64_t n_ctx, qm_engine **g, qm_bench_facts *f, qm_err *e) {
    qm_engine_opts eo = qm_bench_engine(o, o->executor, (uint32_t)n_ctx);
    eo.n_parallel = most_of(&o->n_seqs);
    eo.n_ubatch = o->n_ubatch;
    f->file_cached = qm_file_cached(o->model);
    int rc = qm_engine_open(g, o->model, &eo, e);
    if (rc) return rc;
    qm_engine_get_info(*g, &f->info);
    qm_engine_machine(*g, &f->machine);
    say_where("measuring storage, bus and memory", 0, 0);
    if ((rc = qm_engine_memory(*g, &f->used, &f->total, e)) ||
        (rc = qm_engine_load_limits(*g, o->model, &f->limits, e)))
        return rc;
    rc = qm_engine_bandwidth(*g, &f->bandwidth, e);
    return rc == QM_ERR_UNSUPPORTED ? 0 : rc;
}

static int run(const qm_bench_options *o) {
    const qm_bench_test *tests;
    static qm_bench_record r;
    qm_bench_facts f = {0};
    qm_engine *g = NULL;
    qm_err e = {0};
    int worst = 0, status = QM_EXIT_FAIL, n = qm_bench_list_tests(o, &tests);
    if (!n) return QM_EXIT_USAGE;
    uint64_t need = longest(tests, n, &worst);
    qm_bench_test_name(r.name, sizeof r.name, &tests[worst]);
    if (need > INT32_MAX || (o->n_ctx && o->n_ctx < need))
        return qm_host_usage("bench: %s needs a context of %" PRIu64 ", which is more than %s %u", r.name, need,
                             o->n_ctx ? "--ctx" : "the most there is,", o->n_ctx ? o->n_ctx : INT32_MAX);
    int rc = prepare(o, o->n_ctx ? o->n_ctx : need, &g, &f, &e);
    say_where("", 0, 0);
    if (rc) {
        if (rc == QM_ERR_LIMIT || rc == QM_ERR_NOMEM) qm_err_prefix(&e, "%s does not fit", r.name);
        status = qm_host_open_fail(&e, opt.ctx);
        goto out;
    }
    if (qm_bench_out_begin(o, &f)) goto out;
    for (int i = 0; i < n; i++) {
        time_t now = time(NULL);
        struct tm tm;
        r.test = tests[i];
        qm_bench_test_name(r.name, sizeof r.name, &r.test);
        if (gmtime_r(&now, &tm)) strftime(r.time, sizeof r.time, "%Y-%m-%dT%H:%M:%SZ", &tm);
        say_where(r.name, i + 1, n);
        rc = qm_bench_run(g, &r.test, r.samples_ns, &r.result, &e);
        say_where("", 0, 0);
        if (rc) {
            qm_err_prefix(&e, "%s", r.name);
            qm_host_fail(&e);
            break;
        }
        if (qm_bench_out_record(o, &f, &r, i)) goto out;
    }
    status = qm_bench_out_end(o, &f) || rc ? QM_EXIT_FAIL : QM_EXIT_OK;
out:
    qm_engine_close(g);
    return status;
}

int qm_cmd_bench(int argc, char **argv) {
    poptContext con;
    qm_bench_options o = {0};
    int rc =
        qm_host_options(&con, argc, argv, table,
                        "[-m] FILE [options]\n\n"
                        "Runs the tests of llama-bench, with its names: pp512 is a prompt of 512 tokens, tg128 the\n"
                        "generation of 128, \"@ d4096\" after 4096 positions. Sampling is part of the time.\n"
                        "  example: qmoe-gpu bench -m model.gguf -p 512 -n 128 -d 0,4096,32768 -o json");
    if (rc >= 0) return rc;
    if (!opt.model && poptPeekArg(con)) opt.model = strdup(poptGetArg(con));
    if ((rc = qm_host_args(&con, NULL, 0, "")) >= 0) return rc;
    poptFreeContext(con);
    if (!opt.model && !opt.predict) return qm_host_usage("bench: no model: give --model FILE");
    if (opt.reps < 1 || opt.reps > QM_BENCH_REPS_MAX)
        return qm_host_usage("bench: --repetitions %d: expected 1 to %d", opt.reps, QM_BENCH_REPS_MAX);
    if (opt.choose && (opt.executor || opt.predict || opt.per_op || opt.n_prompt || opt.n_seqs))
        return qm_host_usage(
            "bench: --choose has tests of generation alone (-n, -d), of the executors graph and persistent");
    if ((rc = qm_ubatch_check()) >= 0) return rc;
    if (opt.ctx < 0) return qm_host_usage("bench: --ctx %d: expected 1 and above", opt.ctx);
    if (opt.seed < 0) return qm_host_usage("bench: --seed %lld: must not be negative", opt.seed);
    if ((rc = read_list(opt.n_prompt, 512, "n-prompt", &o.n_prompt)) >= 0 ||
        (rc = read_list(opt.n_gen, 128, "n-gen", &o.n_gen)) >= 0 ||
        (rc = read_list(opt.depth, 0, "n-depth", &o.depth)) >= 0 ||
        (rc = read_list(opt.n_seqs, 1, "parallel", &o.n_seqs)) >= 0 || (rc = read_format(&o.format)) >= 0)
        return rc;
    for (int i = 0; i < o.n_seqs.n; i++)
        if (!o.n_seqs.v[i] || o.n_seqs.v[i] > PARALLEL_MOST)
            return qm_host_usage("bench: --parallel %u: expected 1 to %d", o.n_seqs.v[i], PARALLEL_MOST);
    qm_host_log(opt.verbose ? QM_LOG_DEBUG : opt.quiet ? -1 : QM_LOG_WARN);
    o.model = opt.model;
    o.device = opt.device;
    o.executor = opt.executor;
    o.reps = (uint32_t)opt.reps;
    o.n_ctx = (uint32_t)opt.ctx;
    o.n_ubatch = (uint32_t)qm_ubatch;
    o.tests = opt.n_prompt || opt.n_gen || opt.n_seqs;
    o.seed = (uint64_t)opt.seed;
    o.warmup = !opt.no_warmup;
    o.prefill = opt.prefill;
    o.per_op = opt.per_op;
    o.verbose = opt.verbose;
    o.quiet = opt.quiet;
    if (opt.predict) return qm_bench_predict(&o, opt.predict);
    if (opt.per_op) return qm_bench_per_op(&o);
    if (opt.choose) return qm_bench_choose(&o);
    return run(&o);
}
