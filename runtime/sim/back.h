/* back.h: what the files of sim's back half share: the process-wide device, its handles and stream
 * operations. The front half sees core.h only. */
#ifndef QM_SIM_BACK_H
#define QM_SIM_BACK_H
#include <cuda.h>
#include <pthread.h>
#include "../device/cuda.h"
#include "core.h"

/* ---- mem.c ---- */
size_t sim_mem_used(void); /* bytes charged to the device */
/* Is [addr, addr+n) inside one live allocation? If not, says why in why[]. */
int sim_mem_range(uint64_t addr, size_t n, char *why, size_t why_n);
void sim_mem_mark_init(uint64_t addr, size_t n);                     /* written by the host */
void sim_mem_move_init(uint64_t dst, uint64_t src, size_t n);        /* copied within the device */
void sim_mem_each(void (*fn)(sim_alloc *a, void *user), void *user); /* live ones */
void sim_mem_free_all(void);                                         /* the context ends: live and quarantined alike */

/* ---- check.c ---- */
void sim_race_shadow_free(void *shadow, size_t alloc_bytes);

/* ---- env.c ---- */
/* Options and compute capability as the environment (QMOE_SIM_*) sets them; why: the first mistake in it, or "". */
void sim_env_read(qm_sim_options *o, int *cc, char *why, size_t why_n);

/* ---- report.c ---- */
int sim_env_cc(void); /* 80, or env QMOE_SIM_CC */
void sim_counters_add(const char *entry, const qm_sim_counters *c);

/* ---- driver.c: one lock around every entry; work is done at once, in the order it is enqueued, or late (order.c) ---- */
enum sim_kind { SIM_H_CTX = 1, SIM_H_MODULE, SIM_H_FUNC, SIM_H_STREAM, SIM_H_EVENT, SIM_H_GRAPH, SIM_H_EXEC };
/* The live handles, so that a stale or foreign handle is refused and not followed. */
int sim_handle_add(void *h, int kind); /* 0 or -1 (out of memory) */
int sim_handle_is(const void *h, int kind);
void sim_handle_del(const void *h);
void *sim_handle_any(int kind);              /* some live handle of that kind, or NULL */
void *sim_handle_next(int kind, size_t *at); /* the first at *at or behind, *at moved past it; NULL: no more */

void sim_lock(void);
CUresult sim_unlock(CUresult r); /* returns r */
CUresult sim_ready(void);        /* initialised, a live context is current, no sticky fault */
/* Keeps the text that cuGetErrorString shall give for r; returns r. */
CUresult sim_say(CUresult r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void sim_poison(CUresult r); /* the context is lost; every later call returns r */
/* A call that must not be made while a stream is being captured. */
CUresult sim_unsafe_in_capture(const char *call);
/* The legacy stream, used during a capture that it would have to wait for. */
CUresult sim_legacy_in_capture(const char *call);

typedef struct {
    sim_module *mod;
    uint64_t id;
} sim_cu_module;
typedef struct {
    sim_func *fn;
    sim_cu_module *mod;
    uint64_t id;      /* never reused: a graph may outlive its module */
    uint32_t max_dyn; /* CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES */
    int carveout;
} sim_cu_func;

/* ---- stream.c: operations; graph.c: lists of them ---- */
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
    int cooperative;
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
    int lane;
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
CUresult sim_op_run(const sim_op *op);
/* Runs op now or late, or records it if the stream is capturing. */
CUresult sim_submit(CUstream s, const sim_op *op, const char *call);
CUresult sim_submit_sync(const sim_op *op); /* a copy on the legacy stream without "Async" */

/* ---- order.c ---- */
CUresult sim_order_drain(void); /* runs all that is pending */
void sim_streams_drop(void);    /* the context ends */

/* The entries of stream.c and graph.c that driver.c puts into the table. */
#define QM_CU(field, symbol, params) CUresult CUDAAPI sim_cu_##field params;
#include "../../contracts/cuda.def"
#undef QM_CU
#endif
