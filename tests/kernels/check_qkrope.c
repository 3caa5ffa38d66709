/* check_qkrope: norm, rotation and cache append against the reference, at page borders and through
 * shuffled block tables; every other byte of the cache must stay as it was. */
#include "check.h"
#include <math.h>
#include <string.h>

static const double theta = 1e6;
static qm_kv_cache_type kv; /* the cache's, in turn */
#define EACH_TYPE for (kv = 0; kv < QM_N_KV_CACHE; kv++)

/* mine[n]: the bytes of a page that token t has: those that come out alike over two pages that nowhere were. */
static void bytes_of(char *mine, size_t n, int is_v, const float *row, uint32_t hd, uint32_t t) {
    char *other = chk_tmp(n);
    memset(mine, 0, n);
    memset(other, 0xff, n);
    qm_kv_page_put(kv, is_v, mine, row, hd, t);
    qm_kv_page_put(kv, is_v, other, row, hd, t);
    for (size_t i = 0; i < n; i++) mine[i] = mine[i] == other[i];
}

/* The distance to the next value that the cache has, at x[d] of a token. */
static double step_at(const float *x, uint32_t d) {
    double amax = 0;
    int e;
    switch (kv) {
    case QM_KV_CACHE_Q8_0:
        for (uint32_t i = d / 32 * 32; i < d / 32 * 32 + 32; i++) amax = fmax(amax, fabs((double)x[i]));
        return amax / 127;
    case QM_KV_CACHE_F16: frexp((double)x[d], &e); return ldexp(1.0, (e < -13 ? -13 : e) - 11);
    case QM_N_KV_CACHE: break;
    }
    return 0;
}

/* Token t's row in a page of the device and in the reference's: both round to nearest, and the f32 that they round differ in
 * the last bits (partials may cancel: more than a step of a small value): few elements fall to the other neighbour. */
static uint32_t compare_rows(int is_v, const char *got, const char *want, uint32_t hd, uint32_t t, double tol) {
    float *g = chk_tmp(4 * hd), *w = chk_tmp(4 * hd);
    double norm = 0;
    uint32_t other = 0;
    qm_kv_page_get(kv, is_v, g, got, hd, t);
    qm_kv_page_get(kv, is_v, w, want, hd, t);
    for (uint32_t d = 0; d < hd; d++) norm += (double)w[d] * w[d];
    for (uint32_t d = 0; d < hd; d++) {
        const double step = step_at(w, d), off = fabs((double)g[d] - (double)w[d]);
        other += off > step / 2;
        if (!(off <= 1.01 * step + tol * sqrt(norm)))
            chk_fail("%c[%u]: ref %.9g, got %.9g", is_v ? 'v' : 'k', d, w[d], g[d]);
    }
    return other;
}

static void one(int checked, int hd, uint32_t n_head, uint32_t n_kv, uint32_t parts, uint32_t pos, int norm) {
    (checked ? chk_begin_checked : chk_begin)("qkrope %s hd=%d heads=%u+2*%u partials=%u pos=%u norm=%d",
                                              qm_kv_cache_name(kv), hd, n_head, n_kv, parts, pos, norm);
    const uint32_t n_ctx = pos + 1, n_pages = pos / 32 + 3, width = (n_head + 2 * n_kv) * (uint32_t)hd;
    const size_t page = (size_t)qm_kv_head_page_bytes(kv, (uint32_t)hd), pool = n_pages * n_kv * page;
    int k = chk_kernel_kv(QM_OP_QKROPE, kv, hd);
    const size_t rope_n = 2 * (size_t)(QM_ROPE_FINE + (n_ctx + 255) / 256) * (size_t)hd / 2;
    float *rope = chk_tmp(4 * rope_n);
    double *freq = chk_tmp(sizeof *freq * (size_t)hd / 2);
    for (int i = 0; i < hd / 2; i++) freq[i] = pow(theta, -2.0 * i / hd);
    qm_rope_table(rope, freq, hd, n_ctx);
    enum { OFF = 64 }; /* sequence 1's row: its table lies behind another one's */
    const qm_row_record row = {pos, 1, OFF};
    uint32_t *tables = chk_tmp(OFF + 4 * n_pages), *table = tables + OFF / 4;
    memset(tables, 0xff, OFF);
    chk_shuffle(table, n_pages);
    char *old_bytes = chk_tmp(pool);
    uint16_t *old = (uint16_t *)(void *)old_bytes;
    for (size_t i = 0; i < pool / 2; i++) old[i] = (uint16_t)qm_rng_u32(chk_rng()) & 0xbfff; /* |x| < 2 */
    float *nq = chk_normal((size_t)hd, 1), *nk = chk_normal((size_t)hd, 1), *qkv = chk_normal(width * parts, 2);

    qm_qkrope_args a = {.n_head = n_head, .n_kv = n_kv, .n_partials = parts, .rows = 1, .eps = 1e-6f}, r;
    a.qkv = chk_in("qkv", qkv, 4 * (size_t)width * parts);
    if (norm & 1) a.q_norm = chk_in("q_norm", nq, 4 * (size_t)hd);
    if (norm & 2) a.k_norm = chk_in("k_norm", nk, 4 * (size_t)hd);
    a.rope = chk_in("rope", rope, 4 * rope_n);
    a.row = chk_in("row", &row, sizeof row);
    a.table = chk_in("table", tables, OFF + 4 * n_pages);
    a.k_pool = chk_inout("k_pool", old, pool);
    a.v_pool = chk_inout("v_pool", old, pool);
    a.q_out = chk_out("q_out", 4 * (size_t)n_head * (size_t)hd);
    chk_launch(k, n_head + 2 * n_kv, 1, 1, 32, 0, &a);
    chk_ref_args(QM_OP_QKROPE, &r, &a);
    qm_ref_qkrope(&r, &(qm_ref_env){.head_dim = hd, .kv = kv, .grid = {n_head + 2 * n_kv, 1, 1}, .block = 32});
    chk_f32(a.q_out, (size_t)n_head * (size_t)hd, chk_tolerance(k));

    /* the new token is the reference's, the rest is untouched */
    const char *got[] = {chk_get(a.k_pool), chk_get(a.v_pool)}, *want[] = {chk_twin(a.k_pool), chk_twin(a.v_pool)};
    const float *zeros = memset(chk_tmp(4 * (size_t)hd), 0, 4 * (size_t)hd);
    char *mine = chk_tmp(page);
    uint32_t other = 0;
    for (int is_v = 0; is_v < 2; is_v++) {
        bytes_of(mine, page, is_v, zeros, (uint32_t)hd, pos % 32);
        for (uint32_t pg = 0; pg < n_pages; pg++)
            for (uint32_t h = 0; h < n_kv; h++) {
                const size_t at = (pg * n_kv + h) * page;
                const int ours = pg == table[pos / 32];
                for (size_t i = 0; i < page; i++)
                    if (!(ours && mine[i]) && got[is_v][at + i] != old_bytes[at + i])
                        chk_fail("%c page %u head %u byte %zu was changed", "KV"[is_v], pg, h, i);
                if (ours)
                    other +=
                        compare_rows(is_v, got[is_v] + at, want[is_v] + at, (uint32_t)hd, pos % 32, chk_tolerance(k));
            }
    }
    if (other > 2 + n_kv * (uint32_t)hd / 50)
        chk_fail("%u of %u cache elements differ", other, 2 * n_kv * (uint32_t)hd);
    chk_end();
}

static void positions(void **state) {
    static const uint32_t pos[] = {0, 1, 7, 31, 32, 33, 63, 64, 255, 256, 257, 1000, 5119};
    (void)state;
    EACH_TYPE {
        for (size_t i = 0; i < sizeof pos / sizeof *pos; i++) {
            one(0, 64, 4, 2, 1, pos[i], 3);
            one(0, 128, 8, 1, 1, pos[i], 3);
        }
        one(0, 128, 2, 1, 1, 40959, 3);
    }
}

static void shapes(void **state) {
    (void)state;
    EACH_TYPE
    for (int hd = 64; hd <= 128; hd += 64) {
        one(0, hd, 1, 1, 1, 40, 3);
        one(0, hd, 32, 4, 2, 40, 3);
        one(0, hd, 16, 1, 4, 40, 3);
        for (int norm = 0; norm < 4; norm++) one(0, hd, 4, 2, 3, 95, norm);
    }
}

/* A head with a NaN, an infinity or a sum of squares that overflows is NaN from end to end, as its reference is; its
 * neighbours are as they were. */
static void nonfinite(void **state) {
    (void)state;
    EACH_TYPE
    for (int hd = 64; hd <= 128; hd += 64)
        for (int c = 0; c < 3; c++) {
            const uint32_t n_head = 2, n_kv = 1, at = (uint32_t)hd + 5, key = 2 * (uint32_t)hd + 9,
                           value = 3 * (uint32_t)hd + 40;
            const size_t page = (size_t)qm_kv_head_page_bytes(kv, (uint32_t)hd);
            const size_t rope_n = (size_t)(QM_ROPE_FINE + 1) * (size_t)hd;
            chk_begin("qkrope %s hd=%d %s", qm_kv_cache_name(kv), hd, c == 2 ? "overflow" : c ? "inf" : "nan");
            int k = chk_kernel_kv(QM_OP_QKROPE, kv, hd);
            float *rope = chk_tmp(4 * rope_n), *qkv = chk_normal(4 * (size_t)hd, 1),
                  bad = c == 2 ? 2e19f
                        : c    ? INFINITY
                               : NAN;
            double *freq = chk_tmp(sizeof *freq * (size_t)hd / 2);
            for (int i = 0; i < hd / 2; i++) freq[i] = pow(theta, -2.0 * i / hd);
            qm_rope_table(rope, freq, hd, 1);
            const uint32_t table[1] = {0};
            const qm_row_record row = {0};
            qkv[at] = qkv[key] = qkv[value] = bad;
            qm_qkrope_args a = {.n_head = n_head, .n_kv = n_kv, .n_partials = 1, .rows = 1, .eps = 1e-6f}, r;
            a.qkv = chk_in("qkv", qkv, 16 * (size_t)hd);
            a.q_norm = a.k_norm = chk_in("norm", chk_normal((size_t)hd, 1), 4 * (size_t)hd);
            a.rope = chk_in("rope", rope, 4 * rope_n);
            a.row = chk_in("row", &row, sizeof row);
            a.table = chk_in("table", table, 4);
            a.k_pool = chk_inout("k_pool", chk_tmp(page), page);
            a.v_pool = chk_inout("v_pool", chk_tmp(page), page);
            a.q_out = chk_out("q_out", 8 * (size_t)hd);
            chk_launch(k, n_head + 2 * n_kv, 1, 1, 32, 0, &a);
            chk_ref_args(QM_OP_QKROPE, &r, &a);
            qm_ref_qkrope(&r, &(qm_ref_env){.head_dim = hd, .kv = kv, .grid = {n_head + 2 * n_kv, 1, 1}, .block = 32});
            for (int ref = 0; ref < 2; ref++) {
                const float *q = ref ? chk_twin(a.q_out) : chk_get(a.q_out);
                float *in_k = chk_tmp(4 * (size_t)hd), *in_v = chk_tmp(4 * (size_t)hd);
                qm_kv_page_get(kv, 0, in_k, ref ? chk_twin(a.k_pool) : chk_get(a.k_pool), (uint32_t)hd, 0);
                qm_kv_page_get(kv, 1, in_v, ref ? chk_twin(a.v_pool) : chk_get(a.v_pool), (uint32_t)hd, 0);
                for (int i = 0; i < hd; i++) {
                    if (isnan(q[i]) || !isnan(q[hd + i]))
                        chk_fail("ref %d: q[%d] = %g in head 0, %g in head 1", ref, i, q[i], q[hd + i]);
                    if (!isnan(in_k[i])) chk_fail("ref %d: k[%d] = %g", ref, i, in_k[i]);
                    /* of a value what shares its scale, at most */
                    if (i == 40 ? isfinite(in_v[i]) : i / 32 != 1 && !isfinite(in_v[i]))
                        chk_fail("ref %d: v[%d] = %g", ref, i, in_v[i]);
                }
            }
            chk_end();
        }
}

/* Partial sums are added in f32 by rising index: several parts give the bits of one that holds their sum. */
static void parts_first(void **state) {
    enum { N_HEAD = 2, N_KV = 1, PARTS = 5 };
    (void)state;
    EACH_TYPE
    for (uint32_t hd = 64; hd <= 128; hd += 64) {
        const uint32_t n = (N_HEAD + 2 * N_KV) * hd;
        const size_t page = (size_t)qm_kv_head_page_bytes(kv, hd);
        const size_t rope_n = (size_t)(QM_ROPE_FINE + 1) * hd;
        chk_begin("qkrope %s hd=%u partials first", qm_kv_cache_name(kv), hd);
        float *p = chk_normal(n * PARTS, 1), *sum = chk_tmp(4 * n);
        for (uint32_t i = 0; i < n; i++) {
            sum[i] = p[i];
            for (uint32_t s = 1; s < PARTS; s++) sum[i] += p[s * n + i];
        }
        const uint32_t table[1] = {0};
        const qm_row_record row = {9, 0, 0};
        qm_qkrope_args a = {.n_head = N_HEAD, .n_kv = N_KV, .n_partials = PARTS, .rows = 1, .eps = 1e-6f}, b;
        a.q_norm = a.k_norm = chk_in("norm", chk_normal(hd, 1), 4 * hd);
        a.rope = chk_in("rope", chk_normal(rope_n, 1), 4 * rope_n);
        a.row = chk_in("row", &row, sizeof row);
        a.table = chk_in("table", table, 4);
        b = a;
        b.n_partials = 1;
        a.qkv = chk_in("qkv", p, 4 * (size_t)n * PARTS);
        b.qkv = chk_in("sum", sum, 4 * n);
        qm_qkrope_args *both[] = {&a, &b};
        for (int i = 0; i < 2; i++) {
            both[i]->k_pool = chk_inout("k_pool", chk_tmp(page), page);
            both[i]->v_pool = chk_inout("v_pool", chk_tmp(page), page);
            both[i]->q_out = chk_out("q_out", 4 * N_HEAD * hd);
            chk_launch(chk_kernel_kv(QM_OP_QKROPE, kv, (int)hd), N_HEAD + 2 * N_KV, 1, 1, 32, 0, both[i]);
        }
        if (memcmp(chk_get(a.q_out), chk_get(b.q_out), 4 * N_HEAD * hd) ||
            memcmp(chk_get(a.k_pool), chk_get(b.k_pool), page) || memcmp(chk_get(a.v_pool), chk_get(b.v_pool), page))
            chk_fail("%d parts and their sum give other bits", PARTS);
        chk_end();
    }
}

/* Rows of several sequences and positions: each leaves the bits that it leaves alone; those beyond the count leave nothing. */
static void rows(int checked, uint32_t hd, uint32_t parts, int counted) {
    enum { N = 5, N_HEAD = 3, N_KV = 2, HEADS = N_HEAD + 2 * N_KV, OFF = 64, PAGES = 7 };
    static const uint32_t tables[3 * OFF / 4] = {[0] = 3, [16] = 6, [17] = 1, [32] = 0};
    static const qm_row_record row[N] = {{9, 0, 0}, {31, 1, OFF}, {32, 1, OFF}, {10, 0, 0}, {4, 2, 2ull * OFF}};
    (checked ? chk_begin_checked : chk_begin)("qkrope %s rows hd=%u partials=%u count=%d", qm_kv_cache_name(kv), hd,
                                              parts, counted);
    const int k = chk_kernel_kv(QM_OP_QKROPE, kv, (int)hd);
    const uint32_t count = counted ? N - 2 : N;
    const size_t n = HEADS * hd, nq = N_HEAD * hd, pool = PAGES * N_KV * (size_t)qm_kv_head_page_bytes(kv, hd);
    const size_t rope_n = (size_t)(QM_ROPE_FINE + 1) * hd;
    const char *old = (const char *)chk_normal(pool / 4, 1);
    qm_qkrope_args a = {.n_head = N_HEAD, .n_kv = N_KV, .n_partials = parts, .rows = N, .eps = 1e-6f}, r;
    const float *qkv = chk_normal(parts * N * n, 2);
    a.q_norm = chk_in("q_norm", chk_normal(hd, 1), 4 * hd);
    a.k_norm = chk_in("k_norm", chk_normal(hd, 1), 4 * hd);
    a.rope = chk_in("rope", chk_normal(rope_n, 1), 4 * rope_n);
    a.qkv = chk_in("qkv", qkv, 4 * parts * N * n);
    a.row = chk_in("row", row, sizeof row);
    a.table = chk_in("table", tables, sizeof tables);
    if (counted) a.count = chk_in("count", &count, 4);
    a.k_pool = chk_inout("k_pool", old, pool);
    a.v_pool = chk_inout("v_pool", old, pool);
    a.q_out = chk_out("q_out", 4 * N * nq);
    chk_launch(k, HEADS, N, 1, 32, 0, &a);
    if (!checked) {
        chk_ref_args(QM_OP_QKROPE, &r, &a);
        qm_ref_qkrope(&r, &(qm_ref_env){.head_dim = (int)hd, .kv = kv, .grid = {HEADS, N, 1}, .block = 32, .rows = N});
        chk_f32(a.q_out, N * nq, chk_tolerance(k)); /* NaN where none is written */
        /* one row after the other, each from parts of its own, into one cache */
        qm_qkrope_args one = a;
        one.k_pool = chk_inout("k_pool", old, pool);
        one.v_pool = chk_inout("v_pool", old, pool);
        one.rows = 1;
        one.count = 0;
        for (uint32_t i = 0; i < count; i++) {
            float *own = chk_tmp(4 * parts * n);
            for (uint32_t p = 0; p < parts; p++) memcpy(own + p * n, qkv + (p * N + i) * n, 4 * n);
            one.qkv = chk_in("qkv of a row", own, 4 * parts * n);
            one.row = a.row + i * QM_ROW_SIZE;
            one.q_out = chk_out("q_out", 4 * nq);
            chk_launch(k, HEADS, 1, 1, 32, 0, &one);
            if (memcmp((const float *)chk_get(a.q_out) + i * nq, chk_get(one.q_out), 4 * nq))
                chk_fail("row %u: another q than alone", i);
        }
        if (memcmp(chk_get(a.k_pool), chk_get(one.k_pool), pool) ||
            memcmp(chk_get(a.v_pool), chk_get(one.v_pool), pool))
            chk_fail("the cache is not that of one row after the other");
    }
    chk_end();
}

static void many_rows(void **state) {
    (void)state;
    EACH_TYPE
    for (uint32_t hd = 64; hd <= 128; hd += 64)
        for (int i = 0; i < 4; i++) {
            rows(0, hd, 1 + 2 * (uint32_t)(i & 1), i / 2);
            rows(1, hd, 1 + 2 * (uint32_t)(i & 1), i / 2);
        }
}

static void checked(void **state) {
    (void)state;
    EACH_TYPE {
        one(1, 64, 4, 2, 2, 33, 3);
        one(1, 128, 4, 2, 1, 31, 0);
    }
}

/* The table's two levels against the angle itself, computed in double. */
static void rope_table(void **state) {
    enum { HD = 128, N = 1 << 16 };
    (void)state;
    chk_begin("rope table");
    float *t = chk_tmp(sizeof *t * 2 * (256 + N / 256) * HD / 2);
    double freq[HD / 2], worst = 0;
    for (int i = 0; i < HD / 2; i++) freq[i] = pow(theta, -2.0 * i / HD);
    qm_rope_table(t, freq, HD, N);
    for (int n = 0; n < 20000; n++) {
        uint32_t p = n < 600 ? (uint32_t)n : qm_rng_below(chk_rng(), N), i = qm_rng_below(chk_rng(), HD / 2);
        const float *f = t + 2 * (p % 256 * HD / 2 + i), *g = t + 2 * ((256 + p / 256) * HD / 2 + i);
        double c = (double)f[0] * g[0] - (double)f[1] * g[1], s = (double)f[1] * g[0] + (double)f[0] * g[1];
        double e = hypot(c - cos(p * freq[i]), s - sin(p * freq[i]));
        if (e > worst) worst = e;
    }
    if (!(worst < 1.3e-7)) chk_fail("worst error of (cos, sin): %.3e", worst);
    chk_end();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rope_table), cmocka_unit_test(positions), cmocka_unit_test(shapes),
        cmocka_unit_test(nonfinite),  cmocka_unit_test(checked),   cmocka_unit_test(parts_first),
        cmocka_unit_test(many_rows),
    };
    return chk_main(tests);
}
