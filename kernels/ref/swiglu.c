/* swiglu.c: h = silu(gate) * up over [k, n]; hq is h rounded to f32, then q16a. */
#include "dot.h"

void qm_ref_swiglu(const qm_swiglu_args *a, const qm_ref_env *env) {
    const float *gate = qm_ref_ptr(a->gate), *up = qm_ref_ptr(a->up);
    float *own = malloc(a->n * sizeof *own);
    for (uint32_t e = 0; own && e < a->k; e++) {
        float *h = a->h ? (float *)qm_ref_ptr(a->h) + (size_t)e * a->n : own;
        for (uint32_t i = 0; i < a->n; i++) {
            size_t at = (size_t)e * a->n + i;
            h[i] = qm_ref_silu_mul((double)gate[at], (double)up[at]);
        }
        if (a->hq) qm_q16a_quantize((uint8_t *)qm_ref_ptr(a->hq) + (size_t)e * QM_Q16A_BYTES(a->n), h, a->n);
    }
    (void)env;
    free(own);
}
