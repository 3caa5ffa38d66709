/* check_combine: merging of attention's spans, f32 and q16a out; that it is a plain loop's bits; and that a row among others has
 * the bits that it has alone. */
#include "check.h"
#include <math.h>
#include <string.h>

/* n_spans of the context's; the buffers have room for two more, which are NaN: they are nobody's. */
static qm_combine_args make(uint32_t hd, uint32_t n_head, uint32_t n_spans, int want, float **acc_out, float **ml_out) {
    const size_t room = n_spans + 2, n = n_head * room, out = (size_t)n_head * hd;
    float *acc = chk_normal(n * hd, 20), *ml = chk_tmp(8 * n);
    for (size_t i = 0; i < n; i++) {
        ml[2 * i] = 200 + 10 * qm_rng_normal(chk_rng()); /* e^m overflows f32 */
        ml[2 * i + 1] = 1 + 30 * fabsf(qm_rng_unit(chk_rng()));
        if (i % room < n_spans) continue;
        ml[2 * i] = ml[2 * i + 1] = NAN;
        for (uint32_t d = 0; d < hd; d++) acc[i * hd + d] = NAN;
    }
    const qm_row_record row = {n_spans * QM_SPAN - 1 - qm_rng_below(chk_rng(), QM_SPAN), 1, 64};
    qm_combine_args a = {.n_head = n_head, .n_spans = n_spans + 2};
    a.acc = chk_in("acc", acc, 4 * n * hd);
    a.ml = chk_in("ml", ml, 8 * n);
    a.row = chk_in("row", &row, sizeof row);
    if (want & 1) a.y = chk_out("y", 4 * out);
    if (want & 2) a.yq = chk_out("yq", QM_Q16A_BYTES(out));
    *acc_out = acc;
    *ml_out = ml;
    return a;
}

static void one(int checked, uint32_t hd, uint32_t n_head, uint32_t n_spans, int want) {
    (checked ? chk_begin_checked : chk_begin)("combine hd=%u heads=%u spans=%u want=%d", hd, n_head, n_spans, want);
    int k = chk_kernel(QM_OP_COMBINE, -1, (int)hd);
    float *acc, *ml;
    qm_combine_args a = make(hd, n_head, n_spans, want, &acc, &ml), r;
    chk_launch(k, n_head, 1, 1, hd, 0, &a);
    chk_ref_args(QM_OP_COMBINE, &r, &a);
    qm_ref_combine(&r, &(qm_ref_env){.head_dim = (int)hd, .grid = {n_head, 1, 1}, .block = hd});
    if (a.y) chk_f32(a.y, (size_t)n_head * hd, chk_tolerance(k));
    if (a.yq) chk_q16a(a.yq, a.y, (size_t)n_head * hd, chk_tolerance(k));
    chk_end();
}

static void shapes(void **state) {
    static const uint32_t spans[] = {1, 2, 3, 7, 8, 9, 31, 32, 33, 64, 65, 128, 1024}, heads[] = {1, 2, 32};
    (void)state;
    for (uint32_t hd = 64; hd <= 128; hd += 64)
        for (size_t i = 0; i < sizeof spans / sizeof *spans; i++)
            for (size_t j = 0; j < sizeof heads / sizeof *heads; j++) one(0, hd, heads[j], spans[i], 3);
}

/* Several rows: the op's i-th is the step's row map[i], which has its own number of spans and its own y. Each has the bits that
 * it has alone; rows beyond the count, and those that no map names, stay as they were. */
static void rows(int checked, uint32_t hd, uint32_t n_head, int mapped, int counted) {
    enum { STEP = 6, N = 4, ROOM = 40 };
    static const uint32_t spans[STEP] = {3, 1, 33, 8, 2, 40}, map[N] = {5, 0, 2, 3};
    (checked ? chk_begin_checked : chk_begin)("combine rows hd=%u heads=%u map=%d count=%d", hd, n_head, mapped,
                                              counted);
    const int k = chk_kernel(QM_OP_COMBINE, -1, (int)hd);
    const uint32_t count = counted ? N - 1 : N, nq = n_head * hd;
    const size_t n_acc = (size_t)n_head * ROOM * hd, n_ml = (size_t)n_head * ROOM * 2;
    qm_row_record row[STEP];
    for (uint32_t i = 0; i < STEP; i++) row[i] = (qm_row_record){spans[i] * QM_SPAN - 1 - i, i, 64};
    float *ml = chk_tmp(4 * N * n_ml);
    for (size_t i = 0; i < N * n_ml; i++) ml[i] = i % 2 ? 1 + fabsf(qm_rng_unit(chk_rng())) : qm_rng_normal(chk_rng());
    qm_combine_args a = {.n_head = n_head, .n_spans = ROOM, .rows = STEP}, r;
    a.acc = chk_in("acc", chk_normal(N * n_acc, 3), 4 * N * n_acc);
    a.ml = chk_in("ml", ml, 4 * N * n_ml);
    a.row = chk_in("row", row, sizeof row);
    if (mapped) a.map = chk_in("map", map, sizeof map);
    if (counted) a.count = chk_in("count", &count, 4);
    a.y = chk_out("y", 4 * STEP * nq);
    a.yq = chk_out("yq", STEP * QM_Q16A_BYTES(nq));
    chk_launch(k, n_head, N, 1, hd, 0, &a);
    if (!checked) {
        chk_ref_args(QM_OP_COMBINE, &r, &a);
        qm_ref_combine(&r, &(qm_ref_env){.head_dim = (int)hd, .rows = N});
        chk_f32(a.y, STEP * nq, chk_tolerance(k)); /* NaN where none is written */
        const char *y = chk_get(a.y), *yq = chk_get(a.yq);
        const size_t yq_bytes = QM_Q16A_BYTES(nq);
        int written[STEP] = {0};
        for (uint32_t i = 0; i < N; i++) {
            const uint32_t of = mapped ? map[i] : i;
            qm_combine_args one = a;
            if (i >= count) continue;
            written[of] = 1;
            one.acc += 4 * i * n_acc;
            one.ml += 4 * i * n_ml;
            one.row += of * QM_ROW_SIZE;
            one.map = one.count = 0;
            one.rows = 1;
            one.y = chk_out("y", 4 * nq);
            one.yq = chk_out("yq", yq_bytes);
            chk_launch(k, n_head, 1, 1, hd, 0, &one);
            if (memcmp(y + 4ull * of * nq, chk_get(one.y), 4 * nq) ||
                memcmp(yq + of * yq_bytes, chk_get(one.yq), yq_bytes))
                chk_fail("place %u, row %u: other bits than alone", i, of);
        }
        for (uint32_t i = 0; i < STEP; i++)
            for (size_t j = 0; !written[i] && j < yq_bytes; j++)
                if ((unsigned char)yq[i * yq_bytes + j] != 0xff) chk_fail("yq of row %u was written", i);
    }
    chk_end();
}

static void many_rows(void **state) {
    (void)state;
    for (int i = 0; i < 4; i++) {
        rows(0, 64, 1, i & 1, i / 2);
        rows(0, 128, 3, i & 1, i / 2);
        rows(1, 64, 3, i & 1, i / 2);
    }
}

static void outputs(void **state) {
    (void)state;
    for (int want = 1; want <= 3; want++) {
        one(0, 64, 3, 5, want);
        one(0, 128, 3, 5, want);
    }
}

static void checked(void **state) {
    (void)state;
    one(1, 64, 2, 3, 3);
    one(1, 128, 1, 2, 3);
    one(1, 64, 1, 40, 3);
}

/* The x for which x log2(e), in f32, is -k: e^x on the device is 2^-k, whoever makes the device. */
static float power(int k) {
    float x = nextafterf((float)(-k * 0.6931471805599453), 1);
    for (int i = 0; i < 4; i++, x = nextafterf(nextafterf(x, -INFINITY), -INFINITY))
        for (int j = 0; j < 2; j++)
            if ((j ? nextafterf(x, 0) : x) * 1.44269502f == (float)-k) return j ? nextafterf(x, 0) : x;
    chk_fail("no f32 has the exponential 2^-%d", k);
    return 0;
}

/* e^x of the device, for what plain_loop below asks. */
static float weight(float x) {
    for (int k = 1; k < 4; k++)
        if (x == power(k)) return ldexpf(1, -k);
    if (x != 0 && x > -1000) chk_fail("e^%g is not known", x);
    return x == 0;
}

/* The weights of 32 spans are taken at once; still the sums are those of a loop that folds one span after the other, to the
 * bit. Maxima are such that C knows the weights: level at first, then a larger one among smaller ones, then a larger one
 * that makes nothing of all before. */
static void plain_loop(void **state) {
    static const uint32_t spans[] = {1, 2, 5, 8, 9, 32, 33, 70, 128};
    (void)state;
    for (uint32_t hd = 64; hd <= 128; hd += 64)
        for (size_t i = 0; i < sizeof spans / sizeof *spans; i++) {
            const uint32_t n = spans[i];
            chk_begin("combine as a loop hd=%u spans=%u", hd, n);
            float *acc, *ml;
            qm_combine_args a = make(hd, 1, n, 1, &acc, &ml);
            for (uint32_t s = 0; s < n; s++)
                ml[2 * s] = s < 4     ? power(2)
                            : s == 4  ? 0
                            : s < 50  ? power(1 + (int)(s % 3))
                            : s == 50 ? 1e6f
                            : s % 2   ? 1e6f
                                      : 0;
            chk_write(a.ml, ml, 8 * (size_t)(n + 2));
            float m = -INFINITY, l = 0, v[128] = {0};
            for (uint32_t s = 0; s < n; s++) {
                const float top = fmaxf(m, ml[2 * s]), alpha = weight(m - top), beta = weight(ml[2 * s] - top);
                l = fmaf(l, alpha, ml[2 * s + 1] * beta);
                for (uint32_t d = 0; d < hd; d++) v[d] = fmaf(v[d], alpha, acc[s * hd + d] * beta);
                m = top;
            }
            for (uint32_t d = 0; d < hd; d++) v[d] /= l;
            chk_launch(chk_kernel(QM_OP_COMBINE, -1, (int)hd), 1, 1, 1, hd, 0, &a);
            if (memcmp(chk_get(a.y), v, 4 * hd)) chk_fail("not the bits of a loop");
            chk_end();
        }
}

/* The ledger of combine.ptx. */
static void ledger(void **state) {
    static const uint32_t spans[] = {1, 16, 128};
    static const uint64_t most[] = {142, 276, 1534};
    (void)state;
    for (int i = 0; i < 3; i++) {
        qm_sim_counters c;
        float *acc, *ml;
        chk_begin_counted("combine ledger %u", spans[i]);
        int k = chk_kernel(QM_OP_COMBINE, -1, 128);
        qm_combine_args a = make(128, 1, spans[i], 3, &acc, &ml);
        chk_launch(k, 1, 1, 1, 128, 0, &a);
        if (chk_counters(k, &c)) {
            print_message("combine, %u spans: %llu instructions a warp\n", spans[i],
                          (unsigned long long)c.warp_insts / 4);
            if (c.warp_insts / 4 > most[i]) chk_fail("%llu instructions a warp", (unsigned long long)c.warp_insts / 4);
        }
        chk_end();
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shapes),     cmocka_unit_test(outputs), cmocka_unit_test(checked),
        cmocka_unit_test(plain_loop), cmocka_unit_test(ledger),  cmocka_unit_test(many_rows),
    };
    return chk_main(tests);
}
