/* counters.h: what a device counts while kernels run on it. Only the software device counts; a GPU's own
 * counters belong to its profiler (docs/profiling.md). */
#ifndef QM_COUNTERS_H
#define QM_COUNTERS_H
#include "cuda.h"

typedef struct {
    uint64_t launches;
    uint64_t warp_insts;                  /* instructions issued */
    uint64_t thread_insts;                /* the same times the lanes that take part */
    uint64_t load_bytes, store_bytes;     /* global, as requested by the lanes */
    uint64_t load_sectors, store_sectors; /* global, 32 bytes each */
    uint64_t shared_passes;               /* through shared memory, bank conflicts included */
    uint64_t atomics;
    uint64_t barriers; /* arrivals of a CTA */
} qm_counters;

/* 1: this device counts (and its clock has no meaning). */
int qm_counters_here(const qm_device *d);
/* From here to end() everything that runs is counted. QM_ERR_UNSUPPORTED on a device that does not count. */
int qm_counters_begin(qm_device *d, qm_err *e);
/* What ran since begin() or the last take(). */
void qm_counters_take(qm_counters *c);
/* Counting is as it was before begin(). */
void qm_counters_end(void);
void qm_counters_add(qm_counters *to, const qm_counters *c);
#endif
