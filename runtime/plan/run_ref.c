/* run_ref.c: a plan on the host. Each op's C reference gets the same argument struct as the kernel;
 * weights are the raw rows of the mapped file, so nothing of the packed layout is believed. */
#include <string.h>
#include "../../kernels/ref/ref.h"
#include "ops.h"

static uint64_t raw(const qm_plan *p, int reg, int segment) {
    const qm_region *r = &p->place->regions[reg];
    return (uint64_t)(uintptr_t)p->place->model->weights[r->weight[segment]].data;
}

/* The raw address behind a region reference (its first segment), or b's base for other spaces. */
static uint64_t resolve(const qm_plan *p, qm_ref ref, const qm_bases *b) {
    if (QM_REF_SPACE(ref) == QM_SPACE_REGION) return raw(p, (int)QM_REF_VALUE(ref), 0);
    return qm_ref_resolve(p, ref, b);
}

static uint64_t raw_expert_bytes(const qm_plan *p, qm_ref ref) {
    const qm_region *r = &p->place->regions[QM_REF_VALUE(ref)];
    return (uint64_t)r->n_rows * qm_row_bytes(r->type, r->n_cols);
}

/* A fused region is several tensors in the file: one reference call each. The partial sums of all
 * segments share the fused op's stride. Rows are read in the file's type, which is summed as the region's is. */
static void run_matvec(const qm_plan *p, const qm_op *op, const qm_matvec_args *a, const qm_ref_env *env) {
    const qm_place *pl = p->place;
    const qm_region *r = &pl->regions[QM_REF_VALUE(op->args.matvec.w)];
    int bias = op->args.matvec.bias ? (int)QM_REF_VALUE(op->args.matvec.bias) : -1;
    uint64_t row = 0;
    for (int i = 0; i < r->n_segments; i++) {
        const qm_weight *w = &pl->model->weights[r->weight[i]];
        qm_matvec_args s = *a;
        s.w = (uint64_t)(uintptr_t)w->data;
        s.bias = bias < 0 ? 0 : raw(p, bias, i);
        s.y = a->y + row * 4;
        if (a->add) s.add = a->add + row * 4;
        if (a->sum) s.sum = a->sum + row * 4;
        s.n_rows = w->n_rows;
        qm_ref_env of = *env;
        of.wtype = w->type->type;
        qm_ref_matvec_strided(&s, &of, a->n_rows);
        row += w->n_rows;
    }
}

static void run_gemm(const qm_plan *p, const qm_op *op, const qm_gemm_args *a, const qm_ref_env *env) {
    const qm_place *pl = p->place;
    const qm_region *r = &pl->regions[QM_REF_VALUE(op->args.gemm.w)];
    int bias = op->args.gemm.bias ? (int)QM_REF_VALUE(op->args.gemm.bias) : -1;
    uint64_t row = 0;
    for (int i = 0; i < r->n_segments; i++) {
        const qm_weight *w = &pl->model->weights[r->weight[i]];
        qm_gemm_args s = *a;
        s.w = (uint64_t)(uintptr_t)w->data;
        s.bias = bias < 0 ? 0 : raw(p, bias, i);
        s.y = a->y + row * 4;
        s.n_rows = w->n_rows;
        qm_ref_env of = *env;
        of.wtype = w->type->type;
        qm_ref_gemm(&s, &of);
        row += w->n_rows;
    }
}

static void run(qm_op_kind kind, const qm_op_args *a, const qm_ref_env *env) {
    switch (kind) {
/* clang-format off */
#define OP(word, WORD) case QM_OP_##WORD: qm_ref_##word(&a->word, env); break;
#include "../../contracts/ops.def"
    default: break;
    }
}
/* clang-format on */

int qm_run_ref_op(const qm_plan *p, int i, const qm_bases *b, qm_err *e) {
    const qm_op *op = &p->ops[i];
    const qm_kernel_info *k = &qm_kernel_table[op->kernel];
    qm_op_args a = op->args;
    qm_operand o[QM_MAX_OPERANDS];
    const int n = qm_op_operands(p, op, o);
    for (int f = 0; f < n; f++) {
        uint64_t v = resolve(p, o[f].ref, b);
        memcpy(a.bytes + o[f].offset, &v, 8);
    }
    qm_ref_env env = {k->wtype,  k->head_dim, p->limits.kv_type, {op->grid[0], op->grid[1], op->grid[2]},
                      op->block, op->rows,    p->limits.f32_act};
    if ((unsigned)op->kind >= QM_N_OPS) return qm_fail(e, QM_ERR_ARG, "run_ref: there is no op %d", (int)op->kind);
    /* weights are raw rows here: as many bytes an expert, and as many tensors, as the file has */
    if (op->kind == QM_OP_MOE_UP) a.moe_up.expert_bytes = raw_expert_bytes(p, op->args.moe_up.w_gate);
    if (op->kind == QM_OP_MOE_MATVEC) a.moe_matvec.expert_bytes = raw_expert_bytes(p, op->args.moe_matvec.w);
    if (op->kind == QM_OP_MOE_DOWN) a.moe_down.expert_bytes = raw_expert_bytes(p, op->args.moe_down.w);
    if (op->kind == QM_OP_MOE_GEMM_UP) a.moe_gemm_up.expert_bytes = raw_expert_bytes(p, op->args.moe_gemm_up.w_gate);
    if (op->kind == QM_OP_MOE_GEMM) a.moe_gemm.expert_bytes = raw_expert_bytes(p, op->args.moe_gemm.w);
    if (op->kind == QM_OP_MATVEC) run_matvec(p, op, &a.matvec, &env);
    else if (op->kind == QM_OP_GEMM) run_gemm(p, op, &a.gemm, &env);
    else run(op->kind, &a, &env);
    return 0;
}

int qm_run_ref(const qm_plan *p, const qm_bases *b, qm_err *e) {
    int rc = 0;
    for (int i = 0; i < p->n_ops && !rc; i++) rc = qm_run_ref_op(p, i, b, e);
    return rc;
}
