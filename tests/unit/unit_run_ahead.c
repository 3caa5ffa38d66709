/* On sm_90 and later a warp whose run of weights is short asks for the rest of it at once (kernels/ptx/stream.inc): which bytes, of
 * every weight type, by a digest of their sectors; each once, none beyond the matrix, and none where the run is long. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "fixture.h"
#include "../../runtime/file/quant.h"
#include "../../kernels/ref/launch.h"
#include "../../runtime/device/kernels.h"
#include "../../runtime/sim/sim.h"

typedef struct {
    int type;
    uint32_t step_bytes, chunk, paired;
} stream;
static const stream streams[] = {
#define QM_STREAM_LOADED QM_STREAM
#define QM_STREAM(word, WORD, number, act, weights, bytes, pieces, piece_at, tail, tail_at, step, chunk, paired, ...) \
    {number, QM_TILE_ROWS * (step) / (weights) * (bytes), chunk, paired},
#include "../../contracts/streams.def"
#undef QM_STREAM
};

/* What the warps of a launch ask for: further chunks of a, and, where there are two matrices, all of b; of a type that has both at
 * once b's first chunk has been loaded as well. */
static void expect(qm_sim_counters *c, const stream *s, const qm_launch *l, uint32_t rows, uint32_t cols,
                   uint32_t parts, uint64_t a, uint64_t b, uint64_t *most) {
    const qm_sums sums = qm_sums_of(s->type, cols);
    const uint32_t tiles = (rows + 31) / 32, slices = l->block / 32 / l->tiles;
    for (uint32_t t = 0; t < tiles; t++)
        for (uint32_t p = 0; p < parts; p++) {
            const uint32_t first = parts == 1 ? 0 : p * sums.part;
            const uint32_t mine = parts == 1 || p + 1 == parts ? sums.n_steps - first : sums.part;
            const uint32_t n = mine / sums.segment > 1 ? mine / sums.segment : 1;
            const uint32_t whole = parts == 1 ? n : sums.part / sums.segment, per = (whole + slices - 1) / slices;
            for (uint32_t w = 0; w < slices && w * per < n; w++) {
                const uint32_t from = w * per * sums.segment;
                const uint32_t to = (w + 1) * per < n ? from + per * sums.segment : mine;
                const uint64_t at = ((uint64_t)t * sums.n_steps + first + from) * s->step_bytes;
                if (to - from <= s->chunk || to - from > QM_RUN_CHUNKS * s->chunk) continue;
                const uint64_t run = (uint64_t)(to - from) * s->step_bytes, have = (uint64_t)s->chunk * s->step_bytes;
                qm_sim_expect_prefetch(c, a + at + have, run - have);
                const uint64_t of_b = s->paired ? have : 0;
                if (b) qm_sim_expect_prefetch(c, b + at + of_b, run - of_b);
                if (run > *most) *most = run;
            }
        }
}

static void ask(qm_device *d, qm_kernels *k, const stream *s, uint32_t rows, uint32_t cols, uint32_t max_parts, int two,
                int *some) {
    qm_err e;
    const qm_type_info *t = qm_type_get((uint32_t)s->type);
    const uint64_t bytes = qm_pack_bytes(t, rows, cols);
    CUdeviceptr w[2] = {0}, x, y, ids;
    const qm_launch l = two ? qm_launch_moe_up(s->type, rows, cols, 1, (qm_sms){4, 0})
                            : qm_launch_matvec(s->type, rows, cols, (qm_sms){4, 0}, max_parts);
    for (int i = 0; i <= two; i++) {
        assert_int_equal(d->cu.MemAlloc(&w[i], bytes), 0);
        assert_int_equal(d->cu.MemsetD8Async(w[i], 0, bytes, NULL), 0);
    }
    assert_int_equal(d->cu.MemAlloc(&x, 4ull * cols), 0);
    assert_int_equal(d->cu.MemsetD8Async(x, 0, 4ull * cols, NULL), 0);
    assert_int_equal(d->cu.MemAlloc(&y, 4ull * 8 * rows + 4096), 0);
    assert_int_equal(d->cu.MemAlloc(&ids, 256), 0);
    assert_int_equal(d->cu.MemsetD8Async(ids, 0, 256, NULL), 0);
    qm_op_args a;
    memset(&a, 0, sizeof a);
    if (two)
        a.moe_up = (qm_moe_up_args){.w_gate = w[0],
                                    .w_up = w[1],
                                    .x = x,
                                    .ids = ids,
                                    .h = y,
                                    .expert_bytes = bytes,
                                    .n_ff = rows,
                                    .n_cols = cols,
                                    .deal = qm_deal_of(s->type, rows, cols, 1, 2, &l),
                                    .n_expert = 1};
    else
        a.matvec = (qm_matvec_args){.w = w[0],
                                    .x = x,
                                    .y = y,
                                    .n_rows = rows,
                                    .n_cols = cols,
                                    .deal = qm_deal_of(s->type, rows, cols, l.grid[1], 1, &l)};
    const int kernel = qm_kernel_find(two ? QM_OP_MOE_UP : QM_OP_MATVEC, s->type, -1, 0);
    qm_sim_counters got, want = {0};
    assert_int_equal(d->cu.CtxSynchronize(), 0);
    qm_sim_counters_reset();
    fix_ok(qm_kernels_launch(k, kernel, l.grid, l.block, l.shared, &a, NULL, &e), &e);
    assert_int_equal(d->cu.CtxSynchronize(), 0);
    qm_sim_counters_get(&got);
    uint64_t most = 0;
    expect(&want, s, &l, rows, cols, l.grid[1], w[0], two ? w[1] : 0, &most);
    if (got.prefetches != want.prefetches || got.prefetch_digest != want.prefetch_digest)
        fail_msg("%s %s[%u,%u]: asked for %llu sectors, not %llu", t->name, two ? "x2 " : "", rows, cols,
                 (unsigned long long)got.prefetches, (unsigned long long)want.prefetches);
    *some += want.prefetches > 0;
    assert_true(most <= QM_RUN_CHUNKS * s->chunk * s->step_bytes);
    for (int i = 0; i <= two; i++) d->cu.MemFree(w[i]);
    d->cu.MemFree(x);
    d->cu.MemFree(y);
    d->cu.MemFree(ids);
}

static void asked(int dependent) {
    static const uint32_t cols[] = {256, 768, 1024, 2048, 2304, 4096, 8192};
    qm_err e;
    qm_device *d;
    qm_kernels *k;
    qm_sim_options o, old;
    int some = 0;
    qm_sim_get_options(&old);
    o = old;
    o.count = 1;
    qm_sim_set_options(&o);
    fix_ok(qm_device_open(&d, "sim", NULL, 0, &e), &e);
    fix_ok(qm_kernels_open(&k, d, &e), &e);
    if (dependent) qm_kernels_dependent(k);
    for (size_t i = 0; i < sizeof streams / sizeof *streams; i++)
        for (size_t c = 0; c < sizeof cols / sizeof *cols; c++) {
            ask(d, k, &streams[i], 96, cols[c], 1, 0, &some);
            ask(d, k, &streams[i], 160, cols[c], 8, 0, &some);
            if (qm_kernel_find(QM_OP_MOE_UP, streams[i].type, -1, 0) >= 0)
                ask(d, k, &streams[i], 64, cols[c], 1, 1, &some);
        }
    if (dependent) assert_true(some > 60);
    qm_kernels_close(k);
    qm_device_close(d);
    qm_sim_set_options(&old);
}

static void test_rest_of_the_run(void **state) {
    (void)state;
    asked(1);
}

int main(void) {
    setenv("QMOE_SIM_CC", "90", 1); /* before the software device looks */
    const struct CMUnitTest t[] = {cmocka_unit_test(test_rest_of_the_run)};
    return cmocka_run_group_tests(t, NULL, NULL);
}
