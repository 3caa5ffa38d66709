/* exec.c: runs a grid: warps in slices, groups of lanes within a warp, CTAs resident or in waves,
 * worker threads over CTAs, and the verdict when nothing moves any more. */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "exec.h"
#include "exec_slow.h"
#include "parse.h"

#define SLICE 2000             /* warp instructions before another warp's turn */
#define IDLE_ROUNDS 4000       /* rounds of nothing but waiting before a worker calls itself stuck */
#define IDLE_BITS 16           /* more workers than the host could run */
#define IDLE_INSTS 40000000ull /* or this many instructions without any effect */
#define SPAWN_AFTER 40000ull   /* warp instructions that one thread runs before help is called */

/* i -> (i * mul + add) mod n; mul and n share no factor. mul 0: i -> i mod n */
typedef struct {
    uint64_t n, mul, add;
} permutation;

typedef struct sim_run_state {
    const sim_launch *l;
    uint64_t n_cta;
    _Atomic uint64_t next; /* CTAs handed out, in launch order */
    _Atomic uint64_t resident, max_resident;
    _Atomic uint64_t epoch; /* rises whenever any worker makes progress */
    _Atomic uint64_t idle;  /* epoch << IDLE_BITS | workers that have seen nothing change since that epoch */
    _Atomic int fault, active;
    permutation order, sms; /* the seed's: of the CTAs, and of the multiprocessors that take them in turn */
    int n_workers;
} run_state;

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

/* At a joint with several groups: 1 if another group must run (or was merged) first. */
static int joint(sim_warp *w, int32_t pc) {
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
        int fresh = 1; /* a group picked at a joint is the one to run */
        for (;;) {
            const sim_inst *in = &code[pc];
            if (in->flags & IF_JOIN && !fresh && w->ng > 1 && joint(w, pc)) {
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

/* ---- a CTA ---- */
static sim_cta *cta_new(sim_worker *wk) {
    const sim_func *f = wk->f;
    const sim_launch *l = wk->l;
    sim_cta *c = calloc(1, sizeof *c);
    if (!c) return NULL;
    c->l = l;
    c->f = f;
    c->wk = wk;
    c->n_threads = l->block[0] * l->block[1] * l->block[2];
    c->n_warps = (c->n_threads + 31) / 32;
    uint32_t base = (f->shared_bytes + f->shared_align - 1) / f->shared_align * f->shared_align;
    c->shared_bytes = l->dyn_shared ? base + l->dyn_shared : f->shared_bytes;
    c->shared = aligned_alloc(1024, (c->shared_bytes + 1023 + 1024) / 1024 * 1024);
    c->warps = calloc(c->n_warps, sizeof *c->warps);
    size_t stride =
        (f->reg_bytes + 63 + 64) / 64 * 64; /* an odd line between warps keeps them off the same cache sets */
    uint8_t *regs = aligned_alloc(64, stride * c->n_warps);
    uint8_t *local = f->local_bytes ? malloc((size_t)f->local_bytes * 32 * c->n_warps) : NULL;
    if (!c->shared || !c->warps || !regs || (f->local_bytes && !local)) {
        free(c->shared);
        free(c->warps);
        free(regs);
        free(local);
        free(c);
        return NULL;
    }
    for (uint32_t i = 0; i < c->n_warps; i++) {
        sim_warp *w = &c->warps[i];
        w->cta = c;
        w->wk = wk;
        w->id = i;
        w->r = regs + i * stride;
        w->local = local ? local + (size_t)i * f->local_bytes * 32 : NULL;
        w->shared = c->shared;
        w->shared_bytes = c->shared_bytes;
        memcpy(w->r + f->const_off, f->consts, f->reg_bytes - f->const_off);
    }
    return c;
}

static void cta_free(sim_cta *c) {
    if (!c) return;
    for (uint32_t i = 0; i < c->n_warps; i++) sim_async_free(&c->warps[i]);
    free(c->warps[0].r);
    free(c->warps[0].local);
    free(c->warps);
    free(c->shared);
    free(c->bulk);
    free(c);
}

static void fill_special(sim_warp *w, const sim_sreg *s) {
    const sim_cta *c = w->cta;
    const sim_launch *l = c->l;
    uint32_t *d = (uint32_t *)(w->r + s->off);
    for (uint32_t i = 0; i < 32; i++) {
        uint32_t t = w->id * 32 + i, v = 0;
        switch (s->sreg) {
        case SR_TID_X: v = t % l->block[0]; break;
        case SR_TID_Y: v = t / l->block[0] % l->block[1]; break;
        case SR_TID_Z: v = t / (l->block[0] * l->block[1]); break;
        case SR_NTID_X:
        case SR_NTID_Y:
        case SR_NTID_Z: v = l->block[s->sreg - SR_NTID_X]; break;
        case SR_CTAID_X:
        case SR_CTAID_Y:
        case SR_CTAID_Z: v = c->ctaid[s->sreg - SR_CTAID_X]; break;
        case SR_NCTAID_X:
        case SR_NCTAID_Y:
        case SR_NCTAID_Z: v = l->grid[s->sreg - SR_NCTAID_X]; break;
        case SR_LANEID: v = i; break;
        case SR_WARPID: v = w->id; break;
        case SR_NWARPID: v = c->n_warps; break;
        case SR_SMID: v = c->sm; break;
        case SR_NSMID: v = (uint32_t)l->opt.n_sm; break;
        case SR_LANEMASK_EQ: v = 1u << i; break;
        case SR_LANEMASK_LE: v = i == 31 ? ~0u : (2u << i) - 1; break;
        case SR_LANEMASK_LT: v = (1u << i) - 1; break;
        case SR_LANEMASK_GE: v = ~0u << i; break;
        case SR_LANEMASK_GT: v = i == 31 ? 0 : ~0u << (i + 1); break;
        case SR_DYNAMIC_SMEM_SIZE: v = l->dyn_shared; break;
        case SR_TOTAL_SMEM_SIZE: v = c->shared_bytes; break;
        default: break;
        }
        if (s->sreg == SR_GRIDID) ((uint64_t *)d)[i] = 1;
        else d[i] = v;
    }
}

static uint64_t permuted(const permutation *p, uint64_t i) { return (p->mul ? i % p->n * p->mul + p->add : i) % p->n; }

/* The at-th CTA to start: which one it is and where it runs. Multiprocessors take turns; with a seed each round of them
 * begins elsewhere. */
static void cta_start(sim_cta *c, uint64_t at) {
    const sim_func *f = c->f;
    const run_state *rs = c->wk->rs;
    const uint64_t id = permuted(&rs->order, at);
    c->id = id;
    c->sm = (uint32_t)permuted(&rs->sms, rs->sms.mul ? at + at / rs->sms.n * rs->sms.mul : at);
    c->ctaid[0] = (uint32_t)(id % c->l->grid[0]);
    c->ctaid[1] = (uint32_t)(id / c->l->grid[0] % c->l->grid[1]);
    c->ctaid[2] = (uint32_t)(id / ((uint64_t)c->l->grid[0] * c->l->grid[1]));
    c->live_threads = c->n_threads;
    c->n_bulk = 0;
    for (int i = 0; i < SIM_N_BAR; i++) c->bar[i] = (sim_bar){.red_and = 1};
    memset(c->shared, 0xa5, c->shared_bytes); /* the same garbage every time */
    for (uint32_t i = 0; i < c->n_warps; i++) {
        sim_warp *w = &c->warps[i];
        uint32_t n = c->n_threads - i * 32;
        memset(w->r, 0xa5, f->const_off);
        if (w->local) memset(w->local, 0xa5, (size_t)f->local_bytes * 32);
        w->live = n >= 32 ? SIM_FULL : (1u << n) - 1;
        w->ng = 1;
        w->g[0] = (sim_group){.mask = w->live};
        w->done = w->blocked = 0;
        w->back_edges = 0;
        w->n_async = 0;
        memset(w->commits, 0, sizeof w->commits);
        memset(w->bulk_commits, 0, sizeof w->bulk_commits);
        for (int k = 0; k < f->n_sreg; k++) fill_special(w, &f->sreg[k]);
    }
    const qm_sim_options *o = &c->l->opt;
    c->shadow = o->check_races || o->check_uninit ? sim_check_cta_begin(c->l, id, c->shared_bytes) : NULL;
}

/* Who stands where: first the groups that run or wait within their warp, then the CTA barriers by place. */
static void describe_cta(const sim_cta *c, char *out, size_t n) {
    size_t k = 0;
    static const char *const st[] = {"runs", "sleeps", "waits in warp"};
    for (uint32_t i = 0; i < c->n_warps && k + 120 < n; i++) {
        const sim_warp *w = &c->warps[i];
        for (int j = 0; j < w->ng && k + 120 < n; j++) {
            const sim_group *g = &w->g[j];
            const sim_inst *in = &c->f->code[g->pc];
            if (g->state == G_BAR) continue;
            k += (size_t)snprintf(out + k, n - k, "; CTA %llu warp %u lanes 0x%08x %s at line %u `%.*s`",
                                  (unsigned long long)c->id, i, g->mask, st[g->state], in->line,
                                  c->f->text_n[g->pc] > 60 ? 60 : c->f->text_n[g->pc], c->f->text[g->pc]);
        }
    }
    for (int pc = 0; pc < c->f->n_code && k + 120 < n; pc++) {
        uint32_t threads = 0, first = 0;
        for (uint32_t i = c->n_warps; i-- > 0;)
            for (int j = 0; j < c->warps[i].ng; j++)
                if (c->warps[i].g[j].state == G_BAR && c->warps[i].g[j].pc == pc)
                    threads += (uint32_t)__builtin_popcount(c->warps[i].g[j].mask), first = i;
        if (threads)
            k += (size_t)snprintf(
                out + k, n - k,
                "; CTA %llu: a group of %u threads, the first in warp %u, waits in CTA at line %u `%.*s`",
                (unsigned long long)c->id, threads, first, c->f->code[pc].line,
                c->f->text_n[pc] > 60 ? 60 : c->f->text_n[pc], c->f->text[pc]);
    }
}

/* Nothing in this CTA can run: say whether lanes of one warp stand at different barriers. */
static int report_blocked(sim_cta *c) {
    char b[1500] = "";
    describe_cta(c, b, sizeof b);
    for (uint32_t i = 0; i < c->n_warps; i++) {
        const sim_warp *w = &c->warps[i];
        for (int j = 1; j < w->ng; j++)
            if (w->g[j].state == G_BAR && w->g[0].state == G_BAR && w->g[j].pc != w->g[0].pc) {
                sim_report("%s: barrier divergence: lanes of one warp wait at different barriers%s", c->f->name, b);
                return SIM_LAUNCH_FAILED;
            }
    }
    sim_report("%s: deadlock: a CTA waits for threads that never arrive%s", c->f->name, b);
    return SIM_DEADLOCK;
}

/* Barrier divergence shows before it can hurt: aligned barriers met by parts of a warp at two places. */
static int diverged(sim_cta *c, const sim_warp *w) {
    int first = -1;
    for (int j = 0; j < w->ng; j++) {
        const sim_group *g = &w->g[j];
        if (g->state != G_BAR) return 0;
        if (!(c->f->code[g->pc].mod & F_ALIGNED)) continue;
        if (first >= 0 && w->g[first].pc != g->pc) {
            const sim_inst *in = &c->f->code[g->pc];
            sim_fault((sim_warp *)w, in, __builtin_ctz(g->mask), SIM_LAUNCH_FAILED,
                      "barrier divergence: lanes 0x%08x wait here, lanes 0x%08x of the same warp at line %u", g->mask,
                      w->g[first].mask, c->f->code[w->g[first].pc].line);
            return 1;
        }
        if (first < 0) first = j;
    }
    return 0;
}

enum { C_MOVED, C_WAITS, C_DONE, C_FAULT };
/* One slice for every warp that can run. */
static int cta_round(sim_worker *wk, sim_cta *c) {
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
            if (w->ng > 1 && diverged(c, w)) return C_FAULT;
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
        wk->fault = report_blocked(c);
        return C_FAULT;
    }
    return all_yield ? C_WAITS : C_MOVED;
}

/* ---- workers ---- */
static int take(run_state *rs, uint64_t *at) {
    uint64_t r = atomic_load(&rs->resident);
    do
        if (r >= rs->max_resident) return 0;
    while (!atomic_compare_exchange_weak(&rs->resident, &r, r + 1));
    uint64_t i = atomic_fetch_add(&rs->next, 1);
    if (i >= rs->n_cta) {
        atomic_fetch_sub(&rs->resident, 1);
        return 0;
    }
    *at = i;
    return 1;
}

typedef struct {
    sim_cta **v;
    int n, cap;
    sim_cta *spare;
} cta_list;

static int list_start(sim_worker *wk, cta_list *s, uint64_t at) {
    if (s->n == s->cap) {
        int cap = s->cap ? 2 * s->cap : 8;
        sim_cta **v = realloc(s->v, sizeof *v * (size_t)cap);
        if (!v) return -1;
        s->v = v;
        s->cap = cap;
    }
    sim_cta *c = s->spare ? s->spare : cta_new(wk);
    s->spare = NULL;
    if (!c) return -1;
    cta_start(c, at);
    s->v[s->n++] = c;
    return 0;
}

static void report_deadlock(sim_worker *wk, const cta_list *s) {
    char b[3000] = "";
    for (int i = 0; i < s->n && strlen(b) + 200 < sizeof b; i++)
        describe_cta(s->v[i], b + strlen(b), sizeof b - strlen(b));
    sim_report("%s: deadlock: %d resident CTAs wait and nothing changes (grid %u x %u x %u%s)%s", wk->f->name, s->n,
               wk->l->grid[0], wk->l->grid[1], wk->l->grid[2],
               wk->l->cooperative ? ", cooperative" : "; CTAs beyond the resident ones have not started", b);
    wk->fault = SIM_DEADLOCK;
}

/* One more worker has found nothing to do since epoch `seen`. A count of an older epoch is void: its workers
 * have not yet looked at what changed since. */
static void call_idle(run_state *rs, uint64_t seen) {
    uint64_t was = atomic_load(&rs->idle), now;
    do {
        if (was >> IDLE_BITS > seen) return;
        now = was >> IDLE_BITS == seen ? was + 1 : seen << IDLE_BITS | 1;
    } while (!atomic_compare_exchange_weak(&rs->idle, &was, now));
}
/* `active` is read first: who leaves has raised the epoch before, so that the count read after it is void too. */
static int all_idle(run_state *rs, uint64_t seen) {
    const uint64_t active = (uint64_t)atomic_load(&rs->active), idle = atomic_load(&rs->idle);
    return atomic_load(&rs->epoch) == seen && idle >> IDLE_BITS == seen && (idle & ((1u << IDLE_BITS) - 1)) >= active;
}

static void worker_run(sim_worker *wk, uint64_t stop_after) {
    run_state *rs = wk->rs;
    cta_list s = {0};
    uint64_t at, idle_from = wk->n_insts, seen = atomic_load(&rs->epoch), mine = wk->progress;
    int waits = 0, is_idle = 0, failed = 0;
    if (rs->l->cooperative) /* all of a worker's share at once */
        for (uint64_t i = (uint64_t)wk->index; i < rs->n_cta && !failed; i += (uint64_t)rs->n_workers)
            failed = list_start(wk, &s, i) < 0;
    for (;;) {
        if (failed) {
            sim_report("%s: the host is out of memory for resident CTAs", wk->f->name);
            wk->fault = SIM_LAUNCH_FAILED;
            break;
        }
        if (atomic_load_explicit(&rs->fault, memory_order_relaxed)) break;
        if (!s.n) {
            if (rs->l->cooperative || wk->n_insts >= stop_after || !take(rs, &at)) break;
            failed = list_start(wk, &s, at) < 0;
            continue;
        }
        int moved = 0, fault = 0;
        for (int i = 0; i < s.n; i++) {
            int rc = cta_round(wk, s.v[i]);
            if (rc == C_FAULT) {
                fault = 1;
                break;
            }
            if (rc == C_DONE) {
                if (s.v[i]->shadow) sim_check_cta_end(s.v[i]->shadow);
                s.v[i]->shadow = NULL;
                if (s.spare) cta_free(s.v[i]);
                else s.spare = s.v[i];
                s.v[i--] = s.v[--s.n];
                if (!rs->l->cooperative) atomic_fetch_sub(&rs->resident, 1);
                moved = 1;
            } else if (rc == C_MOVED) moved = 1;
        }
        if (fault) break;
        if (wk->progress != mine) {
            mine = wk->progress;
            atomic_fetch_add_explicit(&rs->epoch, 1, memory_order_relaxed);
        }
        uint64_t now = atomic_load_explicit(&rs->epoch, memory_order_relaxed);
        if (now != seen) {
            seen = now;
            waits = 0;
            idle_from = wk->n_insts;
            is_idle = 0; /* what was counted for an older epoch no longer counts */
            if (moved) continue;
        }
        if (!moved) {
            if (++waits % 4 == 0) sched_yield();
            /* this wave waits for something: let the next resident CTA in */
            if (!rs->l->cooperative && waits > 64 && take(rs, &at)) failed = list_start(wk, &s, at) < 0, waits = 0;
        }
        if (!is_idle && (waits > IDLE_ROUNDS || wk->n_insts - idle_from > IDLE_INSTS)) {
            is_idle = 1;
            call_idle(rs, seen);
        }
        if (is_idle && all_idle(rs, seen)) {
            report_deadlock(wk, &s);
            break;
        }
    }
    if (wk->fault) {
        int none = 0;
        atomic_compare_exchange_strong(&rs->fault, &none, wk->fault);
    }
    atomic_fetch_sub(&rs->active, 1);
    for (int i = 0; i < s.n; i++) {
        if (s.v[i]->shadow) sim_check_cta_end(s.v[i]->shadow);
        cta_free(s.v[i]);
    }
    cta_free(s.spare);
    free(s.v);
}

static void *worker_main(void *p) {
    worker_run(p, UINT64_MAX);
    return NULL;
}

static int launch_ok(const sim_launch *l) {
    const sim_func *f = l->func;
    uint64_t threads = (uint64_t)l->block[0] * l->block[1] * l->block[2];
    if (!threads || threads > 1024 || !l->grid[0] || !l->grid[1] || !l->grid[2]) return 0;
    if (threads > f->max_threads) return 0;
    if (f->reqntid[0] && memcmp(f->reqntid, l->block, sizeof f->reqntid)) return 0;
    return l->grid[1] <= 65535 && l->grid[2] <= 65535 && l->grid[0] <= 0x7fffffff;
}

static uint64_t gcd(uint64_t a, uint64_t b) { return b ? gcd(b, a % b) : a; }

static permutation permutation_of(uint64_t n, uint64_t seed) {
    permutation p = {.n = n};
    if (!seed) return p;
    p.mul = (seed * 6364136223846793005ull >> 33) % n | 1;
    while (gcd(p.mul % n, n) != 1 && n > 1) p.mul++;
    p.add = (seed * 1442695040888963407ull >> 33) % n;
    return p;
}

int sim_run(const sim_launch *l, qm_sim_counters *out) {
    if (!launch_ok(l)) {
        sim_report("%s: cannot launch grid %u x %u x %u of %u x %u x %u threads (at most %u a CTA%s)", l->func->name,
                   l->grid[0], l->grid[1], l->grid[2], l->block[0], l->block[1], l->block[2], l->func->max_threads,
                   l->func->reqntid[0] ? ", .reqntid given" : "");
        return SIM_LAUNCH_FAILED;
    }
    const qm_sim_options *o = &l->opt;
    run_state rs = {.l = l, .n_cta = (uint64_t)l->grid[0] * l->grid[1] * l->grid[2]};
    uint32_t threads = l->block[0] * l->block[1] * l->block[2];
    int occ = sim_occupancy(l->func, threads, l->dyn_shared), sms = o->n_sm > 0 ? o->n_sm : 4;
    rs.max_resident = (uint64_t)(occ > 0 ? occ : 1) * (uint64_t)sms;
    if (l->cooperative && rs.n_cta > rs.max_resident) {
        sim_report("%s: a cooperative grid of %llu CTAs does not fit: %d SMs hold %d each", l->func->name,
                   (unsigned long long)rs.n_cta, sms, occ);
        return SIM_LAUNCH_FAILED;
    }
    int n = o->threads > 1 && !o->check_races && !o->check_uninit ? o->threads
                                                                  : 1; /* the shadows are read and written in turn */
    if ((uint64_t)n > rs.n_cta) n = (int)rs.n_cta;
    if (n > 64) n = 64;
    rs.n_workers = n;
    rs.order = permutation_of(rs.n_cta, o->sched_seed);
    rs.sms = permutation_of((uint64_t)sms, o->sched_seed ? o->sched_seed ^ 0x9e3779b97f4a7c15u : 0);
    if (o->check_races || o->check_uninit) sim_check_launch_begin(l);
    uint8_t *params = malloc(l->func->param_bytes + 16);
    sim_worker *wk = calloc((size_t)n, sizeof *wk);
    if (!params || !wk) {
        free(params);
        free(wk);
        sim_report("%s: the host is out of memory", l->func->name);
        return SIM_LAUNCH_FAILED;
    }
    if (l->func->param_bytes) memcpy(params, l->params, l->func->param_bytes);
    const sim_handler *tab = o->check_races || o->check_uninit || o->count ? sim_op_table_checked() : sim_op_table();
    for (int i = 0; i < n; i++) {
        wk[i].rs = (struct sim_run_state *)&rs;
        wk[i].l = l;
        wk[i].f = l->func;
        wk[i].tab = tab;
        wk[i].params = params;
        wk[i].index = i;
    }
    pthread_t th[64];
    int started = 0;
    rs.active = 1;
    if (!l->cooperative && n > 1) worker_run(&wk[0], SPAWN_AFTER); /* most launches end here */
    if (l->cooperative || (!rs.fault && rs.next < rs.n_cta) || n == 1) {
        rs.active = n;
        for (int i = 1; i < n; i++) {
            if (pthread_create(&th[started], NULL, worker_main, &wk[i])) {
                if (l->cooperative) worker_main(&wk[i]); /* cannot be left out; may deadlock, and will say so */
                else atomic_fetch_sub(&rs.active, 1);
            } else started++;
        }
        worker_run(&wk[0], UINT64_MAX);
        for (int i = 0; i < started; i++) pthread_join(th[i], NULL);
    }
    for (int i = 0; i < n; i++) {
        const uint64_t *a = (const uint64_t *)&wk[i].c;
        uint64_t *b = (uint64_t *)out;
        wk[i].c.warp_insts = wk[i].n_insts;
        for (size_t k = 0; k < sizeof *out / sizeof *b; k++) b[k] += a[k];
    }
    out->launches++;
    if (o->check_races || o->check_uninit) sim_check_launch_end(l);
    free(params);
    free(wk);
    return rs.fault;
}
