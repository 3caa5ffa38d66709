/* trace_verdict.h: what to think of a trace. */
#ifndef QM_TRACE_VERDICT_H
#define QM_TRACE_VERDICT_H
#include "trace_result.h"

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
    uint32_t n_nonfinite;     /* NaN or inf */
} qm_logits_range;
qm_logits_range qm_trace_logits(const qm_trace_result *r);
#endif
