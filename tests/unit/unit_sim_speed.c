/* unit_sim_speed.c: how fast the interpreter walks a Q4_K-GEMV-like loop, in warp instructions a second,
 * beside a plain C loop of known cost in the same run. It prints; it asserts only a loose ratio, so that
 * a busy machine does not fail it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <cmocka.h>
#include "sim/grid.h"
#include "sim/mem.h"
#include "sim/report.h"

/* Per step: 2 x 16 bytes of weights a lane, 4 x 16 bytes of activations a warp, 16 dp4a, 4 fma. */
static char text[16384];
static void put(const char *s) { strcat(text, s); }

static void build(void) {
    text[0] = 0;
    put(".version 7.4\n.target sm_80\n.address_size 64\n"
        ".visible .entry gemv(.param .align 8 .b8 a[24]) .maxntid 256 {\n"
        ".shared .align 16 .b8 x[4096];\n.reg .u64 w, y, off64; .reg .u32 t, n, lane, xs, ds; .reg .f32 acc, d, s; "
        ".reg .pred more;\n"
        ".reg .b32 w0, w1, w2, w3, v0, v1, v2, v3, lo, hi; .reg .s32 i0, i1;\n"
        "ld.param.u64 w, [a]; ld.param.u64 y, [a+8]; ld.param.u32 n, [a+16];\n"
        "mov.u32 t, %tid.x; and.b32 lane, t, 31; mad.wide.u32 w, t, 16, w;\n"
        "mov.u32 xs, x; mad.lo.u32 ds, t, 16, xs; mov.f32 acc, 0f00000000;\n"
        "mov.b32 w0, 0x01020304; st.shared.v4.b32 [ds], {w0, w0, w0, w0}; bar.sync 0;\n"
        "L_step:\n");
    for (int half = 0; half < 2; half++) {
        char b[256];
        snprintf(b, sizeof b,
                 "ld.global.nc.L1::no_allocate.v4.u32 {w0, w1, w2, w3}, [w+%d]; mov.s32 i0, 0; mov.s32 i1, 0;\n",
                 half * 4096);
        put(b);
        for (int k = 0; k < 4; k++) {
            snprintf(b, sizeof b, "ld.shared.v4.u32 {v0, v1, v2, v3}, [xs+%d];\n", (half * 4 + k) * 16);
            if (k % 2 == 0) put(b);
            snprintf(b, sizeof b,
                     "and.b32 lo, w%d, 0x0f0f0f0f; shr.u32 hi, w%d, 4; and.b32 hi, hi, 0x0f0f0f0f; dp4a.u32.s32 i0, "
                     "lo, v%d, i0; "
                     "dp4a.u32.s32 i1, hi, v%d, i1;\n",
                     k, k, k & 1 ? 2 : 0, k & 1 ? 3 : 1);
            put(b);
        }
        put("cvt.rn.f32.s32 d, i0; cvt.rn.f32.s32 s, i1; fma.rn.f32 acc, d, 0f3a800000, acc; fma.rn.f32 acc, s, "
            "0f3a000000, acc;\n");
    }
    put("add.u64 w, w, 8192; sub.u32 n, n, 1; setp.ne.u32 more, n, 0; @more bra L_step;\n"
        "mul.wide.u32 off64, t, 4; add.u64 y, y, off64; st.global.f32 [y], acc; ret; }\n");
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static volatile uint32_t sink;
/* 2^26 dependent multiply-adds: about 4 cycles each on any recent core, and the empty asm keeps a compiler
 * from folding several into one */
static double known_loop(void) {
    double t = now();
    uint32_t x = sink | 1;
    for (int i = 0; i < 1 << 26; i++) {
        x = x * 1664525u + 1013904223u;
        __asm__ volatile("" : "+r"(x));
    }
    sink = x;
    return (double)(1 << 26) / (now() - t);
}

static void speed(void **state) {
    (void)state;
    build();
    char log[512];
    sim_module *m = sim_module_load(text, log, sizeof log);
    if (!m) fail_msg("%s", log);
    enum { STEPS = 1000 };
    const size_t bytes = (size_t)STEPS * 8192;
    sim_alloc *w = sim_mem_new(bytes, "cuMemAlloc"), *y = sim_mem_new(1024, "cuMemAlloc");
    assert_non_null(w);
    assert_non_null(y);
    for (size_t i = 0; i < bytes; i++) ((uint8_t *)w->base)[i] = (uint8_t)(i * 37);
    struct {
        uint64_t w, y;
        uint32_t n, pad;
    } p = {w->base, y->base, STEPS, 0};
    sim_launch l = {
        .func = sim_module_func(m, "gemv"), .grid = {1, 1, 1}, .block = {256, 1, 1}, .params = (const uint8_t *)&p};
    qm_sim_get_options(&l.opt);
    l.opt.threads = 1;
    l.opt.count = l.opt.check_races = l.opt.check_uninit = 0;
    double best = 0, base = 0;
    for (int r = 0; r < 5; r++) {
        qm_sim_counters c = {0};
        double t = now();
        assert_int_equal(sim_run(&l, &c), SIM_OK);
        double v = (double)c.warp_insts / (now() - t);
        if (v > best) best = v;
        v = known_loop();
        if (v > base) base = v;
    }
    /* lane 0's share, by hand: every weight byte against 4, 3, 2, 1 (little-endian 0x01020304) */
    float acc = 0;
    for (int s = 0; s < STEPS; s++)
        for (int h = 0; h < 2; h++) {
            const uint8_t *b = (const uint8_t *)w->base + (size_t)s * 8192 + (size_t)h * 4096;
            int i0 = 0, i1 = 0;
            for (int k = 0; k < 16; k++) {
                i0 += (b[k] & 15) * (4 - k % 4);
                i1 += (b[k] >> 4) * (4 - k % 4);
            }
            acc += (float)i0 * 0x1p-10f; /* exact products: the fma rounds only the sum */
            acc += (float)i1 * 0x1p-11f;
        }
    float got;
    memcpy(&got, (void *)y->base, 4);
    assert_true(got == acc);
    print_message(
        "%.1f M warp instructions/s on one thread (%.2f for each step of a dependent multiply-add loop, %.0f M/s)\n",
        best * 1e-6, best / base, base * 1e-6);
    assert_true(best > base / 500);
    sim_mem_free(w->base);
    sim_mem_free(y->base);
    sim_module_free(m);
}

/* What a matrix product on tensor cores is made of: each as eight in a row, of one warp. most: dependent multiply-adds
 * that one may take: more than twice what plain C without AVX2 takes, and less than lane by lane would. */
static const struct {
    const char *name, *text;
    double most;
} k_tensor[] = {
    {"mma m16n8k32 s8",
     "mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {i0, i1, i2, i3}, {a0, a1, a2, a3}, {b0, b1}, {i0, i1, i2, i3};",
     1000},
    {"mma m16n8k32 u8 s8",
     "mma.sync.aligned.m16n8k32.row.col.s32.u8.s8.s32 {i0, i1, i2, i3}, {a0, a1, a2, a3}, {b0, b1}, {i0, i1, i2, i3};",
     1000},
    {"mma m16n8k16 s8",
     "mma.sync.aligned.m16n8k16.row.col.s32.s8.s8.s32 {i0, i1, i2, i3}, {a0, a1}, {b0}, {i0, i1, i2, i3};", 600},
    {"mma m16n8k16 f16",
     "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {f0, f1, f2, f3}, {a0, a1, a2, a3}, {b0, b1}, {f0, f1, f2, "
     "f3};",
     1000},
    {"mma m16n8k16 bf16",
     "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {f0, f1, f2, f3}, {a0, a1, a2, a3}, {b0, b1}, {f0, f1, f2, "
     "f3};",
     800},
    {"ldmatrix.x4", "ldmatrix.sync.aligned.m8n8.x4.shared.b16 {a0, a1, a2, a3}, [xs];", 130},
    {"ldmatrix.x4.trans", "ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {a0, a1, a2, a3}, [xs];", 130},
    {"cp.async 16", "cp.async.cg.shared.global [xs], [w], 16;", 260},
    {"cp.async 16 or zero", "cp.async.cg.shared.global [xs], [w], 16, z;", 260},
    {"shfl.bfly", "shfl.sync.bfly.b32 a0, a0, 4, 31, -1;", 100},
    {"ld.local.v4", "ld.local.v4.b32 {a0, a1, a2, a3}, [own+16];", 100},
    {"st.local.v4", "st.local.v4.b32 [own+16], {a0, a1, a2, a3};", 100},
};

static void tensor_speed(void **state) {
    (void)state;
    enum { STEPS = 4000, TIMES = 8 };
    sim_alloc *w = sim_mem_new(65536, "cuMemAlloc");
    assert_non_null(w);
    memset((void *)w->base, 0x11, 65536);
    const double base = known_loop();
    for (size_t i = 0; i < sizeof k_tensor / sizeof k_tensor[0]; i++) {
        text[0] = 0;
        put(".version 7.4\n.target sm_80\n.address_size 64\n"
            ".visible .entry k(.param .u64 a) .maxntid 32 {\n.shared .align 16 .b8 x[1024];\n.local .align 16 .b8 "
            "own[64];\n"
            ".reg .u64 w; .reg .u32 t, n, xs, z; .reg .pred more; .reg .b32 a0, a1, a2, a3, b0, b1; .reg .f32 f0, f1, "
            "f2, f3; "
            ".reg .s32 i0, i1, i2, i3;\n"
            "ld.param.u64 w, [a]; mov.u32 t, %tid.x; mad.wide.u32 w, t, 272, w; mov.u32 xs, x; mad.lo.u32 xs, t, 16, "
            "xs;\n"
            "and.b32 z, t, 1; shl.b32 z, z, 4; mov.b32 a0, 0x01020304; st.shared.v4.b32 [xs], {a0, a0, a0, a0};\n"
            "mov.b32 a1, a0; mov.b32 a2, a0; mov.b32 a3, a0; mov.b32 b0, a0; mov.b32 b1, a0;\n"
            "mov.f32 f0, 0f00000000; mov.f32 f1, f0; mov.f32 f2, f0; mov.f32 f3, f0; mov.s32 i0, 0; mov.s32 i1, 0; "
            "mov.s32 i2, 0; mov.s32 i3, 0; mov.u32 n, 4000;\nL_step:\n");
        for (int k = 0; k < TIMES; k++) put(k_tensor[i].text), put("\n");
        if (strstr(k_tensor[i].name, "cp.async")) put("cp.async.commit_group; cp.async.wait_group 2;\n");
        put("sub.u32 n, n, 1; setp.ne.u32 more, n, 0; @more bra L_step;\nret; }\n");
        char log[512];
        sim_module *m = sim_module_load(text, log, sizeof log);
        if (!m) fail_msg("%s", log);
        sim_launch l = {.func = sim_module_func(m, "k"),
                        .grid = {1, 1, 1},
                        .block = {32, 1, 1},
                        .params = (const uint8_t *)&w->base};
        qm_sim_get_options(&l.opt);
        l.opt.threads = 1;
        l.opt.count = l.opt.check_races = l.opt.check_uninit = 0;
        double best = 1e9;
        for (int r = 0; r < 5; r++) {
            qm_sim_counters c = {0};
            const double t = now();
            assert_int_equal(sim_run(&l, &c), SIM_OK);
            if (now() - t < best) best = now() - t;
        }
        best /= (double)STEPS * TIMES;
        print_message("%-20s %6.1f ns (%.1f dependent multiply-adds)\n", k_tensor[i].name, best * 1e9, best * base);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__) /* they slow some loops far more than others */
        assert_true(best * base < k_tensor[i].most);
#endif
        sim_module_free(m);
    }
    sim_mem_free(w->base);
}

int main(void) {
    const struct CMUnitTest t[] = {cmocka_unit_test(speed), cmocka_unit_test(tensor_speed)};
    return cmocka_run_group_tests_name("sim_speed", t, NULL, NULL);
}
