/* check_rmsnorm: device against reference, over sizes, blocks, partials and which outputs are wanted. */
#include "check.h"
#include "../../kernels/ref/launch.h"
#include <math.h>
#include <string.h>

enum { WANT_XOUT = 1, WANT_Y = 2, WANT_YQ = 4, IN_PLACE = 8 };

static void one(int checked, uint32_t n, uint32_t parts, unsigned block, int want, float scale) {
    (checked ? chk_begin_checked : chk_begin)("rmsnorm n=%u partials=%u block=%u want=%d scale=%g", n, parts, block,
                                              want, scale);
    int k = chk_kernel(QM_OP_RMSNORM, -1, 0);
    float *x = chk_normal(n, scale), *p = chk_normal((size_t)n * parts, scale), *w = chk_normal(n, 1);
    if (n >= 96)
        for (int i = 32; i < 64; i++) { /* a group of zeros: d = 0 */
            x[i] = 0;
            for (uint32_t s = 0; s < parts; s++) p[s * n + (unsigned)i] = 0;
        }
    qm_rmsnorm_args a = {.n = n, .n_partials = parts, .rows = 1, .eps = 1e-6f}, r;
    a.x = want & IN_PLACE ? chk_inout("x", x, 4 * n) : chk_in("x", x, 4 * n);
    if (parts) a.partials = chk_in("partials", p, 4 * (size_t)n * parts);
    a.w = chk_in("w", w, 4 * n);
    if (want & WANT_XOUT) a.x_out = want & IN_PLACE ? a.x : chk_out("x_out", 4 * n);
    if (want & WANT_Y) a.y = chk_out("y", 4 * n);
    if (want & WANT_YQ) a.yq = chk_out("yq", QM_Q16A_BYTES(n));
    chk_launch(k, 1, 1, 1, block, 0, &a);
    chk_ref_args(QM_OP_RMSNORM, &r, &a);
    qm_ref_rmsnorm(&r, &(qm_ref_env){.grid = {1, 1, 1}, .block = block});
    if (a.x_out) chk_f32(a.x_out, n, parts < 2 ? 1e-7 : 4e-7);
    if (a.y) chk_f32(a.y, n, chk_tolerance(k));
    if (a.yq) chk_q16a(a.yq, a.y, n, chk_tolerance(k));
    chk_end();
}

static void shapes(void **state) {
    static const uint32_t ns[] = {32, 64, 96, 512, 2048, 4096, 5120};
    (void)state;
    for (size_t i = 0; i < sizeof ns / sizeof *ns; i++) {
        unsigned block = qm_launch_rmsnorm(ns[i]).block;
        for (uint32_t parts = 0; parts <= 9; parts++) one(0, ns[i], parts, block, WANT_XOUT | WANT_Y | WANT_YQ, 1);
        one(0, ns[i], 16, block, WANT_XOUT | WANT_Y | WANT_YQ, 1);
        one(0, ns[i], 21, block, WANT_XOUT | WANT_Y | WANT_YQ | IN_PLACE, 1);
    }
}

static void blocks(void **state) /* several slots; warps without elements */
{
    static const unsigned blocks[] = {32, 64, 96, 256, 512, 1024};
    (void)state;
    for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++) {
        one(0, 2048, 2, blocks[i], WANT_XOUT | WANT_Y | WANT_YQ, 1);
        one(0, 160, 1, blocks[i], WANT_XOUT | WANT_Y | WANT_YQ, 1);
        one(0, 2048, 2, blocks[i], WANT_XOUT | WANT_Y | WANT_YQ | IN_PLACE, 1);
    }
}

/* The order of the sum is a function of n alone: any block gives the bits of the one that a plan launches. */
static void blocks_same_bits(void **state) {
    static const uint32_t ns[] = {96, 416, 2048, 2304, 4096, 5120, 8224};
    enum { PARTS = 3 };
    (void)state;
    for (size_t i = 0; i < sizeof ns / sizeof *ns; i++) {
        const uint32_t n = ns[i];
        chk_begin("rmsnorm n=%u, any block", n);
        const int k = chk_kernel(QM_OP_RMSNORM, -1, 0);
        qm_rmsnorm_args a = {.n = n, .n_partials = PARTS, .rows = 1, .eps = 1e-6f}, b;
        a.x = chk_in("x", chk_normal(n, 1), 4 * n);
        a.partials = chk_in("partials", chk_normal((size_t)n * PARTS, 1), 4 * (size_t)n * PARTS);
        a.w = chk_in("w", chk_normal(n, 1), 4 * n);
        a.x_out = chk_out("x_out", 4 * n);
        a.y = chk_out("y", 4 * n);
        a.yq = chk_out("yq", QM_Q16A_BYTES(n));
        chk_launch(k, 1, 1, 1, qm_launch_rmsnorm(n).block, 0, &a);
        for (unsigned block = 32; block <= 1024; block *= 2) {
            b = a;
            b.x_out = chk_out("x_out", 4 * n);
            b.y = chk_out("y", 4 * n);
            b.yq = chk_out("yq", QM_Q16A_BYTES(n));
            chk_launch(k, 1, 1, 1, block, 0, &b);
            if (memcmp(chk_get(a.x_out), chk_get(b.x_out), 4 * n) || memcmp(chk_get(a.y), chk_get(b.y), 4 * n) ||
                memcmp(chk_get(a.yq), chk_get(b.yq), QM_Q16A_DATA(n)))
                chk_fail("%u threads: other bits than %u", block, qm_launch_rmsnorm(n).block);
        }
        chk_end();
    }
}

static void outputs(void **state) {
    (void)state;
    for (int want = 0; want < 16; want++)
        if (want & 7 && (!(want & IN_PLACE) || want & WANT_XOUT)) {
            one(0, 512, 2, 256, want, 1);
            one(0, 512, 2, 64, want, 1);
        }
}

static void magnitudes(void **state) {
    static const float scales[] = {1e-12f, 1e-4f, 30.0f, 1e6f, 1e15f};
    (void)state;
    for (size_t i = 0; i < sizeof scales / sizeof *scales; i++) one(0, 512, 1, 256, 7, scales[i]);
}

static void checked(void **state) {
    (void)state;
    one(1, 96, 2, 128, 7, 1);
    one(1, 512, 2, 64, 7 | IN_PLACE, 1);
    one(1, 2048, 1, 1024, WANT_XOUT | WANT_YQ, 1);
    one(1, 5120, 1, 512, 7 | IN_PLACE, 1);
}

/* Partial sums are added by rising index, and only then to x: r = x + ((p0 + p1) + p2 ..), each addition in f32. So what one
 * op leaves as several parts gives the bits of another that leaves their sum. */
static void parts_first(void **state) {
    static const uint32_t parts[] = {1, 2, 3, 4, 5, 7, 8, 9, 12, 15, 16, 21};
    enum { N = 640 };
    (void)state;
    for (size_t c = 0; c < sizeof parts / sizeof *parts; c++)
        for (unsigned block = 64; block <= 256; block *= 4) { /* several slots, and one */
            chk_begin("rmsnorm partials=%u first block=%u", parts[c], block);
            int k = chk_kernel(QM_OP_RMSNORM, -1, 0);
            float *x = chk_normal(N, 1), *p = chk_normal((size_t)N * parts[c], 1), sum[N], r[N];
            for (uint32_t i = 0; i < N; i++) {
                sum[i] = p[i];
                for (uint32_t s = 1; s < parts[c]; s++) sum[i] += p[(size_t)s * N + i];
                r[i] = x[i] + sum[i];
            }
            qm_rmsnorm_args a = {.n = N, .n_partials = parts[c], .rows = 1, .eps = 1e-6f}, b;
            a.x = chk_in("x", x, sizeof r);
            a.partials = chk_in("partials", p, sizeof r * parts[c]);
            a.w = chk_in("w", chk_normal(N, 1), sizeof r);
            b = a;
            b.partials = chk_in("sum", sum, sizeof sum);
            b.n_partials = 1;
            qm_rmsnorm_args *both[] = {&a, &b};
            for (int i = 0; i < 2; i++) {
                both[i]->x_out = chk_out("x_out", sizeof r);
                both[i]->y = chk_out("y", sizeof r);
                both[i]->yq = chk_out("yq", QM_Q16A_BYTES(N));
                chk_launch(k, 1, 1, 1, block, 0, both[i]);
            }
            if (memcmp(chk_get(a.x_out), r, sizeof r)) chk_fail("x_out is not x + ((p0 + p1) + ..)");
            if (memcmp(chk_get(a.x_out), chk_get(b.x_out), sizeof r) || memcmp(chk_get(a.y), chk_get(b.y), sizeof r) ||
                memcmp(chk_get(a.yq), chk_get(b.yq), QM_Q16A_BYTES(N)))
                chk_fail("%u parts and their sum give other bits", parts[c]);
            chk_end();
        }
}

/* Many rows of a step: the op's i-th is the step's map[i], or the i-th; there are `count`, or (ALL) as many as the grid has. Each has
 * the bits that it has alone; no byte of another row is written. */
enum { ALL = 100 };
static void rows_of(int checked, uint32_t n, uint32_t parts, unsigned block, uint32_t count, int mapped, int in_place) {
    enum { STEP = 7, OP = 5 };
    static const uint32_t map[OP] = {5, 0, 6, 3, 1};
    (checked ? chk_begin_checked : chk_begin)("rmsnorm n=%u partials=%u block=%u: %u of %d rows, mapped=%d in_place=%d",
                                              n, parts, block, count, OP, mapped, in_place);
    const int k = chk_kernel(QM_OP_RMSNORM, -1, 0);
    const size_t vec = 4 * (size_t)n, qvec = QM_Q16A_BYTES(n);
    float *x = chk_normal((size_t)n * STEP, 1), *p = chk_normal((size_t)n * STEP * parts, 1);
    qm_rmsnorm_args a = {.n = n, .n_partials = parts, .rows = STEP, .eps = 1e-6f}, r;
    a.x = in_place ? chk_inout("x", x, vec * STEP) : chk_in("x", x, vec * STEP);
    a.partials = chk_in("partials", p, vec * STEP * parts);
    a.w = chk_in("w", chk_normal(n, 1), vec);
    a.x_out = in_place ? a.x : chk_out("x_out", vec * STEP);
    a.y = chk_out("y", vec * OP);
    a.yq = chk_out("yq", qvec * OP);
    if (count != ALL) a.count = chk_in("count", &count, 4);
    if (mapped) a.map = chk_in("map", map, sizeof map);
    chk_launch(k, OP, 1, 1, block, 0, &a);
    chk_ref_args(QM_OP_RMSNORM, &r, &a);
    qm_ref_rmsnorm(&r, &(qm_ref_env){.grid = {OP, 1, 1}, .block = block, .rows = OP});
    const uint32_t n_rows = count == ALL ? OP : count;
    unsigned char is[STEP] = {0};
    for (uint32_t i = 0; i < n_rows; i++) {
        const uint32_t row = mapped ? map[i] : i;
        float *own = chk_tmp(vec * parts);
        for (uint32_t s = 0; s < parts; s++) memcpy(own + s * n, p + ((size_t)s * STEP + row) * n, vec);
        qm_rmsnorm_args b = {.n = n, .n_partials = parts, .rows = 1, .eps = 1e-6f, .w = a.w};
        b.x = chk_in("its x", x + (size_t)row * n, vec);
        b.partials = chk_in("its partials", own, vec * parts);
        b.x_out = chk_out("its x_out", vec);
        b.y = chk_out("its y", vec);
        b.yq = chk_out("its yq", qvec);
        chk_launch(k, 1, 1, 1, block, 0, &b);
        if (memcmp((const char *)chk_get(a.x_out) + row * vec, chk_get(b.x_out), vec) ||
            memcmp((const char *)chk_get(a.y) + i * vec, chk_get(b.y), vec) ||
            memcmp((const char *)chk_get(a.yq) + i * qvec, chk_get(b.yq), QM_Q16A_DATA(n)))
            chk_fail("row %u: other bits than alone", row);
        chk_f32_part(a.y, (size_t)i * n, n, chk_tolerance(k));
        chk_f32_part(a.x_out, (size_t)row * n, n, 4e-7);
        chk_untouched(a.yq, i * qvec + QM_Q16A_DATA(n), qvec - QM_Q16A_DATA(n));
        is[row] = 1;
    }
    chk_untouched(a.y, n_rows * vec, (OP - n_rows) * vec);
    chk_untouched(a.yq, n_rows * qvec, (OP - n_rows) * qvec);
    for (uint32_t row = 0; row < STEP; row++) {
        if (is[row]) continue;
        if (!in_place) chk_untouched(a.x_out, row * vec, vec);
        else if (memcmp((const char *)chk_get(a.x) + row * vec, x + (size_t)row * n, vec))
            chk_fail("row %u is not in the op", row);
    }
    chk_end();
}

static void rows(void **state) {
    (void)state;
    for (uint32_t c = 0; c <= 6; c++)
        for (int how = 0; how < 4; how++) {
            const uint32_t count = c > 5 ? ALL : c;
            rows_of(0, 96, 3, 32, count, how & 1, how & 2);
            rows_of(0, 2048, 8, 512, count, how & 1, how & 2);
            rows_of(0, 608, 2, 64, count, how & 1, how & 2); /* several slots */
        }
    rows_of(1, 96, 3, 32, 3, 1, 0);
    rows_of(1, 160, 2, 32, 4, 1, 1);
    rows_of(1, 96, 1, 64, ALL, 0, 1);
}

/* A NaN or inf must reach every output: rms makes all of y non-finite, and every d of yq. So must an overflow of the sum
 * of squares: 1 / sqrt(inf) is 0, and would hide it behind zeros. The reference says the same. */
static void nonfinite(void **state) {
    (void)state;
    for (int c = 0; c < 3; c++) {
        const uint32_t n = 128;
        chk_begin("rmsnorm %s", c == 2 ? "overflow" : c ? "inf" : "nan");
        int k = chk_kernel(QM_OP_RMSNORM, -1, 0);
        float *x = chk_normal(n, 1), *w = chk_normal(n, 1);
        x[70] = c == 2 ? 2e19f : c ? INFINITY : NAN;
        qm_rmsnorm_args a = {.n = n, .rows = 1, .eps = 1e-6f}, r;
        a.x = chk_in("x", x, 4 * n);
        a.w = chk_in("w", w, 4 * n);
        a.y = chk_out("y", 4 * n);
        a.yq = chk_out("yq", QM_Q16A_BYTES(n));
        chk_launch(k, 1, 1, 1, 128, 0, &a);
        chk_ref_args(QM_OP_RMSNORM, &r, &a);
        qm_ref_rmsnorm(&r, &(qm_ref_env){.grid = {1, 1, 1}, .block = 128});
        for (int ref = 0; ref < 2; ref++) {
            const float *y = ref ? chk_twin(a.y) : chk_get(a.y);
            const unsigned char *q = ref ? chk_twin(a.yq) : chk_get(a.yq);
            for (uint32_t i = 0; i < n; i++)
                if (!isnan(y[i])) chk_fail("ref %d: y[%u] = %g", ref, i, y[i]);
            for (uint32_t i = 0; i < n / 32; i++) {
                uint32_t ds;
                memcpy(&ds, q + 2 * n + 4 * i, 4);
                if ((ds & 0x7f800000) != 0x7f800000) chk_fail("ref %d: d[%u] = %08x", ref, i, ds);
            }
        }
        chk_end();
    }
}

static void ledger(void **state) {
    qm_sim_counters c;
    (void)state;
    chk_begin_counted("rmsnorm ledger");
    const uint32_t n = 2048, parts = 8, block = qm_launch_rmsnorm(n).block;
    int k = chk_kernel(QM_OP_RMSNORM, -1, 0);
    qm_rmsnorm_args a = {.n = n, .n_partials = parts, .rows = 1, .eps = 1e-6f};
    a.x = chk_in("x", chk_normal(n, 1), 4 * n);
    a.partials = chk_in("p", chk_normal(n * parts, 1), 4 * n * parts);
    a.w = chk_in("w", chk_normal(n, 1), 4 * n);
    a.x_out = chk_out("x_out", 4 * n);
    a.yq = chk_out("yq", QM_Q16A_BYTES(n));
    chk_launch(k, 1, 1, 1, block, 0, &a);
    if (chk_counters(k, &c)) {
        print_message("rmsnorm n=2048: %.1f warp instructions a warp, %llu bytes loaded\n",
                      (double)c.warp_insts / (block / 32), (unsigned long long)c.gld_bytes);
        if (c.warp_insts > block / 32 * 253) chk_fail("%llu warp instructions", (unsigned long long)c.warp_insts);
    }
    chk_end();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shapes),  cmocka_unit_test(blocks),     cmocka_unit_test(blocks_same_bits),
        cmocka_unit_test(outputs), cmocka_unit_test(magnitudes), cmocka_unit_test(nonfinite),
        cmocka_unit_test(checked), cmocka_unit_test(ledger),     cmocka_unit_test(parts_first),
        cmocka_unit_test(rows),
    };
    return chk_main(tests);
}
