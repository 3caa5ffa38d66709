/* stamp.c: see stamp.h. The texts are preprocessed: no comments, no strings. */
#include "stamp.h"
#include "texts.h"
#include <ctype.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char k_param[] = ", .param .u64 qm_stamp";

/* Registers in a scope of their own; one thread a CTA at the begin, one lane a warp at the end. All ones are
 * the most for the unsigned minimum and the least for the signed maximum. */
static const char k_begin[] = "\n{\n"
                              ".reg .pred %qms_p;\n.reg .b32 %qms_t;\n.reg .b64 %qms_a, %qms_v;\n"
                              "mov.u32 %qms_t, %tid.x;\n"
                              "setp.eq.u32 %qms_p, %qms_t, 0;\n"
                              "ld.param.u64 %qms_a, [qm_stamp];\n"
                              "mov.u64 %qms_v, %globaltimer;\n"
                              "@%qms_p red.relaxed.gpu.global.min.u64 [%qms_a], %qms_v;\n"
                              "}\n";
static const char k_end[] = "{\n"
                            ".reg .pred %qms_p;\n.reg .b32 %qms_t;\n.reg .b64 %qms_a, %qms_v;\n"
                            "mov.u32 %qms_t, %tid.x;\n"
                            "and.b32 %qms_t, %qms_t, 31;\n"
                            "setp.eq.u32 %qms_p, %qms_t, 0;\n"
                            "ld.param.u64 %qms_a, [qm_stamp];\n"
                            "mov.u64 %qms_v, %globaltimer;\n"
                            "@%qms_p red.relaxed.gpu.global.max.s64 [%qms_a+8], %qms_v;\n"
                            "}\n"
                            "ret;";

typedef struct {
    char *s;
    size_t n, cap;
} text;

static int append(text *t, const char *s, size_t n) {
    if (t->n + n + 1 > t->cap) {
        size_t cap = 2 * t->cap + n + 4096;
        char *p = realloc(t->s, cap);
        if (!p) return -1;
        t->s = p;
        t->cap = cap;
    }
    memcpy(t->s + t->n, s, n);
    t->s[t->n += n] = 0;
    return 0;
}

static int is_word(char c) { return isalnum((unsigned char)c) || c == '_' || c == '$' || c == '%' || c == '.'; }

/* Is there the statement `ret;` at p? Predicated returns are not: they would need a label. */
static size_t ret_at(const char *from, const char *p) {
    if (strncmp(p, "ret", 3) || is_word(p[3]) || (p > from && is_word(p[-1]))) return 0;
    size_t n = 3;
    while (isspace((unsigned char)p[n])) n++;
    return p[n] == ';' ? n + 1 : 0;
}

/* What stands before the statement: only an end of another, a brace or a label leaves it unconditional. */
static int unconditional(const char *from, const char *p) {
    while (p > from && isspace((unsigned char)p[-1])) p--;
    return p == from || strchr(";{}:", p[-1]);
}

/* One entry, from its name to its closing brace; returns the first byte after it, or NULL with *bad set
 * (out of memory: "memory"). */
static const char *entry(text *t, const char *p, const char **bad) {
    const char *close = strchr(p, ')'), *body = close ? strchr(close, '{') : NULL, *from;
    int depth = 0, rets = 0;
    *bad = "has no parameters or no body";
    if (!body || memchr(p, '{', (size_t)(close - p))) return NULL;
    if (append(t, p, (size_t)(close - p)) || append(t, k_param, sizeof k_param - 1) ||
        append(t, close, (size_t)(body + 1 - close)) || append(t, k_begin, sizeof k_begin - 1))
        goto memory;
    for (from = p = body + 1, depth = 1; *p && depth;) {
        size_t n = ret_at(body, p);
        if (!n) {
            depth += *p == '{' ? 1 : *p == '}' ? -1 : 0;
            p++;
            continue;
        }
        *bad = "has a conditional return";
        if (!unconditional(body, p)) return NULL;
        if (append(t, from, (size_t)(p - from)) || append(t, k_end, sizeof k_end - 1)) goto memory;
        from = p += n;
        rets++;
    }
    *bad = depth ? "has no end" : "never returns";
    if (depth || !rets) return NULL;
    if (!append(t, from, (size_t)(p - from))) return p;
memory:
    *bad = "memory";
    return NULL;
}

int qm_stamp_text(char **out, const char *ptx, qm_err *e) {
    text t = {0};
    const char *p = ptx, *at, *bad = NULL;
    *out = NULL;
    while ((at = strstr(p, ".entry"))) {
        at += 6;
        while (isspace((unsigned char)*at)) at++;
        if (append(&t, p, (size_t)(at - p))) goto memory;
        if (!(p = entry(&t, at, &bad))) {
            free(t.s);
            if (!strcmp(bad, "memory")) return qm_fail(e, QM_ERR_NOMEM, "stamps: out of memory");
            return qm_fail(e, QM_ERR_UNSUPPORTED, "stamps: the entry %.*s %s", (int)strcspn(at, " (\n"), at, bad);
        }
    }
    if (append(&t, p, strlen(p))) goto memory;
    *out = t.s;
    return 0;
memory:
    free(t.s);
    return qm_fail(e, QM_ERR_NOMEM, "stamps: out of memory");
}

struct qm_stamped {
    qm_device *d;
    CUmodule module[QM_N_KERNELS]; /* NULL until first use */
    CUfunction func[QM_N_KERNELS];
};

int qm_stamped_open(qm_stamped **out, qm_device *d, qm_err *e) {
    qm_stamped *k = *out = calloc(1, sizeof *k);
    if (!k) return qm_fail(e, QM_ERR_NOMEM, "stamps: out of memory");
    k->d = d;
    return 0;
}

void qm_stamped_close(qm_stamped *k) {
    if (!k) return;
    for (int i = 0; i < QM_N_KERNELS; i++)
        if (k->module[i]) k->d->cu.ModuleUnload(k->module[i]);
    free(k);
}

int qm_stamped_load(qm_stamped *k, int i, qm_err *e) {
    if (i < 0 || i >= QM_N_KERNELS)
        return qm_fail(e, QM_ERR_ARG, "kernel %d is not in the table of %d", i, QM_N_KERNELS);
    const qm_kernel_info *info = &qm_kernel_table[i];
    int rc = 0;
    if (k->func[i]) return 0;
    CUmodule *mod = &k->module[i];
    if (!*mod) {
        char *ptx, *with = NULL;
        if ((rc = qm_ptx_entry(&ptx, info->file, info->entry, e))) return rc;
        rc = qm_stamp_text(&with, ptx, e);
        if (!rc) rc = qm_module_load(k->d, info->entry, with, mod, e);
        free(with);
        free(ptx);
        if (rc) return rc;
    }
    CUfunction f;
    QM_CU_TRY(k->d, ModuleGetFunction(&f, *mod, info->entry));
    /* as much dynamic shared memory as any launch of a kernel here asks for */
    int optin = 0, fixed = 0;
    QM_CU_TRY(k->d, DeviceGetAttribute(&optin, CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN, k->d->dev));
    QM_CU_TRY(k->d, FuncGetAttribute(&fixed, CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES, f));
    if (optin - fixed > 48 * 1024)
        QM_CU_TRY(k->d, FuncSetAttribute(f, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, optin - fixed));
    k->func[i] = f;
out:
    if (rc) qm_err_prefix(e, "kernel %s with stamps", info->entry);
    return rc;
}

int qm_stamped_launch(qm_stamped *k, int i, const unsigned grid[3], unsigned block, unsigned shared, const void *args,
                      CUdeviceptr stamp, CUstream s, qm_err *e) {
    int rc = qm_stamped_load(k, i, e);
    if (rc) return rc;
    void *params[2];
    memcpy(params, &args, sizeof args);
    params[1] = &stamp;
    QM_CU_TRY(k->d, LaunchKernel(k->func[i], grid[0], grid[1], grid[2], block, 1, 1, shared, s, params, NULL));
out:
    if (rc) qm_err_prefix(e, "kernel %s with stamps", qm_kernel_table[i].entry);
    return rc;
}
