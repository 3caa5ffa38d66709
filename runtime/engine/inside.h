/* inside.h: the one door into an engine for whoever measures it or looks into a step (runtime/observe, tests). A step is
 * opened at a position; its ops can then be run one by one, by the executor's own means and on its own memory, and what
 * they read and write can be looked at. The same for every executor: of "ref" the memory is the host's.
 *
 *   qm_inside x;
 *   qm_inside_open(&x, g, NULL, depth, e);       // or a session of one's own
 *   qm_inside_begin(&x, token, e);
 *   for (int i = 0; i < x.plan->n_ops; i++) qm_inside_run(&x, i, NULL, NULL, e);
 *   qm_inside_read(&x, ref, to, bytes, e);
 *   qm_inside_close(&x); */
#ifndef QM_INSIDE_H
#define QM_INSIDE_H
#include "../device/cuda.h"
#include "../device/stamp.h"
#include "../file/gguf.h"
#include "../plan/plan.h"
#include "../qmoe.h"
#include "watch.h"

/* ---- an engine ---- */
qm_engine *qm_inside_engine(const qm_session *s);
const qm_gguf *qm_inside_gguf(const qm_engine *g);
const qm_model *qm_inside_model(const qm_engine *g);
const char *qm_inside_executor(const qm_engine *g); /* its name */
qm_device *qm_inside_device(const qm_engine *g);    /* NULL: the C references on the host */
/* The plan of a step at position pos; it lives as long as the engine. */
int qm_inside_plan(qm_engine *g, uint32_t pos, int logits, const qm_plan **out, qm_err *e);
/* That of a step of n rows, n_outs of them with logits, the deepest at position pos; n 1: the same. */
int qm_inside_rows_plan(qm_engine *g, uint32_t n, uint32_t n_outs, uint32_t pos, const qm_plan **out, qm_err *e);

/* Whether the executor of that name (NULL: the users') runs kernels, and such plans (p NULL: any): QM_ERR_ARG, or
 * QM_ERR_UNSUPPORTED, naming the op. *resident: 1 where one kernel runs the plan's resident run of ops. Needs no
 * engine. */
int qm_inside_runs(const char *executor, const qm_plan *p, int *resident, qm_err *e);

/* The executor that "auto" is on a device, as far as its chip says (choose.h), and why. */
const char *qm_inside_chip_executor(const qm_device *d, char *why, size_t why_n);
/* From here on it is the faster of these two for the engine's model on its device: tokens a second, as measured. */
void qm_inside_keep_choice(const qm_engine *g, double graph, double persistent);

/* ---- a session ---- */
/* Computes ids [n >= 1] after what the session holds, as a prompt: only the last one with logits. The ids and the room in
 * the context are checked. next, where not NULL: waits, and is the token chosen to follow; a sick step is an error then.
 * watch: on_prefill before each step, which may cancel; or NULL. */
int qm_inside_append(qm_session *s, const uint32_t *ids, uint32_t n, const qm_watch *watch, uint32_t *next, qm_err *e);
/* The same with the logits of every one of them: on_logits gets those behind ids[i], [n_vocab], in order, many positions being
 * computed together (as many as o's n_outs said); non-zero ends it with QM_ERR_CANCELLED. Sick logits are an error. watch as
 * there. */
typedef int (*qm_logits_fn)(void *user, uint32_t i, const float *logits);
int qm_inside_score(qm_session *s, const uint32_t *ids, uint32_t n, const qm_watch *watch, qm_logits_fn on_logits,
                    void *user, qm_err *e);
/* The loop of qm_generate without its text: `first` goes after what the session holds, then n tokens are chosen. The
 * device feeds itself, the host looks at every token: on_token, which may be NULL. All pages are taken before the
 * first. */
int qm_inside_decode(qm_session *s, uint32_t first, uint32_t n, void (*on_token)(void *user, uint32_t i, uint32_t id),
                     void *user, qm_err *e);
/* qm_inside_append and qm_inside_decode of n_s different sessions of one engine at once, in steps that they share: each gets ids
 * [n_s, n] behind what it holds, and chooses next [n_s]; or first [n_s], and then n tokens are chosen in each. on_token: when
 * all have chosen their i-th. */
int qm_inside_append_all(qm_session *const *s, uint32_t n_s, const uint32_t *ids, uint32_t n, uint32_t *next,
                         qm_err *e);
int qm_inside_decode_all(qm_session *const *s, uint32_t n_s, const uint32_t *first, uint32_t n,
                         void (*on_token)(void *user, uint32_t i, uint32_t id), void *user, qm_err *e);
/* Makes an empty session one of n tokens (n <= context) without computing them: random ids, and random keys
 * and values in every page of the pool, finite and of magnitude 1/16 to 1. What a step costs depends on how
 * many positions it attends to and not on what they hold. seed: the same one gives the same bytes. */
int qm_inside_fill(qm_session *s, uint32_t n, uint64_t seed, qm_err *e);

/* ---- a step ---- */
typedef struct {
    qm_engine *g;
    qm_session *s;
    const qm_plan *plan; /* with logits */
    uint32_t pos;
    qm_device *dev;              /* NULL: host memory; what has been run is done */
    CUstream stream;             /* of dev: what the executor enqueues is in its order */
    int own;                     /* the session is closed with the step */
    struct qm_inside_rows *rows; /* of a step of several; NULL: of one */
} qm_inside;

/* At position pos of session s, whose positions before it are computed (pos <= length); s NULL: of a session of its own
 * that is filled (qm_inside_fill) up to there. */
int qm_inside_open(qm_inside *x, qm_engine *g, qm_session *s, uint32_t pos, qm_err *e);
/* A step of several rows: of n_seqs sequences of its own, each filled (qm_inside_fill) up to depth, n_each rows of each, the last of
 * which draws. x->s is the first sequence, x->pos its last row's position. The engine must have room for them: n_parallel,
 * n_ubatch, n_ctx. */
int qm_inside_open_rows(qm_inside *x, qm_engine *g, uint32_t n_seqs, uint32_t n_each, uint32_t depth, qm_err *e);
void qm_inside_close(qm_inside *x); /* safe on a zeroed one */
/* What the step's ops need before they run: the page, the token, the position; of several rows, each. As often as the ops are run anew. */
int qm_inside_begin(qm_inside *x, uint32_t token, qm_err *e);
/* The ops have run: the session holds the position, and its logits are theirs. */
void qm_inside_end(qm_inside *x);

/* Kernels that leave time stamps: op i's go to at + i * QM_STAMP_BYTES. */
typedef struct {
    qm_stamped *kernels;
    CUdeviceptr at;
} qm_stamps;
/* Enqueues op i. on: a stream instead of x->stream, or NULL; stamps: NULL, or with stamps. Neither is for "ref". */
int qm_inside_run(const qm_inside *x, int i, CUstream on, const qm_stamps *stamps, qm_err *e);
/* The address behind a reference: in the device's memory, or in the host's. 0: absent. "ref" has no weights of its own:
 * it reads the file (0 for QM_SPACE_REGION). */
uint64_t qm_inside_address(const qm_inside *x, qm_ref r);
/* Copies after what has been enqueued; read waits for it. put: to an address. What is passed may go on return. */
int qm_inside_read(const qm_inside *x, qm_ref from, void *to, uint64_t bytes, qm_err *e);
int qm_inside_write(const qm_inside *x, qm_ref to, const void *from, uint64_t bytes, qm_err *e);
int qm_inside_put(const qm_inside *x, uint64_t to, const void *from, uint64_t bytes, qm_err *e);

/* The step as the executor runs it, as a graph of its own: nothing but the ops. QM_ERR_UNSUPPORTED for "ref". Everything
 * is loaded before the capture; the ops have run once (which needs qm_inside_begin) where there are no stamps. */
typedef struct qm_captured qm_captured;
int qm_inside_capture(const qm_inside *x, const qm_stamps *stamps, qm_captured **out, qm_err *e);
int qm_inside_launch(const qm_inside *x, const qm_captured *c, qm_err *e);
void qm_inside_drop(const qm_inside *x, qm_captured *c); /* NULL is fine */
#endif
