/* unit_serve_chat: answers as /v1/chat/completions gives them, byte by byte: chunks and objects from the same parts, calls,
 * thinking, log-probabilities, several answers, failures at each stage, clients that go away. */
#include "serve_sinks.h"
#include "host/serve/openai_chat_sink.c"

static void begin_chat(int stream, int usage, uint32_t n, int logprobs) {
    task_ask a = {.logprobs = logprobs, .sampling.seed = 9, .n = n};
    openai_chat_begin(&srv, &req, &a, &(openai_common){stream, usage, n});
    assert_int_equal(n_tasks, 1);
}

#define HEAD                                                                                                           \
    "data: "                                                                                                           \
    "{\"id\":\"chatcmpl-\",\"object\":\"chat.completion.chunk\",\"created\":T,\"model\":\"m\",\"system_fingerprint\":" \
    "\"qmoe-gpu-c0ffee-sim-graph\",\"choices\":["
#define DELTA(i, delta) HEAD "{\"index\":" i ",\"delta\":" delta ",\"finish_reason\":null}]}\n\n"
/* An answer with all that there can be. */
static void play(void) {
    const task_sink *k = tasks[0].sink;
    if (k->begin) k->begin(tasks[0].p);
    say(0, QM_PART_THINKING, "hm");
    say(0, QM_PART_TEXT, "a\n\"\xe2\x82\xac");
    say(0, QM_PART_TEXT, " b");
    say(0, QM_PART_CALL, "f");
    say(0, QM_PART_ARGUMENTS, "{\"x\":");
    say(0, QM_PART_ARGUMENTS, "1}");
    say(0, QM_PART_CALL_END, "");
    say(0, QM_PART_CALL, "g");
    say(0, QM_PART_ARGUMENTS, "{}");
    say(0, QM_PART_CALL_END, "");
    k->finish(tasks[0].p, 0, TASK_CALLS, NULL);
    k->done(tasks[0].p, &used);
}

static void test_chat_streamed(void **state) {
    (void)state;
    begin_chat(1, 0, 1, 0);
    assert_int_equal(req.status, 0); /* nothing is said before the first token */
    play();
    assert_int_equal(req.status, 200);
    assert_memory_equal(req.type, "text/event-stream", 17);
    assert_true(req.streams && req.ended);
    assert_string_equal(
        seen(),
        DELTA("0", "{\"role\":\"assistant\",\"content\":\"\"}") DELTA("0", "{\"reasoning_content\":\"hm\"}")
            DELTA("0", "{\"content\":\"a\\n\\\"\xe2\x82\xac\"}") DELTA("0", "{\"content\":\" b\"}")
                DELTA("0", "{\"tool_calls\":[{\"index\":0,\"id\":\"call_\",\"type\":\"function\",\"function\":{"
                           "\"name\":\"f\",\"arguments\":\"\"}}]}")
                    DELTA("0", "{\"tool_calls\":[{\"index\":0,\"function\":{\"arguments\":\"{\\\"x\\\":\"}}]}")
                        DELTA("0", "{\"tool_calls\":[{\"index\":0,\"function\":{\"arguments\":\"1}\"}}]}")
                            DELTA("0", "{\"tool_calls\":[{\"index\":1,\"id\":\"call_\",\"type\":\"function\","
                                       "\"function\":{\"name\":\"g\",\"arguments\":\"\"}}]}")
                                DELTA("0", "{\"tool_calls\":[{\"index\":1,\"function\":{\"arguments\":\"{}\"}}]}") HEAD
        "{\"index\":0,\"delta\":{},\"finish_reason\":\"tool_calls\"}]," TIMINGS "}\n\ndata: [DONE]\n\n");
}

static void test_chat_usage_chunk(void **state) {
    (void)state;
    begin_chat(1, 1, 1, 0);
    const task_sink *k = tasks[0].sink;
    k->begin(tasks[0].p);
    k->finish(tasks[0].p, 0, TASK_LENGTH, NULL);
    k->done(tasks[0].p, &used);
    assert_string_equal(seen(), HEAD "{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"},\"finish_"
                                     "reason\":null}],\"usage\":null}\n\n" HEAD
                                     "{\"index\":0,\"delta\":{},\"finish_reason\":\"length\"}],\"usage\":null}\n\n" HEAD
                                     "]," USAGE "," TIMINGS "}\n\ndata: [DONE]\n\n");
}

static void test_chat_whole(void **state) {
    (void)state;
    begin_chat(0, 0, 1, 0);
    play();
    assert_int_equal(req.status, 200);
    assert_false(req.streams);
    assert_string_equal(
        seen(),
        "{\"id\":\"chatcmpl-\",\"object\":\"chat.completion\",\"created\":T,\"model\":\"m\",\"system_fingerprint\":"
        "\"qmoe-gpu-c0ffee-sim-graph\",\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":"
        "\"a\\n\\\"\xe2\x82\xac b\",\"refusal\":null,\"reasoning_content\":\"hm\",\"tool_calls\":["
        "{\"id\":\"call_\",\"type\":\"function\",\"function\":{\"name\":\"f\",\"arguments\":\"{\\\"x\\\":1}\"}},"
        "{\"id\":\"call_\",\"type\":\"function\",\"function\":{\"name\":\"g\",\"arguments\":\"{}\"}}]},\"logprobs\":"
        "null,"
        "\"finish_reason\":\"tool_calls\"}]," USAGE "," TIMINGS "}");
}

/* Without text a call's content is null, and an empty answer's is "". */
static void test_chat_content(void **state) {
    for (int calls = 0; calls < 2; calls++) {
        reset(state);
        begin_chat(0, 0, 1, 0);
        if (calls) say(0, QM_PART_CALL, "f"), say(0, QM_PART_ARGUMENTS, "{}");
        tasks[0].sink->finish(tasks[0].p, 0, TASK_STOP, NULL);
        tasks[0].sink->done(tasks[0].p, &used);
        assert_non_null(strstr(req.out.s, calls ? "\"content\":null" : "\"content\":\"\""));
    }
}

/* ---- several answers: each its own deltas, [DONE] after the last ---- */
static void test_chat_several(void **state) {
    (void)state;
    begin_chat(1, 0, 2, 0);
    const task_sink *k = tasks[0].sink;
    k->begin(tasks[0].p);
    say(1, QM_PART_TEXT, "y");
    say(0, QM_PART_TEXT, "x");
    k->finish(tasks[0].p, 1, TASK_STOP, NULL);
    say(0, QM_PART_CALL, "f");
    k->finish(tasks[0].p, 0, TASK_LENGTH, NULL);
    k->done(tasks[0].p, &used);
    assert_string_equal(seen(), DELTA("0", "{\"role\":\"assistant\",\"content\":\"\"}")
                                    DELTA("1", "{\"role\":\"assistant\",\"content\":\"\"}")
                                        DELTA("1", "{\"content\":\"y\"}") DELTA("0", "{\"content\":\"x\"}") HEAD
                        "{\"index\":1,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n" DELTA(
                            "0", "{\"tool_calls\":[{\"index\":0,\"id\":\"call_\",\"type\":\"function\",\"function\":{"
                                 "\"name\":\"f\",\"arguments\":\"\"}}]}") HEAD
                        "{\"index\":0,\"delta\":{},\"finish_reason\":\"length\"}]," TIMINGS "}\n\ndata: [DONE]\n\n");
}

/* ---- log-probabilities ---- */
/* The two halves of a euro sign: one delta, which tells of both tokens; the last token, which gave no text, with the end. */
static void test_chat_logprobs(void **state) {
    (void)state;
    static const char both[] =
        "[{\"token\":\"\xef\xbf\xbd\",\"logprob\":-0.5,\"bytes\":[226,130],\"top_logprobs\":[]},{\"token\":"
        "\"\xef\xbf\xbd\",\"logprob\":-1.0,\"bytes\":[172],\"top_logprobs\":[{\"token\":\"\xef\xbf\xbd\",\"logprob\":-"
        "1.0,"
        "\"bytes\":[172]},{\"token\":\"\\\"\",\"logprob\":-9999.0,\"bytes\":[34]}]}",
                      end[] = "{\"token\":\"a\",\"logprob\":-0.25,\"bytes\":[97],\"top_logprobs\":[]}]";
    char want[1024];
    for (int stream = 0; stream < 2; stream++) {
        reset(state);
        begin_chat(stream, 0, 1, 1);
        const task_sink *k = tasks[0].sink;
        if (k->begin) k->begin(tasks[0].p);
        token(&tasks[0], 0, 2, -0.5f, 0);
        token(&tasks[0], 0, 3, -1.0f, 2);
        say(0, QM_PART_TEXT, "\xe2\x82\xac");
        token(&tasks[0], 0, 0, -0.25f, 0);
        k->finish(tasks[0].p, 0, TASK_STOP, NULL);
        k->done(tasks[0].p, &used);
        snprintf(want, sizeof want,
                 stream ? "\"logprobs\":{\"content\":%s],\"refusal\":null}"
                        : "\"logprobs\":{\"content\":%s,%s,\"refusal\":null}",
                 both, end);
        if (!strstr(req.out.s, want)) fail_msg("no %s in %s", want, req.out.s);
        if (!stream) continue;
        assert_non_null(strstr(req.out.s, "\"content\":\"\"},\"finish_reason\":null,\"logprobs\":null}"));
        snprintf(want, sizeof want, "\"finish_reason\":\"stop\",\"logprobs\":{\"content\":[%s,", end);
        assert_non_null(strstr(req.out.s, want));
    }
}

/* ---- failures ---- */
static void test_failures(void **state) {
    qm_err e = {.code = QM_ERR_LIMIT, .msg = "it is full"};
    for (int stream = 0; stream < 2; stream++)
        for (int began = 0; began < 2; began++) {
            reset(state);
            begin_chat(stream, 0, 1, 0);
            const task_sink *k = tasks[0].sink;
            if (began && k->begin) k->begin(tasks[0].p);
            if (began) say(0, QM_PART_TEXT, "some");
            k->failed(tasks[0].p, began, 429, &e);
            assert_true(req.ended);
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
        begin_chat(stream, 0, 1, 0);
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
    begin_chat(stream, 0, 1, 0);
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
    task_ask a = {0};
    refuse_tasks = 1;
    openai_chat_begin(&srv, &req, &a, &(openai_common){1, 0, 1});
    assert_int_equal(req.status, 500);
}

static int clean(void **state) { return reset(state); }

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test_setup_teardown(test_chat_streamed, reset, clean),
                                       cmocka_unit_test_setup_teardown(test_chat_usage_chunk, reset, clean),
                                       cmocka_unit_test_setup_teardown(test_chat_whole, reset, clean),
                                       cmocka_unit_test_setup_teardown(test_chat_content, reset, clean),
                                       cmocka_unit_test_setup_teardown(test_chat_several, reset, clean),
                                       cmocka_unit_test_setup_teardown(test_chat_logprobs, reset, clean),
                                       cmocka_unit_test_setup_teardown(test_failures, reset, clean),
                                       cmocka_unit_test_setup_teardown(test_clients_that_go, reset, clean),
                                       cmocka_unit_test_setup_teardown(test_slow_client, reset, clean),
                                       cmocka_unit_test_setup_teardown(test_no_memory_for_a_task, reset, clean)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
