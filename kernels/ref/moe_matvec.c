/* moe_matvec.c: y[e, row] = scale[e] * (W[id_e] x_e)[row], e over the launch's grid[1] slots. */
#include "dot.h"

void qm_ref_moe_matvec(const qm_moe_matvec_args *a, const qm_ref_env *env) {
    const qm_type_info *t = qm_type_get((uint32_t)env->wtype);
    const uint32_t *ids = qm_ref_ptr(a->ids);
    const float *scale = qm_ref_ptr(a->scale);
    float *y = qm_ref_ptr(a->y);
    size_t row_bytes = qm_row_bytes(t, a->n_cols);
    for (uint32_t e = 0; e < env->grid[1]; e++) {
        const uint8_t *w = qm_ref_ptr(a->w + qm_ref_expert(ids[e], a->n_expert) * a->expert_bytes);
        float *x = qm_ref_activation(t, a->x + e * a->x_stride, a->n_cols, env->f32_act);
        for (uint32_t r = 0; x && r < a->n_rows; r++) {
            double v = qm_ref_dot(t, w + r * row_bytes, x, 0, a->n_cols);
            y[(size_t)e * a->n_rows + r] = (float)(scale ? v * (double)scale[e] : v);
        }
        free(x);
    }
}
