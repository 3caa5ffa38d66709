/* task.c: see task.h. */
#include "task.h"
#include "api.h"
#include "log.h"
#include <stdlib.h>
#include <string.h>

typedef struct {
    task *t;
    uint32_t i;
    runner_seq *seq; /* NULL: not submitted, or ended */
    qm_answer *text;
    int submitted, finished; /* finish has been called, or never will be */
    uint32_t n_generated;
    double last; /* when the last token came */
} answer;

struct task {
    task *next, *prev;
    server *s;
    task_ask a;
    const task_sink *sink; /* NULL: nobody listens any more */
    void *p;
    char id[40], peer[64];
    answer *answers;    /* [n] */
    uint32_t n, n_left; /* sequences that have not ended, or not begun */
    int begun;
    double start, first;
    task_usage u;
    task_finish finish; /* of the first answer, for the log */
    loop_timer *timeout, *soon;
    int status; /* not 0: it fails, so and because of why */
    qm_err why;
};

static const char *finish_name(task_finish f) {
    static const char *const names[] = {"stop", "length", "tool_calls", "cancelled", "error"};
    return names[f];
}

/* ---- the end ---- */
static void leave(task *t) {
    if (t->next) t->next->prev = t->prev;
    *(t->prev ? &t->prev->next : &t->s->tasks) = t->next;
    if (t->timeout) loop_cancel(t->s->loop, t->timeout);
    if (t->soon) loop_cancel(t->s->loop, t->soon);
    for (uint32_t i = 0; i < t->n; i++) qm_answer_close(t->answers[i].text);
    free(t->answers);
    task_ask_free(&t->a);
    server *s = t->s;
    free(t);
    if (s->draining && !s->tasks) s->drained(s);
}

static void count(task *t) {
    metrics *m = t->s->metrics;
    const double total = loop_now(t->s->loop) - t->start;
    t->u.total_s = total;
    const answer *a = &t->answers[0];
    if (a->n_generated > 1 && a->last > t->first) t->u.tokens_per_s = (a->n_generated - 1) / (a->last - t->first);
    metrics_task(m, finish_name(t->finish), t->u.n_prompt, t->u.n_cached, t->u.n_generated);
    metrics_latency(m, total);
    log_task(t->s, t->id, t->peer, finish_name(t->finish), &t->u, t->status ? t->why.msg : NULL);
}

/* All its sequences have ended. */
static void end(task *t) {
    const task_sink *sink = t->sink;
    if (!sink) t->finish = TASK_CANCELLED;
    else if (t->status) t->finish = TASK_ERROR;
    count(t);
    if (sink && t->status) sink->failed(t->p, t->begun, t->status, &t->why);
    else if (sink) sink->done(t->p, &t->u);
    leave(t);
}

static void end_soon(void *user) {
    task *t = user;
    t->soon = NULL;
    end(t);
}

/* Sequences that run are told to go; the last that does ends the task, from the loop. */
static void stop_all(task *t) {
    for (uint32_t i = 0; i < t->n; i++) {
        answer *a = &t->answers[i];
        if (a->seq) runner_cancel(a->seq);
        else if (!a->submitted) {
            a->submitted = 1; /* it will not begin */
            t->n_left--;
        }
        a->finished = 1;
    }
    if (!t->n_left && !t->soon) t->soon = loop_after(t->s->loop, 0, end_soon, t);
}

static void fail(task *t, int status, const qm_err *e) {
    if (t->status) return;
    t->status = status;
    t->why = *e;
    stop_all(t);
}

/* ---- tokens ---- */
static int on_part(void *user, qm_part part, const char *s, size_t n) {
    const answer *a = user;
    task *t = a->t;
    if (t->sink) t->sink->part(t->p, a->i, part, s, n);
    return t->sink ? 0 : 2; /* it was cancelled from inside */
}

static void finish(answer *a, task_finish f) {
    task *t = a->t;
    if (a->finished) return;
    a->finished = 1;
    if (qm_answer_end(a->text) < 0) return;
    if (f == TASK_STOP && qm_answer_calls(a->text)) f = TASK_CALLS;
    if (a->i == 0) t->finish = f;
    if (t->sink) t->sink->finish(t->p, a->i, f, qm_answer_stopped(a->text));
}

static int submit(answer *a, qm_err *e);

/* The prompt is computed: the answer begins, and the others join. */
static void begin(task *t) {
    qm_err e;
    t->begun = 1;
    t->first = loop_now(t->s->loop);
    t->u.first_token_s = t->first - t->start;
    metrics_first_token(t->s->metrics, t->u.first_token_s);
    if (t->sink && t->sink->begin) t->sink->begin(t->p);
    for (uint32_t i = 0; i < t->n && t->a.echo; i++)
        for (size_t k = 0; k < t->a.prompt.n && t->sink; k++) {
            size_t n;
            const char *s = qm_engine_piece(t->s->g, t->a.prompt.v[k], &n);
            t->sink->part(t->p, i, QM_PART_TEXT, s, n);
        }
    for (uint32_t i = 1; i < t->n && !t->status && t->sink; i++) {
        int rc = submit(&t->answers[i], &e);
        if (rc) fail(t, api_status_of(&e), &e);
    }
}

static void on_token(void *user, uint32_t id, const qm_logprobs *lp) {
    answer *a = user;
    task *t = a->t;
    const double now = loop_now(t->s->loop);
    if (a->finished) return;
    if (!t->begun) begin(t);
    else if (a->n_generated) metrics_between_tokens(t->s->metrics, now - a->last);
    if (a->finished || !t->sink) return;
    a->last = now;
    a->n_generated++;
    t->u.n_generated++;
    size_t n;
    const char *s = qm_engine_answer_piece(t->s->g, id, &n);
    if (lp && n && t->sink->token) t->sink->token(t->p, a->i, id, s, n, lp);
    if (!t->sink) return;
    int rc = qm_answer_push(a->text, s, n);
    if (rc == 1 && t->sink) {
        runner_cancel(a->seq);
        finish(a, TASK_STOP);
    } else if (rc < 0) {
        qm_err e;
        qm_fail(&e, QM_ERR_NOMEM, "out of memory");
        fail(t, 500, &e);
    }
}

static void on_end(void *user, const qm_usage *u) {
    answer *a = user;
    task *t = a->t;
    qm_err e;
    a->seq = NULL;
    t->n_left--;
    /* Nobody hears of it, but what was computed for a client that has gone is work too. */
    if (!t->sink && u->n_generated > a->n_generated) t->u.n_generated += u->n_generated - a->n_generated;
    if (a->i == 0) {
        t->u.n_cached = u->n_cached;
        t->u.queued_s = u->started_s;
        metrics_queued(t->s->metrics, u->started_s);
    }
    if (!a->finished) switch (u->finish) {
        case QM_FINISH_EOG:
        case QM_FINISH_STOP: finish(a, TASK_STOP); break;
        case QM_FINISH_LENGTH:
        case QM_FINISH_CONTEXT: finish(a, TASK_LENGTH); break;
        case QM_FINISH_ERROR: fail(t, api_status_of(&u->error), &u->error); break;
        case QM_FINISH_CALLBACK:
            qm_fail(&e, QM_ERR_NOMEM, "out of memory");
            fail(t, 500, &e);
            break;
        default: qm_fail(&e, QM_ERR_CANCELLED, "the server is shutting down"); fail(t, 503, &e);
        }
    if (!t->n_left && !t->soon) end(t);
}

static int submit(answer *a, qm_err *e) {
    task *t = a->t;
    qm_sampling p = t->a.sampling;
    p.seed += a->i; /* an answer of its own; the first is what a request for one gives */
    int rc = runner_submit(t->s->runner,
                           &(runner_ask){.ids = t->a.prompt.v,
                                         .n = t->a.prompt.n,
                                         .sampling = p,
                                         .max_tokens = t->a.max_tokens,
                                         .ignore_eos = t->a.ignore_eos,
                                         .logprobs = t->a.logprobs,
                                         .n_logprobs = t->a.n_logprobs,
                                         .guide = t->a.guide,
                                         .on_token = on_token,
                                         .on_end = on_end,
                                         .user = a},
                           &a->seq, e);
    a->submitted = !rc;
    return rc;
}

static void on_timeout(void *user) {
    task *t = user;
    qm_err e;
    t->timeout = NULL;
    qm_fail(&e, QM_ERR_CANCELLED, "the request took longer than the server allows, %g s (--timeout)", t->s->timeout_s);
    fail(t, 504, &e);
}

/* ---- the beginning ---- */
static int open_answers(task *t, qm_err *e) {
    for (uint32_t i = 0; i < t->n; i++) {
        answer *a = &t->answers[i];
        *a = (answer){.t = t, .i = i};
        int rc = qm_answer_open(&a->text,
                                &(qm_answer_opts){.stop = (const char *const *)t->a.stop,
                                                  .n_stop = t->a.n_stop,
                                                  .thinking = t->a.thinking,
                                                  .tools = t->a.tools,
                                                  .out = on_part,
                                                  .user = a},
                                e);
        if (rc) return rc;
    }
    return 0;
}

task *task_begin(server *s, const char *peer, task_ask *a, const task_sink *sink, void *p, const char *id) {
    qm_err e;
    const uint32_t n = a->n ? a->n : 1;
    task *t = calloc(1, sizeof *t);
    if (t) t->answers = calloc(n, sizeof *t->answers);
    if (!t || !t->answers) {
        free(t);
        return NULL;
    }
    t->s = s;
    t->a = *a;
    *a = (task_ask){0};
    t->a.sampling.bias = t->a.bias;
    t->sink = sink;
    t->p = p;
    t->n = t->n_left = n;
    t->start = loop_now(s->loop);
    t->u.n_prompt = (uint32_t)t->a.prompt.n;
    snprintf(t->id, sizeof t->id, "%s", id);
    snprintf(t->peer, sizeof t->peer, "%s", peer);
    t->next = s->tasks;
    if (t->next) t->next->prev = t;
    s->tasks = t;
    int rc = open_answers(t, &e);
    if (!rc) rc = submit(&t->answers[0], &e);
    if (rc) fail(t, api_status_of(&e), &e);
    else if (s->timeout_s > 0) t->timeout = loop_after(s->loop, s->timeout_s, on_timeout, t);
    return t;
}

void task_cancel(task *t) {
    t->sink = NULL;
    stop_all(t);
}

void task_fail_all(server *s, const qm_err *why) {
    for (task *t = s->tasks; t; t = t->next) fail(t, 503, why);
}

void task_each(const server *s, void (*fn)(void *user, const task_view *v), void *user) {
    for (const task *t = s->tasks; t; t = t->next)
        fn(user, &(task_view){.id = t->id,
                              .n = t->n,
                              .n_prompt = t->u.n_prompt,
                              .n_generated = t->u.n_generated,
                              .begun = t->begun,
                              .seconds = loop_now(s->loop) - t->start});
}

uint32_t task_count(const server *s) {
    uint32_t n = 0;
    for (const task *t = s->tasks; t; t = t->next) n++;
    return n;
}
