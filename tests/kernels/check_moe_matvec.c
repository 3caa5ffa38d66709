/* check_moe_matvec: every weight type; one expert in every slot, one slot, ids past the end, one vector for
 * all, no scale, vectors aligned to 4 bytes only. */
#include "weights.h"
#include <math.h>
#include <string.h>

enum { SAME_EXPERT = 1, ONE_X = 2, NO_SCALE = 4, BAD_ID = 8 };

static void one(int checked, int wtype, uint32_t rows, uint32_t cols, uint32_t slots, uint32_t t, uint32_t s, int how) {
    const qm_type_info *ty = qm_type_get((uint32_t)wtype);
    if (cols % wt_unit(ty)) return;
    enum { EXPERTS = 5 };
    qm_launch l = {{((rows + 31) / 32 + t - 1) / (t ? t : 1), slots, 1}, 32 * t * s, 0, t, 0};
    if (!t) l = qm_launch_moe_matvec(wtype, rows, cols, slots, (qm_sms){s, 0});
    else l.shared = qm_launch_shared(wtype, cols, 1, 1, t);
    (checked ? chk_begin_checked : chk_begin)("moe_matvec %s rows=%u cols=%u slots=%u T=%u S=%u how=%d", ty->name, rows,
                                              cols, slots, t, s, how);
    int k = chk_kernel(QM_OP_MOE_MATVEC, wtype, 0);
    uint32_t *ids = chk_tmp(4 * slots);
    for (uint32_t e = 0; e < slots; e++) ids[e] = how & SAME_EXPERT ? 3 : qm_rng_below(chk_rng(), EXPERTS);
    if (how & BAD_ID) ids[0] = 0xffffffff;
    qm_moe_matvec_args a = {.n_rows = rows,
                            .n_cols = cols,
                            .deal = qm_deal_of(wtype, rows, cols, 1, 1, &l),
                            .n_expert = EXPERTS},
                       r;
    a.expert_bytes = qm_pack_bytes(ty, rows, cols);
    a.x_stride = how & ONE_X ? 0 : wt_act_bytes(ty, cols);
    a.w = wt_in("w", ty, EXPERTS, rows, cols);
    a.x = wt_act_in("x", ty, how & ONE_X ? 1 : slots, cols);
    a.ids = chk_in("ids", ids, 4 * (size_t)slots);
    if (!(how & NO_SCALE)) a.scale = chk_in("scale", chk_normal(slots, 1), 4 * (size_t)slots);
    a.y = chk_out("y", 4 * (size_t)rows * slots);
    chk_launch(k, l.grid[0], l.grid[1], 1, l.block, l.shared, &a);
    chk_ref_args(QM_OP_MOE_MATVEC, &r, &a);
    r.expert_bytes = rows * qm_row_bytes(ty, cols);
    qm_ref_moe_matvec(&r, &(qm_ref_env){.wtype = wtype, .grid = {l.grid[0], l.grid[1], 1}, .block = l.block});
    const double norm = wt_products_norm(ty, a.x, a.x_stride, cols, chk_twin(a.scale), slots, rows);
    wt_compare(a.y, (size_t)rows * slots, norm, chk_tolerance(k));
    chk_end();
}

static void shapes(void **state) {
    static const uint32_t rows[] = {1, 33, 64, 90}, cols[] = {32, 96, 256, 768, 2048};
    (void)state;
    for (int i = 0; i < WT_N; i++)
        for (size_t r = 0; r < sizeof rows / sizeof *rows; r++)
            for (size_t c = 0; c < sizeof cols / sizeof *cols; c++) {
                one(0, wt_types[i], rows[r], cols[c], 3, 1, 1, 0);
                one(0, wt_types[i], rows[r], cols[c], 8, 2, 2, NO_SCALE);
            }
}

static void choices(void **state) {
    (void)state;
    for (int i = 0; i < WT_N; i++)
        for (int how = 0; how < 16; how++) {
            one(0, wt_types[i], 70, 512, 8, 2, 1, how);
            one(0, wt_types[i], 33, 256, 1, 1, 2, how);
            one(0, wt_types[i], 40, 288, 4, 4, 4, how);
        }
}

static void planned(void **state) {
    (void)state;
    for (int i = 0; i < WT_N; i++) {
        one(0, wt_types[i], 512, 768, 8, 0, 128, 0);
        one(0, wt_types[i], 96, 1536, 8, 0, 4, 0);
        one(0, wt_types[i], 96, 96, 2, 0, 4, 0);
    }
}

static void checked(void **state) {
    (void)state;
    for (int i = 0; i < WT_N; i++) {
        one(1, wt_types[i], 40, 1536, 3, 2, 2, 0);
        one(1, wt_types[i], 33, 32, 3, 1, 2, SAME_EXPERT);
        one(1, wt_types[i], 1, 256, 2, 1, 1, BAD_ID | NO_SCALE);
    }
}

/* The same bits whatever the tiles a CTA, the slices, and the multiprocessors that the plan deals for. */
static void canonical(void **state) {
    static const uint32_t cols[] = {32, 256, 544, 768, 1536, 2048, 4608, 8192}, sms[] = {1, 4, 48, 128, 132, 170};
    enum { ROWS = 70, SLOTS = 2, GEOMETRIES = 32 };
    (void)state;
    for (int i = 0; i < WT_N; i++)
        for (size_t c = 0; c < sizeof cols / sizeof *cols; c++) {
            const int wtype = wt_types[i];
            const qm_type_info *ty = qm_type_get((uint32_t)wtype);
            if (cols[c] % wt_unit(ty)) continue;
            chk_begin("moe_matvec %s cols=%u in every geometry", ty->name, cols[c]);
            qm_launch l[GEOMETRIES];
            int n = 0;
            for (uint32_t t = 1; t <= 8; t *= 2)
                for (uint32_t s = 1; t * s <= 16; s *= 2)
                    l[n++] = (qm_launch){
                        {(3 + t - 1) / t, SLOTS, 1}, 32 * t * s, qm_launch_shared(wtype, cols[c], 1, 1, t), t, 0};
            for (size_t m = 0; m < sizeof sms / sizeof *sms; m++)
                l[n++] = qm_launch_moe_matvec(wtype, ROWS, cols[c], SLOTS, (qm_sms){sms[m], 0});
            const uint32_t ids[SLOTS] = {1, 0};
            qm_moe_matvec_args a = {.n_rows = ROWS, .n_cols = cols[c], .n_expert = 2};
            a.expert_bytes = qm_pack_bytes(ty, ROWS, cols[c]);
            a.x_stride = wt_act_bytes(ty, cols[c]);
            a.w = wt_in("w", ty, 2, ROWS, cols[c]);
            a.x = wt_act_in("x", ty, SLOTS, cols[c]);
            a.ids = chk_in("ids", ids, sizeof ids);
            a.scale = chk_in("scale", chk_normal(SLOTS, 1), 4 * SLOTS);
            a.y = chk_out("y", 4 * ROWS * SLOTS);
            float want[ROWS * SLOTS], none[ROWS * SLOTS];
            memset(none, 0xff, sizeof none);
            for (int g = 0; g < n; g++) {
                chk_write(a.y, none, sizeof none);
                a.deal = qm_deal_of(wtype, ROWS, cols[c], 1, 1, &l[g]);
                chk_launch(chk_kernel(QM_OP_MOE_MATVEC, wtype, 0), l[g].grid[0], SLOTS, 1, l[g].block, l[g].shared, &a);
                if (!g) memcpy(want, chk_get(a.y), sizeof want);
                if (memcmp(want, chk_get(a.y), sizeof want))
                    chk_fail("T=%u S=%u: other bits than with one warp a tile", l[g].tiles,
                             l[g].block / 32 / l[g].tiles);
            }
            chk_end();
        }
}

int main(void) {
    const struct CMUnitTest t[] = {cmocka_unit_test(shapes), cmocka_unit_test(choices), cmocka_unit_test(planned),
                                   cmocka_unit_test(checked), cmocka_unit_test(canonical)};
    return chk_main(t);
}
