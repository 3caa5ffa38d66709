/* engine.h: inside the engine: what the executors, sessions and generation share. */
#ifndef QM_ENGINE_H
#define QM_ENGINE_H
#include "../base/clock.h"
#include "../device/cuda.h"
#include "../text/jinja.h"
#include "../text/tokenizer.h"
#include "../plan/plan.h"
#include "../qmoe.h"
#include "pages.h"
#include "sampling.h"
#include "inside.h"
#include "walk.h"

/* An executor: one way to run plans. All calls on one sequence are in order; step only enqueues.
 *   graph       one CUDA graph per step shape, captured once (graph.c)
 *   persistent  the same, but that one kernel node walks a step's ops (walk.h)
 *   ref         the C references on the host (refexec.c) */
typedef struct qm_seq qm_seq; /* one sequence in an executor's own memory; each executor has its own kind */
/* A step's launches as one graph, and the records that its persistent kernel walks, if it has one. */
struct qm_captured {
    CUgraphExec graph;
    qm_walk walk; /* n == 0: none */
};
/* What an executor lends to inside.h. */
typedef struct {
    CUstream (*stream)(qm_engine *g); /* NULL for the host's */
    qm_bases (*bases)(qm_engine *g, qm_seq *s);
    int (*run)(qm_engine *g, qm_seq *s, const qm_plan *p, int i, CUstream on, const qm_stamps *stamps, qm_err *e);
    int (*put)(qm_engine *g, uint64_t dst, const void *src, uint64_t bytes, qm_err *e);
    /* NULL where no kernels run. out is zeroed; the caller gives it back, after an error too. */
    int (*capture)(qm_engine *g, qm_seq *s, const qm_plan *p, const qm_stamps *stamps, qm_captured *out, qm_err *e);
} qm_inside_means;
typedef struct qm_executor {
    const char *name;
    /* Loads the weights, makes room for KV pool and scratch. g->place, g->limits are set. */
    int (*open)(qm_engine *g, const qm_engine_opts *o, qm_err *e);
    void (*close)(qm_engine *g);
    int (*seq_open)(qm_engine *g, qm_seq **out, qm_err *e);
    void (*seq_close)(qm_engine *g, qm_seq *s);
    /* Whatever a step of plan p needs but the step itself: from here on it is one launch and one event. */
    int (*prepare)(qm_engine *g, qm_seq *s, const qm_plan *p, qm_err *e);
    /* tokens[pos ..] = ids; block table entries i.. = pages; the next step computes position pos. What is passed may go
     * when these return. */
    int (*put_tokens)(qm_engine *g, qm_seq *s, uint32_t pos, const uint32_t *ids, uint32_t n, qm_err *e);
    int (*put_pages)(qm_engine *g, qm_seq *s, uint32_t i, const uint32_t *pages, uint32_t n, qm_err *e);
    int (*set_pos)(qm_engine *g, qm_seq *s, uint32_t pos, qm_err *e);
    /* How the steps from here on choose their token; a new sequence is greedy. */
    int (*put_sampling)(qm_engine *g, qm_seq *s, const qm_sample_words *w, qm_err *e);
    /* Computes the next position by a plan that was prepared; with logits it also writes tokens[pos + 1]. */
    int (*step)(qm_engine *g, qm_seq *s, const qm_plan *p, qm_err *e);
    /* Waits for the step that computed position pos, at most QM_RUN_AHEAD steps before the last one. */
    int (*wait)(qm_engine *g, qm_seq *s, uint32_t pos, qm_err *e);
    /* The same for a step with logits, with the token it chose and the QM_FLAG_* raised so far. */
    int (*result)(qm_engine *g, qm_seq *s, uint32_t pos, uint32_t *id, uint32_t *flags, qm_err *e);
    /* Logits of the sequence's last enqueued step that had any, [n_vocab]. Waits. */
    int (*logits)(qm_engine *g, qm_seq *s, float *out, qm_err *e);
    const qm_inside_means *inside;
} qm_executor;
extern const qm_executor qm_executor_graph, qm_executor_persistent, qm_executor_ref;

/* Steps that may be enqueued before the first of them has been looked at: enough that the device
 * never waits for the host, few enough that little is thrown away when the text ends. */
enum { QM_RUN_AHEAD = 2 };
static_assert(QM_RUN_AHEAD < QM_RESULT_RING, "a result is overwritten before it is looked at");

/* The chat format (format.c). open hands out what close takes, on failure too. */
typedef struct qm_chat_format qm_chat_format;
int qm_chat_format_open(qm_chat_format **out, const qm_gguf *g, const qm_tokenizer *t, const qm_engine_opts *o,
                        qm_err *e);
void qm_chat_format_close(qm_chat_format *f);
const char *qm_chat_format_name(const qm_chat_format *f);
int qm_chat_format_render(const qm_chat_format *f, const qm_tokenizer *t, const qm_message *m, size_t n,
                          qm_rendered *out, qm_err *e);
/* What a session's tokens say (chat.c). */
typedef struct qm_said qm_said;
void qm_said_free(qm_said *d);
void qm_session_forget(qm_session *s);

enum { QM_MAX_PLANS = 16 };
struct qm_engine {
    qm_gguf *gguf;
    qm_model *model;
    qm_place *place;
    qm_tokenizer *tok;
    qm_chat_format *format;
    int tok_flags; /* QM_TOK_NO_NFC or 0 */
    qm_limits limits;
    qm_pages kv;
    qm_plan *plans[QM_MAX_PLANS];
    int n_plans;
    qm_memory memory; /* what it takes, by part */
    qm_device *dev;   /* NULL for ref */
    const qm_executor *exec;
    void *exec_state;
    qm_engine_info info;
};
/* The plan for a step at position pos; built on first use. */
int qm_engine_plan(qm_engine *g, uint32_t pos, int logits, const qm_plan **out, qm_err *e);
/* Every plan that a step of this engine can need: at most QM_MAX_PLANS. */
typedef int (*qm_plan_fn)(void *user, const qm_plan *p, qm_err *e);
int qm_engine_each_plan(qm_engine *g, qm_plan_fn fn, void *user, qm_err *e);

struct qm_session {
    qm_engine *g;
    qm_seq *seq;
    uint32_t *ids;     /* [n_ctx + 1] tokens by position */
    uint32_t n;        /* tokens the sequence has */
    uint32_t n_cached; /* of these, how many have their keys and values in the cache (<= n) */
    uint32_t *pages;   /* [n_pages] block table */
    uint32_t n_pages;
    qm_said *said;       /* NULL: nobody knows */
    const qm_plan *last; /* plan of the last step with logits; NULL: none since the last truncation */
};
/* Takes pages until the session has n, or none; gives those back that no cached position lies in. */
int qm_session_pages(qm_session *s, uint32_t n, qm_err *e);
void qm_session_trim(qm_session *s);
/* Enqueues the step for position pos: takes pages as needed. */
int qm_session_step(qm_session *s, uint32_t pos, int logits, qm_err *e);
/* Computes everything up to n; the last step with logits. Needs n > n_cached. o may be NULL; it may cancel. */
int qm_session_prefill(qm_session *s, const qm_gen_opts *o, qm_err *e);
/* What the slot of position pos says; QM_ERR_DEVICE where it is not that position's. */
int qm_result_take(const qm_result *r, uint32_t pos, uint32_t *id, uint32_t *flags, qm_err *e);
/* result() with its flags turned into errors. */
int qm_session_result(qm_session *s, uint32_t pos, uint32_t *id, qm_err *e);
#endif
