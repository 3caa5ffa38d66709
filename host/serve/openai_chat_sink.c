/* openai_chat_sink.c: an answer as /v1/chat/completions writes it: one object, or chunks. Both are made of the same parts, so
 * that deltas joined are the message. */
#include "openai_chat.h"
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef struct {
    sink_answer got;  /* not streamed */
    json_t *logprobs; /* of tokens that no chunk has told of yet; not streamed: of all. NULL: none */
    uint32_t n_calls; /* streamed */
    task_finish finish;
} choice;

typedef struct {
    server *s;
    http_request *r;
    task *t;
    openai_common c;
    char id[40];
    json_int_t created;
    int logprobs;
    uint64_t seed;
    int broken; /* memory ran out, or the client takes nothing: nothing more is written */
    uint32_t n_finished, last;
    choice *choices; /* [c.n] */
} chat;

static void chat_free(chat *c) {
    if (!c) return;
    for (uint32_t i = 0; c->choices && i < c->c.n; i++) {
        sink_answer_free(&c->choices[i].got);
        json_decref(c->choices[i].logprobs);
    }
    free(c->choices);
    free(c);
}

/* ---- log-probabilities ---- */
/* Of every token that was generated, those that were thought and those of calls too: they are told of with the delta that they
 * led to, or a later one. */
static void on_token(void *p, uint32_t i, uint32_t id, const char *piece, size_t n, const qm_logprobs *lp) {
    chat *c = p;
    choice *o = &c->choices[i];
    (void)id;
    if (!o->logprobs) o->logprobs = json_array();
    if (json_array_append_new(o->logprobs, openai_token(c->s, piece, n, lp))) c->broken = 1;
}

static json_t *take_logprobs(choice *o) {
    json_t *j = o->logprobs;
    o->logprobs = NULL;
    return j ? json_pack("{s:o, s:n}", "content", j, "refusal") : json_null();
}

/* ---- chunks ---- */
static void send(chat *c, json_t *choices, const task_usage *u, int last) {
    json_t *j = openai_object(c->s, c->id, "chat.completion.chunk", c->created, choices);
    if (c->c.include_usage) json_object_set_new(j, "usage", u ? openai_usage(u) : json_null());
    if (last) openai_last(j, u, c->seed);
    if (c->broken) json_decref(j);
    else if (api_event(c->r, NULL, j)) c->broken = 1;
}

/* Takes delta. u: the last chunk, unless one of usage follows. */
static void chunk(chat *c, uint32_t i, json_t *delta, const char *finish, const task_usage *u) {
    json_t *o = json_pack("{s:I, s:o, s:s?}", "index", (json_int_t)i, "delta", delta, "finish_reason", finish);
    if (c->logprobs) json_object_set_new(o, "logprobs", take_logprobs(&c->choices[i]));
    send(c, json_pack("[o]", o), c->c.include_usage ? NULL : u, u && !c->c.include_usage);
}

static void on_begin(void *p) {
    chat *c = p;
    api_begin_stream(c->r);
    for (uint32_t i = 0; i < c->c.n; i++)
        chunk(c, i, json_pack("{s:s, s:s}", "role", "assistant", "content", ""), NULL, NULL);
}

static json_t *call_json(const char *id, const char *name, json_t *arguments) {
    return json_pack("{s:s, s:s, s:{s:s, s:o}}", "id", id, "type", "function", "function", "name", name, "arguments",
                     arguments);
}

static void stream_call(chat *c, uint32_t i, const char *name, size_t n) {
    char id[40];
    api_id(id, "call_");
    json_t *call = json_pack("{s:I, s:s, s:s, s:{s:o, s:s}}", "index", (json_int_t)c->choices[i].n_calls++, "id", id,
                             "type", "function", "function", "name", sink_string(name, n), "arguments", "");
    chunk(c, i, json_pack("{s:[o]}", "tool_calls", call), NULL, NULL);
}

static void stream_part(chat *c, uint32_t i, qm_part part, const char *s, size_t n) {
    switch (part) {
    case QM_PART_TEXT: chunk(c, i, json_pack("{s:o}", "content", sink_string(s, n)), NULL, NULL); break;
    case QM_PART_THINKING: chunk(c, i, json_pack("{s:o}", "reasoning_content", sink_string(s, n)), NULL, NULL); break;
    case QM_PART_CALL: stream_call(c, i, s, n); break;
    case QM_PART_ARGUMENTS:
        chunk(c, i,
              json_pack("{s:[{s:I, s:{s:o}}]}", "tool_calls", "index", (json_int_t)c->choices[i].n_calls - 1,
                        "function", "arguments", sink_string(s, n)),
              NULL, NULL);
        break;
    case QM_PART_CALL_END: break;
    }
}

static void on_part(void *p, uint32_t i, qm_part part, const char *s, size_t n) {
    chat *c = p;
    if (c->c.stream) stream_part(c, i, part, s, n);
    else if (sink_take(&c->choices[i].got, "call_", part, s, n)) c->broken = 1;
}

/* The last answer's end waits for done, which is next, so that the last chunk can tell the timings. */
static void on_finish(void *p, uint32_t i, task_finish f, const char *stopped_by) {
    chat *c = p;
    (void)stopped_by;
    c->choices[i].finish = f;
    c->last = i;
    if (++c->n_finished < c->c.n && c->c.stream) chunk(c, i, json_object(), openai_finish(f), NULL);
}

/* ---- the end ---- */
static json_t *message_json(const sink_answer *a) {
    json_t *m = json_pack("{s:s, s:o}", "role", "assistant", "content",
                          a->text.n || !a->n_calls ? sink_text(&a->text) : json_null());
    json_object_set_new(m, "refusal", json_null());
    if (a->thinking.n) json_object_set_new(m, "reasoning_content", sink_text(&a->thinking));
    if (!a->n_calls) return m;
    json_t *calls = json_array();
    for (size_t i = 0; i < a->n_calls; i++) {
        const sink_call *k = &a->calls[i];
        json_array_append_new(calls, call_json(k->id, k->name.s, sink_text(&k->arguments)));
    }
    json_object_set_new(m, "tool_calls", calls);
    return m;
}

static json_t *whole(chat *c, const task_usage *u) {
    json_t *choices = json_array();
    for (uint32_t i = 0; i < c->c.n; i++) {
        choice *o = &c->choices[i];
        json_array_append_new(choices, json_pack("{s:I, s:o, s:o, s:s}", "index", (json_int_t)i, "message",
                                                 message_json(&o->got), "logprobs", take_logprobs(o), "finish_reason",
                                                 openai_finish(o->finish)));
    }
    if (json_array_size(choices) < c->c.n) c->broken = 1;
    json_t *j = openai_object(c->s, c->id, "chat.completion", c->created, choices);
    json_object_set_new(j, "usage", openai_usage(u));
    openai_last(j, u, c->seed);
    return j;
}

static void on_done(void *p, const task_usage *u) {
    chat *c = p;
    if (c->c.stream) {
        chunk(c, c->last, json_object(), openai_finish(c->choices[c->last].finish), u);
        if (c->c.include_usage) send(c, json_array(), u, 1);
        if (!c->broken) http_write(c->r, "data: [DONE]\n\n", 14);
        http_end(c->r);
    } else {
        json_t *j = whole(c, u);
        if (c->broken) json_decref(j), j = NULL;
        api_reply_json(c->r, 200, j);
    }
    chat_free(c);
}

static void on_failed(void *p, int began, int status, const qm_err *e) {
    chat *c = p;
    if (began && c->c.stream) {
        if (!c->broken) api_event(c->r, NULL, api_error_json(0, status, e));
        http_end(c->r);
    } else api_fail(c->r, status, e);
    chat_free(c);
}

static const task_sink streamed = {on_begin, on_token, on_part, on_finish, on_done, on_failed},
                       collected = {NULL, on_token, on_part, on_finish, on_done, on_failed};

static void on_gone(void *p) {
    chat *c = p;
    task_cancel(c->t);
    chat_free(c);
}

void openai_chat_begin(server *s, http_request *r, task_ask *a, const openai_common *common) {
    chat *c = calloc(1, sizeof *c);
    if (c) c->choices = calloc(common->n, sizeof *c->choices);
    if (!c || !c->choices) goto failed;
    c->s = s;
    c->r = r;
    c->c = *common;
    c->created = (json_int_t)time(NULL);
    c->logprobs = a->logprobs;
    c->seed = a->sampling.seed;
    api_id(c->id, "chatcmpl-");
    if (!(c->t = task_begin(s, http_peer(r), a, c->c.stream ? &streamed : &collected, c, c->id))) goto failed;
    http_on_gone(r, on_gone, c);
    return;
failed:
    chat_free(c);
    api_error(r, 500, NULL, "out of memory");
}
