/* walk.h: a plan's resident run of ops (plan.h) as records in device memory, for the kernel that walks them
 * (kernels/ptx/walk.ptx): one resident grid instead of a graph's kernels, with a barrier between dependent ops and
 * the weights of ops to come asked for while it waits. Same bodies, same launch geometry, same bits as the graph's
 * kernels. */
#ifndef QM_WALK_H
#define QM_WALK_H
#include "../device/kernels.h"
#include "../device/upload.h"
#include "../plan/plan.h"

typedef struct {
    int first, n; /* ops [first, first + n) of the plan; n == 0: none */
    int kernel;   /* index into qm_kernel_table */
    unsigned grid, shared;
    CUdeviceptr records; /* qm_walk_record [n] */
} qm_walk;

/* Index into qm_kernel_table of the kernel that walks. */
int qm_walk_kernel(void);
/* QM_ERR_UNSUPPORTED, naming the op, where the kernel does not hold all ops of the plan's resident run. */
int qm_walk_validate(const qm_plan *p, qm_err *e);
/* put: brings the records to the device, in the order of the stream in which the walk is launched. */
int qm_walk_open(qm_walk *w, qm_uploader *put, qm_device *d, qm_kernels *k, const qm_plan *p, const qm_bases *b,
                 qm_err *e);
void qm_walk_close(qm_walk *w, qm_device *d);
/* arrived: a u64 in device memory, 0 before the first launch, the same for all walks of one grid in one stream.
 * stamps: 0, or u64 [n, 2] (contracts/abi.h, QM_WALK_STAMPS). */
int qm_walk_launch(const qm_walk *w, qm_kernels *k, CUdeviceptr arrived, CUdeviceptr stamps, CUstream st, qm_err *e);
#endif
