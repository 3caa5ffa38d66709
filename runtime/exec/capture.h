/* capture.h: a plan as a CUDA graph: one kernel node an op, in the plan's order, except that an op which the plan
 * calls `beside` the one before it hangs on the same predecessor, so that both may run at once. */
#ifndef QM_CAPTURE_H
#define QM_CAPTURE_H
#include "../device/cuda.h"
#include "../plan/plan.h"

/* Launches op i into stream st. It may load nothing: that is not allowed during a capture. */
typedef int (*qm_launch_fn)(void *user, int i, CUstream st, qm_err *e);

/* main: the stream that is captured; nothing else may be launched into it meanwhile. */
int qm_capture_plan(qm_device *d, CUstream main, const qm_plan *p, qm_launch_fn launch, void *user, CUgraphExec *out,
                    qm_err *e);
#endif
