/* kernels.h: the registry: from an op and its variant to a loaded kernel. The PTX texts are part of
 * the program (preprocessed from kernels/ptx at build time), one module per file, loaded on first use. */
#ifndef QM_KERNELS_H
#define QM_KERNELS_H
#include "cuda.h"

typedef enum {
    QM_OP_EMBED,
    QM_OP_RMSNORM,
    QM_OP_MATVEC,
    QM_OP_MOE_UP,
    QM_OP_MOE_MATVEC,
    QM_OP_SWIGLU,
    QM_OP_QKROPE,
    QM_OP_ATTN,
    QM_OP_COMBINE,
    QM_OP_ROUTER,
    QM_OP_SAMPLE_SCAN,
    QM_OP_SAMPLE_DRAW,
    QM_OP_PROBE, /* no op of a plan: measures memory (runtime/observe/probe.h) */
    QM_OP_WALK,  /* likewise: walks a run of ops (runtime/engine/walk.h) */
    QM_OP_STATS, /* likewise: looks at what ops have left (runtime/observe/trace.h) */
    QM_N_OPS
} qm_op_kind;

typedef struct {
    qm_op_kind op;
    const char *file; /* "matvec" */
    int wtype;        /* -1: none */
    int kv;           /* qm_kv_cache_type of the cache; -1: the op does not touch it */
    int head_dim;
    const char *entry;
    int max_block;
    double tolerance;
    int args_bytes; /* size of the argument struct */
} qm_kernel_info;

extern const qm_kernel_info qm_kernel_table[];
extern const int qm_n_kernels;
/* Index into the table, or -1. wtype, kv -1 and head_dim 0 where the op has none. */
int qm_kernel_find(qm_op_kind op, int wtype, int kv, int head_dim);
const char *qm_op_name(qm_op_kind op);

/* The preprocessed PTX of one file ("matvec"), NUL-terminated; NULL if there is none. */
const char *qm_ptx_text(const char *file);
/* The CUDA C of one file ("repack"), likewise: compiled at run time (nvrtc.h). */
const char *qm_cu_text(const char *file);
/* A header that such a text may include ("abi.h"), where the build embedded it; else NULL. */
const char *qm_header_text(const char *name);
/* Loads a PTX text or a cubin; a failure carries the JIT's own log. name: for messages. */
int qm_module_load(qm_device *d, const char *name, const void *image, CUmodule *mod, qm_err *e);

typedef struct qm_kernels qm_kernels;
int qm_kernels_open(qm_kernels **out, qm_device *d, qm_err *e);
void qm_kernels_close(qm_kernels *k);
/* The loaded function of table entry i. */
int qm_kernels_get(qm_kernels *k, int i, CUfunction *f, qm_err *e);
/* Launches entry i with its argument struct; grid and block as abi.h says; shared: bytes of dynamic
 * shared memory (0 for most). */
int qm_kernels_launch(qm_kernels *k, int i, const unsigned grid[3], unsigned block, unsigned shared, const void *args,
                      CUstream s, qm_err *e);
/* The same for a cooperative grid: all of its CTAs are resident at once, or it fails. */
int qm_kernels_launch_resident(qm_kernels *k, int i, const unsigned grid[3], unsigned block, unsigned shared,
                               const void *args, CUstream s, qm_err *e);
#endif
