/* kernels.h: the kernels of kernel_table.h, loaded and launched. Their PTX is part of the program (texts.h): one module
 * per entry, loaded on first use. */
#ifndef QM_KERNELS_H
#define QM_KERNELS_H
#include "cuda.h"
#include "kernel_table.h"

/* Loads a PTX text or a cubin; a failure carries the JIT's own log. name: for messages. */
int qm_module_load(qm_device *d, const char *name, const void *image, CUmodule *mod, qm_err *e);

typedef struct qm_kernels qm_kernels;
int qm_kernels_open(qm_kernels **out, qm_device *d, qm_err *e);
void qm_kernels_close(qm_kernels *k);
/* From here on kernels that have a text for dependent launches (dependent.h) are loaded from it: before the first is loaded, on a
 * device where they work. Launched otherwise such a kernel does the same. */
void qm_kernels_dependent(qm_kernels *k);
/* The loaded function of table entry i. */
int qm_kernels_get(qm_kernels *k, int i, CUfunction *f, qm_err *e);
/* Loads entry i from this text, instead of what the program has of it. Functions that were got before stay good. */
int qm_kernels_load(qm_kernels *k, int i, const char *ptx, qm_err *e);
/* Allows entry i so many bytes of dynamic shared memory; its launches do that themselves. */
int qm_kernels_allow_shared(qm_kernels *k, int i, unsigned shared, qm_err *e);
/* Launches entry i with its argument struct; grid and block as abi.h says; shared: bytes of dynamic
 * shared memory (0 for most). */
int qm_kernels_launch(qm_kernels *k, int i, const unsigned grid[3], unsigned block, unsigned shared, const void *args,
                      CUstream s, qm_err *e);
/* The same where the kernel before it in the stream is all that it comes after: a dependent launch, if its text can wait. */
int qm_kernels_launch_after(qm_kernels *k, int i, const unsigned grid[3], unsigned block, unsigned shared,
                            const void *args, CUstream s, qm_err *e);
/* The same for a cooperative grid: all of its CTAs are resident at once, or it fails. */
int qm_kernels_launch_resident(qm_kernels *k, int i, const unsigned grid[3], unsigned block, unsigned shared,
                               const void *args, CUstream s, qm_err *e);
#endif
