/* perop.c: see perop.h. */
#include "perop.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "../base/rng.h"
#include "../device/prof.h"
#include "../device/stamp.h"
#include "bench.h"
#include "../engine/capture.h"

const char *qm_bound_name(qm_bound b) {
    static const char *const names[QM_N_BOUNDS] = {"", "dram", "issue", "l2", "latency"};
    return (unsigned)b < QM_N_BOUNDS ? names[b] : "";
}

/* Attention reads K and V of positions 0..depth in f16; qkrope writes one position of both. */
static uint64_t kv_bytes(const qm_plan *p, const qm_op *op, uint32_t depth) {
    const qm_hparams *hp = &p->place->model->hp;
    uint64_t one = 4ull * hp->n_kv * hp->head_dim;
    return op->kind == QM_OP_ATTN ? one * (depth + 1ull) : op->kind == QM_OP_QKROPE ? one : 0;
}

int qm_perop_new(qm_perop **out, const qm_plan *p, uint32_t depth, qm_err *e) {
    qm_perop *r = *out = calloc(1, sizeof *r);
    if (r) r->op = calloc((size_t)p->n_ops, sizeof *r->op);
    if (!r || !r->op) {
        qm_perop_free(r);
        *out = NULL;
        return qm_fail(e, QM_ERR_NOMEM, "per op: out of memory");
    }
    r->plan = p;
    r->depth = depth;
    r->n_ops = p->n_ops;
    r->step_ns = r->stamped_ns = r->tick_ns = -1;
    for (int i = 0; i < p->n_ops; i++) {
        uint64_t kv = kv_bytes(p, &p->ops[i], depth);
        r->op[i] = (qm_op_record){.op = &p->ops[i], .kv_bytes = kv, .begin_ns = -1, .time_ns = -1, .gap_ns = -1};
        r->kv_bytes += kv;
    }
    return 0;
}

void qm_perop_free(qm_perop *r) {
    if (!r) return;
    free(r->op);
    free(r);
}

/* ---- a session at a depth ---- */
typedef struct {
    qm_engine *g;
    qm_session *s;
    const qm_plan *plan;
    uint32_t depth;
    qm_stamped *stamped; /* NULL: the users' kernels */
    CUdeviceptr stamps;  /* [n_ops] of QM_STAMP_BYTES */
    CUgraphExec graph;
    qm_walk walk; /* persistent: n > 0 */
    qm_timer timer;
} bench;

static int set(bench *b, uint32_t token, qm_err *e) {
    int rc = b->g->exec->put_tokens(b->g, b->s->seq, b->depth, &token, 1, e);
    return rc ? rc : qm_session_place(b->s, b->depth, e);
}

static void bench_close(bench *b) {
    if (b->g && b->g->dev) {
        if (b->graph) b->g->dev->cu.GraphExecDestroy(b->graph);
        if (b->stamps) b->g->dev->cu.MemFree(b->stamps);
        qm_stamped_close(b->stamped);
        qm_walk_close(&b->walk, b->g->dev);
        if (b->timer.d) qm_timer_close(&b->timer);
    }
    qm_session_close(b->s);
    memset(b, 0, sizeof *b);
}

enum { FILL_SEED = 1 };
static int bench_open(bench *b, qm_engine *g, uint32_t depth, qm_err *e) {
    memset(b, 0, sizeof *b);
    if (!g->exec->on_device)
        return qm_fail(e, QM_ERR_UNSUPPORTED, "per op: the executor %s runs no kernels", g->exec->name);
    if (depth >= g->limits.n_ctx)
        return qm_fail(e, QM_ERR_LIMIT, "per op: depth %u needs a context of %u, it is %u", depth, depth + 1,
                       g->limits.n_ctx);
    b->g = g;
    b->depth = depth;
    int rc = qm_session_open(&b->s, g, e);
    if (!rc) rc = qm_session_fill(b->s, depth, FILL_SEED, e);
    if (!rc) rc = qm_engine_plan(g, depth, 1, &b->plan, e);
    if (!rc) rc = qm_session_pages(b->s, depth / QM_PAGE_TOKENS + 1, e);
    if (rc) bench_close(b);
    return rc;
}

/* ---- counts ---- */
int qm_perop_count(qm_engine *g, uint32_t depth, qm_perop **out, qm_err *e) {
    bench b;
    int counting = 0;
    qm_perop *r = NULL;
    *out = NULL;
    int rc = bench_open(&b, g, depth, e);
    if (rc) return rc;
    if ((rc = qm_perop_new(&r, b.plan, depth, e)) || (rc = set(&b, 0, e)) || (rc = qm_counters_begin(g->dev, e)))
        goto out;
    counting = 1;
    for (int i = 0; i < r->n_ops && !rc; i++) {
        if ((rc = qm_graph_launch_op(g, b.s->seq, b.plan, i, e))) goto out;
        QM_CU_TRY(g->dev, StreamSynchronize(qm_graph_stream(g)));
        qm_counters_take(&r->op[i].count);
        qm_counters_add(&r->total, &r->op[i].count);
    }
    r->counted = 1;
    snprintf(r->device, sizeof r->device, "%s", g->dev->name);
    *out = r;
out:
    if (counting) qm_counters_end();
    if (rc) qm_perop_free(r);
    bench_close(&b);
    return rc;
}

/* ---- times ---- */
static int launch(void *user, int i, CUstream st, qm_err *e) {
    bench *b = user;
    const CUdeviceptr stamp = b->stamps + (uint64_t)i * QM_STAMP_BYTES;
    if (b->walk.n && i == b->walk.first) return qm_graph_walk_launch(b->g, &b->walk, b->stamped ? stamp : 0, st, e);
    if (!b->stamped) return qm_graph_launch_op_on(b->g, b->s->seq, b->plan, i, st, e);
    const qm_op *op = &b->plan->ops[i];
    qm_op_args args;
    qm_graph_args(b->g, b->s->seq, b->plan, i, &args);
    return qm_stamped_launch(b->stamped, op->kernel, op->grid, op->block, op->shared, &args, stamp, st, e);
}

/* The step as a graph of its own: nothing but the ops. Everything is loaded before the capture begins. */
static int capture(bench *b, qm_err *e) {
    qm_device *d = b->g->dev;
    CUstream st = qm_graph_stream(b->g);
    int rc = 0;
    if (b->graph) {
        CUgraphExec old = b->graph;
        b->graph = NULL;
        QM_CU_TRY(d, GraphExecDestroy(old));
    }
    for (int i = 0; i < b->plan->n_ops; i++)
        if (b->stamped ? (rc = qm_stamped_load(b->stamped, b->plan->ops[i].kernel, e)) : (rc = launch(b, i, st, e)))
            return rc;
    QM_CU_TRY(d, StreamSynchronize(st));
    if (b->g->exec->resident && !b->walk.n && (rc = qm_graph_walk_open(b->g, b->s->seq, b->plan, &b->walk, e)))
        goto out;
    rc = qm_capture_plan(d, st, b->plan, &b->walk, launch, b, &b->graph, e);
out:
    return rc;
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Mean of what is no outlier (Tukey's fences, each a tick further out). Not of a middle half: where the clock's
 * tick is as long as an op, times fall on two values, and it is their shares that tell the length. Sorts v. */
double qm_perop_mean(double *v, int n, double tick) {
    qsort(v, (size_t)n, sizeof *v, by_value);
    double q1 = v[n / 4], q3 = v[n - 1 - n / 4], reach = 1.5 * (q3 - q1) + (tick > 0 ? tick : 0), sum = 0;
    int k = 0;
    for (int i = 0; i < n; i++)
        if (v[i] >= q1 - reach && v[i] <= q3 + reach) {
            sum += v[i];
            k++;
        }
    return sum / k;
}

/* One timed run of the captured step. The same step before it keeps the device busy while the host enqueues, so
 * that no time of the host's is measured; like any step behind another it finds in the L2 what that left. */
static int one_run(bench *b, uint32_t token, double *ns, qm_err *e) {
    CUstream st = qm_graph_stream(b->g);
    qm_device *d = b->g->dev;
    double ms = 0;
    int rc = set(b, token, e);
    if (rc) return rc;
    QM_CU_TRY(d, GraphLaunch(b->graph, st));
    if ((rc = qm_session_place(b->s, b->depth, e))) goto out;
    if (b->stamped) QM_CU_TRY(d, MemsetD8Async(b->stamps, 0xff, (size_t)b->plan->n_ops * QM_STAMP_BYTES, st));
    if ((rc = qm_timer_start(&b->timer, st, e))) goto out;
    QM_CU_TRY(d, GraphLaunch(b->graph, st));
    if ((rc = qm_timer_stop(&b->timer, st, e)) || (rc = qm_timer_ms(&b->timer, &ms, e))) goto out;
    *ns = 1e6 * ms;
out:
    return rc;
}

/* The least positive value so far; negative: none yet. */
static void least(double *so_far, double v) {
    if (v > 0 && (*so_far < 0 || v < *so_far)) *so_far = v;
}

/* Until the clocks have risen. */
#define WARM_S 0.2

/* runs of the step: the whole into ns [runs]; with stamps, each op into time and gap [n_ops, runs]. */
static int many_runs(bench *b, int runs, qm_rng *rng, double *ns, double *time, double *gap, double *tick, qm_err *e) {
    const int n = b->plan->n_ops;
    uint64_t *s = malloc((size_t)n * QM_STAMP_BYTES);
    int rc = s ? 0 : qm_fail(e, QM_ERR_NOMEM, "per op: out of memory");
    double t = 0;
    for (double from = qm_now(); !rc && qm_now() < from + WARM_S;)
        rc = one_run(b, qm_rng_below(rng, b->g->model->hp.n_vocab), &t, e);
    for (int r = 0; r < runs && !rc; r++) {
        if ((rc = one_run(b, qm_rng_below(rng, b->g->model->hp.n_vocab), &ns[r], e)) || !b->stamped) continue;
        QM_CU_TRY(b->g->dev, MemcpyDtoH(s, b->stamps, (size_t)n * QM_STAMP_BYTES));
        for (int i = 0; i < n; i++) {
            const uint64_t from = s[2 * i], to = s[2 * i + 1], before = i ? s[2 * i - 1] : from;
            if (from == UINT64_MAX || to == UINT64_MAX || to < from) {
                rc = qm_fail(e, QM_ERR_DEVICE, "per op: op %d (%s) left no time stamp", i, b->plan->ops[i].slot);
                goto out;
            }
            time[i * runs + r] = (double)(to - from);
            gap[i * runs + r] = (double)(int64_t)(from - before);
            least(tick, (double)(to - from));
            least(tick, gap[i * runs + r]);
        }
    }
out:
    free(s);
    return rc;
}

int qm_perop_time(qm_engine *g, uint32_t depth, int runs, uint64_t seed, qm_perop **out, qm_err *e) {
    bench b;
    qm_perop *r = NULL;
    double *v = NULL;
    qm_rng rng = {seed};
    *out = NULL;
    if (runs < 1 || runs > 10000) return qm_fail(e, QM_ERR_ARG, "per op: %d runs: 1 to 10000", runs);
    int rc = bench_open(&b, g, depth, e);
    if (rc) return rc;
    const int n = b.plan->n_ops;
    if ((rc = qm_perop_new(&r, b.plan, depth, e))) goto out;
    if (!(v = malloc(sizeof *v * (size_t)runs * (2 * (size_t)n + 1)))) {
        rc = qm_fail(e, QM_ERR_NOMEM, "per op: out of memory");
        goto out;
    }
    double *ns = v, *time = v + runs, *gap = time + (size_t)n * runs;
    if ((rc = qm_timer_open(&b.timer, g->dev, e)) || (rc = set(&b, 0, e)) || (rc = capture(&b, e)) ||
        (rc = many_runs(&b, runs, &rng, ns, NULL, NULL, NULL, e)))
        goto out;
    r->step_ns = qm_perop_mean(ns, runs, 0);
    if ((rc = qm_stamped_open(&b.stamped, g->dev, e))) goto out;
    QM_CU_TRY(g->dev, MemAlloc(&b.stamps, (size_t)n * QM_STAMP_BYTES));
    if ((rc = capture(&b, e)) || (rc = many_runs(&b, runs, &rng, ns, time, gap, &r->tick_ns, e))) goto out;
    r->stamped_ns = qm_perop_mean(ns, runs, 0);
    double at = 0;
    for (int i = 0; i < n; i++) {
        r->op[i].time_ns = qm_perop_mean(time + (size_t)i * runs, runs, r->tick_ns);
        r->op[i].gap_ns = qm_perop_mean(gap + (size_t)i * runs, runs, r->tick_ns);
        r->op[i].begin_ns = at += r->op[i].gap_ns;
        at += r->op[i].time_ns;
    }
    r->timed = 1;
    r->walked = g->exec->resident;
    r->runs = runs;
    snprintf(r->device, sizeof r->device, "%s", g->dev->name);
    *out = r;
out:
    free(v);
    if (rc) qm_perop_free(r);
    bench_close(&b);
    return rc;
}
