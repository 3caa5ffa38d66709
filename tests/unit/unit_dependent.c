/* unit_dependent: dependent launches. What the software device refuses under QMOE_SIM_CHECK=dependent, by kernels with one
 * mistake each; the texts; which launches of a step are dependent; and steps of whole models under that check, for every
 * kernel that a step of one row may have: the same bits as without. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "../../runtime/base/hash.h"
#include "../../runtime/device/dependent.h"
#include "../../runtime/device/texts.h"
#include "../../runtime/plan/ops.h"
#include "../../runtime/sim/sim.h"
#include "../support/fixture.h"
#include "../support/gguf_edit.h"

/* ---- what the software device sees ---- */
/* %t: the thread; %q: its word of the buffer; what follows is 1024 bytes further */
#define ENTRY(name, body)                                                                                      \
    ".visible .entry " name "(.param .u64 buf)\n{\n.reg .b64 %p, %q;\n.reg .b32 %t, %a, %s;\n.reg .pred %x;\n" \
    ".shared .align 16 .b8 sh_" name "[512];\ngriddepcontrol.launch_dependents;\nld.param.u64 %p, [buf];\n"    \
    "mov.u32 %t, %tid.x;\nmad.wide.u32 %q, %t, 4, %p;\n" body "ret;\n}\n"
#define WAIT "griddepcontrol.wait;\n"
static const char kernels[] = ".version 7.8\n.target sm_90\n.address_size 64\n" ENTRY("put",
                                                                                      WAIT "st.global.u32 [%q], %t;\n")
    ENTRY("good", "ld.global.nc.u32 %a, [%q+2048];\n" WAIT "ld.global.u32 %s, [%q];\nadd.u32 %a, %a, %s;\n"
                  "st.global.u32 [%q+1024], %a;\n") ENTRY("idle", WAIT)
        ENTRY("reads", "ld.global.u32 %a, [%q];\n" WAIT "st.global.u32 [%q+1024], %a;\n")
            ENTRY("copies",
                  "mov.u32 %s, sh_copies;\nmad.lo.u32 %s, %t, 4, %s;\ncp.async.ca.shared.global [%s], [%q], 4;\n" WAIT
                  "cp.async.wait_all;\nld.shared.u32 %a, [%s];\nst.global.u32 [%q+1024], %a;\n")
                ENTRY("writes", "st.global.u32 [%q+1024], %t;\n" WAIT)
                    ENTRY("counts", "red.global.add.u32 [%p+1024], 1;\n" WAIT)
                        ENTRY("leaves", "setp.ge.u32 %x, %t, 40;\n@%x bra L_end;\n" WAIT "L_end:\n")
                            ENTRY("one_lane", "setp.ne.u32 %x, %t, 0;\n@%x bra L_on;\n" WAIT
                                              "L_on:\nbar.sync 0;\nld.global.u32 %a, [%q];\n" WAIT)
                                ENTRY("stale", WAIT "ld.global.nc.u32 %a, [%q];\nst.global.u32 [%q+1024], %a;\n");

static qm_device *g_dev;

static void checks(int on) {
    qm_sim_options o;
    qm_sim_get_options(&o);
    o.check_dependent = on;
    qm_sim_set_options(&o);
}

/* Launches what `steps` says: names with blanks between; ">name": a dependent launch; "0": a copy into the buffer. In a graph or
 * as it comes. The device's report, or "". */
static const char *run(const char *steps, int captured) {
    static char report[4096];
    char text[256], log[512] = "", *save = NULL;
    qm_cuda *cu = &g_dev->cu;
    CUmodule m;
    CUfunction f;
    CUstream s;
    CUgraph graph = NULL;
    CUgraphExec x = NULL;
    CUdeviceptr p;
    CUjit_option jo[] = {CU_JIT_ERROR_LOG_BUFFER, CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES};
    void *jv[] = {log, (void *)(uintptr_t)sizeof log};
    CUresult r = CUDA_SUCCESS;
    if (cu->ModuleLoadDataEx(&m, kernels, 2, jo, jv)) fail_msg("%s", log);
    assert_int_equal(cu->StreamCreate(&s, CU_STREAM_NON_BLOCKING), CUDA_SUCCESS);
    assert_int_equal(cu->MemAlloc(&p, 4096), CUDA_SUCCESS);
    assert_int_equal(cu->MemsetD8Async(p, 0, 4096, s), CUDA_SUCCESS);
    checks(1);
    if (captured) assert_int_equal(cu->StreamBeginCapture(s, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL), CUDA_SUCCESS);
    snprintf(text, sizeof text, "%s", steps);
    for (char *w = strtok_r(text, " ", &save); w && !r; w = strtok_r(NULL, " ", &save)) {
        if (*w == '0') {
            r = cu->MemsetD8Async(p + 3072, 0, 16, s);
            continue;
        }
        assert_int_equal(cu->ModuleGetFunction(&f, m, w + (*w == '>')), CUDA_SUCCESS);
        if (*w == '>') r = qm_dependent_launch(g_dev, f, (unsigned[]){2, 1, 1}, 64, 0, s, (void *[]){&p});
        else r = cu->LaunchKernel(f, 2, 1, 1, 64, 1, 1, 0, s, (void *[]){&p}, NULL);
    }
    if (captured) {
        assert_int_equal(cu->StreamEndCapture(s, &graph), CUDA_SUCCESS);
        assert_int_equal(cu->GraphInstantiate(&x, graph, 0), CUDA_SUCCESS);
        r = cu->GraphLaunch(x, s);
    }
    if (!r) r = cu->StreamSynchronize(s);
    checks(0);
    snprintf(report, sizeof report, "%s", r ? qm_sim_last_report() : "");
    if (r) { /* the context is lost: take a fresh one */
        CUcontext c;
        assert_int_equal(r, CUDA_ERROR_LAUNCH_FAILED);
        assert_int_equal(cu->DevicePrimaryCtxRelease(0), CUDA_SUCCESS);
        assert_int_equal(cu->DevicePrimaryCtxRetain(&c, 0), CUDA_SUCCESS);
        assert_int_equal(cu->CtxSetCurrent(c), CUDA_SUCCESS);
        g_dev->ctx = c;
        return report;
    }
    if (x) assert_int_equal(cu->GraphExecDestroy(x), CUDA_SUCCESS);
    if (graph) assert_int_equal(cu->GraphDestroy(graph), CUDA_SUCCESS);
    assert_int_equal(cu->StreamDestroy(s), CUDA_SUCCESS);
    assert_int_equal(cu->MemFree(p), CUDA_SUCCESS);
    assert_int_equal(cu->ModuleUnload(m), CUDA_SUCCESS);
    return report;
}

static void test_refused(void **state) {
    (void)state;
    static const struct {
        const char *steps, *a, *b; /* what the report names; NULL: nothing is wrong */
    } t[] = {
        {"put >good >good", NULL, NULL},
        {"put >idle >good >idle", NULL, NULL},
        {"put >reads", "reads line", "griddepcontrol.wait, where the result may not be there yet of put"},
        {"put reads", NULL, NULL},
        {"put >idle >idle >reads", "thread 0 reads 4 bytes", "yet of put"}, /* idle may still be waiting for put */
        {"put idle >reads", NULL, NULL},
        {"put 0 >reads", NULL, NULL},
        {"idle >reads", NULL, NULL}, /* what nobody writes may be read at any time */
        {"put >copies", "copies line", "yet of put"},
        {"put >writes", "writes line", "kernels before it may still be at work"},
        {"put writes", NULL, NULL},
        {"put >counts", "counts line", "kernels before it may still be at work"},
        {"put >leaves", "leaves line", "thread 40 ends without griddepcontrol.wait"},
        {"put leaves", NULL, NULL},
        {"put >one_lane", "one_lane line", "yet of put"}, /* each thread waits for itself */
        {"put >stale", "stale line", "non-coherent cache, which need not see the result of put"},
        {"put stale", NULL, NULL},
    };
    for (int captured = 0; captured < 2; captured++)
        for (size_t i = 0; i < sizeof t / sizeof *t; i++) {
            const char *got = run(t[i].steps, captured);
            if (!t[i].a && *got) fail_msg("%s: %s", t[i].steps, got);
            if (t[i].a && !(strstr(got, t[i].a) && strstr(got, t[i].b)))
                fail_msg("%s: not \"%s\", \"%s\" but: %s", t[i].steps, t[i].a, t[i].b, got);
        }
}

/* ---- where they work ---- */
static CUresult CUDAAPI refuse_launch(const CUlaunchConfig *c, CUfunction f, void **params, void **extra) {
    (void)c, (void)f, (void)params, (void)extra;
    return CUDA_ERROR_NOT_SUPPORTED;
}
static CUresult CUDAAPI ignore_launch(const CUlaunchConfig *c, CUfunction f, void **params, void **extra) {
    (void)c, (void)f, (void)params, (void)extra;
    return CUDA_SUCCESS;
}

static void test_works(void **state) {
    (void)state;
    char why[256];
    qm_device d = *g_dev;
    assert_true(qm_dependent_works(&d, why, sizeof why));
    d.cc_major = 8, d.cc_minor = 9;
    assert_false(qm_dependent_works(&d, why, sizeof why));
    assert_non_null(strstr(why, "compute capability 8.9: 9.0 is needed"));
    d = *g_dev;
    d.driver_version = 12020;
    assert_false(qm_dependent_works(&d, why, sizeof why));
    assert_non_null(strstr(why, "a driver of CUDA 12.2: 12.3 is needed"));
    d = *g_dev;
    d.cu.LaunchKernelEx = NULL;
    assert_false(qm_dependent_works(&d, why, sizeof why));
    assert_non_null(strstr(why, "no cuLaunchKernelEx"));
    d.cu.LaunchKernelEx = refuse_launch;
    assert_false(qm_dependent_works(&d, why, sizeof why));
    assert_non_null(strstr(why, "CUDA_ERROR_NOT_SUPPORTED"));
    d.cu.LaunchKernelEx = ignore_launch;
    assert_false(qm_dependent_works(&d, why, sizeof why));
    assert_non_null(strstr(why, "made 1 of 0, not 7"));
    assert_true(qm_dependent_works(g_dev, why, sizeof why)); /* and nothing is the worse for it */
}

/* ---- the texts ---- */
/* One statement lets the next kernel begin, before any other; at least one waits, and what is loaded before it is loaded by what
 * ptxas leaves there. The text for all devices has neither. */
static void test_texts(void **state) {
    (void)state;
    int n = 0;
    for (int i = 0; i < QM_N_KERNELS; i++) {
        const qm_kernel_info *k = &qm_kernel_table[i];
        char file[64], *text;
        qm_err e;
        fix_ok(qm_ptx_entry(&text, k->file, k->entry, &e), &e);
        assert_null(strstr(text, "griddepcontrol"));
        free(text);
        snprintf(file, sizeof file, "%s%s", k->file, QM_PTX_DEPENDENT);
        if (!qm_ptx_text(file)) continue;
        fix_ok(qm_ptx_entry(&text, file, k->entry, &e), &e);
        n++;
        if (!strstr(text, ".target sm_90\n")) fail_msg("%s: not for sm_90", k->entry);
        char *at = strstr(text, "griddepcontrol.launch_dependents;"), *p = strstr(text, ".entry");
        if (!at || strstr(at + 1, "griddepcontrol.launch_dependents;")) fail_msg("%s: not once", k->entry);
        char *wait = strstr(at, "griddepcontrol.wait;");
        if (!wait) fail_msg("%s does not wait", k->entry);
        *wait = 0;
        if (strstr(text, ".nc.")) fail_msg("%s: a load that ptxas moves behind the wait", k->entry);
        *at = 0;
        for (p = strchr(p, '{') + 1; (p += strspn(p, " \t\n{")), *p; p = strchr(p, ';') + 1)
            if (*p != '.') fail_msg("%s: before others may begin: %.60s", k->entry, p);
        free(text);
    }
    assert_true(n >= 30);
}

/* ---- steps ---- */
typedef struct {
    uint64_t hash;
    uint64_t launches, dependents; /* of one step */
} said;

static int on_token(void *user, uint32_t id, const char *s, size_t n) {
    (void)user, (void)id, (void)s, (void)n;
    return 0;
}

/* Does op i come after one op, whose only successor it is? Counted apart from capture.c. */
static int is_link(const qm_plan *p, int i) {
    return i > 0 && p->ops[i].waits && p->ops[i - 1].waits && (i + 1 == p->n_ops || p->ops[i + 1].waits);
}

static const char *cache; /* the type of keys and values in the cache; NULL: the default */

static qm_engine *open_engine(const char *path, const char *executor, const char *word) {
    qm_engine_opts o = {.device = "sim",
                        .executor = executor,
                        .n_ctx = 320,
                        .cache_k = cache,
                        .cache_v = cache,
                        .dependent_launch = word};
    qm_engine *g;
    qm_err e;
    fix_ok(qm_engine_open(&g, path, &o, &e), &e);
    return g;
}

/* A prompt that ends on another page, drawn tokens with penalties, and one step more, which is counted. */
static said decode(const char *path, const char *executor, const char *word) {
    qm_engine *g = open_engine(path, executor, word);
    said r = {0};
    qm_err e;
    qm_session *s;
    qm_gen_stats st;
    qm_engine_info i;
    qm_sampling p;
    qm_sim_counters c;
    uint32_t ids[37];
    qm_gen_opts o = {.max_tokens = 4, .ignore_eos = 1, .on_token = on_token};
    qm_engine_get_info(g, &i);
    assert_int_equal(i.dependent, strcmp(word, "off") != 0);
    qm_engine_sampling(g, &p);
    p.repeat_penalty = 1.1f;
    p.temperature = 0.8f;
    p.seed = 5;
    fix_prompt(g, ids, 37, 3);
    fix_ok(qm_session_open(&s, g, &e), &e);
    fix_ok(qm_session_set_sampling(s, &p, &e), &e);
    fix_ok(qm_generate(s, ids, 37, &o, &st, &e), &e);
    fix_ok(qm_session_eval(s, ids[0], &e), &e); /* and the last one of the answer */
    qm_sim_counters_reset();
    fix_ok(qm_session_eval(s, ids[1], &e), &e);
    float *logits = malloc(g->model->hp.n_vocab * sizeof(float));
    assert_non_null(logits);
    fix_ok(qm_session_logits(s, logits, &e), &e);
    qm_sim_counters_get(&c);
    r.hash = qm_fnv1a(logits, g->model->hp.n_vocab * sizeof(float)) ^ st.logits_hash;
    r.launches = c.launches;
    r.dependents = c.dependents;
    free(logits);
    qm_session_close(s);
    qm_engine_close(g);
    return r;
}

static void same_bits(const char *path, const char *executor, int none) {
    const said off = decode(path, executor, "off");
    checks(1);
    const said on = decode(path, executor, "on");
    checks(0);
    if (off.hash != on.hash) fail_msg("%s, %s: other bits", path, executor);
    assert_int_equal(off.launches, on.launches);
    assert_int_equal(off.dependents, 0);
    assert_int_equal(!on.dependents, none);
}

#define STEPS(kind)                               \
    static void test_steps_##kind(void **state) { \
        (void)state;                              \
        same_bits(fix_model(#kind), "graph", 0);  \
    }
STEPS(small)
STEPS(f32)
STEPS(f32h)
STEPS(f16)
STEPS(bf16)
STEPS(q8_0)
STEPS(q5_k)
STEPS(dense)
/* Gate and up of two types: two products and a swiglu. */
static void test_steps_mixed(void **state) {
    (void)state;
    char path[300];
    const char *dir = getenv("QMOE_TEST_TMP");
    static const gguf_edit up = {GE_TENSOR, "blk.0.ffn_up.weight", 0.05, NULL, QM_TYPE_F32, {256, 512}};
    snprintf(path, sizeof path, "%s/qmoe-%ld-mixed.gguf", dir ? dir : "/tmp", (long)getpid());
    gguf_edit_file(fix_model("dense"), path, &up, 1);
    same_bits(path, "graph", 0);
    unlink(path);
}

static void test_steps_q8_0_cache(void **state) {
    (void)state;
    cache = "q8_0";
    same_bits(fix_model("small"), "graph", 0);
    cache = NULL;
}

/* One kernel walks a step of one row: there is no launch that could be dependent. Prompts have them. */
static void test_steps_persistent(void **state) {
    (void)state;
    same_bits(fix_model("small"), "persistent", 1);
}

/* The model that unit_schedules checks for races: trained, with head_dim 128 and steps as users run them. */
static void test_steps_demo(void **state) {
    (void)state;
    const char *path = getenv("QMOE_DEMO");
    same_bits(path && *path ? path : "models/demo.gguf", "graph", 0);
}

/* Every link of a chain is a dependent launch, and nothing else is: not at forks and joins, not the first, not in a plan of
 * which none are wanted. Each kernel of a step of one row has a text for it. */
static void test_edges(void **state) {
    (void)state;
    qm_engine *g = open_engine(fix_model("small"), "graph", "on");
    const qm_plan *p;
    qm_err e;
    int links = 0, forks = 0;
    fix_ok(qm_engine_plan(g, 40, 1, &p, &e), &e);
    for (int i = 0; i < p->n_ops; i++) {
        char file[64];
        links += is_link(p, i);
        forks += !p->ops[i].waits;
        snprintf(file, sizeof file, "%s%s", qm_kernel_table[p->ops[i].kernel].file, QM_PTX_DEPENDENT);
        if (!qm_ptx_text(file)) fail_msg("no %s.ptx", file);
    }
    const int n_ops = p->n_ops;
    assert_true(forks > 0 && links > n_ops / 2);
    qm_engine_close(g);
    const said on = decode(fix_model("small"), "graph", "auto");
    assert_int_equal(on.launches, n_ops);
    assert_int_equal(on.dependents, links);
}

static void test_words(void **state) {
    (void)state;
    qm_engine_opts o = {.device = "sim", .dependent_launch = "yes"};
    qm_engine *g;
    qm_engine_info i;
    qm_err e;
    assert_int_equal(qm_engine_open(&g, fix_model("small"), &o, &e), QM_ERR_ARG);
    assert_non_null(strstr(e.msg, "'yes' is not one of auto, on, off"));
    o.dependent_launch = "on";
    o.executor = "ref";
    assert_int_equal(qm_engine_open(&g, fix_model("small"), &o, &e), QM_ERR_UNSUPPORTED);
    assert_non_null(strstr(e.msg, "nothing is launched"));
    o.dependent_launch = "off";
    o.executor = NULL;
    fix_ok(qm_engine_open(&g, fix_model("small"), &o, &e), &e);
    qm_engine_get_info(g, &i);
    assert_false(i.dependent);
    assert_string_equal(i.dependent_why, "as asked for");
    qm_engine_close(g);
}

static int setup(void **state) {
    (void)state;
    qm_err e;
    setenv("QMOE_SIM_CC", "90", 1); /* read once, by whoever opens the software device first */
    return qm_device_open(&g_dev, "sim", NULL, 0, &e);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_works),
        cmocka_unit_test(test_texts),
        cmocka_unit_test(test_edges),
        cmocka_unit_test(test_words),
        cmocka_unit_test(test_steps_small),
        cmocka_unit_test(test_steps_f32),
        cmocka_unit_test(test_steps_f32h),
        cmocka_unit_test(test_steps_f16),
        cmocka_unit_test(test_steps_bf16),
        cmocka_unit_test(test_steps_q8_0),
        cmocka_unit_test(test_steps_q5_k),
        cmocka_unit_test(test_steps_dense),
        cmocka_unit_test(test_steps_demo),
        cmocka_unit_test(test_steps_mixed),
        cmocka_unit_test(test_steps_q8_0_cache),
        cmocka_unit_test(test_steps_persistent),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
