/* capture.h: a plan as a CUDA graph: one kernel node an op, in the plan's order, except that an op which
 * need not wait for the one before it (qm_op.waits) hangs on the same predecessor, so that both may run at once. */
#ifndef QM_CAPTURE_H
#define QM_CAPTURE_H
#include "../device/cuda.h"
#include "walk.h"

/* Launches op i into stream st. It may load nothing: that is not allowed during a capture. after: op i - 1 is all that it comes
 * after, and nobody else comes after that: it may be a dependent launch (dependent.h). */
typedef int (*qm_launch_fn)(void *user, int i, CUstream st, int after, qm_err *e);
/* st: the stream that is captured; nothing else may be launched into it meanwhile.
 * w: a walk of the plan, n == 0: none. Its ops are one node: launch is called for the first of them and launches all. */
int qm_capture_plan(qm_device *d, CUstream st, const qm_plan *p, const qm_walk *w, qm_launch_fn launch, void *user,
                    CUgraphExec *out, qm_err *e);
#endif
