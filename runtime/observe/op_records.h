/* op_records.h: one step op by op: what each op reads, what it asks of the device (counted on the
 * software device), how long it takes and how long the device is idle before it (on a GPU: op_measure.h), or what a
 * chip is expected to take (predict.h). All three fill the same records; op_report.h writes them. */
#ifndef QM_OP_RECORDS_H
#define QM_OP_RECORDS_H
#include "../device/counters.h"
#include "../plan/plan.h"
#include "op_path.h"

/* What a step computes: rows / seqs neighbouring positions of each of seqs sequences, from `depth` on, which each of them
 * has in the cache; outs of the rows (the sequences' last ones) with logits: 0 or seqs. */
typedef struct {
    uint32_t depth, rows, seqs, outs;
} qm_work;
/* One token of one sequence. */
static inline qm_work qm_work_decode(uint32_t depth) { return (qm_work){depth, 1, 1, 1}; }

typedef enum {
    QM_BOUND_NONE,
    QM_BOUND_DRAM,
    QM_BOUND_ISSUE,
    QM_BOUND_TENSOR,
    QM_BOUND_L2,
    QM_BOUND_FLIGHT, /* too few bytes on their way at once */
    QM_BOUND_LATENCY,
    QM_N_BOUNDS
} qm_bound;
const char *qm_bound_name(qm_bound b); /* "dram" "issue" "tensor" "l2" "flight" "latency", "" */

/* Unknown times are negative. */
typedef struct {
    const qm_op *op;       /* in the plan */
    uint64_t weight_bytes; /* weights read: of experts, those that the step's rows are expected to choose */
    uint64_t kv_bytes;     /* keys and values read or written at this depth, each once */
    uint64_t act_bytes;    /* what it hands on and is handed, in the step's scratch memory */
    int reads_kv;          /* 1: how many depends on the depth */
    uint32_t rows;         /* that it computes, or runs of rows: 0: it is there for other steps, and leaves at once */
    double ctas;           /* that have work */
    qm_op_path path;
    /* of an estimate: chunks that a warp asks for before it waits, in registers and shared memory (qm_op.ring) */
    double held;
    int whole_run; /* of an estimate: 1: its warps have asked for all that they read (QM_RUN_CHUNKS) */
    /* bytes of weights, keys and values on their way at once, a multiprocessor of the plan's device */
    double in_flight;
    qm_counters count; /* where the step was counted */
    int sampled;       /* 1: of a part of its CTAs, and multiplied */
    double begin_ns;   /* from the first op's begin */
    double time_ns;    /* from its first CTA's begin to its last warp's end */
    double gap_ns;     /* from the last end before it to its begin */
    double apart_ns;   /* of an estimate: time_ns, were reading and working on it to come one after the other */
    qm_bound bound;    /* of an estimate: what it waits for */
    double coming;     /* likewise, while it is made: bytes of its prefetch still on their way */
} qm_op_record;

typedef struct {
    const qm_plan *plan;
    qm_work work;
    qm_op_record *op; /* [n_ops] */
    int n_ops;
    int counted, timed, estimated; /* which of the fields above mean something */
    int n_sampled;                 /* ops with sampled */
    char executor[16];             /* of times: "graph", "persistent" */
    int dependent;                 /* of an estimate by graph: 1: launches are dependent where they can be */
    qm_counters total;             /* of the step, where counted */
    uint64_t weight_bytes, kv_bytes;
    int runs;          /* behind the times */
    double step_ns;    /* the whole step with nothing added: graph launch to its end; estimated likewise */
    double apart_ns;   /* of an estimate: the step's likewise, with nothing overlapped */
    double stamped_ns; /* the same with stamps: what they disturb is stamped_ns / step_ns */
    double tick_ns;    /* least difference seen between two stamps: the clock's resolution */
    char device[128];  /* what ran, or the chip that is estimated */
    double bandwidth;  /* bytes/s that the chip can reach; 0 = unknown */
    double wanted;     /* of an estimate: bytes on their way at once a multiprocessor that keep its memory busy */
} qm_op_records;

/* Of n_expert experts, how many are chosen by `rows` rows of n_used different ones each, where all are equally likely:
 * n_expert (1 - (1 - n_used / n_expert)^rows). */
double qm_experts_chosen(uint32_t n_expert, uint32_t n_used, uint32_t rows);
/* Rows, or runs of rows (abi.h), that the op has in that step. */
uint32_t qm_op_rows(const qm_plan *p, const qm_op *op, qm_work w);
/* Bytes of weights that it reads then. */
uint64_t qm_op_weight_bytes(const qm_plan *p, const qm_op *op, qm_work w);
/* Bytes of keys and values that it reads, of each position once, and that it writes. */
void qm_op_kv_bytes(const qm_plan *p, const qm_op *op, qm_work w, uint64_t *read, uint64_t *written);
/* Empty records of the plan of such a step. Free with qm_op_records_free. */
int qm_op_records_new(qm_op_records **out, const qm_plan *p, qm_work w, qm_err *e);
void qm_op_records_free(qm_op_records *r);
#endif
