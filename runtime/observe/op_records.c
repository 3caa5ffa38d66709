/* op_records.c: see op_records.h. */
#include "op_records.h"
#include <stdlib.h>
#include "../plan/ops.h"

const char *qm_bound_name(qm_bound b) {
    static const char *const names[QM_N_BOUNDS] = {"", "dram", "issue", "l2", "latency"};
    return (unsigned)b < QM_N_BOUNDS ? names[b] : "";
}

void qm_op_kv_bytes(const qm_plan *p, const qm_op *op, uint32_t depth, uint64_t *read, uint64_t *written) {
    qm_operand o[QM_MAX_OPERANDS];
    const int n = qm_op_operands(p, op, o);
    *read = *written = 0;
    for (int k = 0; k < n; k++) {
        if (o[k].kind != QM_KIND_KV || !o[k].ref) continue;
        const uint64_t one = o[k].bytes / ((uint64_t)o[k].dims[0] * QM_PAGE_TOKENS); /* of [pages, ...] */
        if (o[k].dir & QM_OUT) *written += one;
        else *read += one * (depth + 1ull);
    }
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
        uint64_t read, written;
        qm_op_kv_bytes(p, &p->ops[i], depth, &read, &written);
        r->op[i] = (qm_op_record){.op = &p->ops[i],
                                  .kv_bytes = read + written,
                                  .reads_kv = read > 0,
                                  .begin_ns = -1,
                                  .time_ns = -1,
                                  .gap_ns = -1};
        r->kv_bytes += read + written;
    }
    return 0;
}

void qm_op_records_free(qm_op_records *r) {
    if (!r) return;
    free(r->op);
    free(r);
}
