/* unit_serve_anthropic: Anthropic's Messages: requests as conversations, what is refused, answers whole and as events, byte by
 * byte, failures at each stage, clients that go away. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <strings.h>
#include <cmocka.h>
#include "serve_play.h"
#include "host/json.c"
#include "host/serve/reply.c"
#include "host/serve/fields.c"
#include "host/serve/fields_ask.c"
#include "host/serve/sink.c"
#define refused openai_refused
#include "host/serve/openai.c"
#undef refused
#include "host/serve/exchange.c"
#include "host/serve/anthropic_sink.c"
#include "host/serve/anthropic.c"

static void ask(const char *body) { play_ask("/v1/messages", api_messages, body); }
static char *seen(void) {
    static const char *const prefixes[] = {"\"msg_", "\"toolu_"};
    return play_seen(prefixes, 2);
}

#define HI "\"max_tokens\":7,\"messages\":[{\"role\":\"user\",\"content\":\"Hi\"}]"
#define SAYS_HI_AND "{\"messages\":[{\"role\":\"user\",\"content\":\"Hi\"},"
#define SAYS_HI "{\"messages\":[{\"role\":\"user\",\"content\":\"Hi\"}]"

/* Each request, and the conversation that is made of it. */
static void test_conversations(void **state) {
    static const char *const cases[][2] = {
        {"{" HI "}", SAYS_HI ",\"parallel\":true}"},
        {"{\"model\":\"claude\",\"system\":\"Be brief.\"," HI "}",
         "{\"messages\":[{\"role\":\"system\",\"content\":\"Be "
         "brief.\"},{\"role\":\"user\",\"content\":\"Hi\"}],\"parallel\":true}"},
        {"{\"system\":[{\"type\":\"text\",\"text\":\"a\",\"cache_control\":{\"type\":\"ephemeral\"}},{\"type\":"
         "\"text\",\"text\":\"b\"}]," HI "}",
         "{\"messages\":[{\"role\":\"system\",\"content\":[{\"type\":\"text\",\"text\":\"a\"},{\"type\":\"text\","
         "\"text\":\"b\"}]},"
         "{\"role\":\"user\",\"content\":\"Hi\"}],\"parallel\":true}"},
        {"{\"max_tokens\":7,\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"x\"}]},"
         "{\"role\":\"assistant\",\"content\":[{\"type\":\"thinking\",\"thinking\":\"hm\",\"signature\":\"s\"},{"
         "\"type\":\"text\",\"text\":\"I look.\"},"
         "{\"type\":\"tool_use\",\"id\":\"toolu_1\",\"name\":\"f\",\"input\":{\"a\":1}},{\"type\":\"tool_use\",\"id\":"
         "\"toolu_2\",\"name\":\"g\",\"input\":{}}]},"
         "{\"role\":\"user\",\"content\":[{\"type\":\"tool_result\",\"tool_use_id\":\"toolu_1\",\"content\":\"r1\"},"
         "{\"type\":\"tool_result\",\"tool_use_id\":\"toolu_2\",\"is_error\":true,\"content\":[{\"type\":\"text\","
         "\"text\":\"r2\"}]},"
         "{\"type\":\"text\",\"text\":\"go on\"},{\"type\":\"tool_result\",\"tool_use_id\":\"toolu_3\"}]}]}",
         "{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"x\"}]},"
         "{\"role\":\"assistant\",\"content\":[{\"type\":\"text\",\"text\":\"I "
         "look.\"}],\"reasoning_content\":\"hm\",\"tool_calls\":["
         "{\"id\":\"toolu_1\",\"type\":\"function\",\"function\":{\"name\":\"f\",\"arguments\":{\"a\":1}}},"
         "{\"id\":\"toolu_2\",\"type\":\"function\",\"function\":{\"name\":\"g\",\"arguments\":{}}}]},"
         "{\"role\":\"tool\",\"tool_call_id\":\"toolu_1\",\"content\":\"r1\"},"
         "{\"role\":\"tool\",\"tool_call_id\":\"toolu_2\",\"content\":[{\"type\":\"text\",\"text\":\"r2\"}]},"
         "{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"go on\"}]},"
         "{\"role\":\"tool\",\"tool_call_id\":\"toolu_3\",\"content\":\"\"}],\"parallel\":true}"},
        {"{\"tools\":[{\"name\":\"f\",\"description\":\"d\",\"input_schema\":{\"type\":\"object\"},\"cache_control\":"
         "null,\"type\":\"custom\",\"strict\":true}],"
         "\"tool_choice\":{\"type\":\"any\",\"disable_parallel_tool_use\":true}," HI "}",
         SAYS_HI ",\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\",\"description\":\"d\",\"parameters\":"
                 "{\"type\":\"object\"},"
                 "\"strict\":true}}],\"tool_choice\":\"required\",\"parallel\":false}"},
        {"{\"max_tokens\":7,\"messages\":[{\"role\":\"user\",\"content\":\"Hi\"},{\"role\":\"system\",\"content\":[{"
         "\"type\":\"text\",\"text\":\"s\"}]}]}",
         SAYS_HI_AND "{\"role\":\"system\",\"content\":[{\"type\":\"text\",\"text\":\"s\"}]}],\"parallel\":true}"},
        {"{\"max_tokens\":7,\"messages\":[{\"role\":\"user\",\"content\":\"Hi\"},{\"role\":\"assistant\",\"content\":[{"
         "\"type\":\"text\",\"text\":\"So \"},"
         "{\"type\":\"text\",\"text\":\"far\"}]}]}",
         SAYS_HI ",\"parallel\":true,\"begun\":\"So far\"}"},
        {"{\"context_management\":{\"edits\":[{\"type\":\"clear_thinking_20251015\",\"keep\":\"all\"}]}," HI "}",
         SAYS_HI ",\"parallel\":true}"},
        {"{\"tools\":[],\"tool_choice\":{\"type\":\"tool\",\"name\":\"f\"}," HI "}",
         SAYS_HI ",\"tool_choice\":\"named\",\"tool_name\":\"f\",\"parallel\":true}"},
        {"{\"tool_choice\":{\"type\":\"auto\"},\"thinking\":{\"type\":\"enabled\",\"budget_tokens\":2000}," HI "}",
         SAYS_HI ",\"kwargs\":{\"enable_thinking\":true},\"tool_choice\":\"auto\",\"parallel\":true}"},
        {"{\"tool_choice\":{\"type\":\"none\"},\"thinking\":{\"type\":\"disabled\"},\"chat_template_kwargs\":{\"a\":1}"
         "," HI "}",
         SAYS_HI ",\"kwargs\":{\"a\":1,\"enable_thinking\":false},\"tool_choice\":\"none\",\"parallel\":true}"},
        {"{\"thinking\":{\"type\":\"adaptive\",\"display\":\"summarized\"},\"metadata\":{\"user_id\":\"u\"},\"service_"
         "tier\":\"auto\"," HI "}",
         SAYS_HI ",\"parallel\":true}"},
        {"{\"output_config\":{\"effort\":\"high\",\"format\":{\"type\":\"json_schema\",\"schema\":{\"type\":\"object\"}"
         "}}," HI "}",
         SAYS_HI ",\"parallel\":true,\"schema\":\"{\\\"type\\\":\\\"object\\\"}\"}"},
        {"{\"output_format\":{\"type\":\"json_schema\",\"schema\":{\"type\":\"array\"}}," HI "}",
         SAYS_HI ",\"parallel\":true,\"schema\":\"{\\\"type\\\":\\\"array\\\"}\"}"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        ask(cases[i][0]);
        if (!play_task.begun) fail_msg("case %zu: %d %s", i, play_request.status, play_request.out.s);
        assert_string_equal(play_conversation, cases[i][1]);
        play_done(TASK_STOP, NULL, 1);
        assert_int_equal(play_request.status, 200);
    }
}

static void test_sampling(void **state) {
    (void)state;
    ask("{\"temperature\":0.25,\"top_k\":5,\"top_p\":0.5,\"stop_sequences\":[\"a\",\"\\n\\nHuman:\"],\"seed\":4," HI
        "}");
    const task_ask *a = &play_task.a;
    assert_true(a->sampling.temperature == 0.25f && a->sampling.top_k == 5 && a->sampling.top_p == 0.5);
    assert_int_equal(a->sampling.seed, 4);
    assert_int_equal(a->max_tokens, 7);
    assert_int_equal(a->n_stop, 2);
    assert_string_equal(a->stop[1], "\n\nHuman:");
    play_done(TASK_STOP, NULL, 1);
    ask("{" HI "}");
    assert_true(play_task.a.sampling.temperature == 0.5f && play_task.a.sampling.top_p == 0.75);
    play_done(TASK_STOP, NULL, 1);
}

/* A message's content, and another message after it. */
#define CONTENT(role, content)                                                    \
    "{\"max_tokens\":7,\"messages\":[{\"role\":\"" role "\",\"content\":" content \
    "},{\"role\":\"user\",\"content\":\"x\"}]}"
static void test_refusals(void **state) {
    static const char *const cases[][2] = {
        {"[]", "no object"},
        {"{" HI, "the body is not JSON"},
        {"{}", "messages: "},
        {"{\"messages\":[],\"max_tokens\":1}", "messages: "},
        {"{\"messages\":\"x\",\"max_tokens\":1}", "messages: "},
        {"{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}]}", "max_tokens: "},
        {"{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"max_tokens\":0}", "max_tokens: "},
        {"{\"messages\":[1],\"max_tokens\":1}", "messages[0].role: "},
        {CONTENT("developer", "\"x\""), "messages[0].role: "},
        {CONTENT("system", "[{\"type\":\"image\"}]"), "messages[0].content[0]: type image"},
        {CONTENT("user", "null"), "messages[0].content: "},
        {CONTENT("user", "[]"), "messages[0].content: "},
        {CONTENT("user", "[\"x\"]"), "messages[0].content[0]: "},
        {CONTENT("user", "[{\"type\":\"text\",\"text\":\"a\"},{\"type\":\"image\",\"source\":{}}]"),
         "messages[0].content[1]: type image"},
        {CONTENT("user", "[{\"type\":\"text\"}]"), "messages[0].content[0].text: "},
        {CONTENT("user", "[{\"type\":\"tool_use\",\"id\":\"a\",\"name\":\"f\",\"input\":{}}]"),
         "messages[0].content[0]: type tool_use"},
        {CONTENT("user", "[{\"type\":\"tool_result\",\"content\":\"x\"}]"), "messages[0].content[0].tool_use_id: "},
        {CONTENT("user", "[{\"type\":\"tool_result\",\"tool_use_id\":\"a\",\"content\":7}]"),
         "messages[0].content[0].content: "},
        {CONTENT("user", "[{\"type\":\"tool_result\",\"tool_use_id\":\"a\",\"content\":[{\"type\":\"image\"}]}]"),
         "messages[0].content[0].content[0]: type image"},
        {CONTENT("assistant", "[{\"type\":\"redacted_thinking\",\"data\":\"x\"}]"),
         "messages[0].content[0]: type redacted_thinking"},
        {CONTENT("assistant", "[{\"type\":\"thinking\"}]"), "messages[0].content[0].thinking: "},
        {CONTENT("assistant", "[{\"type\":\"tool_use\",\"name\":\"f\",\"input\":{}}]"), "messages[0].content[0].id: "},
        {CONTENT("assistant", "[{\"type\":\"tool_use\",\"id\":\"a\",\"name\":\"f\",\"input\":\"{}\"}]"),
         "messages[0].content[0].input: "},
        {"{\"messages\":[{\"role\":\"assistant\",\"content\":\"\"}],\"max_tokens\":1}", "messages: the last one"},
        {"{\"messages\":[{\"role\":\"assistant\",\"content\":[]}],\"max_tokens\":1}", "messages: the last one"},
        {"{\"messages\":[{\"role\":\"assistant\",\"content\":null}],\"max_tokens\":1}", "messages[0].content: "},
        {"{\"messages\":[{\"role\":\"assistant\",\"content\":[{\"type\":\"tool_use\",\"id\":\"a\",\"name\":\"f\","
         "\"input\":{}}]}],"
         "\"max_tokens\":1}",
         "messages[0].content[0]: type tool_use"},
        {"{\"system\":7," HI "}", "system: "},
        {"{\"system\":[{\"type\":\"image\"}]," HI "}", "system[0]: type image"},
        {"{\"tools\":{}," HI "}", "tools: "},
        {"{\"tools\":[{\"type\":\"web_search_20250305\",\"name\":\"web_search\"}]," HI "}",
         "tools[0].type: web_search_20250305: "},
        {"{\"tools\":[{\"input_schema\":{}}]," HI "}", "tools[0].name: "},
        {"{\"tools\":[{\"name\":\"f\"}]," HI "}", "tools[0].input_schema: "},
        {"{\"tools\":[{\"name\":\"f\",\"input_schema\":{},\"description\":[]}]," HI "}", "tools[0].description: "},
        {"{\"tools\":[{\"name\":\"f\",\"input_schema\":{},\"strict\":1}]," HI "}", "tools[0].strict: "},
        {"{\"tools\":[{\"name\":\"f\",\"input_schema\":{},\"defer_loading\":true}]," HI "}",
         "tools[0].defer_loading: "},
        {"{\"tools\":[{\"name\":\"f\",\"input_schema\":{},\"input_examples\":[{}]}]," HI "}",
         "tools[0].input_examples: "},
        {"{\"tools\":[{\"name\":\"f\",\"input_schema\":{},\"allowed_callers\":[\"code_execution_20250825\"]}]," HI "}",
         "tools[0].allowed_callers: "},
        {"{\"tools\":[7]," HI "}", "tools[0]: "},
        {"{\"tool_choice\":\"auto\"," HI "}", "tool_choice: "},
        {"{\"tool_choice\":{\"type\":\"some\"}," HI "}", "tool_choice.type: "},
        {"{\"tool_choice\":{\"type\":\"tool\"}," HI "}", "tool_choice.name: "},
        {"{\"tool_choice\":{\"type\":\"any\",\"disable_parallel_tool_use\":1}," HI "}",
         "tool_choice.disable_parallel_tool_use: "},
        {"{\"thinking\":true," HI "}", "thinking: "},
        {"{\"thinking\":{\"type\":\"on\"}," HI "}", "thinking.type: "},
        {"{\"thinking\":{\"type\":\"enabled\",\"budget_tokens\":\"many\"}," HI "}", "thinking.budget_tokens: "},
        {"{\"thinking\":{\"type\":\"enabled\",\"display\":\"omitted\"}," HI "}", "thinking.display: "},
        {"{\"output_config\":{\"effort\":\"some\"}," HI "}", "output_config.effort: "},
        {"{\"output_config\":{\"format\":{\"type\":\"text\"}}," HI "}", "output_config.format.type: "},
        {"{\"output_format\":{\"type\":\"json_schema\"}," HI "}", "output_format.schema: "},
        {"{\"stop_sequences\":[1]," HI "}", "stop_sequences: "},
        {"{\"stream\":\"yes\"," HI "}", "stream: "},
        {"{\"temperature\":\"hot\"," HI "}", "temperature: "},
        {"{\"mcp_servers\":[{}]," HI "}", "mcp_servers: "},
        {"{\"context_management\":{\"edits\":[{\"type\":\"clear_tool_uses_20250919\"}]}," HI "}",
         "context_management: "},
        {"{\"container\":\"c\"," HI "}", "container: "},
        {"{\"metadata\":1," HI "}", "metadata: "},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (int counting = 0; counting < 2; counting++) {
            if (counting && strstr(cases[i][1], "max_tokens")) continue;
            play_ask("/v1/messages", counting ? api_count_tokens : api_messages, cases[i][0]);
            if (play_request.status != 400 || !strstr(play_request.out.s, cases[i][1]) || play_task.begun)
                fail_msg("case %zu: %d %s", i, play_request.status, play_request.out.s ? play_request.out.s : "");
            assert_non_null(
                strstr(play_request.out.s, "{\"type\":\"error\",\"error\":{\"type\":\"invalid_request_error\","));
        }
}

static void test_count_tokens(void **state) {
    (void)state;
    play_ask("/v1/messages/count_tokens", api_count_tokens,
             "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"Hi\"}]}");
    assert_int_equal(play_request.status, 200);
    assert_string_equal(play_request.out.s, "{\"input_tokens\":10}");
    assert_false(play_task.begun);
}

/* ---- answers ---- */
static void play_all(void) {
    play_begin();
    play_part(QM_PART_THINKING, "h");
    play_part(QM_PART_THINKING, "m");
    play_part(QM_PART_TEXT, "I \xe2\x82\xac");
    play_part(QM_PART_TEXT, "");
    play_part(QM_PART_CALL, "f");
    play_part(QM_PART_ARGUMENTS, "{\"a\":");
    play_part(QM_PART_ARGUMENTS, " 1}");
    play_part(QM_PART_CALL_END, "");
    play_part(QM_PART_CALL, "g");
    play_part(QM_PART_ARGUMENTS, "{}");
    play_part(QM_PART_CALL_END, "");
}

#define MESSAGE "{\"id\":\"msg_\",\"type\":\"message\",\"role\":\"assistant\",\"model\":\"m\",\"content\":["
#define ENDS(reason, sequence, n, thought)                                                                          \
    "],\"stop_reason\":" reason ",\"stop_sequence\":" sequence                                                      \
    ",\"usage\":{\"input_tokens\":6,\"cache_creation_input_tokens\":0,"                                             \
    "\"cache_read_input_tokens\":4,\"output_tokens\":" n ",\"output_tokens_details\":{\"thinking_tokens\":" thought \
    "}}}"

static void test_whole(void **state) {
    (void)state;
    ask("{" HI "}");
    play_all();
    play_done(TASK_CALLS, NULL, 9);
    assert_string_equal(play_request.type, "application/json");
    assert_string_equal(seen(), MESSAGE "{\"type\":\"thinking\",\"thinking\":\"hm\",\"signature\":\"\"},{\"type\":"
                                        "\"text\",\"text\":\"I \xe2\x82\xac\"},"
                                        "{\"type\":\"tool_use\",\"id\":\"toolu_\",\"name\":\"f\",\"input\":{\"a\":1}},"
                                        "{\"type\":\"tool_use\",\"id\":\"toolu_\",\"name\":\"g\",\"input\":{}}" ENDS(
                                            "\"tool_use\"", "null", "9", "2"));
    /* How it ends. Before the length that was asked for, it was the context's. */
    static const struct {
        task_finish f;
        const char *stopped, *ends;
        uint32_t n;
    } ends[] = {{TASK_STOP, NULL, ENDS("\"end_turn\"", "null", "3", "0"), 3},
                {TASK_STOP, "END", ENDS("\"stop_sequence\"", "\"END\"", "3", "0"), 3},
                {TASK_LENGTH, NULL, ENDS("\"max_tokens\"", "null", "7", "0"), 7},
                {TASK_LENGTH, NULL, ENDS("\"model_context_window_exceeded\"", "null", "3", "0"), 3}};
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        char want[512];
        ask("{" HI "}");
        play_begin();
        play_part(QM_PART_TEXT, "x");
        play_done(ends[i].f, ends[i].stopped, ends[i].n);
        snprintf(want, sizeof want, "%s%s%s", MESSAGE, "{\"type\":\"text\",\"text\":\"x\"}", ends[i].ends);
        assert_string_equal(seen(), want);
    }
    /* Nothing at all; a call that was cut short is no call, and not lost. */
    ask("{" HI "}");
    play_begin();
    play_done(TASK_STOP, NULL, 1);
    assert_string_equal(seen(), MESSAGE ENDS("\"end_turn\"", "null", "1", "0"));
    ask("{" HI "}");
    play_begin();
    play_part(QM_PART_CALL, "f");
    play_part(QM_PART_ARGUMENTS, "{\"a\":\"b");
    play_done(TASK_LENGTH, NULL, 7);
    assert_string_equal(seen(), MESSAGE
                        "{\"type\":\"text\",\"text\":\"f({\\\"a\\\":\\\"b\"}" ENDS("\"max_tokens\"", "null", "7", "0"));
}

#define EVENT(name, more) "event: " name "\ndata: {\"type\":\"" name "\"" more "}\n\n"
#define START(i, block) EVENT("content_block_start", ",\"index\":" i ",\"content_block\":{\"type\":" block "}")
#define DELTA(i, delta) EVENT("content_block_delta", ",\"index\":" i ",\"delta\":{\"type\":" delta "}")
#define STOP(i) EVENT("content_block_stop", ",\"index\":" i)
#define BEGIN                                                                                                     \
    EVENT("message_start",                                                                                        \
          ",\"message\":" MESSAGE "],\"stop_reason\":null,\"stop_sequence\":null,\"usage\":{\"input_tokens\":10," \
          "\"cache_creation_input_tokens\":0,\"cache_read_input_tokens\":0,\"output_tokens\":0,\"output_tokens_"  \
          "details\":{\"thinking_tokens\":0}}}")                                                                  \
    EVENT("ping", "")

static void test_streamed(void **state) {
    (void)state;
    ask("{\"stream\":true," HI "}");
    assert_int_equal(play_request.status, 0);
    play_all();
    play_done(TASK_CALLS, NULL, 9);
    assert_true(play_request.ended && play_request.status == 200);
    assert_string_equal(play_request.type, "text/event-stream; charset=utf-8");
    assert_string_equal(
        seen(),
        BEGIN START("0", "\"thinking\",\"thinking\":\"\",\"signature\":\"\"")
            DELTA("0", "\"thinking_delta\",\"thinking\":\"h\"") DELTA("0", "\"thinking_delta\",\"thinking\":\"m\"")
                STOP("0") START("1", "\"text\",\"text\":\"\"") DELTA("1", "\"text_delta\",\"text\":\"I \xe2\x82\xac\"")
                    STOP("1") START("2", "\"tool_use\",\"id\":\"toolu_\",\"name\":\"f\",\"input\":{}")
                        DELTA("2", "\"input_json_delta\",\"partial_json\":\"{\\\"a\\\":\"")
                            DELTA("2", "\"input_json_delta\",\"partial_json\":\" 1}\"") STOP("2")
                                START("3", "\"tool_use\",\"id\":\"toolu_\",\"name\":\"g\",\"input\":{}")
                                    DELTA("3", "\"input_json_delta\",\"partial_json\":\"{}\"") STOP("3") EVENT(
                                        "message_delta",
                                        ",\"delta\":{\"stop_reason\":\"tool_use\",\"stop_sequence\":null},\"usage\":"
                                        "{\"input_tokens\":6,\"cache_creation_input_tokens\":0,"
                                        "\"cache_read_input_tokens\":4,\"output_tokens\":9,\"output_tokens_details\":{"
                                        "\"thinking_tokens\":2}}") EVENT("message_stop", ""));
    /* An answer without a word. */
    ask("{\"stream\":true," HI "}");
    play_begin();
    play_done(TASK_STOP, NULL, 1);
    assert_non_null(strstr(seen(), EVENT("ping", "") "event: message_delta\n"));
}

static void test_failures(void **state) {
    (void)state;
    qm_err e = {.code = QM_ERR_LIMIT, .msg = "the queue is full"};
    for (int stream = 0; stream < 2; stream++)
        for (int begun = 0; begun < 2; begun++) {
            ask(stream ? "{\"stream\":true," HI "}" : "{" HI "}");
            if (begun) {
                play_begin();
                play_part(QM_PART_TEXT, "x");
            }
            play_task.sink->failed(play_task.p, begun, begun ? 500 : 429, &e);
            assert_true(play_request.ended);
            assert_int_equal(play_request.status, stream && begun ? 200 : begun ? 500 : 429);
            const char *type = begun ? "api_error" : "rate_limit_error";
            char want[256];
            snprintf(want, sizeof want,
                     "%s{\"type\":\"error\",\"error\":{\"type\":\"%s\",\"message\":\"the queue is full\"}}",
                     stream && begun ? "event: error\ndata: " : "", type);
            assert_non_null(strstr(seen(), want));
        }
    play_reset(NULL);
    play_refuse_task = 1;
    play_request.path = "/v1/messages";
    play_request.body = "{" HI "}";
    api_messages(&play_server, &play_request);
    assert_int_equal(play_request.status, 500);
    /* What the template or a schema refuses. */
    play_reset(NULL);
    play_refuses = (qm_err){.code = QM_ERR_UNSUPPORTED, .msg = "tools: none"};
    play_request.path = "/v1/messages";
    play_request.body = "{" HI "}";
    api_messages(&play_server, &play_request);
    assert_int_equal(play_request.status, 400);
    assert_non_null(strstr(play_request.out.s, "tools: none"));
}

static void test_clients_that_go(void **state) {
    (void)state;
    for (int stream = 0; stream < 2; stream++)
        for (int begun = 0; begun < 2; begun++) {
            ask(stream ? "{\"stream\":true," HI "}" : "{" HI "}");
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
        cmocka_unit_test(test_count_tokens),  cmocka_unit_test(test_whole),           cmocka_unit_test(test_streamed),
        cmocka_unit_test(test_failures),      cmocka_unit_test(test_clients_that_go),
    };
    return cmocka_run_group_tests(tests, play_reset, play_end);
}
