/* build_experts.c: the feed-forward half of a layer: the router, the choice of experts, their products; or the one network of a family
 * without experts. See build.h. */
#include <string.h>
#include "builder.h"

/* Who needs the experts first chooses them, or has them chosen. */
void qm_build_router(builder *s, int weight) {
    if (region_at(s, weight)->type->q16a) qm_builder_norm_apart(s); /* only float weights leave it in both forms */
    s->n_logit_parts =
        qm_builder_product(s, weight, s->b.xn, s->b.xq, s->b.rlogits, s->hp->n_expert, MAX_PARTS, "router_logits");
    if (s->norm) qm_builder_leave_norm(s, s->b.xn, s->b.xq); /* the experts come after it anyway */
    s->norm = 0;
}

static void choose(builder *s) {
    qm_op *op = qm_builder_push(s, QM_OP_ROUTER, -1, 0, "router");
    if (!op) return;
    op->grid[0] = s->rows;
    op->block = 32;
    op->args.router = (qm_router_args){.logits = s->b.rlogits,
                                       .ids = s->b.ids,
                                       .weights = s->b.rw,
                                       .n_expert = s->hp->n_expert,
                                       .n_used = s->hp->n_used,
                                       .n_partials = s->n_logit_parts,
                                       .rows = n_rows(s)};
    s->n_logit_parts = 0;
}

/* Experts that all rows can have chosen together. */
static uint32_t experts_read(const builder *s) { return least(n_expert(s->hp), n_used(s->hp) * s->rows); }
static uint32_t group_width(const builder *s) { return qm_moe_width(n_rows(s), n_used(s->hp), n_expert(s->hp)); }
static uint32_t most_groups(const builder *s) {
    return qm_moe_groups(n_rows(s), n_used(s->hp), n_expert(s->hp), group_width(s));
}

/* Of many rows: which have chosen each expert. */
static void sort_slots(builder *s) {
    const qm_launch l = qm_launch_moe_sort(n_rows(s), n_used(s->hp), n_expert(s->hp));
    qm_op *op = qm_builder_push(s, QM_OP_MOE_SORT, -1, 0, "expert_groups");
    if (!op) return;
    op->block = l.block;
    op->shared = l.shared;
    op->args.moe_sort = (qm_moe_sort_args){.ids = s->b.ids,
                                           .count = s->count,
                                           .order = s->b.order,
                                           .groups = s->b.groups,
                                           .n_groups = s->b.n_groups,
                                           .n_expert = n_expert(s->hp),
                                           .n_used = n_used(s->hp),
                                           .width = group_width(s),
                                           .max_groups = most_groups(s),
                                           .rows = n_rows(s)};
}

/* y [slot, n_rows], or by_pick: [pick, row, n_rows]. */
static void experts_of_many(builder *s, int weight, qm_ref x, int x_slots, qm_ref scale, qm_ref y, int by_pick,
                            const char *slot) {
    const qm_region *r = region_at(s, weight);
    const uint32_t used = n_used(s->hp);
    const qm_launch l =
        qm_launch_moe_gemm(r->type->type, r->n_rows, r->n_cols, group_width(s), most_groups(s), s->p->limits.n_sm);
    qm_op *op = qm_builder_push_rows(s, QM_OP_MOE_GEMM, r->type->type, &l, slot);
    if (!op) return;
    op->args.moe_gemm = (qm_moe_gemm_args){.w = weight_ref(s, weight),
                                           .x = x,
                                           .order = s->b.order,
                                           .groups = s->b.groups,
                                           .n_groups = s->b.n_groups,
                                           .scale = scale,
                                           .y = y,
                                           .expert_bytes = r->expert_bytes,
                                           .n_rows = r->n_rows,
                                           .n_cols = r->n_cols,
                                           .tiles = l.tiles,
                                           .n_expert = n_expert(s->hp),
                                           .n_used = used,
                                           .max_groups = most_groups(s),
                                           .x_slots = (uint32_t)x_slots,
                                           .y_row = by_pick ? r->n_rows : used * r->n_rows,
                                           .y_pick = by_pick ? n_rows(s) * r->n_rows : r->n_rows};
    qm_builder_reads(s, op, r, experts_read(s));
}

/* One grouped matvec over the chosen experts: y [n_used, n_rows]. x_stride 0: one input for all. */
static void experts(builder *s, int weight, qm_ref x, uint64_t x_stride, qm_ref scale, qm_ref y, const char *slot) {
    const qm_region *r = region_at(s, weight);
    if (many(s)) {
        experts_of_many(s, weight, x, x_stride != 0, scale, y, scale != 0, slot);
        return;
    }
    qm_op *op = qm_builder_push(s, QM_OP_MOE_MATVEC, r->type->type, 0, slot);
    if (!op) return;
    qm_launch l = qm_launch_moe_matvec(r->type->type, r->n_rows, r->n_cols, n_used(s->hp), qm_builder_sms(s));
    memcpy(op->grid, l.grid, sizeof op->grid);
    op->block = l.block;
    op->shared = l.shared;
    op->args.moe_matvec = (qm_moe_matvec_args){.w = weight_ref(s, weight),
                                               .x = x,
                                               .ids = s->b.ids,
                                               .scale = scale,
                                               .y = y,
                                               .expert_bytes = r->expert_bytes,
                                               .deal = qm_deal_of((int)r->type->type, r->n_rows, r->n_cols, 1, 1, &l),
                                               .x_stride = x_stride,
                                               .n_rows = r->n_rows,
                                               .n_cols = r->n_cols,
                                               .n_expert = n_expert(s->hp)};
    qm_builder_reads(s, op, r, n_used(s->hp));
}

/* The same in moe_up. */
static void choose_inside(builder *s, qm_op *op) {
    qm_moe_up_args *a = &op->args.moe_up;
    a->ids = 0;
    a->logits = s->b.rlogits;
    a->picked = s->b.ids;
    a->weights = s->b.rw;
    a->n_partials = s->n_logit_parts;
    a->choice = qm_choice_of(a->n_expert, op->grid[1], &op->shared);
    s->n_logit_parts = 0;
}

/* h = silu(gate xn) * up xn, [n_used, n_ff] */
static void gated_up(builder *s, int gate, int up) {
    const qm_hparams *hp = s->hp;
    const uint32_t k = n_used(hp);
    const qm_region *g = region_at(s, gate), *u = region_at(s, up);
    qm_op *op;
    const int chooses = s->n_logit_parts && g->type == u->type && !many(s) && !(s->p->limits.apart & QM_APART_TOPK);
    if (s->n_logit_parts && !chooses) choose(s);
    if (many(s)) sort_slots(s);
    if (g->type == u->type && many(s)) {
        const qm_launch l = qm_launch_moe_gemm_up(g->type->type, hp->n_ff, hp->n_embd, group_width(s), most_groups(s),
                                                  s->p->limits.n_sm);
        if (!(op = qm_builder_push_rows(s, QM_OP_MOE_GEMM_UP, g->type->type, &l, "ffn_up"))) return;
        op->args.moe_gemm_up = (qm_moe_gemm_up_args){.w_gate = weight_ref(s, gate),
                                                     .w_up = weight_ref(s, up),
                                                     .x = activation(s, g->type, s->b.xn, s->b.xq),
                                                     .order = s->b.order,
                                                     .groups = s->b.groups,
                                                     .n_groups = s->b.n_groups,
                                                     .h = s->b.h,
                                                     .hq = s->b.hq,
                                                     .expert_bytes = g->expert_bytes,
                                                     .n_ff = hp->n_ff,
                                                     .n_cols = hp->n_embd,
                                                     .tiles = l.tiles,
                                                     .n_expert = n_expert(hp),
                                                     .n_used = k,
                                                     .max_groups = most_groups(s)};
        qm_builder_reads(s, op, g, experts_read(s));
        qm_builder_reads(s, op, u, experts_read(s));
    } else if (g->type == u->type) {
        qm_launch la = qm_launch_moe_up_normed(g->type->type, hp->n_ff, hp->n_embd, k, qm_builder_sms(s));
        if (la.shared > QM_SHARED_MAX) qm_builder_norm_apart(s);
        if (!s->norm) la = qm_launch_moe_up(g->type->type, hp->n_ff, hp->n_embd, k, qm_builder_sms(s));
        if (!(op = qm_builder_push(s, QM_OP_MOE_UP, g->type->type, 0, "ffn_up"))) return;
        memcpy(op->grid, la.grid, sizeof op->grid);
        op->block = la.block;
        op->shared = la.shared;
        op->args.moe_up = (qm_moe_up_args){.w_gate = weight_ref(s, gate),
                                           .w_up = weight_ref(s, up),
                                           .x = s->norm ? 0 : activation(s, g->type, s->b.xn, s->b.xq),
                                           .ids = s->b.ids,
                                           .h = s->b.h,
                                           .hq = s->b.hq,
                                           .r = s->norm ? s->b.x : 0,
                                           .norm = s->norm,
                                           .xn = s->norm ? s->b.xn : 0,
                                           .deal = qm_deal_of((int)g->type->type, hp->n_ff, hp->n_embd, 1, 2, &la),
                                           .expert_bytes = g->expert_bytes,
                                           .n_ff = hp->n_ff,
                                           .n_cols = hp->n_embd,
                                           .n_expert = n_expert(hp),
                                           .eps = hp->eps};
        s->norm = 0;
        if (chooses) choose_inside(s, op);
        qm_builder_reads(s, op, g, k);
        qm_builder_reads(s, op, u, k);
    } else { /* gate and up of different types: three ops instead of one */
        qm_builder_norm_apart(s);
        experts(s, gate, activation(s, g->type, s->b.xn, s->b.xq), 0, 0, s->b.gate, "ffn_gate");
        experts(s, up, activation(s, u->type, s->b.xn, s->b.xq), 0, 0, s->b.up, "ffn_up");
        if (!(op = qm_builder_push(s, QM_OP_SWIGLU, -1, 0, "ffn_act"))) return;
        op->block = 256;
        op->grid[0] = (n_rows(s) * k * hp->n_ff + 255) / 256;
        op->args.swiglu = (qm_swiglu_args){
            .gate = s->b.gate, .up = s->b.up, .h = s->b.h, .hq = s->b.hq, .n = hp->n_ff, .k = n_rows(s) * k};
    }
}

/* x += the chosen experts' outputs, in one op. */
static void experts_added(builder *s, const qm_region *d, qm_ref w, uint64_t stride) {
    const qm_launch l = qm_launch_moe_down(d->type->type, d->n_rows, d->n_cols, n_used(s->hp), qm_builder_sms(s));
    qm_op *op = qm_builder_push(s, QM_OP_MOE_DOWN, d->type->type, 0, "ffn_out");
    if (!op) return;
    op->grid[0] = l.grid[0];
    op->block = l.block;
    op->shared = l.shared;
    op->args.moe_down = (qm_moe_down_args){.w = w,
                                           .x = activation(s, d->type, s->b.h, s->b.hq),
                                           .ids = s->b.ids,
                                           .scale = s->b.rw,
                                           .add = s->b.x,
                                           .y = s->b.x,
                                           .parts = s->b.down,
                                           .expert_bytes = d->expert_bytes,
                                           .deal = qm_deal_of((int)d->type->type, d->n_rows, d->n_cols, 1, 1, &l),
                                           .groups = qm_groups_of((int)d->type->type, d->n_cols, n_used(s->hp), &l),
                                           .x_stride = stride,
                                           .n_rows = d->n_rows,
                                           .n_cols = d->n_cols,
                                           .n_used = n_used(s->hp),
                                           .n_expert = n_expert(s->hp)};
    qm_builder_reads(s, op, d, n_used(s->hp));
    s->pending = 0;
    s->n_pending = 0;
}

static void experts_down(builder *s, int down) {
    const qm_region *d = region_at(s, down);
    uint64_t stride = quantised(s, d->type) ? QM_Q16A_BYTES((uint64_t)s->hp->n_ff) : (uint64_t)s->hp->n_ff * 4;
    if (!many(s) && !(s->p->limits.apart & QM_APART_DOWN)) {
        experts_added(s, d, weight_ref(s, down), stride);
        return;
    }
    experts(s, down, activation(s, d->type, s->b.h, s->b.hq), stride, s->b.rw, s->b.down, "ffn_out");
    s->pending = s->b.down;
    s->n_pending = s->hp->n_used;
}

void qm_build_experts(builder *s, int gate, int up, int down) {
    gated_up(s, gate, up);
    experts_down(s, down);
}

void qm_build_ffn(builder *s, int gate, int up, int down) {
    gated_up(s, gate, up);
    qm_builder_add_product(s, down, s->b.h, s->b.hq, s->b.down, "ffn_out");
}
