/* pack.c: the tile layout of weights and the q8a layout of activations (contracts/abi.h). */
#include <math.h>
#include <string.h>
#include "../../contracts/abi.h"
#include "quant.h"

#define R QM_TILE_ROWS

size_t qm_pack_bytes(const qm_type_info *t, uint64_t n_rows, uint64_t n_cols) {
    return (size_t)((n_rows + R - 1) / R) * R * qm_row_bytes(t, n_cols);
}

void qm_pack_tiles(void *packed, const void *raw, const qm_type_info *t, uint64_t n_rows,
                   uint64_t n_cols, uint64_t t0, uint64_t t1) {
    size_t nb = (size_t)(n_cols / t->qk), B = t->bytes, row_bytes = nb * B;
    uint8_t *dst = packed;
    const uint8_t *src = raw;
    for (uint64_t tile = t0; tile < t1; tile++, dst += R * row_bytes, src += R * row_bytes) {
        uint64_t left = n_rows > tile * R ? n_rows - tile * R : 0;
        size_t rows = left < R ? (size_t)left : R;
        if (rows < R) memset(dst, 0, R * row_bytes);
        for (size_t b = 0; b < nb; b++)
            for (size_t r = 0; r < rows; r++) {
                const uint8_t *s = src + r * row_bytes + b * B;
                uint8_t *d = dst + b * R * B;
                for (size_t p = 0; p < t->pieces; p++)
                    memcpy(d + p * 16 * R + r * 16, s + t->piece_at + p * 16, 16);
                if (t->tail_bytes)
                    memcpy(d + t->pieces * 16 * R + r * t->tail_bytes, s + t->tail_at, t->tail_bytes);
            }
    }
}

void qm_pack(void *packed, const void *raw, const qm_type_info *t, uint64_t n_rows, uint64_t n_cols) {
    qm_pack_tiles(packed, raw, t, n_rows, n_cols, 0, (n_rows + R - 1) / R);
}

/* The rule, in f32, as the kernels do it (QM_Q8A_PUT in kernels/ptx/warp.inc):
 *   a = max |x| by its bits, so that a NaN beats inf and inf beats the rest;
 *   d = a / 127 rounded to f32, then up to bf16 (inf stays inf, a NaN becomes 0x7fff);
 *   q = rint(x / d), or 0 where d is 0, inf or NaN. |x / d| <= 127 (1 + 2^-15), so no clamp bites. */
void qm_q8a_quantize(void *dst, const float *x, size_t n) {
    int8_t *q = dst;
    for (size_t g = 0; g < n / QM_Q8A_GROUP; g++, x += QM_Q8A_GROUP, q += QM_Q8A_GROUP) {
        uint32_t amax = 0, d;
        for (int i = 0; i < QM_Q8A_GROUP; i++) {
            uint32_t u;
            memcpy(&u, &x[i], 4);
            u &= 0x7fffffff;
            if (u > amax) amax = u;
        }
        if (amax >= 0x7f800000) {
            d = amax > 0x7f800000 ? 0x7fff0000 : 0x7f800000;
        } else {
            float a;
            memcpy(&a, &amax, 4);
            a /= 127.0f;
            memcpy(&d, &a, 4);
            d = (d + 0xffff) & 0xffff0000;
        }
        float df;
        memcpy(&df, &d, 4);
        int sum = 0;
        for (int i = 0; i < QM_Q8A_GROUP; i++) {
            int v = d == 0 || d >= 0x7f800000 ? 0 : (int)rintf(x[i] / df);
            q[i] = (int8_t)v;
            sum += v;
        }
        uint32_t ds = d | (uint16_t)sum;
        memcpy((uint8_t *)dst + n + 4 * g, &ds, 4);
    }
}

void qm_q8a_dequantize(float *x, const void *src, size_t n) {
    const int8_t *q = src;
    for (size_t i = 0; i < n; i++) {
        uint32_t ds;
        memcpy(&ds, (const uint8_t *)src + n + i / QM_Q8A_GROUP * 4, 4);
        ds &= 0xffff0000;
        float d;
        memcpy(&d, &ds, 4);
        x[i] = d * (float)q[i];
    }
}
