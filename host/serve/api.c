/* api.c: which function answers a request. */
#include "api.h"
#include <string.h>

static const endpoint endpoints[] = {
#define QM_ENDPOINT(method, path, name, open) {method, path, api_##name, open},
#include "endpoints.def"
#undef QM_ENDPOINT
};
enum { N_ENDPOINTS = sizeof endpoints / sizeof *endpoints };

static int is_path(const endpoint *e, const char *path) {
    const size_t n = strlen(e->path);
    if (e->path[n - 1] == '*') return !strncmp(e->path, path, n - 1) && path[n - 1];
    return !strcmp(e->path, path);
}

/* What a browser asks before it sends a page's request: what may be sent. */
static void preflight(http_request *r) {
    const char *headers = http_header(r, "Access-Control-Request-Headers");
    static const char set[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_, ";
    const int good = headers && strlen(headers) < 2048 && !headers[strspn(headers, set)];
    http_set_header(r, "Access-Control-Allow-Methods", "GET, POST, OPTIONS");
    http_set_header(r, "Access-Control-Allow-Headers", good ? headers : "authorization, content-type, x-api-key");
    http_set_header(r, "Access-Control-Max-Age", "86400");
    if (http_header(r, "Access-Control-Request-Private-Network"))
        http_set_header(r, "Access-Control-Allow-Private-Network", "true");
    http_reply(r, 204, "text/plain", "", 0);
}

void api_dispatch(server *s, http_request *r) {
    const char *method = http_method(r), *path = http_path(r);
    char allow[64] = "";
    const endpoint *found = NULL;
    if (!strcmp(method, "HEAD")) method = "GET"; /* the answer's body is left out by the one who sends it */
    for (int i = 0; i < N_ENDPOINTS; i++) {
        const endpoint *e = &endpoints[i];
        if (!is_path(e, path)) continue;
        if (!strcmp(e->method, method)) found = e;
        snprintf(allow + strlen(allow), sizeof allow - strlen(allow), "%s, ", e->method);
    }
    if (api_admit(s, !strcmp(method, "OPTIONS") || (found && found->open), r)) return;
    if (!strcmp(method, "OPTIONS")) return preflight(r);
    if (!*allow) return api_error(r, 404, NULL, "there is no %.200s here", path);
    if (!found) {
        strcat(allow, "OPTIONS");
        http_set_header(r, "Allow", allow);
        return api_error(r, 405, NULL, "%.200s takes %s, not %.20s", path, allow, method);
    }
    if (s->draining && !strcmp(method, "POST")) return api_error(r, 503, NULL, "the server is shutting down");
    found->fn(s, r);
}
