/* nvrtc.h: CUDA C compiled at run time for the device that is there. NVRTC is found by dlopen; a
 * machine without it gets QM_ERR_UNSUPPORTED and the caller takes its other path.
 *
 * What is compiled: a text of kernels/cu that the build put into the program. What comes out: PTX for
 * compute_XX where the driver is at least as new as NVRTC (it can then read that NVRTC's PTX version),
 * else a cubin for the device's own architecture. Results are kept on disk (cache.h). */
#ifndef QM_NVRTC_H
#define QM_NVRTC_H
#include "cuda.h"

typedef struct qm_nvrtc qm_nvrtc;

/* Looks for the library: the path in QMOE_NVRTC (and then nowhere else), the loader's own path, the program's folder
 * and ../lib beside it, the toolkit's usual places. Outside the loader's path only what nobody else could have put
 * there is loaded (trust.h): the error says what was passed over, and why. */
int qm_nvrtc_open(qm_nvrtc **out, qm_err *e);
void qm_nvrtc_close(qm_nvrtc *n);
const char *qm_nvrtc_path(const qm_nvrtc *n); /* the file that was loaded */
void qm_nvrtc_version(const qm_nvrtc *n, int *major, int *minor);

/* The --gpu-architecture for d: "compute_89" or "sm_89". */
int qm_nvrtc_arch(const qm_nvrtc *n, const qm_device *d, char arch[32], qm_err *e);

/* Compiles `source` (name: for messages) with the extra options; out is malloc'd, PTX text or a cubin. */
int qm_nvrtc_compile(const qm_nvrtc *n, const char *name, const char *source, const char *arch,
                     const char *const *options, int n_options, void **out, size_t *out_bytes, qm_err *e);

/* The whole way: the embedded kernels/cu/<file>.cu, from the disk cache or compiled (and then cached),
 * loaded into the current context. from_cache (may be NULL) tells which. */
int qm_nvrtc_module(const qm_nvrtc *n, qm_device *d, const char *file, const char *const *options, int n_options,
                    CUmodule *mod, int *from_cache, qm_err *e);
#endif
