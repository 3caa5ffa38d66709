/* walk.h: a plan's resident run of ops (plan.h) as records in device memory, for the kernel that walks them
 * (kernels/ptx/walk.ptx): one resident grid instead of a graph's kernels, where an op waits for those that it depends on, by their
 * counters, and weights of ops to come are asked for meanwhile. Same bodies, same launch geometry, same bits as the graph's
 * kernels. */
#ifndef QM_WALK_H
#define QM_WALK_H
#include "../device/kernels.h"
#include "../device/upload.h"
#include "../plan/plan.h"

/* Which bodies the kernel is to have. A driver compiles a module whole: all of them would take it several times as long as those of
 * one model, and want more registers. */
typedef struct {
    unsigned char needed[QM_N_RESIDENT_CASES];
} qm_walk_cases;

typedef struct {
    int first, n; /* ops [first, first + n) of the plan; n == 0: none */
    int kernel;   /* index into qm_kernel_table */
    unsigned grid, shared;
    CUdeviceptr records; /* qm_walk_record [n], then the ops' counters and that of the end */
} qm_walk;

/* Index into qm_kernel_table of the kernel that walks. */
int qm_walk_kernel(void);
/* QM_ERR_UNSUPPORTED, naming the op, where the kernel does not hold all ops of the plan's resident run. */
int qm_walk_validate(const qm_plan *p, qm_err *e);
/* Adds what p needs: 1 where that is more than before. */
int qm_walk_need(qm_walk_cases *c, const qm_plan *p);
/* Loads the kernel with these bodies; walks that were opened before keep theirs. */
int qm_walk_load(const qm_walk_cases *c, qm_kernels *k, qm_err *e);
/* The kernel is loaded with what p needs. put: brings the records to the device, in the order of the stream in which the walk is
 * launched. */
int qm_walk_open(qm_walk *w, qm_uploader *put, qm_device *d, qm_kernels *k, const qm_plan *p, const qm_bases *b,
                 qm_err *e);
void qm_walk_close(qm_walk *w, qm_device *d);
/* Launches of one walk come one after the other: they use the same counters. stamps: 0, or u64 [n, 2] (contracts/abi.h,
 * QM_WALK_STAMPS). */
int qm_walk_launch(const qm_walk *w, qm_kernels *k, CUdeviceptr stamps, CUstream st, qm_err *e);
#endif
