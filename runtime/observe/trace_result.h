/* trace_result.h: what a trace found: filled by trace_run.c, judged by trace_verdict.h, written by trace_report.h. */
#ifndef QM_TRACE_RESULT_H
#define QM_TRACE_RESULT_H
#include "../qmoe_tools.h"
#include "trace.h"
#include "trace_compare.h"

typedef struct {
    qm_engine *g;
    qm_engine_info info;
    const qm_trace_opts *o;
    const char *prompt; /* [n_prompt] bytes */
    size_t n_prompt;
    const uint32_t *ids; /* [n_ids] */
    size_t n_ids;
    const qm_tracer *t;   /* of the last position */
    float *logits;        /* [n_vocab] */
    uint64_t logits_hash; /* of the observed step, whose ops are launched one by one */
    uint64_t step_hash;   /* of the same step by the engine's executor, as generate runs it */
    uint32_t *use;        /* [n_layers, n_expert] how often chosen */
    uint32_t n_positions; /* that were observed */
    /* A comparison, or NULL. */
    qm_difference *diff;           /* [n_diff] */
    int n_diff, first;             /* first: index of the first that departs, or -1 */
    int by_op;                     /* 1: each op from the device's inputs; 0: whole runs, vector by vector */
    int n_missing;                 /* vectors without a file in the directory */
    double min_cosine, max_rel_l2; /* the bars */
} qm_trace_result;

/* Whether a comparison departs under the result's bars. */
static inline int qm_trace_departs(const qm_trace_result *r, const qm_difference *d) {
    return !(d->cosine >= r->min_cosine && d->rel_l2 <= r->max_rel_l2);
}
#endif
