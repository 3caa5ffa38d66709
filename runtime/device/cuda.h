/* cuda.h: the device as a table of function pointers. Filled from libcuda (dlopen) or from
 * runtime/sim; nothing above this file can tell which. Needs the toolkit's cuda.h for types only. */
#ifndef QM_CUDA_H
#define QM_CUDA_H
#include <cuda.h>
#include <stddef.h>
#include "../base/err.h"

typedef struct {
#define QM_CU(field, symbol, params) CUresult(CUDAAPI *field) params;
#include "../../contracts/cuda.def"
#undef QM_CU
} qm_cuda;

/* Fills t from libcuda.so.1, or from the library that the environment names in QMOE_LIBCUDA. Fails
 * (QM_ERR_DEVICE, saying what is missing) where there is none. */
int qm_cuda_driver(qm_cuda *t, qm_err *e);
/* Fills t from the software device (defined in runtime/sim/driver.c). */
int qm_sim_driver(qm_cuda *t, qm_err *e);

typedef struct {
    qm_cuda cu;
    CUdevice dev;
    CUcontext ctx;
    char spec[16];  /* "cuda:0" or "sim": what ran, for logs and answers */
    char name[128]; /* the device's own name */
    int cc_major, cc_minor;
    int n_sm, l2_bytes;
    double bytes_per_s; /* of its memory, by the driver's clock and width; 0: it does not say */
    int driver_version; /* 13000 = CUDA 13.0 */
    int integrated;     /* shares the host's memory (GB10) */
    size_t total_mem;
} qm_device;

/* spec: "auto", "cuda:N", "cuda" (= cuda:0) or "sim". auto takes the first GPU that works (sm_80 or
 * later, context opens, a probe kernel loads and runs), else sim; `why` (may be NULL) receives one line
 * that says which and why. The device's context becomes current in the calling thread; any other thread
 * that calls the driver does cu.CtxSetCurrent(d->ctx) first. */
/* Whether spec is one of these words, whatever is there: QM_ERR_ARG where it is not. NULL and "": auto. */
int qm_device_spec_check(const char *spec, qm_err *e);
int qm_device_open(qm_device **out, const char *spec, char *why, size_t why_n, qm_err *e);
void qm_device_close(qm_device *d);
/* Bytes that can be allocated now. On an integrated GPU this counts what the kernel can reclaim
 * (MemAvailable of /proc/meminfo), since cuMemGetInfo there reports only free pages. */
int qm_device_mem(qm_device *d, size_t *avail, size_t *total, qm_err *e);

/* Turns a CUresult into an error with the driver's own name and text; `what` names the call. */
int qm_cu_fail(qm_device *d, CUresult r, const char *what, qm_err *e);
#define QM_CU_TRY(d, call)                      \
    do {                                        \
        CUresult r_ = (d)->cu.call;             \
        if (r_ != CUDA_SUCCESS) {               \
            rc = qm_cu_fail((d), r_, #call, e); \
            goto out;                           \
        }                                       \
    } while (0)
#endif
