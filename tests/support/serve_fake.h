/* serve_fake.h: HTTP and tasks as the server's endpoints see them, with nothing behind: what they write is kept, what they
 * ask is kept, and a test plays the rest. For tests that include host/serve/....c; each includes it once. */
#ifndef QM_TESTS_SERVE_FAKE_H
#define QM_TESTS_SERVE_FAKE_H
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include "host/serve/api.h"
#include "host/serve/log.h"

struct http_request {
    const char *method, *path, *peer;
    const char *body;
    size_t n_body; /* 0: up to its NUL, unless empty */
    int empty;
    const char *headers[8][2]; /* sent: {name, value}, up to NULL */
    char set[2048];            /* "Name: value\n" each, that were set */
    int status, streams, ended, gone;
    char type[64];
    qm_buffer out;
    int write_fails;
    void (*on_gone)(void *user);
    void *user;
};

static void fake_free(http_request *r) {
    free(r->out.s);
    r->out = (qm_buffer){0};
}

const char *http_method(const http_request *r) { return r->method; }
const char *http_path(const http_request *r) { return r->path; }
const char *http_peer(const http_request *r) { return r->peer ? r->peer : "127.0.0.1:4321"; }
const char *http_query(const http_request *r, const char *name) { return (void)r, (void)name, NULL; }
const char *http_body(const http_request *r, size_t *n) {
    *n = r->n_body || r->empty ? r->n_body : strlen(r->body);
    return r->body;
}
const char *http_header(const http_request *r, const char *name) {
    for (int i = 0; i < 8 && r->headers[i][0]; i++)
        if (!strcasecmp(r->headers[i][0], name)) return r->headers[i][1];
    return NULL;
}
void http_on_gone(http_request *r, void (*gone)(void *user), void *user) {
    r->on_gone = gone;
    r->user = user;
}
void http_set_header(http_request *r, const char *name, const char *value) {
    size_t n = strlen(r->set);
    snprintf(r->set + n, sizeof r->set - n, "%s: %s\n", name, value);
}
void http_reply(http_request *r, int status, const char *type, const char *s, size_t n) {
    assert(!r->status && !r->gone);
    r->status = status;
    snprintf(r->type, sizeof r->type, "%s", type);
    r->ended = 1;
    qm_buffer_put(&r->out, s, n);
}
void http_stream(http_request *r, int status, const char *type) {
    assert(!r->status && !r->gone);
    r->status = status;
    r->streams = 1;
    snprintf(r->type, sizeof r->type, "%s", type);
}
int http_write(http_request *r, const char *s, size_t n) {
    assert(r->streams && !r->ended && !r->gone);
    return r->write_fails ? -1 : qm_buffer_put(&r->out, s, n);
}
void http_end(http_request *r) {
    assert(r->streams && !r->ended && !r->gone);
    r->ended = 1;
}

/* What was logged last. */
static char fake_log[1024];
static int fake_logs;
void log_line(const server *s, const char *level, const char *fmt, ...) {
    va_list ap;
    (void)s, (void)level;
    va_start(ap, fmt);
    vsnprintf(fake_log, sizeof fake_log, fmt, ap);
    va_end(ap);
    fake_logs++;
}

#ifndef QM_TESTS_NO_BUFFER
/* Host's own; the test programs have not its objects. */
int qm_buffer_put(qm_buffer *b, const char *s, size_t n) {
    char *p = realloc(b->s, b->n + n + 1);
    if (!p) return -1;
    b->s = p;
    if (n) memcpy(p + b->n, s, n);
    p[b->n += n] = 0;
    return 0;
}
#endif
#endif
