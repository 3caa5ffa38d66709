/* order.c: work that runs late (QMOE_SIM_ORDER=lazy). The driver promises when work has run at the latest: before a call
 * that waits for it returns. Here it runs no earlier than that, so that a host that forgot to wait, or a stream that
 * forgot an event, finds what was there before. Of several orders that are legal the latest call's work goes first; with
 * a seed any of them may, and work may also run before anybody waits. docs/sim.md says what counts as waiting.
 *
 * Pending work is a list in the order of the calls; each piece names the pieces that come before it, always earlier
 * in the list. Callers hold the driver's lock. */
#include "order.h"
#include <stdlib.h>
#include "../base/clock.h"
#include "../base/rng.h"
#include "context.h"
#include "depend.h"
#include "sim.h"

struct sim_pending {
    sim_pending *older, *newer;
    sim_op *op; /* NULL: nothing to run */
    uint32_t refs;
    int done, wanted, n_dep;
    double ms;
    sim_pending *dep[]; /* [n_dep], a reference to each */
};

static sim_pending *g_oldest, *g_newest;
static qm_rng g_rng;
static uint64_t g_seed; /* of g_rng */

int sim_order_lazy(void) {
    qm_sim_options o;
    qm_sim_get_options(&o);
    if (o.order_seed != g_seed) g_rng.s = g_seed = o.order_seed;
    return o.lazy;
}

/* Does the n-th of those that may run, in the order of the calls, take the place of the one chosen so far? */
static int takes(uint32_t n) { return !g_seed || !qm_rng_below(&g_rng, n); }

/* ---- nodes ---- */
sim_pending *sim_pending_share(sim_pending *n) {
    if (n) n->refs++;
    return n;
}

void sim_pending_drop(sim_pending *n) {
    if (n && !--n->refs) free(n); /* done: deps and op went then */
}

int sim_pending_done(const sim_pending *n) { return !n || n->done; }
double sim_pending_ms(const sim_pending *n) { return n->ms; }

/* Off the list, and what it held is given back. */
static void settle(sim_pending *n) {
    n->done = 1;
    n->ms = 1e3 * qm_now();
    if (n->older) n->older->newer = n->newer;
    else g_oldest = n->newer;
    if (n->newer) n->newer->older = n->older;
    else g_newest = n->older;
    for (int i = 0; i < n->n_dep; i++) sim_pending_drop(n->dep[i]);
    n->n_dep = 0;
    sim_op_free(n->op);
    n->op = NULL;
    sim_pending_drop(n);
}

void sim_order_drop(void) {
    while (g_newest) settle(g_newest);
}

/* ---- one piece ---- */
/* The operations of one captured stream run in their order, so each stream has one that may be next. */
static CUresult run(const sim_op *op);
static CUresult run_graph(const sim_oplist *l) {
    size_t at[SIM_CAPTURE_STREAMS]; /* the first of each stream that has not run; l->n: none */
    CUresult r = CUDA_SUCCESS;
    sim_depend_break(-1);
    for (int s = 0; s < SIM_CAPTURE_STREAMS; s++)
        for (at[s] = 0; at[s] < l->n && l->v[at[s]]->stream != s;) at[s]++;
    for (size_t ran = 0; ran < l->n && !r; ran++) {
        int pick = -1;
        uint32_t n_ready = 0;
        for (int s = 0; s < SIM_CAPTURE_STREAMS; s++) {
            if (at[s] == l->n) continue;
            int ok = 1;
            for (int o = 0; o < SIM_CAPTURE_STREAMS && ok; o++)
                ok = at[o] == l->n || l->v[at[o]]->serial > l->v[at[s]]->after[o];
            if (!ok) continue;
            if (pick < 0 || (g_seed ? takes(n_ready + 1) : at[s] > at[pick])) pick = s;
            n_ready++;
        }
        r = run(l->v[at[pick]]);
        for (at[pick]++; at[pick] < l->n && l->v[at[pick]]->stream != pick;) at[pick]++;
    }
    return r;
}

static CUresult run(const sim_op *op) { return op->kind == SIM_OP_CHILD ? run_graph(op->child) : sim_op_run(op); }

/* ---- choosing and running ---- */
/* Marks all that the wanted ones wait for: one walk back, since a piece comes after what it waits for. */
static void mark(void) {
    for (sim_pending *n = g_newest; n; n = n->older)
        for (int i = 0; n->wanted && i < n->n_dep; i++) n->dep[i]->wanted = 1;
}

static int ready(const sim_pending *n) {
    for (int i = 0; i < n->n_dep; i++)
        if (!n->dep[i]->done) return 0;
    return 1;
}

/* Runs one wanted piece that is ready; *left: there was one. */
static CUresult run_one(int *left) {
    sim_pending *pick = NULL;
    uint32_t n_ready = 0;
    for (sim_pending *n = g_oldest; n; n = n->newer)
        if (n->wanted && ready(n) && takes(++n_ready)) pick = n;
    *left = pick != NULL;
    if (!pick) return CUDA_SUCCESS;
    CUresult r = pick->op ? run(pick->op) : CUDA_SUCCESS;
    if (!r) settle(pick);
    else { /* asynchronous: the context is lost, and nothing that was pending runs */ sim_poison(r);
        sim_order_drop();
    }
    return r;
}

static CUresult run_wanted(void) {
    CUresult r = CUDA_SUCCESS;
    mark();
    for (int left = 1; left && !r;) r = run_one(&left);
    return r;
}

/* With a seed, the device may have got on by itself. */
static void want_more(void) {
    if (!g_seed || qm_rng_below(&g_rng, 2)) return;
    uint32_t n = 0, which;
    for (const sim_pending *x = g_oldest; x; x = x->newer) n++;
    if (!n) return;
    which = qm_rng_below(&g_rng, n);
    for (sim_pending *x = g_oldest; x; x = x->newer)
        if (!which--) x->wanted = 1;
}

CUresult sim_order_add(const sim_op *op, sim_pending *const *dep, int n, sim_pending **out) {
    sim_pending *x = calloc(1, sizeof *x + (size_t)n * sizeof *x->dep);
    *out = NULL;
    if (!x || (op && !(x->op = sim_op_copy(op)))) {
        free(x);
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    for (int i = 0; i < n; i++)
        if (!sim_pending_done(dep[i])) x->dep[x->n_dep++] = sim_pending_share(dep[i]);
    x->refs = 1;
    x->older = g_newest;
    if (g_newest) g_newest->newer = x;
    else g_oldest = x;
    g_newest = x;
    *out = sim_pending_share(x);
    want_more();
    return run_wanted();
}

CUresult sim_order_finish(sim_pending *want) {
    if (sim_pending_done(want)) return CUDA_SUCCESS;
    want->wanted = 1;
    want_more();
    return run_wanted();
}

CUresult sim_order_query(sim_pending *want) {
    int left;
    if (sim_pending_done(want)) return CUDA_SUCCESS;
    want->wanted = 1;
    mark();
    CUresult r = run_one(&left);
    for (sim_pending *n = g_oldest; n; n = n->newer) n->wanted = 0;
    return r ? r : CUDA_ERROR_NOT_READY;
}

CUresult sim_order_drain(void) {
    for (sim_pending *n = g_oldest; n; n = n->newer) n->wanted = 1;
    return run_wanted();
}
