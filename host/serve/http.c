/* http.c: opens and closes libmicrohttpd and what is around it. It keeps no time: all deadlines are ours (http_conn.c). */
#include "http_inside.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

/* Heads of requests and of answers, and the frame of a stream's chunk, are in this much memory of a connection. */
enum { HEAD_MEMORY = 32 * 1024 };
/* Descriptors that are not for connections: the model's file, the device, logs, epoll. */
enum { SPARE_DESCRIPTORS = 64 };

/* What the library says is about single connections: of interest to who looks for a fault. */
static void on_said(void *user, const char *fmt, va_list ap) {
    http *h = user;
    vsnprintf(h->said, sizeof h->said, fmt, ap);
    h->said[strcspn(h->said, "\r\n")] = 0;
    qm_log(QM_LOG_DEBUG, "http: %s", h->said);
}

static uint32_t most_connections(uint32_t wanted) {
    struct rlimit r;
    if (getrlimit(RLIMIT_NOFILE, &r) != 0) return wanted ? wanted : 1024 - SPARE_DESCRIPTORS;
    if (r.rlim_cur < r.rlim_max) {
        struct rlimit more = {r.rlim_max, r.rlim_max};
        if (setrlimit(RLIMIT_NOFILE, &more) == 0) r = more;
    }
    rlim_t most = r.rlim_cur > 2 * SPARE_DESCRIPTORS ? r.rlim_cur - SPARE_DESCRIPTORS : SPARE_DESCRIPTORS;
    if (most > 1000000) most = 1000000;
    return wanted && wanted < most ? wanted : (uint32_t)most;
}

static struct MHD_Daemon *start(http *h) {
    unsigned flags = MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_NO_LISTEN_SOCKET | MHD_USE_ERROR_LOG;
    int tls = h->o.tls_cert != NULL;
    struct MHD_OptionItem secret[] = {
        {MHD_OPTION_HTTPS_MEM_CERT, 0, (void *)h->o.tls_cert},
        {MHD_OPTION_HTTPS_MEM_KEY, 0, (void *)h->o.tls_key},
        {MHD_OPTION_HTTPS_PRIORITIES, 0, "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2"},
        {MHD_OPTION_END, 0, NULL},
    };
    if (tls) flags |= MHD_USE_TLS;
    /* clang-format off */
    return MHD_start_daemon(flags, 0, NULL, NULL, http_receive, h,
        MHD_OPTION_EXTERNAL_LOGGER, on_said, h, /* first: it hears of the others */
        MHD_OPTION_CONNECTION_LIMIT, (unsigned)h->max_connections,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)HEAD_MEMORY,
        MHD_OPTION_CONNECTION_TIMEOUT, 0u,
        MHD_OPTION_STRICT_FOR_CLIENT, 1,
        MHD_OPTION_URI_LOG_CALLBACK, http_receive_line, h,
        MHD_OPTION_NOTIFY_COMPLETED, http_receive_done, h,
        MHD_OPTION_NOTIFY_CONNECTION, http_conn_notify, h,
        MHD_OPTION_ARRAY, tls ? secret : secret + 3, MHD_OPTION_END);
    /* clang-format on */
}

int http_open(http **out, loop *l, const http_opts *o, qm_err *e) {
    *out = NULL;
    if (!o->tls_cert != !o->tls_key)
        return qm_fail(e, QM_ERR_ARG, "TLS: a certificate and its key belong together, and one is missing");
    http *h = calloc(1, sizeof *h);
    if (!h) return qm_fail(e, QM_ERR_NOMEM, "http: no memory");
    h->loop = l;
    h->lost = http_request_lost;
    h->o = *o;
    h->listen = -1;
    if (!h->o.host) h->o.host = "127.0.0.1";
    if (!h->o.max_body) h->o.max_body = 32u << 20;
    if (!h->o.max_unread) h->o.max_unread = 1u << 20;
    if (!(h->o.head_s > 0)) h->o.head_s = 30;
    if (!(h->o.idle_s > 0)) h->o.idle_s = 75;
    if (!(h->o.vanish_s > 0)) h->o.vanish_s = 15;
    h->max_connections = most_connections(o->max_connections);
    int rc = http_listen(h, e);
    if (rc) goto fail;
    h->d = start(h);
    if (!h->d || http_run_begin(h)) {
        rc = qm_fail(e, o->tls_cert ? QM_ERR_ARG : QM_ERR_IO, "%s: %s", o->tls_cert ? "TLS" : "http",
                     *h->said ? h->said : "libmicrohttpd does not start");
        goto fail;
    }
    *out = h;
    return 0;
fail:
    http_close(h);
    return rc;
}

uint16_t http_port(const http *h) { return h->port; }

void http_refuse_new(http *h) {
    h->refuse = 1;
    http_listen_stop(h);
}

void http_close(http *h) {
    if (!h) return;
    http_refuse_new(h);
    http_run_end(h);
    while (h->open) {
        http_request *r = h->open;
        http_request_lost(r);
        if (h->open == r) http_request_let_go(r); /* nobody asked to hear of it */
    }
    if (h->d) MHD_stop_daemon(h->d);
    free(h);
}

void http_get_state(const http *h, http_state *s) {
    *s = (http_state){h->n_connections, h->n_open, h->n_requests, h->n_dropped};
}
