/* The software device's lazy order: what is enqueued runs as late as its synchronisation allows and not a moment earlier.
 * Each test says what the driver API promises (docs/sim.md) and shows that no more than that is given. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include "../../runtime/device/cuda.h"
#include "../../runtime/sim/sim.h"

#define OK(call) assert_int_equal((call), CUDA_SUCCESS)
#define IS(call, code) assert_int_equal((call), CUDA_ERROR_##code)

/* add: *p += v; mul: *p *= v; get: *to = *p */
static const char ptx[] =
    ".version 7.4\n.target sm_80\n.address_size 64\n"
    ".visible .entry add(.param .u64 p, .param .u32 v)\n{\n.reg .b64 %p; .reg .b32 %v, %a;\n"
    "ld.param.u64 %p, [p];\nld.param.u32 %v, [v];\nld.global.u32 %a, [%p];\nadd.u32 %a, %a, %v;\nst.global.u32 [%p], "
    "%a;\nret;\n}\n"
    ".visible .entry mul(.param .u64 p, .param .u32 v)\n{\n.reg .b64 %p; .reg .b32 %v, %a;\n"
    "ld.param.u64 %p, [p];\nld.param.u32 %v, [v];\nld.global.u32 %a, [%p];\nmul.lo.u32 %a, %a, %v;\nst.global.u32 "
    "[%p], %a;\nret;\n}\n"
    ".visible .entry get(.param .u64 p, .param .u64 to)\n{\n.reg .b64 %p, %q; .reg .b32 %a;\n"
    "ld.param.u64 %p, [p];\nld.param.u64 %q, [to];\nld.global.u32 %a, [%p];\nst.global.u32 [%q], %a;\nret;\n}\n";

static qm_cuda cu;
static CUmodule mod;
static CUfunction f_add, f_mul, f_get;
static CUstream s1, s2; /* non-blocking */

static void open_all(void) {
    CUcontext c;
    OK(cu.DevicePrimaryCtxRetain(&c, 0));
    OK(cu.CtxSetCurrent(c));
    OK(cu.ModuleLoadDataEx(&mod, ptx, 0, NULL, NULL));
    OK(cu.ModuleGetFunction(&f_add, mod, "add"));
    OK(cu.ModuleGetFunction(&f_mul, mod, "mul"));
    OK(cu.ModuleGetFunction(&f_get, mod, "get"));
    OK(cu.StreamCreate(&s1, CU_STREAM_NON_BLOCKING));
    OK(cu.StreamCreate(&s2, CU_STREAM_NON_BLOCKING));
}
static void set(int lazy, uint64_t seed) {
    qm_sim_options o;
    qm_sim_get_options(&o);
    o.lazy = lazy;
    o.order_seed = seed;
    qm_sim_set_options(&o);
}
static int each_setup(void **state) {
    (void)state;
    set(1, 0);
    open_all();
    return 0;
}
static int each_teardown(void **state) { /* a context that a test has lost goes too */
    (void)state;
    return cu.DevicePrimaryCtxRelease(0);
}
static void fresh(void) {
    OK(cu.DevicePrimaryCtxRelease(0));
    open_all();
}

static void launch(CUfunction f, CUdeviceptr p, uint32_t v, CUstream s) {
    OK(cu.LaunchKernel(f, 1, 1, 1, 1, 1, 1, 0, s, (void *[]){&p, &v}, NULL));
}
static void get(CUdeviceptr p, CUdeviceptr to, CUstream s) {
    OK(cu.LaunchKernel(f_get, 1, 1, 1, 1, 1, 1, 0, s, (void *[]){&p, &to}, NULL));
}
/* The word as it is: a synchronous copy waits for the legacy stream, and not for s1 and s2. */
static uint32_t now(CUdeviceptr p) {
    uint32_t v = 0;
    OK(cu.MemcpyDtoH(&v, p, 4));
    return v;
}
static CUdeviceptr word(uint32_t v) {
    CUdeviceptr p;
    OK(cu.MemAlloc(&p, 4));
    OK(cu.MemcpyHtoD(p, &v, 4));
    OK(cu.CtxSynchronize());
    return p;
}
static CUevent event(void) {
    CUevent e;
    OK(cu.EventCreate(&e, 0));
    return e;
}
static void lost(CUresult r, const char *why) {
    const char *s;
    assert_int_not_equal(r, CUDA_SUCCESS);
    OK(cu.GetErrorString(r, &s));
    if (!strstr(s, why)) fail_msg("'%s' does not say '%s'", s, why);
    assert_int_equal(cu.CtxSynchronize(), r); /* for good */
    fresh();
}

/* A synchronous copy from pageable memory is staged when it returns; the legacy stream does the rest, and a
 * non-blocking stream does not wait for it. */
static void test_legacy_and_non_blocking(void **state) {
    (void)state;
    CUdeviceptr p = word(1), to = word(0);
    uint32_t v = 7;
    OK(cu.MemcpyHtoD(p, &v, 4));
    v = 8; /* ours again: staged */
    get(p, to, s1);
    OK(cu.StreamSynchronize(s1));
    assert_int_equal(now(to), 1);
    get(p, to, s1); /* now(to) was on the legacy stream, behind the copy */
    OK(cu.StreamSynchronize(s1));
    assert_int_equal(now(to), 7);
    v = 9;
    OK(cu.MemcpyHtoD(p, &v, 4));
    OK(cu.StreamSynchronize(NULL));
    get(p, to, s1);
    OK(cu.StreamSynchronize(s1));
    assert_int_equal(now(to), 9);
    CUevent e = event();
    v = 10;
    OK(cu.MemcpyHtoD(p, &v, 4));
    OK(cu.EventRecord(e, NULL));
    OK(cu.StreamWaitEvent(s1, e, 0));
    get(p, to, s1);
    OK(cu.StreamSynchronize(s1));
    assert_int_equal(now(to), 10);
    void *pin; /* from pinned memory it returns when it is done */
    OK(cu.MemHostAlloc(&pin, 4, 0));
    memcpy(pin, &(uint32_t){11}, 4);
    OK(cu.MemcpyHtoD(p, pin, 4));
    get(p, to, s1);
    OK(cu.StreamSynchronize(s1));
    assert_int_equal(now(to), 11);
}

/* Streams without the flag and the legacy stream wait for each other. */
static void test_blocking(void **state) {
    (void)state;
    CUstream b1, b2;
    OK(cu.StreamCreate(&b1, 0));
    OK(cu.StreamCreate(&b2, 0));
    CUdeviceptr p = word(1);
    launch(f_add, p, 2, b1);
    launch(f_mul, p, 10, NULL);
    launch(f_add, p, 5, b2);
    OK(cu.StreamSynchronize(b2));
    assert_int_equal(now(p), 35);
    launch(f_add, p, 1, b1); /* b1 and b2 do not: only what is waited for runs */
    launch(f_mul, p, 2, b2);
    OK(cu.StreamSynchronize(b2));
    uint32_t v = 0;
    memcpy(&v, (void *)(uintptr_t)p, 4);
    assert_int_equal(v, 70);
    assert_int_equal(now(p), 71); /* a copy on the legacy stream waits for both */
    launch(f_add, p, 1, b1);
    OK(cu.StreamDestroy(b1)); /* its work goes on */
    assert_int_equal(now(p), 72);
}

static void test_event_runs_exactly(void **state) {
    (void)state;
    CUdeviceptr p = word(1), q = word(1);
    CUevent e = event();
    launch(f_add, p, 1, s1);
    OK(cu.EventRecord(e, s1));
    launch(f_mul, p, 100, s1);
    launch(f_add, q, 1, s2);
    assert_int_equal(now(p), 1);
    OK(cu.EventSynchronize(e));
    assert_int_equal(now(p), 2);
    assert_int_equal(now(q), 1);
    OK(cu.StreamWaitEvent(s2, e, 0)); /* done: nothing to wait for */
    OK(cu.StreamSynchronize(s2));
    assert_int_equal(now(p), 2);
    assert_int_equal(now(q), 2);
    OK(cu.EventRecord(e, s1)); /* recorded anew: the old record no longer counts */
    OK(cu.EventSynchronize(e));
    assert_int_equal(now(p), 200);
    /* a wait takes the record of its time */
    launch(f_add, p, 1, s1);
    OK(cu.EventRecord(e, s1));
    OK(cu.StreamWaitEvent(s2, e, 0));
    launch(f_add, p, 1, s1);
    OK(cu.EventRecord(e, s1));
    get(p, q, s2);
    OK(cu.StreamSynchronize(s2));
    assert_int_equal(now(q), 201);
    OK(cu.EventDestroy(e)); /* not complete; the record goes on */
    OK(cu.CtxSynchronize());
    assert_int_equal(now(p), 202);
}

static void test_query(void **state) {
    (void)state;
    CUdeviceptr p = word(1);
    CUevent a = event(), b = event();
    float ms;
    OK(cu.EventRecord(a, s1));
    launch(f_add, p, 1, s1);
    OK(cu.EventRecord(b, s1));
    IS(cu.EventElapsedTime(&ms, a, b), NOT_READY);
    IS(cu.EventQuery(b), NOT_READY);
    IS(cu.StreamQuery(s1), NOT_READY);
    int asked = 0;
    while (cu.EventQuery(b) == CUDA_ERROR_NOT_READY) assert_true(++asked < 10); /* asking lets it get on */
    OK(cu.EventQuery(b));
    OK(cu.StreamQuery(s1));
    OK(cu.EventElapsedTime(&ms, a, b));
    assert_true(ms >= 0);
    assert_int_equal(now(p), 2);
}

/* Pinned memory is read and written when the copy runs. */
static void test_pinned(void **state) {
    (void)state;
    uint32_t *pin;
    CUdeviceptr p = word(1);
    OK(cu.MemHostAlloc((void **)&pin, 8, 0));
    pin[0] = 5;
    OK(cu.MemcpyHtoDAsync(p, pin, 4, s1));
    OK(cu.MemcpyDtoHAsync(pin + 1, p, 4, s1));
    pin[0] = 6;
    pin[1] = 0;
    assert_int_equal(now(p), 1);
    OK(cu.StreamSynchronize(s1));
    assert_int_equal(pin[1], 6);
    OK(cu.MemsetD32Async(p, 3, 1, s1));
    OK(cu.MemcpyHtoDAsync(p, pin, 4, s1));
    OK(cu.MemFreeHost(pin)); /* promises no wait */
    lost(cu.StreamSynchronize(s1), "has been freed");
}

static __attribute__((noinline)) void copy_own(CUdeviceptr p) {
    volatile uint32_t mine[4096]; /* so deep that no frame of the calls to come lies over its begin */
    for (int i = 0; i < 4096; i++) mine[i] = 5;
    OK(cu.MemcpyHtoDAsync(p, (const void *)(uintptr_t)&mine[0], 4, s1));
}

/* Pageable memory of an asynchronous copy may be read as late as the copy runs. */
static void test_pageable(void **state) {
    (void)state;
    CUdeviceptr p = word(1);
    uint32_t v = 5;
    OK(cu.MemcpyHtoDAsync(p, &v, 4, s1));
    OK(cu.StreamSynchronize(s1));
    assert_int_equal(now(p), 5);
    OK(cu.MemcpyDtoHAsync(&v, p, 4, s1));
    v = 0;
    assert_int_equal(v, 0);
    OK(cu.StreamSynchronize(s1));
    assert_int_equal(v, 5);
    OK(cu.MemcpyHtoDAsync(p, &v, 4, s1));
    v = 6;
    lost(cu.StreamSynchronize(s1), "is pageable, and changed between the call and the copy");
    p = word(1);
    uint32_t *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(page, MAP_FAILED);
    OK(cu.MemcpyHtoDAsync(p, page, 4, s1));
    munmap(page, 4096);
    lost(cu.CtxSynchronize(), "is pageable, and changed");
    p = word(1);
    copy_own(p);
    lost(cu.StreamSynchronize(s1), "is pageable, and the function whose variable it was has returned");
}

/* A fork and a join. Where there is no edge between two operations, the later call's goes first. */
static CUgraphExec capture(CUdeviceptr p, int edge) {
    CUgraph g;
    CUgraphExec x;
    CUevent fork = event(), join = event();
    OK(cu.StreamBeginCapture(s1, CU_STREAM_CAPTURE_MODE_GLOBAL));
    launch(f_add, p, 1, s1);
    OK(cu.EventRecord(fork, s1));
    if (edge) launch(f_add, p, 2, s1), OK(cu.EventRecord(fork, s1));
    else launch(f_add, p, 2, s1);
    OK(cu.StreamWaitEvent(s2, fork, 0));
    launch(f_mul, p, 10, s2);
    OK(cu.EventRecord(join, s2));
    OK(cu.StreamWaitEvent(s1, join, 0));
    launch(f_add, p, 5, s1);
    OK(cu.StreamEndCapture(s1, &g));
    OK(cu.GraphInstantiate(&x, g, 0));
    OK(cu.GraphDestroy(g));
    OK(cu.EventDestroy(fork));
    OK(cu.EventDestroy(join));
    return x;
}
static void test_graph(void **state) {
    (void)state;
    CUdeviceptr p = word(1), q = word(1);
    CUgraphExec x = capture(p, 1), y = capture(q, 0);
    OK(cu.GraphLaunch(x, s1));
    OK(cu.GraphLaunch(y, s2));
    OK(cu.GraphExecDestroy(x)); /* in flight: freed when it has completed */
    assert_int_equal(now(p), 1);
    OK(cu.StreamSynchronize(s1));
    assert_int_equal(now(p), (1 + 1 + 2) * 10 + 5);
    assert_int_equal(now(q), 1);
    OK(cu.StreamSynchronize(s2));
    assert_int_equal(now(q), (1 + 1) * 10 + 2 + 5); /* the fork was too early */
    set(0, 0);
    OK(cu.GraphLaunch(y, s2)); /* eager: in the order of the calls */
    assert_int_equal(now(q), (27 + 1 + 2) * 10 + 5);
    OK(cu.GraphExecDestroy(y));
}

static void test_ends(void **state) {
    (void)state;
    CUdeviceptr p = word(1), other = word(0);
    launch(f_add, p, 1, s1);
    OK(cu.StreamDestroy(s1)); /* returns at once */
    assert_int_equal(now(p), 1);
    OK(cu.MemFree(other)); /* waits for all streams */
    assert_int_equal(now(p), 2);
    launch(f_add, p, 1, s2);
    set(0, 0); /* what was pending comes first */
    launch(f_mul, p, 10, NULL);
    assert_int_equal(now(p), 30);
    set(1, 0);
    launch(f_add, p, 1, s2);
    OK(cu.ModuleUnload(mod));
    lost(cu.StreamSynchronize(s2), "has been unloaded");
    p = word(1);
    launch(f_add, p, 1, s2); /* never runs: the context ends */
    fresh();
    launch(f_add, 64, 1, s1); /* a fault shows where it is waited for */
    lost(cu.StreamSynchronize(s1), "add");
    IS(cu.MemcpyHtoDAsync(64, &p, 4, s1), INVALID_VALUE); /* a bad argument at once */
    OK(cu.CtxSynchronize());
}

/* With a seed every legal order comes up, and no other. */
static void test_seeds(void **state) {
    (void)state;
    int saw[3] = {0};
    CUdeviceptr p = word(0);
    CUevent e = event();
    for (uint64_t seed = 1; seed <= 64; seed++) {
        set(1, seed);
        OK(cu.MemsetD32Async(p, 1, 1, s1));
        OK(cu.StreamSynchronize(s1));
        launch(f_add, p, 1, s1);
        launch(f_mul, p, 10, s2);
        saw[2] += now(p) != 1; /* somebody got on unasked */
        OK(cu.CtxSynchronize());
        uint32_t v = now(p);
        assert_true(v == 20 || v == 11);
        saw[v == 20]++;
        OK(cu.MemsetD32Async(p, 1, 1, s1));
        launch(f_add, p, 1, s1);
        OK(cu.EventRecord(e, s1));
        OK(cu.StreamWaitEvent(s2, e, 0));
        launch(f_mul, p, 10, s2);
        OK(cu.StreamSynchronize(s2));
        assert_int_equal(now(p), 20);
    }
    assert_true(saw[0] && saw[1] && saw[2] && saw[2] < 64);
}

/* The checks judge late work too: what a copy that nobody waited for was to bring has not been written. */
static void test_checks(void **state) {
    (void)state;
    qm_sim_options o, was;
    qm_sim_get_options(&was);
    o = was;
    o.check_races = o.check_uninit = 1;
    qm_sim_set_options(&o);
    CUdeviceptr p, to;
    uint32_t v = 1;
    OK(cu.MemAlloc(&p, 4));
    OK(cu.MemAlloc(&to, 4));
    OK(cu.MemcpyHtoD(p, &v, 4));
    OK(cu.StreamSynchronize(NULL));
    get(p, to, s1);
    OK(cu.StreamSynchronize(s1));
    assert_int_equal(now(to), 1);
    OK(cu.MemAlloc(&p, 4));
    OK(cu.MemcpyHtoD(p, &v, 4));
    get(p, to, s1);
    lost(cu.StreamSynchronize(s1), "never written");
    qm_sim_set_options(&was);
}

int main(void) {
    qm_err e;
    if (qm_sim_driver(&cu, NULL, &e) || cu.Init(0)) return 1;
    const struct CMUnitTest t[] = {
        cmocka_unit_test_setup_teardown(test_legacy_and_non_blocking, each_setup, each_teardown),
        cmocka_unit_test_setup_teardown(test_blocking, each_setup, each_teardown),
        cmocka_unit_test_setup_teardown(test_event_runs_exactly, each_setup, each_teardown),
        cmocka_unit_test_setup_teardown(test_query, each_setup, each_teardown),
        cmocka_unit_test_setup_teardown(test_pinned, each_setup, each_teardown),
        cmocka_unit_test_setup_teardown(test_pageable, each_setup, each_teardown),
        cmocka_unit_test_setup_teardown(test_graph, each_setup, each_teardown),
        cmocka_unit_test_setup_teardown(test_ends, each_setup, each_teardown),
        cmocka_unit_test_setup_teardown(test_seeds, each_setup, each_teardown),
        cmocka_unit_test_setup_teardown(test_checks, each_setup, each_teardown),
    };
    return cmocka_run_group_tests(t, NULL, NULL);
}
