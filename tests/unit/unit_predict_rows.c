/* Estimates of steps of many rows: which weights they read, who has which expert, counts, terms of time, tests as steps. */
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "fixture.h"
#include "../../runtime/arch/arch.h"
#include "../../runtime/engine/engine.h"
#include "../../runtime/observe/op_measure.h"
#include "../../runtime/observe/predict_count.h"
#include "../../runtime/observe/predict_test.h"
#include "../../runtime/observe/routing.h"
#include "../../runtime/plan/ops.h"

/* A model's shape without an engine. */
typedef struct {
    qm_gguf *f;
    qm_model *m;
    qm_place *p;
} shape;

static shape shape_open(const char *path) {
    qm_err e;
    shape s;
    fix_ok(qm_gguf_open(&s.f, path, &e), &e);
    fix_ok(qm_model_open(&s.m, s.f, 0, &e), &e);
    fix_ok(qm_place_build(&s.p, s.m, &e), &e);
    return s;
}
static void shape_close(shape *s) {
    qm_place_free(s->p);
    qm_model_close(s->m);
    qm_gguf_close(s->f);
}

static qm_plan *plan_of(const shape *s, qm_work w) {
    qm_err e;
    qm_plan *p;
    uint32_t rows = 1, pages = qm_pages_for((uint64_t)w.depth + w.rows / w.seqs);
    while (rows < w.rows) rows *= 2;
    const qm_limits l = {.n_sm = 8,
                         .n_ctx = pages * QM_PAGE_TOKENS,
                         .n_seqs = w.seqs,
                         .n_rows = rows,
                         .n_outs = w.outs > 1 ? w.outs : 1,
                         .n_pages = pages};
    fix_ok(qm_plan_build(&p, s->p, qm_plan_shape(&s->m->hp, l, w.rows, w.outs, w.depth), l, &e), &e);
    return p;
}

/* Weight bytes of a decode step of the 30B by its rows, in GB: those of the design study. */
static void test_weights_by_rows(void **state) {
    (void)state;
    static const struct {
        uint32_t rows;
        double gb;
    } table[] = {{1, 1.92}, {2, 2.95}, {4, 4.8}, {8, 7.9}, {16, 12.1}, {32, 16.2}};
    char path[300];
    const char *dir = getenv("QMOE_TEST_TMP");
    qm_err e;
    snprintf(path, sizeof path, "%s/qmoe-30b-%ld.gguf", dir ? dir : "/tmp", (long)getpid());
    fix_ok(qm_synth(path, &(qm_synth_opts){.preset = "qwen3-30b-a3b", .seed = 1, .sparse = 1}, &e), &e);
    shape s = shape_open(path);
    unlink(path);
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        const qm_work w = {0, table[i].rows, table[i].rows, table[i].rows};
        qm_plan *p = plan_of(&s, w);
        double bytes = 0;
        for (int k = 0; k < p->n_ops; k++) bytes += (double)qm_op_weight_bytes(p, &p->ops[k], w);
        print_message("%2u rows: %.2f GB, the study says %.2f\n", w.rows, 1e-9 * bytes, table[i].gb);
        assert_true(fabs(1e-9 * bytes / table[i].gb - 1) < 0.03);
        qm_plan_free(p);
    }
    assert_true(fabs(qm_experts_chosen(128, 8, 1) - 8) < 1e-9);
    assert_true(fabs(qm_experts_chosen(1, 1, 5) - 1) < 1e-9);
    assert_true(qm_experts_chosen(128, 8, 512) > 127.999);
    shape_close(&s);
}

/* Each row has different experts; groups are runs of the order that share one, none above the width; the draw is always the
 * same, and about as many experts are chosen as the formula says. */
static void test_routing(void **state) {
    (void)state;
    qm_err e;
    for (uint32_t rows = 1; rows <= 512; rows *= 2) {
        const qm_moe_sort_args a = {.n_expert = 128, .n_used = 8, .width = 8, .rows = rows};
        qm_routing r, again;
        fix_ok(qm_routing_make(&r, &a, rows, &e), &e);
        fix_ok(qm_routing_make(&again, &a, rows, &e), &e);
        assert_memory_equal(r.ids, again.ids, 4 * r.n_slots);
        assert_int_equal(r.n_slots, rows * 8);
        uint32_t at = 0, chosen = 0;
        for (uint32_t i = 0; i < r.n_groups; i++) {
            const qm_group g = r.groups[i];
            assert_true(g.first == at && g.n >= 1 && g.n <= 8 && g.expert < 128);
            for (uint32_t k = 0; k < g.n; k++) assert_int_equal(r.ids[r.order[at + k]], g.expert);
            chosen += !i || r.groups[i - 1].expert < g.expert;
            at += g.n;
        }
        assert_int_equal(at, r.n_slots);
        assert_int_equal(chosen, r.n_chosen);
        assert_true(fabs(chosen / qm_experts_chosen(128, 8, rows) - 1) < 0.1);
        for (uint32_t i = 0; i < r.n_slots; i++)
            for (uint32_t k = i / 8 * 8; k < i; k++) assert_int_not_equal(r.ids[i], r.ids[k]);
        qm_routing_free(&r);
        qm_routing_free(&again);
    }
}

/* By hand, each term: a chip of round numbers. */
static void test_terms(void **state) {
    (void)state;
    const qm_chip c = {.sms = {.v = 100},
                       .clock = {.v = 1e9},
                       .bandwidth = {.v = 1e12},
                       .reach = {.v = 1},
                       .latency = {.v = 1e-6},
                       .l2 = {.v = 2e6},
                       .trip = {.v = 0},
                       .issue = {.v = 1},
                       .mma_int = {.v = 1000},
                       .mma_float = {.v = 250},
                       .node = {.v = 0},
                       .start = {.v = 0},
                       .graph = {.v = 0}};
    qm_op op = {.kind = QM_OP_RMSNORM, .grid = {100, 1, 1}, .block = 256, .waits = 1};
    qm_op_record r = {.op = &op, .rows = 1, .ctas = 100, .count = {.mma_int = 100000000000ull}};
    qm_predict_op(&c, 0, &r); /* 1e11 over 100 x 1000 x 1e9 */
    assert_true(fabs(r.time_ns - 1e6) < 1e-3 && r.bound == QM_BOUND_TENSOR);
    r.weight_bytes = 1000000000; /* 1 ms of reading, after 1 us: beside the work, or before it */
    qm_predict_op(&c, 0, &r);
    assert_true(fabs(r.time_ns - 1.001e6) < 1e-3 && fabs(r.apart_ns - 2.001e6) < 1e-3);
    r.weight_bytes = 0;
    r.count.mma_float = 25000000000ull;
    qm_predict_op(&c, 0, &r);
    assert_true(fabs(r.time_ns - 2e6) < 1e-3 && r.bound == QM_BOUND_TENSOR);
    r.ctas = 150; /* two waves: 75 at work on average */
    qm_predict_op(&c, 0, &r);
    assert_true(fabs(r.time_ns - 2e6 * 100 / 75) < 1e-3);
    r = (qm_op_record){.op = &op, .rows = 1, .ctas = 100, .act_bytes = 3000000}; /* 2 MB beyond half of the L2 */
    qm_predict_op(&c, 0, &r);
    assert_true(fabs(r.time_ns - 2000) < 1e-3 && r.bound == QM_BOUND_DRAM);
    /* 8 warps of a CTA with 4,608 bytes each, one CTA a multiprocessor: 3.7 MB a microsecond, and no work on them */
    op = (qm_op){.kind = QM_OP_MATVEC,
                 .kernel = qm_kernel_find(QM_OP_MATVEC, QM_TYPE_Q4_K, -1, 0),
                 .grid = {100, 1, 1},
                 .block = 256,
                 .waits = 1};
    r = (qm_op_record){
        .op = &op, .rows = 1, .ctas = 100, .weight_bytes = 36864000, .path = {.flight = 8 * 4608, .rounds = 1}};
    qm_predict_op(&c, 0, &r);
    assert_true(fabs(r.time_ns - 37864) < 1e-3 && r.bound == QM_BOUND_DRAM);
    qm_chip fast = c;
    fast.bandwidth.v = 1e13;
    qm_predict_op(&fast, 0, &r);
    assert_true(fabs(r.time_ns - 10000) < 1e-3 && r.bound == QM_BOUND_FLIGHT);
    r.count.warp_insts = 48000000; /* 600 an 8,000th of the bytes, at 0.6 a clock 1 us more of each */
    r.weight_bytes = 80000 * 4608ull;
    qm_predict_op(&fast, 0, &r);
    assert_true(fabs(r.time_ns - 200000) < 1e-3 && r.bound == QM_BOUND_FLIGHT);
    r.path.rounds = 150; /* more than its bytes make */
    qm_predict_op(&fast, 0, &r);
    assert_true(fabs(r.time_ns - 250000) < 1e-3 && r.bound == QM_BOUND_FLIGHT);
    r.path.again = 2; /* trips in each, out of the L2 */
    fast.trip.v = 1e-7;
    qm_predict_op(&fast, 0, &r);
    assert_true(fabs(r.time_ns - 280000) < 1e-3 && r.bound == QM_BOUND_FLIGHT);
}

/* A test's steps compute its rows, no more and no fewer. */
static void test_steps_of_tests(void **state) {
    (void)state;
    static const struct {
        qm_bench_test t;
        uint32_t ub;
        int parts;
        double steps;
    } c[] = {{{.n_prompt = 512}, 512, 1, 1},
             {{.n_prompt = 512, .n_seqs = 1}, 64, 8, 8},
             {{.n_prompt = 2048, .depth = 100}, 512, 4, 4},
             {{.n_prompt = 513}, 512, 2, 2},
             {{.n_prompt = 8192}, 128, 9, 64},
             {{.n_prompt = 100, .n_seqs = 12}, 512, 2, 3},
             {{.n_prompt = 600, .n_seqs = 3}, 512, 2, 6},
             {{.n_gen = 128}, 512, 1, 128},
             {{.n_gen = 128, .n_seqs = 32, .depth = 4096}, 512, 1, 128},
             {{.n_gen = 16, .n_seqs = 10}, 4, 2, 48}};
    for (size_t i = 0; i < sizeof c / sizeof *c; i++) {
        qm_test_part p[QM_TEST_PARTS];
        const uint32_t seqs = c[i].t.n_seqs ? c[i].t.n_seqs : 1;
        const int n = qm_test_parts(&c[i].t, c[i].ub, p);
        double rows = 0, steps = 0, outs = 0;
        assert_int_equal(n, c[i].parts);
        for (int k = 0; k < n; k++) {
            const qm_work w = p[k].work;
            assert_true(w.rows <= c[i].ub && w.rows % w.seqs == 0 && (!w.outs || w.outs == w.seqs));
            assert_true(w.depth >= c[i].t.depth);
            assert_true(w.depth + w.rows / w.seqs <= c[i].t.depth + c[i].t.n_prompt + c[i].t.n_gen);
            rows += p[k].times * w.rows;
            outs += p[k].times * w.outs;
            steps += p[k].times;
        }
        assert_true(fabs(rows - (double)seqs * (c[i].t.n_prompt + c[i].t.n_gen)) < 1e-6);
        assert_true(fabs(steps - c[i].steps) < 1e-9);
        assert_true(fabs(outs - (double)seqs * (c[i].t.n_gen ? c[i].t.n_gen : 1)) < 1e-9);
    }
}

/* Counts over zeros are those of a real step: of prompts, and of sequences together; where experts are concerned the draw
 * deals them differently, and everything else is exact but for what looks at values. */
static void test_counts_like_the_real(void **state) {
    (void)state;
    static const qm_work works[] = {{40, 24, 1, 1}, {70, 8, 8, 8}, {0, 12, 3, 3}};
    qm_err e;
    qm_predictor *p;
    qm_engine *g = NULL;
    qm_engine_opts o = {.device = "sim", .n_ctx = 128, .n_parallel = 8, .n_ubatch = 32};
    fix_ok(qm_predictor_open(&p, fix_model("small"), 0, &e), &e);
    fix_ok(qm_engine_open(&g, fix_model("small"), &o, &e), &e);
    qm_chip c = qm_chips[0];
    c.sms.v = g->dev->n_sm;
    for (size_t i = 0; i < sizeof works / sizeof *works; i++) {
        const qm_work w = works[i];
        const qm_op_records *est;
        qm_inside x;
        qm_counters n;
        fix_ok(qm_predictor_step(p, &c, w, NULL, &est, &e), &e);
        fix_ok(qm_inside_open_rows(&x, g, w.seqs, w.rows / w.seqs, w.depth, &e), &e);
        fix_ok(qm_inside_begin(&x, 0, &e), &e);
        fix_ok(qm_counters_begin(g->dev, &e), &e);
        for (int k = 0; k < x.plan->n_ops; k++) {
            const qm_op *op = &x.plan->ops[k];
            fix_ok(qm_inside_run(&x, k, NULL, NULL, &e), &e);
            assert_int_equal(g->dev->cu.StreamSynchronize(x.stream), 0);
            qm_counters_take(&n);
            const qm_op_record *a =
                NULL; /* of the same layer and slot: the engine's plan has ops for other steps too */
            for (int j = 0; j < est->n_ops && !a; j++)
                if (est->op[j].op->layer == op->layer && !strcmp(est->op[j].op->slot, op->slot) &&
                    est->op[j].op->kind == op->kind && !memcmp(est->op[j].op->grid, op->grid, sizeof op->grid))
                    a = &est->op[j];
            if (!a || a->op->kind == QM_OP_MOE_SORT || a->op->kind == QM_OP_MOE_GEMM ||
                a->op->kind == QM_OP_MOE_GEMM_UP || a->op->kind == QM_OP_ROUTER || a->op->kind == QM_OP_SAMPLE_SCAN ||
                a->op->kind == QM_OP_SAMPLE_DRAW)
                continue;
            if (a->count.warp_insts == 0) fail_msg("%s: nothing was counted", op->slot);
            assert_true(fabs((double)a->count.warp_insts / (double)n.warp_insts - 1) < 0.05);
            assert_int_equal(a->count.mma_int, n.mma_int);
            assert_int_equal(a->count.barriers, n.barriers);
        }
        qm_counters_end();
        qm_inside_close(&x);
    }
    qm_engine_close(g);
    qm_predictor_close(p);
}

/* A part of the CTAs, multiplied, is the whole within 2%. */
static void test_sampled(void **state) {
    (void)state;
    static const qm_work works[] = {{0, 192, 1, 1}, {100, 16, 16, 16}};
    qm_err e;
    qm_device *d;
    qm_kernels *k;
    shape s = shape_open(fix_model("small"));
    fix_ok(qm_device_open(&d, "sim", NULL, 0, &e), &e);
    fix_ok(qm_kernels_open(&k, d, &e), &e);
    for (size_t i = 0; i < sizeof works / sizeof *works; i++) {
        qm_plan *p = plan_of(&s, works[i]);
        qm_op_records *all, *few;
        int bad = 0;
        fix_ok(qm_op_records_new(&all, p, works[i], &e), &e);
        fix_ok(qm_op_records_new(&few, p, works[i], &e), &e);
        fix_ok(qm_predict_count(d, k, all, 1e18, NULL, 0, &e), &e);
        fix_ok(qm_predict_count(d, k, few, 0, NULL, 0, &e), &e);
        assert_int_equal(all->n_sampled, 0);
        assert_true(few->n_sampled > 4);
        for (int n = 0; n < all->n_ops; n++) {
            const qm_counters *a = &all->op[n].count, *b = &few->op[n].count;
            const double off = (double)b->warp_insts / (double)a->warp_insts - 1;
            if (fabs(off) > 0.02) print_message("%s: %+.1f%% warp instructions\n", all->op[n].op->slot, 100 * off);
            bad += fabs(off) > 0.02;
            assert_true(fabs((double)b->load_sectors - (double)a->load_sectors) <= 0.02 * (double)a->load_sectors);
            assert_int_equal(a->mma_int, b->mma_int);
        }
        assert_int_equal(bad, 0);
        qm_op_records_free(all);
        qm_op_records_free(few);
        qm_plan_free(p);
    }
    qm_kernels_close(k);
    qm_device_close(d);
    shape_close(&s);
}

/* More rows take longer, and less each; so do deeper chunks. */
static void test_monotone(void **state) {
    (void)state;
    qm_err e;
    qm_predictor *p;
    double before = 0, each = 1e18;
    fix_ok(qm_predictor_open(&p, fix_model("small"), 0, &e), &e);
    qm_chip c = qm_chips[0];
    c.bandwidth.v = 2e10; /* a small model's bytes have to count */
    const qm_op_records *r;
    for (uint32_t n = 2; n <= 32; n *= 2) {
        fix_ok(qm_predictor_step(p, &c, (qm_work){64, n, n, n}, NULL, &r, &e), &e);
        assert_true(r->step_ns > before && r->step_ns / n < each);
        before = r->step_ns;
        each = before / n;
    }
    before = 0;
    for (uint32_t depth = 0; depth < 448; depth += 128) {
        fix_ok(qm_predictor_step(p, &c, (qm_work){depth, 64, 1, 0}, NULL, &r, &e), &e);
        assert_true(r->step_ns > before);
        before = r->step_ns;
    }
    assert_int_equal(qm_predictor_step(p, &c, (qm_work){0, 12, 5, 0}, NULL, &r, &e), QM_ERR_ARG);
    assert_int_equal(qm_predictor_step(p, &c, (qm_work){0, 1024, 1, 0}, NULL, &r, &e), QM_ERR_ARG);
    assert_int_equal(qm_predictor_step(p, &c, (qm_work){500, 64, 1, 0}, NULL, &r, &e), QM_ERR_LIMIT);
    qm_predictor_close(p);
}

/* ---- the public call ---- */
static double num(const json_t *o, const char *k) { return json_number_value(json_object_get(o, k)); }

/* One record a test; its parts add up. */
static void test_json(void **state) {
    (void)state;
    qm_err e;
    const qm_bench_test t[] = {{.n_prompt = 100, .n_seqs = 1}, {.n_gen = 8, .n_seqs = 4, .depth = 33}};
    static const char *const names[] = {"pp100", "tg8 x4 @ d33"};
    const qm_ops_opts o = {.format = QM_FORMAT_JSON, .n_ubatch = 64};
    fix_text text = {0};
    fix_ok(qm_bench_predict_tests(fix_model("small"), "gb10,h200", t, 2, &o, fix_collect, &text, &e), &e);
    json_error_t je;
    json_t *a = json_loads(text.s, 0, &je), *j, *op;
    if (!a) fail_msg("line %d: %s", je.line, je.text);
    assert_int_equal(json_array_size(a), 4);
    size_t i, k;
    json_array_foreach (a, i, j) {
        const qm_bench_test *x = &t[i % 2];
        double ops = 0, shares = 0, n = 0;
        const char *bound;
        json_t *v;
        assert_string_equal(json_string_value(json_object_get(j, "test")), names[i % 2]);
        assert_string_equal(json_string_value(json_object_get(j, "chip_id")), i < 2 ? "gb10" : "h200");
        assert_true(json_is_true(json_object_get(j, "estimate")));
        assert_true(num(j, "n_prompt") == x->n_prompt && num(j, "n_gen") == x->n_gen && num(j, "n_depth") == x->depth);
        assert_true(num(j, "n_ubatch") == 64 && num(j, "n_seqs") == x->n_seqs);
        assert_true(num(j, "steps") == (x->n_gen ? 8 : 2) && num(j, "tokens") == (x->n_gen ? 32 : 100));
        assert_true(num(j, "tokens_per_s_apart") < num(j, "tokens_per_s"));
        assert_true(fabs(num(j, "tokens_per_s") / (1e9 * num(j, "tokens") / num(j, "time_ns")) - 1) < 1e-4);
        json_array_foreach (json_object_get(j, "ops"), k, op) {
            ops += num(op, "time_ns") + num(op, "gap_ns");
            n += num(op, "n");
        }
        assert_true(n > 20 * num(j, "steps"));
        assert_true(ops < num(j, "time_ns") && ops > 0.9 * num(j, "time_ns") - 1e5 * num(j, "steps"));
        json_object_foreach (json_object_get(j, "bound"), bound, v) shares += json_number_value(v);
        assert_true(shares > 0.5 && shares <= 1);
    }
    json_decref(a);
    free(text.s);
}

static void test_texts(void **state) {
    (void)state;
    qm_err e;
    const qm_bench_test t[] = {{.n_prompt = 64}, {.n_gen = 4, .n_seqs = 2}};
    qm_ops_opts o = {.format = QM_FORMAT_MD};
    fix_text text = {0};
    fix_ok(qm_bench_predict_tests(fix_model("small"), "h200,gb10", t, 2, &o, fix_collect, &text, &e), &e);
    assert_non_null(strstr(text.s, "ESTIMATES"));
    assert_non_null(strstr(text.s, "| tg4 x2 "));
    assert_int_equal(fix_lines(strstr(text.s, "|:--")), 1 + 4);
    free(text.s);
    text = (fix_text){0};
    o.format = QM_FORMAT_CSV;
    fix_ok(qm_bench_predict_tests(fix_model("small"), "h200", t, 2, &o, fix_collect, &text, &e), &e);
    assert_int_equal(fix_lines(text.s), 3);
    assert_ptr_equal(strstr(text.s, "record,test,estimate"), text.s);
    free(text.s);
    text = (fix_text){0};
    o = (qm_ops_opts){.format = QM_FORMAT_MD, .by_kind = 1};
    fix_ok(qm_bench_predict_tests(fix_model("small"), "h200", t, 1, &o, fix_collect, &text, &e), &e);
    assert_non_null(strstr(text.s, "64 rows of 1 sequence, depth 0"));
    assert_non_null(strstr(text.s, "| attn_prefill "));
    free(text.s);
    text = (fix_text){0};
    o = (qm_ops_opts){.n_ubatch = 513};
    assert_int_equal(qm_bench_predict_tests(fix_model("small"), "h200", t, 1, &o, fix_collect, &text, &e), QM_ERR_ARG);
    assert_null(text.s);
    o.n_ubatch = 0;
    const qm_bench_test deep = {.n_prompt = 8, .depth = 512}, none = {.n_prompt = 0};
    assert_int_equal(qm_bench_predict_tests(fix_model("small"), "h200", &deep, 1, &o, fix_collect, &text, &e),
                     QM_ERR_LIMIT);
    assert_non_null(strstr(e.msg, "pp8 @ d512"));
    assert_int_equal(qm_bench_predict_tests(fix_model("small"), "h200", &none, 1, &o, fix_collect, &text, &e),
                     QM_ERR_ARG);
    free(text.s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_weights_by_rows), cmocka_unit_test(test_routing),
        cmocka_unit_test(test_terms),           cmocka_unit_test(test_steps_of_tests),
        cmocka_unit_test(test_sampled),         cmocka_unit_test(test_counts_like_the_real),
        cmocka_unit_test(test_monotone),        cmocka_unit_test(test_json),
        cmocka_unit_test(test_texts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
