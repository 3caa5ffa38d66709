/* kv.h: the cache's types (contracts/kv.def): how many bytes a page has, and how keys and values lie in it. */
#ifndef QM_REF_KV_H
#define QM_REF_KV_H
#include <stdint.h>

typedef enum {
#define QM_KV_CACHE(name, NAME, bytes) QM_KV_CACHE_##NAME,
#include "../../contracts/kv.def"
#undef QM_KV_CACHE
    QM_N_KV_CACHE
} qm_kv_cache_type;

const char *qm_kv_cache_name(qm_kv_cache_type kv);
/* Bytes of a page of one kv head, of keys or of values. */
uint64_t qm_kv_head_page_bytes(qm_kv_cache_type kv, uint32_t head_dim);
/* Token t (0 .. 31) of such a page: x [head_dim] from it, and into it, rounded as the device rounds. is_v: a page of
 * values. */
void qm_kv_page_get(qm_kv_cache_type kv, int is_v, float *x, const void *page, uint32_t head_dim, uint32_t t);
void qm_kv_page_put(qm_kv_cache_type kv, int is_v, void *page, const float *x, uint32_t head_dim, uint32_t t);
#endif
