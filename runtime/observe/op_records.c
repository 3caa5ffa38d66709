/* op_records.c: see op_records.h. */
#include "op_records.h"
#include <stdlib.h>

const char *qm_bound_name(qm_bound b) {
    static const char *const names[QM_N_BOUNDS] = {"", "dram", "issue", "l2", "latency"};
    return (unsigned)b < QM_N_BOUNDS ? names[b] : "";
}

/* Attention reads K and V of positions 0..depth in f16; qkrope writes one position of both. */
static uint64_t kv_bytes(const qm_plan *p, const qm_op *op, uint32_t depth) {
    const qm_hparams *hp = &p->place->model->hp;
    uint64_t one = 4ull * hp->n_kv * hp->head_dim;
    return op->kind == QM_OP_ATTN ? one * (depth + 1ull) : op->kind == QM_OP_QKROPE ? one : 0;
}

int qm_op_records_new(qm_op_records **out, const qm_plan *p, uint32_t depth, qm_err *e) {
    qm_op_records *r = *out = calloc(1, sizeof *r);
    if (r) r->op = calloc((size_t)p->n_ops, sizeof *r->op);
    if (!r || !r->op) {
        qm_op_records_free(r);
        *out = NULL;
        return qm_fail(e, QM_ERR_NOMEM, "op by op: out of memory");
    }
    r->plan = p;
    r->depth = depth;
    r->n_ops = p->n_ops;
    r->step_ns = r->stamped_ns = r->tick_ns = -1;
    for (int i = 0; i < p->n_ops; i++) {
        uint64_t kv = kv_bytes(p, &p->ops[i], depth);
        r->op[i] = (qm_op_record){.op = &p->ops[i], .kv_bytes = kv, .begin_ns = -1, .time_ns = -1, .gap_ns = -1};
        r->kv_bytes += kv;
    }
    return 0;
}

void qm_op_records_free(qm_op_records *r) {
    if (!r) return;
    free(r->op);
    free(r);
}
