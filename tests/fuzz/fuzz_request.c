/* fuzz_request.c: any body, sent to any endpoint, with a real model's tokenizer and a template that knows tools; what is behind
 * the tasks is played. Every request must be answered once, by a status that is no fault of ours, and by valid JSON; whatever
 * answer comes, or failure, or a client that goes, nothing may be left behind (the sanitizers say).
 * The input: a byte for the endpoint, one for what is played, the body. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <strings.h>
#include <time.h>
#define QM_TESTS_NO_BUFFER /* host/common.o has it */
#include "must.h"
#include "serve_fake.h"
#include "host/serve/openai.h"

/* ---- tasks that are begun, and what else the endpoints ask of the server's middle ---- */
struct task {
    task_ask a;
    const task_sink *sink;
    void *p;
};
static task tasks[OPENAI_MOST_ANSWERS];
static int n_tasks, n_cancelled;

task *task_begin(server *s, const char *peer, task_ask *a, const task_sink *sink, void *p, const char *id) {
    (void)s, (void)peer, (void)id;
    MUST(a->prompt.n && n_tasks < OPENAI_MOST_ANSWERS);
    tasks[n_tasks] = (task){*a, sink, p};
    *a = (task_ask){0};
    return &tasks[n_tasks++];
}
void task_cancel(task *t) {
    t->sink = NULL;
    n_cancelled++;
}
void task_each(const server *s, void (*fn)(void *user, const task_view *v), void *user) {
    (void)s, (void)fn, (void)user;
}
void runner_get_state(runner *r, runner_state *s) {
    (void)r;
    *s = (runner_state){.batch = {.n_pages = 32}};
}
void http_get_state(const http *h, http_state *s) {
    (void)h;
    *s = (http_state){0};
}
void api_page(server *s, http_request *r) { (void)s, http_reply(r, 200, "text/html", "", 0); }
double loop_now(const loop *l) { return (void)l, 5; }

/* ---- an answer, a failure, or a client that goes ---- */
static const task_usage used = {.n_prompt = 3, .n_generated = 2, .first_token_s = 1, .total_s = 2, .tokens_per_s = 4};

static void say(task *t, uint32_t i, qm_part part, const char *s) {
    if (t->sink) t->sink->part(t->p, i, part, s, strlen(s));
}

static void play(task *t, int how) {
    const uint32_t n = t->a.n ? t->a.n : 1;
    const qm_logprobs lp = {.logprob = -0.5f, .n = t->a.n_logprobs};
    qm_err e = {.code = QM_ERR_DEVICE, .msg = "played"};
    if (how & 1) { /* before anything has come */
        t->sink->failed(t->p, 0, 429, &e);
        return;
    }
    if (t->sink->begin) t->sink->begin(t->p);
    for (uint32_t i = 0; i < n; i++) {
        if (t->a.logprobs && t->sink->token) t->sink->token(t->p, i, 65, "b", 1, &lp);
        if (how & 2) say(t, i, QM_PART_THINKING, "hm");
        say(t, i, QM_PART_TEXT, "a\"\xe2\x82\xac");
        if (how & 4) say(t, i, QM_PART_CALL, "f"), say(t, i, QM_PART_ARGUMENTS, "{}");
        if ((how & 12) == 4) say(t, i, QM_PART_CALL_END, "");
        if ((how & 16) && i == n / 2) {
            t->sink->failed(t->p, 1, 500, &e);
            return;
        }
        t->sink->finish(t->p, i, how & 4 ? TASK_CALLS : TASK_STOP, NULL);
    }
    t->sink->done(t->p, &used);
}

static server srv;

static void open_server(void) {
    static char template[16384];
    qm_err e = {0};
    FILE *f = fopen("tests/golden/jinja/json_tools.jinja", "rb");
    MUST(f && fread(template, 1, sizeof template - 1, f));
    fclose(f);
    const qm_engine_opts o = {.executor = "ref", .n_ctx = 1024, .chat_template = template};
    if (qm_engine_open(&srv.g, "models/demo.gguf", &o, &e)) fprintf(stderr, "%s\n", e.msg), abort();
    qm_engine_get_info(srv.g, &srv.info);
    qm_engine_sampling(srv.g, &srv.sampling);
    srv.alias = "demo";
    srv.n_parallel = 4;
    MUST((srv.metrics = metrics_open()));
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n) {
    static const char *const paths[] = {
#define QM_ENDPOINT(method, path, name, open) path,
#include "host/serve/endpoints.def"
#undef QM_ENDPOINT
    };
    enum { N_PATHS = sizeof paths / sizeof *paths };
    if (n < 2) return 0;
    if (!srv.g) open_server();
    char *body = malloc(n - 1);
    MUST(body);
    memcpy(body, p + 2, n - 2);
    body[n - 2] = 0;
    http_request r = {.method = p[0] & 0x80 ? "GET" : "POST",
                      .path = paths[(p[0] & 0x7f) % N_PATHS],
                      .body = body,
                      .n_body = n - 2,
                      .empty = n == 2};
    n_tasks = n_cancelled = 0;
    api_dispatch(&srv, &r);
    if (n_tasks && (p[1] & 32)) { /* the client goes before the first token */
        MUST(r.on_gone);
        r.gone = 1;
        r.on_gone(r.user);
        MUST(n_cancelled == n_tasks);
    } else {
        r.write_fails = (p[1] & 64) != 0;
        for (int i = 0; i < n_tasks; i++)
            if (tasks[i].sink) play(&tasks[i], p[1]);
        MUST(r.ended && r.status);
        MUST(r.status < 500 || (n_tasks && (p[1] & 17) == 16)); /* the one that was played */
        if (!strcmp(r.type, "application/json")) {
            json_t *j = json_loadb(r.out.s, r.out.n, 0, NULL);
            MUST(j);
            json_decref(j);
        }
    }
    for (int i = 0; i < n_tasks; i++) task_ask_free(&tasks[i].a);
    fake_free(&r);
    free(body);
    return 0;
}
