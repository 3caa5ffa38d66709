/* check_isa: every opcode form that the software device executes, one small kernel each, on the device
 * named by QMOE_TEST_DEVICE (default sim): the same programs run on a real GPU. They are the .ptx files that make.py
 * writes into build/isa. Expected values are computed here, in C, by other means than the interpreter's (the headers).
 * On a real GPU each program also runs on the software device, with the same operands: the GPU's results must
 * agree with C's and the software device's with both; where bits differ all the same (an approximation within its
 * bound, a NaN's payload) the test says how often and how far. QMOE_TEST_AGAINST=sim asks for that on sim too.
 * QMOE_TEST_ISA=name runs only the files or entries with that name; QMOE_TEST_SEED seeds the operands. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "../../runtime/base/rng.h"
#include "../../runtime/device/cuda.h"
#include "numbers.h"
#include "solib.h"

enum { IN_BYTES = 32, OUT_BYTES = 16, N_ITEMS = 2048, N_MOST = 65536, BLOCK = 128 };
enum { C_BITS, C_FLOAT, C_HALF, C_BHALF, C_NEAR, C_HNEAR };
typedef struct {
    const char *file, *entry, *kinds;
    int bytes, how;
    double rel, tiny;
    void (*expect)(const u64 *x, void *d); /* NEAR: d is a double */
} elementwise;

/* clang-format off */
#define ARGS(T) T a, b, c; memcpy(&a, &x[0], sizeof a); memcpy(&b, &x[1], sizeof b); memcpy(&c, &x[2], sizeof c); (void)a; (void)b; (void)c;
#define DEFINE(entry, T, R, expr) static void e_##entry(const u64 *x, void *d) { ARGS(T) R r = (R)(expr); memcpy(d, &r, sizeof r); }
/* clang-format on */
#define CASE(file, entry, k, T, R, expr) DEFINE(entry, T, R, expr)
#define FCASE CASE
#define HCASE CASE
#define BCASE CASE
#define NEAR(file, entry, k, T, R, rel, tiny, expr) DEFINE(entry, T, f64, expr)
#define HNEAR(file, entry, k, T, R, rel, tiny, expr) DEFINE(entry, T, R, expr)
#include "int.h"
#include "float.h"
#undef CASE
#undef FCASE
#undef HCASE
#undef BCASE
#undef NEAR
#undef HNEAR
#define ROW(file, entry, k, R, how, rel, tiny) {#file, #entry, k, sizeof(R), how, rel, tiny, e_##entry},
#define CASE(file, entry, k, T, R, expr) ROW(file, entry, k, R, C_BITS, 0, 0)
#define FCASE(file, entry, k, T, R, expr) ROW(file, entry, k, R, C_FLOAT, 0, 0)
#define HCASE(file, entry, k, T, R, expr) ROW(file, entry, k, R, C_HALF, 0, 0)
#define BCASE(file, entry, k, T, R, expr) ROW(file, entry, k, R, C_BHALF, 0, 0)
#define NEAR(file, entry, k, T, R, rel, tiny, expr) ROW(file, entry, k, R, C_NEAR, rel, tiny)
#define HNEAR(file, entry, k, T, R, rel, tiny, expr) ROW(file, entry, k, R, C_HNEAR, rel, tiny)
static const elementwise k_cases[] = {
#include "int.h"
#include "float.h"
};
enum { N_CASES = sizeof k_cases / sizeof *k_cases };

/* Kernels that are not elementwise: expect() fills out from in; out starts as 0xff bytes on both sides. */
typedef struct {
    const char *file, *entry;
    unsigned grid, block, in_bytes, out_bytes;
    void (*prepare)(u8 *in); /* shapes the random input; may be NULL */
    void (*expect)(const u8 *in, u8 *out);
    double rel; /* 0: bytes must agree; else f32s within rel * |d| + rel */
} whole;
#include "whole.h"
enum { N_WHOLE = sizeof k_whole / sizeof *k_whole };

static qm_device *g_dev, *g_sim;     /* g_sim: what g_dev is compared with, or NULL */
static uint64_t g_compared, g_other; /* results on both devices; those with other bits */
static uint64_t g_seed = 1;
static const char *g_only;

/* ---- operands ---- */
static const u32 edge32[] = {0,          1,          2,          3,          7,          31,         32,
                             255,        256,        0xffff,     0x10000,    0x7fff8000, 0x80008000, 0x55555555,
                             0x7ffffffe, 0x7fffffff, 0x80000000, 0x80000001, 0xffffff80, 0xfffffffe, 0xffffffff};
static const u64 edge64[] = {0,
                             1,
                             2,
                             0xff,
                             0x7fffffff,
                             0x80000000,
                             0xffffffff,
                             0x100000000,
                             0x5555555555555555,
                             0x7fffffffffffffff,
                             0x8000000000000000,
                             0x8000000000000001,
                             0xffffffff00000000,
                             0xffffffff80000000,
                             0xfffffffffffffffe,
                             0xffffffffffffffff};
static const u16 edge16[] = {0,      1,      2,      127,    128,    255,    256,   0x5555,
                             0x7ffe, 0x7fff, 0x8000, 0x8001, 0xff7f, 0xfffe, 0xffff};
static const f32 edgef[] = {0,
                            -0.f,
                            1,
                            -1,
                            0.5f,
                            -0.5f,
                            1.5f,
                            2.5f,
                            -2.5f,
                            0x1.000002p0f,
                            0x1.fffffep-1f,
                            16777216,
                            1e-8f,
                            0x1p31f,
                            -0x1p31f,
                            0x1p32f,
                            0x1p63f,
                            -0x1p63f,
                            0x1p64f,
                            127.5f,
                            255.5f,
                            -128.5f,
                            65504,
                            65519,
                            65520,
                            -70000,
                            3e38f,
                            -3e38f,
                            0x1.fffffep127f,
                            0x1p-126f,
                            0x1.fffffcp-127f,
                            0x1p-149f,
                            -0x1p-149f,
                            0x1p-24f,
                            0x1p-25f,
                            0x1.8p-25f,
                            0x1p-14f,
                            100,
                            -100,
                            0x1p-127f,
                            0x1.000002p126f,
                            -0x1.000002p126f}; /* whose reciprocals lie just below 2^-126 */
static const f64 edged[] = {0,
                            -0.,
                            1,
                            -1,
                            0.5,
                            -1.5,
                            2.5,
                            0x1.0000000000001p0,
                            0x1.000001p0,
                            0x1.0000010000001p0,
                            0x1.fffffefp127,
                            0x1p31,
                            -0x1p31,
                            0x1p32,
                            0x1p63,
                            0x1p64,
                            -0x1p63,
                            1e300,
                            -1e300,
                            0x1p-1074,
                            0x1p-1022,
                            0x1p-149,
                            0x1.8p-150,
                            0x1p-150,
                            65519.99,
                            65520,
                            0x1.8p-25,
                            100,
                            -100.25};
static const u16 edgeh[] = {0,      0x8000, 0x3c00, 0xbc00, 0x3800, 0x3e00, 0x4100, 0x0001,
                            0x8001, 0x03ff, 0x0400, 0x7bff, 0xfbff, 0x7c00, 0xfc00, 0x7e00,
                            0x7fff, 0xfe01, 0x3c01, 0x3bff, 0x5640, 0x7800, 0x4900};
static const u16 edgeb[] = {0,      0x8000, 0x3f80, 0xbf80, 0x3f00, 0x3fc0, 0x4020, 0x0001, 0x8001, 0x007f, 0x0080,
                            0x7f7f, 0xff7f, 0x7f80, 0xff80, 0x7fc0, 0x7fff, 0xffc1, 0x3f81, 0x3f7f, 0x42c8, 0x7e00};
#define N(a) (sizeof(a) / sizeof *(a))
static unsigned n_edges(char k) {
    switch (k) {
    case 'i':
    case 'j': return N(edge32);
    case 'l':
    case 'k': return N(edge64);
    case 'H':
    case 'J': return N(edge16);
    case 'f': return N(edgef) + 3;
    case 'd': return N(edged) + 3;
    case 'e':
    case 'E': return N(edgeh);
    case 'r':
    case 'R': return N(edgeb);
    default: return 0;
    }
}
static f64 special(unsigned i) { return i == 0 ? INFINITY : i == 1 ? -INFINITY : NAN; }

/* Operand of kind k: its i-th edge value if i is below n_edges, else a random one. */
static u64 operand(char k, unsigned i, qm_rng *g) {
    const int edge = i < n_edges(k), bits = qm_rng_below(g, 2) == 0;
    const f64 normal = qm_rng_normal(g) * ldexp(1, (int)qm_rng_below(g, 24) - 12);
    u64 v;
    switch (k) {
    case 'i': return edge ? edge32[i] : qm_rng_u32(g);
    case 'j': v = edge ? edge32[i] : qm_rng_u32(g) >> qm_rng_below(g, 32); return v ? v : 1;
    case 'l': return edge ? edge64[i] : qm_rng_u64(g);
    case 'k': v = edge ? edge64[i] : qm_rng_u64(g) >> qm_rng_below(g, 64); return v ? v : 1;
    case 'H': return edge ? edge16[i] : (u16)qm_rng_u32(g);
    case 'J': v = edge ? edge16[i] : (u16)qm_rng_u32(g) >> qm_rng_below(g, 16); return v ? v : 1;
    case 'n': return qm_rng_below(g, 8) ? qm_rng_below(g, 70) : qm_rng_u32(g);
    case 'o': return qm_rng_below(g, 8) ? qm_rng_below(g, 70) : qm_rng_below(g, 256);
    case 'N': return (u64)qm_rng_below(g, 70) << 32 | qm_rng_below(g, 70);
    case 'f':
        return f_bits(edge   ? (i < N(edgef) ? edgef[i] : (f32)special(i - N(edgef)))
                      : bits ? bits_f(qm_rng_u32(g))
                             : (f32)normal);
    case 'g':
        return f_bits((f32)ldexp(0.5 + qm_rng_u32(g) * 0x1p-33, (int)qm_rng_below(g, 100) - 50) * (bits ? 1 : -1));
    case 'c': return f_bits(qm_rng_unit(g) * 3.1415925f);
    case 'd':
        v = qm_rng_u64(g);
        return edge   ? d_bits(i < N(edged) ? edged[i] : special(i - N(edged)))
               : bits ? v
                      : d_bits(normal * (1 + 0x1p-30 * qm_rng_unit(g)));
    case 'D': return d_bits(ldexp(0.5 + qm_rng_u32(g) * 0x1p-33, (int)qm_rng_below(g, 100) - 50));
    case 'e': return edge ? edgeh[i] : bits ? (u16)qm_rng_u32(g) : H(normal);
    case 'r': return edge ? edgeb[i] : bits ? (u16)qm_rng_u32(g) : BF(normal);
    case 'E': return operand('e', i, g) | operand('e', ~0u, g) << 16;
    case 'R': return operand('r', i, g) | operand('r', ~0u, g) << 16;
    default: fail_msg("unknown operand kind %c", k); return 0;
    }
}

/* ---- the device ---- */
#define TRY(call)                              \
    do {                                       \
        CUresult r_ = dev->cu.call;            \
        if (r_) {                              \
            qm_err e_;                         \
            qm_cu_fail(dev, r_, #call, &e_);   \
            fail_msg("%s: %s", entry, e_.msg); \
        }                                      \
    } while (0)

static void use(qm_device *dev) {
    const char *entry = dev->name;
    TRY(CtxSetCurrent(dev->ctx));
}

static void run(qm_device *dev, CUmodule m, const char *entry, unsigned grid, unsigned block, const void *in,
                size_t in_bytes, void *out, size_t out_bytes) {
    CUfunction f;
    CUdeviceptr d_in, d_out;
    use(dev);
    TRY(ModuleGetFunction(&f, m, entry));
    TRY(MemAlloc(&d_in, in_bytes));
    TRY(MemAlloc(&d_out, out_bytes));
    TRY(MemcpyHtoD(d_in, in, in_bytes));
    TRY(MemsetD8Async(d_out, 0xff, out_bytes, NULL));
    TRY(LaunchKernel(f, grid, 1, 1, block, 1, 1, 0, NULL, (void *[]){&d_in, &d_out}, NULL));
    TRY(CtxSynchronize());
    TRY(MemcpyDtoH(out, d_out, out_bytes));
    TRY(MemFree(d_in));
    TRY(MemFree(d_out));
}

static f64 as_value(const void *p, int bytes) {
    u64 v = 0;
    memcpy(&v, p, (size_t)bytes);
    if (bytes == 4) return bits_f((u32)v);
    f64 d;
    memcpy(&d, &v, 8);
    return d;
}

static int near(f64 got, f64 want, f64 rel, f64 tiny) {
    if (isnan(want) || isnan(got)) return isnan(want) && isnan(got);
    if (isinf(want) || isinf(got)) /* an overflow's edge may fall either way */
        return got == want ||
               (fabs(want) > 0x1.fffffp127 && fabs(want) < 0x1.00001p128 && signbit(got) == signbit(want) &&
                fabs(got) > 0x1.ffffp127) ||
               (fabs(want) >= 0x1p128 && isinf(got) && signbit(got) == signbit(want));
    return fabs(got - want) <= rel * fabs(want) + tiny;
}

/* Is what the device stored right? d: what expect() gave. */
static int agrees(const elementwise *c, const u8 *got, const u8 *d) {
    switch (c->how) {
    case C_FLOAT:
        if (isnan(as_value(got, c->bytes)) && isnan(as_value(d, c->bytes))) return 1;
        break;
    case C_NEAR: return near(as_value(got, c->bytes), as_value(d, 8), c->rel, c->tiny);
    case C_HALF:
    case C_BHALF:
    case C_HNEAR:
        for (int i = 0; i < c->bytes; i += 2) {
            u16 g, w;
            memcpy(&g, got + i, 2);
            memcpy(&w, d + i, 2);
            const f64 x = c->how == C_BHALF ? BV(g) : HV(g), y = c->how == C_BHALF ? BV(w) : HV(w);
            if (isnan(x) && isnan(y)) continue;
            if (x == 0 && y == 0 && strstr(c->entry, "relu"))
                continue; /* the ISA leaves the sign of a clamped -0 open */
            if (g == w || (c->how == C_HNEAR && near(x, y, c->rel, c->tiny))) continue;
            return 0;
        }
        return 1;
    default: break;
    }
    return !memcmp(got, d, (size_t)c->bytes);
}

/* got (the GPU's) beside sim's: counts where bits differ, and says it. Both have been judged by then. */
static void compare(const char *entry, const u8 *got, const u8 *sim, size_t n, size_t stride, int bytes, int is_float) {
    size_t other = 0;
    f64 far = 0;
    for (size_t i = 0; i < n; i++) {
        const u8 *a = got + i * stride, *b = sim + i * stride;
        if (!memcmp(a, b, (size_t)bytes)) continue;
        other++;
        if (!is_float || (bytes != 4 && bytes != 8)) continue;
        const f64 x = as_value(a, bytes), y = as_value(b, bytes);
        if (isfinite(x) && isfinite(y) && y != 0 && fabs((x - y) / y) > far) far = fabs((x - y) / y);
    }
    g_compared += n;
    g_other += other;
    if (other)
        print_message("%s: %zu of %zu results have other bits than sim's, at most %.2g apart (relative)\n", entry,
                      other, n, far);
}

/* sim: the same module on the software device, or NULL. */
static void check_elementwise(CUmodule m, CUmodule sim, const elementwise *c) {
    qm_rng g = {g_seed};
    for (const char *p = c->entry; *p; p++) g.s = g.s * 31 + (u8)*p;
    const char *k = c->kinds;
    const unsigned e0 = n_edges(k[0]), e1 = k[1] ? n_edges(k[1]) : 1, cross = e0 * (e1 ? e1 : 1);
    const int all16 = !k[1] && strchr("Her", k[0]); /* one 16-bit operand: every value */
    const unsigned n = all16 ? N_MOST : N_ITEMS;
    u64 *in = calloc(n, IN_BYTES);
    u8 *out = malloc((size_t)n * OUT_BYTES), *out_sim = malloc((size_t)n * OUT_BYTES);
    assert_non_null(in);
    assert_true(out && out_sim);
    for (unsigned i = 0; i < n; i++) {
        u64 *x = in + i * 4;
        for (int j = 0; k[j]; j++) {
            const unsigned edge = i < cross ? (j == 0   ? i % e0
                                               : j == 1 ? i / e0
                                                        : qm_rng_below(&g, 60))
                                            : qm_rng_below(&g, 100);
            x[j] = all16 ? i : operand(k[j], edge, &g);
        }
    }
    run(g_dev, m, c->entry, n / BLOCK, BLOCK, in, (size_t)n * IN_BYTES, out, (size_t)n * OUT_BYTES);
    if (sim) run(g_sim, sim, c->entry, n / BLOCK, BLOCK, in, (size_t)n * IN_BYTES, out_sim, (size_t)n * OUT_BYTES);
    for (unsigned i = 0; i < n; i++) {
        u8 d[OUT_BYTES] = {0};
        const u8 *o = out + (size_t)i * OUT_BYTES;
        c->expect(in + i * 4, d);
        u64 got = 0, want = 0;
        memcpy(&got, o, (size_t)c->bytes);
        memcpy(&want, d, 8);
        if (!agrees(c, o, d))
            fail_msg("%s: a=%llx b=%llx c=%llx: got %llx, want %llx%s (seed %llu)", c->entry,
                     (unsigned long long)in[i * 4], (unsigned long long)in[i * 4 + 1],
                     (unsigned long long)in[i * 4 + 2], (unsigned long long)got, (unsigned long long)want,
                     c->how == C_NEAR ? " (as a double, within the bound)" : "", (unsigned long long)g_seed);
        if (sim && !agrees(c, out_sim + (size_t)i * OUT_BYTES, d))
            fail_msg("%s: a=%llx b=%llx c=%llx: right on %s, wrong on the software device (seed %llu)", c->entry,
                     (unsigned long long)in[i * 4], (unsigned long long)in[i * 4 + 1],
                     (unsigned long long)in[i * 4 + 2], g_dev->name, (unsigned long long)g_seed);
        for (int b = c->bytes; b < OUT_BYTES; b++)
            if (o[b] != 0xff)
                fail_msg("%s: wrote byte %d of its result, which is %d bytes long", c->entry, b, c->bytes);
    }
    if (sim) compare(c->entry, out, out_sim, n, OUT_BYTES, c->bytes, c->how == C_FLOAT || c->how == C_NEAR);
    free(in);
    free(out);
    free(out_sim);
}

static void check_whole(CUmodule m, CUmodule sim, const whole *c) {
    qm_rng g = {g_seed};
    u8 *in = malloc(c->in_bytes), *out = malloc(c->out_bytes), *want = malloc(c->out_bytes),
       *out_sim = malloc(c->out_bytes);
    assert_true(in && out && want && out_sim);
    for (unsigned i = 0; i < c->in_bytes; i++) in[i] = (u8)qm_rng_u32(&g);
    if (c->prepare) c->prepare(in);
    memset(want, 0xff, c->out_bytes);
    c->expect(in, want);
    run(g_dev, m, c->entry, c->grid, c->block, in, c->in_bytes, out, c->out_bytes);
    if (sim) run(g_sim, sim, c->entry, c->grid, c->block, in, c->in_bytes, out_sim, c->out_bytes);
    for (unsigned i = 0; i < c->out_bytes; i += 4)
        for (int k = 0; k < (sim ? 2 : 1); k++) {
            u32 a, b;
            memcpy(&a, (k ? out_sim : out) + i, 4);
            memcpy(&b, want + i, 4);
            if (a != b && !(c->rel > 0 && near(bits_f(a), bits_f(b), c->rel, c->rel)))
                fail_msg("%s: word %u of the result on %s: got %08x, want %08x (seed %llu)", c->entry, i / 4,
                         k ? "sim" : g_dev->name, a, b, (unsigned long long)g_seed);
        }
    if (sim) compare(c->entry, out, out_sim, c->out_bytes / 4, 4, 4, c->rel > 0);
    free(in);
    free(out);
    free(want);
    free(out_sim);
}

static char *read_text(const char *path) {
    FILE *f = fopen(path, "rb");
    if (!f) return NULL;
    char *s = calloc(1, 1 << 20);
    if (s && fread(s, 1, (1 << 20) - 1, f) == 0) {
        free(s);
        s = NULL;
    }
    fclose(f);
    return s;
}

static int chosen(const char *file, const char *entry) {
    return !g_only || !strcmp(g_only, file) || !strcmp(g_only, entry);
}

static const struct {
    const char *form, *test;
} k_forms[] = {
#define ISA(form, operands, handler, test) {form, #test},
#include "../../contracts/isa.def"
#undef ISA
};
/* Does a line of isa.def name the file (or the part of it before _sm90)? */
static int named(const char *file) {
    for (size_t i = 0; i < N(k_forms); i++) {
        const size_t n = strlen(k_forms[i].test);
        if (!strncmp(file, k_forms[i].test, n) && (!file[n] || !strcmp(file + n, "_sm90"))) return 1;
    }
    return !strcmp(file, "special"); /* %laneid and others: operands of mov */
}

static CUmodule load(qm_device *dev, const char *path, const char *text) {
    CUmodule m = NULL;
    char log[2048] = "";
    CUjit_option opt[] = {CU_JIT_ERROR_LOG_BUFFER, CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES};
    void *val[] = {log, (void *)(uintptr_t)sizeof log};
    use(dev);
    if (dev->cu.ModuleLoadDataEx(&m, text, 2, opt, val)) fail_msg("%s on %s: %s", path, dev->name, log);
    return m;
}

static void unload(qm_device *dev, CUmodule m, const char *entry) {
    use(dev);
    TRY(ModuleUnload(m));
}

static char g_folder[2400]; /* where the opcode tests lie */
static void isa_path(char *path, size_t n, const char *file, const char *suffix) {
    snprintf(path, n, "%s/%s%s.ptx", g_folder, file, suffix);
}

/* One test: a file, and all cases of its entries. A file that isa.def does not name is a form that the
 * software device does not have; a GPU runs it all the same. */
static void check_file(void **state) {
    const char *file = *state;
    char path[2560];
    int any = !g_only || !strcmp(g_only, file);
    for (int i = 0; i < N_CASES && !any; i++) any = !strcmp(k_cases[i].file, file) && chosen(file, k_cases[i].entry);
    for (int i = 0; i < N_WHOLE && !any; i++) any = !strcmp(k_whole[i].file, file) && chosen(file, k_whole[i].entry);
    if (!any || (g_dev->caps.interpreted && !named(file))) skip();
    isa_path(path, sizeof path, file, "");
    char *text = read_text(path);
    if (!text) fail_msg("%s cannot be read", path);
    const int cc = g_dev->cc_major * 10 + g_dev->cc_minor;
    if (strstr(text, ".target sm_90") && cc < 90) {
        free(text);
        skip();
    }
    CUmodule m = load(g_dev, path, text), sim = NULL;
    if (g_sim && named(file)) sim = load(g_sim, path, text);
    /* Every entry has a case, and every case its entry (run() fails if not). */
    for (const char *p = text; (p = strstr(p, ".entry "));) {
        char name[128];
        if (sscanf(p += 7, "%127[A-Za-z0-9_]", name) != 1) continue;
        int known = 0;
        for (int i = 0; i < N_CASES; i++) known |= !strcmp(k_cases[i].entry, name);
        for (int i = 0; i < N_WHOLE; i++) known |= !strcmp(k_whole[i].entry, name);
        if (!known) fail_msg("%s: entry %s has no expected values", path, name);
    }
    for (int i = 0; i < N_CASES; i++)
        if (!strcmp(k_cases[i].file, file) && chosen(file, k_cases[i].entry)) check_elementwise(m, sim, &k_cases[i]);
    for (int i = 0; i < N_WHOLE; i++)
        if (!strcmp(k_whole[i].file, file) && chosen(file, k_whole[i].entry)) check_whole(m, sim, &k_whole[i]);
    unload(g_dev, m, file);
    if (sim) unload(g_sim, sim, file);
    free(text);
}

/* Does opcode text (".global.nc.b32", to a space) match the pattern (".global[.{ca|cg}].nc...")? */
static int matches(const char *p, const char *t) {
    if (!*p) return *t == ' ' || *t == ';' || *t == '\t';
    const int optional = *p == '[';
    const char *alt = p + optional + 1, *end, *next;
    if (*alt == '{') {
        end = strchr(++alt, '}');
        next = end + 1;
    } else next = end = alt + strcspn(alt, ".[]");
    if (optional && *next == ']') next++;
    if (*t == '.') {
        const size_t n = strcspn(t + 1, ". ;\t");
        for (const char *a = alt; a < end;) {
            size_t k = 0;
            while (a + k < end && a[k] != '|') k++;
            if (k == n && !memcmp(a, t + 1, n) && matches(next, t + 1 + n)) return 1;
            a += k + 1;
        }
    }
    return optional && matches(next, t);
}
/* Does a line of this PTX text run an instruction of that form? */
static int runs(const char *text, const char *form) {
    const size_t op = strcspn(form, ".[");
    for (const char *p = text; p && *p; p = strchr(p, '\n')) {
        p += *p == '\n';
        p += strspn(p, " \t");
        if (*p == '@') p += strcspn(p, " "), p += strspn(p, " ");
        if (!strncmp(p, form, op) && matches(form + op, p + op)) return 1;
    }
    return 0;
}

/* Every form of contracts/isa.def names a test that is there and runs an instruction of that form. */
static void check_forms(void **state) {
    (void)state;
    int missing = 0;
    for (size_t i = 0; i < N(k_forms); i++) {
        int found = 0;
        for (int k = 0; k < 2 && !found; k++) {
            char path[2560];
            isa_path(path, sizeof path, k_forms[i].test, k ? "_sm90" : "");
            char *text = read_text(path);
            if (text) found = runs(text, k_forms[i].form);
            free(text);
        }
        if (found) continue;
        print_error("%s: not in %s.ptx\n", k_forms[i].form, k_forms[i].test);
        missing++;
    }
    assert_int_equal(missing, 0);
}

/* The case tables name only files that are there. */
static void check_tables(void **state) {
    (void)state;
    for (int i = 0; i < N_CASES + N_WHOLE; i++) {
        const char *file = i < N_CASES ? k_cases[i].file : k_whole[i - N_CASES].file;
        char path[2560];
        isa_path(path, sizeof path, file, "");
        FILE *f = fopen(path, "rb");
        if (!f) fail_msg("no %s", path);
        fclose(f);
    }
}

static int setup(void **state) {
    (void)state;
    qm_err e;
    const char *spec = getenv("QMOE_TEST_DEVICE"), *seed = getenv("QMOE_TEST_SEED");
    g_only = getenv("QMOE_TEST_ISA");
    if (seed) g_seed = strtoull(seed, NULL, 0);
    setenv("QMOE_SIM_CC", "90", 0); /* so that the sm_90 forms run; sm_80 ones run there too */
    if (qm_device_open(&g_dev, spec ? spec : "sim", NULL, 0, &e)) {
        print_error("check_isa: %s\n", e.msg);
        return -1;
    }
    const char *against = getenv("QMOE_TEST_AGAINST");
    if (!g_dev->caps.interpreted || (against && !strcmp(against, "sim")))
        if (qm_device_open(&g_sim, "sim", NULL, 0, &e)) {
            print_error("check_isa: %s\n", e.msg);
            return -1;
        }
    print_message("check_isa: %s, compute capability %d.%d, seed %llu\n", g_dev->name, g_dev->cc_major, g_dev->cc_minor,
                  (unsigned long long)g_seed);
    return 0;
}
static int teardown(void **state) {
    (void)state;
    if (g_sim)
        print_message("check_isa: against sim: %llu results, %llu with other bits\n", (unsigned long long)g_compared,
                      (unsigned long long)g_other);
    qm_device_close(g_sim);
    qm_device_close(g_dev);
    return 0;
}

static int by_name(const void *a, const void *b) {
    return strcmp(((const struct CMUnitTest *)a)->name, ((const struct CMUnitTest *)b)->name);
}

int main(void) {
    enum { MOST = 256 };
    static struct CMUnitTest t[MOST];
    static char names[MOST][64];
    size_t n = 0;
    if (solib_build(g_folder, sizeof g_folder, "isa")) g_folder[0] = 0;
    DIR *dir = opendir(g_folder);
    if (!dir) {
        fprintf(stderr, "check_isa: no folder %s with the opcode tests (`make tests` writes them)\n", g_folder);
        return 2;
    }
    for (struct dirent *e; (e = readdir(dir)) && n < MOST - 2;) {
        const char *dot = strrchr(e->d_name, '.');
        if (!dot || strcmp(dot, ".ptx") || dot - e->d_name > 63) continue;
        memcpy(names[n], e->d_name, (size_t)(dot - e->d_name));
        t[n] = (struct CMUnitTest){names[n], check_file, NULL, NULL, names[n]};
        n++;
    }
    closedir(dir);
    qsort(t, n, sizeof *t, by_name);
    t[n++] = (struct CMUnitTest)cmocka_unit_test(check_forms);
    t[n++] = (struct CMUnitTest)cmocka_unit_test(check_tables);
    return _cmocka_run_group_tests("isa", t, n, setup, teardown);
}
