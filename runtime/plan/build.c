/* build.c: the ops of one step, in order, and the scratch buffers between them: embedding, layers, output. What a
 * layer is, its family says (runtime/arch) in the calls of build.h; each function below appends what its name says. The feed-forward
 * half is build_experts.c. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "builder.h"
#include "ops.h"

static qm_ref scratch(builder *s, uint64_t bytes) {
    qm_ref r = QM_REF(QM_SPACE_SCRATCH, s->p->scratch_bytes);
    s->p->scratch_bytes += (bytes + 255) & ~(uint64_t)255;
    return r;
}

static qm_ref seq(uint64_t off) { return QM_REF(QM_SPACE_SEQ, off); }
static qm_ref step(uint64_t off) { return QM_REF(QM_SPACE_STEP, off); }
static qm_ref step_row(void) { return step(QM_STEP_AT_ROWS); }
static qm_op *push_kernel(builder *s, qm_op_kind kind, int kernel, int wtype, int head_dim, const char *slot) {
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
    op->kernel = kernel;
    if (op->kernel < 0) {
        const qm_type_info *t = wtype >= 0 ? qm_type_get((uint32_t)wtype) : NULL;
        s->failed = qm_fail(s->e, QM_ERR_UNSUPPORTED, "plan: no %s kernel for %s, head_dim %d", qm_op_name(kind),
                            t ? t->name : "-", head_dim);
        return NULL;
    }
    op->layer = s->layer;
    op->slot = slot;
    op->rows = s->rows;
    op->grid[0] = op->grid[1] = op->grid[2] = 1;
    p->n_ops++;
    return op;
}

qm_op *qm_builder_push(builder *s, qm_op_kind kind, int wtype, int head_dim, const char *slot) {
    return push_kernel(s, kind, qm_kernel_find(kind, wtype, -1, head_dim), wtype, head_dim, slot);
}

/* An op that touches the cache. */
static qm_op *push_kv(builder *s, qm_op_kind kind, const char *slot) {
    const int hd = (int)s->hp->head_dim;
    return push_kernel(s, kind, qm_kernel_find(kind, -1, (int)s->p->limits.kv_type, hd), -1, hd, slot);
}

qm_op *qm_builder_push_rows(builder *s, qm_op_kind kind, int wtype, const qm_launch *l, const char *slot) {
    qm_op *op = push_kernel(s, kind, qm_kernel_find_rows(kind, wtype, (int)l->width), wtype, 0, slot);
    if (!op) return NULL;
    memcpy(op->grid, l->grid, sizeof op->grid);
    op->block = l->block;
    op->shared = l->shared;
    return op;
}

void qm_builder_reads(builder *s, qm_op *op, const qm_region *r, uint32_t used) {
    op->weights += (uint64_t)r->n_rows * r->n_cols * used;
    op->weight_bytes += r->expert_bytes * used;
    s->p->weight_bytes += r->expert_bytes * used;
}

static void embed(builder *s) {
    const int weight = s->p->place->model->token_embd;
    const qm_region *r = region_at(s, weight);
    qm_op *op = qm_builder_push(s, QM_OP_EMBED, r->type->type, 0, "embed");
    if (!op) return;
    op->grid[0] = s->rows;
    op->block = (uint32_t)qm_kernel_table[op->kernel].max_block;
    op->args.embed = (qm_embed_args){.w = weight_ref(s, weight),
                                     .state = seq(s->p->seq.state_off),
                                     .tokens = seq(s->p->seq.tokens_off),
                                     .row = step_row(),
                                     .count = s->count,
                                     .y = s->b.x,
                                     .n_cols = r->n_cols,
                                     .n_rows = r->n_rows};
    op->weights = (uint64_t)r->n_cols * s->rows;
    op->weight_bytes = qm_row_bytes(r->type, r->n_cols) * s->rows;
    s->p->weight_bytes += op->weight_bytes;
}

/* Adds what is pending to the residual, then normalises: xn (f32) and xq (q16a). */
static void rmsnorm(builder *s, qm_ref w, const char *slot) {
    uint32_t n = s->hp->n_embd;
    qm_op *op = qm_builder_push(s, QM_OP_RMSNORM, -1, 0, slot);
    if (!op) return;
    op->grid[0] = s->rows;
    op->block = qm_launch_rmsnorm(n).block;
    op->args.rmsnorm = (qm_rmsnorm_args){.x = s->b.x,
                                         .partials = s->pending,
                                         .x_out = s->n_pending ? s->b.x : 0,
                                         .w = w,
                                         .count = s->count,
                                         .map = s->map,
                                         .y = s->b.xn,
                                         .yq = s->b.xq,
                                         .n = n,
                                         .n_partials = s->n_pending,
                                         .rows = n_rows(s),
                                         .eps = s->hp->eps};
    s->pending = 0;
    s->n_pending = 0;
}

/* Of one row, who takes xn norms it himself, and who gives to the residual adds to it, where they can. */
static int fuses_norm(const builder *s) { return !many(s) && !(s->p->limits.apart & QM_APART_NORM); }

void qm_build_rmsnorm(builder *s, int weight, const char *slot) {
    if (!fuses_norm(s) || s->n_pending) {
        rmsnorm(s, weight_ref(s, weight), slot);
        return;
    }
    s->norm = weight_ref(s, weight);
    s->norm_slot = slot;
}

qm_sms qm_builder_sms(const builder *s) { return (qm_sms){s->p->limits.n_sm, s->p->limits.flight_bytes}; }

void qm_builder_norm_apart(builder *s) {
    if (s->norm) rmsnorm(s, s->norm, s->norm_slot);
    s->norm = 0;
}

/* The product with a region of many rows, whose y lie y_stride floats apart. */
static uint32_t gemm(builder *s, const qm_region *r, qm_ref w, qm_ref x, qm_ref y, uint32_t y_stride,
                     uint32_t max_parts, const char *slot) {
    const qm_launch l = qm_launch_gemm(r->type->type, r->n_rows, r->n_cols, s->rows, s->p->limits.n_sm, max_parts);
    qm_op *op = qm_builder_push_rows(s, QM_OP_GEMM, r->type->type, &l, slot);
    if (!op) return 1;
    op->args.gemm = (qm_gemm_args){.w = w,
                                   .x = x,
                                   .bias = region(r->bias),
                                   .count = s->count,
                                   .y = y,
                                   .n_rows = r->n_rows,
                                   .n_cols = r->n_cols,
                                   .tiles = l.tiles,
                                   .rows = s->rows,
                                   .y_stride = y_stride};
    qm_builder_reads(s, op, r, 1);
    return l.grid[1];
}

/* The same of one row; its input is the caller's affair. */
static qm_op *matvec(builder *s, int weight, const qm_launch *l, qm_ref y, const char *slot) {
    const qm_region *r = region_at(s, weight);
    qm_op *op = qm_builder_push(s, QM_OP_MATVEC, r->type->type, 0, slot);
    if (!op) return NULL;
    memcpy(op->grid, l->grid, sizeof op->grid);
    op->block = l->block;
    op->shared = l->shared;
    op->args.matvec = (qm_matvec_args){.w = weight_ref(s, weight),
                                       .bias = region(r->bias),
                                       .y = y,
                                       .deal = qm_deal_of((int)r->type->type, r->n_rows, r->n_cols, l->grid[1], 1, l),
                                       .n_rows = r->n_rows,
                                       .n_cols = r->n_cols};
    qm_builder_reads(s, op, r, 1);
    return op;
}

uint32_t qm_builder_product(builder *s, int weight, qm_ref f32, qm_ref q16a, qm_ref y, uint32_t y_stride,
                            uint32_t max_parts, const char *slot) {
    const qm_region *r = region_at(s, weight);
    if (s->rows > 1)
        return gemm(s, r, weight_ref(s, weight), activation(s, r->type, f32, q16a), y, y_stride, max_parts, slot);
    qm_launch l = qm_launch_matvec_normed(r->type->type, r->n_rows, r->n_cols, qm_builder_sms(s), max_parts);
    if (l.shared > QM_SHARED_MAX) qm_builder_norm_apart(s);
    if (!s->norm) l = qm_launch_matvec(r->type->type, r->n_rows, r->n_cols, qm_builder_sms(s), max_parts);
    qm_op *op = matvec(s, weight, &l, y, slot);
    if (!op) return 1;
    if (s->norm) {
        op->args.matvec.r = s->b.x;
        op->args.matvec.norm = s->norm;
        op->args.matvec.eps = s->hp->eps;
    } else op->args.matvec.x = activation(s, r->type, f32, q16a);
    return l.grid[1];
}

void qm_builder_add_product(builder *s, int weight, qm_ref f32, qm_ref q16a, qm_ref sum, const char *slot) {
    const qm_region *r = region_at(s, weight);
    const qm_launch l = qm_launch_matvec(r->type->type, r->n_rows, r->n_cols, qm_builder_sms(s), 1);
    if (!fuses_norm(s) || l.shared > QM_SHARED_MAX) {
        s->n_pending = qm_builder_product(s, weight, f32, q16a, sum, s->hp->n_embd, MAX_PARTS, slot);
        s->pending = sum;
        return;
    }
    qm_op *op = matvec(s, weight, &l, s->b.x, slot);
    if (!op) return;
    op->args.matvec.x = activation(s, r->type, f32, q16a);
    op->args.matvec.add = s->b.x;
    op->args.matvec.sum = sum;
}

void qm_builder_leave_norm(builder *s, qm_ref xn, qm_ref xq) {
    if (s->failed) return;
    qm_matvec_args *a = &s->p->ops[s->p->n_ops - 1].args.matvec;
    a->xn = xn;
    a->xq = xq;
}

static uint32_t n_parts_of(const qm_region *r) { return qm_sums_of((int)r->type->type, r->n_cols).n_parts; }

void qm_build_qkv(builder *s, int q, int k, int v) {
    const int w[] = {q, k, v};
    const uint32_t stride = (s->hp->n_head + 2 * s->hp->n_kv) * s->hp->head_dim;
    /* the parts of several ops have one stride only where each row's are told theirs, and there must be as many of each */
    uint32_t parts = many(s) || region_at(s, w[0])->n_segments == 3 ? MAX_PARTS : 1;
    for (int i = 1; i < 3; i++)
        if (n_parts_of(region_at(s, w[i])) != n_parts_of(region_at(s, w[0]))) parts = 1;
    uint64_t off = 0;
    for (int i = 0; i < 3;) {
        const qm_region *r = region_at(s, w[i]);
        s->n_qkv_parts = qm_builder_product(s, w[i], s->b.xn, s->b.xq, s->b.qkv + off, stride, parts, "qkv");
        if (s->norm && i == 0) qm_builder_leave_norm(s, s->b.xn, 0); /* to be looked at */
        off += (uint64_t)r->n_rows * 4;
        i += r->n_segments;
    }
    s->norm = 0;
}

/* One op has the row's key and value, its attention, and the folding of spans. */
static int attention_in_one(const builder *s) {
    return !many(s) && !(s->p->limits.apart & QM_APART_ATTN) && !qm_build_cache_only(s);
}

void qm_build_qkrope(builder *s, int q_norm, int k_norm) {
    s->q_norm = q_norm;
    s->k_norm = k_norm;
    if (attention_in_one(s)) return; /* qm_build_attention's */
    qm_op *op = push_kv(s, QM_OP_QKROPE, "qkrope");
    if (!op) return;
    uint64_t pool = qm_kv_page_bytes(s->hp, s->p->limits.kv_type) * s->p->limits.n_pages;
    uint64_t k = 2 * pool * (uint64_t)s->layer;
    op->grid[0] = s->hp->n_head + 2 * s->hp->n_kv;
    op->grid[1] = s->rows;
    op->block = (uint32_t)qm_kernel_table[op->kernel].max_block;
    op->args.qkrope = (qm_qkrope_args){.qkv = s->b.qkv,
                                       .q_norm = weight_ref(s, q_norm),
                                       .k_norm = weight_ref(s, k_norm),
                                       .rope = QM_REF(QM_SPACE_ROPE, 0),
                                       .row = step_row(),
                                       .count = s->count,
                                       .table = seq(s->p->seq.table_off),
                                       .k_pool = QM_REF(QM_SPACE_KV, k),
                                       .v_pool = QM_REF(QM_SPACE_KV, k + pool),
                                       .q_out = s->b.q,
                                       .n_head = s->hp->n_head,
                                       .n_kv = s->hp->n_kv,
                                       .n_partials = s->n_qkv_parts,
                                       .rows = n_rows(s),
                                       .eps = s->hp->eps};
}

/* CTAs of attention that share the query heads of a kv head: eight each. */
static uint32_t eights(const qm_hparams *hp) { return (hp->n_head / hp->n_kv + 7) / 8; }
/* Spans of attention that n positions have: what acc and ml have room for. */
static uint32_t spans_for(uint32_t n) { return (n + QM_SPAN - 1) / QM_SPAN; }

/* Rows that share no sequence with another of the step, at most; and runs of those that do. */
static uint32_t most_singles(qm_limits l, uint32_t rows) { return rows == 1 ? 1 : least(rows, at_least_1(l.n_seqs)); }
static uint32_t most_runs(qm_limits l, uint32_t rows) {
    return least(rows / 2, rows / QM_RUN_ROWS + at_least_1(l.n_seqs));
}

static void attention_of_one(builder *s, qm_ref k_pool, qm_ref v_pool) {
    const qm_hparams *hp = s->hp;
    qm_op *op = push_kv(s, QM_OP_ATTN_DECODE, "attn");
    if (!op) return;
    op->grid[0] = hp->n_kv;
    op->grid[1] = s->p->shape.n_splits;
    op->grid[2] = eights(hp);
    op->block = (uint32_t)qm_kernel_table[op->kernel].max_block;
    op->args.attn_decode = (qm_attn_decode_args){.qkv = s->b.qkv,
                                                 .q_norm = weight_ref(s, s->q_norm),
                                                 .k_norm = weight_ref(s, s->k_norm),
                                                 .rope = QM_REF(QM_SPACE_ROPE, 0),
                                                 .row = step_row(),
                                                 .table = seq(s->p->seq.table_off),
                                                 .k_pool = k_pool,
                                                 .v_pool = v_pool,
                                                 .acc = s->b.acc,
                                                 .ml = s->b.ml,
                                                 .arrived = s->b.arrived,
                                                 .q_out = s->b.q,
                                                 .y = s->b.att,
                                                 .yq = s->b.attq,
                                                 .n_head = hp->n_head,
                                                 .n_kv = hp->n_kv,
                                                 .n_partials = s->n_qkv_parts,
                                                 .n_spans = spans_for(s->p->limits.n_ctx),
                                                 .eps = hp->eps,
                                                 .scale = (float)(1 / sqrt(hp->head_dim))};
}

/* Of rows that share no sequence: many CTAs a row, whose spans are then combined. */
static void attention_of_singles(builder *s, qm_ref k_pool, qm_ref v_pool) {
    const qm_hparams *hp = s->hp;
    const uint32_t n_spans = spans_for(s->p->limits.n_ctx);
    const uint32_t rows = most_singles(s->p->limits, n_rows(s));
    const qm_ref count = many(s) ? step(QM_STEP_N_SINGLES) : 0, map = many(s) ? step(QM_STEP_AT_SINGLES) : 0;
    qm_op *op = push_kv(s, QM_OP_ATTN, "attn");
    if (!op) return;
    op->rows = rows;
    op->grid[0] = hp->n_kv;
    op->grid[1] = s->p->shape.n_splits;
    op->grid[2] = eights(hp) * rows;
    op->block = (uint32_t)qm_kernel_table[op->kernel].max_block;
    op->args.attn = (qm_attn_args){.q = s->b.q,
                                   .k_pool = k_pool,
                                   .v_pool = v_pool,
                                   .table = seq(s->p->seq.table_off),
                                   .row = step_row(),
                                   .count = count,
                                   .map = map,
                                   .acc = s->b.acc,
                                   .ml = s->b.ml,
                                   .n_head = hp->n_head,
                                   .n_kv = hp->n_kv,
                                   .n_spans = n_spans,
                                   .rows = n_rows(s),
                                   .scale = (float)(1 / sqrt(hp->head_dim))};
    if (!(op = qm_builder_push(s, QM_OP_COMBINE, -1, (int)hp->head_dim, "attn_heads"))) return;
    op->rows = rows;
    op->grid[0] = hp->n_head;
    op->grid[1] = rows;
    op->block = hp->head_dim;
    op->args.combine = (qm_combine_args){.acc = s->b.acc,
                                         .ml = s->b.ml,
                                         .row = step_row(),
                                         .count = count,
                                         .map = map,
                                         .y = s->b.att,
                                         .yq = s->b.attq,
                                         .n_head = hp->n_head,
                                         .n_spans = n_spans,
                                         .rows = n_rows(s)};
}

/* Of runs of rows of a sequence. */
static void attention_of_runs(builder *s, qm_ref k_pool, qm_ref v_pool) {
    const qm_hparams *hp = s->hp;
    qm_op *op = push_kv(s, QM_OP_ATTN_PREFILL, "attn_prefill");
    if (!op) return;
    op->grid[0] = hp->n_kv;
    op->grid[1] = most_runs(s->p->limits, n_rows(s));
    op->grid[2] = eights(hp);
    op->block = (uint32_t)qm_kernel_table[op->kernel].max_block;
    op->args.attn_prefill = (qm_attn_prefill_args){.q = s->b.q,
                                                   .k_pool = k_pool,
                                                   .v_pool = v_pool,
                                                   .table = seq(s->p->seq.table_off),
                                                   .row = step_row(),
                                                   .count = step(QM_STEP_N_RUNS),
                                                   .runs = step(QM_STEP_AT_RUNS),
                                                   .y = s->b.att,
                                                   .yq = s->b.attq,
                                                   .n_head = hp->n_head,
                                                   .n_kv = hp->n_kv,
                                                   .scale = (float)(1 / sqrt(hp->head_dim))};
}

void qm_build_attention(builder *s) {
    const qm_limits *l = &s->p->limits;
    const uint64_t pool = qm_kv_page_bytes(s->hp, l->kv_type) * l->n_pages, k = 2 * pool * (uint64_t)s->layer;
    const qm_ref k_pool = QM_REF(QM_SPACE_KV, k), v_pool = QM_REF(QM_SPACE_KV, k + pool);
    if (attention_in_one(s)) {
        attention_of_one(s, k_pool, v_pool);
        return;
    }
    /* several rows of the only sequence there can be share it */
    if (!many(s) || at_least_1(l->n_seqs) > 1) attention_of_singles(s, k_pool, v_pool);
    if (many(s)) attention_of_runs(s, k_pool, v_pool);
}

void qm_build_attn_out(builder *s, int weight) {
    qm_builder_add_product(s, weight, s->b.att, s->b.attq, s->b.o, "attn_out");
}

int qm_build_cache_only(const builder *s) { return s->layer + 1 == (int)s->hp->n_layers && !s->p->shape.outs; }

static void sampling(builder *s) {
    qm_plan *p = s->p;
    uint32_t n = s->hp->n_vocab;
    qm_launch l = qm_launch_sample_scan(n);
    const qm_ref draws = many(s) ? step(QM_STEP_N_DRAWS) : 0;
    if (n >= QM_SAMPLE_MAX_N) {
        s->failed = qm_fail(s->e, QM_ERR_UNSUPPORTED, "plan: a vocabulary of %u tokens: sampling takes fewer than %u",
                            n, QM_SAMPLE_MAX_N);
        return;
    }
    qm_op *op = qm_builder_push(s, QM_OP_SAMPLE_SCAN, -1, 0, "sample_scan");
    if (!op) return;
    op->grid[0] = l.grid[0];
    op->grid[1] = s->rows;
    op->block = l.block;
    op->args.sample_scan = (qm_sample_scan_args){.logits = s->b.logits,
                                                 .keys = s->b.keys,
                                                 .hist = s->b.hist,
                                                 .part = s->b.part,
                                                 .work = s->b.work,
                                                 .state = seq(p->seq.state_off),
                                                 .tokens = seq(p->seq.tokens_off),
                                                 .mask = seq(p->seq.mask_off),
                                                 .row = step_row(),
                                                 .count = draws,
                                                 .map = s->map,
                                                 .n = n,
                                                 .rows = n_rows(s)};
    if (!(op = qm_builder_push(s, QM_OP_SAMPLE_DRAW, -1, 0, "sample_draw"))) return;
    l = qm_launch_sample_draw(n);
    op->grid[0] = l.grid[0];
    op->grid[1] = s->rows;
    op->block = l.block;
    op->args.sample_draw = (qm_sample_draw_args){.logits = s->b.logits,
                                                 .keys = s->b.keys,
                                                 .cand = s->b.cand,
                                                 .work = s->b.work,
                                                 .state = seq(p->seq.state_off),
                                                 .tokens = seq(p->seq.tokens_off),
                                                 .row = step_row(),
                                                 .count = draws,
                                                 .map = s->map,
                                                 .result = QM_REF(QM_SPACE_RESULT, 0),
                                                 .n = n,
                                                 .rows = n_rows(s)};
}

/* Of the rows whose logits are wanted: from here on a row's vectors are the i-th of these. */
static void head(builder *s) {
    const qm_model *m = s->p->place->model;
    s->layer = -1;
    s->rows = s->p->shape.outs;
    if (many(s)) {
        s->count = step(QM_STEP_N_OUTS);
        s->map = step(QM_STEP_AT_OUTS);
    }
    rmsnorm(s, weight_ref(s, m->output_norm), "output_norm");
    qm_builder_product(s, m->output, s->b.xn, s->b.xq, s->b.logits, s->hp->n_vocab, 1, "logits");
    if (!s->failed) sampling(s);
}

/* What rows leave as partial sums: n values each. */
static uint64_t parts(uint32_t rows, uint64_t n) {
    const uint64_t split = (uint64_t)MAX_PARTS * least(rows, QM_PARTS_ROWS);
    return 4 * n * (split > rows ? split : rows);
}

static void allocate(builder *s) {
    const qm_hparams *hp = s->hp;
    const qm_limits l = s->p->limits;
    buffers *b = &s->b;
    const uint32_t rows = at_least_1(l.n_rows), outs = least(at_least_1(l.n_outs), rows);
    const uint64_t nq = (uint64_t)hp->n_head * hp->head_dim, nqkv = nq + 2ull * hp->n_kv * hp->head_dim;
    const uint64_t used = n_used(hp), slots = used * rows, ff = slots * hp->n_ff, spans = spans_for(l.n_ctx);
    b->x = scratch(s, 4ull * hp->n_embd * rows);
    b->xn = scratch(s, 4ull * hp->n_embd * rows);
    b->xq = scratch(s, QM_Q16A_BYTES((uint64_t)hp->n_embd) * rows);
    b->qkv = scratch(s, parts(rows, nqkv) + 4 * nqkv); /* its operands may begin at k or v, and claim whole rows */
    b->q = scratch(s, 4 * nq * rows);
    b->att = scratch(s, 4 * nq * rows);
    b->attq = scratch(s, QM_Q16A_BYTES(nq) * rows);
    b->o = scratch(s, parts(rows, hp->n_embd));
    b->rlogits = scratch(s, parts(rows, hp->n_expert));
    b->ids = scratch(s, 4 * slots);
    b->rw = scratch(s, 4 * slots);
    b->order = scratch(s, 4 * slots);
    b->groups = scratch(s, QM_GROUP_SIZE * slots);
    b->n_groups = scratch(s, 4);
    b->gate = scratch(s, 4 * ff);
    b->up = scratch(s, 4 * ff);
    b->h = scratch(s, 4 * ff);
    b->hq = scratch(s, slots * QM_Q16A_BYTES((uint64_t)hp->n_ff));
    b->down = scratch(s, hp->n_expert ? 4 * slots * hp->n_embd : parts(rows, hp->n_embd));
    b->logits = scratch(s, 4ull * hp->n_vocab * outs);
    b->keys = scratch(s, 4ull * (hp->n_vocab + 3) * outs);
    b->hist = scratch(s, 4ull * QM_SAMPLE_BUCKETS * outs);
    b->part = scratch(s, 8ull * QM_SAMPLE_CTAS * outs);
    b->cand = scratch(s, 8ull * QM_SAMPLE_CAP * outs);
    b->work = scratch(s, (uint64_t)QM_WORK_SIZE * outs);
    b->acc = scratch(s, 4 * nq * spans * most_singles(l, rows));
    b->ml = scratch(s, 8 * (uint64_t)hp->n_head * spans * most_singles(l, rows));
    b->arrived = scratch(s, 4ull * hp->n_kv * eights(hp));
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
    if (!shape.rows || shape.rows > at_least_1(limits.n_rows) ||
        shape.outs > least(shape.rows, at_least_1(limits.n_outs)))
        return qm_fail(e, QM_ERR_ARG, "plan: a step of %u rows, %u with logits: there is room for %u and %u",
                       shape.rows, shape.outs, at_least_1(limits.n_rows), at_least_1(limits.n_outs));
    qm_plan *p = calloc(1, sizeof *p);
    if (!p) return qm_fail(e, QM_ERR_NOMEM, "plan: out of memory");
    p->place = place;
    p->shape = shape;
    p->limits = limits;
    p->seq = qm_seq_layout_of(&place->model->hp, limits);
    builder s = {.p = p, .hp = &place->model->hp, .layer = -1, .rows = shape.rows, .e = e};
    if (many(&s)) s.count = step(QM_STEP_N_ROWS);
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
    if (shape.rows > 1) qm_plan_spare(p); /* of one row everything can be looked at */
    qm_plan_order(p);
    qm_plan_keep(p);
    qm_plan_resident(p);
    qm_plan_ring(p);
    qm_plan_prefetch(p);
    *out = p;
    return 0;
}

void qm_plan_free(qm_plan *p) {
    if (!p) return;
    free(p->ops);
    free(p);
}

uint32_t qm_flight_bytes(double bytes_per_s, uint32_t n_sm) {
    const double latency = 0.8e-6; /* of a memory that is busy: contracts/chips.def has 0.65 to 0.8 us */
    return (uint32_t)(2 * latency * bytes_per_s / at_least_1(n_sm));
}

/* A CTA for each span, as many as fill the device twice: then each has several. Which does not show in the bits. A power
 * of two, so that few graphs do. */
uint32_t qm_plan_splits(const qm_hparams *hp, qm_limits limits, uint32_t pos) {
    uint32_t ctas = hp->n_kv * eights(hp), n = 1;
    while (n < 64 && n * ctas < 2 * limits.n_sm && n < pos / QM_SPAN + 1) n *= 2;
    return n;
}

/* Of many rows one number of CTAs a row serves all depths: those without a span leave at once. */
qm_shape qm_plan_shape(const qm_hparams *hp, qm_limits limits, uint32_t n_rows, uint32_t n_outs, uint32_t pos) {
    uint32_t rows = 1;
    while (rows < n_rows) rows *= 2;
    if (rows == 1) return (qm_shape){.rows = 1, .outs = n_outs != 0, .n_splits = qm_plan_splits(hp, limits, pos)};
    limits.n_sm = (at_least_1(limits.n_sm) + most_singles(limits, rows) - 1) / most_singles(limits, rows);
    return (qm_shape){.rows = rows,
                      .outs = n_outs <= 1 ? n_outs : least(rows, at_least_1(limits.n_outs)),
                      .n_splits = qm_plan_splits(hp, limits, limits.n_ctx - 1)};
}
