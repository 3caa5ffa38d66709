/* check_router: ids exactly, weights within the tolerance; ties, one expert, NaN and inf. */
#include "check.h"
#include <math.h>
#include <string.h>

typedef void (*fill_fn)(float *x, size_t n);
static void fill_normal(float *x, size_t n) {
    for (size_t i = 0; i < n; i++) x[i] = 3 * qm_rng_normal(chk_rng());
}
static void fill_equal(float *x, size_t n) {
    for (size_t i = 0; i < n; i++) x[i] = 0.75f;
}
static void fill_few(float *x, size_t n) {
    for (size_t i = 0; i < n; i++) x[i] = (float)qm_rng_below(chk_rng(), 4) - 2;
}
static void fill_zeros(float *x, size_t n) {
    for (size_t i = 0; i < n; i++) x[i] = i % 2 ? 0.0f : -0.0f;
}
static void fill_hot(float *x, size_t n) {
    for (size_t i = 0; i < n; i++) x[i] = -90;
    x[qm_rng_below(chk_rng(), (uint32_t)n)] = 90;
}
static void fill_wide(float *x, size_t n) {
    for (size_t i = 0; i < n; i++) x[i] = ldexpf(qm_rng_unit(chk_rng()), (int)qm_rng_below(chk_rng(), 40) - 20);
}
static void fill_rising(float *x, size_t n) {
    for (size_t i = 0; i < n; i++) x[i] = (float)i / 64;
}
static const struct {
    const char *name;
    fill_fn fill;
} fills[] = {
    {"normal", fill_normal}, {"equal", fill_equal}, {"few", fill_few},       {"zeros", fill_zeros},
    {"hot", fill_hot},       {"wide", fill_wide},   {"rising", fill_rising},
};
enum { N_FILLS = sizeof fills / sizeof *fills };

/* AC_QW3_MOE_002, whatever the reference says. */
static void sums_to_one(const float *w, uint32_t n) {
    double sum = 0;
    for (uint32_t i = 0; i < n; i++) sum += w[i];
    if (!(fabs(sum - 1) < 1e-6)) chk_fail("the weights sum to 1 %+g", sum - 1);
}

static void one(int checked, uint32_t n, uint32_t used, uint32_t parts, int f) {
    (checked ? chk_begin_checked : chk_begin)("router n=%u used=%u partials=%u %s", n, used, parts, fills[f].name);
    int k = chk_kernel(QM_OP_ROUTER, -1, 0);
    float *x = chk_tmp(4 * n * parts);
    for (uint32_t s = 0; s < parts; s++) fills[f].fill(x + s * n, n);
    qm_router_args a = {.n_expert = n, .n_used = used, .n_partials = parts, .rows = 1}, r;
    a.logits = chk_in("logits", x, 4 * n * parts);
    a.ids = chk_out("ids", 4 * used);
    a.weights = chk_out("weights", 4 * used);
    chk_launch(k, 1, 1, 1, 32, 0, &a);
    chk_ref_args(QM_OP_ROUTER, &r, &a);
    qm_ref_router(&r, &(qm_ref_env){.grid = {1, 1, 1}, .block = 32});
    chk_u32(a.ids, used);
    chk_f32(a.weights, used, chk_tolerance(k));
    sums_to_one(chk_get(a.weights), used);
    chk_end();
}

static void shapes(void **state) {
    static const uint32_t ns[] = {1, 2, 8, 31, 32, 33, 60, 64, 127, 128, 129, 256, 257, 384, 385, 511, 512};
    static const uint32_t ks[] = {1, 2, 8, 31, 32};
    (void)state;
    for (size_t i = 0; i < sizeof ns / sizeof *ns; i++)
        for (size_t j = 0; j < sizeof ks / sizeof *ks; j++)
            if (ks[j] <= ns[i]) {
                one(0, ns[i], ks[j], 1 + (uint32_t)((i + j) % 3), 0);
                one(0, ns[i], ks[j], 1, N_FILLS - 1); /* the last experts win */
            }
}

static void ties(void **state) {
    (void)state;
    for (int f = 1; f < N_FILLS; f++) {
        one(0, 128, 8, 1, f);
        one(0, 100, 32, 1, f);
        one(0, 512, 8, 1, f);
        one(0, 8, 8, 1, f);
    }
}

/* Partial sums are added in f32 by rising index: several parts give the bits of one that holds their sum. */
static void parts_first(void **state) {
    enum { N = 128, USED = 8 };
    (void)state;
    for (uint32_t parts = 2; parts <= 8; parts++) {
        chk_begin("router partials=%u first", parts);
        float *x = chk_normal(N * parts, 1), sum[N];
        for (uint32_t i = 0; i < N; i++) {
            sum[i] = x[i];
            for (uint32_t s = 1; s < parts; s++) sum[i] += x[s * N + i];
        }
        const float *w[2];
        for (int i = 0; i < 2; i++) {
            qm_router_args a = {.n_expert = N, .n_used = USED, .n_partials = i ? 1 : parts, .rows = 1};
            a.logits = i ? chk_in("sum", sum, sizeof sum) : chk_in("logits", x, sizeof sum * parts);
            a.ids = chk_out("ids", 4 * USED);
            a.weights = chk_out("weights", 4 * USED);
            chk_launch(chk_kernel(QM_OP_ROUTER, -1, 0), 1, 1, 1, 32, 0, &a);
            w[i] = chk_get(a.weights);
        }
        if (memcmp(w[0], w[1], 4 * USED)) chk_fail("%u parts and their sum give other bits", parts);
        chk_end();
    }
}

/* Each row of several chooses what it chooses alone, to the bit. */
static void rows_of(int checked, uint32_t n, uint32_t used, uint32_t parts, uint32_t rows) {
    (checked ? chk_begin_checked : chk_begin)("router n=%u used=%u partials=%u rows=%u", n, used, parts, rows);
    const int k = chk_kernel(QM_OP_ROUTER, -1, 0);
    const size_t of = (size_t)n * rows;
    float *x = chk_tmp(4 * of * parts);
    fill_normal(x, of * parts);
    qm_router_args a = {.n_expert = n, .n_used = used, .n_partials = parts, .rows = rows}, r;
    a.logits = chk_in("logits", x, 4 * of * parts);
    a.ids = chk_out("ids", 4 * (size_t)used * rows);
    a.weights = chk_out("weights", 4 * (size_t)used * rows);
    chk_launch(k, rows, 1, 1, 32, 0, &a);
    chk_ref_args(QM_OP_ROUTER, &r, &a);
    qm_ref_router(&r, &(qm_ref_env){.grid = {rows, 1, 1}, .block = 32, .rows = rows});
    chk_u32(a.ids, used * rows);
    for (uint32_t i = 0; i < rows; i++) {
        const float *w = (const float *)chk_get(a.weights) + (size_t)i * used;
        float *own = chk_tmp(4 * n * parts);
        for (uint32_t s = 0; s < parts; s++) memcpy(own + s * n, x + s * of + (size_t)i * n, 4 * n);
        qm_router_args b = {.n_expert = n, .n_used = used, .n_partials = parts, .rows = 1};
        b.logits = chk_in("its logits", own, 4 * n * parts);
        b.ids = chk_out("its ids", 4 * used);
        b.weights = chk_out("its weights", 4 * used);
        chk_launch(k, 1, 1, 1, 32, 0, &b);
        if (memcmp((const uint32_t *)chk_get(a.ids) + (size_t)i * used, chk_get(b.ids), 4 * used) ||
            memcmp(w, chk_get(b.weights), 4 * used))
            chk_fail("row %u: other bits than alone", i);
        chk_f32_part(a.weights, (size_t)i * used, used, chk_tolerance(k));
        sums_to_one(w, used);
    }
    chk_end();
}

static void rows(void **state) {
    (void)state;
    for (uint32_t parts = 1; parts <= 8; parts++)
        for (uint32_t n_rows = 2; n_rows <= 8; n_rows += 3) rows_of(0, 128, 8, parts, n_rows);
    rows_of(0, 60, 4, 2, 5);
    rows_of(0, 512, 32, 3, 4);
    rows_of(1, 60, 4, 3, 3);
}

static void checked(void **state) {
    (void)state;
    one(1, 8, 2, 2, 0);
    one(1, 128, 8, 1, 0);
}

/* Whatever the logits, ids are distinct and in range; a NaN makes the weights NaN. */
static void nonfinite(void **state) {
    static const float bad[] = {NAN, INFINITY, -INFINITY};
    (void)state;
    for (int b = 0; b < 3; b++)
        for (uint32_t many = 0; many < 3; many++) { /* one, half, all */
            const uint32_t n = 40, used = 8;
            chk_begin("router %g many=%u", bad[b], many);
            int k = chk_kernel(QM_OP_ROUTER, -1, 0);
            float *x = chk_normal(n, 1);
            for (uint32_t i = 0; i < n; i++)
                if (many == 2 || (many == 1 && i % 2) || i == 17) x[i] = bad[b];
            qm_router_args a = {.n_expert = n, .n_used = used, .n_partials = 1, .rows = 1}, r;
            a.logits = chk_in("logits", x, 4 * n);
            a.ids = chk_out("ids", 4 * used);
            a.weights = chk_out("weights", 4 * used);
            chk_launch(k, 1, 1, 1, 32, 0, &a);
            chk_ref_args(QM_OP_ROUTER, &r, &a);
            qm_ref_router(&r, &(qm_ref_env){.grid = {1, 1, 1}, .block = 32});
            const uint32_t *id = chk_get(a.ids);
            for (uint32_t i = 0; i < used; i++)
                for (uint32_t j = 0; j <= i; j++)
                    if (id[i] >= n || (j < i && id[j] == id[i])) chk_fail("id %u of pick %u", id[i], i);
            chk_u32(a.ids, used);
            chk_f32(a.weights, used, chk_tolerance(k));
            chk_end();
        }
}

static void ledger(void **state) {
    static const struct {
        uint32_t parts;
        unsigned insts;
    } c[] = {{1, 494}, {8, 585}};
    (void)state;
    for (int i = 0; i < 2; i++) {
        qm_sim_counters n;
        chk_begin_counted("router ledger %u", c[i].parts);
        int k = chk_kernel(QM_OP_ROUTER, -1, 0);
        qm_router_args a = {.n_expert = 128, .n_used = 8, .n_partials = c[i].parts, .rows = 1};
        a.logits = chk_in("logits", chk_normal(128 * c[i].parts, 1), 4 * 128 * c[i].parts);
        a.ids = chk_out("ids", 4 * 8);
        a.weights = chk_out("weights", 4 * 8);
        chk_launch(k, 1, 1, 1, 32, 0, &a);
        if (chk_counters(k, &n)) {
            print_message("router 128 experts, 8 used, %u partials: %llu warp instructions\n", c[i].parts,
                          (unsigned long long)n.warp_insts);
            if (n.warp_insts > c[i].insts) chk_fail("%llu warp instructions", (unsigned long long)n.warp_insts);
        }
        chk_end();
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shapes), cmocka_unit_test(ties),        cmocka_unit_test(nonfinite), cmocka_unit_test(checked),
        cmocka_unit_test(ledger), cmocka_unit_test(parts_first), cmocka_unit_test(rows),
    };
    return chk_main(tests);
}
