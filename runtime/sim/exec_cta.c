/* exec_cta.c: a CTA: its memory, its registers at the start, and the words for one that is stuck. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "check.h"
#include "exec.h"
#include "ptx.h"
#include "report.h"
#include "run.h"
#include "spare.h"

sim_cta *sim_cta_new(sim_worker *wk) {
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
    c->shared = sim_spare_take(c->shared_bytes + 1024);
    c->warps = calloc(c->n_warps, sizeof *c->warps);
    size_t stride =
        (f->reg_bytes + 63 + 64) / 64 * 64; /* an odd line between warps keeps them off the same cache sets */
    uint8_t *regs = sim_spare_take(stride * c->n_warps);
    uint8_t *local = f->local_bytes ? sim_spare_take((size_t)f->local_bytes * 32 * c->n_warps) : NULL;
    if (!c->shared || !c->warps || !regs || (f->local_bytes && !local)) {
        sim_spare_give(c->shared);
        free(c->warps);
        sim_spare_give(regs);
        sim_spare_give(local);
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

void sim_cta_free(sim_cta *c) {
    if (!c) return;
    for (uint32_t i = 0; i < c->n_warps; i++) sim_async_free(&c->warps[i]);
    sim_spare_give(c->warps[0].r);
    sim_spare_give(c->warps[0].local);
    free(c->warps);
    sim_spare_give(c->shared);
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

static uint64_t permuted(const sim_permutation *p, uint64_t i) {
    return (p->mul ? i % p->n * p->mul + p->add : i) % p->n;
}

/* Multiprocessors take turns; with a seed each round of them begins elsewhere. */
void sim_cta_start(sim_cta *c, uint64_t at) {
    const sim_func *f = c->f;
    const sim_run_state *rs = c->wk->rs;
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
        w->waited = c->l->early ? 0 : SIM_FULL;
        w->back_edges = 0;
        w->first_copy = w->n_copy = w->n_async = 0;
        memset(w->commits, 0, sizeof w->commits);
        memset(w->bulk_commits, 0, sizeof w->bulk_commits);
        for (int k = 0; k < f->n_sreg; k++) fill_special(w, &f->sreg[k]);
    }
    const qm_sim_options *o = &c->l->opt;
    c->shadow = o->check_races || o->check_uninit ? sim_check_cta_begin(c->l, id, c->shared_bytes) : NULL;
}

/* Who stands where: first the groups that run or wait within their warp, then the CTA barriers by place. */
void sim_cta_describe(const sim_cta *c, char *out, size_t n) {
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
int sim_cta_report_blocked(const sim_cta *c) {
    char b[1500] = "";
    sim_cta_describe(c, b, sizeof b);
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

/* Barrier divergence shows before it can hurt: parts of a warp wait at two aligned barriers. */
int sim_cta_diverged(const sim_cta *c, sim_warp *w) {
    int first = -1;
    for (int j = 0; j < w->ng; j++) {
        const sim_group *g = &w->g[j];
        if (g->state != G_BAR) return 0;
        if (!(c->f->code[g->pc].mod & F_ALIGNED)) continue;
        if (first >= 0 && w->g[first].pc != g->pc) {
            const sim_inst *in = &c->f->code[g->pc];
            sim_fault(w, in, __builtin_ctz(g->mask), SIM_LAUNCH_FAILED,
                      "barrier divergence: lanes 0x%08x wait here, lanes 0x%08x of the same warp at line %u", g->mask,
                      w->g[first].mask, c->f->code[w->g[first].pc].line);
            return 1;
        }
        if (first < 0) first = j;
    }
    return 0;
}
