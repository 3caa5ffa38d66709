/* norm.h: what the references of rmsnorm, and of the ops that norm their input themselves, share. */
#ifndef QM_REF_NORM_H
#define QM_REF_NORM_H
#include <math.h>
#include <stdint.h>

/* 1 / sqrt(mean + eps) of n values whose sum of squares is ss; NaN where that is beyond f32, so that the logits tell of it. */
static inline double qm_ref_norm_scale(double ss, uint32_t n, float eps) {
    return isfinite((float)ss) ? 1.0 / sqrt(ss / n + (double)eps) : NAN;
}
#endif
