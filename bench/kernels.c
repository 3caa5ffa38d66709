/* kernels.c: one bench for each kernel of contracts/kernels.def at each place where a decode step may use it, at the
 * shapes of Qwen3-30B-A3B and of a small model (jobs.h), by Google Benchmark.
 *
 *   kernels [--device SPEC] [--model 30b|small|all] [--cold-l2] [--timed] [--rows N]
 *           [--sweep] [--copy-bandwidth GBPS] [--benchmark_...]
 *
 * On a GPU: time per launch from events around a graph of 10 to 100 launches (or more), so that a node's cost is in it
 * (micro's launch/graph says how much that is). --cold-l2: launches take turns among copies of the weights (or
 * of the cache) that together are four times the L2, as in a real step, where each weight is read once a token;
 * ops without either read what the op before has just written, and stay warm. Counters: bytes_per_second (all that
 * the launch must move), of_copy (that rate over the measured copy bandwidth: read plus written bytes).
 *
 * On the software device: one launch each, counted: inst_per_weight (thread instructions), inst (of the launch),
 * requested and sectors (bytes over those that must move), barriers (per CTA). Times there mean nothing and the label
 * says so (--timed takes the GPU's way there too, to test it). --rows N: of long matrices only N rows, in the geometry of all (default there 4096, 0 = all); the
 * warp_inst_per_block is of products of many rows: a block of 32 x 256 weights, times as many columns as a warp has. The
 * counters per weight are those of the whole matrix but for rounding. --sweep: instead, the streaming ops in every geometry
 * that their kernels take (jobs.h, qm_bench_sweep). */
#include "../runtime/observe/probe.h"
#include "../runtime/file/quant.h"
#include "bench.h"
#include "gbench.h"
#include "jobs.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_BENCHES = 2048, LAUNCHES = 100, SIM_SM = 128 };

typedef struct {
    qm_device *d;
    qm_kernels *ks;
    CUstream s;
    CUevent from, to;
    int sim;
    double spread;           /* bytes; 1: no copies */
    double copy_bytes_per_s; /* 0: unknown */
    /* The bench at hand. */
    const struct bench *open;
    qm_bench_work w;
    CUgraphExec graph;
    uint32_t batch;
    qm_sim_counters c;
} bencher;

typedef struct bench {
    bencher *b;
    qm_bench_job job;
} bench;

static void shut(bencher *b) {
    if (b->graph) b->d->cu.GraphExecDestroy(b->graph);
    b->graph = NULL;
    if (b->open) qm_bench_close(&b->w);
    b->open = NULL;
}

/* A graph of `batch` launches that take turns among the copies. */
static int capture(bencher *b, qm_err *e) {
    qm_device *d = b->d;
    CUgraph g = NULL;
    int rc = 0;
    if ((rc = qm_bench_launch(&b->w, 0, b->s, e))) return rc; /* loads the module, which a capture may not */
    QM_CU_TRY(d, StreamSynchronize(b->s));
    QM_CU_TRY(d, StreamBeginCapture(b->s, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL));
    for (uint32_t i = 0; i < b->batch && !rc; i++) rc = qm_bench_launch(&b->w, i, b->s, e);
    CUresult r = d->cu.StreamEndCapture(b->s, &g);
    if (rc) goto out;
    if (r) {
        rc = qm_cu_fail(d, r, "StreamEndCapture()", e);
        goto out;
    }
    QM_CU_TRY(d, GraphInstantiate(&b->graph, g, 0));
    if ((rc = qm_bench_reset(&b->w, b->s, e))) goto out;
    QM_CU_TRY(d, GraphLaunch(b->graph, b->s)); /* warm-up */
    QM_CU_TRY(d, StreamSynchronize(b->s));
out:
    if (g) d->cu.GraphDestroy(g);
    return rc;
}

/* 100, or fewer where that is more than 4 GB, but 10 and every copy once. */
static uint32_t launches_for(const qm_bench_work *w) {
    double n = 4e9 / w->bytes;
    n = n > LAUNCHES ? LAUNCHES : n < 10 ? 10 : n;
    return n < w->n_copies ? w->n_copies : (uint32_t)n;
}

static uint32_t begin(void *user, char *why, size_t n) {
    const bench *x = user;
    bencher *b = x->b;
    qm_err e = {0};
    if (b->open == x) return b->batch;
    shut(b);
    b->open = x;
    int rc = qm_bench_open(&b->w, b->d, b->ks, &x->job, b->sim ? SIM_SM : (uint32_t)b->d->n_sm, b->spread, &e);
    b->batch = b->sim ? 1 : launches_for(&b->w);
    if (!rc && !b->sim) rc = capture(b, &e);
    if (!rc) return b->batch;
    shut(b);
    snprintf(why, n, "%s", e.msg);
    return 0;
}

static int once(bencher *b, double *seconds, qm_err *e) {
    qm_device *d = b->d;
    float ms = 0;
    int rc = qm_bench_reset(&b->w, b->s, e);
    if (rc) goto out;
    QM_CU_TRY(d, EventRecord(b->from, b->s));
    if (!b->sim) QM_CU_TRY(d, GraphLaunch(b->graph, b->s));
    else if ((rc = qm_bench_count(&b->w, &b->c, e))) goto out;
    QM_CU_TRY(d, EventRecord(b->to, b->s));
    QM_CU_TRY(d, EventSynchronize(b->to));
    QM_CU_TRY(d, EventElapsedTime(&ms, b->from, b->to));
    *seconds = 1e-3 * (double)ms;
out:
    return rc;
}
static int run(void *user, double *seconds, char *why, size_t n) {
    qm_err e = {0};
    int rc = once(((const bench *)user)->b, seconds, &e);
    if (rc) snprintf(why, n, "%s", e.msg);
    return rc;
}

static void end(void *user, qm_gbench *g) {
    bencher *b = ((const bench *)user)->b;
    const qm_bench_work *w = &b->w;
    char label[128];
    snprintf(label, sizeof label, "%sgrid %ux%ux%u block %u", b->sim ? "sim, no times; " : "", w->l.grid[0],
             w->l.grid[1], w->l.grid[2], w->l.block);
    qm_gbench_label(g, label);
    qm_gbench_counter(g, "bytes", w->bytes, QM_GBENCH_PLAIN);
    if (!b->sim) {
        qm_gbench_counter(g, "copies", w->n_copies, QM_GBENCH_PLAIN);
        qm_gbench_counter(g, "bytes_per_second", w->bytes, QM_GBENCH_RATE);
        if (b->copy_bytes_per_s > 0) qm_gbench_counter(g, "of_copy", w->bytes / b->copy_bytes_per_s, QM_GBENCH_RATE);
        return;
    }
    const qm_sim_counters *c = &b->c;
    const double blocks = qm_bench_packed_blocks(w);
    if (blocks > 0) qm_gbench_counter(g, "warp_inst_per_block", (double)c->warp_insts / blocks, QM_GBENCH_PLAIN);
    if (w->weights > 0) qm_gbench_counter(g, "inst_per_weight", (double)c->thread_insts / w->weights, QM_GBENCH_PLAIN);
    qm_gbench_counter(g, "inst", (double)c->thread_insts, QM_GBENCH_PLAIN);
    qm_gbench_counter(g, "requested", (double)(c->gld_bytes + c->gst_bytes) / w->bytes, QM_GBENCH_PLAIN);
    qm_gbench_counter(g, "sectors", 32.0 * (double)(c->gld_sectors + c->gst_sectors) / w->bytes, QM_GBENCH_PLAIN);
    qm_gbench_counter(g, "barriers", (double)c->barriers / ((double)w->l.grid[0] * w->l.grid[1] * w->l.grid[2]),
                      QM_GBENCH_PLAIN);
}

static int usage(void) {
    fprintf(stderr,
            "usage: kernels [--device auto|cuda:N|sim] [--model 30b|small|all] [--cold-l2] [--timed] [--rows N]\n"
            "               [--sweep] [--copy-bandwidth GBPS] [--benchmark_filter=REGEX] [--benchmark_out=FILE] ...\n");
    return 2;
}

/* The machine, one line a fact, in the report's context. */
static void context(bencher *b) {
    json_t *m = qm_bench_machine(b->d), *v;
    const char *key;
    char text[64];
    json_object_foreach (m, key, v) {
        if (!strcmp(key, "date")) continue; /* Google Benchmark writes its own */
        char *s = json_dumps(v, JSON_ENCODE_ANY | JSON_COMPACT);
        qm_gbench_context(key, json_is_string(v) ? json_string_value(v) : s ? s : "?");
        free(s);
    }
    json_decref(m);
    snprintf(text, sizeof text, "%.4g", b->copy_bytes_per_s);
    qm_gbench_context("copy_bytes_per_second", b->copy_bytes_per_s > 0 ? text : "null");
    qm_gbench_context("l2", b->spread > 1 ? "cold" : "warm");
}

int main(int argc, char **argv) {
    static const qm_gbench_calls calls = {begin, run, end};
    static bench benches[MAX_BENCHES];
    static qm_bench_job jobs[MAX_BENCHES];
    bencher b = {.spread = 1};
    const char *spec = "auto", *model = "all";
    char why[256] = "", name[96];
    qm_err e = {0};
    long rows = -1;
    int rc = 1, n_args = 1, n_benches = 0, cold = 0, timed = 0, sweep = 0;
    for (int i = 1; i < argc; i++) {
        const int more = i + 1 < argc;
        if (!strncmp(argv[i], "--benchmark_", 12) || !strncmp(argv[i], "--v=", 4)) argv[n_args++] = argv[i];
        else if (!strcmp(argv[i], "--cold-l2")) cold = 1;
        else if (!strcmp(argv[i], "--timed")) timed = 1;
        else if (!strcmp(argv[i], "--sweep")) sweep = 1;
        else if (!strcmp(argv[i], "--device") && more) spec = argv[++i];
        else if (!strcmp(argv[i], "--model") && more) model = argv[++i];
        else if (!strcmp(argv[i], "--rows") && more) rows = atol(argv[++i]);
        else if (!strcmp(argv[i], "--copy-bandwidth") && more) b.copy_bytes_per_s = 1e9 * atof(argv[++i]);
        else return usage();
    }
    if (qm_device_open(&b.d, spec, why, sizeof why, &e)) goto out;
    b.sim = b.d->caps.interpreted && !timed;
    if (b.sim) {
        qm_sim_options o;
        qm_sim_get_options(&o);
        o.count = 1;
        qm_sim_set_options(&o);
        if (rows < 0) rows = 4096;
    }
    if (qm_kernels_open(&b.ks, b.d, &e)) goto out;
    if (b.d->cu.StreamCreate(&b.s, CU_STREAM_NON_BLOCKING) || b.d->cu.EventCreate(&b.from, 0) ||
        b.d->cu.EventCreate(&b.to, 0)) {
        qm_fail(&e, QM_ERR_DEVICE, "%s: no stream or event", b.d->spec);
        goto out;
    }
    if (!b.sim && b.copy_bytes_per_s <= 0) {
        qm_bandwidth bw;
        if (qm_probe_bandwidth(b.d, 0, &bw, &e)) goto out;
        b.copy_bytes_per_s = bw.copy_median;
    }
    if (cold && !b.sim) b.spread = 4.0 * qm_bench_attribute(b.d, CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE, 64 << 20);
    for (const qm_bench_model *m = qm_bench_models; m->name; m++) {
        if (strcmp(model, "all") && strcmp(model, m->name)) continue;
        int n = (sweep ? qm_bench_sweep : qm_bench_jobs)(m, jobs, MAX_BENCHES);
        for (int i = 0; i < n && n_benches < MAX_BENCHES; i++) {
            bench *x = &benches[n_benches++];
            *x = (bench){&b, jobs[i]};
            x->job.rows_run = rows > 0 ? (uint32_t)rows : 0;
            qm_bench_job_name(&x->job, name, sizeof name);
            qm_gbench_add(name, &calls, x, b.sim ? 1 : 0);
        }
    }
    if (!n_benches) {
        fprintf(stderr, "kernels: there is no model '%s'\n", model);
        rc = 2;
        goto out;
    }
    fprintf(stderr, "%s: %s\n", b.d->spec, why);
    context(&b);
    rc = qm_gbench_main(n_args, argv);
out:
    if (e.msg[0]) fprintf(stderr, "kernels: %s\n", e.msg);
    shut(&b);
    if (b.from) b.d->cu.EventDestroy(b.from);
    if (b.to) b.d->cu.EventDestroy(b.to);
    if (b.s) b.d->cu.StreamDestroy(b.s);
    qm_kernels_close(b.ks);
    qm_device_close(b.d);
    return rc;
}
