/* dependent.h: dependent launches: a kernel begins while the one before it in the stream still runs, as far as it can without
 * that one's results (docs/decode.md). */
#ifndef QM_DEPENDENT_H
#define QM_DEPENDENT_H
#include "cuda.h"

/* Whether the device runs graphs of them. What the driver says of itself is checked first, then three small kernels show it.
 * 0: no; why [why_n]: one line, the reason. The device is fit for use either way. */
int qm_dependent_works(qm_device *d, char *why, size_t why_n);
/* cuLaunchKernel's arguments, with a block of one dimension; the launch may begin before the kernel before it is done. */
CUresult qm_dependent_launch(qm_device *d, CUfunction f, const unsigned grid[3], unsigned block, unsigned shared,
                             CUstream s, void **params);
#endif
