/* unit_verdict: every check of trace's verdict (runtime/observe/trace_verdict.c) is tripped by a fault, with its words and
 * its level, while the others stay as they should; a healthy step trips none. The faults are wrong numbers in the
 * device's copy of the weights, or a wrong argument in the plan. Then the nine faults of fault.h, which the verdict cannot
 * see: a peer's vectors (--compare DIR) show each of them. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <jansson.h>
#include "fault.h"
#include "fixture.h"
#include "../../runtime/observe/trace.h"
#include "../../runtime/observe/trace_compare.h"

enum { LAYERS = 4, CHECKS = 7 }; /* of "small"; of a verdict */
static const char *const check_name[CHECKS] = {"finite", "zero", "std", "growth", "router", "logits", "experts"};

static json_t *trace(qm_engine *g, const uint32_t *ids, size_t n, qm_trace_opts o, int *departed) {
    fix_text t = {0};
    qm_err e;
    int d;
    o.last_layer = -1;
    o.json = 1;
    fix_ok(qm_trace(g, "p", 1, ids, n, &o, departed ? departed : &d, fix_collect, &t, &e), &e);
    json_t *j = json_loads(t.s, 0, NULL);
    assert_non_null(j);
    free(t.s);
    return j;
}

static const char *member(const json_t *j, const char *name) { return json_string_value(json_object_get(j, name)); }

/* ---- what is put into the engine ---- */

enum { ATTN_NORM, FFN_NORM, OUTPUT_NORM, ROUTER };
typedef struct {
    int what, layer;
    int at; /* the element set to by, or a whole row of the router; -1: all elements are multiplied by it */
    float by;
} poke;

/* Weights on the device: the file's, changed. All of them are F32; the router's matrix is packed. */
static void apply(qm_engine *g, const poke *p) {
    static const char *const names[] = {"attn_norm", "ffn_norm", "output_norm", "ffn_gate_inp"};
    int region = fix_region(g, p->what == OUTPUT_NORM ? -1 : p->layer, names[p->what]);
    const qm_region *r = &g->place->regions[region];
    qm_session *s;
    qm_err e;
    assert_int_equal(r->n_segments, 1);
    assert_ptr_equal(r->type, qm_type_get(QM_TYPE_F32));
    uint32_t cols = r->n_cols, rows = p->what == ROUTER ? r->n_rows : 1;
    float *v = malloc(4ull * rows * cols);
    unsigned char *packed = calloc(1, r->bytes);
    assert_true(v && packed);
    memcpy(v, g->model->weights[r->weight[0]].data, 4ull * rows * cols);
    for (uint32_t i = 0; i < rows * cols; i++) {
        if (p->at < 0) v[i] *= p->by;
        else if (i / (p->what == ROUTER ? cols : 1) == (uint32_t)p->at) v[i] = p->by;
    }
    if (r->packed) qm_pack(packed, v, r->type, rows, cols);
    else memcpy(packed, v, 4ull * rows * cols);
    fix_ok(qm_session_open(&s, g, &e), &e);
    CUdeviceptr at = fix_address(s, g->plans[0], QM_REF(QM_SPACE_REGION, region));
    assert_int_equal(
        g->dev->cu.MemcpyHtoD(at, packed, r->packed ? qm_pack_bytes(r->type, rows, cols) : 4ull * rows * cols),
        CUDA_SUCCESS);
    qm_session_close(s);
    free(v);
    free(packed);
}

/* ---- one fault, one verdict ---- */

typedef struct {
    const char *name;
    poke pokes[2];        /* by == 1: none */
    const char *levels;   /* of the checks, in their order: O, N, B */
    const char *layers;   /* of the layers: O if "OK" */
    const char *words[3]; /* NAME: words that the check of that name has, or those of layer 0 to 3: "2: words" */
    uint32_t n;           /* tokens of the prompt; 0: 9. More than that: all positions are observed */
} sickness;

static void expect(qm_engine *g, const sickness *k) {
    uint32_t ids[100], n = k->n ? k->n : 9;
    assert_true(n <= 100);
    fix_prompt(g, ids, n, 31);
    json_t *j = trace(g, ids, n, (qm_trace_opts){.all_positions = n > 9}, NULL), *v = json_object_get(j, "verdict");
    json_t *checks = json_object_get(v, "checks"), *layers = json_object_get(j, "layers");
    char got[CHECKS + 1] = "", rows[LAYERS + 1] = "", worst = 'O';
    assert_int_equal(json_array_size(checks), CHECKS);
    assert_int_equal(json_array_size(layers), LAYERS);
    int ok = 1;
    for (size_t i = 0; i < CHECKS; i++) {
        json_t *c = json_array_get(checks, i);
        assert_string_equal(member(c, "name"), check_name[i]);
        got[i] = member(c, "level")[0];
        if (got[i] == 'B' || (got[i] == 'N' && worst == 'O')) worst = got[i];
    }
    for (size_t i = 0; i < LAYERS; i++) rows[i] = strcmp(member(json_array_get(layers, i), "status"), "OK") ? 'B' : 'O';
    ok = !strcmp(got, k->levels) && !strcmp(rows, k->layers) && member(v, "level")[0] == worst;
    for (int w = 0; w < 3 && k->words[w]; w++) {
        const char *colon = strchr(k->words[w], ':'), *said = NULL;
        size_t len = (size_t)(colon - k->words[w]);
        for (size_t i = 0; i < CHECKS; i++)
            if (strlen(check_name[i]) == len && !memcmp(check_name[i], k->words[w], len))
                said = member(json_array_get(checks, i), "text");
        if (!said) said = member(json_array_get(layers, (size_t)atoi(k->words[w])), "status");
        if (strstr(said, colon + 2)) continue;
        print_error("not said: %s\n", k->words[w]);
        ok = 0;
    }
    if (!ok || getenv("QMOE_TEST_VERBOSE")) {
        for (size_t i = 0; i < CHECKS; i++)
            print_message("  [%c] %s\n", got[i], member(json_array_get(checks, i), "text"));
        for (size_t i = 0; i < LAYERS; i++)
            print_message("  layer %zu: %s\n", i, member(json_array_get(layers, i), "status"));
    }
    if (!ok)
        fail_msg("%s: checks %s, layers %s, verdict %s; expected %s, %s", k->name, got, rows, member(v, "level"),
                 k->levels, k->layers);
    json_decref(j);
}

static void each(const sickness *k, size_t n) {
    for (size_t i = 0; i < n; i++) {
        qm_engine *g = fix_engine("small", "graph");
        print_message("%s\n", k[i].name);
        for (int p = 0; p < 2; p++)
            if (k[i].pokes[p].by != 1) apply(g, &k[i].pokes[p]);
        expect(g, &k[i]);
        qm_engine_close(g);
    }
}
#define NONE \
    { .by = 1 }
#define EACH(cases) each(cases, sizeof cases / sizeof *cases)

/* The same machinery with the right numbers: nothing is tripped, be it one position or all of them. */
static void test_healthy(void **state) {
    (void)state;
    static const sickness cases[] = {
        {"healthy",
         {{ATTN_NORM, 0, -1, 1.0000001f}, {ROUTER, 1, -1, 1.0000001f}},
         "OOOOOOO",
         "OOOO",
         {"finite: no NaN", "zero: no vector", "std: below 50"},
         0},
        {"healthy, 9 positions",
         {NONE, NONE},
         "OOOOOOO",
         "OOOO",
         {"router: sum to 1 in every", "logits: the best leads by", "experts: too few to judge"},
         0},
        {"healthy, 96 positions",
         {NONE, NONE},
         "OOOOOOO",
         "OOOO",
         {"experts: over 96 positions: 0 of 128 experts never chosen, 0 always"},
         96},
    };
    EACH (cases)
        ;
}

static void test_finite(void **state) {
    (void)state;
    static const sickness cases[] = {
        {"an infinite weight in layer 1",
         {{ATTN_NORM, 1, 3, INFINITY}, NONE},
         "BOOOBBO",
         "OBBB",
         {"finite: not finite, first in layer 1, attn_norm", "1: 0 NaN and 1 inf of 256 in attn_norm", "2: NaN"},
         0},
        {"a NaN in the final norm",
         {{OUTPUT_NORM, 0, 0, NAN}, NONE},
         "BOOOOBO",
         "OOOO",
         {"finite: not finite, first in final_norm", "logits: 512 of 512 logits are not finite"},
         0},
    };
    EACH (cases)
        ;
}

static void test_zero(void **state) {
    (void)state;
    static const sickness cases[] = {
        {"ffn_norm of layer 2 was never loaded",
         {{FFN_NORM, 2, -1, 0}, NONE},
         "OBOOOOO",
         "OOBO",
         {"zero: vectors that are all zero: 2, first layer 2, ffn_norm", "2: ffn_norm is all zero"},
         0},
        {"the final norm was never loaded",
         {{OUTPUT_NORM, 0, -1, 0}, NONE},
         "OBOOOBO",
         "OOOO",
         {"zero: first final_norm", "logits: they are all alike"},
         0},
    };
    EACH (cases)
        ;
}

static void test_std(void **state) {
    (void)state;
    static const sickness cases[] = {
        {"layer 0's attention is a thousand times too strong",
         {{ATTN_NORM, 0, -1, 1024}, NONE},
         "OOBOOOO",
         "BBBB",
         {"std: not below 50; the first is layer 0", "0: of output, not below 50"},
         0},
        {"layer 1's experts are",
         {{FFN_NORM, 1, -1, 32}, NONE},
         "OOBNOOO",
         "OBBB",
         {"std: not below 50; the first is layer 1", "1: of output, not below 50"},
         0},
        {"the last layer leaps",
         {{FFN_NORM, 3, -1, 16}, NONE},
         "OOBNOOO",
         "OOOB",
         {"std: (layer 3), not below 50", "3: of output, not below 50"},
         0},
        {"the last layer is wider than any seen",
         {{FFN_NORM, 0, -1, 8}, {FFN_NORM, 3, -1, 40}},
         "OOBOOOO",
         "OOOB",
         {"std: (layer 3), not below 50", "3: of output, not below 50"},
         0},
        {"the last layer is wide, as a trained one may be",
         {{FFN_NORM, 0, -1, 8}, {FFN_NORM, 3, -1, 16}},
         "OONOOOO",
         "OOOO",
         {"std: (layer 3), not below 50; behind the last layer"},
         0},
    };
    EACH (cases)
        ;
}

static void test_growth(void **state) {
    (void)state;
    static const sickness cases[] = {
        {"the last layer is 40 times as wide as the first",
         {{FFN_NORM, 3, -1, 7.75f}, NONE},
         "OOONOOO",
         "OOOO",
         {"growth: 40-fold and more has been the mark"},
         0},
    };
    EACH (cases)
        ;
}

static void test_logits(void **state) {
    (void)state;
    static const sickness cases[] = {
        {"all logits are alike",
         {{OUTPUT_NORM, 0, -1, 1e-5f}, NONE},
         "OOOOOBO",
         "OOOO",
         {"logits: they are all alike"},
         0},
        {"one logit is far ahead",
         {{OUTPUT_NORM, 0, -1, 1e4f}, NONE},
         "OOOOOBO",
         "OOOO",
         {"logits: context hardly matters"},
         0},
    };
    EACH (cases)
        ;
}

static void test_experts(void **state) {
    (void)state;
    static const sickness cases[] = {
        {"layer 2's router was never loaded",
         {{ROUTER, 2, -1, 0}, NONE},
         "OOOOOON",
         "OOOO",
         {"experts: 8 always; always: layer 2, expert 0"},
         40},
        {"the same over more positions",
         {{ROUTER, 2, -1, 0}, NONE},
         "OOOOOON",
         "OOOO",
         {"experts: 8 always; never: layer 2, expert 8; always: layer 2, expert 0"},
         96},
        {"the same, too few positions to judge",
         {{ROUTER, 2, -1, 0}, NONE},
         "OOOOOOO",
         "OOOO",
         {"experts: too few to judge"},
         0},
        {"one expert is never chosen",
         {{ROUTER, 1, 5, 0}, NONE},
         "OOOOOON",
         "OOOO",
         {"experts: 1 of 128 experts never chosen, 0 always; never: layer 1, expert 5"},
         96},
    };
    EACH (cases)
        ;
}

/* A router that fills six of eight places: the weights that the experts get do not sum to 1. */
static void test_router(void **state) {
    (void)state;
    const qm_plan *p;
    qm_err e;
    qm_engine *g = fix_engine_apart("small", "graph", "topk");
    fix_ok(qm_engine_plan(g, 8, 1, &p, &e), &e);
    for (int i = 0; i < p->n_ops; i++)
        if (p->ops[i].kind == QM_OP_ROUTER && p->ops[i].layer == 1) p->ops[i].args.router.n_used = 6;
    static const sickness k = {"a router that fills six of eight places",
                               {NONE, NONE},
                               "OOOOBOO",
                               "OBOO",
                               {"router: in layer 1, not to 1", "1: router weights sum to"},
                               0};
    expect(g, &k);
    qm_engine_close(g);
}

/* The demo model is right, and at some words wide behind its last layer: a word to say, not a verdict against it. */
static void test_demo(void **state) {
    (void)state;
    static const struct {
        const char *prompt, *level;
    } cases[] = {{"Once upon a time, there was a little girl named", "NOTE"}, {"One day, a small dog named", "OK"}};
    const char *dev = getenv("QMOE_TEST_DEVICE"), *file = getenv("QMOE_DEMO");
    qm_engine_opts o = {.device = dev ? dev : "sim", .n_ctx = 256};
    qm_engine *g;
    qm_err e;
    fix_ok(qm_engine_open(&g, file ? file : "models/demo.gguf", &o, &e), &e);
    for (int k = 0; k < 2; k++) {
        qm_tokens ids = {0};
        fix_ok(qm_engine_tokenize(g, cases[k].prompt, strlen(cases[k].prompt), 0, &ids, &e), &e);
        json_t *j = trace(g, ids.v, ids.n, (qm_trace_opts){0}, NULL), *v = json_object_get(j, "verdict");
        json_t *c = json_array_get(json_object_get(v, "checks"), 2);
        print_message("%s\n", member(c, "text"));
        assert_string_equal(member(c, "level"), cases[k].level);
        assert_string_equal(member(v, "level"), cases[k].level);
        for (size_t i = 0; i < json_array_size(json_object_get(j, "layers")); i++)
            assert_string_equal(member(json_array_get(json_object_get(j, "layers"), i), "status"), "OK");
        json_decref(j);
        free(ids.v);
    }
    qm_engine_close(g);
}

/* The faults of fault.h leave numbers that look like any others: whatever the verdict says of them, it is printed, not
 * relied upon. Vectors of a healthy program tell each of them apart, and the control from none. */
static void test_faults_against_a_peer(void **state) {
    (void)state;
    enum { N = 48 };
    const char *tmp = getenv("QMOE_TEST_TMP");
    char dir[300], cmd[330];
    uint32_t ids[N];
    qm_err e;
    int departed;
    snprintf(dir, sizeof dir, "%s/qmoe-%ld-peer", tmp ? tmp : "/tmp", (long)getpid());
    qm_engine *g = fix_engine("small", "graph");
    fix_prompt(g, ids, N, 32);
    json_decref(trace(g, ids, N, (qm_trace_opts){.dump = dir}, NULL));
    qm_engine_close(g);
    for (int k = -1; k < FAULT_N; k++) {
        const fault *f = &faults[k < 0 ? 6 : k];       /* the control: the machinery that moves a page of the cache */
        g = fix_engine_apart("small", "graph", "all"); /* a fault has ops of one thing each */
        fix_ok(fault_apply(g, f, (fault_at){.layer = -1, .from = 12, .neutral = k < 0}, &e), &e);
        json_t *j = trace(g, ids, N, (qm_trace_opts){.compare = dir}, &departed);
        json_t *d = json_object_get(json_object_get(j, "compare"), "first_departure");
        print_message("%-20s verdict %-4s  departs: %s\n", k < 0 ? "control" : f->name,
                      member(json_object_get(j, "verdict"), "level"), departed ? member(d, "slot") : "nowhere");
        if (departed != (k >= 0)) fail_msg("%s: departed %d", k < 0 ? "control" : f->name, departed);
        json_decref(j);
        qm_engine_close(g);
    }
    snprintf(cmd, sizeof cmd, "rm -rf '%s'", dir);
    assert_int_equal(system(cmd), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_healthy), cmocka_unit_test(test_finite),
        cmocka_unit_test(test_zero),    cmocka_unit_test(test_std),
        cmocka_unit_test(test_growth),  cmocka_unit_test(test_logits),
        cmocka_unit_test(test_experts), cmocka_unit_test(test_router),
        cmocka_unit_test(test_demo),    cmocka_unit_test(test_faults_against_a_peer),
    };
    return cmocka_run_group_tests_name("verdict", tests, NULL, NULL);
}
