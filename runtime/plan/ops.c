/* ops.c: contracts/ops.def as functions; see ops.h. */
#include "ops.h"
#include <string.h>

uint64_t qm_operand_n(const qm_operand *o) {
    uint64_t n = 1;
    for (uint32_t i = 0; i < o->n_dims; i++) n *= o->dims[i];
    return n;
}

static uint64_t bytes_of(const qm_operand *o, const qm_op_view *v) {
    const uint64_t n = o->n_parts * qm_operand_n(o), last = o->n_dims ? o->dims[o->n_dims - 1] : 1;
    switch (o->kind) {
    case QM_KIND_F32:
    case QM_KIND_U32: return 4 * n;
    case QM_KIND_U64: return 8 * n;
    case QM_KIND_Q16A: return last ? n / last * QM_Q16A_BYTES(last) : 0;
    case QM_KIND_STATE: return QM_STATE_BYTES * n;
    case QM_KIND_WORK: return QM_WORK_SIZE * n;
    case QM_KIND_RESULTS: return QM_RESULT_SIZE * n;
    case QM_KIND_ROWS: return QM_ROW_SIZE * n;
    case QM_KIND_KV: return last ? n / QM_PAGE_TOKENS / last * qm_kv_head_page_bytes(v->kv, (uint32_t)last) : 0;
    case QM_KIND_JOBS: return QM_STATS_JOB_SIZE * n;
    case QM_KIND_STATS: return QM_STATS_RECORD * n;
    case QM_KIND_RECORDS: return QM_WALK_REC_SIZE * n;
    default: return 0;
    }
}

static void put(qm_operand *o, const qm_op_view *v, const uint32_t *dims, size_t n_dims) {
    if (o->kind == QM_KIND_ACT) o->kind = v->q16a ? QM_KIND_Q16A : QM_KIND_F32;
    o->n_dims = (uint32_t)n_dims;
    memcpy(o->dims, dims, n_dims * sizeof *dims);
    o->bytes = o->ref ? bytes_of(o, v) : 0;
}

#define OP(word, WORD) static_assert(0
#define OPERAND(field, ...) +1
#define END(word) <= QM_MAX_OPERANDS, #word);
#include "../../contracts/ops.def"

#define N(...) (sizeof((uint32_t[]){__VA_ARGS__}) / sizeof(uint32_t))
#define OP(word, WORD)                                                                      \
    static int of_##word(const qm_##word##_args *a, const qm_op_view *v, qm_operand *out) { \
        int n = 0;
#define OPERAND(field, d, s, k, parts, ...)                                                \
    out[n] = (qm_operand){.name = #field,                                                  \
                          .dir = QM_##d,                                                   \
                          .space = QM_SPACE_##s,                                           \
                          .kind = QM_KIND_##k,                                             \
                          .offset = (uint32_t)((const char *)&a->field - (const char *)a), \
                          .ref = a->field,                                                 \
                          .n_parts = parts};                                               \
    static_assert(N(__VA_ARGS__) <= QM_MAX_DIMS, #field);                                  \
    put(&out[n++], v, (const uint32_t[]){__VA_ARGS__}, N(__VA_ARGS__));
#define SPARE(field, k, ...)                        \
    OPERAND(field, OUT, SCRATCH, k, 1, __VA_ARGS__) \
    out[n - 1].spare = 1;
#define SPARE_PARTS(field, k, parts, ...)               \
    OPERAND(field, OUT, SCRATCH, k, parts, __VA_ARGS__) \
    out[n - 1].spare = 1;
#define CHOSEN(field, ...)                             \
    OPERAND(field, IN, REGION, WEIGHT, 1, __VA_ARGS__) \
    out[n - 1].chosen = 1;
#define KV_INOUT(field, ...)                      \
    OPERAND(field, INOUT, KV, KV, 1, __VA_ARGS__) \
    out[n - 1].appended = 1;
#define END(word) \
    return n;     \
    }
#include "../../contracts/ops.def"
#undef N

int qm_operands(qm_op_kind kind, const qm_op_args *a, const qm_op_view *v, qm_operand out[QM_MAX_OPERANDS]) {
    switch (kind) {
/* clang-format off */
#define OP(word, WORD) case QM_OP_##WORD: return of_##word(&a->word, v, out);
#include "../../contracts/ops.def"
    default: return 0;
    }
}
/* clang-format on */

qm_op_view qm_op_view_of(const qm_plan *p, const qm_op *op) {
    const qm_kernel_info *k = &qm_kernel_table[op->kernel];
    const qm_type_info *t = k->wtype >= 0 ? qm_type_get((uint32_t)k->wtype) : NULL;
    return (qm_op_view){
        .rows = op->rows,
        .head_dim = p->place->model->hp.head_dim,
        .grid = {op->grid[0], op->grid[1], op->grid[2]},
        .block = op->block,
        .q16a = t && t->q16a && !p->limits.f32_act,
        .n_ctx = p->limits.n_ctx,
        .n_table = qm_pages_for(p->limits.n_ctx),
        .n_pages = p->limits.n_pages,
        .kv = p->limits.kv_type,
    };
}

int qm_op_operands(const qm_plan *p, const qm_op *op, qm_operand out[QM_MAX_OPERANDS]) {
    const qm_op_view v = qm_op_view_of(p, op);
    return qm_operands(op->kind, &op->args, &v, out);
}

int qm_op_known_weight(const qm_plan *p, const qm_op *op, qm_operand *w) {
    qm_operand o[QM_MAX_OPERANDS];
    const int n = qm_op_operands(p, op, o);
    int found = 0;
    for (int i = 0; i < n; i++)
        if (o[i].kind == QM_KIND_WEIGHT && !o[i].chosen) *w = o[i], found++;
    return found == 1;
}

const qm_operand *qm_operand_find(const qm_operand *o, int n, const char *name) {
    for (int i = 0; i < n; i++)
        if (o[i].ref && !strcmp(o[i].name, name)) return &o[i];
    return NULL;
}

/* ---- addresses ---- */
uint64_t qm_ref_resolve(const qm_plan *p, qm_ref r, const qm_bases *b) {
    qm_space s = QM_REF_SPACE(r);
    if (s == QM_SPACE_NONE) return 0;
    uint64_t v = QM_REF_VALUE(r);
    if (s == QM_SPACE_REGION) v = p->place->regions[v].off;
    return b->base[s] + v;
}

void qm_op_resolve(const qm_plan *p, const qm_op *op, const qm_bases *b, qm_op_args *out) {
    qm_operand o[QM_MAX_OPERANDS];
    int n = qm_op_operands(p, op, o);
    *out = op->args;
    for (int i = 0; i < n; i++) {
        uint64_t at = qm_ref_resolve(p, o[i].ref, b);
        memcpy(out->bytes + o[i].offset, &at, sizeof at);
    }
}

static int overlap(const qm_operand *a, const qm_operand *b);

/* Whether an op after op i reads what operand o of it writes, before the next op of its kind writes it anew. (Ops of two kinds may
 * write some rows each.) */
static int is_read(const qm_plan *p, int i, const qm_operand *o) {
    qm_operand x[QM_MAX_OPERANDS];
    for (int k = i + 1; k < p->n_ops; k++) {
        const int n = qm_op_operands(p, &p->ops[k], x);
        for (int f = 0; f < n; f++)
            if (x[f].dir & QM_IN && overlap(o, &x[f])) return 1;
        for (int f = 0; f < n && p->ops[k].kind == p->ops[i].kind; f++)
            if (x[f].dir == QM_OUT && x[f].ref == o->ref && x[f].bytes >= o->bytes) return 0;
    }
    return 0;
}

void qm_plan_spare(qm_plan *p) {
    qm_operand o[QM_MAX_OPERANDS];
    for (int i = 0; i < p->n_ops; i++) {
        const int n = qm_op_operands(p, &p->ops[i], o);
        for (int f = 0; f < n; f++)
            if (o[f].spare && o[f].ref && !is_read(p, i, &o[f])) memset(p->ops[i].args.bytes + o[f].offset, 0, 8);
    }
}

/* ---- order ---- */
static int overlap(const qm_operand *a, const qm_operand *b) {
    return a->ref && b->ref && QM_REF_SPACE(a->ref) == QM_REF_SPACE(b->ref) && a->ref < b->ref + b->bytes &&
           b->ref < a->ref + a->bytes;
}

int qm_ops_conflict(const qm_plan *p, const qm_op *a, const qm_op *b) {
    qm_operand x[QM_MAX_OPERANDS], y[QM_MAX_OPERANDS];
    int n_x = qm_op_operands(p, a, x), n_y = qm_op_operands(p, b, y);
    for (int i = 0; i < n_x; i++)
        for (int k = 0; k < n_y; k++)
            if (((x[i].dir | y[k].dir) & QM_OUT) && overlap(&x[i], &y[k])) return 1;
    return 0;
}

/* Ops run in groups: all of a group may be at work at once, and a group waits for the one before it. */
void qm_plan_order(qm_plan *p) {
    for (int i = 0, first = 0; i < p->n_ops; i++) {
        qm_op *op = &p->ops[i];
        op->waits = p->limits.chain || i == 0;
        for (int k = first; k < i && !op->waits; k++) op->waits = qm_ops_conflict(p, &p->ops[k], op);
        if (op->waits) first = i;
    }
}

int qm_plan_in_chain(const qm_plan *p, int i) {
    return i > 0 && p->ops[i - 1].waits && p->ops[i].waits && (i + 1 == p->n_ops || p->ops[i + 1].waits);
}
