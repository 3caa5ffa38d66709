/* http.h: HTTP/1.1 for the server, over libmicrohttpd: requests come whole, answers go out whole or as a stream. What a
 * hostile or unlucky client can do ends here: what it sends is bounded in size and time, what it does not read is bounded too,
 * and that it has gone is known at once. All on the loop's thread. */
#ifndef QM_SERVE_HTTP_H
#define QM_SERVE_HTTP_H
#include <stddef.h>
#include "loop.h"

typedef struct http http;
typedef struct http_request http_request;
typedef struct {
    const char *host;               /* an address or a name; NULL: 127.0.0.1 */
    uint16_t port;                  /* 0: any; http_port says which */
    const char *tls_cert, *tls_key; /* PEM texts, both or neither */
    uint32_t max_connections;       /* 0: as many as descriptors allow */
    size_t max_body;                /* bytes of a request's body: more is 413; 0: 32 MiB */
    size_t max_unread; /* bytes of a stream that the client has not taken: more, and it is dropped; 0: 1 MiB */
    double
        head_s; /* a request's head and body must be there within so long of its first byte (of the connection, for the
                           first); 0: 30 s. An idle kept-alive connection may stay for idle_s; 0: 75 s */
    double idle_s;
    double
        vanish_s; /* a client whose machine answers no packet for so long is gone; 0: 15 s. At least 2 s are to be given */
    /* A whole request. It is answered by http_reply, or http_stream .. http_end, now or later; until then it stays. */
    void (*on_request)(void *user, http_request *r);
    /* An answer begins, whoever gives it: those that this file refuses too. path: NULL where there was no valid one. For who
     * counts. May be NULL. */
    void (*on_answer)(void *user, const char *path, int status);
    void *user;
} http_opts;
int http_open(http **out, loop *l, const http_opts *o, qm_err *e);
uint16_t http_port(const http *h);
void http_refuse_new(http *h); /* no new connections; those that are there go on */
void http_close(http *h);      /* all connections are dropped */
typedef struct {
    uint32_t n_connections, n_open; /* n_open: requests that are not answered yet */
    uint64_t n_requests, n_dropped; /* dropped by us: too slow, too large */
} http_state;
void http_get_state(const http *h, http_state *s);

/* ---- a request ---- */
const char *http_method(const http_request *r);
const char *http_path(
    const http_request *
        r); /* percent-decoded, without the query; a path with NUL or bad escapes is answered 400 before it comes here */
const char *http_query(const http_request *r, const char *name);  /* NULL: not there */
const char *http_header(const http_request *r, const char *name); /* any case; NULL: not there */
const char *http_body(const http_request *r, size_t *n);          /* a NUL follows it */
const char *http_peer(const http_request *r);                     /* "127.0.0.1:41234" */
/* Once, if the client goes away before the answer is complete: it closed (also half of it), reset, or is not reachable any more.
 * r is gone when it returns: none of its functions may be called afterwards. */
void http_on_gone(http_request *r, void (*gone)(void *user), void *user);

/* ---- the answer ---- */
/* Before the answer begins. Both are copied. */
void http_set_header(http_request *r, const char *name, const char *value);
/* All of it; r is gone. s is copied. */
void http_reply(http_request *r, int status, const char *type, const char *s, size_t n);
/* Begins a stream: the head goes out now. http_write adds to it, http_end ends it (r is gone). */
void http_stream(http_request *r, int status, const char *type);
/* 0, or -1: the client reads too slowly (max_unread) or memory ran out: it will be dropped, and gone is called from the loop. */
int http_write(http_request *r, const char *s, size_t n);
void http_end(http_request *r);
#endif
