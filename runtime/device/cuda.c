/* cuda.c: the driver table, filled from libcuda.so.1 by dlopen. There is no link-time CUDA: a machine
 * without a driver gets an error that says so, and the program runs on. */
#include "cuda.h"
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A data pointer from dlsym becomes a function pointer by copying its bytes (POSIX guarantees the
 * value; ISO C has no cast for it). */
static int load_symbol(void *lib, const char *symbol, void *slot, size_t slot_bytes) {
    void *p = dlsym(lib, symbol);
    if (!p || slot_bytes != sizeof p) return -1;
    memcpy(slot, &p, sizeof p);
    return 0;
}

int qm_cuda_driver(qm_cuda *t, qm_caps *c, qm_err *e) {
    memset(t, 0, sizeof *t);
    if (c) *c = (qm_caps){.timed = 1};
    /* The override is for tests and for drivers in unusual places; an empty value means "not set". */
    const char *name = getenv("QMOE_LIBCUDA");
    if (!name || !*name) name = "libcuda.so.1";
    void *lib = dlopen(name, RTLD_NOW | RTLD_LOCAL);
    if (!lib) {
        const char *why = dlerror();
        return qm_fail(e, QM_ERR_DEVICE, "no CUDA driver: %s", why ? why : name);
    }
    /* The library stays open for good: the driver starts threads that must not lose their code. */
    char missing[256] = "";
    size_t n_missing = 0;
#define QM_CU(field, symbol, params)                                                           \
    if (load_symbol(lib, symbol, &t->field, sizeof t->field)) {                                \
        size_t used_ = strlen(missing);                                                        \
        snprintf(missing + used_, sizeof missing - used_, "%s" symbol, n_missing ? ", " : ""); \
        n_missing++;                                                                           \
    }
#define QM_CU_OPT(field, symbol, params) (void)load_symbol(lib, symbol, &t->field, sizeof t->field);
#include "../../contracts/cuda.def"
#undef QM_CU
    if (n_missing) {
        memset(t, 0, sizeof *t);
        dlclose(lib); /* nothing of it has run */
        return qm_fail(e, QM_ERR_DEVICE,
                       "%s lacks %zu entry points (%s): a driver of CUDA 11.4 (470) or later is needed", name,
                       n_missing, missing);
    }
    return 0;
}

int qm_cu_fail(qm_device *d, CUresult r, const char *what, qm_err *e) {
    const char *name = NULL, *text = NULL;
    if (d->cu.GetErrorName(r, &name) != CUDA_SUCCESS || !name) name = "unknown CUresult";
    if (d->cu.GetErrorString(r, &text) != CUDA_SUCCESS || !text) text = "";
    /* QM_CU_TRY hands over the call's text, "MemAlloc(&p, n)": the entry point's name is enough. */
    const char *paren = strchr(what, '(');
    char call[64];
    if (paren) snprintf(call, sizeof call, "cu%.*s", (int)(paren - what), what);
    else snprintf(call, sizeof call, "%s", what);
    if (r == CUDA_ERROR_OUT_OF_MEMORY) {
        size_t avail = 0, total = 0;
        if (d->cu.MemGetInfo(&avail, &total) == CUDA_SUCCESS)
            return qm_fail(e, QM_ERR_NOMEM, "%s: %s: %s: out of device memory (%zu of %zu MiB free)", d->spec, call,
                           name, avail >> 20, total >> 20);
        return qm_fail(e, QM_ERR_NOMEM, "%s: %s: %s: out of device memory", d->spec, call, name);
    }
    return qm_fail(e, QM_ERR_DEVICE, "%s: %s: %s (%d): %s", d->spec, call, name, (int)r, text);
}
