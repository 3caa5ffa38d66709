/* The software device as a CUDA driver: contexts, error codes, sticky faults, memory, launches and their
 * arguments, streams, events, capture and graphs. What is asserted is what the driver API reference says. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include "../../runtime/device/cuda.h"
#include "../../runtime/sim/sim.h"

static qm_cuda cu;
static CUcontext ctx;
#define OK(call) assert_int_equal((call), CUDA_SUCCESS)
#define IS(call, code) assert_int_equal((call), CUDA_ERROR_##code)

static const char ptx[] = ".version 7.4\n.target sm_80\n.address_size 64\n"
                          ".global .align 4 .u32 answer = 42;\n"
                          ".visible .entry add(.param .u64 p, .param .u32 v)\n{\n.reg .b64 %p; .reg .b32 %v, %a;\n"
                          "ld.param.u64 %p, [p];\nld.param.u32 %v, [v];\nld.global.u32 %a, [%p];\nadd.u32 %a, %a, "
                          "%v;\nst.global.u32 [%p], %a;\nret;\n}\n"
                          ".visible .entry mul(.param .u64 p, .param .u32 v)\n{\n.reg .b64 %p; .reg .b32 %v, %a;\n"
                          "ld.param.u64 %p, [p];\nld.param.u32 %v, [v];\nld.global.u32 %a, [%p];\nmul.lo.u32 %a, %a, "
                          "%v;\nst.global.u32 [%p], %a;\nret;\n}\n"
                          ".visible .entry die(.param .u64 p)\n{\ntrap;\n}\n"
                          ".visible .entry small(.param .u64 p)\n.maxntid 64, 1, 1\n{\nret;\n}\n"
                          ".visible .entry shared(.param .u64 p)\n{\n.shared .align 4 .b8 s[40960];\n.reg .b32 "
                          "%a;\nst.shared.u32 [s], 1;\nret;\n}\n"
                          ".visible .entry none()\n{\nret;\n}\n";
static CUmodule mod;
static CUfunction f_add, f_mul;

static void open_all(void) {
    OK(cu.DevicePrimaryCtxRetain(&ctx, 0));
    OK(cu.CtxSetCurrent(ctx));
    OK(cu.ModuleLoadDataEx(&mod, ptx, 0, NULL, NULL));
    OK(cu.ModuleGetFunction(&f_add, mod, "add"));
    OK(cu.ModuleGetFunction(&f_mul, mod, "mul"));
}
static void close_all(void) { OK(cu.DevicePrimaryCtxRelease(0)); }
static int each_setup(void **state) {
    (void)state;
    open_all();
    return 0;
}
static int each_teardown(void **state) {
    (void)state;
    close_all();
    return 0;
}

static CUresult run1(CUfunction f, CUdeviceptr p, uint32_t v, CUstream s) {
    return cu.LaunchKernel(f, 1, 1, 1, 1, 1, 1, 0, s, (void *[]){&p, &v}, NULL);
}
static uint32_t word(CUdeviceptr p) {
    uint32_t v = 0;
    OK(cu.MemcpyDtoH(&v, p, 4));
    return v;
}
static CUdeviceptr new_word(uint32_t v) {
    CUdeviceptr p;
    OK(cu.MemAlloc(&p, 4));
    OK(cu.MemcpyHtoD(p, &v, 4));
    return p;
}
static const char *text(CUresult r) {
    const char *s;
    OK(cu.GetErrorString(r, &s));
    return s;
}

/* The environment is read once, before anything else: a child process for each setting. */
static void test_environment(void **state) {
    (void)state;
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (!pid) {
        qm_sim_options o;
        int major = 0, minor = 0, sms = 0;
        setenv("QMOE_SIM_SMS", "7", 1);
        setenv("QMOE_SIM_THREADS", "3", 1);
        setenv("QMOE_SIM_CHECK", "races,uninit", 1);
        setenv("QMOE_SIM_COUNT", "1", 1);
        setenv("QMOE_SIM_SEED", "99", 1);
        setenv("QMOE_SIM_MEM", "64M", 1);
        setenv("QMOE_SIM_CC", "121", 1);
        setenv("QMOE_SIM_ORDER", "lazy:5", 1);
        qm_sim_get_options(&o);
        cu.Init(0);
        cu.DeviceGetAttribute(&major, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, 0);
        cu.DeviceGetAttribute(&minor, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, 0);
        cu.DeviceGetAttribute(&sms, CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, 0);
        _exit(o.n_sm != 7 || o.threads != 3 || !o.check_races || !o.check_uninit || !o.count || o.sched_seed != 99 ||
              o.mem_bytes != (size_t)64 << 20 || !o.lazy || o.order_seed != 5 || major != 12 || minor != 1 || sms != 7);
    }
    int status = -1;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

/* A setting that cannot be meant is refused by name. */
static void test_bad_environment(void **state) {
    (void)state;
    static const char *const bad[][2] = {
        {"QMOE_SIM_SMS", "0"},
        {"QMOE_SIM_SMS", "four"},
        {"QMOE_SIM_THREADS", "-1"},
        {"QMOE_SIM_MEM", "12X"},
        {"QMOE_SIM_MEM", "1GG"},
        {"QMOE_SIM_CHECK", "race"},
        {"QMOE_SIM_CHECK", "races;uninit"},
        {"QMOE_SIM_COUNT", "2"},
        {"QMOE_SIM_SEED", "99999999999G"},
        {"QMOE_SIM_CC", "75"},
        {"QMOE_SIM_ISA", "sse9"},
        {"QMOE_SIM_ORDER", "late"},
        {"QMOE_SIM_ORDER", "lazy:"},
        {"QMOE_SIM_ORDER", "lazy:x"},
        {"QMOE_SIM_ORDER", "lazy:1x"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        const char *was = getenv(bad[i][0]);
        char *keep = was ? strdup(was) : NULL;
        qm_cuda t;
        qm_err e = {0};
        setenv(bad[i][0], bad[i][1], 1);
        int rc = qm_sim_driver(&t, NULL, &e);
        if (keep) setenv(bad[i][0], keep, 1);
        else unsetenv(bad[i][0]);
        free(keep);
        if (rc != QM_ERR_ARG || !strstr(e.msg, bad[i][0]))
            fail_msg("%s=%s: code %d, '%s'", bad[i][0], bad[i][1], rc, e.msg);
    }
}

static void test_before_init(void **state) {
    (void)state;
    int n;
    CUdevice d;
    CUdeviceptr p;
    IS(cu.DeviceGetCount(&n), NOT_INITIALIZED);
    IS(cu.DeviceGet(&d, 0), NOT_INITIALIZED);
    IS(cu.MemAlloc(&p, 4), NOT_INITIALIZED);
    IS(cu.Init(1), INVALID_VALUE);
    OK(cu.Init(0));
    OK(cu.DeviceGetCount(&n));
    assert_int_equal(n, 1);
    IS(cu.DeviceGet(&d, 1), INVALID_DEVICE);
    OK(cu.DeviceGet(&d, 0));
    IS(cu.MemAlloc(&p, 4), INVALID_CONTEXT);
    IS(cu.DevicePrimaryCtxRelease(0), INVALID_CONTEXT);
}

static void test_device(void **state) {
    (void)state;
    char name[128];
    int v;
    size_t bytes;
    qm_sim_options o;
    qm_sim_get_options(&o);
    OK(cu.DriverGetVersion(&v));
    assert_int_equal(v, 13000);
    OK(cu.DeviceGetName(name, sizeof name, 0));
    assert_non_null(strstr(name, "qmoe software device ("));
    OK(cu.DeviceGetAttribute(&v, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, 0));
    assert_in_range(v, 8, 12);
    OK(cu.DeviceGetAttribute(&v, CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, 0));
    assert_int_equal(v, o.n_sm);
    OK(cu.DeviceGetAttribute(&v, CU_DEVICE_ATTRIBUTE_WARP_SIZE, 0));
    assert_int_equal(v, 32);
    OK(cu.DeviceGetAttribute(&v, CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK, 0));
    assert_int_equal(v, 49152);
    OK(cu.DeviceGetAttribute(&v, CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN, 0));
    assert_int_equal(v, 163 * 1024);
    OK(cu.DeviceGetAttribute(&v, CU_DEVICE_ATTRIBUTE_COOPERATIVE_LAUNCH, 0));
    assert_int_equal(v, 1);
    OK(cu.DeviceGetAttribute(&v, CU_DEVICE_ATTRIBUTE_INTEGRATED, 0));
    assert_int_equal(v, 0);
    IS(cu.DeviceGetAttribute(&v, (CUdevice_attribute)100000, 0), INVALID_VALUE);
    IS(cu.DeviceGetAttribute(&v, CU_DEVICE_ATTRIBUTE_WARP_SIZE, 3), INVALID_DEVICE);
    OK(cu.DeviceTotalMem(&bytes, 0));
    assert_int_equal(bytes, o.mem_bytes);
    const char *s;
    OK(cu.GetErrorName(CUDA_ERROR_INVALID_PTX, &s));
    assert_string_equal(s, "CUDA_ERROR_INVALID_PTX");
    IS(cu.GetErrorName((CUresult)54321, &s), INVALID_VALUE);
}

static void test_memory(void **state) {
    (void)state;
    qm_sim_options o, was;
    CUdeviceptr p, q;
    size_t avail, total, less;
    char buf[64] = "hello";
    void *h;
    OK(cu.MemGetInfo(&avail, &total));
    IS(cu.MemAlloc(&p, 0), INVALID_VALUE);
    OK(cu.MemAlloc(&p, 100));
    OK(cu.MemAlloc(&q, 1000));
    assert_int_equal(p % 256, 0);
    OK(cu.MemGetInfo(&less, &total));
    assert_in_range(avail - less, 1100, 4096);
    IS(cu.MemcpyHtoD(p + 60, buf, 64), INVALID_VALUE); /* 24 bytes too many */
    assert_non_null(strstr(text(CUDA_ERROR_INVALID_VALUE), "over the end"));
    OK(cu.MemcpyHtoD(p + 36, buf, 64));
    OK(cu.MemcpyDtoDAsync(q, p + 36, 64, NULL));
    memset(buf, 0, sizeof buf);
    OK(cu.MemcpyDtoH(buf, q, 64));
    assert_string_equal(buf, "hello");
    OK(cu.MemsetD8Async(q, 0xab, 3, NULL));
    OK(cu.MemsetD32Async(q + 4, 0x01020304, 2, NULL));
    OK(cu.MemcpyDtoH(buf, q, 64));
    assert_memory_equal(buf, "\xab\xab\xab\x6c\4\3\2\1\4\3\2\1", 12);
    IS(cu.MemsetD32Async(q + 2, 0, 1, NULL), INVALID_VALUE);
    IS(cu.MemsetD8Async(q, 0, 1001, NULL), INVALID_VALUE);
    OK(cu.MemsetD8Async(q, 0, 0, NULL));
    IS(cu.MemFree(p + 4), INVALID_VALUE);
    OK(cu.MemFree(p));
    IS(cu.MemFree(p), INVALID_VALUE);
    assert_non_null(strstr(text(CUDA_ERROR_INVALID_VALUE), "freed already"));
    IS(cu.MemcpyDtoH(buf, p, 4), INVALID_VALUE);
    assert_non_null(strstr(text(CUDA_ERROR_INVALID_VALUE), "has been freed"));
    OK(cu.MemFree(q));
    OK(cu.MemGetInfo(&less, &total));
    assert_int_equal(avail, less);
    /* pinned memory is the host's, and a kernel may use it */
    OK(cu.MemHostAlloc(&h, 4096, CU_MEMHOSTALLOC_DEVICEMAP));
    OK(cu.MemGetInfo(&less, &total));
    assert_int_equal(avail, less);
    *(uint32_t *)h = 5;
    OK(run1(f_add, (CUdeviceptr)(uintptr_t)h, 6, NULL));
    assert_int_equal(*(uint32_t *)h, 11);
    IS(cu.MemFree((CUdeviceptr)(uintptr_t)h), INVALID_VALUE);
    OK(cu.MemFreeHost(h));
    IS(cu.MemFreeHost(buf), INVALID_VALUE);
    /* a declared size is a limit */
    qm_sim_get_options(&was);
    o = was;
    o.mem_bytes = 1 << 20;
    qm_sim_set_options(&o);
    OK(cu.MemAlloc(&p, 600 << 10));
    IS(cu.MemAlloc(&q, 600 << 10), OUT_OF_MEMORY);
    OK(cu.MemFree(p));
    OK(cu.MemAlloc(&q, (1 << 20) - 4096)); /* the module's global takes a little */
    OK(cu.MemFree(q));
    IS(cu.MemAlloc(&q, SIZE_MAX), OUT_OF_MEMORY);
    qm_sim_set_options(&was);
}

static void test_modules(void **state) {
    (void)state;
    CUmodule m;
    CUfunction f, g;
    CUdeviceptr p;
    size_t n;
    char log[512] = "x";
    CUjit_option opt[] = {CU_JIT_ERROR_LOG_BUFFER, CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES};
    void *val[] = {log, (void *)(uintptr_t)sizeof log};
    OK(cu.ModuleGetGlobal(&p, &n, mod, "answer"));
    assert_int_equal(n, 4);
    assert_int_equal(word(p), 42);
    IS(cu.ModuleGetGlobal(&p, &n, mod, "question"), NOT_FOUND);
    IS(cu.ModuleGetFunction(&f, mod, "nothing"), NOT_FOUND);
    OK(cu.ModuleGetFunction(&f, mod, "add"));
    assert_ptr_equal(f, f_add);
    IS(cu.ModuleLoadDataEx(&m,
                           ".version 7.4\n.target sm_80\n.address_size 64\n.visible .entry k()\n{\n.reg .b32 "
                           "%r<4>;add.foo.s32 %r1, %r2, %r3;\nret;\n}\n",
                           2, opt, val),
       INVALID_PTX);
    if (!strstr(log, "foo")) fail_msg("%s", log);
    assert_non_null(strstr(text(CUDA_ERROR_INVALID_PTX), "line 6"));
    assert_int_equal((size_t)(uintptr_t)val[1], strlen(log));
    val[1] = (void *)(uintptr_t)sizeof log;
    IS(cu.ModuleLoadDataEx(&m, ".version 9.9\n.target sm_80\n", 2, opt, val), UNSUPPORTED_PTX_VERSION);
    IS(cu.ModuleLoadDataEx(&m, ".version 8.8\n.target sm_129\n", 0, NULL, NULL), INVALID_PTX);
    IS(cu.ModuleLoadDataEx(&m, "\177ELF............", 0, NULL, NULL), NO_BINARY_FOR_GPU);
    IS(cu.ModuleLoadDataEx(NULL, ptx, 0, NULL, NULL), INVALID_VALUE);
    /* a failed load does no harm here, and two modules are apart */
    OK(cu.ModuleLoadDataEx(&m, ptx, 0, NULL, NULL));
    OK(cu.ModuleGetFunction(&g, m, "add"));
    assert_ptr_not_equal(g, f_add);
    CUdeviceptr w = new_word(1);
    OK(run1(g, w, 2, NULL));
    OK(cu.ModuleUnload(m));
    IS(cu.ModuleUnload(m), INVALID_HANDLE);
    IS(run1(g, w, 2, NULL), INVALID_HANDLE);
    OK(run1(f_add, w, 2, NULL));
    assert_int_equal(word(w), 5);
}

static void test_launch_arguments(void **state) {
    (void)state;
    CUdeviceptr p = new_word(10);
    uint32_t v = 5;
    struct {
        uint64_t p;
        uint32_t v;
    } args = {p, 7};
    size_t n = 12;
    void *extra[] = {CU_LAUNCH_PARAM_BUFFER_POINTER, &args, CU_LAUNCH_PARAM_BUFFER_SIZE, &n, CU_LAUNCH_PARAM_END};
    void *params[] = {&p, &v};
    OK(cu.LaunchKernel(f_add, 1, 1, 1, 1, 1, 1, 0, NULL, NULL, extra));
    assert_int_equal(word(p), 17);
    n = 8;
    IS(cu.LaunchKernel(f_add, 1, 1, 1, 1, 1, 1, 0, NULL, NULL, extra), INVALID_VALUE);
    assert_non_null(strstr(text(CUDA_ERROR_INVALID_VALUE), "8 of 12"));
    n = 12;
    IS(cu.LaunchKernel(f_add, 1, 1, 1, 1, 1, 1, 0, NULL, params, extra), INVALID_VALUE);
    IS(cu.LaunchKernel(f_add, 1, 1, 1, 1, 1, 1, 0, NULL, NULL, NULL), INVALID_VALUE);
    IS(cu.LaunchKernel(f_add, 1, 1, 1, 1, 1, 1, 0, NULL, (void *[]){&p, NULL}, NULL), INVALID_VALUE);
    IS(cu.LaunchKernel(f_add, 0, 1, 1, 1, 1, 1, 0, NULL, params, NULL), INVALID_VALUE);
    IS(cu.LaunchKernel(f_add, 1, 65536, 1, 1, 1, 1, 0, NULL, params, NULL), INVALID_VALUE);
    IS(cu.LaunchKernel(f_add, 1, 1, 1, 1025, 1, 1, 0, NULL, params, NULL), INVALID_VALUE);
    IS(cu.LaunchKernel(f_add, 1, 1, 1, 1, 1, 65, 0, NULL, params, NULL), INVALID_VALUE);
    IS(cu.LaunchKernel((CUfunction)&v, 1, 1, 1, 1, 1, 1, 0, NULL, params, NULL), INVALID_HANDLE);
    IS(cu.LaunchKernel(f_add, 1, 1, 1, 1, 1, 1, 0, (CUstream)&v, params, NULL), INVALID_HANDLE);
    assert_int_equal(word(p), 17); /* none of them ran, and the context lives */
    CUfunction f;
    OK(cu.ModuleGetFunction(&f, mod, "none"));
    OK(cu.LaunchKernel(f, 2, 1, 1, 32, 1, 1, 0, NULL, NULL, NULL));
    OK(cu.ModuleGetFunction(&f, mod, "small"));
    IS(cu.LaunchKernel(f, 1, 1, 1, 65, 1, 1, 0, NULL, params, NULL), LAUNCH_OUT_OF_RESOURCES);
    OK(cu.LaunchKernel(f, 1, 1, 1, 64, 1, 1, 0, NULL, params, NULL));
}

static void test_shared_and_occupancy(void **state) {
    (void)state;
    CUfunction f;
    int v;
    CUdeviceptr p = new_word(0);
    void *params[] = {&p};
    qm_sim_options o;
    qm_sim_get_options(&o);
    OK(cu.ModuleGetFunction(&f, mod, "shared"));
    OK(cu.FuncGetAttribute(&v, CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES, f));
    assert_int_equal(v, 40960);
    OK(cu.FuncGetAttribute(&v, CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK, f));
    assert_int_equal(v, 1024);
    OK(cu.LaunchKernel(f, 1, 1, 1, 1, 1, 1, 8192, NULL, params, NULL)); /* 48 KiB in all */
    IS(cu.LaunchKernel(f, 1, 1, 1, 1, 1, 1, 8193, NULL, params, NULL), INVALID_VALUE);
    IS(cu.FuncSetAttribute(f, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, 163 * 1024 - 40960 + 1), INVALID_VALUE);
    OK(cu.FuncSetAttribute(f, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, 163 * 1024 - 40960));
    OK(cu.LaunchKernel(f, 1, 1, 1, 1, 1, 1, 163 * 1024 - 40960, NULL, params, NULL));
    OK(cu.OccupancyMaxActiveBlocks(&v, f, 128, 0));
    assert_int_equal(v, 4); /* 164 KiB over 41 */
    OK(cu.OccupancyMaxActiveBlocks(&v, f, 128, 100 << 10));
    assert_int_equal(v, 1);
    OK(cu.OccupancyMaxActiveBlocks(&v, f_add, 1024, 0));
    assert_int_equal(v, 2);
    OK(cu.OccupancyMaxActiveBlocks(&v, f_add, 32, 0));
    assert_int_equal(v, 32);
    uint32_t one = 1;
    if (cu.LaunchCooperativeKernel(f_add, 2 * (unsigned)o.n_sm, 1, 1, 1024, 1, 1, 0, NULL, (void *[]){&p, &one}))
        fail_msg("%s", qm_sim_last_report());
    OK(cu.LaunchCooperativeKernel(f_add, 2 * (unsigned)o.n_sm, 1, 1, 1024, 1, 1, 0, NULL, (void *[]){&p, &one}));
    IS(cu.LaunchCooperativeKernel(f_add, 2 * (unsigned)o.n_sm + 1, 1, 1, 1024, 1, 1, 0, NULL, (void *[]){&p, &one}),
       COOPERATIVE_LAUNCH_TOO_LARGE);
}

/* By configuration: the same launch; dependent launch from compute capability 9.0 on, cooperative as an attribute. */
static void test_launch_ex(void **state) {
    (void)state;
    CUdeviceptr p = new_word(1);
    uint32_t two = 2, w = 0;
    qm_sim_options o;
    qm_sim_get_options(&o);
    void *params[] = {&p, &two};
    CUlaunchAttribute a[2] = {{.id = CU_LAUNCH_ATTRIBUTE_IGNORE}, {.id = CU_LAUNCH_ATTRIBUTE_COOPERATIVE}};
    CUlaunchConfig c = {.gridDimX = 1, .gridDimY = 1, .gridDimZ = 1, .blockDimX = 1, .blockDimY = 1, .blockDimZ = 1};
    OK(cu.LaunchKernelEx(&c, f_add, params, NULL));
    OK(cu.MemcpyDtoH(&w, p, 4));
    assert_int_equal(w, 3);
    IS(cu.LaunchKernelEx(NULL, f_add, params, NULL), INVALID_VALUE);
    c.numAttrs = 2;
    IS(cu.LaunchKernelEx(&c, f_add, params, NULL), INVALID_VALUE);
    c.attrs = a;
    OK(cu.LaunchKernelEx(&c, f_add, params, NULL));
    a[1].value.cooperative = 1;
    c.gridDimX = 2 * (unsigned)o.n_sm + 1;
    c.blockDimX = 1024;
    IS(cu.LaunchKernelEx(&c, f_add, params, NULL), COOPERATIVE_LAUNCH_TOO_LARGE);
    c.gridDimX = c.blockDimX = 1;
    a[1].id = CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION;
    IS(cu.LaunchKernelEx(&c, f_add, params, NULL), NOT_SUPPORTED);
    a[1].id = CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION;
    a[1].value.programmaticStreamSerializationAllowed = 1;
    int major = 0;
    OK(cu.DeviceGetAttribute(&major, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, 0));
    assert_int_equal(cu.LaunchKernelEx(&c, f_add, params, NULL), major < 9 ? CUDA_ERROR_NOT_SUPPORTED : CUDA_SUCCESS);
}

static void test_sticky_fault(void **state) {
    (void)state;
    CUdeviceptr p = new_word(1), q;
    CUevent e;
    OK(cu.MemFree(p));
    IS(run1(f_add, p, 1, NULL), ILLEGAL_ADDRESS);
    assert_non_null(strstr(text(CUDA_ERROR_ILLEGAL_ADDRESS), "freed"));
    assert_non_null(strstr(text(CUDA_ERROR_ILLEGAL_ADDRESS), "add"));
    assert_non_null(strstr(qm_sim_last_report(), "line"));
    IS(cu.CtxSynchronize(), ILLEGAL_ADDRESS);
    IS(cu.MemAlloc(&q, 4), ILLEGAL_ADDRESS);
    IS(cu.EventCreate(&e, 0), ILLEGAL_ADDRESS);
    IS(cu.ModuleUnload(mod), ILLEGAL_ADDRESS);
    IS(cu.StreamSynchronize(NULL), ILLEGAL_ADDRESS);
    /* a new context is whole again; the old one's handles are gone */
    close_all();
    IS(cu.MemAlloc(&q, 4), CONTEXT_IS_DESTROYED);
    CUmodule old = mod;
    open_all();
    (void)old;
    q = new_word(3);
    OK(run1(f_add, q, 1, NULL));
    assert_int_equal(word(q), 4);
    /* past the end, by one word */
    IS(run1(f_add, q + 4, 1, NULL), ILLEGAL_ADDRESS);
    close_all();
    open_all();
    CUfunction f;
    OK(cu.ModuleGetFunction(&f, mod, "die"));
    q = 0;
    IS(cu.LaunchKernel(f, 1, 1, 1, 1, 1, 1, 0, NULL, (void *[]){&q}, NULL), LAUNCH_FAILED);
    close_all();
    open_all();
    q = new_word(3);
    IS(run1(f_add, q + 2, 1, NULL), MISALIGNED_ADDRESS);
    close_all();
    open_all();
}

static void test_context(void **state) {
    (void)state;
    CUcontext again;
    OK(cu.DevicePrimaryCtxRetain(&again, 0));
    assert_ptr_equal(again, ctx);
    OK(cu.DevicePrimaryCtxRelease(0));
    OK(cu.CtxSynchronize()); /* still one reference */
    OK(cu.CtxSetCurrent(NULL));
    IS(cu.CtxSynchronize(), INVALID_CONTEXT);
    IS(cu.CtxSetCurrent((CUcontext)&again), INVALID_CONTEXT);
    OK(cu.CtxSetCurrent(ctx));
}
static void *other_thread(void *arg) {
    *(CUresult *)arg = cu.CtxSynchronize();
    return NULL;
}
static void test_current_is_per_thread(void **state) {
    (void)state;
    pthread_t t;
    CUresult r = CUDA_SUCCESS;
    assert_int_equal(pthread_create(&t, NULL, other_thread, &r), 0);
    pthread_join(t, NULL);
    assert_int_equal(r, CUDA_ERROR_INVALID_CONTEXT);
}

static void test_events(void **state) {
    (void)state;
    CUevent a, b, c;
    CUstream s;
    float ms = -1;
    OK(cu.StreamCreate(&s, CU_STREAM_NON_BLOCKING));
    OK(cu.EventCreate(&a, CU_EVENT_DEFAULT));
    OK(cu.EventCreate(&b, CU_EVENT_DEFAULT));
    OK(cu.EventCreate(&c, CU_EVENT_DISABLE_TIMING));
    OK(cu.EventQuery(a)); /* never recorded counts as done */
    IS(cu.EventElapsedTime(&ms, a, b), INVALID_HANDLE);
    OK(cu.EventRecord(a, s));
    CUdeviceptr p = new_word(1);
    for (int i = 0; i < 20; i++) OK(run1(f_add, p, 1, s));
    OK(cu.EventRecord(b, s));
    OK(cu.EventRecord(c, NULL));
    OK(cu.StreamWaitEvent(s, c, 0));
    OK(cu.EventSynchronize(b));
    OK(cu.EventQuery(b));
    OK(cu.EventElapsedTime(&ms, a, b));
    assert_true(ms > 0 && ms < 10000);
    IS(cu.EventElapsedTime(&ms, a, c), INVALID_HANDLE);
    OK(cu.EventDestroy(c));
    IS(cu.EventRecord(c, s), INVALID_HANDLE);
    OK(cu.StreamQuery(s));
    OK(cu.StreamSynchronize(s));
    OK(cu.StreamDestroy(s));
    IS(cu.StreamSynchronize(s), INVALID_HANDLE);
    IS(cu.StreamDestroy(NULL), INVALID_HANDLE);
}

static void test_graph(void **state) {
    (void)state;
    CUstream s;
    CUgraph g;
    CUgraphExec x;
    size_t n = 0;
    CUdeviceptr p = new_word(1), q = new_word(0);
    uint32_t v = 3, out = 0, in = 100;
    CUgraphNode nodes[8];
    OK(cu.StreamCreate(&s, CU_STREAM_NON_BLOCKING));
    OK(cu.StreamBeginCapture(s, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL));
    OK(cu.LaunchKernel(f_add, 1, 1, 1, 1, 1, 1, 0, s, (void *[]){&p, &v}, NULL));
    v = 10; /* the capture has its own copy */
    OK(cu.LaunchKernel(f_mul, 1, 1, 1, 1, 1, 1, 0, s, (void *[]){&p, &v}, NULL));
    OK(cu.MemcpyDtoDAsync(q, p, 4, s));
    OK(cu.MemcpyDtoHAsync(&out, q, 4, s));
    OK(cu.MemsetD32Async(q, 7, 1, s));
    OK(cu.MemcpyHtoDAsync(p, &in, 4, s));
    OK(cu.StreamEndCapture(s, &g));
    assert_int_equal(word(p), 1); /* recorded, not run */
    OK(cu.GraphGetNodes(g, NULL, &n));
    assert_int_equal(n, 6);
    n = 8;
    OK(cu.GraphGetNodes(g, nodes, &n));
    assert_int_equal(n, 6);
    assert_non_null(nodes[5]);
    OK(cu.GraphInstantiate(&x, g, 0));
    OK(cu.GraphDestroy(g)); /* the executable one stands alone */
    IS(cu.GraphDestroy(g), INVALID_VALUE);
    OK(cu.GraphLaunch(x, s));
    OK(cu.StreamSynchronize(s));
    assert_int_equal(out, (1 + 3) * 10);
    assert_int_equal(word(q), 7);
    assert_int_equal(word(p), 100);
    in = 200; /* read at each launch */
    OK(cu.GraphLaunch(x, NULL));
    assert_int_equal(out, (100 + 3) * 10);
    assert_int_equal(word(p), 200);
    /* a graph inside a capture */
    OK(cu.StreamBeginCapture(s, CU_STREAM_CAPTURE_MODE_RELAXED));
    OK(cu.GraphLaunch(x, s));
    OK(cu.GraphLaunch(x, s));
    OK(cu.StreamEndCapture(s, &g));
    OK(cu.GraphGetNodes(g, NULL, &n));
    assert_int_equal(n, 2);
    OK(cu.GraphExecDestroy(x));
    IS(cu.GraphLaunch(x, s), INVALID_VALUE);
    OK(cu.GraphInstantiate(&x, g, 0));
    OK(cu.GraphLaunch(x, s));
    assert_int_equal(out, (200 + 3) * 10);
    OK(cu.GraphExecDestroy(x));
    OK(cu.GraphDestroy(g));
    /* an empty one */
    OK(cu.StreamBeginCapture(s, CU_STREAM_CAPTURE_MODE_GLOBAL));
    OK(cu.StreamEndCapture(s, &g));
    OK(cu.GraphInstantiate(&x, g, 0));
    OK(cu.GraphLaunch(x, s));
    /* memory that is gone by the time of the launch */
    OK(cu.StreamBeginCapture(s, CU_STREAM_CAPTURE_MODE_GLOBAL));
    OK(cu.MemsetD8Async(q, 1, 4, s));
    OK(cu.StreamEndCapture(s, &g));
    OK(cu.GraphInstantiate(&x, g, 0));
    OK(cu.MemFree(q));
    IS(cu.GraphLaunch(x, s), INVALID_VALUE);
}

static void test_capture_rules(void **state) {
    (void)state;
    CUstream s, t;
    CUgraph g = (CUgraph)1;
    CUdeviceptr p = new_word(1), q;
    CUevent e, f;
    uint32_t v;
    OK(cu.StreamCreate(&s, CU_STREAM_DEFAULT));
    OK(cu.StreamCreate(&t, CU_STREAM_NON_BLOCKING));
    OK(cu.EventCreate(&e, CU_EVENT_DISABLE_TIMING));
    OK(cu.EventCreate(&f, CU_EVENT_DISABLE_TIMING));
    IS(cu.StreamBeginCapture(NULL, CU_STREAM_CAPTURE_MODE_GLOBAL), STREAM_CAPTURE_UNSUPPORTED);
    IS(cu.StreamEndCapture(s, &g), ILLEGAL_STATE);
    OK(cu.StreamBeginCapture(s, CU_STREAM_CAPTURE_MODE_GLOBAL));
    IS(cu.StreamBeginCapture(s, CU_STREAM_CAPTURE_MODE_GLOBAL), ILLEGAL_STATE);
    OK(run1(f_add, p, 1, s));
    /* an allocation is refused, and breaks the capture */
    IS(cu.MemAlloc(&q, 4), STREAM_CAPTURE_UNSUPPORTED);
    IS(run1(f_add, p, 1, s), STREAM_CAPTURE_INVALIDATED);
    IS(cu.StreamEndCapture(s, &g), STREAM_CAPTURE_INVALIDATED);
    assert_null(g);
    /* a synchronous copy uses the legacy stream, which waits for a blocking stream */
    OK(cu.StreamBeginCapture(s, CU_STREAM_CAPTURE_MODE_RELAXED));
    IS(cu.MemcpyDtoH(&v, p, 4), STREAM_CAPTURE_IMPLICIT);
    IS(cu.StreamEndCapture(s, &g), STREAM_CAPTURE_INVALIDATED);
    /* ... but not for a non-blocking one; and relaxed allows the copy and the allocation */
    OK(cu.StreamBeginCapture(t, CU_STREAM_CAPTURE_MODE_RELAXED));
    OK(cu.MemcpyDtoH(&v, p, 4));
    assert_int_equal(v, 1);
    OK(cu.MemAlloc(&q, 4));
    OK(cu.MemFree(q));
    OK(run1(f_add, p, 5, NULL)); /* the legacy stream runs at once */
    assert_int_equal(word(p), 6);
    OK(cu.StreamEndCapture(t, &g));
    OK(cu.GraphDestroy(g));
    /* waiting for a capturing stream */
    OK(cu.StreamBeginCapture(t, CU_STREAM_CAPTURE_MODE_RELAXED));
    IS(cu.StreamSynchronize(t), STREAM_CAPTURE_UNSUPPORTED);
    IS(cu.StreamEndCapture(t, &g), STREAM_CAPTURE_INVALIDATED);
    OK(cu.StreamBeginCapture(t, CU_STREAM_CAPTURE_MODE_GLOBAL));
    IS(cu.CtxSynchronize(), STREAM_CAPTURE_UNSUPPORTED);
    IS(cu.StreamEndCapture(t, &g), STREAM_CAPTURE_INVALIDATED);
    /* fork and join through events */
    OK(cu.StreamBeginCapture(s, CU_STREAM_CAPTURE_MODE_RELAXED));
    OK(run1(f_add, p, 4, s));
    OK(cu.EventRecord(e, s));
    OK(cu.StreamWaitEvent(t, e, 0));
    OK(run1(f_mul, p, 2, t));
    IS(cu.EventQuery(e), CAPTURED_EVENT);
    IS(cu.StreamEndCapture(s, &g), STREAM_CAPTURE_INVALIDATED);
    OK(cu.StreamBeginCapture(s, CU_STREAM_CAPTURE_MODE_RELAXED));
    OK(cu.EventRecord(e, s));
    OK(cu.StreamWaitEvent(t, e, 0));
    OK(run1(f_mul, p, 2, t));
    IS(cu.StreamEndCapture(s, &g), STREAM_CAPTURE_UNJOINED);
    OK(cu.StreamBeginCapture(s, CU_STREAM_CAPTURE_MODE_RELAXED));
    OK(cu.EventRecord(e, s));
    OK(cu.StreamWaitEvent(t, e, 0));
    OK(run1(f_mul, p, 2, t));
    OK(cu.EventRecord(f, t));
    OK(cu.StreamWaitEvent(s, f, 0));
    IS(cu.StreamEndCapture(t, &g), STREAM_CAPTURE_UNMATCHED);
    IS(cu.StreamEndCapture(s, &g), STREAM_CAPTURE_INVALIDATED);
    OK(cu.StreamBeginCapture(s, CU_STREAM_CAPTURE_MODE_RELAXED));
    OK(cu.EventRecord(e, s));
    OK(cu.StreamWaitEvent(t, e, 0));
    OK(run1(f_mul, p, 2, t));
    OK(cu.EventRecord(f, t));
    OK(cu.StreamWaitEvent(s, f, 0));
    OK(run1(f_add, p, 1, s));
    OK(cu.StreamEndCapture(s, &g));
    CUgraphExec x;
    OK(cu.GraphInstantiate(&x, g, 0));
    OK(cu.GraphLaunch(x, s));
    assert_int_equal(word(p), 13); /* 6 * 2 + 1 */
    OK(run1(f_mul, p, 1, t));      /* t is an ordinary stream again */
    /* a wait for work outside the capture */
    OK(cu.EventRecord(e, t));
    OK(cu.StreamBeginCapture(s, CU_STREAM_CAPTURE_MODE_RELAXED));
    IS(cu.StreamWaitEvent(s, e, 0), STREAM_CAPTURE_ISOLATION);
    IS(cu.StreamEndCapture(s, &g), STREAM_CAPTURE_INVALIDATED);
    /* ended by another thread's hand, or by the stream's end: the context still works */
    OK(cu.StreamBeginCapture(s, CU_STREAM_CAPTURE_MODE_GLOBAL));
    OK(cu.StreamDestroy(s));
    OK(cu.MemAlloc(&q, 4));
}

/* What a kernel faults on inside a graph is reported as at a launch. */
static void test_fault_in_graph(void **state) {
    (void)state;
    CUstream s;
    CUgraph g;
    CUgraphExec x;
    CUdeviceptr p = new_word(1);
    OK(cu.StreamCreate(&s, CU_STREAM_NON_BLOCKING));
    OK(cu.StreamBeginCapture(s, CU_STREAM_CAPTURE_MODE_GLOBAL));
    OK(run1(f_add, 16, 1, s));
    OK(run1(f_add, p, 1, s));
    OK(cu.StreamEndCapture(s, &g));
    OK(cu.GraphInstantiate(&x, g, 0));
    IS(cu.GraphLaunch(x, s), ILLEGAL_ADDRESS);
    IS(cu.StreamSynchronize(s), ILLEGAL_ADDRESS);
    close_all();
    open_all();
}

int main(void) {
    qm_err e;
    if (qm_sim_driver(&cu, NULL, &e)) return 2;
    const struct CMUnitTest t[] = {
        cmocka_unit_test(test_environment),
        cmocka_unit_test(test_bad_environment),
        cmocka_unit_test(test_before_init),
#define EACH(t) cmocka_unit_test_setup_teardown(t, each_setup, each_teardown)
        EACH (test_device),
        EACH (test_memory),
        EACH (test_modules),
        EACH (test_launch_arguments),
        EACH (test_shared_and_occupancy),
        EACH (test_launch_ex),
        EACH (test_sticky_fault),
        EACH (test_context),
        EACH (test_current_is_per_thread),
        EACH (test_events),
        EACH (test_graph),
        EACH (test_capture_rules),
        EACH (test_fault_in_graph),
    };
    return cmocka_run_group_tests(t, NULL, NULL);
}
