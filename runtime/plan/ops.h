/* ops.h: what an op reads and writes, as contracts/ops.def declares it: whoever observes, compares, counts or orders ops
 * loops over their operands and knows no op by name. */
#ifndef QM_OPS_H
#define QM_OPS_H
#include "plan.h"

enum { QM_IN = 1, QM_OUT = 2, QM_INOUT = 3 };
typedef enum {
    QM_KIND_F32,
    QM_KIND_U32,
    QM_KIND_U64,
    QM_KIND_Q16A,   /* vectors of dims' last, quantised (abi.h) */
    QM_KIND_WEIGHT, /* packed, of the kernel's weight type */
    /* layouts of abi.h */
    QM_KIND_STATE,
    QM_KIND_WORK,
    QM_KIND_RESULTS,
    QM_KIND_ROWS,
    QM_KIND_KV, /* [n_pages, n_kv, QM_PAGE_TOKENS, head_dim] elements of the cache's type */
    QM_KIND_JOBS,
    QM_KIND_STATS,
    QM_KIND_RECORDS,
    QM_KIND_ACT, /* in the table only: F32 or Q16A */
    QM_N_KINDS
} qm_kind;

enum { QM_MAX_OPERANDS = 14, QM_MAX_DIMS = 4 };
typedef struct {
    const char *name; /* of its field: "x_out" */
    int dir;          /* QM_IN, QM_OUT, QM_INOUT */
    int spare;        /* 1: may be absent where nobody reads it */
    int chosen;       /* 1: weights of which the step says what is read */
    int appended;     /* 1: of the cache; the step's rows are written and all of their positions read */
    qm_space space;   /* where it lives; QM_SPACE_NONE: its launcher says it */
    qm_kind kind;
    uint32_t offset;  /* of its address in the argument struct, bytes */
    uint64_t ref;     /* the field: qm_ref in a plan's op, an address once resolved; 0: absent */
    uint32_t n_parts; /* arrays [n_parts, dims...] whose sum is meant; 1 for most */
    uint32_t n_dims, dims[QM_MAX_DIMS];
    uint64_t bytes; /* of all of it, from ref on. WEIGHT: 0, its region says it */
} qm_operand;
/* Elements of one part: the product of the dims. */
uint64_t qm_operand_n(const qm_operand *o);

/* How an op is launched: what its operands' shapes depend on besides its arguments. */
typedef struct {
    uint32_t rows; /* of the step */
    uint32_t head_dim, grid[3], block;
    int q16a;                /* activations are quantised: of the kernel's weight type, and not switched off */
    uint32_t n_ctx, n_table; /* positions of a sequence; entries of its block table */
    uint32_t n_pages;        /* of the KV pool */
    qm_kv_cache_type kv;     /* of the cache */
} qm_op_view;

/* The operands of an op of that kind, in the order of its fields: how many there are. */
int qm_operands(qm_op_kind kind, const qm_op_args *a, const qm_op_view *v, qm_operand out[QM_MAX_OPERANDS]);
/* The same of a plan's op. */
int qm_op_operands(const qm_plan *p, const qm_op *op, qm_operand out[QM_MAX_OPERANDS]);
qm_op_view qm_op_view_of(const qm_plan *p, const qm_op *op);
/* The op's one matrix of which every step reads all, so that who is to read it can be told before the step: *w; 0: it has none. */
int qm_op_known_weight(const qm_plan *p, const qm_op *op, qm_operand *w);
/* Its operand of that name; NULL: it has none, or not in this op. */
const qm_operand *qm_operand_find(const qm_operand *o, int n, const char *name);

/* Whether one of the two writes what the other reads or writes: they may not run at the same time. */
int qm_ops_conflict(const qm_plan *p, const qm_op *a, const qm_op *b);
/* Strikes out what may be absent and no later op reads. */
void qm_plan_spare(qm_plan *p);
/* Fills ops[].waits, from the first to the last. */
void qm_plan_order(qm_plan *p);
/* Is op i one link of a plain chain: its own and its predecessor's only neighbour, behind no join and before no fork? */
int qm_plan_in_chain(const qm_plan *p, int i);
#endif
