/* exec_sched.c: who runs next: groups of lanes within a warp, slices of a CTA's warps. */
#include "exec.h"
#include "run.h"

#define SLICE 2000 /* warp instructions before another warp's turn */

/* ---- groups ---- */
/* Chooses the runnable group with the lowest pc, merging equals. -1: none can run now. */
static int pick(sim_warp *w) {
    for (int pass = 0; pass < 2; pass++) {
        int best = -1;
        for (int i = 0; i < w->ng; i++) {
            sim_group *g = &w->g[i];
            if (g->state == G_SYNC && g->mask == (g->member & w->live)) g->state = G_RUN;
            if (g->state != G_RUN) continue;
            if (best >= 0 && w->g[best].pc == g->pc) {
                w->g[best].mask |= g->mask;
                *g = w->g[--w->ng];
                i--;
            } else if (best < 0 || g->pc < w->g[best].pc) best = i;
        }
        if (best >= 0) return w->cur = best;
        int woke = 0;
        for (int i = 0; i < w->ng; i++)
            if (w->g[i].state == G_DEFER) w->g[i].state = G_RUN, woke = 1;
        if (!woke) return -1;
    }
    return -1;
}

/* At a reconvergence point with several groups: 1 if another group must run, or be merged, first. */
static int reconverges(sim_warp *w, int32_t pc) {
    for (int i = 0; i < w->ng; i++)
        if (i != w->cur && w->g[i].state == G_RUN && w->g[i].pc <= pc) return 1;
    return 0;
}

/* No group of a warp can run and none waits at a CTA barrier: some member never comes. */
static int stuck_in_sync(sim_warp *w) {
    int sync = -1;
    for (int i = 0; i < w->ng; i++) {
        if (w->g[i].state == G_BAR) return -1;
        if (w->g[i].state == G_SYNC && sync < 0) sync = i;
    }
    return sync;
}

static int report_sync(sim_warp *w, int i) {
    const sim_group *g = &w->g[i];
    uint32_t absent = g->member & w->live & ~g->mask;
    return sim_fault(w, &w->cta->f->code[g->pc], __builtin_ctz(g->mask), SIM_LAUNCH_FAILED,
                     "member mask 0x%08x, but lanes 0x%08x never arrive", g->member, absent);
}

/* ---- a warp's slice ---- */
enum { W_SLICE, W_BLOCKED, W_DONE, W_FAULT, W_YIELD };

static inline __attribute__((always_inline)) int run_slice(sim_warp *w, int budget, const int counting) {
    const sim_inst *code = w->cta->f->code;
    const sim_handler *tab = w->wk->tab;
    uint64_t lanes = 0;
    int left = budget, rc = W_SLICE;
    w->polls = 0;
    for (;;) {
        if (!w->live) {
            rc = W_DONE;
            break;
        }
        if (pick(w) < 0) {
            int s = stuck_in_sync(w);
            rc = s >= 0 ? report_sync(w, s), W_FAULT : W_BLOCKED;
            break;
        }
        int32_t pc = w->g[w->cur].pc;
        const uint32_t mask = w->g[w->cur].mask;
        w->gmask = mask;
        int fresh = 1; /* a group picked at such a point is the one to run */
        for (;;) {
            const sim_inst *in = &code[pc];
            if (in->flags & IF_RECONVERGE && !fresh && w->ng > 1 && reconverges(w, pc)) {
                w->g[w->cur].pc = pc;
                break;
            }
            fresh = 0;
            if (--left < 0) {
                w->g[w->cur].pc = pc;
                goto out;
            }
            uint32_t m = mask;
            if (in->guard) m &= *(const uint32_t *)(w->r + in->guard) ^ in->gneg;
            if (!m) {
                pc++;
                continue;
            }
            if (counting) lanes += (uint64_t)__builtin_popcount(m);
            w->pc = pc;
            int x = tab[in->op](w, in, m);
            if (__builtin_expect(x == X_NEXT, 1)) {
                if (counting && in->flags & (IF_MMA_INT | IF_MMA_FLOAT))
                    *(in->flags & IF_MMA_INT ? &w->wk->c.mma_int : &w->wk->c.mma_float) += 16u * 8u * in->n;
                pc++;
                continue;
            }
            if (x == X_JUMP) {
                pc = w->npc;
                continue;
            }
            if (x == X_RESCHED) break;
            rc = x == X_YIELD ? W_YIELD : W_FAULT;
            goto out;
        }
    }
out:
    w->wk->n_insts += (uint64_t)(budget - (left < 0 ? 0 : left));
    if (counting) w->wk->c.thread_insts += lanes;
    return rc;
}
static int slice_plain(sim_warp *w, int budget) { return run_slice(w, budget, 0); }
static int slice_counted(sim_warp *w, int budget) { return run_slice(w, budget, 1); }

int sim_cta_round(sim_worker *wk, sim_cta *c) {
    int done = 0, ran = 0, all_yield = 1;
    int (*slice)(sim_warp *, int) = wk->l->opt.count ? slice_counted : slice_plain;
    uint32_t start = wk->l->opt.sched_seed ? (uint32_t)((wk->l->opt.sched_seed * 2654435761u + c->id) % c->n_warps) : 0;
    int turn = SLICE;
    if (wk->l->opt.sched_seed) { /* turns of any length */
        wk->turn = wk->turn * 6364136223846793005ull + wk->l->opt.sched_seed;
        turn = 1 + (int)((wk->turn >> 33) % SLICE);
    }
    for (uint32_t k = 0; k < c->n_warps; k++) {
        sim_warp *w = &c->warps[(k + start) % c->n_warps];
        if (w->done) {
            done++;
            continue;
        }
        if (w->blocked) continue;
        ran = 1;
        switch (slice(w, turn)) {
        case W_DONE:
            w->done = 1;
            done++;
            all_yield = 0;
            break;
        case W_BLOCKED:
            w->blocked = 1;
            if (w->ng > 1 && sim_cta_diverged(c, w)) return C_FAULT;
            /* the last arrival of a barrier frees its own warp inside the slice */
            break;
        case W_FAULT: return C_FAULT;
        case W_YIELD: break;
        default: all_yield = 0; break;
        }
        if (atomic_load_explicit(&wk->rs->fault, memory_order_relaxed)) return C_FAULT;
    }
    if (done == (int)c->n_warps) return C_DONE;
    if (!ran) {
        wk->fault = sim_cta_report_blocked(c);
        return C_FAULT;
    }
    return all_yield ? C_WAITS : C_MOVED;
}
