/* exec_mem.c: memory accesses one lane at a time: every space, every order, atomics, and the reports. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include "check.h"
#include "exec.h"
#include "exec_scalar.h"
#include "ptx.h"
#include "report.h"
typedef uint16_t __attribute__((may_alias)) u16a;
typedef uint32_t __attribute__((may_alias)) u32a;
typedef uint64_t __attribute__((may_alias)) u64a;

/* Reports "kernel NAME line N `text` thread (x,y,z) of CTA (x,y,z): ..." and marks the launch as failed. */
int sim_fault(sim_warp *w, const sim_inst *in, int lane, int code, const char *fmt, ...) {
    char b[512];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(b, sizeof b, fmt, ap);
    va_end(ap);
    const sim_cta *c = w->cta;
    const uint32_t *n = c->l->block;
    uint32_t t = w->id * 32 + (uint32_t)lane;
    long pc = in - c->f->code;
    sim_report("%s: line %u: `%.*s`: thread (%u,%u,%u) of CTA (%u,%u,%u): %s", c->f->name, in->line, c->f->text_n[pc],
               c->f->text[pc], t % n[0], t / n[0] % n[1], t / (n[0] * n[1]), c->ctaid[0], c->ctaid[1], c->ctaid[2], b);
    w->wk->fault = code;
    return X_FAULT;
}

int sim_alloc_refill(sim_warp *w, const sim_inst *in, uint64_t lo, uint64_t end) {
    const sim_alloc *a = sim_mem_find(lo);
    if (!a || !a->live || end <= lo || end > a->base + a->size) return 0;
    w->wk->acache[in->aux] = a;
    return 1;
}

uint64_t sim_addr_of(const sim_warp *w, const sim_inst *in, int operand, int lane) {
    const uint8_t *r = w->r + in->o[operand];
    if (in->mod & F_ADDR32) return (uint32_t)(((const u32a *)r)[lane] + (uint32_t)in->imm);
    return ((const u64a *)r)[lane] + (uint64_t)in->imm;
}

static uint8_t *bad_global(sim_warp *w, const sim_inst *in, int lane, uint64_t addr, uint32_t bytes, const char *what) {
    const sim_alloc *a = sim_mem_find(addr);
    if (a && !a->live)
        sim_fault(w, in, lane, SIM_ILLEGAL_ADDRESS,
                  "%s of %u bytes at 0x%llx: freed memory, %llu bytes into allocation #%u (%s, %llu bytes)", what,
                  bytes, (unsigned long long)addr, (unsigned long long)(addr - a->base), a->id, a->what,
                  (unsigned long long)a->size);
    else if (a)
        sim_fault(w, in, lane, SIM_ILLEGAL_ADDRESS,
                  "%s of %u bytes at 0x%llx: runs past the end of allocation #%u (%s, %llu bytes)", what, bytes,
                  (unsigned long long)addr, a->id, a->what, (unsigned long long)a->size);
    else {
        for (uint64_t back = 1; back <= 1u << 20; back *= 2) { /* whose end is near? */
            a = addr >= back ? sim_mem_find(addr - back) : NULL;
            if (a) break;
        }
        if (a)
            sim_fault(
                w, in, lane, SIM_ILLEGAL_ADDRESS,
                "%s of %u bytes at 0x%llx: out of bounds, %llu bytes past the end of allocation #%u (%s, %llu bytes)",
                what, bytes, (unsigned long long)addr, (unsigned long long)(addr - (a->base + a->size)), a->id, a->what,
                (unsigned long long)a->size);
        else
            sim_fault(w, in, lane, SIM_ILLEGAL_ADDRESS, "%s of %u bytes at 0x%llx: out of bounds, no allocation there",
                      what, bytes, (unsigned long long)addr);
    }
    return NULL;
}

uint8_t *sim_resolve(sim_warp *w, const sim_inst *in, int lane, int space, uint64_t addr, uint32_t bytes,
                     const char *what) {
    if (space == PS_GENERIC) {
        uint64_t win = addr & SIM_WIN_MASK;
        space = win == SIM_WIN_SHARED  ? PS_SHARED
                : win == SIM_WIN_LOCAL ? PS_LOCAL
                : win == SIM_WIN_PARAM ? PS_PARAM
                                       : PS_GLOBAL;
        if (space != PS_GLOBAL) addr &= ~SIM_WIN_MASK;
    }
    if (addr % bytes) {
        sim_fault(w, in, lane, SIM_MISALIGNED, "misaligned: %s of %u bytes at 0x%llx", what, bytes,
                  (unsigned long long)addr);
        return NULL;
    }
    uint64_t size;
    uint8_t *base;
    const char *name;
    switch (space) {
    case PS_SHARED:
        base = w->shared;
        size = w->shared_bytes;
        name = "shared memory";
        break;
    case PS_LOCAL:
        size = w->cta->f->local_bytes;
        base = w->local;
        name = "local memory";
        break;
    case PS_PARAM:
        base = w->wk->params;
        size = w->cta->f->param_bytes;
        name = "the parameters";
        break;
    default: {
        const sim_alloc *a = sim_mem_find(addr);
        if (!a || !a->live || addr + bytes > a->base + a->size) return bad_global(w, in, lane, addr, bytes, what);
        return (uint8_t *)(uintptr_t)addr;
    }
    }
    if (addr + bytes > size || addr + bytes < addr) {
        sim_fault(w, in, lane, SIM_ILLEGAL_ADDRESS, "%s of %u bytes at offset 0x%llx: out of bounds, %s has %llu bytes",
                  what, bytes, (unsigned long long)addr, name, (unsigned long long)size);
        return NULL;
    }
    return space == PS_LOCAL ? base + SIM_LOCAL_AT(addr, lane) : base + addr;
}

#define LOAD_AS(T)                                                          \
    (order == SIM_RELAXED ? __atomic_load_n((const T *)p, __ATOMIC_RELAXED) \
                          : __atomic_load_n((const T *)p, __ATOMIC_ACQUIRE))
static uint64_t load_n(const uint8_t *p, int n, int order) {
    uint64_t v = 0;
    if (order == SIM_WEAK) memcpy(&v, p, (size_t)n);
    else v = n == 1 ? LOAD_AS(uint8_t) : n == 2 ? LOAD_AS(u16a) : n == 4 ? LOAD_AS(u32a) : LOAD_AS(u64a);
    return v;
}

static void store_n(uint8_t *p, int n, uint64_t v, int order) {
    if (order == SIM_WEAK) memcpy(p, &v, (size_t)n);
    else if (order == SIM_RELAXED) switch (n) {
        case 1: __atomic_store_n(p, (uint8_t)v, __ATOMIC_RELAXED); break;
        case 2: __atomic_store_n((u16a *)p, (uint16_t)v, __ATOMIC_RELAXED); break;
        case 4: __atomic_store_n((u32a *)p, (uint32_t)v, __ATOMIC_RELAXED); break;
        default: __atomic_store_n((u64a *)p, v, __ATOMIC_RELAXED);
        }
    else switch (n) {
        case 1: __atomic_store_n(p, (uint8_t)v, __ATOMIC_RELEASE); break;
        case 2: __atomic_store_n((u16a *)p, (uint16_t)v, __ATOMIC_RELEASE); break;
        case 4: __atomic_store_n((u32a *)p, (uint32_t)v, __ATOMIC_RELEASE); break;
        default: __atomic_store_n((u64a *)p, v, __ATOMIC_RELEASE);
        }
}

static int order_of(const sim_inst *in) { return in->mod & F_VOLATILE && !in->order ? SIM_RELAXED : in->order; }

int sim_ld_any(sim_warp *w, const sim_inst *in, uint32_t m) {
    uint32_t bytes = (uint32_t)in->esz * in->n;
    uint64_t v[32][4];
    int order = order_of(in);
    for (uint32_t q = m; q; q &= q - 1) { /* all lanes read before any register changes */
        int l = __builtin_ctz(q);
        const uint8_t *p = sim_resolve(w, in, l, in->space, sim_addr_of(w, in, 0, l), bytes, "read");
        if (!p) return X_FAULT;
        for (int k = 0; k < in->n; k++) {
            uint64_t x = load_n(p + k * in->esz, in->esz, order);
            if (in->sub & 1 && in->esz < 8) {
                int s = 64 - 8 * in->esz;
                x = (uint64_t)((int64_t)(x << s) >> s);
            }
            v[l][k] = x;
        }
    }
    for (uint32_t q = m; q; q &= q - 1) {
        int l = __builtin_ctz(q);
        for (int k = 0; k < in->n; k++) {
            if (in->rsz == 8) ((u64a *)(w->r + in->o[1 + k]))[l] = v[l][k];
            else ((u32a *)(w->r + in->o[1 + k]))[l] = in->rsz == 2 ? (uint16_t)v[l][k] : (uint32_t)v[l][k];
        }
    }
    if (order != SIM_WEAK && ++w->polls >= 8) { /* someone is waiting for another CTA or warp */
        w->polls = 0;
        w->g[w->cur].pc = w->pc + 1;
        return X_YIELD;
    }
    return X_NEXT;
}
int h_ld_any(sim_warp *w, const sim_inst *in, uint32_t m) { return sim_ld_any(w, in, m); }

int sim_st_any(sim_warp *w, const sim_inst *in, uint32_t m) {
    uint32_t bytes = (uint32_t)in->esz * in->n;
    int order = order_of(in);
    if (order >= SIM_RELEASE) __atomic_thread_fence(__ATOMIC_RELEASE);
    for (uint32_t q = m; q; q &= q - 1) {
        int l = __builtin_ctz(q);
        uint8_t *p = sim_resolve(w, in, l, in->space, sim_addr_of(w, in, 0, l), bytes, "write");
        if (!p) return X_FAULT;
        for (int k = 0; k < in->n; k++)
            store_n(p + k * in->esz, in->esz,
                    in->rsz == 8 ? ((const u64a *)(w->r + in->o[1 + k]))[l] : ((const u32a *)(w->r + in->o[1 + k]))[l],
                    order);
    }
    w->wk->progress++;
    return X_NEXT;
}
int h_st_any(sim_warp *w, const sim_inst *in, uint32_t m) { return sim_st_any(w, in, m); }

/* A call's argument: bytes of local memory from imm to target, for each lane. */
int h_lcopy(sim_warp *w, const sim_inst *in, uint32_t m) {
    for (uint32_t q = m; q; q &= q - 1) {
        const int l = __builtin_ctz(q);
        for (uint32_t i = 0; i < in->aux; i++)
            w->local[SIM_LOCAL_AT((uint32_t)in->target + i, l)] = w->local[SIM_LOCAL_AT((uint64_t)in->imm + i, l)];
    }
    return X_NEXT;
}

int h_fence(sim_warp *w, const sim_inst *in, uint32_t m) {
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    if (w->cta->l->opt.check_races)
        for (uint32_t q = m; q; q &= q - 1)
            sim_check_fence(w->cta->shadow, w->id * 32 + (uint32_t)__builtin_ctz(q), !!(in->mod & F_SCOPE_GPU));
    return X_NEXT;
}
/* Harmless on the hardware wherever it points, so nothing else would tell of an address that is not meant. */
int h_prefetch(sim_warp *w, const sim_inst *in, uint32_t m) {
    for (uint32_t q = m; q; q &= q - 1) {
        int l = __builtin_ctz(q);
        uint64_t at = sim_addr_of(w, in, 0, l);
        if (!sim_resolve(w, in, l, in->space, at, 1, "prefetch")) return X_FAULT;
        if (w->cta->l->opt.count) qm_sim_expect_prefetch(&w->wk->c, at, 1);
    }
    return X_NEXT;
}
int h_policy(sim_warp *w, const sim_inst *in, uint32_t m) {
    for (uint32_t q = m; q; q &= q - 1) ((u64a *)(w->r + in->o[0]))[__builtin_ctz(q)] = SIM_POLICY | in->sub;
    return X_NEXT;
}
int h_isspacep(sim_warp *w, const sim_inst *in, uint32_t m) {
    uint32_t r = 0, *p = (uint32_t *)(w->r + in->o[0]);
    for (uint32_t q = m; q; q &= q - 1) {
        int l = __builtin_ctz(q);
        uint64_t a = ((const u64a *)(w->r + in->o[1]))[l] & SIM_WIN_MASK;
        int is = in->space == PS_SHARED  ? a == SIM_WIN_SHARED
                 : in->space == PS_LOCAL ? a == SIM_WIN_LOCAL
                                         : !(in->mod & F_CONST) && a == 0;
        r |= (uint32_t)is << l;
    }
    *p = (*p & ~m) | r;
    return X_NEXT;
}

/* ---- atomics ---- */
uint64_t sim_atom_apply(const sim_inst *in, uint64_t old, uint64_t b, uint64_t c); /* math.c */

int h_atom(sim_warp *w, const sim_inst *in, uint32_t m) {
    int wide = in->esz == 8, failed = 0, changed = 0;
    for (uint32_t q = m; q; q &= q - 1) { /* in lane order, so that a float sum has one value */
        int l = __builtin_ctz(q);
        uint8_t *p = sim_resolve(w, in, l, in->space, sim_addr_of(w, in, 0, l), in->esz, "atomic");
        if (!p) return X_FAULT;
        uint64_t b = wide ? ((const u64a *)(w->r + in->o[2]))[l] : ((const u32a *)(w->r + in->o[2]))[l], c = 0, old, nw;
        if (in->sub == ATOM_CAS) c = wide ? ((const u64a *)(w->r + in->o[3]))[l] : ((const u32a *)(w->r + in->o[3]))[l];
        if (in->esz == 2) {
            uint16_t e = __atomic_load_n((u16a *)p, __ATOMIC_SEQ_CST);
            do nw = sim_atom_apply(in, old = e, b, c);
            while (!__atomic_compare_exchange_n((u16a *)p, &e, (uint16_t)nw, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST));
        } else if (!wide) {
            uint32_t e = __atomic_load_n((u32a *)p, __ATOMIC_SEQ_CST);
            do nw = sim_atom_apply(in, old = e, b, c);
            while (!__atomic_compare_exchange_n((u32a *)p, &e, (uint32_t)nw, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST));
        } else {
            uint64_t e = __atomic_load_n((u64a *)p, __ATOMIC_SEQ_CST);
            do nw = sim_atom_apply(in, old = e, b, c);
            while (!__atomic_compare_exchange_n((u64a *)p, &e, nw, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST));
        }
        changed |= nw != old;
        failed |= in->sub == ATOM_CAS && (wide ? old != b : in->esz == 2 ? old != (uint16_t)b : old != (uint32_t)b);
        if (in->o[1]) {
            if (wide) ((u64a *)(w->r + in->o[1]))[l] = old;
            else ((u32a *)(w->r + in->o[1]))[l] = (uint32_t)old;
        }
    }
    if (changed) w->wk->progress++;
    if (failed || (!changed && ++w->polls >= 8)) { /* a lock is held elsewhere, or a value is polled */
        w->polls = 0;
        w->g[w->cur].pc = w->pc + 1;
        if (failed) w->g[w->cur].state = G_DEFER;
        return X_YIELD;
    }
    return X_NEXT;
}
