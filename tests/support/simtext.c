/* simtext.c: see simtext.h. */
#include "simtext.h"
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

static char log_text[1024];

sim_module *simtext_load(const char *ptx) {
    sim_module *m = sim_module_load(ptx, log_text, sizeof log_text);
    if (!m) fail_msg("refused: %s", log_text);
    return m;
}

const char *simtext_refused(const char *ptx) {
    sim_module *m = sim_module_load(ptx, log_text, sizeof log_text);
    sim_module_free(m);
    return m ? NULL : log_text;
}

int simtext_run_opt(const char *ptx, uint32_t grid, uint32_t block, int cooperative, uint32_t *out, size_t n,
                    const qm_sim_options *opt, qm_sim_counters *c) {
    sim_module *m = simtext_load(ptx);
    sim_alloc *a = sim_mem_new(n * 4, "cuMemAlloc");
    assert_non_null(a);
    memset((void *)(uintptr_t)a->base, 0, n * 4);
    uint64_t p = a->base;
    sim_launch l = {.func = sim_module_func(m, "k"),
                    .grid = {grid, 1, 1},
                    .block = {block, 1, 1},
                    .cooperative = cooperative,
                    .params = (const uint8_t *)&p};
    assert_non_null(l.func);
    qm_sim_get_options(&l.opt);
    l.opt.threads = 1;
    l.opt.check_races = l.opt.check_uninit = l.opt.count = 0;
    if (opt) l.opt = *opt;
    sim_report_clear();
    qm_sim_counters mine = {0};
    int rc = sim_run(&l, c ? c : &mine);
    memcpy(out, (const void *)(uintptr_t)a->base, n * 4);
    sim_mem_free(a->base);
    sim_module_free(m);
    return rc;
}

int simtext_run(const char *ptx, uint32_t grid, uint32_t block, int cooperative, uint32_t *out, size_t n) {
    return simtext_run_opt(ptx, grid, block, cooperative, out, n, NULL, NULL);
}
