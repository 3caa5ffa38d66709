/* nvrtc.c: NVRTC by dlopen. Its few types are declared here (nvrtc.h of the toolkit documents them), so
 * that building needs no NVRTC headers. */
#include "nvrtc.h"
#include "cache.h"
#include "kernels.h"
#include "texts.h"
#include "trust.h"
#include "../base/log.h"
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef int nvrtc_result; /* nvrtcResult: 0 = success, 6 = the source does not compile */
typedef struct nvrtc_program_ *nvrtc_program;

/* field, symbol, parameters */
#define NVRTC_API(X)                                                                                    \
    X(GetErrorString, const char *, (nvrtc_result))                                                     \
    X(Version, nvrtc_result, (int *major, int *minor))                                                  \
    X(GetNumSupportedArchs, nvrtc_result, (int *n))                                                     \
    X(GetSupportedArchs, nvrtc_result, (int *archs))                                                    \
    X(CreateProgram, nvrtc_result,                                                                      \
      (nvrtc_program * p, const char *src, const char *name, int n_headers, const char *const *headers, \
       const char *const *names))                                                                       \
    X(DestroyProgram, nvrtc_result, (nvrtc_program * p))                                                \
    X(CompileProgram, nvrtc_result, (nvrtc_program p, int n, const char *const *options))               \
    X(GetPTXSize, nvrtc_result, (nvrtc_program p, size_t * n))                                          \
    X(GetPTX, nvrtc_result, (nvrtc_program p, char *out))                                               \
    X(GetCUBINSize, nvrtc_result, (nvrtc_program p, size_t * n))                                        \
    X(GetCUBIN, nvrtc_result, (nvrtc_program p, char *out))                                             \
    X(GetProgramLogSize, nvrtc_result, (nvrtc_program p, size_t * n))                                   \
    X(GetProgramLog, nvrtc_result, (nvrtc_program p, char *out))

struct qm_nvrtc {
#define X(field, ret, params) ret(*field) params;
    NVRTC_API(X)
#undef X
    int major, minor;
    char path[1024];
};

/* A name without a slash is the loader's affair: its path is root's, or set by whoever runs this. */
static void *open_trusted(const char *name, char *missing, size_t missing_n) {
    const char *why = strchr(name, '/') ? qm_untrusted(name) : NULL;
    if (!why) return dlopen(name, RTLD_NOW | RTLD_LOCAL);
    if (!access(name, F_OK)) snprintf(missing, missing_n, "%.120s is not loaded: %s", name, why);
    return NULL;
}

static int load_from(qm_nvrtc *n, const char *name, char *missing, size_t missing_n) {
    void *lib = open_trusted(name, missing, missing_n);
    if (!lib) return -1;
    const char *lost = NULL;
#define X(field, ret, params)                      \
    do {                                           \
        void *p_ = dlsym(lib, "nvrtc" #field);     \
        if (p_) memcpy(&n->field, &p_, sizeof p_); \
        else if (!lost) lost = "nvrtc" #field;     \
    } while (0);
    NVRTC_API(X)
#undef X
    if (lost || n->Version(&n->major, &n->minor)) {
        snprintf(missing, missing_n, "%s lacks %s", name, lost ? lost : "a version");
        dlclose(lib);
        return -1;
    }
    /* Which file it was: for who asks (qm_nvrtc_path), and for its sibling below. */
    Dl_info info;
    void *sym;
    memcpy(&sym, &n->Version, sizeof sym);
    snprintf(n->path, sizeof n->path, "%s", dladdr(sym, &info) && info.dli_fname ? info.dli_fname : name);
    /* NVRTC opens libnvrtc-builtins by its bare name. Where libnvrtc itself did not come from the
     * loader's path, that name is found only if the library is in the process already. */
    const char *slash = strrchr(n->path, '/');
    int folder = slash ? (int)(slash - n->path) + 1 : 0; /* with its slash */
    char builtins[1200];
    snprintf(builtins, sizeof builtins, "%.*slibnvrtc-builtins.so.%d.%d", folder, n->path, n->major, n->minor);
    char why[200] = "";
    if (!open_trusted(builtins, why, sizeof why) && !open_trusted(builtins + folder, why, sizeof why)) {
        snprintf(missing, missing_n, "%s", why);
        if (!why[0]) snprintf(missing, missing_n, "%s without its libnvrtc-builtins", name);
        dlclose(lib);
        return -1;
    }
    return 0;
}

/* Beside the program, and in ../lib of its folder; else the folder is "". */
static void program_folder(char *dir, size_t n) {
    ssize_t k = readlink("/proc/self/exe", dir, n - 1);
    dir[k > 0 ? k : 0] = 0;
    char *slash = strrchr(dir, '/');
    if (slash) *slash = 0;
    else *dir = 0;
}

int qm_nvrtc_open(qm_nvrtc **out, qm_err *e) {
    static const char *const names[] = {"libnvrtc.so.13", "libnvrtc.so"};
    static const char *const toolkits[] = {"/usr/local/cuda/lib64", "/usr/local/cuda-13/lib64", "/opt/cuda/lib64"};
    char dir[1024], path[1200], missing[400] = "";
    *out = NULL;
    qm_nvrtc *n = calloc(1, sizeof *n);
    if (!n) return qm_fail(e, QM_ERR_NOMEM, "nvrtc: out of host memory");
    const char *own = getenv("QMOE_NVRTC");
    if (own && *own) {
        if (load_from(n, own, missing, sizeof missing) == 0) goto found;
        free(n);
        return qm_fail(e, QM_ERR_UNSUPPORTED, "no NVRTC at %.200s, which QMOE_NVRTC names%s%s", own,
                       missing[0] ? ": " : "", missing);
    }
    program_folder(dir, sizeof dir);
    for (int i = 0; i < 2; i++)
        if (load_from(n, names[i], missing, sizeof missing) == 0) goto found;
    for (int i = 0; i < 4 && *dir; i++) {
        snprintf(path, sizeof path, "%s%s/%s", dir, i < 2 ? "" : "/../lib", names[i % 2]);
        if (load_from(n, path, missing, sizeof missing) == 0) goto found;
    }
    for (size_t i = 0; i < 2 * sizeof toolkits / sizeof *toolkits; i++) {
        snprintf(path, sizeof path, "%s/%s", toolkits[i / 2], names[i % 2]);
        if (load_from(n, path, missing, sizeof missing) == 0) goto found;
    }
    free(n);
    return qm_fail(e, QM_ERR_UNSUPPORTED,
                   "no NVRTC: libnvrtc.so.13 is not on the loader's path, beside the program or in "
                   "/usr/local/cuda/lib64; QMOE_NVRTC may name it%s%s",
                   missing[0] ? ": " : "", missing);
found:
    *out = n;
    return 0;
}

/* The libraries stay in the process (they are large and may be asked for again). */
void qm_nvrtc_close(qm_nvrtc *n) { free(n); }
const char *qm_nvrtc_path(const qm_nvrtc *n) { return n->path; }
void qm_nvrtc_version(const qm_nvrtc *n, int *major, int *minor) {
    *major = n->major;
    *minor = n->minor;
}

static int nvrtc_fail(const qm_nvrtc *n, nvrtc_result r, const char *what, qm_err *e) {
    const char *s = n->GetErrorString(r);
    return qm_fail(e, QM_ERR_DEVICE, "NVRTC %d.%d: %s: %s", n->major, n->minor, what, s ? s : "unknown error");
}

int qm_nvrtc_arch(const qm_nvrtc *n, const qm_device *d, char arch[32], qm_err *e) {
    int have = d->cc_major * 10 + d->cc_minor, count = 0, best = 0, r;
    if ((r = n->GetNumSupportedArchs(&count)) || count <= 0) return nvrtc_fail(n, r, "supported architectures", e);
    int *archs = calloc((size_t)count, sizeof *archs);
    if (!archs) return qm_fail(e, QM_ERR_NOMEM, "nvrtc: out of host memory");
    if ((r = n->GetSupportedArchs(archs))) {
        free(archs);
        return nvrtc_fail(n, r, "supported architectures", e);
    }
    for (int i = 0; i < count; i++)
        if (archs[i] <= have && archs[i] > best) best = archs[i];
    free(archs);
    /* PTX moves to any later chip; a cubin only within its major version. */
    int ptx = d->driver_version >= n->major * 1000 + n->minor * 10;
    if (!best || (!ptx && best / 10 != d->cc_major))
        return qm_fail(e, QM_ERR_UNSUPPORTED, "NVRTC %d.%d cannot compile for %s (sm_%d) with a driver of CUDA %d.%d",
                       n->major, n->minor, d->name, have, d->driver_version / 1000, d->driver_version % 1000 / 10);
    snprintf(arch, 32, "%s_%d", ptx ? "compute" : "sm", best);
    return 0;
}

static void log_program(const qm_nvrtc *n, nvrtc_program p, char *head, size_t head_n) {
    size_t bytes = 0;
    head[0] = 0;
    if (n->GetProgramLogSize(p, &bytes) || bytes < 2) return;
    char *text = malloc(bytes + 1);
    if (text && !n->GetProgramLog(p, text)) {
        text[bytes] = 0;
        snprintf(head, head_n, "%s", text);
        for (char *rest = text, *line; (line = strsep(&rest, "\n"));)
            if (*line) qm_log(QM_LOG_WARN, "nvrtc: %s", line);
    }
    free(text);
}

int qm_nvrtc_compile(const qm_nvrtc *n, const char *name, const char *source, const char *arch,
                     const char *const *options, int n_options, void **out, size_t *out_bytes, qm_err *e) {
    int rc = 0, n_args = 0;
    nvrtc_program p = NULL;
    nvrtc_result r;
    char *image = NULL, arch_arg[64], head[400];
    /* What host and device agree on can be included by its plain name, where the build embedded it. */
    static const char *const header_names[] = {"abi.h"};
    const char *headers[] = {qm_header_text("abi.h")};
    const char **args = malloc(((size_t)n_options + 2) * sizeof *args);
    *out = NULL;
    *out_bytes = 0;
    if (!args) return qm_fail(e, QM_ERR_NOMEM, "nvrtc: out of host memory");
    snprintf(arch_arg, sizeof arch_arg, "--gpu-architecture=%.32s", arch);
    args[n_args++] = arch_arg;
    args[n_args++] = "--std=c++17";
    for (int i = 0; i < n_options; i++) args[n_args++] = options[i];
    if ((r = n->CreateProgram(&p, source, name, headers[0] ? 1 : 0, headers, header_names))) {
        rc = nvrtc_fail(n, r, name, e);
        goto out;
    }
    if ((r = n->CompileProgram(p, n_args, args))) {
        log_program(n, p, head, sizeof head);
        rc = nvrtc_fail(n, r, name, e);
        if (e && head[0]) rc = qm_fail(e, QM_ERR_DEVICE, "NVRTC %d.%d: %s: %s", n->major, n->minor, name, head);
        goto out;
    }
    int ptx = !strncmp(arch, "compute_", 8);
    size_t bytes = 0;
    if ((r = ptx ? n->GetPTXSize(p, &bytes) : n->GetCUBINSize(p, &bytes)) || !bytes) {
        rc = nvrtc_fail(n, r, "result size", e);
        goto out;
    }
    image = malloc(bytes + 1);
    if (!image) {
        rc = qm_fail(e, QM_ERR_NOMEM, "nvrtc: out of host memory (%zu bytes)", bytes);
        goto out;
    }
    if ((r = ptx ? n->GetPTX(p, image) : n->GetCUBIN(p, image))) {
        rc = nvrtc_fail(n, r, "result", e);
        goto out;
    }
    image[bytes] = 0;
    *out = image;
    *out_bytes = bytes;
    image = NULL;
out:
    if (p) n->DestroyProgram(&p);
    free(image);
    free(args);
    return rc;
}

int qm_nvrtc_module(const qm_nvrtc *n, qm_device *d, const char *file, const char *const *options, int n_options,
                    CUmodule *mod, int *from_cache, qm_err *e) {
    int hit = 0, rc;
    char arch[32], name[80];
    void *image = NULL;
    size_t bytes = 0;
    *mod = NULL;
    if (from_cache) *from_cache = 0;
    snprintf(name, sizeof name, "%s.cu", file);
    const char *source = qm_cu_text(file);
    if (!source) return qm_fail(e, QM_ERR_UNSUPPORTED, "this build has no kernels/cu/%s", name);
    if ((rc = qm_nvrtc_arch(n, d, arch, e))) return rc;

    /* Everything that the result depends on. */
    qm_cache_key key = qm_cache_key_begin();
    int versions[3] = {n->major, n->minor, d->driver_version};
    const char *abi = qm_header_text("abi.h");
    qm_cache_key_add_str(&key, source);
    qm_cache_key_add_str(&key, abi ? abi : "");
    qm_cache_key_add_str(&key, arch);
    qm_cache_key_add(&key, versions, sizeof versions);
    for (int i = 0; i < n_options; i++) qm_cache_key_add_str(&key, options[i]);

    image = qm_cache_get(&key, &bytes);
    hit = image != NULL;
    if (!hit) {
        if ((rc = qm_nvrtc_compile(n, name, source, arch, options, n_options, &image, &bytes, e))) return rc;
        qm_cache_put(&key, image, bytes);
    }
    qm_log(QM_LOG_DEBUG, "nvrtc: %s for %s: %zu bytes, %s", name, arch, bytes, hit ? "cached" : "compiled");
    rc = qm_module_load(d, name, image, mod, e);
    free(image);
    if (from_cache) *from_cache = hit;
    return rc;
}
