/* http_answer.c: answers: whole, or as a stream whose bytes wait in a buffer until the library, and so the client, takes them. */
#include "http_inside.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A line break in a value would begin a header of its own. */
static char *one_line(const char *s) {
    char *t = strdup(s);
    for (char *p = t; p && *p; p++)
        if ((unsigned char)*p < ' ' || *p == 0x7f) *p = ' ';
    return t;
}

void http_set_header(http_request *r, const char *name, const char *value) {
    header *x = r->held ? calloc(1, sizeof *x) : NULL;
    if (!x) return;
    x->next = r->headers;
    x->name = one_line(name);
    x->value = one_line(value);
    r->headers = x;
}

static void add_header(struct MHD_Response *m, const char *name, const char *value) {
    MHD_add_response_header(m, name, value);
}

/* The answer's head, on m, which is taken. -1: no memory. */
static int begin(http_request *r, int status, const char *type, struct MHD_Response *m) {
    if (!m) return -1;
    for (header *x = r->headers; x; x = x->next)
        if (x->name && x->value) add_header(m, x->name, x->value);
    http_free_headers(r);
    if (type) add_header(m, "Content-Type", type);
    add_header(m, "X-Content-Type-Options", "nosniff");
    if (r->h->refuse) add_header(m, "Connection", "close"); /* we are about to leave: the next request goes elsewhere */
    r->response = m;
    r->status = status;
    if (r->h->o.on_answer) r->h->o.on_answer(r->h->o.user, *r->path ? r->path : NULL, status);
    return 0;
}

enum MHD_Result http_answer_queue(http_request *r, struct MHD_Connection *m) {
    struct MHD_Response *response = r->response;
    r->response = NULL;
    enum MHD_Result done = MHD_queue_response(m, (unsigned)r->status, response);
    MHD_destroy_response(response); /* it has its own hold of it */
    return done;
}

enum MHD_Result http_answer_refuse(http_request *r, struct MHD_Connection *m) {
    static const struct {
        int status;
        const char *type, *why;
    } known[] = {
        {400, "invalid_request_error", "the request's path or framing is not valid"},
        {413, "request_too_large", "the request's body is larger than this server takes"},
        {503, "overloaded_error", "the server has too many large requests at once"},
    };
    size_t i = 0;
    char s[256];
    while (known[i].status != r->refused) i++;
    /* As OpenAI's and as Anthropic's clients read it. */
    int n =
        snprintf(s, sizeof s,
                 "{\"type\":\"error\",\"error\":{\"type\":\"%s\",\"message\":\"%s\",\"param\":null,\"code\":null}}\n",
                 known[i].type, known[i].why);
    http_conn_enter(r->c, CONN_LAST);
    r->h->n_dropped += r->refused != 400;
    if (begin(r, r->refused, "application/json", MHD_create_response_from_buffer((size_t)n, s, MHD_RESPMEM_MUST_COPY)))
        return MHD_NO;
    return http_answer_queue(r, m);
}

void http_reply(http_request *r, int status, const char *type, const char *s, size_t n) {
    if (!r->held) return;
    if (!r->failed && r->c) {
        if (begin(r, status, type, MHD_create_response_from_buffer(n, (void *)s, MHD_RESPMEM_MUST_COPY))) r->failed = 1;
        http_request_drop_body(r);
        http_conn_enter(r->c, CONN_LAST);
        http_wake(r);
    }
    http_request_let_go(r);
}

/* ---- streams ---- */
static ssize_t on_take(void *user, uint64_t at, char *to, size_t max) {
    http_request *r = user;
    size_t n = r->n_out - r->taken;
    (void)at;
    if (r->failed) return MHD_CONTENT_READER_END_WITH_ERROR;
    if (!n && r->ended) return MHD_CONTENT_READER_END_OF_STREAM;
    if (!n) {
        r->suspended = 1;
        MHD_suspend_connection(r->c->m);
        return 0;
    }
    if (n > max) n = max;
    memcpy(to, r->out + r->taken, n);
    r->taken += n;
    if (r->taken == r->n_out) r->taken = r->n_out = 0;
    return (ssize_t)n;
}

void http_stream(http_request *r, int status, const char *type) {
    enum { BLOCK = 4096 }; /* for clients of HTTP/1.0, who have no chunks */
    if (!r->held || r->failed || !r->c || r->stream) return;
    r->stream = 1;
    http_set_header(r, "Cache-Control", "no-store");
    http_set_header(r, "X-Accel-Buffering", "no");                             /* nginx would gather it */
    if (!strcmp(r->method, "HEAD")) http_set_header(r, "Connection", "close"); /* the library adds the chunks' end */
    if (begin(r, status, type, MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, BLOCK, on_take, r, NULL))) {
        r->failed = 1;
        http_conn_drop(r->c);
    }
    http_request_drop_body(r);
    http_wake(r);
}

/* Room for n bytes more. */
static int make_room(http_request *r, size_t n) {
    if (r->taken && (r->taken >= r->n_out - r->taken || r->n_out + n > r->cap_out)) {
        memmove(r->out, r->out + r->taken, r->n_out - r->taken);
        r->n_out -= r->taken;
        r->taken = 0;
    }
    if (r->n_out + n <= r->cap_out) return 0;
    size_t cap = r->cap_out ? r->cap_out : 1024;
    while (cap < r->n_out + n) cap *= 2;
    char *out = realloc(r->out, cap);
    if (!out) return -1;
    r->out = out;
    r->cap_out = cap;
    return 0;
}

int http_write(http_request *r, const char *s, size_t n) {
    if (!r->held || r->failed) return -1;
    if (!r->c || !n) return 0;
    if (n > r->h->o.max_unread - (r->n_out - r->taken) || make_room(r, n)) {
        r->failed = 1;
        http_conn_drop(r->c); /* its watch tells the program */
        return -1;
    }
    memcpy(r->out + r->n_out, s, n);
    r->n_out += n;
    http_wake(r);
    return 0;
}

void http_end(http_request *r) {
    if (!r->held) return;
    r->ended = 1;
    if (r->c) {
        http_conn_enter(r->c, CONN_LAST);
        http_wake(r);
    }
    http_request_let_go(r);
}
