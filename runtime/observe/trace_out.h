/* trace_out.h: what a trace found, as text for people and as JSON. */
#ifndef QM_TRACE_OUT_H
#define QM_TRACE_OUT_H
#include "../qmoe_tools.h"
#include "trace.h"
#include "trace_compare.h"

typedef struct {
    qm_engine *g;
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
    int by_op;                     /* 1: each op from the device's inputs; 0: whole runs, slot by slot */
    int n_missing;                 /* slots without a file in the directory */
    double min_cosine, max_rel_l2; /* the bars */
} qm_trace_result;

/* Whether a comparison departs under the result's bars. */
int qm_trace_departs(const qm_trace_result *r, const qm_difference *d);

/* ---- what to think of it ---- */
enum { QM_TRACE_FINE, QM_TRACE_NOTE, QM_TRACE_BAD };
typedef struct {
    const char *name;    /* "finite" "zero" "std" "growth" "router" "logits" "experts" */
    int level;           /* QM_TRACE_* */
    double value, limit; /* value beyond limit is not fine */
    char text[224];      /* a sentence with the figures */
} qm_trace_check;
enum { QM_TRACE_CHECKS = 7 };
/* Fills c [QM_TRACE_CHECKS]; returns the worst level. */
int qm_trace_verdict(const qm_trace_result *r, qm_trace_check *c);
const char *qm_trace_level_name(int level); /* "OK" "NOTE" "BAD" */
/* "OK", or what is wrong with a layer; returns 1 if OK. */
int qm_trace_layer_status(const qm_trace_result *r, int layer, char *to, size_t n);
/* The k best ids, falling logits, ties by lowest id; returns how many (at most n_vocab). */
uint32_t qm_trace_top(const qm_trace_result *r, uint32_t k, uint32_t *ids);
/* min, max, l2, finite of the logits */
typedef struct {
    double min, max, l2, gap; /* gap: best to second */
    uint32_t n_odd;           /* NaN or inf */
} qm_logits_range;
qm_logits_range qm_trace_logits(const qm_trace_result *r);
/* A token's text on a line (qm_text_show); returns to, n >= 16. */
const char *qm_trace_token(const qm_engine *g, uint32_t id, char *to, size_t n);

struct json_t;
struct json_t *qm_trace_json(const qm_trace_result *r); /* NULL: out of memory */
int qm_trace_write(const qm_trace_result *r, qm_write_fn w, void *user, qm_err *e);
#endif
