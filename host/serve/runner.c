/* runner.c: see runner.h. The device's thread calls the batch's callbacks; they leave events in a list under a lock, and the
 * loop takes the whole list at once. A sequence is freed by the loop when its end has been told. */
#include "runner.h"
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

typedef struct event {
    struct event *next;
    runner_seq *s;
    uint32_t id;
    int ends, has_lp;
    union {
        qm_logprobs lp;
        qm_usage usage;
    } u;
} event;

struct runner_seq {
    runner *r;
    uint64_t ticket;
    qm_guided *guided;
    int cancelled; /* the loop's: nothing is told any more but the end */
    int strayed;   /* the device's: a token came that the guide does not allow */
    void (*on_token)(void *user, uint32_t id, const qm_logprobs *lp);
    void (*on_end)(void *user, const qm_usage *u);
    void *user;
};

struct runner {
    loop *l;
    qm_engine *g;
    qm_batch *b;
    pthread_t thread;
    pthread_mutex_t lock; /* for all below */
    pthread_cond_t work;
    int wanted, stop;
    event *first, **last;
    runner_state state;
};

/* ---- the device's thread ---- */
static void tell(runner *r, event *v) {
    v->next = NULL;
    pthread_mutex_lock(&r->lock);
    const int was_empty = !r->first;
    *r->last = v;
    r->last = &v->next;
    pthread_mutex_unlock(&r->lock);
    if (was_empty) loop_wake(r->l);
}

/* An end must be told, whatever memory there is: so each sequence has had its end's event since it began. */
typedef struct {
    runner_seq s;
    event end;
} owned;

static int on_token(void *user, uint32_t id, const qm_logprobs *lp) {
    runner_seq *s = user;
    if (s->guided && qm_guided_accept(s->guided, id)) return s->strayed = 1;
    event *v = malloc(sizeof *v);
    if (!v) return 1; /* the answer ends here: QM_FINISH_CALLBACK */
    *v = (event){.s = s, .id = id, .has_lp = lp != NULL};
    if (lp) v->u.lp = *lp;
    tell(s->r, v);
    return 0;
}

static const uint32_t *mask(void *user) {
    runner_seq *s = user;
    return qm_guided_mask(s->guided);
}

static void on_end(void *user, const qm_usage *u) {
    runner_seq *s = user;
    event *v = &((owned *)s)->end;
    *v = (event){.s = s, .ends = 1};
    v->u.usage = *u;
    if (s->strayed) {
        v->u.usage.finish = QM_FINISH_ERROR;
        qm_fail(&v->u.usage.error, QM_ERR_DEVICE, "a token was chosen that the answer's form does not allow");
    }
    tell(s->r, v);
}

/* By its rows, where there was a step between the two. */
static void count_step(uint64_t *steps_of, const qm_batch_state *before, const qm_batch_state *now) {
    const uint64_t rows = now->n_rows - before->n_rows;
    int i = 0;
    if (now->n_steps == before->n_steps) return;
    while (i < 9 && rows > 1u << i) i++;
    steps_of[i]++;
}

/* What the loop may look at while the next step runs. */
static void leave_state(runner *r, int rc, const qm_err *e) {
    qm_batch_state b;
    qm_batch_get_state(r->b, &b);
    const double now = loop_clock();
    pthread_mutex_lock(&r->lock);
    count_step(r->state.steps_of, &r->state.batch, &b);
    r->state.batch = b;
    if (rc < 0) {
        r->state.n_failed++;
        r->state.failed = 1;
        r->state.why = *e;
    } else r->state.last_step = now;
    pthread_mutex_unlock(&r->lock);
    if (rc < 0) loop_wake(r->l);
}

static void *run(void *user) {
    runner *r = user;
    int stop = 0;
    qm_err taken = {0};
    if (qm_engine_take(r->g, &taken)) leave_state(r, -1, &taken);
    while (!stop) {
        pthread_mutex_lock(&r->lock);
        while (!r->wanted && !r->stop) pthread_cond_wait(&r->work, &r->lock);
        r->wanted = 0;
        stop = r->stop;
        pthread_mutex_unlock(&r->lock);
        for (int rc = 1; rc && !stop;) {
            qm_err e = {0};
            rc = qm_batch_step(r->b, &e);
            leave_state(r, rc, &e);
            pthread_mutex_lock(&r->lock);
            stop = r->stop;
            pthread_mutex_unlock(&r->lock);
        }
    }
    return NULL;
}

/* ---- the loop's thread ---- */
static void forget(runner_seq *s) {
    qm_guided_close(s->guided);
    free(s);
}

void runner_deliver(runner *r) {
    pthread_mutex_lock(&r->lock);
    event *v = r->first;
    r->first = NULL;
    r->last = &r->first;
    pthread_mutex_unlock(&r->lock);
    for (event *next; v; v = next) {
        runner_seq *s = v->s;
        next = v->next;
        if (v->ends) {
            s->on_end(s->user, &v->u.usage);
            forget(s); /* and v with it */
        } else {
            if (!s->cancelled) s->on_token(s->user, v->id, v->has_lp ? &v->u.lp : NULL);
            free(v);
        }
    }
}

int runner_open(runner **out, loop *l, qm_engine *g, const runner_opts *o, qm_err *e) {
    *out = NULL;
    runner *r = calloc(1, sizeof *r);
    if (!r) return qm_fail(e, QM_ERR_NOMEM, "serve: out of memory");
    r->l = l;
    r->g = g;
    r->last = &r->first;
    int rc = qm_batch_open(&r->b, g, &(qm_batch_opts){.n_seqs = o->n_seqs, .n_queue = o->n_queue}, e);
    if (rc) goto out;
    qm_batch_get_state(r->b, &r->state.batch);
    pthread_mutex_init(&r->lock, NULL);
    pthread_cond_init(&r->work, NULL);
    if (pthread_create(&r->thread, NULL, run, r)) {
        pthread_cond_destroy(&r->work);
        pthread_mutex_destroy(&r->lock);
        qm_batch_close(r->b);
        rc = qm_fail(e, QM_ERR_NOMEM, "serve: the device's thread cannot be started");
    }
out:
    if (rc) free(r);
    else *out = r;
    return rc;
}

void runner_close(runner *r) {
    if (!r) return;
    pthread_mutex_lock(&r->lock);
    r->stop = 1;
    pthread_cond_signal(&r->work);
    pthread_mutex_unlock(&r->lock);
    pthread_join(r->thread, NULL);
    qm_batch_close(r->b);
    runner_deliver(r);
    pthread_cond_destroy(&r->work);
    pthread_mutex_destroy(&r->lock);
    free(r);
}

int runner_submit(runner *r, const runner_ask *a, runner_seq **out, qm_err *e) {
    owned *o = calloc(1, sizeof *o);
    *out = NULL;
    if (!o) return qm_fail(e, QM_ERR_NOMEM, "serve: out of memory");
    runner_seq *s = &o->s;
    s->r = r;
    s->on_token = a->on_token;
    s->on_end = a->on_end;
    s->user = a->user;
    int rc = a->guide ? qm_guided_open(&s->guided, a->guide, e) : 0;
    if (!rc)
        rc = qm_batch_submit(r->b,
                             &(qm_request){.ids = a->ids,
                                           .n = a->n,
                                           .sampling = &a->sampling,
                                           .max_tokens = a->max_tokens,
                                           .ignore_eos = a->ignore_eos,
                                           .logprobs = a->logprobs,
                                           .n_logprobs = a->n_logprobs,
                                           .mask = s->guided ? mask : NULL,
                                           .on_token = on_token,
                                           .on_end = on_end,
                                           .user = s},
                             &s->ticket, e);
    if (rc) {
        qm_guided_close(s->guided);
        free(o);
        return rc;
    }
    *out = s;
    pthread_mutex_lock(&r->lock);
    r->wanted = 1;
    pthread_cond_signal(&r->work);
    pthread_mutex_unlock(&r->lock);
    return 0;
}

void runner_cancel(runner_seq *s) {
    s->cancelled = 1;
    qm_batch_cancel(s->r->b, s->ticket); /* it runs, so its thread is awake */
}

void runner_get_state(runner *r, runner_state *s) {
    pthread_mutex_lock(&r->lock);
    *s = r->state;
    pthread_mutex_unlock(&r->lock);
}
