/* unit_serve_responses: OpenAI's Responses: items as conversations, what is refused, answers whole and as events, byte by byte,
 * failures at each stage, clients that go away. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <strings.h>
#include <cmocka.h>
#include "serve_play.h"
#include "host/json.c"
#include "host/serve/reply.c"
#define put body_put
#include "host/serve/fields.c"
#undef put
#include "host/serve/fields_ask.c"
#include "host/serve/sink.c"
#define refused openai_refused
#include "host/serve/openai.c"
#undef refused
#include "host/serve/exchange.c"
#include "host/serve/responses_sink.c"
#define put item_put
#include "host/serve/responses_input.c"
#undef put
#define reasoning asked_reasoning
#include "host/serve/responses.c"

static void ask(const char *body) { play_ask("/v1/responses", api_responses, body); }
static char *seen(void) {
    static const char *const prefixes[] = {"\"resp_", "\"msg_", "\"rs_", "\"fc_", "\"call_"};
    return play_seen(prefixes, 5);
}

#define HI "\"input\":\"Hi\""
#define SAYS_HI "{\"messages\":[{\"role\":\"user\",\"content\":\"Hi\"}]"

static void test_conversations(void **state) {
    static const char *const cases[][2] = {
        {"{" HI "}", SAYS_HI ",\"parallel\":true}"},
        {"{\"model\":\"gpt\",\"instructions\":\"Be brief.\",\"input\":[{\"role\":\"developer\",\"content\":\"a\"},"
         "{\"type\":\"message\",\"role\":\"user\",\"content\":[{\"type\":\"input_text\",\"text\":\"b\"},{\"type\":"
         "\"input_text\",\"text\":\"c\"}]}]}",
         "{\"messages\":[{\"role\":\"system\",\"content\":\"Be brief.\"},{\"role\":\"developer\",\"content\":\"a\"},"
         "{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"b\"},{\"type\":\"text\",\"text\":\"c\"}]}],"
         "\"parallel\":true}"},
        /* What one turn brought is one message. */
        {"{\"input\":[{\"role\":\"user\",\"content\":\"x\"},"
         "{\"type\":\"reasoning\",\"id\":\"rs_1\",\"summary\":[],\"content\":[{\"type\":\"reasoning_text\",\"text\":"
         "\"hm\"}],\"encrypted_content\":null},"
         "{\"type\":\"message\",\"id\":\"msg_1\",\"status\":\"completed\",\"role\":\"assistant\",\"content\":[{"
         "\"type\":\"output_text\",\"text\":\"I look.\","
         "\"annotations\":[],\"logprobs\":[]}]},"
         "{\"type\":\"function_call\",\"id\":\"fc_1\",\"status\":\"completed\",\"call_id\":\"call_1\",\"name\":\"f\","
         "\"arguments\":\"{\\\"a\\\":1}\"},"
         "{\"type\":\"function_call\",\"call_id\":\"call_2\",\"name\":\"g\",\"arguments\":\"{}\"},"
         "{\"type\":\"function_call_output\",\"call_id\":\"call_1\",\"output\":\"r1\"},"
         "{\"type\":\"function_call_output\",\"call_id\":\"call_2\",\"output\":[{\"type\":\"input_text\",\"text\":"
         "\"r2\"}]},"
         "{\"type\":\"reasoning\",\"summary\":[{\"type\":\"summary_text\",\"text\":\"s1\"},{\"type\":\"summary_text\","
         "\"text\":\"s2\"}]},"
         "{\"type\":\"function_call\",\"call_id\":\"call_3\",\"name\":\"g\",\"arguments\":\"\"},"
         "{\"type\":\"function_call_output\",\"call_id\":\"call_3\",\"output\":\"r3\"},"
         "{\"role\":\"assistant\",\"content\":\"one\"},{\"role\":\"assistant\",\"content\":\"two\"},{\"type\":"
         "\"reasoning\",\"summary\":[]},"
         "{\"role\":\"user\",\"content\":\"y\"}]}",
         "{\"messages\":[{\"role\":\"user\",\"content\":\"x\"},"
         "{\"role\":\"assistant\",\"reasoning_content\":\"hm\",\"content\":[{\"type\":\"text\",\"text\":\"I "
         "look.\"}],\"tool_calls\":["
         "{\"id\":\"call_1\",\"type\":\"function\",\"function\":{\"name\":\"f\",\"arguments\":\"{\\\"a\\\":1}\"}},"
         "{\"id\":\"call_2\",\"type\":\"function\",\"function\":{\"name\":\"g\",\"arguments\":\"{}\"}}]},"
         "{\"role\":\"tool\",\"tool_call_id\":\"call_1\",\"content\":\"r1\"},"
         "{\"role\":\"tool\",\"tool_call_id\":\"call_2\",\"content\":[{\"type\":\"text\",\"text\":\"r2\"}]},"
         "{\"role\":\"assistant\",\"reasoning_content\":\"s1\\ns2\",\"tool_calls\":["
         "{\"id\":\"call_3\",\"type\":\"function\",\"function\":{\"name\":\"g\",\"arguments\":\"\"}}]},"
         "{\"role\":\"tool\",\"tool_call_id\":\"call_3\",\"content\":\"r3\"},"
         "{\"role\":\"assistant\",\"content\":\"one\"},{\"role\":\"assistant\",\"content\":\"two\"},"
         "{\"role\":\"user\",\"content\":\"y\"}],\"parallel\":true}"},
        {"{\"tools\":[{\"type\":\"function\",\"name\":\"f\",\"description\":\"d\",\"parameters\":{\"type\":\"object\"},"
         "\"strict\":true},"
         "{\"type\":\"function\",\"name\":\"g\",\"description\":null}],\"tool_choice\":\"required\",\"parallel_tool_"
         "calls\":false," HI "}",
         SAYS_HI ",\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\",\"description\":\"d\",\"parameters\":"
                 "{\"type\":\"object\"},"
                 "\"strict\":true}},{\"type\":\"function\",\"function\":{\"name\":\"g\"}}],\"tool_choice\":"
                 "\"required\",\"parallel\":false}"},
        {"{\"tools\":[],\"tool_choice\":{\"type\":\"function\",\"name\":\"f\"},\"store\":true,\"metadata\":{\"a\":"
         "\"b\"},\"user\":\"u\"," HI "}",
         SAYS_HI ",\"tool_choice\":\"named\",\"tool_name\":\"f\",\"parallel\":true}"},
        {"{\"reasoning\":{\"effort\":\"high\",\"summary\":\"auto\"},\"include\":[\"reasoning.encrypted_content\"]," HI
         "}",
         SAYS_HI ",\"kwargs\":{\"enable_thinking\":true},\"parallel\":true}"},
        {"{\"reasoning\":{\"effort\":\"none\"},\"chat_template_kwargs\":{\"a\":1}," HI "}",
         SAYS_HI ",\"kwargs\":{\"a\":1,\"enable_thinking\":false},\"parallel\":true}"},
        {"{\"reasoning\":{},\"text\":{\"format\":{\"type\":\"text\"},\"verbosity\":\"medium\"},\"truncation\":"
         "\"disabled\",\"background\":false," HI "}",
         SAYS_HI ",\"parallel\":true}"},
        {"{\"text\":{\"format\":{\"type\":\"json_object\"}}," HI "}", SAYS_HI ",\"parallel\":true,\"schema\":\"\"}"},
        {"{\"text\":{\"format\":{\"type\":\"json_schema\",\"name\":\"n\",\"strict\":true,\"schema\":{\"type\":"
         "\"array\"}}}," HI "}",
         SAYS_HI ",\"parallel\":true,\"schema\":\"{\\\"type\\\":\\\"array\\\"}\"}"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        ask(cases[i][0]);
        if (!play_task.begun) fail_msg("case %zu: %d %s", i, play_request.status, play_request.out.s);
        assert_string_equal(play_conversation, cases[i][1]);
        play_done(TASK_STOP, NULL, 1);
        assert_int_equal(play_request.status, 200);
        assert_non_null(strstr(play_request.out.s, "\"store\":false"));
    }
}

static void test_sampling(void **state) {
    (void)state;
    ask("{\"temperature\":0.25,\"top_p\":0.5,\"max_output_tokens\":12,\"top_logprobs\":3,\"seed\":4," HI "}");
    const task_ask *a = &play_task.a;
    assert_true(a->sampling.temperature == 0.25f && a->sampling.top_p == 0.5 && a->sampling.seed == 4);
    assert_true(a->max_tokens == 12 && a->logprobs && a->n_logprobs == 3);
    play_done(TASK_STOP, NULL, 1);
    ask("{\"include\":[\"message.output_text.logprobs\"]," HI "}");
    assert_true(play_task.a.logprobs && !play_task.a.n_logprobs && !play_task.a.max_tokens);
    play_done(TASK_STOP, NULL, 1);
}

#define ITEM(item) "{\"input\":[{\"role\":\"user\",\"content\":\"x\"}," item "]}"
static void test_refusals(void **state) {
    static const char *const cases[][2] = {
        {"{}", "input: "},
        {"{\"input\":7}", "input: "},
        {"{\"input\":[7]}", "input[0]: "},
        {"{\"input\":[]}", "input: "},
        {ITEM("{}"), "input[1].type: "},
        {ITEM("{\"role\":\"tool\",\"content\":\"x\"}"), "input[1].role: "},
        {ITEM("{\"role\":\"user\"}"), "input[1].content: "},
        {ITEM("{\"role\":\"user\",\"content\":[7]}"), "input[1].content[0]: "},
        {ITEM("{\"role\":\"user\",\"content\":[{\"type\":\"input_image\",\"image_url\":\"x\"}]}"),
         "input[1].content[0]: type input_image"},
        {ITEM("{\"role\":\"user\",\"content\":[{\"type\":\"put_text\",\"text\":\"x\"}]}"),
         "input[1].content[0]: type put_text"},
        {ITEM("{\"role\":\"user\",\"content\":[{\"type\":\"input_text\"}]}"), "input[1].content[0].text: "},
        {ITEM("{\"type\":\"item_reference\",\"id\":\"x\"}"), "input[1].type: item_reference"},
        {ITEM("{\"type\":\"web_search_call\"}"), "input[1]: type web_search_call"},
        {ITEM("{\"type\":\"function_call\",\"name\":\"f\",\"arguments\":\"{}\"}"), "input[1].call_id: "},
        {ITEM("{\"type\":\"function_call\",\"call_id\":\"a\",\"arguments\":\"{}\"}"), "input[1].name: "},
        {ITEM("{\"type\":\"function_call\",\"call_id\":\"a\",\"name\":\"f\",\"arguments\":{}}"),
         "input[1].arguments: "},
        {ITEM("{\"type\":\"function_call_output\",\"output\":\"x\"}"), "input[1].call_id: "},
        {ITEM("{\"type\":\"function_call_output\",\"call_id\":\"a\"}"), "input[1].output: "},
        {ITEM("{\"type\":\"reasoning\",\"summary\":\"x\"}"), "input[1].summary: "},
        {ITEM("{\"type\":\"reasoning\",\"content\":[{\"type\":\"reasoning_text\"}]}"), "input[1].content[0].text: "},
        {"{\"instructions\":[\"x\"]," HI "}", "instructions: "},
        {"{\"tools\":{}," HI "}", "tools: "},
        {"{\"tools\":[{\"type\":\"web_search\"}]," HI "}", "tools[0].type: web_search"},
        {"{\"tools\":[{\"type\":\"function\"}]," HI "}", "tools[0].name: "},
        {"{\"tool_choice\":\"some\"," HI "}", "tool_choice: "},
        {"{\"tool_choice\":{\"type\":\"file_search\"}," HI "}", "tool_choice.type: file_search"},
        {"{\"tool_choice\":{\"type\":\"function\"}," HI "}", "tool_choice.name: "},
        {"{\"parallel_tool_calls\":1," HI "}", "parallel_tool_calls: "},
        {"{\"text\":\"x\"," HI "}", "text: "},
        {"{\"text\":{\"format\":{\"type\":\"xml\"}}," HI "}", "text.format.type: "},
        {"{\"text\":{\"format\":{\"type\":\"json_schema\",\"name\":\"n\"}}," HI "}", "text.format.schema: "},
        {"{\"text\":{\"verbosity\":\"low\"}," HI "}", "text.verbosity: "},
        {"{\"reasoning\":{\"effort\":\"huge\"}," HI "}", "reasoning.effort: "},
        {"{\"reasoning\":7," HI "}", "reasoning: "},
        {"{\"reasoning\":{\"context\":\"all_turns\"}," HI "}", "reasoning.context: "},
        {"{\"reasoning\":{\"mode\":\"pro\"}," HI "}", "reasoning.mode: "},
        {"{\"moderation\":{\"model\":\"x\"}," HI "}", "moderation: "},
        {"{\"tools\":[{\"type\":\"function\",\"name\":\"f\",\"defer_loading\":true}]," HI "}",
         "tools[0].defer_loading: "},
        {"{\"include\":[\"file_search_call.results\"]," HI "}", "include[0]: file_search_call.results"},
        {"{\"include\":[1]," HI "}", "include[0]: "},
        {"{\"top_logprobs\":21," HI "}", "top_logprobs: "},
        {"{\"previous_response_id\":\"resp_1\"," HI "}", "previous_response_id: nothing is stored"},
        {"{\"conversation\":\"conv_1\"," HI "}", "conversation: nothing is stored"},
        {"{\"prompt\":{\"id\":\"x\"}," HI "}", "prompt: "},
        {"{\"background\":true," HI "}", "background: "},
        {"{\"truncation\":\"auto\"," HI "}", "truncation: "},
        {"{\"max_tool_calls\":3," HI "}", "max_tool_calls: "},
        {"{\"service_tier\":\"flex\"," HI "}", "service_tier: "},
        {"{\"store\":1," HI "}", "store: "},
        {"{\"metadata\":\"x\"," HI "}", "metadata: "},
        {"{\"stream\":1," HI "}", "stream: "},
        {"{\"stream_options\":{\"include_obfuscation\":1}," HI "}", "stream_options.include_obfuscation: "},
        {"{\"max_output_tokens\":0," HI "}", "max_output_tokens: "},
        {"{\"temperature\":\"x\"," HI "}", "temperature: "},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        ask(cases[i][0]);
        if (play_request.status != 400 || !strstr(play_request.out.s, cases[i][1]) || play_task.begun)
            fail_msg("case %zu (%s): %d %s", i, cases[i][0], play_request.status,
                     play_request.out.s ? play_request.out.s : "");
        assert_non_null(strstr(play_request.out.s, "\"type\":\"invalid_request_error\""));
    }
}

/* ---- answers ---- */
static void play_all(void) {
    play_begin();
    play_part(QM_PART_THINKING, "h");
    play_part(QM_PART_THINKING, "m");
    play_part(QM_PART_TEXT, "I \xe2\x82\xac");
    play_part(QM_PART_CALL, "f");
    play_part(QM_PART_ARGUMENTS, "{\"a\":");
    play_part(QM_PART_ARGUMENTS, " 1}");
    play_part(QM_PART_CALL_END, "");
}

#define RESPONSE(status, at, details, output, usage)                                                                   \
    "{\"id\":\"resp_\",\"object\":\"response\",\"created_at\":0,\"completed_at\":" at ",\"status\":\"" status          \
    "\",\"background\":false,\"error\":null,\"incomplete_details\":" details ",\"model\":\"m\",\"output\":[" output    \
    "],\"previous_response_id\":null,\"store\":false,\"truncation\":\"disabled\",\"service_tier\":\"default\",\"max_"  \
    "tool_calls\":"                                                                                                    \
    "null,\"usage\":" usage                                                                                            \
    ",\"tools\":[],\"parallel_tool_calls\":true,\"tool_choice\":\"auto\",\"text\":{\"format\":{\"type\":"              \
    "\"text\"}},\"reasoning\":{\"effort\":null,\"summary\":null},\"instructions\":\"I\",\"max_output_tokens\":7,"      \
    "\"safety_identifier\":null,\"user\":null,\"prompt_cache_key\":null,\"metadata\":{\"a\":\"b\"},\"temperature\":0." \
    "5,"                                                                                                               \
    "\"top_p\":0.75,\"top_logprobs\":0}"
#define USAGE(out, thought, total)                                                                           \
    "{\"input_tokens\":10,\"input_tokens_details\":{\"cached_tokens\":4,\"cache_write_tokens\":0},\"output_" \
    "tokens\":" out ",\"output_tokens_details\":{\"reasoning_tokens\":" thought "},\"total_tokens\":" total "}"
#define ASKS "\"instructions\":\"I\",\"max_output_tokens\":7,\"metadata\":{\"a\":\"b\"}," HI "}"
#define THOUGHT(status, content) \
    "{\"id\":\"rs_\",\"type\":\"reasoning\",\"status\":\"" status "\",\"summary\":[],\"content\":[" content "]}"
#define THOUGHT_PART(text) "{\"type\":\"reasoning_text\",\"text\":\"" text "\"}"
#define MESSAGE(status, content)                                                                                       \
    "{\"id\":\"msg_\",\"type\":\"message\",\"status\":\"" status "\",\"role\":\"assistant\",\"content\":[" content "]" \
    "}"
#define TEXT_PART(text) "{\"type\":\"output_text\",\"text\":\"" text "\",\"annotations\":[],\"logprobs\":[]}"
#define CALL(status, arguments)                                       \
    "{\"id\":\"fc_\",\"type\":\"function_call\",\"status\":\"" status \
    "\",\"call_id\":\"call_\",\"name\":\"f\",\"arguments\":\"" arguments "\"}"
#define EURO "I \xe2\x82\xac"

static void test_whole(void **state) {
    (void)state;
    ask("{" ASKS);
    play_all();
    play_done(TASK_CALLS, NULL, 6);
    assert_string_equal(seen(), RESPONSE("completed", "0", "null",
                                         THOUGHT("completed", THOUGHT_PART("hm")) "," MESSAGE(
                                             "completed", TEXT_PART(EURO)) "," CALL("completed", "{\\\"a\\\": 1}"),
                                         USAGE("6", "2", "16")));
    /* Cut short: the last item is. */
    ask("{" ASKS);
    play_all();
    play_part(QM_PART_TEXT, "x");
    play_done(TASK_LENGTH, NULL, 7);
    assert_string_equal(
        seen(), RESPONSE("incomplete", "null", "{\"reason\":\"max_output_tokens\"}",
                         THOUGHT("completed", THOUGHT_PART("hm")) "," MESSAGE("completed", TEXT_PART(EURO)) "," CALL(
                             "completed", "{\\\"a\\\": 1}") "," MESSAGE("incomplete", TEXT_PART("x")),
                         USAGE("7", "2", "17")));
    ask("{" ASKS);
    play_begin();
    play_part(QM_PART_CALL, "f");
    play_part(QM_PART_ARGUMENTS, "{");
    play_done(TASK_LENGTH, NULL, 7);
    assert_string_equal(seen(), RESPONSE("incomplete", "null", "{\"reason\":\"max_output_tokens\"}",
                                         CALL("incomplete", "{"), USAGE("7", "0", "17")));
    ask("{" ASKS);
    play_begin();
    play_done(TASK_STOP, NULL, 1);
    assert_string_equal(seen(), RESPONSE("completed", "0", "null", "", USAGE("1", "0", "11")));
}

#define EVENT(type, n, more) "event: " type "\ndata: {\"type\":\"" type "\",\"sequence_number\":" n "," more "}\n\n"
#define OF(id, index, content) "\"item_id\":\"" id "\",\"output_index\":" index content
#define ADDED(n, i, item) EVENT("response.output_item.added", n, "\"output_index\":" i ",\"item\":" item)
#define DONE(n, i, item) EVENT("response.output_item.done", n, "\"output_index\":" i ",\"item\":" item)
#define PART_ADDED(n, of, part) EVENT("response.content_part.added", n, of ",\"part\":" part)
#define PART_DONE(n, of, part) EVENT("response.content_part.done", n, of ",\"part\":" part)
#define RS OF("rs_", "0", ",\"content_index\":0")
#define MSG OF("msg_", "1", ",\"content_index\":0")
#define FC OF("fc_", "2", "")

static void test_streamed(void **state) {
    static const char *const want[] = {
        EVENT("response.created", "0", "\"response\":" RESPONSE("in_progress", "null", "null", "", "null")),
        EVENT("response.in_progress", "1", "\"response\":" RESPONSE("in_progress", "null", "null", "", "null")),
        ADDED("2", "0", THOUGHT("in_progress", "")),
        PART_ADDED("3", RS, THOUGHT_PART("")),
        EVENT("response.reasoning_text.delta", "4", RS ",\"delta\":\"h\""),
        EVENT("response.reasoning_text.delta", "5", RS ",\"delta\":\"m\""),
        EVENT("response.reasoning_text.done", "6", RS ",\"text\":\"hm\""),
        PART_DONE("7", RS, THOUGHT_PART("hm")),
        DONE("8", "0", THOUGHT("completed", THOUGHT_PART("hm"))),
        ADDED("9", "1", MESSAGE("in_progress", "")),
        PART_ADDED("10", MSG, TEXT_PART("")),
        EVENT("response.output_text.delta", "11", MSG ",\"delta\":\"" EURO "\",\"logprobs\":[]"),
        EVENT("response.output_text.done", "12", MSG ",\"text\":\"" EURO "\",\"logprobs\":[]"),
        PART_DONE("13", MSG, TEXT_PART(EURO)),
        DONE("14", "1", MESSAGE("completed", TEXT_PART(EURO))),
        ADDED("15", "2", CALL("in_progress", "")),
        EVENT("response.function_call_arguments.delta", "16", FC ",\"delta\":\"{\\\"a\\\":\""),
        EVENT("response.function_call_arguments.delta", "17", FC ",\"delta\":\" 1}\""),
        EVENT("response.function_call_arguments.done", "18", FC ",\"name\":\"f\",\"arguments\":\"{\\\"a\\\": 1}\""),
        DONE("19", "2", CALL("completed", "{\\\"a\\\": 1}")),
        EVENT("response.completed", "20",
              "\"response\":" RESPONSE("completed", "0", "null",
                                       THOUGHT("completed", THOUGHT_PART("hm")) "," MESSAGE(
                                           "completed", TEXT_PART(EURO)) "," CALL("completed", "{\\\"a\\\": 1}"),
                                       USAGE("6", "2", "16"))),
    };
    (void)state;
    ask("{\"stream\":true," ASKS);
    assert_int_equal(play_request.status, 0);
    play_all();
    play_done(TASK_CALLS, NULL, 6);
    assert_true(play_request.ended && play_request.status == 200);
    const char *at = seen();
    for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
        size_t n = strlen(want[i]);
        if (strncmp(at, want[i], n)) fail_msg("event %zu\nwant %s\ngot  %.*s", i, want[i], (int)n + 40, at);
        at += n;
    }
    assert_string_equal(at, "");
    /* Cut short. */
    ask("{\"stream\":true," ASKS);
    play_begin();
    play_part(QM_PART_TEXT, "x");
    play_done(TASK_LENGTH, NULL, 7);
    assert_non_null(
        strstr(seen(), DONE("7", "0", MESSAGE("incomplete", TEXT_PART("x"))) "event: response.incomplete\n"));
    ask("{\"stream\":true," ASKS);
    play_begin();
    play_part(QM_PART_CALL, "f");
    play_part(QM_PART_ARGUMENTS, "{");
    play_done(TASK_LENGTH, NULL, 7);
    assert_null(strstr(seen(), "response.function_call_arguments.done"));
    assert_non_null(strstr(seen(), DONE("4", "0", CALL("incomplete", "{")) "event: response.incomplete\n"));
}

/* With the text that they say; those of other parts are not told. */
static void test_logprobs(void **state) {
    static const char one[] =
        "[{\"token\":\" b\",\"logprob\":-0.25,\"bytes\":[32,98],\"top_logprobs\":[{\"token\":\" b\",\"logprob\":-0.5,"
        "\"bytes\":[32,98]},{\"token\":\"\\\"\",\"logprob\":-9999.0,\"bytes\":[34]}]}]";
    char want[1024];
    (void)state;
    for (int stream = 0; stream < 2; stream++) {
        ask(stream ? "{\"stream\":true,\"top_logprobs\":2," ASKS : "{\"top_logprobs\":2," ASKS);
        play_begin();
        play_token(0, -1, 2);
        play_part(QM_PART_THINKING, "a");
        play_token(1, -0.25f, 2);
        play_part(QM_PART_TEXT, " b");
        play_done(TASK_STOP, NULL, 2);
        snprintf(want, sizeof want, "\"text\":\" b\",\"annotations\":[],\"logprobs\":%s", one);
        assert_non_null(strstr(seen(), want));
        snprintf(want, sizeof want, "\"delta\":\" b\",\"logprobs\":%s", one);
        assert_int_equal(strstr(seen(), want) != NULL, stream);
        assert_null(strstr(seen(), "\"logprob\":-1.0"));
    }
}

static void test_failures(void **state) {
    (void)state;
    qm_err e = {.code = QM_ERR_DEVICE, .msg = "the device failed"};
    for (int stream = 0; stream < 2; stream++)
        for (int begun = 0; begun < 2; begun++) {
            ask(stream ? "{\"stream\":true," ASKS : "{" ASKS);
            if (begun) {
                play_begin();
                play_part(QM_PART_TEXT, "x");
            }
            play_task.sink->failed(play_task.p, begun, 500, &e);
            assert_true(play_request.ended);
            assert_int_equal(play_request.status, stream && begun ? 200 : 500);
            if (stream && begun) {
                assert_non_null(strstr(
                    seen(),
                    EVENT("error", "5", "\"code\":\"server_error\",\"message\":\"the device failed\",\"param\":null")));
                assert_non_null(strstr(seen(), "\"status\":\"failed\",\"background\":false,\"error\":{\"code\":"
                                               "\"server_error\",\"message\":\"the device failed\"}"));
                assert_non_null(strstr(seen(), "data: {\"type\":\"response.failed\",\"sequence_number\":6,"));
            } else assert_non_null(strstr(seen(), "{\"error\":{\"message\":\"the device failed\""));
        }
    play_reset(NULL);
    play_refuse_task = 1;
    play_request.path = "/v1/responses";
    play_request.body = "{" HI "}";
    api_responses(&play_server, &play_request);
    assert_int_equal(play_request.status, 500);
}

static void test_clients_that_go(void **state) {
    (void)state;
    for (int stream = 0; stream < 2; stream++)
        for (int begun = 0; begun < 2; begun++) {
            ask(stream ? "{\"stream\":true," ASKS : "{" ASKS);
            if (begun) {
                play_begin();
                play_part(QM_PART_TEXT, "x");
                play_request.write_fails = 1;
                play_part(QM_PART_TEXT, "y");
            }
            play_request.on_gone(play_request.user);
            assert_int_equal(play_task.cancelled, 1);
        }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_conversations), cmocka_unit_test(test_sampling),        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_whole),         cmocka_unit_test(test_streamed),        cmocka_unit_test(test_logprobs),
        cmocka_unit_test(test_failures),      cmocka_unit_test(test_clients_that_go),
    };
    return cmocka_run_group_tests(tests, play_reset, play_end);
}
