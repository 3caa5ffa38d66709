/* perop.h: one decode step op by op: what each op reads, what it asks of the device (counted on the
 * software device), how long it takes and how long the device is idle before it (on a GPU), or what a
 * chip is expected to take (predict.h). All three fill the same records; perop_out.c writes them. */
#ifndef QM_PEROP_H
#define QM_PEROP_H
#include "../device/counters.h"
#include "../engine/session.h"

typedef enum { QM_BOUND_NONE, QM_BOUND_DRAM, QM_BOUND_ISSUE, QM_BOUND_L2, QM_BOUND_LATENCY, QM_N_BOUNDS } qm_bound;
const char *qm_bound_name(qm_bound b); /* "dram" "issue" "l2" "latency", "" */

/* Unknown times are negative. */
typedef struct {
    const qm_op *op;   /* in the plan */
    uint64_t kv_bytes; /* keys and values read (attn) or written (qkrope) at this depth */
    qm_counters count; /* where the step was counted */
    double begin_ns;   /* from the first op's begin */
    double time_ns;    /* from its first CTA's begin to its last warp's end */
    double gap_ns;     /* from the last end before it to its begin */
    qm_bound bound;    /* of an estimate: what it waits for */
    double coming;     /* likewise, while it is made: bytes of its prefetch still on their way */
} qm_op_record;

typedef struct {
    const qm_plan *plan;
    uint32_t depth;   /* positions before the step's own */
    qm_op_record *op; /* [n_ops] */
    int n_ops;
    int counted, timed, estimated; /* which of the fields above mean something */
    int walked;                    /* of times: by the persistent kernel, not as a graph of kernels */
    qm_counters total;             /* of the step, where counted */
    uint64_t kv_bytes;
    int runs;          /* behind the times */
    double step_ns;    /* the whole step with nothing added: graph launch to its end; estimated likewise */
    double stamped_ns; /* the same with stamps: what they disturb is stamped_ns / step_ns */
    double tick_ns;    /* least difference seen between two stamps: the clock's resolution */
    char device[128];  /* what ran, or the chip that is estimated */
    double bandwidth;  /* bytes/s that the chip can reach; 0 = unknown */
} qm_perop;

/* The plan of the step at depth and empty records. Free with qm_perop_free. */
int qm_perop_new(qm_perop **out, const qm_plan *p, uint32_t depth, qm_err *e);
void qm_perop_free(qm_perop *r);
/* Opens a session of `depth` positions (qm_session_fill: every page of the pool is written), runs the step's
 * ops one by one and counts each. Software device only. */
int qm_perop_count(qm_engine *g, uint32_t depth, qm_perop **out, qm_err *e);
/* Runs the step `runs` times as a graph, as users run it, then `runs` times with stamps; each run with another
 * random token and right behind another step. Times are means without
 * the outliers: finer than the clock's tick. */
int qm_perop_time(qm_engine *g, uint32_t depth, int runs, uint64_t seed, qm_perop **out, qm_err *e);
/* The mean of v [n >= 1] without outliers: beyond 1.5 interquartile ranges and a tick outside the quartiles. */
double qm_perop_mean(double *v, int n, double tick);
#endif
