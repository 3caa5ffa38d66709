/* moe_gemm.c: y[slot, i] = scale[slot] * (W[e] x)[i] for the slots of each group: moe_matvec for many rows. */
#include "dot.h"

void qm_ref_moe_gemm(const qm_moe_gemm_args *a, const qm_ref_env *env) {
    const qm_type_info *t = qm_type_get((uint32_t)env->wtype);
    const uint32_t *order = qm_ref_ptr(a->order), n = *(const uint32_t *)qm_ref_ptr(a->n_groups);
    const qm_group *g = qm_ref_ptr(a->groups);
    const float *scale = qm_ref_ptr(a->scale);
    const size_t row_bytes = qm_row_bytes(t, a->n_cols);
    const uint64_t x_bytes = qm_ref_x_bytes(t, a->n_cols, env->f32_act);
    for (uint32_t i = 0; i < n; i++) {
        const uint8_t *w = qm_ref_ptr(a->w + qm_ref_expert(g[i].expert, a->n_expert) * a->expert_bytes);
        for (uint32_t s = g[i].first; s < g[i].first + g[i].n; s++) {
            const uint32_t slot = order[s], row = slot / a->n_used, pick = slot % a->n_used;
            float *y = (float *)qm_ref_ptr(a->y) + (size_t)row * a->y_row + (size_t)pick * a->y_pick;
            float *x = qm_ref_activation(t, a->x + (a->x_slots ? slot : row) * x_bytes, a->n_cols, env->f32_act);
            for (uint32_t r = 0; x && r < a->n_rows; r++) {
                double v = qm_ref_dot(t, w + r * row_bytes, x, 0, a->n_cols);
                y[r] = (float)(scale ? v * (double)scale[slot] : v);
            }
            free(x);
        }
    }
}
