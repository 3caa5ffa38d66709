/* capture.c: see capture.h. */
#include "capture.h"
#include "../plan/ops.h"

/* A plan, the stream beside the captured one, and the events at which it leaves it and comes back. */
typedef struct {
    qm_device *d;
    CUstream side;
    CUevent fork, join;
    const qm_plan *p;
    const qm_walk *w;
    qm_launch_fn launch;
    void *user;
} streams;

static void streams_close(streams *s) {
    if (s->fork) s->d->cu.EventDestroy(s->fork);
    if (s->join) s->d->cu.EventDestroy(s->join);
    if (s->side) s->d->cu.StreamDestroy(s->side);
}

static int streams_open(streams *s, qm_err *e) {
    int rc = 0;
    QM_CU_TRY(s->d, StreamCreate(&s->side, CU_STREAM_NON_BLOCKING));
    QM_CU_TRY(s->d, EventCreate(&s->fork, CU_EVENT_DISABLE_TIMING));
    QM_CU_TRY(s->d, EventCreate(&s->join, CU_EVENT_DISABLE_TIMING));
out:
    return rc;
}

/* to goes on only when what from has so far is done */
static int wait(const streams *s, CUstream from, CUevent by, CUstream to, qm_err *e) {
    int rc = 0;
    QM_CU_TRY(s->d, EventRecord(by, from));
    QM_CU_TRY(s->d, StreamWaitEvent(to, by, 0));
out:
    return rc;
}

static int in_walk(const streams *s, int i) { return i >= s->w->first && i < s->w->first + s->w->n; }
static int concurrent(const streams *s, int i) { return i < s->p->n_ops && !s->p->ops[i].waits && !in_walk(s, i); }
/* At forks and joins, and where the kernel that walks the plan ends, edges are full ones: what an edge of the other kind means beside
 * them is nowhere written down. */
static int in_chain(const streams *s, int i) {
    return qm_plan_in_chain(s->p, i) && !in_walk(s, i - 1) && !in_walk(s, i);
}

static int launch_all(const streams *s, CUstream main, qm_err *e) {
    int rc = 0;
    for (int i = 0; i < s->p->n_ops && !rc; i++) {
        if (in_walk(s, i) && i > s->w->first) continue;
        int side = concurrent(s, i), next_side = concurrent(s, i + 1);
        /* one fork serves all of a group */
        if (next_side && !side && (rc = wait(s, main, s->fork, s->side, e))) break;
        rc = s->launch(s->user, i, side ? s->side : main, in_chain(s, i), e);
        if (!rc && side && !next_side) rc = wait(s, s->side, s->join, main, e);
    }
    return rc;
}

int qm_capture_plan(qm_device *d, CUstream st, const qm_plan *p, const qm_walk *w, qm_launch_fn launch, void *user,
                    CUgraphExec *out, qm_err *e) {
    streams s = {.d = d, .p = p, .w = w, .launch = launch, .user = user};
    CUgraph graph = NULL;
    int rc = streams_open(&s, e);
    if (rc) goto out;
    QM_CU_TRY(d, StreamBeginCapture(st, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL));
    rc = launch_all(&s, st, e);
    CUresult end = d->cu.StreamEndCapture(st, &graph); /* also after an error: ends the capture */
    if (rc) goto out;
    if (end) {
        rc = qm_cu_fail(d, end, "StreamEndCapture", e);
        goto out;
    }
    QM_CU_TRY(d, GraphInstantiate(out, graph, 0));
out:
    if (graph) d->cu.GraphDestroy(graph);
    streams_close(&s);
    return rc;
}
