/* micro_launch.c: what it costs to get from one kernel to the next: a launch into a stream, a node of a graph,
 * two nodes side by side, a dependent launch (sm_90), a cooperative launch, a graph of one node, an event. ns for each of them: the
 * slope between few and many. In a stream the host may be the slower side: its own time is host_ns. */
#include "micro.h"
#include <stdio.h>
#include <stdlib.h>

typedef enum { STREAM, GRAPH, COOPERATIVE, GRAPHS, EVENTS, FORKS } way;
typedef struct {
    micro *m;
    CUfunction f;
    unsigned grid, block;
    int dependent; /* by cuLaunchKernelEx, programmatic stream serialization */
    way how;
    CUdeviceptr word; /* counted up by the step kernels */
    CUgraphExec one;  /* GRAPHS: what is launched n times */
    CUevent event;    /* EVENTS: what is recorded n times */
    CUstream side;    /* FORKS: each launch has another beside it, which the next waits for as well */
    CUevent fork, join;
} job;

static int launches(job *j, uint32_t n, qm_err *e) {
    qm_device *d = j->m->d;
    void *params[] = {&j->word};
    CUlaunchAttribute a = {.id = CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION};
    CUlaunchConfig c = {.gridDimX = j->grid,
                        .gridDimY = 1,
                        .gridDimZ = 1,
                        .blockDimX = j->block,
                        .blockDimY = 1,
                        .blockDimZ = 1,
                        .hStream = j->m->s,
                        .attrs = &a,
                        .numAttrs = 1};
    int rc = 0;
    a.value.programmaticStreamSerializationAllowed = 1;
    for (uint32_t i = 0; i < n; i++)
        if (j->how == FORKS) {
            QM_CU_TRY(d, EventRecord(j->fork, j->m->s));
            QM_CU_TRY(d, StreamWaitEvent(j->side, j->fork, 0));
            QM_CU_TRY(d, LaunchKernel(j->f, j->grid, 1, 1, j->block, 1, 1, 0, j->m->s, params, NULL));
            QM_CU_TRY(d, LaunchKernel(j->f, j->grid, 1, 1, j->block, 1, 1, 0, j->side, params, NULL));
            QM_CU_TRY(d, EventRecord(j->join, j->side));
            QM_CU_TRY(d, StreamWaitEvent(j->m->s, j->join, 0));
        } else if (j->dependent) QM_CU_TRY(d, LaunchKernelEx(&c, j->f, params, NULL));
        else if (j->how == COOPERATIVE)
            QM_CU_TRY(d, LaunchCooperativeKernel(j->f, j->grid, 1, 1, j->block, 1, 1, 0, j->m->s, params));
        else QM_CU_TRY(d, LaunchKernel(j->f, j->grid, 1, 1, j->block, 1, 1, 0, j->m->s, params, NULL));
out:
    return rc;
}

/* A graph of n launches, by capture: a chain. */
static int graph_of(job *j, uint32_t n, CUgraphExec *x, qm_err *e) {
    qm_device *d = j->m->d;
    CUgraph g = NULL;
    size_t nodes = 0;
    int rc = 0;
    *x = NULL;
    QM_CU_TRY(d, StreamBeginCapture(j->m->s, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL));
    rc = launches(j, n, e);
    CUresult r = d->cu.StreamEndCapture(j->m->s, &g); /* also after a failure: the stream must come out of it */
    if (rc) goto out;
    if (r) {
        rc = qm_cu_fail(d, r, "StreamEndCapture()", e);
        goto out;
    }
    QM_CU_TRY(d, GraphGetNodes(g, NULL, &nodes));
    if (nodes != (j->how == FORKS ? 2 * n : n)) {
        rc = qm_fail(e, QM_ERR_DEVICE, "a graph of %u launches has %zu nodes", n, nodes);
        goto out;
    }
    QM_CU_TRY(d, GraphInstantiate(x, g, 0));
out:
    if (g) d->cu.GraphDestroy(g);
    return rc;
}

typedef struct {
    job *j;
    CUgraphExec x;
} timed;
static int go(void *user, uint32_t n, qm_err *e) {
    timed *t = user;
    job *j = t->j;
    qm_device *d = j->m->d;
    int rc = 0;
    if (j->how == GRAPH || j->how == FORKS) QM_CU_TRY(d, GraphLaunch(t->x, j->m->s));
    else if (j->how == GRAPHS)
        for (uint32_t i = 0; i < n; i++) QM_CU_TRY(d, GraphLaunch(j->one, j->m->s));
    else if (j->how == EVENTS)
        for (uint32_t i = 0; i < n; i++) QM_CU_TRY(d, EventRecord(j->event, j->m->s));
    else rc = launches(j, n, e);
out:
    return rc;
}

/* n launches, timed; *wrong if the counted word is not n afterwards. */
static int once(timed *t, uint32_t n, int counts, double *ns, double *host, const char **wrong, qm_err *e) {
    qm_device *d = t->j->m->d;
    uint32_t word = 0;
    int rc = 0;
    QM_CU_TRY(d, MemsetD32Async(t->j->word, 0, 1, t->j->m->s));
    QM_CU_TRY(d, StreamSynchronize(t->j->m->s));
    if ((rc = micro_time(t->j->m, go, t, n, ns, host, e))) goto out;
    QM_CU_TRY(d, MemcpyDtoH(&word, t->j->word, 4));
    if (counts && word != n) *wrong = "a kernel began before the one ahead of it had written";
out:
    return rc;
}

static int measure(job *j, const char *name, int counts, qm_err *e) {
    micro *m = j->m;
    const uint32_t few = m->sim ? 2 : 32, many = m->sim ? 5 : 544;
    timed lo = {j, NULL}, hi = {j, NULL};
    const char *wrong = NULL;
    double *ns = calloc((size_t)m->repeats, sizeof *ns), *host = calloc((size_t)m->repeats, sizeof *host);
    int rc = 0, n = 0;
    if (!ns || !host) {
        rc = qm_fail(e, QM_ERR_NOMEM, "%s: out of host memory", name);
        goto out;
    }
    if ((j->how == GRAPH || j->how == FORKS) &&
        ((rc = graph_of(j, few, &lo.x, e)) || (rc = graph_of(j, many, &hi.x, e))))
        goto out;
    if (j->how == GRAPHS && (rc = graph_of(j, 1, &j->one, e))) goto out;
    for (int i = m->sim ? 0 : -2; i < m->repeats && !wrong; i++) { /* negative: warm-up */
        double a, b, ha, hb;
        if ((rc = once(&lo, few, counts, &a, &ha, &wrong, e)) || (rc = once(&hi, many, counts, &b, &hb, &wrong, e)))
            goto out;
        if (i < 0) continue;
        ns[n] = (b - a) / (many - few);
        host[n++] = (hb - ha) / (many - few);
    }
    json_t *p = json_pack("{s:i,s:i}", "grid", (int)j->grid, "block", (int)j->block);
    if (j->how != GRAPH && j->how != FORKS)
        json_object_set_new(p, "host_ns", !m->timed ? json_null() : json_real(qm_bench_median(host, n)));
    micro_report(m, name, p, ns, n, 0, wrong);
out:
    if (lo.x) m->d->cu.GraphExecDestroy(lo.x);
    if (hi.x) m->d->cu.GraphExecDestroy(hi.x);
    if (j->one) m->d->cu.GraphExecDestroy(j->one);
    j->one = NULL;
    free(ns);
    free(host);
    return rc;
}

int micro_launch_all(micro *m, qm_err *e) {
    static const struct {
        const char *name, *entry;
        way how;
        int dependent, wide; /* wide: a CTA of 256 threads on every multiprocessor, else one of 32 */
    } rows[] = {
        {"launch/stream empty", "qm_micro_empty", STREAM, 0, 0},
        {"launch/stream empty wide", "qm_micro_empty", STREAM, 0, 1},
        {"launch/stream step", "qm_micro_step", STREAM, 0, 1},
        {"launch/cooperative step", "qm_micro_step", COOPERATIVE, 0, 1},
        {"launch/graph empty", "qm_micro_empty", GRAPH, 0, 0},
        {"launch/graph empty wide", "qm_micro_empty", GRAPH, 0, 1},
        {"launch/graph step", "qm_micro_step", GRAPH, 0, 1},
        {"launch/graph fork empty", "qm_micro_empty", FORKS, 0, 0},
        {"launch/graph fork empty wide", "qm_micro_empty", FORKS, 0, 1},
        {"launch/graph of one", "qm_micro_step", GRAPHS, 0, 1},
        {"launch/event", "qm_micro_empty", EVENTS, 0, 0},
        {"launch/dependent stream empty", "qm_micro_empty_dep", STREAM, 1, 1},
        {"launch/dependent stream step", "qm_micro_step_dep", STREAM, 1, 1},
        {"launch/dependent graph empty", "qm_micro_empty_dep", GRAPH, 1, 1},
        {"launch/dependent graph step", "qm_micro_step_dep", GRAPH, 1, 1},
    };
    int rc = 0;
    job j = {.m = m};
    QM_CU_TRY(m->d, MemAlloc(&j.word, 128));
    QM_CU_TRY(m->d, EventCreate(&j.event, CU_EVENT_DISABLE_TIMING));
    QM_CU_TRY(m->d, EventCreate(&j.fork, CU_EVENT_DISABLE_TIMING));
    QM_CU_TRY(m->d, EventCreate(&j.join, CU_EVENT_DISABLE_TIMING));
    QM_CU_TRY(m->d, StreamCreate(&j.side, CU_STREAM_NON_BLOCKING));
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (!micro_wanted(m, rows[i].name)) continue;
        if (rows[i].dependent && m->d->cc_major < 9) {
            micro_skip(m, rows[i].name, "needs compute capability 9.0");
            continue;
        }
        if (rows[i].dependent && !m->d->cu.LaunchKernelEx) {
            micro_skip(m, rows[i].name, "the driver has no cuLaunchKernelEx (CUDA 11.8)");
            continue;
        }
        if (rows[i].dependent && rows[i].how == GRAPH && !m->sim && m->d->driver_version < 12030) {
            micro_skip(m, rows[i].name, "captured dependent launches need a driver of CUDA 12.3");
            continue;
        }
        j.how = rows[i].how;
        j.dependent = rows[i].dependent;
        j.grid = rows[i].wide ? (unsigned)m->d->n_sm : 1;
        j.block = rows[i].wide ? 256 : 32;
        if ((rc = micro_function(m, j.dependent ? MICRO_DEPENDENT : MICRO_SYNC, rows[i].entry, &j.f, e)) ||
            (rc = measure(&j, rows[i].name, rows[i].entry[9] == 's', e))) {
            if (!j.dependent) goto out;
            micro_skip(m, rows[i].name, e->msg); /* the newest of these: some driver may not take it */
            rc = 0;
            *e = (qm_err){0};
        }
    }
out:
    if (j.word) m->d->cu.MemFree(j.word);
    if (j.side) m->d->cu.StreamDestroy(j.side);
    for (CUevent *x = (CUevent[]){j.event, j.fork, j.join, NULL}; *x; x++) m->d->cu.EventDestroy(*x);
    return rc;
}
