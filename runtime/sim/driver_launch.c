/* driver_launch.c: launches of kernels, asynchronous copies and sets. */
#include <stdlib.h>
#include <string.h>
#include "driver.h"
#include "machine.h"
#include "options.h"
#include "sim.h"
#include "stream.h"

enum { GRID_Y_MAX = 65535 };

/* ---- copies and sets on a stream ---- */
static CUresult submit(CUstream s, const sim_op *op, const char *call) {
    sim_lock();
    CUresult r = sim_ready();
    if (!r) r = sim_submit(s, op, call);
    return sim_unlock(r);
}
static CUresult copy(uint64_t d, uint64_t s, size_t n, int d_dev, int s_dev, CUstream st, const char *call) {
    return submit(st, &(sim_op){.kind = SIM_OP_COPY, .dst = d, .src = s, .n = n, .dst_dev = d_dev, .src_dev = s_dev},
                  call);
}
CUresult CUDAAPI sim_cu_MemcpyHtoDAsync(CUdeviceptr d, const void *s, size_t n, CUstream st) {
    return copy(d, (uintptr_t)s, n, 1, 0, st, "cuMemcpyHtoDAsync");
}
CUresult CUDAAPI sim_cu_MemcpyDtoHAsync(void *d, CUdeviceptr s, size_t n, CUstream st) {
    return copy((uintptr_t)d, s, n, 0, 1, st, "cuMemcpyDtoHAsync");
}
CUresult CUDAAPI sim_cu_MemcpyDtoDAsync(CUdeviceptr d, CUdeviceptr s, size_t n, CUstream st) {
    return copy(d, s, n, 1, 1, st, "cuMemcpyDtoDAsync");
}
CUresult CUDAAPI sim_cu_MemsetD8Async(CUdeviceptr d, unsigned char v, size_t n, CUstream st) {
    return submit(st, &(sim_op){.kind = SIM_OP_SET, .dst = d, .value = v, .width = 1, .n = n}, "cuMemsetD8Async");
}
CUresult CUDAAPI sim_cu_MemsetD32Async(CUdeviceptr d, unsigned int v, size_t n, CUstream st) {
    if (d & 3) {
        sim_lock();
        return sim_unlock(sim_fail(CUDA_ERROR_INVALID_VALUE, "cuMemsetD32Async: the address is not a multiple of 4"));
    }
    return submit(st, &(sim_op){.kind = SIM_OP_SET, .dst = d, .value = v, .width = 4, .n = n}, "cuMemsetD32Async");
}

/* ---- launches ---- */
/* Gathers the parameters into buf[n] from an array of pointers or from one packed buffer. */
static CUresult gather(const sim_func *f, void **params, void **extra, uint8_t *buf, size_t n) {
    const char *name = sim_func_name(f);
    size_t off, bytes;
    if (params && extra)
        return sim_fail(CUDA_ERROR_INVALID_VALUE, "%s: parameters given both as kernelParams and as extra", name);
    if (extra) {
        const void *at = NULL;
        size_t *size = NULL;
        for (; *extra != CU_LAUNCH_PARAM_END; extra += 2) {
            if (*extra == CU_LAUNCH_PARAM_BUFFER_POINTER) at = extra[1];
            else if (*extra == CU_LAUNCH_PARAM_BUFFER_SIZE) size = extra[1];
            else return sim_fail(CUDA_ERROR_INVALID_VALUE, "%s: unknown key in extra", name);
        }
        if (n && (!at || !size || *size < n))
            return sim_fail(CUDA_ERROR_INVALID_VALUE, "%s: the parameter buffer holds %zu of %zu bytes", name,
                            at && size ? *size : (size_t)0, n);
        if (n) memcpy(buf, at, n);
        return CUDA_SUCCESS;
    }
    for (int i = 0; !sim_func_param(f, i, &off, &bytes); i++) {
        if (!params || !params[i])
            return sim_fail(CUDA_ERROR_INVALID_VALUE, "%s: parameter %d (%zu bytes) is missing", name, i, bytes);
        memcpy(buf + off, params[i], bytes);
    }
    return CUDA_SUCCESS;
}

static CUresult launch(CUfunction f, const unsigned g[3], const unsigned b[3], unsigned shared, CUstream s,
                       void **params, void **extra, int coop, int dependent) {
    CUresult r = sim_ready();
    if (r) return r;
    if (!sim_handle_is(f, SIM_H_FUNC)) return sim_fail(CUDA_ERROR_INVALID_HANDLE, "not a function of a loaded module");
    sim_cu_func *h = (sim_cu_func *)f;
    const char *name = sim_func_name(h->fn);
    const uint64_t threads = (uint64_t)b[0] * b[1] * b[2];
    if (!g[0] || !g[1] || !g[2] || g[0] > 0x7fffffffu || g[1] > GRID_Y_MAX || g[2] > GRID_Y_MAX)
        return sim_fail(CUDA_ERROR_INVALID_VALUE, "%s: grid %u x %u x %u", name, g[0], g[1], g[2]);
    if (!b[0] || !b[1] || !b[2] || b[0] > 1024 || b[1] > 1024 || b[2] > 64 || threads > 1024)
        return sim_fail(CUDA_ERROR_INVALID_VALUE, "%s: block %u x %u x %u", name, b[0], b[1], b[2]);
    if (threads > sim_func_max_threads(h->fn))
        return sim_fail(CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES, "%s: %u threads a block, but it is built for at most %u",
                        name, (unsigned)threads, sim_func_max_threads(h->fn));
    if (shared > h->max_dyn)
        return sim_fail(CUDA_ERROR_INVALID_VALUE,
                        "%s: %u bytes of dynamic shared memory, %u are allowed "
                        "(CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES)",
                        name, shared, h->max_dyn);
    const int per_sm = sim_occupancy(h->fn, (uint32_t)threads, shared);
    if (!per_sm) return sim_fail(CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES, "%s: one block does not fit an SM", name);
    if (coop) {
        qm_sim_options o;
        qm_sim_get_options(&o);
        const uint64_t ctas = (uint64_t)g[0] * g[1] * g[2], room = (uint64_t)per_sm * (uint64_t)o.n_sm;
        if (g[0] > room || ctas > room)
            return sim_fail(CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE,
                            "%s: %llu blocks, but %d SMs hold %d each at a time", name, (unsigned long long)ctas,
                            o.n_sm, per_sm);
    }
    sim_op op = {.kind = SIM_OP_KERNEL,
                 .func = h,
                 .func_id = h->id,
                 .grid = {g[0], g[1], g[2]},
                 .block = {b[0], b[1], b[2]},
                 .dyn_shared = shared,
                 .cooperative = coop,
                 .dependent = dependent,
                 .params_bytes = sim_func_param_bytes(h->fn)};
    op.params = calloc(1, op.params_bytes + 1);
    if (!op.params) return CUDA_ERROR_OUT_OF_MEMORY;
    r = gather(h->fn, params, extra, op.params, op.params_bytes);
    if (!r) r = sim_submit(s, &op, "cuLaunchKernel");
    free(op.params);
    return r;
}

CUresult CUDAAPI sim_cu_LaunchKernel(CUfunction f, unsigned int gx, unsigned int gy, unsigned int gz, unsigned int bx,
                                     unsigned int by, unsigned int bz, unsigned int shared, CUstream s, void **params,
                                     void **extra) {
    sim_lock();
    return sim_unlock(launch(f, (unsigned[]){gx, gy, gz}, (unsigned[]){bx, by, bz}, shared, s, params, extra, 0, 0));
}

CUresult CUDAAPI sim_cu_LaunchCooperativeKernel(CUfunction f, unsigned int gx, unsigned int gy, unsigned int gz,
                                                unsigned int bx, unsigned int by, unsigned int bz, unsigned int shared,
                                                CUstream s, void **params) {
    sim_lock();
    return sim_unlock(launch(f, (unsigned[]){gx, gy, gz}, (unsigned[]){bx, by, bz}, shared, s, params, NULL, 1, 0));
}

/* Dependent launch changes when a kernel may begin, never what it may rely on: here it begins after the last one, and depend.c
 * sees to what it does before it waits. */
CUresult CUDAAPI sim_cu_LaunchKernelEx(const CUlaunchConfig *c, CUfunction f, void **params, void **extra) {
    sim_lock();
    int coop = 0, dependent = 0;
    if (!c || (c->numAttrs && !c->attrs))
        return sim_unlock(sim_fail(CUDA_ERROR_INVALID_VALUE, "cuLaunchKernelEx: no configuration"));
    for (unsigned i = 0; i < c->numAttrs; i++) {
        const CUlaunchAttribute *a = &c->attrs[i];
        if (a->id == CU_LAUNCH_ATTRIBUTE_IGNORE) continue;
        if (a->id == CU_LAUNCH_ATTRIBUTE_COOPERATIVE) coop = a->value.cooperative;
        else if (a->id == CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION && sim_cc() >= 90)
            dependent = a->value.programmaticStreamSerializationAllowed != 0;
        else
            return sim_unlock(sim_fail(CUDA_ERROR_NOT_SUPPORTED,
                                       "cuLaunchKernelEx: attribute %d on compute capability %d.%d", (int)a->id,
                                       sim_cc() / 10, sim_cc() % 10));
    }
    return sim_unlock(launch(f, (unsigned[]){c->gridDimX, c->gridDimY, c->gridDimZ},
                             (unsigned[]){c->blockDimX, c->blockDimY, c->blockDimZ}, c->sharedMemBytes, c->hStream,
                             params, extra, coop, dependent));
}
