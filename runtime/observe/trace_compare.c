/* trace_compare.c: see trace_compare.h. */
#include "trace_compare.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "../../kernels/ref/ref.h"
#include "../base/units.h"
#include "../file/quant.h"

struct qm_twin {
    qm_session *s;
    unsigned char *scratch, *seq, *rope;
    unsigned char *kv;  /* K and V pools of one layer */
    unsigned char *got; /* scratch as the device has it after an op */
    unsigned char *got_seq, *got_kv;
    float *a, *b; /* [the longest vector] */
    uint64_t kv_layer_bytes, n_floats;
    qm_row_record row; /* of the step: sequence 0 is this one */
    qm_bases host;
};

/* ---- two vectors ---- */
void qm_difference_of(qm_difference *d, const float *a, const float *b, uint32_t n) {
    double ab = 0, aa = 0, bb = 0, dd = 0, most = -1;
    int odd = 0; /* non-finite and not alike */
    d->n = n;
    d->worst = 0;
    for (uint32_t i = 0; i < n; i++) {
        double x = a[i], y = b[i], off = fabs(x - y);
        if (!isfinite(x) || !isfinite(y)) {
            int alike = (isnan(x) && isnan(y)) || x == y;
            if (alike) continue;
            if (!odd) d->worst = i;
            odd = 1;
            continue;
        }
        ab += x * y;
        aa += x * x;
        bb += y * y;
        dd += off * off;
        if (off > most && !odd) {
            most = off;
            d->worst = i;
        }
    }
    d->cosine = odd ? 0 : aa == 0 && bb == 0 ? 1 : aa == 0 || bb == 0 ? 0 : ab / sqrt(aa * bb);
    d->rel_l2 = odd ? INFINITY : bb == 0 ? (dd == 0 ? 0 : INFINITY) : sqrt(dd / bb);
    d->got = n ? a[d->worst] : 0;
    d->want = n ? b[d->worst] : 0;
}

int qm_difference_worse(const qm_difference *a, const qm_difference *b) {
    if (a->cosine != b->cosine && (1 - a->cosine > 1e-9 || 1 - b->cosine > 1e-9)) return a->cosine < b->cosine;
    return a->rel_l2 > b->rel_l2;
}

/* What follows from the output (its q16a form) takes its place only if it is clearly worse. */
static void keep_worst(qm_difference *d, const qm_difference *x, const char *tensor) {
    int worse = x->rel_l2 > 1.1 * d->rel_l2 || 1 - x->cosine > 1.1 * (1 - d->cosine) + 1e-9;
    if (d->tensor && !worse) return;
    d->tensor = tensor;
    d->cosine = x->cosine;
    d->rel_l2 = x->rel_l2;
    d->n = x->n;
    d->worst = x->worst;
    d->got = x->got;
    d->want = x->want;
}

/* ---- memory ---- */
int qm_twin_open(qm_twin **out, qm_session *s, qm_err *e) {
    qm_engine *g = s->g;
    *out = NULL;
    if (!g->exec->on_device)
        return qm_fail(e, QM_ERR_UNSUPPORTED, "compare: the executor %s runs no kernels that could depart",
                       g->exec->name);
    qm_twin *t = calloc(1, sizeof *t);
    if (!t) return qm_fail(e, QM_ERR_NOMEM, "compare: out of memory");
    const qm_hparams *hp = &g->model->hp;
    qm_seq_layout l = qm_seq_layout_of(hp, g->limits);
    t->s = s;
    t->kv_layer_bytes = 2 * qm_kv_page_bytes(hp, g->limits.kv_type) * g->limits.n_pages;
    t->n_floats = g->memory.scratch / 4; /* no vector is longer than all of scratch */
    t->scratch = calloc(1, g->memory.scratch);
    t->got = calloc(1, g->memory.scratch);
    t->seq = calloc(1, l.bytes);
    t->got_seq = calloc(1, l.bytes);
    t->kv = calloc(1, t->kv_layer_bytes);
    t->got_kv = calloc(1, t->kv_layer_bytes);
    t->rope = malloc(qm_rope_bytes(hp, g->limits.n_ctx));
    t->a = malloc(4 * t->n_floats);
    t->b = malloc(4 * t->n_floats);
    if (!t->scratch || !t->got || !t->seq || !t->got_seq || !t->kv || !t->got_kv || !t->rope || !t->a || !t->b) {
        qm_twin_close(t);
        return qm_fail(e, QM_ERR_NOMEM,
                       "compare: %.2f GiB of host memory for a mirror of a layer's cache are not to be had",
                       2 * qm_gib((double)t->kv_layer_bytes));
    }
    qm_rope_fill((float *)(void *)t->rope, hp, g->limits.n_ctx);
    t->host.base[QM_SPACE_SCRATCH] = (uint64_t)(uintptr_t)t->scratch;
    t->host.base[QM_SPACE_SEQ] = (uint64_t)(uintptr_t)t->seq; /* of this sequence alone: */
    t->host.base[QM_SPACE_STEP] = (uint64_t)(uintptr_t)&t->row;
    t->host.base[QM_SPACE_ROPE] = (uint64_t)(uintptr_t)t->rope;
    *out = t;
    return 0;
}

void qm_twin_close(qm_twin *t) {
    if (!t) return;
    free(t->scratch);
    free(t->got);
    free(t->seq);
    free(t->got_seq);
    free(t->kv);
    free(t->got_kv);
    free(t->rope);
    free(t->a);
    free(t->b);
    free(t);
}

static int download(qm_twin *t, const qm_plan *p, void *to, qm_ref from, uint64_t n, qm_err *e) {
    qm_engine *g = t->s->g;
    qm_device *d = g->dev;
    int rc = 0;
    QM_CU_TRY(d, StreamSynchronize(qm_graph_stream(g)));
    QM_CU_TRY(d, MemcpyDtoH(to, qm_graph_address(g, t->s->seq, p, from), n));
out:
    return rc;
}

/* ---- what an op leaves ---- */
static void sum_parts(float *y, const unsigned char *base, uint32_t n, uint32_t parts) {
    const float *f = (const float *)(const void *)base;
    for (uint32_t i = 0; i < n; i++) {
        double v = 0;
        for (uint32_t k = 0; k < parts; k++) v += f[(size_t)k * n + i];
        y[i] = (float)v;
    }
}

/* The two sides of a vector: the device's, and the reference's. */
static const unsigned char *got(const qm_twin *t, qm_ref r) {
    return (QM_REF_SPACE(r) == QM_SPACE_SEQ ? t->got_seq : t->got) + QM_REF_VALUE(r);
}
static const unsigned char *want(const qm_twin *t, qm_ref r) {
    return (QM_REF_SPACE(r) == QM_SPACE_SEQ ? t->seq : t->scratch) + QM_REF_VALUE(r);
}

static void compare_f32(qm_twin *t, qm_ref r, uint32_t n, uint32_t parts, const char *tensor, qm_difference *d) {
    qm_difference x;
    if (!r) return;
    sum_parts(t->a, got(t, r), n, parts);
    sum_parts(t->b, want(t, r), n, parts);
    qm_difference_of(&x, t->a, t->b, n);
    keep_worst(d, &x, tensor);
}

static void compare_q16a(qm_twin *t, qm_ref r, uint32_t n_vec, uint32_t n, qm_difference *d) {
    qm_difference x;
    if (!r) return;
    for (uint32_t v = 0; v < n_vec; v++) {
        qm_q16a_dequantize(t->a, got(t, r) + QM_Q16A_BYTES((uint64_t)n) * v, n);
        qm_q16a_dequantize(t->b, want(t, r) + QM_Q16A_BYTES((uint64_t)n) * v, n);
        qm_difference_of(&x, t->a, t->b, n);
        keep_worst(d, &x, "q16a");
    }
}

static void compare_words(const void *got, const void *want, uint32_t n, const char *tensor, qm_difference *d) {
    qm_difference x = {.cosine = 1, .n = n};
    uint32_t a, b;
    for (uint32_t i = 0; i < n && x.cosine == 1; i++) {
        memcpy(&a, (const char *)got + 4 * i, 4);
        memcpy(&b, (const char *)want + 4 * i, 4);
        if (a == b) continue;
        x = (qm_difference){.cosine = 0, .rel_l2 = INFINITY, .n = n, .worst = i, .got = a, .want = b};
    }
    keep_worst(d, &x, tensor);
}

/* The row of position pos in a K or V pool, all kv heads. */
static void cache_row(float *to, const unsigned char *pool, const qm_plan *p, uint32_t page, uint32_t pos, int is_v) {
    const qm_hparams *hp = &p->place->model->hp;
    const qm_kv_cache_type kv = p->limits.kv_type;
    for (uint32_t h = 0; h < hp->n_kv; h++)
        qm_kv_page_get(kv, is_v, to + (size_t)h * hp->head_dim,
                       pool + qm_kv_page_bytes(hp, kv) * page + qm_kv_head_page_bytes(kv, hp->head_dim) * h,
                       hp->head_dim, pos % QM_PAGE_TOKENS);
}

static void compare_cache(qm_twin *t, const qm_plan *p, uint32_t pos, qm_difference *d) {
    const qm_hparams *hp = &p->place->model->hp;
    uint32_t page = t->s->pages[pos / QM_PAGE_TOKENS], n = hp->n_kv * hp->head_dim;
    for (int v = 0; v < 2; v++) {
        qm_difference x;
        uint64_t off = v ? t->kv_layer_bytes / 2 : 0;
        cache_row(t->a, t->got_kv + off, p, page, pos, v);
        cache_row(t->b, t->kv + off, p, page, pos, v);
        qm_difference_of(&x, t->a, t->b, n);
        keep_worst(d, &x, v ? "v cache" : "k cache");
    }
}

static void compare_all(qm_twin *t, const qm_plan *p, const qm_op *op, uint32_t pos, qm_difference *d) {
    const qm_op_args *a = &op->args;
    if (op->out_kind == QM_OUT_F32) compare_f32(t, op->out, op->out_n, op->out_parts, "output", d);
    switch (op->kind) {
    case QM_OP_RMSNORM:
        compare_f32(t, a->rmsnorm.x_out, a->rmsnorm.n, 1, "x", d);
        compare_q16a(t, a->rmsnorm.yq, 1, a->rmsnorm.n, d);
        break;
    case QM_OP_COMBINE: compare_q16a(t, a->combine.yq, 1, op->out_n, d); break;
    case QM_OP_MOE_UP: compare_q16a(t, a->moe_up.hq, op->grid[1], a->moe_up.n_ff, d); break;
    case QM_OP_SWIGLU: compare_q16a(t, a->swiglu.hq, a->swiglu.k, a->swiglu.n, d); break;
    case QM_OP_ROUTER: compare_words(got(t, a->router.ids), want(t, a->router.ids), a->router.n_used, "ids", d); break;
    case QM_OP_QKROPE: compare_cache(t, p, pos, d); break;
    default: break;
    }
    /* whoever chooses the next token, the sequence's tokens must be the same on both sides */
    uint64_t next = p->seq.tokens_off + 4ull * (pos + 1);
    compare_words(t->got_seq + next, t->seq + next, 1, "token", d);
}

static int fetch(qm_twin *t, const qm_plan *p, const qm_op *op, unsigned char *scratch, unsigned char *seq,
                 unsigned char *kv, qm_err *e) {
    qm_engine *g = t->s->g;
    int rc = download(t, p, scratch, QM_REF(QM_SPACE_SCRATCH, 0), g->memory.scratch, e);
    if (!rc) rc = download(t, p, seq, QM_REF(QM_SPACE_SEQ, 0), qm_seq_layout_of(&g->model->hp, g->limits).bytes, e);
    if (!rc && kv) {
        uint64_t off = t->kv_layer_bytes * (uint32_t)op->layer;
        t->host.base[QM_SPACE_KV] = (uint64_t)(uintptr_t)t->kv - off; /* the mirror holds this layer alone */
        rc = download(t, p, kv, QM_REF(QM_SPACE_KV, off), t->kv_layer_bytes, e);
    }
    return rc;
}

int qm_twin_op(qm_twin *t, const qm_plan *p, uint32_t pos, int i, int compare, qm_difference *d, qm_err *e) {
    const qm_op *op = &p->ops[i];
    int cache = op->kind == QM_OP_ATTN || op->kind == QM_OP_QKROPE, rc = 0;
    *d = (qm_difference){.op = i, .layer = op->layer, .slot = op->slot, .cosine = 1};
    if (compare && (rc = fetch(t, p, op, t->scratch, t->seq, cache ? t->kv : NULL, e))) return rc;
    t->row.pos = op->kind == QM_OP_EMBED ? pos - 1 : pos;
    if (compare && (rc = qm_run_ref_op(p, i, &t->host, e))) return rc;
    if ((rc = qm_graph_launch_op(t->s->g, t->s->seq, p, i, e))) return rc;
    if (!compare) return 0;
    rc = fetch(t, p, op, t->got, t->got_seq, cache ? t->got_kv : NULL, e);
    if (!rc) compare_all(t, p, op, pos, d);
    return rc;
}
