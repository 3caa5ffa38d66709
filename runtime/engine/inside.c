/* inside.c: see inside.h. A step's ops one by one, by what the executor lends (qm_executor.inside). */
#include "choose.h"
#include "inside.h"
#include <stdlib.h>
#include <string.h>
#include "inside_means.h"
#include "session.h"

qm_engine *qm_inside_engine(const qm_session *s) { return s->g; }
const qm_gguf *qm_inside_gguf(const qm_engine *g) { return g->gguf; }
const qm_model *qm_inside_model(const qm_engine *g) { return g->model; }
const char *qm_inside_executor(const qm_engine *g) { return g->exec->name; }
qm_device *qm_inside_device(const qm_engine *g) { return g->dev; }

int qm_inside_plan(qm_engine *g, uint32_t pos, int logits, const qm_plan **out, qm_err *e) {
    return qm_engine_plan(g, pos, logits, out, e);
}

int qm_inside_rows_plan(qm_engine *g, uint32_t n, uint32_t n_outs, uint32_t pos, const qm_plan **out, qm_err *e) {
    qm_row rows[QM_STEP_ROWS_MAX];
    for (uint32_t i = 0; i < n && i < QM_STEP_ROWS_MAX; i++)
        rows[i] = (qm_row){NULL, pos, i < n_outs ? QM_DRAW : QM_NO_LOGITS};
    return qm_engine_step_plan(g, rows, n, out, e);
}

int qm_inside_runs(const char *executor, const qm_plan *p, int *resident, qm_err *e) {
    const qm_executor *x = qm_executor_find(executor, e);
    if (!x) return QM_ERR_ARG;
    if (!x->on_device) return qm_fail(e, QM_ERR_ARG, "the executor %s runs no kernels", x->name);
    *resident = x->resident;
    return p && x->validate ? x->validate(p, e) : 0;
}

const char *qm_inside_chip_executor(const qm_device *d, char *why, size_t why_n) {
    return qm_choose_by_chip(d, why, why_n)->name;
}

void qm_inside_keep_choice(const qm_engine *g, double graph, double persistent) {
    qm_choice_put(g, &(qm_choice){graph, persistent});
}

enum { FILL_SEED = 1 };

int qm_inside_open(qm_inside *x, qm_engine *g, qm_session *s, uint32_t pos, qm_err *e) {
    int rc = 0;
    *x = (qm_inside){.g = g, .s = s, .pos = pos, .dev = g->dev, .own = !s};
    if (pos >= g->limits.n_ctx)
        return qm_fail(e, QM_ERR_LIMIT, "a step at depth %u needs a context of %u, it is %u", pos, pos + 1,
                       g->limits.n_ctx);
    if (!s && !(rc = qm_session_open(&x->s, g, e))) rc = qm_inside_fill(x->s, pos, FILL_SEED, e);
    if (!rc && pos > x->s->n)
        rc = qm_fail(e, QM_ERR_ARG, "a step at position %u of a session that holds %u tokens", pos, x->s->n);
    if (!rc) rc = qm_engine_plan(g, pos, 1, &x->plan, e);
    if (rc) qm_inside_close(x);
    else if (g->dev) x->stream = g->exec->inside->stream(g);
    return rc;
}

/* ---- several rows ---- */
struct qm_inside_rows {
    qm_session **s; /* [n_seqs] */
    qm_row *rows;   /* [n] */
    uint32_t n_seqs, n;
};

static void close_rows(struct qm_inside_rows *r) {
    for (uint32_t i = 0; r && i < r->n_seqs; i++) qm_session_close(r->s[i]);
    if (r) free(r->s), free(r->rows);
    free(r);
}

static int open_rows(struct qm_inside_rows *r, qm_engine *g, uint32_t n_each, uint32_t depth, qm_err *e) {
    int rc = 0;
    for (uint32_t i = 0; i < r->n_seqs && !rc; i++) {
        if ((rc = qm_session_open(&r->s[i], g, e)) || (rc = qm_inside_fill(r->s[i], depth, FILL_SEED, e))) break;
        rc = qm_session_pages(r->s[i], qm_pages_for((uint64_t)depth + n_each), e);
        for (uint32_t k = 0; k < n_each; k++)
            r->rows[i * n_each + k] = (qm_row){r->s[i]->seq, depth + k, k + 1 == n_each ? QM_DRAW : QM_NO_LOGITS};
    }
    return rc;
}

int qm_inside_open_rows(qm_inside *x, qm_engine *g, uint32_t n_seqs, uint32_t n_each, uint32_t depth, qm_err *e) {
    const uint64_t n = (uint64_t)n_seqs * n_each;
    *x = (qm_inside){.g = g, .dev = g->dev, .pos = depth + n_each - 1};
    if (!n || n > g->limits.n_rows || (uint64_t)depth + n_each > g->limits.n_ctx)
        return qm_fail(e, QM_ERR_LIMIT,
                       "a step of %u rows of each of %u sequences at depth %u: there is room for %u rows, %u positions",
                       n_each, n_seqs, depth, g->limits.n_rows, g->limits.n_ctx);
    struct qm_inside_rows *r = x->rows = calloc(1, sizeof *r);
    if (r) *r = (struct qm_inside_rows){calloc(n_seqs, sizeof *r->s), calloc(n, sizeof *r->rows), n_seqs, (uint32_t)n};
    int rc = r && r->s && r->rows ? open_rows(r, g, n_each, depth, e)
                                  : qm_fail(e, QM_ERR_NOMEM, "inside a step: out of memory");
    if (!rc) rc = qm_engine_step_plan(g, r->rows, r->n, &x->plan, e);
    if (!rc) x->s = r->s[0];
    if (!rc && g->dev) x->stream = g->exec->inside->stream(g);
    if (rc) qm_inside_close(x);
    return rc;
}

/* The same token for each row. */
static int begin_rows(qm_inside *x, uint32_t token, qm_err *e) {
    const struct qm_inside_rows *r = x->rows;
    int rc = 0;
    for (uint32_t i = 0; i < r->n && !rc; i++)
        rc = x->g->exec->put_tokens(x->g, r->rows[i].seq, r->rows[i].pos, &token, 1, e);
    return rc ? rc : x->g->exec->place(x->g, r->rows, r->n, e);
}

void qm_inside_close(qm_inside *x) {
    if (x->rows) close_rows(x->rows);
    if (x->own) qm_session_close(x->s);
    *x = (qm_inside){0};
}

int qm_inside_begin(qm_inside *x, uint32_t token, qm_err *e) {
    qm_engine *g = x->g;
    qm_session *s = x->s;
    if (token >= g->model->hp.n_vocab)
        return qm_fail(e, QM_ERR_ARG, "token %u is outside the vocabulary of %u", token, g->model->hp.n_vocab);
    if (x->rows) return begin_rows(x, token, e);
    int rc = g->exec->put_tokens(g, s->seq, x->pos, &token, 1, e);
    if (!rc) rc = qm_session_place(s, x->pos, e);
    if (!rc) rc = qm_session_pages(s, x->pos / QM_PAGE_TOKENS + 1, e);
    s->ids[x->pos] = token;
    return rc;
}

void qm_inside_end(qm_inside *x) {
    qm_session_note(x->s, NULL, NULL);
    x->s->n = x->s->n_cached = x->pos + 1;
    x->s->last = x->plan;
}

/* ---- ops and operands ---- */
int qm_inside_run(const qm_inside *x, int i, CUstream on, const qm_stamps *stamps, qm_err *e) {
    return x->g->exec->inside->run(x->g, x->plan, i, on ? on : x->stream, stamps, e);
}

static qm_bases bases(const qm_inside *x) { return x->g->exec->inside->bases(x->g, x->s->seq); }

uint64_t qm_inside_address(const qm_inside *x, qm_ref r) {
    qm_bases b = bases(x);
    if (!b.base[QM_REF_SPACE(r)]) return 0;
    return qm_ref_resolve(x->plan, r, &b);
}

static int absent(qm_ref r, qm_err *e) {
    return qm_fail(e, QM_ERR_UNSUPPORTED, "inside a step: nothing is kept behind reference %016llx",
                   (unsigned long long)r);
}

int qm_inside_read(const qm_inside *x, qm_ref from, void *to, uint64_t bytes, qm_err *e) {
    uint64_t at = qm_inside_address(x, from);
    qm_device *d = x->dev;
    int rc = 0;
    if (!at) return absent(from, e);
    if (!d) {
        memcpy(to, (const void *)(uintptr_t)at, bytes);
        return 0;
    }
    QM_CU_TRY(d, StreamSynchronize(x->stream));
    QM_CU_TRY(d, MemcpyDtoH(to, at, bytes));
out:
    return rc;
}

int qm_inside_put(const qm_inside *x, uint64_t to, const void *from, uint64_t bytes, qm_err *e) {
    return x->g->exec->inside->put(x->g, to, from, bytes, e);
}

int qm_inside_write(const qm_inside *x, qm_ref to, const void *from, uint64_t bytes, qm_err *e) {
    uint64_t at = qm_inside_address(x, to);
    return at ? qm_inside_put(x, at, from, bytes, e) : absent(to, e);
}

/* ---- the step as a graph ---- */
int qm_inside_capture(const qm_inside *x, const qm_stamps *stamps, qm_captured **out, qm_err *e) {
    const qm_inside_means *m = x->g->exec->inside;
    int rc = 0;
    *out = NULL;
    if (!m->capture) return qm_fail(e, QM_ERR_UNSUPPORTED, "the executor %s runs no kernels", x->g->exec->name);
    for (int i = 0; i < x->plan->n_ops && !rc; i++)
        rc = stamps ? qm_stamped_load(stamps->kernels, x->plan->ops[i].kernel, e) : qm_inside_run(x, i, NULL, NULL, e);
    if (rc) return rc;
    QM_CU_TRY(x->dev, StreamSynchronize(x->stream));
    if (!(*out = calloc(1, sizeof **out))) return qm_fail(e, QM_ERR_NOMEM, "capture: out of memory");
    rc = m->capture(x->g, x->plan, stamps, *out, e);
out:
    if (rc) qm_inside_drop(x, *out), *out = NULL;
    return rc;
}

int qm_inside_launch(const qm_inside *x, const qm_captured *c, qm_err *e) {
    int rc = 0;
    QM_CU_TRY(x->dev, GraphLaunch(c->graph, x->stream));
out:
    return rc;
}

void qm_inside_drop(const qm_inside *x, qm_captured *c) {
    if (!c) return;
    qm_captured_drop(c, x->dev);
    free(c);
}
