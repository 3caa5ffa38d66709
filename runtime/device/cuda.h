/* cuda.h: the device as a table of function pointers, and what it can do. Filled from libcuda (dlopen) or from
 * runtime/sim; nothing above this file asks which. Needs the toolkit's cuda.h for types only. */
#ifndef QM_CUDA_H
#define QM_CUDA_H
#include <cuda.h>
#include <stddef.h>
#include <stdint.h>
#include "../base/err.h"

/* What ran on a device that counts (counters.h). */
typedef struct {
    uint64_t launches;
    uint64_t warp_insts;                  /* instructions issued */
    uint64_t thread_insts;                /* the same times the lanes that take part */
    uint64_t load_bytes, store_bytes;     /* global, as requested by the lanes */
    uint64_t load_sectors, store_sectors; /* global, 32 bytes each */
    uint64_t last_bytes, first_bytes;     /* of load_bytes: with the hint that the L2 gives them up last, or first */
    uint64_t shared_passes;               /* through shared memory, bank conflicts included */
    uint64_t mma_int, mma_float;          /* multiply-adds of tensor cores: 8-bit integers, 16-bit floats */
    uint64_t atomics;
    uint64_t barriers; /* arrivals of a CTA */
} qm_counters;

/* What a device can do beside the driver's functions, set by whoever fills the table. */
typedef struct {
    int timed;            /* 1: its events, timers and clock rates are a GPU's; 0: the host's, or made up */
    int interpreted;      /* 1: kernels are interpreted on this host: large models take seconds a token */
    int (*count)(int on); /* counting on or off; returns what it was. NULL: it counts nothing */
    void (*take_counters)(qm_counters *c); /* what ran since the last take; NULL where count is */
} qm_caps;

typedef struct {
#define QM_CU(field, symbol, params) CUresult(CUDAAPI *field) params;
#include "../../contracts/cuda.def"
#undef QM_CU
} qm_cuda;

/* Fills *t and, unless it is NULL, *c from libcuda.so.1, or from the library that the environment names in
 * QMOE_LIBCUDA. Fails (QM_ERR_DEVICE, saying what is missing) where there is none. */
int qm_cuda_driver(qm_cuda *t, qm_caps *c, qm_err *e);
/* The same from the software device (runtime/sim/driver.c). */
int qm_sim_driver(qm_cuda *t, qm_caps *c, qm_err *e);

typedef struct {
    qm_cuda cu;
    qm_caps caps;
    CUdevice dev;
    CUcontext ctx;
    char spec[16];  /* "cuda:0" or "sim": for logs and answers alone; caps says what it can do */
    char name[128]; /* the device's own name */
    int cc_major, cc_minor;
    int n_sm, l2_bytes;
    int shared_bytes; /* shared memory that a CTA may be allowed, at most */
    int l2_aside; /* most of the L2 that can be set aside for what is given up last; 0: none, or the driver does not say */
    double bytes_per_s; /* of its memory, by the driver's clock and width; 0: it does not say */
    int driver_version; /* 13000 = CUDA 13.0 */
    int integrated;     /* shares the host's memory (GB10) */
    size_t total_mem;
    size_t aside_before; /* what was set aside before; only where `aside` */
    int aside;           /* 1: qm_device_set_aside changed it */
} qm_device;

/* spec: "auto", "cuda:N", "cuda" (= cuda:0) or "sim". auto takes the first GPU that works (sm_80 or
 * later, context opens, a test kernel loads and runs), else sim; `why` (may be NULL) receives one line
 * that says which and why. The device's context becomes current in the calling thread; any other thread
 * that calls the driver does cu.CtxSetCurrent(d->ctx) first. */
int qm_device_open(qm_device **out, const char *spec, char *why, size_t why_n, qm_err *e);
/* Whether spec is one of these words, whatever is there: QM_ERR_ARG where it is not. NULL and "": auto. */
int qm_device_spec_check(const char *spec, qm_err *e);
void qm_device_close(qm_device *d);
/* Sets so much of the L2, or as much as can be, aside for what kernels ask it to give up last, until the device is closed; without a
 * word there is none. It is for hints: where the driver refuses, that is logged and no error. */
void qm_device_set_aside(qm_device *d, size_t bytes);
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
