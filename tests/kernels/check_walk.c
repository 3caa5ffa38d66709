/* check_walk: a run of ops in one resident kernel against the same run of references: over grids, parts of a CTA, with
 * and without prefetch and weights copied ahead, several launches on the same counters. That the bits are those of the ops'
 * own kernels, over a whole model, is unit_walk's to say. */
#include "ring.h"
#include "weights.h"
#include <math.h>
#include <string.h>

enum { N = 1024, ROWS = 320, PARTS = 2, OPS = 5 };

static const struct {
    const char *op;
    int wtype;
} cases[] = {
#define QM_WALK(op, wtype, kv, head_dim) {#op, wtype},
#include "../../contracts/kernels.def"
};

static uint32_t case_of(const char *op, int wtype) {
    uint32_t i = 0;
    while (strcmp(cases[i].op, op) != 0 || cases[i].wtype != wtype) i++;
    return i;
}

static qm_walk_record record(uint32_t id, uint32_t gx, uint32_t gy, uint32_t warps, uint32_t subs, uint32_t stride,
                             const void *args, size_t n) {
    qm_walk_record r = {.id = id, .warps = warps, .subs = subs, .stride = stride, .grid = {gx, gy, 1}};
    memcpy(r.args.bytes, args, n);
    return r;
}

/* Records as the reference takes them: with the twins of what their ops work on. */
static void twins(qm_walk_record *ref, const qm_walk_record *rec, int n) {
    memcpy(ref, rec, (size_t)n * sizeof *rec);
    for (int i = 0; i < n; i++) {
        qm_op_kind op = 0;
        while (strcmp(qm_op_name(op), cases[rec[i].id].op) != 0) op++;
        chk_ref_args(op, &ref[i].args, &rec[i].args);
    }
}

/* rec[i] waits for rec[of]. */
static void wait_for(qm_walk_record *rec, uint32_t i, uint32_t of, unsigned grid) {
    uint32_t k = 0, n = rec[of].grid[0] * rec[of].grid[1];
    while (rec[i].waits[k].goal) k++;
    rec[i].waits[k].op = of;
    rec[i].waits[k].goal = n < grid ? n : grid;
    rec[of].arrives = 1;
}

/* The op copies so many steps of its weights ahead: after what its CTA's shared memory held before. */
static void copy_ahead(qm_walk_record *r, int wtype, uint32_t steps) {
    r->ring_steps = steps / qm_chunk_steps(wtype) * qm_chunk_steps(wtype);
    r->ring_at = r->stride;
    r->stride += r->warps * r->ring_steps * qm_step_bytes(wtype);
}

/* x -> norm -> Q4_K matvec in 2 parts, and one of type `other` beside it -> norm of the sum of both -> F32 matvec */
enum { PLAIN, CHECKED, COUNTED };
static void run_beside(int other, int how, unsigned grid, uint32_t subs, int prefetch, uint32_t ring, int launches) {
    const qm_type_info *q4 = qm_type_get(QM_TYPE_Q4_K), *q_other = qm_type_get((uint32_t)other),
                       *f32 = qm_type_get(QM_TYPE_F32);
    (how == CHECKED   ? chk_begin_checked
     : how == COUNTED ? chk_begin_counted
                      : chk_begin)("walk beside=%s grid=%u subs=%u prefetch=%d ring=%u launches=%d", q_other->name,
                                   grid, subs, prefetch, ring, launches);
    int k = chk_kernel(QM_OP_WALK, -1, 0);
    qm_rmsnorm_args first = {.n = N, .rows = 1, .eps = 1e-6f},
                    second = {.n = ROWS, .n_partials = PARTS, .rows = 1, .eps = 1e-6f};
    const qm_launch l[] = {{.block = 64, .tiles = 2}, {.block = 64, .tiles = 1}, {.block = 128, .tiles = 1}};
    qm_matvec_args up = {.n_rows = ROWS, .n_cols = N, .deal = qm_deal_of(QM_TYPE_Q4_K, ROWS, N, PARTS, 1, &l[0])},
                   beside = {.n_rows = ROWS, .n_cols = N, .deal = qm_deal_of(other, ROWS, N, 1, 1, &l[1])},
                   last = {.n_rows = 50, .n_cols = ROWS, .deal = qm_deal_of(QM_TYPE_F32, 50, ROWS, 1, 1, &l[2])};
    first.x = chk_in("x", chk_normal(N, 1), 4 * N);
    first.w = chk_in("w1", chk_normal(N, 1), 4 * N);
    first.yq = up.x = beside.x = chk_out("xq", QM_Q16A_BYTES(N));
    up.w = wt_in("up", q4, 1, ROWS, N);
    up.y = second.partials = chk_out("sums", 4 * ROWS * PARTS);
    beside.w = wt_in("beside", q_other, 1, ROWS, N);
    beside.y = chk_out("beside's y", 4 * ROWS);
    second.x = beside.y;
    second.w = chk_in("w2", chk_normal(ROWS, 1), 4 * ROWS);
    second.y = last.x = chk_out("h", 4 * ROWS);
    last.w = wt_in("last", f32, 1, 50, ROWS);
    last.y = chk_out("y", 4 * 50);
    qm_walk_record rec[OPS] = {
        record(case_of("rmsnorm", -1), 1, 1, 4, 1, 128, &first, sizeof first),
        record(case_of("matvec", QM_TYPE_Q4_K), 5, PARTS, 2, subs,
               (qm_launch_shared(QM_TYPE_Q4_K, N, PARTS, 1, 2) + 15) & ~15u, &up, sizeof up),
        record(case_of("matvec", other), 10, 1, 2, subs, (qm_launch_shared(other, N, 1, 1, 1) + 15) & ~15u, &beside,
               sizeof beside),
        record(case_of("rmsnorm", -1), 1, 1, 3, 1, 128, &second, sizeof second),
        record(case_of("matvec", QM_TYPE_F32), 2, 1, 4, subs,
               (qm_launch_shared(QM_TYPE_F32, ROWS, 1, 1, 1) + 15) & ~15u, &last, sizeof last),
    };
    wait_for(rec, 1, 0, grid);
    wait_for(rec, 2, 0, grid);
    wait_for(rec, 3, 1, grid);
    wait_for(rec, 3, 2, grid);
    wait_for(rec, 4, 3, grid);
    rec[2].first = 10 % grid; /* beside */
    copy_ahead(&rec[1], QM_TYPE_Q4_K, ring);
    copy_ahead(&rec[2], other, ring);
    copy_ahead(&rec[4], QM_TYPE_F32, ring);
    if (prefetch) {
        rec[1].prefetch = up.w;
        rec[1].prefetch_bytes = qm_pack_bytes(q4, ROWS, N);
        rec[3].prefetch = last.w;
        rec[3].prefetch_bytes = 1000; /* no multiple of anything */
    }
    qm_walk_record ref[OPS];
    twins(ref, rec, OPS);
    uint32_t shared = 0;
    for (int i = 0; i < OPS; i++)
        if (rec[i].subs * rec[i].stride > shared) shared = rec[i].subs * rec[i].stride;
    uint32_t nought[OPS + 1][QM_WALK_COUNTER / 4] = {{0}};
    qm_walk_args a = {.n = OPS}, r;
    a.records = chk_in2("records", rec, sizeof rec, ref, sizeof ref);
    a.arrived = chk_inout("arrived", nought, sizeof nought);
    for (int i = 0; i < launches; i++) chk_launch(k, grid, 1, 1, QM_WALK_BLOCK, shared, &a);
    chk_ref_args(QM_OP_WALK, &r, &a);
    qm_ref_walk(&r, &(qm_ref_env){.grid = {grid, 1, 1}, .block = QM_WALK_BLOCK});
    if (memcmp(nought, chk_get(a.arrived), sizeof nought) != 0) chk_fail("the counters are not as they were before");
    qm_sim_counters c, want = {0};
    if (how == COUNTED && chk_counters(k, &c)) { /* every sector of every range once a launch, and nothing else */
        for (int i = 0; i < OPS * launches; i++)
            qm_sim_expect_prefetch(&want, rec[i % OPS].prefetch, rec[i % OPS].prefetch_bytes);
        if (c.prefetches != want.prefetches || c.prefetch_digest != want.prefetch_digest)
            chk_fail("%llu sectors asked for ahead, %llu in the records%s", (unsigned long long)c.prefetches,
                     (unsigned long long)want.prefetches, c.prefetches == want.prefetches ? ", not the same ones" : "");
        for (int i = 0; i < launches;
             i++) { /* each CTA fetches all records; weights are copied by those whose they are */
            for (unsigned cta = 0; cta < grid; cta++) qm_sim_expect_async(&want, a.records, sizeof rec);
            ring_expect(&want, up.w, QM_TYPE_Q4_K, up.n_rows, up.n_cols, l[0].tiles, rec[1].warps, rec[1].grid[1],
                        rec[1].ring_steps);
            ring_expect(&want, beside.w, other, beside.n_rows, beside.n_cols, l[1].tiles, rec[2].warps, rec[2].grid[1],
                        rec[2].ring_steps);
            ring_expect(&want, last.w, QM_TYPE_F32, last.n_rows, last.n_cols, l[2].tiles, rec[4].warps, rec[4].grid[1],
                        rec[4].ring_steps);
        }
        if (c.async_bytes != want.async_bytes || c.async_digest != want.async_digest)
            chk_fail("%llu bytes copied, %llu of records and weights%s", (unsigned long long)c.async_bytes,
                     (unsigned long long)want.async_bytes,
                     c.async_bytes == want.async_bytes ? ", not the same ones" : "");
    }
    chk_q16a(first.yq, 0, N, 2e-6);
    wt_compare(up.y, ROWS * PARTS, sqrt(ROWS) * wt_act_norm(q4, up.x, N), 1e-5);
    wt_compare(beside.y, ROWS, sqrt(ROWS) * wt_act_norm(q_other, beside.x, N), 1e-5);
    chk_f32(second.y, ROWS, 1e-5);
    chk_f32(last.y, 50, 1e-5);
    chk_end();
}

static void run(int how, unsigned grid, uint32_t subs, int prefetch, uint32_t ring, int launches) {
    run_beside(QM_TYPE_Q6_K, how, grid, subs, prefetch, ring, launches);
}

static void grids(void **state) {
    (void)state;
    for (unsigned grid = 1; grid <= 4; grid++)
        for (uint32_t subs = 1; subs <= 4; subs++) run(PLAIN, grid, subs, 0, 0, 1);
}

static void prefetch(void **state) {
    (void)state;
    run(COUNTED, 1, 4, 1, 0, 1);
    run(COUNTED, 3, 2, 1, 0, 1);
    run(COUNTED, 4, 4, 1, 1, 2);
    run(COUNTED, 4, 4, 0, 0, 1);
}

/* Part of a warp's run, all of it, more than all; several CTAs one after the other in the same ring. */
static void ring(void **state) {
    (void)state;
    for (uint32_t steps = 1; steps <= 4; steps++) {
        run(PLAIN, 1, 2, 0, steps, 2);
        run(PLAIN, 4, 2, 1, steps, 1);
        run(COUNTED, 3, 2, 0, steps, 2);
    }
}

static void launches(void **state) { /* each finds the counters cleared by the last */
    (void)state;
    run(PLAIN, 3, 4, 1, 0, 3);
    run(PLAIN, 4, 2, 0, 2, 2);
}

static void checked(void **state) { /* races and unwritten bytes, between CTAs as well */
    (void)state;
    run(CHECKED, 1, 4, 1, 0, 1);
    run(CHECKED, 3, 2, 1, 1, 2);
    run(CHECKED, 4, 4, 0, 2, 1);
    run(CHECKED, 1, 1, 0, 3, 1);
    /* lanes that read from the ring what others have copied, with no other barrier of the warp between */
    run_beside(QM_TYPE_Q8_0, CHECKED, 3, 2, 0, 4, 1);
}

/* An op's end is stamped before anybody can know of it: who waits for it may read its stamps as plain memory, without a race. A chain
 * of ops, the last of which has the others' stamps for its input; that times are in order as well goes without saying then. */
static void stamps(void **state) {
    enum { BEFORE = 8, ALL = BEFORE + 1, ROW = 32, CTAS = 3, MANY = 256 * CTAS };
    (void)state;
    for (unsigned grid = 2; grid <= 4; grid++) {
        chk_begin_checked("walk stamps grid=%u", grid);
        const int k = chk_kernel(QM_OP_WALK, -1, 0);
        qm_walk_record rec[ALL], ref[ALL];
        uint64_t none[ALL][2];
        uint32_t nought[ALL + 1][QM_WALK_COUNTER / 4] = {{0}};
        memset(none, 0xff, sizeof none);
        qm_walk_args a = {.n = ALL, .stamps = chk_inout("stamps", none, sizeof none)}, r;
        const uint64_t x = chk_in("x", chk_normal(MANY, 1), 4 * MANY);
        for (uint32_t i = 0; i < ALL; i++) {
            qm_swiglu_args op = {.gate = x, .up = x, .n = ROW, .k = MANY / ROW};
            if (i == BEFORE) op.gate = op.up = a.stamps, op.k = 1; /* 16 bytes of each of the BEFORE: a row */
            static_assert(16 * BEFORE == 4 * ROW, "a row of stamps");
            op.h = chk_out("h", 4 * ROW * op.k);
            rec[i] = record(case_of("swiglu", -1), i == BEFORE ? 1 : CTAS, 1, 8, 1, 0, &op, sizeof op);
            rec[i].first = i % grid;
            if (i) wait_for(rec, i, i - 1, grid);
        }
        twins(ref, rec, ALL);
        a.records = chk_in2("records", rec, sizeof rec, ref, sizeof ref);
        a.arrived = chk_inout("arrived", nought, sizeof nought);
        chk_launch(k, grid, 1, 1, QM_WALK_BLOCK, 0, &a);
        chk_ref_args(QM_OP_WALK, &r, &a);
        qm_ref_walk(&r, &(qm_ref_env){.grid = {grid, 1, 1}, .block = QM_WALK_BLOCK});
        const uint64_t(*at)[2] = chk_get(a.stamps);
        for (int i = 0; i < ALL; i++)
            if (at[i][0] > at[i][1] || at[i][1] == UINT64_MAX || (i && at[i - 1][1] > at[i][0]))
                chk_fail("op %d: begins at %llu, ends at %llu", i, (unsigned long long)at[i][0],
                         (unsigned long long)at[i][1]);
        chk_end();
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(grids),  cmocka_unit_test(prefetch),
                                       cmocka_unit_test(ring),   cmocka_unit_test(launches),
                                       cmocka_unit_test(stamps), cmocka_unit_test(checked)};
    return chk_main(tests);
}
