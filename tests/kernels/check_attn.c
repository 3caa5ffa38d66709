/* check_attn: attention against the reference: borders of pages and spans, more CTAs than spans and fewer, group sizes;
 * that the bits of a span depend on nothing else; that a row among others has the bits that it has alone; and attn + combine against plain softmax attention written out here.
 * Every cache element that no token has written yet is a NaN: reading one shows. */
#include "check.h"
#include <math.h>
#include <string.h>
#include "../../runtime/file/quant.h"
#include "kv_step.h"

static qm_kv_cache_type kv; /* the cache's, in turn */
#define EACH_TYPE for (kv = 0; kv < QM_N_KV_CACHE; kv++)

typedef struct {
    uint32_t hd, n_head, n_kv, n_splits, pos, n_pages,
        n_spans; /* n_spans: of the context; there is room for one more */
    float q_scale;
    int uneven;       /* values: uneven_size; 2: and their scales are negative */
    float *q, *k, *v; /* [n_head, hd], [pos + 1, n_kv, hd] each (as the cache holds them) */
    uint32_t *table;
    qm_attn_args a;
} attn_case;

/* The page that holds token t of a kv head. */
static size_t page_at(const attn_case *c, uint32_t t, uint32_t head) {
    return (size_t)((uint64_t)(c->table[t / 32] * c->n_kv + head) * qm_kv_head_page_bytes(kv, c->hd));
}

/* Rows x [pos + 1, n_kv, hd] into the pool, and back as the cache has rounded them. */
static void put_all(const attn_case *c, int is_v, char *pool, float *x, int keep) {
    for (uint32_t t = 0; t <= c->pos; t++)
        for (uint32_t h = 0; h < c->n_kv; h++) {
            float *row = x + ((size_t)t * c->n_kv + h) * c->hd;
            qm_kv_page_put(kv, is_v, pool + page_at(c, t, h), row, c->hd, t % 32);
            if (keep) qm_kv_page_get(kv, is_v, row, pool + page_at(c, t, h), c->hd, t % 32);
        }
}

/* How large element i of v is: small in the first 32 dims of a head, in the second a different power of two for each token, with
 * 2^14 between them, large in the third. */
static float uneven_size(const attn_case *c, size_t i) {
    const uint32_t d = (uint32_t)(i % c->hd), t = (uint32_t)(i / c->hd / c->n_kv);
    return d < 32 ? 0x1p-12f : d < 64 ? ldexpf(1, -2 * (int)(t % 8)) : d < 96 ? 3000 : 1;
}

/* Of a q8_0 cache: the scales of all tokens' values with a sign, which no quantiser gives them, and x = what is then read. */
static void turn_scales(const attn_case *c, char *vp) {
    for (uint32_t t = 0; t <= c->pos; t++)
        for (uint32_t h = 0; h < c->n_kv; h++) {
            char *page = vp + page_at(c, t, h);
            uint16_t *scales = (uint16_t *)(void *)(page + 32 * c->hd) + t % 32 / 4 * (c->hd / 32) * 4 + t % 4;
            for (uint32_t b = 0; b < c->hd / 32; b++) scales[4 * b] ^= 0x8000;
            qm_kv_page_get(kv, 1, c->v + ((size_t)t * c->n_kv + h) * c->hd, page, c->hd, t % 32);
        }
}

/* sparse: the cache slots of no token stay unwritten (for the device's check of such reads) instead of
 * holding NaN. */
static void make(attn_case *c, int sparse) {
    const uint32_t pos = c->pos, hd = c->hd;
    const size_t n = (size_t)(pos + 1) * c->n_kv * hd;
    c->n_pages = pos / 32 + 1;
    c->n_spans = pos / QM_SPAN + 1;
    enum { OFF = 64 }; /* sequence 1's row: its table lies behind another one's */
    const qm_row_record row = {pos, 1, OFF};
    uint32_t pool_pages = c->n_pages + 2;
    const size_t pool = (size_t)(pool_pages * c->n_kv * qm_kv_head_page_bytes(kv, hd));
    uint32_t *perm = chk_tmp(4 * pool_pages);
    chk_shuffle(perm, pool_pages);
    c->table = perm; /* the first n_pages entries; the device gets no more than these */
    c->q = chk_normal((size_t)c->n_head * hd, c->q_scale);
    c->k = chk_normal(n, 1);
    c->v = chk_normal(n, 1);
    for (size_t i = 0; c->uneven && i < n; i++) c->v[i] *= uneven_size(c, i);
    char *kp = chk_tmp(pool), *vp = chk_tmp(pool);
    char *not_k = sparse ? chk_tmp(pool) : NULL, *not_v = sparse ? chk_tmp(pool) : NULL;
    for (size_t i = 0; i < pool; i++) kp[i] = vp[i] = i % 2 ? 0x7e : 0; /* a NaN, as an f16 or as a scale */
    for (size_t i = 0; sparse && i < pool; i++) not_k[i] = not_v[i] = (char)~kp[i];
    if (sparse) put_all(c, 0, not_k, c->k, 0), put_all(c, 1, not_v, c->v, 0);
    put_all(c, 0, kp, c->k, 1);
    put_all(c, 1, vp, c->v, 1);
    if (c->uneven == 2) turn_scales(c, vp);
    qm_attn_args a = {.n_head = c->n_head, .n_kv = c->n_kv, .n_spans = c->n_spans + 1};
    a.scale = (float)(1 / sqrt((double)hd));
    a.q = chk_in("q", c->q, 4 * (size_t)c->n_head * hd);
    a.k_pool = sparse ? chk_out("k_pool", pool) : chk_in("k_pool", kp, pool);
    a.v_pool = sparse ? chk_out("v_pool", pool) : chk_in("v_pool", vp, pool);
    if (sparse) kv_step_write_tokens(a.k_pool, kp, not_k, pool), kv_step_write_tokens(a.v_pool, vp, not_v, pool);
    uint32_t *tables = chk_tmp(OFF + 4 * c->n_pages);
    memset(tables, 0xff, OFF);
    memcpy(tables + OFF / 4, perm, 4 * c->n_pages);
    a.table = chk_in("table", tables, OFF + 4 * c->n_pages);
    a.row = chk_in("row", &row, sizeof row);
    a.acc = chk_out("acc", 4 * (size_t)c->n_head * a.n_spans * hd);
    a.ml = chk_out("ml", 8 * (size_t)c->n_head * a.n_spans);
    c->a = a;
}

static void launch(const attn_case *c) {
    chk_launch(chk_kernel_kv(QM_OP_ATTN, kv, (int)c->hd), c->n_kv, c->n_splits, (c->n_head / c->n_kv + 7) / 8, 256, 0,
               &c->a);
}

typedef struct {
    uint32_t hd, n_head, n_kv, n_splits, pos;
    float q_scale;
    double tol;
    int uneven;
} shape;

static void one(int checked, shape s) {
    (checked ? chk_begin_checked : chk_begin)("attn %s hd=%u heads=%u/%u splits=%u pos=%u q*%g", qm_kv_cache_name(kv),
                                              s.hd, s.n_head, s.n_kv, s.n_splits, s.pos, s.q_scale);
    attn_case c = {.hd = s.hd,
                   .n_head = s.n_head,
                   .n_kv = s.n_kv,
                   .n_splits = s.n_splits,
                   .pos = s.pos,
                   .q_scale = s.q_scale,
                   .uneven = s.uneven};
    qm_attn_args r;
    double tol = s.tol != 0 ? s.tol : chk_tolerance(chk_kernel_kv(QM_OP_ATTN, kv, (int)s.hd));
    make(&c, checked);
    launch(&c);
    chk_ref_args(QM_OP_ATTN, &r, &c.a);
    qm_ref_attn(&r, &(qm_ref_env){.head_dim = (int)s.hd, .kv = kv});
    /* the spans after that of pos stay as they were, on both sides: NaN, or nobody's */
    for (uint32_t h = 0; h < s.n_head; h++) {
        chk_f32_part(c.a.ml, 2 * (size_t)h * c.a.n_spans, 2 * (size_t)(checked ? c.n_spans : c.a.n_spans), tol);
        const size_t part = s.uneven ? 32 : (size_t)(checked ? c.n_spans : c.a.n_spans) * s.hd,
                     n_parts = s.uneven ? c.n_spans * s.hd / 32 : 1;
        for (size_t i = 0; i < n_parts; i++)
            chk_f32_part(c.a.acc, (size_t)h * c.a.n_spans * s.hd + i * part, part, tol);
    }
    const float *ml = chk_get(c.a.ml), *rl = chk_twin(c.a.ml);
    for (size_t i = 0; i < (size_t)s.n_head * c.a.n_spans; i++) {
        if (i % c.a.n_spans >= c.n_spans) continue;
        double m = rl[2 * i], l = rl[2 * i + 1];
        if (l != 0 && (fabs(ml[2 * i] - m) > tol * fmax(1, fabs(m)) || fabs(ml[2 * i + 1] - l) > 2 * tol * l))
            chk_fail("ml[%zu]: ref %.9g %.9g, got %.9g %.9g", i, m, l, ml[2 * i], ml[2 * i + 1]);
    }
    chk_end();
}

static void positions(void **state) {
    static const uint32_t pos[] = {0, 1, 2, 3, 4, 30, 31, 32, 33, 35, 36, 63, 64, 255, 256, 300, 511, 512, 767, 1000};
    static const uint32_t splits[] = {1, 2, 5};
    (void)state;
    EACH_TYPE
    for (size_t i = 0; i < sizeof pos / sizeof *pos; i++)
        for (size_t j = 0; j < sizeof splits / sizeof *splits; j++) {
            one(0, (shape){64, 8, 1, splits[j], pos[i], 2, 0, 0});
            one(0, (shape){128, 8, 1, splits[j], pos[i], 2, 0, 0});
        }
}

static void groups(void **state) {
    static const uint32_t g[] = {1, 2, 3, 7, 8, 9, 12, 16};
    (void)state;
    EACH_TYPE
    for (size_t i = 0; i < sizeof g / sizeof *g; i++)
        for (uint32_t hd = 64; hd <= 128; hd += 64) {
            one(0, (shape){hd, g[i], 1, 2, 70, 2, 0, 0});
            one(0, (shape){hd, 3 * g[i], 3, 3, 40, 2, 0, 0});
        }
}

/* How many CTAs share the spans does not show in a single bit; nor does, in the spans before it, where the context ends. */
static void canonical(void **state) {
    enum { N_HEAD = 8, N_KV = 2, POS = 1500, N_SPANS = POS / QM_SPAN + 1 };
    static const uint32_t splits[] = {2, 3, 4, 5, 6, 8, 64};
    static const uint32_t ends[] = {255, 256, 257, 511, 1023, 1024, 1499};
    (void)state;
    EACH_TYPE
    for (uint32_t hd = 64; hd <= 128; hd += 64) {
        chk_begin("attn %s canonical hd=%u", qm_kv_cache_name(kv), hd);
        attn_case c = {.hd = hd, .n_head = N_HEAD, .n_kv = N_KV, .n_splits = 1, .pos = POS, .q_scale = 2};
        make(&c, 0);
        launch(&c);
        const size_t room = c.a.n_spans, n_ml = 2 * N_HEAD * room, n_acc = N_HEAD * room * hd;
        float *ml = chk_tmp(4 * n_ml), *acc = chk_tmp(4 * n_acc);
        memcpy(ml, chk_get(c.a.ml), 4 * n_ml);
        memcpy(acc, chk_get(c.a.acc), 4 * n_acc);
        for (size_t i = 0; i < sizeof splits / sizeof *splits; i++) {
            c.n_splits = splits[i];
            c.a.acc = chk_out("acc", 4 * n_acc);
            c.a.ml = chk_out("ml", 4 * n_ml);
            launch(&c);
            if (memcmp(ml, chk_get(c.a.ml), 4 * n_ml) || memcmp(acc, chk_get(c.a.acc), 4 * n_acc))
                chk_fail("%u CTAs give other bits than one", splits[i]);
        }
        for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
            chk_write(c.a.row, &ends[i], 4); /* QM_ROW_POS */
            c.n_splits = 2;
            c.a.acc = chk_out("acc", 4 * n_acc);
            c.a.ml = chk_out("ml", 4 * n_ml);
            launch(&c);
            for (size_t h = 0; h < N_HEAD; h++)
                if (memcmp(ml + 2 * h * room, (const float *)chk_get(c.a.ml) + 2 * h * room, 8 * (ends[i] / QM_SPAN)) ||
                    memcmp(acc + h * room * hd, (const float *)chk_get(c.a.acc) + h * room * hd,
                           4 * hd * (ends[i] / QM_SPAN)))
                    chk_fail("a context that ends at %u gives other bits before", ends[i]);
        }
        chk_end();
    }
}

/* Scores of several hundred: one token takes all. An f32 score of 400 is off by up to some 1e-4. */
static void sharp(void **state) {
    (void)state;
    EACH_TYPE
    for (uint32_t hd = 64; hd <= 128; hd += 64) {
        one(0, (shape){hd, 8, 1, 3, 200, 100, 2e-4, 0});
        one(0, (shape){hd, 8, 1, 3, 200, 0, 0, 0});
        one(0, (shape){hd, 8, 1, 3, 200, 1e30f, 0, 0}); /* which f16 does not hold */
    }
}

/* Values of very different sizes: what is small among them is as exact, of each 32 dims by itself. */
static void uneven(void **state) {
    (void)state;
    EACH_TYPE
    for (uint32_t hd = 64; hd <= 128; hd += 64)
        for (uint32_t pos = 27; pos < 300; pos += 104)
            for (int how = 1; how <= (kv == QM_KV_CACHE_Q8_0 ? 2 : 1); how++)
                one(0, (shape){hd, 8, 1, 2, pos, 2, 0, how});
}

/* Rows of several sequences, of which the op has some: each has the bits that it has alone, and what is beyond the count stays
 * as it was. With a map, without one; all of the grid, fewer. */
static void rows(int checked, uint32_t hd, uint32_t n_head, uint32_t n_kv, int mapped, int counted) {
    static const kv_step_seq seqs[] = {{300, 1}, {0, 1}, {45, 3}, {31, 1}, {520, 1}};
    static const uint32_t map[] = {6, 0, 1, 5, 3};
    enum { N = 5, SPLITS = 2 };
    (checked ? chk_begin_checked : chk_begin)("attn %s rows hd=%u heads=%u/%u map=%d count=%d", qm_kv_cache_name(kv),
                                              hd, n_head, n_kv, mapped, counted);
    const int k = chk_kernel_kv(QM_OP_ATTN, kv, (int)hd);
    const uint32_t count = counted ? N - 2 : N, eights = (n_head / n_kv + 7) / 8;
    kv_step s = {.kv = kv, .hd = hd, .n_head = n_head, .n_kv = n_kv, .q_scale = 2};
    kv_step_make(&s, seqs, 5, checked);
    const size_t n_ml = 2 * (size_t)n_head * s.n_spans, n_acc = (size_t)n_head * s.n_spans * hd;
    qm_attn_args a = {.q = s.q,
                      .k_pool = s.k_pool,
                      .v_pool = s.v_pool,
                      .table = s.table,
                      .row = s.row,
                      .n_head = n_head,
                      .n_kv = n_kv,
                      .n_spans = s.n_spans,
                      .rows = s.n_rows,
                      .scale = (float)(1 / sqrt((double)hd))},
                 r;
    if (mapped) a.map = chk_in("map", map, sizeof map);
    if (counted) a.count = chk_in("count", &count, 4);
    a.acc = chk_out("acc", 4 * N * n_acc);
    a.ml = chk_out("ml", 4 * N * n_ml);
    chk_launch(k, n_kv, SPLITS, eights * N, 256, 0, &a);
    if (!checked) {
        chk_ref_args(QM_OP_ATTN, &r, &a);
        qm_ref_attn(&r, &(qm_ref_env){.head_dim = (int)hd, .kv = kv, .rows = N});
        chk_f32(a.acc, N * n_acc, chk_tolerance(k)); /* NaN where none is written */
        chk_f32(a.ml, N * n_ml, chk_tolerance(k));
        const float *acc = chk_get(a.acc), *ml = chk_get(a.ml);
        for (uint32_t i = 0; i < N; i++) {
            const uint32_t row = mapped ? map[i] : i;
            qm_attn_args one = a;
            one.q = s.q + 4ull * row * n_head * hd;
            one.row = s.row + row * QM_ROW_SIZE;
            one.map = one.count = 0;
            one.rows = 1;
            one.acc = chk_out("acc", 4 * n_acc);
            one.ml = chk_out("ml", 4 * n_ml);
            if (i < count) chk_launch(k, n_kv, SPLITS + 1, eights, 256, 0, &one);
            if (memcmp(ml + i * n_ml, chk_get(one.ml), 4 * n_ml) ||
                memcmp(acc + i * n_acc, chk_get(one.acc), 4 * n_acc))
                chk_fail("place %u, row %u: other bits than alone", i, row);
        }
    }
    chk_end();
}

static void many_rows(void **state) {
    (void)state;
    EACH_TYPE
    for (int i = 0; i < 4; i++) {
        rows(0, 64, 4, 2, i & 1, i / 2);
        rows(0, 128, 9, 1, i & 1, i / 2); /* two CTAs for the heads of a row */
        rows(1, 64, 2, 1, i & 1, i / 2);
    }
}

static void checked(void **state) {
    (void)state;
    EACH_TYPE {
        one(1, (shape){64, 8, 1, 2, 70, 2, 0, 0});
        one(1, (shape){128, 4, 2, 3, 33, 2, 0, 0});
        one(1, (shape){128, 8, 1, 1, 300, 2, 0, 0});
    }
}

/* attn then combine on the device against softmax(q K / sqrt(hd)) V in double, for several splits. */
static void whole(void **state) {
    (void)state;
    EACH_TYPE
    for (uint32_t hd = 64; hd <= 128; hd += 64)
        for (uint32_t splits = 1; splits <= 16; splits += 5) {
            chk_begin("attn %s + combine hd=%u splits=%u", qm_kv_cache_name(kv), hd, splits);
            attn_case c = {.hd = hd, .n_head = 6, .n_kv = 2, .n_splits = splits, .pos = 133 * splits, .q_scale = 2};
            make(&c, 0);
            launch(&c);
            qm_combine_args a = {.acc = c.a.acc, .ml = c.a.ml, .row = c.a.row, .n_head = c.n_head};
            a.n_spans = c.a.n_spans;
            a.y = chk_out("y", 4 * c.n_head * hd);
            chk_launch(chk_kernel(QM_OP_COMBINE, -1, (int)hd), c.n_head, 1, 1, hd, 0, &a);
            float *want = chk_twin(a.y);
            double *p = chk_tmp(sizeof *p * (c.pos + 1));
            for (uint32_t h = 0; h < c.n_head; h++) {
                uint32_t of = h / (c.n_head / c.n_kv);
                double sum = 0;
                for (uint32_t t = 0; t <= c.pos; t++) {
                    double s = 0;
                    for (uint32_t d = 0; d < hd; d++) s += c.q[h * hd + d] * c.k[(t * c.n_kv + of) * hd + d];
                    sum += p[t] = exp(s / sqrt((double)hd));
                }
                for (uint32_t d = 0; d < hd; d++) {
                    double y = 0;
                    for (uint32_t t = 0; t <= c.pos; t++) y += p[t] / sum * c.v[(t * c.n_kv + of) * hd + d];
                    want[h * hd + d] = (float)y;
                }
            }
            chk_f32(a.y, (size_t)c.n_head * hd, chk_tolerance(chk_kernel_kv(QM_OP_ATTN, kv, (int)hd)));
            chk_end();
        }
}

/* The ledger of attn.ptx: warp instructions a token and kv head, and bytes over the cache's own. */
static void ledger(void **state) {
    (void)state;
    /* a CTA for each span, as the plan does it; two CTAs */
    static const double most[QM_N_KV_CACHE][2][2] = {
        [QM_KV_CACHE_F16] = {{20.1, 17.1}, {26.3, 22.6}}, [QM_KV_CACHE_Q8_0] = {{30.3, 27.2}, {47.2, 43.2}}};
    EACH_TYPE
    for (uint32_t i = 0; i < 4; i++) {
        const double own = 4096.0 * 2 * (double)qm_kv_head_page_bytes(kv, 64 << i / 2) / 32;
        const uint32_t hd = 64 << i / 2, splits = i % 2 ? 2 : 16;
        qm_sim_counters n;
        chk_begin_counted("attn %s ledger hd=%u splits=%u", qm_kv_cache_name(kv), hd, splits);
        attn_case c = {.hd = hd, .n_head = 8, .n_kv = 1, .n_splits = splits, .pos = 4095, .q_scale = 1};
        make(&c, 0);
        launch(&c);
        if (chk_counters(chk_kernel_kv(QM_OP_ATTN, kv, (int)hd), &n)) {
            double per = (double)n.warp_insts / 4096, bytes = (double)n.gld_bytes / own;
            print_message(
                "attn %s hd=%u, %u CTAs: %.1f warp instructions a token and kv head, %.3f of the cache's bytes, "
                "%.2f shared passes an access\n",
                qm_kv_cache_name(kv), hd, splits, per, bytes, (double)n.shared_wavefronts / (double)n.shared_insts);
            if (per > most[kv][i / 2][i % 2]) chk_fail("%.1f warp instructions a token", per);
            if (bytes > 1 + (i % 2 ? 0.03 : 0.035) * 4096 * 4 * hd /
                                own) /* beside the cache: q and tables, whatever its type */
                chk_fail("%.3f of the cache's bytes were read", bytes);
        }
        chk_end();
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(positions), cmocka_unit_test(groups),    cmocka_unit_test(canonical),
        cmocka_unit_test(sharp),     cmocka_unit_test(whole),     cmocka_unit_test(checked),
        cmocka_unit_test(ledger),    cmocka_unit_test(many_rows), cmocka_unit_test(uneven),
    };
    return chk_main(tests);
}
