/* check_moe_gemm_up: every weight type and width: each slot bit for bit what moe_up gives for its row alone, and the
 * reference within the tolerance; groups of every size, fewer rows than the step has room for, which outputs are
 * wanted, experts that are not there; each expert's weights are read once. */
#include "groups.h"
#include "weights.h"
#include <string.h>

enum { WANT_H = 1, WANT_HQ = 2, BAD_EXPERT = 4 };

typedef struct {
    uint32_t n_ff, n_cols, rows, count, n_used, n_expert, width;
    grp_load load;
    int how;
    uint32_t tiles; /* T; 0: the plan's */
} shape;

static int kernel(int wtype, uint32_t width) {
    const int k = qm_kernel_find_rows(QM_OP_MOE_GEMM_UP, wtype, (int)width);
    if (k < 0) chk_fail("no kernel moe_gemm_up, weights %d, width %u", wtype, width);
    return k;
}

static qm_launch launch_of(int wtype, const shape *s, uint32_t max_groups) {
    qm_launch l = qm_launch_moe_gemm_up(wtype, s->n_ff, s->n_cols, s->width, max_groups, 4);
    if (!s->tiles) return l;
    l.tiles = s->tiles;
    l.block = 64 * l.tiles;
    l.shared = qm_rows_shared(wtype, l.width, l.block / 32);
    l.grid[0] = (s->n_ff / 32 + l.tiles - 1) / l.tiles;
    return l;
}

static qm_moe_gemm_up_args make(const qm_type_info *ty, const shape *s, const grp *g) {
    qm_moe_gemm_up_args a = {.n_ff = s->n_ff,
                             .n_cols = s->n_cols,
                             .n_expert = s->n_expert,
                             .n_used = s->n_used,
                             .max_groups = g->max_groups,
                             .order = g->order_at,
                             .groups = g->groups_at,
                             .n_groups = g->n_groups_at};
    a.expert_bytes = qm_pack_bytes(ty, s->n_ff, s->n_cols);
    a.w_gate = wt_in("gate", ty, s->n_expert, s->n_ff, s->n_cols);
    a.w_up = wt_in("up", ty, s->n_expert, s->n_ff, s->n_cols);
    a.x = wt_act_in("x", ty, s->count, s->n_cols); /* rows that are not there are not there either */
    const size_t slots = (size_t)s->rows * s->n_used;
    if (s->how & WANT_H) a.h = chk_out("h", 4 * slots * s->n_ff);
    if (s->how & WANT_HQ) a.hq = chk_out("hq", slots * QM_Q16A_BYTES(s->n_ff));
    return a;
}

/* moe_up of each row alone: {h, hq} of all slots, in the form of make's */
static void alone(int wtype, const qm_moe_gemm_up_args *a, const shape *s, const grp *g, uint64_t *h, uint64_t *hq) {
    const size_t x_bytes = wt_act_bytes(qm_type_get((uint32_t)wtype), s->n_cols), slots = (size_t)s->rows * s->n_used;
    const qm_launch l = qm_launch_moe_up(wtype, s->n_ff, s->n_cols, s->n_used, (qm_sms){4, 0});
    *h = chk_out("h alone", 4 * slots * s->n_ff);
    *hq = chk_out("hq alone", slots * QM_Q16A_BYTES(s->n_ff));
    for (uint32_t r = 0; r < s->count; r++) {
        const qm_moe_up_args one = {.w_gate = a->w_gate,
                                    .w_up = a->w_up,
                                    .x = a->x + r * x_bytes,
                                    .ids = g->ids_at + 4ull * r * s->n_used,
                                    .h = *h + 4ull * r * s->n_used * s->n_ff,
                                    .hq = *hq + (uint64_t)r * s->n_used * QM_Q16A_BYTES(s->n_ff),
                                    .expert_bytes = a->expert_bytes,
                                    .n_ff = s->n_ff,
                                    .n_cols = s->n_cols,
                                    .deal = qm_deal_of(wtype, s->n_ff, s->n_cols, 1, 2, &l),
                                    .n_expert = s->n_expert};
        chk_launch(chk_kernel(QM_OP_MOE_UP, wtype, 0), l.grid[0], l.grid[1], 1, l.block, l.shared, &one);
    }
}

static void one(int checked, int wtype, shape s) {
    const qm_type_info *ty = qm_type_get((uint32_t)wtype);
    if (s.n_cols % wt_unit(ty)) return;
    (checked ? chk_begin_checked : chk_begin)(
        "moe_gemm_up %s n_ff=%u cols=%u rows=%u of %u used=%u of %u width=%u load=%d "
        "how=%d T=%u",
        ty->name, s.n_ff, s.n_cols, s.count, s.rows, s.n_used, s.n_expert, s.width, (int)s.load, s.how, s.tiles);
    const grp g = grp_in(s.rows, s.count, s.n_used, s.n_expert, s.width, s.load, s.how & BAD_EXPERT);
    qm_moe_gemm_up_args a = make(ty, &s, &g), r;
    const qm_launch l = launch_of(wtype, &s, g.max_groups);
    const int k = kernel(wtype, l.width);
    a.tiles = l.tiles;
    chk_launch(k, l.grid[0], l.grid[1], l.grid[2], l.block, l.shared, &a);
    chk_ref_args(QM_OP_MOE_GEMM_UP, &r, &a);
    r.expert_bytes = s.n_ff * qm_row_bytes(ty, s.n_cols);
    qm_ref_moe_gemm_up(
        &r, &(qm_ref_env){.wtype = wtype, .grid = {l.grid[0], l.grid[1], 1}, .block = l.block, .rows = s.rows});
    uint64_t h_at, hq_at;
    alone(wtype, &a, &s, &g, &h_at, &hq_at);
    const uint32_t n_ff = s.n_ff, slots = s.count * s.n_used;
    const size_t q_bytes = QM_Q16A_BYTES(n_ff);
    for (uint32_t e = 0; e < slots; e++) {
        if (a.h) chk_f32_part(a.h, (size_t)e * n_ff, n_ff, chk_tolerance(k));
        if (a.hq) chk_q16a(a.hq + e * q_bytes, 0, n_ff, chk_tolerance(k));
    }
    const float *h = a.h ? chk_get(a.h) : NULL, *h1 = chk_get(h_at);
    const unsigned char *hq = a.hq ? chk_get(a.hq) : NULL, *hq1 = chk_get(hq_at);
    for (uint32_t e = 0; e < slots; e++) {
        if (h && memcmp(h + (size_t)e * n_ff, h1 + (size_t)e * n_ff, 4 * (size_t)n_ff))
            chk_fail("slot %u: h has other bits than the row alone", e);
        if (hq && memcmp(hq + e * q_bytes, hq1 + e * q_bytes, QM_Q16A_DATA(n_ff)))
            chk_fail("slot %u: hq has other bits than the row alone", e);
    }
    for (size_t i = (size_t)slots * n_ff; h && !checked && i < (size_t)s.rows * s.n_used * n_ff; i++)
        if (((const uint32_t *)h)[i] != 0xffffffff) chk_fail("h[%zu] is of no row and was written", i);
    for (size_t i = slots * q_bytes; hq && !checked && i < s.rows * s.n_used * q_bytes; i++)
        if (hq[i] != 0xff) chk_fail("hq: byte %zu is of no row and was written", i);
    chk_end();
}

#define EACH_TYPE for (int i = 0; i < WT_N; i++)
#define EACH_WIDTH for (uint32_t w = 8; w <= 64; w *= 2)

static void shapes(void **state) {
    static const uint32_t ff[] = {32, 96, 256}, cols[] = {32, 96, 256, 768, 2048};
    (void)state;
    EACH_TYPE EACH_WIDTH for (size_t f = 0; f < sizeof ff / sizeof *ff; f++) for (size_t c = 0;
                                                                                  c < sizeof cols / sizeof *cols; c++)
        one(0, wt_types[i], (shape){ff[f], cols[c], 6, 6, 2, 4, w, GRP_ANY, WANT_H | WANT_HQ, 0});
}

/* Every size from one slot to a whole group, of 64 those beside its walks of 16 columns; and experts of several groups. */
static void sizes(void **state) {
    static const uint32_t walks[] = {16, 17, 32, 33, 48, 49, 64};
    (void)state;
    EACH_TYPE EACH_WIDTH {
        const uint32_t n = w * (w + 1) / 2; /* 1 + 2 + .. + w */
        if (w < 64) one(0, wt_types[i], (shape){32, 256, n, n, 1, w, w, GRP_STAIRS, WANT_H | WANT_HQ, 0});
        for (int s = 0; w == 64 && s < 7; s++)
            one(0, wt_types[i], (shape){32, 256, walks[s], walks[s], 1, 3, w, GRP_ONE, WANT_H | WANT_HQ, 0});
        one(0, wt_types[i], (shape){64, 256, w + 5, w + 5, 2, 3, w, GRP_ONE, WANT_H | WANT_HQ, 0});
    }
}

static void choices(void **state) {
    (void)state;
    EACH_TYPE EACH_WIDTH {
        for (int how = 1; how < 8; how++)
            if (how & 3) one(0, wt_types[i], (shape){96, 512, 12, 9, 4, 5, w, GRP_ANY, how, 0});
        one(0, wt_types[i], (shape){64, 512, 16, 0, 4, 5, w, GRP_ANY, WANT_H | WANT_HQ, 0});
        one(0, wt_types[i], (shape){96, 512, 4, 1, 1, 1, w, GRP_ANY, WANT_H | WANT_HQ, 0}); /* a dense model */
        one(0, wt_types[i], (shape){32, 256, 20, 20, 8, 128, w, GRP_ANY, WANT_H | WANT_HQ, 0});
        for (uint32_t t = 1; t <= 4; t *= 2)
            one(0, wt_types[i], (shape){160, 1536, 10, 10, 2, 4, w, GRP_ANY, WANT_H | WANT_HQ, t});
    }
}

static void checked(void **state) {
    (void)state;
    EACH_TYPE EACH_WIDTH {
        one(1, wt_types[i], (shape){64, 768, 6, 5, 2, 3, w, GRP_ANY, WANT_H | WANT_HQ, 0});
        one(1, wt_types[i], (shape){96, 1536, w + 3, w + 3, 1, 2, w, GRP_ONE, WANT_HQ, 0});
    }
}

/* What it costs at the K of Qwen3-30B-A3B, in CTAs of 8 warps: warp instructions a packed block (32 rows x 256) and
 * group, everything included; bytes requested less what the columns themselves have, over the weights of the experts
 * that are used: one reads them once for each of its groups. */
static void ledger(void **state) {
    static const struct {
        uint32_t rows;
        double insts; /* a block, Q4_K */
    } at[] = {{8, 681}, {32, 681}, {128, 1131}, {512, 1821}};
    const qm_type_info *ty = qm_type_get(QM_TYPE_Q4_K);
    (void)state;
    for (size_t i = 0; i < sizeof at / sizeof *at; i++) {
        enum { USED = 2, EXPERTS = 32 };
        shape s = {.n_ff = 128,
                   .n_cols = 2048,
                   .rows = at[i].rows,
                   .count = at[i].rows,
                   .n_used = USED,
                   .n_expert = EXPERTS,
                   .tiles = 4};
        s.width = qm_moe_width(s.rows, USED, EXPERTS);
        s.how = WANT_HQ;
        chk_begin_counted("moe_gemm_up ledger %u rows", s.rows);
        const grp g = grp_in(s.rows, s.count, USED, EXPERTS, s.width, GRP_ANY, 0);
        s.n_expert = 1; /* one matrix does for all experts */
        qm_moe_gemm_up_args a = make(ty, &s, &g);
        const qm_launch l = launch_of(ty->type, &s, g.max_groups);
        const int k = kernel(ty->type, l.width);
        a.tiles = l.tiles, a.n_expert = EXPERTS, a.expert_bytes = 0;
        chk_launch(k, l.grid[0], l.grid[1], 1, l.block, l.shared, &a);
        const double blocks = 2.0 * s.n_ff / 32 * s.n_cols / 256, slots = s.rows * USED;
        const double weights = 2.0 * (double)qm_pack_bytes(ty, s.n_ff, s.n_cols) * g.n_experts;
        const double x = 2.125 * s.n_cols * slots * l.grid[0], y = 2.125 * s.n_ff * slots;
        grp_ledger("moe_gemm_up", &g, k, blocks, weights, x + y, at[i].insts);
        chk_end();
    }
}

int main(void) {
    const struct CMUnitTest t[] = {cmocka_unit_test(shapes), cmocka_unit_test(sizes), cmocka_unit_test(choices),
                                   cmocka_unit_test(checked), cmocka_unit_test(ledger)};
    return chk_main(t);
}
