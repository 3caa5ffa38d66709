/* qkrope: of each row, per-head RMSNorm of q and k, NeoX RoPE (pairs i, i + head_dim/2), k and v into the cache. A sum of squares
 * beyond f32 is NaN, so that the logits tell of it. */
#include "ref.h"
#include <math.h>

enum { MAX_HD = 256 };

static void one_row(const qm_qkrope_args *a, const qm_ref_env *env, uint32_t r) {
    const uint32_t hd = (uint32_t)env->head_dim, half = hd / 2, heads = a->n_head + 2 * a->n_kv;
    const size_t part = (size_t)a->rows * heads * hd;
    const float *qkv = (const float *)(uintptr_t)a->qkv + (size_t)r * heads * hd,
                *rope = (const float *)(uintptr_t)a->rope;
    const qm_row_record *at = (const qm_row_record *)(uintptr_t)a->row + r;
    const uint32_t *table = (const uint32_t *)(uintptr_t)(a->table + at->seq_off);
    const uint32_t pos = at->pos;
    const size_t page = (size_t)table[pos / QM_PAGE_TOKENS] * a->n_kv; /* of kv head 0 */
    const uint32_t t = pos % QM_PAGE_TOKENS;
    const uint64_t page_bytes = qm_kv_head_page_bytes(env->kv, hd);
    double x[MAX_HD];
    float row[MAX_HD];
    for (uint32_t h = 0; h < heads; h++) {
        double ss = 0;
        for (uint32_t d = 0; d < hd; d++) {
            float sum = qkv[(size_t)h * hd + d]; /* in f32: the sum is the same whoever takes it */
            for (uint32_t s = 1; s < a->n_partials; s++) sum += qkv[s * part + (size_t)h * hd + d];
            x[d] = sum;
            ss += x[d] * x[d];
        }
        if (h >= a->n_head + a->n_kv) { /* v: neither norm nor rotation */
            uint32_t kv = h - a->n_head - a->n_kv;
            for (uint32_t d = 0; d < hd; d++) row[d] = (float)x[d];
            qm_kv_page_put(env->kv, 1, (char *)(uintptr_t)a->v_pool + (page + kv) * page_bytes, row, hd, t);
            continue;
        }
        const float *w = (const float *)(uintptr_t)(h < a->n_head ? a->q_norm : a->k_norm);
        double scale = isfinite((float)ss) ? 1.0 / sqrt(ss / hd + (double)a->eps) : NAN;
        for (uint32_t d = 0; w && d < hd; d++) x[d] *= scale * w[d];
        for (uint32_t i = 0; i < half; i++) {
            const float *f = rope + 2 * ((size_t)(pos % QM_ROPE_FINE) * half + i);
            const float *g = rope + 2 * ((size_t)(QM_ROPE_FINE + pos / QM_ROPE_FINE) * half + i);
            double c = (double)f[0] * g[0] - (double)f[1] * g[1], s = (double)f[1] * g[0] + (double)f[0] * g[1];
            double lo = x[i], hi = x[i + half];
            x[i] = lo * c - hi * s;
            x[i + half] = hi * c + lo * s;
        }
        if (h < a->n_head) {
            float *q = (float *)(uintptr_t)a->q_out + ((size_t)r * a->n_head + h) * hd;
            for (uint32_t d = 0; d < hd; d++) q[d] = (float)x[d];
        } else {
            for (uint32_t d = 0; d < hd; d++) row[d] = (float)x[d];
            qm_kv_page_put(env->kv, 0, (char *)(uintptr_t)a->k_pool + (page + h - a->n_head) * page_bytes, row, hd, t);
        }
    }
}

void qm_ref_qkrope(const qm_qkrope_args *a, const qm_ref_env *env) {
    const uint32_t n = qm_ref_count(env, a->count);
    for (uint32_t r = 0; env->head_dim <= MAX_HD && r < n; r++) one_row(a, env, r);
}
