/* The device layer: choosing a device through the real dlopen path (a libcuda of our own, backed by the
 * software device, that can play broken and old GPUs), error texts, module loading. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "solib.h"
#include "fixtures/fake_libcuda.h"
#include "../../runtime/device/counters.h"
#include "../../runtime/device/kernels.h"
#include "../../runtime/device/texts.h"
#include "../../runtime/device/prof.h"
#include "../../runtime/file/quant.h"
#include "../../runtime/observe/machine.h"
#include "../../runtime/qmoe.h"

/* ---- the machine that the fake driver shows: each device is the software device in a costume ---- */
static struct {
    int n_gpus, cc_major[4], load_fails[4], wrong_answer[4], integrated;
    int retained, released, current, jit_log;
} fake;
static qm_cuda sim;

static CUresult CUDAAPI fake_count(int *n) {
    *n = fake.n_gpus;
    return CUDA_SUCCESS;
}
static CUresult CUDAAPI fake_get(CUdevice *d, int i) {
    *d = i;
    return i < fake.n_gpus ? CUDA_SUCCESS : CUDA_ERROR_INVALID_DEVICE;
}
static CUresult CUDAAPI fake_name(char *s, int n, CUdevice d) {
    snprintf(s, (size_t)n, "Costume %d", (int)d);
    return CUDA_SUCCESS;
}
static CUresult CUDAAPI fake_attribute(int *v, CUdevice_attribute a, CUdevice d) {
    if (a == CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR) {
        *v = fake.cc_major[d];
        return CUDA_SUCCESS;
    }
    if (a == CU_DEVICE_ATTRIBUTE_INTEGRATED) {
        *v = fake.integrated;
        return CUDA_SUCCESS;
    }
    return sim.DeviceGetAttribute(v, a, 0);
}
static CUresult CUDAAPI fake_total(size_t *n, CUdevice d) {
    (void)d;
    return sim.DeviceTotalMem(n, 0);
}
static CUresult CUDAAPI fake_retain(CUcontext *c, CUdevice d) {
    fake.retained++;
    fake.current = (int)d;
    return sim.DevicePrimaryCtxRetain(c, 0);
}
static CUresult CUDAAPI fake_release(CUdevice d) {
    (void)d;
    fake.released++;
    return sim.DevicePrimaryCtxRelease(0);
}
static CUresult CUDAAPI fake_load(CUmodule *m, const void *image, unsigned n, CUjit_option *opt, void **val) {
    if (fake.load_fails[fake.current]) return CUDA_ERROR_UNSUPPORTED_PTX_VERSION;
    if (fake.jit_log) { /* what ptxas says goes where the options point */
        for (unsigned i = 0; i < n; i++)
            if (opt[i] == CU_JIT_ERROR_LOG_BUFFER) strcpy(val[i], "ptxas: no such thing as sm_79");
        return CUDA_ERROR_INVALID_PTX;
    }
    return sim.ModuleLoadDataEx(m, image, n, opt, val);
}
static CUresult CUDAAPI fake_dtoh(void *p, CUdeviceptr d, size_t n) {
    CUresult r = sim.MemcpyDtoH(p, d, n);
    if (fake.wrong_answer[fake.current]) memset(p, 0, n);
    return r;
}

static int group_setup(void **state) {
    (void)state;
    static char path[2304];
    qm_err e = {0};
    void *p, **table;
    void **(*get)(int *n);
    int n = 0;
    if (qm_sim_driver(&sim, NULL, &e)) return -1;
    if (solib_path("fake_libcuda", path, sizeof path)) return -1;
    void *lib = dlopen(path, RTLD_NOW);
    if (!lib || !(p = dlsym(lib, "fake_libcuda_table"))) return -1;
    memcpy(&get, &p, sizeof p);
    table = get(&n);
    if ((size_t)n * sizeof *table != sizeof sim) return -1;
    qm_cuda t = sim;
    t.DeviceGetCount = fake_count;
    t.DeviceGet = fake_get;
    t.DeviceGetName = fake_name;
    t.DeviceGetAttribute = fake_attribute;
    t.DeviceTotalMem = fake_total;
    t.DevicePrimaryCtxRetain = fake_retain;
    t.DevicePrimaryCtxRelease = fake_release;
    t.ModuleLoadDataEx = fake_load;
    t.MemcpyDtoH = fake_dtoh;
    memcpy(table, &t, sizeof t);
    return 0;
}

/* One GPU that works, found through the fake library. */
static int healthy(void **state) {
    (void)state;
    char path[2304];
    memset(&fake, 0, sizeof fake);
    fake.n_gpus = 1;
    for (int i = 0; i < 4; i++) fake.cc_major[i] = 8;
    if (solib_path("fake_libcuda", path, sizeof path)) return -1;
    return setenv("QMOE_LIBCUDA", path, 1);
}
static int no_driver(void **state) {
    (void)state;
    return setenv("QMOE_LIBCUDA", "/nonexistent/libcuda.so.1", 1);
}

static void assert_in(const char *text, const char *part) {
    if (!strstr(text, part)) fail_msg("\"%s\" is not in \"%s\"", part, text);
}

/* ---- choosing ---- */
static void auto_without_driver_is_sim(void **state) {
    (void)state;
    qm_device *d;
    qm_err e = {0};
    char why[256];
    assert_int_equal(qm_device_open(&d, "auto", why, sizeof why, &e), 0);
    assert_string_equal(d->spec, "sim");
    assert_true(d->cc_major >= 8 && d->n_sm > 0 && d->total_mem > 0 && d->name[0]);
    assert_in(why, "sim: no usable GPU");
    assert_in(why, "/nonexistent/libcuda.so.1");
    qm_device_close(d);
    assert_int_equal(qm_device_open(&d, NULL, NULL, 0, NULL), 0);
    qm_device_close(d);
}

static void cuda_without_driver_says_so(void **state) {
    (void)state;
    qm_device *d = (qm_device *)&fake;
    qm_err e = {0};
    assert_int_equal(qm_device_open(&d, "cuda", NULL, 0, &e), QM_ERR_DEVICE);
    assert_null(d);
    assert_in(e.msg, "no CUDA driver");
}

static void unknown_specs_are_refused(void **state) {
    (void)state;
    static const char *const bad[] = {"gpu", "cuda:", "cuda:x", "cuda:-1", "cuda:1x", "cuda:99999", "sim:1", "CUDA"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        qm_device *d;
        qm_err e = {0};
        assert_int_equal(qm_device_open(&d, bad[i], NULL, 0, &e), QM_ERR_ARG);
        assert_in(e.msg, bad[i]);
    }
}

static void old_driver_is_named(void **state) {
    (void)state;
    char path[2304];
    qm_cuda t;
    qm_err e = {0};
    assert_int_equal(solib_path("old_libcuda", path, sizeof path), 0);
    setenv("QMOE_LIBCUDA", path, 1);
    assert_int_equal(qm_cuda_driver(&t, NULL, &e), QM_ERR_DEVICE);
    assert_in(e.msg, "cuDriverGetVersion");
    assert_null(strstr(e.msg, "cuInit,")); /* that one is there */
    assert_in(e.msg, "470");
    assert_null(t.Init); /* nothing half filled */
}

static void gpu_is_found(void **state) {
    (void)state;
    qm_device *d;
    qm_err e = {0};
    char why[256];
    assert_int_equal(qm_device_open(&d, "auto", why, sizeof why, &e), 0);
    assert_string_equal(d->spec, "cuda:0");
    assert_string_equal(d->name, "Costume 0");
    assert_in(why, "cuda:0: Costume 0, sm_8");
    qm_device_close(d);
    assert_int_equal(fake.retained, 1);
    assert_int_equal(fake.released, 1);
    assert_int_equal(qm_device_open(&d, "cuda:1", NULL, 0, &e), QM_ERR_ARG);
    assert_in(e.msg, "only 1 GPU");
    assert_int_equal(qm_device_open(&d, "sim", NULL, 0, &e), 0);
    assert_string_equal(d->spec, "sim");
    qm_device_close(d);
}

static void broken_gpus_are_passed_over(void **state) {
    (void)state;
    qm_device *d;
    qm_err e = {0};
    char why[256];
    fake.n_gpus = 4;
    fake.cc_major[0] = 7;
    fake.load_fails[1] = 1;
    fake.wrong_answer[2] = 1;
    assert_int_equal(qm_device_open(&d, "auto", why, sizeof why, &e), 0);
    assert_string_equal(d->spec, "cuda:3");
    assert_in(why, "passed over cuda:0: Costume 0 is sm_7");
    /* the contexts of the two that failed their test were given back */
    assert_int_equal(fake.retained, 3);
    assert_int_equal(fake.released, 2);
    qm_device_close(d);
    assert_int_equal(qm_device_open(&d, "cuda:0", NULL, 0, &e), QM_ERR_UNSUPPORTED);
    assert_in(e.msg, "sm_80 or later");
    assert_int_equal(qm_device_open(&d, "cuda:1", NULL, 0, &e), QM_ERR_DEVICE);
    assert_in(e.msg, "cuModuleLoadDataEx");
    assert_int_equal(qm_device_open(&d, "cuda:2", NULL, 0, &e), QM_ERR_DEVICE);
    assert_in(e.msg, "test kernel");
    assert_int_equal(fake.retained, fake.released);
    fake.n_gpus = 3;
    assert_int_equal(qm_device_open(&d, "auto", why, sizeof why, &e), 0);
    assert_string_equal(d->spec, "sim");
    assert_in(why, "sm_80 or later");
    qm_device_close(d);
    fake.n_gpus = 0;
    assert_int_equal(qm_device_open(&d, "cuda", NULL, 0, &e), QM_ERR_DEVICE);
    assert_in(e.msg, "no GPU");
}

/* ---- memory and errors ---- */
static void memory_figures(void **state) {
    (void)state;
    qm_device *d;
    qm_err e = {0};
    size_t avail = 0, total = 0, a2, t2;
    assert_int_equal(qm_device_open(&d, "cuda", NULL, 0, &e), 0);
    assert_int_equal(qm_device_mem(d, &avail, &total, &e), 0);
    assert_true(avail > 0 && avail <= total);
    qm_device_close(d);
    fake.integrated = 1; /* now what the host could reclaim counts too */
    assert_int_equal(qm_device_open(&d, "cuda", NULL, 0, &e), 0);
    assert_int_equal(qm_device_mem(d, &a2, &t2, &e), 0);
    assert_true(a2 > 0 && a2 <= t2);
    CUdeviceptr p = 0;
    CUresult r = d->cu.MemAlloc(&p, (size_t)1 << 50);
    assert_int_equal(r, CUDA_ERROR_OUT_OF_MEMORY);
    assert_int_equal(qm_cu_fail(d, r, "MemAlloc(&p, n)", &e), QM_ERR_NOMEM);
    assert_in(e.msg, "cuMemAlloc: CUDA_ERROR_OUT_OF_MEMORY");
    assert_in(e.msg, "MiB free");
    assert_int_equal(qm_cu_fail(d, (CUresult)987654, "loading", &e), QM_ERR_DEVICE);
    assert_in(e.msg, "cuda:0: loading: ");
    assert_in(e.msg, "987654");
    qm_device_close(d);
}

/* ---- modules and the registry ---- */
static void registry_is_consistent(void **state) {
    (void)state;
    for (int i = 0; i < QM_N_KERNELS; i++) {
        const qm_kernel_info *k = &qm_kernel_table[i];
        const int found = k->width ? qm_kernel_find_rows(k->op, k->wtype, k->width)
                                   : qm_kernel_find(k->op, k->wtype, k->kv, k->head_dim);
        assert_int_equal(found, i); /* no two lines alike */
        assert_string_equal(qm_op_name(k->op), k->file);
        assert_true(k->max_block >= 32 && k->max_block <= 1024 && k->tolerance >= 0);
        assert_true(k->args_bytes > 0 && k->args_bytes % 8 == 0);
        assert_int_equal(strncmp(k->entry, "qm_", 3), 0);
    }
    assert_int_equal(qm_kernel_find(QM_OP_MATVEC, 9999, -1, 0), -1);
    assert_int_equal(qm_kernel_find(QM_OP_ATTN, -1, 9999, 128), -1);
    assert_int_equal(qm_kernel_find_rows(QM_OP_GEMM, QM_TYPE_Q4_K, 64), -1); /* no such width */
    assert_int_equal(qm_kernel_find(QM_OP_GEMM, QM_TYPE_Q4_K, -1, 0), -1);   /* it is of some width */
    assert_null(qm_ptx_text("no_such_op"));
    assert_null(qm_ptx_text("matve")); /* no match by prefix */
    assert_non_null(qm_op_name((qm_op_kind)-1));
}

/* A module of one entry: the others' lines are empty, all else stands where it stood, so that a report's line is the
 * file's. */
static void an_entry_by_itself(void **state) {
    (void)state;
    qm_err e = {0};
    for (int i = 0; i < QM_N_KERNELS; i++) {
        const qm_kernel_info *k = &qm_kernel_table[i];
        const char *whole = qm_ptx_text(k->file);
        char *one, name[160];
        if (!whole || !strstr(whole, k->entry)) continue;
        if (qm_ptx_entry(&one, k->file, k->entry, &e)) fail_msg("%s", e.msg);
        snprintf(name, sizeof name, ".visible .entry %s(", k->entry);
        assert_non_null(strstr(one, name));
        const char *second = strstr(strstr(one, ".entry") + 1, ".entry");
        if (second) fail_msg("%s: another entry beside it: %.60s", k->entry, second);
        const char *at = whole;
        for (const char *p = one; *p; p++) { /* line by line the file's, or nothing */
            const size_t n = strcspn(p, "\n");
            if (n) assert_int_equal(strcspn(at, "\n"), n), assert_memory_equal(p, at, n);
            at += strcspn(at, "\n");
            assert_int_equal(*at, p[n]);
            if (!*at++) break;
            p += n;
        }
        free(one);
    }
    char *one;
    assert_int_equal(qm_ptx_entry(&one, "matvec", "qm_matvec_f32", &e), QM_ERR_UNSUPPORTED); /* no match by prefix */
    assert_in(e.msg, "qm_matvec_f32: kernels/ptx/matvec.ptx has no such entry");
    assert_int_equal(qm_ptx_entry(&one, "no_such_op", "qm_matvec_f32_f32", &e), QM_ERR_UNSUPPORTED);
    assert_null(one);
}

static void broken_module_brings_the_jit_log(void **state) {
    (void)state;
    qm_device *d;
    qm_err e = {0};
    CUmodule m;
    assert_int_equal(qm_device_open(&d, "sim", NULL, 0, &e), 0);
    assert_int_equal(
        qm_module_load(d, "broken",
                       ".version 7.4\n.target sm_80\n.address_size 64\n"
                       ".visible .entry f()\n{\n    .reg .b32 %r1;\n    frobnicate.u32 %r1;\n    ret;\n}\n",
                       &m, &e),
        QM_ERR_DEVICE);
    assert_null(m);
    assert_in(e.msg, "module broken does not load");
    assert_in(e.msg, "frobnicate");
    qm_device_close(d);
}

static void jit_log_is_in_the_error(void **state) {
    (void)state;
    qm_device *d;
    qm_err e = {0};
    CUmodule m;
    assert_int_equal(qm_device_open(&d, "cuda", NULL, 0, &e), 0);
    fake.jit_log = 1;
    assert_int_equal(qm_module_load(d, "matvec", "", &m, &e), QM_ERR_DEVICE);
    assert_string_equal(e.msg,
                        "cuda:0: module matvec does not load: CUDA_ERROR_INVALID_PTX: ptxas: no such thing as sm_79");
    qm_device_close(d);
}

static void launches_are_checked(void **state) {
    (void)state;
    qm_device *d;
    qm_kernels *k;
    qm_err e = {0};
    CUfunction f;
    unsigned char args[96] = {0};
    const unsigned one[3] = {1, 1, 1}, none[3] = {1, 0, 1};
    assert_int_equal(qm_device_open(&d, "sim", NULL, 0, &e), 0);
    assert_int_equal(qm_kernels_open(&k, d, &e), 0);
    assert_int_equal(qm_kernels_get(k, -1, &f, &e), QM_ERR_ARG);
    assert_int_equal(qm_kernels_get(k, QM_N_KERNELS, &f, &e), QM_ERR_ARG);
    for (int i = 0; i < QM_N_KERNELS; i++) {
        const qm_kernel_info *info = &qm_kernel_table[i];
        if (!qm_ptx_text(info->file)) { /* its kernel is not written yet: an error that names the file */
            assert_int_equal(qm_kernels_get(k, i, &f, &e), QM_ERR_UNSUPPORTED);
            assert_in(e.msg, info->file);
            continue;
        }
        if (qm_kernels_get(k, i, &f, &e)) fail_msg("%s: %s", info->entry, e.msg);
        assert_int_equal(qm_kernels_launch(k, i, one, (unsigned)info->max_block + 1, 0, args, NULL, &e), QM_ERR_ARG);
        assert_int_equal(qm_kernels_launch(k, i, one, 0, 0, args, NULL, &e), QM_ERR_ARG);
        assert_int_equal(qm_kernels_launch(k, i, none, 32, 0, args, NULL, &e), QM_ERR_ARG);
        assert_in(e.msg, info->entry);
        assert_true(qm_kernels_launch(k, i, one, 32, 16u << 20, args, NULL, &e) != 0); /* more than any SM has */
    }
    qm_kernels_close(k);
    qm_device_close(d);
}

/* An entry point that only newer drivers have: its field is NULL and all else works. Any other: named. */
static void entries_may_be_missing(void **state) {
    (void)state;
    char path[2304];
    qm_device *d;
    qm_err e = {0};
    void *p, **(*get)(int *n);
    int n;
    assert_int_equal(solib_path("fake_libcuda", path, sizeof path), 0);
    void *lib = dlopen(path, RTLD_NOW);
    assert_non_null(lib);
    p = dlsym(lib, "fake_libcuda_table");
    memcpy(&get, &p, sizeof p);
    void **optional = get(&n) + offsetof(qm_cuda, LaunchKernelEx) / sizeof(void *), *was = *optional;
    void **needed = get(&n) + offsetof(qm_cuda, EventRecord) / sizeof(void *), *had = *needed;
    *optional = NULL;
    int rc = qm_device_open(&d, "cuda:0", NULL, 0, &e);
    *optional = was;
    if (rc) fail_msg("%s", e.msg);
    assert_true(!d->cu.LaunchKernelEx && d->cu.LaunchKernel);
    qm_device_close(d);
    *needed = NULL;
    rc = qm_device_open(&d, "cuda:0", NULL, 0, &e);
    *needed = had;
    assert_int_not_equal(rc, 0);
    assert_in(e.msg, "lacks 1 entry points (cuEventRecord)");
    dlclose(lib);
}

static void timer_measures(void **state) {
    (void)state;
    qm_device *d;
    qm_timer t;
    qm_err e = {0};
    double ms = -1;
    CUdeviceptr p;
    assert_int_equal(qm_device_open(&d, "sim", NULL, 0, &e), 0);
    assert_int_equal(d->cu.MemAlloc(&p, 1 << 20), CUDA_SUCCESS);
    assert_int_equal(qm_timer_open(&t, d, &e), 0);
    assert_int_equal(qm_timer_start(&t, NULL, &e), 0);
    assert_int_equal(d->cu.MemsetD8Async(p, 1, 1 << 20, NULL), CUDA_SUCCESS);
    assert_int_equal(qm_timer_stop(&t, NULL, &e), 0);
    assert_int_equal(qm_timer_ms(&t, &ms, &e), 0);
    assert_true(ms >= 0 && ms < 60000);
    qm_timer_close(&t);
    qm_timer_close(&t); /* safe twice */
    d->cu.MemFree(p);
    qm_device_close(d);
}

/* What a device can do is what its filler said, whatever the device is called. */
static void capabilities_are_flags(void **state) {
    (void)state;
    qm_device *gpu, *soft;
    qm_machine m;
    qm_counters c;
    qm_err e = {0};
    assert_int_equal(qm_device_open(&gpu, "auto", NULL, 0, &e), 0); /* the fixture's */
    assert_true(gpu->caps.timed && !gpu->caps.interpreted && !gpu->caps.count && !gpu->caps.take_counters);
    assert_false(qm_counters_here(gpu));
    assert_int_equal(qm_counters_begin(gpu, &e), QM_ERR_UNSUPPORTED);
    assert_in(e.msg, "cuda:0 (Costume 0) counts nothing");
    assert_int_equal(qm_device_open(&soft, "sim", NULL, 0, &e), 0);
    assert_true(!soft->caps.timed && soft->caps.interpreted);

    snprintf(gpu->spec, sizeof gpu->spec, "sim");
    snprintf(soft->spec, sizeof soft->spec, "cuda:7");
    qm_machine_of(gpu, &m);
    assert_false(m.simulated);
    qm_machine_of(soft, &m);
    assert_true(m.simulated);
    assert_string_equal(m.device, "cuda:7");
    assert_false(qm_counters_here(gpu));
    assert_true(qm_counters_here(soft));
    assert_int_equal(qm_counters_begin(soft, &e), 0);
    qm_counters_take(&c);
    assert_int_equal(c.warp_insts, 0);
    assert_int_equal(soft->caps.count(1), 1); /* it was on */
    qm_counters_end();
    assert_int_equal(soft->caps.count(0), 0); /* as before begin */
    qm_device_close(soft);
    qm_device_close(gpu);
}

int main(void) {
    const struct CMUnitTest t[] = {
        cmocka_unit_test_setup(auto_without_driver_is_sim, no_driver),
        cmocka_unit_test_setup(cuda_without_driver_says_so, no_driver),
        cmocka_unit_test_setup(unknown_specs_are_refused, healthy),
        cmocka_unit_test_setup(old_driver_is_named, healthy),
        cmocka_unit_test_setup(gpu_is_found, healthy),
        cmocka_unit_test_setup(broken_gpus_are_passed_over, healthy),
        cmocka_unit_test_setup(capabilities_are_flags, healthy),
        cmocka_unit_test_setup(memory_figures, healthy),
        cmocka_unit_test_setup(registry_is_consistent, no_driver),
        cmocka_unit_test_setup(an_entry_by_itself, no_driver),
        cmocka_unit_test_setup(broken_module_brings_the_jit_log, no_driver),
        cmocka_unit_test_setup(jit_log_is_in_the_error, healthy),
        cmocka_unit_test_setup(launches_are_checked, no_driver),
        cmocka_unit_test_setup(entries_may_be_missing, healthy),
        cmocka_unit_test_setup(timer_measures, no_driver),
    };
    return cmocka_run_group_tests(t, group_setup, NULL);
}
