/* driver_module.c: modules and their functions. */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "driver.h"
#include "machine.h"
#include "options.h"
#include "stream.h"

typedef struct {
    sim_module *mod;
} sim_cu_module;

static uint64_t g_func_id;

static void module_drop(sim_cu_module *m) {
    size_t at = 0;
    for (sim_cu_func *f; (f = sim_handle_next(SIM_H_FUNC, &at));)
        if (f->mod == m->mod) {
            sim_handle_del(f);
            free(f);
            at--; /* the next one has moved up */
        }
    sim_handle_del(m);
    sim_module_free(m->mod);
    free(m);
}

void sim_modules_drop(void) {
    for (void *h; (h = sim_handle_any(SIM_H_MODULE));) module_drop(h);
}

/* Reads the number after a directive at the start of a line: ".target sm_90a" -> 90 and the letter. */
static int directive(const char *ptx, const char *name, const char *prefix, int *major, int *minor, char *tail) {
    for (const char *p = ptx; (p = strstr(p, name)); p++) {
        const char *b = p;
        while (b > ptx && (b[-1] == ' ' || b[-1] == '\t')) b--;
        if (b > ptx && b[-1] != '\n' && b[-1] != '\r') continue;
        p += strlen(name);
        while (*p == ' ' || *p == '\t') p++;
        if (strncmp(p, prefix, strlen(prefix))) return 0;
        char *end;
        *major = (int)strtol(p + strlen(prefix), &end, 10);
        *minor = *end == '.' ? (int)strtol(end + 1, &end, 10) : 0;
        *tail = *end;
        return 1;
    }
    return 0;
}

CUresult CUDAAPI sim_cu_ModuleLoadDataEx(CUmodule *m, const void *image, unsigned int n, CUjit_option *opt,
                                         void **val) {
    char log[2048] = "", *user_log = NULL, tail = 0;
    size_t user_n = 0, *user_n_at = NULL;
    int major = 0, minor = 0, sm = 0, none;
    sim_lock();
    CUresult r = sim_ready();
    if (!r) r = sim_unsafe_in_capture("cuModuleLoadDataEx");
    if (r) return sim_unlock(r);
    if (!m || !image || (n && (!opt || !val))) return sim_unlock(CUDA_ERROR_INVALID_VALUE);
    for (unsigned i = 0; i < n; i++) {
        if (opt[i] == CU_JIT_ERROR_LOG_BUFFER) user_log = val[i];
        if (opt[i] == CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES) {
            user_n = (size_t)(uintptr_t)val[i];
            user_n_at = (size_t *)&val[i];
        }
        if (opt[i] == CU_JIT_INFO_LOG_BUFFER_SIZE_BYTES) val[i] = NULL; /* bytes written: none */
    }
    const char *text = image;
    if (!memcmp(text, "\177ELF", 4) || !memcmp(text, "\x50\xed\x55\xba", 4))
        return sim_unlock(sim_fail(CUDA_ERROR_NO_BINARY_FOR_GPU, "the image is machine code; this device runs PTX"));
    sim_module *mod = NULL;
    if (!directive(text, ".version", "", &major, &minor, &tail)) {
        snprintf(log, sizeof log, "no .version directive");
        r = CUDA_ERROR_INVALID_PTX;
    } else if (major * 10 + minor > 90) {
        snprintf(log, sizeof log, ".version %d.%d is newer than 9.0", major, minor);
        r = CUDA_ERROR_UNSUPPORTED_PTX_VERSION;
    } else if (!directive(text, ".target", "sm_", &sm, &none, &tail)) {
        snprintf(log, sizeof log, "no .target sm_ directive");
        r = CUDA_ERROR_INVALID_PTX;
    } else if (sm > sim_cc() || (isalpha((unsigned char)tail) && sm != sim_cc())) {
        snprintf(log, sizeof log, ".target sm_%d%.1s does not run on compute capability %d.%d", sm,
                 isalpha((unsigned char)tail) ? &tail : "", sim_cc() / 10, sim_cc() % 10);
        r = CUDA_ERROR_INVALID_PTX;
    } else if (!(mod = sim_module_load(text, log, sizeof log))) {
        r = CUDA_ERROR_INVALID_PTX;
    }
    if (user_log && user_n) snprintf(user_log, user_n, "%s", log);
    if (user_n_at) *user_n_at = user_log ? strnlen(user_log, user_n) : 0;
    if (r) return sim_unlock(sim_fail(r, "%s", log));
    sim_cu_module *h = calloc(1, sizeof *h);
    if (!h || sim_handle_add(h, SIM_H_MODULE)) {
        free(h);
        sim_module_free(mod);
        return sim_unlock(CUDA_ERROR_OUT_OF_MEMORY);
    }
    h->mod = mod;
    *m = (CUmodule)h;
    return sim_unlock(CUDA_SUCCESS);
}

CUresult CUDAAPI sim_cu_ModuleUnload(CUmodule m) {
    sim_lock();
    CUresult r = sim_ready();
    if (!r) r = sim_unsafe_in_capture("cuModuleUnload");
    if (r) return sim_unlock(r);
    if (!sim_handle_is(m, SIM_H_MODULE)) return sim_unlock(sim_fail(CUDA_ERROR_INVALID_HANDLE, "not a loaded module"));
    module_drop((sim_cu_module *)m);
    return sim_unlock(CUDA_SUCCESS);
}

CUresult CUDAAPI sim_cu_ModuleGetFunction(CUfunction *f, CUmodule m, const char *name) {
    sim_lock();
    CUresult r = sim_ready();
    if (r) return sim_unlock(r);
    if (!f || !name) return sim_unlock(CUDA_ERROR_INVALID_VALUE);
    if (!sim_handle_is(m, SIM_H_MODULE)) return sim_unlock(sim_fail(CUDA_ERROR_INVALID_HANDLE, "not a loaded module"));
    sim_cu_module *mod = (sim_cu_module *)m;
    sim_func *fn = sim_module_func(mod->mod, name);
    if (!fn) return sim_unlock(sim_fail(CUDA_ERROR_NOT_FOUND, "the module has no entry named %s", name));
    size_t at = 0;
    for (sim_cu_func *have; (have = sim_handle_next(SIM_H_FUNC, &at));)
        if (have->fn == fn) {
            *f = (CUfunction)have;
            return sim_unlock(CUDA_SUCCESS);
        }
    sim_cu_func *h = calloc(1, sizeof *h);
    if (!h || sim_handle_add(h, SIM_H_FUNC)) {
        free(h);
        return sim_unlock(CUDA_ERROR_OUT_OF_MEMORY);
    }
    *h = (sim_cu_func){.fn = fn, .mod = mod->mod, .id = ++g_func_id, .carveout = -1};
    uint32_t st = sim_func_static_shared(fn);
    h->max_dyn = st < SIM_SHARED_DEFAULT ? SIM_SHARED_DEFAULT - st : 0;
    *f = (CUfunction)h;
    return sim_unlock(CUDA_SUCCESS);
}

CUresult CUDAAPI sim_cu_ModuleGetGlobal(CUdeviceptr *p, size_t *bytes, CUmodule m, const char *name) {
    uint64_t addr;
    size_t n;
    sim_lock();
    CUresult r = sim_ready();
    if (r) return sim_unlock(r);
    if (!name || (!p && !bytes)) return sim_unlock(CUDA_ERROR_INVALID_VALUE);
    if (!sim_handle_is(m, SIM_H_MODULE)) return sim_unlock(sim_fail(CUDA_ERROR_INVALID_HANDLE, "not a loaded module"));
    if (sim_module_global(((sim_cu_module *)m)->mod, name, &addr, &n))
        return sim_unlock(sim_fail(CUDA_ERROR_NOT_FOUND, "the module has no global named %s", name));
    if (p) *p = addr;
    if (bytes) *bytes = n;
    return sim_unlock(CUDA_SUCCESS);
}

CUresult CUDAAPI sim_cu_FuncGetAttribute(int *v, CUfunction_attribute a, CUfunction f) {
    sim_lock();
    CUresult r = sim_ready();
    if (r) return sim_unlock(r);
    if (!v) return sim_unlock(CUDA_ERROR_INVALID_VALUE);
    if (!sim_handle_is(f, SIM_H_FUNC)) return sim_unlock(sim_fail(CUDA_ERROR_INVALID_HANDLE, "not a function"));
    const sim_cu_func *h = (const sim_cu_func *)f;
    uint32_t regs = sim_func_n_regs(h->fn);
    switch (a) {
    case CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK: *v = (int)sim_func_max_threads(h->fn); break;
    case CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES: *v = (int)sim_func_static_shared(h->fn); break;
    case CU_FUNC_ATTRIBUTE_NUM_REGS: *v = regs > 255 ? 255 : (int)regs; break;
    case CU_FUNC_ATTRIBUTE_CONST_SIZE_BYTES:
    case CU_FUNC_ATTRIBUTE_LOCAL_SIZE_BYTES:
    case CU_FUNC_ATTRIBUTE_CACHE_MODE_CA: *v = 0; break;
    case CU_FUNC_ATTRIBUTE_PTX_VERSION:
    case CU_FUNC_ATTRIBUTE_BINARY_VERSION: *v = sim_cc(); break;
    case CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES: *v = (int)h->max_dyn; break;
    case CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT: *v = h->carveout; break;
    default: r = sim_fail(CUDA_ERROR_INVALID_VALUE, "unknown function attribute %d", (int)a);
    }
    return sim_unlock(r);
}

CUresult CUDAAPI sim_cu_FuncSetAttribute(CUfunction f, CUfunction_attribute a, int v) {
    sim_lock();
    CUresult r = sim_ready();
    if (r) return sim_unlock(r);
    if (!sim_handle_is(f, SIM_H_FUNC)) return sim_unlock(sim_fail(CUDA_ERROR_INVALID_HANDLE, "not a function"));
    sim_cu_func *h = (sim_cu_func *)f;
    if (a == CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES) {
        const int most = SIM_SHARED_OPTIN - (int)sim_func_static_shared(h->fn);
        if (v < 0 || v > most)
            r = sim_fail(CUDA_ERROR_INVALID_VALUE, "%s: %d bytes of dynamic shared memory, but at most %d fit",
                         sim_func_name(h->fn), v, most);
        else h->max_dyn = (uint32_t)v;
    } else if (a == CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT) {
        if (v < -1 || v > 100) r = CUDA_ERROR_INVALID_VALUE;
        else h->carveout = v;
    } else r = sim_fail(CUDA_ERROR_INVALID_VALUE, "function attribute %d cannot be set", (int)a);
    return sim_unlock(r);
}

CUresult CUDAAPI sim_cu_OccupancyMaxActiveBlocks(int *n, CUfunction f, int block, size_t shared) {
    sim_lock();
    CUresult r = sim_ready();
    if (r) return sim_unlock(r);
    if (!n || block < 1 || block > 1024) return sim_unlock(CUDA_ERROR_INVALID_VALUE);
    if (!sim_handle_is(f, SIM_H_FUNC)) return sim_unlock(sim_fail(CUDA_ERROR_INVALID_HANDLE, "not a function"));
    const sim_cu_func *h = (const sim_cu_func *)f;
    *n = shared > h->max_dyn ? 0 : sim_occupancy(h->fn, (uint32_t)block, (uint32_t)shared);
    return sim_unlock(CUDA_SUCCESS);
}
