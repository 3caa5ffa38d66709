/* layout.c: sizes and offsets of what is not a weight: KV pool, sequence block, RoPE table; and the
 * resolving of references. */
#include <stdlib.h>
#include <string.h>
#include "../../kernels/ref/ref.h"
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
    s.logits_off = s.table_off + align256(4ull * qm_pages_for(l.n_ctx));
    s.bytes = s.logits_off + align256(4ull * hp->n_vocab);
    return s;
}

static uint64_t rope_rows(uint32_t n_ctx) { return QM_ROPE_FINE + ((uint64_t)n_ctx + QM_ROPE_FINE - 1) / QM_ROPE_FINE; }

uint64_t qm_rope_bytes(const qm_hparams *hp, uint32_t n_ctx) { return rope_rows(n_ctx) * hp->head_dim * 4; }

void qm_rope_fill(float *table, const qm_hparams *hp, uint32_t n_ctx) {
    double inv_freq[128], mscale;
    qm_model_inv_freq(hp, inv_freq, &mscale);
    qm_rope_table(table, inv_freq, (int)hp->head_dim, n_ctx);
    /* every position is fine x coarse: scaling the coarse rows scales all of them once */
    if (mscale != 1)
        for (uint64_t i = (uint64_t)QM_ROPE_FINE * hp->head_dim; i < rope_rows(n_ctx) * hp->head_dim; i++)
            table[i] = (float)(table[i] * mscale);
}

/* Every argument struct begins with its address fields. */
static const struct {
    int n_addresses, bytes;
} shapes[QM_N_OPS] = {
    [QM_OP_EMBED] = {4, QM_EMBED_SIZE},
    [QM_OP_RMSNORM] = {6, QM_RMSNORM_SIZE},
    [QM_OP_MATVEC] = {4, QM_MATVEC_SIZE},
    [QM_OP_MOE_UP] = {6, QM_MOE_UP_SIZE},
    [QM_OP_MOE_MATVEC] = {5, QM_MOE_MATVEC_SIZE},
    [QM_OP_SWIGLU] = {4, QM_SWIGLU_SIZE},
    [QM_OP_QKROPE] = {9, QM_QKROPE_SIZE},
    [QM_OP_ATTN] = {7, QM_ATTN_SIZE},
    [QM_OP_COMBINE] = {5, QM_COMBINE_SIZE},
    [QM_OP_ROUTER] = {3, QM_ROUTER_SIZE},
    [QM_OP_SAMPLE_SCAN] = {7, QM_SAMPLE_SCAN_SIZE},
    [QM_OP_SAMPLE_DRAW] = {6, QM_SAMPLE_DRAW_SIZE},
    [QM_OP_PROBE] = {2, QM_PROBE_SIZE},
    [QM_OP_STATS] = {5, QM_STATS_SIZE},
    [QM_OP_WALK] = {3, QM_WALK_SIZE},
};

int qm_op_n_addresses(qm_op_kind kind) { return shapes[kind].n_addresses; }
int qm_op_args_bytes(qm_op_kind kind) { return shapes[kind].bytes; }

uint64_t qm_ref_resolve(const qm_plan *p, qm_ref r, const qm_bases *b) {
    qm_space s = QM_REF_SPACE(r);
    if (s == QM_SPACE_NONE) return 0;
    uint64_t v = QM_REF_VALUE(r);
    if (s == QM_SPACE_REGION) v = p->place->regions[v].off;
    return b->base[s] + v;
}

void qm_op_resolve(const qm_plan *p, const qm_op *op, const qm_bases *b, qm_op_args *out) {
    *out = op->args;
    for (int i = 0; i < shapes[op->kind].n_addresses; i++) {
        uint64_t a;
        memcpy(&a, out->bytes + 8 * i, 8);
        a = qm_ref_resolve(p, a, b);
        memcpy(out->bytes + 8 * i, &a, 8);
    }
}
