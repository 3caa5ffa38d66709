/* check_swiglu: shapes, which outputs are wanted, saturated and non-finite gates. */
#include "check.h"
#include <math.h>
#include <string.h>
#include "../../runtime/file/quant.h"

static void one(int checked, uint32_t n, uint32_t rows, unsigned block, int want, float scale) {
    (checked ? chk_begin_checked : chk_begin)("swiglu n=%u k=%u block=%u want=%d scale=%g", n, rows, block, want,
                                              (double)scale);
    int k = chk_kernel(QM_OP_SWIGLU, -1, 0);
    size_t all = (size_t)n * rows;
    qm_swiglu_args a = {.n = n, .k = rows}, r;
    a.gate = chk_in("gate", chk_normal(all, scale), 4 * all);
    a.up = chk_in("up", chk_normal(all, scale), 4 * all);
    if (want & 1) a.h = chk_out("h", 4 * all);
    if (want & 2) a.hq = chk_out("hq", (size_t)rows * QM_Q16A_BYTES(n));
    chk_launch(k, (unsigned)((all + block - 1) / block), 1, 1, block, 0, &a);
    chk_ref_args(QM_OP_SWIGLU, &r, &a);
    qm_ref_swiglu(&r, &(qm_ref_env){.grid = {1, 1, 1}, .block = block});
    if (a.h) chk_f32(a.h, all, chk_tolerance(k));
    for (uint32_t e = 0; a.hq && e < rows; e++) {
        chk_q16a(a.hq + (uint64_t)e * QM_Q16A_BYTES(n), 0, n, chk_tolerance(k));
        if (!a.h) continue;
        unsigned char *q = chk_tmp(QM_Q16A_BYTES(n));
        qm_q16a_quantize(q, (const float *)chk_get(a.h) + (size_t)e * n, n);
        if (memcmp(q, (const unsigned char *)chk_get(a.hq) + (size_t)e * QM_Q16A_BYTES(n), QM_Q16A_DATA(n)))
            chk_fail("row %u: hq is not h by the rule", e);
    }
    chk_end();
}

static void shapes(void **state) {
    static const uint32_t ns[] = {32, 96, 256, 768, 800};
    (void)state;
    for (size_t i = 0; i < sizeof ns / sizeof *ns; i++)
        for (uint32_t k = 1; k <= 8; k += 7)
            for (int want = 1; want < 4; want++) {
                one(0, ns[i], k, 256, want, 1);
                one(0, ns[i], k, 32, want, 50); /* saturates both ways */
            }
    one(1, 96, 3, 256, 3, 1);
    one(1, 32, 1, 64, 2, 1);
}

/* k is rows * experts: each row of many has the bits that it has alone. */
static void rows(void **state) {
    enum { K = 4, ROWS = 5, N = 96 };
    (void)state;
    chk_begin("swiglu rows");
    const int k = chk_kernel(QM_OP_SWIGLU, -1, 0);
    const float *gate = chk_normal(N * K * ROWS, 3), *up = chk_normal(N * K * ROWS, 1);
    const size_t q = K * QM_Q16A_BYTES(N);
    for (uint32_t i = 0; i <= ROWS; i++) { /* row i; last, all */
        static unsigned char h[ROWS][N * K * 4], hq[ROWS][K * QM_Q16A_BYTES(N)];
        const uint32_t n_rows = i < ROWS ? 1 : ROWS, all = N * K * n_rows, at = i < ROWS ? i * N * K : 0;
        qm_swiglu_args a = {.n = N, .k = K * n_rows};
        a.gate = chk_in("gate", gate + at, 4 * (size_t)all);
        a.up = chk_in("up", up + at, 4 * (size_t)all);
        a.h = chk_out("h", 4 * (size_t)all);
        a.hq = chk_out("hq", q * n_rows);
        chk_launch(k, (all + 63) / 64, 1, 1, 64, 0, &a);
        if (i < ROWS) {
            memcpy(h[i], chk_get(a.h), sizeof h[i]);
            memcpy(hq[i], chk_get(a.hq), q);
        } else if (memcmp(h, chk_get(a.h), sizeof h) || memcmp(hq, chk_get(a.hq), sizeof hq))
            chk_fail("other bits than alone");
    }
    chk_end();
}

static void nonfinite(void **state) {
    (void)state;
    chk_begin("swiglu non-finite");
    float g[64], u[64];
    for (int i = 0; i < 64; i++) {
        g[i] = 1;
        u[i] = 1;
    }
    g[0] = NAN;
    g[1] = INFINITY;
    g[2] = -1000;
    g[3] = 1000;
    u[4] = NAN;
    u[5] = -INFINITY;
    qm_swiglu_args a = {.n = 64, .k = 1}, r;
    a.gate = chk_in("gate", g, sizeof g);
    a.up = chk_in("up", u, sizeof u);
    a.h = chk_out("h", sizeof g);
    a.hq = chk_out("hq", QM_Q16A_BYTES(64));
    chk_launch(chk_kernel(QM_OP_SWIGLU, -1, 0), 1, 1, 1, 64, 0, &a);
    chk_ref_args(QM_OP_SWIGLU, &r, &a);
    qm_ref_swiglu(&r, &(qm_ref_env){.grid = {1, 1, 1}, .block = 64});
    chk_f32(a.h, 64, 2e-6);
    chk_bytes(a.hq, 32); /* a group with a NaN: q = 0, d = NaN; the other group is whole */
    chk_q16a(a.hq, 0, 64, 2e-6);
    chk_end();
}

int main(void) {
    const struct CMUnitTest t[] = {cmocka_unit_test(shapes), cmocka_unit_test(nonfinite), cmocka_unit_test(rows)};
    return chk_main(t);
}
