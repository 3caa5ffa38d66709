/* kernels.c: modules, functions and their launches. */
#include "kernels.h"
#include "dependent.h"
#include "texts.h"
#include "../base/log.h"
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int qm_module_load(qm_device *d, const char *name, const void *image, CUmodule *mod, qm_err *e) {
    /* The JIT writes its diagnosis here; without it a failed load says only "invalid PTX". */
    char log[4096] = "";
    CUjit_option opt[] = {CU_JIT_ERROR_LOG_BUFFER, CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES};
    void *val[] = {log, (void *)(uintptr_t)(sizeof log - 1)};
    CUresult r = d->cu.ModuleLoadDataEx(mod, image, 2, opt, val);
    if (r == CUDA_SUCCESS) return 0;
    *mod = NULL;
    log[sizeof log - 1] = 0;
    const char *s = NULL;
    if (d->cu.GetErrorName(r, &s) != CUDA_SUCCESS || !s) s = "unknown CUresult";
    if (log[0]) qm_log(QM_LOG_WARN, "%s: %s: %s", d->spec, name, log); /* the error below holds only its start */
    if (!log[0]) {
        const char *text = NULL;
        if (d->cu.GetErrorString(r, &text) == CUDA_SUCCESS && text) snprintf(log, sizeof log, "%s", text);
    }
    return qm_fail(e, QM_ERR_DEVICE, "%s: module %s does not load: %s: %s", d->spec, name, s, log);
}

struct qm_kernels {
    qm_device *d;
    CUmodule module[QM_N_KERNELS];     /* NULL until first use: one entry each */
    CUfunction func[QM_N_KERNELS];     /* likewise */
    unsigned shared_set[QM_N_KERNELS]; /* bytes of dynamic shared memory already allowed */
    int dependent;                     /* texts for dependent launches, where there are any */
    unsigned char waits[QM_N_KERNELS]; /* loaded from such a text */
    CUmodule *old; /* [n_old]: another text came in their place, but their functions may be in use */
    int n_old;
};

int qm_kernels_open(qm_kernels **out, qm_device *d, qm_err *e) {
    *out = calloc(1, sizeof **out);
    if (!*out) return qm_fail(e, QM_ERR_NOMEM, "kernels: out of host memory");
    (*out)->d = d;
    return 0;
}

void qm_kernels_dependent(qm_kernels *k) { k->dependent = 1; }

void qm_kernels_close(qm_kernels *k) {
    if (!k) return;
    for (int i = 0; i < QM_N_KERNELS; i++)
        if (k->module[i]) k->d->cu.ModuleUnload(k->module[i]);
    for (int i = 0; i < k->n_old; i++) k->d->cu.ModuleUnload(k->old[i]);
    free(k->old);
    free(k);
}

int qm_kernels_get(qm_kernels *k, int i, CUfunction *f, qm_err *e) {
    *f = NULL;
    if (i < 0 || i >= QM_N_KERNELS)
        return qm_fail(e, QM_ERR_ARG, "kernel %d is not in the table of %d", i, QM_N_KERNELS);
    const qm_kernel_info *info = &qm_kernel_table[i];
    int rc = 0;
    if (!k->func[i]) {
        CUmodule *mod = &k->module[i];
        if (!*mod) {
            char *ptx, file[32];
            k->waits[i] = k->dependent && qm_kernel_can_wait(i);
            snprintf(file, sizeof file, "%s%s", info->file, k->waits[i] ? QM_PTX_DEPENDENT : "");
            if ((rc = qm_ptx_entry(&ptx, file, info->entry, e))) return rc;
            rc = qm_module_load(k->d, info->entry, ptx, mod, e);
            free(ptx);
            if (rc) return rc;
        }
        CUresult r = k->d->cu.ModuleGetFunction(&k->func[i], *mod, info->entry);
        if (r != CUDA_SUCCESS) {
            k->func[i] = NULL;
            qm_cu_fail(k->d, r, "ModuleGetFunction()", e);
            return e ? qm_err_prefix(e, "kernel %s of %s.ptx", info->entry, info->file) : QM_ERR_DEVICE;
        }
    }
    *f = k->func[i];
    return 0;
}

int qm_kernels_load(qm_kernels *k, int i, const char *ptx, qm_err *e) {
    CUmodule mod;
    CUfunction f;
    if (k->module[i]) {
        CUmodule *old = realloc(k->old, sizeof *old * ((size_t)k->n_old + 1));
        if (!old) return qm_fail(e, QM_ERR_NOMEM, "kernels: out of host memory");
        k->old = old;
    }
    int rc = qm_module_load(k->d, qm_kernel_table[i].entry, ptx, &mod, e);
    if (rc) return rc;
    if (k->module[i]) k->old[k->n_old++] = k->module[i];
    k->module[i] = mod;
    k->func[i] = NULL;
    k->shared_set[i] = 0;
    return qm_kernels_get(k, i, &f, e);
}

/* Dynamic shared memory that with the function's own goes beyond 48 KiB must be allowed once per function; one that has much has
 * little of its own. */
int qm_kernels_allow_shared(qm_kernels *k, int i, unsigned shared, qm_err *e) {
    if (shared <= 44 * 1024 || shared <= k->shared_set[i]) return 0;
    CUresult r = k->d->cu.FuncSetAttribute(k->func[i], CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, (int)shared);
    if (r != CUDA_SUCCESS) {
        int rc = qm_cu_fail(k->d, r, "FuncSetAttribute()", e);
        qm_err_prefix(e, "kernel %s: %u bytes of shared memory", qm_kernel_table[i].entry, shared);
        return rc;
    }
    k->shared_set[i] = shared;
    return 0;
}

enum { PLAIN, AFTER, RESIDENT };
static int launch(qm_kernels *k, int i, const unsigned grid[3], unsigned block, unsigned shared, const void *args,
                  CUstream s, int how, qm_err *e) {
    CUfunction f;
    int rc = qm_kernels_get(k, i, &f, e);
    if (rc) return rc;
    const qm_kernel_info *info = &qm_kernel_table[i];
    if (!block || block > (unsigned)info->max_block || !grid[0] || !grid[1] || !grid[2])
        return qm_fail(e, QM_ERR_ARG, "kernel %s: grid %u,%u,%u block %u (1..%d threads)", info->entry, grid[0],
                       grid[1], grid[2], block, info->max_block);
    if ((rc = qm_kernels_allow_shared(k, i, shared, e))) return rc;
    /* One by-value struct; the driver copies info->args_bytes of it before it returns. */
    void *params[1];
    memcpy(params, &args, sizeof args);
    const char *call = "LaunchKernel()";
    CUresult r;
    if (how == RESIDENT) {
        call = "LaunchCooperativeKernel()";
        r = k->d->cu.LaunchCooperativeKernel(f, grid[0], grid[1], grid[2], block, 1, 1, shared, s, params);
    } else if (how == AFTER && k->waits[i]) {
        call = "LaunchKernelEx()";
        r = qm_dependent_launch(k->d, f, grid, block, shared, s, params);
    } else r = k->d->cu.LaunchKernel(f, grid[0], grid[1], grid[2], block, 1, 1, shared, s, params, NULL);
    if (r != CUDA_SUCCESS) {
        rc = qm_cu_fail(k->d, r, call, e);
        qm_err_prefix(e, "kernel %s", info->entry);
    }
    return rc;
}

int qm_kernels_launch(qm_kernels *k, int i, const unsigned grid[3], unsigned block, unsigned shared, const void *args,
                      CUstream s, qm_err *e) {
    return launch(k, i, grid, block, shared, args, s, PLAIN, e);
}

int qm_kernels_launch_after(qm_kernels *k, int i, const unsigned grid[3], unsigned block, unsigned shared,
                            const void *args, CUstream s, qm_err *e) {
    return launch(k, i, grid, block, shared, args, s, AFTER, e);
}

int qm_kernels_launch_resident(qm_kernels *k, int i, const unsigned grid[3], unsigned block, unsigned shared,
                               const void *args, CUstream s, qm_err *e) {
    return launch(k, i, grid, block, shared, args, s, RESIDENT, e);
}
