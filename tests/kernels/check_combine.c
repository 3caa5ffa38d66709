/* check_combine: merging of attention splits, empty ones among them, f32 and q16a out. */
#include "check.h"
#include <math.h>

static void one(int checked, uint32_t hd, uint32_t n_head, uint32_t n_splits, int want, int empty) {
    (checked ? chk_begin_checked : chk_begin)("combine hd=%u heads=%u splits=%u want=%d empty=%d", hd, n_head, n_splits,
                                              want, empty);
    int k = chk_kernel(QM_OP_COMBINE, -1, (int)hd);
    size_t n = (size_t)n_head * n_splits, out = (size_t)n_head * hd;
    float *acc = chk_normal(n * hd, 20), *ml = chk_tmp(8 * n);
    for (size_t i = 0; i < n; i++) {
        ml[2 * i] = 200 + 10 * qm_rng_normal(chk_rng()); /* e^m overflows f32 */
        ml[2 * i + 1] = 1 + 30 * fabsf(qm_rng_unit(chk_rng()));
        /* empty: some splits, but never a head's last */
        if (empty && i % n_splits + 1 < n_splits && qm_rng_below(chk_rng(), 2)) {
            ml[2 * i] = -INFINITY;
            ml[2 * i + 1] = 0;
            for (uint32_t d = 0; d < hd; d++) acc[i * hd + d] = 0;
        }
    }
    qm_combine_args a = {.n_head = n_head, .n_splits = n_splits}, r;
    a.acc = chk_in("acc", acc, 4 * n * hd);
    a.ml = chk_in("ml", ml, 8 * n);
    if (want & 1) a.y = chk_out("y", 4 * out);
    if (want & 2) a.yq = chk_out("yq", QM_Q16A_BYTES(out));
    chk_launch(k, n_head, 1, 1, hd, 0, &a);
    chk_ref_args(&r, &a, sizeof a);
    qm_ref_combine(&r, &(qm_ref_env){.head_dim = (int)hd, .grid = {n_head, 1, 1}, .block = hd});
    if (a.y) chk_f32(a.y, out, chk_tolerance(k));
    if (a.yq) chk_q16a(a.yq, a.y, out, chk_tolerance(k));
    chk_end();
}

static void shapes(void **state) {
    static const uint32_t splits[] = {1, 2, 3, 8, 33, 64}, heads[] = {1, 2, 32};
    (void)state;
    for (uint32_t hd = 64; hd <= 128; hd += 64)
        for (size_t i = 0; i < sizeof splits / sizeof *splits; i++)
            for (size_t j = 0; j < sizeof heads / sizeof *heads; j++) one(0, hd, heads[j], splits[i], 3, (int)(i & 1));
}

static void outputs(void **state) {
    (void)state;
    for (int want = 1; want <= 3; want++) {
        one(0, 64, 3, 5, want, 1);
        one(0, 128, 3, 5, want, 1);
    }
}

static void checked(void **state) {
    (void)state;
    one(1, 64, 2, 3, 3, 1);
    one(1, 128, 1, 2, 3, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shapes),
        cmocka_unit_test(outputs),
        cmocka_unit_test(checked),
    };
    return chk_main(tests);
}
