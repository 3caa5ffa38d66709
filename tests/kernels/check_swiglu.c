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
    chk_ref_args(&r, &a, sizeof a);
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
    chk_ref_args(&r, &a, sizeof a);
    qm_ref_swiglu(&r, &(qm_ref_env){.grid = {1, 1, 1}, .block = 64});
    chk_f32(a.h, 64, 2e-6);
    chk_bytes(a.hq, 32); /* a group with a NaN: q = 0, d = NaN; the other group is whole */
    chk_q16a(a.hq, 0, 64, 2e-6);
    chk_end();
}

int main(void) {
    const struct CMUnitTest t[] = {cmocka_unit_test(shapes), cmocka_unit_test(nonfinite)};
    return chk_main(t);
}
