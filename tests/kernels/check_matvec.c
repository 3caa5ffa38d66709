/* check_matvec: every weight type, over row tails, K, tiles per CTA, slices, parts of K, bias, and the geometry
 * that the plan would choose; and that no geometry changes a bit of what abi.h's "Canonical sums" say. */
#include "weights.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

static qm_launch geometry_of(int wtype, uint32_t rows, uint32_t cols, uint32_t t, uint32_t s, int parted) {
    if (!t) return qm_launch_matvec(wtype, rows, cols, (qm_sms){s, 0}, parted ? 8 : 1);
    const uint32_t parts = parted ? qm_sums_of(wtype, cols).n_parts : 1;
    return (qm_launch){
        {((rows + 31) / 32 + t - 1) / t, parts, 1}, 32 * t * s, qm_launch_shared(wtype, cols, parts, 1, t), t, 0};
}

/* t 0: the geometry that the plan chooses for s multiprocessors. parted: each part of K is written by itself. */
static void one(int checked, int wtype, uint32_t rows, uint32_t cols, uint32_t t, uint32_t s, int parted, int bias) {
    const qm_type_info *ty = qm_type_get((uint32_t)wtype);
    if (cols % wt_unit(ty)) return;
    qm_launch l = geometry_of(wtype, rows, cols, t, s, parted);
    (checked ? chk_begin_checked : chk_begin)("matvec %s rows=%u cols=%u T=%u S=%u parted=%d bias=%d", ty->name, rows,
                                              cols, t, s, parted, bias);
    int k = chk_kernel(QM_OP_MATVEC, wtype, 0);
    size_t n = (size_t)rows * l.grid[1];
    qm_matvec_args a = {.n_rows = rows, .n_cols = cols, .deal = qm_deal_of(wtype, rows, cols, l.grid[1], 1, &l)}, r;
    a.w = wt_in("w", ty, 1, rows, cols);
    a.x = wt_act_in("x", ty, 1, cols);
    if (bias) a.bias = chk_in("bias", chk_normal(rows, 3), 4 * (size_t)rows);
    a.y = chk_out("y", 4 * n);
    chk_launch(k, l.grid[0], l.grid[1], 1, l.block, l.shared, &a);
    chk_ref_args(QM_OP_MATVEC, &r, &a);
    qm_ref_matvec(&r, &(qm_ref_env){.wtype = wtype, .grid = {l.grid[0], l.grid[1], 1}, .block = l.block});
    wt_compare(a.y, n, sqrt(rows) * wt_act_norm(ty, a.x, cols), chk_tolerance(k));
    chk_end();
}

static void shapes(void **state) {
    static const uint32_t rows[] = {1, 31, 32, 33, 64, 70}, cols[] = {32, 64, 96, 160, 256, 512, 768, 2048};
    (void)state;
    for (int i = 0; i < WT_PRODUCTS; i++)
        for (size_t r = 0; r < sizeof rows / sizeof *rows; r++)
            for (size_t c = 0; c < sizeof cols / sizeof *cols; c++) one(0, wt_types[i], rows[r], cols[c], 1, 1, 0, 0);
}

static void geometry(void **state) { /* more slices than segments, tiles past the end, bias */
    static const uint32_t ts[] = {1, 2, 4, 8}, ss[] = {1, 2, 4, 8};
    (void)state;
    for (int i = 0; i < WT_PRODUCTS; i++)
        for (int t = 0; t < 4; t++)
            for (int s = 0; s < 4; s++)
                for (int p = 0; p < 2; p++)
                    if (ts[t] * ss[s] <= 16) {
                        one(0, wt_types[i], 90, 1536, ts[t], ss[s], p, (t + s + p) & 1);
                        if (t < 2) one(0, wt_types[i], 40, 288, ts[t], ss[s], p, 1);
                    }
}

static void planned(void **state) {
    static const uint32_t shape[][2] = {{5120, 256}, {512, 2048}, {256, 4096}, {1000, 768}, {128, 2048}, {96, 96}};
    (void)state;
    for (int i = 0; i < WT_PRODUCTS; i++)
        for (size_t k = 0; k < sizeof shape / sizeof *shape; k++) {
            one(0, wt_types[i], shape[k][0], shape[k][1], 0, 4, 0, 0);
            one(0, wt_types[i], shape[k][0], shape[k][1], 0, 128, 1, 1);
        }
}

static void checked(void **state) { /* races and unwritten bytes */
    (void)state;
    for (int i = 0; i < WT_PRODUCTS; i++) {
        one(1, wt_types[i], 1, 256, 1, 1, 0, 0);
        one(1, wt_types[i], 70, 1536, 2, 2, 1, 1);
        one(1, wt_types[i], 33, 2048, 4, 4, 0, 0);
        one(1, wt_types[i], 33, 32, 2, 1, 1, 1);
    }
}

/* A NaN or inf among the activations must come out in every row. */
static void nonfinite(void **state) {
    (void)state;
    for (int i = 0; i < WT_PRODUCTS; i++) {
        const qm_type_info *ty = qm_type_get((uint32_t)wt_types[i]);
        for (int inf = 0; inf < 2; inf++) {
            chk_begin("matvec %s non-finite %d", ty->name, inf);
            int k = chk_kernel(QM_OP_MATVEC, wt_types[i], 0);
            float *x = chk_normal(512, 1);
            x[300] = inf ? __builtin_inff() : __builtin_nanf("");
            unsigned char *q = chk_tmp(QM_Q16A_BYTES(512));
            qm_q16a_quantize(q, x, 512);
            const qm_launch l = geometry_of(wt_types[i], 40, 512, 1, 2, 0);
            qm_matvec_args a = {.n_rows = 40, .n_cols = 512, .deal = qm_deal_of(wt_types[i], 40, 512, 1, 1, &l)};
            a.w = wt_in("w", ty, 1, 40, 512);
            a.x = ty->q16a ? chk_in("x", q, QM_Q16A_BYTES(512)) : chk_in("x", x, 4 * 512);
            a.y = chk_out("y", 4 * 40);
            chk_launch(k, 2, 1, 1, l.block, l.shared, &a);
            const float *y = chk_get(a.y);
            for (int r = 0; r < 40; r++)
                if (__builtin_isfinite(y[r])) chk_fail("row %d is %g", r, (double)y[r]);
            chk_end();
        }
    }
}

/* ---- bits ---- */
enum { ROWS = 70 };
typedef struct {
    int wtype, kernel;
    const qm_type_info *t;
    uint32_t cols;
    unsigned char *raw; /* [ROWS, cols] */
    float *x, *bias, *want;
} matrix;

/* y [ROWS] = columns [k0, k1) of the matrix . x, as a matrix of its own */
static void columns(const matrix *m, uint32_t k0, uint32_t k1, float *y) {
    const uint32_t n = k1 - k0;
    const size_t row = qm_row_bytes(m->t, m->cols), part = qm_row_bytes(m->t, n);
    chk_begin("matvec %s, columns %u to %u of %u", m->t->name, k0, k1, m->cols);
    unsigned char *raw = chk_tmp(ROWS * part), *packed = chk_tmp(qm_pack_bytes(m->t, ROWS, n));
    for (size_t r = 0; r < ROWS; r++) memcpy(raw + r * part, m->raw + r * row + qm_row_bytes(m->t, k0), part);
    qm_pack(packed, raw, m->t, ROWS, n);
    unsigned char *q = chk_tmp(QM_Q16A_BYTES(n));
    qm_q16a_quantize(q, m->x + k0, n);
    const qm_launch l = geometry_of(m->wtype, ROWS, n, 1, 1, 0);
    qm_matvec_args a = {.n_rows = ROWS, .n_cols = n, .deal = qm_deal_of(m->wtype, ROWS, n, 1, 1, &l)};
    a.w = chk_in("w", packed, qm_pack_bytes(m->t, ROWS, n));
    a.x = m->t->q16a ? chk_in("x", q, QM_Q16A_BYTES(n)) : chk_in("x", m->x + k0, 4 * (size_t)n);
    a.y = chk_out("y", 4 * ROWS);
    chk_launch(m->kernel, 3, 1, 1, l.block, l.shared, &a);
    memcpy(y, chk_get(a.y), 4 * ROWS);
    chk_end();
}

/* want, by the rule: each segment by itself, segments to parts, parts to the result. A segment that as a matrix would be cut
 * itself (where K is so long that segments grow) says nothing: 0. */
static int by_rule(matrix *m) {
    const qm_sums s = qm_sums_of(m->wtype, m->cols);
    float *y = calloc(ROWS, sizeof *y), *part = calloc(ROWS, sizeof *part);
    int can = qm_sums_of(m->wtype, s.segment * s.step).n_segments == 1;
    assert_true(y && part);
    memset(m->want, 0, ROWS * sizeof *m->want);
    for (uint32_t p = 0, g = 0; can && p < s.n_parts; p++) {
        for (int r = 0; r < ROWS; r++) part[r] = p ? 0 : m->bias[r];
        for (uint32_t i = 0; i < s.part / s.segment && g < s.n_segments; i++, g++) {
            columns(m, g * s.segment * s.step, g + 1 < s.n_segments ? (g + 1) * s.segment * s.step : m->cols, y);
            for (int r = 0; r < ROWS; r++) part[r] += y[r];
        }
        for (int r = 0; r < ROWS; r++) m->want[r] += part[r];
    }
    free(y);
    free(part);
    return can;
}

/* The matrix in one geometry: the bits of want, where the parts are added by rising index. first: there is none yet. */
static void in_geometry(matrix *m, qm_matvec_args *a, uint32_t t, uint32_t s, int parted, int first) {
    const qm_launch l = geometry_of(m->wtype, ROWS, m->cols, t, s, parted);
    static float none[8 * ROWS];
    float sum[ROWS];
    memset(none, 0xff, sizeof none);
    chk_write(a->y, none, sizeof none);
    a->deal = qm_deal_of(m->wtype, ROWS, m->cols, l.grid[1], 1, &l);
    chk_launch(m->kernel, l.grid[0], l.grid[1], 1, l.block, l.shared, a);
    const float *y = chk_get(a->y);
    for (int r = 0; r < ROWS; r++) {
        sum[r] = y[r];
        for (uint32_t p = 1; p < l.grid[1]; p++) sum[r] += y[p * ROWS + (uint32_t)r];
    }
    if (first) memcpy(m->want, sum, sizeof sum);
    for (int r = 0; r < ROWS; r++)
        if (memcmp(&sum[r], &m->want[r], 4))
            chk_fail("T=%u S=%u parts=%u of n_sm or slices %u: row %d is %a, not %a", l.tiles, l.block / 32 / l.tiles,
                     l.grid[1], s, r, (double)sum[r], (double)m->want[r]);
}

static void one_matrix(int wtype, uint32_t cols) {
    static const uint32_t sms[] = {1, 4, 48, 128, 132, 170};
    matrix m = {.wtype = wtype, .t = qm_type_get((uint32_t)wtype), .cols = cols};
    if (cols % wt_unit(m.t)) return;
    const size_t raw_bytes = ROWS * qm_row_bytes(m.t, cols);
    chk_begin("matvec %s cols=%u, the matrix", m.t->name, cols);
    m.kernel = chk_kernel(QM_OP_MATVEC, wtype, 0);
    m.raw = malloc(raw_bytes);
    m.x = malloc(4 * (size_t)cols);
    m.bias = malloc(4 * ROWS);
    m.want = malloc(4 * ROWS);
    assert_true(m.raw && m.x && m.bias && m.want);
    memcpy(m.raw, wt_random(m.t, ROWS, cols), raw_bytes);
    memcpy(m.x, chk_normal(cols, 1), 4 * (size_t)cols);
    memcpy(m.bias, chk_normal(ROWS, 3), 4 * ROWS);
    chk_end();
    int first = !by_rule(&m);
    chk_begin("matvec %s cols=%u in every geometry", m.t->name, cols);
    unsigned char *packed = chk_tmp(qm_pack_bytes(m.t, ROWS, cols)), *q = chk_tmp(QM_Q16A_BYTES(cols));
    qm_pack(packed, m.raw, m.t, ROWS, cols);
    qm_q16a_quantize(q, m.x, cols);
    qm_matvec_args a = {.n_rows = ROWS, .n_cols = cols};
    a.w = chk_in("w", packed, qm_pack_bytes(m.t, ROWS, cols));
    a.x = m.t->q16a ? chk_in("x", q, QM_Q16A_BYTES(cols)) : chk_in("x", m.x, 4 * (size_t)cols);
    a.bias = chk_in("bias", m.bias, 4 * ROWS);
    a.y = chk_out("y", 4 * 8 * ROWS);
    for (int parted = 0; parted < 2; parted++) {
        for (uint32_t t = 1; t <= 8; t *= 2)
            for (uint32_t s = 1; t * s <= 16; s *= 2, first = 0) in_geometry(&m, &a, t, s, parted, first);
        for (size_t i = 0; i < sizeof sms / sizeof *sms; i++) in_geometry(&m, &a, 0, sms[i], parted, 0);
    }
    chk_end();
    free(m.raw);
    free(m.x);
    free(m.bias);
    free(m.want);
}

static void canonical(void **state) {
    static const uint32_t cols[] = {32,   160,  256,  288,  544,  768,  1280, 1536, 2048,
                                    2080, 2304, 2816, 4096, 4608, 4864, 5120, 6656, 8192};
    (void)state;
    for (int i = 0; i < WT_PRODUCTS; i++)
        for (size_t c = 0; c < sizeof cols / sizeof *cols; c++) one_matrix(wt_types[i], cols[c]);
}

/* F32 weights whose low halves are zero, and the same without these: the same bits. */
static void halves_of(uint32_t rows, uint32_t cols, int parted) {
    const size_t n = (size_t)rows * cols;
    const qm_launch l[2] = {qm_launch_matvec(QM_TYPE_F32, rows, cols, (qm_sms){128, 0}, parted ? 8 : 1),
                            qm_launch_matvec(QM_TYPE_F32H, rows, cols, (qm_sms){128, 0}, parted ? 8 : 1)};
    const qm_type_info *t[2] = {qm_type_get(QM_TYPE_F32), qm_type_get(QM_TYPE_F32H)};
    qm_matvec_args a = {.n_rows = rows, .n_cols = cols};
    uint64_t y[2];
    chk_begin("matvec F32 and F32H rows=%u cols=%u parted=%d", rows, cols, parted);
    if (l[0].grid[1] != l[1].grid[1]) chk_fail("%u parts, and %u", l[0].grid[1], l[1].grid[1]);
    uint16_t *half = wt_random(t[1], rows, cols);
    float *whole = chk_tmp(4 * n);
    for (size_t i = 0; i < n; i++) whole[i] = qm_bf16_to_f32(half[i]);
    a.x = wt_act_in("x", t[0], 1, cols);
    a.bias = chk_in("bias", chk_normal(rows, 3), 4 * (size_t)rows);
    for (int i = 0; i < 2; i++) {
        const size_t bytes = qm_pack_bytes(t[i], rows, cols);
        unsigned char *packed = chk_tmp(bytes);
        qm_pack(packed, i ? (void *)half : (void *)whole, t[i], rows, cols);
        a.w = chk_in("w", packed, bytes);
        a.y = y[i] = chk_out("y", 4 * (size_t)rows * l[i].grid[1]);
        a.deal = qm_deal_of((int)t[i]->type, rows, cols, l[i].grid[1], 1, &l[i]);
        chk_launch(chk_kernel(QM_OP_MATVEC, t[i]->type, 0), l[i].grid[0], l[i].grid[1], 1, l[i].block, l[i].shared, &a);
    }
    const size_t bytes = 4 * (size_t)rows * l[0].grid[1];
    unsigned char *of_f32 = chk_tmp(bytes);
    memcpy(of_f32, chk_get(y[0]), bytes);
    if (memcmp(of_f32, chk_get(y[1]), bytes)) chk_fail("they differ");
    chk_end();
}

static void halves(void **state) {
    static const uint32_t shape[][2] = {{128, 2048}, {24, 256}, {70, 96},   {33, 32},
                                        {256, 4096}, {8, 5120}, {512, 8224}};
    (void)state;
    for (size_t i = 0; i < sizeof shape / sizeof *shape; i++)
        for (int parted = 0; parted < 2; parted++) halves_of(shape[i][0], shape[i][1], parted);
}

int main(void) {
    const struct CMUnitTest t[] = {cmocka_unit_test(shapes),  cmocka_unit_test(geometry),  cmocka_unit_test(planned),
                                   cmocka_unit_test(checked), cmocka_unit_test(nonfinite), cmocka_unit_test(canonical),
                                   cmocka_unit_test(halves)};
    return chk_main(t);
}
