/* keep.c: which weights the L2 is asked to keep from one step to the next. A step reads far more than it holds, so that without a
 * word it would keep none of them: each line is gone before its next use. What is kept is not read from memory again.
 *
 * Whole matrices are kept, of ops whose weights every step reads (not experts, which the router chooses), in the order of the ops, until
 * the budget is full; all others are given up first. The choice is the same in all plans of one row, since they have these ops in
 * the same order. In a step of many rows, whose products read a matrix more than once, nothing is said.
 *
 * The budget is half of the L2. The other half is for what is on its way: prefetches fill that much at most (prefetch.c), and keys,
 * values and activations are there as well. */
#include "ops.h"

uint64_t qm_keep_bytes(uint64_t l2_bytes, uint64_t aside_bytes) {
    return l2_bytes / 2 < aside_bytes ? l2_bytes / 2 : aside_bytes;
}

/* Where an op's arguments say it; NULL: nowhere. */
static uint32_t *place_of(qm_op_kind kind, qm_op_args *args) {
    uint32_t *at = NULL;
    switch (kind) {
#define OP(word, WORD)                     \
    case QM_OP_##WORD: {                   \
        qm_##word##_args *a = &args->word; \
        (void)a;
#define KEEPS(field) at = &a->field;
#define END(word) \
    break;        \
    }
#include "../../contracts/ops.def"
    default: break;
    }
    return at;
}

uint32_t qm_op_l2(const qm_op *op) {
    qm_op_args args = op->args;
    const uint32_t *at = place_of(op->kind, &args);
    return at ? *at : QM_L2_NORMAL;
}

void qm_plan_keep(qm_plan *p) {
    const uint64_t most = p->shape.rows == 1 ? p->limits.keep_bytes : 0;
    for (int i = 0; most && i < p->n_ops; i++) {
        qm_op *op = &p->ops[i];
        uint32_t *at = place_of(op->kind, &op->args);
        if (!at) continue;
        qm_operand w;
        const int stays = qm_op_known_weight(p, op, &w) && op->weight_bytes <= most - p->kept_bytes;
        *at = stays ? QM_L2_LAST : QM_L2_FIRST;
        if (stays) p->kept_bytes += op->weight_bytes;
    }
}
