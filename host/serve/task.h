/* task.h: a request for text, whatever protocol it came by: a prompt, n answers to it, and a sink that writes them as the
 * protocol has it. A task owns its sequences: it submits the first, and the others when that one has computed the prompt, so that
 * they find its pages; it turns tokens into parts (runtime/qmoe_text.h), ends at stop strings, and counts. */
#ifndef QM_SERVE_TASK_H
#define QM_SERVE_TASK_H
#include "runner.h"
#include "runtime/qmoe_text.h"

typedef struct server server;
typedef struct task task;

typedef enum { TASK_STOP, TASK_LENGTH, TASK_CALLS, TASK_CANCELLED, TASK_ERROR } task_finish;

/* What an API makes of a request. Zero is each one's default. Pointers are the task's own once it is begun: task_ask_free. */
typedef struct {
    qm_tokens prompt;
    int thinking; /* qm_answer_opts.thinking */
    char *tools;  /* qm_answer_opts.tools */
    uint32_t n;   /* answers; 0: 1 */
    qm_sampling sampling;
    qm_logit_bias *bias; /* sampling.bias */
    uint32_t max_tokens;
    char **stop;
    size_t n_stop;
    int ignore_eos, logprobs;
    uint32_t n_logprobs;
    qm_guide *guide;
    int echo; /* completions: the prompt's text comes first, as TEXT */
} task_ask;
void task_ask_free(task_ask *a); /* it is empty again */

typedef struct {
    uint32_t n_prompt, n_cached, n_generated; /* of all answers: prompt once */
    double queued_s, first_token_s, total_s;
    double tokens_per_s; /* of the first answer, from its first token to its last; 0: fewer than two */
} task_usage;

/* How a protocol writes an answer. All on the loop's thread, in this order: begin, then of each answer token, part .. and
 * finish, then done or failed. */
typedef struct {
    /* The request has been taken and its first token is there: streams begin here. May be NULL. */
    void (*begin)(void *p);
    /* A token of answer i, before the parts that it gives. Only where logprobs were asked for. May be NULL. */
    void (*token)(void *p, uint32_t i, uint32_t id, const char *piece, size_t n, const qm_logprobs *lp);
    void (*part)(void *p, uint32_t i, qm_part part, const char *s, size_t n);
    void (*finish)(void *p, uint32_t i, task_finish f,
                   const char *stopped_by); /* stopped_by: the stop string, or NULL */
    void (*done)(void *p, const task_usage *u);
    /* Instead of done: nothing more comes. began: begin was called. status: what HTTP would say: 400, 429, 500, 503. */
    void (*failed)(void *p, int began, int status, const qm_err *e);
} task_sink;

/* Takes what is in a. What goes wrong is told by failed, from the loop, never from inside this function; NULL: no memory for even
 * that, and a is as it was. id: "chatcmpl-..", for the log; peer: who asks. */
task *task_begin(server *s, const char *peer, task_ask *a, const task_sink *sink, void *p, const char *id);
/* The client is gone: no function of the sink is called any more; its rows leave by the next step. The task frees itself, and the
 * caller may free p. */
void task_cancel(task *t);
/* All of the server's end, failed with 503: what a drain that has lasted too long does. */
void task_fail_all(server *s, const qm_err *why);

typedef struct {
    const char *id;
    uint32_t n, n_prompt, n_generated; /* answers; tokens */
    int begun;                         /* 0: it waits, or its prompt is being computed */
    double seconds;
} task_view;
void task_each(const server *s, void (*fn)(void *user, const task_view *v), void *user);
uint32_t task_count(const server *s); /* those that have not ended */
#endif
