/* op_measure.h: the ops of a decode step, counted or timed one by one (op_records.h), through inside.h. */
#ifndef QM_OP_MEASURE_H
#define QM_OP_MEASURE_H
#include "../engine/inside.h"
#include "op_records.h"

/* Opens a session of `depth` positions (qm_inside_fill: every page of the pool is written), runs the step's
 * ops one by one and counts each. Software device only. */
int qm_ops_count(qm_engine *g, uint32_t depth, qm_op_records **out, qm_err *e);
/* Runs the step `runs` times as a graph, as users run it, then `runs` times with stamps; each run with another
 * random token and right after another step. Times are means without
 * the outliers: finer than the clock's tick. */
int qm_ops_time(qm_engine *g, uint32_t depth, int runs, uint64_t seed, qm_op_records **out, qm_err *e);
/* The mean of v [n >= 1] without outliers: beyond 1.5 interquartile ranges and a tick outside the quartiles. */
double qm_robust_mean(double *v, int n, double tick);
#endif
