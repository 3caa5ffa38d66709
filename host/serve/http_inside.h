/* http_inside.h: what http*.c share. libmicrohttpd parses, frames and encrypts; it is driven by its own epoll descriptor,
 * which our loop watches. Sockets are accepted, timed and watched for their loss here: the library is handed each one.
 *
 * In a wake-up of the loop our own watches come first (edges of a connection: bytes, a client gone), last the library
 * (http_run.c), which calls on_request. So an edge is always known before its bytes are dealt with. */
#ifndef QM_SERVE_HTTP_INSIDE_H
#define QM_SERVE_HTTP_INSIDE_H
#include <microhttpd.h>
#include "http.h"

typedef struct conn conn;
typedef enum {
    CONN_HEAD, /* a request is coming in: head_s for all of it */
    CONN_OPEN, /* the program has it: as long as it takes */
    CONN_LAST, /* the answer is complete, the client has not taken all of it: idle_s without progress */
    CONN_IDLE  /* between two requests: idle_s */
} conn_state;

struct conn {
    http *h;
    struct MHD_Connection *m;
    int fd;
    loop_watch *watch;
    loop_timer *deadline;
    conn_state state;
    uint64_t idle_round; /* the library's run in which it became idle */
    uint64_t acked;      /* CONN_LAST: bytes that the client had acknowledged when the deadline was set */
    int lost;            /* it closed its side, was reset, or we drop it */
    http_request *r;
    char peer[64];
};

typedef struct header {
    struct header *next;
    char *name, *value;
} header;

/* Two hold a request: the library until it has done with it, the program until it has answered or heard that the client is
 * gone. Who lets go last frees it. */
struct http_request {
    conn *c; /* NULL: the library has done with it */
    http *h;
    int held;                  /* the program has it */
    http_request *prev, *next; /* of those that the program has */
    char method[24], peer[64];
    char *path;
    int begun;   /* its head has been looked at */
    int refused; /* the status that it will be answered with, once its body is through; 0: it is good */
    char *body;
    size_t n_body, cap_body;
    int complete;  /* on_request has been called */
    int suspended; /* the library waits for http_wake */
    void (*gone)(void *user);
    void *gone_user;
    loop_timer *late; /* gone was asked for when the client had gone already */
    /* the answer */
    header *headers;
    struct MHD_Response *response; /* to be queued */
    int status;
    int stream, ended, failed;
    char *out; /* [n_out] of a stream, the first `taken` of which the library has */
    size_t n_out, cap_out, taken;
};

struct http {
    loop *loop;
    http_opts o;
    struct MHD_Daemon *d;
    int listen;
    uint16_t port;
    loop_watch *listening, *library; /* listening NULL: not now */
    loop_timer *again;               /* when to try accepting again */
    int due;                         /* the library wants its turn */
    int refuse;
    uint64_t round; /* of the library's runs */
    conn *adding;   /* the connection that is being handed to the library */
    http_request *open;
    void (*lost)(http_request *r); /* http_request_lost: for connections, which know no more of requests */
    uint32_t n_connections, n_open, max_connections;
    uint64_t n_requests, n_dropped;
    size_t n_bodies; /* bytes of all bodies */
    char said[256];  /* the library's last message */
};

/* Each of these uses those above it alone. */
/* http_run.c */
int http_run_begin(http *h);
void http_run_end(http *h);
void http_run_soon(http *h);
/* http_conn.c */
int http_listen(http *h, qm_err *e);
void http_listen_stop(http *h);
void http_conn_notify(void *user, struct MHD_Connection *m, void **context, enum MHD_ConnectionNotificationCode what);
void http_conn_enter(conn *c, conn_state s); /* with its deadline */
void http_conn_drop(conn *c);                /* by us: what follows comes by its watch */
/* http_request.c */
void http_request_hold(http_request *r);                  /* for the program */
void http_request_let_go(http_request *r);                /* by the program */
void http_request_lost(http_request *r);                  /* the client has gone: the program is told, once */
void http_request_through(http_request *r, int complete); /* the library has done with it: all sent, or given up */
void http_request_drop_body(http_request *r);
void http_free_headers(http_request *r);
void http_wake(http_request *r); /* the library goes on with it */
/* http_answer.c */
enum MHD_Result http_answer_queue(http_request *r, struct MHD_Connection *m);
enum MHD_Result http_answer_refuse(http_request *r, struct MHD_Connection *m);
/* http_receive.c */
void *http_receive_line(void *user, const char *uri, struct MHD_Connection *m);
enum MHD_Result http_receive(void *user, struct MHD_Connection *m, const char *url, const char *method,
                             const char *version, const char *data, size_t *n, void **context);
void http_receive_done(void *user, struct MHD_Connection *m, void **context, enum MHD_RequestTerminationCode why);
#endif
