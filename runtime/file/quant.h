/* quant.h: GGML tensor types: their sizes, their decoding, their packed device layout.
 * Block formats: ggml's block_q4_K, block_q6_K ... (type numbers are ggml's). */
#ifndef QM_QUANT_H
#define QM_QUANT_H
#include <stddef.h>
#include <stdint.h>
#include "order.h"

/* QM_TYPE_F32, QM_TYPE_Q4_K ...: contracts/streams.def */
typedef enum {
#define QM_STREAM(word, WORD, number, ...) QM_TYPE_##WORD = number,
#define QM_STREAM_LOADED QM_STREAM
#include "../../contracts/streams.def"
#undef QM_STREAM
} qm_type;

typedef struct {
    int type;         /* qm_type */
    const char *name; /* "Q4_K" */
    uint32_t qk;      /* weights per block */
    uint32_t bytes;   /* bytes per block */
    /* packed layout (contracts/abi.h): 16-byte pieces, then the tail */
    uint32_t pieces;     /* P */
    uint32_t piece_at;   /* offset in the block of piece 0 (pieces are contiguous) */
    uint32_t tail_bytes; /* 0 or 2 */
    uint32_t tail_at;    /* offset of the tail in the block */
    /* the block as it is cut, where that is not the file's; else NULL */
    void (*order)(uint8_t *dst, const uint8_t *block);
    int q16a;                                              /* 1: the kernels take q16a activations; 0: f32 */
    void (*to_f32)(float *dst, const void *src, size_t n); /* n % qk == 0; exact in f32 as ggml computes it */
} qm_type_info;

/* NULL for a type we do not read. */
const qm_type_info *qm_type_get(uint32_t type);
const qm_type_info *qm_type_by_name(const char *name); /* case-insensitive; NULL if unknown */

/* Bytes of a row of n weights; n % qk == 0. */
size_t qm_row_bytes(const qm_type_info *t, uint64_t n);

float qm_f16_to_f32(uint16_t h);
uint16_t qm_f32_to_f16(float f); /* round to nearest even */
float qm_bf16_to_f32(uint16_t h);
uint16_t qm_f32_to_bf16(float f); /* round to nearest even; NaN stays NaN */

/* Packed size in bytes of [n_rows, n_cols] (rows padded to whole tiles), and the packing itself.
 * raw: n_rows raw rows, contiguous. */
size_t qm_pack_bytes(const qm_type_info *t, uint64_t n_rows, uint64_t n_cols);
void qm_pack(void *packed, const void *raw, const qm_type_info *t, uint64_t n_rows, uint64_t n_cols);
/* Tiles [t0, t1) only: what a loader with several threads and a bounded staging buffer needs. packed
 * points at tile t0's place; raw at row 32*t0; n_rows is the whole matrix's. */
void qm_pack_tiles(void *packed, const void *raw, const qm_type_info *t, uint64_t n_rows, uint64_t n_cols, uint64_t t0,
                   uint64_t t1);

/* q16a activations (contracts/abi.h), the reference rule, bit for bit what the kernels do.
 * dst: QM_Q16A_DATA(n) bytes; n % 32 == 0. */
void qm_q16a_quantize(void *dst, const float *x, size_t n);
void qm_q16a_dequantize(float *x, const void *src, size_t n);
#endif
