/* trace_compare.c: see trace_compare.h. */
#include "trace_compare.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "../../kernels/ref/kv.h"
#include "../../kernels/ref/ref.h"
#include "../base/units.h"
#include "../file/quant.h"
#include "../plan/ops.h"

/* A space of the device's memory as far as ops of a plan know it, on the host. Of the KV pool one layer: from kv_at
 * on. */
typedef struct {
    unsigned char *before, *got, *want; /* an op's operands: before it; as the device, as the reference left them */
} copies;

struct qm_mirror {
    const qm_inside *x;
    copies space[QM_N_SPACES];
    uint64_t kv_at;
    float *a, *b; /* [the longest vector] */
    float *row;   /* [head_dim] */
    qm_bases host;
};

/* ---- two vectors ---- */
void qm_difference_of(qm_difference *d, const float *a, const float *b, uint32_t n) {
    double ab = 0, aa = 0, bb = 0, dd = 0, most = -1;
    int strange = 0; /* non-finite and not alike */
    d->n = n;
    d->worst = 0;
    for (uint32_t i = 0; i < n; i++) {
        double x = a[i], y = b[i], off = fabs(x - y);
        if (!isfinite(x) || !isfinite(y)) {
            int alike = (isnan(x) && isnan(y)) || x == y;
            if (alike) continue;
            if (!strange) d->worst = i;
            strange = 1;
            continue;
        }
        ab += x * y;
        aa += x * x;
        bb += y * y;
        dd += off * off;
        if (off > most && !strange) {
            most = off;
            d->worst = i;
        }
    }
    d->cosine = strange ? 0 : aa == 0 && bb == 0 ? 1 : aa == 0 || bb == 0 ? 0 : ab / sqrt(aa * bb);
    d->rel_l2 = strange ? INFINITY : bb == 0 ? (dd == 0 ? 0 : INFINITY) : sqrt(dd / bb);
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
/* Weights are read from the file, the RoPE table is made; the rest is fetched for each op. */
static int mirrored(qm_space s) {
    return s == QM_SPACE_SCRATCH || s == QM_SPACE_KV || s == QM_SPACE_SEQ || s == QM_SPACE_RESULT || s == QM_SPACE_STEP;
}

/* The lowest reference among n operands that lie in the KV pool, less its space. */
static uint64_t kv_begin(const qm_operand *o, int n) {
    uint64_t at = UINT64_MAX;
    for (int k = 0; k < n; k++)
        if (QM_REF_SPACE(o[k].ref) == QM_SPACE_KV && QM_REF_VALUE(o[k].ref) < at) at = QM_REF_VALUE(o[k].ref);
    return at == UINT64_MAX ? 0 : at;
}

static int allocate(qm_mirror *m, qm_err *e) {
    const qm_plan *p = m->x->plan;
    uint64_t bytes[QM_N_SPACES] = {0}, longest = 0, all = 0;
    for (int i = 0; i < p->n_ops; i++) {
        qm_operand o[QM_MAX_OPERANDS];
        int n = qm_op_operands(p, &p->ops[i], o);
        const uint64_t kv = kv_begin(o, n);
        for (int k = 0; k < n; k++) {
            qm_space s = QM_REF_SPACE(o[k].ref);
            if (!mirrored(s)) continue;
            uint64_t end = QM_REF_VALUE(o[k].ref) - (s == QM_SPACE_KV ? kv : 0) + o[k].bytes;
            if (end > bytes[s]) bytes[s] = end;
            if (o[k].n_parts * qm_operand_n(&o[k]) > longest) longest = o[k].n_parts * qm_operand_n(&o[k]);
        }
    }
    int failed = !(m->a = malloc(4 * longest)) || !(m->b = malloc(4 * longest)) ||
                 !(m->row = malloc(4ull * p->place->model->hp.head_dim));
    for (int s = 0; s < QM_N_SPACES; s++) {
        copies *c = &m->space[s];
        all += 3 * bytes[s];
        if (bytes[s])
            failed |= !(c->before = calloc(1, bytes[s])) || !(c->got = calloc(1, bytes[s])) ||
                      !(c->want = calloc(1, bytes[s]));
    }
    return !failed ? 0
                   : qm_fail(e, QM_ERR_NOMEM,
                             "compare: %.2f GiB of host memory for a mirror of an op's operands are not to be had",
                             qm_gib((double)all));
}

int qm_mirror_open(qm_mirror **out, const qm_inside *x, qm_err *e) {
    const qm_plan *p = x->plan;
    const qm_hparams *hp = &p->place->model->hp;
    *out = NULL;
    if (!x->dev)
        return qm_fail(e, QM_ERR_UNSUPPORTED, "compare: the executor %s runs no kernels that could depart",
                       qm_inside_executor(x->g));
    qm_mirror *m = calloc(1, sizeof *m);
    if (!m) return qm_fail(e, QM_ERR_NOMEM, "compare: out of memory");
    m->x = x;
    float *rope = malloc(qm_rope_bytes(hp, p->limits.n_ctx));
    m->host.base[QM_SPACE_ROPE] = (uint64_t)(uintptr_t)rope;
    int rc = rope ? allocate(m, e) : qm_fail(e, QM_ERR_NOMEM, "compare: out of memory");
    if (rc) {
        qm_mirror_close(m);
        return rc;
    }
    qm_rope_fill(rope, hp, p->limits.n_ctx);
    for (int s = 0; s < QM_N_SPACES; s++)
        if (m->space[s].want) m->host.base[s] = (uint64_t)(uintptr_t)m->space[s].want;
    *out = m;
    return 0;
}

void qm_mirror_close(qm_mirror *m) {
    if (!m) return;
    for (int s = 0; s < QM_N_SPACES; s++) {
        free(m->space[s].before);
        free(m->space[s].got);
        free(m->space[s].want);
    }
    free((void *)(uintptr_t)m->host.base[QM_SPACE_ROPE]);
    free(m->a);
    free(m->b);
    free(m->row);
    free(m);
}

/* Where operand o lies in one of its space's copies. */
static unsigned char *in(const qm_mirror *m, unsigned char *copy, const qm_operand *o) {
    return copy + QM_REF_VALUE(o->ref) - (QM_REF_SPACE(o->ref) == QM_SPACE_KV ? m->kv_at : 0);
}

/* ---- what an op leaves ---- */
/* Sums of parts, added by rising index: y [n] of v [parts, n]. */
static void sum_parts(float *y, const unsigned char *v, uint64_t n, uint32_t parts) {
    const float *f = (const float *)(const void *)v;
    for (uint64_t i = 0; i < n; i++) {
        double sum = 0;
        for (uint32_t k = 0; k < parts; k++) sum += f[k * n + i];
        y[i] = (float)sum;
    }
}

/* The sum that is meant, and the parts side by side: a sum does not tell whose they are. */
static void compare_f32(qm_mirror *m, const qm_operand *o, const unsigned char *got, const unsigned char *want,
                        qm_difference *d) {
    qm_difference x;
    const uint64_t n = qm_operand_n(o);
    sum_parts(m->a, got, n, o->n_parts);
    sum_parts(m->b, want, n, o->n_parts);
    qm_difference_of(&x, m->a, m->b, (uint32_t)n);
    keep_worst(d, &x, o->name);
    if (o->n_parts == 1) return;
    memcpy(m->a, got, 4 * n * o->n_parts);
    memcpy(m->b, want, 4 * n * o->n_parts);
    qm_difference_of(&x, m->a, m->b, (uint32_t)(n * o->n_parts));
    keep_worst(d, &x, o->name);
}

static void compare_q16a(qm_mirror *m, const qm_operand *o, const unsigned char *got, const unsigned char *want,
                         qm_difference *d) {
    qm_difference x;
    const uint32_t n = o->dims[o->n_dims - 1];
    const uint64_t n_vec = qm_operand_n(o) / n;
    for (uint64_t v = 0; v < n_vec; v++) {
        qm_q16a_dequantize(m->a, got + QM_Q16A_BYTES((uint64_t)n) * v, n);
        qm_q16a_dequantize(m->b, want + QM_Q16A_BYTES((uint64_t)n) * v, n);
        qm_difference_of(&x, m->a, m->b, n);
        keep_worst(d, &x, o->name);
    }
}

/* Ids, words of a state: the same, bit for bit. */
static void compare_words(const qm_operand *o, const unsigned char *got, const unsigned char *want, qm_difference *d) {
    const uint64_t n = o->bytes / 4;
    qm_difference x = {.cosine = 1, .n = (uint32_t)n};
    uint32_t a, b;
    for (uint64_t i = 0; i < n && x.cosine == 1; i++) {
        memcpy(&a, got + 4 * i, 4);
        memcpy(&b, want + 4 * i, 4);
        if (a == b) continue;
        x = (qm_difference){
            .cosine = 0, .rel_l2 = INFINITY, .n = (uint32_t)n, .worst = (uint32_t)i, .got = a, .want = b};
    }
    keep_worst(d, &x, o->name);
}

/* Of a cache [pages, heads, QM_PAGE_TOKENS, head_dim] the rows that either side has written: the rest of the pages says
 * nothing of this op. */
static void compare_cache(qm_mirror *m, const qm_operand *o, const unsigned char *before, const unsigned char *got,
                          const unsigned char *want, qm_difference *d) {
    const qm_kv_cache_type kv = m->x->plan->limits.kv_type;
    const uint32_t hd = o->dims[3];
    const uint64_t page = qm_kv_head_page_bytes(kv, hd), n_pages = (uint64_t)o->dims[0] * o->dims[1];
    const int is_v = o->name[0] == 'v';
    float *was = m->row, *a = m->a, *b = m->b;
    qm_difference x;
    for (uint64_t p = 0; p < n_pages; p++) {
        const uint64_t at = p * page;
        if (!memcmp(before + at, got + at, page) && !memcmp(before + at, want + at, page)) continue;
        for (uint32_t t = 0; t < QM_PAGE_TOKENS; t++) {
            qm_kv_page_get(kv, is_v, was, before + at, hd, t);
            qm_kv_page_get(kv, is_v, a, got + at, hd, t);
            qm_kv_page_get(kv, is_v, b, want + at, hd, t);
            if (!memcmp(was, a, 4ull * hd) && !memcmp(was, b, 4ull * hd)) continue;
            a += hd;
            b += hd;
        }
    }
    qm_difference_of(&x, m->a, m->b, (uint32_t)(a - m->a));
    keep_worst(d, &x, o->name);
}

static void compare_operand(qm_mirror *m, const qm_operand *o, qm_difference *d) {
    const copies *c = &m->space[QM_REF_SPACE(o->ref)];
    const unsigned char *got = in(m, c->got, o), *want = in(m, c->want, o);
    switch (o->kind) {
    case QM_KIND_F32: compare_f32(m, o, got, want, d); break;
    case QM_KIND_Q16A: compare_q16a(m, o, got, want, d); break;
    case QM_KIND_KV: compare_cache(m, o, in(m, c->before, o), got, want, d); break;
    default: compare_words(o, got, want, d);
    }
}

/* The mirror holds the step's sequence alone: the first. */
static void as_only_sequence(unsigned char *rows, uint64_t bytes) {
    for (uint64_t at = 0; at < bytes; at += QM_ROW_SIZE) {
        memset(rows + at + QM_ROW_SEQ, 0, 4);
        memset(rows + at + QM_ROW_SEQ_OFF, 0, 8);
    }
}

/* The operands with that direction, from the device. */
static int fetch(qm_mirror *m, const qm_operand *o, int n, int dir, int want, qm_err *e) {
    int rc = 0;
    for (int k = 0; k < n && !rc; k++) {
        const qm_space s = QM_REF_SPACE(o[k].ref);
        if (!mirrored(s) || !(o[k].dir & dir)) continue;
        copies *c = &m->space[s];
        rc = qm_inside_read(m->x, o[k].ref, in(m, want ? c->want : c->got, &o[k]), o[k].bytes, e);
        if (o[k].kind == QM_KIND_ROWS) as_only_sequence(in(m, want ? c->want : c->got, &o[k]), o[k].bytes);
        if (want && s == QM_SPACE_KV) memcpy(in(m, c->before, &o[k]), in(m, c->want, &o[k]), o[k].bytes);
    }
    return rc;
}

int qm_mirror_op(qm_mirror *m, int i, int compare, qm_difference *d, qm_err *e) {
    const qm_plan *p = m->x->plan;
    const qm_op *op = &p->ops[i];
    qm_operand o[QM_MAX_OPERANDS];
    const int n = qm_op_operands(p, op, o);
    int rc = 0;
    *d = (qm_difference){.op = i, .layer = op->layer, .slot = op->slot, .cosine = 1};
    m->kv_at = kv_begin(o, n);
    m->host.base[QM_SPACE_KV] = (uint64_t)(uintptr_t)m->space[QM_SPACE_KV].want - m->kv_at;
    if (compare && ((rc = fetch(m, o, n, QM_INOUT, 1, e)) || (rc = qm_run_ref_op(p, i, &m->host, e)))) return rc;
    if ((rc = qm_inside_run(m->x, i, NULL, NULL, e)) || !compare) return rc;
    if ((rc = fetch(m, o, n, QM_OUT, 0, e))) return rc;
    for (int k = 0; k < n; k++) {
        const int own = o[k].space == QM_SPACE_SCRATCH && o[k].dir == QM_INOUT; /* the device's way to its results */
        if (o[k].dir & QM_OUT && mirrored(QM_REF_SPACE(o[k].ref)) && !own) compare_operand(m, &o[k], d);
    }
    return 0;
}
