/* layout.c: sizes and offsets of what is not a weight: KV pool and sequence block. */
#include "plan.h"

static uint64_t align256(uint64_t n) { return (n + 255) & ~(uint64_t)255; }

uint64_t qm_kv_page_bytes(const qm_hparams *hp, qm_kv_cache_type kv) {
    return hp->n_kv * qm_kv_head_page_bytes(kv, hp->head_dim);
}

uint64_t qm_kv_pool_bytes(const qm_hparams *hp, qm_kv_cache_type kv, uint32_t n_pages) {
    return qm_kv_page_bytes(hp, kv) * n_pages * 2 * hp->n_layers;
}

qm_seq_layout qm_seq_layout_of(const qm_hparams *hp, qm_limits l) {
    qm_seq_layout s;
    s.state_off = 0;
    s.tokens_off = align256(QM_STATE_BYTES);
    s.table_off = s.tokens_off + align256(4 * ((uint64_t)l.n_ctx + 1));
    s.mask_off = s.table_off + align256(4ull * qm_pages_for(l.n_ctx));
    s.logits_off = s.mask_off + align256(4ull * QM_MASK_WORDS(hp->n_vocab));
    s.bytes = s.logits_off + align256(4ull * hp->n_vocab);
    return s;
}
