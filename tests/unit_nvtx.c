/* NVTX ranges as a profiler sees them: an injection library of our own is loaded the way Nsight's is
 * (NVTX_INJECTION64_PATH) and its record is compared with what was pushed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include "solib.h"
#include "fixtures/nvtx_inject.h"
#include "../runtime/device/prof.h"

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
    static const char *const categories[] = {"load", "prefill", "decode", "op", "tokenize"};
    assert_int_equal(r->n, 6);
    assert_int_equal(r->event[0].kind, NVTX_SEEN_DOMAIN);
    assert_string_equal(r->event[0].name, "qmoe-gpu");
    for (int i = 0; i < 5; i++) {
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
    static const nvtx_event want[] = {
        {NVTX_SEEN_PUSH, QM_PROF_LOAD, "upload"}, {NVTX_SEEN_PUSH, QM_PROF_TOKENIZE, "prompt"},
        {NVTX_SEEN_POP, 0, ""}, {NVTX_SEEN_POP, 0, ""},
        {NVTX_SEEN_PUSH, QM_PROF_DECODE, "step"}, {NVTX_SEEN_POP, 0, ""},
        {NVTX_SEEN_PUSH, QM_PROF_DECODE, "step"}, {NVTX_SEEN_PUSH, QM_PROF_OP, "matvec"},
        {NVTX_SEEN_POP, 0, ""}, {NVTX_SEEN_POP, 0, ""}};
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

int main(void) {
    if (solib_path("nvtx_inject", inject, sizeof inject)) {
        print_error("the fixture nvtx_inject.so has not been built\n");
        return 1;
    }
    setenv("NVTX_INJECTION64_PATH", inject, 1);
    const struct CMUnitTest t[] = {cmocka_unit_test(nobody_listens), cmocka_unit_test(ranges_arrive)};
    return cmocka_run_group_tests(t, NULL, NULL);
}
