/* kv.c: see kv.h. A type is a pair of functions below. */
#include "kv.h"
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
