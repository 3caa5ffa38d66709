/* NVTX ranges as a profiler sees them: an injection library of our own is loaded the way Nsight's is
 * (NVTX_INJECTION64_PATH) and its record is compared with what was pushed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include "solib.h"
#include "fixtures/nvtx_inject.h"
#include "fixture.h"
#include "../../runtime/device/prof.h"
#include "../../runtime/observe/bench.h"

static char inject[2304];

static const nvtx_record *seen(void) {
    /* NVTX has loaded it already: this only finds it. */
    void *lib = dlopen(inject, RTLD_NOW | RTLD_NOLOAD);
    assert_non_null(lib);
    const nvtx_record *(*get)(void);
    void *p = dlsym(lib, "nvtx_inject_record");
    assert_non_null(p);
    memcpy(&get, &p, sizeof p);
    const nvtx_record *r = get();
    dlclose(lib);
    return r;
}

/* In a process of its own, before this one has touched NVTX: without a profiler nothing happens. */
static void nobody_listens(void **state) {
    (void)state;
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        unsetenv("NVTX_INJECTION64_PATH");
        int on = qm_prof_on();
        for (int i = 0; i < 1000; i++) {
            qm_prof_push(QM_PROF_OP, "unheard");
            qm_prof_pop();
        }
        _exit(on ? 1 : dlopen(inject, RTLD_NOW | RTLD_NOLOAD) ? 2 : 0);
    }
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static int leaves_early(int early) {
    QM_PROF_SCOPE(QM_PROF_DECODE, "step");
    if (early) return 1;
    QM_PROF_SCOPE(QM_PROF_OP, "matvec");
    return 0;
}

static void ranges_arrive(void **state) {
    (void)state;
    assert_int_equal(qm_prof_on(), 1);
    const nvtx_record *r = seen();
    static const char *const categories[] = {"load", "prefill", "decode", "op", "tokenize", "sample", "bench"};
    assert_int_equal(r->n, 8);
    assert_int_equal(r->event[0].kind, NVTX_SEEN_DOMAIN);
    assert_string_equal(r->event[0].name, "qmoe-gpu");
    for (int i = 0; i < 7; i++) {
        assert_int_equal(r->event[1 + i].kind, NVTX_SEEN_CATEGORY);
        assert_int_equal(r->event[1 + i].category, i + 1);
        assert_string_equal(r->event[1 + i].name, categories[i]);
    }
    int at = r->n;
    qm_prof_push(QM_PROF_LOAD, "upload");
    qm_prof_push(QM_PROF_TOKENIZE, "prompt");
    qm_prof_pop();
    qm_prof_pop();
    assert_int_equal(leaves_early(1), 1);
    assert_int_equal(leaves_early(0), 0);
    static const nvtx_event want[] = {{NVTX_SEEN_PUSH, QM_PROF_LOAD, "upload"},
                                      {NVTX_SEEN_PUSH, QM_PROF_TOKENIZE, "prompt"},
                                      {NVTX_SEEN_POP, 0, ""},
                                      {NVTX_SEEN_POP, 0, ""},
                                      {NVTX_SEEN_PUSH, QM_PROF_DECODE, "step"},
                                      {NVTX_SEEN_POP, 0, ""},
                                      {NVTX_SEEN_PUSH, QM_PROF_DECODE, "step"},
                                      {NVTX_SEEN_PUSH, QM_PROF_OP, "matvec"},
                                      {NVTX_SEEN_POP, 0, ""},
                                      {NVTX_SEEN_POP, 0, ""}};
    int n = (int)(sizeof want / sizeof want[0]);
    assert_int_equal(r->n - at, n);
    for (int i = 0; i < n; i++) {
        assert_int_equal(r->event[at + i].kind, want[i].kind);
        assert_int_equal(r->event[at + i].category, want[i].category);
        assert_string_equal(r->event[at + i].name, want[i].name);
    }
    assert_int_equal(r->depth, 0);
    assert_int_equal(r->max_depth, 2);
}

/* ---- the ranges of a known run ---- */

/* A path of names from the outermost range in, "prefill/step/capture/qkv"; how often each was pushed. */
typedef struct {
    char path[96];
    uint32_t category;
    int n;
} seen_path;
static seen_path paths[256];
static int n_paths;

/* Reads the events from `from` on into paths. Every push must have its pop. */
static void read_paths(const nvtx_record *r, int from) {
    char at[16][96] = {""};
    int depth = 0;
    n_paths = 0;
    assert_true(r->n < NVTX_RECORD_MAX);
    for (int i = from; i < r->n; i++) {
        const nvtx_event *ev = &r->event[i];
        if (ev->kind == NVTX_SEEN_POP) {
            assert_true(depth-- > 0);
            continue;
        }
        assert_int_equal(ev->kind, NVTX_SEEN_PUSH);
        assert_true(depth < 15);
        depth++;
        int k = 0;
        assert_true(strlen(at[depth - 1]) + strlen(ev->name) + 2 < sizeof at[0]);
        memcpy(at[depth], at[depth - 1], sizeof at[0]);
        if (depth > 1) strcat(at[depth], "/");
        strcat(at[depth], ev->name);
        while (k < n_paths && (strcmp(paths[k].path, at[depth]) || paths[k].category != ev->category)) k++;
        if (k == n_paths) {
            assert_true(n_paths < 256);
            memcpy(paths[n_paths].path, at[depth], sizeof at[0]);
            paths[n_paths].category = ev->category;
            paths[n_paths++].n = 0;
        }
        paths[k].n++;
    }
    assert_int_equal(depth, 0);
}

/* Takes a path out of the list; what is left in the end was not expected. */
static void expect(const char *path, qm_prof_category c, int n) {
    int found = 0;
    for (int i = 0; i < n_paths; i++)
        if (!strcmp(paths[i].path, path) && paths[i].category == (uint32_t)c) {
            found = paths[i].n;
            paths[i--] = paths[--n_paths];
        }
    if (found != n) fail_msg("%s (category %d): %d ranges, expected %d", path, c, found, n);
}

static void expect_nothing_else(void) {
    for (int i = 0; i < n_paths; i++)
        print_error("not expected: %s (category %u), %d\n", paths[i].path, paths[i].category, paths[i].n);
    assert_int_equal(n_paths, 0);
}

static int times(const qm_engine *g, const char *slot) {
    int n = 0;
    for (int k = 0; k < g->n_plans; k++)
        for (int i = 0; i < g->plans[k]->n_ops; i++) n += !strcmp(g->plans[k]->ops[i].slot, slot);
    return n;
}

/* An engine captures each plan once when it opens, however many sessions it will have: one range for each op, those of one
 * name together. */
static void expect_captures(const qm_engine *g) {
    char path[96];
    expect("engine_open/executor/capture", QM_PROF_LOAD, g->n_plans);
    assert_true(g->n_plans > 2); /* with and without logits, and several splits */
    for (int p = 0; p < g->n_plans; p++)
        for (int i = 0; i < g->plans[p]->n_ops; i++) {
            const char *slot = g->plans[p]->ops[i].slot;
            int known = 0;
            for (int q = 0; q <= p && !known; q++)
                for (int k = 0; k < (q < p ? g->plans[q]->n_ops : i) && !known; k++)
                    known = !strcmp(g->plans[q]->ops[k].slot, slot);
            if (known) continue;
            snprintf(path, sizeof path, "engine_open/executor/capture/%s", slot);
            expect(path, QM_PROF_OP, times(g, slot));
        }
}

static void ranges_of_a_run(void **state) {
    (void)state;
    enum { PROMPT = 5, GEN = 7 };
    const nvtx_record *r = seen();
    uint32_t prompt[PROMPT];
    qm_session *s;
    qm_tokens t = {0};
    qm_gen_stats st;
    qm_err e;
    fix_model("small");
    int at = r->n;
    qm_engine *g = fix_engine("small", "graph");
    read_paths(r, at);
    expect("engine_open", QM_PROF_LOAD, 1);
    expect("engine_open/files", QM_PROF_LOAD, 1);
    expect("engine_open/files/vocabulary", QM_PROF_TOKENIZE, 1);
    expect("engine_open/device", QM_PROF_LOAD, 1);
    expect("engine_open/executor", QM_PROF_LOAD, 1);
    expect("engine_open/executor/modules", QM_PROF_LOAD, 1);
    expect("engine_open/executor/weights", QM_PROF_LOAD, 1);
    expect_captures(g);
    expect_nothing_else();

    fix_prompt(g, prompt, PROMPT, 5);
    at = r->n;
    fix_ok(qm_engine_tokenize(g, "one", 3, 0, &t, &e), &e);
    fix_ok(qm_engine_render(g, &(qm_message){"user", "two", 3}, 1, &t, &e), &e);
    fix_ok(qm_session_open(&s, g, &e), &e);
    fix_ok(qm_generate(s, prompt, PROMPT, &(qm_gen_opts){.max_tokens = GEN, .ignore_eos = 1}, &st, &e), &e);
    qm_session_close(s);
    free(t.v);
    read_paths(r, at);
    expect("tokenize", QM_PROF_TOKENIZE, 1);
    expect("chat", QM_PROF_TOKENIZE, 1);
    expect("session_open", QM_PROF_LOAD, 1);
    expect("prefill", QM_PROF_PREFILL, 1);
    expect("prefill/step", QM_PROF_PREFILL, 1); /* all positions of the prompt */
    expect("sample", QM_PROF_SAMPLE, 1);        /* of the prompt */
    expect("decode", QM_PROF_DECODE, 1);
    expect("decode/step", QM_PROF_DECODE, GEN - 1);
    expect("decode/sample", QM_PROF_SAMPLE, GEN);
    expect("decode/text", QM_PROF_TOKENIZE, GEN + 1);
    expect_nothing_else();
    qm_engine_close(g);
}

static void ranges_of_a_bench(void **state) {
    (void)state;
    enum { DEPTH = 40, GEN = 3, RUNS = 2 };
    const nvtx_record *r = seen();
    uint64_t ns[RUNS];
    qm_bench_result b;
    qm_err e;
    qm_engine *g = fix_engine("small", "graph");
    int at = r->n;
    fix_ok(qm_bench_run(g, &(qm_bench_test){.n_gen = GEN, .depth = DEPTH, .reps = RUNS, .seed = 1, .warmup = 1}, ns, &b,
                        &e),
           &e);
    read_paths(r, at);
    expect("depth", QM_PROF_BENCH, 1);
    expect("tg", QM_PROF_BENCH, 1 + RUNS);
    expect("tg/step", QM_PROF_DECODE, (1 + RUNS) * GEN);
    expect("session_open", QM_PROF_LOAD, 1);
    expect("tg/sample", QM_PROF_SAMPLE, (1 + RUNS) * GEN);
    expect_nothing_else();
    qm_engine_close(g);
}

int main(void) {
    if (solib_path("nvtx_inject", inject, sizeof inject)) {
        print_error("the fixture nvtx_inject.so has not been built\n");
        return 1;
    }
    setenv("NVTX_INJECTION64_PATH", inject, 1);
    const struct CMUnitTest t[] = {cmocka_unit_test(nobody_listens), cmocka_unit_test(ranges_arrive),
                                   cmocka_unit_test(ranges_of_a_run), cmocka_unit_test(ranges_of_a_bench)};
    return cmocka_run_group_tests(t, NULL, NULL);
}
