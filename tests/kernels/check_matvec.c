/* check_matvec: every weight type, over row tails, K, tiles per CTA, slices, K-splits, bias, and the geometry
 * that the plan would choose. */
#include "weights.h"
#include <math.h>

static void one(int checked, int wtype, uint32_t rows, uint32_t cols, uint32_t t, uint32_t s, uint32_t splits,
                int bias) {
    const qm_type_info *ty = qm_type_get((uint32_t)wtype);
    if (cols % wt_unit(ty)) return;
    qm_launch l = {{((rows + 31) / 32 + t - 1) / (t ? t : 1), splits, 1}, 32 * t * s, 0, t};
    if (!t) l = qm_launch_matvec(wtype, rows, cols, s, splits); /* the plan's, for s multiprocessors */
    else l.shared = qm_launch_shared(wtype, cols, splits, 1, t, s);
    (checked ? chk_begin_checked : chk_begin)("matvec %s rows=%u cols=%u T=%u S=%u splits=%u bias=%d", ty->name, rows,
                                              cols, t, s, splits, bias);
    int k = chk_kernel(QM_OP_MATVEC, wtype, 0);
    size_t n = (size_t)rows * l.grid[1];
    qm_matvec_args a = {.n_rows = rows, .n_cols = cols, .tiles = l.tiles}, r;
    a.w = wt_in("w", ty, 1, rows, cols);
    a.x = wt_act_in("x", ty, 1, cols);
    if (bias) a.bias = chk_in("bias", chk_normal(rows, 3), 4 * (size_t)rows);
    a.y = chk_out("y", 4 * n);
    chk_launch(k, l.grid[0], l.grid[1], 1, l.block, l.shared, &a);
    chk_ref_args(&r, &a, sizeof a);
    qm_ref_matvec(&r, &(qm_ref_env){.wtype = wtype, .grid = {l.grid[0], l.grid[1], 1}, .block = l.block});
    wt_compare(a.y, n, sqrt(rows) * wt_act_norm(ty, a.x, cols), chk_tolerance(k));
    chk_end();
}

static void shapes(void **state) {
    static const uint32_t rows[] = {1, 31, 32, 33, 64, 70}, cols[] = {32, 64, 96, 160, 256, 512, 768, 2048};
    (void)state;
    for (int i = 0; i < WT_N; i++)
        for (size_t r = 0; r < sizeof rows / sizeof *rows; r++)
            for (size_t c = 0; c < sizeof cols / sizeof *cols; c++) one(0, wt_types[i], rows[r], cols[c], 1, 1, 1, 0);
}

static void geometry(void **state) { /* more slices or splits than steps, tiles past the end, bias */
    static const uint32_t ts[] = {1, 2, 4, 8}, ss[] = {1, 2, 3, 4}, sp[] = {1, 2, 3, 5};
    (void)state;
    for (int i = 0; i < WT_N; i++)
        for (int t = 0; t < 4; t++)
            for (int s = 0; s < 4; s++)
                for (int p = 0; p < 4; p++)
                    if (ts[t] * ss[s] <= 16) {
                        one(0, wt_types[i], 90, 768, ts[t], ss[s], sp[p], (t + s + p) & 1);
                        if (t < 2) one(0, wt_types[i], 40, 288, ts[t], ss[s], sp[p], 1);
                    }
}

static void planned(void **state) {
    static const uint32_t shape[][2] = {{5120, 256}, {512, 2048}, {256, 4096}, {1000, 768}, {128, 2048}, {96, 96}};
    (void)state;
    for (int i = 0; i < WT_N; i++)
        for (size_t k = 0; k < sizeof shape / sizeof *shape; k++) {
            one(0, wt_types[i], shape[k][0], shape[k][1], 0, 4, 1, 0);
            one(0, wt_types[i], shape[k][0], shape[k][1], 0, 128, 8, 1);
        }
}

static void checked(void **state) { /* races and unwritten bytes */
    (void)state;
    for (int i = 0; i < WT_N; i++) {
        one(1, wt_types[i], 1, 256, 1, 1, 1, 0);
        one(1, wt_types[i], 70, 768, 2, 3, 2, 1);
        one(1, wt_types[i], 33, 1024, 4, 4, 3, 0);
        one(1, wt_types[i], 33, 32, 2, 2, 2, 1);
    }
}

/* A NaN or inf among the activations must come out in every row. */
static void nonfinite(void **state) {
    (void)state;
    for (int i = 0; i < WT_N; i++) {
        const qm_type_info *ty = qm_type_get((uint32_t)wt_types[i]);
        for (int inf = 0; inf < 2; inf++) {
            chk_begin("matvec %s non-finite %d", ty->name, inf);
            int k = chk_kernel(QM_OP_MATVEC, wt_types[i], 0);
            float *x = chk_normal(512, 1);
            x[300] = inf ? __builtin_inff() : __builtin_nanf("");
            unsigned char *q = chk_tmp(QM_Q16A_BYTES(512));
            qm_q16a_quantize(q, x, 512);
            qm_matvec_args a = {.n_rows = 40, .n_cols = 512, .tiles = 1};
            a.w = wt_in("w", ty, 1, 40, 512);
            a.x = ty->q16a ? chk_in("x", q, QM_Q16A_BYTES(512)) : chk_in("x", x, 4 * 512);
            a.y = chk_out("y", 4 * 40);
            chk_launch(k, 2, 1, 1, 64, qm_launch_shared(wt_types[i], 512, 1, 1, 1, 2), &a);
            const float *y = chk_get(a.y);
            for (int r = 0; r < 40; r++)
                if (__builtin_isfinite(y[r])) chk_fail("row %d is %g", r, (double)y[r]);
            chk_end();
        }
    }
}

int main(void) {
    const struct CMUnitTest t[] = {cmocka_unit_test(shapes), cmocka_unit_test(geometry), cmocka_unit_test(planned),
                                   cmocka_unit_test(checked), cmocka_unit_test(nonfinite)};
    return chk_main(t);
}
