/* unit_serve_fields: requests' JSON: what is no body, wrong types and ranges in every reader, errors in the protocols' shapes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <strings.h>
#include <cmocka.h>
#include "serve_fake.h"
#include "host/json.c"
#include "host/serve/fields.c"
#undef MOST
#include "host/serve/fields_ask.c"
#include "host/serve/reply.c"

static server srv;

static int reset(void **state) {
    (void)state;
    srv = (server){.info.n_vocab = 100,
                   .sampling = {.temperature = 0.5f,
                                .top_k = 40,
                                .top_p = 0.9,
                                .min_p = 0.05,
                                .repeat_penalty = 1,
                                .repeat_last_n = 64,
                                .seed = 7}};
    fake_logs = 0;
    return 0;
}

static json_t *body_of(http_request *r, const char *text, size_t n) {
    *r = (http_request){.method = "POST", .path = "/v1/chat/completions", .body = text, .n_body = n};
    return api_body(r);
}

/* ---- bodies ---- */
static void test_bad_bodies(void **state) {
    (void)state;
    static const struct {
        const char *text, *says;
    } cases[] = {
        {"", "not JSON: line 1"},
        {"{", "not JSON: line 1"},
        {"[1]", "no object"},
        {"\"a\"", "not JSON"},
        {"{\"a\":1,\"a\":2}", "duplicate"},
        {"{\"a\":1} x", "not JSON"},
        {"{\"a\":\"\xff\"}", "not JSON"},
        {"{\"a\":\"\xc0\x80\"}", "not JSON"},
        {"{\"a\":\"\xed\xa0\x80\"}", "not JSON"},
        {"{\"a\":\"\\u0000\"}", "\\u0000"},
        {"{\"a\":\"\\ud800\"}", "not JSON"},
        {"{\"a\":1e999}", "not JSON"},
        {"{\"a\":99999999999999999999}", "not JSON"},
        {"{\"a\":NaN}", "not JSON"},
        {"{\n \"a\" 1}", "line 2"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        http_request r;
        assert_null(body_of(&r, cases[i].text, 0));
        assert_int_equal(r.status, 400);
        if (!strstr(r.out.s, cases[i].says)) fail_msg("%s: %s", cases[i].text, r.out.s);
        json_t *j = json_loads(r.out.s, 0, NULL);
        assert_non_null(j);
        assert_string_equal(json_string_value(json_object_get(json_object_get(j, "error"), "type")),
                            "invalid_request_error");
        json_decref(j);
        fake_free(&r);
    }
}

static void nested(char *out, int depth, const char *open, const char *close) {
    strcpy(out, "{\"a\":");
    for (int i = 1; i < depth; i++) strcat(out, open);
    strcat(out, "1");
    for (int i = 1; i < depth; i++) strcat(out, close);
    strcat(out, "}");
}

static void test_depth_and_number(void **state) {
    (void)state;
    char text[2048];
    http_request r;
    for (int objects = 0; objects < 2; objects++) {
        nested(text, 64, objects ? "{\"a\":" : "[", objects ? "}" : "]");
        json_t *j = body_of(&r, text, 0);
        assert_non_null(j);
        json_decref(j);
        nested(text, 65, objects ? "{\"a\":" : "[", objects ? "}" : "]");
        assert_null(body_of(&r, text, 0));
        assert_int_equal(r.status, 400);
        assert_non_null(strstr(r.out.s, "64 deep"));
        fake_free(&r);
    }
    /* Brackets in strings are text, behind an escaped quote too. */
    strcpy(text, "{\"a\":\"\\\"");
    for (int i = 0; i < 200; i++) strcat(text, "[{");
    strcat(text, "\"}");
    json_t *j = body_of(&r, text, 0);
    assert_non_null(j);
    json_decref(j);
    /* A million values. */
    size_t n = 0, most = 1 << 20;
    char *many = malloc(2 * most + 32);
    n += (size_t)sprintf(many, "{\"a\":[");
    for (size_t i = 0; i < most; i++) many[n++] = '0', many[n++] = ',';
    many[n - 1] = ']';
    many[n++] = '}';
    assert_null(body_of(&r, many, n));
    assert_int_equal(r.status, 400);
    assert_non_null(strstr(r.out.s, "1048576 values"));
    fake_free(&r);
    free(many);
}

/* ---- readers ---- */
typedef enum { NUMBER, INT, BOOL, STRING, ARRAY, OBJECT } reader;
static void read_as(fields *f, reader how) {
    switch (how) {
    case NUMBER: fields_number(f, "x", -2, 2, 1.5); break;
    case INT: fields_int(f, "x", -2, 2, 1); break;
    case BOOL: fields_bool(f, "x", 1); break;
    case STRING: fields_string(f, "x", "else"); break;
    case ARRAY: fields_array(f, "x"); break;
    case OBJECT: fields_object(f, "x"); break;
    }
}

static void test_wrong_types(void **state) {
    (void)state;
    static const char *const values[] = {"0.5", "1", "true", "\"s\"", "[]", "{}", "null", "3", "-2.5", "2.0"};
    /* By reader, '1': taken. */
    static const char *const taken[] = {[NUMBER] = "1100001001", [INT] = "0100001001",   [BOOL] = "0010001000",
                                        [STRING] = "0001001000", [ARRAY] = "0000101000", [OBJECT] = "0000011000"};
    for (int how = NUMBER; how <= OBJECT; how++)
        for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
            char text[64];
            snprintf(text, sizeof text, "{\"x\":%s}", values[i]);
            json_t *j = json_loads(text, 0, NULL);
            fields f;
            fields_within(&f, j, "at.");
            read_as(&f, (reader)how);
            if (!*f.error != (taken[how][i] == '1')) fail_msg("reader %d of %s: \"%s\"", how, values[i], f.error);
            if (*f.error) {
                assert_string_equal(f.param, "at.x");
                assert_memory_equal(f.error, "at.x: ", 6);
            }
            json_decref(j);
        }
}

static void test_values_and_defaults(void **state) {
    (void)state;
    json_t *j = json_loads("{\"n\":1.25,\"i\":-3,\"w\":16.0,\"b\":false,\"s\":\"t\",\"z\":null}", 0, NULL);
    fields f;
    fields_begin(&f, j);
    assert_true(fields_number(&f, "n", 0, 2, 9) == 1.25 && fields_number(&f, "none", 0, 2, 9) == 9);
    assert_true(fields_int(&f, "i", -5, 5, 9) == -3 && fields_int(&f, "z", 0, 2, 9) == 9 &&
                fields_int(&f, "w", 0, 20, 0) == 16);
    assert_true(!fields_bool(&f, "b", 1) && fields_bool(&f, "none", 1));
    assert_string_equal(fields_string(&f, "s", "u"), "t");
    assert_string_equal(fields_string(&f, "z", "u"), "u");
    assert_string_equal(f.error, "");
    /* The first error stays. */
    fields_int(&f, "i", 0, 5, 0);
    fields_int(&f, "s", 0, 5, 0);
    fields_fail(&f, "late", "too late");
    assert_string_equal(f.param, "i");
    json_decref(j);
}

static void test_refusals(void **state) {
    (void)state;
    static const struct {
        const char *value, *unless;
        int refused;
    } cases[] = {
        {"null", "", 0},
        {"true", "false", 1},
        {"false", "false", 0},
        {"1", "0|1|2", 0},
        {"12", "0|1|2", 1},
        {"1", "10|12", 1},
        {"\"x\"", "\"x\"", 0},
        {"[]", "[]", 0},
        {"[1]", "[]", 1},
        {"[\"text\"]", "[\"text\"]", 0},
        {"{}", "", 1},
        {"1.0", "1|1.0", 0},
        {"\"\"", "\"\"|5", 0},
        {"\"a long text that cannot be one of the few short ones that are there to be found\"", "\"\"", 1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[256];
        snprintf(text, sizeof text, "{\"x\":%s}", cases[i].value);
        json_t *j = json_loads(text, 0, NULL);
        fields f;
        fields_begin(&f, j);
        fields_refuse(&f, "x", cases[i].unless, "not here");
        if ((*f.error != 0) != cases[i].refused)
            fail_msg("%s unless %s: \"%s\"", cases[i].value, cases[i].unless, f.error);
        json_decref(j);
    }
}

static void test_unknown_is_logged_once(void **state) {
    (void)state;
    http_request r = {.path = "/x"};
    for (int round = 0; round < 3; round++) {
        json_t *j = json_loads("{\"known\":1,\"fancy\\n\":2,\"other\":3}", 0, NULL);
        fields f;
        fields_begin(&f, j);
        fields_int(&f, "known", 0, 9, 0);
        assert_int_equal(fields_end(&f, &srv, &r), 0);
        json_decref(j);
    }
    assert_int_equal(fake_logs, 2);
    /* However many there are, memory and the log stay small. */
    for (int i = 0; i < 1000; i++) {
        char text[64];
        snprintf(text, sizeof text, "{\"name%d\":1}", i);
        json_t *j = json_loads(text, 0, NULL);
        fields f;
        fields_begin(&f, j);
        assert_int_equal(fields_end(&f, &srv, &r), 0);
        json_decref(j);
    }
    assert_int_equal(fake_logs, 64);
    assert_non_null(strstr(fake_log, "of further ones nothing is said"));
}

/* ---- what all requests for text have ---- */
static void ask(const char *text, task_ask *a, fields *f) {
    static json_t *j;
    json_decref(j);
    assert_non_null(j = json_loads(text, JSON_REJECT_DUPLICATES, NULL));
    *a = (task_ask){0};
    fields_begin(f, j);
    fields_sampling(f, &srv, "stop", a);
}

static void ask_free(task_ask *a) {
    free(a->bias);
    for (size_t i = 0; i < a->n_stop; i++) free(a->stop[i]);
    free(a->stop);
}

static void test_sampling(void **state) {
    (void)state;
    task_ask a;
    fields f;
    ask("{\"temperature\":1.5,\"top_k\":5,\"top_p\":0.25,\"min_p\":0.125,\"presence_penalty\":1,\"frequency_penalty\":-"
        "1,"
        "\"repetition_penalty\":1.25,\"repeat_last_n\":-1,\"seed\":12,\"ignore_eos\":true}",
        &a, &f);
    assert_string_equal(f.error, "");
    const qm_sampling *p = &a.sampling;
    assert_true(p->temperature == 1.5f && p->top_k == 5 && p->top_p == 0.25 && p->min_p == 0.125 &&
                p->presence_penalty == 1 && p->frequency_penalty == -1 && p->repeat_penalty == 1.25f &&
                p->repeat_last_n == -1 && p->seed == 12 && a.ignore_eos);
    ask_free(&a);
    ask("{\"repeat_penalty\":1.5}", &a, &f);
    assert_true(a.sampling.repeat_penalty == 1.5f && a.sampling.temperature == 0.5f && a.sampling.top_k == 40);
    /* A seed that nobody says is drawn each time; -1 too; the server's own holds where it has one. */
    uint64_t first = a.sampling.seed;
    ask("{}", &a, &f);
    assert_true(a.sampling.seed != first || first != 7);
    ask("{\"seed\":-1}", &a, &f);
    assert_true(a.sampling.seed <= UINT32_MAX);
    ask("{\"seed\":-2}", &a, &f);
    assert_true(a.sampling.seed == (uint64_t)-2);
    srv.seeded = 1;
    ask("{}", &a, &f);
    assert_true(a.sampling.seed == 7);
}

static void test_biases(void **state) {
    (void)state;
    static const struct {
        const char *value;
        int n; /* -1: refused */
    } cases[] = {{"{}", 0},
                 {"{\"5\":-100,\"99\":1.5}", 2},
                 {"[[5,-100],[6,false]]", 2},
                 {"[]", 0},
                 {"{\"100\":1}", -1},
                 {"{\"-1\":1}", -1},
                 {"{\"5x\":1}", -1},
                 {"{\"\":1}", -1},
                 {"{\"5\":\"a\"}", -1},
                 {"{\"5\":2e6}", -1},
                 {"[[5]]", -1},
                 {"[5]", -1},
                 {"[[5,true]]", -1},
                 {"[[1.5,1]]", -1},
                 {"\"x\"", -1},
                 {"3", -1},
                 {"{\"99999999999999999999\":1}", -1},
                 {"[[5,1],[5,2]]", 1}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[128];
        task_ask a;
        fields f;
        snprintf(text, sizeof text, "{\"logit_bias\":%s}", cases[i].value);
        ask(text, &a, &f);
        if (cases[i].n < 0) {
            if (strcmp(f.param, "logit_bias")) fail_msg("%s was taken", cases[i].value);
        } else {
            if (*f.error) fail_msg("%s: %s", cases[i].value, f.error);
            assert_int_equal(a.sampling.n_bias, cases[i].n);
            assert_true(!cases[i].n || a.sampling.bias == a.bias);
        }
        ask_free(&a);
    }
    /* The server's own, and over it the request's. */
    const qm_logit_bias own[] = {{3, 1}, {4, 2}};
    task_ask a;
    fields f;
    srv.sampling.bias = own;
    srv.sampling.n_bias = 2;
    ask("{\"logit_bias\":[[4,false],[5,-1]]}", &a, &f);
    assert_int_equal(a.sampling.n_bias, 3);
    assert_true(a.bias[0].id == 3 && a.bias[0].bias == 1 && a.bias[1].id == 4 && a.bias[1].bias == -INFINITY &&
                a.bias[2].id == 5);
    ask_free(&a);
}

static void test_stops(void **state) {
    (void)state;
    static const struct {
        const char *value;
        int n;
    } cases[] = {
        {"null", 0},
        {"\"a\"", 1},
        {"[]", 0},
        {"[\"a\",\"bc\"]", 2},
        {"\"\"", -1},
        {"[\"a\",\"\"]", -1},
        {"[1]", -1},
        {"5", -1},
        {"{}", -1},
        {"[\"1\",\"2\",\"3\",\"4\",\"5\",\"6\",\"7\",\"8\",\"9\",\"a\",\"b\",\"c\",\"d\",\"e\",\"f\",\"g\"]", 16},
        {"[\"1\",\"2\",\"3\",\"4\",\"5\",\"6\",\"7\",\"8\",\"9\",\"a\",\"b\",\"c\",\"d\",\"e\",\"f\",\"g\",\"h\"]",
         -1}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[256];
        task_ask a;
        fields f;
        snprintf(text, sizeof text, "{\"stop\":%s}", cases[i].value);
        ask(text, &a, &f);
        if (cases[i].n < 0) {
            if (strcmp(f.param, "stop")) fail_msg("%s was taken", cases[i].value);
        } else if (*f.error || a.n_stop != (size_t)cases[i].n)
            fail_msg("%s: %zu, %s", cases[i].value, a.n_stop, f.error);
        ask_free(&a);
    }
}

static void test_max_tokens(void **state) {
    (void)state;
    static const char *const names[] = {"max_completion_tokens", "max_tokens"};
    static const struct {
        const char *text;
        int64_t want; /* -1: refused */
    } cases[] = {{"{}", 16},
                 {"{\"max_tokens\":5}", 5},
                 {"{\"max_tokens\":-1}", 0},
                 {"{\"max_tokens\":0}", -1},
                 {"{\"max_tokens\":null}", 16},
                 {"{\"max_completion_tokens\":3,\"max_tokens\":5}", 3},
                 {"{\"max_tokens\":-2}", -1},
                 {"{\"max_tokens\":1.5}", -1},
                 {"{\"max_tokens\":\"5\"}", -1},
                 {"{\"max_completion_tokens\":-1,\"max_tokens\":5}", 0}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        json_t *j = json_loads(cases[i].text, 0, NULL);
        fields f;
        fields_begin(&f, j);
        uint32_t got = fields_max_tokens(&f, names, 2, 16);
        if (!!*f.error != (cases[i].want < 0) || (!*f.error && got != cases[i].want))
            fail_msg("%s: %u %s", cases[i].text, got, f.error);
        json_decref(j);
    }
}

/* ---- errors ---- */
static void test_error_shapes(void **state) {
    (void)state;
    http_request r = {.path = "/v1/completions"};
    api_error(&r, 400, "n", "n: %d", 5);
    assert_string_equal(
        r.out.s, "{\"error\":{\"message\":\"n: 5\",\"type\":\"invalid_request_error\",\"param\":\"n\",\"code\":null}}");
    assert_string_equal(r.type, "application/json");
    fake_free(&r);
    r = (http_request){.path = "/v1/messages/count_tokens"};
    api_error(&r, 404, NULL, "no");
    assert_string_equal(r.out.s, "{\"type\":\"error\",\"error\":{\"type\":\"not_found_error\",\"message\":\"no\"}}");
    fake_free(&r);
    r = (http_request){.path = "/v1/messagesandmore"};
    api_error(&r, 401, NULL, "no");
    assert_non_null(strstr(r.out.s, "\"code\":\"invalid_api_key\""));
    assert_non_null(strstr(r.set, "WWW-Authenticate: Bearer\n"));
    fake_free(&r);
    r = (http_request){.path = "/v1/completions"};
    api_error(&r, 429, NULL, "full");
    assert_non_null(strstr(r.set, "Retry-After: "));
    fake_free(&r);
    /* Bytes that are not UTF-8 do no harm. */
    r = (http_request){.path = "/v1/completions"};
    api_error(&r, 400, NULL, "near \"\xff\"");
    json_t *j = json_loads(r.out.s, 0, NULL);
    assert_non_null(j);
    json_decref(j);
    fake_free(&r);
}

static void test_params_of_failures(void **state) {
    (void)state;
    static const struct {
        const char *msg, *param;
    } cases[] = {{"messages[2].content[1]: type image_url", "messages[2].content[1]"},
                 {"tools: no", "tools"},
                 {"tool_choice: x", "tool_choice"},
                 {"the prompt is empty", NULL},
                 {"messages are bad: x", NULL},
                 {"messagesx: y", NULL},
                 {"template, line 3: no", NULL},
                 {"response_format: /properties: no", "response_format"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        http_request r = {.path = "/v1/chat/completions"};
        qm_err e;
        qm_fail(&e, QM_ERR_UNSUPPORTED, "%s", cases[i].msg);
        api_refuse(&r, &e);
        assert_int_equal(r.status, 400);
        json_t *j = json_loads(r.out.s, 0, NULL);
        const char *param = json_string_value(json_object_get(json_object_get(j, "error"), "param"));
        assert_true(!param == !cases[i].param);
        if (param) assert_string_equal(param, cases[i].param);
        json_decref(j);
        fake_free(&r);
    }
    qm_err e = {.code = QM_ERR_LIMIT, .msg = "x"};
    assert_int_equal(api_status_of(&e), 429);
    http_request r = {.path = "/v1/chat/completions"};
    api_refuse(&r, &e);
    assert_int_equal(r.status, 400);
    assert_non_null(strstr(r.out.s, "context_length_exceeded"));
    fake_free(&r);
}

static void test_ids(void **state) {
    (void)state;
    char a[40], b[40];
    api_id(a, "chatcmpl-");
    api_id(b, "chatcmpl-");
    assert_memory_equal(a, "chatcmpl-", 9);
    assert_int_equal(strlen(a), 33);
    assert_string_not_equal(a, b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_bad_bodies, reset),   cmocka_unit_test_setup(test_depth_and_number, reset),
        cmocka_unit_test_setup(test_wrong_types, reset),  cmocka_unit_test_setup(test_values_and_defaults, reset),
        cmocka_unit_test_setup(test_refusals, reset),     cmocka_unit_test_setup(test_unknown_is_logged_once, reset),
        cmocka_unit_test_setup(test_sampling, reset),     cmocka_unit_test_setup(test_biases, reset),
        cmocka_unit_test_setup(test_stops, reset),        cmocka_unit_test_setup(test_max_tokens, reset),
        cmocka_unit_test_setup(test_error_shapes, reset), cmocka_unit_test_setup(test_params_of_failures, reset),
        cmocka_unit_test_setup(test_ids, reset)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
