/* pack.c: the tile layout of weights and the q16a layout of activations (contracts/abi.h). */
#include <math.h>
#include <string.h>
#include "../../contracts/abi.h"
#include "quant.h"

#define R QM_TILE_ROWS

size_t qm_pack_bytes(const qm_type_info *t, uint64_t n_rows, uint64_t n_cols) {
    return (size_t)((n_rows + R - 1) / R) * R * qm_row_bytes(t, n_cols);
}

void qm_pack_tiles(void *packed, const void *raw, const qm_type_info *t, uint64_t n_rows, uint64_t n_cols, uint64_t t0,
                   uint64_t t1) {
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
                uint8_t block[256];
                if (t->order) {
                    t->order(block, s);
                    s = block;
                }
                uint8_t *d = dst + b * R * B;
                for (size_t p = 0; p < t->pieces; p++) memcpy(d + p * 16 * R + r * 16, s + t->piece_at + p * 16, 16);
                if (t->tail_bytes) memcpy(d + t->pieces * 16 * R + r * t->tail_bytes, s + t->tail_at, t->tail_bytes);
            }
    }
}

void qm_pack(void *packed, const void *raw, const qm_type_info *t, uint64_t n_rows, uint64_t n_cols) {
    qm_pack_tiles(packed, raw, t, n_rows, n_cols, 0, (n_rows + R - 1) / R);
}

/* The rule, in f32, as the kernels do it (QM_Q16A_PUT in kernels/ptx/warp.inc):
 *   a = max |x| by its bits, so that a NaN beats inf and inf beats the rest;
 *   d = a / 32512 (inf stays inf, a NaN becomes 0x7fffffff);
 *   q = rint(x / d), or 0 where d is 0, inf or NaN. The clamp bites only where d is subnormal. */
static float group_scale(const float *x) {
    uint32_t amax = 0;
    for (int i = 0; i < QM_Q16A_GROUP; i++) {
        uint32_t u;
        memcpy(&u, &x[i], 4);
        u &= 0x7fffffff;
        if (u > amax) amax = u;
    }
    if (amax > 0x7f800000) amax = 0x7fffffff;
    float a;
    memcpy(&a, &amax, 4);
    return amax >= 0x7f800000 ? a : a / (float)QM_Q16A_MAX;
}

void qm_q16a_quantize(void *dst, const float *x, size_t n) {
    int8_t *hi = dst, *lo = hi + n;
    for (size_t g = 0; g < n / QM_Q16A_GROUP; g++, x += QM_Q16A_GROUP) {
        float d = group_scale(x);
        for (int i = 0; i < QM_Q16A_GROUP; i++, hi++, lo++) {
            float v = d > 0 && d <= 3.4028235e38f ? rintf(x[i] / d) : 0;
            int q = v > QM_Q16A_MAX ? QM_Q16A_MAX : v < -QM_Q16A_MAX ? -QM_Q16A_MAX : (int)v;
            int h = (q + 128 + 32768) / 256 - 128; /* floor((q + 128) / 256) */
            *hi = (int8_t)h;
            *lo = (int8_t)(q - 256 * h);
        }
        memcpy((uint8_t *)dst + 2 * n + 4 * g, &d, 4);
    }
}

void qm_q16a_dequantize(float *x, const void *src, size_t n) {
    const int8_t *hi = src, *lo = hi + n;
    for (size_t i = 0; i < n; i++) {
        float d;
        memcpy(&d, (const uint8_t *)src + 2 * n + i / QM_Q16A_GROUP * 4, 4);
        x[i] = d * (float)(256 * hi[i] + lo[i]);
    }
}
