/* op.h: what a stream can be asked to do, lists of it, and doing it. */
#ifndef QM_SIM_OP_H
#define QM_SIM_OP_H
#include <cuda.h>
#include <stddef.h>
#include <stdint.h>
#include "module.h"

/* A CUfunction. */
typedef struct {
    sim_func *fn;
    const sim_module *mod; /* whose it is */
    uint64_t id;           /* never reused: a graph may outlive its module */
    uint32_t max_dyn;      /* CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES */
    int carveout;
} sim_cu_func;

enum { SIM_OP_KERNEL, SIM_OP_COPY, SIM_OP_SET, SIM_OP_CHILD };
enum { SIM_CAPTURE_STREAMS = 16 };
/* The host side of a copy that runs late: read or written as it is then; pageable memory, which must be as it was at the
 * call; or pageable memory that the driver had copied to a staging buffer when the call returned. */
enum { SIM_HOST_DIRECT, SIM_HOST_PAGEABLE, SIM_HOST_STAGED };
typedef struct sim_op {
    int kind;
    /* KERNEL */
    sim_cu_func *func;
    uint64_t func_id;
    uint32_t grid[3], block[3], dyn_shared;
    int cooperative, dependent;
    uint8_t *params; /* [sim_func_param_bytes], owned; a late COPY from pageable memory: its
                                              bytes as they were at the call */
    size_t params_bytes;
    /* COPY, SET */
    uint64_t dst, src, n;       /* SET: n elements */
    int dst_dev, src_dev, host; /* host: SIM_HOST_* */
    uint32_t value, width;      /* SET: width 1 or 4 */
    /* CHILD */
    struct sim_oplist *child; /* shared */
    /* captured: the stream's index and the op's number in the capture, and the last op of each captured stream that
     * comes before it */
    int stream;
    uint64_t serial, after[SIM_CAPTURE_STREAMS];
} sim_op;
/* What a capture recorded, in the order of the calls. Nothing changes a list once its capture has ended, so that a
 * graph, its executable copies and their launches in flight share one. */
typedef struct sim_oplist {
    uint32_t refs;
    sim_op **v; /* [n], owned; stable addresses: they are the graph's node handles */
    size_t n, cap;
} sim_oplist;
sim_op *sim_op_copy(const sim_op *op); /* params copied, child shared; NULL: out of memory */
void sim_op_free(sim_op *op);
sim_oplist *sim_ops_new(void);
sim_oplist *sim_ops_share(sim_oplist *l);         /* one more owner */
int sim_ops_add(sim_oplist *l, const sim_op *op); /* adds a copy; 0 or -1 */
void sim_ops_drop(sim_oplist *l);
CUresult sim_op_check(const sim_op *op); /* are its addresses good as things stand? */
/* Does it; a graph's operations in the order of their calls. A fault poisons the context. */
CUresult sim_op_run(const sim_op *op);
#endif
