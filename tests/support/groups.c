/* groups.c: see groups.h. */
#include "groups.h"
#include <string.h>

static void deal(uint32_t *ids, uint32_t n, uint32_t n_expert, grp_load load) {
    uint32_t e = 0, left = 1;
    for (uint32_t s = 0; s < n; s++) switch (load) {
        case GRP_ONE: ids[s] = n_expert / 2; break;
        case GRP_STAIRS:
            ids[s] = e;
            if (--left) break;
            e = (e + 1) % n_expert;
            left = e + 1;
            break;
        default: ids[s] = qm_rng_below(chk_rng(), n_expert);
        }
    if (load != GRP_STAIRS) return;
    for (uint32_t s = n; s > 1; s--) { /* neighbours in the order are far from each other in the rows */
        const uint32_t o = qm_rng_below(chk_rng(), s), t = ids[o];
        ids[o] = ids[s - 1];
        ids[s - 1] = t;
    }
}

grp grp_in(uint32_t rows, uint32_t count, uint32_t n_used, uint32_t n_expert, uint32_t width, grp_load load, int bad) {
    grp g = {.rows = rows, .n_used = n_used, .n_expert = n_expert, .width = width, .count = count};
    g.max_groups = qm_moe_groups(rows, n_used, n_expert, width);
    const uint32_t n = count * n_used;
    uint32_t *ids = chk_tmp(4 * n + 4), *order = chk_tmp(4 * rows * n_used);
    qm_group *groups = chk_tmp(g.max_groups * sizeof *groups);
    deal(ids, n, n_expert, load);
    memset(order, 0xff, 4 * rows * n_used);
    memset(groups, 0xff, g.max_groups * sizeof *groups);
    const qm_moe_sort_args a = {.ids = (uintptr_t)ids,
                                .count = (uintptr_t)&count,
                                .order = (uintptr_t)order,
                                .groups = (uintptr_t)groups,
                                .n_groups = (uintptr_t)&g.n,
                                .n_expert = n_expert,
                                .n_used = n_used,
                                .width = width,
                                .max_groups = g.max_groups,
                                .rows = rows};
    qm_ref_moe_sort(&a, &(qm_ref_env){.grid = {1, 1, 1}, .block = 32, .rows = rows});
    for (uint32_t i = 0; i < g.n; i++) {
        g.n_experts += !i || groups[i].expert != groups[i - 1].expert;
        g.n_32 += (groups[i].n + 31) / 32;
    }
    if (bad && g.n && groups[g.n - 1].expert == n_expert - 1) {
        qm_group *last = &groups[g.n - 1];
        last->expert = 0x80000000;
        for (uint32_t s = 0; s < last->n; s++) ids[order[last->first + s]] = 0x80000000;
    }
    g.ids = ids;
    g.ids_at = chk_in("ids", ids, 4 * n);
    g.order_at = chk_in("order", order, 4 * (size_t)rows * n_used);
    g.groups_at = chk_in("groups", groups, g.max_groups * sizeof *groups);
    g.n_groups_at = chk_in("n_groups", &g.n, 4);
    return g;
}

void grp_ledger(const char *op, const grp *g, int k, double blocks, double weights, double columns, double max_insts) {
    qm_sim_counters c;
    if (!chk_counters(k, &c)) return;
    const double insts = (double)c.warp_insts / (blocks * g->n_32), bytes = (double)(c.gld_bytes + c.gst_bytes);
    const double sectors = 32.0 * (double)(c.gld_sectors + c.gst_sectors);
    print_message("%s %u rows, %u of %u, width %u: %u groups of %u experts; %.0f instructions a block; bytes %.3f of "
                  "the weights, %.3f without columns; sectors %.3f of bytes\n",
                  op, g->rows, g->n_used, g->n_expert, g->width, g->n, g->n_experts, insts, bytes / weights,
                  (bytes - columns) / weights, sectors / bytes);
    if (insts > max_insts) chk_fail("%.1f instructions a block", insts);
    if ((bytes - columns) / weights > 1.03 * g->n / g->n_experts) chk_fail("weights are read more than once a group");
    if ((bytes - columns) / weights > 1.10) chk_fail("more than 1.10 of the weights are asked for");
    if (sectors > 1.10 * bytes) chk_fail("sectors are touched in part");
}
