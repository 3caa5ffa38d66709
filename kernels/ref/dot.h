/* dot.h: what the references of several ops share. */
#ifndef QM_REF_DOT_H
#define QM_REF_DOT_H
#include <math.h>
#include <stdlib.h>
#include "../../runtime/file/quant.h"
#include "ref.h"

static inline void *qm_ref_ptr(uint64_t a) { return (void *)(uintptr_t)a; }

/* sum over [k0, k1) of row * x, in double. k0 and k1 are multiples of t->qk. */
double qm_ref_dot(const qm_type_info *t, const void *row, const float *x, uint32_t k0, uint32_t k1);
/* The n activations at host address x as floats, in the form that weights of type t take. The caller
 * frees them. NULL without memory: the op then does nothing, and its output stays what it was. */
float *qm_ref_activation(const qm_type_info *t, uint64_t x, uint32_t n, int f32_act);
/* The same of what an op norms itself: r / rms(r) * norm. xn, xq: where it is wanted too, as f32 and as q16a, or 0. */
float *qm_ref_normed(const qm_type_info *t, uint64_t r, uint64_t norm, float eps, uint32_t n, int f32_act, uint64_t xn,
                     uint64_t xq);
/* Bytes from one vector of n activations to the next, in that form. */
static inline uint64_t qm_ref_x_bytes(const qm_type_info *t, uint64_t n, int f32_act) {
    return t->q16a && !f32_act ? QM_Q16A_BYTES(n) : 4 * n;
}
/* An expert id as the kernels clamp it; n_expert 0: trusted. */
static inline uint32_t qm_ref_expert(uint32_t id, uint32_t n_expert) {
    return n_expert && id >= n_expert ? n_expert - 1 : id;
}
/* attn, then combine, of one row; what they hand each other is made here. Without memory: nothing. */
void qm_ref_attend(const qm_attn_args *a, uint64_t y, uint64_t yq, const qm_ref_env *env);
static inline float qm_ref_silu_mul(double g, double u) { return (float)(g / (1 + exp(-g)) * u); }
#endif
