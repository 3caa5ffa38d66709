/* matvec.c: y[p, row] = W[row, part p] . x[part p] (+ bias in part 0), or the sum of all parts, each rounded by itself, so that
 * who leaves parts and who leaves their sum agree. Shapes: contracts/ops.def. */
#include "dot.h"

void qm_ref_matvec_strided(const qm_matvec_args *a, const qm_ref_env *env, uint32_t y_stride) {
    const qm_type_info *t = qm_type_get((uint32_t)env->wtype);
    const uint8_t *w = qm_ref_ptr(a->w);
    const float *bias = qm_ref_ptr(a->bias);
    const float *add = qm_ref_ptr(a->add);
    float *sum = qm_ref_ptr(a->sum);
    float *y = qm_ref_ptr(a->y), *x, *all = calloc(a->n_rows, sizeof *all);
    if (a->r) x = qm_ref_normed(t, a->r, a->norm, a->eps, a->n_cols, env->f32_act, a->xn, a->xq);
    else x = qm_ref_activation(t, a->x, a->n_cols, env->f32_act);
    size_t row_bytes = qm_row_bytes(t, a->n_cols);
    const qm_sums sums = qm_sums_of(env->wtype, a->n_cols);
    const int parted = env->grid[1] > 1;
    for (uint32_t p = 0; x && all && p < sums.n_parts; p++) {
        const uint32_t k0 = qm_sums_begin(&sums, p), k1 = qm_sums_begin(&sums, p + 1);
        float *to = parted ? y + (size_t)p * y_stride : all;
        for (uint32_t r = 0; r < a->n_rows; r++) {
            double v = qm_ref_dot(t, w + r * row_bytes, x, k0, k1);
            if (bias && p == 0) v += (double)bias[r];
            to[r] = (parted || p == 0 ? 0 : to[r]) + (float)v;
        }
    }
    for (uint32_t r = 0; x && all && !parted && r < a->n_rows; r++) {
        if (sum) sum[r] = all[r];
        y[r] = add ? add[r] + all[r] : all[r];
    }
    free(all);
    free(x);
}

void qm_ref_matvec(const qm_matvec_args *a, const qm_ref_env *env) { qm_ref_matvec_strided(a, env, a->n_rows); }
