/* gemm.c: y[p, r, i] = W[i, part p] . x[r, part p] (+ bias[i] in part 0), or the sum of all parts: matvec for each row.
 * Shapes: contracts/ops.def. */
#include "dot.h"

void qm_ref_gemm(const qm_gemm_args *a, const qm_ref_env *env) {
    const qm_type_info *t = qm_type_get((uint32_t)env->wtype);
    const uint32_t n = qm_ref_count(env, a->count), parts = env->grid[1] > 1 ? env->grid[1] : 1;
    const uint64_t x_bytes = qm_ref_x_bytes(t, a->n_cols, env->f32_act);
    for (uint32_t r = 0; r < n; r++) {
        const qm_matvec_args one = {.w = a->w,
                                    .x = a->x + r * x_bytes,
                                    .bias = a->bias,
                                    .y = a->y + 4ull * r * a->y_stride,
                                    .n_rows = a->n_rows,
                                    .n_cols = a->n_cols};
        qm_ref_env of = *env;
        of.grid[1] = parts;
        qm_ref_matvec_strided(&one, &of, a->rows * a->y_stride);
    }
}
