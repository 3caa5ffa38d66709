/* counters.h: what a device counts while kernels run on it, where it counts: a GPU's own counters belong to its
 * profiler (docs/profiling.md). Counting is on for one device at a time. */
#ifndef QM_COUNTERS_H
#define QM_COUNTERS_H
#include "cuda.h"

/* 1: this device counts. */
int qm_counters_here(const qm_device *d);
/* From here to end() everything that runs is counted. QM_ERR_UNSUPPORTED on a device that does not count. */
int qm_counters_begin(qm_device *d, qm_err *e);
/* What ran since begin() or the last take(). */
void qm_counters_take(qm_counters *c);
/* Counting is as it was before begin(). */
void qm_counters_end(void);
void qm_counters_add(qm_counters *to, const qm_counters *c);
#endif
