/* driver_memory.c: allocations, and copies that the caller waits for. */
#include <string.h>
#include "driver.h"
#include "mem.h"
#include "order.h"
#include "sim.h"
#include "stream.h"

CUresult CUDAAPI sim_cu_MemGetInfo(size_t *avail, size_t *total) {
    sim_lock();
    CUresult r = sim_ready();
    if (r) return sim_unlock(r);
    if (!avail || !total) return sim_unlock(CUDA_ERROR_INVALID_VALUE);
    qm_sim_options o;
    qm_sim_get_options(&o);
    *total = o.mem_bytes;
    *avail = sim_mem_used() < o.mem_bytes ? o.mem_bytes - sim_mem_used() : 0;
    return sim_unlock(CUDA_SUCCESS);
}

CUresult CUDAAPI sim_cu_MemAlloc(CUdeviceptr *p, size_t n) {
    sim_lock();
    CUresult r = sim_ready();
    if (!r) r = sim_unsafe_in_capture("cuMemAlloc");
    if (r) return sim_unlock(r);
    if (!p || !n) return sim_unlock(sim_fail(CUDA_ERROR_INVALID_VALUE, "cuMemAlloc of %zu bytes", n));
    sim_alloc *a = sim_mem_new(n, "cuMemAlloc");
    if (!a) {
        qm_sim_options o;
        qm_sim_get_options(&o);
        return sim_unlock(sim_fail(CUDA_ERROR_OUT_OF_MEMORY, "cuMemAlloc of %zu bytes: %zu of %zu are in use", n,
                                   sim_mem_used(), o.mem_bytes));
    }
    *p = a->base;
    return sim_unlock(CUDA_SUCCESS);
}

static CUresult free_one(uint64_t p, int host, const char *call) {
    sim_lock();
    CUresult r = sim_ready();
    if (!r) r = sim_unsafe_in_capture(call);
    if (r) return sim_unlock(r);
    const sim_alloc *a = sim_mem_find(p);
    if (!a || a->base != p)
        r = sim_fail(CUDA_ERROR_INVALID_VALUE, "%s: 0x%llx is not the start of an allocation", call,
                     (unsigned long long)p);
    else if (!a->live)
        r = sim_fail(CUDA_ERROR_INVALID_VALUE, "%s: allocation #%u (%s, %llu bytes) has been freed already", call,
                     a->id, a->what, (unsigned long long)a->size);
    else if (!strcmp(a->what, host ? "host pinned" : "cuMemAlloc")) {
        /* Freeing device memory waits for all streams, as the programming guide says; of host memory nothing is said. */
        if (!host) r = sim_order_drain();
        if (!r) sim_mem_free(p);
    } else r = sim_fail(CUDA_ERROR_INVALID_VALUE, "%s: 0x%llx is %s", call, (unsigned long long)p, a->what);
    return sim_unlock(r);
}

CUresult CUDAAPI sim_cu_MemFree(CUdeviceptr p) { return free_one(p, 0, "cuMemFree"); }
CUresult CUDAAPI sim_cu_MemFreeHost(void *p) { return free_one((uintptr_t)p, 1, "cuMemFreeHost"); }

CUresult CUDAAPI sim_cu_MemHostAlloc(void **p, size_t n, unsigned int flags) {
    sim_lock();
    CUresult r = sim_ready();
    if (!r) r = sim_unsafe_in_capture("cuMemHostAlloc");
    if (r) return sim_unlock(r);
    if (!p || !n || (flags & ~(CU_MEMHOSTALLOC_PORTABLE | CU_MEMHOSTALLOC_DEVICEMAP | CU_MEMHOSTALLOC_WRITECOMBINED)))
        return sim_unlock(CUDA_ERROR_INVALID_VALUE);
    sim_alloc *a = sim_mem_new(n, "host pinned");
    if (!a) return sim_unlock(CUDA_ERROR_OUT_OF_MEMORY);
    *p = (void *)(uintptr_t)a->base;
    return sim_unlock(CUDA_SUCCESS);
}

/* One address space: what the host sees is what kernels see. */
CUresult CUDAAPI sim_cu_MemHostGetDevicePointer(CUdeviceptr *p, void *host, unsigned int flags) {
    sim_lock();
    CUresult r = sim_ready();
    if (r) return sim_unlock(r);
    const sim_alloc *a = sim_mem_find((uintptr_t)host);
    if (!p || flags || !a || !a->live || strcmp(a->what, "host pinned"))
        return sim_unlock(sim_fail(CUDA_ERROR_INVALID_VALUE, "cuMemHostGetDevicePointer: 0x%llx is not pinned memory",
                                   (unsigned long long)(uintptr_t)host));
    *p = (uintptr_t)host;
    return sim_unlock(CUDA_SUCCESS);
}

static CUresult copy_now(uint64_t d, uint64_t s, size_t n, int d_dev, int s_dev, const char *call) {
    sim_lock();
    CUresult r = sim_ready();
    if (!r) r = sim_legacy_in_capture(call);
    if (!r) r = sim_unsafe_in_capture(call);
    if (!r)
        r = sim_submit_sync(
            &(sim_op){.kind = SIM_OP_COPY, .dst = d, .src = s, .n = n, .dst_dev = d_dev, .src_dev = s_dev});
    return sim_unlock(r);
}
CUresult CUDAAPI sim_cu_MemcpyHtoD(CUdeviceptr d, const void *s, size_t n) {
    return copy_now(d, (uintptr_t)s, n, 1, 0, "cuMemcpyHtoD");
}
CUresult CUDAAPI sim_cu_MemcpyDtoH(void *d, CUdeviceptr s, size_t n) {
    return copy_now((uintptr_t)d, s, n, 0, 1, "cuMemcpyDtoH");
}
