/* runner.h: the device's thread. It alone steps the batch. Sequences are submitted and cancelled from the loop's thread, and their
 * tokens come back there, by a queue that wakes the loop. While nobody wants anything the thread sleeps. */
#ifndef QM_SERVE_RUNNER_H
#define QM_SERVE_RUNNER_H
#include "loop.h"
#include "runtime/qmoe_guide.h"

typedef struct runner runner;
typedef struct runner_seq runner_seq;
typedef struct {
    const uint32_t *ids; /* [n] the prompt; copied */
    size_t n;
    qm_sampling sampling; /* with its biases copied */
    uint32_t max_tokens;  /* 0: until the context is full */
    int ignore_eos, logprobs;
    uint32_t n_logprobs;
    const qm_guide *guide; /* NULL: none; outlives the sequence */
    /* On the loop's thread. lp: only where logprobs were asked for; dies when on_token returns. */
    void (*on_token)(void *user, uint32_t id, const qm_logprobs *lp);
    void (*on_end)(void *user, const qm_usage *u); /* once, last: the sequence is gone when it returns */
    void *user;
} runner_ask;
typedef struct {
    uint32_t n_seqs, n_queue; /* as qm_batch_opts */
} runner_opts;
int runner_open(runner **out, loop *l, qm_engine *g, const runner_opts *o, qm_err *e);
/* All sequences end, cancelled; the thread is joined. on_end of those that have not ended is called from here. */
void runner_close(runner *r);
/* QM_ERR_ARG, QM_ERR_LIMIT as qm_batch_submit: then there is no callback. */
int runner_submit(runner *r, const runner_ask *a, runner_seq **out, qm_err *e);
/* No more on_token; on_end comes, with what it took. Twice is once. */
void runner_cancel(runner_seq *s);
/* What the device's thread has left is told: the loop's wake function calls it. */
void runner_deliver(runner *r);

typedef struct {
    qm_batch_state batch;
    uint64_t n_failed;     /* steps that failed */
    uint64_t steps_of[10]; /* steps of 1, 2, 3..4, 5..8 .. 257..512 rows */
    double last_step;      /* loop_clock when a step succeeded last; 0: never */
    int failed;            /* 1: a step has failed: the device is not to be trusted any more */
    qm_err why;
} runner_state;
void runner_get_state(runner *r, runner_state *s); /* a copy that the device's thread left after its last step */
#endif
