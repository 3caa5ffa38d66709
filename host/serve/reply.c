/* reply.c: what an answer looks like on the wire: JSON, events of a stream, errors in the shape of their protocol. */
#include "api.h"
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include "../json.h"

/* 12 digits: more than a float has, and 0.95 stays 0.95. */
#define API_JSON (JSON_COMPACT | JSON_REAL_PRECISION(12))

/* The protocols' names of an error. */
static const struct kind {
    int status;
    const char *openai, *anthropic, *code; /* code: OpenAI's; NULL: null */
} kinds[] = {{400, "invalid_request_error", "invalid_request_error", NULL},
             {401, "authentication_error", "authentication_error", "invalid_api_key"},
             {403, "permission_error", "permission_error", NULL},
             {404, "not_found_error", "not_found_error", "not_found"},
             {405, "invalid_request_error", "invalid_request_error", "method_not_allowed"},
             {413, "invalid_request_error", "request_too_large", "request_too_large"},
             {429, "rate_limit_error", "rate_limit_error", "rate_limit_exceeded"},
             {503, "unavailable_error", "overloaded_error", NULL},
             {504, "server_error", "api_error", "timeout"},
             {500, "server_error", "api_error", NULL}};

static const struct kind *kind_of(int status) {
    const struct kind *k = kinds;
    while (k->status != status && k->status != 500) k++;
    return k;
}

static json_t *error_json(int anthropic, int status, const char *param, const char *code, const char *message) {
    const struct kind *k = kind_of(status);
    json_t *text = qm_host_json_str(message);
    if (anthropic)
        return json_pack("{s:s, s:{s:s, s:o}}", "type", "error", "error", "type", k->anthropic, "message", text);
    return json_pack("{s:{s:o, s:s, s:o, s:s?}}", "error", "message", text, "type", k->openai, "param",
                     qm_host_json_str(param), "code", code ? code : k->code);
}

static void send_error(http_request *r, int status, const char *param, const char *code, const char *message) {
    if (status == 401) http_set_header(r, "WWW-Authenticate", "Bearer");
    if (status == 429 || status == 503) http_set_header(r, "Retry-After", "1");
    api_reply_json(r, status, error_json(api_is_anthropic(r), status, param, code, message));
}

int api_is_anthropic(const http_request *r) {
    const char *p = http_path(r);
    return !strcmp(p, "/v1/messages") || !strncmp(p, "/v1/messages/", 13);
}

void api_error(http_request *r, int status, const char *param, const char *fmt, ...) {
    char message[1024];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(message, sizeof message, fmt, ap);
    va_end(ap);
    send_error(r, status, param, NULL, message);
}

/* "messages[2].content: no text" says where: the place before the colon, if it is made of names, indices and points. */
static const char *param_of(char *place, size_t cap, const qm_err *e) {
    static const char *const fields[] = {"messages", "tools", "tool_choice", "response_format", "chat_template_kwargs"};
    size_t n = strspn(e->msg, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_[].");
    if (!n || n >= cap || e->msg[n] != ':') return NULL;
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        size_t m = strlen(fields[i]);
        if (n >= m && !memcmp(e->msg, fields[i], m) && (n == m || strchr(".[", e->msg[m]))) {
            memcpy(place, e->msg, n);
            place[n] = 0;
            return place;
        }
    }
    return NULL;
}

void api_fail(http_request *r, int status, const qm_err *e) {
    char place[128];
    const char *code = status == 400 && e->code == QM_ERR_LIMIT ? "context_length_exceeded" : NULL;
    send_error(r, status, param_of(place, sizeof place, e), code, *e->msg ? e->msg : "failed without a message");
}

json_t *api_error_json(int anthropic, int status, const qm_err *e) {
    char place[128];
    return error_json(anthropic, status, param_of(place, sizeof place, e), NULL, e->msg);
}

int api_status_of(const qm_err *e) {
    switch (e->code) {
    case QM_ERR_ARG:
    case QM_ERR_UNSUPPORTED: return 400;
    case QM_ERR_LIMIT: return 429;
    case QM_ERR_CANCELLED: return 503;
    default: return 500;
    }
}

void api_refuse(http_request *r, const qm_err *e) {
    api_fail(r, e->code == QM_ERR_NOMEM || e->code == QM_ERR_DEVICE ? 500 : 400, e);
}

void api_reply_json(http_request *r, int status, json_t *j) {
    static const char none[] =
        "{\"error\":{\"message\":\"out of memory\",\"type\":\"server_error\",\"param\":null,\"code\":null}}";
    char *s = j ? json_dumps(j, API_JSON) : NULL;
    json_decref(j);
    if (s) http_reply(r, status, "application/json", s, strlen(s));
    else http_reply(r, 500, "application/json", none, sizeof none - 1);
    free(s);
}

void api_begin_stream(http_request *r) {
    http_set_header(r, "Cache-Control", "no-cache");
    http_set_header(r, "X-Accel-Buffering", "no"); /* nginx would collect events */
    http_stream(r, 200, "text/event-stream; charset=utf-8");
}

static int put(const char *s, size_t n, void *b) { return qm_buffer_put(b, s, n); }

int api_event(http_request *r, const char *name, json_t *j) {
    qm_buffer b = {0};
    int bad = !j || (name && (put("event: ", 7, &b) || put(name, strlen(name), &b) || put("\n", 1, &b))) ||
              put("data: ", 6, &b) || json_dump_callback(j, put, &b, API_JSON) || put("\n\n", 2, &b);
    json_decref(j);
    int rc = bad ? -1 : http_write(r, b.s, b.n);
    free(b.s);
    return rc;
}

void api_id(char out[40], const char *prefix) {
    static const char set[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
    static uint64_t count; /* where the system has no random bytes, ids are at least different */
    unsigned char v[24] = {0};
    if (getrandom(v, sizeof v, 0) != sizeof v) memcpy(v, &count, sizeof count), count++;
    size_t n = strnlen(prefix, 15);
    memcpy(out, prefix, n);
    for (size_t i = 0; i < sizeof v; i++) out[n + i] = set[v[i] % 62];
    out[n + sizeof v] = 0;
}
