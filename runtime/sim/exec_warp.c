/* exec_warp.c: shuffles, votes, matches and reductions over a warp. */
#include <string.h>
#include "exec.h"
#include "exec_scalar.h"

#define R32(i) ((uint32_t *)(w->r + in->o[i]))
#define PRED(i) (*(uint32_t *)(w->r + in->o[i]))
#define EACH(l) for (uint32_t q_ = m, l; q_ && (l = (uint32_t)__builtin_ctz(q_), 1); q_ &= q_ - 1)
/* Parts of a warp may execute one instruction with member masks of their own, as tiles of cooperative
 * groups do: then each part runs by itself. GO_ON: all of m has one mask and is complete. */
enum { GO_ON = -1 };
static int enter(sim_warp *w, const sim_inst *in, uint32_t m, const uint32_t *member) {
    uint32_t mine = member[__builtin_ctz(m)], others = 0;
    EACH (l)
        if (member[l] != mine) others |= 1u << l;
    if (!others) {
        int rc = sim_sync_enter(w, in, m, mine);
        return rc == X_NEXT ? GO_ON : rc;
    }
    for (uint32_t left = m; left;) {
        uint32_t part = 0, lane = (uint32_t)__builtin_ctz(left), of = member[lane];
        EACH (l)
            if (member[l] == of) part |= 1u << l;
        if (part != (of & w->live))
            return sim_fault(w, in, (int)lane, SIM_LAUNCH_FAILED,
                             "lanes 0x%08x come with member mask 0x%08x beside lanes with others: parts of a warp "
                             "with masks of their own must be complete here",
                             part, of);
        int rc = w->wk->tab[in->op](w, in, part);
        if (rc != X_NEXT) return rc;
        left &= ~part;
    }
    return X_NEXT;
}
#define ENTER(mask_at)                          \
    do {                                        \
        int rc = enter(w, in, m, R32(mask_at)); \
        if (rc != GO_ON) return rc;             \
    } while (0)

/* shfl: operands d, p, a, b, c, member. PTX ISA, "shfl.sync": segments by c[12:8], clamp c[4:0]. */
int sim_shfl_any(sim_warp *w, const sim_inst *in, uint32_t m, int mode) {
    ENTER(5);
    uint32_t t[32], p = 0;
    const uint32_t *a = R32(2), *b = R32(3), *c = R32(4);
    uint32_t *d = R32(0);
    EACH (l) {
        int bv = (int)(b[l] & 31), cv = (int)(c[l] & 31), seg = (int)(c[l] >> 8 & 31), lane = (int)l;
        int max = (lane & seg) | (cv & ~seg), min = lane & seg, j, ok;
        if (mode == SHFL_UP) j = lane - bv, ok = j >= max;
        else if (mode == SHFL_DOWN) j = lane + bv, ok = j <= max;
        else if (mode == SHFL_BFLY) j = lane ^ bv, ok = j <= max;
        else j = min | (bv & ~seg), ok = j <= max;
        if (!ok) j = lane;
        t[l] = a[j & 31];
        p |= (uint32_t)ok << l;
    }
    EACH (l) d[l] = t[l];
    if (in->o[1]) PRED(1) = (PRED(1) & ~m) | (p & m);
    return X_NEXT;
}

static int vote(sim_warp *w, const sim_inst *in, uint32_t m, int kind) {
    ENTER(2);
    uint32_t v = PRED(1) & m;
    int yes = kind == 0 ? v == m : kind == 1 ? v != 0 : v == m || !v;
    PRED(0) = (PRED(0) & ~m) | (yes ? m : 0);
    return X_NEXT;
}
int h_vote_all(sim_warp *w, const sim_inst *in, uint32_t m) { return vote(w, in, m, 0); }
int h_vote_any(sim_warp *w, const sim_inst *in, uint32_t m) { return vote(w, in, m, 1); }
int h_vote_uni(sim_warp *w, const sim_inst *in, uint32_t m) { return vote(w, in, m, 2); }
int h_vote_ballot(sim_warp *w, const sim_inst *in, uint32_t m) {
    ENTER(2);
    uint32_t v = PRED(1) & m, *d = R32(0);
    EACH (l) d[l] = v;
    return X_NEXT;
}

static uint64_t get(const sim_warp *w, const sim_inst *in, int i, uint32_t l, int wide) {
    return wide ? ((const uint64_t *)(w->r + in->o[i]))[l] : ((const uint32_t *)(w->r + in->o[i]))[l];
}
static int match_any(sim_warp *w, const sim_inst *in, uint32_t m, int wide) {
    ENTER(2);
    uint32_t t[32], *d = R32(0);
    for (uint32_t l = 0; l < 32; l++) {
        t[l] = 0;
        EACH (k)
            if (get(w, in, 1, k, wide) == get(w, in, 1, l, wide)) t[l] |= 1u << k;
    }
    EACH (l) d[l] = t[l];
    return X_NEXT;
}
int h_match_any_32(sim_warp *w, const sim_inst *in, uint32_t m) { return match_any(w, in, m, 0); }
int h_match_any_64(sim_warp *w, const sim_inst *in, uint32_t m) { return match_any(w, in, m, 1); }
static int match_all(sim_warp *w, const sim_inst *in, uint32_t m, int wide) { /* d, p, a, member */
    ENTER(3);
    int same = 1;
    EACH (k) same &= get(w, in, 2, k, wide) == get(w, in, 2, (uint32_t)__builtin_ctz(m), wide);
    uint32_t *d = R32(0);
    EACH (l) d[l] = same ? m : 0;
    if (in->o[1]) PRED(1) = (PRED(1) & ~m) | (same ? m : 0);
    return X_NEXT;
}
int h_match_all_32(sim_warp *w, const sim_inst *in, uint32_t m) { return match_all(w, in, m, 0); }
int h_match_all_64(sim_warp *w, const sim_inst *in, uint32_t m) { return match_all(w, in, m, 1); }

#define REDUX(name, init, step)                                       \
    int h_redux_##name(sim_warp *w, const sim_inst *in, uint32_t m) { \
        ENTER(2);                                                     \
        const uint32_t *A = R32(1);                                   \
        uint32_t r = init, *d = R32(0);                               \
        EACH (l) {                                                    \
            uint32_t a = A[l];                                        \
            r = step;                                                 \
        }                                                             \
        EACH (l) d[l] = r;                                            \
        return X_NEXT;                                                \
    }
REDUX(add, 0, r + a)
REDUX(min_u32, ~0u, a < r ? a : r)
REDUX(max_u32, 0, a > r ? a : r)
REDUX(min_s32, 0x7fffffffu, (int32_t)a < (int32_t)r ? a : r)
REDUX(max_s32, 0x80000000u, (int32_t)a > (int32_t)r ? a : r)
REDUX(and, ~0u, r &a)
REDUX(or, 0, r | a)
REDUX(xor, 0, r ^ a)

int h_activemask(sim_warp *w, const sim_inst *in, uint32_t m) {
    uint32_t *d = R32(0);
    EACH (l) d[l] = m;
    return X_NEXT;
}
int h_elect(sim_warp *w, const sim_inst *in, uint32_t m) { /* d, p, member: the lowest lane is the leader */
    ENTER(2);
    uint32_t f = (uint32_t)__builtin_ctz(m), *d = R32(0);
    EACH (l) d[l] = f;
    if (in->o[1]) PRED(1) = (PRED(1) & ~m) | 1u << f;
    return X_NEXT;
}
