/* check_moe_down: every weight type, on the device against the pair of ops that it replaces, moe_matvec and rmsnorm's residual, to
 * the bit, and against its reference; one expert for all, ids past the end, numbers of experts that are no power of two or more
 * than there are groups, add that is y, parts wanted or not, in every geometry. */
#include "weights.h"
#include <math.h>
#include <string.h>

enum { SAME_EXPERT = 1, BAD_ID = 2, IN_PLACE = 4, PARTS = 8, ZEROS = 16 /* of either sign */ };
enum { EXPERTS = 5 };

typedef struct {
    uint32_t rows, cols, used;
    uint32_t t, s, g; /* tiles, slices and groups (at most) of a CTA; t 0: as planned for s multiprocessors */
} shape;

static qm_launch launch_of(int wtype, shape *z) {
    if (!z->t) return qm_launch_moe_down(wtype, z->rows, z->cols, z->used, (qm_sms){z->s, 0});
    while (qm_moe_down_shared(wtype, z->cols, z->used, z->t, z->g) > 96 * 1024) z->g /= 2;
    return (qm_launch){.grid = {((z->rows + 31) / 32 + z->t - 1) / z->t, 1, 1},
                       .block = 32 * z->t * z->s * z->g,
                       .shared = qm_moe_down_shared(wtype, z->cols, z->used, z->t, z->g),
                       .tiles = z->t,
                       .width = z->g};
}

/* want[row] = x_out of rmsnorm on what moe_matvec leaves in parts [used, rows] */
static void pair(int wtype, const qm_moe_down_args *a, const float *was, float *want, uint64_t parts) {
    qm_launch l = qm_launch_moe_matvec(wtype, a->n_rows, a->n_cols, a->n_used, (qm_sms){4, 0});
    qm_moe_matvec_args m = {.w = a->w,
                            .x = a->x,
                            .ids = a->ids,
                            .scale = a->scale,
                            .y = parts,
                            .expert_bytes = a->expert_bytes,
                            .x_stride = a->x_stride,
                            .n_rows = a->n_rows,
                            .n_cols = a->n_cols,
                            .deal = qm_deal_of(wtype, a->n_rows, a->n_cols, 1, 1, &l),
                            .n_expert = a->n_expert};
    chk_launch(chk_kernel(QM_OP_MOE_MATVEC, wtype, 0), l.grid[0], l.grid[1], 1, l.block, l.shared, &m);
    /* rmsnorm takes multiples of 32: parts and x with room after each, n_rows rounded up */
    const uint32_t n = (a->n_rows + 31) / 32 * 32;
    float *p = chk_tmp(4 * (size_t)n * a->n_used), *x = chk_tmp(4 * n);
    memset(p, 0, 4 * (size_t)n * a->n_used);
    memset(x, 0, 4 * n);
    memcpy(x, was, 4 * a->n_rows);
    for (uint32_t e = 0; e < a->n_used; e++)
        memcpy(p + (size_t)e * n, (const float *)chk_get(parts) + (size_t)e * a->n_rows, 4 * a->n_rows);
    qm_rmsnorm_args r = {.n = n, .n_partials = a->n_used, .rows = 1, .eps = 1e-6f};
    r.x = chk_in("norm.x", x, 4 * n);
    r.partials = chk_in("norm.parts", p, 4 * (size_t)n * a->n_used);
    r.x_out = chk_out("norm.x_out", 4 * n);
    r.w = chk_in("norm.w", x, 4 * n);
    r.y = chk_out("norm.y", 4 * n);
    chk_launch(chk_kernel(QM_OP_RMSNORM, -1, 0), 1, 1, 1, qm_launch_rmsnorm(n).block, 0, &r);
    memcpy(want, chk_get(r.x_out), 4 * a->n_rows);
    /* their outputs are not held against a reference here: the twins get them */
    memcpy(chk_twin(parts), chk_get(parts), 4 * (size_t)a->n_rows * a->n_used);
}

static void one(int checked, int wtype, shape z, int how) {
    const qm_type_info *ty = qm_type_get((uint32_t)wtype);
    if (z.cols % wt_unit(ty)) return;
    const qm_launch l = launch_of(wtype, &z);
    (checked ? chk_begin_checked : chk_begin)("moe_down %s rows=%u cols=%u used=%u T=%u S=%u G=%u how=%d", ty->name,
                                              z.rows, z.cols, z.used, l.tiles, l.block / 32 / l.tiles / l.width,
                                              l.width, how);
    const int k = chk_kernel(QM_OP_MOE_DOWN, wtype, 0);
    const size_t bytes = 4 * (size_t)z.rows;
    uint32_t *ids = chk_tmp(4 * z.used);
    for (uint32_t e = 0; e < z.used; e++) ids[e] = how & SAME_EXPERT ? 3 : qm_rng_below(chk_rng(), EXPERTS);
    if (how & BAD_ID) ids[z.used - 1] = 0xffffffff;
    float *was = chk_normal(z.rows, 20), *want = chk_tmp(bytes), *weight = chk_normal(z.used, 1);
    for (uint32_t i = 0; how & ZEROS && i < z.rows; i++) was[i] = copysignf(0, was[i]);
    for (uint32_t e = 0; how & ZEROS && e < z.used; e++) weight[e] = copysignf(0, weight[e]);
    qm_moe_down_args a = {.n_rows = z.rows,
                          .n_cols = z.cols,
                          .deal = qm_deal_of(wtype, z.rows, z.cols, 1, 1, &l),
                          .groups = qm_groups_of(wtype, z.cols, z.used, &l),
                          .n_used = z.used,
                          .n_expert = EXPERTS},
                     r;
    a.expert_bytes = qm_pack_bytes(ty, z.rows, z.cols);
    a.x_stride = wt_act_bytes(ty, z.cols);
    a.w = wt_in("w", ty, EXPERTS, z.rows, z.cols);
    a.x = wt_act_in("x", ty, z.used, z.cols);
    a.ids = chk_in("ids", ids, 4 * (size_t)z.used);
    a.scale = chk_in("scale", weight, 4 * (size_t)z.used);
    a.y = how & IN_PLACE ? chk_inout("y", was, bytes) : chk_out("y", bytes);
    a.add = how & IN_PLACE ? a.y : chk_in("add", was, bytes);
    if (how & PARTS) a.parts = chk_out("parts", bytes * z.used);
    const uint64_t parts = chk_out("want.parts", bytes * z.used);
    chk_launch(k, l.grid[0], 1, 1, l.block, l.shared, &a);
    const float *got = memcpy(chk_tmp(bytes), chk_get(a.y), bytes);
    if (!checked) { /* packed weights alone are the pair's: its outputs are whole */
        pair(wtype, &a, was, want, parts);
        for (uint32_t i = 0; i < z.rows; i++)
            if (memcmp(&got[i], &want[i], 4))
                chk_fail("row %u: %a, but moe_matvec and rmsnorm give %a", i, (double)got[i], (double)want[i]);
        if (a.parts && memcmp(chk_get(a.parts), chk_get(parts), bytes * z.used))
            chk_fail("parts are not those of moe_matvec");
    }
    chk_ref_args(QM_OP_MOE_DOWN, &r, &a);
    r.expert_bytes = z.rows * qm_row_bytes(ty, z.cols);
    qm_ref_moe_down(&r, &(qm_ref_env){.wtype = wtype, .grid = {l.grid[0], 1, 1}, .block = l.block});
    const double norm = wt_products_norm(ty, a.x, a.x_stride, z.cols, chk_twin(a.scale), z.used, z.rows);
    wt_compare(a.y, z.rows, norm, chk_tolerance(k));
    if (a.parts) wt_compare(a.parts, (size_t)z.rows * z.used, norm, chk_tolerance(k));
    chk_end();
}

static void shapes(void **state) {
    static const uint32_t rows[] = {1, 33, 64, 90}, cols[] = {32, 96, 256, 768, 2048};
    (void)state;
    for (int i = 0; i < WT_N; i++)
        for (size_t r = 0; r < sizeof rows / sizeof *rows; r++)
            for (size_t c = 0; c < sizeof cols / sizeof *cols; c++) {
                one(0, wt_types[i], (shape){rows[r], cols[c], 3, 1, 1, 4}, 0);
                one(0, wt_types[i], (shape){rows[r], cols[c], 8, 2, 1, 8}, PARTS | IN_PLACE);
            }
}

/* Experts: one, fewer and more than groups, and the most there may be. */
static void experts(void **state) {
    static const uint32_t used[] = {1, 2, 6, 8, 9, 17, 32};
    (void)state;
    for (int i = 0; i < WT_N; i++)
        for (size_t u = 0; u < sizeof used / sizeof *used; u++)
            for (uint32_t g = 1; g <= 16; g *= 4) {
                one(0, wt_types[i], (shape){40, 512, used[u], 1, 1, g}, PARTS);
                one(0, wt_types[i], (shape){33, 544, used[u], 1, g == 16 ? 1 : 2, g}, 0);
            }
}

static void choices(void **state) {
    (void)state;
    for (int i = 0; i < WT_N; i++)
        for (int how = 0; how < 16; how++) {
            one(0, wt_types[i], (shape){70, 512, 8, 2, 1, 8}, how);
            one(0, wt_types[i], (shape){33, 256, 1, 1, 2, 1}, how);
            one(0, wt_types[i], (shape){40, 288, 5, 1, 4, 2}, how);
        }
    for (uint32_t used = 1; used <= 9; used++) one(0, QM_TYPE_Q4_K, (shape){64, 256, used, 1, 1, 4}, ZEROS | PARTS);
}

static void planned(void **state) {
    (void)state;
    for (int i = 0; i < WT_N; i++) {
        one(0, wt_types[i], (shape){512, 768, 8, 0, 128, 0}, PARTS | IN_PLACE);
        one(0, wt_types[i], (shape){512, 1536, 8, 0, 4, 0}, IN_PLACE);
        one(0, wt_types[i], (shape){96, 96, 2, 0, 4, 0}, PARTS);
        one(0, wt_types[i], (shape){96, 4096, 12, 0, 4, 0}, 0);
    }
}

static void checked(void **state) {
    (void)state;
    for (int i = 0; i < WT_N; i++) {
        one(1, wt_types[i], (shape){40, 1536, 3, 2, 2, 2}, PARTS);
        one(1, wt_types[i], (shape){33, 32, 3, 1, 2, 4}, SAME_EXPERT | IN_PLACE);
        one(1, wt_types[i], (shape){1, 256, 9, 1, 1, 4}, BAD_ID);
    }
}

/* A NaN and an infinity in one expert's vector show in all rows, in a scale likewise, in the residual in one. */
static void nonfinite(void **state) {
    enum { ROWS = 64, COLS = 256, USED = 4 };
    (void)state;
    for (int bad = 0; bad < 3; bad++) {
        const float evil = bad == 1 ? INFINITY : NAN;
        const int wtype = QM_TYPE_Q4_K;
        const qm_type_info *ty = qm_type_get((uint32_t)wtype);
        chk_begin("moe_down nonfinite %d", bad);
        const uint32_t ids[USED] = {0, 1, 1, 0};
        float *scale = chk_normal(USED, 1), *was = chk_normal(ROWS, 1);
        if (bad < 2) scale[2] = evil;
        else was[7] = evil;
        const qm_launch l = qm_launch_moe_down(wtype, ROWS, COLS, USED, (qm_sms){4, 0});
        qm_moe_down_args a = {.n_rows = ROWS,
                              .n_cols = COLS,
                              .deal = qm_deal_of(wtype, ROWS, COLS, 1, 1, &l),
                              .groups = qm_groups_of(wtype, COLS, USED, &l),
                              .n_used = USED,
                              .n_expert = 2};
        a.expert_bytes = qm_pack_bytes(ty, ROWS, COLS);
        a.x_stride = wt_act_bytes(ty, COLS);
        a.w = wt_in("w", ty, 2, ROWS, COLS);
        a.x = wt_act_in("x", ty, USED, COLS);
        a.ids = chk_in("ids", ids, sizeof ids);
        a.scale = chk_in("scale", scale, 4 * USED);
        a.add = chk_in("add", was, 4 * ROWS);
        a.y = chk_out("y", 4 * ROWS);
        chk_launch(chk_kernel(QM_OP_MOE_DOWN, wtype, 0), l.grid[0], 1, 1, l.block, l.shared, &a);
        const float *y = chk_get(a.y);
        for (int i = 0; i < ROWS; i++)
            if (!isfinite(y[i]) != (bad < 2 || i == 7)) chk_fail("row %d is %g", i, (double)y[i]);
        memcpy(chk_twin(a.y), y, 4 * ROWS);
        chk_end();
    }
}

/* The same bits whatever the tiles, slices and groups of a CTA, and the multiprocessors that the plan deals for. */
static void canonical(void **state) {
    static const uint32_t cols[] = {32, 544, 768, 1536, 4608, 8192}, sms[] = {1, 4, 48, 128, 132, 170};
    (void)state;
    for (int i = 0; i < WT_N; i++)
        for (size_t c = 0; c < sizeof cols / sizeof *cols; c++) {
            const int wtype = wt_types[i];
            if (cols[c] % wt_unit(qm_type_get((uint32_t)wtype))) continue;
            for (uint32_t g = 1; g <= 4; g *= 2)
                for (uint32_t t = 1; t <= 2; t *= 2)
                    for (uint32_t s = 1; t * s * g <= 16; s *= 4) one(0, wtype, (shape){70, cols[c], 2, t, s, g}, 0);
            for (size_t m = 0; m < sizeof sms / sizeof *sms; m++)
                one(0, wtype, (shape){70, cols[c], 2, 0, sms[m], 0}, 0);
        }
}

int main(void) {
    const struct CMUnitTest t[] = {cmocka_unit_test(shapes),   cmocka_unit_test(experts), cmocka_unit_test(choices),
                                   cmocka_unit_test(planned),  cmocka_unit_test(checked), cmocka_unit_test(nonfinite),
                                   cmocka_unit_test(canonical)};
    return chk_main(t);
}
