/* attn: causal grouped-query attention of one token over the paged cache, cut into splits whose
 * unnormalised results op combine merges (Dao et al., "Flash-Decoding", 2023). */
#include "ref.h"
#include <math.h>
#include "../../runtime/file/quant.h"

enum { MAX_HD = 256 };

typedef struct {
    const qm_attn_args *a;
    uint32_t hd, kv;
    const uint32_t *table;
} cache;

/* Page that holds token t: its first element in a pool of f16. */
static size_t page_of(const cache *c, uint32_t t) {
    return ((size_t)c->table[t / QM_PAGE_TOKENS] * c->a->n_kv + c->kv) * QM_PAGE_TOKENS * c->hd;
}

static double score(const cache *c, const float *q, uint32_t t) {
    const uint16_t *k = (const uint16_t *)(uintptr_t)c->a->k_pool + page_of(c, t);
    double s = 0;
    for (uint32_t d = 0; d < c->hd; d++)
        s += (double)q[d] * qm_f16_to_f32(k[(d / 8 * QM_PAGE_TOKENS + t % QM_PAGE_TOKENS) * 8 + d % 8]);
    return s * c->a->scale;
}

void qm_ref_attn(const qm_attn_args *a, const qm_ref_env *env) {
    const uint32_t hd = (uint32_t)env->head_dim, group = a->n_head / a->n_kv;
    const qm_row_record *row = (const qm_row_record *)(uintptr_t)a->row;
    const uint32_t *table = (const uint32_t *)(uintptr_t)(a->table + row->seq_off);
    const uint32_t pos = row->pos, n_pages = pos / QM_PAGE_TOKENS + 1;
    float *ml = (float *)(uintptr_t)a->ml;
    if (hd > MAX_HD) return;
    for (uint32_t h = 0; h < a->n_head; h++) {
        const float *q = (const float *)(uintptr_t)a->q + (size_t)h * hd;
        cache c = {a, hd, h / group, table};
        for (uint32_t s = 0; s < a->n_splits; s++) {
            uint32_t t0 = (uint32_t)((uint64_t)s * n_pages / a->n_splits) * QM_PAGE_TOKENS;
            uint32_t t1 = (uint32_t)((uint64_t)(s + 1) * n_pages / a->n_splits) * QM_PAGE_TOKENS;
            double acc[MAX_HD] = {0}, m = -INFINITY, l = 0;
            if (t1 > pos + 1) t1 = pos + 1;
            for (uint32_t t = t0; t < t1; t++) m = fmax(m, score(&c, q, t)); /* a NaN shows in l */
            for (uint32_t t = t0; t < t1; t++) {
                const uint16_t *v = (const uint16_t *)(uintptr_t)a->v_pool + page_of(&c, t);
                double p = exp(score(&c, q, t) - m);
                l += p;
                for (uint32_t d = 0; d < hd; d++) acc[d] += p * qm_f16_to_f32(v[t % QM_PAGE_TOKENS * hd + d]);
            }
            size_t o = (size_t)h * a->n_splits + s;
            for (uint32_t d = 0; d < hd; d++) ((float *)(uintptr_t)a->acc)[o * hd + d] = (float)acc[d];
            ml[2 * o] = (float)m;
            ml[2 * o + 1] = (float)l;
        }
    }
}
