/* unit_demo.c: the demo model (models/demo.gguf) says what tests/golden/demo.json has it say: every answer
 * word for word, ended by the model itself, and 200 tokens of free prose, under all executors: the C
 * reference on the host, and on QMOE_TEST_DEVICE (default sim) the kernels as a graph and in one persistent kernel.
 *
 * The answers are the training corpus's, not a recording of what the program once said, so that they judge
 * model, quantiser, tokenizer, kernels and sampling together. The continuation is a recording. QMOE_DEMO and
 * QMOE_DEMO_GOLDENS name other files. */
#include "runtime/qmoe.h"
#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

enum { MAX_ANSWER = 128 }; /* tokens; the longest answer is far below */

typedef struct {
    char *s;
    size_t n;
} text;

static int collect(void *user, uint32_t id, const char *s, size_t n) {
    (void)id;
    text *t = user;
    t->s = realloc(t->s, t->n + n + 1);
    assert_non_null(t->s);
    memcpy(t->s + t->n, s, n);
    t->s[t->n += n] = 0;
    return 0;
}

static const char *env_or(const char *name, const char *other) {
    const char *v = getenv(name);
    return v && *v ? v : other;
}

static json_t *goldens(void) {
    json_error_t je;
    const char *path = env_or("QMOE_DEMO_GOLDENS", "tests/golden/demo.json");
    json_t *j = json_load_file(path, 0, &je);
    if (!j) fail_msg("%s: %s", path, je.text);
    return j;
}

static qm_engine *engine(const char *executor) {
    qm_engine_opts o = {.device = env_or("QMOE_TEST_DEVICE", "sim"), .executor = executor, .n_ctx = 512};
    qm_engine *g;
    qm_err e;
    if (qm_engine_open(&g, env_or("QMOE_DEMO", "models/demo.gguf"), &o, &e)) fail_msg("%s", e.msg);
    return g;
}

/* A new sequence with these ids; its text is the caller's to free. */
static text run(qm_engine *g, const qm_tokens *ids, uint32_t n, qm_gen_stats *st) {
    qm_session *s;
    qm_err e;
    text t = {0};
    qm_gen_opts o = {.max_tokens = n, .on_token = collect, .user = &t};
    if (qm_session_open(&s, g, &e)) fail_msg("%s", e.msg);
    if (qm_generate(s, ids->v, ids->n, &o, st, &e)) fail_msg("%s", e.msg);
    qm_session_close(s);
    if (!t.s) collect(&t, UINT32_MAX, "", 0);
    return t;
}

/* Every golden, or every so many-th, through one engine; all that are wrong are shown before the test fails. */
static void answers(const char *executor, size_t every) {
    json_t *j = goldens(), *list = json_object_get(j, "goldens"), *row;
    qm_engine *g = engine(executor);
    size_t i, n = 0, wrong = 0, tokens = 0;
    double s = 0;
    assert_true(json_array_size(list) >= 30);
    json_array_foreach (list, i, row) {
        if (i % every) continue;
        n++;
        const char *prompt = json_string_value(json_object_get(row, "prompt"));
        const char *want = json_string_value(json_object_get(row, "answer"));
        assert_true(prompt && want && *want);
        qm_tokens ids = {0};
        qm_gen_stats st;
        qm_err e;
        qm_message m = {"user", prompt, strlen(prompt)};
        if (qm_engine_render(g, &m, 1, &ids, &e)) fail_msg("%s", e.msg);
        text t = run(g, &ids, MAX_ANSWER, &st);
        if (strcmp(t.s, want) || st.finish != QM_FINISH_EOG) {
            wrong++;
            print_error("%s: \"%s\"\n   wanted \"%s\"\n   got    \"%s\" (%s)\n", executor, prompt, want, t.s,
                        qm_finish_name(st.finish));
        }
        tokens += st.n_prompt + st.n_generated;
        s += st.prefill_s + st.decode_s;
        free(t.s);
        free(ids.v);
    }
    print_message("%s: %zu of %zu answers word for word, %.0f tokens a second\n", executor, n - wrong, n,
                  (double)tokens / s);
    qm_engine_close(g);
    json_decref(j);
    if (wrong) fail_msg("%s: %zu of %zu answers are wrong", executor, wrong, n);
}

static void continuation(const char *executor) {
    json_t *j = goldens(), *c = json_object_get(j, "continuation");
    const char *prompt = json_string_value(json_object_get(c, "prompt")),
               *want = json_string_value(json_object_get(c, "text"));
    uint32_t n = (uint32_t)json_integer_value(json_object_get(c, "n"));
    assert_true(prompt && want && n >= 200);
    qm_engine *g = engine(executor);
    qm_tokens ids = {0};
    qm_gen_stats st;
    qm_err e;
    if (qm_engine_tokenize(g, prompt, strlen(prompt), 0, &ids, &e)) fail_msg("%s", e.msg);
    text t = run(g, &ids, n, &st);
    assert_string_equal(t.s, want);
    assert_int_equal(st.n_generated, n);
    free(t.s);
    free(ids.v);
    qm_engine_close(g);
    json_decref(j);
}

static void test_answers_device(void **state) {
    (void)state;
    answers("graph", 1);
}
static void test_answers_persistent(void **state) {
    (void)state;
    answers("persistent", 4);
}
static void test_answers_ref(void **state) {
    (void)state;
    answers("ref", 6);
}
static void test_continuation_device(void **state) {
    (void)state;
    continuation("graph");
}
static void test_continuation_ref(void **state) {
    (void)state;
    continuation("ref");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_answers_device),   cmocka_unit_test(test_answers_persistent),
        cmocka_unit_test(test_answers_ref),      cmocka_unit_test(test_continuation_device),
        cmocka_unit_test(test_continuation_ref),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
