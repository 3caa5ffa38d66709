/* doctor.c: qm_doctor: what this machine has and what `--device auto` would run on it. One JSON report is
 * built; the text is a view of it. Nothing missing is an error here: saying so is the job. */
#include "../base/json.h"
#include "../base/units.h"
#include "../qmoe_tools.h"
#include "../device/cache.h"
#include "../device/cuda.h"
#include "../device/dependent.h"
#include "../device/nvrtc.h"
#include "../engine/inside.h"
#include "../base/print.h"
#include <dlfcn.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>
#if defined(__aarch64__)
#include <sys/auxv.h>
#endif

/* Qwen3-30B-A3B Q4_K_M: the file, and what a GPU must hold: the packed weights (the same bytes) and a
 * 4096-token f16 KV cache (98,304 bytes a token), with 128 MiB for activations of steps of 512 rows, 64 for loading and
 * 256 for the driver. */
#define FILE_30B_BYTES (17.28 * 1073741824.0)
#define NEED_30B_BYTES (FILE_30B_BYTES + 4096.0 * 98304.0 + 134217728.0 + 67108864.0 + 268435456.0)

static json_t *host_report(void) {
    struct utsname u;
    json_t *h = json_object();
    if (uname(&u) == 0) {
        json_object_set_new(h, "os", json_sprintf("%s %s", u.sysname, u.release));
        json_object_set_new(h, "arch", json_string(u.machine));
    }
    json_object_set_new(h, "cores", json_integer(sysconf(_SC_NPROCESSORS_ONLN)));
    json_t *f = json_array();
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2")) json_array_append_new(f, json_string("avx2"));
    if (__builtin_cpu_supports("fma")) json_array_append_new(f, json_string("fma"));
    if (__builtin_cpu_supports("avx512f")) json_array_append_new(f, json_string("avx512f"));
    if (__builtin_cpu_supports("avx512bw")) json_array_append_new(f, json_string("avx512bw"));
    if (__builtin_cpu_supports("avx512vl")) json_array_append_new(f, json_string("avx512vl"));
#elif defined(__aarch64__)
    json_array_append_new(f, json_string("neon")); /* part of the base architecture */
    if (getauxval(AT_HWCAP) & (1ul << 22)) json_array_append_new(f, json_string("sve")); /* HWCAP_SVE */
#endif
    json_object_set_new(h, "vector_features", f);
    FILE *m = fopen("/proc/meminfo", "re");
    if (m) {
        char line[160];
        unsigned long long kib;
        while (fgets(line, sizeof line, m)) {
            if (sscanf(line, "MemTotal: %llu kB", &kib) == 1)
                json_object_set_new(h, "memory_bytes", json_integer((json_int_t)kib * 1024));
            if (sscanf(line, "MemAvailable: %llu kB", &kib) == 1)
                json_object_set_new(h, "memory_available_bytes", json_integer((json_int_t)kib * 1024));
        }
        fclose(m);
    }
    return h;
}

/* What opening `spec` gives: its facts, or why not. */
static json_t *device_report(const char *spec) {
    qm_device *d = NULL;
    qm_err err = {0};
    json_t *o = json_object();
    json_object_set_new(o, "device", json_string(spec));
    int rc = qm_device_open(&d, spec, NULL, 0, &err);
    json_object_set_new(o, "works", json_boolean(rc == 0));
    if (rc) {
        json_object_set_new(o, "why_not", qm_json_str(err.msg));
        return o;
    }
    size_t avail = 0, total = 0;
    json_object_set_new(o, "name", qm_json_str(d->name));
    json_object_set_new(o, "compute_capability", json_sprintf("%d.%d", d->cc_major, d->cc_minor));
    json_object_set_new(o, "multiprocessors", json_integer(d->n_sm));
    json_object_set_new(o, "shares_host_memory", json_boolean(d->integrated));
    if (qm_device_mem(d, &avail, &total, &err) == 0) {
        json_object_set_new(o, "memory_bytes", json_integer((json_int_t)total));
        json_object_set_new(o, "memory_available_bytes", json_integer((json_int_t)avail));
        json_object_set_new(o, "fits_30b_q4_k_m", json_boolean((double)avail >= NEED_30B_BYTES));
    }
    qm_device_close(d);
    return o;
}

static json_t *driver_report(json_t *gpus) {
    qm_cuda t;
    qm_err err = {0};
    json_t *o = json_object();
    int rc = qm_cuda_driver(&t, NULL, &err), version = 0, n = 0;
    json_object_set_new(o, "found", json_boolean(rc == 0));
    if (rc) {
        json_object_set_new(o, "why_not", qm_json_str(err.msg));
        return o;
    }
    Dl_info info;
    void *sym;
    memcpy(&sym, &t.Init, sizeof sym);
    if (dladdr(sym, &info) && info.dli_fname) json_object_set_new(o, "path", qm_json_str(info.dli_fname));
    if (t.DriverGetVersion(&version) == CUDA_SUCCESS)
        json_object_set_new(o, "cuda_version", json_sprintf("%d.%d", version / 1000, version % 1000 / 10));
    CUresult r = t.Init(0);
    if (r == CUDA_SUCCESS) r = t.DeviceGetCount(&n);
    if (r != CUDA_SUCCESS) {
        const char *s = NULL;
        if (t.GetErrorString(r, &s) != CUDA_SUCCESS || !s) s = "cuInit failed";
        json_object_set_new(o, "why_not", qm_json_str(s));
    }
    for (int i = 0; i < n; i++) {
        char spec[24];
        snprintf(spec, sizeof spec, "cuda:%d", i);
        json_array_append_new(gpus, device_report(spec));
    }
    return o;
}

static json_t *nvrtc_report(void) {
    qm_nvrtc *n = NULL;
    qm_err err = {0};
    json_t *o = json_object();
    int rc = qm_nvrtc_open(&n, &err), major, minor;
    json_object_set_new(o, "found", json_boolean(rc == 0));
    if (rc) {
        json_object_set_new(o, "why_not", qm_json_str(err.msg));
        return o;
    }
    qm_nvrtc_version(n, &major, &minor);
    json_object_set_new(o, "path", qm_json_str(qm_nvrtc_path(n)));
    json_object_set_new(o, "version", json_sprintf("%d.%d", major, minor));
    qm_nvrtc_close(n);
    return o;
}

/* Whether the folder can be written, or could be made: judged at the nearest parent that exists. */
static int could_write(const char *dir) {
    char p[4096];
    snprintf(p, sizeof p, "%s", dir);
    while (access(p, F_OK)) {
        char *slash = strrchr(p, '/');
        if (!slash) return access(".", W_OK) == 0;
        if (slash == p) return access("/", W_OK) == 0;
        *slash = 0;
    }
    return access(p, W_OK | X_OK) == 0;
}

static json_t *cache_report(void) {
    char dir[4096];
    json_t *o = json_object();
    if (qm_cache_dir(dir, sizeof dir)) {
        json_object_set_new(o, "why_not", json_string("none of QMOE_CACHE, XDG_CACHE_HOME and HOME is set"));
        json_object_set_new(o, "writable", json_false());
        return o;
    }
    json_object_set_new(o, "path", qm_json_str(dir));
    json_object_set_new(o, "writable", json_boolean(could_write(dir)));
    return o;
}

/* ---- the text view ---- */
static const char *str(const json_t *o, const char *key) {
    const char *s = json_string_value(json_object_get(o, key));
    return s ? s : "";
}
static double num(const json_t *o, const char *key) { return json_number_value(json_object_get(o, key)); }
static int yes(const json_t *o, const char *key) { return json_is_true(json_object_get(o, key)); }

static void print_device(qm_printer *s, const json_t *d) {
    if (!yes(d, "works")) {
        qm_print(s, "%-10s does not work: %s\n", str(d, "device"), str(d, "why_not"));
        return;
    }
    qm_print(s, "%-10s %s, compute capability %s, %d multiprocessors, %.1f of %.1f GiB free%s\n", str(d, "device"),
             str(d, "name"), str(d, "compute_capability"), (int)num(d, "multiprocessors"),
             qm_gib(num(d, "memory_available_bytes")), qm_gib(num(d, "memory_bytes")),
             yes(d, "shares_host_memory") ? ", shared with the host" : "");
}

static void print_all(qm_printer *s, const json_t *r) {
    const json_t *h = json_object_get(r, "host"), *drv = json_object_get(r, "driver");
    const json_t *rtc = json_object_get(r, "nvrtc"), *c = json_object_get(r, "cache");
    const json_t *v;
    size_t i;
    qm_print(s, "%-10s qmoe-gpu %s\n", "program", str(r, "version"));
    qm_print(s, "%-10s %s, %s, %d cores;", "host", str(h, "os"), str(h, "arch"), (int)num(h, "cores"));
    json_array_foreach (json_object_get(h, "vector_features"), i, v) qm_print(s, " %s", json_string_value(v));
    qm_print(s, "\n%-10s %.1f of %.1f GiB available; the 30B Q4_K_M file has %.1f GiB\n", "memory",
             qm_gib(num(h, "memory_available_bytes")), qm_gib(num(h, "memory_bytes")), qm_gib(FILE_30B_BYTES));
    if (yes(drv, "found"))
        qm_print(s, "%-10s CUDA %s, %s%s%s\n", "driver", str(drv, "cuda_version"), str(drv, "path"),
                 *str(drv, "why_not") ? ": " : "", str(drv, "why_not"));
    else qm_print(s, "%-10s none: %s\n", "driver", str(drv, "why_not"));
    json_array_foreach (json_object_get(r, "gpus"), i, v) print_device(s, v);
    if (!i) qm_print(s, "%-10s none\n", "gpu");
    print_device(s, json_object_get(r, "sim"));
    if (yes(rtc, "found")) qm_print(s, "%-10s %s, %s\n", "nvrtc", str(rtc, "version"), str(rtc, "path"));
    else qm_print(s, "%-10s none (optional): %s\n", "nvrtc", str(rtc, "why_not"));
    if (*str(c, "path"))
        qm_print(s, "%-10s %s%s\n", "cache", str(c, "path"), yes(c, "writable") ? "" : " (not writable)");
    else qm_print(s, "%-10s none: %s\n", "cache", str(c, "why_not"));
    const json_t *a = json_object_get(r, "auto");
    qm_print(s, "%-10s %s\n", "auto", *str(a, "why") ? str(a, "why") : str(a, "why_not"));
    if (*str(a, "why"))
        qm_print(s, "%-10s launches %s there%s%s\n", "dependent", yes(a, "dependent_launch") ? "work" : "do not work",
                 yes(a, "dependent_launch") ? "" : ": ", str(a, "dependent_launch_why_not"));
    if (*str(a, "executor"))
        qm_print(s, "%-10s %s (%s), unless bench --choose has found otherwise for a model\n", "executor",
                 str(a, "executor"), str(a, "executor_why"));
    v = json_object_get(a, "fits_30b_q4_k_m");
    if (v)
        qm_print(s, "%-10s the 30B Q4_K_M model %s there: it needs about %.1f GiB with 4096 tokens of context\n", "30B",
                 json_is_true(v) ? "fits" : "does not fit", qm_gib(NEED_30B_BYTES));
}

/* Which device auto picks, and whether the 30B model fits there. */
static json_t *auto_report(void) {
    qm_device *d = NULL;
    qm_err err = {0};
    char why[256];
    size_t avail = 0, total = 0;
    json_t *o = json_object();
    if (qm_device_open(&d, "auto", why, sizeof why, &err)) {
        json_object_set_new(o, "why_not", qm_json_str(err.msg));
        return o;
    }
    json_object_set_new(o, "device", json_string(d->spec));
    json_object_set_new(o, "why", qm_json_str(why));
    json_object_set_new(o, "dependent_launch", json_boolean(qm_dependent_works(d, why, sizeof why)));
    if (!yes(o, "dependent_launch")) json_object_set_new(o, "dependent_launch_why_not", qm_json_str(why));
    json_object_set_new(o, "executor", json_string(qm_inside_chip_executor(d, why, sizeof why)));
    json_object_set_new(o, "executor_why", qm_json_str(why));
    if (qm_device_mem(d, &avail, &total, &err) == 0)
        json_object_set_new(o, "fits_30b_q4_k_m", json_boolean((double)avail >= NEED_30B_BYTES));
    qm_device_close(d);
    return o;
}

int qm_doctor(int json, qm_write_fn w, void *user, qm_err *e) {
    qm_printer p = {w, user, 0};
    json_t *r = json_object(), *gpus = json_array();
    json_object_set_new(r, "version", json_string(QM_VERSION));
    json_object_set_new(r, "host", host_report());
    json_object_set_new(r, "driver", driver_report(gpus));
    json_object_set_new(r, "gpus", gpus);
    json_object_set_new(r, "sim", device_report("sim"));
    json_object_set_new(r, "nvrtc", nvrtc_report());
    json_object_set_new(r, "cache", cache_report());
    json_object_set_new(r, "auto", auto_report());
    json_object_set_new(r, "model_30b_q4_k_m_bytes", json_integer((json_int_t)FILE_30B_BYTES));
    if (json) {
        qm_print_json(&p, r, JSON_INDENT(2));
    } else {
        print_all(&p, r);
        json_decref(r);
    }
    return p.stopped ? qm_fail(e, QM_ERR_CANCELLED, "doctor: stopped by the caller") : 0;
}
