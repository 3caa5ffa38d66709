/* combine: merges each row's spans of op attn: y = sum_s e^(m_s - M) acc_s / sum_s e^(m_s - M) l_s. */
#include "ref.h"
#include <math.h>
#include <string.h>
#include "../../runtime/file/quant.h"

enum { MAX_HD = 256 };

/* The op's i-th row, r of the step's. */
static void one_row(const qm_combine_args *a, const qm_ref_env *env, uint32_t i, uint32_t r) {
    const uint32_t hd = (uint32_t)env->head_dim, n = a->n_head * hd;
    const float *acc = (const float *)(uintptr_t)a->acc, *ml = (const float *)(uintptr_t)a->ml;
    float *y = a->y ? (float *)(uintptr_t)a->y + (size_t)r * n : NULL;
    uint8_t *yq = a->yq ? (uint8_t *)(uintptr_t)a->yq + (size_t)r * QM_Q16A_BYTES(n) : NULL;
    const uint32_t n_spans = ((const qm_row_record *)(uintptr_t)a->row + r)->pos / QM_SPAN + 1;
    const size_t first = (size_t)i * a->n_head * a->n_spans; /* of acc and ml */
    for (uint32_t h = 0; h < a->n_head; h++) {
        double m = -INFINITY, l = 0, v[MAX_HD] = {0};
        float out[MAX_HD];
        unsigned char q[QM_Q16A_BYTES(MAX_HD)];
        for (uint32_t s = 0; s < n_spans; s++) { /* not fmax: GCC 12 for aarch64 dies vectorizing it at -O3 */
            double x = ml[2 * (first + (size_t)h * a->n_spans + s)];
            if (x > m) m = x;
        }
        for (uint32_t s = 0; s < n_spans; s++) {
            size_t o = first + (size_t)h * a->n_spans + s;
            double f = exp((double)ml[2 * o] - m);
            l += f * ml[2 * o + 1];
            for (uint32_t d = 0; d < hd; d++) v[d] += f * acc[o * hd + d];
        }
        for (uint32_t d = 0; d < hd; d++) {
            out[d] = (float)(v[d] / l);
            if (y) y[h * hd + d] = out[d];
        }
        if (!yq) continue;
        qm_q16a_quantize(q, out, hd);
        memcpy(yq + h * hd, q, hd);
        memcpy(yq + n + h * hd, q + hd, hd);
        memcpy(yq + 2 * n + h * hd / 8, q + 2 * hd, hd / 8);
    }
}

void qm_ref_combine(const qm_combine_args *a, const qm_ref_env *env) {
    const uint32_t n = qm_ref_count(env, a->count);
    for (uint32_t i = 0; env->head_dim <= MAX_HD && i < n; i++) one_row(a, env, i, qm_ref_row(a->map, i));
}
