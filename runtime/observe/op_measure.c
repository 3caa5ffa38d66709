/* op_measure.c: see op_measure.h. */
#include "op_measure.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "../base/clock.h"
#include "../base/rng.h"
#include "../device/prof.h"

static int open_step(qm_inside *x, qm_engine *g, uint32_t depth, qm_err *e) {
    if (!qm_inside_device(g))
        return qm_fail(e, QM_ERR_UNSUPPORTED, "op by op: the executor %s runs no kernels", qm_inside_executor(g));
    return qm_inside_open(x, g, NULL, depth, e);
}

/* ---- counts ---- */
int qm_ops_count(qm_engine *g, uint32_t depth, qm_op_records **out, qm_err *e) {
    qm_inside x;
    int counting = 0;
    qm_op_records *r = NULL;
    *out = NULL;
    int rc = open_step(&x, g, depth, e);
    if (rc) return rc;
    if ((rc = qm_op_records_new(&r, x.plan, qm_work_decode(depth), e)) || (rc = qm_inside_begin(&x, 0, e)) ||
        (rc = qm_counters_begin(x.dev, e)))
        goto out;
    counting = 1;
    for (int i = 0; i < r->n_ops && !rc; i++) {
        if ((rc = qm_inside_run(&x, i, NULL, NULL, e))) goto out;
        QM_CU_TRY(x.dev, StreamSynchronize(x.stream));
        qm_counters_take(&r->op[i].count);
        qm_counters_add(&r->total, &r->op[i].count);
    }
    r->counted = 1;
    snprintf(r->device, sizeof r->device, "%s", x.dev->name);
    *out = r;
out:
    if (counting) qm_counters_end();
    if (rc) qm_op_records_free(r);
    qm_inside_close(&x);
    return rc;
}

/* ---- times ---- */
typedef struct {
    qm_inside x;
    qm_stamps stamps; /* kernels NULL: the users'; at: [n_ops] of QM_STAMP_BYTES */
    qm_captured *graph;
    qm_timer timer;
} timing;

static void timing_close(timing *t) {
    qm_inside_drop(&t->x, t->graph);
    if (t->stamps.at) t->x.dev->cu.MemFree(t->stamps.at);
    qm_stamped_close(t->stamps.kernels);
    if (t->timer.d) qm_timer_close(&t->timer);
    qm_inside_close(&t->x);
}

static int timing_open(timing *t, qm_engine *g, uint32_t depth, qm_err *e) {
    memset(t, 0, sizeof *t);
    int rc = open_step(&t->x, g, depth, e);
    if (!rc) rc = qm_timer_open(&t->timer, t->x.dev, e);
    if (rc) timing_close(t);
    return rc;
}

static int capture(timing *t, qm_err *e) {
    qm_inside_drop(&t->x, t->graph);
    int rc = qm_inside_begin(&t->x, 0, e);
    return rc ? rc : qm_inside_capture(&t->x, t->stamps.kernels ? &t->stamps : NULL, &t->graph, e);
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Mean of what is no outlier (Tukey's fences, each a tick further out). Not of a middle half: where the clock's
 * tick is as long as an op, times fall on two values, and it is their shares that tell the length. Sorts v. */
double qm_robust_mean(double *v, int n, double tick) {
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
 * that no time of the host's is measured; like any step after another it finds in the L2 what that left. */
static int one_run(timing *t, uint32_t token, double *ns, qm_err *e) {
    qm_inside *x = &t->x;
    double ms = 0;
    int rc = qm_inside_begin(x, token, e);
    if (!rc) rc = qm_inside_launch(x, t->graph, e);
    if (!rc) rc = qm_inside_begin(x, token, e);
    if (rc) return rc;
    if (t->stamps.kernels)
        QM_CU_TRY(x->dev, MemsetD8Async(t->stamps.at, 0xff, (size_t)x->plan->n_ops * QM_STAMP_BYTES, x->stream));
    if ((rc = qm_timer_start(&t->timer, x->stream, e)) || (rc = qm_inside_launch(x, t->graph, e)) ||
        (rc = qm_timer_stop(&t->timer, x->stream, e)) || (rc = qm_timer_ms(&t->timer, &ms, e)))
        goto out;
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
static int many_runs(timing *m, int runs, qm_rng *rng, double *ns, double *time, double *gap, double *tick, qm_err *e) {
    const int n = m->x.plan->n_ops;
    const uint32_t n_vocab = qm_inside_model(m->x.g)->hp.n_vocab;
    uint64_t *s = malloc((size_t)n * QM_STAMP_BYTES);
    int rc = s ? 0 : qm_fail(e, QM_ERR_NOMEM, "op by op: out of memory");
    double t = 0;
    for (double from = qm_now(); !rc && qm_now() < from + WARM_S;) rc = one_run(m, qm_rng_below(rng, n_vocab), &t, e);
    for (int r = 0; r < runs && !rc; r++) {
        if ((rc = one_run(m, qm_rng_below(rng, n_vocab), &ns[r], e)) || !m->stamps.kernels) continue;
        QM_CU_TRY(m->x.dev, MemcpyDtoH(s, m->stamps.at, (size_t)n * QM_STAMP_BYTES));
        for (int i = 0; i < n; i++) {
            const uint64_t from = s[2 * i], to = s[2 * i + 1], before = i ? s[2 * i - 1] : from;
            if (from == UINT64_MAX || to == UINT64_MAX || to < from) {
                rc = qm_fail(e, QM_ERR_DEVICE, "op by op: op %d (%s) left no time stamp", i, m->x.plan->ops[i].slot);
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

int qm_ops_time(qm_engine *g, uint32_t depth, int runs, uint64_t seed, qm_op_records **out, qm_err *e) {
    timing m;
    qm_op_records *r = NULL;
    double *v = NULL;
    qm_rng rng = {seed};
    *out = NULL;
    if (runs < 1 || runs > 10000) return qm_fail(e, QM_ERR_ARG, "op by op: %d runs: 1 to 10000", runs);
    int rc = timing_open(&m, g, depth, e);
    if (rc) return rc;
    const int n = m.x.plan->n_ops;
    if ((rc = qm_op_records_new(&r, m.x.plan, qm_work_decode(depth), e))) goto out;
    if (!(v = malloc(sizeof *v * (size_t)runs * (2 * (size_t)n + 1)))) {
        rc = qm_fail(e, QM_ERR_NOMEM, "op by op: out of memory");
        goto out;
    }
    double *ns = v, *time = v + runs, *gap = time + (size_t)n * runs;
    if ((rc = capture(&m, e)) || (rc = many_runs(&m, runs, &rng, ns, NULL, NULL, NULL, e))) goto out;
    r->step_ns = qm_robust_mean(ns, runs, 0);
    if ((rc = qm_stamped_open(&m.stamps.kernels, m.x.dev, e))) goto out;
    QM_CU_TRY(m.x.dev, MemAlloc(&m.stamps.at, (size_t)n * QM_STAMP_BYTES));
    if ((rc = capture(&m, e)) || (rc = many_runs(&m, runs, &rng, ns, time, gap, &r->tick_ns, e))) goto out;
    r->stamped_ns = qm_robust_mean(ns, runs, 0);
    double at = 0;
    for (int i = 0; i < n; i++) {
        r->op[i].time_ns = qm_robust_mean(time + (size_t)i * runs, runs, r->tick_ns);
        r->op[i].gap_ns = qm_robust_mean(gap + (size_t)i * runs, runs, r->tick_ns);
        r->op[i].begin_ns = at += r->op[i].gap_ns;
        at += r->op[i].time_ns;
    }
    r->timed = 1;
    snprintf(r->executor, sizeof r->executor, "%s", qm_inside_executor(g));
    r->runs = runs;
    snprintf(r->device, sizeof r->device, "%s", m.x.dev->name);
    *out = r;
out:
    free(v);
    if (rc) qm_op_records_free(r);
    timing_close(&m);
    return rc;
}
