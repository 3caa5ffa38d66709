/* pack.c: the tile layout of weights and the q16a layout of activations (contracts/abi.h). */
#include <math.h>
#include <string.h>
#include "../../contracts/abi.h"
#include "quant.h"

#define R QM_TILE_ROWS

size_t qm_pack_bytes(const qm_type_info *t, uint64_t n_rows, uint64_t n_cols) {
    return (size_t)((n_rows + R - 1) / R) * R * qm_row_bytes(t, n_cols);
}

/* n bits that bits `at` .. of a sum lack to be `bits`. A sum has what is known of it; bits below `at` are final. */
static uint32_t lacks(uint32_t bits, uint32_t sum, int at, int n) { return (bits - (sum >> at)) & ((1u << n) - 1); }

/* 32 weights of five bits in five words: from the low byte on, and in it in an order in which each sum lacks one thing. */
static void five(uint32_t w[5], const uint32_t q[8]) {
    uint32_t a = q[1] << 3, b = q[3] << 3, c = q[5] << 3, d = q[4] << 3, e = q[7] << 3;
    for (int i = 0; i < 32; i += 8) {
        const uint32_t q0 = q[0] >> i, q2 = q[2] >> i, q6 = q[6] >> i;
        b |= lacks(q0, 4 * a + b, i, 2) << i;
        b |= lacks(q2, b + 8 * c + 16 * d, i + 2, 1) << (i + 2);
        a |= lacks(q0 >> 2, 4 * a + b, i + 2, 3) << i;
        d |= lacks(q6, d + 4 * e, i, 2) << i;
        c |= lacks(q2 >> 1, b + 8 * c + 16 * d, i + 3, 3) << i;
        d |= lacks(q2 >> 4, b + 8 * c + 16 * d, i + 6, 1) << (i + 2);
        e |= lacks(q6 >> 2, d + 4 * e, i + 2, 3) << i;
    }
    memcpy(w, (uint32_t[]){a, b, c, d, e}, 20);
}

void qm_order_five(uint8_t *dst, const uint8_t *block) {
    memcpy(dst, block, 16);
    for (size_t l = 0; l < 32; l += 4) {
        uint32_t qs, qh, q[8], w[5];
        memcpy(&qh, block + 16 + l, 4);
        for (size_t j = 0; j < 8; j++) {
            memcpy(&qs, block + 48 + j / 2 * 32 + l, 4);
            q[j] = (qs >> 4 * (j % 2) & 0x0f0f0f0f) | (qh >> j & 0x01010101) << 4;
        }
        five(w, q);
        for (size_t k = 0; k < 5; k++) memcpy(dst + 16 + 32 * k + l, &w[k], 4);
    }
}

/* Sixteen weights, q - 32 as six bits, in three words. What q3 takes is added up from the low byte on: the bits that the sum has
 * without it, and what it carries, are known then. */
static void six(uint32_t w[3], const uint32_t q[4]) {
    for (int k = 0; k < 3; k++) w[k] = (q[k] ^ 0x20202020) << 2;
    uint32_t sum = w[0] + 4 * w[1] + 16 * w[2], low = 0;
    for (int i = 0; i < 32; i += 8) {
        const uint32_t part = (((q[3] ^ 0x20202020) >> i) - (sum >> i)) & 63;
        sum += part << i;
        low |= part << i;
    }
    for (int k = 0; k < 3; k++) w[k] |= low >> 2 * k & 0x03030303;
}

void qm_order_six(uint8_t *dst, const uint8_t *block) {
    memcpy(dst + 192, block + 192, 18);
    for (size_t h = 0; h < 2; h++)
        for (size_t l = 0; l < 32; l += 4) {
            uint32_t a, b, c, w[3];
            memcpy(&a, block + 64 * h + l, 4);
            memcpy(&b, block + 64 * h + 32 + l, 4);
            memcpy(&c, block + 128 + 32 * h + l, 4);
            const uint32_t lo = 0x0f0f0f0f, hi = 0x30303030;
            six(w, (uint32_t[]){(a & lo) | (c << 4 & hi), (b & lo) | (c << 2 & hi), (a >> 4 & lo) | (c & hi),
                                (b >> 4 & lo) | (c >> 2 & hi)});
            for (size_t k = 0; k < 3; k++) memcpy(dst + 64 * k + 32 * h + l, &w[k], 4);
        }
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
