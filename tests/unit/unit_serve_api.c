/* unit_serve_api: which function answers; keys, and the pages of browsers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <strings.h>
#include <cmocka.h>
#include "serve_fake.h"
#include "host/json.c"
#include "host/serve/reply.c"
#include "host/serve/admit.c"
#include "host/serve/api.c"

/* Each endpoint says that it was called. */
#define QM_ENDPOINT(method, path, name, open)                      \
    void api_##name(server *s, http_request *r) {                  \
        (void)s;                                                   \
        http_reply(r, 200, "text/plain", #name, sizeof #name - 1); \
    }
#include "host/serve/endpoints.def"
#undef QM_ENDPOINT

static char *keys[] = {"secret", "other-key"};

static void call(server *s, http_request *r, const char *method, const char *path) {
    r->method = method;
    r->path = path;
    fake_free(r);
    r->status = 0;
    *r->set = 0;
    api_dispatch(s, r);
    assert_true(r->ended);
}

static void test_dispatch(void **state) {
    (void)state;
    static const struct {
        const char *method, *path;
        int status;
        const char *says;
    } cases[] = {
        {"GET", "/", 200, "page"},
        {"HEAD", "/", 200, "page"},
        {"GET", "/health", 200, "health"},
        {"POST", "/v1/chat/completions", 200, "chat"},
        {"GET", "/v1/models", 200, "models"},
        {"GET", "/v1/models/a/b", 200, "model"},
        {"GET", "/v1/models/", 404, NULL},
        {"GET", "/v1", 404, NULL},
        {"GET", "/v1/chat/completions/", 404, NULL},
        {"GET", "/v1/chat/completions", 405, "POST, OPTIONS"},
        {"POST", "/health", 405, "GET, OPTIONS"},
        {"BREW", "/health", 405, "GET, OPTIONS"},
        {"OPTIONS", "/v1/messages", 204, ""},
    };
    server s = {0};
    http_request r = {0};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        call(&s, &r, cases[i].method, cases[i].path);
        if (r.status != cases[i].status) fail_msg("%s %s: %d %s", cases[i].method, cases[i].path, r.status, r.out.s);
        if (r.status == 200) assert_string_equal(r.out.s, cases[i].says);
        if (r.status == 405) assert_non_null(strstr(r.set, cases[i].says));
    }
    fake_free(&r);
}

static void test_draining(void **state) {
    (void)state;
    server s = {.draining = 1};
    http_request r = {0};
    call(&s, &r, "POST", "/v1/chat/completions");
    assert_int_equal(r.status, 503);
    assert_non_null(strstr(r.set, "Retry-After"));
    call(&s, &r, "GET", "/ready");
    assert_int_equal(r.status, 200);
    fake_free(&r);
}

static void test_keys(void **state) {
    (void)state;
    static const struct {
        const char *header, *value;
        int good;
    } cases[] = {{"Authorization", "Bearer secret", 1},
                 {"authorization", "bearer   secret", 1},
                 {"x-api-key", "other-key", 1},
                 {"Authorization", "Bearer other-key", 1},
                 {"Authorization", "secret", 0},
                 {"Authorization", "Basic secret", 0},
                 {"Authorization", "Bearer ", 0},
                 {"Authorization", "Bearer secre", 0},
                 {"Authorization", "Bearer secrets", 0},
                 {"Authorization", "Bearer Secret", 0},
                 {"x-api-key", "", 0},
                 {"x-api-key", "secretsecret", 0},
                 {"Cookie", "secret", 0}};
    server s = {.keys = keys, .n_keys = 2};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        http_request r = {.headers = {{cases[i].header, cases[i].value}, {"Origin", "http://evil.example"}}};
        call(&s, &r, "GET", "/v1/models");
        if (r.status != (cases[i].good ? 200 : 401)) fail_msg("%s: %s: %d", cases[i].header, cases[i].value, r.status);
        assert_non_null(strstr(r.set, "Access-Control-Allow-Origin: *\n"));
        call(&s, &r, "GET", "/health"); /* and what is open stays so */
        assert_int_equal(r.status, 200);
        call(&s, &r, "OPTIONS", "/v1/models");
        assert_int_equal(r.status, 204);
        call(&s, &r, "GET", "/nothing"); /* what is here and what not is not told either */
        assert_int_equal(r.status, cases[i].good ? 404 : 401);
        fake_free(&r);
    }
    http_request r = {0};
    call(&s, &r, "POST", "/v1/messages");
    assert_string_equal(
        r.out.s,
        "{\"type\":\"error\",\"error\":{\"type\":\"authentication_error\",\"message\":\"no API key, or none that is "
        "known here: Authorization: Bearer KEY, or x-api-key: KEY\"}}");
    fake_free(&r);
}

/* With no keys. */
static void test_pages(void **state) {
    (void)state;
    static const struct {
        const char *origin, *host, *peer;
        int good;
    } cases[] = {
        {"http://localhost:3000", "127.0.0.1:8080", "127.0.0.1:1", 1},
        {"http://127.0.0.1:8080", "127.0.0.1:8080", "127.0.0.1:1", 1},
        {"http://[::1]:8080", "[::1]:8080", "[::1]:1", 1},
        {"http://app.localhost", "localhost:8080", "127.0.0.1:1", 1},
        {"https://evil.example", "127.0.0.1:8080", "127.0.0.1:1", 0},
        {"http://evil.example:8080", "evil.example:8080", "127.0.0.1:1", 0}, /* DNS rebinding */
        {"http://evil.example:8080", "evil.example:8080", "[::1]:1", 0},
        {"http://localhost.evil.example", "127.0.0.1:8080", "127.0.0.1:1", 0},
        {"http://evillocalhost", "127.0.0.1:8080", "127.0.0.1:1", 0},
        {"http://127.0.0.1.evil.example", "127.0.0.1:8080", "127.0.0.1:1", 0},
        {"null", "127.0.0.1:8080", "127.0.0.1:1", 0},
        {"", "127.0.0.1:8080", "127.0.0.1:1", 0},
        {"http://192.168.1.5:8080", "192.168.1.5:8080", "192.168.1.9:1", 1},
        {"http://192.168.1.5:8080", "192.168.1.5:8080", "127.0.0.1:1", 1},
        {"http://192.168.1.5:9090", "192.168.1.5:8080", "192.168.1.9:1", 0},
        {"http://gpubox:8080", "gpubox:8080", "192.168.1.9:1", 1},
        {"http://gpubox:8080", "127.0.0.1:8080", "192.168.1.9:1", 0},
    };
    server s = {0};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        http_request r = {.peer = cases[i].peer, .headers = {{"Origin", cases[i].origin}, {"Host", cases[i].host}}};
        char want[128];
        snprintf(want, sizeof want, "Access-Control-Allow-Origin: %s\n", cases[i].origin);
        call(&s, &r, "POST", "/v1/chat/completions");
        if (r.status != (cases[i].good ? 200 : 403)) fail_msg("%s at %s: %d", cases[i].origin, cases[i].host, r.status);
        assert_true(!strstr(r.set, "Access-Control-Allow-Origin") == !cases[i].good);
        assert_true(!cases[i].good || strstr(r.set, want));
        call(&s, &r, "OPTIONS", "/v1/chat/completions");
        assert_int_equal(r.status, 204);
        assert_true(!strstr(r.set, "Access-Control-Allow-Origin") == !cases[i].good);
        fake_free(&r);
    }
    /* A program has no origin. */
    http_request r = {.headers = {{"Host", "gpubox:8080"}}};
    call(&s, &r, "POST", "/v1/chat/completions");
    assert_int_equal(r.status, 200);
    fake_free(&r);
}

static void test_preflight(void **state) {
    (void)state;
    server s = {.keys = keys, .n_keys = 2};
    http_request r = {.headers = {{"Origin", "https://app.example"},
                                  {"Access-Control-Request-Method", "POST"},
                                  {"Access-Control-Request-Headers", "authorization,x-stainless-os"}}};
    call(&s, &r, "OPTIONS", "/v1/chat/completions");
    assert_int_equal(r.status, 204);
    assert_non_null(strstr(r.set, "Access-Control-Allow-Headers: authorization,x-stainless-os\n"));
    assert_non_null(strstr(r.set, "Access-Control-Allow-Methods: GET, POST, OPTIONS\n"));
    r.headers[2][1] = "x\r\nSet-Cookie: a";
    call(&s, &r, "OPTIONS", "/v1/chat/completions");
    assert_null(strstr(r.set, "Cookie"));
    fake_free(&r);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_dispatch), cmocka_unit_test(test_draining),
                                       cmocka_unit_test(test_keys), cmocka_unit_test(test_pages),
                                       cmocka_unit_test(test_preflight)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
