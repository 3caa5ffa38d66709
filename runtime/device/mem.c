/* mem.c: the arena. The uploader is upload.c. */
#include "mem.h"
#include <string.h>

size_t qm_arena_add(size_t total, size_t n) {
    if (n > SIZE_MAX - (QM_MEM_ALIGN - 1)) return SIZE_MAX;
    n = (n + QM_MEM_ALIGN - 1) / QM_MEM_ALIGN * QM_MEM_ALIGN;
    return total > SIZE_MAX - n ? SIZE_MAX : total + n;
}

int qm_arena_open(qm_arena *a, qm_device *d, const char *kind, size_t bytes, qm_err *e) {
    memset(a, 0, sizeof *a);
    a->d = d;
    a->kind = kind;
    if (!bytes) return 0;
    CUresult r = bytes == SIZE_MAX ? CUDA_ERROR_OUT_OF_MEMORY : d->cu.MemAlloc(&a->base, bytes);
    if (r == CUDA_ERROR_OUT_OF_MEMORY) {
        size_t avail = 0, total = 0;
        a->base = 0;
        if (qm_device_mem(d, &avail, &total, NULL)) avail = total = 0;
        return qm_fail(e, QM_ERR_NOMEM, "%s (%s): %zu MiB for %s do not fit: %zu of %zu MiB are free", d->spec, d->name,
                       bytes >> 20, kind, avail >> 20, total >> 20);
    }
    if (r != CUDA_SUCCESS) {
        a->base = 0;
        return qm_cu_fail(d, r, "MemAlloc()", e);
    }
    a->bytes = bytes;
    return 0;
}

void qm_arena_close(qm_arena *a) {
    if (a->base) a->d->cu.MemFree(a->base);
    memset(a, 0, sizeof *a);
}

int qm_arena_alloc(qm_arena *a, size_t n, CUdeviceptr *p, qm_err *e) {
    size_t end = qm_arena_add(a->used, n);
    *p = 0;
    if (end > a->bytes && !(n == 0 && a->used == a->bytes))
        return qm_fail(e, QM_ERR_NOMEM, "%s: %zu bytes at %zu of an arena of %zu", a->kind, n, a->used, a->bytes);
    *p = a->base + a->used;
    a->used = end;
    return 0;
}

int qm_arena_zero(qm_arena *a, CUstream s, qm_err *e) {
    int rc = 0;
    if (a->bytes) QM_CU_TRY(a->d, MemsetD8Async(a->base, 0, a->bytes, s));
out:
    return rc;
}
