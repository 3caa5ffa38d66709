/* exec_ctl.c: control flow, CTA barriers, and warp-wide synchronisation: lanes of a member mask wait for each other. */
#include <stdio.h>
#include <string.h>
#include <time.h>
#include "check.h"
#include "depend.h"
#include "exec.h"
#include "exec_scalar.h"
#include "ptx.h"

#define R32(i) ((uint32_t *)(w->r + in->o[i]))

int h_nop(sim_warp *w, const sim_inst *in, uint32_t m) {
    (void)w;
    (void)in;
    (void)m;
    return X_NEXT;
}

static int add_group(sim_warp *w, int32_t pc, uint32_t mask) {
    w->g[w->ng] = (sim_group){.pc = pc, .mask = mask};
    return w->ng++;
}

int h_bra(sim_warp *w, const sim_inst *in, uint32_t m) {
    uint32_t rest = w->gmask & ~m;
    if (in->target <= w->pc && w->ng > 1 && ++w->back_edges > 4096) { /* a spin must not starve the others */
        w->back_edges = 0;
        w->g[w->cur].state = G_DEFER;
        if (!rest) {
            w->g[w->cur].pc = in->target;
            return X_RESCHED;
        }
    }
    if (!rest) {
        w->npc = in->target;
        return X_JUMP;
    }
    w->g[w->cur].pc = w->pc + 1;
    w->g[w->cur].mask = rest;
    add_group(w, in->target, m);
    return X_RESCHED;
}

/* Every lane to a pc of its own. */
static int scatter(sim_warp *w, const uint32_t *pc, uint32_t m) {
    uint32_t rest = w->gmask & ~m, left = m;
    int first = 1;
    if (rest) {
        w->g[w->cur].pc = w->pc + 1;
        w->g[w->cur].mask = rest;
        first = 0;
    }
    while (left) {
        uint32_t goal = pc[__builtin_ctz(left)], same = 0;
        for (uint32_t q = left; q; q &= q - 1)
            if (pc[__builtin_ctz(q)] == goal) same |= q & -q;
        left &= ~same;
        if (first) {
            if (!left) {
                w->npc = (int32_t)goal;
                return X_JUMP;
            }
            w->g[w->cur].pc = (int32_t)goal;
            w->g[w->cur].mask = same;
            first = 0;
        } else add_group(w, (int32_t)goal, same);
    }
    return X_RESCHED;
}

int h_brx(sim_warp *w, const sim_inst *in, uint32_t m) {
    uint32_t pc[32] = {0};
    const uint32_t *a = R32(0);
    for (uint32_t q = m; q; q &= q - 1) {
        int l = __builtin_ctz(q);
        if (a[l] >= (uint64_t)in->imm)
            return sim_fault(w, in, l, SIM_ILLEGAL_INSTRUCTION, "branch index %u of %d", a[l], (int)in->imm);
        pc[l] = w->cta->f->aux[in->aux + a[l]];
    }
    return scatter(w, pc, m);
}

int h_call(sim_warp *w, const sim_inst *in, uint32_t m) {
    uint32_t *r = R32(0);
    for (uint32_t q = m; q; q &= q - 1) r[__builtin_ctz(q)] = (uint32_t)w->pc + 1;
    return h_bra(w, in, m);
}

int h_ret(sim_warp *w, const sim_inst *in, uint32_t m) { return scatter(w, R32(0), m); }

/* griddepcontrol.wait: kernels run one after the other, so there is nothing to wait for. */
int h_dep_wait(sim_warp *w, const sim_inst *in, uint32_t m) {
    (void)in;
    w->waited |= m;
    return X_NEXT;
}

int h_exit(sim_warp *w, const sim_inst *in, uint32_t m) {
    if (m & ~w->waited && w->cta->l->opt.check_dependent) {
        w->wk->fault =
            sim_depend_exit(w->cta->l, w->cta->id, w->id * 32 + (uint32_t)__builtin_ctz(m & ~w->waited), in->line);
        return X_FAULT;
    }
    w->live &= ~m;
    w->cta->live_threads -= (uint32_t)__builtin_popcount(m);
    w->wk->progress++;
    uint32_t rest = w->gmask & ~m;
    if (rest) {
        w->g[w->cur].mask = rest;
        w->g[w->cur].pc = w->pc + 1;
    } else w->g[w->cur] = w->g[--w->ng];
    for (int i = 0; i < SIM_N_BAR; i++)
        if (w->cta->bar[i].arrived && !w->cta->bar[i].expect) sim_bar_try(w->cta, i);
    return X_RESCHED;
}

int h_trap(sim_warp *w, const sim_inst *in, uint32_t m) { return sim_fault(w, in, __builtin_ctz(m), SIM_TRAP, "trap"); }

/* The lanes m of the current group wait at this instruction; those whose guard is off go on. Returns the
 * group of the waiting ones. */
static int park(sim_warp *w, uint32_t m, int state) {
    uint32_t rest = w->gmask & ~m;
    int at = w->cur;
    if (rest) {
        w->g[at].mask = rest;
        w->g[at].pc = w->pc + 1;
        at = add_group(w, w->pc, m);
    } else w->g[at].pc = w->pc;
    w->g[at].mask = m;
    w->g[at].state = state;
    return at;
}

/* ---- warp-wide synchronisation ---- */
int sim_sync_enter(sim_warp *w, const sim_inst *in, uint32_t m, uint32_t member) {
    if (m & ~member)
        return sim_fault(w, in, __builtin_ctz(m & ~member), SIM_LAUNCH_FAILED,
                         "the lane executes it with member mask 0x%08x, which does not hold the lane", member);
    uint32_t need = member & w->live;
    if (m == need) return X_NEXT;
    int at = park(w, m, G_SYNC); /* together with whoever waits already */
    w->g[at].member = member;
    for (int i = 0; i < w->ng; i++) {
        sim_group *g = &w->g[i];
        if (i == at || g->state != G_SYNC || g->pc != w->pc || g->member != member) continue;
        w->g[at].mask |= g->mask;
        g->mask = 0;
    }
    if (w->g[at].mask == need) w->g[at].state = G_RUN;
    int n = 0;
    for (int i = 0; i < w->ng; i++)
        if (w->g[i].mask) w->g[n++] = w->g[i];
    w->ng = n;
    return X_RESCHED;
}

/* bar.warp.sync alone orders memory: shfl, vote and the others do not. */
static void order_lanes(const sim_warp *w, uint32_t m) {
    if (w->cta->l->opt.check_races) sim_check_warp_sync(w->cta->shadow, w->id, m);
}

int h_warpsync(sim_warp *w, const sim_inst *in, uint32_t m) {
    uint32_t member = R32(0)[__builtin_ctz(m)];
    int rc = sim_sync_enter(w, in, m, member);
    if (rc == X_NEXT) order_lanes(w, m);
    if (rc != X_RESCHED) return rc;
    /* unlike the others it may be reached at different instructions */
    uint32_t all = 0, need = member & w->live;
    for (int i = 0; i < w->ng; i++)
        if (w->g[i].state == G_SYNC && w->g[i].member == member && w->cta->f->code[w->g[i].pc].op == in->op)
            all |= w->g[i].mask;
    if (all != need) return X_RESCHED;
    order_lanes(w, need);
    for (int i = 0; i < w->ng; i++)
        if (w->g[i].state == G_SYNC && w->g[i].member == member && w->cta->f->code[w->g[i].pc].op == in->op) {
            w->g[i].state = G_RUN;
            w->g[i].pc++;
        }
    return X_RESCHED;
}

/* ---- CTA barriers ---- */
int sim_bar_try(sim_cta *c, int id) {
    sim_bar *b = &c->bar[id];
    if (b->arrived < (b->expect ? b->expect : c->live_threads)) return 0;
    for (uint32_t i = 0; i < c->n_warps; i++) {
        sim_warp *w = &c->warps[i];
        for (int k = 0; k < w->ng; k++) {
            sim_group *g = &w->g[k];
            if (g->state != G_BAR || g->bar != id) continue;
            const sim_inst *in = &c->f->code[g->pc];
            if (in->sub == 1) {
                uint32_t *d = (uint32_t *)(w->r + in->o[2]);
                for (uint32_t q = g->mask; q; q &= q - 1) d[__builtin_ctz(q)] = b->red_popc;
            } else if (in->sub) {
                uint32_t *d = (uint32_t *)(w->r + in->o[2]), v = in->sub == 2 ? b->red_and : b->red_or;
                *d = (*d & ~g->mask) | (v ? g->mask : 0);
            }
            g->state = G_RUN;
            g->pc++;
        }
        w->blocked = 0;
    }
    if (c->l->opt.check_races) {
        if (b->expect) sim_check_barrier_part(c->shadow, b->came, b->waits);
        else sim_check_barrier(c->shadow);
    }
    *b = (sim_bar){.red_and = 1};
    c->wk->progress++;
    return 1;
}

int h_bar(sim_warp *w, const sim_inst *in, uint32_t m) {
    int f = __builtin_ctz(m);
    uint32_t id = R32(0)[f], count = in->o[1] ? R32(1)[f] : 0;
    if (id >= SIM_N_BAR) return sim_fault(w, in, f, SIM_ILLEGAL_INSTRUCTION, "barrier %u does not exist", id);
    if (count % 32 || count > 1024)
        return sim_fault(w, in, f, SIM_ILLEGAL_INSTRUCTION, "%u threads: not a multiple of 32", count);
    sim_bar *b = &w->cta->bar[id];
    if (b->arrived && b->expect != count)
        return sim_fault(w, in, f, SIM_LAUNCH_FAILED, "barrier %u is met with different thread counts (%u and %u)", id,
                         b->expect, count);
    b->expect = count;
    b->arrived += count && m == w->live ? 32 : (uint32_t)__builtin_popcount(m);
    b->came |= 1u << w->id;
    if (in->sub != 4) b->waits |= 1u << w->id;
    if (w->cta->l->opt.count) w->wk->c.barriers++;
    if (in->sub >= 1 && in->sub <= 3) {
        uint32_t p = *(uint32_t *)(w->r + in->o[3]) & m;
        b->red_popc += (uint32_t)__builtin_popcount(p);
        b->red_and &= p == m;
        b->red_or |= p != 0;
    }
    if (in->sub == 4) {
        sim_bar_try(w->cta, (int)id);
        return X_NEXT;
    }
    int at = park(w, m, G_BAR);
    w->g[at].bar = (uint8_t)id;
    sim_bar_try(w->cta, (int)id);
    return X_RESCHED;
}

int h_nanosleep(sim_warp *w, const sim_inst *in, uint32_t m) {
    (void)in;
    (void)m;
    w->g[w->cur].pc = w->pc + 1;
    w->g[w->cur].state = G_DEFER;
    return X_YIELD;
}

int h_clock(sim_warp *w, const sim_inst *in, uint32_t m) {
    uint64_t v = w->wk->n_insts;
    if (in->sub >= SR_GLOBALTIMER) {
        struct timespec t;
        clock_gettime(CLOCK_MONOTONIC, &t);
        v = (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
    }
    if (in->sub == SR_CLOCK_HI || in->sub == SR_GLOBALTIMER_HI) v >>= 32;
    for (uint32_t q = m; q; q &= q - 1) {
        int l = __builtin_ctz(q);
        if (in->rsz == 8) ((uint64_t *)(w->r + in->o[0]))[l] = v;
        else R32(0)[l] = (uint32_t)v;
    }
    return X_NEXT;
}
