/* unit_steps: what the host asks of the driver, and when. Everything is made when an engine opens; a step is one launch and one
 * event, from the first token on, whatever depth it reaches; pages come some at a time, in one small copy. */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "fixture.h"
#include "fixtures/fake_libcuda.h"
#include "solib.h"

/* ---- a driver of which only a few calls may be made: each other one fails and leaves its name ---- */
static qm_cuda real;
static struct {
    const char *forbidden;
    int launches, records, waits, copies;
    size_t bytes; /* of the copies */
} seen;

static CUresult forbidden(const char *what) {
    if (!seen.forbidden) seen.forbidden = what;
    return CUDA_ERROR_NOT_PERMITTED;
}
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-parameter"
#define QM_CU(field, symbol, params) \
    static CUresult CUDAAPI no_##field params { return forbidden(#field); }
#include "../../contracts/cuda.def"
#undef QM_CU
#pragma GCC diagnostic pop
static const qm_cuda nothing = {
#define QM_CU(field, symbol, params) .field = no_##field,
#include "../../contracts/cuda.def"
#undef QM_CU
};

static CUresult CUDAAPI launch(CUgraphExec x, CUstream s) {
    seen.launches++;
    return real.GraphLaunch(x, s);
}
static CUresult CUDAAPI record(CUevent e, CUstream s) {
    seen.records++;
    return real.EventRecord(e, s);
}
static CUresult CUDAAPI wait(CUevent e) {
    seen.waits++;
    return real.EventSynchronize(e);
}

static CUresult CUDAAPI copy(CUdeviceptr d, const void *s, size_t n, CUstream st) {
    seen.copies++;
    seen.bytes += n;
    return real.MemcpyHtoDAsync(d, s, n, st);
}

static void step_only(qm_engine *g) {
    memset(&seen, 0, sizeof seen);
    real = g->dev->cu;
    g->dev->cu = nothing;
    g->dev->cu.GraphLaunch = launch;
    g->dev->cu.EventRecord = record;
    g->dev->cu.EventSynchronize = wait;
    g->dev->cu.GetErrorName = real.GetErrorName;
    g->dev->cu.GetErrorString = real.GetErrorString;
}

static void all_again(qm_engine *g) {
    g->dev->cu = real;
    if (seen.forbidden) fail_msg("%s was called", seen.forbidden);
}

static int from_first_token(void *user, uint32_t id, const char *s, size_t n) {
    qm_engine *g = user;
    (void)id, (void)s, (void)n;
    if (g->dev->cu.MemAlloc != no_MemAlloc) {
        step_only(g);
        g->dev->cu.MemcpyHtoDAsync = copy;
    }
    return 0;
}

static qm_session *session(qm_engine *g) {
    qm_session *s;
    qm_err e;
    fix_ok(qm_session_open(&s, g, &e), &e);
    return s;
}

/* A decode that goes over a border of attention's splits (position 256) and two of pages: the prompt's 8 are followed by 2 more.
 * That is one copy, of two page numbers, and its event. */
static void test_decode_calls(void **state) {
    (void)state;
    static const char *const executors[] = {"graph", "persistent"};
    enum { PROMPT = 245, N = 45, GROWTHS = 1 };
    for (int x = 0; x < 2; x++) {
        qm_engine *g = fix_engine("small", executors[x]);
        qm_session *s = session(g);
        uint32_t ids[PROMPT];
        qm_gen_opts o = {.max_tokens = N, .ignore_eos = 1, .on_token = from_first_token, .user = g};
        qm_gen_stats st;
        qm_err e;
        assert_true(qm_plan_splits(&g->model->hp, g->limits, PROMPT) <
                    qm_plan_splits(&g->model->hp, g->limits, PROMPT + N));
        fix_prompt(g, ids, PROMPT, 3);
        int rc = qm_generate(s, ids, PROMPT, &o, &st, &e);
        all_again(g);
        fix_ok(rc, &e);
        assert_int_equal(st.n_generated, N);
        /* the first token's step was part of the prompt, the second's on its way when the first was there */
        assert_int_equal(seen.launches, N - 2);
        assert_int_equal(seen.copies, GROWTHS);
        assert_int_equal(seen.bytes, 4 * (qm_pages_for(PROMPT + N) - qm_pages_for(PROMPT)));
        assert_int_equal(seen.records, N - 2 + GROWTHS);
        assert_in_range(seen.waits, N - 1, N - 1 + GROWTHS); /* a copy waits for who had its buffer before, long ago */
        qm_session_close(s);
        qm_engine_close(g);
    }
}

/* A prompt brings ids, pages and a position to the device, and its last logits back; it makes nothing. */
static void test_prompt_calls(void **state) {
    (void)state;
    static const char *const executors[] = {"graph", "persistent"};
    enum { PROMPT = 300 };
    for (int x = 0; x < 2; x++) {
        qm_engine *g = fix_engine("small", executors[x]);
        qm_session *s = session(g);
        uint32_t ids[PROMPT];
        qm_gen_opts o = {.max_tokens = 1, .ignore_eos = 1};
        qm_gen_stats st;
        qm_err e;
        fix_prompt(g, ids, PROMPT, 3);
        step_only(g);
        g->dev->cu.MemcpyHtoDAsync = real.MemcpyHtoDAsync;
        g->dev->cu.MemsetD32Async = real.MemsetD32Async;
        g->dev->cu.StreamSynchronize = real.StreamSynchronize;
        g->dev->cu.MemcpyDtoH = real.MemcpyDtoH;
        int rc = qm_generate(s, ids, PROMPT, &o, &st, &e);
        all_again(g);
        fix_ok(rc, &e);
        assert_int_equal(seen.launches, 1); /* of all 300 rows */
        qm_session_close(s);
        qm_engine_close(g);
    }
}

/* What a plan needs is made once, when the engine opens: one more sequence is a piece of memory, cleared. */
static void test_session_calls(void **state) {
    (void)state;
    static const char *const executors[] = {"graph", "persistent"};
    for (int x = 0; x < 2; x++) {
        qm_engine *g = fix_engine("small", executors[x]);
        qm_session *s[4];
        qm_err e;
        int rc = 0;
        step_only(g);
        g->dev->cu.MemsetD8Async = real.MemsetD8Async;
        for (int i = 0; i < 4 && !rc; i++) rc = qm_session_open(&s[i], g, &e);
        all_again(g);
        fix_ok(rc, &e);
        for (int i = 0; i < 4; i++) qm_session_close(s[i]);
        qm_engine_close(g);
    }
}

/* Two sequences that take turns: a step is one launch and one event, and 16 bytes that say whose it is. */
static void test_turns_calls(void **state) {
    (void)state;
    enum { N = 20 };
    qm_engine *g = fix_engine("small", "graph");
    qm_session *s[2] = {session(g), session(g)};
    qm_err e;
    int rc = 0;
    for (int k = 0; k < 2; k++) {
        fix_ok(qm_session_eval(s[k], 65 + (uint32_t)k, &e), &e);
        fix_ok(qm_session_pages(s[k], 2, &e), &e);
    }
    step_only(g);
    g->dev->cu.MemcpyHtoDAsync = copy;
    for (uint32_t pos = 1; pos <= N && !rc; pos++)
        for (int k = 0; k < 2 && !rc; k++) rc = qm_session_step(s[k], pos, 0, &e);
    all_again(g);
    fix_ok(rc, &e);
    assert_int_equal(seen.launches, 2 * N);
    assert_int_equal(seen.copies, 2 * N);
    assert_int_equal(seen.bytes, 2 * N * QM_ROW_SIZE);
    for (int k = 0; k < 2; k++) qm_session_close(s[k]);
    qm_engine_close(g);
}

/* Modules belong to the engine's opening. */
static void test_modules_at_open(void **state) {
    (void)state;
    static const char *const executors[] = {"graph", "persistent"};
    for (int x = 0; x < 2; x++) {
        qm_engine *g = fix_engine("small", executors[x]);
        memset(&seen, 0, sizeof seen);
        real = g->dev->cu;
        g->dev->cu.ModuleLoadDataEx = no_ModuleLoadDataEx;
        qm_session *s;
        qm_err e;
        int rc = qm_session_open(&s, g, &e);
        all_again(g);
        fix_ok(rc, &e);
        assert_true(g->info.compile_s > 0 && g->info.compile_s + g->info.upload_s <= g->info.load_s);
        qm_session_close(s);
        qm_engine_close(g);
    }
}

/* ---- a GPU, which is the software device behind a libcuda of our own ---- */
static struct {
    int integrated, slow_loads, notices;
    size_t refuse_from; /* MemAlloc of so many bytes and more fails; 0: none */
} gpu;
static qm_cuda sim;

static CUresult CUDAAPI gpu_attribute(int *v, CUdevice_attribute a, CUdevice d) {
    if (a != CU_DEVICE_ATTRIBUTE_INTEGRATED) return sim.DeviceGetAttribute(v, a, d);
    *v = gpu.integrated;
    return CUDA_SUCCESS;
}
static CUresult CUDAAPI gpu_load(CUmodule *m, const void *image, unsigned n, CUjit_option *opt, void **val) {
    if (gpu.slow_loads > 0) {
        gpu.slow_loads--;
        usleep(700000);
    }
    return sim.ModuleLoadDataEx(m, image, n, opt, val);
}
static CUresult CUDAAPI gpu_alloc(CUdeviceptr *p, size_t n) {
    return gpu.refuse_from && n >= gpu.refuse_from ? CUDA_ERROR_OUT_OF_MEMORY : sim.MemAlloc(p, n);
}

static int plug_in(void **state) {
    (void)state;
    static char path[2304];
    qm_err e;
    void *lib, *p, **table;
    void **(*get)(int *n);
    int n = 0;
    memset(&gpu, 0, sizeof gpu);
    if (qm_sim_driver(&sim, NULL, &e) || solib_path("fake_libcuda", path, sizeof path) ||
        !(lib = dlopen(path, RTLD_NOW)) || !(p = dlsym(lib, "fake_libcuda_table")))
        return -1;
    memcpy(&get, &p, sizeof p);
    table = get(&n);
    if ((size_t)n * sizeof *table != sizeof sim) return -1;
    qm_cuda t = sim;
    t.DeviceGetAttribute = gpu_attribute;
    t.ModuleLoadDataEx = gpu_load;
    t.MemAlloc = gpu_alloc;
    memcpy(table, &t, sizeof t);
    return setenv("QMOE_LIBCUDA", path, 1);
}

static void on_notice(void *user, const char *line) {
    (void)user;
    assert_non_null(strstr(line, "compiling"));
    gpu.notices++;
}

/* A driver that compiles for seconds is said to, once, and its time is the load's; one that has it all is not. */
static void test_compiling_is_said(void **state) {
    (void)state;
    qm_engine *g;
    qm_err e;
    qm_engine_opts o = {.device = "cuda:0", .notice = on_notice};
    gpu.slow_loads = 5; /* the device's test kernel is the first */
    fix_ok(qm_engine_open(&g, fix_model("small"), &o, &e), &e);
    assert_int_equal(gpu.notices, 1);
    assert_int_equal(gpu.slow_loads, 0);
    assert_true(g->info.compile_s > 2.7 && g->info.load_s > g->info.compile_s && g->info.upload_s < 2);
    qm_engine_close(g);
    fix_ok(qm_engine_open(&g, fix_model("small"), &o, &e), &e);
    assert_int_equal(gpu.notices, 1);
    assert_true(g->info.compile_s < 2);
    qm_engine_close(g);
}

/* Memory that is shared with the host and full of files: the check passes, the driver refuses. */
static void test_page_cache_is_named(void **state) {
    (void)state;
    qm_engine *g;
    qm_err e;
    qm_engine_opts o = {.device = "cuda:0"};
    gpu.integrated = 1;
    fix_ok(qm_engine_open(&g, fix_model("small"), &o, &e), &e);
    gpu.refuse_from = g->info.weight_bytes;
    qm_engine_close(g);
    assert_int_equal(qm_engine_open(&g, fix_model("small"), &o, &e), QM_ERR_NOMEM);
    assert_non_null(strstr(e.msg, "page cache"));
    assert_non_null(strstr(e.msg, "drop_caches"));
    gpu.integrated = 0; /* memory of its own has no page cache */
    assert_int_equal(qm_engine_open(&g, fix_model("small"), &o, &e), QM_ERR_NOMEM);
    assert_null(strstr(e.msg, "page cache"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_decode_calls),
        cmocka_unit_test(test_prompt_calls),
        cmocka_unit_test(test_session_calls),
        cmocka_unit_test(test_turns_calls),
        cmocka_unit_test(test_modules_at_open),
        cmocka_unit_test_setup(test_compiling_is_said, plug_in),
        cmocka_unit_test_setup(test_page_cache_is_named, plug_in),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
