/* check_norm: matvec and moe_up that norm their input themselves (kernels/ptx/norm.inc), and matvec that adds its result to a
 * vector: to the bit what rmsnorm before them and after them gives, on the device; and within rounding what the references
 * say. Every weight type, one warp a CTA to sixteen, vectors of one slot of rmsnorm's and of several, all of K and parts of it. */
#include "weights.h"
#include <math.h>
#include <string.h>

enum { EXPERTS = 3, ROWS = 96 };
typedef enum { NORMAL, ZEROS, SIGNED_ZEROS, TINY, HUGE_SUM, WITH_INF, WITH_NAN, SUBNORMAL, N_WHAT } what;

static float *residual(uint32_t n, what w) {
    /* SUBNORMAL: so small that dx has a bit or two */
    float *x = chk_normal(n, w == TINY ? 1e-22f : w == SUBNORMAL ? 4e-44f : 3);
    for (uint32_t i = 0; i < n; i++) {
        if (w == ZEROS) x[i] = 0;
        if (w == SIGNED_ZEROS && i % 3) x[i] = i % 2 ? -0.0f : 0.0f;
        if (w == HUGE_SUM && i == n / 2) x[i] = 2e19f;
        if (w == WITH_INF && i == n - 1) x[i] = -INFINITY;
        if (w == WITH_NAN && i == 1) x[i] = NAN;
    }
    return x;
}

/* x of r by rmsnorm, in the form that the type takes; y is its f32 */
typedef struct {
    uint64_t r, w, y, yq, x;
    float eps;
} normed_x;
static normed_x norm_apart(const qm_type_info *ty, uint32_t n, what how) {
    normed_x o = {.eps = 1e-6f};
    o.r = chk_in("r", residual(n, how), 4 * (size_t)n);
    o.w = chk_in("norm", chk_normal(n, 1), 4 * (size_t)n);
    o.y = chk_out("rmsnorm's y", 4 * (size_t)n);
    qm_rmsnorm_args a = {.x = o.r, .w = o.w, .y = o.y, .n = n, .rows = 1, .eps = o.eps};
    a.yq = chk_out("rmsnorm's yq", QM_Q16A_BYTES(n));
    chk_launch(chk_kernel(QM_OP_RMSNORM, -1, 0), 1, 1, 1, qm_launch_rmsnorm(n).block, 0, &a);
    o.yq = a.yq;
    o.x = ty->q16a ? a.yq : a.y;
    return o;
}

static void same_bits(const char *of, uint64_t d, uint64_t want, size_t n) {
    const uint32_t *got = chk_get(d), *is = chk_get(want);
    for (size_t i = 0; i < n; i++)
        if (got[i] != is[i]) chk_fail("%s[%zu]: %08x, by ops of their own %08x (of %zu)", of, i, got[i], is[i], n);
}

static qm_launch geometry_of(int wtype, uint32_t cols, uint32_t t, uint32_t s, uint32_t y, uint32_t parts,
                             int streams) {
    return (qm_launch){
        {(ROWS / 32 + t - 1) / t, y, 1}, 32 * t * s, qm_launch_shared(wtype, cols, parts, (uint32_t)streams, t), t, 0};
}

static void one_matvec(int checked, int wtype, uint32_t cols, uint32_t t, uint32_t s, int parted, what how) {
    const qm_type_info *ty = qm_type_get((uint32_t)wtype);
    if (cols % wt_unit(ty)) return;
    (checked ? chk_begin_checked : chk_begin)("matvec %s cols=%u T=%u S=%u parted=%d, r %d", ty->name, cols, t, s,
                                              parted, how);
    const uint32_t parts = parted ? qm_sums_of(wtype, cols).n_parts : 1;
    const qm_launch l = geometry_of(wtype, cols, t, s, parts, parts, 1);
    const int k = chk_kernel(QM_OP_MATVEC, wtype, 0);
    const size_t n = (size_t)ROWS * parts;
    const normed_x o = norm_apart(ty, cols, how);
    qm_matvec_args a = {.n_rows = ROWS, .n_cols = cols, .deal = qm_deal_of(wtype, ROWS, cols, parts, 1, &l)}, b, r;
    a.w = wt_in("w", ty, 1, ROWS, cols);
    b = a;
    a.x = o.x;
    a.y = chk_out("y apart", 4 * n);
    b.r = o.r, b.norm = o.w, b.eps = o.eps;
    b.y = chk_out("y", 4 * n);
    if (s % 2 == 0) b.xn = chk_out("xn", 4 * (size_t)cols);
    if (t % 2 && !ty->q16a) b.xq = chk_out("xq", QM_Q16A_BYTES(cols));
    chk_launch(k, l.grid[0], l.grid[1], 1, l.block, l.shared, &a);
    chk_launch(k, l.grid[0], l.grid[1], 1, l.block, l.shared + QM_NORM_SHARED(cols), &b);
    same_bits("y", b.y, a.y, n);
    if (b.xn) same_bits("xn", b.xn, o.y, cols);
    if (b.xq && memcmp(chk_get(b.xq), chk_get(o.yq), QM_Q16A_DATA(cols))) chk_fail("xq has other bits");
    chk_ref_args(QM_OP_MATVEC, &r, &b);
    qm_ref_matvec(&r, &(qm_ref_env){.wtype = wtype, .grid = {l.grid[0], l.grid[1], 1}, .block = l.block});
    /* a q16a value may fall to either side of a half */
    if (how < HUGE_SUM) {
        wt_compare(b.y, n, how == NORMAL ? sqrt((double)ROWS * cols) : 0, ty->q16a ? 2e-5 : 4e-6);
        if (b.xn) chk_f32(b.xn, cols, 2e-6);
    } else if (how != SUBNORMAL)
        for (size_t i = 0; i < n; i++)
            if (!parted && isfinite(((const float *)chk_get(b.y))[i])) chk_fail("row %zu hides it", i);
    chk_end();
}

static void one_moe_up(int checked, int wtype, uint32_t cols, uint32_t t, uint32_t s, what how) {
    const qm_type_info *ty = qm_type_get((uint32_t)wtype);
    enum { SLOTS = 2 };
    if (cols % wt_unit(ty)) return;
    (checked ? chk_begin_checked : chk_begin)("moe_up %s cols=%u T=%u S=%u, r %d", ty->name, cols, t, s, how);
    const qm_launch l = geometry_of(wtype, cols, t, s, SLOTS, 1, 2);
    const int k = chk_kernel(QM_OP_MOE_UP, wtype, 0);
    const size_t n = ROWS * SLOTS, hq = QM_Q16A_BYTES(ROWS) * SLOTS;
    const normed_x o = norm_apart(ty, cols, how);
    qm_moe_up_args a = {.n_ff = ROWS,
                        .n_cols = cols,
                        .deal = qm_deal_of(wtype, ROWS, cols, 1, 2, &l),
                        .n_expert = EXPERTS},
                   b, r;
    a.expert_bytes = qm_pack_bytes(ty, ROWS, cols);
    a.w_gate = wt_in("gate", ty, EXPERTS, ROWS, cols);
    a.w_up = wt_in("up", ty, EXPERTS, ROWS, cols);
    a.ids = chk_in("ids", (const uint32_t[SLOTS]){2, 0}, 4 * SLOTS);
    b = a;
    a.x = o.x;
    a.h = chk_out("h apart", 4 * n);
    a.hq = chk_out("hq apart", hq);
    b.r = o.r, b.norm = o.w, b.eps = o.eps;
    b.h = chk_out("h", 4 * n);
    b.hq = chk_out("hq", hq);
    if (s % 2 == 0) b.xn = chk_out("xn", 4 * (size_t)cols);
    chk_launch(k, l.grid[0], l.grid[1], 1, l.block, l.shared, &a);
    chk_launch(k, l.grid[0], l.grid[1], 1, l.block, l.shared + QM_NORM_SHARED(cols), &b);
    same_bits("h", b.h, a.h, n);
    if (b.xn) same_bits("xn", b.xn, o.y, cols);
    for (int e = 0; e < SLOTS; e++)
        if (memcmp((const char *)chk_get(b.hq) + hq / SLOTS * e, (const char *)chk_get(a.hq) + hq / SLOTS * e,
                   QM_Q16A_DATA(ROWS)))
            chk_fail("hq of slot %d has other bits", e);
    chk_ref_args(QM_OP_MOE_UP, &r, &b);
    r.expert_bytes = ROWS * qm_row_bytes(ty, cols);
    qm_ref_moe_up(&r, &(qm_ref_env){.wtype = wtype, .grid = {l.grid[0], l.grid[1], 1}, .block = l.block});
    if (how == NORMAL) {
        chk_f32(b.h, n, ty->q16a ? 5e-5 : 8e-6);
        if (b.xn) chk_f32(b.xn, cols, 2e-6);
    }
    chk_end();
}

static const uint32_t many_cols[] = {32, 96, 160, 256, 288, 768, 2048, 2304, 4096, 5120, 8192, 8224, 12544};
enum { N_COLS = sizeof many_cols / sizeof *many_cols };

static void shapes(void **state) { /* every number of warps, in turn */
    (void)state;
    for (int i = 0; i < WT_PRODUCTS; i++)
        for (int c = 0; c < N_COLS; c++)
            for (uint32_t t = 1; t <= 4; t *= 2)
                for (uint32_t s = 1; t * s <= 16; s *= 2) {
                    if (c > 6 && (t != 1) != (s == 4)) continue;
                    one_matvec(0, wt_types[i], many_cols[c], t, s, (int)(t + s) % 2, NORMAL);
                    if (i < WT_N && t <= 2 && (c == 1 || c == 3 || c == 5 || c == 6 || c == 9))
                        one_moe_up(0, wt_types[i], many_cols[c], t, s, NORMAL);
                }
}

static void values(void **state) {
    (void)state;
    for (int i = 0; i < WT_PRODUCTS; i++)
        for (what w = NORMAL; w < N_WHAT; w++) {
            one_matvec(0, wt_types[i], 512, 1, 2, 0, w);
            one_matvec(0, wt_types[i], 2048, 2, 2, 1, w);
            if (i < WT_N) one_moe_up(0, wt_types[i], 768, 2, 2, w);
        }
}

static void checked(void **state) { /* races and unwritten bytes */
    (void)state;
    for (int i = 0; i < WT_PRODUCTS; i++) {
        one_matvec(1, wt_types[i], 256, 1, 1, 0, NORMAL);
        one_matvec(1, wt_types[i], 1536, 2, 2, 1, NORMAL);
        one_matvec(1, wt_types[i], 4352, 1, 4, 0, NORMAL);
        one_matvec(1, wt_types[i], 96, 1, 2, 0, NORMAL);
        /* the last run is short, and another warp's than the first */
        one_matvec(1, wt_types[i], 768, 1, 2, 0, NORMAL);
        if (i >= WT_N) continue; /* a type of no expert */
        one_moe_up(1, wt_types[i], 512, 2, 2, NORMAL);
        one_moe_up(1, wt_types[i], 160, 1, 2, NORMAL);
        one_moe_up(1, wt_types[i], 768, 1, 2, NORMAL);
    }
}

/* y = add + W x, all of K in a CTA, against the parts and rmsnorm, which adds them up. */
static void one_sum(int checked, int wtype, uint32_t cols, uint32_t t, uint32_t s, int bias, int in_place, int zeros) {
    const qm_type_info *ty = qm_type_get((uint32_t)wtype);
    if (cols % wt_unit(ty)) return;
    (checked ? chk_begin_checked : chk_begin)("add to matvec %s cols=%u T=%u S=%u bias=%d in place %d zeros %d",
                                              ty->name, cols, t, s, bias, in_place, zeros);
    const uint32_t parts = qm_sums_of(wtype, cols).n_parts;
    const qm_launch whole = geometry_of(wtype, cols, t, s, 1, 1, 1),
                    cut = geometry_of(wtype, cols, 1, 1, parts, parts, 1);
    const int k = chk_kernel(QM_OP_MATVEC, wtype, 0);
    float *add = chk_normal(ROWS, 10), *b = chk_normal(ROWS, 1), *x = chk_normal(cols, 1);
    unsigned char *q = chk_tmp(QM_Q16A_BYTES(cols));
    for (uint32_t i = 0; i < ROWS && zeros; i++) add[i] = i % 2 ? -0.0f : 0.0f, b[i] = i % 3 ? -0.0f : 0.0f;
    for (uint32_t i = 0; i < cols && zeros; i++) x[i] = i % 2 ? -0.0f : 0.0f;
    qm_q16a_quantize(q, x, cols);
    qm_matvec_args a = {.n_rows = ROWS, .n_cols = cols, .deal = qm_deal_of(wtype, ROWS, cols, parts, 1, &cut)}, c, r;
    a.w = wt_in("w", ty, 1, ROWS, cols);
    a.x = ty->q16a ? chk_in("x", q, QM_Q16A_BYTES(cols)) : chk_in("x", x, 4 * (size_t)cols);
    if (bias) a.bias = chk_in("bias", b, 4 * ROWS);
    c = a;
    a.y = chk_out("parts", 4 * (size_t)ROWS * parts);
    chk_launch(k, cut.grid[0], cut.grid[1], 1, cut.block, cut.shared, &a);
    qm_rmsnorm_args n = {.partials = a.y, .n = ROWS, .n_partials = parts, .rows = 1, .eps = 1e-6f};
    n.x = chk_in("residual", add, 4 * ROWS);
    n.w = chk_in("w of the norm", add, 4 * ROWS);
    n.x_out = chk_out("x_out", 4 * ROWS);
    chk_launch(chk_kernel(QM_OP_RMSNORM, -1, 0), 1, 1, 1, qm_launch_rmsnorm(ROWS).block, 0, &n);
    c.deal = qm_deal_of(wtype, ROWS, cols, 1, 1, &whole);
    c.y = in_place ? chk_inout("y", add, 4 * ROWS) : chk_out("y", 4 * ROWS);
    c.add = in_place ? c.y : n.x;
    if (bias) c.sum = chk_out("sum", 4 * ROWS);
    chk_ref_args(QM_OP_MATVEC, &r, &c);
    qm_ref_matvec(&r, &(qm_ref_env){.wtype = wtype, .grid = {whole.grid[0], 1, 1}, .block = whole.block});
    chk_launch(k, whole.grid[0], 1, 1, whole.block, whole.shared, &c);
    same_bits("y", c.y, n.x_out, ROWS);
    const float *parts_of = chk_get(a.y);
    for (uint32_t i = 0; c.sum && i < ROWS; i++) {
        float v = 0;
        for (uint32_t p = 0; p < parts; p++) v += parts_of[p * ROWS + i];
        if (memcmp(&v, (const float *)chk_get(c.sum) + i, 4)) chk_fail("sum[%u] is not that of the parts", i);
    }
    wt_compare(c.y, ROWS, zeros ? 0 : sqrt(ROWS) * wt_act_norm(ty, c.x, cols), chk_tolerance(k));
    chk_end();
}

static void added(void **state) {
    static const uint32_t cols[] = {32, 96, 256, 544, 768, 2048, 4096, 6656};
    (void)state;
    for (int i = 0; i < WT_PRODUCTS; i++) {
        for (size_t c = 0; c < sizeof cols / sizeof *cols; c++)
            for (uint32_t t = 1; t <= 2; t *= 2)
                for (uint32_t s = 1; t * s <= 16; s *= 4)
                    for (int how = 0; how < 8; how++) one_sum(0, wt_types[i], cols[c], t, s, how & 1, how & 2, how & 4);
        one_sum(1, wt_types[i], 1536, 1, 4, 1, 1, 0);
        one_sum(1, wt_types[i], 256, 2, 1, 0, 1, 0);
        one_sum(1, wt_types[i], 512, 1, 2, 0, 0, 0);
    }
}

/* Thread instructions, requested bytes and sectors of the 30B's q, k, v and router, in the plan's geometry for 128
 * multiprocessors: normed in the op, against rmsnorm and the op behind it. What norm.inc's head says of a warp. */
static qm_sim_counters counted(int wtype, uint32_t rows, uint32_t cols, qm_launch l, int normed, what how) {
    const qm_type_info *ty = qm_type_get((uint32_t)wtype);
    qm_sim_counters c = {0};
    chk_begin_counted("%s [%u,%u], normed %d", ty->name, rows, cols, normed);
    qm_matvec_args a = {
        .n_rows = rows, .n_cols = cols, .deal = qm_deal_of(wtype, rows, cols, l.grid[1], 1, &l), .eps = 1e-6f};
    a.w = wt_in("w", ty, 1, rows, cols);
    const normed_x o = norm_apart(ty, cols, how);
    qm_sim_counters_reset();
    if (normed) {
        a.r = o.r;
        a.norm = o.w;
        a.xn = chk_out("xn", 4 * (size_t)cols);
        if (!ty->q16a) a.xq = chk_out("xq", QM_Q16A_BYTES(cols));
    } else a.x = o.x;
    a.y = chk_out("y", 4 * (size_t)rows * l.grid[1]);
    const int k = chk_kernel(QM_OP_MATVEC, wtype, 0);
    chk_launch(k, l.grid[0], l.grid[1], 1, l.block, l.shared, &a);
    if (!chk_counters(k, &c)) c = (qm_sim_counters){0};
    chk_end();
    return c;
}

static void ledger(void **state) {
    static const struct {
        int wtype;
        uint32_t rows, max_parts;
        double most; /* warp instructions a warp more than of the op that is given x */
    } shape[] = {{QM_TYPE_Q4_K, 5120, 8, 89},
                 {QM_TYPE_Q6_K, 512, 1, 335.5},
                 {QM_TYPE_Q8_0, 5120, 8, 219.5},
                 {QM_TYPE_F32, 128, 8, 79},
                 {QM_TYPE_F32H, 128, 8, 79}};
    (void)state;
    for (size_t i = 0; i < sizeof shape / sizeof *shape; i++) {
        const uint32_t rows = shape[i].rows, cols = 2048;
        const qm_launch l = qm_launch_matvec_normed(shape[i].wtype, rows, cols, (qm_sms){128, 0}, shape[i].max_parts);
        const qm_launch plain = qm_launch_matvec(shape[i].wtype, rows, cols, (qm_sms){128, 0}, shape[i].max_parts);
        const qm_sim_counters a = counted(shape[i].wtype, rows, cols, l, 0, NORMAL),
                              b = counted(shape[i].wtype, rows, cols, l, 1, NORMAL),
                              c = counted(shape[i].wtype, rows, cols, plain, 0, NORMAL);
        const double warps = (double)l.grid[0] * l.grid[1] * l.block / 32;
        const double more = ((double)b.warp_insts - (double)a.warp_insts) / warps;
        print_message(
            "%s [%u,%u], %u x %u CTAs of %u warps: %.1f warp instructions a warp more; thread instructions %.3f, "
            "bytes %.3f, sectors %.3f times those of the op in its own geometry\n",
            qm_type_get((uint32_t)shape[i].wtype)->name, rows, cols, l.grid[0], l.grid[1], l.block / 32, more,
            (double)b.thread_insts / (double)c.thread_insts,
            (double)(b.gld_bytes + b.gst_bytes) / (double)(c.gld_bytes + c.gst_bytes),
            (double)(b.gld_sectors + b.gst_sectors) / (double)(c.gld_sectors + c.gst_sectors));
        if (more > shape[i].most) chk_fail("%.1f warp instructions a warp more, not %.1f", more, shape[i].most);
    }
}

int main(void) {
    const struct CMUnitTest t[] = {cmocka_unit_test(shapes), cmocka_unit_test(values), cmocka_unit_test(checked),
                                   cmocka_unit_test(added), cmocka_unit_test(ledger)};
    return chk_main(t);
}
