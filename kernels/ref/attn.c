/* attn: causal grouped-query attention of each row's token over its paged cache, cut into spans whose
 * unnormalised results op combine merges (Dao et al., "Flash-Decoding", 2023). */
#include "ref.h"
#include <math.h>

enum { MAX_HD = 256 };

/* The page that holds token t of a row's sequence, of kv head h. */
static const char *page_of(const qm_attn_args *a, const qm_row_record *row, uint64_t pool, uint64_t page_bytes,
                           uint32_t h, uint32_t t) {
    const uint32_t *table = (const uint32_t *)(uintptr_t)(a->table + row->seq_off);
    return (const char *)(uintptr_t)pool + ((uint64_t)table[t / QM_PAGE_TOKENS] * a->n_kv + h) * page_bytes;
}

/* The op's i-th row, r of the step's. */
static void one_row(const qm_attn_args *a, const qm_ref_env *env, uint32_t i_row, uint32_t r) {
    const uint32_t hd = (uint32_t)env->head_dim, group = a->n_head / a->n_kv;
    const qm_row_record *at = (const qm_row_record *)(uintptr_t)a->row + r;
    const uint32_t pos = at->pos;
    const uint64_t page_bytes = qm_kv_head_page_bytes(env->kv, hd);
    float *ml = (float *)(uintptr_t)a->ml, row[MAX_HD];
    for (uint32_t h = 0; h < a->n_head; h++) {
        const float *q = (const float *)(uintptr_t)a->q + ((size_t)r * a->n_head + h) * hd;
        for (uint32_t s = 0; s <= pos / QM_SPAN; s++) {
            uint32_t t0 = s * QM_SPAN, n = pos + 1 - t0 < QM_SPAN ? pos + 1 - t0 : QM_SPAN;
            double score[QM_SPAN] = {0}, acc[MAX_HD] = {0}, m = -INFINITY, l = 0;
            for (uint32_t i = 0; i < n; i++) {
                qm_kv_page_get(env->kv, 0, row, page_of(a, at, a->k_pool, page_bytes, h / group, t0 + i), hd,
                               i % QM_PAGE_TOKENS);
                for (uint32_t d = 0; d < hd; d++) score[i] += (double)q[d] * row[d];
                score[i] *= a->scale;
                m = fmax(m, score[i]); /* a NaN shows in l */
            }
            for (uint32_t i = 0; i < n; i++) {
                double p = exp(score[i] - m);
                l += p;
                qm_kv_page_get(env->kv, 1, row, page_of(a, at, a->v_pool, page_bytes, h / group, t0 + i), hd,
                               i % QM_PAGE_TOKENS);
                for (uint32_t d = 0; d < hd; d++) acc[d] += p * row[d];
            }
            size_t o = ((size_t)i_row * a->n_head + h) * a->n_spans + s;
            for (uint32_t d = 0; d < hd; d++) ((float *)(uintptr_t)a->acc)[o * hd + d] = (float)acc[d];
            ml[2 * o] = (float)m;
            ml[2 * o + 1] = (float)l;
        }
    }
}

void qm_ref_attn(const qm_attn_args *a, const qm_ref_env *env) {
    const uint32_t n = qm_ref_count(env, a->count);
    for (uint32_t i = 0; env->head_dim <= MAX_HD && i < n; i++) one_row(a, env, i, qm_ref_row(a->map, i));
}
