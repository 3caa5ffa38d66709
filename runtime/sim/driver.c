/* driver.c: the software device's driver table, first part: start, device, context, modules, functions,
 * memory. Behaviour follows the CUDA driver API reference; where the driver runs a launch later, this
 * one has run it when the call returns, so a fault shows at the launch itself and, being sticky, at
 * every call after it (as under CUDA_LAUNCH_BLOCKING=1). QMOE_SIM_ORDER=lazy is the other extreme: order.c. */
#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "back.h"

enum {
    SHARED_DEFAULT = 48 << 10,
    SHARED_OPTIN = 163 << 10,
    SHARED_PER_SM = 164 << 10,
    THREADS_PER_SM = 2048,
    BLOCKS_PER_SM = 32,
    REGS_PER_SM = 65536,
    DRIVER_VERSION = 13000
};

static pthread_mutex_t g_lock = PTHREAD_MUTEX_INITIALIZER;
static int g_inited;
static struct {
    int refs;
    uint64_t seq;
} * g_ctx; /* the primary context, NULL before the first retain */
static _Thread_local CUcontext t_current;
static _Thread_local uint64_t t_current_seq; /* of the context when it was made current */
static uint64_t g_ctx_seq, g_func_id;
static CUresult g_sticky;
static CUresult g_said; /* the code that g_text explains */
static char g_text[4200];

void sim_lock(void) { pthread_mutex_lock(&g_lock); }
CUresult sim_unlock(CUresult r) {
    pthread_mutex_unlock(&g_lock);
    return r;
}

CUresult sim_say(CUresult r, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(g_text, sizeof g_text, fmt, ap);
    va_end(ap);
    g_said = r;
    return r;
}

void sim_poison(CUresult r) { g_sticky = r; }

CUresult sim_ready(void) {
    if (!g_inited) return sim_say(CUDA_ERROR_NOT_INITIALIZED, "cuInit has not been called");
    if (!t_current) return sim_say(CUDA_ERROR_INVALID_CONTEXT, "no context is current on this thread");
    if (!g_ctx || t_current != (CUcontext)g_ctx || t_current_seq != g_ctx->seq)
        return sim_say(CUDA_ERROR_CONTEXT_IS_DESTROYED, "this thread's context has been destroyed");
    return g_sticky;
}

/* ---- live handles: sorted by address ---- */
static struct {
    const void *h;
    int kind;
} * g_h;
static size_t g_h_n, g_h_cap;

static size_t handle_at(const void *h) {
    size_t lo = 0, hi = g_h_n;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if ((uintptr_t)g_h[mid].h < (uintptr_t)h) lo = mid + 1;
        else hi = mid;
    }
    return lo;
}

int sim_handle_add(void *h, int kind) {
    if (g_h_n == g_h_cap) {
        size_t cap = g_h_cap ? g_h_cap * 2 : 64;
        void *p = realloc(g_h, cap * sizeof *g_h);
        if (!p) return -1;
        g_h = p;
        g_h_cap = cap;
    }
    size_t i = handle_at(h);
    memmove(g_h + i + 1, g_h + i, (g_h_n - i) * sizeof *g_h);
    g_h[i].h = h;
    g_h[i].kind = kind;
    g_h_n++;
    return 0;
}

int sim_handle_is(const void *h, int kind) {
    size_t i = h ? handle_at(h) : g_h_n;
    return i < g_h_n && g_h[i].h == h && g_h[i].kind == kind;
}

void sim_handle_del(const void *h) {
    size_t i = handle_at(h);
    if (i == g_h_n || g_h[i].h != h) return;
    memmove(g_h + i, g_h + i + 1, (--g_h_n - i) * sizeof *g_h);
}

void *sim_handle_any(int kind) {
    for (size_t i = 0; i < g_h_n; i++)
        if (g_h[i].kind == kind) return (void *)(uintptr_t)g_h[i].h;
    return NULL;
}

void *sim_handle_next(int kind, size_t *at) {
    while (*at < g_h_n)
        if (g_h[(*at)++].kind == kind) return (void *)(uintptr_t)g_h[*at - 1].h;
    return NULL;
}

/* ---- start and errors ---- */
CUresult CUDAAPI sim_cu_Init(unsigned int flags) {
    sim_lock();
    if (flags) return sim_unlock(sim_say(CUDA_ERROR_INVALID_VALUE, "cuInit: flags must be 0"));
    g_inited = 1;
    return sim_unlock(CUDA_SUCCESS);
}

CUresult CUDAAPI sim_cu_DriverGetVersion(int *v) {
    if (!v) return CUDA_ERROR_INVALID_VALUE;
    *v = DRIVER_VERSION;
    return CUDA_SUCCESS;
}

static const struct {
    CUresult r;
    const char *name, *text;
} k_errors[] = {
#define E(code, text) \
    { code, #code, text }
    E(CUDA_SUCCESS, "no error"),
    E(CUDA_ERROR_INVALID_VALUE, "invalid argument"),
    E(CUDA_ERROR_OUT_OF_MEMORY, "out of memory"),
    E(CUDA_ERROR_NOT_INITIALIZED, "initialization error"),
    E(CUDA_ERROR_INVALID_DEVICE, "invalid device ordinal"),
    E(CUDA_ERROR_INVALID_IMAGE, "device kernel image is invalid"),
    E(CUDA_ERROR_INVALID_CONTEXT, "invalid device context"),
    E(CUDA_ERROR_NO_BINARY_FOR_GPU, "no kernel image is available for execution on the device"),
    E(CUDA_ERROR_INVALID_PTX, "a PTX JIT compilation failed"),
    E(CUDA_ERROR_UNSUPPORTED_PTX_VERSION, "the provided PTX was compiled with an unsupported toolchain"),
    E(CUDA_ERROR_INVALID_HANDLE, "invalid resource handle"),
    E(CUDA_ERROR_ILLEGAL_STATE, "the operation cannot be performed in the present state"),
    E(CUDA_ERROR_NOT_FOUND, "named symbol not found"),
    E(CUDA_ERROR_NOT_READY, "device not ready"),
    E(CUDA_ERROR_ILLEGAL_ADDRESS, "an illegal memory access was encountered"),
    E(CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES, "too many resources requested for launch"),
    E(CUDA_ERROR_LAUNCH_TIMEOUT, "the launch timed out and was terminated"),
    E(CUDA_ERROR_CONTEXT_IS_DESTROYED, "context is destroyed"),
    E(CUDA_ERROR_ILLEGAL_INSTRUCTION, "an illegal instruction was encountered"),
    E(CUDA_ERROR_MISALIGNED_ADDRESS, "misaligned address"),
    E(CUDA_ERROR_LAUNCH_FAILED, "unspecified launch failure"),
    E(CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE, "too many blocks in cooperative launch"),
    E(CUDA_ERROR_NOT_SUPPORTED, "operation not supported"),
    E(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, "operation not permitted when stream is capturing"),
    E(CUDA_ERROR_STREAM_CAPTURE_INVALIDATED, "operation failed due to a previous error during capture"),
    E(CUDA_ERROR_STREAM_CAPTURE_MERGE, "operation would result in a merge of separate capture sequences"),
    E(CUDA_ERROR_STREAM_CAPTURE_UNMATCHED, "capture was not ended in the same stream as it began"),
    E(CUDA_ERROR_STREAM_CAPTURE_UNJOINED, "capturing stream has unjoined work"),
    E(CUDA_ERROR_STREAM_CAPTURE_ISOLATION, "dependency created on uncaptured work in another stream"),
    E(CUDA_ERROR_STREAM_CAPTURE_IMPLICIT,
      "operation would make the legacy stream depend on a capturing blocking stream"),
    E(CUDA_ERROR_CAPTURED_EVENT, "operation not permitted on an event last recorded in a capturing stream"),
    E(CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD,
      "attempt to terminate a thread-local capture sequence from another thread"),
    E(CUDA_ERROR_UNKNOWN, "unknown error"),
#undef E
};

CUresult CUDAAPI sim_cu_GetErrorName(CUresult r, const char **s) {
    if (!s) return CUDA_ERROR_INVALID_VALUE;
    *s = NULL;
    for (size_t i = 0; i < sizeof k_errors / sizeof *k_errors; i++)
        if (k_errors[i].r == r) *s = k_errors[i].name;
    return *s ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

/* The code's meaning and, if this was the last failure explained, its whole story. */
CUresult CUDAAPI sim_cu_GetErrorString(CUresult r, const char **s) {
    static _Thread_local char text[sizeof g_text + 128];
    if (!s) return CUDA_ERROR_INVALID_VALUE;
    *s = NULL;
    sim_lock();
    for (size_t i = 0; i < sizeof k_errors / sizeof *k_errors; i++)
        if (k_errors[i].r == r) {
            if (r != CUDA_SUCCESS && g_said == r) snprintf(text, sizeof text, "%s: %s", k_errors[i].text, g_text);
            else snprintf(text, sizeof text, "%s", k_errors[i].text);
            *s = text;
        }
    return sim_unlock(*s ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE);
}

/* ---- device ---- */
CUresult CUDAAPI sim_cu_DeviceGetCount(int *n) {
    if (!g_inited) return CUDA_ERROR_NOT_INITIALIZED;
    if (!n) return CUDA_ERROR_INVALID_VALUE;
    *n = 1;
    return CUDA_SUCCESS;
}

CUresult CUDAAPI sim_cu_DeviceGet(CUdevice *d, int ordinal) {
    if (!g_inited) return CUDA_ERROR_NOT_INITIALIZED;
    if (!d) return CUDA_ERROR_INVALID_VALUE;
    if (ordinal != 0) return CUDA_ERROR_INVALID_DEVICE;
    *d = 0;
    return CUDA_SUCCESS;
}

static CUresult device_ok(CUdevice d) {
    return !g_inited ? CUDA_ERROR_NOT_INITIALIZED : d != 0 ? CUDA_ERROR_INVALID_DEVICE : CUDA_SUCCESS;
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
    case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR: *v = sim_env_cc() / 10; break;
    case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR: *v = sim_env_cc() % 10; break;
    case CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT: *v = o.n_sm; break;
    case CU_DEVICE_ATTRIBUTE_WARP_SIZE: *v = 32; break;
    case CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK:
    case CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_X:
    case CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Y: *v = 1024; break;
    case CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Z: *v = 64; break;
    case CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_X: *v = 2147483647; break;
    case CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Y:
    case CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Z: *v = 65535; break;
    case CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_MULTIPROCESSOR: *v = THREADS_PER_SM; break;
    case CU_DEVICE_ATTRIBUTE_MAX_BLOCKS_PER_MULTIPROCESSOR: *v = BLOCKS_PER_SM; break;
    case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK: *v = SHARED_DEFAULT; break;
    case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN: *v = SHARED_OPTIN; break;
    case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_MULTIPROCESSOR: *v = SHARED_PER_SM; break;
    case CU_DEVICE_ATTRIBUTE_RESERVED_SHARED_MEMORY_PER_BLOCK: *v = 1024; break;
    case CU_DEVICE_ATTRIBUTE_TOTAL_CONSTANT_MEMORY: *v = 65536; break;
    case CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_BLOCK:
    case CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_MULTIPROCESSOR: *v = REGS_PER_SM; break;
    case CU_DEVICE_ATTRIBUTE_CLOCK_RATE: *v = 1000000; break; /* kHz; %clock64 ticks are made up */
    case CU_DEVICE_ATTRIBUTE_MEMORY_CLOCK_RATE: *v = 1000000; break;
    case CU_DEVICE_ATTRIBUTE_GLOBAL_MEMORY_BUS_WIDTH: *v = 256; break;
    case CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE: *v = 4 << 20; break;
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
    if (!g_ctx) {
        g_ctx = calloc(1, sizeof *g_ctx);
        if (!g_ctx) return sim_unlock(CUDA_ERROR_OUT_OF_MEMORY);
        g_ctx->seq = ++g_ctx_seq;
        g_sticky = CUDA_SUCCESS;
    }
    g_ctx->refs++;
    *c = (CUcontext)g_ctx;
    return sim_unlock(CUDA_SUCCESS);
}

static void module_drop(sim_cu_module *m) {
    for (size_t i = g_h_n; i-- > 0;) {
        sim_cu_func *f = (sim_cu_func *)(uintptr_t)g_h[i].h;
        if (g_h[i].kind != SIM_H_FUNC || f->mod != m) continue;
        sim_handle_del(f);
        free(f);
    }
    sim_handle_del(m);
    sim_module_free(m->mod);
    free(m);
}

CUresult CUDAAPI sim_cu_DevicePrimaryCtxRelease(CUdevice d) {
    CUresult r = device_ok(d);
    if (r) return r;
    sim_lock();
    if (!g_ctx) return sim_unlock(sim_say(CUDA_ERROR_INVALID_CONTEXT, "the primary context is not retained"));
    if (--g_ctx->refs > 0) return sim_unlock(CUDA_SUCCESS);
    sim_streams_drop();
    for (void *h; (h = sim_handle_any(SIM_H_MODULE));) module_drop(h);
    sim_mem_free_all();
    free(g_ctx);
    g_ctx = NULL;
    g_sticky = CUDA_SUCCESS;
    return sim_unlock(CUDA_SUCCESS);
}

CUresult CUDAAPI sim_cu_CtxSetCurrent(CUcontext c) {
    if (!g_inited) return CUDA_ERROR_NOT_INITIALIZED;
    sim_lock();
    if (c && c != (CUcontext)g_ctx) return sim_unlock(sim_say(CUDA_ERROR_INVALID_CONTEXT, "not a live context"));
    t_current = c;
    t_current_seq = c ? g_ctx->seq : 0;
    return sim_unlock(CUDA_SUCCESS);
}

/* ---- modules and functions ---- */
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
        return sim_unlock(sim_say(CUDA_ERROR_NO_BINARY_FOR_GPU, "the image is machine code; this device runs PTX"));
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
    } else if (sm > sim_env_cc() || (isalpha((unsigned char)tail) && sm != sim_env_cc())) {
        snprintf(log, sizeof log, ".target sm_%d%.1s does not run on compute capability %d.%d", sm,
                 isalpha((unsigned char)tail) ? &tail : "", sim_env_cc() / 10, sim_env_cc() % 10);
        r = CUDA_ERROR_INVALID_PTX;
    } else if (!(mod = sim_module_load(text, log, sizeof log))) {
        r = CUDA_ERROR_INVALID_PTX;
    }
    if (user_log && user_n) snprintf(user_log, user_n, "%s", log);
    if (user_n_at) *user_n_at = user_log ? strnlen(user_log, user_n) : 0;
    if (r) return sim_unlock(sim_say(r, "%s", log));
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
    if (!sim_handle_is(m, SIM_H_MODULE)) return sim_unlock(sim_say(CUDA_ERROR_INVALID_HANDLE, "not a loaded module"));
    module_drop((sim_cu_module *)m);
    return sim_unlock(CUDA_SUCCESS);
}

CUresult CUDAAPI sim_cu_ModuleGetFunction(CUfunction *f, CUmodule m, const char *name) {
    sim_lock();
    CUresult r = sim_ready();
    if (r) return sim_unlock(r);
    if (!f || !name) return sim_unlock(CUDA_ERROR_INVALID_VALUE);
    if (!sim_handle_is(m, SIM_H_MODULE)) return sim_unlock(sim_say(CUDA_ERROR_INVALID_HANDLE, "not a loaded module"));
    sim_cu_module *mod = (sim_cu_module *)m;
    sim_func *fn = sim_module_func(mod->mod, name);
    if (!fn) return sim_unlock(sim_say(CUDA_ERROR_NOT_FOUND, "the module has no entry named %s", name));
    for (size_t i = 0; i < g_h_n; i++)
        if (g_h[i].kind == SIM_H_FUNC && ((const sim_cu_func *)g_h[i].h)->fn == fn) {
            *f = (CUfunction)(uintptr_t)g_h[i].h;
            return sim_unlock(CUDA_SUCCESS);
        }
    sim_cu_func *h = calloc(1, sizeof *h);
    if (!h || sim_handle_add(h, SIM_H_FUNC)) {
        free(h);
        return sim_unlock(CUDA_ERROR_OUT_OF_MEMORY);
    }
    *h = (sim_cu_func){.fn = fn, .mod = mod, .id = ++g_func_id, .carveout = -1};
    uint32_t st = sim_func_static_shared(fn);
    h->max_dyn = st < SHARED_DEFAULT ? SHARED_DEFAULT - st : 0;
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
    if (!sim_handle_is(m, SIM_H_MODULE)) return sim_unlock(sim_say(CUDA_ERROR_INVALID_HANDLE, "not a loaded module"));
    if (sim_module_global(((sim_cu_module *)m)->mod, name, &addr, &n))
        return sim_unlock(sim_say(CUDA_ERROR_NOT_FOUND, "the module has no global named %s", name));
    if (p) *p = addr;
    if (bytes) *bytes = n;
    return sim_unlock(CUDA_SUCCESS);
}

CUresult CUDAAPI sim_cu_FuncGetAttribute(int *v, CUfunction_attribute a, CUfunction f) {
    sim_lock();
    CUresult r = sim_ready();
    if (r) return sim_unlock(r);
    if (!v) return sim_unlock(CUDA_ERROR_INVALID_VALUE);
    if (!sim_handle_is(f, SIM_H_FUNC)) return sim_unlock(sim_say(CUDA_ERROR_INVALID_HANDLE, "not a function"));
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
    case CU_FUNC_ATTRIBUTE_BINARY_VERSION: *v = sim_env_cc(); break;
    case CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES: *v = (int)h->max_dyn; break;
    case CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT: *v = h->carveout; break;
    default: r = sim_say(CUDA_ERROR_INVALID_VALUE, "unknown function attribute %d", (int)a);
    }
    return sim_unlock(r);
}

CUresult CUDAAPI sim_cu_FuncSetAttribute(CUfunction f, CUfunction_attribute a, int v) {
    sim_lock();
    CUresult r = sim_ready();
    if (r) return sim_unlock(r);
    if (!sim_handle_is(f, SIM_H_FUNC)) return sim_unlock(sim_say(CUDA_ERROR_INVALID_HANDLE, "not a function"));
    sim_cu_func *h = (sim_cu_func *)f;
    if (a == CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES) {
        const int most = SHARED_OPTIN - (int)sim_func_static_shared(h->fn);
        if (v < 0 || v > most)
            r = sim_say(CUDA_ERROR_INVALID_VALUE, "%s: %d bytes of dynamic shared memory, but at most %d fit",
                        sim_func_name(h->fn), v, most);
        else h->max_dyn = (uint32_t)v;
    } else if (a == CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT) {
        if (v < -1 || v > 100) r = CUDA_ERROR_INVALID_VALUE;
        else h->carveout = v;
    } else r = sim_say(CUDA_ERROR_INVALID_VALUE, "function attribute %d cannot be set", (int)a);
    return sim_unlock(r);
}

/* CTAs of this shape that one SM holds. Registers are left out: ptxas allocates them, and what PTX
 * declares says little about how many. */
int sim_occupancy(const sim_func *f, uint32_t threads, uint32_t dyn_shared) {
    const uint32_t warps = (threads + 31) / 32;
    const uint32_t shared = sim_func_static_shared(f) + dyn_shared + 1024; /* 1 KiB is the system's own */
    if (!warps || threads > sim_func_max_threads(f) || shared > SHARED_PER_SM) return 0;
    uint32_t n = THREADS_PER_SM / (warps * 32), by_shared = SHARED_PER_SM / ((shared + 127) & ~127u);
    if (n > by_shared) n = by_shared;
    return (int)(n > BLOCKS_PER_SM ? BLOCKS_PER_SM : n);
}

CUresult CUDAAPI sim_cu_OccupancyMaxActiveBlocks(int *n, CUfunction f, int block, size_t shared) {
    sim_lock();
    CUresult r = sim_ready();
    if (r) return sim_unlock(r);
    if (!n || block < 1 || block > 1024) return sim_unlock(CUDA_ERROR_INVALID_VALUE);
    if (!sim_handle_is(f, SIM_H_FUNC)) return sim_unlock(sim_say(CUDA_ERROR_INVALID_HANDLE, "not a function"));
    const sim_cu_func *h = (const sim_cu_func *)f;
    *n = shared > h->max_dyn ? 0 : sim_occupancy(h->fn, (uint32_t)block, (uint32_t)shared);
    return sim_unlock(CUDA_SUCCESS);
}

/* ---- memory ---- */
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
    if (!p || !n) return sim_unlock(sim_say(CUDA_ERROR_INVALID_VALUE, "cuMemAlloc of %zu bytes", n));
    sim_alloc *a = sim_mem_new(n, "cuMemAlloc");
    if (!a) {
        qm_sim_options o;
        qm_sim_get_options(&o);
        return sim_unlock(sim_say(CUDA_ERROR_OUT_OF_MEMORY, "cuMemAlloc of %zu bytes: %zu of %zu are in use", n,
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
        r = sim_say(CUDA_ERROR_INVALID_VALUE, "%s: 0x%llx is not the start of an allocation", call,
                    (unsigned long long)p);
    else if (!a->live)
        r = sim_say(CUDA_ERROR_INVALID_VALUE, "%s: allocation #%u (%s, %llu bytes) has been freed already", call, a->id,
                    a->what, (unsigned long long)a->size);
    else if (!strcmp(a->what, host ? "host pinned" : "cuMemAlloc")) {
        /* Freeing device memory waits for all streams, as the programming guide says; of host memory nothing is said. */
        if (!host) r = sim_order_drain();
        if (!r) sim_mem_free(p);
    } else r = sim_say(CUDA_ERROR_INVALID_VALUE, "%s: 0x%llx is %s", call, (unsigned long long)p, a->what);
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
        return sim_unlock(sim_say(CUDA_ERROR_INVALID_VALUE, "cuMemHostGetDevicePointer: 0x%llx is not pinned memory",
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
                       .shared_passes = s.shared_wavefronts,
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
