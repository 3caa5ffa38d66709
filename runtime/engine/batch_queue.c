/* batch_queue.c: requests by age, and what threads other than the one that steps the batch may call: submit, cancel.
 * They share nothing with it but this list and its lock, which is never held while the device is waited for or a
 * caller's function runs. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "batch.h"

int qm_queue_open(qm_batch *b, qm_err *e) {
    pthread_condattr_t a;
    int rc = pthread_condattr_init(&a);
    if (rc) return qm_fail(e, QM_ERR_NOMEM, "batch: out of memory");
    pthread_condattr_setclock(&a, CLOCK_MONOTONIC);
    rc = pthread_cond_init(&b->some, &a);
    pthread_condattr_destroy(&a);
    if (rc) return qm_fail(e, QM_ERR_NOMEM, "batch: out of memory");
    pthread_mutex_init(&b->lock, NULL);
    return 0;
}

void qm_queue_close(qm_batch *b) {
    pthread_cond_destroy(&b->some);
    pthread_mutex_destroy(&b->lock);
}

void qm_queue_shut(qm_batch *b) {
    pthread_mutex_lock(&b->lock);
    b->shut = 1;
    pthread_mutex_unlock(&b->lock);
}

/* ---- any thread ---- */
static void free_job(qm_job *j) {
    if (!j) return;
    free(j->ids);
    free(j->stop);
    free(j);
}

/* Whatever can be known of a request before it runs. */
static int check(const qm_batch *b, const qm_request *r, qm_err *e) {
    const uint32_t n_vocab = b->g->model->hp.n_vocab, n_ctx = b->g->limits.n_ctx;
    if (!r->n) return qm_fail(e, QM_ERR_ARG, "the prompt is empty");
    if (r->n_logprobs > QM_TOP_LOGPROBS)
        return qm_fail(e, QM_ERR_ARG, "n_logprobs is %u, not in the range 0 to %d", r->n_logprobs, QM_TOP_LOGPROBS);
    if (r->n + 1 > n_ctx || r->n + r->max_tokens > n_ctx) /* what fits a context fits the pool (memory.c) */
        return qm_fail(e, QM_ERR_LIMIT, "%zu tokens of prompt + %u to generate exceed the context of %u", r->n,
                       r->max_tokens ? r->max_tokens : 1, n_ctx);
    for (size_t i = 0; i < r->n; i++)
        if (r->ids[i] >= n_vocab)
            return qm_fail(e, QM_ERR_ARG, "prompt token %zu: id %u is outside the vocabulary of %u", i, r->ids[i],
                           n_vocab);
    return 0;
}

static int make_job(const qm_batch *b, const qm_request *r, qm_job **out, qm_err *e) {
    static const qm_sampling greedy = {.top_p = 1, .repeat_penalty = 1};
    const uint32_t n = (uint32_t)r->n, room = b->g->limits.n_ctx - n;
    int rc = QM_ERR_NOMEM;
    qm_job *j = calloc(1, sizeof *j);
    if (!j || !(j->ids = malloc(n * sizeof *j->ids)) || !(j->stop = malloc((r->n_stop + 1) * sizeof *j->stop))) {
        qm_fail(e, rc, "batch: out of memory for a request of %u tokens", n);
        goto out;
    }
    if ((rc = qm_sampling_words(&j->words, r->sampling ? r->sampling : &greedy, b->g->model->hp.n_vocab, e))) goto out;
    j->words.p.logprobs = r->logprobs != 0;
    memcpy(j->ids, r->ids, n * sizeof *j->ids);
    if (r->n_stop) memcpy(j->stop, r->stop, r->n_stop * sizeof *j->stop);
    j->n = n;
    j->most = r->max_tokens ? r->max_tokens : room;
    j->end = n + j->most - 1;
    j->r = *r;
    j->submitted = qm_now();
    j->u.n_prompt = n;
out:
    if (rc) free_job(j);
    else *out = j;
    return rc;
}

int qm_batch_submit(qm_batch *b, const qm_request *r, uint64_t *ticket, qm_err *e) {
    qm_job *j;
    int rc = check(b, r, e);
    if (!rc) rc = make_job(b, r, &j, e);
    if (rc) return rc;
    pthread_mutex_lock(&b->lock);
    if (b->shut) rc = qm_fail(e, QM_ERR_CANCELLED, "batch: it is being closed");
    else if (b->n_queue && b->n_jobs >= b->n_lanes + (uint64_t)b->n_queue)
        rc = qm_fail(e, QM_ERR_LIMIT, "%u requests are there: %u may run, and %u wait for them", b->n_jobs, b->n_lanes,
                     b->n_queue);
    else {
        j->ticket = ++b->last_ticket;
        if (ticket) *ticket = j->ticket;
        j->prev = b->newest;
        *(j->prev ? &j->prev->next : &b->oldest) = j;
        b->newest = j;
        b->n_jobs++;
        pthread_cond_signal(&b->some);
        j = NULL;
    }
    pthread_mutex_unlock(&b->lock);
    free_job(j);
    return rc;
}

int qm_batch_cancel(qm_batch *b, uint64_t ticket) {
    pthread_mutex_lock(&b->lock);
    qm_job *j = b->oldest;
    while (j && j->ticket != ticket) j = j->next;
    const int is_new = j && !j->cancelled;
    if (is_new) {
        j->cancelled = 1;
        b->n_cancelled++;
        pthread_cond_signal(&b->some);
    }
    pthread_mutex_unlock(&b->lock);
    return is_new;
}

/* ---- the thread that steps the batch ---- */
int qm_batch_wait(qm_batch *b, double seconds) {
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    const double at = (double)until.tv_nsec * 1e-9 + (seconds > 0 ? seconds : 0);
    until.tv_sec += (time_t)at;
    until.tv_nsec = (long)((at - (double)(time_t)at) * 1e9);
    pthread_mutex_lock(&b->lock);
    int rc = 0;
    while (!b->n_jobs && !rc) rc = pthread_cond_timedwait(&b->some, &b->lock, &until);
    const int some = b->n_jobs > 0;
    pthread_mutex_unlock(&b->lock);
    return some;
}

qm_job *qm_queue_waiting(qm_batch *b) {
    pthread_mutex_lock(&b->lock);
    qm_job *j = b->oldest;
    while (j && j->running) j = j->next;
    pthread_mutex_unlock(&b->lock);
    return j;
}

qm_job *qm_queue_cancelled(qm_batch *b) {
    pthread_mutex_lock(&b->lock);
    qm_job *j = b->n_cancelled ? b->oldest : NULL;
    while (j && !j->cancelled) j = j->next;
    pthread_mutex_unlock(&b->lock);
    return j;
}

qm_job *qm_queue_any(qm_batch *b) {
    pthread_mutex_lock(&b->lock);
    qm_job *j = b->oldest;
    pthread_mutex_unlock(&b->lock);
    return j;
}

void qm_queue_runs(qm_batch *b, qm_job *j, int running) {
    pthread_mutex_lock(&b->lock);
    j->running = running;
    if (running) b->n_running++;
    else b->n_running--;
    pthread_mutex_unlock(&b->lock);
}

void qm_queue_end(qm_batch *b, qm_job *j, qm_finish finish, const qm_err *why) {
    pthread_mutex_lock(&b->lock);
    *(j->prev ? &j->prev->next : &b->oldest) = j->next;
    *(j->next ? &j->next->prev : &b->newest) = j->prev;
    b->n_jobs--;
    b->n_cancelled -= j->cancelled != 0;
    pthread_mutex_unlock(&b->lock);
    j->u.finish = finish;
    j->u.total_s = qm_now() - j->submitted;
    if (why) j->u.error = *why;
    if (j->r.on_end) j->r.on_end(j->r.user, &j->u);
    free_job(j);
}
