/* unit_trace: a step observed is the step itself; its statistics are those of the vectors; a wrong weight on the
 * device is named by the first op that it touches; .npy files; memory. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <jansson.h>
#include "fixture.h"
#include "slots.h"
#include "../../runtime/base/hash.h"
#include "../../runtime/device/counters.h"
#include "../../runtime/device/prof.h"
#include "../../runtime/observe/trace.h"
#include "../../runtime/observe/trace_compare.h"
#include "../../runtime/file/npy.h"

static const char *tmp(const char *name) {
    static char path[8][300];
    static int at;
    const char *dir = getenv("QMOE_TEST_TMP");
    char *p = path[at++ % 8];
    snprintf(p, sizeof path[0], "%s/qmoe-%ld-%s", dir ? dir : "/tmp", (long)getpid(), name);
    return p;
}

/* qm_trace of a prompt; the text (free it). */
static char *trace(qm_engine *g, const uint32_t *ids, uint32_t n, const qm_trace_opts *o, int *departed) {
    fix_text t = {0};
    qm_err e;
    int d;
    fix_ok(qm_trace(g, "p", 1, ids, n, o, departed ? departed : &d, fix_collect, &t, &e), &e);
    return t.s;
}

static json_t *trace_json(qm_engine *g, const uint32_t *ids, uint32_t n, qm_trace_opts o, int *departed) {
    o.json = 1;
    char *s = trace(g, ids, n, &o, departed);
    json_error_t je;
    json_t *j = json_loads(s, 0, &je);
    if (!j) fail_msg("not JSON: %s", je.text);
    free(s);
    return j;
}

static const qm_trace_opts PLAIN = {.last_layer = -1};

static uint64_t generate_hash(qm_engine *g, const uint32_t *ids, uint32_t n) {
    qm_session *s;
    qm_err e;
    qm_gen_stats st;
    qm_gen_opts o = {.max_tokens = 1, .ignore_eos = 1};
    fix_ok(qm_session_open(&s, g, &e), &e);
    fix_ok(qm_generate(s, ids, n, &o, &st, &e), &e);
    qm_session_close(s);
    return st.logits_hash;
}

/* ---- the production plan, observed ---- */

/* The same logits, to the bit, as generate's: over page borders and where attention is split, with the last position
 * or all of them observed, with and without copies of the vectors; on the device and in the references. */
static void test_same_logits(void **state) {
    (void)state;
    static const uint32_t lengths[] = {1, 2, 33, 300};
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++)
        for (int ref = 0; ref < (lengths[i] < 40 ? 2 : 1); ref++) {
            qm_engine *g = fix_engine("small", ref ? "ref" : "graph");
            uint32_t ids[300], n = lengths[i];
            char want[32];
            fix_prompt(g, ids, n, 11);
            snprintf(want, sizeof want, "%016llx", (unsigned long long)generate_hash(g, ids, n));
            for (int way = 0; way < 3; way++) {
                qm_trace_opts o = PLAIN;
                o.all_positions = way == 1;
                o.dump = way == 2 ? tmp("same") : NULL;
                json_t *j = trace_json(g, ids, n, o, NULL);
                assert_string_equal(json_string_value(json_object_get(json_object_get(j, "logits"), "hash")), want);
                assert_int_equal(json_array_size(json_object_get(j, "encoded_tokens")), n);
                json_decref(j);
            }
            qm_engine_close(g);
        }
    char cmd[400];
    snprintf(cmd, sizeof cmd, "rm -rf '%s'", tmp("same"));
    assert_int_equal(system(cmd), 0);
}

/* An executor that computes another step than the one observed, here that of another token. */
static int step_of_token_7(qm_engine *g, const qm_row *rows, uint32_t n, const qm_plan *p, qm_err *e) {
    uint32_t id = 7;
    int rc = qm_executor_graph.put_tokens(g, rows->seq, 0, &id, 1, e);
    return rc ? rc : qm_executor_graph.step(g, rows, n, p, e);
}

static void test_executor_step(void **state) {
    (void)state;
    qm_engine *g = fix_engine("small", "graph");
    uint32_t id = 11;
    int departed;
    qm_executor other = qm_executor_graph;
    char *s = trace(g, &id, 1, &PLAIN, &departed);
    assert_int_equal(departed, 0);
    assert_non_null(strstr(s, "executor graph: the same logits"));
    free(s);
    other.step = step_of_token_7;
    g->exec = &other;
    s = trace(g, &id, 1, &PLAIN, &departed);
    assert_int_equal(departed, 1);
    assert_non_null(strstr(s, "executor graph: OTHER LOGITS"));
    free(s);
    qm_engine_close(g);
}

/* What follows a traced step is what follows any other: the same tokens. */
static void test_session_goes_on(void **state) {
    (void)state;
    enum { N = 20 };
    qm_err e;
    qm_engine *g = fix_engine("small", "graph");
    uint32_t ids[N], vocab = g->model->hp.n_vocab;
    float *a = malloc(4 * vocab), *b = malloc(4 * vocab);
    qm_session *s, *t;
    qm_tracer *tr;
    const qm_plan *p;
    fix_prompt(g, ids, N, 12);
    fix_ok(qm_session_open(&s, g, &e), &e);
    fix_ok(qm_session_open(&t, g, &e), &e);
    fix_ok(qm_engine_plan(g, 0, 1, &p, &e), &e);
    fix_ok(qm_tracer_open(&tr, g, p, 0, &e), &e);
    for (int i = 0; i < N; i++) {
        fix_ok(qm_session_eval(s, ids[i], &e), &e);
        fix_ok(qm_session_logits(s, a, &e), &e);
        if (i % 3 == 1) fix_ok(qm_tracer_step(tr, t, ids[i], &e), &e);
        else fix_ok(qm_session_eval(t, ids[i], &e), &e);
        fix_ok(qm_session_logits(t, b, &e), &e);
        assert_memory_equal(a, b, 4 * vocab);
        assert_int_equal(tr->flags, 0);
    }
    assert_int_equal(qm_session_length(t), N);
    qm_tracer_close(tr);
    qm_session_close(s);
    qm_session_close(t);
    free(a);
    free(b);
    qm_engine_close(g);
}

/* ---- statistics ---- */

static void check_record(const qm_trace_vector *s, const float *v) {
    double sum = 0, squares = 0, m2 = 0, min = INFINITY, max = -INFINITY;
    uint32_t zeros = 0;
    for (uint32_t i = 0; i < s->n; i++) {
        assert_true(isfinite(v[i]));
        sum += v[i];
        squares += (double)v[i] * v[i];
        min = fmin(min, v[i]);
        max = fmax(max, v[i]);
        zeros += v[i] == 0;
    }
    for (uint32_t i = 0; i < s->n; i++) m2 += (v[i] - sum / s->n) * (v[i] - sum / s->n);
    const qm_stats_record *r = &s->stats;
    double t = 1e-9 * sqrt(squares / s->n);
    if (fabs(r->mean - sum / s->n) > t || fabs(r->std_dev - sqrt(m2 / s->n)) > t ||
        fabs(r->l2 - sqrt(squares)) > 1e-9 * r->l2 || r->min != min || r->max != max || r->zeros != zeros || r->nans ||
        r->infs || r->count != s->n)
        fail_msg("layer %d, %s: mean %.12g %.12g, std %.12g %.12g, l2 %.12g %.12g, min %g %g, max %g %g, zeros %u %u",
                 s->layer, s->name, r->mean, sum / s->n, r->std_dev, sqrt(m2 / s->n), r->l2, sqrt(squares), r->min, min,
                 r->max, max, r->zeros, zeros);
}

/* The slots' places: what the vectors are to one another. */
static void check_relations(const qm_tracer *t) {
    const qm_hparams *hp = &t->g->model->hp;
    const char *const names[] = {"attn_norm", "qkv", "attn_out", "ffn_norm", "ffn_out", "output"};
    const float *x = t->values + qm_tracer_find(t, -1, "embedding", -1)->at;
    for (int l = 0; l < (int)hp->n_layers; l++) {
        const float *v[6];
        for (int k = 0; k < 6; k++) {
            const qm_trace_vector *s = qm_tracer_find(t, l, names[k], -1);
            assert_non_null(s);
            assert_int_equal(s->n, k == 1 ? (hp->n_head + 2 * hp->n_kv) * hp->head_dim : hp->n_embd);
            v[k] = t->values + s->at;
        }
        for (uint32_t i = 0; i < hp->n_embd; i++) {
            double out = 0, ffn = 0;
            for (uint32_t r = 0; r < hp->n_used; r++)
                ffn += (t->values + qm_tracer_find(t, l, "expert", (int)r)->at)[i];
            assert_true(fabs(ffn - v[4][i]) < 1e-5); /* ffn_out is the experts' sum */
            out = (double)x[i] + v[2][i] + v[4][i];
            assert_true(fabs(out - v[5][i]) < 1e-5 * (1 + fabs(out))); /* output = input + attn_out + ffn_out */
        }
        x = v[5];
        double sum = 0;
        for (uint32_t r = 0; r < hp->n_used; r++) {
            sum += t->weights[(uint32_t)l * hp->n_used + r];
            assert_true(t->ids[(uint32_t)l * hp->n_used + r] < hp->n_expert);
        }
        assert_true(fabs(sum - 1) < 1e-6);
    }
}

static void statistics(const char *kind, const char *executor) {
    enum { N = 5 };
    qm_err e;
    qm_engine *g = fix_engine(kind, executor);
    uint32_t ids[N], n_layers = g->model->hp.n_layers;
    qm_session *s;
    qm_tracer *t;
    const qm_plan *p;
    fix_prompt(g, ids, N, 13);
    fix_ok(qm_session_open(&s, g, &e), &e);
    fix_ok(qm_engine_plan(g, 0, 1, &p, &e), &e);
    fix_ok(qm_tracer_open(&t, g, p, 1, &e), &e);
    for (int i = 0; i < N; i++) fix_ok(qm_tracer_step(t, s, ids[i], &e), &e);
    for (int i = 0; i < t->n_vectors; i++) check_record(&t->vectors[i], t->values + t->vectors[i].at);
    check_relations(t);
    slots_check(t, ids[N - 1]);
    assert_int_equal(t->n_used, g->model->hp.n_used);
    assert_true(t->n_points <= (int)(2 * n_layers + 3));
    /* the logits are a slot too, and the session's */
    const qm_trace_vector *l = qm_tracer_find(t, -1, "logits", -1);
    float *logits = malloc(4 * l->n);
    fix_ok(qm_session_logits(s, logits, &e), &e);
    assert_memory_equal(logits, t->values + l->at, 4 * l->n);
    free(logits);
    qm_tracer_close(t);
    qm_session_close(s);
    qm_engine_close(g);
}

static void test_statistics(void **state) {
    (void)state;
    statistics("small", "graph");
    statistics("f16", "graph");
    statistics("small", "ref");
}

/* What is not finite is counted where it is, and the verdict names the first place. */
static void test_not_finite(void **state) {
    (void)state;
    enum { LAYER = 2 };
    qm_engine *g = fix_engine("small", "graph");
    qm_session *s;
    qm_err e;
    uint32_t ids[3];
    float nan = NAN;
    fix_prompt(g, ids, 3, 14);
    fix_ok(qm_session_open(&s, g, &e), &e);
    /* one NaN in the weights of layer 2's ffn_norm */
    CUdeviceptr at = fix_address(s, g->plans[0], QM_REF(QM_SPACE_REGION, fix_region(g, LAYER, "ffn_norm")));
    assert_int_equal(g->dev->cu.MemcpyHtoD(at + 4 * 17, &nan, 4), CUDA_SUCCESS);
    qm_session_close(s);
    json_t *j = trace_json(g, ids, 3, PLAIN, NULL), *layers = json_object_get(j, "layers");
    for (int l = 0; l < 4; l++) {
        json_t *x = json_array_get(layers, (size_t)l);
        json_int_t norm = json_integer_value(json_object_get(json_object_get(x, "ffn_norm"), "nan_count"));
        json_int_t att = json_integer_value(json_object_get(json_object_get(x, "attn_out"), "nan_count"));
        assert_true(l < LAYER ? norm == 0 : l == LAYER ? norm == 1 : norm > 1);
        assert_true(l <= LAYER ? att == 0 : att > 0);
        const char *status = json_string_value(json_object_get(x, "status"));
        assert_true(l < LAYER ? !strcmp(status, "OK") : strstr(status, "NaN") != NULL);
    }
    json_t *v = json_object_get(j, "verdict");
    assert_string_equal(json_string_value(json_object_get(v, "level")), "BAD");
    const char *why = json_string_value(json_object_get(json_array_get(json_object_get(v, "checks"), 0), "text"));
    assert_non_null(strstr(why, "first in layer 2, ffn_norm"));
    json_decref(j);
    qm_engine_close(g);
}

/* A step of one row at that depth, of ops that are all apart. */
static qm_counters of_step_apart(const char *path, const uint32_t *ids, uint32_t depth) {
    const char *dev = getenv("QMOE_TEST_DEVICE");
    qm_engine_opts o = {.device = dev ? dev : "sim", .apart = "all"};
    qm_engine *g;
    qm_session *s;
    qm_counters c;
    qm_err e;
    fix_ok(qm_engine_open(&g, path, &o, &e), &e);
    fix_ok(qm_session_open(&s, g, &e), &e);
    for (uint32_t i = 0; i < depth; i++) fix_ok(qm_session_eval(s, ids[i], &e), &e);
    fix_ok(qm_counters_begin(g->dev, &e), &e);
    fix_ok(qm_session_eval(s, ids[depth], &e), &e);
    qm_counters_take(&c);
    qm_counters_end();
    qm_session_close(s);
    qm_engine_close(g);
    return c;
}

/* What observing costs the device, in its own counters: less than a quarter of the step. The yardstick is the step of ops that
 * are apart: one that takes less itself makes observing no dearer. */
static void cost(qm_engine *g, const char *path, const char *kind, uint32_t depth, double most) {
    qm_err e;
    if (!qm_counters_here(g->dev)) {
        qm_engine_close(g);
        skip();
    }
    qm_session *s;
    qm_tracer *t;
    const qm_plan *p;
    qm_counters plain, observed;
    uint32_t ids[64];
    assert_true(depth < 63);
    fix_prompt(g, ids, depth + 2, 15);
    fix_ok(qm_session_open(&s, g, &e), &e);
    fix_ok(qm_engine_plan(g, depth, 1, &p, &e), &e);
    fix_ok(qm_tracer_open(&t, g, p, 0, &e), &e);
    for (uint32_t i = 0; i < depth; i++) fix_ok(qm_session_eval(s, ids[i], &e), &e);
    fix_ok(qm_counters_begin(g->dev, &e), &e);
    fix_ok(qm_session_eval(s, ids[depth], &e), &e);
    qm_counters_take(&plain);
    fix_ok(qm_tracer_step(t, s, ids[depth + 1], &e), &e);
    qm_counters_take(&observed);
    qm_counters_end();
    const qm_counters apart = of_step_apart(path, ids, depth);
    double insts = (double)(observed.thread_insts - plain.thread_insts) / (double)apart.thread_insts;
    double bytes = (double)(observed.load_bytes - plain.load_bytes) / (double)apart.load_bytes;
    int nodes = (int)(observed.launches - plain.launches);
    print_message("%s: %d launches more on %d, %.1f %% thread instructions, %.1f %% bytes read\n", kind, nodes,
                  (int)plain.launches, 100 * insts, 100 * bytes);
    assert_int_equal(plain.launches, p->n_ops);
    assert_int_equal(nodes, t->n_points);
    assert_true(nodes <= 2 * (int)g->model->hp.n_layers + 1);
    assert_true(insts > 0 && insts < most);
    assert_true(bytes < 0.25);
    qm_tracer_close(t);
    qm_session_close(s);
    qm_engine_close(g);
}

static void test_cost(void **state) {
    (void)state;
    cost(fix_engine("small", "graph"), fix_model("small"), "small", 8, 0.25);
    cost(fix_engine("f16", "graph"), fix_model("f16"), "f16", 40, 0.25);
    /* two layers of the 30B's width: what a layer of it costs. The weights are zeros, which changes no count */
    const char *path = tmp("wide.gguf");
    qm_synth_opts so = {.preset = "qwen3-30b-a3b", .n_layers = 2, .n_vocab = 2048, .n_ctx = 64, .sparse = 1};
    qm_engine_opts eo = {.device = getenv("QMOE_TEST_DEVICE") ? getenv("QMOE_TEST_DEVICE") : "sim"};
    qm_err e;
    qm_engine *g;
    fix_ok(qm_synth(path, &so, &e), &e);
    fix_ok(qm_engine_open(&g, path, &eo, &e), &e);
    cost(g, path, "two layers of the 30B's shape", 8, 0.05);
    unlink(path);
}

/* The step as a graph, with and without the observers, as a GPU runs it best: same logits, and where there is a clock
 * that means something, less than a quarter more time. QMOE_TEST_MODEL: a file to time instead of a small one. */
static CUgraphExec captured(qm_tracer *t, const qm_inside *x, int observe) {
    qm_cuda *cu = &x->dev->cu;
    CUgraph graph;
    CUgraphExec exec;
    qm_err e;
    assert_int_equal(cu->StreamBeginCapture(x->stream, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL), CUDA_SUCCESS);
    fix_ok(qm_tracer_enqueue(t, x, observe, &e), &e);
    assert_int_equal(cu->StreamEndCapture(x->stream, &graph), CUDA_SUCCESS);
    assert_int_equal(cu->GraphInstantiate(&exec, graph, 0), CUDA_SUCCESS);
    cu->GraphDestroy(graph);
    return exec;
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void test_cost_in_time(void **state) {
    (void)state;
    enum { N = 8, RUNS = 30 };
    qm_err e;
    const char *dev = getenv("QMOE_TEST_DEVICE"), *file = getenv("QMOE_TEST_MODEL");
    qm_engine_opts eo = {.device = dev ? dev : "sim"};
    qm_engine *g;
    fix_ok(qm_engine_open(&g, file ? file : fix_model("small"), &eo, &e), &e);
    uint32_t ids[N], vocab = g->model->hp.n_vocab;
    float *want = malloc(4 * vocab), *got = malloc(4 * vocab);
    double ms[2][RUNS], *median[2] = {&ms[0][RUNS / 2], &ms[1][RUNS / 2]};
    int timed = !qm_counters_here(g->dev), runs = timed ? RUNS : 1;
    qm_session *s;
    qm_tracer *t;
    const qm_plan *p;
    qm_timer timer;
    fix_prompt(g, ids, N, 21);
    fix_ok(qm_session_open(&s, g, &e), &e);
    fix_ok(qm_engine_plan(g, 0, 1, &p, &e), &e);
    fix_ok(qm_tracer_open(&t, g, p, 0, &e), &e);
    fix_ok(qm_timer_open(&timer, g->dev, &e), &e);
    for (int i = 0; i < N; i++) fix_ok(qm_tracer_step(t, s, ids[i], &e), &e); /* loads every kernel */
    fix_ok(qm_session_logits(s, want, &e), &e);
    qm_inside in;
    fix_ok(qm_inside_open(&in, g, s, N - 1, &e), &e);
    CUgraphExec x[2] = {captured(t, &in, 0), captured(t, &in, 1)};
    for (int r = -2; r < runs; r++) /* the first two warm up; taken in turns, so that clocks that drift hit both */
        for (int k = 0; k < 2; k++) {
            double v;
            fix_ok(qm_inside_begin(&in, ids[N - 1], &e), &e);
            fix_ok(qm_timer_start(&timer, in.stream, &e), &e);
            assert_int_equal(g->dev->cu.GraphLaunch(x[k], in.stream), CUDA_SUCCESS);
            fix_ok(qm_timer_stop(&timer, in.stream, &e), &e);
            fix_ok(qm_timer_ms(&timer, &v, &e), &e);
            if (r >= 0) ms[k][r] = v;
            fix_ok(qm_session_logits(s, got, &e), &e);
            assert_memory_equal(want, got, 4 * vocab);
        }
    if (timed) {
        for (int k = 0; k < 2; k++) qsort(ms[k], RUNS, sizeof ms[k][0], by_value);
        print_message("%s on %s: a step takes %.4f ms, observed %.4f ms (%+.1f %%), medians of %d\n", g->info.name,
                      g->info.device_name, *median[0], *median[1], 100 * (*median[1] / *median[0] - 1), RUNS);
        /* the promise is the 30B's; a model of a few small layers is all launches */
        if (file) assert_true(*median[1] < 1.25 * *median[0]);
    }
    for (int k = 0; k < 2; k++) g->dev->cu.GraphExecDestroy(x[k]);
    qm_timer_close(&timer);
    qm_tracer_close(t);
    qm_session_close(s);
    free(want);
    free(got);
    qm_engine_close(g);
}

/* ---- against the references ---- */

/* Some bytes of a region on the device are not those of the file: the first op that reads them is named. */
static void corrupted(int region, uint64_t off, uint32_t n, const char *slot, int layer, const char *tensor) {
    qm_engine *g = fix_engine("small", "graph");
    qm_session *s;
    qm_err e;
    uint32_t ids[9];
    int departed;
    unsigned char junk[4096];
    assert_true(n <= sizeof junk);
    fix_prompt(g, ids, 9, 16);
    fix_ok(qm_session_open(&s, g, &e), &e);
    json_t *before = trace_json(g, ids, 9, (qm_trace_opts){.last_layer = -1, .compare = "ref"}, &departed);
    assert_int_equal(departed, 0);
    assert_true(json_is_null(json_object_get(json_object_get(before, "compare"), "first_departure")));
    json_decref(before);
    CUdeviceptr at = fix_address(s, g->plans[0], QM_REF(QM_SPACE_REGION, region)) + off;
    assert_int_equal(g->dev->cu.MemcpyDtoH(junk, at, n), CUDA_SUCCESS);
    for (uint32_t i = 0; i < n; i++) junk[i] ^= i % 4 == 3 ? 0x81 : 0x15; /* of an f32: sign and exponent */
    assert_int_equal(g->dev->cu.MemcpyHtoD(at, junk, n), CUDA_SUCCESS);
    qm_session_close(s);
    json_t *j = trace_json(g, ids, 9, (qm_trace_opts){.last_layer = -1, .compare = "ref"}, &departed);
    json_t *d = json_object_get(json_object_get(j, "compare"), "first_departure");
    assert_int_equal(departed, 1);
    assert_true(json_is_object(d));
    if (json_integer_value(json_object_get(d, "layer")) != layer ||
        strcmp(json_string_value(json_object_get(d, "slot")), slot) ||
        strcmp(json_string_value(json_object_get(d, "tensor")), tensor))
        fail_msg("layer %d, %s, %s is wrong; the first departure is said to be layer %d, %s, %s", layer, slot, tensor,
                 (int)json_integer_value(json_object_get(d, "layer")), json_string_value(json_object_get(d, "slot")),
                 json_string_value(json_object_get(d, "tensor")));
    json_decref(j);
    qm_engine_close(g);
}

static void test_compare_names_the_op(void **state) {
    (void)state;
    qm_engine *g = fix_engine("small", "graph");
    int norm = fix_region(g, 2, "attn_norm"), k_norm = fix_region(g, 2, "attn_k_norm"),
        router = fix_region(g, 2, "ffn_gate_inp"), o = fix_region(g, 2, "attn_output"),
        out = fix_region(g, -1, "output_norm");
    qm_engine_close(g);
    corrupted(norm, 0, 64, "qkv", 2, "y");         /* which norms */
    corrupted(k_norm, 0, 64, "attn", 2, "k_pool"); /* q is right: only the cache's row tells */
    corrupted(router, 4096, 2048, "router_logits", 2, "y");
    corrupted(o, 1024, 512, "attn_out", 2, "sum");
    corrupted(out, 128, 64, "output_norm", -1, "y");
}

/* --layers and --stop-after limit what is compared; a departure outside is not looked at. */
static void test_compare_limits(void **state) {
    (void)state;
    qm_engine *g = fix_engine("small", "graph");
    qm_err e;
    uint32_t ids[4];
    int departed;
    fix_prompt(g, ids, 4, 17);
    json_t *j = trace_json(g, ids, 4, (qm_trace_opts){.compare = "ref", .first_layer = 1, .last_layer = 2}, &departed);
    json_t *ops = json_object_get(json_object_get(j, "compare"), "ops");
    size_t all = json_array_size(ops);
    assert_true(all >= 2 * 6);
    for (size_t i = 0; i < all; i++) {
        json_int_t l = json_integer_value(json_object_get(json_array_get(ops, i), "layer"));
        assert_true(l == 1 || l == 2);
    }
    json_decref(j);
    j = trace_json(g, ids, 4,
                   (qm_trace_opts){.compare = "ref", .first_layer = 1, .last_layer = 2, .stop_after = "2.qkv"},
                   &departed);
    ops = json_object_get(json_object_get(j, "compare"), "ops");
    json_t *last = json_array_get(ops, json_array_size(ops) - 1);
    assert_string_equal(json_string_value(json_object_get(last, "slot")), "qkv");
    assert_int_equal(json_integer_value(json_object_get(last, "layer")), 2);
    assert_true(json_array_size(ops) < all);
    json_decref(j);
    fix_text t = {0};
    assert_int_equal(qm_trace(g, "p", 1, ids, 4,
                              &(qm_trace_opts){.compare = "ref", .last_layer = -1, .stop_after = "9.qkv"}, &departed,
                              fix_collect, &t, &e),
                     QM_ERR_ARG);
    assert_non_null(strstr(e.msg, "9.qkv"));
    assert_int_equal(qm_trace(g, "p", 1, ids, 4, &(qm_trace_opts){.first_layer = 2, .last_layer = 4}, &departed,
                              fix_collect, &t, &e),
                     QM_ERR_ARG);
    assert_non_null(strstr(e.msg, "0 to 3"));
    assert_int_equal(qm_trace(g, "", 0, ids, 0, &PLAIN, &departed, fix_collect, &t, &e),
                     QM_ERR_ARG); /* F-QW3-MOE-STEP2-002 */
    assert_non_null(strstr(e.msg, "empty"));
    assert_null(t.s); /* nothing was said */
    qm_engine_close(g);
}

/* Both on their own: drift, and a wrong weight anywhere before shows from there on. */
static void test_compare_free(void **state) {
    (void)state;
    qm_engine *g = fix_engine("small", "graph");
    qm_session *s;
    qm_err e;
    uint32_t ids[6];
    int departed;
    qm_trace_opts o = {.path = fix_model("small"), .compare = "ref", .free_run = 1, .last_layer = -1};
    fix_prompt(g, ids, 6, 18);
    json_t *j = trace_json(g, ids, 6, o, &departed);
    assert_int_equal(departed, 0);
    json_t *ops = json_object_get(json_object_get(j, "compare"), "ops");
    assert_true(json_array_size(ops) > 4 * 6);
    json_t *last = json_array_get(ops, json_array_size(ops) - 1);
    assert_string_equal(json_string_value(json_object_get(last, "slot")), "logits");
    assert_true(json_real_value(json_object_get(last, "cosine")) >= 0.999999);
    assert_true(json_real_value(json_object_get(last, "rel_l2")) > 0); /* two computations, not one twice */
    json_decref(j);
    fix_ok(qm_session_open(&s, g, &e), &e);
    float zeros[64] = {0};
    CUdeviceptr at = fix_address(s, g->plans[0], QM_REF(QM_SPACE_REGION, fix_region(g, 1, "ffn_norm")));
    assert_int_equal(g->dev->cu.MemcpyHtoD(at, zeros, sizeof zeros), CUDA_SUCCESS);
    qm_session_close(s);
    j = trace_json(g, ids, 6, o, &departed);
    json_t *d = json_object_get(json_object_get(j, "compare"), "first_departure");
    assert_int_equal(departed, 1);
    assert_int_equal(json_integer_value(json_object_get(d, "layer")), 1);
    assert_string_equal(json_string_value(json_object_get(d, "slot")), "router_logits"); /* which norms */
    json_decref(j);
    qm_engine_close(g);
}

/* ---- files ---- */

static void put(const char *path, const void *p, size_t n) {
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(p, 1, n, f), n);
    fclose(f);
}

/* A .npy file by hand. */
static void put_npy(const char *path, const char *dict, const void *data, size_t n) {
    unsigned char head[256];
    size_t len = strlen(dict), total = (10 + len + 1 + 63) / 64 * 64;
    memcpy(head, "\x93NUMPY\x01\x00", 8);
    head[8] = (unsigned char)(total - 10);
    head[9] = 0;
    memset(head + 10, ' ', total - 10);
    memcpy(head + 10, dict, len);
    head[total - 1] = '\n';
    unsigned char *all = malloc(total + n);
    memcpy(all, head, total);
    memcpy(all + total, data, n);
    put(path, all, total + n);
    free(all);
}

static void test_npy(void **state) {
    (void)state;
    const char *path = tmp("a.npy");
    float x[1000];
    qm_npy a;
    qm_err e;
    struct stat st;
    for (int i = 0; i < 1000; i++) x[i] = (float)(i * 0.25 - 7);
    for (uint32_t n = 1; n <= 1000; n = n * 3 + 1) {
        fix_ok(qm_npy_write(path, x, n, &e), &e);
        assert_int_equal(stat(path, &st), 0);
        assert_int_equal((st.st_size - 4 * n) % 64, 0); /* the data is aligned */
        fix_ok(qm_npy_read(path, &a, &e), &e);
        assert_int_equal(a.n, n);
        assert_int_equal(a.n_dims, 1);
        assert_memory_equal(a.v, x, 4 * n);
        free(a.v);
    }
    double d[6] = {1, -2, 0.5, 3, 1e300, -0.0};
    put_npy(path, "{'descr': '<f8', 'fortran_order': False, 'shape': (2, 3), }", d, sizeof d);
    fix_ok(qm_npy_read(path, &a, &e), &e);
    assert_true(a.n_dims == 2 && a.shape[0] == 2 && a.shape[1] == 3 && a.v[2] == 0.5f && isinf(a.v[4]));
    free(a.v);
    uint16_t h[2] = {0x3c00, 0xc100};
    put_npy(path, "{'shape': (2,), 'fortran_order': True, 'descr': '<f2'}", h,
            sizeof h); /* any order of keys; of one dimension both orders are alike */
    fix_ok(qm_npy_read(path, &a, &e), &e);
    assert_true(a.n == 2 && a.v[0] == 1 && a.v[1] == -2.5f);
    free(a.v);
    static const struct {
        const char *dict, *said;
        int code;
    } bad[] = {
        {"{'descr': '<i4', 'fortran_order': False, 'shape': (2,), }", "'<i4'", QM_ERR_UNSUPPORTED},
        {"{'descr': '>f4', 'fortran_order': False, 'shape': (2,), }", "'>f4'", QM_ERR_UNSUPPORTED},
        {"{'descr': '<f4', 'fortran_order': True, 'shape': (2, 2), }", "Fortran", QM_ERR_UNSUPPORTED},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (7,), }", "cut off: 6 elements of 7", QM_ERR_FORMAT},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (4294967296, 4294967296), }", "shape", QM_ERR_FORMAT},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (-1,), }", "shape", QM_ERR_FORMAT},
        {"{'descr': '<f4', 'shape': (2,), }", "fortran_order", QM_ERR_FORMAT},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        put_npy(path, bad[i].dict, x, 24);
        assert_int_equal(qm_npy_read(path, &a, &e), bad[i].code);
        assert_non_null(strstr(e.msg, bad[i].said));
        assert_non_null(strstr(e.msg, path));
        assert_null(a.v);
    }
    put(path, "hello", 5);
    assert_int_equal(qm_npy_read(path, &a, &e), QM_ERR_FORMAT);
    put(path, "\x93NUMPY\x01\x00\xff\x7f{", 11);
    assert_int_equal(qm_npy_read(path, &a, &e), QM_ERR_FORMAT);
    unlink(path);
    assert_int_equal(qm_npy_read(path, &a, &e), QM_ERR_IO);
    assert_int_equal(qm_npy_write(tmp("no/where.npy"), x, 3, &e), QM_ERR_IO);
}

/* What was dumped compares as the same; a changed file as different, by name; other shapes are refused. */
static void test_dump_and_compare(void **state) {
    (void)state;
    qm_engine *g = fix_engine("small", "graph");
    uint32_t ids[5];
    const char *dir = tmp("dump");
    char path[400];
    int departed;
    qm_err e;
    fix_prompt(g, ids, 5, 19);
    json_decref(trace_json(g, ids, 5, (qm_trace_opts){.dump = dir, .last_layer = -1}, NULL));
    json_t *j = trace_json(g, ids, 5, (qm_trace_opts){.compare = dir, .last_layer = -1}, &departed);
    json_t *c = json_object_get(j, "compare");
    assert_int_equal(departed, 0);
    assert_int_equal(json_integer_value(json_object_get(c, "missing")), 0);
    assert_true(json_array_size(json_object_get(c, "ops")) >= 4 * (6 + 8) + 3);
    json_decref(j);

    snprintf(path, sizeof path, "%s/2.ffn_out.npy", dir);
    qm_npy a;
    fix_ok(qm_npy_read(path, &a, &e), &e);
    uint32_t n = (uint32_t)a.n, at = 0;
    for (uint32_t i = 1; i < n; i++) at = fabsf(a.v[i]) > fabsf(a.v[at]) ? i : at;
    a.v[at] = -3 * a.v[at];
    fix_ok(qm_npy_write(path, a.v, n, &e), &e);
    j = trace_json(g, ids, 5, (qm_trace_opts){.compare = dir, .last_layer = -1}, &departed);
    json_t *d = json_object_get(json_object_get(j, "compare"), "first_departure");
    assert_int_equal(departed, 1);
    assert_int_equal(json_integer_value(json_object_get(d, "layer")), 2);
    assert_string_equal(json_string_value(json_object_get(d, "slot")), "ffn_out");
    assert_int_equal(json_integer_value(json_object_get(d, "worst_index")), at);
    json_decref(j);

    /* [positions, n]: the traced position's row counts */
    a.v[at] = a.v[at] / -3;
    float *rows = calloc(5 * n, 4);
    memcpy(rows + 4 * n, a.v, 4 * n);
    char dict[128];
    snprintf(dict, sizeof dict, "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 5, %u), }", n);
    put_npy(path, dict, rows, 20 * n);
    free(trace(g, ids, 5, &(qm_trace_opts){.compare = dir, .last_layer = -1}, &departed));
    assert_int_equal(departed, 0);
    snprintf(dict, sizeof dict, "{'descr': '<f4', 'fortran_order': False, 'shape': (4, %u), }", n);
    put_npy(path, dict, rows, 16 * n);
    fix_text t = {0};
    assert_int_equal(
        qm_trace(g, "p", 1, ids, 5, &(qm_trace_opts){.compare = dir, .last_layer = -1}, &departed, fix_collect, &t, &e),
        QM_ERR_FORMAT);
    assert_non_null(strstr(e.msg, "4 positions"));
    snprintf(dict, sizeof dict, "{'descr': '<f4', 'fortran_order': False, 'shape': (%u,), }", n - 1);
    put_npy(path, dict, rows, 4 * (n - 1));
    assert_int_equal(
        qm_trace(g, "p", 1, ids, 5, &(qm_trace_opts){.compare = dir, .last_layer = -1}, &departed, fix_collect, &t, &e),
        QM_ERR_FORMAT);
    assert_non_null(strstr(e.msg, "2.ffn_out.npy"));
    free(rows);
    free(a.v);
    snprintf(path, sizeof path, "rm -rf '%s'", dir);
    assert_int_equal(system(path), 0);
    qm_engine_close(g);
}

/* ---- experts ---- */

static void test_expert_use(void **state) {
    (void)state;
    enum { N = 14 };
    qm_engine *g = fix_engine("small", "graph");
    uint32_t ids[N];
    fix_prompt(g, ids, N, 20);
    qm_trace_opts o = PLAIN;
    o.all_positions = 1;
    json_t *j = trace_json(g, ids, N, o, NULL), *use = json_object_get(j, "expert_use");
    assert_int_equal(json_integer_value(json_object_get(use, "positions")), N);
    uint64_t sums[4][32] = {{0}};
    for (uint32_t l = 0; l < 4; l++) {
        json_int_t sum = 0;
        for (uint32_t x = 0; x < 32; x++) {
            json_int_t v = json_integer_value(json_array_get(json_array_get(json_object_get(use, "layers"), l), x));
            assert_true(v >= 0 && v <= N);
            sum += v;
            sums[l][x] = (uint64_t)v;
        }
        assert_int_equal(sum, N * 8);
    }
    json_decref(j);
    /* the counts are what single traces of every prefix say */
    uint64_t again[4][32] = {{0}};
    for (uint32_t n = 1; n <= N; n++) {
        j = trace_json(g, ids, n, PLAIN, NULL);
        for (uint32_t l = 0; l < 4; l++) {
            json_t *r =
                json_object_get(json_object_get(json_array_get(json_object_get(j, "layers"), l), "router"), "ids");
            for (uint32_t k = 0; k < 8; k++) again[l][json_integer_value(json_array_get(r, k))]++;
        }
        json_decref(j);
    }
    assert_memory_equal(sums, again, sizeof sums);
    qm_engine_close(g);
}

/* ---- memory ---- */

/* Anonymous memory of this process in bytes: without the mapped file. */
static uint64_t anonymous(void) {
    char line[256];
    unsigned long long kb = 0;
    FILE *f = fopen("/proc/self/status", "r");
    if (!f) return 0;
    while (fgets(line, sizeof line, f))
        if (sscanf(line, "RssAnon: %llu kB", &kb) == 1) break;
    fclose(f);
    return kb * 1024;
}

/* Whether memory is ours alone: AddressSanitizer keeps what was freed and a shadow of everything, the software device's
 * checks keep a shadow of its memory. */
static int measurable(void) {
#ifdef __SANITIZE_ADDRESS__
    return 0;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
    return 0;
#endif
#endif
    return !getenv("QMOE_SIM_CHECK");
}

/* 48 layers and 128 experts: the tracer and its report, JSON and comparisons included, take a small part of 1 GB. */
static void test_memory_of_the_30b_shape(void **state) {
    (void)state;
    const char *path = tmp("deep.gguf");
    qm_synth_opts so = {.preset = "tiny",
                        .seed = 1,
                        .n_layers = 48,
                        .n_embd = 256,
                        .n_head = 2,
                        .n_kv_head = 1,
                        .head_dim = 128,
                        .n_expert = 128,
                        .n_expert_used = 8,
                        .n_ff_exp = 32,
                        .n_vocab = 512,
                        .n_ctx = 64,
                        .types = "q8_0"};
    qm_engine_opts eo = {.device = getenv("QMOE_TEST_DEVICE") ? getenv("QMOE_TEST_DEVICE") : "sim"};
    qm_err e;
    fix_ok(qm_synth(path, &so, &e), &e);
    pid_t child = fork(); /* a process of its own: its memory is this trace's */
    assert_true(child >= 0);
    if (!child) {
        qm_engine *g;
        uint32_t ids[3] = {100, 200, 300};
        uint64_t start = anonymous(); /* what the tests before it, or an emulator, have left */
        int departed, bad = qm_engine_open(&g, path, &eo, &e);
        fix_text t = {0};
        uint64_t before = bad ? 0 : anonymous();
        if (!bad)
            bad = qm_trace(g, "p", 1, ids, 3,
                           &(qm_trace_opts){.json = 1, .compare = "ref", .all_positions = 1, .last_layer = -1},
                           &departed, fix_collect, &t, &e);
        uint64_t after = anonymous();
        before -= start;
        after -= start;
        printf("48 layers, 128 experts: trace and comparison take %.1f MB beside the engine's %.1f MB; %zu bytes of "
               "JSON\n",
               1e-6 * (double)(after - before), 1e-6 * (double)before, t.n);
        fflush(stdout);
        _exit(bad || departed || t.n < 48 * 6 * 100 ||
              (measurable() && (after - before > 200e6 || after - before < t.n || after > 1e9)));
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    unlink(path);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        /* first: what later tests leave free in the heap would serve it, and not be counted */
        cmocka_unit_test(test_memory_of_the_30b_shape),
        cmocka_unit_test(test_same_logits),
        cmocka_unit_test(test_session_goes_on),
        cmocka_unit_test(test_executor_step),
        cmocka_unit_test(test_statistics),
        cmocka_unit_test(test_not_finite),
        cmocka_unit_test(test_cost_in_time),
        cmocka_unit_test(test_cost),
        cmocka_unit_test(test_compare_names_the_op),
        cmocka_unit_test(test_compare_limits),
        cmocka_unit_test(test_compare_free),
        cmocka_unit_test(test_npy),
        cmocka_unit_test(test_dump_and_compare),
        cmocka_unit_test(test_expert_use),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
