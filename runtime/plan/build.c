/* build.c: the ops of one step, in order, and the scratch buffers between them: embedding, layers, output. What a
 * layer is, its family says (runtime/arch) in the calls of build.h; each function below appends what its name says. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "../../kernels/ref/ref.h"
#include "build.h"
#include "ops.h"

/* Scratch buffers of a step: offsets, each with room for limits.n_rows rows (the head's: n_outs). Nothing is aliased: the
 * whole is small, and any op's output can be looked at after the step. */
typedef struct {
    qm_ref x, xn, xq;                            /* residual stream; normalised, f32 and q16a */
    qm_ref qkv, q, acc, ml, arrived;             /* attention */
    qm_ref att, attq, o;                         /* heads' output; o: partial sums of attn_output */
    qm_ref rlogits, ids, rw;                     /* router */
    qm_ref order, groups, n_groups;              /* slots by expert, of many rows */
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
    /* of xn and xq that are not there: what they are the norm of x by, where the next op takes that itself; or 0 */
    qm_ref norm;
    const char *norm_slot;
    uint32_t n_qkv_parts;   /* partial sums in qkv */
    int q_norm, k_norm;     /* weights, of the layer's heads, where attention norms them itself */
    uint32_t n_logit_parts; /* in rlogits; 0: the experts are chosen */
    uint32_t rows;          /* that the ops compute: the step's, in the head those whose logits are wanted */
    qm_ref count, map;      /* how many of them there are, and which (contracts/ops.def); 0 in a step of one row */
};
typedef qm_builder builder;

enum { MAX_PARTS = 1 << QM_PARTS_LOG };

static uint32_t least(uint32_t a, uint32_t b) { return a < b ? a : b; }
static uint32_t at_least_1(uint32_t n) { return n ? n : 1; }

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
static qm_ref step(uint64_t off) { return QM_REF(QM_SPACE_STEP, off); }
static qm_ref step_row(void) { return step(QM_STEP_AT_ROWS); }
static int many(const builder *s) { return s->p->shape.rows > 1; }
/* Rows of the step's arrays. */
static uint32_t n_rows(const builder *s) { return s->p->shape.rows; }

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

static qm_op *push(builder *s, qm_op_kind kind, int wtype, int head_dim, const char *slot) {
    return push_kernel(s, kind, qm_kernel_find(kind, wtype, -1, head_dim), wtype, head_dim, slot);
}

/* An op that touches the cache. */
static qm_op *push_kv(builder *s, qm_op_kind kind, const char *slot) {
    const int hd = (int)s->hp->head_dim;
    return push_kernel(s, kind, qm_kernel_find(kind, -1, (int)s->p->limits.kv_type, hd), -1, hd, slot);
}

/* A product of many rows. */
static qm_op *push_rows(builder *s, qm_op_kind kind, int wtype, const qm_launch *l, const char *slot) {
    qm_op *op = push_kernel(s, kind, qm_kernel_find_rows(kind, wtype, (int)l->width), wtype, 0, slot);
    if (!op) return NULL;
    memcpy(op->grid, l->grid, sizeof op->grid);
    op->block = l->block;
    op->shared = l->shared;
    return op;
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
    qm_op *op = push(s, QM_OP_RMSNORM, -1, 0, slot);
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

/* The next op cannot. */
static void norm_apart(builder *s) {
    if (s->norm) rmsnorm(s, s->norm, s->norm_slot);
    s->norm = 0;
}

/* The activation a weight type wants of a pair of buffers. */
static int quantised(builder *s, const qm_type_info *t) { return t->q16a && !s->p->limits.f32_act; }
static qm_ref activation(builder *s, const qm_type_info *t, qm_ref f32, qm_ref q16a) {
    return quantised(s, t) ? q16a : f32;
}

/* The same of many rows, whose y lie y_stride floats apart. */
static uint32_t gemm(builder *s, const qm_region *r, qm_ref w, qm_ref x, qm_ref y, uint32_t y_stride,
                     uint32_t max_parts, const char *slot) {
    const qm_launch l = qm_launch_gemm(r->type->type, r->n_rows, r->n_cols, s->rows, s->p->limits.n_sm, max_parts);
    qm_op *op = push_rows(s, QM_OP_GEMM, r->type->type, &l, slot);
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
    weights_read(s, op, r, 1);
    return l.grid[1];
}

/* The same of one row; its input is the caller's affair. */
static qm_op *matvec(builder *s, int weight, const qm_launch *l, qm_ref y, const char *slot) {
    const qm_region *r = region_at(s, weight);
    qm_op *op = push(s, QM_OP_MATVEC, r->type->type, 0, slot);
    if (!op) return NULL;
    memcpy(op->grid, l->grid, sizeof op->grid);
    op->block = l->block;
    op->shared = l->shared;
    op->args.matvec = (qm_matvec_args){.w = weight_ref(s, weight),
                                       .bias = region(r->bias),
                                       .y = y,
                                       .n_rows = r->n_rows,
                                       .n_cols = r->n_cols,
                                       .tiles = l->tiles};
    weights_read(s, op, r, 1);
    return op;
}

/* The product with all weights of a region, of the norm where that is not there; y [parts of K, rows, y_stride], of which it has
 * the first n_rows of each row; returns how many parts. */
static uint32_t product(builder *s, int weight, qm_ref f32, qm_ref q16a, qm_ref y, uint32_t y_stride,
                        uint32_t max_parts, const char *slot) {
    const qm_region *r = region_at(s, weight);
    if (s->rows > 1)
        return gemm(s, r, weight_ref(s, weight), activation(s, r->type, f32, q16a), y, y_stride, max_parts, slot);
    qm_launch l = qm_launch_matvec_normed(r->type->type, r->n_rows, r->n_cols, s->p->limits.n_sm, max_parts);
    if (l.shared > QM_SHARED_MAX) norm_apart(s);
    if (!s->norm) l = qm_launch_matvec(r->type->type, r->n_rows, r->n_cols, s->p->limits.n_sm, max_parts);
    qm_op *op = matvec(s, weight, &l, y, slot);
    if (!op) return 1;
    if (s->norm) {
        op->args.matvec.r = s->b.x;
        op->args.matvec.norm = s->norm;
        op->args.matvec.eps = s->hp->eps;
    } else op->args.matvec.x = activation(s, r->type, f32, q16a);
    return l.grid[1];
}

/* x += the product with a vector that is no norm's, where one op can: sum, what it adds; else that is pending. */
static void add_product(builder *s, int weight, qm_ref f32, qm_ref q16a, qm_ref sum, const char *slot) {
    const qm_region *r = region_at(s, weight);
    const qm_launch l = qm_launch_matvec(r->type->type, r->n_rows, r->n_cols, s->p->limits.n_sm, 1);
    if (!fuses_norm(s) || l.shared > QM_SHARED_MAX) {
        s->n_pending = product(s, weight, f32, q16a, sum, s->hp->n_embd, MAX_PARTS, slot);
        s->pending = sum;
        return;
    }
    qm_op *op = matvec(s, weight, &l, s->b.x, slot);
    if (!op) return;
    op->args.matvec.x = activation(s, r->type, f32, q16a);
    op->args.matvec.add = s->b.x;
    op->args.matvec.sum = sum;
}

/* The op that has been appended leaves what it normed. */
static void leave_norm(builder *s, qm_ref xn, qm_ref xq) {
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
        s->n_qkv_parts = product(s, w[i], s->b.xn, s->b.xq, s->b.qkv + off, stride, parts, "qkv");
        if (s->norm && i == 0) leave_norm(s, s->b.xn, 0); /* to be looked at */
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
    if (!(op = push(s, QM_OP_COMBINE, -1, (int)hp->head_dim, "attn_heads"))) return;
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

void qm_build_attn_out(builder *s, int weight) { add_product(s, weight, s->b.att, s->b.attq, s->b.o, "attn_out"); }

/* Who needs the experts first chooses them, or has them chosen. */
void qm_build_router(builder *s, int weight) {
    if (region_at(s, weight)->type->q16a) norm_apart(s); /* only float weights leave it in both forms */
    s->n_logit_parts = product(s, weight, s->b.xn, s->b.xq, s->b.rlogits, s->hp->n_expert, MAX_PARTS, "router_logits");
    if (s->norm) leave_norm(s, s->b.xn, s->b.xq); /* the experts come after it anyway */
    s->norm = 0;
}

static void choose(builder *s) {
    qm_op *op = push(s, QM_OP_ROUTER, -1, 0, "router");
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

/* A network without a router is expert 0 of one: its ids are the zero that scratch begins with (exec_*.c), and that no op
 * writes. */
static uint32_t n_expert(const qm_hparams *hp) { return hp->n_expert ? hp->n_expert : 1; }
static uint32_t n_used(const qm_hparams *hp) { return hp->n_expert ? hp->n_used : 1; }

/* Experts that all rows can have chosen together. */
static uint32_t experts_read(const builder *s) { return least(n_expert(s->hp), n_used(s->hp) * s->rows); }
static uint32_t group_width(const builder *s) { return qm_moe_width(n_rows(s), n_used(s->hp), n_expert(s->hp)); }
static uint32_t most_groups(const builder *s) {
    return qm_moe_groups(n_rows(s), n_used(s->hp), n_expert(s->hp), group_width(s));
}

/* Of many rows: which have chosen each expert. */
static void sort_slots(builder *s) {
    const qm_launch l = qm_launch_moe_sort(n_rows(s), n_used(s->hp), n_expert(s->hp));
    qm_op *op = push(s, QM_OP_MOE_SORT, -1, 0, "expert_groups");
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
    qm_op *op = push_rows(s, QM_OP_MOE_GEMM, r->type->type, &l, slot);
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
    weights_read(s, op, r, experts_read(s));
}

/* One grouped matvec over the chosen experts: y [n_used, n_rows]. x_stride 0: one input for all. */
static void experts(builder *s, int weight, qm_ref x, uint64_t x_stride, qm_ref scale, qm_ref y, const char *slot) {
    const qm_region *r = region_at(s, weight);
    if (many(s)) {
        experts_of_many(s, weight, x, x_stride != 0, scale, y, scale != 0, slot);
        return;
    }
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

/* The same in moe_up. */
static void choose_inside(builder *s, qm_op *op) {
    qm_moe_up_args *a = &op->args.moe_up;
    a->ids = 0;
    a->logits = s->b.rlogits;
    a->picked = s->b.ids;
    a->weights = s->b.rw;
    a->n_partials = s->n_logit_parts;
    a->choice_bytes = qm_choice_shared(a->n_expert);
    op->shared += a->choice_bytes;
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
        if (!(op = push_rows(s, QM_OP_MOE_GEMM_UP, g->type->type, &l, "ffn_up"))) return;
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
        weights_read(s, op, g, experts_read(s));
        weights_read(s, op, u, experts_read(s));
    } else if (g->type == u->type) {
        qm_launch la = qm_launch_moe_up_normed(g->type->type, hp->n_ff, hp->n_embd, k, s->p->limits.n_sm);
        if (la.shared > QM_SHARED_MAX) norm_apart(s);
        if (!s->norm) la = qm_launch_moe_up(g->type->type, hp->n_ff, hp->n_embd, k, s->p->limits.n_sm);
        if (!(op = push(s, QM_OP_MOE_UP, g->type->type, 0, "ffn_up"))) return;
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
                                           .expert_bytes = g->expert_bytes,
                                           .n_ff = hp->n_ff,
                                           .n_cols = hp->n_embd,
                                           .tiles = la.tiles,
                                           .n_expert = n_expert(hp),
                                           .eps = hp->eps};
        s->norm = 0;
        if (chooses) choose_inside(s, op);
        weights_read(s, op, g, k);
        weights_read(s, op, u, k);
    } else { /* gate and up of different types: three ops instead of one */
        norm_apart(s);
        experts(s, gate, activation(s, g->type, s->b.xn, s->b.xq), 0, 0, s->b.gate, "ffn_gate");
        experts(s, up, activation(s, u->type, s->b.xn, s->b.xq), 0, 0, s->b.up, "ffn_up");
        if (!(op = push(s, QM_OP_SWIGLU, -1, 0, "ffn_act"))) return;
        op->block = 256;
        op->grid[0] = (n_rows(s) * k * hp->n_ff + 255) / 256;
        op->args.swiglu = (qm_swiglu_args){
            .gate = s->b.gate, .up = s->b.up, .h = s->b.h, .hq = s->b.hq, .n = hp->n_ff, .k = n_rows(s) * k};
    }
}

/* x += the chosen experts' outputs, in one op. */
static void experts_added(builder *s, const qm_region *d, qm_ref w, uint64_t stride) {
    const qm_launch l = qm_launch_moe_down(d->type->type, d->n_rows, d->n_cols, n_used(s->hp), s->p->limits.n_sm);
    qm_op *op = push(s, QM_OP_MOE_DOWN, d->type->type, 0, "ffn_out");
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
                                           .x_stride = stride,
                                           .n_rows = d->n_rows,
                                           .n_cols = d->n_cols,
                                           .tiles = l.tiles,
                                           .groups = l.width,
                                           .group_bytes = qm_launch_shared(d->type->type, d->n_cols, 1, 1, l.tiles),
                                           .n_used = n_used(s->hp),
                                           .n_expert = n_expert(s->hp)};
    weights_read(s, op, d, n_used(s->hp));
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
    add_product(s, down, s->b.h, s->b.hq, s->b.down, "ffn_out");
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
    qm_op *op = push(s, QM_OP_SAMPLE_SCAN, -1, 0, "sample_scan");
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
    if (!(op = push(s, QM_OP_SAMPLE_DRAW, -1, 0, "sample_draw"))) return;
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
    product(s, m->output, s->b.xn, s->b.xq, s->b.logits, s->hp->n_vocab, 1, "logits");
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
    qm_plan_prefetch(p);
    qm_plan_resident(p);
    qm_plan_ring(p);
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
