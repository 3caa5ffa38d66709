/* batch.h: many sequences at once: requests, the lanes in which they run, the steps on their way. qmoe.h has what it
 * promises. Four files:
 *   batch_queue.c  requests in the order of their age: what other threads may touch, under a lock
 *   batch_mask.c   which tokens a request's next one may be
 *   batch_deal.c   who runs, who waits, who gets which rows of the next step and the pages for them
 *   batch.c        steps: enqueued, their tokens collected; how a request ends */
#ifndef QM_BATCH_H
#define QM_BATCH_H
#include <pthread.h>
#include "schedule.h"

/* A request from submit to its end. next, prev and cancelled are the lock's, the rest is its who steps the batch. */
typedef struct qm_job {
    struct qm_job *next, *prev; /* by age: tickets rise */
    uint64_t ticket;
    int cancelled, running;
    uint32_t *ids, n; /* while it waits: the prompt, and what it has generated before it was paused */
    uint32_t most;    /* tokens that it may generate, within the context; >= 1 */
    uint32_t end;     /* positions that are computed for that: the last token's is not */
    qm_request r;     /* ids, stop, sampling: not used any more */
    uint32_t *stop;   /* [r.n_stop] */
    qm_sample_words words;
    double submitted;
    qm_usage u;
} qm_job;

/* Where a sequence runs: its tokens are s->ids[0 .. s->n), of which a device has positions up to next on their way. */
typedef struct {
    qm_session *s;
    qm_job *job;     /* NULL: nobody runs here */
    uint64_t run;    /* which run of a sequence it is, of all that the batch has had: steps that were enqueued for an
                        earlier one are nobody's any more */
    uint32_t next;   /* the next position to be enqueued */
    uint32_t rows;   /* that it gets in the step which is dealt */
    uint64_t served; /* number of its last step */
    uint32_t masked; /* with a mask: tokens that it had when the mask of its next one was asked for */
    qm_sample_params how; /* on the device, but for the biases */
} qm_lane;

/* A step on its way: of each of its sequences the last row. */
typedef struct {
    qm_lane *lane;
    uint64_t run;
    uint32_t pos;
    int logits; /* QM_DRAW: it chooses a token */
} qm_awaited;
typedef struct {
    qm_awaited *row; /* [n_lanes] */
    uint32_t n;
} qm_flight;

struct qm_batch {
    qm_engine *g;
    uint32_t n_lanes, n_queue, max_rows, max_outs;
    qm_lane *lanes;   /* [n_lanes] */
    qm_lane **by_age; /* [n_lanes], for dealing: those that run, the oldest first */
    qm_want *wants;   /* [n_lanes] */
    qm_flight flight[QM_RUN_AHEAD];
    uint32_t n_flight;
    int prompts_waited; /* 1: the last step had no row of a prompt although there is one */
    uint64_t n_runs, n_steps, n_rows;
    pthread_mutex_t lock;
    pthread_cond_t some; /* a request has come, or is to go */
    qm_job *oldest, *newest;
    uint64_t last_ticket;
    uint32_t n_jobs, n_running, n_cancelled;
    int shut;
};

/* ---- batch_queue.c ---- */
int qm_queue_open(qm_batch *b, qm_err *e);
void qm_queue_shut(qm_batch *b);         /* no request comes in any more */
void qm_queue_close(qm_batch *b);        /* all requests are gone */
qm_job *qm_queue_waiting(qm_batch *b);   /* the oldest that does not run; NULL: none */
qm_job *qm_queue_cancelled(qm_batch *b); /* one that is to go, each but once; NULL: none */
qm_job *qm_queue_any(qm_batch *b);
void qm_queue_runs(qm_batch *b, qm_job *j, int running);
/* Takes it out, tells its owner how it ended, frees it. */
void qm_queue_end(qm_batch *b, qm_job *j, qm_finish finish, const qm_err *why);

/* ---- batch_mask.c ---- */
/* Of who limits his tokens the mask for the next one goes to the device, if the last one is known. Requests whose mask
 * allows nothing end. */
int qm_batch_masks(qm_batch *b, qm_err *e);

/* ---- batch_deal.c ---- */
/* Waiting requests begin, in order, as lanes and pages allow. A request that finds all lanes empty and still too few
 * pages ends with QM_ERR_LIMIT: only sessions beside the batch can hold them. */
int qm_batch_admit(qm_batch *b, qm_err *e);
/* lane->rows of all, and the pages for them. Returns how many lanes have any. */
int qm_batch_deal(qm_batch *b, uint32_t *n, qm_err *e);
/* Nobody runs here any more; the pages are given back. */
void qm_batch_leave(qm_batch *b, qm_lane *l);
/* The request ends, wherever it is. */
void qm_batch_end(qm_batch *b, qm_job *j, qm_finish finish, const qm_err *why);
#endif
