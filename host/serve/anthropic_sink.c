/* anthropic_sink.c: an answer as /v1/messages writes it: a message with blocks of content, or its events. */
#include <string.h>
#include "anthropic.h"
#include "sink.h"

/* Tokens from the cache are not among input_tokens here. While the answer comes it is not known how many were. */
static json_t *usage(const exchange *x, int ended) {
    const uint32_t cached = ended ? x->u.n_cached : 0;
    return json_pack("{s:I, s:I, s:I, s:I, s:{s:I}}", "input_tokens", (json_int_t)(x->n_prompt - cached),
                     "cache_creation_input_tokens", (json_int_t)0, "cache_read_input_tokens", (json_int_t)cached,
                     "output_tokens", (json_int_t)(ended ? x->u.n_generated : 0), "output_tokens_details",
                     "thinking_tokens", (json_int_t)(ended ? exchange_thought(x) : 0));
}

static const char *stop_reason(const exchange *x) {
    switch (x->finish) {
    case TASK_CALLS: return "tool_use";
    case TASK_LENGTH:
        return x->max_tokens && x->u.n_generated < x->max_tokens ? "model_context_window_exceeded" : "max_tokens";
    default: return x->stopped ? "stop_sequence" : "end_turn";
    }
}

/* Takes content. */
static json_t *message(const exchange *x, json_t *content, int ended) {
    return json_pack("{s:s, s:s, s:s, s:o, s:o, s:s?, s:s?, s:o}", "id", x->id, "type", "message", "role", "assistant",
                     "model", sink_string(x->s->alias, strlen(x->s->alias)), "content", content, "stop_reason",
                     ended ? stop_reason(x) : NULL, "stop_sequence", x->stopped, "usage", usage(x, ended));
}

/* A block of the whole message. A call that was cut short, by max_tokens say, has no input: it comes as text. */
static json_t *whole(const block *b) {
    if (b->kind == BLOCK_TEXT) return json_pack("{s:s, s:o}", "type", "text", "text", exchange_text(&b->text));
    if (b->kind == BLOCK_THINKING)
        return json_pack("{s:s, s:o, s:s}", "type", "thinking", "thinking", exchange_text(&b->text), "signature", "");
    json_t *input = exchange_arguments(b);
    if (input)
        return json_pack("{s:s, s:s, s:o, s:o}", "type", "tool_use", "id", b->id, "name", exchange_text(&b->name),
                         "input", input);
    qm_buffer said = {0};
    int bad = qm_buffer_put(&said, b->name.s, b->name.n) || qm_buffer_put(&said, "(", 1) ||
              qm_buffer_put(&said, b->text.s, b->text.n);
    json_t *j = bad ? NULL : json_pack("{s:s, s:o}", "type", "text", "text", exchange_text(&said));
    free(said.s);
    return j;
}

static json_t *answer(exchange *x) {
    json_t *content = json_array();
    for (size_t i = 0; i < x->n; i++)
        if (json_array_append_new(content, whole(&x->blocks[i]))) {
            json_decref(content);
            return NULL;
        }
    return message(x, content, 1);
}

/* ---- events ---- */
static void begin(exchange *x) {
    api_event(x->r, "message_start",
              json_pack("{s:s, s:o}", "type", "message_start", "message", message(x, json_array(), 0)));
    api_event(x->r, "ping", json_pack("{s:s}", "type", "ping"));
}

static json_int_t index_of(const exchange *x, const block *b) { return b - x->blocks; }

static void open_block(exchange *x, block *b) {
    json_t *empty = b->kind == BLOCK_TEXT ? json_pack("{s:s, s:s}", "type", "text", "text", "")
                    : b->kind == BLOCK_THINKING
                        ? json_pack("{s:s, s:s, s:s}", "type", "thinking", "thinking", "", "signature", "")
                        : json_pack("{s:s, s:s, s:o, s:{}}", "type", "tool_use", "id", b->id, "name",
                                    exchange_text(&b->name), "input");
    api_event(
        x->r, "content_block_start",
        json_pack("{s:s, s:I, s:o}", "type", "content_block_start", "index", index_of(x, b), "content_block", empty));
}

static void delta(exchange *x, block *b, const char *s, size_t n) {
    static const char *const types[] = {"thinking_delta", "text_delta", "input_json_delta"}; /* by block_kind */
    static const char *const names[] = {"thinking", "text", "partial_json"};
    api_event(x->r, "content_block_delta",
              json_pack("{s:s, s:I, s:{s:s, s:o}}", "type", "content_block_delta", "index", index_of(x, b), "delta",
                        "type", types[b->kind], names[b->kind], sink_string(s, n)));
}

static void close_block(exchange *x, block *b) {
    api_event(x->r, "content_block_stop",
              json_pack("{s:s, s:I}", "type", "content_block_stop", "index", index_of(x, b)));
}

static void end(exchange *x) {
    api_event(x->r, "message_delta",
              json_pack("{s:s, s:{s:s, s:s?}, s:o}", "type", "message_delta", "delta", "stop_reason", stop_reason(x),
                        "stop_sequence", x->stopped, "usage", usage(x, 1)));
    api_event(x->r, "message_stop", json_pack("{s:s}", "type", "message_stop"));
}

static void broke(exchange *x, int status, const qm_err *e) { api_event(x->r, "error", api_error_json(1, status, e)); }

const protocol anthropic_protocol = {.id = "msg_",
                                     .block_ids = {"", "", "toolu_"},
                                     .call_id = "",
                                     .begin = begin,
                                     .open = open_block,
                                     .delta = delta,
                                     .close = close_block,
                                     .end = end,
                                     .broke = broke,
                                     .answer = answer};
