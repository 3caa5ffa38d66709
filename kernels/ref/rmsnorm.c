/* rmsnorm: of each row r = x + (sum of partials); y = r / sqrt(mean(r^2) + eps) * w, as f32 and as q16a. A sum of squares beyond
 * f32 is NaN, so that the logits tell of it. Formula: Zhang and Sennrich, "Root Mean Square Layer Normalization"
 * (2019). */
#include "ref.h"
#include <string.h>
#include "norm.h"
#include "../../runtime/file/quant.h"

/* r[i] of the step's row in double, rounded to f32: what x_out carries and what the norm sees. */
static float residual(const qm_rmsnorm_args *a, uint32_t row, uint32_t i) {
    const float *x = (const float *)(uintptr_t)a->x, *p = (const float *)(uintptr_t)a->partials;
    const size_t at = (size_t)row * a->n + i;
    float sum = -0.0f; /* the partials first, by rising index, in f32: their sum is the same whoever takes it */
    for (uint32_t s = 0; s < a->n_partials; s++) sum += p[(size_t)s * a->rows * a->n + at];
    return x[at] + sum;
}

/* row: of the step; y, yq: of the op's, 0 where not wanted */
static void norm_row(const qm_rmsnorm_args *a, uint32_t row, float *y, uint8_t *yq) {
    const float *w = (const float *)(uintptr_t)a->w;
    float *x_out = (float *)(uintptr_t)a->x_out;
    double ss = 0;
    for (uint32_t i = 0; i < a->n; i++) {
        double r = residual(a, row, i);
        ss += r * r;
    }
    const double scale = qm_ref_norm_scale(ss, a->n, a->eps);
    for (uint32_t g = 0; g < a->n; g += QM_Q16A_GROUP) {
        float v[QM_Q16A_GROUP];
        unsigned char q[QM_Q16A_BYTES(QM_Q16A_GROUP)];
        for (uint32_t j = 0; j < QM_Q16A_GROUP; j++) {
            uint32_t i = g + j;
            float r = residual(a, row, i); /* x_out may be x: read before written */
            if (x_out) x_out[(size_t)row * a->n + i] = r;
            v[j] = (float)(r * scale * w[i]);
            if (y) y[i] = v[j];
        }
        if (!yq) continue;
        qm_q16a_quantize(q, v, QM_Q16A_GROUP);
        memcpy(yq + g, q, QM_Q16A_GROUP);
        memcpy(yq + a->n + g, q + QM_Q16A_GROUP, QM_Q16A_GROUP);
        memcpy(yq + 2 * a->n + g / 8, q + 2 * QM_Q16A_GROUP, 4);
    }
}

void qm_ref_rmsnorm(const qm_rmsnorm_args *a, const qm_ref_env *env) {
    for (uint32_t i = 0; i < qm_ref_count(env, a->count); i++)
        norm_row(a, qm_ref_row(a->map, i), a->y ? (float *)(uintptr_t)a->y + (size_t)i * a->n : NULL,
                 a->yq ? (uint8_t *)(uintptr_t)a->yq + (size_t)i * QM_Q16A_BYTES(a->n) : NULL);
}
