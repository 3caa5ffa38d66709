/* http_server.c: a small server over host/serve's loop and http, for test_http.py. Says "port N" on standard output, then what
 * happens to requests ("gone ID", "full ID"); ends when standard input does.
 *
 *   /hello                    "hello"
 *   /echo?q=..                the body; X-Method, X-Path, X-Query, X-Told (of the request's X-Tell)
 *   /later?ms=..              "later", after so long
 *   /never?id=..              no answer
 *   /slow?n=..&ms=..&id=..    a stream of n lines, one every ms
 *   /flood?id=..              a stream as fast as it is taken, and faster
 *   /wake                     "woken", once another thread has woken the loop
 *   /state  /refuse           http_get_state as JSON; http_refuse_new */
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>
#include "host/serve/http.h"

static loop *l;
static http *h;
static http_request *woken;

typedef struct {
    http_request *r;
    loop_timer *t;
    double s;
    int id, left;
    size_t written;
} work;

static void end_work(work *w) {
    loop_cancel(l, w->t);
    free(w);
}

static void say(const char *what, const work *w) {
    printf("%s %d\n", what, w->id);
    fflush(stdout);
}

static void on_gone(void *user) {
    work *w = user;
    say("gone", w);
    end_work(w);
}

static void on_later(void *user) {
    work *w = user;
    w->t = NULL;
    http_reply(w->r, 200, "text/plain", "later", 5);
    end_work(w);
}

static void on_line(void *user) {
    work *w = user;
    char s[32];
    w->t = NULL;
    if (!w->left--) {
        say("end", w);
        http_end(w->r);
        end_work(w);
        return;
    }
    if (http_write(w->r, s, (size_t)snprintf(s, sizeof s, "line %d\n", w->left)) == 0)
        w->t = loop_after(l, w->s, on_line, w);
}

static void on_flood(void *user) {
    static char s[65536];
    work *w = user;
    w->t = NULL;
    if (http_write(w->r, s, sizeof s) != 0) {
        say("full", w);
        return;
    }
    w->written += sizeof s;
    w->t = loop_after(l, 1e-4, on_flood, w);
}

static void on_wake(void *user) {
    (void)user;
    if (woken) http_reply(woken, 200, "text/plain", "woken", 5);
    woken = NULL;
}

static void *wake(void *user) {
    usleep(20000);
    for (int i = 0; i < 100; i++) loop_wake(user);
    return NULL;
}

static int number(const http_request *r, const char *name) {
    const char *s = http_query(r, name);
    return s ? atoi(s) : 0;
}

static void echo(http_request *r) {
    size_t n;
    char q[256];
    const char *s = http_body(r, &n);
    http_set_header(r, "X-Method", http_method(r));
    http_set_header(r, "X-Path", http_path(r));
    snprintf(q, sizeof q, http_query(r, "q") ? "[%s]" : "none", http_query(r, "q"));
    http_set_header(r, "X-Query", q);
    http_set_header(r, "X-Told", http_header(r, "x-tell") ? http_header(r, "x-tell") : "none");
    http_reply(r, 200, "application/octet-stream", s, n);
}

static void state(http_request *r) {
    http_state s;
    char t[160];
    http_get_state(h, &s);
    int n = snprintf(t, sizeof t, "{\"connections\":%u,\"open\":%u,\"requests\":%lu,\"dropped\":%lu}", s.n_connections,
                     s.n_open, (unsigned long)s.n_requests, (unsigned long)s.n_dropped);
    http_reply(r, 200, "application/json", t, (size_t)n);
}

static void on_request(void *user, http_request *r) {
    const char *p = http_path(r);
    (void)user;
    if (!strcmp(p, "/hello")) {
        http_reply(r, 200, "text/plain", "hello", 5);
    } else if (!strcmp(p, "/state")) {
        state(r);
    } else if (!strcmp(p, "/refuse")) {
        http_refuse_new(h);
        http_reply(r, 200, NULL, "", 0);
    } else if (!strcmp(p, "/wake")) {
        pthread_t t;
        woken = r;
        if (pthread_create(&t, NULL, wake, l) == 0) pthread_detach(t);
    } else if (!strcmp(p, "/later") || !strcmp(p, "/never") || !strcmp(p, "/slow") || !strcmp(p, "/flood")) {
        work *w = calloc(1, sizeof *w);
        if (!w) abort();
        *w = (work){.r = r, .id = number(r, "id"), .left = number(r, "n"), .s = 1e-3 * number(r, "ms")};
        http_on_gone(r, on_gone, w);
        if (p[1] == 's' || p[1] == 'f') http_stream(r, 200, "text/event-stream");
        if (p[1] != 'n') w->t = loop_after(l, w->s, p[1] == 'l' ? on_later : p[1] == 's' ? on_line : on_flood, w);
    } else {
        echo(r);
    }
}

static void on_stdin(void *user, uint32_t events) {
    char s[64];
    (void)user, (void)events;
    if (read(0, s, sizeof s) <= 0) loop_stop(l);
}

static char *read_text(const char *path) {
    static char text[2][16384];
    static int k;
    int fd = open(path, O_RDONLY);
    char *s = text[k++ % 2];
    ssize_t n = read(fd, s, sizeof text[0] - 1);
    s[n > 0 ? n : 0] = 0;
    close(fd);
    return s;
}

int main(int argc, char **argv) {
    http_opts o = {.on_request = on_request};
    qm_err e;
    for (int i = 1; i < argc; i++) {
        char *v = strchr(argv[i], '=');
        if (!v) return 2;
        *v++ = 0;
        if (!strcmp(argv[i], "host")) o.host = v;
        else if (!strcmp(argv[i], "port")) o.port = (uint16_t)atoi(v);
        else if (!strcmp(argv[i], "max_body")) o.max_body = (size_t)atol(v);
        else if (!strcmp(argv[i], "max_unread")) o.max_unread = (size_t)atol(v);
        else if (!strcmp(argv[i], "max_connections")) o.max_connections = (uint32_t)atoi(v);
        else if (!strcmp(argv[i], "head_s")) o.head_s = atof(v);
        else if (!strcmp(argv[i], "idle_s")) o.idle_s = atof(v);
        else if (!strcmp(argv[i], "vanish_s")) o.vanish_s = atof(v);
        else if (!strcmp(argv[i], "cert")) o.tls_cert = read_text(v);
        else if (!strcmp(argv[i], "key")) o.tls_key = read_text(v);
        else return 2;
    }
    if (loop_open(&l, &e) || http_open(&h, l, &o, &e)) {
        fprintf(stderr, "%s\n", e.msg);
        loop_close(l);
        return 1;
    }
    loop_on_wake(l, on_wake, NULL);
    loop_watch *in = loop_add(l, 0, EPOLLIN, on_stdin, NULL);
    printf("port %u\n", http_port(h));
    fflush(stdout);
    int rc = in ? loop_run(l, &e) : 1;
    http_close(h);
    loop_remove(l, in);
    loop_close(l);
    return rc != 0;
}
