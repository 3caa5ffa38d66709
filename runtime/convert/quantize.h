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

/* qm_quantize_<word>: one block of a type that takes q16a activations, which are those of integer codes; quantize.c,
 * and of super-blocks quantize_k.c. */
#define QM_BLOCK_OF_f32(word)
#define QM_BLOCK_OF_q16a(word) void qm_quantize_##word(uint8_t *dst, const float *x);
#define QM_STREAM(word, WORD, number, act, ...) QM_BLOCK_OF_##act(word)
#include "../../contracts/streams.def"
#undef QM_STREAM
#undef QM_BLOCK_OF_f32
#undef QM_BLOCK_OF_q16a
#endif
