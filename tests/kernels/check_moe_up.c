/* check_moe_up: every weight type; which outputs are wanted, one expert in every slot, one slot, ids past the
 * end, activations large enough to saturate silu. Where it chooses the experts itself, it does what router and moe_up do, to the
 * bit: any number of experts and threads, ties, NaN, inf. */
#include "weights.h"
#include <math.h>
#include <string.h>

enum { WANT_H = 1, WANT_HQ = 2, SAME_EXPERT = 4, BAD_ID = 8 };

static void one(int checked, int wtype, uint32_t n_ff, uint32_t cols, uint32_t slots, uint32_t t, uint32_t s, int how) {
    const qm_type_info *ty = qm_type_get((uint32_t)wtype);
    if (cols % wt_unit(ty)) return;
    enum { EXPERTS = 5 };
    qm_launch l = {{(n_ff / 32 + t - 1) / (t ? t : 1), slots, 1}, 32 * t * s, 0, t, 0};
    if (!t) l = qm_launch_moe_up(wtype, n_ff, cols, slots, (qm_sms){s, 0});
    else l.shared = qm_launch_shared(wtype, cols, 1, 2, t);
    (checked ? chk_begin_checked : chk_begin)("moe_up %s n_ff=%u cols=%u slots=%u T=%u S=%u how=%d", ty->name, n_ff,
                                              cols, slots, t, s, how);
    int k = chk_kernel(QM_OP_MOE_UP, wtype, 0);
    uint32_t *ids = chk_tmp(4 * slots);
    for (uint32_t e = 0; e < slots; e++) ids[e] = how & SAME_EXPERT ? 2 : qm_rng_below(chk_rng(), EXPERTS);
    if (how & BAD_ID) ids[slots - 1] = 0x80000000;
    qm_moe_up_args a = {.n_ff = n_ff,
                        .n_cols = cols,
                        .deal = qm_deal_of(wtype, n_ff, cols, 1, 2, &l),
                        .n_expert = EXPERTS},
                   r;
    size_t h_bytes = 4 * (size_t)n_ff * slots, hq_bytes = (size_t)QM_Q16A_BYTES(n_ff) * slots;
    a.expert_bytes = qm_pack_bytes(ty, n_ff, cols);
    a.w_gate = wt_in("gate", ty, EXPERTS, n_ff, cols);
    a.w_up = wt_in("up", ty, EXPERTS, n_ff, cols);
    a.x = wt_act_in("x", ty, 1, cols);
    a.ids = chk_in("ids", ids, 4 * (size_t)slots);
    if (how & WANT_H) a.h = chk_out("h", h_bytes);
    if (how & WANT_HQ) a.hq = chk_out("hq", hq_bytes);
    chk_launch(k, l.grid[0], l.grid[1], 1, l.block, l.shared, &a);
    chk_ref_args(QM_OP_MOE_UP, &r, &a);
    r.expert_bytes = n_ff * qm_row_bytes(ty, cols);
    qm_ref_moe_up(&r, &(qm_ref_env){.wtype = wtype, .grid = {l.grid[0], l.grid[1], 1}, .block = l.block});
    for (uint32_t e = 0; e < slots; e++) {
        if (a.h) chk_f32_part(a.h, (size_t)e * n_ff, n_ff, chk_tolerance(k));
        if (!a.hq) continue;
        chk_q16a(a.hq + e * QM_Q16A_BYTES(n_ff), 0, n_ff, chk_tolerance(k));
        if (!a.h) continue;
        /* bit for bit the rule on the device's own h */
        unsigned char *want = chk_tmp(QM_Q16A_BYTES(n_ff));
        qm_q16a_quantize(want, (const float *)chk_get(a.h) + (size_t)e * n_ff, n_ff);
        if (memcmp(want, (const unsigned char *)chk_get(a.hq) + e * QM_Q16A_BYTES(n_ff), QM_Q16A_DATA(n_ff)))
            chk_fail("slot %u: hq is not h by the rule", e);
    }
    chk_end();
}

static void shapes(void **state) {
    static const uint32_t ff[] = {32, 64, 96}, cols[] = {32, 96, 160, 256, 768, 2048};
    (void)state;
    for (int i = 0; i < WT_N; i++)
        for (size_t r = 0; r < sizeof ff / sizeof *ff; r++)
            for (size_t c = 0; c < sizeof cols / sizeof *cols; c++) {
                one(0, wt_types[i], ff[r], cols[c], 3, 1, 1, WANT_H | WANT_HQ);
                one(0, wt_types[i], ff[r], cols[c], 2, 2, 4, WANT_H | WANT_HQ);
            }
}

static void choices(void **state) {
    (void)state;
    for (int i = 0; i < WT_N; i++)
        for (int how = 0; how < 16; how++)
            if (how & 3) {
                one(0, wt_types[i], 64, 512, 8, 2, 2, how);
                one(0, wt_types[i], 32, 256, 1, 1, 1, how);
                one(0, wt_types[i], 160, 288, 4, 4, 4, how);
            }
}

static void planned(void **state) {
    (void)state;
    for (int i = 0; i < WT_N; i++) {
        one(0, wt_types[i], 256, 2048, 8, 0, 128, WANT_H | WANT_HQ);
        one(0, wt_types[i], 96, 512, 8, 0, 4, WANT_H | WANT_HQ);
        one(0, wt_types[i], 32, 96, 2, 0, 4, WANT_H | WANT_HQ);
    }
}

static void checked(void **state) {
    (void)state;
    for (int i = 0; i < WT_N; i++) {
        one(1, wt_types[i], 96, 1536, 2, 2, 2, WANT_H | WANT_HQ);
        one(1, wt_types[i], 32, 96, 2, 1, 2, WANT_H | WANT_HQ);
        one(1, wt_types[i], 32, 256, 1, 1, 1, WANT_HQ);
    }
}

/* The same bits whatever the tiles a CTA, the slices, and the multiprocessors that the plan deals for. */
static void canonical(void **state) {
    static const uint32_t cols[] = {32, 256, 544, 768, 1536, 2048, 4608, 8192}, sms[] = {1, 4, 48, 128, 132, 170};
    enum { N_FF = 96, SLOTS = 2, GEOMETRIES = 32 };
    (void)state;
    for (int i = 0; i < WT_N; i++)
        for (size_t c = 0; c < sizeof cols / sizeof *cols; c++) {
            const int wtype = wt_types[i];
            const qm_type_info *ty = qm_type_get((uint32_t)wtype);
            if (cols[c] % wt_unit(ty)) continue;
            chk_begin("moe_up %s cols=%u in every geometry", ty->name, cols[c]);
            qm_launch l[GEOMETRIES];
            int n = 0;
            for (uint32_t t = 1; t <= 4; t *= 2)
                for (uint32_t s = 1; t * s <= 16; s *= 2)
                    l[n++] = (qm_launch){
                        {(3 + t - 1) / t, SLOTS, 1}, 32 * t * s, qm_launch_shared(wtype, cols[c], 1, 2, t), t, 0};
            for (size_t m = 0; m < sizeof sms / sizeof *sms; m++)
                l[n++] = qm_launch_moe_up(wtype, N_FF, cols[c], SLOTS, (qm_sms){sms[m], 0});
            const uint32_t ids[SLOTS] = {1, 0};
            qm_moe_up_args a = {.n_ff = N_FF, .n_cols = cols[c], .n_expert = 2};
            a.expert_bytes = qm_pack_bytes(ty, N_FF, cols[c]);
            a.w_gate = wt_in("gate", ty, 2, N_FF, cols[c]);
            a.w_up = wt_in("up", ty, 2, N_FF, cols[c]);
            a.x = wt_act_in("x", ty, 1, cols[c]);
            a.ids = chk_in("ids", ids, sizeof ids);
            a.h = chk_out("h", 4 * N_FF * SLOTS);
            float want[N_FF * SLOTS], none[N_FF * SLOTS];
            memset(none, 0xff, sizeof none);
            for (int g = 0; g < n; g++) {
                chk_write(a.h, none, sizeof none);
                a.deal = qm_deal_of(wtype, N_FF, cols[c], 1, 2, &l[g]);
                chk_launch(chk_kernel(QM_OP_MOE_UP, wtype, 0), l[g].grid[0], SLOTS, 1, l[g].block, l[g].shared, &a);
                if (!g) memcpy(want, chk_get(a.h), sizeof want);
                if (memcmp(want, chk_get(a.h), sizeof want))
                    chk_fail("T=%u S=%u: other bits than with one warp a tile", l[g].tiles,
                             l[g].block / 32 / l[g].tiles);
            }
            chk_end();
        }
}

/* ---- the choice of experts ---- */

static float logit(int fill, uint32_t i) {
    switch (fill) {
    case 0: return 3 * qm_rng_normal(chk_rng());
    case 1: return 0.75f;
    case 2: return (float)qm_rng_below(chk_rng(), 4) - 2;
    case 3: return i % 2 ? 0.0f : -0.0f;
    case 4: return (float)i / 64; /* the last experts win */
    case 5: return i % 5 == 3 ? NAN : qm_rng_normal(chk_rng());
    case 6: return i % 7 == 2 ? INFINITY : i % 3 ? -INFINITY : 1;
    default: return fill == 7 ? NAN : -INFINITY;
    }
}
enum { FILLS = 9 };

/* Whether moe_up that is given logits leaves what router, and moe_up that is given its ids, leave. */
static void choice(int checked, uint32_t n, uint32_t used, uint32_t parts, uint32_t t, uint32_t s, int fill) {
    enum { FF = 96, COLS = 32 };
    const qm_type_info *ty = qm_type_get(QM_TYPE_F32);
    (checked ? chk_begin_checked : chk_begin)("moe_up chooses %u of %u, partials=%u T=%u S=%u fill %d", used, n, parts,
                                              t, s, fill);
    const qm_launch l = {.grid = {(3 + t - 1) / t, used, 1}, .block = 32 * t * s, .tiles = t};
    uint32_t shared = qm_launch_shared(QM_TYPE_F32, COLS, 1, 2, t);
    const size_t h_bytes = 4 * (size_t)FF * used;
    float *x = chk_tmp(4 * (size_t)n * parts);
    for (uint32_t p = 0; p < parts; p++)
        for (uint32_t i = 0; i < n; i++) x[(size_t)p * n + i] = logit(fill, i);
    qm_router_args r = {.n_expert = n, .n_used = used, .n_partials = parts, .rows = 1};
    r.logits = chk_in("logits", x, 4 * (size_t)n * parts);
    r.ids = chk_out("ids", 4 * used);
    r.weights = chk_out("weights", 4 * used);
    qm_moe_up_args a = {.n_ff = FF, .n_cols = COLS, .deal = qm_deal_of(QM_TYPE_F32, FF, COLS, 1, 2, &l), .n_expert = n},
                   b;
    a.expert_bytes = qm_pack_bytes(ty, FF, COLS);
    a.w_gate = wt_in("gate", ty, n, FF, COLS);
    a.w_up = wt_in("up", ty, n, FF, COLS);
    a.x = wt_act_in("x", ty, 1, COLS);
    a.ids = r.ids;
    a.h = chk_out("h", h_bytes);
    chk_launch(chk_kernel(QM_OP_ROUTER, -1, 0), 1, 1, 1, 32, 0, &r);
    chk_launch(chk_kernel(QM_OP_MOE_UP, QM_TYPE_F32, 0), l.grid[0], used, 1, l.block, shared, &a);
    b = a;
    b.ids = 0;
    b.logits = r.logits;
    b.picked = chk_out("picked", 4 * used);
    b.weights = chk_out("its weights", 4 * used);
    b.h = chk_out("its h", h_bytes);
    b.n_partials = parts;
    b.choice = qm_choice_of(n, used, &shared);
    chk_launch(chk_kernel(QM_OP_MOE_UP, QM_TYPE_F32, 0), l.grid[0], used, 1, l.block, shared, &b);
    const uint32_t *ids = chk_get(r.ids), *picked = chk_get(b.picked);
    for (uint32_t e = 0; e < used; e++)
        if (ids[e] != picked[e]) chk_fail("pick %u is %u, the router's %u", e, picked[e], ids[e]);
    if (memcmp(chk_get(r.weights), chk_get(b.weights), 4 * used)) chk_fail("other weights than the router's");
    if (memcmp(chk_get(a.h), chk_get(b.h), h_bytes)) chk_fail("other experts than the router's");
    /* and the reference of the whole */
    qm_moe_up_args want;
    chk_ref_args(QM_OP_MOE_UP, &want, &b);
    want.expert_bytes = FF * qm_row_bytes(ty, COLS);
    qm_ref_moe_up(&want, &(qm_ref_env){.wtype = QM_TYPE_F32, .grid = {l.grid[0], used, 1}, .block = l.block});
    chk_u32(b.picked, used);
    chk_f32(b.weights, used, chk_tolerance(chk_kernel(QM_OP_ROUTER, -1, 0)));
    chk_f32(b.h, (size_t)FF * used, chk_tolerance(chk_kernel(QM_OP_MOE_UP, QM_TYPE_F32, 0)));
    chk_end();
}

static void chooses(void **state) {
    static const uint32_t ns[] = {1, 2, 3, 8, 31, 33, 60, 64, 127, 128, 130, 257, 512}, ks[] = {1, 2, 8, 32};
    (void)state;
    for (size_t i = 0; i < sizeof ns / sizeof *ns; i++)
        for (size_t k = 0; k < sizeof ks / sizeof *ks; k++)
            if (ks[k] <= ns[i])
                for (uint32_t warps = 1; warps <= 16; warps *= 4)
                    choice(0, ns[i], ks[k], 1 + (uint32_t)(i + k) % 3, warps > 4 ? 4 : 1, warps > 4 ? 4 : warps, 0);
    for (uint32_t parts = 1; parts <= 17; parts++) choice(0, 128, 8, parts, 1, 4, parts % 2 ? 0 : 2);
    for (int f = 1; f < FILLS; f++) {
        choice(0, 128, 8, 1, 1, 4, f);
        choice(0, 100, 32, 2, 4, 4, f);
        choice(0, 9, 9, 1, 1, 1, f);
        choice(1, 40, 5, 3, 2, 4, f);
    }
    choice(1, 300, 8, 8, 1, 2, 0);
    choice(1, 16, 4, 2, 4, 4, 2);
}

int main(void) {
    const struct CMUnitTest t[] = {cmocka_unit_test(shapes),  cmocka_unit_test(choices),   cmocka_unit_test(planned),
                                   cmocka_unit_test(checked), cmocka_unit_test(canonical), cmocka_unit_test(chooses)};
    return chk_main(t);
}
