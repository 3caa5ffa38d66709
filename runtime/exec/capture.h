/* capture.h: launches into a CUDA graph. */
#ifndef QM_CAPTURE_H
#define QM_CAPTURE_H
#include "../device/cuda.h"
#include "../plan/plan.h"

/* What fn launches into the stream st becomes a graph. It may load nothing, that is not allowed during a capture; and
 * nothing else may be launched into st meanwhile. */
typedef int (*qm_capture_fn)(void *user, CUstream st, qm_err *e);
int qm_capture(qm_device *d, CUstream st, qm_capture_fn fn, void *user, CUgraphExec *out, qm_err *e);

/* A plan: one kernel node an op, in the plan's order, except that an op which the plan calls `beside` the one before
 * it hangs on the same predecessor, so that both may run at once. */
typedef int (*qm_launch_fn)(void *user, int i, CUstream st, qm_err *e); /* launches op i into st */
int qm_capture_plan(qm_device *d, CUstream st, const qm_plan *p, qm_launch_fn launch, void *user, CUgraphExec *out,
                    qm_err *e);
#endif
