/* session.c: one sequence: its tokens, its pages, its results. */
#include <stdlib.h>
#include <string.h>
#include "../device/prof.h"
#include "session.h"

int qm_session_open(qm_session **out, qm_engine *g, qm_err *e) {
    *out = NULL;
    QM_PROF_SCOPE(QM_PROF_LOAD, "session_open");
    qm_session *s = calloc(1, sizeof *s);
    if (!s) return qm_fail(e, QM_ERR_NOMEM, "session: out of memory");
    s->g = g;
    s->ids = malloc(((size_t)g->limits.n_ctx + 1) * sizeof *s->ids);
    s->pages = malloc((size_t)qm_pages_for(g->limits.n_ctx) * sizeof *s->pages);
    int rc = s->ids && s->pages ? g->exec->seq_open(g, &s->seq, e) : qm_fail(e, QM_ERR_NOMEM, "session: out of memory");
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
    qm_session_note(s, NULL, NULL);
    free(s);
}

uint32_t qm_session_length(const qm_session *s) { return s->n; }

void qm_session_note(qm_session *s, void *note, void (*free_note)(void *)) {
    if (s->note) s->note_free(s->note);
    s->note = note;
    s->note_free = free_note;
}

int qm_session_truncate(qm_session *s, uint32_t n, qm_err *e) {
    if (n > s->n) return qm_fail(e, QM_ERR_ARG, "session: cannot truncate %u tokens to %u", s->n, n);
    qm_session_note(s, NULL, NULL);
    s->n = n;
    if (s->n_cached > n) s->n_cached = n;
    if (n < s->n_shared * QM_PAGE_TOKENS) { /* what is left of a shared page is computed once more, in an own one */
        s->n_shared = n / QM_PAGE_TOKENS;
        s->n_cached = s->n_shared * QM_PAGE_TOKENS;
    }
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
    qm_pages *kv = &s->g->kv;
    uint32_t had = s->n_pages;
    int rc = 0;
    if (n <= had) return 0;
    if (n - had > kv->n_free)
        return qm_fail(
            e, QM_ERR_LIMIT,
            "KV cache: this sequence needs %u pages and holds %u, but only %u of %u are free: the others hold "
            "the rest",
            n, had, kv->n_free, kv->n_pages);
    while (s->n_pages < n) s->pages[s->n_pages++] = qm_pages_take(kv);
    rc = s->g->exec->put_pages(s->g, s->seq, had, s->pages + had, n - had, e);
    if (rc) give_pages(s, had);
    return rc;
}

int qm_session_grow(qm_session *s, uint32_t n, uint32_t until, qm_err *e) {
    const uint32_t need = qm_pages_for(n), have = s->n_pages + s->g->kv.n_free;
    uint32_t pages = s->n_pages + QM_GROW_PAGES;
    if (need <= s->n_pages) return 0;
    if (pages > qm_pages_for(until)) pages = qm_pages_for(until);
    if (pages > have) pages = have;
    return qm_session_pages(s, pages > need ? pages : need, e);
}

void qm_session_trim(qm_session *s) { give_pages(s, qm_pages_for(s->n_cached)); }

int qm_session_place(qm_session *s, uint32_t pos, qm_err *e) {
    return s->g->exec->place(s->g, &(qm_row){s->seq, pos, 1}, 1, e);
}

int qm_session_sick(uint32_t pos, qm_err *e) {
    return qm_fail(e, QM_ERR_DEVICE,
                   "the logits at position %u are not finite (NaN or infinity): the model file "
                   "is damaged or does not fit this architecture; a trace names the layer",
                   pos);
}

int qm_session_told(qm_session *s, uint32_t pos, qm_result *r, qm_err *e) {
    QM_PROF_SCOPE(QM_PROF_SAMPLE, "sample"); /* the device samples: here the host waits for the token */
    int rc = s->g->exec->result(s->g, s->seq, pos, r, e);
    if (rc) return rc;
    if (r->flags & QM_FLAG_NONFINITE) return qm_session_sick(pos, e);
    if (r->flags & QM_FLAG_BAD_TOKEN)
        return qm_fail(e, QM_ERR_DEVICE, "a token id outside the embedding reached the device by position %u", pos);
    return 0;
}

int qm_session_result(qm_session *s, uint32_t pos, uint32_t *id, qm_err *e) {
    qm_result r;
    int rc = qm_session_told(s, pos, &r, e);
    if (!rc) *id = r.token;
    return rc;
}

int qm_session_logits(qm_session *s, float *out, qm_err *e) {
    if (!s->last) return qm_fail(e, QM_ERR_ARG, "session: no logits have been computed");
    return s->g->exec->logits(s->g, s->seq, out, e);
}
