/* unit_serve_completions: answers as /v1/completions gives them, byte by byte: several prompts and answers, log-probabilities in
 * the older shape, failures at each stage, clients that go away. */
#include "serve_sinks.h"
#include "host/serve/openai_completions_sink.c"

static void begin_text(int stream, uint32_t n, size_t n_prompts, int logprobs) {
    qm_tokens prompts[4] = {0};
    static char one[] = "stop";
    char *stop[] = {one};
    for (size_t i = 0; i < n_prompts; i++) prompts[i] = (qm_tokens){calloc(1, sizeof(uint32_t)), 1, 1};
    task_ask a = {.logprobs = logprobs, .sampling.seed = 9, .n = n, .stop = stop, .n_stop = 1};
    req.path = "/v1/completions";
    openai_completions_begin(&srv, &req, &a, prompts, n_prompts, &(openai_common){stream, 0, n});
    for (size_t i = 0; i < n_prompts; i++) qm_tokens_free(&prompts[i]);
}

#define TEXT_HEAD                                                                                                      \
    "\"id\":\"cmpl-\",\"object\":\"text_completion\",\"created\":T,\"model\":\"m\",\"system_fingerprint\":\"qmoe-gpu-" \
    "c0ffee-"                                                                                                          \
    "sim-graph\",\"choices\":["
#define TEXT(i, s, finish) "{\"text\":\"" s "\",\"index\":" i ",\"logprobs\":null,\"finish_reason\":" finish "}"

/* Two prompts, two answers each: choice 2 * prompt + answer; counts add up. */
static void test_completions(void **state) {
    for (int stream = 0; stream < 2; stream++) {
        reset(state);
        begin_text(stream, 2, 2, 0);
        assert_int_equal(n_tasks, 2);
        assert_true(tasks[1].a.n_stop == 1 && !strcmp(tasks[1].a.stop[0], "stop") &&
                    tasks[1].a.stop != tasks[0].a.stop);
        for (int t = 1; t >= 0; t--) {
            const task_sink *k = tasks[t].sink;
            k->begin(tasks[t].p);
            k->part(tasks[t].p, 1, QM_PART_TEXT, t ? "p1a1" : "p0a1", 4);
            k->finish(tasks[t].p, 1, TASK_STOP, "x");
            k->part(tasks[t].p, 0, QM_PART_TEXT, t ? "p1a0" : "p0a0", 4);
            k->finish(tasks[t].p, 0, TASK_LENGTH, NULL);
            k->done(tasks[t].p, &(task_usage){.n_prompt = 5,
                                              .n_cached = 1,
                                              .n_generated = t + 1,
                                              .queued_s = 0.25,
                                              .first_token_s = 0.75,
                                              .total_s = 1.75,
                                              .tokens_per_s = t ? 4 : 2});
        }
        assert_int_equal(req.status, 200);
        if (stream)
            assert_string_equal(
                seen(),
                "data: {" TEXT_HEAD TEXT("3", "p1a1", "null") "]}\n\ndata: {" TEXT_HEAD TEXT(
                    "3", "", "\"stop\"") "]}\n\ndata: {" TEXT_HEAD TEXT("2", "p1a0", "null") "]}\n\ndata: {" TEXT_HEAD
                    TEXT("2", "", "\"length\"") "]}\n\ndata: {" TEXT_HEAD TEXT(
                        "1", "p0a1", "null") "]}\n\ndata: {" TEXT_HEAD TEXT("1", "",
                                                                            "\"stop\"") "]}\n\ndata: {" TEXT_HEAD
                        TEXT("0", "p0a0", "null") "]}\n\ndata: {" TEXT_HEAD TEXT(
                            "0", "", "\"length\"") "]," TIMINGS "}\n\ndata: [DONE]\n\n");
        else
            assert_string_equal(
                seen(), "{" TEXT_HEAD TEXT("0", "p0a0", "\"length\"") "," TEXT("1", "p0a1", "\"stop\"") "," TEXT(
                            "2", "p1a0", "\"length\"") "," TEXT("3", "p1a1", "\"stop\"") "]," USAGE "," TIMINGS "}");
    }
}

/* Offsets count characters, behind the prompt where it is told again. */
static void test_completions_logprobs(void **state) {
    (void)state;
    begin_text(0, 1, 1, 1);
    task *t = &tasks[0];
    t->sink->begin(t->p);
    t->sink->part(t->p, 0, QM_PART_TEXT, "\xc3\xa9!", 3); /* echo */
    token(t, 0, 1, -0.5f, 1);
    t->sink->part(t->p, 0, QM_PART_TEXT, " b", 2);
    token(t, 0, 2, -0.5f, 0);
    token(t, 0, 3, -0.5f, 2);
    t->sink->part(t->p, 0, QM_PART_TEXT, "\xe2\x82\xac", 3);
    token(t, 0, 0, -0.5f, 0);
    t->sink->part(t->p, 0, QM_PART_TEXT, "a", 1);
    t->sink->finish(t->p, 0, TASK_STOP, NULL);
    t->sink->done(t->p, &used);
    assert_non_null(
        strstr(req.out.s,
               "\"text\":\"\xc3\xa9! b\xe2\x82\xac"
               "a\",\"index\":0,\"logprobs\":{\"tokens\":[\" b\",\"bytes:\\\\xe2\\\\x82\",\"bytes:\\\\xac\",\"a\"],"
               "\"token_logprobs\":[-0.5,-0.5,-0.5,-0.5],\"top_logprobs\":[{\" b\":-0.5},{},{\"bytes:\\\\xac\":-0.5,"
               "\"\\\"\":-9999.0},{}],\"text_offset\":[2,4,5,5]}"));
}

/* ---- failures ---- */
static void test_failures(void **state) {
    qm_err e = {.code = QM_ERR_LIMIT, .msg = "it is full"};
    for (int stream = 0; stream < 2; stream++)
        for (int began = 0; began < 2; began++) {
            reset(state);
            begin_text(stream, 1, 3, 0);
            const task_sink *k = tasks[0].sink;
            if (began && k->begin) k->begin(tasks[0].p);
            if (began) say(0, QM_PART_TEXT, "some");
            k->failed(tasks[0].p, began, 429, &e);
            assert_true(req.ended);
            assert_true(tasks[1].cancelled == 1 && tasks[2].cancelled == 1);
            if (stream && began) {
                const char *last = strstr(req.out.s, "data: {\"error\":{\"message\":\"it is full\"");
                assert_non_null(last);
                assert_null(strstr(last, "[DONE]"));
            } else assert_int_equal(req.status, 429);
        }
}

static void test_clients_that_go(void **state) {
    for (int stream = 0; stream < 2; stream++) {
        reset(state);
        begin_text(stream, 1, 3, 0);
        if (tasks[0].sink->begin) tasks[0].sink->begin(tasks[0].p);
        say(0, QM_PART_TEXT, "some");
        req.gone = 1;
        req.on_gone(req.user);
        for (int i = 0; i < n_tasks; i++) assert_int_equal(tasks[i].cancelled, 1);
    }
}

/* A client that takes nothing: the rest is not written, and the end is an end. */
static void test_slow_client(void **state) {
    const int stream = 1;
    (void)state;
    begin_text(stream, 1, 1, 0);
    tasks[0].sink->begin(tasks[0].p);
    say(0, QM_PART_TEXT, "some");
    size_t before = req.out.n;
    req.write_fails = 1;
    say(0, QM_PART_TEXT, "lost");
    req.write_fails = 0;
    say(0, QM_PART_TEXT, "not written");
    tasks[0].sink->finish(tasks[0].p, 0, TASK_STOP, NULL);
    tasks[0].sink->done(tasks[0].p, &used);
    assert_true(req.ended && req.out.n == before);
}

static void test_no_memory_for_a_task(void **state) {
    (void)state;
    refuse_tasks = 2; /* the second prompt's */
    begin_text(1, 1, 3, 0);
    assert_int_equal(req.status, 500);
    assert_int_equal(tasks[0].cancelled, 1);
}

static int clean(void **state) { return reset(state); }

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test_setup_teardown(test_completions, reset, clean),
                                       cmocka_unit_test_setup_teardown(test_completions_logprobs, reset, clean),
                                       cmocka_unit_test_setup_teardown(test_failures, reset, clean),
                                       cmocka_unit_test_setup_teardown(test_clients_that_go, reset, clean),
                                       cmocka_unit_test_setup_teardown(test_slow_client, reset, clean),
                                       cmocka_unit_test_setup_teardown(test_no_memory_for_a_task, reset, clean)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
