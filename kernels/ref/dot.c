/* dot.c: see dot.h. */
#include "dot.h"
#include <string.h>
#include "norm.h"

double qm_ref_dot(const qm_type_info *t, const void *row, const float *x, uint32_t k0, uint32_t k1) {
    float w[256];
    double sum = 0;
    for (uint32_t k = k0, n; k < k1; k += n) {
        n = k1 - k < 256 ? k1 - k : 256;
        t->to_f32(w, (const uint8_t *)row + qm_row_bytes(t, k), n);
        for (uint32_t i = 0; i < n; i++) sum += (double)w[i] * (double)x[k + i];
    }
    return sum;
}

float *qm_ref_activation(const qm_type_info *t, uint64_t x, uint32_t n, int f32_act) {
    float *v = malloc(n * sizeof *v);
    if (!v) return NULL;
    if (t->q16a && !f32_act) qm_q16a_dequantize(v, qm_ref_ptr(x), n);
    else memcpy(v, qm_ref_ptr(x), n * sizeof *v);
    return v;
}

float *qm_ref_normed(const qm_type_info *t, uint64_t r, uint64_t norm, float eps, uint32_t n, int f32_act, uint64_t xn,
                     uint64_t xq) {
    const float *x = qm_ref_ptr(r), *w = qm_ref_ptr(norm);
    float *v = malloc(n * sizeof *v);
    unsigned char *q = malloc(QM_Q16A_BYTES(n));
    double ss = 0;
    if (!v || !q) {
        free(v);
        free(q);
        return NULL;
    }
    for (uint32_t i = 0; i < n; i++) ss += (double)x[i] * (double)x[i];
    const double scale = qm_ref_norm_scale(ss, n, eps);
    for (uint32_t i = 0; i < n; i++) v[i] = (float)((double)x[i] * scale * (double)w[i]);
    if (xn) memcpy(qm_ref_ptr(xn), v, n * sizeof *v);
    qm_q16a_quantize(q, v, n);
    if (xq) memcpy(qm_ref_ptr(xq), q, QM_Q16A_DATA(n));
    if (t->q16a && !f32_act) qm_q16a_dequantize(v, q, n);
    free(q);
    return v;
}
