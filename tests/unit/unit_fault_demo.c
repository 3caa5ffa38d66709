/* unit_fault_demo: whether the demo model's answers (tests/golden/demo.json) would notice that the engine is
 * broken. Each fault of fault.h goes into the engine, and at least one golden has to fail, word for word; the
 * healthy engine and the control (the same machinery with the right data) have to give the same golden.
 *
 * A fault's run ends at the first golden that fails; how many there would be is in the table that
 * QMOE_FAULT_FULL=1 prints: the model's worth as a detector. QMOE_FAULT_FULL=2 puts each fault into every layer
 * on its own as well. QMOE_DEMO and QMOE_DEMO_GOLDENS name other files. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "fault.h"
#include "fixture.h"

enum { MAX_GOLDENS = 200, N_CTX = 512, MAX_ANSWER = 128, MAX_SAID = 8192 };
typedef struct {
    const char *prompt, *answer;
    uint32_t n;  /* 0: chat, to the end of the turn; else n tokens of raw text */
    int healthy; /* the healthy engine was seen to give it */
} golden;
static golden goldens[MAX_GOLDENS];
static int n_goldens;
static json_t *file;

static const char *setting(const char *name, const char *otherwise) {
    const char *v = getenv(name);
    return v ? v : otherwise;
}

static void add(const char *prompt, const char *answer, uint32_t n) {
    assert_true(n_goldens < MAX_GOLDENS && prompt && answer && *answer);
    goldens[n_goldens++] = (golden){prompt, answer, n, 0};
}

static int load(void **state) {
    (void)state;
    const char *path = setting("QMOE_DEMO_GOLDENS", "tests/golden/demo.json");
    json_error_t je;
    file = json_load_file(path, 0, &je);
    if (!file) fail_msg("%s: %s", path, je.text);
    json_t *list = json_object_get(file, "goldens"), *free_text = json_object_get(file, "continuation"), *j;
    size_t i;
    json_array_foreach (list, i, j) {
        add(json_string_value(json_object_get(j, "prompt")), json_string_value(json_object_get(j, "answer")), 0);
    }
    assert_true(n_goldens >= 30);
    add(json_string_value(json_object_get(free_text, "prompt")), json_string_value(json_object_get(free_text, "text")),
        (uint32_t)json_integer_value(json_object_get(free_text, "n")));
    assert_true(goldens[n_goldens - 1].n >= 200);
    return 0;
}
static int unload(void **state) {
    (void)state;
    json_decref(file);
    return 0;
}

static qm_session *sick(const fault *f, fault_at at) {
    const char *dev = setting("QMOE_TEST_DEVICE", "sim");
    qm_engine_opts o = {
        .device = dev, .n_ctx = N_CTX, .apart = f ? "all" : NULL}; /* a fault has ops of one thing each */
    qm_engine *g;
    qm_session *s;
    qm_err e;
    fix_ok(qm_engine_open(&g, setting("QMOE_DEMO", "models/demo.gguf"), &o, &e), &e);
    if (f) fix_ok(fault_apply(g, f, at, &e), &e);
    fix_ok(qm_session_open(&s, g, &e), &e);
    return s;
}
static void done(qm_session *s) {
    qm_engine *g = s->g;
    qm_session_close(s);
    qm_engine_close(g);
}

typedef struct {
    const char *want;
    char said[MAX_SAID];
    size_t n;
} record;

static int on_token(void *user, uint32_t id, const char *text, size_t n) {
    record *r = user;
    (void)id;
    assert_true(r->n + n < sizeof r->said);
    memcpy(r->said + r->n, text, n);
    r->n += n;
    r->said[r->n] = 0;
    return strncmp(r->said, r->want, r->n) != 0; /* departed: the rest is of no interest */
}

/* 1: the answer, word for word, and nothing after it. What was said up to the first difference is in r. */
static int answers(qm_session *s, const golden *w, record *r) {
    qm_tokens ids = {0};
    qm_gen_stats st;
    qm_err e;
    size_t n = strlen(w->prompt);
    *r = (record){.want = w->answer};
    fix_ok(qm_session_truncate(s, 0, &e), &e);
    qm_message m = {"user", w->prompt, n};
    fix_ok(w->n ? qm_engine_tokenize(s->g, w->prompt, n, 0, &ids, &e) : qm_engine_render(s->g, &m, 1, &ids, &e), &e);
    qm_gen_opts o = {.max_tokens = w->n ? w->n : MAX_ANSWER, .on_token = on_token, .user = r};
    int rc = qm_generate(s, ids.v, ids.n, &o, &st, &e);
    free(ids.v);
    if (rc == QM_ERR_DEVICE) { /* logits that are not finite: noticed as well */
        snprintf(r->said, sizeof r->said, "(%s)", e.msg);
        return 0;
    }
    fix_ok(rc, &e);
    return st.finish == (w->n ? QM_FINISH_LENGTH : QM_FINISH_EOG) && !strcmp(r->said, w->answer);
}

/* The engine is healthy and says w: otherwise a failing golden means nothing. */
static void healthy(golden *w) {
    static record r;
    if (w->healthy) return;
    qm_session *s = sick(NULL, (fault_at){0});
    if (!answers(s, w, &r)) fail_msg("healthy: \"%s\" is answered \"%s\", not \"%s\"", w->prompt, r.said, w->answer);
    done(s);
    w->healthy = 1;
}

/* Runs the goldens, up to the first that fails unless full; returns how many fail, *first the first or -1. */
static int failing(const fault *f, fault_at at, int full, int *first) {
    static record r;
    qm_session *s = sick(f, at);
    int n = 0, tried = 0, last = -1;
    *first = -1;
    for (; tried < n_goldens && (full || !n); tried++) {
        if (answers(s, &goldens[tried], &r)) continue;
        last = tried;
        if (n++) continue;
        *first = tried;
        char where[24] = "all layers";
        if (at.layer >= 0) snprintf(where, sizeof where, "layer %d", at.layer);
        print_message("%-20s %-10s \"%s\" -> \"%.60s%s\n", f->name, where, goldens[tried].prompt, r.said,
                      r.n > 60 ? "..." : "\"");
    }
    done(s);
    print_message("%-20s %d of %d goldens fail%s\n", "", n, tried,
                  !full                   ? " (up to the first)"
                  : last == n_goldens - 1 ? ", the continuation too"
                                          : ", not the continuation");
    return n;
}

static void noticed(const char *name) {
    const fault *f = fault_find(name);
    int full = atoi(setting("QMOE_FAULT_FULL", "0")), first;
    static record r;
    assert_non_null(f);
    if (!failing(f, (fault_at){.layer = -1}, full, &first)) fail_msg("%s: no golden noticed", name);
    golden *w = &goldens[first];
    healthy(w);
    qm_session *s = sick(f, (fault_at){.layer = -1, .neutral = 1});
    int n_layers = (int)s->g->model->hp.n_layers;
    if (!answers(s, w, &r)) fail_msg("%s: the control answers \"%s\" with \"%s\"", name, w->prompt, r.said);
    done(s);
    for (int l = 0; l < n_layers && full > 1; l++) failing(f, (fault_at){.layer = l}, full, &first);
}

static void test_wrong_expert(void **state) {
    (void)state;
    noticed("wrong_expert");
}
static void test_dropped_top_expert(void **state) {
    (void)state;
    noticed("dropped_top_expert");
}
static void test_uniform_router(void **state) {
    (void)state;
    noticed("uniform_router");
}
static void test_no_qk_norm(void **state) {
    (void)state;
    noticed("no_qk_norm");
}
static void test_rope_base(void **state) {
    (void)state;
    noticed("rope_base_1e4");
}
static void test_transposed_weight(void **state) {
    (void)state;
    noticed("transposed_weight");
}
static void test_stale_kv_page(void **state) {
    (void)state;
    noticed("stale_kv_page");
}
static void test_off_by_one_position(void **state) {
    (void)state;
    noticed("off_by_one_position");
}
static void test_off_by_one_query(void **state) {
    (void)state;
    noticed("off_by_one_query");
}
static void test_swapped_rows(void **state) {
    (void)state;
    noticed("swapped_rows");
}
static void test_dropped_group(void **state) {
    (void)state;
    noticed("dropped_group");
}
static void test_mask_off_by_one(void **state) {
    (void)state;
    noticed("mask_off_by_one");
}
static void test_stale_page_of_rows(void **state) {
    (void)state;
    noticed("stale_page_of_rows");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_wrong_expert),       cmocka_unit_test(test_dropped_top_expert),
        cmocka_unit_test(test_uniform_router),     cmocka_unit_test(test_no_qk_norm),
        cmocka_unit_test(test_rope_base),          cmocka_unit_test(test_transposed_weight),
        cmocka_unit_test(test_stale_kv_page),      cmocka_unit_test(test_off_by_one_position),
        cmocka_unit_test(test_off_by_one_query),   cmocka_unit_test(test_swapped_rows),
        cmocka_unit_test(test_dropped_group),      cmocka_unit_test(test_mask_off_by_one),
        cmocka_unit_test(test_stale_page_of_rows),
    };
    return cmocka_run_group_tests_name("fault_demo", tests, load, unload);
}
