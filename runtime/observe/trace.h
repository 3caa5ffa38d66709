/* trace.h: a step, observed. The ops are the production plan's, in its order and on its buffers; between them run
 * launches of the op stats (contracts/abi.h), which only read what ops have left. A launch stands where the first
 * of the buffers that it looks at is about to be overwritten: two a layer, and three for the rest. */
#ifndef QM_TRACE_H
#define QM_TRACE_H
#include "../engine/inside.h"

/* One vector that is looked at: v[i] = add[i] + sum_s x[s * stride + i]. */
typedef struct {
    char name[32]; /* "embedding", "attn_norm", "qkv" ... */
    int layer;     /* -1 outside the layers */
    int rank;      /* of "expert": the place of the expert among the chosen; else -1 */
    int extra;     /* 1: not of the report; looked at only where vectors are kept */
    int op;        /* index of the op that completes it */
    qm_ref x, add;
    uint32_t n, n_parts, stride;
    uint32_t job, n_jobs;  /* its jobs: pieces of at most 1024 elements */
    uint64_t at;           /* its vector begins at values[at], where vectors are kept */
    qm_stats_record stats; /* of the last step */
} qm_trace_vector;

typedef struct qm_tracer {
    qm_engine *g;
    const qm_plan *plan;
    int keep;                 /* 1: the vectors themselves are kept, and there are the extra ones */
    qm_trace_vector *vectors; /* [n_vectors] in the order of the ops */
    int n_vectors, cap_vectors;
    uint32_t n_used; /* experts chosen by a router; 0: no router in the plan */
    int n_points;    /* launches of stats in a step */
    uint32_t n_jobs;
    uint64_t n_values;
    /* Of the last step. */
    uint32_t *ids;  /* [n_layers, n_used] */
    float *weights; /* [n_layers, n_used] */
    float *values;  /* [n_values], where vectors are kept */
    uint32_t flags; /* QM_FLAG_* that kernels raised */
    struct qm_trace_memory *m;
} qm_tracer;

/* p: a plan with logits, of a session's next step. */
int qm_tracer_open(qm_tracer **out, qm_engine *g, const qm_plan *p, int keep, qm_err *e);
void qm_tracer_close(qm_tracer *t);
/* Computes the position after what s holds, token there, observed. The logits are the session's, as after
 * qm_session_eval. */
int qm_tracer_step(qm_tracer *t, qm_session *s, uint32_t token, qm_err *e);
/* Only enqueues the ops of a step that has begun (qm_inside_begin), with the launches in between or without:
 * for a capture, to see what observing costs. Its session has been stepped by this tracer before. */
int qm_tracer_enqueue(qm_tracer *t, const qm_inside *x, int observe, qm_err *e);
/* The vector, or NULL. */
const qm_trace_vector *qm_tracer_find(const qm_tracer *t, int layer, const char *name, int rank);
#endif
