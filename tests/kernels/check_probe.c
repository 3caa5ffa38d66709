/* check_probe: the sum of every warp exactly, over tails and grids; and that each byte is asked for once. */
#include "check.h"
#include <string.h>

static void run(uint32_t n, unsigned grid, unsigned block) {
    uint32_t *v = chk_tmp(16 * (size_t)n + 16);
    for (size_t i = 0; i < 4 * (size_t)n; i++) v[i] = qm_rng_u32(chk_rng());
    qm_probe_args a = {.src = chk_in("src", v, 16 * (size_t)n),
                       .out = chk_out("out", (size_t)grid * block / 8),
                       .n = n},
                  r;
    chk_launch(chk_kernel(QM_OP_PROBE, -1, 0), grid, 1, 1, block, 0, &a);
    chk_ref_args(QM_OP_PROBE, &r, &a);
    qm_ref_probe(&r, &(qm_ref_env){.grid = {grid, 1, 1}, .block = block});
    chk_u32(a.out, (size_t)grid * block / 32);
}

/* Around one and eight rounds of a grid, where the loops hand over. */
static void shapes(void **state) {
    static const unsigned grids[] = {1, 2, 5, 33}, blocks[] = {32, 96, 256, 1024};
    (void)state;
    for (int g = 0; g < 4; g++)
        for (int b = 0; b < 4; b++) {
            uint32_t s = grids[g] * blocks[b];
            const uint32_t ns[] = {1, 31, s - 1, s, s + 1, 7 * s, 8 * s - 1, 8 * s, 8 * s + 1, 19 * s + 5};
            for (int i = 0; i < 10; i++) {
                if (ns[i] > 200000) continue;
                chk_begin("probe n=%u grid=%u block=%u", ns[i], grids[g], blocks[b]);
                run(ns[i], grids[g], blocks[b]);
                chk_end();
            }
        }
}

static void nothing_out_of_bounds(void **state) {
    static const uint32_t ns[] = {1, 63, 64, 511, 512, 513, 1100};
    (void)state;
    for (int i = 0; i < 7; i++) {
        chk_begin_checked("probe checked n=%u", ns[i]);
        run(ns[i], 2, 32);
        chk_end();
    }
}

static void each_byte_once(void **state) {
    const uint32_t n = 3 * 8 * 4 * 256 + 777;
    qm_sim_counters c;
    (void)state;
    chk_begin_counted("probe counted n=%u", n);
    run(n, 4, 256);
    if (chk_counters(chk_kernel(QM_OP_PROBE, -1, 0), &c)) {
        if (c.gld_bytes != 16ull * n) chk_fail("%llu bytes asked for, not %u", (unsigned long long)c.gld_bytes, 16 * n);
        if (c.gld_sectors * 32 > 16ull * n + 32 * 32)
            chk_fail("%llu sectors for %u bytes", (unsigned long long)c.gld_sectors, 16 * n);
        if (c.thread_insts > 10ull * n)
            chk_fail("%llu thread instructions for %u units", (unsigned long long)c.thread_insts, n);
    }
    chk_end();
}

/* What a reference is given: an address in an operand's field is one, the same bits in scalars and padding are not. */
static void operands_alone_have_twins(void **state) {
    const uint32_t v[4] = {0};
    qm_probe_args a, r;
    static_assert(sizeof a == offsetof(qm_probe_args, n) + 8, "n and its padding are 8 bytes");
    (void)state;
    chk_begin("probe twins");
    a.src = chk_in("src", v, sizeof v);
    a.out = chk_out("out", 16);
    memcpy((char *)&a + offsetof(qm_probe_args, n), &a.src, 8);
    chk_ref_args(QM_OP_PROBE, &r, &a);
    if (r.src != (uintptr_t)chk_twin(a.src) || r.out != (uintptr_t)chk_twin(a.out))
        chk_fail("an operand without a twin");
    if (memcmp((char *)&r + offsetof(qm_probe_args, n), &a.src, 8)) chk_fail("a scalar was taken for an address");
    chk_end();
}

int main(void) {
    const struct CMUnitTest t[] = {cmocka_unit_test(shapes), cmocka_unit_test(nothing_out_of_bounds),
                                   cmocka_unit_test(each_byte_once), cmocka_unit_test(operands_alone_have_twins)};
    return chk_main(t);
}
