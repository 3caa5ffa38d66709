/* unit_kv_layout: a sequence appended token by token with qkrope, then attended with attn and combine, on
 * the device, against attention written out here from the raw projections: the three ops agree on pages,
 * block table, pairs of the rotation and positions, in every type of the cache. K and V are rounded here as the cache does. */
#include "check.h"
#include <math.h>
#include <string.h>

enum { N = 70, N_HEAD = 4, N_KV = 2, SPLITS = 2, PAGES = 5 };
static const double theta = 10000;
static qm_kv_cache_type kv; /* the cache's, in turn */

/* x [hd] as it comes out of the cache */
static void round_row(int is_v, float *x, uint32_t hd) {
    static char page[4 * QM_PAGE_TOKENS * 128]; /* no type is wider than f32 */
    qm_kv_page_put(kv, is_v, page, x, hd, 0);
    qm_kv_page_get(kv, is_v, x, page, hd, 0);
}

static void rotate(double *x, uint32_t hd, uint32_t pos) {
    for (uint32_t i = 0; i < hd / 2; i++) {
        double a = pos * pow(theta, -2.0 * i / hd), lo = x[i], hi = x[i + hd / 2];
        x[i] = lo * cos(a) - hi * sin(a);
        x[i + hd / 2] = hi * cos(a) + lo * sin(a);
    }
}

static void sequence(uint32_t hd) {
    const uint32_t width = (N_HEAD + 2 * N_KV) * hd, table[PAGES] = {3, 0, 4, 1, 2};
    chk_begin("%s: sequence of %d tokens, hd=%u", qm_kv_cache_name(kv), N, hd);
    float *qkv = chk_normal((size_t)N * width, 1), *rope = chk_tmp(4 * (size_t)(QM_ROPE_FINE + 1) * hd);
    double *freq = chk_tmp(sizeof *freq * hd / 2);
    for (uint32_t i = 0; i < hd / 2; i++) freq[i] = pow(theta, -2.0 * i / hd);
    qm_rope_table(rope, freq, (int)hd, N);
    qm_row_record row = {0};
    const size_t pool = (size_t)(PAGES * N_KV * qm_kv_head_page_bytes(kv, hd));
    qm_qkrope_args a = {.n_head = N_HEAD, .n_kv = N_KV, .n_partials = 1, .eps = 1e-6f};
    a.qkv = chk_in("qkv", qkv, 4 * width);
    a.rope = chk_in("rope", rope, 4 * (size_t)(QM_ROPE_FINE + 1) * hd);
    a.row = chk_in("row", &row, sizeof row);
    a.table = chk_in("table", table, sizeof table);
    a.k_pool = chk_out("k_pool", pool); /* all NaN */
    a.v_pool = chk_out("v_pool", pool);
    a.q_out = chk_out("q", 4 * N_HEAD * hd);
    for (uint32_t pos = 0; pos < N; pos++) {
        row.pos = pos;
        chk_write(a.row, &row, sizeof row);
        chk_write(a.qkv, qkv + (size_t)pos * width, 4 * width);
        chk_launch(chk_kernel_kv(QM_OP_QKROPE, kv, (int)hd), N_HEAD + 2 * N_KV, 1, 1, 32, 0, &a);
    }
    qm_attn_args b = {.q = a.q_out,
                      .k_pool = a.k_pool,
                      .v_pool = a.v_pool,
                      .table = a.table,
                      .row = a.row,
                      .n_head = N_HEAD,
                      .n_kv = N_KV,
                      .n_spans = 1,
                      .scale = (float)(1 / sqrt((double)hd))};
    b.acc = chk_out("acc", 4 * N_HEAD * hd);
    b.ml = chk_out("ml", 8 * N_HEAD);
    chk_launch(chk_kernel_kv(QM_OP_ATTN, kv, (int)hd), N_KV, SPLITS, 1, 256, 0, &b);
    qm_combine_args c = {.acc = b.acc, .ml = b.ml, .row = a.row, .n_head = N_HEAD, .n_spans = 1};
    c.y = chk_out("y", 4 * N_HEAD * hd);
    chk_launch(chk_kernel(QM_OP_COMBINE, -1, (int)hd), N_HEAD, 1, 1, hd, 0, &c);

    float *want = chk_twin(c.y);
    for (uint32_t h = 0; h < N_HEAD; h++) {
        double q[128], k[128], p[N], sum = 0, y[128] = {0};
        float row[128];
        const uint32_t of = h / (N_HEAD / N_KV);
        for (uint32_t d = 0; d < hd; d++) q[d] = qkv[(size_t)(N - 1) * width + h * hd + d];
        rotate(q, hd, N - 1);
        for (uint32_t t = 0; t < N; t++) {
            double s = 0;
            for (uint32_t d = 0; d < hd; d++) k[d] = qkv[(size_t)t * width + (N_HEAD + of) * hd + d];
            rotate(k, hd, t);
            for (uint32_t d = 0; d < hd; d++) row[d] = (float)k[d];
            round_row(0, row, hd);
            for (uint32_t d = 0; d < hd; d++) s += q[d] * row[d];
            sum += p[t] = exp(s / sqrt((double)hd));
        }
        for (uint32_t t = 0; t < N; t++) {
            memcpy(row, qkv + (size_t)t * width + (N_HEAD + N_KV + of) * hd, 4 * hd);
            round_row(1, row, hd);
            for (uint32_t d = 0; d < hd; d++) y[d] += p[t] / sum * row[d];
        }
        for (uint32_t d = 0; d < hd; d++) want[h * hd + d] = (float)y[d];
    }
    /* a K element may round to the other neighbour, since its f32 differs in the last bits: in f16 2^-11 of a term of a score,
     * up to some 1e-4 of a weight; in q8_0 a 127th of the block's largest */
    chk_f32(c.y, N_HEAD * hd, kv == QM_KV_CACHE_Q8_0 ? 2e-3 : 2e-4);
    chk_end();
}

static void hd64(void **state) {
    (void)state;
    for (kv = 0; kv < QM_N_KV_CACHE; kv++) sequence(64);
}
static void hd128(void **state) {
    (void)state;
    for (kv = 0; kv < QM_N_KV_CACHE; kv++) sequence(128);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(hd64), cmocka_unit_test(hd128)};
    return chk_main(tests);
}
