/* check_gemm: every weight type and width, over row tails, K, rows of the step, how many of them there are, tiles per CTA, parts
 * of K and bias: against the C reference, and each row bit for bit what matvec gives it alone. */
#include "weights.h"
#include <math.h>
#include <string.h>

typedef struct {
    uint32_t n, cols;     /* the matrix */
    uint32_t rows, count; /* rows of the step's arrays; how many there are, 0: all */
    uint32_t width, t;    /* t 0: the geometry that the plan chooses for `width` multiprocessors */
    int parted, bias;
} shape;

/* Kernels of float weights have one width. */
static int has_width(int wtype, uint32_t width) { return width == 8 || qm_type_get((uint32_t)wtype)->q16a; }

static qm_launch geometry_of(int wtype, const shape *s) {
    if (!s->t) return qm_launch_gemm(wtype, s->n, s->cols, s->rows, s->width, s->parted ? 8 : 1);
    const uint32_t parts = s->parted ? qm_sums_of(wtype, s->cols).n_parts : 1;
    return (qm_launch){.grid = {((s->n + 31) / 32 + s->t - 1) / s->t, parts, (s->rows + s->width - 1) / s->width},
                       .block = 32 * s->t,
                       .shared = qm_rows_shared(wtype, s->width, s->t),
                       .tiles = s->t,
                       .width = s->width};
}

/* Relative to at least half of what random weights of unit variance give on average (wt_compare). */
static void near(const shape *s, const float *y, const float *ref, uint32_t parts, uint32_t stride, uint32_t count,
                 double norm, double tol) {
    double err = 0, own = 0;
    for (uint32_t p = 0; p < parts; p++)
        for (uint32_t r = 0; r < count; r++)
            for (uint32_t i = 0; i < s->n; i++) {
                const size_t at = (size_t)(p * s->rows + r) * stride + i;
                err += ((double)y[at] - (double)ref[at]) * ((double)y[at] - (double)ref[at]);
                own += (double)ref[at] * (double)ref[at];
            }
    own = fmax(sqrt(own), norm / 2);
    if (!(sqrt(err) <= tol * own)) chk_fail("off by %g of %g, tolerance %g", sqrt(err), own, tol * own);
}

static void one(int checked, int wtype, const shape *s) {
    const qm_type_info *ty = qm_type_get((uint32_t)wtype);
    if (s->cols % wt_unit(ty) || (s->t && !has_width(wtype, s->width))) return;
    const qm_launch l = geometry_of(wtype, s);
    (checked ? chk_begin_checked : chk_begin)("gemm %s n=%u cols=%u rows=%u/%u width=%u T=%u parted=%d bias=%d",
                                              ty->name, s->n, s->cols, s->count, s->rows, l.width, s->t, s->parted,
                                              s->bias);
    const int k = chk_kernel_rows(QM_OP_GEMM, wtype, (int)l.width), mv = chk_kernel(QM_OP_MATVEC, wtype, 0);
    const uint32_t count = s->count ? s->count : s->rows, parts = l.grid[1], stride = s->n + (checked ? 0 : 3);
    qm_gemm_args a = {.n_rows = s->n, .n_cols = s->cols, .tiles = l.tiles, .rows = s->rows, .y_stride = stride}, r;
    const size_t y_bytes = 4 * (size_t)parts * s->rows * stride, x_bytes = wt_act_bytes(ty, s->cols);
    a.w = wt_in("w", ty, 1, s->n, s->cols);
    a.x = wt_act_in("x", ty, count, s->cols); /* what is after it must not be read */
    if (s->bias) a.bias = chk_in("bias", chk_normal(s->n, 3), 4 * (size_t)s->n);
    if (s->count) a.count = chk_in("count", &s->count, 4);
    a.y = chk_out("y", y_bytes);
    chk_launch(k, l.grid[0], l.grid[1], l.grid[2], l.block, l.shared, &a);
    chk_ref_args(QM_OP_GEMM, &r, &a);
    qm_ref_gemm(&r, &(qm_ref_env){.wtype = wtype, .grid = {l.grid[0], l.grid[1], l.grid[2]}, .rows = s->rows});
    const float *y = chk_get(a.y);
    double norm = 0;
    for (uint32_t i = 0; i < count; i++) norm += pow(wt_act_norm(ty, a.x + i * x_bytes, s->cols), 2);
    near(s, y, chk_twin(a.y), parts, stride, count, sqrt(s->n * norm), chk_tolerance(k));
    if (!checked) /* nothing else is written */
        for (uint32_t p = 0; p < parts; p++)
            for (uint32_t i = 0; i < s->rows; i++)
                for (uint32_t j = i < count ? s->n : 0; j < stride; j++)
                    if (memcmp(&y[(size_t)(p * s->rows + i) * stride + j], "\377\377\377\377", 4))
                        chk_fail("part %u, row %u, column %u is written", p, i, j);
    /* each row alone */
    const qm_launch lone = {.block = 32, .shared = qm_launch_shared(wtype, s->cols, parts, 1, 1), .tiles = 1};
    qm_matvec_args m = {.w = a.w,
                        .bias = a.bias,
                        .deal = qm_deal_of(wtype, s->n, s->cols, parts, 1, &lone),
                        .n_rows = s->n,
                        .n_cols = s->cols};
    m.y = chk_out("alone", 4 * (size_t)parts * s->n);
    for (uint32_t i = 0; i < count; i++) {
        m.x = a.x + i * x_bytes;
        chk_launch(mv, (s->n + 31) / 32, parts, 1, lone.block, lone.shared, &m);
        const float *alone = chk_get(m.y);
        for (uint32_t p = 0; p < parts; p++)
            for (uint32_t j = 0; j < s->n; j++) {
                const float got = y[(size_t)(p * s->rows + i) * stride + j], want = alone[p * s->n + j];
                if (memcmp(&got, &want, 4))
                    chk_fail("part %u, row %u, column %u: %a, alone %a", p, i, j, (double)got, (double)want);
            }
    }
    chk_end();
}

static void each(int checked, const shape *s) {
    for (int i = 0; i < WT_PRODUCTS; i++) one(checked, wt_types[i], s);
}

static const uint32_t widths[] = {8, 16, 32};

static void shapes(void **state) {
    static const uint32_t n[] = {1, 32, 70}, cols[] = {32, 96, 256, 288, 512, 768, 1280};
    (void)state;
    for (int w = 0; w < 3; w++)
        for (size_t i = 0; i < sizeof n / sizeof *n; i++)
            for (size_t c = 0; c < sizeof cols / sizeof *cols; c++)
                each(0, &(shape){n[i], cols[c], widths[w], 0, widths[w], 1, 0, 0});
}

static void rows(void **state) { /* of a step, and how many of them there are */
    static const uint32_t rows[][2] = {{2, 1}, {2, 0}, {8, 3}, {16, 7}, {16, 9}, {32, 31}, {64, 40}, {64, 64}};
    (void)state;
    for (int w = 0; w < 3; w++)
        for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
            each(0, &(shape){70, 512, rows[i][0], rows[i][1], widths[w], 2, (int)i & 1, (int)i >> 1 & 1});
}

static void geometry(void **state) { /* tiles past the end; parts; segments of parts, where K is long */
    static const uint32_t cols[] = {288, 1536, 2304, 4096, 8448};
    (void)state;
    for (int w = 0; w < 3; w++)
        for (size_t c = 0; c < sizeof cols / sizeof *cols; c++)
            for (uint32_t t = 1; t <= 8; t *= 2)
                each(0, &(shape){90, cols[c], 8, 5, widths[w], t, (t >> 1 & 1) ^ (w & 1), t > 2});
}

static void planned(void **state) {
    static const uint32_t shape_of[][2] = {{512, 2048}, {1000, 768}, {96, 96}};
    static const uint32_t rows[] = {2, 16, 32, 64};
    (void)state;
    for (size_t k = 0; k < sizeof shape_of / sizeof *shape_of; k++)
        for (int r = 0; r < 4; r++)
            each(0, &(shape){shape_of[k][0], shape_of[k][1], rows[r], rows[r] - 1, 4 << 2 * r, 0, r & 1, 1});
}

static void checked(void **state) { /* races and unwritten bytes */
    (void)state;
    for (int w = 0; w < 3; w++) {
        each(1, &(shape){1, 256, 2, 1, widths[w], 1, 0, 0});
        each(1, &(shape){70, 1536, 10, 9, widths[w], 4, 1, 1});
        each(1, &(shape){33, 2048, widths[w], 0, widths[w], 2, 0, 0});
        each(1, &(shape){33, 32, 4, 3, widths[w], 2, 1, 1});
    }
}

/* A NaN or inf in one row's activations comes out in all of that row, and in no other. */
static void nonfinite(void **state) {
    (void)state;
    for (int i = 0; i < WT_PRODUCTS; i++)
        for (int w = 0; w < 3; w++) {
            const qm_type_info *ty = qm_type_get((uint32_t)wt_types[i]);
            if (!has_width(wt_types[i], widths[w])) continue;
            chk_begin("gemm %s width %u non-finite", ty->name, widths[w]);
            const int k = chk_kernel_rows(QM_OP_GEMM, wt_types[i], (int)widths[w]);
            const size_t bytes = wt_act_bytes(ty, 512);
            unsigned char *x = chk_tmp(3 * bytes);
            for (int r = 0; r < 3; r++) {
                float *v = chk_normal(512, 1);
                if (r == 1) v[300] = w ? __builtin_inff() : __builtin_nanf("");
                if (ty->q16a) qm_q16a_quantize(x + (size_t)r * bytes, v, 512);
                else memcpy(x + (size_t)r * bytes, v, bytes);
            }
            qm_gemm_args a = {.n_rows = 40, .n_cols = 512, .tiles = 2, .rows = 3, .y_stride = 40};
            a.w = wt_in("w", ty, 1, 40, 512);
            a.x = chk_in("x", x, 3 * bytes);
            a.y = chk_out("y", 4 * 3 * 40);
            chk_launch(k, 1, 1, 1, 64, qm_rows_shared(wt_types[i], widths[w], 2), &a);
            const float *y = chk_get(a.y);
            for (int j = 0; j < 120; j++)
                if (!__builtin_isfinite(y[j]) != (j / 40 == 1)) chk_fail("row %d is %g", j / 40, (double)y[j]);
            chk_end();
        }
}

int main(void) {
    const struct CMUnitTest t[] = {cmocka_unit_test(shapes),  cmocka_unit_test(rows),    cmocka_unit_test(geometry),
                                   cmocka_unit_test(planned), cmocka_unit_test(checked), cmocka_unit_test(nonfinite)};
    return chk_main(t);
}
