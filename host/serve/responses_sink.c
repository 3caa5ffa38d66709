/* responses_sink.c: an answer as /v1/responses writes it: a response with items, or its events, which are numbered. */
#include <string.h>
#include "responses.h"
#include "sink.h"

/* ---- items ---- */
static json_t *part_of(const block *b, int begun) {
    json_t *text = begun ? exchange_text(&b->text) : json_string("");
    if (b->kind == BLOCK_THINKING) return json_pack("{s:s, s:o}", "type", "reasoning_text", "text", text);
    return json_pack("{s:s, s:o, s:[], s:o}", "type", "output_text", "text", text, "annotations", "logprobs",
                     begun && b->logprobs ? json_incref(b->logprobs) : json_array());
}

/* A call that was cut short is incomplete, and has its arguments as far as they came. */
static const char *status_of(const exchange *x, const block *b, int ended) {
    if (!ended) return "in_progress";
    if (b->kind == BLOCK_CALL) return b->whole ? "completed" : "incomplete";
    return x->finish == TASK_LENGTH && b == &x->blocks[x->n - 1] ? "incomplete" : "completed";
}

/* begun: with what it has; else as it is when it begins. */
static json_t *item_of(const exchange *x, const block *b, int begun) {
    const char *status = status_of(x, b, begun);
    if (b->kind == BLOCK_CALL)
        return json_pack("{s:s, s:s, s:s, s:s, s:o, s:o}", "id", b->id, "type", "function_call", "status", status,
                         "call_id", b->call, "name", exchange_text(&b->name), "arguments",
                         begun ? exchange_text(&b->text) : json_string(""));
    json_t *content = begun ? json_pack("[o]", part_of(b, 1)) : json_array();
    if (b->kind == BLOCK_THINKING)
        return json_pack("{s:s, s:s, s:s, s:[], s:o}", "id", b->id, "type", "reasoning", "status", status, "summary",
                         "content", content);
    return json_pack("{s:s, s:s, s:s, s:s, s:o}", "id", b->id, "type", "message", "status", status, "role", "assistant",
                     "content", content);
}

/* ---- the response ---- */
static json_t *usage(const exchange *x) {
    return json_pack("{s:I, s:{s:I, s:I}, s:I, s:{s:I}, s:I}", "input_tokens", (json_int_t)x->u.n_prompt,
                     "input_tokens_details", "cached_tokens", (json_int_t)x->u.n_cached, "cache_write_tokens",
                     (json_int_t)0, "output_tokens", (json_int_t)x->u.n_generated, "output_tokens_details",
                     "reasoning_tokens", (json_int_t)exchange_thought(x), "total_tokens",
                     (json_int_t)x->u.n_prompt + x->u.n_generated);
}

/* status: "in_progress", "failed"; NULL: it has ended. error: taken; NULL: none. */
static json_t *response(const exchange *x, const char *status, json_t *error) {
    const int cut = !status && x->finish == TASK_LENGTH, ended = !status;
    json_t *output = json_array();
    for (size_t i = 0; ended && i < x->n; i++) json_array_append_new(output, item_of(x, &x->blocks[i], 1));
    json_t *j = json_pack("{s:s, s:s, s:I, s:o, s:s, s:b, s:o, s:o, s:o, s:o, s:n, s:b, s:s, s:s, s:n, s:o}", "id",
                          x->id, "object", "response", "created_at", (json_int_t)x->created, "completed_at",
                          ended && !cut ? json_integer((json_int_t)(x->created + x->u.total_s)) : json_null(), "status",
                          status ? status
                          : cut  ? "incomplete"
                                 : "completed",
                          "background", 0, "error", error ? error : json_null(), "incomplete_details",
                          cut ? json_pack("{s:s}", "reason", "max_output_tokens") : json_null(), "model",
                          sink_string(x->s->alias, strlen(x->s->alias)), "output", output, "previous_response_id",
                          "store", 0, "truncation", "disabled", "service_tier", "default", "max_tool_calls", "usage",
                          ended ? usage(x) : json_null());
    if (j) json_object_update(j, x->request);
    return j;
}

static json_t *answer(exchange *x) { return response(x, NULL, NULL); }

/* ---- events ---- */
/* With the members of j, which it takes. */
static void event(exchange *x, const char *type, json_t *j) {
    json_t *all = json_pack("{s:s, s:I}", "type", type, "sequence_number", (json_int_t)x->sequence++);
    json_object_update(all, j);
    json_decref(j);
    api_event(x->r, type, all);
}

static void event_of_response(exchange *x, const char *type, json_t *r) {
    event(x, type, json_pack("{s:o}", "response", r));
}

/* One of a block: item_id, output_index, and, of texts, content_index. */
static json_t *at(const exchange *x, const block *b) {
    json_t *j = json_pack("{s:s, s:I}", "item_id", b->id, "output_index", (json_int_t)(b - x->blocks));
    if (b->kind != BLOCK_CALL) json_object_set_new(j, "content_index", json_integer(0));
    return j;
}

/* With one member more, which it takes. */
static json_t *with(json_t *j, const char *name, json_t *value) {
    json_object_set_new(j, name, value);
    return j;
}

static void event_of_item(exchange *x, const char *type, const block *b, int begun) {
    event(x, type, json_pack("{s:I, s:o}", "output_index", (json_int_t)(b - x->blocks), "item", item_of(x, b, begun)));
}

static void begin(exchange *x) {
    event_of_response(x, "response.created", response(x, "in_progress", NULL));
    event_of_response(x, "response.in_progress", response(x, "in_progress", NULL));
}

static void open_block(exchange *x, block *b) {
    event_of_item(x, "response.output_item.added", b, 0);
    if (b->kind != BLOCK_CALL) event(x, "response.content_part.added", with(at(x, b), "part", part_of(b, 0)));
}

static void delta(exchange *x, block *b, const char *s, size_t n) {
    static const char *const types[] = {"response.reasoning_text.delta", "response.output_text.delta",
                                        "response.function_call_arguments.delta"}; /* by block_kind */
    json_t *j = with(at(x, b), "delta", sink_string(s, n));
    if (b->kind == BLOCK_TEXT) with(j, "logprobs", x->logprobs ? json_incref(x->logprobs) : json_array());
    event(x, types[b->kind], j);
}

static void close_block(exchange *x, block *b) {
    if (b->kind == BLOCK_CALL) {
        if (b->whole)
            event(x, "response.function_call_arguments.done",
                  with(with(at(x, b), "name", exchange_text(&b->name)), "arguments", exchange_text(&b->text)));
    } else {
        json_t *j = with(at(x, b), "text", exchange_text(&b->text));
        if (b->kind == BLOCK_TEXT) with(j, "logprobs", b->logprobs ? json_incref(b->logprobs) : json_array());
        event(x, b->kind == BLOCK_TEXT ? "response.output_text.done" : "response.reasoning_text.done", j);
        event(x, "response.content_part.done", with(at(x, b), "part", part_of(b, 1)));
    }
    event_of_item(x, "response.output_item.done", b, 1);
}

static void end(exchange *x) {
    event_of_response(x, x->finish == TASK_LENGTH ? "response.incomplete" : "response.completed",
                      response(x, NULL, NULL));
}

static void broke(exchange *x, int status, const qm_err *e) {
    const char *code = status < 500 ? "invalid_prompt" : "server_error";
    event(x, "error", json_pack("{s:s, s:s, s:n}", "code", code, "message", e->msg, "param"));
    event_of_response(x, "response.failed",
                      response(x, "failed", json_pack("{s:s, s:s}", "code", code, "message", e->msg)));
}

const protocol responses_protocol = {.id = "resp_",
                                     .block_ids = {"rs_", "msg_", "fc_"},
                                     .call_id = "call_",
                                     .begin = begin,
                                     .open = open_block,
                                     .delta = delta,
                                     .close = close_block,
                                     .end = end,
                                     .broke = broke,
                                     .answer = answer};
