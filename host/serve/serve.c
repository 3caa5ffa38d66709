/* serve.c: the server from its start to its end.
 *
 * Ends, by rule. SIGTERM or SIGINT: no new connections, new requests get 503, what runs may end, for drain_s at most; a second
 * signal, or that time over, ends it at once. A step of the device that fails: what ran has failed with it, /ready says so, what
 * waits is told, and after a few seconds, in which balancers can see it, the process ends with 1: a new one is to be started,
 * since a CUDA context that has failed does not come back. */
#include "serve.h"
#include "../run.h"
#include "api.h"
#include "log.h"
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

enum { FAILED_S = 3 };

typedef struct {
    server s;
    const serve_opts *o;
    int signals; /* how many have come */
    loop_watch *on_signals;
    int status;
    int ending; /* the device has failed */
} running;

static int signal_fd = -1;

static void on_signal(int sig) {
    const int kept = errno;
    const uint64_t one = 1;
    (void)sig;
    (void)!write(signal_fd, &one, sizeof one);
    errno = kept;
}

static void stop(void *user) {
    running *r = user;
    loop_stop(r->s.loop);
}

static void drain(running *r, double seconds) {
    r->s.draining = 1;
    http_refuse_new(r->s.http);
    if (!r->s.tasks || !loop_after(r->s.loop, seconds, stop, r)) loop_stop(r->s.loop);
}

static void drained(server *s) {
    running *r = (running *)s;                         /* its first member */
    if (!r->ending) loop_after(s->loop, 0.2, stop, r); /* the last bytes go out */
}

static void signalled(void *user, uint32_t events) {
    running *r = user;
    uint64_t n = 0;
    (void)events;
    if (read(signal_fd, &n, sizeof n) != sizeof n) return;
    r->signals += (int)n;
    if (r->signals > 1) {
        log_line(&r->s, "info", "stopped at once");
        loop_stop(r->s.loop);
        return;
    }
    log_line(&r->s, "info", "draining: %u requests run on, for %g s at most; a second signal stops at once",
             task_count(&r->s), r->o->drain_s);
    drain(r, r->o->drain_s);
}

/* Tokens have come, or a step has failed. */
static void woken(void *user) {
    running *r = user;
    runner_state now;
    runner_deliver(r->s.runner);
    runner_get_state(r->s.runner, &now);
    if (!now.failed || r->ending) return;
    r->ending = 1;
    r->status = QM_EXIT_FAIL;
    log_line(&r->s, "error", "the device failed: %s; the server ends in %d s", now.why.msg, FAILED_S);
    r->s.draining = 1;
    task_fail_all(&r->s, &now.why);
    if (!loop_after(r->s.loop, FAILED_S, stop, r)) loop_stop(r->s.loop);
}

static void on_request(void *user, http_request *q) { api_dispatch(user, q); }

static void on_answer(void *user, const char *path, int status) {
    const server *s = user;
    metrics_request(s->metrics, path, status);
}

static int catch_signals(running *r, qm_err *e) {
    const struct sigaction a = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    if ((signal_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) < 0 ||
        !(r->on_signals = loop_add(r->s.loop, signal_fd, EPOLLIN, signalled, r)))
        return qm_fail(e, QM_ERR_IO, "serve: signals: %s", strerror(errno));
    sigaction(SIGTERM, &a, NULL);
    sigaction(SIGINT, &a, NULL);
    return 0;
}

static int read_pem(const char *path, char **text, qm_err *e) {
    size_t n;
    *text = NULL;
    return path && qm_run_read(path, 1 << 20, text, &n) ? qm_fail(e, QM_ERR_IO, "%s: no TLS without it", path) : 0;
}

/* The vocabulary's part of guides is made once, in some 80 ms: no request shall wait for it. */
static void warm_up(const qm_engine *g) {
    qm_guide *any = NULL;
    qm_err none;
    qm_guide_open(&any, g, &(qm_guide_opts){.schema = "{}"}, &none);
    qm_guide_close(any);
}

static const char *alias_of(const serve_opts *o, char out[256]) {
    if (o->alias) return o->alias;
    const char *slash = strrchr(o->model_path, '/');
    snprintf(out, 256, "%s", slash ? slash + 1 : o->model_path);
    char *dot = strstr(out, ".gguf");
    if (dot) *dot = 0;
    return out;
}

int serve_run(qm_engine *g, const serve_opts *o) {
    running r = {.o = o};
    server *s = &r.s;
    struct timespec now;
    char alias[256], *cert = NULL, *key = NULL;
    qm_err e = {0};
    clock_gettime(CLOCK_REALTIME, &now);
    *s = (server){.g = g,
                  .alias = alias_of(o, alias),
                  .started = (double)now.tv_sec,
                  .keys = o->keys,
                  .n_keys = o->n_keys,
                  .drained = drained,
                  .quiet = o->quiet,
                  .log_json = o->log_json,
                  .timeout_s = o->timeout_s,
                  .sampling = o->sampling,
                  .seeded = o->seeded,
                  .commit = o->commit,
                  .n_parallel = o->n_parallel,
                  .max_queue = o->max_queue,
                  .started_clock = loop_clock()};
    qm_engine_get_info(g, &s->info);
    warm_up(g);
    int rc = read_pem(o->tls_cert, &cert, &e);
    if (!rc) rc = read_pem(o->tls_key, &key, &e);
    if (!rc) rc = loop_open(&s->loop, &e);
    if (!rc && !(s->metrics = metrics_open())) rc = qm_fail(&e, QM_ERR_NOMEM, "serve: out of memory");
    if (!rc) loop_on_wake(s->loop, woken, &r);
    if (!rc)
        rc = runner_open(&s->runner, s->loop, g, &(runner_opts){.n_seqs = o->n_parallel, .n_queue = o->max_queue}, &e);
    if (!rc)
        rc = http_open(&s->http, s->loop,
                       &(http_opts){.host = o->host,
                                    .port = o->port,
                                    .tls_cert = cert,
                                    .tls_key = key,
                                    .vanish_s = o->vanish_s,
                                    .on_request = on_request,
                                    .on_answer = on_answer,
                                    .user = s},
                       &e);
    if (!rc) rc = catch_signals(&r, &e);
    if (!rc) {
        log_line(
            s, "info",
            "listening on %s://%s:%u, model %s, %s (%s), executor %s, %u sequences at once, %u positions of KV cache",
            cert ? "https" : "http", o->host ? o->host : "127.0.0.1", http_port(s->http), s->alias, s->info.device,
            s->info.device_name, s->info.executor, s->info.n_parallel, s->info.n_kv);
        rc = loop_run(s->loop, &e);
        signal(SIGTERM, SIG_DFL);
        signal(SIGINT, SIG_DFL);
        if (!rc && s->tasks) {
            qm_err why;
            qm_fail(&why, QM_ERR_CANCELLED, "the server is shutting down");
            task_fail_all(s, &why);
        }
    }
    runner_close(s->runner);
    http_close(s->http);
    metrics_close(s->metrics);
    if (r.on_signals) loop_remove(s->loop, r.on_signals);
    loop_close(s->loop);
    if (signal_fd >= 0) close(signal_fd);
    signal_fd = -1;
    free(cert);
    free(key);
    if (rc) return qm_host_fail(&e);
    return r.status;
}
