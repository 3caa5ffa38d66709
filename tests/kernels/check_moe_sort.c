/* check_moe_sort: order, groups and their number, bit for bit; random and skewed loads, all slots to one expert, ids
 * past the end, fewer rows than the step has room for, none. */
#include "check.h"
#include <string.h>

typedef uint32_t (*pick_fn)(uint32_t slot, uint32_t n_expert);
static uint32_t pick_any(uint32_t slot, uint32_t n) { return (void)slot, qm_rng_below(chk_rng(), n); }
static uint32_t pick_one(uint32_t slot, uint32_t n) { return (void)slot, n / 2; }
static uint32_t pick_last(uint32_t slot, uint32_t n) { return (void)slot, n - 1; }
static uint32_t pick_skewed(uint32_t slot, uint32_t n) {
    const uint32_t e = qm_rng_below(chk_rng(), n) * qm_rng_below(chk_rng(), n) / n;
    return slot % 3 ? e : e % 3;
}
static uint32_t pick_falling(uint32_t slot, uint32_t n) { return n - 1 - slot % n; }
static uint32_t pick_bad(uint32_t slot, uint32_t n) {
    return slot % 5 ? qm_rng_below(chk_rng(), n) : qm_rng_u32(chk_rng()) | n;
}
static const struct {
    const char *name;
    pick_fn pick;
} loads[] = {{"any", pick_any},       {"one", pick_one},         {"last", pick_last},
             {"skewed", pick_skewed}, {"falling", pick_falling}, {"bad", pick_bad}};
enum { N_LOADS = sizeof loads / sizeof *loads, ALL = 0xffffffff };

static qm_moe_sort_args make(uint32_t rows, uint32_t count, uint32_t n_used, uint32_t n_expert, uint32_t width,
                             int load) {
    /* ids of rows that are not there are not there either: a read of them is one past the buffer */
    const uint32_t n = (count < rows ? count : rows) * n_used, groups = qm_moe_groups(rows, n_used, n_expert, width);
    uint32_t *ids = chk_tmp(4 * n + 4);
    for (uint32_t s = 0; s < n; s++) ids[s] = loads[load].pick(s, n_expert);
    qm_moe_sort_args a = {.n_expert = n_expert, .n_used = n_used, .width = width, .max_groups = groups, .rows = rows};
    a.ids = chk_in("ids", ids, 4 * n);
    if (count != ALL) a.count = chk_in("count", &count, 4);
    a.order = chk_out("order", 4 * rows * n_used);
    a.groups = chk_out("groups", QM_GROUP_SIZE * groups);
    a.n_groups = chk_out("n_groups", 4);
    return a;
}

/* block 0: the plan's */
static void one(int checked, uint32_t rows, uint32_t count, uint32_t n_used, uint32_t n_expert, uint32_t width,
                int load, uint32_t block) {
    const int k = chk_kernel(QM_OP_MOE_SORT, -1, 0);
    if (!block) block = qm_launch_moe_sort(rows, n_used, n_expert).block;
    (checked ? chk_begin_checked : chk_begin)("moe_sort rows=%u count=%d used=%u experts=%u width=%u %s block=%u", rows,
                                              (int)count, n_used, n_expert, width, loads[load].name, block);
    qm_moe_sort_args a = make(rows, count, n_used, n_expert, width, load), r;
    chk_launch(k, 1, 1, 1, block, 0, &a);
    chk_ref_args(QM_OP_MOE_SORT, &r, &a);
    qm_ref_moe_sort(&r, &(qm_ref_env){.grid = {1, 1, 1}, .block = block, .rows = rows});
    const uint32_t n = (count < rows ? count : rows) * n_used, n_groups = *(const uint32_t *)chk_twin(a.n_groups);
    if (n_groups > a.max_groups) chk_fail("%u groups, room for %u", n_groups, a.max_groups);
    chk_u32(a.n_groups, 1);
    if (checked) { /* what is beyond was never written, and may not be read */
        chk_u32(a.order, n);
        chk_bytes(a.groups, (size_t)n_groups * QM_GROUP_SIZE);
    } else { /* both have the poison there */
        chk_u32(a.order, (size_t)rows * n_used);
        chk_bytes(a.groups, (size_t)a.max_groups * QM_GROUP_SIZE);
    }
    chk_end();
}

static void shapes(void **state) {
    static const uint32_t rows[] = {1, 2, 3, 8, 31, 64, 100, 512}, experts[] = {1, 2, 31, 33, 128, 200, 512};
    static const uint32_t used[] = {1, 3, 8, 32};
    (void)state;
    for (size_t r = 0; r < sizeof rows / sizeof *rows; r++)
        for (size_t n = 0; n < sizeof experts / sizeof *experts; n++)
            for (size_t u = 0; u < sizeof used / sizeof *used; u++)
                if (used[u] <= experts[n])
                    one(0, rows[r], ALL, used[u], experts[n], 8u << (r + n + u) % 3, (int)(r + n) % N_LOADS, 0);
}

static void counts(void **state) {
    static const uint32_t n[] = {0, 1, 5, 63, 64, 65, ALL};
    (void)state;
    for (size_t i = 0; i < sizeof n / sizeof *n; i++)
        for (int load = 0; load < N_LOADS; load++) {
            one(0, 64, n[i], 8, 128, 8, load, 0);
            one(0, 64, n[i], 4, 16, 16, load, 0);
            one(0, 64, n[i], 1, 1, 32, load, 0);
        }
}

/* Which warp has a slot changes nothing. */
static void blocks(void **state) {
    (void)state;
    for (uint32_t block = 128; block <= 1024; block *= 2)
        for (int load = 0; load < N_LOADS; load++) {
            one(0, 512, ALL, 8, 128, 32, load, block);
            one(0, 512, 77, 8, 100, 16, load, block);
        }
}

static void checked(void **state) {
    (void)state;
    for (int load = 0; load < N_LOADS; load++) {
        one(1, 8, 5, 8, 128, 8, load, 0);
        one(1, 16, 0, 4, 16, 8, load, 0);
        one(1, 64, ALL, 8, 128, 16, load, 128);
    }
    one(1, 512, 500, 8, 128, 32, 0, 0);
}

static void ledger(void **state) {
    static const struct { uint32_t rows, warp_insts; } most[] = {{2, 571}, {8, 594}, {32, 1096}, {512, 8500}};
    const int k = chk_kernel(QM_OP_MOE_SORT, -1, 0);
    (void)state;
    for (size_t i = 0; i < sizeof most / sizeof *most; i++) {
        const uint32_t rows = most[i].rows;
        qm_sim_counters c;
        chk_begin_counted("moe_sort ledger rows=%u", rows);
        qm_moe_sort_args a = make(rows, rows, 8, 128, qm_moe_width(rows, 8, 128), 0);
        chk_launch(k, 1, 1, 1, qm_launch_moe_sort(rows, 8, 128).block, 0, &a);
        if (chk_counters(k, &c)) {
            print_message("moe_sort of %u rows: %llu warp instructions, %llu barriers\n", rows,
                          (unsigned long long)c.warp_insts, (unsigned long long)c.barriers);
            if (c.warp_insts > most[i].warp_insts) chk_fail("%llu warp instructions", (unsigned long long)c.warp_insts);
        }
        chk_end();
    }
}

int main(void) {
    const struct CMUnitTest t[] = {cmocka_unit_test(shapes), cmocka_unit_test(counts), cmocka_unit_test(blocks),
                                   cmocka_unit_test(checked), cmocka_unit_test(ledger)};
    return chk_main(t);
}
