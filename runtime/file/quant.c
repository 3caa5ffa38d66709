/* quant.c: ggml's tensor types: sizes and decoding. The products and sums are taken in ggml's order and
 * precision (ggml-quants.c, dequantize_row_*), so that the floats are the same bits.
 * Formats: FACTS of ggml's block_q8_0, block_q4_K, block_q5_K, block_q6_K; little-endian on disk. */
#include "quant.h"
#include <string.h>
#include <strings.h>
#ifdef __clang__
#pragma STDC FP_CONTRACT OFF /* gcc in ISO mode never contracts */
#endif

static uint16_t u16_at(const uint8_t *p) { return (uint16_t)(p[0] | p[1] << 8); }
static uint32_t u32_at(const uint8_t *p) { return (uint32_t)u16_at(p) | (uint32_t)u16_at(p + 2) << 16; }

static uint32_t bits_of(float f) {
    uint32_t u;
    memcpy(&u, &f, 4);
    return u;
}
static float float_of(uint32_t u) {
    float f;
    memcpy(&f, &u, 4);
    return f;
}

float qm_f16_to_f32(uint16_t h) {
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, e = h >> 10 & 31, m = h & 0x3ff;
    if (e == 31) return float_of(sign | 0x7f800000u | m << 13);
    if (e) return float_of(sign | (e + 112) << 23 | m << 13);
    float f = (float)m * 0x1p-24f; /* zero or denormal: exact */
    return sign ? -f : f;
}

uint16_t qm_f32_to_f16(float f) {
    uint32_t u = bits_of(f), sign = u >> 16 & 0x8000, a = u & 0x7fffffff;
    if (a > 0x7f800000) return (uint16_t)(sign | 0x7e00 | (a >> 13 & 0x3ff)); /* NaN, made quiet */
    if (a >= 0x477ff000) return (uint16_t)(sign | 0x7c00);                    /* >= 65520 rounds to inf */
    if (a >= 0x38800000) { /* normal: drop 13 bits, to nearest even */
        uint32_t r = a - 0x38000000;
        return (uint16_t)(sign | (r + 0xfff + (r >> 13 & 1)) >> 13);
    }
    if (a < 0x33000000) return (uint16_t)sign; /* below 2^-25 (2^-25 itself is a tie, to even zero) */
    uint32_t shift = 126 - (a >> 23), m = (a & 0x7fffff) | 0x800000; /* 14..24: in units of 2^-24 */
    uint32_t q = m >> shift, rest = m & ((1u << shift) - 1), half = 1u << (shift - 1);
    return (uint16_t)(sign | (q + (rest > half || (rest == half && (q & 1)))));
}

float qm_bf16_to_f32(uint16_t h) { return float_of((uint32_t)h << 16); }

uint16_t qm_f32_to_bf16(float f) {
    uint32_t u = bits_of(f);
    if ((u & 0x7fffffff) > 0x7f800000) return (uint16_t)(u >> 16 | 0x40);
    return (uint16_t)((u + 0x7fff + (u >> 16 & 1)) >> 16);
}

static void f32_to_f32(float *dst, const void *src, size_t n) {
    const uint8_t *s = src;
    for (size_t i = 0; i < n; i++) dst[i] = float_of(u32_at(s + 4 * i));
}
static void f16_to_f32(float *dst, const void *src, size_t n) {
    const uint8_t *s = src;
    for (size_t i = 0; i < n; i++) dst[i] = qm_f16_to_f32(u16_at(s + 2 * i));
}
static void bf16_to_f32(float *dst, const void *src, size_t n) {
    const uint8_t *s = src;
    for (size_t i = 0; i < n; i++) dst[i] = qm_bf16_to_f32(u16_at(s + 2 * i));
}

/* 34 bytes: f16 d, s8 q[32]. x = q d */
static void q8_0_to_f32(float *dst, const void *src, size_t n) {
    const uint8_t *s = src;
    for (size_t i = 0; i < n; i += 32, s += 34) {
        float d = qm_f16_to_f32(u16_at(s));
        for (int j = 0; j < 32; j++) dst[i + (size_t)j] = (float)(int8_t)s[2 + j] * d;
    }
}

/* The 6-bit scale and min of sub-block j (0..7) out of the 12 bytes that Q4_K and Q5_K share. */
static void k_scale_min(const uint8_t *s, int j, uint8_t *sc, uint8_t *m) {
    if (j < 4) {
        *sc = s[j] & 63;
        *m = s[j + 4] & 63;
    } else {
        *sc = (uint8_t)((s[j + 4] & 15) | (s[j - 4] >> 6) << 4);
        *m = (uint8_t)((s[j + 4] >> 4) | (s[j] >> 6) << 4);
    }
}

/* 144 bytes: f16 d, f16 dmin, scales[12], qs[128]; qh (Q5_K: 32 bytes before qs) or NULL.
 * Chunk c of 64 weights: 32 low nibbles (sub-block 2c), then 32 high ones (2c + 1); bits 2c and
 * 2c + 1 of qh[l] are their fifth bits. x = (d sc) q - (dmin m) */
static void q45_k(float *dst, const uint8_t *s, const uint8_t *qh, const uint8_t *qs) {
    float d = qm_f16_to_f32(u16_at(s)), dmin = qm_f16_to_f32(u16_at(s + 2));
    for (int j = 0; j < 8; j++, dst += 32) {
        uint8_t sc, m;
        k_scale_min(s + 4, j, &sc, &m);
        float d1 = d * (float)sc, m1 = dmin * (float)m;
        for (int l = 0; l < 32; l++) {
            int q = qs[j / 2 * 32 + l] >> 4 * (j & 1) & 15;
            if (qh) q += (qh[l] >> j & 1) * 16;
            dst[l] = d1 * (float)q - m1;
        }
    }
}
static void q4_k_to_f32(float *dst, const void *src, size_t n) {
    const uint8_t *s = src;
    for (size_t i = 0; i < n; i += 256, s += 144) q45_k(dst + i, s, NULL, s + 16);
}
static void q5_k_to_f32(float *dst, const void *src, size_t n) {
    const uint8_t *s = src;
    for (size_t i = 0; i < n; i += 256, s += 176) q45_k(dst + i, s, s + 16, s + 48);
}

/* 210 bytes: ql[128], qh[64], s8 scales[16], f16 d. Half h of 128 weights, quarter k of 32:
 * low 4 bits from ql[64h + 32(k&1) + l] (high nibble for k >= 2), high 2 from bit pair k of
 * qh[32h + l]. x = (d scale) (q - 32), one scale for 16 weights. */
static void q6_k_to_f32(float *dst, const void *src, size_t n) {
    const uint8_t *s = src;
    for (size_t i = 0; i < n; i += 256, s += 210) {
        float d = qm_f16_to_f32(u16_at(s + 208));
        for (int w = 0; w < 256; w++) {
            int h = w >> 7, k = w >> 5 & 3, l = w & 31;
            int lo = s[64 * h + 32 * (k & 1) + l] >> 4 * (k >> 1) & 15;
            int hi = s[128 + 32 * h + l] >> 2 * k & 3;
            int8_t sc = (int8_t)s[192 + w / 16];
            dst[i + (size_t)w] = d * (float)sc * (float)((lo | hi << 4) - 32);
        }
    }
}

#define f32h_to_f32 bf16_to_f32
#define Q16A_f32 0
#define Q16A_q16a 1
#define ORDER_file NULL
#define ORDER_five qm_order_five
#define ORDER_six qm_order_six
static const qm_type_info types[] = {
#define QM_STREAM_LOADED QM_STREAM
#define QM_STREAM(word, WORD, number, act, weights, bytes, pieces, piece_at, tail, tail_at, step, chunk, paired, \
                  segment, part, form, staged, maxnreg, maxnreg2, file_type, order)                              \
    {QM_TYPE_##WORD, #WORD, weights, bytes, pieces, piece_at, tail, tail_at, ORDER_##order, Q16A_##act, word##_to_f32},
#include "../../contracts/streams.def"
#undef QM_STREAM
};

const qm_type_info *qm_type_get(uint32_t type) {
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if ((uint32_t)types[i].type == type) return &types[i];
    return NULL;
}

const qm_type_info *qm_type_by_name(const char *name) {
    for (size_t i = 0; name && i < sizeof types / sizeof *types; i++)
        if (!strcasecmp(types[i].name, name)) return &types[i];
    return NULL;
}

size_t qm_row_bytes(const qm_type_info *t, uint64_t n) { return (size_t)(n / t->qk * t->bytes); }
