/* unit_choose: which executor auto is: the rule on the chip, what was measured before it, and what stands against either. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "fixture.h"
#include "../../runtime/engine/choose.h"
#include "../../runtime/qmoe_tools.h"

static void test_rule(void **state) {
    (void)state;
    static const struct {
        int major, minor, interpreted;
        const char *executor;
    } rows[] = {{8, 0, 0, "persistent"}, {8, 6, 0, "persistent"}, {8, 9, 0, "persistent"}, {9, 0, 0, "graph"},
                {10, 0, 0, "graph"},     {12, 0, 0, "graph"},     {12, 1, 0, "graph"},     {8, 0, 1, "graph"}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        qm_device d = {.cc_major = rows[i].major, .cc_minor = rows[i].minor};
        char why[64], want[64] = "a software device";
        d.caps.interpreted = rows[i].interpreted;
        if (!rows[i].interpreted) snprintf(want, sizeof want, "compute capability %d.%d", rows[i].major, rows[i].minor);
        assert_string_equal(qm_choose_by_chip(&d, why, sizeof why)->name, rows[i].executor);
        assert_string_equal(why, want);
    }
}

/* A cache's folder of the test's own. */
static void own_cache(char dir[300]) {
    const char *tmp = getenv("QMOE_TEST_TMP");
    snprintf(dir, 300, "%s/qmoe-choose-XXXXXX", tmp ? tmp : "/tmp");
    assert_non_null(mkdtemp(dir));
    setenv("QMOE_CACHE", dir, 1);
}

static void test_measured(void **state) {
    (void)state;
    char dir[300], why[256];
    qm_choice c;
    const qm_plan *p;
    qm_err e;
    own_cache(dir);
    qm_engine *g = fix_engine("small", NULL), *other = fix_engine("q8_0", NULL);
    fix_ok(qm_engine_plan(g, 0, 1, &p, &e), &e);
    assert_false(qm_choice_get(g, &c));
    assert_string_equal(qm_choose(g, p, why, sizeof why)->name, "graph");
    assert_string_equal(why, "a software device");
    qm_choice_put(g, &(qm_choice){100.5, 200.25});
    assert_true(qm_choice_get(g, &c));
    assert_true(c.graph == 100.5 && c.persistent == 200.25);
    assert_string_equal(qm_choose(g, p, why, sizeof why)->name, "persistent");
    assert_string_equal(why, "measured by bench --choose: graph 100.5, persistent 200.2 tokens/s");
    assert_false(qm_choice_get(other, &c)); /* of another model */
    char name[sizeof g->dev->name];
    memcpy(name, g->dev->name, sizeof name);
    snprintf(g->dev->name, sizeof name, "another GPU");
    assert_false(qm_choice_get(g, &c));
    memcpy(g->dev->name, name, sizeof name);
    g->dev->driver_version++;
    assert_false(qm_choice_get(g, &c));
    g->dev->driver_version--;
    qm_choice_put(g, &(qm_choice){300, 200});
    assert_string_equal(qm_choose(g, p, why, sizeof why)->name, "graph");
    qm_engine_close(g);
    qm_engine_close(other);
    /* what is opened says which, and how that came */
    qm_engine_info i;
    g = fix_engine("small", "auto");
    qm_engine_get_info(g, &i);
    assert_string_equal(i.executor, "graph");
    assert_non_null(strstr(i.executor_why, "graph 300.0, persistent 200.0"));
    qm_choice_put(g, &(qm_choice){100, 200});
    qm_engine_close(g);
    g = fix_engine("small", NULL);
    qm_engine_get_info(g, &i);
    assert_string_equal(i.executor, "persistent");
    qm_engine_close(g);
    g = fix_engine("small", "graph"); /* asked for */
    qm_engine_get_info(g, &i);
    assert_string_equal(i.executor, "graph");
    assert_string_equal(i.executor_why, "");
    /* times of this host are not kept */
    assert_int_equal(qm_engine_keep_choice(g, 1, 2, &e), QM_ERR_UNSUPPORTED);
    assert_non_null(strstr(e.msg, "nothing is kept"));
    assert_true(qm_choice_get(g, &c) && c.graph == 100);
    g->dev->caps.timed = 1;
    assert_int_equal(qm_engine_keep_choice(g, 0, 2, &e), QM_ERR_ARG);
    fix_ok(qm_engine_keep_choice(g, 7, 6, &e), &e);
    assert_true(qm_choice_get(g, &c) && c.graph == 7 && c.persistent == 6);
    g->dev->caps.timed = 0;
    qm_engine_close(g);
    unsetenv("QMOE_CACHE");
}

/* What the persistent kernel cannot run is the graph's, whatever rule or measurement say: a plan with an op whose body it does not
 * have. */
static void test_cannot(void **state) {
    (void)state;
    char dir[300], why[256];
    qm_plan *p;
    qm_err e;
    own_cache(dir);
    qm_engine *g = fix_engine("small", NULL);
    fix_ok(qm_plan_build(&p, g->place, (qm_shape){.outs = 1, .n_splits = 1, .rows = 1}, g->limits, &e), &e);
    g->dev->caps.interpreted = 0;
    g->dev->cc_major = 8;
    assert_string_equal(qm_choose(g, p, why, sizeof why)->name, "persistent");
    qm_op *op = &p->ops[3];
    while (strcmp(qm_kernel_table[op->kernel].entry, "qm_probe") != 0) op->kernel = (op->kernel + 1) % QM_N_KERNELS;
    qm_plan_resident(p);
    assert_string_equal(qm_choose(g, p, why, sizeof why)->name, "graph");
    assert_non_null(strstr(why, "kernel qm_probe"));
    qm_choice_put(g, &(qm_choice){100, 200});
    assert_string_equal(qm_choose(g, p, why, sizeof why)->name, "graph");
    assert_non_null(strstr(why, "kernel qm_probe"));
    g->dev->caps.interpreted = 1;
    qm_plan_free(p);
    qm_engine_close(g);
    unsetenv("QMOE_CACHE");
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_rule), cmocka_unit_test(test_measured),
                                       cmocka_unit_test(test_cannot)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
