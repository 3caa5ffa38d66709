/* exec_hook.c: tells the checks and the counters of one access. */
#include "check.h"
#include "counters.h"
#include "depend.h"
#include "warp.h"

static sim_access access_of(const sim_warp *w, const sim_inst *in, uint32_t m, int space, int kind, uint32_t bytes,
                            const uint64_t *addr) {
    return (sim_access){.space = space,
                        .kind = kind,
                        .bytes = bytes,
                        .mask = m,
                        .addr = addr,
                        .cta = w->cta->id,
                        .thread0 = (uint64_t)w->id * 32,
                        .cta_shadow = w->cta->shadow,
                        .line = in->line,
                        .func = w->cta->f};
}

int sim_hook(sim_warp *w, const sim_inst *in, uint32_t m, int space, int kind, int order, uint32_t bytes,
             const uint64_t *addr) {
    const qm_sim_options *o = &w->cta->l->opt;
    if (!w->wk->hooked) return X_NEXT;
    sim_access a = access_of(w, in, m, space, kind, bytes, addr);
    a.order = order;
    a.nc = (in->mod & F_NC) != 0;
    if (in->mod & F_HINT) {
        /* any other value there is one that the PTX manual leaves open */
        const uint64_t policy = ((const uint64_t *)(w->r + in->o[SIM_MAX_O - 1]))[__builtin_ctz(m)];
        if (policy >> 8 != SIM_POLICY >> 8)
            return sim_fault(w, in, __builtin_ctz(m), SIM_ILLEGAL_INSTRUCTION,
                             "its cache policy 0x%llx is not one that createpolicy made", (unsigned long long)policy);
        a.policy = (int)(policy & 0xff);
    }
    a.cta_scope = order != SIM_WEAK && (in->mod & F_SCOPE_CTA) != 0; /* an atomic without a scope has .gpu */
    if (space == SIM_SPACE_GLOBAL) a.alloc = sim_mem_find(addr[__builtin_ctz(m)]);
    if (o->check_races || o->check_uninit) {
        int rc = sim_check_access(w->cta->l, &a);
        if (rc) {
            w->wk->fault = rc;
            return X_FAULT;
        }
    }
    if (o->check_dependent && (w->wk->fault = sim_depend_access(&a, w->cta->l, w->waited))) return X_FAULT;
    if (o->count) sim_count_access(&w->wk->c, &a);
    return X_NEXT;
}

int sim_hook_copy(sim_warp *w, const sim_inst *in, uint32_t m, uint32_t bytes, const uint64_t *addr, int landed) {
    if (!w->cta->l->opt.check_races) return X_NEXT;
    const sim_access a = access_of(w, in, m, SIM_SPACE_SHARED, SIM_WRITE, bytes, addr);
    if (landed) {
        sim_check_landed(&a);
        return X_NEXT;
    }
    const int rc = sim_check_copying(&a);
    if (!rc) return X_NEXT;
    w->wk->fault = rc;
    return X_FAULT;
}
