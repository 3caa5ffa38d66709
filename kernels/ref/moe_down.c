/* moe_down.c: y[row] = add[row] + sum over e of scale[e] * (W[id_e] x_e)[row]: moe_matvec, and what rmsnorm does with the parts
 * that it leaves: they are f32, and added in f32 by rising e. */
#include "dot.h"

void qm_ref_moe_down(const qm_moe_down_args *a, const qm_ref_env *env) {
    const qm_type_info *t = qm_type_get((uint32_t)env->wtype);
    const uint32_t *ids = qm_ref_ptr(a->ids);
    const float *scale = qm_ref_ptr(a->scale), *add = qm_ref_ptr(a->add);
    float *y = qm_ref_ptr(a->y), *parts = a->parts ? qm_ref_ptr(a->parts) : NULL;
    float *sum = malloc(a->n_rows * sizeof *sum);
    const size_t row_bytes = qm_row_bytes(t, a->n_cols);
    for (uint32_t r = 0; sum && r < a->n_rows; r++) sum[r] = -0.0f;
    for (uint32_t e = 0; sum && e < a->n_used; e++) {
        const uint8_t *w = qm_ref_ptr(a->w + qm_ref_expert(ids[e], a->n_expert) * a->expert_bytes);
        float *x = qm_ref_activation(t, a->x + e * a->x_stride, a->n_cols, env->f32_act);
        for (uint32_t r = 0; x && r < a->n_rows; r++) {
            const float v = (float)(qm_ref_dot(t, w + r * row_bytes, x, 0, a->n_cols) * (double)scale[e]);
            if (parts) parts[(size_t)e * a->n_rows + r] = v;
            sum[r] += v;
        }
        free(x);
    }
    for (uint32_t r = 0; sum && r < a->n_rows; r++) y[r] = add[r] + sum[r];
    free(sum);
}
