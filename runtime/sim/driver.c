/* driver.c: the software device's driver table, its device and its context. Behaviour follows the CUDA driver API
 * reference; where the driver runs a launch later, this one has run it when the call returns, so a fault shows at the
 * launch itself and, being sticky, at every call after it (as under CUDA_LAUNCH_BLOCKING=1). QMOE_SIM_ORDER=lazy is the
 * other extreme: order.c. */
#include "driver.h"
#include <stdio.h>
#include "machine.h"
#include "mem.h"
#include "options.h"

enum { DRIVER_VERSION = 13000 };

CUresult CUDAAPI sim_cu_Init(unsigned int flags) {
    sim_lock();
    if (flags) return sim_unlock(sim_fail(CUDA_ERROR_INVALID_VALUE, "cuInit: flags must be 0"));
    sim_init();
    return sim_unlock(CUDA_SUCCESS);
}

CUresult CUDAAPI sim_cu_DriverGetVersion(int *v) {
    if (!v) return CUDA_ERROR_INVALID_VALUE;
    *v = DRIVER_VERSION;
    return CUDA_SUCCESS;
}

/* ---- device ---- */
CUresult CUDAAPI sim_cu_DeviceGetCount(int *n) {
    if (!sim_inited()) return CUDA_ERROR_NOT_INITIALIZED;
    if (!n) return CUDA_ERROR_INVALID_VALUE;
    *n = 1;
    return CUDA_SUCCESS;
}

CUresult CUDAAPI sim_cu_DeviceGet(CUdevice *d, int ordinal) {
    if (!sim_inited()) return CUDA_ERROR_NOT_INITIALIZED;
    if (!d) return CUDA_ERROR_INVALID_VALUE;
    if (ordinal != 0) return CUDA_ERROR_INVALID_DEVICE;
    *d = 0;
    return CUDA_SUCCESS;
}

static CUresult device_ok(CUdevice d) {
    return !sim_inited() ? CUDA_ERROR_NOT_INITIALIZED : d != 0 ? CUDA_ERROR_INVALID_DEVICE : CUDA_SUCCESS;
}

CUresult CUDAAPI sim_cu_DeviceGetName(char *name, int len, CUdevice d) {
    CUresult r = device_ok(d);
    if (r) return r;
    if (!name || len < 1) return CUDA_ERROR_INVALID_VALUE;
    qm_sim_options o;
    qm_sim_get_options(&o);
    snprintf(name, (size_t)len, "qmoe software device (%d SMs)", o.n_sm);
    return CUDA_SUCCESS;
}

CUresult CUDAAPI sim_cu_DeviceTotalMem(size_t *bytes, CUdevice d) {
    CUresult r = device_ok(d);
    if (r) return r;
    if (!bytes) return CUDA_ERROR_INVALID_VALUE;
    qm_sim_options o;
    qm_sim_get_options(&o);
    *bytes = o.mem_bytes;
    return CUDA_SUCCESS;
}

CUresult CUDAAPI sim_cu_DeviceGetAttribute(int *v, CUdevice_attribute a, CUdevice d) {
    CUresult r = device_ok(d);
    if (r) return r;
    if (!v || a < 1 || a >= CU_DEVICE_ATTRIBUTE_MAX) return CUDA_ERROR_INVALID_VALUE;
    qm_sim_options o;
    qm_sim_get_options(&o);
    switch (a) {
    case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR: *v = sim_cc() / 10; break;
    case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR: *v = sim_cc() % 10; break;
    case CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT: *v = o.n_sm; break;
    case CU_DEVICE_ATTRIBUTE_WARP_SIZE: *v = 32; break;
    case CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK:
    case CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_X:
    case CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Y: *v = 1024; break;
    case CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Z: *v = 64; break;
    case CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_X: *v = 2147483647; break;
    case CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Y:
    case CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Z: *v = 65535; break;
    case CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_MULTIPROCESSOR: *v = SIM_THREADS_PER_SM; break;
    case CU_DEVICE_ATTRIBUTE_MAX_BLOCKS_PER_MULTIPROCESSOR: *v = SIM_CTAS_PER_SM; break;
    case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK: *v = SIM_SHARED_DEFAULT; break;
    case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN: *v = SIM_SHARED_OPTIN; break;
    case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_MULTIPROCESSOR: *v = SIM_SHARED_PER_SM; break;
    case CU_DEVICE_ATTRIBUTE_RESERVED_SHARED_MEMORY_PER_BLOCK: *v = 1024; break;
    case CU_DEVICE_ATTRIBUTE_TOTAL_CONSTANT_MEMORY: *v = 65536; break;
    case CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_BLOCK:
    case CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_MULTIPROCESSOR: *v = SIM_REGS_PER_SM; break;
    case CU_DEVICE_ATTRIBUTE_CLOCK_RATE: *v = 1000000; break; /* kHz; %clock64 ticks are made up */
    case CU_DEVICE_ATTRIBUTE_MEMORY_CLOCK_RATE: *v = 1000000; break;
    case CU_DEVICE_ATTRIBUTE_GLOBAL_MEMORY_BUS_WIDTH: *v = 256; break;
    case CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE: *v = SIM_L2; break;
    case CU_DEVICE_ATTRIBUTE_MAX_PERSISTING_L2_CACHE_SIZE: *v = SIM_L2_PERSISTING; break;
    case CU_DEVICE_ATTRIBUTE_COOPERATIVE_LAUNCH:
    case CU_DEVICE_ATTRIBUTE_UNIFIED_ADDRESSING:
    case CU_DEVICE_ATTRIBUTE_CAN_MAP_HOST_MEMORY:
    case CU_DEVICE_ATTRIBUTE_CAN_USE_HOST_POINTER_FOR_REGISTERED_MEM:
    case CU_DEVICE_ATTRIBUTE_GLOBAL_L1_CACHE_SUPPORTED:
    case CU_DEVICE_ATTRIBUTE_LOCAL_L1_CACHE_SUPPORTED:
    case CU_DEVICE_ATTRIBUTE_ASYNC_ENGINE_COUNT: *v = 1; break;
    default: *v = 0; /* known to the driver, and "no" here: integrated, ECC, managed memory, ... */
    }
    return CUDA_SUCCESS;
}

/* ---- context ---- */
CUresult CUDAAPI sim_cu_DevicePrimaryCtxRetain(CUcontext *c, CUdevice d) {
    CUresult r = device_ok(d);
    if (r) return r;
    if (!c) return CUDA_ERROR_INVALID_VALUE;
    sim_lock();
    CUcontext ctx = sim_context_ref();
    if (ctx) *c = ctx;
    return sim_unlock(ctx ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY);
}

CUresult CUDAAPI sim_cu_DevicePrimaryCtxRelease(CUdevice d) {
    CUresult r = device_ok(d);
    if (r) return r;
    sim_lock();
    const int left = sim_context_unref();
    if (left < 0) return sim_unlock(sim_fail(CUDA_ERROR_INVALID_CONTEXT, "the primary context is not retained"));
    if (left > 0) return sim_unlock(CUDA_SUCCESS);
    sim_streams_drop();
    sim_events_drop();
    sim_graphs_drop();
    sim_modules_drop();
    sim_mem_free_all();
    sim_context_end();
    return sim_unlock(CUDA_SUCCESS);
}

CUresult CUDAAPI sim_cu_CtxSetCurrent(CUcontext c) {
    if (!sim_inited()) return CUDA_ERROR_NOT_INITIALIZED;
    sim_lock();
    if (sim_context_use(c)) return sim_unlock(sim_fail(CUDA_ERROR_INVALID_CONTEXT, "not a live context"));
    return sim_unlock(CUDA_SUCCESS);
}

/* Of limits there is the one that our program sets. Nothing is cached here, so nothing comes of it. */
CUresult CUDAAPI sim_cu_CtxSetLimit(CUlimit limit, size_t v) {
    sim_lock();
    CUresult r = sim_ready();
    if (!r && limit != CU_LIMIT_PERSISTING_L2_CACHE_SIZE) r = CUDA_ERROR_UNSUPPORTED_LIMIT;
    if (!r && v > SIM_L2_PERSISTING) r = CUDA_ERROR_INVALID_VALUE;
    if (!r) sim_context_set_aside(v);
    return sim_unlock(r);
}

CUresult CUDAAPI sim_cu_CtxGetLimit(size_t *v, CUlimit limit) {
    if (!v) return CUDA_ERROR_INVALID_VALUE;
    sim_lock();
    CUresult r = sim_ready();
    if (!r && limit != CU_LIMIT_PERSISTING_L2_CACHE_SIZE) r = CUDA_ERROR_UNSUPPORTED_LIMIT;
    if (!r) *v = sim_context_aside();
    return sim_unlock(r);
}

CUresult CUDAAPI sim_cu_CtxResetPersistingL2Cache(void) {
    sim_lock();
    return sim_unlock(sim_ready());
}

/* ---- the table ---- */
static int count(int on) {
    qm_sim_options o;
    qm_sim_get_options(&o);
    const int was = o.count;
    o.count = on;
    qm_sim_set_options(&o);
    return was;
}

static void take_counters(qm_counters *c) {
    qm_sim_counters s;
    qm_sim_counters_get(&s);
    qm_sim_counters_reset();
    *c = (qm_counters){.launches = s.launches,
                       .warp_insts = s.warp_insts,
                       .thread_insts = s.thread_insts,
                       .load_bytes = s.gld_bytes,
                       .store_bytes = s.gst_bytes,
                       .load_sectors = s.gld_sectors,
                       .store_sectors = s.gst_sectors,
                       .last_bytes = s.last_bytes,
                       .first_bytes = s.first_bytes,
                       .shared_passes = s.shared_wavefronts,
                       .mma_int = s.mma_int,
                       .mma_float = s.mma_float,
                       .atomics = s.atomics,
                       .barriers = s.barriers};
}

int qm_sim_driver(qm_cuda *t, qm_caps *c, qm_err *e) {
    qm_sim_options o;
    int cc;
    char why[256];
    sim_env_read(&o, &cc, why, sizeof why); /* nothing else can fail: it is part of the program */
    if (why[0]) return qm_fail(e, QM_ERR_ARG, "%s", why);
    *t = (qm_cuda){
#define QM_CU(field, symbol, params) .field = sim_cu_##field,
#include "../../contracts/cuda.def"
#undef QM_CU
    };
    if (c) *c = (qm_caps){.interpreted = 1, .count = count, .take_counters = take_counters};
    return 0;
}
