/* A step op by op: the stamped kernels, the counts, the times, and that they agree with the plan. */
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "fixture.h"
#include "../../runtime/device/stamp.h"
#include "../../runtime/device/texts.h"
#include "../../runtime/observe/op_measure.h"
#include "../../runtime/observe/op_report.h"
#include "../../runtime/sim/sim.h"

/* Two entries; `middle` stands in the second before its return. */
static char *text(const char *middle) {
    static const char head[] = ".version 7.4\n.target sm_80\n.address_size 64\n"
                               ".visible .entry first(.param .u64 out)\n.maxntid 64, 1, 1\n{\n    .reg .b64 %p;\n{\n"
                               "    ld.param.u64 %p, [out];\n}\n    ret;\n}\n"
                               ".visible .entry second(.param .u64 out)\n{\n    .reg .pred %p;\n";
    size_t n = sizeof head + strlen(middle) + 16;
    char *s = malloc(n);
    snprintf(s, n, "%s%s    ret;\n}\n", head, middle);
    return s;
}

static int times(const char *s, const char *word) {
    int n = 0;
    for (; (s = strstr(s, word)); s += strlen(word)) n++;
    return n;
}

/* Every entry gets the parameter and both stamps; nothing else changes. */
static void test_stamp_text(void **state) {
    (void)state;
    qm_err e;
    char *in = text("    ret_not_this:\n"), *out;
    fix_ok(qm_stamp_text(&out, in, &e), &e);
    assert_int_equal(times(out, "(.param .u64 out, .param .u64 qm_stamp)"), 2);
    assert_int_equal(times(out, ".global.min.u64"), 2);
    assert_int_equal(times(out, ".global.max.s64"), 2);
    assert_int_equal(times(out, "ret;"), 2);
    assert_int_equal(times(out, "ret_not_this:"), 1);
    free(in);
    free(out);
}

/* A text that it cannot stamp at every way out is refused by name, never half stamped. */
static void test_stamp_refuses(void **state) {
    (void)state;
    static const char *const bad[][2] = {
        {"    @%p ret;\n", "conditional return"},
        {"    @!%p\n    ret;\n", "conditional return"},
    };
    qm_err e;
    char *out;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char *in = text(bad[i][0]);
        assert_int_equal(qm_stamp_text(&out, in, &e), QM_ERR_UNSUPPORTED);
        assert_non_null(strstr(e.msg, "second"));
        assert_non_null(strstr(e.msg, bad[i][1]));
        assert_null(out);
        free(in);
    }
    assert_int_equal(qm_stamp_text(&out, ".entry lone(.param .u64 a)\n{\n exit;\n}\n", &e), QM_ERR_UNSUPPORTED);
    assert_non_null(strstr(e.msg, "never returns"));
    assert_int_equal(qm_stamp_text(&out, ".entry lone(.param .u64 a)\n{\n ret;\n", &e), QM_ERR_UNSUPPORTED);
    assert_non_null(strstr(e.msg, "no end"));
}

/* Every kernel of the table, with stamps, is something the device loads. */
static void test_stamped_load(void **state) {
    (void)state;
    qm_err e;
    qm_engine *g = fix_engine("small", "graph");
    qm_stamped *k;
    fix_ok(qm_stamped_open(&k, g->dev, &e), &e);
    for (int i = 0; i < QM_N_KERNELS; i++) fix_ok(qm_stamped_load(k, i, &e), &e);
    assert_int_equal(qm_stamped_load(k, QM_N_KERNELS, &e), QM_ERR_ARG);
    qm_stamped_close(k);
    qm_engine_close(g);
}

/* The records' sums are the plan's weights and the device's own totals for the same step. */
static void test_counts(void **state) {
    (void)state;
    qm_engine *g = fix_engine("small", "graph");
    if (!qm_counters_here(g->dev)) {
        qm_engine_close(g);
        skip();
    }
    const uint32_t depths[] = {0, 40, 300};
    for (size_t d = 0; d < 3; d++) {
        qm_err e;
        qm_op_records *r;
        fix_ok(qm_ops_count(g, depths[d], &r, &e), &e);
        assert_true(r->counted && !r->timed && !r->estimated);
        uint64_t weights = 0, kv = 0, insts = 0, sectors = 0;
        for (int i = 0; i < r->n_ops; i++) {
            const qm_op_record *o = &r->op[i];
            assert_ptr_equal(o->op, &r->plan->ops[i]);
            assert_int_equal(o->count.launches, 1);
            assert_true(o->count.thread_insts > 0 && o->count.thread_insts <= 32 * o->count.warp_insts);
            /* what is read has been asked for */
            assert_true(o->count.load_bytes >= o->op->weight_bytes);
            assert_true(32 * o->count.load_sectors >= o->op->weight_bytes);
            weights += o->op->weight_bytes;
            kv += o->kv_bytes;
            insts += o->count.thread_insts;
            sectors += o->count.load_sectors;
        }
        assert_int_equal(weights, r->plan->weight_bytes);
        assert_int_equal(kv, r->kv_bytes);
        assert_int_equal(kv, (uint64_t)g->model->hp.n_layers * 4 * g->model->hp.n_kv * g->model->hp.head_dim *
                                 (depths[d] + 2));
        assert_int_equal(insts, r->total.thread_insts);
        assert_int_equal(sectors, r->total.load_sectors);

        /* the same step as users run it, counted as a whole */
        qm_session *s;
        qm_counters whole;
        uint32_t token = 0;
        qm_result told;
        fix_ok(qm_session_open(&s, g, &e), &e);
        fix_ok(qm_session_pages(s, depths[d] / QM_PAGE_TOKENS + 1, &e), &e);
        fix_ok(g->exec->put_tokens(g, s->seq, depths[d], &token, 1, &e), &e);
        fix_ok(qm_counters_begin(g->dev, &e), &e);
        fix_ok(g->exec->step(g, &(qm_row){s->seq, depths[d], 1}, 1, r->plan, &e), &e);
        fix_ok(g->exec->result(g, s->seq, depths[d], &told, &e), &e);
        qm_counters_take(&whole);
        qm_counters_end();
        assert_int_equal(whole.launches, r->n_ops);
        assert_int_equal(whole.load_bytes, r->total.load_bytes);
        assert_int_equal(whole.load_sectors, r->total.load_sectors);
        assert_int_equal(whole.store_bytes, r->total.store_bytes);
        assert_int_equal(whole.barriers, r->total.barriers);
        assert_int_equal(whole.thread_insts, r->total.thread_insts);
        qm_session_close(s);
        qm_op_records_free(r);
    }
    qm_engine_close(g);
}

/* Counting is over when it is over. */
static void test_counting_ends(void **state) {
    (void)state;
    qm_engine *g = fix_engine("small", "graph");
    qm_err e;
    qm_op_records *r;
    if (!qm_counters_here(g->dev)) {
        qm_engine_close(g);
        skip();
    }
    qm_sim_options before, after;
    qm_sim_get_options(&before);
    fix_ok(qm_ops_count(g, 5, &r, &e), &e);
    qm_op_records_free(r);
    qm_sim_get_options(&after);
    assert_int_equal(before.count, after.count);
    qm_engine_close(g);
}

/* Stamps: every op leaves one, ops follow each other, and the parts make up the whole. Sim's clock is the
 * host's: the figures mean nothing, their order does. */
static void timed_with(const char *executor) {
    qm_engine *g = fix_engine("small", executor);
    qm_err e;
    qm_op_records *r;
    fix_ok(qm_ops_time(g, 40, 5, 1, &r, &e), &e);
    assert_true(r->timed && !r->counted);
    assert_int_equal(r->runs, 5);
    assert_true(r->step_ns > 0 && r->stamped_ns > 0 && r->tick_ns > 0);
    assert_true(r->op[0].gap_ns == 0 && r->op[0].begin_ns == 0);
    double at = 0;
    for (int i = 0; i < r->n_ops; i++) {
        assert_true(r->op[i].time_ns >= 0);
        /* an op beside another may begin before that ends */
        assert_true(!r->op[i].op->waits || (r->op[i].gap_ns >= 0 && r->op[i].begin_ns >= at - 1e-6));
        at = r->op[i].begin_ns + r->op[i].time_ns;
    }
    assert_true(at > 0 && at < 3 * r->stamped_ns);
    qm_op_records_free(r);
    qm_engine_close(g);
}

static void test_times(void **state) {
    (void)state;
    timed_with("graph");
}
static void test_times_persistent(void **state) {
    (void)state;
    timed_with("persistent");
}

/* The mean sees through a coarse clock, and not an outlier. */
static void test_mean(void **state) {
    (void)state;
    double v[100];
    for (int i = 0; i < 100; i++) v[i] = i % 10 < 3 ? 3000 : 2000; /* 2.3 us by a clock of 1 us */
    assert_true(fabs(qm_robust_mean(v, 100, 1000) - 2300) < 1e-6);
    for (int i = 0; i < 100; i++) v[i] = i % 20 ? 2000 : 3000; /* 2.05 us: the threes are no outliers */
    assert_true(fabs(qm_robust_mean(v, 100, 1000) - 2050) < 1e-6);
    for (int i = 0; i < 100; i++) v[i] = i == 50 ? 900000 : 1000 + i % 7; /* one run met something else */
    double m = qm_robust_mean(v, 100, 32);
    assert_true(m > 1002 && m < 1004);
    v[0] = 5;
    assert_true(qm_robust_mean(v, 1, -1) == 5);
}

/* A step measured is a step run: the next token is the one that the users' kernels choose, and the session's
 * pages come back. */
static void test_leaves_no_trace(void **state) {
    (void)state;
    qm_engine *g = fix_engine("small", "graph");
    qm_err e;
    qm_op_records *r;
    uint32_t prompt[9], n_free = g->kv.n_free;
    float *a = malloc(4 * g->model->hp.n_vocab), *b = malloc(4 * g->model->hp.n_vocab);
    fix_prompt(g, prompt, 9, 3);
    for (int round = 0; round < 2; round++) {
        qm_session *s;
        fix_ok(qm_session_open(&s, g, &e), &e);
        for (int i = 0; i < 9; i++) fix_ok(qm_session_eval(s, prompt[i], &e), &e);
        fix_ok(qm_session_logits(s, round ? b : a, &e), &e);
        qm_session_close(s);
        if (round) break;
        fix_ok(qm_ops_time(g, 7, 1, 2, &r, &e), &e);
        qm_op_records_free(r);
        assert_int_equal(g->kv.n_free, n_free);
    }
    assert_memory_equal(a, b, 4 * g->model->hp.n_vocab);
    free(a);
    free(b);
    qm_engine_close(g);
}

/* NVIDIA's assembler takes every stamped text, where it is installed. The kernel that walks a plan is launched for no op. */
static void test_stamped_assembles(void **state) {
    (void)state;
    const char *ptxas = getenv("PTXAS"), *dir = getenv("QMOE_TEST_TMP");
    if (!ptxas || access(ptxas, X_OK)) skip();
    const char *before = "";
    for (int i = 0; i < QM_N_KERNELS; i++) {
        if (!strcmp(before, qm_kernel_table[i].file)) continue;
        before = qm_kernel_table[i].file;
        if (!strcmp(before, "walk")) continue;
        qm_err e;
        char path[300], cmd[900], *with;
        fix_ok(qm_stamp_text(&with, qm_ptx_text(before), &e), &e);
        snprintf(path, sizeof path, "%s/qmoe-stamped-%ld.ptx", dir ? dir : "/tmp", (long)getpid());
        FILE *f = fopen(path, "w");
        assert_non_null(f);
        assert_true(fputs(with, f) >= 0 && !fclose(f));
        snprintf(cmd, sizeof cmd, "'%s' -arch=sm_89 -O0 -o /dev/null '%s'", ptxas, path);
        int rc = system(cmd);
        unlink(path);
        free(with);
        if (rc) fail_msg("%s.ptx with stamps: ptxas says no", before);
    }
}

/* A timed step as the command writes it on a GPU: times in every format, and in the table what the stamps cost. */
static void test_timed_report(void **state) {
    (void)state;
    qm_engine *g = fix_engine("small", "graph");
    qm_err e;
    qm_op_records *r;
    qm_machine m;
    fix_ok(qm_ops_time(g, 3, 2, 1, &r, &e), &e);
    r->bandwidth = 1e9;
    qm_machine_of(g->dev, &m);
    static const char *const words[] = {"with time stamps", "time_ns", "\"measured_by\":\"time stamps in the kernels\"",
                                        "\"step_with_stamps_ns\":"};
    for (int f = QM_FORMAT_MD; f <= QM_FORMAT_JSONL; f++) {
        qm_report *p;
        fix_text t = {0};
        qm_ops_opts o = {.format = (qm_format)f};
        fix_ok(qm_report_open(&p, &o, "a.gguf", &m, fix_collect, &t, &e), &e);
        fix_ok(qm_report_step(p, r, NULL, &e), &e);
        fix_ok(qm_report_close(p, &e), &e);
        assert_non_null(strstr(t.s, words[f]));
        assert_null(strstr(t.s, "ESTIMATE"));
        if (f == QM_FORMAT_JSON) {
            json_error_t je;
            json_t *a = json_loads(t.s, 0, &je), *o1;
            assert_non_null(a);
            assert_int_equal(json_array_size(a), r->n_ops + 1);
            double sum = 0;
            for (int i = 0; i < r->n_ops; i++) {
                o1 = json_array_get(a, (size_t)i + 1);
                sum += json_number_value(json_object_get(o1, "time_ns")) +
                       json_number_value(json_object_get(o1, "gap_ns"));
                assert_true(json_is_null(json_object_get(o1, "thread_insts")) &&
                            json_is_null(json_object_get(o1, "bound")));
            }
            o1 = json_array_get(a, (size_t)r->n_ops);
            double last =
                json_number_value(json_object_get(o1, "begin_ns")) + json_number_value(json_object_get(o1, "time_ns"));
            assert_true(fabs(sum - last) < 0.2 * r->n_ops);
            json_decref(a);
        }
        free(t.s);
    }
    qm_op_records_free(r);
    qm_engine_close(g);
}

static void test_refuses(void **state) {
    (void)state;
    qm_err e;
    qm_op_records *r;
    qm_engine *g = fix_engine("small", "graph");
    assert_int_equal(qm_ops_count(g, g->limits.n_ctx, &r, &e), QM_ERR_LIMIT);
    assert_int_equal(qm_ops_time(g, 0, 0, 1, &r, &e), QM_ERR_ARG);
    assert_null(r);
    qm_engine_close(g);
    g = fix_engine("small", "ref");
    assert_int_equal(qm_ops_count(g, 0, &r, &e), QM_ERR_UNSUPPORTED);
    assert_non_null(strstr(e.msg, "ref"));
    qm_engine_close(g);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stamp_text),       cmocka_unit_test(test_stamp_refuses),
        cmocka_unit_test(test_stamped_load),     cmocka_unit_test(test_counts),
        cmocka_unit_test(test_counting_ends),    cmocka_unit_test(test_times),
        cmocka_unit_test(test_times_persistent), cmocka_unit_test(test_mean),
        cmocka_unit_test(test_leaves_no_trace),  cmocka_unit_test(test_timed_report),
        cmocka_unit_test(test_refuses),          cmocka_unit_test(test_stamped_assembles),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
