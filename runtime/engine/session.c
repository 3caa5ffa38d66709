/* session.c: one sequence: its tokens, its pages, its steps. */
#include <stdlib.h>
#include <string.h>
#include "../device/prof.h"
#include "engine.h"

static int prepare(void *user, const qm_plan *p, qm_err *e) {
    qm_session *s = user;
    return s->g->exec->prepare(s->g, s->seq, p, e);
}

int qm_session_open(qm_session **out, qm_engine *g, qm_err *e) {
    *out = NULL;
    QM_PROF_SCOPE(QM_PROF_LOAD, "session_open");
    qm_session *s = calloc(1, sizeof *s);
    if (!s) return qm_fail(e, QM_ERR_NOMEM, "session: out of memory");
    s->g = g;
    s->ids = malloc(((size_t)g->limits.n_ctx + 1) * sizeof *s->ids);
    s->pages = malloc((size_t)g->limits.n_pages * sizeof *s->pages);
    int rc = s->ids && s->pages ? g->exec->seq_open(g, &s->seq, e) : qm_fail(e, QM_ERR_NOMEM, "session: out of memory");
    if (!rc) rc = qm_engine_each_plan(g, prepare, s, e);
    if (rc) {
        qm_session_close(s);
        return rc;
    }
    *out = s;
    return 0;
}

static void give_pages(qm_session *s, uint32_t keep) {
    while (s->n_pages > keep) qm_pages_give(&s->g->kv, s->pages[--s->n_pages]);
}

void qm_session_close(qm_session *s) {
    if (!s) return;
    if (s->seq) s->g->exec->seq_close(s->g, s->seq); /* waits for what is in flight */
    give_pages(s, 0);
    free(s->ids);
    free(s->pages);
    qm_said_free(s->said);
    free(s);
}

uint32_t qm_session_length(const qm_session *s) { return s->n; }

/* Whatever changes the tokens: nobody knows any more what they say. */
void qm_session_forget(qm_session *s) {
    qm_said_free(s->said);
    s->said = NULL;
}

int qm_session_truncate(qm_session *s, uint32_t n, qm_err *e) {
    if (n > s->n) return qm_fail(e, QM_ERR_ARG, "session: cannot truncate %u tokens to %u", s->n, n);
    qm_session_forget(s);
    s->n = n;
    if (s->n_cached > n) s->n_cached = n;
    s->last = NULL;
    qm_session_trim(s);
    return 0;
}

int qm_session_set_sampling(qm_session *s, const qm_sampling *p, qm_err *e) {
    qm_sample_words words;
    int rc = qm_sampling_words(&words, p, s->g->model->hp.n_vocab, e);
    return rc ? rc : s->g->exec->put_sampling(s->g, s->seq, &words, e);
}

int qm_session_pages(qm_session *s, uint32_t n, qm_err *e) {
    uint32_t had = s->n_pages;
    int rc = 0;
    while (s->n_pages < n && !(rc = qm_pages_take(&s->g->kv, &s->pages[s->n_pages], e))) s->n_pages++;
    if (!rc && s->n_pages > had) rc = s->g->exec->put_pages(s->g, s->seq, had, s->pages + had, s->n_pages - had, e);
    if (rc) give_pages(s, had);
    return rc;
}

void qm_session_trim(qm_session *s) { give_pages(s, qm_pages_for(s->n_cached)); }

int qm_session_step(qm_session *s, uint32_t pos, int logits, qm_err *e) {
    qm_engine *g = s->g;
    const qm_plan *p;
    QM_PROF_SCOPE(logits ? QM_PROF_DECODE : QM_PROF_PREFILL, "step");
    int rc = qm_session_pages(s, pos / QM_PAGE_TOKENS + 1, e);
    if (!rc) rc = qm_engine_plan(g, pos, logits, &p, e);
    if (!rc) rc = g->exec->step(g, s->seq, p, e);
    if (!rc && logits) s->last = p;
    return rc;
}

int qm_session_prefill(qm_session *s, const qm_gen_opts *o, qm_err *e) {
    qm_engine *g = s->g;
    uint32_t from = s->n_cached, n = s->n - from;
    QM_PROF_SCOPE(QM_PROF_PREFILL, "prefill");
    int rc = g->exec->put_tokens(g, s->seq, from, s->ids + from, n, e);
    if (!rc) rc = g->exec->set_pos(g, s->seq, from, e);
    for (uint32_t i = 0; i < n && !rc; i++) {
        /* Launches do not wait for the device: whoever watches is told of what it has done, but for the last steps. */
        if (o && o->on_prefill && i > QM_RUN_AHEAD) rc = g->exec->wait(g, s->seq, from + i - 1 - QM_RUN_AHEAD, e);
        if (rc) break;
        if (o && o->on_prefill && o->on_prefill(o->user, i, n)) {
            s->n = s->n_cached;
            return qm_fail(e, QM_ERR_CANCELLED, "cancelled after %u of %u positions of the prompt", i, n);
        }
        rc = qm_session_step(s, from + i, i == n - 1, e);
        if (!rc) s->n_cached = from + i + 1;
    }
    return rc;
}

int qm_result_take(const qm_result *r, uint32_t pos, uint32_t *id, uint32_t *flags, qm_err *e) {
    const volatile qm_result *v = r; /* the device writes it */
    if (v->pos != pos)
        return qm_fail(e, QM_ERR_DEVICE, "the result of position %u is not there: its slot has that of %u", pos,
                       v->pos);
    *id = v->token;
    *flags = v->flags;
    return 0;
}

int qm_session_result(qm_session *s, uint32_t pos, uint32_t *id, qm_err *e) {
    uint32_t flags = 0;
    QM_PROF_SCOPE(QM_PROF_SAMPLE, "sample"); /* the device samples: here the host waits for the token */
    int rc = s->g->exec->result(s->g, s->seq, pos, id, &flags, e);
    if (rc) return rc;
    if (flags & QM_FLAG_NONFINITE)
        return qm_fail(e, QM_ERR_DEVICE,
                       "the logits at position %u are not finite (NaN or infinity): the model file "
                       "is damaged or does not fit this architecture; a trace names the layer",
                       pos);
    if (flags & QM_FLAG_BAD_TOKEN)
        return qm_fail(e, QM_ERR_DEVICE, "a token id outside the embedding reached the device by position %u", pos);
    return 0;
}

int qm_session_eval(qm_session *s, uint32_t token, qm_err *e) {
    if (s->n >= s->g->limits.n_ctx)
        return qm_fail(e, QM_ERR_LIMIT, "the context is full: %u positions", s->g->limits.n_ctx);
    if (token >= s->g->model->hp.n_vocab)
        return qm_fail(e, QM_ERR_ARG, "token %u is outside the vocabulary of %u", token, s->g->model->hp.n_vocab);
    qm_session_forget(s);
    s->ids[s->n++] = token;
    int rc = qm_session_prefill(s, NULL, e);
    uint32_t id;
    return rc ? rc : qm_session_result(s, s->n - 1, &id, e);
}

int qm_session_logits(qm_session *s, float *out, qm_err *e) {
    if (!s->last) return qm_fail(e, QM_ERR_ARG, "session: no logits have been computed");
    return s->g->exec->logits(s->g, s->seq, out, e);
}
