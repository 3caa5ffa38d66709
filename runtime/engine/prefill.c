/* prefill.c: steps of one sequence: whatever is not in its cache yet. */
#include "../device/prof.h"
#include "schedule.h"

int qm_session_step(qm_session *s, uint32_t pos, int logits, qm_err *e) {
    return qm_schedule_step(s->g, &(qm_want){s, pos, pos + 1, pos + 1, logits, 0}, 1, e);
}

int qm_session_prefill(qm_session *s, const qm_watch *w, qm_err *e) {
    enum { BEHIND = QM_RUN_AHEAD + 1 };
    qm_engine *g = s->g;
    const uint32_t from = s->n_cached, n = s->n;
    qm_want want = {s, from, n, n, 1, 0};
    uint32_t last[BEHIND] = {0}; /* position of the latest steps */
    QM_PROF_SCOPE(QM_PROF_PREFILL, "prefill");
    int rc = qm_session_pages(s, qm_pages_for(n), e); /* they are certain to be needed */
    if (rc) s->n = s->n_cached;
    if (!rc) rc = g->exec->put_tokens(g, s->seq, from, s->ids + from, n - from, e);
    for (uint32_t i = 0; want.next < n && !rc; i++) {
        /* Launches do not wait for the device: whoever watches is told of what it has done, but for the last steps. */
        if (w && w->on_prefill && i >= BEHIND) rc = g->exec->wait(g, s->seq, last[i % BEHIND], e);
        if (rc) break;
        if (w && w->on_prefill && w->on_prefill(w->user, want.next - from, n - from)) {
            s->n = s->n_cached;
            return qm_fail(e, QM_ERR_CANCELLED, "cancelled after %u of %u positions of the prompt", want.next - from,
                           n - from);
        }
        rc = qm_schedule_step(g, &want, 1, e);
        if (!rc) s->n_cached = want.next;
        last[i % BEHIND] = want.next - 1;
    }
    return rc;
}

int qm_session_eval(qm_session *s, uint32_t token, qm_err *e) {
    if (s->n >= s->g->limits.n_ctx)
        return qm_fail(e, QM_ERR_LIMIT, "the context is full: %u positions", s->g->limits.n_ctx);
    if (token >= s->g->model->hp.n_vocab)
        return qm_fail(e, QM_ERR_ARG, "token %u is outside the vocabulary of %u", token, s->g->model->hp.n_vocab);
    qm_session_note(s, NULL, NULL);
    s->ids[s->n++] = token;
    int rc = qm_session_prefill(s, NULL, e);
    uint32_t id;
    return rc ? rc : qm_session_result(s, s->n - 1, &id, e);
}
