/* check_attn_prefill: runs of neighbouring rows, to the bit what attn and combine give for each row: runs of any length at
 * any place of a page, over borders of spans, several sequences with scattered pages, group sizes; against the reference; and
 * that a row sees no position after its own. Every cache element that no token has written is a NaN: reading one shows. */
#include <math.h>
#include <string.h>
#include "check.h"
#include "kv_step.h"
#include "../../runtime/file/quant.h"

static qm_kv_cache_type kv; /* the cache's, in turn */
#define EACH_TYPE for (kv = 0; kv < QM_N_KV_CACHE; kv++)

static qm_attn_prefill_args args_of(const kv_step *s) {
    const size_t nq = (size_t)s->n_head * s->hd;
    return (qm_attn_prefill_args){.q = s->q,
                                  .k_pool = s->k_pool,
                                  .v_pool = s->v_pool,
                                  .table = s->table,
                                  .row = s->row,
                                  .y = chk_out("y", 4 * s->n_rows * nq),
                                  .n_head = s->n_head,
                                  .n_kv = s->n_kv,
                                  .scale = (float)(1 / sqrt((double)s->hd))};
}

/* The list of runs, with room for `spare` more: they are beyond the count, and no CTA may look at them. */
static void give_runs(const kv_step *s, qm_attn_prefill_args *a, uint32_t spare) {
    uint32_t *runs = chk_tmp(8 * (s->n_runs + spare));
    memset(runs, 0xff, 8 * (s->n_runs + spare));
    memcpy(runs, s->runs, 8 * s->n_runs);
    a->count = chk_in("count", &s->n_runs, 4);
    a->runs = chk_in("runs", runs, 8 * (s->n_runs + spare));
}

static void launch(const kv_step *s, const qm_attn_prefill_args *a, uint32_t spare) {
    chk_launch(chk_kernel_kv(QM_OP_ATTN_PREFILL, kv, (int)s->hd), s->n_kv, s->n_runs + spare,
               (s->n_head / s->n_kv + 7) / 8, 32 * QM_RUN_ROWS, 0, a);
}

/* y and yq of all rows by attn and combine, of as many rows. */
static void by_spans(const kv_step *s, uint64_t *y, uint64_t *yq) {
    const uint32_t nq = s->n_head * s->hd, n = s->n_rows * s->n_head * s->n_spans;
    const qm_attn_args a = {.q = s->q,
                            .k_pool = s->k_pool,
                            .v_pool = s->v_pool,
                            .table = s->table,
                            .row = s->row,
                            .acc = chk_out("acc", 4ull * n * s->hd),
                            .ml = chk_out("ml", 8ull * n),
                            .n_head = s->n_head,
                            .n_kv = s->n_kv,
                            .n_spans = s->n_spans,
                            .rows = s->n_rows,
                            .scale = (float)(1 / sqrt((double)s->hd))};
    const qm_combine_args c = {.acc = a.acc,
                               .ml = a.ml,
                               .row = s->row,
                               .y = *y = chk_out("y of spans", 4ull * s->n_rows * nq),
                               .yq = *yq = chk_out("yq of spans", s->n_rows * QM_Q16A_BYTES(nq)),
                               .n_head = s->n_head,
                               .n_spans = s->n_spans,
                               .rows = s->n_rows};
    chk_launch(chk_kernel_kv(QM_OP_ATTN, kv, (int)s->hd), s->n_kv, 2, (s->n_head / s->n_kv + 7) / 8 * s->n_rows, 256, 0,
               &a);
    chk_launch(chk_kernel(QM_OP_COMBINE, -1, (int)s->hd), s->n_head, s->n_rows, 1, s->hd, 0, &c);
}

static void same(const kv_step *s, uint64_t y, uint64_t yq, uint64_t want_y, uint64_t want_yq) {
    const uint32_t nq = s->n_head * s->hd;
    const float *g = chk_get(y), *w = chk_get(want_y);
    for (size_t i = 0; i < (size_t)s->n_rows * nq; i++)
        if (memcmp(&g[i], &w[i], 4))
            chk_fail("row %zu (position %u), head %zu, dim %zu: %.9g, by spans %.9g", i / nq, s->rows[i / nq].pos,
                     i % nq / s->hd, i % s->hd, g[i], w[i]);
    const char *gq = chk_get(yq), *wq = chk_get(want_yq);
    for (uint32_t r = 0; r < s->n_rows; r++)
        if (memcmp(gq + r * QM_Q16A_BYTES(nq), wq + r * QM_Q16A_BYTES(nq), QM_Q16A_DATA(nq)))
            chk_fail("row %u (position %u): another yq", r, s->rows[r].pos);
}

typedef struct {
    uint32_t hd, n_head, n_kv;
    float q_scale;
} shape;

/* Each row has the bits of attn and combine, whatever else is in its run and in the step. */
static void one(shape h, const kv_step_seq *seqs, uint32_t n_seqs) {
    chk_begin("attn_prefill %s hd=%u heads=%u/%u q*%g %u sequences, %u rows from %u", qm_kv_cache_name(kv), h.hd,
              h.n_head, h.n_kv, h.q_scale, n_seqs, seqs[0].n, seqs[0].first);
    kv_step s = {.kv = kv, .hd = h.hd, .n_head = h.n_head, .n_kv = h.n_kv, .q_scale = h.q_scale};
    kv_step_make(&s, seqs, n_seqs, 0);
    qm_attn_prefill_args a = args_of(&s);
    uint64_t y, yq;
    a.yq = chk_out("yq", s.n_rows * QM_Q16A_BYTES(h.n_head * h.hd));
    give_runs(&s, &a, 2);
    launch(&s, &a, 2);
    by_spans(&s, &y, &yq);
    same(&s, a.y, a.yq, y, yq);
    chk_end();
}

/* Runs of every length at every place of a page. */
static void places(void **state) {
    (void)state;
    EACH_TYPE
    for (uint32_t first = 0; first < 2 * QM_PAGE_TOKENS; first++)
        one((shape){first % 2 ? 64 : 128, 2, 1, 2}, &(kv_step_seq){first, 1 + first % QM_RUN_ROWS}, 1);
}

static void lengths(void **state) {
    static const uint32_t at[] = {0, 27, 61, 250};
    (void)state;
    EACH_TYPE
    for (uint32_t n = 1; n <= QM_RUN_ROWS; n++)
        for (size_t i = 0; i < sizeof at / sizeof *at; i++)
            for (uint32_t hd = 64; hd <= 128; hd += 64) one((shape){hd, 4, 2, 2}, &(kv_step_seq){at[i], n}, 1);
}

static void spans(void **state) {
    static const uint32_t at[] = {224, 252, 255, 256, 287, 505, 511, 512, 800, 1276};
    (void)state;
    EACH_TYPE
    for (size_t i = 0; i < sizeof at / sizeof *at; i++)
        for (uint32_t hd = 64; hd <= 128; hd += 64) one((shape){hd, 2, 1, 2}, &(kv_step_seq){at[i], 8}, 1);
}

static void groups(void **state) {
    static const uint32_t g[] = {1, 2, 3, 4, 7, 8, 9, 12, 16};
    (void)state;
    EACH_TYPE
    for (size_t i = 0; i < sizeof g / sizeof *g; i++)
        for (uint32_t hd = 64; hd <= 128; hd += 64) {
            one((shape){hd, g[i], 1, 2}, &(kv_step_seq){59, 7}, 1);
            one((shape){hd, 3 * g[i], 3, 2}, &(kv_step_seq){262, 3}, 1);
        }
}

/* A step of several sequences, some with several runs; and scores of several hundred, where one token takes all. */
static void sequences(void **state) {
    static const kv_step_seq seqs[] = {{0, 20}, {300, 5}, {31, 2}, {90, 1}, {505, 13}};
    (void)state;
    EACH_TYPE
    for (uint32_t hd = 64; hd <= 128; hd += 64) {
        one((shape){hd, 8, 2, 2}, seqs, 5);
        one((shape){hd, 8, 2, 100}, seqs, 5);
        one((shape){hd, 8, 2, 0}, seqs, 5);
    }
}

/* Against the reference; yq goes with y, and may be absent. Checked: races and reads of what nobody has written. */
static void ref(int checked, shape h, const kv_step_seq *seqs, uint32_t n_seqs, int want_yq) {
    (checked ? chk_begin_checked : chk_begin)("attn_prefill %s ref hd=%u heads=%u/%u %u sequences",
                                              qm_kv_cache_name(kv), h.hd, h.n_head, h.n_kv, n_seqs);
    const int k = chk_kernel_kv(QM_OP_ATTN_PREFILL, kv, (int)h.hd);
    const uint32_t nq = h.n_head * h.hd;
    kv_step s = {.kv = kv, .hd = h.hd, .n_head = h.n_head, .n_kv = h.n_kv, .q_scale = h.q_scale};
    kv_step_make(&s, seqs, n_seqs, checked);
    qm_attn_prefill_args a = args_of(&s), r;
    if (want_yq) a.yq = chk_out("yq", s.n_rows * QM_Q16A_BYTES(nq));
    give_runs(&s, &a, 1);
    launch(&s, &a, 1);
    chk_ref_args(QM_OP_ATTN_PREFILL, &r, &a);
    qm_ref_attn_prefill(&r, &(qm_ref_env){.head_dim = (int)h.hd, .kv = kv, .rows = s.n_runs + 1});
    for (uint32_t i = 0; i < s.n_rows; i++) {
        chk_f32_part(a.y, (size_t)i * nq, nq, chk_tolerance(k));
        if (!want_yq) continue;
        unsigned char want[QM_Q16A_BYTES(16 * 128)];
        qm_q16a_quantize(want, (const float *)chk_get(a.y) + (size_t)i * nq, nq);
        if (memcmp(want, (const char *)chk_get(a.yq) + i * QM_Q16A_BYTES(nq), QM_Q16A_DATA(nq)))
            chk_fail("row %u: yq is not that of y", i);
    }
    chk_end();
}

static void reference(void **state) {
    static const kv_step_seq seqs[] = {{0, 9}, {300, 5}, {31, 2}};
    (void)state;
    EACH_TYPE
    for (uint32_t hd = 64; hd <= 128; hd += 64)
        for (int want_yq = 0; want_yq < 2; want_yq++) {
            ref(0, (shape){hd, 8, 2, 2}, seqs, 3, want_yq);
            ref(0, (shape){hd, 9, 1, 2}, seqs, 3, want_yq);
        }
}

static void checked(void **state) {
    static const kv_step_seq seqs[] = {{30, 5}, {61, 8}, {254, 3}};
    (void)state;
    EACH_TYPE {
        ref(1, (shape){64, 4, 2, 2}, seqs, 2, 1);
        ref(1, (shape){128, 2, 1, 2}, seqs, 3, 1);
        ref(1, (shape){64, 3, 1, 2}, seqs, 3, 0);
    }
}

/* A NaN as the key, or as the value, of one position: rows before it are the bits they were, the others are NaN. */
static void causal(void **state) {
    enum { FIRST = 250, N = 8 };
    (void)state;
    EACH_TYPE
    for (uint32_t hd = 64; hd <= 128; hd += 64)
        for (uint32_t bad = FIRST; bad < FIRST + N; bad++)
            for (int is_v = 0; is_v < 2; is_v++) {
                chk_begin("attn_prefill %s hd=%u, a NaN as the %s of %u", qm_kv_cache_name(kv), hd,
                          is_v ? "value" : "key", bad);
                kv_step s = {.kv = kv, .hd = hd, .n_head = 2, .n_kv = 1, .q_scale = 2};
                kv_step_make(&s, &(kv_step_seq){FIRST, N}, 1, 0);
                qm_attn_prefill_args a = args_of(&s);
                give_runs(&s, &a, 0);
                launch(&s, &a, 0);
                const size_t n = 2 * hd;
                float *clean = chk_tmp(4 * N * n), *nan = chk_tmp(4 * hd);
                memcpy(clean, chk_get(a.y), 4 * N * n);
                for (uint32_t d = 0; d < hd; d++) nan[d] = NAN;
                const uint64_t pool = is_v ? s.v_pool : s.k_pool;
                const uint32_t *table = chk_twin(s.table);
                char *bytes = chk_tmp(s.pool);
                memcpy(bytes, chk_get(pool), s.pool);
                qm_kv_page_put(kv, is_v, bytes + table[bad / 32] * qm_kv_head_page_bytes(kv, hd), nan, hd, bad % 32);
                chk_write(pool, bytes, s.pool);
                launch(&s, &a, 0);
                const float *y = chk_get(a.y);
                for (size_t i = 0; i < N * n; i++) {
                    const int sees = FIRST + i / n >= bad;
                    if (sees ? !isnan(y[i]) : memcmp(&y[i], &clean[i], 4))
                        chk_fail("row %zu: %.9g, without the NaN %.9g", i / n, y[i], clean[i]);
                }
                chk_end();
            }
}

/* The ledger of attn_prefill.ptx: warp instructions a row, token and kv head; shared-memory passes likewise; and bytes of
 * the cache that a CTA's warps ask for, over those of the run's pages: each of 8 rows asks, the L1 answers 7 of them. */
static void ledger(void **state) {
    static const double most[QM_N_KV_CACHE][2] = {[QM_KV_CACHE_F16] = {10.9, 15.5}, [QM_KV_CACHE_Q8_0] = {21.9, 38.1}};
    (void)state;
    EACH_TYPE
    for (uint32_t hd = 64; hd <= 128; hd += 64) {
        enum { FIRST = 2040, N = 8 };
        const double rows_tokens = N * (FIRST + 1) + N * (N - 1) / 2;
        const double own = rows_tokens / 32 * 2 * (double)qm_kv_head_page_bytes(kv, hd);
        qm_sim_counters n;
        chk_begin_counted("attn_prefill %s ledger hd=%u", qm_kv_cache_name(kv), hd);
        kv_step s = {.kv = kv, .hd = hd, .n_head = 8, .n_kv = 1, .q_scale = 1};
        kv_step_make(&s, &(kv_step_seq){FIRST, N}, 1, 0);
        qm_attn_prefill_args a = args_of(&s);
        give_runs(&s, &a, 0);
        launch(&s, &a, 0);
        if (chk_counters(chk_kernel_kv(QM_OP_ATTN_PREFILL, kv, (int)hd), &n)) {
            const double per = (double)n.warp_insts / rows_tokens, bytes = (double)n.gld_bytes / own;
            print_message(
                "attn_prefill %s hd=%u: %.1f warp instructions and %.1f shared passes a row, token and kv head, "
                "%.3f of the cache's bytes asked for\n",
                qm_kv_cache_name(kv), hd, per, (double)n.shared_wavefronts / rows_tokens, bytes);
            if (per > most[kv][hd / 128]) chk_fail("%.1f warp instructions a row, token and kv head", per);
            if (bytes > 1 + 0.04 * rows_tokens / 32 * 2 * 64 * hd / own) /* q and tables, whatever the cache's type */
                chk_fail("%.3f of the cache's bytes asked for", bytes);
        }
        chk_end();
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(places),  cmocka_unit_test(lengths),   cmocka_unit_test(spans),
        cmocka_unit_test(groups),  cmocka_unit_test(sequences), cmocka_unit_test(reference),
        cmocka_unit_test(checked), cmocka_unit_test(causal),    cmocka_unit_test(ledger),
    };
    return chk_main(tests);
}
