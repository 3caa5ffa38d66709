/* quantize.h: from f32 weights to blocks of every type of quant.h. Deterministic: the same bytes on every
 * host (one fixed order of f32 operations, no fused multiply-add, no libm beyond exact functions). */
#ifndef QM_QUANTIZE_H
#define QM_QUANTIZE_H
#include "../file/quant.h"

/* n weights, n % t->qk == 0 (F32, F16, BF16: any n), into blocks at dst. The weights are finite and in range: ask
 * qm_quantize_bad first. */
void qm_quantize_blocks(const qm_type_info *t, void *dst, const float *x, size_t n);

/* Index of the first weight that blocks of this type cannot hold (NaN, infinite, or too large for the
 * type's scale), n if there is none. */
size_t qm_quantize_bad(const qm_type_info *t, const float *x, size_t n);

/* quantize_k.c: one super-block of 256 weights. */
void qm_quantize_q4_k(uint8_t *dst, const float *x); /* 144 bytes */
void qm_quantize_q5_k(uint8_t *dst, const float *x); /* 176 bytes */
void qm_quantize_q6_k(uint8_t *dst, const float *x); /* 210 bytes */
#endif
