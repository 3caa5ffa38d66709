/* serve_play.h: over serve_fake.h: conversations that are prepared, tasks that are begun, with nothing behind: what an endpoint
 * asks for is kept, and a test plays the model. */
#ifndef QM_TESTS_SERVE_PLAY_H
#define QM_TESTS_SERVE_PLAY_H
#include <math.h>
#include "serve_fake.h"
#include "serve_vocab.h"
#include "host/serve/ask.c"

/* The last conversation, as one JSON object: what it does not say is not there. Every prompt has 10 tokens. */
static char *play_conversation;
static qm_err play_refuses; /* code not 0: api_prepare fails so */
int api_prepare(server *s, const api_conversation *c, task_ask *a, qm_err *e) {
    json_t *j = json_pack("{s:O*, s:O*, s:O*, s:s*, s:s*, s:b, s:s*, s:s*}", "messages", c->messages, "tools", c->tools,
                          "kwargs", c->kwargs, "tool_choice", c->tool_choice, "tool_name", c->tool_name, "parallel",
                          c->parallel_calls, "begun", c->begun, "schema", c->schema);
    (void)s;
    free(play_conversation);
    play_conversation = json_dumps(j, JSON_COMPACT);
    json_decref(j);
    if (play_refuses.code) return *e = play_refuses, e->code;
    a->prompt.v = calloc(10, sizeof *a->prompt.v);
    a->prompt.n = 10;
    return 0;
}
int api_fit(const server *s, task_ask *a, qm_err *e) { return (void)s, (void)a, (void)e, 0; }
/* Texts have as many tokens as bytes. */
#define qm_engine_tokenize play_tokenize
__attribute__((unused)) static int qm_engine_tokenize(const qm_engine *g, const char *s, size_t n, int special,
                                                      qm_tokens *out, qm_err *e) {
    (void)g, (void)s, (void)special, (void)e;
    out->n += n;
    return 0;
}

/* The task that was begun, if one was. */
struct task {
    task_ask a;
    const task_sink *sink;
    void *p;
    int begun, cancelled;
};
static task play_task;
static int play_refuse_task;
task *task_begin(server *s, const char *peer, task_ask *a, const task_sink *sink, void *p, const char *id) {
    (void)s, (void)peer, (void)id;
    if (play_refuse_task) return NULL;
    play_task = (task){*a, sink, p, 1, 0};
    *a = (task_ask){0};
    return &play_task;
}
void task_cancel(task *t) { t->cancelled++; }

static server play_server;
static http_request play_request;
static int play_reset(void **state) {
    (void)state;
    task_ask_free(&play_task.a);
    play_task = (task){0};
    play_refuse_task = 0;
    play_refuses = (qm_err){0};
    play_server = (server){.alias = "m",
                           .info = {.device = "sim", .executor = "graph", .n_vocab = 100, .n_ctx = 1000},
                           .sampling = {.temperature = 0.5f, .top_p = 0.75, .repeat_penalty = 1}};
    fake_free(&play_request);
    play_request = (http_request){.method = "POST"};
    return 0;
}
static int play_end(void **state) {
    play_reset(state);
    free(play_conversation);
    play_conversation = NULL;
    return 0;
}
/* A request's body. */
static void play_ask(const char *path, void (*endpoint)(server *s, http_request *r), const char *body) {
    play_reset(NULL);
    play_request.path = path;
    play_request.body = body;
    endpoint(&play_server, &play_request);
}
static void play_begin(void) { play_task.sink->begin(play_task.p); }
static void play_part(qm_part part, const char *s) { play_task.sink->part(play_task.p, 0, part, s, strlen(s)); }
__attribute__((unused)) static void play_token(uint32_t id, float logprob, uint32_t n) {
    const qm_logprobs lp = {.logprob = logprob, .n = n, .top = {{1, -0.5f}, {4, -INFINITY}}};
    size_t len;
    const char *s = qm_engine_piece(NULL, id, &len);
    play_task.sink->token(play_task.p, 0, id, s, len, &lp);
}
static void play_done(task_finish f, const char *stopped_by, uint32_t n_generated) {
    play_task.sink->finish(play_task.p, 0, f, stopped_by);
    play_task.sink->done(play_task.p, &(task_usage){.n_prompt = 10, .n_cached = 4, .n_generated = n_generated});
}

/* What was written. What differs from run to run is written over: what follows `prefix` in ids, and times. */
static char *play_seen(const char *const *prefixes, size_t n) {
    char *s = play_request.out.s ? play_request.out.s : (char *)"";
    for (size_t k = 0; k < n; k++) {
        size_t len = strlen(prefixes[k]);
        for (char *at = s; (at = strstr(at, prefixes[k]));) {
            at += len;
            if (strspn(at, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789") == 24)
                memmove(at, at + 24, strlen(at + 24) + 1);
        }
    }
    static const char *const times[] = {"\"created_at\":", "\"completed_at\":"};
    for (size_t k = 0; k < 2; k++)
        for (char *at = s; (at = strstr(at, times[k]));) {
            at += strlen(times[k]);
            size_t digits = strspn(at, "0123456789");
            if (digits > 1) memmove(at, at + digits - 1, strlen(at + digits - 1) + 1), *at = '0';
        }
    return s;
}
#endif
