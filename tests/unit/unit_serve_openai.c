/* unit_serve_openai: answers as OpenAI's clients read them, byte by byte: chunks and objects from the same parts, calls,
 * thinking, log-probabilities, several answers and prompts, failures at each stage, clients that go away. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <strings.h>
#include <time.h>
#include <cmocka.h>
#include "serve_fake.h"
#include "host/json.c"
#include "host/serve/reply.c"
#define send openai_send
#include "host/serve/sink.c"
#include "host/serve/openai.c"
#undef send
/* Two sinks have functions of the same names. */
#define choice chat_choice
#define on_token chat_on_token
#define on_part chat_on_part
#define on_begin chat_on_begin
#define on_finish chat_on_finish
#define on_done chat_on_done
#define on_failed chat_on_failed
#define on_gone chat_on_gone
#define take_logprobs chat_take_logprobs
#define chunk chat_chunk
#define send chat_send
#define whole chat_whole
#include "host/serve/openai_chat_sink.c"
#undef choice
#undef on_token
#undef on_part
#undef on_begin
#undef on_finish
#undef on_done
#undef on_failed
#undef on_gone
#undef take_logprobs
#undef chunk
#undef send
#undef whole
#define send text_send
#include "host/serve/openai_completions_sink.c"
#undef send

/* ---- what is behind ---- */
const char *qm_engine_piece(const qm_engine *g, uint32_t id, size_t *n) {
    static const char *const pieces[] = {"a", " b", "\xe2\x82", "\xac", "\""};
    (void)g;
    *n = strlen(pieces[id]);
    return pieces[id];
}
void qm_guide_close(qm_guide *g) { (void)g; }
int api_fit(const server *s, task_ask *a, qm_err *e) { return (void)s, (void)a, (void)e, 0; }
void task_ask_free(task_ask *a) {
    qm_tokens_free(&a->prompt);
    free(a->bias);
    for (size_t i = 0; i < a->n_stop; i++) free(a->stop[i]);
    free(a->stop);
    *a = (task_ask){0};
}
void qm_tokens_free(qm_tokens *t) {
    free(t->v);
    *t = (qm_tokens){0};
}
void fields_begin(fields *f, const json_t *o) { (void)f, (void)o; }
void fields_within(fields *f, const json_t *o, const char *at) { (void)f, (void)o, (void)at; }
void fields_join(fields *f, const fields *inner) { (void)f, (void)inner; }
void fields_fail(fields *f, const char *param, const char *fmt, ...) { (void)f, (void)param, (void)fmt; }
int64_t fields_int(fields *f, const char *n, int64_t a, int64_t b, int64_t o) { return (void)f, (void)n, (void)a, (void)b, o; }
int fields_bool(fields *f, const char *n, int o) { return (void)f, (void)n, o; }
const char *fields_string(fields *f, const char *n, const char *o) { return (void)f, (void)n, o; }
json_t *fields_object(fields *f, const char *n) { return (void)f, (void)n, NULL; }
void fields_refuse(fields *f, const char *n, const char *u, const char *w) { (void)f, (void)n, (void)u, (void)w; }
void fields_sampling(fields *f, server *s, const char *n, task_ask *a) { (void)f, (void)s, (void)n, (void)a; }

/* The tasks that were begun. */
struct task {
    task_ask a;
    const task_sink *sink;
    void *p;
    int cancelled;
};
static task tasks[8];
static int n_tasks, refuse_tasks;
task *task_begin(server *s, const char *peer, task_ask *a, const task_sink *sink, void *p, const char *id) {
    (void)s, (void)peer, (void)id;
    if (refuse_tasks && n_tasks + 1 >= refuse_tasks) return NULL;
    tasks[n_tasks] = (task){*a, sink, p, 0};
    *a = (task_ask){0};
    return &tasks[n_tasks++];
}
void task_cancel(task *t) { t->cancelled++; }

static server srv;
static http_request req;
static int reset(void **state) {
    (void)state;
    for (int i = 0; i < n_tasks; i++) task_ask_free(&tasks[i].a);
    n_tasks = refuse_tasks = 0;
    srv = (server){.alias = "m", .commit = "c0ffee", .info = {.device = "sim", .executor = "graph"}};
    fake_free(&req);
    req = (http_request){.method = "POST", .path = "/v1/chat/completions"};
    return 0;
}

static void begin_chat(int stream, int usage, uint32_t n, int logprobs) {
    task_ask a = {.logprobs = logprobs, .sampling.seed = 9, .n = n};
    openai_chat_begin(&srv, &req, &a, &(openai_common){stream, usage, n});
    assert_int_equal(n_tasks, 1);
}

/* What differs from run to run is written over: ids, and when. */
static char *seen(void) {
    static const char *const names[] = {"\"id\":\"", "\"created\":"};
    char *s = req.out.s ? req.out.s : (char *)"";
    for (size_t k = 0; k < 2; k++)
        for (char *at = s; (at = strstr(at, names[k]));) {
            at += strlen(names[k]);
            if (k) {
                size_t digits = strspn(at, "0123456789");
                memmove(at + 1, at + digits, strlen(at + digits) + 1);
                *at = 'T';
            } else {
                char *dash = at + strcspn(at, "-_"), *end = strchr(at, '"');
                memmove(dash + 1, end, strlen(end) + 1);
            }
        }
    return s;
}

#define HEAD "data: {\"id\":\"chatcmpl-\",\"object\":\"chat.completion.chunk\",\"created\":T,\"model\":\"m\",\"system_fingerprint\":" \
             "\"qmoe-gpu-c0ffee-sim-graph\",\"choices\":["
#define DELTA(i, delta) HEAD "{\"index\":" i ",\"delta\":" delta ",\"finish_reason\":null}]}\n\n"
#define TIMINGS "\"timings\":{\"cache_n\":2,\"prompt_n\":8,\"prompt_ms\":500.0,\"prompt_per_token_ms\":62.5,\"prompt_per_second\":16.0," \
                "\"predicted_n\":3,\"predicted_ms\":1000.0,\"predicted_per_token_ms\":250.0,\"predicted_per_second\":4.0,\"queued_ms\":" \
                "250.0},\"seed\":9"
#define USAGE "\"usage\":{\"prompt_tokens\":10,\"completion_tokens\":3,\"total_tokens\":13,\"prompt_tokens_details\":{\"cached_tokens\":2}}"
static const task_usage used = {.n_prompt = 10, .n_cached = 2, .n_generated = 3, .queued_s = 0.25, .first_token_s = 0.75,
                                .total_s = 1.75, .tokens_per_s = 4};

static void part(uint32_t i, qm_part kind, const char *s) { tasks[0].sink->part(tasks[0].p, i, kind, s, strlen(s)); }

/* An answer with all that there can be. */
static void play(void) {
    const task_sink *k = tasks[0].sink;
    if (k->begin) k->begin(tasks[0].p);
    part(0, QM_PART_THINKING, "hm");
    part(0, QM_PART_TEXT, "a\n\"\xe2\x82\xac");
    part(0, QM_PART_TEXT, " b");
    part(0, QM_PART_CALL, "f");
    part(0, QM_PART_ARGUMENTS, "{\"x\":");
    part(0, QM_PART_ARGUMENTS, "1}");
    part(0, QM_PART_CALL_END, "");
    part(0, QM_PART_CALL, "g");
    part(0, QM_PART_ARGUMENTS, "{}");
    part(0, QM_PART_CALL_END, "");
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
        DELTA("0", "{\"tool_calls\":[{\"index\":0,\"id\":\"call_\",\"type\":\"function\",\"function\":{\"name\":\"f\",\"arguments\":\"\"}}]}")
        DELTA("0", "{\"tool_calls\":[{\"index\":0,\"function\":{\"arguments\":\"{\\\"x\\\":\"}}]}")
        DELTA("0", "{\"tool_calls\":[{\"index\":0,\"function\":{\"arguments\":\"1}\"}}]}")
        DELTA("0", "{\"tool_calls\":[{\"index\":1,\"id\":\"call_\",\"type\":\"function\",\"function\":{\"name\":\"g\",\"arguments\":\"\"}}]}")
        DELTA("0", "{\"tool_calls\":[{\"index\":1,\"function\":{\"arguments\":\"{}\"}}]}")
        HEAD "{\"index\":0,\"delta\":{},\"finish_reason\":\"tool_calls\"}]," TIMINGS "}\n\ndata: [DONE]\n\n");
}

static void test_chat_usage_chunk(void **state) {
    (void)state;
    begin_chat(1, 1, 1, 0);
    const task_sink *k = tasks[0].sink;
    k->begin(tasks[0].p);
    k->finish(tasks[0].p, 0, TASK_LENGTH, NULL);
    k->done(tasks[0].p, &used);
    assert_string_equal(seen(),
                        HEAD "{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"},\"finish_reason\":null}],\"usage\":null}\n\n"
                        HEAD "{\"index\":0,\"delta\":{},\"finish_reason\":\"length\"}],\"usage\":null}\n\n"
                        HEAD "]," USAGE "," TIMINGS "}\n\ndata: [DONE]\n\n");
}

static void test_chat_whole(void **state) {
    (void)state;
    begin_chat(0, 0, 1, 0);
    play();
    assert_int_equal(req.status, 200);
    assert_false(req.streams);
    assert_string_equal(
        seen(), "{\"id\":\"chatcmpl-\",\"object\":\"chat.completion\",\"created\":T,\"model\":\"m\",\"system_fingerprint\":"
                "\"qmoe-gpu-c0ffee-sim-graph\",\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":"
                "\"a\\n\\\"\xe2\x82\xac b\",\"refusal\":null,\"reasoning_content\":\"hm\",\"tool_calls\":["
                "{\"id\":\"call_\",\"type\":\"function\",\"function\":{\"name\":\"f\",\"arguments\":\"{\\\"x\\\":1}\"}},"
                "{\"id\":\"call_\",\"type\":\"function\",\"function\":{\"name\":\"g\",\"arguments\":\"{}\"}}]},\"logprobs\":null,"
                "\"finish_reason\":\"tool_calls\"}]," USAGE "," TIMINGS "}");
}

/* Without text a call's content is null, and an empty answer's is "". */
static void test_chat_content(void **state) {
    for (int calls = 0; calls < 2; calls++) {
        reset(state);
        begin_chat(0, 0, 1, 0);
        if (calls) part(0, QM_PART_CALL, "f"), part(0, QM_PART_ARGUMENTS, "{}");
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
    part(1, QM_PART_TEXT, "y");
    part(0, QM_PART_TEXT, "x");
    k->finish(tasks[0].p, 1, TASK_STOP, NULL);
    part(0, QM_PART_CALL, "f");
    k->finish(tasks[0].p, 0, TASK_LENGTH, NULL);
    k->done(tasks[0].p, &used);
    assert_string_equal(
        seen(), DELTA("0", "{\"role\":\"assistant\",\"content\":\"\"}") DELTA("1", "{\"role\":\"assistant\",\"content\":\"\"}")
                DELTA("1", "{\"content\":\"y\"}") DELTA("0", "{\"content\":\"x\"}")
                HEAD "{\"index\":1,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n"
                DELTA("0", "{\"tool_calls\":[{\"index\":0,\"id\":\"call_\",\"type\":\"function\",\"function\":{\"name\":\"f\",\"arguments\":\"\"}}]}")
                HEAD "{\"index\":0,\"delta\":{},\"finish_reason\":\"length\"}]," TIMINGS "}\n\ndata: [DONE]\n\n");
}

/* ---- log-probabilities ---- */
static void token(task *t, uint32_t i, uint32_t id, float logprob, uint32_t n) {
    qm_logprobs lp = {.logprob = logprob, .n = n, .top = {{id, logprob}, {4, -INFINITY}}};
    size_t len;
    const char *s = qm_engine_piece(NULL, id, &len);
    t->sink->token(t->p, i, id, s, len, &lp);
}

/* The two halves of a euro sign: one delta, which tells of both tokens; the last token, which gave no text, with the end. */
static void test_chat_logprobs(void **state) {
    (void)state;
    static const char both[] = "[{\"token\":\"\xef\xbf\xbd\",\"logprob\":-0.5,\"bytes\":[226,130],\"top_logprobs\":[]},{\"token\":"
                               "\"\xef\xbf\xbd\",\"logprob\":-1.0,\"bytes\":[172],\"top_logprobs\":[{\"token\":\"\xef\xbf\xbd\",\"logprob\":-1.0,"
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
        part(0, QM_PART_TEXT, "\xe2\x82\xac");
        token(&tasks[0], 0, 0, -0.25f, 0);
        k->finish(tasks[0].p, 0, TASK_STOP, NULL);
        k->done(tasks[0].p, &used);
        snprintf(want, sizeof want, stream ? "\"logprobs\":{\"content\":%s],\"refusal\":null}" : "\"logprobs\":{\"content\":%s,%s,\"refusal\":null}",
                 both, end);
        if (!strstr(req.out.s, want)) fail_msg("no %s in %s", want, req.out.s);
        if (!stream) continue;
        assert_non_null(strstr(req.out.s, "\"content\":\"\"},\"finish_reason\":null,\"logprobs\":null}"));
        snprintf(want, sizeof want, "\"finish_reason\":\"stop\",\"logprobs\":{\"content\":[%s,", end);
        assert_non_null(strstr(req.out.s, want));
    }
}

/* ---- completions ---- */
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

#define TEXT_HEAD "\"id\":\"cmpl-\",\"object\":\"text_completion\",\"created\":T,\"model\":\"m\",\"system_fingerprint\":\"qmoe-gpu-c0ffee-" \
                  "sim-graph\",\"choices\":["
#define TEXT(i, s, finish) "{\"text\":\"" s "\",\"index\":" i ",\"logprobs\":null,\"finish_reason\":" finish "}"

/* Two prompts, two answers each: choice 2 * prompt + answer; counts add up. */
static void test_completions(void **state) {
    for (int stream = 0; stream < 2; stream++) {
        reset(state);
        begin_text(stream, 2, 2, 0);
        assert_int_equal(n_tasks, 2);
        assert_true(tasks[1].a.n_stop == 1 && !strcmp(tasks[1].a.stop[0], "stop") && tasks[1].a.stop != tasks[0].a.stop);
        for (int t = 1; t >= 0; t--) {
            const task_sink *k = tasks[t].sink;
            k->begin(tasks[t].p);
            k->part(tasks[t].p, 1, QM_PART_TEXT, t ? "p1a1" : "p0a1", 4);
            k->finish(tasks[t].p, 1, TASK_STOP, "x");
            k->part(tasks[t].p, 0, QM_PART_TEXT, t ? "p1a0" : "p0a0", 4);
            k->finish(tasks[t].p, 0, TASK_LENGTH, NULL);
            k->done(tasks[t].p, &(task_usage){.n_prompt = 5, .n_cached = 1, .n_generated = t + 1, .queued_s = 0.25,
                                              .first_token_s = 0.75, .total_s = 1.75, .tokens_per_s = t ? 4 : 2});
        }
        assert_int_equal(req.status, 200);
        if (stream)
            assert_string_equal(
                seen(), "data: {" TEXT_HEAD TEXT("3", "p1a1", "null") "]}\n\ndata: {" TEXT_HEAD TEXT("3", "", "\"stop\"")
                        "]}\n\ndata: {" TEXT_HEAD TEXT("2", "p1a0", "null") "]}\n\ndata: {" TEXT_HEAD TEXT("2", "", "\"length\"")
                        "]}\n\ndata: {" TEXT_HEAD TEXT("1", "p0a1", "null") "]}\n\ndata: {" TEXT_HEAD TEXT("1", "", "\"stop\"")
                        "]}\n\ndata: {" TEXT_HEAD TEXT("0", "p0a0", "null") "]}\n\ndata: {" TEXT_HEAD TEXT("0", "", "\"length\"")
                        "]," TIMINGS "}\n\ndata: [DONE]\n\n");
        else
            assert_string_equal(seen(), "{" TEXT_HEAD TEXT("0", "p0a0", "\"length\"") "," TEXT("1", "p0a1", "\"stop\"") ","
                                        TEXT("2", "p1a0", "\"length\"") "," TEXT("3", "p1a1", "\"stop\"") "]," USAGE "," TIMINGS "}");
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
    assert_non_null(strstr(req.out.s, "\"text\":\"\xc3\xa9! b\xe2\x82\xac"
                                      "a\",\"index\":0,\"logprobs\":{\"tokens\":[\" b\",\"bytes:\\\\xe2\\\\x82\",\"bytes:\\\\xac\",\"a\"],"
                                      "\"token_logprobs\":[-0.5,-0.5,-0.5,-0.5],\"top_logprobs\":[{\" b\":-0.5},{},{\"bytes:\\\\xac\":-0.5,"
                                      "\"\\\"\":-9999.0},{}],\"text_offset\":[2,4,5,5]}"));
}

/* ---- failures ---- */
static void test_failures(void **state) {
    qm_err e = {.code = QM_ERR_LIMIT, .msg = "it is full"};
    for (int completions = 0; completions < 2; completions++)
        for (int stream = 0; stream < 2; stream++)
            for (int began = 0; began < 2; began++) {
                reset(state);
                if (completions) begin_text(stream, 1, 2, 0);
                else begin_chat(stream, 0, 1, 0);
                const task_sink *k = tasks[0].sink;
                if (began && k->begin) k->begin(tasks[0].p);
                if (began) part(0, QM_PART_TEXT, "some");
                k->failed(tasks[0].p, began, 429, &e);
                assert_true(req.ended);
                if (completions) assert_int_equal(tasks[1].cancelled, 1);
                if (stream && began) {
                    const char *last = strstr(req.out.s, "data: {\"error\":{\"message\":\"it is full\"");
                    assert_non_null(last);
                    assert_null(strstr(last, "[DONE]"));
                } else assert_int_equal(req.status, 429);
            }
}

static void test_clients_that_go(void **state) {
    for (int completions = 0; completions < 2; completions++)
        for (int stream = 0; stream < 2; stream++) {
            reset(state);
            if (completions) begin_text(stream, 1, 3, 0);
            else begin_chat(stream, 0, 1, 0);
            if (tasks[0].sink->begin) tasks[0].sink->begin(tasks[0].p);
            part(0, QM_PART_TEXT, "some");
            req.gone = 1;
            req.on_gone(req.user);
            for (int i = 0; i < n_tasks; i++) assert_int_equal(tasks[i].cancelled, 1);
        }
    /* A client that takes nothing: the rest is not written, and the end is an end. */
    reset(state);
    begin_chat(1, 0, 1, 0);
    tasks[0].sink->begin(tasks[0].p);
    size_t before = req.out.n;
    req.write_fails = 1;
    part(0, QM_PART_TEXT, "lost");
    req.write_fails = 0;
    part(0, QM_PART_TEXT, "not written");
    tasks[0].sink->finish(tasks[0].p, 0, TASK_STOP, NULL);
    tasks[0].sink->done(tasks[0].p, &used);
    assert_true(req.ended && req.out.n == before);
}

static void test_no_memory_for_a_task(void **state) {
    refuse_tasks = 1;
    task_ask a = {0};
    openai_chat_begin(&srv, &req, &a, &(openai_common){1, 0, 1});
    assert_int_equal(req.status, 500);
    reset(state);
    refuse_tasks = 2; /* the second prompt's */
    begin_text(1, 1, 3, 0);
    assert_int_equal(req.status, 500);
    assert_int_equal(tasks[0].cancelled, 1);
}

static int clean(void **state) { return reset(state); }

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_chat_streamed, reset),    cmocka_unit_test_setup(test_chat_usage_chunk, reset),
        cmocka_unit_test_setup(test_chat_whole, reset),       cmocka_unit_test_setup(test_chat_content, reset),
        cmocka_unit_test_setup(test_chat_several, reset),     cmocka_unit_test_setup(test_chat_logprobs, reset),
        cmocka_unit_test_setup(test_completions, reset),      cmocka_unit_test_setup(test_completions_logprobs, reset),
        cmocka_unit_test_setup(test_failures, reset),         cmocka_unit_test_setup(test_clients_that_go, reset),
        cmocka_unit_test_setup_teardown(test_no_memory_for_a_task, reset, clean)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
