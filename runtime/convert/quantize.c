/* quantize.c: the simple types, and what every type can hold. The K types are in quantize_k.c. */
#include "quantize.h"
#include <math.h>
#include <string.h>

static void put16(uint8_t *p, uint32_t v) {
    p[0] = (uint8_t)v;
    p[1] = (uint8_t)(v >> 8);
}

/* To the nearest integer, ties to even, for |v| < 2^22: quick everywhere. */
static inline float near(float v) { return (v + 12582912.0f) - 12582912.0f; }

static float q8_0_error(const float *x, float d) {
    float inv = 1.0f / d, a[4] = {0};
    for (int i = 0; i < 32; i += 4)
        for (int j = 0; j < 4; j++) {
            float e = x[i + j] - d * near(x[i + j] * inv);
            a[j] += e * e;
        }
    return (a[0] + a[2]) + (a[1] + a[3]);
}

/* 34 bytes: f16 d, s8 q[32]; |q| <= 127. The scale that just holds the largest weight is rounded to f16
 * and rivals the f16 neighbours of it: the codes are rounded against the scale as stored. */
void qm_quantize_q8_0(uint8_t *dst, const float *x) {
    float amax = 0, best = 0;
    for (int i = 0; i < 32; i++) amax = fabsf(x[i]) > amax ? fabsf(x[i]) : amax;
    uint16_t h0 = qm_f32_to_f16(amax / 127.0f), h = 0;
    for (int k = -3; k <= 3; k++) {
        int c = h0 + k;
        if (c <= 0 || c > 0x7bff) continue;
        float d = qm_f16_to_f32((uint16_t)c);
        if (amax / d >= 127.5f) continue; /* the largest would not fit */
        float err = q8_0_error(x, d);
        if (!h || err < best) best = err, h = (uint16_t)c;
    }
    put16(dst, h);
    float inv = h ? 1.0f / qm_f16_to_f32(h) : 0;
    for (int i = 0; i < 32; i++) dst[2 + i] = (uint8_t)(int8_t)near(x[i] * inv);
}

/* F32, F16, BF16: any number of weights. */
static void floats(int type, uint8_t *p, const float *x, size_t n) {
    for (size_t i = 0; i < n; i++) {
        uint32_t u;
        memcpy(&u, x + i, 4);
        if (type == QM_TYPE_F16) put16(p + 2 * i, qm_f32_to_f16(x[i]));
        else if (type == QM_TYPE_BF16) put16(p + 2 * i, qm_f32_to_bf16(x[i]));
        else put16(p + 4 * i, u & 0xffff), put16(p + 4 * i + 2, u >> 16);
    }
}

void qm_quantize_blocks(const qm_type_info *t, void *dst, const float *x, size_t n) {
    uint8_t *p = dst;
    if (!t->q16a) {
        floats(t->type, p, x, n);
        return;
    }
    for (size_t i = 0; i < n; i += t->qk, p += t->bytes) switch (t->type) {
#define CASE_f32(word, WORD)
#define CASE_q16a(word, WORD)         \
    case QM_TYPE_##WORD:              \
        qm_quantize_##word(p, x + i); \
        break;
#define QM_STREAM(word, WORD, number, act, ...) CASE_##act(word, WORD)
#include "../../contracts/streams.def"
#undef QM_STREAM
        default: break;
        }
}

/* The largest magnitude that cannot overflow the f16 scale: for Q4_K and Q5_K the negative end,
 * 65504 * 63 by the min alone; for Q6_K 65504 * 127 * 31; F16 and BF16 round to infinity above theirs. */
#define LIMIT_F32 3.4028235e38f
#define LIMIT_F16 65519.996f
#define LIMIT_BF16 3.3961775e38f
#define LIMIT_Q8_0 (65504.0f * 127)
#define LIMIT_Q4_K (65504.0f * 63)
#define LIMIT_Q5_K (65504.0f * 63)
#define LIMIT_Q6_K (65504.0f * 127 * 31)
static float limit_of(int type) {
    switch (type) {
#define QM_STREAM(word, WORD, ...) \
    case QM_TYPE_##WORD:           \
        return LIMIT_##WORD;
#include "../../contracts/streams.def"
#undef QM_STREAM
    default: return 0;
    }
}

size_t qm_quantize_bad(const qm_type_info *t, const float *x, size_t n) {
    float limit = limit_of(t->type);
    for (size_t i = 0; i < n; i++)
        if (!(fabsf(x[i]) <= limit)) return i;
    return n;
}
