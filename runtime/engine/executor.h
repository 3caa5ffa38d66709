/* executor.h: an executor is one way to compute steps. All that the engine knows of one stands in its table. */
#ifndef QM_EXECUTOR_H
#define QM_EXECUTOR_H
#include "../plan/plan.h"
#include "../qmoe.h"
#include "sampling_words.h"

typedef struct qm_seq qm_seq; /* one sequence in an executor's own memory; each executor has its own kind */

/* One row of a step: a position of a sequence. Its token is what the sequence has at that position: put there, or chosen
 * by the step of the position before. Rows of one sequence in one step are neighbours, by rising position. */
enum { QM_NO_LOGITS, QM_DRAW, QM_SCORE };
typedef struct {
    qm_seq *seq;
    uint32_t pos;
    int logits; /* QM_DRAW: its logits are wanted, and choose the token after it: a sequence's last row alone. QM_SCORE: they
                   are wanted and choose nothing */
} qm_row;
/* The step's record of these rows (contracts/abi.h, "Rows of a step"); index and seq_off of each row's sequence: where(seq). */
typedef qm_row_record (*qm_where_fn)(const qm_seq *s, uint64_t seq_bytes);
void qm_step_fill(qm_step_record *s, const qm_row *rows, uint32_t n, qm_where_fn where, uint64_t seq_bytes);

/* Scratch has room for the logits of one step, [n_outs]: whose last ones each place holds; NULL: nobody's. */
typedef struct {
    qm_seq *of[QM_STEP_ROWS_MAX];
} qm_logits_places;
/* These rows' logits take their places, in the order of qm_step_fill's outs. Of who is in one of them, and gets no newer ones by this
 * step, keep saves those of place o first. */
typedef int (*qm_keep_fn)(qm_engine *g, qm_seq *s, uint32_t o, qm_err *e);
int qm_logits_take(qm_logits_places *p, qm_engine *g, const qm_row *rows, uint32_t n, qm_keep_fn keep, qm_err *e);
/* The place that holds s's; limits.n_outs: none does. */
uint32_t qm_logits_find(const qm_logits_places *p, const qm_engine *g, const qm_seq *s);
void qm_logits_forget(qm_logits_places *p, const qm_engine *g, const qm_seq *s);

/* Steps that may be enqueued before the first of them has been looked at: enough that the device never waits for the
 * host, few enough that little is thrown away when the text ends. */
enum { QM_RUN_AHEAD = 2 };
static_assert(QM_RUN_AHEAD < QM_RESULT_RING, "a result is overwritten before it is looked at");

/* All calls are in order; step only enqueues. */
typedef struct qm_executor {
    const char *name;
    int on_device;     /* 0: it runs on the host, and there is no device */
    int f32_act;       /* 1: it can leave activations unquantised */
    uint32_t max_rows; /* rows that a step may have, besides limits.n_rows */
    int resident;      /* 1: the plan's resident run of ops (plan.h) is walked by one kernel */
    /* Whether it can run such plans: asked before anything is loaded. NULL: it runs all. */
    int (*validate)(const qm_plan *p, qm_err *e);
    /* Loads the weights; makes room for KV pool, scratch and g->limits.n_seqs sequences; makes ready every plan that
     * a step of this engine can need. g->place, g->limits are set. */
    int (*open)(qm_engine *g, const qm_engine_opts *o, qm_err *e);
    void (*close)(qm_engine *g);
    /* QM_ERR_LIMIT where all sequences are taken. */
    int (*seq_open)(qm_engine *g, qm_seq **out, qm_err *e);
    void (*seq_close)(qm_engine *g, qm_seq *s); /* waits for what is in flight */
    /* Whatever a step of plan p needs but the step itself: from here on it is one launch and one event. */
    int (*prepare)(qm_engine *g, const qm_plan *p, qm_err *e);
    /* tokens[pos ..] = ids, and the flags raised so far are forgotten; block table entries i.. = pages. What is
     * passed may go when these return. */
    int (*put_tokens)(qm_engine *g, qm_seq *s, uint32_t pos, const uint32_t *ids, uint32_t n, qm_err *e);
    int (*put_pages)(qm_engine *g, qm_seq *s, uint32_t i, const uint32_t *pages, uint32_t n, qm_err *e);
    /* How the steps from here on choose their token; a new sequence is greedy. */
    int (*put_sampling)(qm_engine *g, qm_seq *s, const qm_sample_words *w, qm_err *e);
    /* The same of all but the biases; and which tokens may come, [QM_MASK_WORDS(n_vocab)], as long as the parameters have
     * QM_EDIT_MASK. NULL: as before. */
    int (*put_mask)(qm_engine *g, qm_seq *s, const qm_sample_params *p, const uint32_t *mask, qm_err *e);
    /* For who launches a step's ops by hand: the ops launched next, of plan p, compute these rows. step does it itself. */
    int (*place)(qm_engine *g, const qm_row *rows, uint32_t n, qm_err *e);
    /* Computes n rows (1 .. limits.n_rows) by a plan that was prepared: p is qm_engine_step_plan's. */
    int (*step)(qm_engine *g, const qm_row *rows, uint32_t n, const qm_plan *p, qm_err *e);
    /* Waits for the step that computed position pos, at most QM_RUN_AHEAD steps before the sequence's last one. */
    int (*wait)(qm_engine *g, qm_seq *s, uint32_t pos, qm_err *e);
    /* The same for a row with logits, with the token it chose, the QM_FLAG_* raised so far, and what its logprobs are made of,
     * if the sequence's parameters ask for it. */
    int (*result)(qm_engine *g, qm_seq *s, uint32_t pos, qm_result *r, qm_err *e);
    /* Logits of the sequence's last enqueued row that had any, [n_vocab]. Waits. */
    int (*logits)(qm_engine *g, qm_seq *s, float *out, qm_err *e);
    /* Those of the last enqueued step's rows that wanted any, [n, n_vocab] from the first-th on: first those that chose a token, then
     * those that did not, in the rows' order. Waits. */
    int (*outs)(qm_engine *g, uint32_t first, uint32_t n, float *out, qm_err *e);
    const struct qm_inside_means *inside; /* what it lends to who looks inside (inside_means.h) */
} qm_executor;

/* All of them; `auto` is the first or another (choose.h). An executor is its file and its name here.
 *   graph       one CUDA graph per step shape, a kernel node per op (exec_graph.c)
 *   persistent  the same, but that one resident kernel walks what it can of a step's ops (exec_persistent.c, walk.h)
 *   ref         the C references on the host (exec_ref.c) */
#define QM_EXECUTORS(X) X(graph) X(persistent) X(ref)
#define QM_EXECUTOR_DECLARE(name) extern const qm_executor qm_executor_##name;
QM_EXECUTORS(QM_EXECUTOR_DECLARE)
#undef QM_EXECUTOR_DECLARE
/* By name, NULL: the first; NULL and QM_ERR_ARG with the names that there are. */
const qm_executor *qm_executor_find(const char *name, qm_err *e);

/* ---- what all of them do alike ---- */
/* The slot of position pos in a ring; QM_ERR_DEVICE where it holds another position's. */
int qm_result_take(const qm_result *ring, uint32_t pos, qm_result *r, qm_err *e);
/* taken [n]: the first that is 0 becomes 1, its number *i. */
int qm_seq_take(unsigned char *taken, uint32_t n, uint32_t *i, qm_err *e);
#endif
