/* kv.c: see kv.h. A type is a pair of functions below. */
#include "kv.h"
#include <math.h>
#include <string.h>
#include "../../contracts/abi.h"
#include "../../runtime/file/quant.h"

/* Element d of token t in a page of f16: K [hd/8][32][8], V [32][hd]. */
static uint32_t f16_at(int is_v, uint32_t hd, uint32_t t, uint32_t d) {
    return is_v ? t * hd + d : (d / 8 * QM_PAGE_TOKENS + t) * 8 + d % 8;
}

static void get_f16(int is_v, float *x, const void *page, uint32_t hd, uint32_t t) {
    const uint16_t *p = page;
    for (uint32_t d = 0; d < hd; d++) x[d] = qm_f16_to_f32(p[f16_at(is_v, hd, t, d)]);
}

static void put_f16(int is_v, void *page, const float *x, uint32_t hd, uint32_t t) {
    uint16_t *p = page;
    for (uint32_t d = 0; d < hd; d++) p[f16_at(is_v, hd, t, d)] = qm_f32_to_f16(x[d]);
}

/* q8_0: 32 dims share an f16 scale s, x ~ s q. Bytes q + 128 first: K [hd/16][32 tokens][16], V [8 fours of tokens][32 lanes of
 * hd/32 dims][4 tokens][hd/32]; then the scales: K [32 tokens][hd/32], V [8 fours][hd/32][4 tokens]. */
static uint32_t q8_0_at(int is_v, uint32_t hd, uint32_t t, uint32_t d) {
    const uint32_t own = hd / 32;
    return is_v ? ((t / 4 * 32 + d / own) * 4 + t % 4) * own + d % own : (d / 16 * QM_PAGE_TOKENS + t) * 16 + d % 16;
}

static uint32_t q8_0_scale_at(int is_v, uint32_t hd, uint32_t t, uint32_t d) {
    const uint32_t n = hd / 32, i = is_v ? (t / 4 * n + d / 32) * 4 + t % 4 : t * n + d / 32;
    return QM_PAGE_TOKENS * hd + 2 * i;
}

static void get_q8_0(int is_v, float *x, const void *page, uint32_t hd, uint32_t t) {
    const uint8_t *p = page;
    for (uint32_t d = 0; d < hd; d++) {
        uint16_t scale;
        memcpy(&scale, p + q8_0_scale_at(is_v, hd, t, d), 2);
        x[d] = qm_f16_to_f32(scale) * (float)(p[q8_0_at(is_v, hd, t, d)] - 128); /* exact: 11 bits times 8 */
    }
}

/* s = amax / 127 as f16, q = x / s, of the s that is stored (by products, as kernels/ptx/kv_q8_0.inc). A NaN or an inf makes s NaN or inf, and so does an amax beyond
 * 127 * 65504: such a block is read as NaN, so that nothing is hidden. */
static void put_q8_0(int is_v, void *page, const float *x, uint32_t hd, uint32_t t) {
    uint8_t *p = page;
    for (uint32_t b = 0; b < hd; b += 32) {
        float amax = 0;
        for (uint32_t d = b; d < b + 32; d++)
            if (!(fabsf(x[d]) <= amax) && !isnan(amax)) amax = fabsf(x[d]);
        const uint16_t scale = qm_f32_to_f16(amax * (1.0f / 127));
        const float s = qm_f16_to_f32(scale), inv = 1 / s;
        memcpy(p + q8_0_scale_at(is_v, hd, t, b), &scale, 2);
        for (uint32_t d = b; d < b + 32; d++) {
            const float q = isfinite(s) && s > 0 ? rintf(x[d] * inv) : 0;
            p[q8_0_at(is_v, hd, t, d)] = (uint8_t)(128 + (int)fminf(fmaxf(q, -127), 127));
        }
    }
}

static const struct {
    const char *name;
    uint32_t bytes; /* of 32 dims of a token */
    void (*get)(int is_v, float *x, const void *page, uint32_t hd, uint32_t t);
    void (*put)(int is_v, void *page, const float *x, uint32_t hd, uint32_t t);
} types[QM_N_KV_CACHE] = {
#define QM_KV_CACHE(name, NAME, bytes) {#name, bytes, get_##name, put_##name},
#include "../../contracts/kv.def"
#undef QM_KV_CACHE
};

const char *qm_kv_cache_name(qm_kv_cache_type kv) { return types[kv].name; }

uint64_t qm_kv_head_page_bytes(qm_kv_cache_type kv, uint32_t head_dim) {
    return (uint64_t)types[kv].bytes * (head_dim / 32) * QM_PAGE_TOKENS;
}

void qm_kv_page_get(qm_kv_cache_type kv, int is_v, float *x, const void *page, uint32_t head_dim, uint32_t t) {
    types[kv].get(is_v, x, page, head_dim, t);
}

void qm_kv_page_put(qm_kv_cache_type kv, int is_v, void *page, const float *x, uint32_t head_dim, uint32_t t) {
    types[kv].put(is_v, page, x, head_dim, t);
}
