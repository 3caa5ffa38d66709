/* build.c: the ops of one decode step, in order, and the scratch buffers between them: embedding, layers, output. What a
 * layer is, its family says (runtime/arch) in the calls of build.h; each function below appends what its name says. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "../../kernels/ref/ref.h"
#include "build.h"
#include "ops.h"

/* Scratch buffers of a step: offsets. Nothing is aliased: the whole is small, and any op's output can
 * be looked at after the step. */
typedef struct {
    qm_ref x, xn, xq;                            /* residual stream; normalised, f32 and q16a */
    qm_ref qkv, q, acc, ml;                      /* attention */
    qm_ref att, attq, o;                         /* heads' output; o: partial sums of attn_output */
    qm_ref rlogits, ids, rw;                     /* router */
    qm_ref gate, up, h, hq, down;                /* experts; down: partial sums, one per chosen expert */
    qm_ref logits, keys, hist, part, cand, work; /* sampling */
} buffers;

struct qm_builder {
    qm_plan *p;
    const qm_hparams *hp;
    buffers b;
    int layer;
    int failed;
    qm_err *e;
    /* partial sums waiting to be added to the residual by the next rmsnorm */
    qm_ref pending;
    uint32_t n_pending;
    uint32_t n_qkv_parts; /* partial sums in qkv */
};
typedef qm_builder builder;

enum { MAX_PARTS = 1 << QM_PARTS_LOG };

static qm_ref scratch(builder *s, uint64_t bytes) {
    qm_ref r = QM_REF(QM_SPACE_SCRATCH, s->p->scratch_bytes);
    s->p->scratch_bytes += (bytes + 255) & ~(uint64_t)255;
    return r;
}

static qm_ref region(int i) { return i < 0 ? 0 : QM_REF(QM_SPACE_REGION, i); }
/* The region that a weight is part of. */
static int region_of(builder *s, int weight) { return s->p->place->region_of[weight]; }
static const qm_region *region_at(builder *s, int weight) { return &s->p->place->regions[region_of(s, weight)]; }
static qm_ref weight_ref(builder *s, int weight) { return weight < 0 ? 0 : region(region_of(s, weight)); }
static qm_ref seq(uint64_t off) { return QM_REF(QM_SPACE_SEQ, off); }
static qm_ref step_row(void) { return QM_REF(QM_SPACE_STEP, 0); }

static qm_op *push_kernel(builder *s, qm_op_kind kind, int wtype, int kv, int head_dim, const char *slot) {
    qm_plan *p = s->p;
    if (s->failed) return NULL;
    if (p->n_ops == p->cap_ops) {
        int cap = p->cap_ops ? 2 * p->cap_ops : 256;
        qm_op *ops = realloc(p->ops, (size_t)cap * sizeof *ops);
        if (!ops) {
            s->failed = qm_fail(s->e, QM_ERR_NOMEM, "plan: out of memory");
            return NULL;
        }
        p->ops = ops;
        p->cap_ops = cap;
    }
    qm_op *op = &p->ops[p->n_ops];
    memset(op, 0, sizeof *op);
    op->kind = kind;
    op->kernel = qm_kernel_find(kind, wtype, kv, head_dim);
    if (op->kernel < 0) {
        const qm_type_info *t = wtype >= 0 ? qm_type_get((uint32_t)wtype) : NULL;
        s->failed = qm_fail(s->e, QM_ERR_UNSUPPORTED, "plan: no %s kernel for %s, head_dim %d", qm_op_name(kind),
                            t ? t->name : "-", head_dim);
        return NULL;
    }
    op->layer = s->layer;
    op->slot = slot;
    op->rows = 1;
    op->grid[0] = op->grid[1] = op->grid[2] = 1;
    p->n_ops++;
    return op;
}

static qm_op *push(builder *s, qm_op_kind kind, int wtype, int head_dim, const char *slot) {
    return push_kernel(s, kind, wtype, -1, head_dim, slot);
}

/* An op that touches the cache. */
static qm_op *push_kv(builder *s, qm_op_kind kind, const char *slot) {
    return push_kernel(s, kind, -1, (int)s->p->limits.kv_type, (int)s->hp->head_dim, slot);
}

/* used: experts read out of the region (1 where it has none) */
static void weights_read(builder *s, qm_op *op, const qm_region *r, uint32_t used) {
    op->weights += (uint64_t)r->n_rows * r->n_cols * used;
    op->weight_bytes += r->expert_bytes * used;
    s->p->weight_bytes += r->expert_bytes * used;
}

static void embed(builder *s) {
    const int weight = s->p->place->model->token_embd;
    const qm_region *r = region_at(s, weight);
    qm_op *op = push(s, QM_OP_EMBED, r->type->type, 0, "embed");
    if (!op) return;
    op->block = (uint32_t)qm_kernel_table[op->kernel].max_block;
    op->args.embed = (qm_embed_args){.w = weight_ref(s, weight),
                                     .state = seq(s->p->seq.state_off),
                                     .tokens = seq(s->p->seq.tokens_off),
                                     .row = step_row(),
                                     .y = s->b.x,
                                     .n_cols = r->n_cols,
                                     .n_rows = r->n_rows};
    op->weights = r->n_cols;
    op->weight_bytes = qm_row_bytes(r->type, r->n_cols);
    s->p->weight_bytes += op->weight_bytes;
}

/* Adds what is pending to the residual, then normalises: xn (f32) and xq (q16a). */
void qm_build_rmsnorm(builder *s, int weight, const char *slot) {
    uint32_t n = s->hp->n_embd;
    qm_op *op = push(s, QM_OP_RMSNORM, -1, 0, slot);
    if (!op) return;
    op->block = qm_launch_rmsnorm(n).block;
    op->args.rmsnorm = (qm_rmsnorm_args){.x = s->b.x,
                                         .partials = s->pending,
                                         .x_out = s->n_pending ? s->b.x : 0,
                                         .w = weight_ref(s, weight),
                                         .y = s->b.xn,
                                         .yq = s->b.xq,
                                         .n = n,
                                         .n_partials = s->n_pending,
                                         .rows = 1,
                                         .eps = s->hp->eps};
    s->pending = 0;
    s->n_pending = 0;
}

/* The activation a weight type wants of a pair of buffers. */
static int quantised(builder *s, const qm_type_info *t) { return t->q16a && !s->p->limits.f32_act; }
static qm_ref activation(builder *s, const qm_type_info *t, qm_ref f32, qm_ref q16a) {
    return quantised(s, t) ? q16a : f32;
}

/* The product with all weights of a region; y [parts of K, n_rows]; returns how many parts. */
static uint32_t matvec(builder *s, int weight, qm_ref f32, qm_ref q16a, qm_ref y, uint32_t max_parts,
                       const char *slot) {
    const qm_region *r = region_at(s, weight);
    qm_op *op = push(s, QM_OP_MATVEC, r->type->type, 0, slot);
    if (!op) return 1;
    qm_launch l = qm_launch_matvec(r->type->type, r->n_rows, r->n_cols, s->p->limits.n_sm, max_parts);
    op->grid[0] = l.grid[0];
    op->grid[1] = l.grid[1];
    op->block = l.block;
    op->shared = l.shared;
    op->args.matvec = (qm_matvec_args){.w = weight_ref(s, weight),
                                       .x = activation(s, r->type, f32, q16a),
                                       .bias = region(r->bias),
                                       .y = y,
                                       .n_rows = r->n_rows,
                                       .n_cols = r->n_cols,
                                       .tiles = l.tiles};
    weights_read(s, op, r, 1);
    return l.grid[1];
}

void qm_build_qkv(builder *s, int q, int k, int v) {
    const int w[] = {q, k, v};
    uint64_t off = 0;
    for (int i = 0; i < 3;) {
        const qm_region *r = region_at(s, w[i]);
        /* the parts of several ops would not share one stride: only one op writes parts */
        s->n_qkv_parts = matvec(s, w[i], s->b.xn, s->b.xq, s->b.qkv + off, r->n_segments == 3 ? MAX_PARTS : 1, "qkv");
        off += (uint64_t)r->n_rows * 4;
        i += r->n_segments;
    }
}

void qm_build_qkrope(builder *s, int q_norm, int k_norm) {
    qm_op *op = push_kv(s, QM_OP_QKROPE, "qkrope");
    if (!op) return;
    uint64_t pool = qm_kv_page_bytes(s->hp, s->p->limits.kv_type) * s->p->limits.n_pages;
    uint64_t k = 2 * pool * (uint64_t)s->layer;
    op->grid[0] = s->hp->n_head + 2 * s->hp->n_kv;
    op->block = (uint32_t)qm_kernel_table[op->kernel].max_block;
    op->args.qkrope = (qm_qkrope_args){.qkv = s->b.qkv,
                                       .q_norm = weight_ref(s, q_norm),
                                       .k_norm = weight_ref(s, k_norm),
                                       .rope = QM_REF(QM_SPACE_ROPE, 0),
                                       .row = step_row(),
                                       .table = seq(s->p->seq.table_off),
                                       .k_pool = QM_REF(QM_SPACE_KV, k),
                                       .v_pool = QM_REF(QM_SPACE_KV, k + pool),
                                       .q_out = s->b.q,
                                       .n_head = s->hp->n_head,
                                       .n_kv = s->hp->n_kv,
                                       .n_partials = s->n_qkv_parts,
                                       .eps = s->hp->eps};
}

/* Spans of attention that n positions have: what acc and ml have room for. */
static uint32_t spans_for(uint32_t n) { return (n + QM_SPAN - 1) / QM_SPAN; }

void qm_build_attention(builder *s) {
    const qm_hparams *hp = s->hp;
    uint32_t n_spans = spans_for(s->p->limits.n_ctx), group = hp->n_head / hp->n_kv;
    uint64_t pool = qm_kv_page_bytes(hp, s->p->limits.kv_type) * s->p->limits.n_pages;
    uint64_t k = 2 * pool * (uint64_t)s->layer;
    qm_op *op = push_kv(s, QM_OP_ATTN, "attn");
    if (!op) return;
    op->grid[0] = hp->n_kv;
    op->grid[1] = s->p->shape.n_splits;
    op->grid[2] = (group + 7) / 8;
    op->block = (uint32_t)qm_kernel_table[op->kernel].max_block;
    op->args.attn = (qm_attn_args){.q = s->b.q,
                                   .k_pool = QM_REF(QM_SPACE_KV, k),
                                   .v_pool = QM_REF(QM_SPACE_KV, k + pool),
                                   .table = seq(s->p->seq.table_off),
                                   .row = step_row(),
                                   .acc = s->b.acc,
                                   .ml = s->b.ml,
                                   .n_head = hp->n_head,
                                   .n_kv = hp->n_kv,
                                   .n_spans = n_spans,
                                   .scale = (float)(1 / sqrt(hp->head_dim))};
    op = push(s, QM_OP_COMBINE, -1, (int)hp->head_dim, "attn_heads");
    if (!op) return;
    op->grid[0] = hp->n_head;
    op->block = hp->head_dim;
    op->args.combine = (qm_combine_args){.acc = s->b.acc,
                                         .ml = s->b.ml,
                                         .row = step_row(),
                                         .y = s->b.att,
                                         .yq = s->b.attq,
                                         .n_head = hp->n_head,
                                         .n_spans = n_spans};
}

void qm_build_attn_out(builder *s, int weight) {
    s->n_pending = matvec(s, weight, s->b.att, s->b.attq, s->b.o, MAX_PARTS, "attn_out");
    s->pending = s->b.o;
}

void qm_build_router(builder *s, int weight) {
    uint32_t parts = matvec(s, weight, s->b.xn, s->b.xq, s->b.rlogits, MAX_PARTS, "router_logits");
    qm_op *op = push(s, QM_OP_ROUTER, -1, 0, "router");
    if (!op) return;
    op->block = 32;
    op->args.router = (qm_router_args){.logits = s->b.rlogits,
                                       .ids = s->b.ids,
                                       .weights = s->b.rw,
                                       .n_expert = s->hp->n_expert,
                                       .n_used = s->hp->n_used,
                                       .n_partials = parts,
                                       .rows = 1};
}

/* A network without a router is expert 0 of one: its ids are the zero that scratch begins with (exec_*.c), and that no op
 * writes. */
static uint32_t n_expert(const qm_hparams *hp) { return hp->n_expert ? hp->n_expert : 1; }
static uint32_t n_used(const qm_hparams *hp) { return hp->n_expert ? hp->n_used : 1; }

/* One grouped matvec over the chosen experts: y [n_used, n_rows]. x_stride 0: one input for all. */
static void experts(builder *s, int weight, qm_ref x, uint64_t x_stride, qm_ref scale, qm_ref y, const char *slot) {
    const qm_region *r = region_at(s, weight);
    qm_op *op = push(s, QM_OP_MOE_MATVEC, r->type->type, 0, slot);
    if (!op) return;
    qm_launch l = qm_launch_moe_matvec(r->type->type, r->n_rows, r->n_cols, n_used(s->hp), s->p->limits.n_sm);
    memcpy(op->grid, l.grid, sizeof op->grid);
    op->block = l.block;
    op->shared = l.shared;
    op->args.moe_matvec = (qm_moe_matvec_args){.w = weight_ref(s, weight),
                                               .x = x,
                                               .ids = s->b.ids,
                                               .scale = scale,
                                               .y = y,
                                               .expert_bytes = r->expert_bytes,
                                               .x_stride = x_stride,
                                               .n_rows = r->n_rows,
                                               .n_cols = r->n_cols,
                                               .tiles = l.tiles,
                                               .n_expert = n_expert(s->hp)};
    weights_read(s, op, r, n_used(s->hp));
}

/* h = silu(gate xn) * up xn, [n_used, n_ff] */
static void gated_up(builder *s, int gate, int up) {
    const qm_hparams *hp = s->hp;
    const uint32_t k = n_used(hp);
    const qm_region *g = region_at(s, gate), *u = region_at(s, up);
    qm_op *op;
    if (g->type == u->type) {
        if (!(op = push(s, QM_OP_MOE_UP, g->type->type, 0, "ffn_up"))) return;
        qm_launch la = qm_launch_moe_up(g->type->type, hp->n_ff, hp->n_embd, k, s->p->limits.n_sm);
        memcpy(op->grid, la.grid, sizeof op->grid);
        op->block = la.block;
        op->shared = la.shared;
        op->args.moe_up = (qm_moe_up_args){.w_gate = weight_ref(s, gate),
                                           .w_up = weight_ref(s, up),
                                           .x = activation(s, g->type, s->b.xn, s->b.xq),
                                           .ids = s->b.ids,
                                           .h = s->b.h,
                                           .hq = s->b.hq,
                                           .expert_bytes = g->expert_bytes,
                                           .n_ff = hp->n_ff,
                                           .n_cols = hp->n_embd,
                                           .tiles = la.tiles,
                                           .n_expert = n_expert(hp)};
        weights_read(s, op, g, k);
        weights_read(s, op, u, k);
    } else { /* gate and up of different types: three ops instead of one */
        experts(s, gate, activation(s, g->type, s->b.xn, s->b.xq), 0, 0, s->b.gate, "ffn_gate");
        experts(s, up, activation(s, u->type, s->b.xn, s->b.xq), 0, 0, s->b.up, "ffn_up");
        if (!(op = push(s, QM_OP_SWIGLU, -1, 0, "ffn_act"))) return;
        op->block = 256;
        op->grid[0] = (k * hp->n_ff + 255) / 256;
        op->args.swiglu =
            (qm_swiglu_args){.gate = s->b.gate, .up = s->b.up, .h = s->b.h, .hq = s->b.hq, .n = hp->n_ff, .k = k};
    }
}

static void experts_down(builder *s, int down) {
    const qm_region *d = region_at(s, down);
    uint64_t stride = quantised(s, d->type) ? QM_Q16A_BYTES((uint64_t)s->hp->n_ff) : (uint64_t)s->hp->n_ff * 4;
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
    s->n_pending = matvec(s, down, s->b.h, s->b.hq, s->b.down, MAX_PARTS, "ffn_out");
    s->pending = s->b.down;
}

int qm_build_cache_only(const builder *s) { return s->layer + 1 == (int)s->hp->n_layers && !s->p->shape.outs; }

static void sampling(builder *s) {
    qm_plan *p = s->p;
    uint32_t n = s->hp->n_vocab;
    qm_launch l = qm_launch_sample_scan(n);
    if (n >= QM_SAMPLE_MAX_N) {
        s->failed = qm_fail(s->e, QM_ERR_UNSUPPORTED, "plan: a vocabulary of %u tokens: sampling takes fewer than %u",
                            n, QM_SAMPLE_MAX_N);
        return;
    }
    qm_op *op = push(s, QM_OP_SAMPLE_SCAN, -1, 0, "sample_scan");
    if (!op) return;
    op->grid[0] = l.grid[0];
    op->block = l.block;
    op->args.sample_scan = (qm_sample_scan_args){.logits = s->b.logits,
                                                 .keys = s->b.keys,
                                                 .hist = s->b.hist,
                                                 .part = s->b.part,
                                                 .work = s->b.work,
                                                 .state = seq(p->seq.state_off),
                                                 .tokens = seq(p->seq.tokens_off),
                                                 .row = step_row(),
                                                 .n = n,
                                                 .rows = 1};
    if (!(op = push(s, QM_OP_SAMPLE_DRAW, -1, 0, "sample_draw"))) return;
    l = qm_launch_sample_draw(n);
    op->grid[0] = l.grid[0];
    op->block = l.block;
    op->args.sample_draw = (qm_sample_draw_args){.keys = s->b.keys,
                                                 .cand = s->b.cand,
                                                 .work = s->b.work,
                                                 .state = seq(p->seq.state_off),
                                                 .tokens = seq(p->seq.tokens_off),
                                                 .row = step_row(),
                                                 .result = QM_REF(QM_SPACE_RESULT, 0),
                                                 .n = n,
                                                 .rows = 1};
}

static void head(builder *s) {
    const qm_model *m = s->p->place->model;
    s->layer = -1;
    qm_build_rmsnorm(s, m->output_norm, "output_norm");
    matvec(s, m->output, s->b.xn, s->b.xq, s->b.logits, 1, "logits");
    if (!s->failed) sampling(s);
}

static void allocate(builder *s) {
    const qm_hparams *hp = s->hp;
    buffers *b = &s->b;
    uint64_t nq = (uint64_t)hp->n_head * hp->head_dim, nqkv = nq + 2ull * hp->n_kv * hp->head_dim;
    uint64_t used = n_used(hp), ff = used * hp->n_ff, spans = spans_for(s->p->limits.n_ctx);
    b->x = scratch(s, 4ull * hp->n_embd);
    b->xn = scratch(s, 4ull * hp->n_embd);
    b->xq = scratch(s, QM_Q16A_BYTES((uint64_t)hp->n_embd));
    b->qkv = scratch(s, 4 * nqkv * MAX_PARTS);
    b->q = scratch(s, 4 * nq);
    b->att = scratch(s, 4 * nq);
    b->attq = scratch(s, QM_Q16A_BYTES(nq));
    b->o = scratch(s, 4ull * hp->n_embd * MAX_PARTS);
    b->rlogits = scratch(s, 4ull * hp->n_expert * MAX_PARTS);
    b->ids = scratch(s, 4 * used);
    b->rw = scratch(s, 4 * used);
    b->gate = scratch(s, 4 * ff);
    b->up = scratch(s, 4 * ff);
    b->h = scratch(s, 4 * ff);
    b->hq = scratch(s, used * QM_Q16A_BYTES((uint64_t)hp->n_ff));
    b->down = scratch(s, 4 * (hp->n_expert ? used : MAX_PARTS) * hp->n_embd);
    b->logits = scratch(s, 4ull * hp->n_vocab);
    b->keys = scratch(s, 4ull * (hp->n_vocab + 3));
    b->hist = scratch(s, 4 * QM_SAMPLE_BUCKETS);
    b->part = scratch(s, 8 * QM_SAMPLE_CTAS);
    b->cand = scratch(s, 8ull * hp->n_vocab);
    b->work = scratch(s, QM_WORK_SIZE);
    b->acc = scratch(s, 4 * nq * spans);
    b->ml = scratch(s, 8 * (uint64_t)hp->n_head * spans);
    s->p->x_off = QM_REF_VALUE(b->x);
    s->p->logits_off = QM_REF_VALUE(b->logits);
}

uint64_t qm_plan_scratch_bytes(const qm_place *pl, qm_limits limits) {
    const qm_hparams *hp = &pl->model->hp;
    qm_plan p = {.limits = limits};
    allocate(&(builder){.p = &p, .hp = hp});
    return p.scratch_bytes;
}

int qm_plan_build(qm_plan **out, const qm_place *place, qm_shape shape, qm_limits limits, qm_err *e) {
    *out = NULL;
    if (shape.rows != 1)
        return qm_fail(e, QM_ERR_UNSUPPORTED, "plan: a step of %u rows: kernels compute 1", shape.rows);
    qm_plan *p = calloc(1, sizeof *p);
    if (!p) return qm_fail(e, QM_ERR_NOMEM, "plan: out of memory");
    p->place = place;
    p->shape = shape;
    p->limits = limits;
    p->seq = qm_seq_layout_of(&place->model->hp, limits);
    builder s = {.p = p, .hp = &place->model->hp, .layer = -1, .e = e};
    allocate(&s);
    embed(&s);
    const qm_model *m = place->model;
    for (s.layer = 0; s.layer < (int)m->hp.n_layers && !s.failed; s.layer++)
        m->layer(&s, m->layers + s.layer * m->n_per_layer);
    if (shape.outs && !s.failed) head(&s);
    if (s.failed) {
        qm_plan_free(p);
        return s.failed;
    }
    qm_plan_order(p);
    qm_plan_prefetch(p);
    qm_plan_resident(p);
    *out = p;
    return 0;
}

void qm_plan_free(qm_plan *p) {
    if (!p) return;
    free(p->ops);
    free(p);
}

/* A CTA for each span, as many as fill the device twice: then each has several. Which does not show in the bits. A power
 * of two, so that few graphs do. */
uint32_t qm_plan_splits(const qm_hparams *hp, qm_limits limits, uint32_t pos) {
    uint32_t ctas = hp->n_kv * ((hp->n_head / hp->n_kv + 7) / 8), n = 1;
    while (n < 64 && n * ctas < 2 * limits.n_sm && n < pos / QM_SPAN + 1) n *= 2;
    return n;
}
