/* matvec.c: y[s, row] = W[row, slice s] . x[slice s] (+ bias in split 0). Shapes: contracts/abi.h. */
#include "dot.h"

void qm_ref_matvec_strided(const qm_matvec_args *a, const qm_ref_env *env, uint32_t y_stride) {
    const qm_type_info *t = qm_type_get((uint32_t)env->wtype);
    const uint8_t *w = qm_ref_ptr(a->w);
    const float *bias = qm_ref_ptr(a->bias);
    float *y = qm_ref_ptr(a->y), *x = qm_ref_activation(t, a->x, a->n_cols, env->f32_act);
    size_t row_bytes = qm_row_bytes(t, a->n_cols);
    uint32_t step = qm_ref_step(env->wtype), splits = env->grid[1] ? env->grid[1] : 1;
    uint64_t steps = a->n_cols / step;
    for (uint32_t s = 0; x && s < splits; s++) {
        uint32_t k0 = (uint32_t)(s * steps / splits) * step, k1 = (uint32_t)((s + 1) * steps / splits) * step;
        for (uint32_t r = 0; r < a->n_rows; r++) {
            double v = qm_ref_dot(t, w + r * row_bytes, x, k0, k1);
            if (bias && s == 0) v += (double)bias[r];
            y[(size_t)s * y_stride + r] = (float)v;
        }
    }
    free(x);
}

void qm_ref_matvec(const qm_matvec_args *a, const qm_ref_env *env) { qm_ref_matvec_strided(a, env, a->n_rows); }
