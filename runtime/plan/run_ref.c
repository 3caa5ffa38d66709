/* run_ref.c: a plan on the host. Each op's C reference gets the same argument struct as the kernel;
 * weights are the raw rows of the mapped file, so nothing of the packed layout is believed. */
#include <string.h>
#include "../../kernels/ref/ref.h"
#include "plan.h"

static uint64_t raw(const qm_plan *p, int reg, int segment) {
    const qm_region *r = &p->place->regions[reg];
    return (uint64_t)(uintptr_t)p->place->model->weights[r->weight[segment]].t->data;
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
 * segments share the fused op's stride. */
static void run_matvec(const qm_plan *p, const qm_op *op, const qm_matvec_args *a, const qm_ref_env *env) {
    const qm_place *pl = p->place;
    const qm_region *r = &pl->regions[QM_REF_VALUE(op->args.matvec.w)];
    int bias = op->args.matvec.bias ? (int)QM_REF_VALUE(op->args.matvec.bias) : -1;
    uint64_t row = 0;
    for (int i = 0; i < r->n_segments; i++) {
        const qm_weight *w = &pl->model->weights[r->weight[i]];
        qm_matvec_args s = *a;
        s.w = (uint64_t)(uintptr_t)w->t->data;
        s.bias = bias < 0 ? 0 : raw(p, bias, i);
        s.y = a->y + row * 4;
        s.n_rows = w->n_rows;
        qm_ref_matvec_strided(&s, env, a->n_rows);
        row += w->n_rows;
    }
}

int qm_run_ref_op(const qm_plan *p, int i, const qm_bases *b, qm_err *e) {
    const qm_op *op = &p->ops[i];
    const qm_kernel_info *k = &qm_kernel_table[op->kernel];
    qm_op_args a = op->args;
    for (int f = 0; f < qm_op_n_addresses(op->kind); f++) {
        uint64_t v;
        memcpy(&v, op->args.bytes + 8 * f, 8);
        v = resolve(p, v, b);
        memcpy(a.bytes + 8 * f, &v, 8);
    }
    qm_ref_env env = {k->wtype,  k->head_dim,      p->limits.kv_type, {op->grid[0], op->grid[1], op->grid[2]},
                      op->block, p->limits.f32_act};
    switch (op->kind) {
    case QM_OP_EMBED: qm_ref_embed(&a.embed, &env); break;
    case QM_OP_RMSNORM: qm_ref_rmsnorm(&a.rmsnorm, &env); break;
    case QM_OP_MATVEC: run_matvec(p, op, &a.matvec, &env); break;
    case QM_OP_MOE_UP:
        a.moe_up.expert_bytes = raw_expert_bytes(p, op->args.moe_up.w_gate);
        qm_ref_moe_up(&a.moe_up, &env);
        break;
    case QM_OP_MOE_MATVEC:
        a.moe_matvec.expert_bytes = raw_expert_bytes(p, op->args.moe_matvec.w);
        qm_ref_moe_matvec(&a.moe_matvec, &env);
        break;
    case QM_OP_SWIGLU: qm_ref_swiglu(&a.swiglu, &env); break;
    case QM_OP_QKROPE: qm_ref_qkrope(&a.qkrope, &env); break;
    case QM_OP_ATTN: qm_ref_attn(&a.attn, &env); break;
    case QM_OP_COMBINE: qm_ref_combine(&a.combine, &env); break;
    case QM_OP_ROUTER: qm_ref_router(&a.router, &env); break;
    case QM_OP_SAMPLE_SCAN: qm_ref_sample_scan(&a.sample_scan, &env); break;
    case QM_OP_SAMPLE_DRAW: qm_ref_sample_draw(&a.sample_draw, &env); break;
    case QM_OP_PROBE: qm_ref_probe(&a.probe, &env); break;
    default: return qm_fail(e, QM_ERR_ARG, "run_ref: op %d has no reference", (int)op->kind);
    }
    return 0;
}

int qm_run_ref(const qm_plan *p, const qm_bases *b, qm_err *e) {
    int rc = 0;
    for (int i = 0; i < p->n_ops && !rc; i++) rc = qm_run_ref_op(p, i, b, e);
    return rc;
}
