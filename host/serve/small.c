/* small.c: the endpoints that answer at once: whether the server is well, what it serves, and text as tokens. Shapes are
 * llama.cpp's server's. */
#include "sink.h"
#include <stdlib.h>
#include <string.h>
#include "../json.h"
#include "../sampling.h"

/* ---- well or not ---- */
void api_health(server *s, http_request *r) {
    (void)s;
    api_reply_json(r, 200, json_pack("{s:s}", "status", "ok"));
}

/* Not ready: better served by another one. */
static const char *why_not(const server *s, const runner_state *now) {
    if (s->draining) return "the server is shutting down";
    if (now->failed) return "the device's last step failed";
    if (s->max_queue && now->batch.n_waiting >= s->max_queue) return "the queue is full";
    return NULL;
}

void api_ready(server *s, http_request *r) {
    runner_state now;
    runner_get_state(s->runner, &now);
    const char *why = why_not(s, &now);
    if (why) http_set_header(r, "Retry-After", "1");
    api_reply_json(r, why ? 503 : 200,
                   json_pack("{s:s, s:s?, s:I, s:I}", "status", why ? "not ready" : "ready", "reason", why, "running",
                             (json_int_t)now.batch.n_running, "waiting", (json_int_t)now.batch.n_waiting));
}

void api_metrics(server *s, http_request *r) {
    runner_state now;
    http_state web;
    qm_buffer b = {0};
    runner_get_state(s->runner, &now);
    http_get_state(s->http, &web);
    metrics_now m = {.n_running = now.batch.n_running,
                     .n_waiting = now.batch.n_waiting,
                     .n_pages = now.batch.n_pages,
                     .n_held = now.batch.n_held,
                     .n_kept = now.batch.n_kept,
                     .page_tokens = now.batch.n_pages ? s->info.n_kv / now.batch.n_pages : 0,
                     .n_connections = web.n_connections,
                     .n_steps = now.batch.n_steps,
                     .n_rows = now.batch.n_rows,
                     .n_failed = now.n_failed,
                     .uptime_s = loop_now(s->loop) - s->started_clock,
                     .model = s->alias,
                     .device = s->info.device,
                     .executor = s->info.executor,
                     .version = s->commit ? s->commit : QM_VERSION};
    memcpy(m.steps_of, now.steps_of, sizeof m.steps_of);
    if (metrics_text(s->metrics, &m, &b)) api_error(r, 500, NULL, "out of memory");
    else http_reply(r, 200, "text/plain; version=0.0.4; charset=utf-8", b.s, b.n);
    free(b.s);
}

/* ---- what is served ---- */
static json_t *text_json(const char *s) { return sink_string(s, strlen(s)); }

static json_t *model_json(const server *s) {
    return json_pack("{s:o, s:s, s:I, s:s, s:I, s:{s:I, s:I, s:I, s:I, s:I}}", "id", text_json(s->alias), "object",
                     "model", "created", (json_int_t)s->started, "owned_by", "qmoe-gpu", "max_model_len",
                     (json_int_t)s->info.n_ctx, "meta", "n_vocab", (json_int_t)s->info.n_vocab, "n_ctx",
                     (json_int_t)s->info.n_ctx, "n_ctx_train", (json_int_t)s->info.n_ctx_train, "n_embd",
                     (json_int_t)s->info.n_embd, "size", (json_int_t)s->info.weight_bytes);
}

void api_models(server *s, http_request *r) {
    api_reply_json(r, 200, json_pack("{s:s, s:[o]}", "object", "list", "data", model_json(s)));
}

void api_model(server *s, http_request *r) {
    const char *name = http_path(r) + strlen("/v1/models/");
    if (strcmp(name, s->alias)) api_error(r, 404, "model", "there is no model %.200s here: %.200s is", name, s->alias);
    else api_reply_json(r, 200, model_json(s));
}

void api_props(server *s, http_request *r) {
    static const char *const formats[] = {"none", "json", "xml"};
    json_t *params = qm_sampling_json(&s->sampling);
    json_object_set(params, "temperature", json_object_get(params, "temp")); /* its name in requests */
    json_object_del(params, "temp");
    json_object_set_new(params, "seed", s->seeded ? json_integer((json_int_t)s->sampling.seed) : json_integer(-1));
    json_t *j = json_pack(
        "{s:{s:I, s:o}, s:I, s:o, s:{s:b, s:b}, s:s, s:s, s:s, s:s, s:b, s:s, s:s, s:s, s:{s:s, s:o, s:I, s:I}}",
        "default_generation_settings", "n_ctx", (json_int_t)s->info.n_ctx, "params", params, "total_slots",
        (json_int_t)s->n_parallel, "model_alias", text_json(s->alias), "modalities", "vision", 0, "audio", 0,
        "build_info", s->commit ? s->commit : QM_VERSION, "device", s->info.device, "device_name", s->info.device_name,
        "executor", s->info.executor, "interpreted", s->info.interpreted, "chat_format", s->info.chat_format,
        "tool_format", formats[qm_engine_tool_format(s->g)], "cache_type", s->info.cache, "model", "arch", s->info.arch,
        "name", text_json(s->info.name), "n_vocab", (json_int_t)s->info.n_vocab, "n_ctx_train",
        (json_int_t)s->info.n_ctx_train);
    api_reply_json(r, 200, j);
}

/* A slot a sequence that can run. Those that run fill the first ones. What is in them stays their clients' own. */
typedef struct {
    json_t *list;
    uint32_t n, n_ctx, most;
    int begun; /* which ones this pass takes */
} slots;

static void add_slot(void *user, const task_view *v) {
    slots *k = user;
    for (uint32_t i = 0; v && v->begun == k->begun && i < (v->begun ? v->n : 1) && k->n < k->most; i++)
        json_array_append_new(k->list, json_pack("{s:I, s:s, s:b, s:I, s:I, s:I, s:f}", "id", (json_int_t)k->n++,
                                                 "id_task", v->id, "is_processing", 1, "n_ctx", (json_int_t)k->n_ctx,
                                                 "n_prompt_tokens", (json_int_t)v->n_prompt, "n_decoded",
                                                 (json_int_t)v->n_generated, "seconds", v->seconds));
}

void api_slots(server *s, http_request *r) {
    runner_state now;
    runner_get_state(s->runner, &now);
    slots k = {.list = json_array(), .n_ctx = s->info.n_ctx, .most = s->n_parallel};
    for (k.begun = 1; k.begun >= 0; k.begun--) task_each(s, add_slot, &k);
    const int full = k.n == k.most;
    while (k.n < k.most)
        json_array_append_new(k.list, json_pack("{s:I, s:n, s:b, s:I}", "id", (json_int_t)k.n++, "id_task",
                                                "is_processing", 0, "n_ctx", (json_int_t)k.n_ctx));
    const char *asks = http_query(r, "fail_on_no_slot");
    api_reply_json(r, full && asks && strcmp(asks, "0") ? 503 : 200, k.list);
}

/* ---- text as tokens ---- */
/* Of a token: its text, or where it is a part of a character its bytes. */
static json_t *piece_json(const server *s, uint32_t id) {
    size_t n;
    const char *p = qm_engine_piece(s->g, id, &n);
    json_t *j = p ? json_stringn(p, n) : json_null();
    if (j) return j;
    j = json_array();
    for (size_t i = 0; i < n; i++) json_array_append_new(j, json_integer((unsigned char)p[i]));
    return j;
}

static json_t *tokens_json(const server *s, const qm_tokens *t, int pieces) {
    json_t *list = json_array();
    for (size_t i = 0; i < t->n; i++) {
        json_t *id = json_integer(t->v[i]);
        json_array_append_new(list, pieces ? json_pack("{s:o, s:o}", "id", id, "piece", piece_json(s, t->v[i])) : id);
    }
    return json_pack("{s:o}", "tokens", list);
}

void api_tokenize(server *s, http_request *r) {
    json_t *body = api_body(r);
    if (!body) return;
    qm_tokens t = {0};
    qm_err e;
    fields f;
    fields_begin(&f, body);
    const char *text = fields_string(&f, "content", NULL);
    const int special = fields_bool(&f, "parse_special", 1), pieces = fields_bool(&f, "with_pieces", 0);
    fields_refuse(&f, "add_special", "false",
                  "not supported: prompts of these models begin with no token of their own");
    if (!text) fields_fail(&f, "content", "expected a string");
    if (!fields_end(&f, s, r)) {
        if (qm_engine_tokenize(s->g, text, strlen(text), special, &t, &e)) api_refuse(r, &e);
        else api_reply_json(r, 200, tokens_json(s, &t, pieces));
    }
    qm_tokens_free(&t);
    json_decref(body);
}

void api_detokenize(server *s, http_request *r) {
    json_t *body = api_body(r), *id;
    if (!body) return;
    qm_buffer b = {0};
    fields f;
    size_t i;
    fields_begin(&f, body);
    json_t *tokens = fields_array(&f, "tokens");
    if (!tokens) fields_fail(&f, "tokens", "expected an array of token ids");
    json_array_foreach (tokens, i, id) {
        size_t n = 0;
        const json_int_t v = json_is_integer(id) ? json_integer_value(id) : -1;
        const char *p = v >= 0 && v < s->info.n_vocab ? qm_engine_piece(s->g, (uint32_t)v, &n) : NULL;
        if (!p) fields_fail(&f, "tokens", "token %zu: expected an id from 0 to %u", i, s->info.n_vocab - 1);
        else if (qm_buffer_put(&b, p, n)) fields_fail(&f, "tokens", "out of memory");
        if (*f.error) break;
    }
    if (!fields_end(&f, s, r)) api_reply_json(r, 200, json_pack("{s:o}", "content", sink_text(&b)));
    free(b.s);
    json_decref(body);
}

void api_apply_template(server *s, http_request *r) {
    json_t *body = api_body(r);
    if (!body) return;
    char *text = NULL;
    size_t n;
    qm_err e = {0};
    fields f;
    fields_begin(&f, body);
    json_t *messages = fields_array(&f, "messages"), *tools = fields_array(&f, "tools"),
           *kwargs = fields_object(&f, "chat_template_kwargs");
    const int turn = fields_bool(&f, "add_generation_prompt", 1);
    if (!json_array_size(messages)) fields_fail(&f, "messages", "expected an array of messages");
    if (!fields_end(&f, s, r)) {
        if (api_render_text(s, messages, tools, kwargs, turn, &text, &n, &e)) api_refuse(r, &e);
        else api_reply_json(r, 200, json_pack("{s:o}", "prompt", sink_string(text, n)));
    }
    free(text);
    json_decref(body);
}
