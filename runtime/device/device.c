/* device.c: choosing a device and opening it. A GPU counts only if it is sm_80 or later, its context
 * opens, and a tiny PTX module loads, runs and gives the right answer. That runs in a context
 * that is given up when it fails, since one failed module load can poison a context. */
#include "cuda.h"
#include "../base/log.h"
#include "../base/text.h"
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SMOKE_WORD 0x716d6f65u /* "qmoe" */

/* The lowest .version and .target that all our kernels may use: a driver that loads this loads them. */
static const char smoke_ptx[] = ".version 7.4\n"
                                ".target sm_80\n"
                                ".address_size 64\n"
                                ".visible .entry qm_smoke(.param .u64 out)\n"
                                "{\n"
                                "    .reg .b64 %p;\n"
                                "    .reg .b32 %v;\n"
                                "    ld.param.u64 %p, [out];\n"
                                "    mov.u32 %v, 0x716d6f65;\n"
                                "    st.global.u32 [%p], %v;\n"
                                "    ret;\n"
                                "}\n";

static int smoke_test(qm_device *d, qm_err *e) {
    int rc = 0;
    CUmodule mod = NULL;
    CUfunction f;
    CUdeviceptr p = 0;
    uint32_t got = 0;
    QM_CU_TRY(d, ModuleLoadDataEx(&mod, smoke_ptx, 0, NULL, NULL));
    QM_CU_TRY(d, ModuleGetFunction(&f, mod, "qm_smoke"));
    QM_CU_TRY(d, MemAlloc(&p, 256));
    void *params[] = {&p};
    QM_CU_TRY(d, LaunchKernel(f, 1, 1, 1, 1, 1, 1, 0, NULL, params, NULL));
    QM_CU_TRY(d, CtxSynchronize());
    QM_CU_TRY(d, MemcpyDtoH(&got, p, sizeof got));
    if (got != SMOKE_WORD)
        rc = qm_fail(e, QM_ERR_DEVICE, "%s: the test kernel wrote %08x instead of %08x", d->spec, got, SMOKE_WORD);
out:
    if (p) d->cu.MemFree(p);
    if (mod) d->cu.ModuleUnload(mod);
    return rc;
}

static int attribute(qm_device *d, CUdevice_attribute a, int *v, qm_err *e) {
    int rc = 0;
    QM_CU_TRY(d, DeviceGetAttribute(v, a, d->dev));
out:
    return rc;
}

/* Opens device `ordinal` of the table already in d. On failure nothing stays open. */
static int open_ordinal(qm_device *d, int ordinal, qm_err *e) {
    int rc = 0, khz = 0, bits = 0;
    d->ctx = NULL;
    QM_CU_TRY(d, DriverGetVersion(&d->driver_version));
    QM_CU_TRY(d, DeviceGet(&d->dev, ordinal));
    char name[sizeof d->name];
    QM_CU_TRY(d, DeviceGetName(name, (int)sizeof name, d->dev));
    qm_text_name(d->name, sizeof d->name, name, strnlen(name, sizeof name));
    QM_CU_TRY(d, DeviceTotalMem(&d->total_mem, d->dev));
    if ((rc = attribute(d, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, &d->cc_major, e)) ||
        (rc = attribute(d, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, &d->cc_minor, e)) ||
        (rc = attribute(d, CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, &d->n_sm, e)) ||
        (rc = attribute(d, CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE, &d->l2_bytes, e)) ||
        (rc = attribute(d, CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN, &d->shared_bytes, e)) ||
        (rc = attribute(d, CU_DEVICE_ATTRIBUTE_INTEGRATED, &d->integrated, e)))
        goto out;
    /* a hint only: a driver that does not tell is no reason to refuse a device */
    if (d->cu.DeviceGetAttribute(&khz, CU_DEVICE_ATTRIBUTE_MEMORY_CLOCK_RATE, d->dev)) khz = 0;
    if (d->cu.DeviceGetAttribute(&bits, CU_DEVICE_ATTRIBUTE_GLOBAL_MEMORY_BUS_WIDTH, d->dev)) bits = 0;
    if (d->cu.DeviceGetAttribute(&d->l2_aside, CU_DEVICE_ATTRIBUTE_MAX_PERSISTING_L2_CACHE_SIZE, d->dev))
        d->l2_aside = 0;
    d->bytes_per_s = khz > 0 && bits > 0 ? 2e3 * khz * bits / 8 : 0; /* two transfers a clock */
    if (d->cc_major < 8) {
        rc = qm_fail(e, QM_ERR_UNSUPPORTED, "%s: %s is sm_%d%d; sm_80 or later is needed", d->spec, d->name,
                     d->cc_major, d->cc_minor);
        goto out;
    }
    QM_CU_TRY(d, DevicePrimaryCtxRetain(&d->ctx, d->dev));
    QM_CU_TRY(d, CtxSetCurrent(d->ctx));
    rc = smoke_test(d, e);
out:
    if (rc && d->ctx) {
        d->cu.CtxSetCurrent(NULL);
        d->cu.DevicePrimaryCtxRelease(d->dev);
        d->ctx = NULL;
    }
    return rc;
}

static int init_table(qm_device *d, qm_err *e) {
    int rc = 0;
    QM_CU_TRY(d, Init(0));
out:
    return rc;
}

static int open_sim(qm_device *d, qm_err *e) {
    int rc = qm_sim_driver(&d->cu, &d->caps, e);
    if (rc) return rc;
    snprintf(d->spec, sizeof d->spec, "sim");
    if ((rc = init_table(d, e))) return rc;
    return open_ordinal(d, 0, e);
}

static int cuda_count(qm_device *d, int *n, qm_err *e) {
    int rc = qm_cuda_driver(&d->cu, &d->caps, e);
    if (rc) return rc;
    snprintf(d->spec, sizeof d->spec, "cuda");
    if ((rc = init_table(d, e))) return rc;
    QM_CU_TRY(d, DeviceGetCount(n));
    if (*n == 0) rc = qm_fail(e, QM_ERR_DEVICE, "the CUDA driver finds no GPU");
out:
    return rc;
}

/* "cuda:N"; ordinals have at most four digits (parse_ordinal). */
static void name_ordinal(qm_device *d, int ordinal) {
    snprintf(d->spec, sizeof d->spec, "cuda:%u", (unsigned)ordinal % 10000);
}

static int open_cuda(qm_device *d, int ordinal, qm_err *e) {
    int n = 0, rc = cuda_count(d, &n, e);
    if (rc) return rc;
    if (ordinal >= n)
        return qm_fail(e, QM_ERR_ARG, "cuda:%d: there %s only %d GPU%s", ordinal, n == 1 ? "is" : "are", n,
                       n == 1 ? "" : "s");
    name_ordinal(d, ordinal);
    return open_ordinal(d, ordinal, e);
}

/* The first GPU that works, else sim. `first` keeps the first reason why a GPU was passed over. */
static int open_auto(qm_device *d, char *why, size_t why_n, qm_err *e) {
    qm_err first = {0}, err = {0};
    int n = 0;
    if (cuda_count(d, &n, &first)) n = 0;
    for (int i = 0; i < n; i++) {
        name_ordinal(d, i);
        if (open_ordinal(d, i, &err) == 0) {
            if (why)
                snprintf(why, why_n, "%s: %s, sm_%d%d%s%s", d->spec, d->name, d->cc_major, d->cc_minor,
                         first.code ? "; passed over " : "", first.code ? first.msg : "");
            return 0;
        }
        qm_log(QM_LOG_WARN, "%s", err.msg);
        if (!first.code) first = err;
    }
    int rc = open_sim(d, e);
    if (rc) return qm_err_prefix(e, "no usable GPU (%.160s), and the software device failed", first.msg);
    if (why) snprintf(why, why_n, "sim: no usable GPU (%s)", first.msg);
    return 0;
}

/* "N" to a small ordinal; -1 unless it is digits only. */
static int parse_ordinal(const char *s) {
    int v = 0, digits = 0;
    for (; *s >= '0' && *s <= '9' && digits < 4; s++, digits++) v = v * 10 + (*s - '0');
    return *s || !digits ? -1 : v;
}

int qm_device_spec_check(const char *spec, qm_err *e) {
    if (!spec || !*spec || !strcmp(spec, "auto") || !strcmp(spec, "sim") || !strcmp(spec, "cuda") ||
        (!strncmp(spec, "cuda:", 5) && parse_ordinal(spec + 5) >= 0))
        return 0;
    return qm_fail(e, QM_ERR_ARG, "unknown device \"%.40s\": expected auto, cuda, cuda:N or sim", spec);
}

int qm_device_open(qm_device **out, const char *spec, char *why, size_t why_n, qm_err *e) {
    *out = NULL;
    if (why && why_n) why[0] = 0;
    int rc = qm_device_spec_check(spec, e);
    if (rc) return rc;
    if (!spec || !*spec) spec = "auto";
    qm_device *d = calloc(1, sizeof *d);
    if (!d) return qm_fail(e, QM_ERR_NOMEM, "device: out of host memory");
    if (!strcmp(spec, "auto")) rc = open_auto(d, why, why_n, e);
    else if (!strcmp(spec, "sim")) rc = open_sim(d, e);
    else rc = open_cuda(d, spec[4] ? parse_ordinal(spec + 5) : 0, e);
    if (rc) {
        free(d);
        return rc;
    }
    if (why && why_n && !why[0])
        snprintf(why, why_n, "%s: %s, sm_%d%d, as asked for", d->spec, d->name, d->cc_major, d->cc_minor);
    *out = d;
    return 0;
}

void qm_device_close(qm_device *d) {
    if (!d) return;
    if (d->ctx) {
        if (d->aside && !d->cu.CtxSetCurrent(d->ctx)) { /* the context may outlive us */
            d->cu.CtxSetLimit(CU_LIMIT_PERSISTING_L2_CACHE_SIZE, d->aside_before);
            d->cu.CtxResetPersistingL2Cache();
        }
        d->cu.CtxSetCurrent(NULL);
        d->cu.DevicePrimaryCtxRelease(d->dev);
    }
    free(d);
}

void qm_device_set_aside(qm_device *d, size_t bytes) {
    qm_err e;
    if (bytes > (size_t)d->l2_aside) bytes = (size_t)d->l2_aside;
    CUresult r = d->cu.CtxGetLimit(&d->aside_before, CU_LIMIT_PERSISTING_L2_CACHE_SIZE);
    if (!r && d->aside_before >= bytes) return; /* another engine in this process has done it */
    if (!r) r = d->cu.CtxSetLimit(CU_LIMIT_PERSISTING_L2_CACHE_SIZE, bytes);
    d->aside = !r;
    if (!r) return;
    qm_cu_fail(d, r, "CtxSetLimit(PERSISTING_L2_CACHE_SIZE)", &e);
    qm_log(QM_LOG_INFO, "%s", e.msg);
}

/* MemAvailable of /proc/meminfo in bytes, 0 where it cannot be read. */
static size_t host_mem_available(void) {
    FILE *f = fopen("/proc/meminfo", "re");
    if (!f) return 0;
    char line[160];
    unsigned long long kib = 0;
    while (fgets(line, sizeof line, f))
        if (sscanf(line, "MemAvailable: %llu kB", &kib) == 1) break;
    fclose(f);
    return (size_t)kib * 1024;
}

int qm_device_mem(qm_device *d, size_t *avail, size_t *total, qm_err *e) {
    int rc = 0;
    size_t a = 0, t = 0;
    QM_CU_TRY(d, MemGetInfo(&a, &t));
    if (d->integrated) {
        size_t host = host_mem_available();
        if (host > t) host = t;
        if (host > a) a = host;
    }
    *avail = a;
    *total = t;
out:
    return rc;
}
