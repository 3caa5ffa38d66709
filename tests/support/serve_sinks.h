/* serve_sinks.h: what is behind a sink, played by a test: tasks that were begun are kept, and their sinks called by hand. For tests
 * that include one of host/serve/..._sink.c behind this file. */
#ifndef QM_TESTS_SERVE_SINKS_H
#define QM_TESTS_SERVE_SINKS_H
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <strings.h>
#include <time.h>
#include <cmocka.h>
#include "serve_fake.h"
#include "serve_vocab.h"
#include "host/serve/ask.c"

#include "host/json.c"
#include "host/serve/reply.c"
#include "host/serve/sink.c"
#include "host/serve/openai.c"

/* ---- what is behind ---- */
int api_fit(const server *s, task_ask *a, qm_err *e) { return (void)s, (void)a, (void)e, 0; }
void fields_begin(fields *f, const json_t *o) { (void)f, (void)o; }
void fields_within(fields *f, const json_t *o, const char *at) { (void)f, (void)o, (void)at; }
void fields_join(fields *f, const fields *inner) { (void)f, (void)inner; }
void fields_fail(fields *f, const char *param, const char *fmt, ...) { (void)f, (void)param, (void)fmt; }
int64_t fields_int(fields *f, const char *n, int64_t a, int64_t b, int64_t o) {
    return (void)f, (void)n, (void)a, (void)b, o;
}
int fields_bool(fields *f, const char *n, int o) { return (void)f, (void)n, o; }
const char *fields_string(fields *f, const char *n, const char *o) { return (void)f, (void)n, o; }
json_t *fields_object(fields *f, const char *n) { return (void)f, (void)n, NULL; }
void fields_refuse(fields *f, const char *n, const char *u, const char *w) { (void)f, (void)n, (void)u, (void)w; }
void fields_refuse_all(fields *f, const fields_refusal *v, size_t n) { (void)f, (void)v, (void)n; }
void fields_sampling(fields *f, server *s, const char *n, task_ask *a) { (void)f, (void)s, (void)n, (void)a; }

/* The tasks that were begun. */
struct task {
    task_ask a;
    const task_sink *sink;
    void *p;
    int cancelled;
};
static task tasks[8];
static int n_tasks, refuse_tasks;
task *task_begin(server *s, const char *peer, task_ask *a, const task_sink *sink, void *p, const char *id) {
    (void)s, (void)peer, (void)id;
    if (refuse_tasks && n_tasks + 1 >= refuse_tasks) return NULL;
    tasks[n_tasks] = (task){*a, sink, p, 0};
    *a = (task_ask){0};
    return &tasks[n_tasks++];
}
void task_cancel(task *t) { t->cancelled++; }

static server srv;
static http_request req;
static int reset(void **state) {
    (void)state;
    for (int i = 0; i < n_tasks; i++) task_ask_free(&tasks[i].a);
    n_tasks = refuse_tasks = 0;
    srv = (server){.alias = "m", .commit = "c0ffee", .info = {.device = "sim", .executor = "graph"}};
    fake_free(&req);
    req = (http_request){.method = "POST", .path = "/v1/chat/completions"};
    return 0;
}

/* What differs from run to run is written over: ids, and when. */
static char *seen(void) {
    static const char *const names[] = {"\"id\":\"", "\"created\":"};
    char *s = req.out.s ? req.out.s : (char *)"";
    for (size_t k = 0; k < 2; k++)
        for (char *at = s; (at = strstr(at, names[k]));) {
            at += strlen(names[k]);
            if (k) {
                size_t digits = strspn(at, "0123456789");
                memmove(at + 1, at + digits, strlen(at + digits) + 1);
                *at = 'T';
            } else {
                char *dash = at + strcspn(at, "-_"), *end = strchr(at, '"');
                memmove(dash + 1, end, strlen(end) + 1);
            }
        }
    return s;
}

#define TIMINGS                                                                                                \
    "\"timings\":{\"cache_n\":2,\"prompt_n\":8,\"prompt_ms\":500.0,\"prompt_per_token_ms\":62.5,\"prompt_per_" \
    "second\":16.0,"                                                                                           \
    "\"predicted_n\":3,\"predicted_ms\":1000.0,\"predicted_per_token_ms\":250.0,\"predicted_per_second\":4.0," \
    "\"queued_ms\":"                                                                                           \
    "250.0},\"seed\":9"
#define USAGE                                                                                                          \
    "\"usage\":{\"prompt_tokens\":10,\"completion_tokens\":3,\"total_tokens\":13,\"prompt_tokens_details\":{\"cached_" \
    "tokens\":2}}"
static const task_usage used = {.n_prompt = 10,
                                .n_cached = 2,
                                .n_generated = 3,
                                .queued_s = 0.25,
                                .first_token_s = 0.75,
                                .total_s = 1.75,
                                .tokens_per_s = 4};

static void say(uint32_t i, qm_part kind, const char *s) { tasks[0].sink->part(tasks[0].p, i, kind, s, strlen(s)); }

static void token(task *t, uint32_t i, uint32_t id, float logprob, uint32_t n) {
    qm_logprobs lp = {.logprob = logprob, .n = n, .top = {{id, logprob}, {4, -INFINITY}}};
    size_t len;
    const char *s = qm_engine_piece(NULL, id, &len);
    t->sink->token(t->p, i, id, s, len, &lp);
}
#endif
