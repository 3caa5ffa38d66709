/* http_conn.c: connections: accepted here, with their deadlines, and watched for the client's end. A client that goes away
 * is seen by the edge of EPOLLRDHUP, whether or not anything is being written; one that vanishes, by TCP's own probes. */
#include "http_inside.h"
#include <errno.h>
#include <linux/tcp.h> /* for all of tcp_info */
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { ACCEPTS = 64 }; /* a wake-up: others have their turn */
/* A client that has closed its side may have left a whole request behind, which is answered. The library does not always
 * notice that it was the last (an end that comes in one edge with bytes): so long, and the connection goes. */
#define LAST_WORDS_S 0.5

/* ---- the listening socket ---- */
static int listen_at(const struct addrinfo *a) {
    int fd = socket(a->ai_family, a->ai_socktype | SOCK_NONBLOCK | SOCK_CLOEXEC, a->ai_protocol), one = 1, none = 0;
    if (fd < 0) return -1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (a->ai_family == AF_INET6) setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &none, sizeof none);
    if (bind(fd, a->ai_addr, a->ai_addrlen) == 0 && listen(fd, 4096) == 0) return fd;
    int err = errno;
    close(fd);
    errno = err;
    return -1;
}

static void on_connect(void *user, uint32_t events);

static void listen_on(http *h) {
    if (!h->listening && !h->refuse) h->listening = loop_add(h->loop, h->listen, EPOLLIN, on_connect, h);
}

int http_listen(http *h, qm_err *e) {
    struct addrinfo want = {
        .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    struct addrinfo *list;
    char port[8];
    snprintf(port, sizeof port, "%u", h->o.port);
    int rc = getaddrinfo(h->o.host, port, &want, &list);
    if (rc) return qm_fail(e, QM_ERR_ARG, "%s: %s", h->o.host, gai_strerror(rc));
    /* A name may have several addresses, and clients of a machine's own try 127.0.0.1 sooner than ::1. */
    errno = EADDRNOTAVAIL;
    for (int v6 = 0; v6 < 2 && h->listen < 0; v6++)
        for (struct addrinfo *a = list; a && h->listen < 0; a = a->ai_next)
            if ((a->ai_family == AF_INET6) == v6) h->listen = listen_at(a);
    int err = errno;
    freeaddrinfo(list);
    if (h->listen < 0) return qm_fail(e, QM_ERR_IO, "%s, port %u: %s", h->o.host, h->o.port, strerror(err));
    struct sockaddr_storage at;
    socklen_t n = sizeof at;
    if (getsockname(h->listen, (struct sockaddr *)&at, &n) == 0)
        h->port = ntohs(at.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&at)->sin6_port
                                                 : ((struct sockaddr_in *)&at)->sin_port);
    listen_on(h);
    return h->listening ? 0 : qm_fail(e, QM_ERR_IO, "%s, port %u: %s", h->o.host, h->o.port, strerror(errno));
}

static void listen_off(http *h) {
    loop_remove(h->loop, h->listening);
    h->listening = NULL;
}

void http_listen_stop(http *h) {
    listen_off(h);
    loop_cancel(h->loop, h->again);
    h->again = NULL;
    if (h->listen >= 0) close(h->listen);
    h->listen = -1;
}

/* ---- a connection's deadlines ---- */
static void on_deadline(void *user);

/* Bytes that the client has acknowledged so far. */
static uint64_t acked(const conn *c) {
    struct tcp_info t;
    socklen_t n = sizeof t;
    memset(&t, 0, sizeof t);
    return getsockopt(c->fd, IPPROTO_TCP, TCP_INFO, &t, &n) == 0 ? t.tcpi_bytes_acked : 0;
}

void http_conn_enter(conn *c, conn_state s) {
    http *h = c->h;
    loop_cancel(h->loop, c->deadline);
    c->deadline = NULL;
    c->state = s;
    if (s == CONN_OPEN) return;
    if (s == CONN_IDLE) c->idle_round = h->round;
    if (s == CONN_LAST) c->acked = acked(c);
    double seconds = s == CONN_HEAD ? h->o.head_s : h->o.idle_s;
    if (c->lost && s != CONN_LAST) seconds = LAST_WORDS_S;
    c->deadline = loop_after(h->loop, seconds, on_deadline, c);
    if (!c->deadline) http_conn_drop(c); /* no memory: better none than one without end */
}

void http_conn_drop(conn *c) {
    struct linger none = {.l_onoff = 1}; /* what it has not read is not kept for it */
    if (c->state != CONN_IDLE && !c->lost) {
        setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &none, sizeof none);
        c->h->n_dropped++;
    }
    shutdown(c->fd, SHUT_RDWR);
}

static void on_deadline(void *user) {
    conn *c = user;
    c->deadline = NULL;
    if (c->state == CONN_LAST && acked(c) > c->acked) http_conn_enter(c, CONN_LAST);
    else http_conn_drop(c);
}

/* ---- edges ---- */
static void on_edge(void *user, uint32_t events) {
    conn *c = user;
    if (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) {
        c->lost = 1;
        if (c->r && c->state == CONN_OPEN) c->h->lost(c->r);
        else if (c->state != CONN_LAST) http_conn_enter(c, c->state);
        return;
    }
    if (c->state != CONN_IDLE) return;
    /* The first byte of a request; or an edge of the last one, whose bytes the library took in its last run before we heard
     * of them. */
    char byte;
    if (c->idle_round < c->h->round || recv(c->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) > 0)
        http_conn_enter(c, CONN_HEAD);
}

static void set_options(const http *h, int fd) {
    int one = 1, probes = 2, third = (int)(h->o.vanish_s / 3 + 0.5);
    unsigned ms = (unsigned)(1e3 * h->o.vanish_s);
    if (third < 1) third = 1;
    int idle = 2 * third;
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof one); /* nothing is on its way: probes */
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof idle);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &third, sizeof third);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof probes);
    setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &ms, sizeof ms); /* something is: unacknowledged for so long */
}

void http_conn_notify(void *user, struct MHD_Connection *m, void **context, enum MHD_ConnectionNotificationCode what) {
    http *h = user;
    if (what == MHD_CONNECTION_NOTIFY_STARTED) {
        conn *c = h->adding;
        h->adding = NULL;
        *context = c;
        c->m = m;
        h->n_connections++;
        c->watch = loop_add(h->loop, c->fd, EPOLLIN | EPOLLRDHUP | EPOLLET, on_edge, c);
        http_conn_enter(c, CONN_HEAD);
        if (!c->watch) http_conn_drop(c);
        return;
    }
    conn *c = *context;
    loop_remove(h->loop, c->watch);
    loop_cancel(h->loop, c->deadline);
    free(c);
    h->n_connections--;
    listen_on(h); /* it may have been for want of room that we do not listen */
}

/* ---- accepting ---- */
static void on_again(void *user) {
    http *h = user;
    h->again = NULL;
    listen_on(h);
}

/* No descriptor, or no memory. Its cause may lie outside, so time is tried too; but not in every wake-up. */
static void pause_accepting(http *h) {
    listen_off(h);
    if (!h->again) h->again = loop_after(h->loop, 0.5, on_again, h);
}

static void name_peer(char *s, size_t n, const struct sockaddr *at, socklen_t n_at) {
    char host[48], port[8];
    if (getnameinfo(at, n_at, host, sizeof host, port, sizeof port, NI_NUMERICHOST | NI_NUMERICSERV) != 0)
        snprintf(s, n, "?");
    else snprintf(s, n, strchr(host, ':') ? "[%s]:%s" : "%s:%s", host, port);
}

static void on_connect(void *user, uint32_t events) {
    http *h = user;
    (void)events;
    for (int i = 0; i < ACCEPTS; i++) {
        struct sockaddr_storage at;
        socklen_t n = sizeof at;
        if (h->n_connections >= h->max_connections) {
            listen_off(h); /* until one closes */
            return;
        }
        int fd = accept4(h->listen, (struct sockaddr *)&at, &n, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0 && errno == EAGAIN) return;
        if (fd < 0 && (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)) {
            pause_accepting(h);
            return;
        }
        if (fd < 0) continue; /* that connection's own fault: it is gone already */
        conn *c = calloc(1, sizeof *c);
        if (!c) {
            close(fd);
            pause_accepting(h);
            return;
        }
        c->h = h;
        c->fd = fd;
        name_peer(c->peer, sizeof c->peer, (struct sockaddr *)&at, n);
        set_options(h, fd);
        h->adding = c;
        MHD_add_connection(h->d, fd, (struct sockaddr *)&at, n); /* closes fd if it fails */
        if (h->adding) {
            h->adding = NULL;
            free(c);
        }
    }
}
