/* check_moe_gemm: every weight type and width: each slot bit for bit what moe_matvec gives for its row alone, and the
 * reference within the tolerance; groups of every size, fewer rows than the step has room for, a vector a slot or a
 * row, no scale, both layouts of y, experts that are not there. */
#include "groups.h"
#include "weights.h"
#include <math.h>
#include <string.h>

enum { X_ROWS = 1, NO_SCALE = 2, BAD_EXPERT = 4, BY_ROW = 8 };

typedef struct {
    uint32_t n_rows, n_cols, rows, count, n_used, n_expert, width;
    grp_load load;
    int how;
    uint32_t tiles; /* T; 0: the plan's */
} shape;

static int kernel(int wtype, uint32_t width) {
    const int k = qm_kernel_find_rows(QM_OP_MOE_GEMM, wtype, (int)width);
    if (k < 0) chk_fail("no kernel moe_gemm, weights %d, width %u", wtype, width);
    return k;
}

static qm_launch launch_of(int wtype, const shape *s, uint32_t max_groups) {
    qm_launch l = qm_launch_moe_gemm(wtype, s->n_rows, s->n_cols, s->width, max_groups, 4);
    if (!s->tiles) return l;
    l.tiles = s->tiles;
    l.block = 32 * l.tiles;
    l.shared = qm_rows_shared(wtype, l.width, l.block / 32);
    l.grid[0] = ((s->n_rows + 31) / 32 + l.tiles - 1) / l.tiles;
    return l;
}

static qm_moe_gemm_args make(const qm_type_info *ty, const shape *s, const grp *g) {
    const size_t slots = (size_t)s->rows * s->n_used, n_scales = (size_t)s->count * s->n_used;
    qm_moe_gemm_args a = {.n_rows = s->n_rows,
                          .n_cols = s->n_cols,
                          .n_expert = s->n_expert,
                          .n_used = s->n_used,
                          .max_groups = g->max_groups,
                          .x_slots = !(s->how & X_ROWS),
                          .y_row = s->how & BY_ROW ? s->n_used * s->n_rows : s->n_rows,
                          .y_pick = s->how & BY_ROW ? s->n_rows : s->rows * s->n_rows,
                          .order = g->order_at,
                          .groups = g->groups_at,
                          .n_groups = g->n_groups_at};
    a.expert_bytes = qm_pack_bytes(ty, s->n_rows, s->n_cols);
    a.w = wt_in("w", ty, s->n_expert, s->n_rows, s->n_cols);
    a.x = wt_act_in("x", ty, s->how & X_ROWS ? s->count : n_scales, s->n_cols); /* of the rows that there are */
    if (!(s->how & NO_SCALE)) a.scale = chk_in("scale", chk_normal(n_scales, 1), 4 * n_scales);
    a.y = chk_out("y", 4 * slots * s->n_rows);
    return a;
}

/* moe_matvec of each row alone: y [rows, n_used, n_rows] */
static uint64_t alone(int wtype, const qm_moe_gemm_args *a, const shape *s, const grp *g) {
    const size_t x_bytes = wt_act_bytes(qm_type_get((uint32_t)wtype), s->n_cols);
    const qm_launch l = qm_launch_moe_matvec(wtype, s->n_rows, s->n_cols, s->n_used, (qm_sms){4, 0});
    const uint64_t y = chk_out("y alone", 4 * (size_t)s->rows * s->n_used * s->n_rows);
    for (uint32_t r = 0; r < s->count; r++) {
        const uint32_t slot = r * s->n_used;
        const qm_moe_matvec_args one = {.w = a->w,
                                        .x = a->x + (a->x_slots ? slot : r) * x_bytes,
                                        .ids = g->ids_at + 4ull * slot,
                                        .scale = a->scale ? a->scale + 4ull * slot : 0,
                                        .y = y + 4ull * slot * s->n_rows,
                                        .expert_bytes = a->expert_bytes,
                                        .x_stride = a->x_slots ? x_bytes : 0,
                                        .n_rows = s->n_rows,
                                        .n_cols = s->n_cols,
                                        .deal = qm_deal_of(wtype, s->n_rows, s->n_cols, 1, 1, &l),
                                        .n_expert = s->n_expert};
        chk_launch(chk_kernel(QM_OP_MOE_MATVEC, wtype, 0), l.grid[0], l.grid[1], 1, l.block, l.shared, &one);
    }
    return y;
}

static void one(int checked, int wtype, shape s) {
    const qm_type_info *ty = qm_type_get((uint32_t)wtype);
    if (s.n_cols % wt_unit(ty)) return;
    (checked ? chk_begin_checked : chk_begin)(
        "moe_gemm %s n_rows=%u cols=%u rows=%u of %u used=%u of %u width=%u load=%d "
        "how=%d T=%u",
        ty->name, s.n_rows, s.n_cols, s.count, s.rows, s.n_used, s.n_expert, s.width, (int)s.load, s.how, s.tiles);
    const grp g = grp_in(s.rows, s.count, s.n_used, s.n_expert, s.width, s.load, s.how & BAD_EXPERT);
    const size_t slots = (size_t)s.rows * s.n_used, n_scales = (size_t)s.count * s.n_used;
    qm_moe_gemm_args a = make(ty, &s, &g), r;
    const qm_launch l = launch_of(wtype, &s, g.max_groups);
    const int k = kernel(wtype, l.width);
    a.tiles = l.tiles;
    chk_launch(k, l.grid[0], l.grid[1], l.grid[2], l.block, l.shared, &a);
    chk_ref_args(QM_OP_MOE_GEMM, &r, &a);
    r.expert_bytes = s.n_rows * qm_row_bytes(ty, s.n_cols);
    qm_ref_moe_gemm(&r,
                    &(qm_ref_env){.wtype = wtype, .grid = {l.grid[0], l.grid[1], 1}, .block = l.block, .rows = s.rows});
    if (!checked) { /* what is of no row is poison on both sides */
        const size_t x_bytes = wt_act_bytes(ty, s.n_cols);
        double norm = 0;
        for (size_t i = 0; i < n_scales; i++) {
            const double scale = a.scale ? ((const float *)chk_twin(a.scale))[i] : 1;
            const double v = scale * wt_act_norm(ty, a.x + (a.x_slots ? i : i / s.n_used) * x_bytes, s.n_cols);
            norm += s.n_rows * v * v;
        }
        if (norm > 0) wt_compare(a.y, slots * s.n_rows, sqrt(norm), chk_tolerance(k));
    }
    const float *want = chk_get(alone(wtype, &a, &s, &g)), *got = chk_get(a.y);
    for (uint32_t e = 0; e < n_scales; e++) {
        const size_t at = (size_t)(e / s.n_used) * a.y_row + (size_t)(e % s.n_used) * a.y_pick;
        if (memcmp(got + at, want + (size_t)e * s.n_rows, 4 * (size_t)s.n_rows))
            chk_fail("slot %u: other bits than the row alone", e);
    }
    chk_end();
}

#define EACH_TYPE for (int i = 0; i < WT_N; i++)
#define EACH_WIDTH for (uint32_t w = 8; w <= 64; w *= 2)

static void shapes(void **state) {
    static const uint32_t rows[] = {1, 33, 64, 250}, cols[] = {32, 96, 256, 768, 2048};
    (void)state;
    EACH_TYPE EACH_WIDTH for (size_t r = 0; r < sizeof rows / sizeof *rows;
                              r++) for (size_t c = 0; c < sizeof cols / sizeof *cols; c++)
        one(0, wt_types[i], (shape){rows[r], cols[c], 6, 6, 2, 4, w, GRP_ANY, 0, 0});
}

/* Every size from one slot to a whole group, of 64 those beside its walks of 16 columns; and experts of several groups. */
static void sizes(void **state) {
    static const uint32_t walks[] = {16, 17, 32, 33, 48, 49, 64};
    (void)state;
    EACH_TYPE EACH_WIDTH {
        const uint32_t n = w * (w + 1) / 2; /* 1 + 2 + .. + w */
        if (w < 64) one(0, wt_types[i], (shape){32, 256, n, n, 1, w, w, GRP_STAIRS, 0, 0});
        for (int s = 0; w == 64 && s < 7; s++)
            one(0, wt_types[i], (shape){32, 256, walks[s], walks[s], 1, 3, w, GRP_ONE, 0, 0});
        one(0, wt_types[i], (shape){64, 256, w + 5, w + 5, 2, 3, w, GRP_ONE, 0, 0});
    }
}

static void choices(void **state) {
    (void)state;
    EACH_TYPE EACH_WIDTH {
        for (int how = 0; how < 16; how++) /* each at each width, of every second type */
            if ((how + i) % 2) one(0, wt_types[i], (shape){70, 512, 12, 9, 4, 5, w, GRP_ANY, how, 0});
        one(0, wt_types[i], (shape){64, 512, 16, 0, 4, 5, w, GRP_ANY, 0, 0});
        one(0, wt_types[i], (shape){96, 512, 4, 1, 1, 1, w, GRP_ANY, NO_SCALE, 0}); /* a dense model */
        one(0, wt_types[i], (shape){32, 256, 20, 20, 8, 128, w, GRP_ANY, 0, 0});
        for (uint32_t t = 1; t <= 8; t *= 2) one(0, wt_types[i], (shape){280, 1536, 10, 10, 2, 4, w, GRP_ANY, 0, t});
    }
}

static void checked(void **state) {
    (void)state;
    EACH_TYPE EACH_WIDTH {
        one(1, wt_types[i], (shape){40, 768, 6, 5, 2, 3, w, GRP_ANY, 0, 0});
        one(1, wt_types[i], (shape){96, 1536, w + 3, w + 3, 1, 2, w, GRP_ONE, X_ROWS | NO_SCALE, 0});
    }
}

/* What it costs at the K of Qwen3-30B-A3B, in CTAs of 8 warps: warp instructions a packed block (32 rows x 256) and
 * group, everything included; bytes requested less what the columns themselves have, over the weights of the experts
 * that are used: one reads them once for each of its groups. */
static void ledger(void **state) {
    static const struct {
        uint32_t rows;
        double insts; /* a block, Q4_K */
    } at[] = {{8, 698}, {32, 698}, {128, 1137}, {512, 1749}};
    const qm_type_info *ty = qm_type_get(QM_TYPE_Q4_K);
    (void)state;
    for (size_t i = 0; i < sizeof at / sizeof *at; i++) {
        enum { USED = 2, EXPERTS = 32 };
        shape s = {.n_rows = 256,
                   .n_cols = 768,
                   .rows = at[i].rows,
                   .count = at[i].rows,
                   .n_used = USED,
                   .n_expert = EXPERTS,
                   .tiles = 8};
        s.width = qm_moe_width(s.rows, USED, EXPERTS);
        chk_begin_counted("moe_gemm ledger %u rows", s.rows);
        const grp g = grp_in(s.rows, s.count, USED, EXPERTS, s.width, GRP_ANY, 0);
        s.n_expert = 1; /* one matrix does for all experts */
        qm_moe_gemm_args a = make(ty, &s, &g);
        const qm_launch l = launch_of(ty->type, &s, g.max_groups);
        const int k = kernel(ty->type, l.width);
        a.tiles = l.tiles, a.n_expert = EXPERTS, a.expert_bytes = 0;
        chk_launch(k, l.grid[0], l.grid[1], 1, l.block, l.shared, &a);
        const double blocks = 1.0 * s.n_rows / 32 * s.n_cols / 256, slots = s.rows * USED;
        const double weights = 1.0 * (double)qm_pack_bytes(ty, s.n_rows, s.n_cols) * g.n_experts;
        const double x = 2.125 * s.n_cols * slots * l.grid[0], y = 4.0 * s.n_rows * slots;
        grp_ledger("moe_gemm", &g, k, blocks, weights, x + y, at[i].insts);
        chk_end();
    }
}

int main(void) {
    const struct CMUnitTest t[] = {cmocka_unit_test(shapes), cmocka_unit_test(sizes), cmocka_unit_test(choices),
                                   cmocka_unit_test(checked), cmocka_unit_test(ledger)};
    return chk_main(t);
}
