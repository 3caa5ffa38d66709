/* op_records.h: one decode step op by op: what each op reads, what it asks of the device (counted on the
 * software device), how long it takes and how long the device is idle before it (on a GPU: op_measure.h), or what a
 * chip is expected to take (predict.h). All three fill the same records; op_report.h writes them. */
#ifndef QM_OP_RECORDS_H
#define QM_OP_RECORDS_H
#include "../device/counters.h"
#include "../plan/plan.h"

typedef enum { QM_BOUND_NONE, QM_BOUND_DRAM, QM_BOUND_ISSUE, QM_BOUND_L2, QM_BOUND_LATENCY, QM_N_BOUNDS } qm_bound;
const char *qm_bound_name(qm_bound b); /* "dram" "issue" "l2" "latency", "" */

/* Unknown times are negative. */
typedef struct {
    const qm_op *op;   /* in the plan */
    uint64_t kv_bytes; /* keys and values read or written at this depth */
    int reads_kv;      /* 1: how many depends on the depth */
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
    char executor[16];             /* of times: "graph", "persistent" */
    qm_counters total;             /* of the step, where counted */
    uint64_t kv_bytes;
    int runs;          /* behind the times */
    double step_ns;    /* the whole step with nothing added: graph launch to its end; estimated likewise */
    double stamped_ns; /* the same with stamps: what they disturb is stamped_ns / step_ns */
    double tick_ns;    /* least difference seen between two stamps: the clock's resolution */
    char device[128];  /* what ran, or the chip that is estimated */
    double bandwidth;  /* bytes/s that the chip can reach; 0 = unknown */
} qm_op_records;

/* Bytes of keys and values that the op reads, of positions 0 .. depth, and that it writes, of one. */
void qm_op_kv_bytes(const qm_plan *p, const qm_op *op, uint32_t depth, uint64_t *read, uint64_t *written);
/* The plan of the step at depth and empty records. Free with qm_op_records_free. */
int qm_op_records_new(qm_op_records **out, const qm_plan *p, uint32_t depth, qm_err *e);
void qm_op_records_free(qm_op_records *r);
#endif
