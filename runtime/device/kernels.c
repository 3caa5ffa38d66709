/* kernels.c: the registry of contracts/kernels.def and the modules behind it. */
#include "kernels.h"
#include "../../contracts/abi.h"
#include "../base/log.h"
#include "../file/quant.h"
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The texts that tools/embed.sh put into the program: "matvec.ptx", "repack.cu" ..., then {NULL, NULL}. */
typedef struct {
    const char *name, *text;
} embedded_text;
extern const embedded_text qm_embedded[];

/* One line per op: its word, and the word of its enum and of its sizes in abi.h. */
/* clang-format off */
#define QM_OPS(X)                                                                                       \
    X(embed, EMBED) X(rmsnorm, RMSNORM) X(matvec, MATVEC) X(moe_up, MOE_UP) X(moe_matvec, MOE_MATVEC)   \
    X(swiglu, SWIGLU) X(qkrope, QKROPE) X(attn, ATTN) X(combine, COMBINE) X(router, ROUTER)             \
    X(sample_scan, SAMPLE_SCAN) X(sample_draw, SAMPLE_DRAW) X(probe, PROBE) X(stats, STATS) X(walk, WALK)
/* clang-format on */
#define X(word, WORD) op_##word = QM_OP_##WORD, size_##word = QM_##WORD##_SIZE,
enum { QM_OPS(X) op_end_ };
#undef X
#define X(word, WORD) [QM_OP_##WORD] = #word,
static const char *const op_names[QM_N_OPS] = {QM_OPS(X)};
#undef X

/* qm_kv_cache_type (kernels/ref/kv.h), for the table's column. */
enum {
#define QM_KV_CACHE(name, NAME, bytes) QM_KV_CACHE_##NAME,
#include "../../contracts/kv.def"
#undef QM_KV_CACHE
};

const qm_kernel_info qm_kernel_table[] = {
#define QM_KERNEL(op, wtype, hd, entry, block, tol) \
    {(qm_op_kind)op_##op, #op, wtype, -1, hd, #entry, block, tol, size_##op},
#define QM_KERNEL_KV(op, kv, hd, entry, block, tol) \
    {(qm_op_kind)op_##op, #op, -1, kv, hd, #entry, block, tol, size_##op},
#include "../../contracts/kernels.def"
#undef QM_KERNEL
#undef QM_KERNEL_KV
};
enum { N_KERNELS = sizeof qm_kernel_table / sizeof qm_kernel_table[0] };
const int qm_n_kernels = N_KERNELS;

int qm_kernel_find(qm_op_kind op, int wtype, int kv, int head_dim) {
    for (int i = 0; i < N_KERNELS; i++) {
        const qm_kernel_info *k = &qm_kernel_table[i];
        if (k->op == op && k->wtype == wtype && k->kv == kv && k->head_dim == head_dim) return i;
    }
    return -1;
}

const char *qm_op_name(qm_op_kind op) { return (unsigned)op < QM_N_OPS ? op_names[op] : "unknown op"; }

static const char *text_of(const char *file, const char *ext) {
    size_t n = strlen(file);
    for (const embedded_text *t = qm_embedded; t->name; t++)
        if (!strncmp(t->name, file, n) && !strcmp(t->name + n, ext)) return t->text;
    return NULL;
}
const char *qm_ptx_text(const char *file) { return text_of(file, ".ptx"); }
const char *qm_cu_text(const char *file) { return text_of(file, ".cu"); }
const char *qm_header_text(const char *name) { return text_of(name, ""); }

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
    CUmodule module[QM_N_OPS];      /* [op], NULL until first use: one file an op */
    CUfunction func[N_KERNELS];     /* NULL until first use */
    unsigned shared_set[N_KERNELS]; /* bytes of dynamic shared memory already allowed */
};

int qm_kernels_open(qm_kernels **out, qm_device *d, qm_err *e) {
    *out = calloc(1, sizeof **out);
    if (!*out) return qm_fail(e, QM_ERR_NOMEM, "kernels: out of host memory");
    (*out)->d = d;
    return 0;
}

void qm_kernels_close(qm_kernels *k) {
    if (!k) return;
    for (int i = 0; i < QM_N_OPS; i++)
        if (k->module[i]) k->d->cu.ModuleUnload(k->module[i]);
    free(k);
}

int qm_kernels_get(qm_kernels *k, int i, CUfunction *f, qm_err *e) {
    *f = NULL;
    if (i < 0 || i >= N_KERNELS) return qm_fail(e, QM_ERR_ARG, "kernel %d is not in the table of %d", i, N_KERNELS);
    const qm_kernel_info *info = &qm_kernel_table[i];
    int rc = 0;
    if (!k->func[i]) {
        CUmodule *mod = &k->module[info->op];
        if (!*mod) {
            const char *ptx = qm_ptx_text(info->file);
            if (!ptx)
                return qm_fail(e, QM_ERR_UNSUPPORTED, "kernel %s: this build has no kernels/ptx/%s.ptx", info->entry,
                               info->file);
            if ((rc = qm_module_load(k->d, info->file, ptx, mod, e))) return rc;
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

/* Dynamic shared memory beyond 48 KiB must be allowed once per function. */
static int allow_shared(qm_kernels *k, int i, unsigned shared, qm_err *e) {
    if (shared <= 48 * 1024 || shared <= k->shared_set[i]) return 0;
    CUresult r = k->d->cu.FuncSetAttribute(k->func[i], CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, (int)shared);
    if (r != CUDA_SUCCESS) {
        int rc = qm_cu_fail(k->d, r, "FuncSetAttribute()", e);
        qm_err_prefix(e, "kernel %s: %u bytes of shared memory", qm_kernel_table[i].entry, shared);
        return rc;
    }
    k->shared_set[i] = shared;
    return 0;
}

static int launch(qm_kernels *k, int i, const unsigned grid[3], unsigned block, unsigned shared, const void *args,
                  CUstream s, int resident, qm_err *e) {
    CUfunction f;
    int rc = qm_kernels_get(k, i, &f, e);
    if (rc) return rc;
    const qm_kernel_info *info = &qm_kernel_table[i];
    if (!block || block > (unsigned)info->max_block || !grid[0] || !grid[1] || !grid[2])
        return qm_fail(e, QM_ERR_ARG, "kernel %s: grid %u,%u,%u block %u (1..%d threads)", info->entry, grid[0],
                       grid[1], grid[2], block, info->max_block);
    if ((rc = allow_shared(k, i, shared, e))) return rc;
    /* One by-value struct; the driver copies info->args_bytes of it before it returns. */
    void *params[1];
    memcpy(params, &args, sizeof args);
    CUresult r = resident
                     ? k->d->cu.LaunchCooperativeKernel(f, grid[0], grid[1], grid[2], block, 1, 1, shared, s, params)
                     : k->d->cu.LaunchKernel(f, grid[0], grid[1], grid[2], block, 1, 1, shared, s, params, NULL);
    if (r != CUDA_SUCCESS) {
        rc = qm_cu_fail(k->d, r, resident ? "LaunchCooperativeKernel()" : "LaunchKernel()", e);
        qm_err_prefix(e, "kernel %s", info->entry);
    }
    return rc;
}

int qm_kernels_launch(qm_kernels *k, int i, const unsigned grid[3], unsigned block, unsigned shared, const void *args,
                      CUstream s, qm_err *e) {
    return launch(k, i, grid, block, shared, args, s, 0, e);
}

int qm_kernels_launch_resident(qm_kernels *k, int i, const unsigned grid[3], unsigned block, unsigned shared,
                               const void *args, CUstream s, qm_err *e) {
    return launch(k, i, grid, block, shared, args, s, 1, e);
}
