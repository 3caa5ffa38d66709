/* moe_gemm_up.c: h[slot, i] = silu(Wgate[e] x[row])[i] * (Wup[e] x[row])[i] for the slots of each group: moe_up for many rows. */
#include "dot.h"

void qm_ref_moe_gemm_up(const qm_moe_gemm_up_args *a, const qm_ref_env *env) {
    const qm_type_info *t = qm_type_get((uint32_t)env->wtype);
    const uint32_t *order = qm_ref_ptr(a->order), n = *(const uint32_t *)qm_ref_ptr(a->n_groups);
    const qm_group *g = qm_ref_ptr(a->groups);
    const uint64_t x_bytes = qm_ref_x_bytes(t, a->n_cols, env->f32_act);
    for (uint32_t i = 0; i < n; i++)
        for (uint32_t s = g[i].first; s < g[i].first + g[i].n; s++) {
            const uint32_t slot = order[s];
            /* moe_up of one row with one expert */
            const qm_moe_up_args one = {.w_gate = a->w_gate,
                                        .w_up = a->w_up,
                                        .x = a->x + slot / a->n_used * x_bytes,
                                        .ids = (uint64_t)(uintptr_t)&g[i].expert,
                                        .h = a->h ? a->h + 4ull * slot * a->n_ff : 0,
                                        .hq = a->hq ? a->hq + (uint64_t)slot * QM_Q16A_BYTES(a->n_ff) : 0,
                                        .expert_bytes = a->expert_bytes,
                                        .n_ff = a->n_ff,
                                        .n_cols = a->n_cols,
                                        .n_expert = a->n_expert};
            qm_ref_env of = *env;
            of.grid[1] = 1;
            qm_ref_moe_up(&one, &of);
        }
}
