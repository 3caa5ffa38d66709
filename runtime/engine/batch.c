/* batch.c: many sequences at once. One call of qm_batch_step is: who is to go goes, who waits may begin, a step is
 * dealt and enqueued, and the tokens of the step before it are collected. So the device always has a step to go on with
 * while the host looks at the last one's tokens; what is computed behind an answer's end is thrown away.
 *
 * A step on its way may belong to sequences that have gone since. Its rows are then nobody's: each lane counts its
 * runs, and a row of an earlier run is not looked at. Its writes do no harm. They go to pages of the former owner, and
 * to the tokens, the state and the results of the lane; all of these the next owner's copies and steps write anew
 * before they read them, and they come later in the one stream that all of them are in. */
#include "batch.h"
#include <stdlib.h>
#include <string.h>

static uint32_t least(uint32_t a, uint32_t b) { return a < b ? a : b; }

int qm_batch_open(qm_batch **out, qm_engine *g, const qm_batch_opts *o, qm_err *e) {
    const qm_batch_opts none = {0};
    int rc = 0;
    *out = NULL;
    if (!o) o = &none;
    qm_batch *b = calloc(1, sizeof *b);
    if (!b) return qm_fail(e, QM_ERR_NOMEM, "batch: out of memory");
    const uint32_t n = o->n_seqs ? o->n_seqs : g->limits.n_seqs;
    if ((rc = qm_queue_open(b, e))) {
        free(b);
        return rc;
    }
    b->g = g;
    b->n_queue = o->n_queue;
    b->max_rows = least(g->exec->max_rows, g->limits.n_rows);
    if (o->n_rows) b->max_rows = least(b->max_rows, o->n_rows);
    b->max_outs = least(b->max_rows, g->limits.n_outs);
    b->lanes = calloc(n, sizeof *b->lanes);
    b->by_age = calloc(n, sizeof(qm_lane *));
    b->wants = calloc(n, sizeof *b->wants);
    if (!b->lanes || !b->by_age || !b->wants) rc = qm_fail(e, QM_ERR_NOMEM, "batch: out of memory for %u sequences", n);
    for (int i = 0; i < QM_RUN_AHEAD && !rc; i++)
        if (!(b->flight[i].row = calloc(n, sizeof *b->flight[i].row)))
            rc = qm_fail(e, QM_ERR_NOMEM, "batch: out of memory for %u sequences", n);
    for (; b->n_lanes < n && !rc; b->n_lanes++)
        if ((rc = qm_session_open(&b->lanes[b->n_lanes].s, g, e))) break;
    if (rc) qm_batch_close(b);
    else *out = b;
    return rc;
}

void qm_batch_close(qm_batch *b) {
    if (!b) return;
    qm_queue_shut(b);
    for (qm_job *j; (j = qm_queue_any(b));) qm_batch_end(b, j, QM_FINISH_CANCELLED, NULL);
    for (uint32_t i = 0; i < b->n_lanes; i++) qm_session_close(b->lanes[i].s); /* waits for what is on its way */
    for (int i = 0; i < QM_RUN_AHEAD; i++) free(b->flight[i].row);
    free(b->lanes);
    free(b->by_age);
    free(b->wants);
    qm_queue_close(b);
    free(b);
}

/* A step could not be enqueued, or a device not be waited for. What the latest steps should have written may not be
 * there. */
static void fail_all(qm_batch *b, const qm_err *why) {
    for (uint32_t i = 0; i < b->n_lanes; i++)
        if (b->lanes[i].job) qm_batch_end(b, b->lanes[i].job, QM_FINISH_ERROR, why);
    qm_pages_forget(&b->g->kv);
}

/* ---- a step ---- */
/* Pages of the positions whose tokens are known, and which have been enqueued, are the others' too from here on. */
static int computed(qm_lane *l, qm_err *e) {
    l->s->n_cached = least(l->next, l->s->n);
    return qm_session_publish(l->s, e);
}

static int enqueue(qm_batch *b, uint32_t *n, qm_err *e) {
    qm_flight *f = &b->flight[b->n_flight];
    int rc = qm_batch_deal(b, n, e);
    if (rc || !*n) return rc;
    const double begun = qm_now(); /* the software device does its work while it is given it */
    if ((rc = qm_schedule_step(b->g, b->wants, *n, e))) return rc;
    b->n_steps++;
    b->n_flight++;
    f->n = *n;
    for (uint32_t i = 0; i < *n && !rc; i++) {
        qm_lane *l = b->by_age[i];
        f->row[i] = (qm_awaited){l, l->run, b->wants[i].end - 1, b->wants[i].logits};
        if (!l->job->u.started_s) l->job->u.started_s = begun - l->job->submitted;
        l->next = b->wants[i].next;
        l->served = b->n_steps;
        b->n_rows += l->rows;
        rc = computed(l, e);
    }
    return rc;
}

static qm_finish ends(const qm_batch *b, const qm_job *j, uint32_t id, int told) {
    if (qm_token_is_eog(b->g->tok, id) && !j->r.ignore_eos) return QM_FINISH_EOG;
    for (size_t i = 0; i < j->r.n_stop; i++)
        if (j->stop[i] == id) return QM_FINISH_STOP;
    if (told) return QM_FINISH_CALLBACK;
    if (j->u.n_generated < j->most) return QM_FINISH_NONE;
    return j->r.max_tokens ? QM_FINISH_LENGTH : QM_FINISH_CONTEXT;
}

/* The token that the lane's row at pos chose. */
static int take(qm_batch *b, qm_lane *l, uint32_t pos, qm_err *e) {
    qm_job *j = l->job;
    qm_result r;
    qm_logprobs lp;
    qm_err why;
    int rc = qm_session_told(l->s, pos, &r, &why);
    if (rc) {
        qm_batch_end(b, j, QM_FINISH_ERROR, &why);
        return 0;
    }
    l->s->ids[l->s->n++] = r.token;
    if ((rc = computed(l, e))) return rc;
    if (!j->u.n_generated++) j->u.first_token_s = qm_now() - j->submitted;
    if (j->r.logprobs) qm_logprobs_of(&lp, &r, j->r.n_logprobs, b->g->model->hp.n_vocab);
    const int told = j->r.on_token ? j->r.on_token(j->r.user, r.token, j->r.logprobs ? &lp : NULL) : 0;
    const qm_finish f = ends(b, j, r.token, told);
    if (f != QM_FINISH_NONE) qm_batch_end(b, j, f, NULL);
    return 0;
}

/* Waits for the oldest step on its way, and looks at its tokens. Where all that had any are gone, it is waited for all
 * the same: no more than QM_RUN_AHEAD are ever on their way. */
static int collect(qm_batch *b, qm_err *e) {
    qm_flight f = b->flight[0];
    memmove(&b->flight[0], &b->flight[1], (QM_RUN_AHEAD - 1) * sizeof f);
    b->flight[QM_RUN_AHEAD - 1] = f;
    b->n_flight--;
    int rc = 0, taken = 0;
    for (uint32_t i = 0; i < f.n && !rc; i++) {
        if (f.row[i].logits != QM_DRAW || f.row[i].lane->run != f.row[i].run) continue;
        rc = take(b, f.row[i].lane, f.row[i].pos, e);
        taken = 1;
    }
    return rc || taken ? rc : b->g->exec->wait(b->g, f.row[0].lane->s->seq, f.row[0].pos, e);
}

int qm_batch_step(qm_batch *b, qm_err *e) {
    uint32_t n = 0;
    for (qm_job *j; (j = qm_queue_cancelled(b));) qm_batch_end(b, j, QM_FINISH_CANCELLED, NULL);
    int rc = qm_batch_admit(b, e);
    if (!rc) rc = qm_batch_masks(b, e);
    if (!rc) rc = enqueue(b, &n, e);
    if (!rc && b->n_flight && (b->n_flight == QM_RUN_AHEAD || !n)) rc = collect(b, e);
    if (rc) {
        fail_all(b, e);
        return rc;
    }
    return b->n_flight || qm_queue_any(b);
}

void qm_batch_get_state(qm_batch *b, qm_batch_state *s) {
    const qm_pages *kv = &b->g->kv;
    pthread_mutex_lock(&b->lock);
    *s = (qm_batch_state){.n_running = b->n_running, .n_waiting = b->n_jobs - b->n_running};
    pthread_mutex_unlock(&b->lock);
    s->n_pages = kv->n_pages;
    s->n_held = kv->n_pages - kv->n_free;
    s->n_kept = kv->n_kept;
    s->n_steps = b->n_steps;
    s->n_rows = b->n_rows;
}
