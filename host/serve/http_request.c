/* http_request.c: a request while the program has it: who still needs it, that its client has gone, and what can be asked. */
#include "http_inside.h"
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

/* ---- who needs it ---- */
void http_free_headers(http_request *r) {
    for (header *x; (x = r->headers);) {
        r->headers = x->next;
        free(x->name);
        free(x->value);
        free(x);
    }
}

void http_request_drop_body(http_request *r) {
    r->h->n_bodies -= r->cap_body;
    free(r->body);
    r->body = NULL;
    r->n_body = r->cap_body = 0;
}

static void release(http_request *r) {
    loop_cancel(r->h->loop, r->late);
    http_request_drop_body(r);
    http_free_headers(r);
    if (r->response) MHD_destroy_response(r->response);
    free(r->out);
    free(r->path);
    free(r);
}

void http_request_hold(http_request *r) {
    r->held = 1;
    r->next = r->h->open;
    if (r->next) r->next->prev = r;
    r->h->open = r;
    r->h->n_open++;
}

static void unhold(http_request *r) {
    r->held = 0;
    if (r->prev) r->prev->next = r->next;
    else r->h->open = r->next;
    if (r->next) r->next->prev = r->prev;
    r->prev = r->next = NULL;
    r->h->n_open--;
}

void http_request_let_go(http_request *r) {
    unhold(r);
    if (!r->c) release(r);
}

void http_wake(http_request *r) {
    if (!r->c || !r->suspended) return;
    r->suspended = 0;
    MHD_resume_connection(r->c->m);
    http_run_soon(r->h);
}

void http_request_lost(http_request *r) {
    r->failed = 1;
    if (r->c) {
        conn *c = r->c;
        http_conn_enter(c, CONN_LAST);
        shutdown(c->fd, SHUT_RDWR); /* the library is to see it too, also while it waits for room to write */
        http_wake(r);
    }
    if (!r->held || !r->gone) return; /* nobody is told yet: http_on_gone */
    void (*gone)(void *user) = r->gone;
    unhold(r);
    r->gone = NULL;
    gone(r->gone_user);
    if (!r->c) release(r);
}

void http_request_through(http_request *r, int complete) {
    http_conn_enter(r->c, CONN_IDLE);
    r->c->r = NULL;
    r->c = NULL;
    if (!r->held) release(r);
    else if (!complete) http_request_lost(r);
    /* else the answer to HEAD: the library has sent all of it, the program writes on and nobody reads it */
}

static void on_late(void *user) {
    http_request *r = user;
    r->late = NULL;
    http_request_lost(r);
}

void http_on_gone(http_request *r, void (*gone)(void *user), void *user) {
    if (!r->held) return;
    r->gone = gone;
    r->gone_user = user;
    if (r->failed && !r->late) r->late = loop_after(r->h->loop, 0, on_late, r);
}

/* ---- what the program asks ---- */
const char *http_method(const http_request *r) { return r->method; }
const char *http_path(const http_request *r) { return r->path; }
const char *http_peer(const http_request *r) { return r->peer; }

static const char *value(const http_request *r, enum MHD_ValueKind kind, const char *name) {
    const char *s = NULL;
    if (!r->c || !MHD_lookup_connection_value_n(r->c->m, kind, name, strlen(name), &s, NULL)) return NULL;
    return s ? s : "";
}

const char *http_query(const http_request *r, const char *name) { return value(r, MHD_GET_ARGUMENT_KIND, name); }
const char *http_header(const http_request *r, const char *name) { return value(r, MHD_HEADER_KIND, name); }

const char *http_body(const http_request *r, size_t *n) {
    if (n) *n = r->n_body;
    return r->body ? r->body : "";
}
