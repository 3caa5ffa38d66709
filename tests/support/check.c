/* check.c: see check.h. */
#include "check.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "../../runtime/device/counters.h"
#include "../../runtime/file/quant.h"

enum { GUARD = 256, GUARD_BYTE = 0xab, POISON_BYTE = 0xff, MAX_BUF = 64 };

typedef struct {
    char name[32];
    CUdeviceptr base;        /* what was allocated */
    uint64_t d;              /* what the kernel sees */
    size_t bytes, guard;     /* guard: bytes before and after d, 0 in checked mode */
    unsigned char *dev_copy; /* inputs: what was uploaded; else NULL */
    unsigned char *twin;
    size_t twin_bytes;
    unsigned char *got; /* last download */
} buf;

static struct {
    qm_device *dev;
    qm_kernels *kernels;
    uint64_t seed;
    qm_sim_options sim0; /* as found */
    int checked, verbose;
    char name[160];
    qm_rng rng;
    buf bufs[MAX_BUF];
    int n_bufs;
    void *tmp[256];
    int n_tmp;
} C;

qm_device *chk_device(void) { return C.dev; }
int chk_verbose(void) { return C.verbose; }
qm_rng *chk_rng(void) { return &C.rng; }
void chk_shuffle(uint32_t *v, uint32_t n) {
    for (uint32_t i = 0; i < n; i++) v[i] = i;
    for (uint32_t i = n - 1; i; i--) {
        uint32_t j = qm_rng_below(chk_rng(), i + 1), t = v[i];
        v[i] = v[j];
        v[j] = t;
    }
}

void chk_fail(const char *fmt, ...) {
    char msg[900];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(msg, sizeof msg, fmt, ap);
    va_end(ap);
    fail_msg("%s (QMOE_TEST_SEED=%llu): %s", C.name, (unsigned long long)C.seed, msg);
}

static void cu_try(CUresult r, const char *what) {
    qm_err e = {0};
    if (r != CUDA_SUCCESS) {
        qm_cu_fail(C.dev, r, what, &e);
        chk_fail("%s", e.msg);
    }
}

static uint64_t env_u64(const char *name, uint64_t dflt) {
    const char *s = getenv(name);
    return s && *s ? strtoull(s, NULL, 0) : dflt;
}

int chk_group_setup(void **state) {
    qm_err e = {0};
    char why[256] = "";
    const char *spec = getenv("QMOE_TEST_DEVICE");
    (void)state;
    C.seed = env_u64("QMOE_TEST_SEED", 1);
    C.verbose = env_u64("QMOE_TEST_VERBOSE", 0) != 0;
    snprintf(C.name, sizeof C.name, "setup");
    qm_sim_get_options(&C.sim0);
    C.sim0.sched_seed = env_u64("QMOE_SIM_SEED", C.sim0.sched_seed);
    qm_sim_set_options(&C.sim0);
    if (qm_device_open(&C.dev, spec && *spec ? spec : "sim", why, sizeof why, &e) ||
        qm_kernels_open(&C.kernels, C.dev, &e)) {
        print_error("device: %s\n", e.msg);
        return -1;
    }
    print_message("device %s (%s), QMOE_TEST_SEED=%llu QMOE_SIM_SEED=%llu\n", C.dev->spec, C.dev->name,
                  (unsigned long long)C.seed, (unsigned long long)C.sim0.sched_seed);
    return 0;
}

static void free_case(void) {
    for (int i = 0; i < C.n_bufs; i++) {
        buf *b = &C.bufs[i];
        if (b->base) C.dev->cu.MemFree(b->base);
        free(b->dev_copy);
        free(b->twin);
        free(b->got);
    }
    C.n_bufs = 0;
    while (C.n_tmp) free(C.tmp[--C.n_tmp]);
}

int chk_group_teardown(void **state) {
    (void)state;
    free_case();
    qm_kernels_close(C.kernels);
    qm_device_close(C.dev);
    return 0;
}

static void begin(int checked, int counted, const char *fmt, va_list ap) {
    free_case();
    vsnprintf(C.name, sizeof C.name, fmt, ap);
    C.checked = checked && C.dev->caps.interpreted;
    if (C.dev->caps.interpreted) { /* the software device: it has the controls of sim.h */
        qm_sim_options o = C.sim0;
        o.check_races |= checked;
        o.check_uninit |= checked;
        o.count |= counted;
        qm_sim_set_options(&o);
        qm_sim_counters_reset();
    }
    C.rng.s = counted ? 1 : C.seed; /* what is counted depends on the data, and its limits are of these */
    for (const char *p = C.name; *p; p++) C.rng.s = qm_rng_u64(&C.rng) ^ (unsigned char)*p;
    if (C.checked) {
        size_t n = strlen(C.name);
        snprintf(C.name + n, sizeof C.name - n, " [checked]");
    }
}

#define BEGIN(name, checked, counted)     \
    void name(const char *fmt, ...) {     \
        va_list ap;                       \
        va_start(ap, fmt);                \
        begin(checked, counted, fmt, ap); \
        va_end(ap);                       \
    }
BEGIN(chk_begin, 0, 0)
BEGIN(chk_begin_checked, 1, 0)
BEGIN(chk_begin_counted, 0, 1)

int chk_counters(int kernel, qm_sim_counters *c) {
    return qm_counters_here(C.dev) && qm_sim_counters_kernel(qm_kernel_table[kernel].entry, c);
}

void *chk_tmp(size_t bytes) {
    void *p = calloc(1, bytes ? bytes : 1);
    if (!p || C.n_tmp == (int)(sizeof C.tmp / sizeof *C.tmp)) chk_fail("scratch of %zu bytes", bytes);
    return C.tmp[C.n_tmp++] = p;
}

float *chk_normal(size_t n, float scale) {
    float *x = chk_tmp(n * sizeof *x);
    for (size_t i = 0; i < n; i++) x[i] = scale * qm_rng_normal(&C.rng);
    return x;
}

/* ---- buffers ---- */

static void *copy_of(const void *p, size_t n) {
    void *q = malloc(n ? n : 1);
    if (!q) chk_fail("out of memory (%zu bytes)", n);
    if (p && n) memcpy(q, p, n);
    return q;
}

/* dev NULL: an output. keep: contents must be the same at chk_end. */
static uint64_t add(const char *name, const void *dev, size_t n, const void *ref, size_t n_ref, int keep) {
    buf *b = &C.bufs[C.n_bufs];
    if (C.n_bufs == MAX_BUF) chk_fail("too many buffers");
    memset(b, 0, sizeof *b);
    C.n_bufs++;
    snprintf(b->name, sizeof b->name, "%s", name);
    b->bytes = n;
    b->twin_bytes = n_ref;
    b->guard = C.checked ? 0 : GUARD;
    b->twin = copy_of(ref, n_ref);
    if (!ref) memset(b->twin, POISON_BYTE, n_ref);
    size_t total = n + 2 * b->guard;
    cu_try(C.dev->cu.MemAlloc(&b->base, total ? total : 1), name);
    b->d = b->base + b->guard;
    if (b->guard) {
        unsigned char *img = copy_of(NULL, total);
        memset(img, GUARD_BYTE, total);
        if (dev) memcpy(img + b->guard, dev, n);
        else memset(img + b->guard, POISON_BYTE, n);
        CUresult r = C.dev->cu.MemcpyHtoD(b->base, img, total);
        free(img);
        cu_try(r, name);
    } else if (dev && n) {
        cu_try(C.dev->cu.MemcpyHtoD(b->base, dev, n), name);
    }
    if (keep) b->dev_copy = copy_of(dev, n);
    return b->d;
}

uint64_t chk_in(const char *name, const void *p, size_t n) { return add(name, p, n, p, n, 1); }
uint64_t chk_out(const char *name, size_t n) { return add(name, NULL, n, NULL, n, 0); }
uint64_t chk_inout(const char *name, const void *p, size_t n) { return add(name, p, n, p, n, 0); }
uint64_t chk_in2(const char *name, const void *dev, size_t n, const void *ref, size_t n_ref) {
    return add(name, dev, n, ref, n_ref, 1);
}

/* The buffer that holds device address d. */
static buf *find(uint64_t d) {
    for (int i = 0; i < C.n_bufs; i++)
        if (d >= C.bufs[i].d && (d < C.bufs[i].d + C.bufs[i].bytes || d == C.bufs[i].d)) return &C.bufs[i];
    return NULL;
}

static buf *need(uint64_t d) {
    buf *b = find(d);
    if (!b) chk_fail("no buffer at %#llx", (unsigned long long)d);
    return b;
}

void chk_write(uint64_t d, const void *p, size_t n) {
    buf *b = need(d);
    size_t off = d - b->d;
    if (off + n > b->bytes || off + n > b->twin_bytes) chk_fail("%s: write past the end", b->name);
    cu_try(C.dev->cu.MemcpyHtoD(d, p, n), b->name);
    memcpy(b->twin + off, p, n);
    if (b->dev_copy) memcpy(b->dev_copy + off, p, n);
}

void *chk_twin(uint64_t d) {
    if (!d) return NULL;
    buf *b = need(d);
    return b->twin + (d - b->d);
}

static void to_twin(uint64_t *field) {
    buf *b = find(*field);
    if (b) *field = (uint64_t)(uintptr_t)(b->twin + (*field - b->d));
}

#define OP(word, WORD)                                                  \
    static void twins_of_##word(qm_##word##_args *a, const void *src) { \
        memmove(a, src, sizeof *a);
#define OPERAND(field, ...) to_twin(&a->field);
#define END(word) }
#include "../../contracts/ops.def"

void chk_ref_args(qm_op_kind op, void *dst, const void *src) {
    switch (op) {
/* clang-format off */
#define OP(word, WORD) case QM_OP_##WORD: twins_of_##word(dst, src); break;
#include "../../contracts/ops.def"
    default: chk_fail("no op %d", (int)op);
    }
    /* clang-format on */
}

const void *chk_get(uint64_t d) {
    buf *b = need(d);
    if (d != b->d) chk_fail("%s: chk_get of an inner address", b->name);
    if (!b->got) b->got = copy_of(NULL, b->bytes);
    if (b->bytes) cu_try(C.dev->cu.MemcpyDtoH(b->got, b->d, b->bytes), b->name);
    return b->got;
}

void chk_end(void) {
    for (int i = 0; i < C.n_bufs; i++) {
        buf *b = &C.bufs[i];
        size_t total = b->bytes + 2 * b->guard;
        if (!b->guard && !b->dev_copy) continue;
        unsigned char *img = chk_tmp(total);
        if (total) cu_try(C.dev->cu.MemcpyDtoH(img, b->base, total), b->name);
        for (size_t j = 0; j < b->guard; j++) {
            if (img[b->guard - 1 - j] != GUARD_BYTE)
                chk_fail("%s: byte %zu before the buffer was written", b->name, j + 1);
            if (img[b->guard + b->bytes + j] != GUARD_BYTE)
                chk_fail("%s: byte %zu after the end was written", b->name, j);
        }
        if (b->dev_copy)
            for (size_t j = 0; j < b->bytes; j++)
                if (img[b->guard + j] != b->dev_copy[j]) chk_fail("%s: input byte %zu was changed", b->name, j);
    }
    free_case();
}

/* ---- launches ---- */

int chk_kernel(qm_op_kind op, int wtype, int head_dim) {
    int i = qm_kernel_find(op, wtype, -1, head_dim);
    if (i < 0) chk_fail("no kernel %s, weights %d, head_dim %d", qm_op_name(op), wtype, head_dim);
    return i;
}

int chk_kernel_kv(qm_op_kind op, int kv, int head_dim) {
    int i = qm_kernel_find(op, -1, kv, head_dim);
    if (i < 0) chk_fail("no kernel %s, cache %d, head_dim %d", qm_op_name(op), kv, head_dim);
    return i;
}

int chk_kernel_rows(qm_op_kind op, int wtype, int width) {
    int i = qm_kernel_find_rows(op, wtype, width);
    if (i < 0) chk_fail("no kernel %s, weights %d, width %d", qm_op_name(op), wtype, width);
    return i;
}

double chk_tolerance(int kernel) { return qm_kernel_table[kernel].tolerance; }

void chk_launch(int kernel, unsigned gx, unsigned gy, unsigned gz, unsigned block, unsigned shared, const void *args) {
    const unsigned grid[3] = {gx, gy, gz};
    qm_err e = {0};
    /* the one kernel whose CTAs wait for each other */
    int rc = qm_kernel_table[kernel].op == QM_OP_WALK
                 ? qm_kernels_launch_resident(C.kernels, kernel, grid, block, shared, args, NULL, &e)
                 : qm_kernels_launch(C.kernels, kernel, grid, block, shared, args, NULL, &e);
    if (rc) chk_fail("%s", e.msg);
    cu_try(C.dev->cu.CtxSynchronize(), qm_kernel_table[kernel].entry);
}

/* ---- comparisons ---- */

static int same_kind(double a, double b) {
    if (isnan(a) || isnan(b)) return isnan(a) && isnan(b);
    if (isinf(a) || isinf(b)) return a == b;
    return 1;
}

static const char *name_at(uint64_t d, const buf *b, char *s, size_t n) {
    if (d == b->d) snprintf(s, n, "%s", b->name);
    else snprintf(s, n, "%s+%llu", b->name, (unsigned long long)(d - b->d));
    return s;
}

/* ref, got as doubles; slack[i] (or NULL) is what element i may differ by besides the tolerance. */
static void compare(const char *name, const double *ref, const double *got, const double *slack, size_t n, double tol) {
    double norm = 0, err = 0, worst = -1;
    size_t wi = 0, first = n;
    for (size_t i = 0; i < n; i++) {
        if (!same_kind(ref[i], got[i])) chk_fail("%s[%zu]: ref %.9g, got %.9g (of %zu)", name, i, ref[i], got[i], n);
        if (!isfinite(ref[i])) continue;
        double d = fabs(ref[i] - got[i]) - (slack ? slack[i] : 0);
        if (d < 0) d = 0;
        norm += ref[i] * ref[i];
        err += d * d;
        if (d > worst) {
            worst = d;
            wi = i;
        }
    }
    norm = sqrt(norm);
    err = sqrt(err);
    if (C.verbose) print_message("  %s: %s: error %.2e of %.1e\n", C.name, name, norm ? err / norm : err, tol);
    if (err <= tol * norm) return;
    /* the first index that alone is over the share of an even spread */
    for (size_t i = 0; i < n && first == n; i++)
        if (isfinite(ref[i]) && fabs(ref[i] - got[i]) - (slack ? slack[i] : 0) > tol * norm / sqrt((double)n))
            first = i;
    if (first == n) first = wi;
    chk_fail("%s: error %.3e of the norm, allowed %.1e; first bad [%zu]: ref %.9g, got %.9g; worst [%zu]: "
             "ref %.9g, got %.9g (of %zu)",
             name, err / (norm ? norm : 1), tol, first, ref[first], got[first], wi, ref[wi], got[wi], n);
}

void chk_f32_part(uint64_t d, size_t first, size_t n, double tol) {
    buf *b = need(d);
    const float *got = chk_get(d), *ref = (const float *)b->twin;
    double *r = chk_tmp(2 * n * sizeof *r), *g = r + n;
    if ((first + n) * 4 > b->bytes) chk_fail("%s: comparison past the end", b->name);
    for (size_t i = 0; i < n; i++) {
        r[i] = ref[first + i];
        g[i] = got[first + i];
    }
    compare(b->name, r, g, NULL, n, tol);
    free(C.tmp[--C.n_tmp]);
}

void chk_f32(uint64_t d, size_t n, double tol) { chk_f32_part(d, 0, n, tol); }

void chk_f16(uint64_t d, size_t n, double tol) {
    buf *b = need(d);
    const uint16_t *got = chk_get(d), *ref = (const uint16_t *)b->twin;
    double *r = chk_tmp(3 * n * sizeof *r), *g = r + n, *s = g + n;
    for (size_t i = 0; i < n; i++) {
        int e;
        r[i] = qm_f16_to_f32(ref[i]);
        g[i] = qm_f16_to_f32(got[i]);
        frexp(r[i], &e);
        s[i] = isfinite(r[i]) ? ldexp(1.0, (e < -13 ? -13 : e) - 11) : 0;
    }
    compare(b->name, r, g, s, n, tol);
    free(C.tmp[--C.n_tmp]);
}

void chk_bytes(uint64_t d, size_t bytes) {
    buf *b = need(d);
    const unsigned char *got = chk_get(d);
    for (size_t i = 0; i < bytes; i++)
        if (got[i] != b->twin[i])
            chk_fail("%s: byte %zu: ref 0x%02x, got 0x%02x (of %zu)", b->name, i, b->twin[i], got[i], bytes);
}

void chk_untouched(uint64_t d, size_t first, size_t n) {
    const unsigned char *got = chk_get(d);
    if (C.checked) return; /* there is no poison in it */
    for (size_t i = 0; i < n; i++)
        if (got[first + i] != POISON_BYTE) chk_fail("%s: byte %zu was written", need(d)->name, first + i);
}

void chk_u32(uint64_t d, size_t n) {
    buf *b = need(d);
    const uint32_t *got = chk_get(d), *ref = (const uint32_t *)b->twin;
    for (size_t i = 0; i < n; i++)
        if (got[i] != ref[i]) chk_fail("%s[%zu]: ref %u, got %u (of %zu)", b->name, i, ref[i], got[i], n);
}

void chk_q16a(uint64_t d, uint64_t y, size_t n, double tol) {
    buf *b = need(d);
    char name[64];
    const unsigned char *all = chk_get(b->d), *got = all + (d - b->d), *ref = b->twin + (d - b->d);
    float *x = chk_tmp(n * 4), *xr = chk_tmp(n * 4);
    name_at(d, b, name, sizeof name);
    if (y) {
        const float *gy = chk_get(y);
        unsigned char *want = chk_tmp(QM_Q16A_BYTES(n));
        qm_q16a_quantize(want, gy, n);
        for (size_t i = 0; i < QM_Q16A_DATA(n); i++)
            if (want[i] != got[i]) {
                size_t g = i < 2 * n ? i % n / 32 : (i - 2 * n) / 4;
                uint32_t dw, dg;
                memcpy(&dw, want + 2 * n + 4 * g, 4);
                memcpy(&dg, got + 2 * n + 4 * g, 4);
                chk_fail("%s: byte %zu of the device's own f32 quantised: want 0x%02x, got 0x%02x; group %zu: "
                         "d want %08x, got %08x",
                         name, i, want[i], got[i], g, dw, dg);
            }
        free(C.tmp[--C.n_tmp]);
    }
    double *r = chk_tmp(3 * n * sizeof *r), *g = r + n, *s = g + n;
    qm_q16a_dequantize(x, got, n);
    qm_q16a_dequantize(xr, ref, n);
    for (size_t i = 0; i < n / 32; i++) {
        float gd, rd;
        memcpy(&gd, got + 2 * n + 4 * i, 4);
        memcpy(&rd, ref + 2 * n + 4 * i, 4);
        if (!same_kind(gd, rd)) chk_fail("%s: group %zu: d ref %g, got %g", name, i, rd, gd);
        for (int j = 0; j < 32; j++) {
            size_t k = 32 * i + (size_t)j;
            int ok = isfinite(gd);
            r[k] = ok ? xr[k] : 0;
            g[k] = ok ? x[k] : 0;
            s[k] = ok ? fmax(rd, gd) * 1.0001 : 0; /* q may fall to either side of a half */
        }
    }
    compare(name, r, g, s, n, tol);
    free(C.tmp[--C.n_tmp]);
    free(C.tmp[--C.n_tmp]);
    free(C.tmp[--C.n_tmp]);
}
