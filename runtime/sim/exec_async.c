/* exec_async.c: copies that happen as late as they may (at the wait that orders them, so that a missing
 * wait shows as stale data), and mbarriers. */
#include <stdlib.h>
#include <string.h>
#include "check.h"
#include "exec.h"
#include "exec_scalar.h"
#include "ptx.h"
typedef uint64_t __attribute__((may_alias)) u64a;

#define R32(i) ((uint32_t *)(w->r + in->o[i]))
#define R64(i) ((uint64_t *)(w->r + in->o[i]))
#define EACH(l) for (uint32_t q_ = m, l; q_ && (l = (uint32_t)__builtin_ctz(q_), 1); q_ &= q_ - 1)

void sim_async_free(sim_warp *w) {
    free(w->copy);
    free(w->async);
    w->copy = NULL;
    w->async = NULL;
    w->first_copy = w->n_copy = w->cap_copy = w->cap_async = w->n_async = 0;
}

sim_copy *sim_copy_add(sim_warp *w) {
    if (w->n_copy == w->cap_copy && 2 * w->first_copy >= w->cap_copy && w->cap_copy) { /* what has landed makes room */
        w->n_copy -= w->first_copy;
        memmove(w->copy, w->copy + w->first_copy, w->n_copy * sizeof *w->copy);
        w->first_copy = 0;
    }
    if (w->n_copy == w->cap_copy) {
        uint32_t cap = w->cap_copy ? 2 * w->cap_copy : 8;
        sim_copy *c = realloc(w->copy, cap * sizeof *c);
        if (!c) return NULL;
        w->copy = c;
        w->cap_copy = cap;
    }
    return &w->copy[w->n_copy++];
}

static sim_async *push(sim_warp *w) {
    if (w->n_async == w->cap_async) {
        uint32_t cap = w->cap_async ? 2 * w->cap_async : 32;
        sim_async *a = realloc(w->async, cap * sizeof *a);
        if (!a) return NULL;
        w->async = a;
        w->cap_async = cap;
    }
    return &w->async[w->n_async++];
}

static uint64_t shared_off(const sim_warp *w, const sim_inst *in, int operand, uint32_t l, int64_t add) {
    if (in->mod & F_ADDR32) return (uint32_t)(((const uint32_t *)(w->r + in->o[operand]))[l] + (uint32_t)add);
    return ((const uint64_t *)(w->r + in->o[operand]))[l] + (uint64_t)add;
}

/* ---- cp.async ---- */
/* The checks and counters take accesses of one size: of what the lanes read, one for each size. */
static int hook_reads(sim_warp *w, const sim_inst *in, uint32_t m, const sim_copy *of) {
    for (uint32_t size = 1; size <= in->n; size++) {
        uint32_t same = 0;
        EACH (l)
            if (of->take[l] == size) same |= 1u << l;
        if (same && sim_hook(w, in, same, SIM_SPACE_GLOBAL, SIM_READ, SIM_WEAK, size, of->src)) return X_FAULT;
    }
    return X_NEXT;
}

int sim_cp_async_any(sim_warp *w, const sim_inst *in, uint32_t m) {
    sim_copy all = {.bytes = in->n};
    EACH (l) {
        uint64_t src = R64(1)[l] + (uint64_t)in->imm, dst = shared_off(w, in, 0, l, in->target);
        uint32_t n = in->o[2] ? R32(2)[l] : in->n;
        if (n > in->n) return sim_fault(w, in, (int)l, SIM_ILLEGAL_INSTRUCTION, "source size %u exceeds %u", n, in->n);
        if (!sim_resolve(w, in, (int)l, PS_SHARED, dst, in->n, "asynchronous write")) return X_FAULT;
        if (src % in->n)
            return sim_fault(w, in, (int)l, SIM_MISALIGNED, "misaligned: asynchronous read of %u bytes at 0x%llx",
                             in->n, (unsigned long long)src);
        if (n && !sim_resolve(w, in, (int)l, PS_GLOBAL, src, n == in->n ? n : 1, "asynchronous read")) return X_FAULT;
        if (n && n < in->n && !sim_resolve(w, in, (int)l, PS_GLOBAL, src + n - 1, 1, "asynchronous read"))
            return X_FAULT;
        all.src[l] = src;
        all.dst[l] = (uint32_t)dst;
        all.take[l] = (uint8_t)n;
    }
    if (w->cta->l->opt.count)
        EACH (l) qm_sim_expect_async(&w->wk->c, all.src[l], all.take[l]);
    for (uint32_t left = m; left; left &= ~all.mask) { /* lanes that have committed as often */
        all.group = w->commits[__builtin_ctz(left)];
        all.mask = 0;
        EACH (l)
            if (w->commits[l] == all.group) all.mask |= 1u << l;
        sim_copy *c = sim_copy_add(w);
        if (!c) return sim_fault(w, in, __builtin_ctz(left), SIM_LAUNCH_FAILED, "the host is out of memory");
        *c = all;
    }
    uint64_t at[32] = {0};
    EACH (l) at[l] = all.dst[l];
    return hook_reads(w, in, m, &all) || sim_hook_copy(w, in, m, in->n, at, 0) ? X_FAULT : X_NEXT;
}

/* The copies of these lanes happen. */
static int land(sim_warp *w, const sim_inst *in, sim_copy *c, uint32_t m) {
    c->mask &= ~m;
    EACH (l) {
        uint8_t *to = w->shared + c->dst[l];
        const void *from = (const void *)(uintptr_t)c->src[l];
        if (c->take[l] == 16) memcpy(to, from, 16); /* sizes that the compiler knows */
        else if (c->bytes == 16 && !c->take[l]) memset(to, 0, 16);
        else {
            memcpy(to, from, c->take[l]);
            memset(to + c->take[l], 0, c->bytes - c->take[l]);
        }
    }
    if (!w->wk->hooked) return X_NEXT;
    uint64_t at[32] = {0};
    EACH (l) at[l] = c->dst[l];
    sim_hook_copy(w, in, m, c->bytes, at, 1);
    return sim_hook(w, in, m, SIM_SPACE_SHARED, SIM_WRITE, SIM_WEAK, c->bytes, at);
}

/* Every copy of lanes in m that is in a group older than the newest `keep` committed ones of its lane, or all. */
static int complete(sim_warp *w, const sim_inst *in, uint32_t m, uint32_t keep, int every) {
    const uint32_t commits = w->commits[__builtin_ctz(m)];
    uint32_t other = 0;
    EACH (l) other |= w->commits[l] ^ commits;
    for (uint32_t i = w->first_copy; i < w->n_copy; i++) {
        sim_copy *c = &w->copy[i];
        uint32_t done = c->mask & m;
        if (!every && !other && c->group + keep >= commits) done = 0;
        if (!every && other)
            for (uint32_t l = 0; l < 32; l++)
                if (c->group + keep >= w->commits[l]) done &= ~(1u << l);
        if (done && land(w, in, c, done)) return X_FAULT;
    }
    while (w->first_copy < w->n_copy && !w->copy[w->first_copy].mask) w->first_copy++;
    if (w->first_copy == w->n_copy) w->first_copy = w->n_copy = 0;
    return X_NEXT;
}

int h_cp_commit(sim_warp *w, const sim_inst *in, uint32_t m) {
    (void)in;
    EACH (l) w->commits[l]++;
    return X_NEXT;
}
int h_cp_wait(sim_warp *w, const sim_inst *in, uint32_t m) { return complete(w, in, m, (uint32_t)in->imm, 0); }
int h_cp_wait_all(sim_warp *w, const sim_inst *in, uint32_t m) { return complete(w, in, m, 0, 1); }

/* ---- bulk stores ---- */
int h_bulk_commit(sim_warp *w, const sim_inst *in, uint32_t m) {
    (void)in;
    EACH (l) w->bulk_commits[l]++;
    return X_NEXT;
}
int h_bulk_wait(sim_warp *w, const sim_inst *in, uint32_t m) {
    uint32_t k = 0;
    for (uint32_t i = 0; i < w->n_async; i++) {
        const sim_async *a = &w->async[i];
        if (!(m >> a->lane & 1) || a->group + (uint32_t)in->imm >= w->bulk_commits[a->lane]) {
            w->async[k++] = *a;
            continue;
        }
        memcpy((void *)(uintptr_t)a->dst, w->shared + a->src, a->bytes);
        sim_check_async_write(w->cta->shadow, SIM_SPACE_GLOBAL, a->dst, a->bytes);
        w->wk->progress++;
    }
    w->n_async = k;
    return X_NEXT;
}

/* ---- mbarrier: 64 opaque bits: [14:0] expected, [29:15] still to arrive, [30] phase, [63:32] bytes ---- */
#define MB_NONE 0xdeaddeaddeaddeadull /* never initialised, or invalidated */
static uint64_t mb_make(uint32_t expect, uint32_t left, uint32_t phase, int32_t tx) {
    return (uint64_t)expect | (uint64_t)left << 15 | (uint64_t)phase << 30 | (uint64_t)(uint32_t)tx << 32;
}
/* arrive: how many threads; tx: bytes more to come (negative: came). -1 when more arrive than expected. */
static int mb_step(sim_warp *w, u64a *p, uint32_t arrive, int64_t tx) {
    uint32_t expect = (uint32_t)*p & 0x7fff, left = (uint32_t)(*p >> 15) & 0x7fff, phase = (uint32_t)(*p >> 30) & 1;
    int64_t t = (int64_t)(int32_t)(uint32_t)(*p >> 32) + tx;
    if (arrive > left) return -1;
    left -= arrive;
    if (!left && t == 0) {
        left = expect;
        phase ^= 1;
        w->wk->progress++;
    }
    *p = mb_make(expect, left, phase, (int32_t)t);
    return 0;
}

/* Bulk copies into this CTA that signal the mbarrier at off. */
static int land_bulk(sim_warp *w, const sim_inst *in, uint64_t off) {
    sim_cta *c = w->cta;
    uint32_t k = 0;
    int rc = X_NEXT;
    for (uint32_t i = 0; i < c->n_bulk; i++) {
        sim_bulk *b = &c->bulk[i];
        if (b->mbar != off) {
            c->bulk[k++] = *b;
            continue;
        }
        memcpy(w->shared + b->dst, (const void *)(uintptr_t)b->src, b->bytes);
        sim_check_async_write(c->shadow, SIM_SPACE_SHARED, b->dst, b->bytes);
        if (mb_step(w, (u64a *)(w->shared + off), 0, -(int64_t)b->bytes))
            rc = sim_fault(w, in, 0, SIM_LAUNCH_FAILED, "mbarrier transaction count");
    }
    c->n_bulk = k;
    return rc;
}

/* What the checks see of an mbarrier operation: an arrival releases, a wait that succeeds acquires. */
static int hook_mbar(sim_warp *w, const sim_inst *in, uint32_t m, uint32_t yes, const uint64_t *off) {
    const int op = in->cmp;
    int rc = X_NEXT;
    if (op == MB_INIT || op == MB_INVAL) return sim_hook(w, in, m, SIM_SPACE_SHARED, SIM_WRITE, SIM_WEAK, 8, off);
    if (op < MB_TEST || op == MB_CP_ARRIVE)
        return sim_hook(w, in, m, SIM_SPACE_SHARED, SIM_ATOMIC,
                        op == MB_EXPECT || op == MB_COMPLETE ? SIM_RELAXED : SIM_ACQ_REL, 8, off);
    if (yes) rc = sim_hook(w, in, yes, SIM_SPACE_SHARED, SIM_READ, SIM_ACQUIRE, 8, off);
    if (rc == X_NEXT && m & ~yes) rc = sim_hook(w, in, m & ~yes, SIM_SPACE_SHARED, SIM_READ, SIM_RELAXED, 8, off);
    return rc;
}

int h_mbar(sim_warp *w, const sim_inst *in, uint32_t m) {
    uint32_t yes = 0;
    uint64_t offs[32];
    int waiting = 0;
    EACH (l) {
        uint64_t addr = sim_addr_of(w, in, 0, (int)l);
        u64a *p = (u64a *)sim_resolve(w, in, (int)l, in->space, addr, 8, "mbarrier");
        if (!p) return X_FAULT;
        uint64_t off = (uint64_t)((uint8_t *)p - w->shared), token = *p;
        if (off >= w->shared_bytes)
            return sim_fault(w, in, (int)l, SIM_ILLEGAL_ADDRESS, "an mbarrier lies in shared memory");
        offs[l] = off;
        uint32_t count = in->n ? R32(2)[l] : 1;
        if (in->cmp != MB_INIT && (*p == MB_NONE || *p == 0xa5a5a5a5a5a5a5a5ull))
            return sim_fault(w, in, (int)l, SIM_LAUNCH_FAILED, "the mbarrier is not initialised");
        int bad = 0;
        switch (in->cmp) {
        case MB_INIT:
            if (!count || count > 0x7fff)
                return sim_fault(w, in, (int)l, SIM_LAUNCH_FAILED, "mbarrier count %u", count);
            *p = mb_make(count, count, 0, 0);
            break;
        case MB_INVAL: *p = MB_NONE; break;
        case MB_ARRIVE: bad = mb_step(w, p, count, 0); break;
        case MB_ARRIVE_TX: bad = mb_step(w, p, 0, count) || mb_step(w, p, 1, 0); break;
        case MB_EXPECT:
            *p = mb_make((uint32_t)*p & 0x7fff, (uint32_t)(*p >> 15) & 0x7fff, (uint32_t)(*p >> 30) & 1,
                         (int32_t)(uint32_t)(*p >> 32) + (int32_t)count);
            break;
        case MB_COMPLETE: bad = mb_step(w, p, 0, -(int64_t)count); break;
        case MB_CP_ARRIVE:
            if (complete(w, in, 1u << l, 0, 1)) return X_FAULT;
            if (in->mod & F_NOINC) bad = mb_step(w, p, 1, 0);
            break;
        default: {
            if (land_bulk(w, in, off)) return X_FAULT;
            uint32_t phase = (uint32_t)(*p >> 30) & 1;
            uint32_t want = in->cmp == MB_TEST || in->cmp == MB_TRY ? (uint32_t)(R64(2)[l] >> 30) & 1 : R32(2)[l] & 1;
            if (phase != want) yes |= 1u << l;
            else waiting = 1;
        }
        }
        if (bad)
            return sim_fault(w, in, (int)l, SIM_LAUNCH_FAILED, "more arrivals than the mbarrier expects in this phase");
        if ((in->cmp == MB_ARRIVE || in->cmp == MB_ARRIVE_TX) && in->o[1]) R64(1)[l] = token;
    }
    if (hook_mbar(w, in, m, yes, offs) != X_NEXT) return X_FAULT;
    if (in->cmp >= MB_TEST && in->cmp <= MB_TRY_PARITY) {
        uint32_t *d = R32(1);
        *d = (*d & ~m) | yes;
    }
    if (waiting) {
        w->g[w->cur].pc = w->pc + 1;
        w->g[w->cur].state = G_DEFER;
        return X_YIELD;
    }
    return X_NEXT;
}

/* ---- cp.async.bulk ---- */
static int range_ok(sim_warp *w, const sim_inst *in, uint32_t l, int space, uint64_t at, uint32_t n, const char *what) {
    if (at % 16 || n % 16)
        return sim_fault(w, in, (int)l, SIM_MISALIGNED, "misaligned: %s of %u bytes at 0x%llx (16 wanted)", what, n,
                         (unsigned long long)at) == X_NEXT;
    if (!n) return 1;
    if (space == PS_SHARED && (at > w->shared_bytes || n > w->shared_bytes - at))
        return sim_fault(w, in, (int)l, SIM_ILLEGAL_ADDRESS,
                         "%s of %u bytes at offset 0x%llx: out of bounds, shared memory has %u bytes", what, n,
                         (unsigned long long)at, w->shared_bytes) == X_NEXT;
    if (space == PS_GLOBAL) {
        const sim_alloc *a = sim_mem_find(at);
        if (!a || !a->live || at + n > a->base + a->size) {
            if (sim_resolve(w, in, (int)l, PS_GLOBAL, at, 16, what))
                sim_fault(w, in, (int)l, SIM_ILLEGAL_ADDRESS,
                          "%s of %u bytes at 0x%llx: runs past the end of its allocation", what, n,
                          (unsigned long long)at);
            return 0;
        }
    }
    return 1;
}

int h_bulk(sim_warp *w, const sim_inst *in, uint32_t m) {
    sim_cta *c = w->cta;
    EACH (l) {
        if (in->cmp != 2) break;
        const uint64_t at = R64(1)[l] + (uint64_t)in->imm;
        const uint32_t n = R32(2)[l];
        if (!range_ok(w, in, l, PS_GLOBAL, at, n, "bulk prefetch")) return X_FAULT;
        if (c->l->opt.count) qm_sim_expect_prefetch(&w->wk->c, at, n);
    }
    if (in->cmp == 2) return X_NEXT;
    EACH (l) {
        uint32_t n = R32(2)[l];
        int store = in->cmp == 1;
        uint64_t sh = shared_off(w, in, store, l, in->target), gl = R64(!store)[l] + (uint64_t)in->imm;
        if (!range_ok(w, in, l, PS_SHARED, sh, n, store ? "bulk read" : "bulk write") ||
            !range_ok(w, in, l, PS_GLOBAL, gl, n, store ? "bulk write" : "bulk read"))
            return X_FAULT;
        if (store) {
            sim_async *a = push(w);
            if (!a) return sim_fault(w, in, (int)l, SIM_LAUNCH_FAILED, "the host is out of memory");
            *a = (sim_async){.src = sh, .dst = gl, .bytes = n, .group = w->bulk_commits[l], .lane = l};
            continue;
        }
        uint64_t mb = shared_off(w, in, 3, l, (int32_t)in->aux);
        if (!sim_resolve(w, in, (int)l, PS_SHARED, mb, 8, "mbarrier")) return X_FAULT;
        if (c->n_bulk == c->cap_bulk) {
            uint32_t cap = c->cap_bulk ? 2 * c->cap_bulk : 32;
            sim_bulk *b = realloc(c->bulk, cap * sizeof *b);
            if (!b) return sim_fault(w, in, (int)l, SIM_LAUNCH_FAILED, "the host is out of memory");
            c->bulk = b;
            c->cap_bulk = cap;
        }
        c->bulk[c->n_bulk++] = (sim_bulk){gl, sh, mb, n};
        w->wk->progress++;
        if (w->cta->l->opt.count) w->wk->c.gld_bytes += n, w->wk->c.gld_sectors += n / 32;
    }
    return X_NEXT;
}
