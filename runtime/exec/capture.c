/* capture.c: see capture.h. */
#include "capture.h"

int qm_capture(qm_device *d, CUstream st, qm_capture_fn fn, void *user, CUgraphExec *out, qm_err *e) {
    CUgraph graph = NULL;
    int rc = 0;
    QM_CU_TRY(d, StreamBeginCapture(st, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL));
    rc = fn(user, st, e);
    CUresult end = d->cu.StreamEndCapture(st, &graph); /* also after an error: ends the capture */
    if (rc) goto out;
    if (end) {
        rc = qm_cu_fail(d, end, "StreamEndCapture", e);
        goto out;
    }
    QM_CU_TRY(d, GraphInstantiate(out, graph, 0));
out:
    if (graph) d->cu.GraphDestroy(graph);
    return rc;
}

/* A plan, the stream beside the captured one, and the events at which it leaves it and comes back. */
typedef struct {
    qm_device *d;
    CUstream side;
    CUevent fork, join;
    const qm_plan *p;
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

static int launch_all(void *user, CUstream main, qm_err *e) {
    const streams *s = user;
    const qm_plan *p = s->p;
    int rc = 0;
    for (int i = 0; i < p->n_ops && !rc; i++) {
        int beside = p->ops[i].beside, next_beside = i + 1 < p->n_ops && p->ops[i + 1].beside;
        /* one fork serves all that follow beside each other */
        if (next_beside && !beside && (rc = wait(s, main, s->fork, s->side, e))) break;
        rc = s->launch(s->user, i, beside ? s->side : main, e);
        if (!rc && beside && !next_beside) rc = wait(s, s->side, s->join, main, e);
    }
    return rc;
}

int qm_capture_plan(qm_device *d, CUstream st, const qm_plan *p, qm_launch_fn launch, void *user, CUgraphExec *out,
                    qm_err *e) {
    streams s = {.d = d, .p = p, .launch = launch, .user = user};
    int rc = streams_open(&s, e);
    if (!rc) rc = qm_capture(d, st, launch_all, &s, out, e);
    streams_close(&s);
    return rc;
}
