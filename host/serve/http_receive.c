/* http_receive.c: a request from its first line to its last byte, as the library's callbacks bring it: the path, the head's
 * sanity, the body within its bound. */
#include "http_inside.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* All bodies together take no more than this many of the largest. */
enum { LARGEST_BODIES = 8 };

/* ---- the path ---- */
static int hex(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

/* Is some segment of it ".."? */
static int climbs(const char *s) {
    for (; (s = strstr(s, "..")); s++)
        if (s[-1] == '/' && (s[2] == '/' || !s[2])) return 1;
    return 0;
}

/* "http://host:1/a%20b?c=d" or "/a%20b?c=d" -> "/a b". 0, or -1: no such path. out has strlen(uri) + 2 bytes. */
static int decode_path(char *out, const char *uri) {
    size_t n = strcspn(uri, "?");
    const char *authority = n && uri[0] != '/' ? strstr(uri, "://") : NULL;
    if (authority && authority < uri + n) { /* as a proxy is asked */
        const char *end = authority + 3 + strcspn(authority + 3, "/?");
        n -= (size_t)(end - uri);
        uri = end;
        if (!n) {
            strcpy(out, "/");
            return 0;
        }
    }
    if (n == 1 && *uri == '*') { /* the server as such: OPTIONS */
        strcpy(out, "*");
        return 0;
    }
    if (!n || *uri != '/') return -1;
    size_t k = 0;
    for (size_t i = 0; i < n; i++) {
        int c = (unsigned char)uri[i];
        if (c == '%') {
            int high = i + 2 < n ? hex(uri[i + 1]) : -1, low = i + 2 < n ? hex(uri[i + 2]) : -1;
            if (high < 0 || low < 0) return -1;
            c = 16 * high + low;
            i += 2;
        }
        if (c < ' ' || c == 0x7f || c == '\\') return -1;
        out[k++] = (char)c;
    }
    out[k] = 0;
    return climbs(out) ? -1 : 0;
}

/* ---- the library's callbacks ---- */
void *http_receive_line(void *user, const char *uri, struct MHD_Connection *m) {
    http *h = user;
    http_request *r = calloc(1, sizeof *r);
    char *path = r ? malloc(strlen(uri) + 2) : NULL;
    if (!path) {
        free(r);
        return NULL; /* http_receive closes the connection */
    }
    r->h = h;
    r->c = MHD_get_connection_info(m, MHD_CONNECTION_INFO_SOCKET_CONTEXT)->socket_context;
    r->c->r = r;
    r->path = path;
    if (decode_path(path, uri) < 0) {
        *path = 0;
        r->refused = 400;
    }
    snprintf(r->peer, sizeof r->peer, "%s", r->c->peer);
    if (r->c->state == CONN_IDLE) http_conn_enter(r->c, CONN_HEAD);
    return r;
}

typedef struct {
    size_t lengths, codings;
    const char *length, *coding;
} framing;

static enum MHD_Result on_header(void *user, enum MHD_ValueKind kind, const char *name, const char *value) {
    framing *f = user;
    (void)kind;
    if (strcasecmp(name, "Content-Length") == 0) f->lengths++, f->length = value;
    if (strcasecmp(name, "Transfer-Encoding") == 0) f->codings++, f->coding = value;
    return MHD_YES;
}

/* A body whose end two readers could see at different places is how one request is smuggled in another. Returns 1 where it
 * cannot even be read to its end. */
static int check_head(http_request *r, struct MHD_Connection *m, const char *version) {
    framing f = {0};
    MHD_get_connection_values(m, MHD_HEADER_KIND, on_header, &f);
    if (f.codings && (f.codings > 1 || f.lengths || !f.coding || strcasecmp(f.coding, "chunked") ||
                      strcmp(version, "HTTP/1.1") < 0)) {
        r->refused = 400;
        return 1;
    }
    if (f.lengths > 1) {
        r->refused = 400;
        return 1;
    }
    if (f.length && strtoull(f.length, NULL, 10) > r->h->o.max_body) {
        r->refused = 413;
        return http_header(r, "Expect") != NULL; /* it asks before it sends */
    }
    return 0;
}

static void add_body(http_request *r, const char *data, size_t n) {
    http *h = r->h;
    if (!r->refused && n > h->o.max_body - r->n_body) r->refused = 413;
    if (!r->refused && r->n_body + n >= r->cap_body) {
        size_t cap = r->cap_body ? 2 * r->cap_body : 4096;
        while (cap <= r->n_body + n) cap *= 2;
        int room = h->n_bodies + cap - r->cap_body <= LARGEST_BODIES * h->o.max_body;
        char *body = room ? realloc(r->body, cap) : NULL;
        if (body) {
            h->n_bodies += cap - r->cap_body;
            r->body = body;
            r->cap_body = cap;
        } else r->refused = 503;
    }
    if (r->refused) {
        http_request_drop_body(r); /* the rest is read and forgotten: who still sends would not see the answer */
        return;
    }
    memcpy(r->body + r->n_body, data, n);
    r->n_body += n;
    r->body[r->n_body] = 0;
}

static void hand_over(http_request *r) {
    r->h->n_requests++;
    http_request_hold(r);
    http_conn_enter(r->c, CONN_OPEN);
    r->h->o.on_request(r->h->o.user, r);
    if (r->held && r->c->lost) http_request_lost(r);
}

enum MHD_Result http_receive(void *user, struct MHD_Connection *m, const char *url, const char *method,
                             const char *version, const char *data, size_t *n, void **context) {
    http_request *r = *context;
    (void)user, (void)url;
    if (!r) return MHD_NO;
    if (!r->begun) {
        r->begun = 1;
        snprintf(r->method, sizeof r->method, "%s", method);
        return check_head(r, m, version) ? http_answer_refuse(r, m) : MHD_YES;
    }
    if (*n) {
        add_body(r, data, *n);
        *n = 0;
        return MHD_YES;
    }
    if (r->refused) return http_answer_refuse(r, m);
    if (!r->complete) {
        r->complete = 1;
        hand_over(r);
    }
    if (r->failed) return MHD_NO;
    if (r->response) return http_answer_queue(r, m);
    r->suspended = 1;
    MHD_suspend_connection(m);
    return MHD_YES;
}

void http_receive_done(void *user, struct MHD_Connection *m, void **context, enum MHD_RequestTerminationCode why) {
    http_request *r = *context;
    (void)user, (void)m;
    if (!r) return;
    *context = NULL;
    http_request_through(r, why == MHD_REQUEST_TERMINATED_COMPLETED_OK);
}
