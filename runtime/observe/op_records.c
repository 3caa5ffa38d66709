/* op_records.c: see op_records.h. */
#include "op_records.h"
#include <math.h>
#include <stdlib.h>
#include "../plan/ops.h"

const char *qm_bound_name(qm_bound b) {
    static const char *const names[QM_N_BOUNDS] = {"", "dram", "issue", "tensor", "l2", "flight", "latency"};
    return (unsigned)b < QM_N_BOUNDS ? names[b] : "";
}

double qm_experts_chosen(uint32_t n_expert, uint32_t n_used, uint32_t rows) {
    return n_expert * (1 - pow(1 - (double)n_used / n_expert, rows));
}

static uint32_t div_up(uint32_t a, uint32_t b) { return (a + b - 1) / b; }

/* By the word of the step's header that says how many there are. */
uint32_t qm_op_rows(const qm_plan *p, const qm_op *op, qm_work w) {
    qm_operand o[QM_MAX_OPERANDS];
    const qm_operand *count = qm_operand_find(o, qm_op_operands(p, op, o), "count");
    const uint32_t each = w.rows / w.seqs;
    if (!count) return op->rows < w.rows ? op->rows : w.rows;
    switch (QM_REF_VALUE(count->ref)) {
    case QM_STEP_N_SINGLES: return each == 1 ? w.rows : 0;
    case QM_STEP_N_RUNS: return each > 1 ? w.seqs * div_up(each, QM_RUN_ROWS) : 0;
    case QM_STEP_N_OUTS:
    case QM_STEP_N_DRAWS: return w.outs;
    default: return w.rows;
    }
}

uint64_t qm_op_weight_bytes(const qm_plan *p, const qm_op *op, qm_work w) {
    const qm_hparams *hp = &p->place->model->hp;
    qm_operand o[QM_MAX_OPERANDS];
    const int n = qm_op_operands(p, op, o);
    double bytes = 0;
    if (op->rows == 1) return op->weight_bytes;
    for (int i = 0; i < n; i++) {
        if (o[i].kind != QM_KIND_WEIGHT || !o[i].ref) continue;
        const qm_region *r = &p->place->regions[QM_REF_VALUE(o[i].ref)];
        if (qm_operand_find(o, n, "tokens")) bytes += (double)w.rows * (double)qm_row_bytes(r->type, r->n_cols);
        else if (o[i].n_dims < 3 || !hp->n_expert) bytes += (double)r->bytes;
        else bytes += (double)r->expert_bytes * qm_experts_chosen(hp->n_expert, hp->n_used, w.rows);
    }
    return (uint64_t)bytes;
}

void qm_op_kv_bytes(const qm_plan *p, const qm_op *op, qm_work w, uint64_t *read, uint64_t *written) {
    qm_operand o[QM_MAX_OPERANDS];
    const int n = qm_op_operands(p, op, o), idle = !qm_op_rows(p, op, w);
    *read = *written = 0;
    for (int k = 0; k < n && !idle; k++) {
        if (o[k].kind != QM_KIND_KV || !o[k].ref) continue;
        const uint64_t one = o[k].bytes / ((uint64_t)o[k].dims[0] * QM_PAGE_TOKENS); /* of [pages, ...] */
        if (o[k].dir & QM_OUT) *written += one * w.rows;
        if (o[k].dir == QM_IN || o[k].appended) *read += one * w.seqs * (w.depth + w.rows / w.seqs);
    }
}

static uint64_t act_bytes(const qm_plan *p, const qm_op *op, uint32_t rows) {
    qm_operand o[QM_MAX_OPERANDS];
    const int n = qm_op_operands(p, op, o);
    uint64_t bytes = 0;
    for (int i = 0; i < n && rows; i++)
        if (o[i].space == QM_SPACE_SCRATCH && o[i].dir != QM_INOUT) bytes += o[i].bytes;
    return bytes;
}

/* CTAs of an op that `rows` of op->rows, or so many runs, give work. */
static double ctas(const qm_plan *p, const qm_op *op, uint32_t rows) {
    qm_operand o[QM_MAX_OPERANDS];
    const int n = qm_op_operands(p, op, o);
    const double all = (double)op->grid[0] * op->grid[1] * op->grid[2];
    if (!rows) return all; /* none has: all come and go */
    if (qm_operand_find(o, n, "runs")) return (double)op->grid[0] * op->grid[2] * rows;
    return qm_operand_find(o, n, "count") && rows < op->rows ? ceil(all * rows / op->rows) : all;
}

int qm_op_records_new(qm_op_records **out, const qm_plan *p, qm_work w, qm_err *e) {
    qm_op_records *r = *out = calloc(1, sizeof *r);
    if (r) r->op = calloc((size_t)p->n_ops, sizeof *r->op);
    if (!r || !r->op) {
        qm_op_records_free(r);
        *out = NULL;
        return qm_fail(e, QM_ERR_NOMEM, "op by op: out of memory");
    }
    r->plan = p;
    r->work = w;
    r->n_ops = p->n_ops;
    r->step_ns = r->stamped_ns = r->tick_ns = -1;
    for (int i = 0; i < p->n_ops; i++) {
        const qm_op *op = &p->ops[i];
        const uint32_t rows = qm_op_rows(p, op, w);
        uint64_t read, written;
        qm_op_kv_bytes(p, op, w, &read, &written);
        r->op[i] = (qm_op_record){.op = op,
                                  .weight_bytes = qm_op_weight_bytes(p, op, w),
                                  .kv_bytes = read + written,
                                  .act_bytes = act_bytes(p, op, rows),
                                  .reads_kv = read > 0,
                                  .rows = rows,
                                  .ctas = ctas(p, op, rows),
                                  .path = qm_op_path_of(p, op),
                                  .begin_ns = -1,
                                  .time_ns = -1,
                                  .gap_ns = -1};
        r->op[i].in_flight =
            qm_in_flight(op, &r->op[i].path, r->op[i].ctas, (double)(r->op[i].weight_bytes + read), p->limits.n_sm);
        r->weight_bytes += r->op[i].weight_bytes;
        r->kv_bytes += read + written;
    }
    return 0;
}

void qm_op_records_free(qm_op_records *r) {
    if (!r) return;
    free(r->op);
    free(r);
}
