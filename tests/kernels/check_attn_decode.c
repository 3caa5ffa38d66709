/* check_attn_decode: one op for what qkrope, attn and combine do for one row: the same bits of q, of the cache, of y and yq, at
 * every border of pages and spans, for groups of every size and any number of CTAs, launch after launch on one counter; and all
 * of it against the reference. Every cache element that no token has written yet is a NaN, or unwritten: reading one shows. */
#include "check.h"
#include <math.h>
#include <string.h>
#include "kv_step.h"

static qm_kv_cache_type kv; /* the cache's, in turn */
#define EACH_TYPE for (kv = 0; kv < QM_N_KV_CACHE; kv++)

typedef struct {
    uint32_t hd, group, n_kv, n_splits, pos, parts;
    int norm; /* 1: of q, 2: of k */
    int want; /* 1: q_out, 2: y, 4: yq */
} shape;

typedef struct {
    shape s;
    uint32_t n_head, eights, n_spans;
    size_t pool, nq;
    char *k, *v; /* the pools before the step */
    qm_attn_decode_args a;
} decode_case;

/* Rows x of the tokens before pos into the pool; not: the same over its complement, for what is nobody's. */
static void put_old(const decode_case *c, const uint32_t *table, int is_v, char *pool, char * not, const float *x) {
    const shape *s = &c->s;
    for (uint32_t t = 0; t < s->pos; t++)
        for (uint32_t h = 0; h < s->n_kv; h++) {
            const size_t at = (size_t)((uint64_t)(table[t / 32] * s->n_kv + h) * qm_kv_head_page_bytes(kv, s->hd));
            const float *row = x + ((size_t)t * s->n_kv + h) * s->hd;
            qm_kv_page_put(kv, is_v, pool + at, row, s->hd, t % 32);
            if (not ) qm_kv_page_put(kv, is_v, not +at, row, s->hd, t % 32);
        }
}

/* A pool with those tokens; sparse: and nothing else. */
static uint64_t old_pool(decode_case *c, const uint32_t *table, int is_v, int sparse, char **bytes) {
    const size_t n = (size_t)c->s.pos * c->s.n_kv * c->s.hd;
    char *pool = chk_tmp(c->pool), *not = sparse ? chk_tmp(c->pool) : NULL;
    for (size_t i = 0; i < c->pool; i++) pool[i] = i % 2 ? 0x7e : 0; /* a NaN, as an f16 or as a scale */
    for (size_t i = 0; sparse && i < c->pool; i++) not [i] = (char)~pool[i];
    put_old(c, table, is_v, pool, not, chk_normal(n ? n : 1, 1));
    *bytes = pool;
    if (!sparse) return chk_inout(is_v ? "v_pool" : "k_pool", pool, c->pool);
    const uint64_t d = chk_out(is_v ? "v_pool" : "k_pool", c->pool);
    kv_step_write_tokens(d, pool, not, c->pool);
    return d;
}

static void make(decode_case *c, shape s, int sparse) {
    enum { OFF = 64 }; /* sequence 1's row: its table lies behind another one's */
    const uint32_t n_pages = s.pos / 32 + 1, pool_pages = n_pages + 2;
    const qm_row_record row = {s.pos, 1, OFF};
    *c = (decode_case){.s = s, .n_head = s.group * s.n_kv, .eights = (s.group + 7) / 8, .n_spans = s.pos / QM_SPAN + 1};
    c->pool = (size_t)(pool_pages * s.n_kv * qm_kv_head_page_bytes(kv, s.hd));
    c->nq = (size_t)c->n_head * s.hd;
    const size_t width = c->nq + 2ull * s.n_kv * s.hd, n_arrived = (size_t)s.n_kv * c->eights;
    uint32_t *tables = chk_tmp(OFF + 4 * pool_pages), *table = tables + OFF / 4;
    memset(tables, 0xff, OFF);
    chk_shuffle(table, pool_pages);
    const size_t rope_n = (size_t)QM_ROPE_ROWS(s.pos + 1) * s.hd;
    float *rope = chk_tmp(4 * rope_n);
    double freq[64];
    for (uint32_t i = 0; i < s.hd / 2; i++) freq[i] = pow(1e6, -2.0 * i / s.hd);
    qm_rope_table(rope, freq, (int)s.hd, s.pos + 1);

    qm_attn_decode_args a = {.n_head = c->n_head, .n_kv = s.n_kv, .n_partials = s.parts, .n_spans = c->n_spans + 1};
    a.eps = 1e-6f;
    a.scale = (float)(1 / sqrt((double)s.hd));
    a.qkv = chk_in("qkv", chk_normal(width * s.parts, 2), 4 * width * s.parts);
    if (s.norm & 1) a.q_norm = chk_in("q_norm", chk_normal(s.hd, 1), 4 * (size_t)s.hd);
    if (s.norm & 2) a.k_norm = chk_in("k_norm", chk_normal(s.hd, 1), 4 * (size_t)s.hd);
    a.rope = chk_in("rope", rope, 4 * rope_n);
    a.row = chk_in("row", &row, sizeof row);
    a.table = chk_in("table", tables, OFF + 4 * n_pages);
    a.k_pool = old_pool(c, table, 0, sparse, &c->k);
    a.v_pool = old_pool(c, table, 1, sparse, &c->v);
    a.acc = chk_out("acc", 4 * c->nq * a.n_spans);
    a.ml = chk_out("ml", 8 * (size_t)c->n_head * a.n_spans);
    a.arrived = chk_inout("arrived", memset(chk_tmp(4 * n_arrived), 0, 4 * n_arrived), 4 * n_arrived);
    if (s.want & 1) a.q_out = chk_out("q_out", 4 * c->nq);
    if (s.want & 2) a.y = chk_out("y", 4 * c->nq);
    if (s.want & 4) a.yq = chk_out("yq", QM_Q16A_BYTES(c->nq));
    c->a = a;
}

static void launch(const decode_case *c) {
    chk_launch(chk_kernel_kv(QM_OP_ATTN_DECODE, kv, (int)c->s.hd), c->s.n_kv, c->s.n_splits, c->eights, 256, 0, &c->a);
    const uint32_t *arrived = chk_get(c->a.arrived);
    for (uint32_t i = 0; i < c->s.n_kv * c->eights; i++)
        if (arrived[i]) chk_fail("counter %u stands at %u after the launch", i, arrived[i]);
}

static void same(const char *what, uint64_t got, uint64_t want, size_t bytes) {
    const unsigned char *g = chk_get(got), *w = chk_get(want);
    for (size_t i = 0; i < bytes; i++)
        if (g[i] != w[i]) chk_fail("%s: byte %zu is %02x, of the three ops %02x", what, i, g[i], w[i]);
}

/* The three ops, on the same row and a cache that was the same. */
static void same_as_apart(const decode_case *c) {
    const shape *s = &c->s;
    const qm_attn_decode_args *a = &c->a;
    const int hd = (int)s->hd;
    qm_qkrope_args rope = {.qkv = a->qkv,
                           .q_norm = a->q_norm,
                           .k_norm = a->k_norm,
                           .rope = a->rope,
                           .row = a->row,
                           .table = a->table,
                           .n_head = c->n_head,
                           .n_kv = s->n_kv,
                           .n_partials = s->parts,
                           .rows = 1,
                           .eps = a->eps};
    rope.k_pool = chk_inout("apart k_pool", c->k, c->pool);
    rope.v_pool = chk_inout("apart v_pool", c->v, c->pool);
    rope.q_out = chk_out("apart q", 4 * c->nq);
    qm_attn_args at = {.q = rope.q_out,
                       .k_pool = rope.k_pool,
                       .v_pool = rope.v_pool,
                       .table = a->table,
                       .row = a->row,
                       .n_head = c->n_head,
                       .n_kv = s->n_kv,
                       .n_spans = a->n_spans,
                       .rows = 1,
                       .scale = a->scale};
    at.acc = chk_out("apart acc", 4 * c->nq * a->n_spans);
    at.ml = chk_out("apart ml", 8 * (size_t)c->n_head * a->n_spans);
    qm_combine_args to = {
        .acc = at.acc, .ml = at.ml, .row = a->row, .n_head = c->n_head, .n_spans = a->n_spans, .rows = 1};
    to.y = chk_out("apart y", 4 * c->nq);
    to.yq = chk_out("apart yq", QM_Q16A_BYTES(c->nq));
    chk_launch(chk_kernel_kv(QM_OP_QKROPE, kv, hd), c->n_head + 2 * s->n_kv, 1, 1, 32, 0, &rope);
    chk_launch(chk_kernel_kv(QM_OP_ATTN, kv, hd), s->n_kv, s->n_splits, c->eights, 256, 0, &at);
    chk_launch(chk_kernel(QM_OP_COMBINE, -1, hd), c->n_head, 1, 1, s->hd, 0, &to);
    same("k_pool", a->k_pool, rope.k_pool, c->pool);
    same("v_pool", a->v_pool, rope.v_pool, c->pool);
    if (a->q_out) same("q_out", a->q_out, rope.q_out, 4 * c->nq);
    if (a->y) same("y", a->y, to.y, 4 * c->nq);
    if (a->yq) same("yq", a->yq, to.yq, QM_Q16A_BYTES(c->nq));
}

/* Against the reference. Its cache has the new token as it rounds it, which may be the neighbour of what the device has. */
static void near_reference(const decode_case *c) {
    const double tol = chk_tolerance(chk_kernel_kv(QM_OP_ATTN_DECODE, kv, (int)c->s.hd));
    qm_attn_decode_args r;
    chk_ref_args(QM_OP_ATTN_DECODE, &r, &c->a);
    qm_ref_attn_decode(&r, &(qm_ref_env){.head_dim = (int)c->s.hd, .kv = kv});
    if (c->a.q_out) chk_f32(c->a.q_out, c->nq, tol);
    if (c->a.y) chk_f32(c->a.y, c->nq, 3e-3 / (c->s.pos + 1) + tol);
    if (c->a.yq && c->a.y) chk_q16a(c->a.yq, c->a.y, c->nq, 3e-3 / (c->s.pos + 1) + tol);
}

static void one(shape s) {
    decode_case c;
    chk_begin("attn_decode %s hd=%u heads=%u/%u splits=%u pos=%u parts=%u norm=%d want=%d", qm_kv_cache_name(kv), s.hd,
              s.group * s.n_kv, s.n_kv, s.n_splits, s.pos, s.parts, s.norm, s.want);
    make(&c, s, 0);
    launch(&c);
    same_as_apart(&c);
    near_reference(&c);
    chk_end();
}

static void positions(void **state) {
    static const uint32_t pos[] = {0,  1,  2,  3,   4,   5,   7,   8,   11,  12,  30,  31,   32,   33,   34,   63,
                                   64, 95, 96, 254, 255, 256, 257, 287, 288, 511, 512, 1023, 1024, 1025, 2303, 2304};
    static const uint32_t splits[] = {1, 2, 4, 64};
    (void)state;
    EACH_TYPE
    for (size_t i = 0; i < sizeof pos / sizeof *pos; i++)
        for (size_t j = 0; j < sizeof splits / sizeof *splits; j++)
            for (uint32_t hd = 64; hd <= 128; hd += 64) one((shape){hd, 8, 1, splits[j], pos[i], 1 + pos[i] % 2, 3, 7});
}

static void groups(void **state) {
    (void)state;
    EACH_TYPE
    for (uint32_t g = 1; g <= 16; g++)
        for (uint32_t hd = 64; hd <= 128; hd += 64) {
            one((shape){hd, g, 1, 2, 70, 2, 3, 7});
            one((shape){hd, g, 3, 3, 544, 1, 3, 7});
            one((shape){hd, g, 2, 2, 512, 1, 3, 7}); /* the new token alone in its page and span */
        }
}

/* Parts from one to as many as there can be; norms; outputs that nobody asks for. */
static void operands(void **state) {
    (void)state;
    EACH_TYPE
    for (uint32_t hd = 64; hd <= 128; hd += 64) {
        for (uint32_t parts = 1; parts <= 1u << QM_PARTS_LOG; parts++) one((shape){hd, 4, 2, 2, 300, parts, 3, 7});
        for (int norm = 0; norm < 4; norm++) one((shape){hd, 9, 2, 2, 40, 3, norm, 7});
        for (int want = 0; want < 8; want++) one((shape){hd, 8, 1, 2, 290, 1, 3, want});
    }
}

/* Many spans: more than a lane each, and every remainder of those that are on their way together. */
static void depths(void **state) {
    static const uint32_t spans[] = {2, 3, 7, 8, 9, 15, 16, 17, 24, 25, 31, 32, 33, 40, 49, 65};
    (void)state;
    EACH_TYPE
    for (size_t i = 0; i < sizeof spans / sizeof *spans; i++)
        one((shape){i % 2 ? 128 : 64, 2, 1, i % 3 ? 64 : 5, spans[i] * QM_SPAN - 1 - (uint32_t)i, 1, 3, 7});
}

/* A token after the other on one cache and one counter, as a graph is launched again and again: after each, the cache is what
 * qkrope would have left. */
static void steps(void **state) {
    enum { FIRST = 254, N = 4 }; /* over the border of a span */
    (void)state;
    EACH_TYPE
    for (uint32_t hd = 64; hd <= 128; hd += 64) {
        decode_case c;
        qm_row_record row = {FIRST, 1, 64};
        chk_begin("attn_decode %s steps hd=%u", qm_kv_cache_name(kv), hd);
        make(&c, (shape){hd, 10, 2, 2, FIRST + N, 2, 3, 7}, 0);
        for (uint32_t i = 0; i < N; i++, row.pos++) {
            chk_write(c.a.row, &row, sizeof row);
            memcpy(c.k, chk_get(c.a.k_pool), c.pool);
            memcpy(c.v, chk_get(c.a.v_pool), c.pool);
            launch(&c);
            same_as_apart(&c);
        }
        chk_end();
    }
}

/* With races between CTAs and bytes that nobody has written looked for. */
static void checked(void **state) {
    static const shape s[] = {
        {64, 8, 1, 2, 70, 2, 3, 7},   {128, 2, 2, 3, 33, 1, 3, 7},   {128, 9, 1, 2, 0, 1, 3, 7},
        {128, 8, 1, 1, 300, 1, 3, 7}, {64, 12, 1, 2, 256, 8, 3, 7},  {128, 16, 1, 2, 511, 2, 3, 7},
        {64, 3, 2, 4, 1023, 1, 3, 7}, {128, 10, 1, 4, 896, 1, 3, 6}, {64, 9, 1, 3, 545, 1, 3, 4}};
    (void)state;
    EACH_TYPE
    for (size_t i = 0; i < sizeof s / sizeof *s; i++) {
        decode_case c;
        chk_begin_checked("attn_decode %s checked hd=%u heads=%u/%u splits=%u pos=%u", qm_kv_cache_name(kv), s[i].hd,
                          s[i].group * s[i].n_kv, s[i].n_kv, s[i].n_splits, s[i].pos);
        make(&c, s[i], 1);
        launch(&c);
        launch(&c); /* the same row again: the counter is as it was */
        chk_end();
    }
}

/* The ledger of attn_decode.ptx: warp instructions a token and kv head of all that the op does, a CTA for each span and two CTAs;
 * and bytes over the cache's own. */
static void ledger(void **state) {
    static const double most[QM_N_KV_CACHE][2][2] = {
        [QM_KV_CACHE_F16] = {{27.5, 20.9}, {37, 27.8}}, [QM_KV_CACHE_Q8_0] = {{37.2, 31}, {56.8, 48.4}}};
    (void)state;
    EACH_TYPE
    for (uint32_t i = 0; i < 4; i++) {
        const uint32_t hd = 64 << i / 2, splits = i % 2 ? 2 : 16;
        const double own = 4096.0 * 2 * (double)qm_kv_head_page_bytes(kv, hd) / 32;
        qm_sim_counters n;
        decode_case c;
        chk_begin_counted("attn_decode %s ledger hd=%u splits=%u", qm_kv_cache_name(kv), hd, splits);
        make(&c, (shape){hd, 8, 1, splits, 4095, 1, 3, 7}, 0);
        launch(&c);
        if (chk_counters(chk_kernel_kv(QM_OP_ATTN_DECODE, kv, (int)hd), &n)) {
            const double per = (double)n.warp_insts / 4096, bytes = (double)n.gld_bytes / own;
            print_message("attn_decode %s hd=%u, %u CTAs: %.1f warp instructions a token and kv head, %.3f of the "
                          "cache's bytes\n",
                          qm_kv_cache_name(kv), hd, splits, per, bytes);
            if (per > most[kv][i / 2][i % 2]) chk_fail("%.1f warp instructions a token", per);
            if (bytes > 1 + (i % 2 ? 0.07 : 0.18) * 4096 * 4 * hd / own)
                chk_fail("%.3f of the cache's bytes were read", bytes);
        }
        chk_end();
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(positions), cmocka_unit_test(groups),  cmocka_unit_test(operands), cmocka_unit_test(depths),
        cmocka_unit_test(steps),     cmocka_unit_test(checked), cmocka_unit_test(ledger),
    };
    return chk_main(tests);
}
