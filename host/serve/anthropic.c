/* anthropic.c: POST /v1/messages and /v1/messages/count_tokens: what is asked for, as a conversation as OpenAI has it, which
 * is what templates know. Errors name Anthropic's fields. */
#include "anthropic.h"
#include <stdlib.h>
#include <string.h>

enum { PLACE = 96 };

/* That no thought is taken out of the messages, as coding agents say with each request. */
#define KEEP_ALL "{\"edits\":[]}|{\"edits\":[{\"type\":\"clear_thinking_20251015\",\"keep\":\"all\"}]}"
static const fields_refusal refused[] = {
    {"mcp_servers", "[]", "not supported: the server calls nobody"},
    {"diagnostics", "", "not supported: usage says what the cache had"},
    {"container", "", "not supported: nothing is run here"},
    {"context_management", KEEP_ALL, "not supported: say the messages that are to be seen"},
    {"inference_geo", "", "not supported: there is one place"},
    {"speed", "\"standard\"", "not supported: there is one speed"},
};

typedef struct {
    api_conversation c;
    int stream;
    uint32_t max_tokens;
    char *schema;
    qm_buffer begun;
} asked;

static void asked_free(asked *q) {
    json_decref(q->c.messages);
    json_decref(q->c.tools);
    json_decref(q->c.kwargs);
    free(q->schema);
    free(q->begun.s);
}

/* ---- messages ---- */
/* Takes value. */
static void append(fields *f, json_t *list, json_t *value) {
    if (json_array_append_new(list, value)) fields_fail(f, "messages", "out of memory");
}

static void append_message(fields *f, json_t *list, const char *role, json_t *content) {
    append(f, list, json_pack("{s:s, s:o}", "role", role, "content", content));
}

static const char *type_of(fields *f, const char *at, const json_t *o) {
    const char *type = json_string_value(json_object_get(o, "type"));
    if (!type) fields_fail(f, at, "expected an object with a type");
    return type;
}

/* o[name], which must be a string; NULL: it is not. */
static json_t *string_of(fields *f, const char *at, const json_t *o, const char *name) {
    char place[PLACE + 32];
    json_t *v = json_object_get(o, name);
    if (json_is_string(v)) return v;
    snprintf(place, sizeof place, "%s.%s", at, name);
    fields_fail(f, place, "expected a string");
    return NULL;
}

/* A block that is text, as a part of it. */
static void append_text(fields *f, json_t *parts, const char *at, const json_t *block) {
    json_t *text = string_of(f, at, block, "text");
    if (text) append(f, parts, json_pack("{s:s, s:O}", "type", "text", "text", text));
}

/* Text, or blocks of nothing else: a string, or parts. */
static json_t *texts(fields *f, const char *at, json_t *content) {
    size_t i;
    json_t *block;
    if (json_is_string(content)) return json_incref(content);
    if (!json_is_array(content)) fields_fail(f, at, "expected a string or an array of blocks");
    json_t *parts = json_array();
    json_array_foreach (content, i, block) {
        char place[PLACE + 32];
        snprintf(place, sizeof place, "%s[%zu]", at, i);
        const char *type = type_of(f, place, block);
        if (type && strcmp(type, "text")) fields_fail(f, place, "type %.40s: this is a model of text only", type);
        else if (type) append_text(f, parts, place, block);
    }
    return parts;
}

static void tool_result(fields *f, json_t *out, const char *at, const json_t *block) {
    char place[PLACE + 16];
    json_t *content = json_object_get(block, "content"), *id = string_of(f, at, block, "tool_use_id");
    snprintf(place, sizeof place, "%s.content", at);
    json_t *text = content && !json_is_null(content) ? texts(f, place, content) : json_string("");
    append(f, out,
           json_pack("{s:s, s:O, s:o}", "role", "tool", "tool_call_id", id ? id : json_null(), "content", text));
}

/* Results stand as messages of their own, at their place. */
static void user_blocks(fields *f, json_t *out, const char *at, const json_t *content) {
    size_t i;
    json_t *block, *parts = json_array();
    json_array_foreach (content, i, block) {
        char place[PLACE];
        snprintf(place, sizeof place, "%s.content[%zu]", at, i);
        const char *type = type_of(f, place, block);
        if (!type) break;
        if (!strcmp(type, "text")) append_text(f, parts, place, block);
        else if (!strcmp(type, "tool_result")) {
            if (json_array_size(parts)) append_message(f, out, "user", parts), parts = json_array();
            tool_result(f, out, place, block);
        } else fields_fail(f, place, "type %.40s: this is a model of text only", type);
    }
    if (json_array_size(parts)) append_message(f, out, "user", parts);
    else json_decref(parts);
}

static void tool_use(fields *f, json_t *calls, const char *at, const json_t *block) {
    char place[PLACE + 16];
    json_t *id = string_of(f, at, block, "id"), *name = string_of(f, at, block, "name"),
           *input = json_object_get(block, "input");
    snprintf(place, sizeof place, "%s.input", at);
    if (!json_is_object(input)) fields_fail(f, place, "expected an object");
    if (!*f->error)
        append(f, calls,
               json_pack("{s:O, s:s, s:{s:O, s:O}}", "id", id, "type", "function", "function", "name", name,
                         "arguments", input));
}

static void assistant_blocks(fields *f, json_t *out, const char *at, const json_t *content) {
    size_t i;
    qm_buffer thoughts = {0};
    json_t *block, *parts = json_array(), *calls = json_array();
    json_array_foreach (content, i, block) {
        char place[PLACE];
        snprintf(place, sizeof place, "%s.content[%zu]", at, i);
        const char *type = type_of(f, place, block);
        if (!type) break;
        if (!strcmp(type, "text")) append_text(f, parts, place, block);
        else if (!strcmp(type, "tool_use")) tool_use(f, calls, place, block);
        else if (!strcmp(type, "thinking")) {
            json_t *t = string_of(f, place, block, "thinking");
            if (t && qm_buffer_put(&thoughts, json_string_value(t), json_string_length(t)))
                fields_fail(f, place, "out of memory");
        } else fields_fail(f, place, "type %.40s is none that this model writes", type);
    }
    json_t *m = json_pack("{s:s, s:o}", "role", "assistant", "content", parts);
    if (thoughts.n) json_object_set_new(m, "reasoning_content", json_stringn(thoughts.s, thoughts.n));
    if (json_array_size(calls)) json_object_set(m, "tool_calls", calls);
    json_decref(calls);
    free(thoughts.s);
    append(f, out, m);
}

/* The last message, where it is the assistant's: the answer goes on from its text. */
static void begun(fields *f, asked *q, const json_t *content, size_t i) {
    json_t *block;
    size_t k;
    if (json_is_string(content)) {
        if (qm_buffer_put(&q->begun, json_string_value(content), json_string_length(content)))
            fields_fail(f, "messages", "out of memory");
    } else
        json_array_foreach ((json_t *)content, k, block) {
            char at[PLACE];
            snprintf(at, sizeof at, "messages[%zu].content[%zu]", i, k);
            const char *type = type_of(f, at, block);
            if (type && strcmp(type, "text"))
                fields_fail(f, at, "type %.40s: an answer can go on from text alone", type);
            json_t *text = *f->error ? NULL : string_of(f, at, block, "text");
            if (text && qm_buffer_put(&q->begun, json_string_value(text), json_string_length(text)))
                fields_fail(f, at, "out of memory");
        }
    if (!q->begun.n) fields_fail(f, "messages", "the last one, from which the answer goes on, is empty");
    q->c.begun = q->begun.s;
}

static void messages(fields *f, asked *q, json_t *out) {
    json_t *all = fields_array(f, "messages"), *m;
    const char *role = NULL;
    size_t i;
    if (!json_array_size(all)) fields_fail(f, "messages", "expected an array of messages");
    json_array_foreach (all, i, m) {
        char at[PLACE - 32], place[PLACE];
        snprintf(at, sizeof at, "messages[%zu]", i);
        json_t *content = json_object_get(m, "content");
        role = json_string_value(json_object_get(m, "role"));
        int assistant = role && !strcmp(role, "assistant"), system = role && !strcmp(role, "system");
        if (!role || (!assistant && !system && strcmp(role, "user"))) {
            snprintf(place, sizeof place, "%s.role", at);
            fields_fail(f, place, "expected \"user\", \"assistant\" or \"system\"");
        } else if (assistant && i + 1 == json_array_size(all) && (json_is_string(content) || json_is_array(content)))
            begun(f, q, content, i);
        else if (json_is_string(content)) append_message(f, out, role, json_incref(content));
        else if (!json_is_array(content) || (!assistant && !json_array_size(content))) {
            snprintf(place, sizeof place, "%s.content", at);
            fields_fail(f, place, "expected a string or an array of blocks");
        } else if (system) {
            snprintf(place, sizeof place, "%s.content", at);
            append_message(f, out, role, texts(f, place, content));
        } else if (assistant) assistant_blocks(f, out, at, content);
        else user_blocks(f, out, at, content);
        if (*f->error) return;
    }
}

/* ---- tools ---- */
static void tool(fields *f, json_t *out, const char *at, const json_t *t) {
    fields o;
    fields_within(&o, t, at);
    const char *type = fields_string(&o, "type", "custom"), *name = fields_string(&o, "name", NULL);
    if (strcmp(type, "custom")) fields_fail(&o, "type", "%.40s: not supported: tools are the client's", type);
    json_t *schema = fields_object(&o, "input_schema"), *strict = fields_any(&o, "strict");
    const char *description = fields_string(&o, "description", NULL);
    if (!name) fields_fail(&o, "name", "expected a string");
    if (!schema) fields_fail(&o, "input_schema", "expected an object");
    fields_bool(&o, "strict", 0);
    fields_refuse(&o, "defer_loading", "false", "not supported: all tools are told of");
    fields_refuse(&o, "allowed_callers", "[]|[\"direct\"]", "not supported: the model calls");
    fields_refuse(&o, "input_examples", "[]", "not supported: say them in the description");
    fields_join(f, &o);
    if (*f->error) return;
    json_t *function = json_pack("{s:s, s:s*, s:O}", "name", name, "description", description, "parameters", schema);
    if (strict) json_object_set(function, "strict", strict);
    append(f, out, json_pack("{s:s, s:o}", "type", "function", "function", function));
}

static void tools(fields *f, asked *q) {
    json_t *all = fields_array(f, "tools"), *t;
    size_t i;
    if (!json_array_size(all)) return;
    q->c.tools = json_array();
    json_array_foreach (all, i, t) {
        char at[PLACE - 32];
        snprintf(at, sizeof at, "tools[%zu]%s", i, json_is_object(t) ? "." : "");
        if (!json_is_object(t)) return fields_fail(f, at, "expected an object");
        tool(f, q->c.tools, at, t);
    }
}

static void tool_choice(fields *f, asked *q) {
    static const char *const theirs[] = {"auto", "any", "none", "tool"}, *const ours[] = {"auto", "required", "none",
                                                                                          "named"};
    json_t *v = fields_object(f, "tool_choice");
    fields o;
    q->c.parallel_calls = 1;
    if (!v) return;
    fields_within(&o, v, "tool_choice.");
    const char *type = fields_string(&o, "type", "");
    for (int i = 0; i < 4; i++)
        if (!strcmp(type, theirs[i])) q->c.tool_choice = ours[i];
    if (!q->c.tool_choice) fields_fail(&o, "type", "expected \"auto\", \"any\", \"tool\" or \"none\"");
    q->c.tool_name = fields_string(&o, "name", NULL);
    if (!strcmp(type, "tool") && !q->c.tool_name) fields_fail(&o, "name", "expected a tool's name");
    q->c.parallel_calls = !fields_bool(&o, "disable_parallel_tool_use", 0);
    fields_join(f, &o);
}

/* ---- the rest ---- */
static void set(fields *f, asked *q, const char *name, json_t *value) {
    if (!q->c.kwargs) q->c.kwargs = json_object();
    if (json_object_set_new(q->c.kwargs, name, value)) fields_fail(f, name, "out of memory");
}

/* Whether the model thinks is the template's affair; how long it does is nobody's. */
static void thinking(fields *f, asked *q) {
    json_t *v = fields_object(f, "thinking"), *more = fields_object(f, "chat_template_kwargs");
    if (more && !(q->c.kwargs = json_copy(more))) fields_fail(f, "chat_template_kwargs", "out of memory");
    if (!v) return;
    fields o;
    fields_within(&o, v, "thinking.");
    const char *type = fields_string(&o, "type", "");
    fields_int(&o, "budget_tokens", 1, INT32_MAX, 1);
    fields_refuse(&o, "display", "\"summarized\"", "not supported: what is thought is shown");
    if (!strcmp(type, "disabled")) set(&o, q, "enable_thinking", json_false());
    else if (!strcmp(type, "enabled")) set(&o, q, "enable_thinking", json_true());
    else if (strcmp(type, "adaptive")) fields_fail(&o, "type", "expected \"enabled\", \"disabled\" or \"adaptive\"");
    fields_join(f, &o);
}

/* {"type": "json_schema", "schema": ...}, in output_config.format, and before that in output_format. */
static void format(fields *f, asked *q, const json_t *v, const char *at) {
    fields o;
    if (!v) return;
    fields_within(&o, v, at);
    if (strcmp(fields_string(&o, "type", ""), "json_schema")) fields_fail(&o, "type", "expected \"json_schema\"");
    const json_t *schema = fields_object(&o, "schema");
    q->c.schema_name = strncmp(at, "output_format", 13) ? "output_config.format.schema" : "output_format.schema";
    if (!schema) fields_fail(&o, "schema", "expected a JSON schema, an object");
    else if (!q->schema && !(q->c.schema = q->schema = json_dumps(schema, JSON_COMPACT)))
        fields_fail(&o, "schema", "out of memory");
    fields_join(f, &o);
}

static void output_config(fields *f, asked *q) {
    json_t *v = fields_object(f, "output_config");
    format(f, q, fields_object(f, "output_format"), "output_format.");
    if (!v) return;
    fields o;
    fields_within(&o, v, "output_config.");
    json_t *inner = fields_object(&o, "format");
    /* A wish, which this model has no ear for. */
    fields_refuse(&o, "effort", "\"low\"|\"medium\"|\"high\"|\"xhigh\"|\"max\"",
                  "expected low, medium, high, xhigh or max");
    fields_join(f, &o);
    if (!*f->error) format(f, q, inner, "output_config.format.");
}

/* a: how tokens are chosen. counting: of count_tokens, which has no max_tokens. 0, or r is answered. */
static int read_request(server *s, http_request *r, const json_t *body, int counting, asked *q, task_ask *a) {
    fields f;
    fields_begin(&f, body);
    json_t *system = fields_any(&f, "system");
    q->c.messages = json_array();
    if (system) append_message(&f, q->c.messages, "system", texts(&f, "system", system));
    messages(&f, q, q->c.messages);
    tools(&f, q);
    tool_choice(&f, q);
    thinking(&f, q);
    output_config(&f, q);
    fields_string(&f, "model", NULL); /* one is served, whatever it is called: the answer has our name for it */
    q->stream = fields_bool(&f, "stream", 0);
    q->max_tokens = (uint32_t)fields_int(&f, "max_tokens", 1, INT32_MAX, 0);
    if (!q->max_tokens && !counting) fields_fail(&f, "max_tokens", "expected an integer of 1 or more");
    a->max_tokens = q->max_tokens;
    fields_sampling(&f, s, "stop_sequences", a);
    fields_refuse_all(&f, refused, sizeof refused / sizeof *refused);
    /* Taken, and without effect on an answer: prefixes are kept in any case. */
    fields_object(&f, "metadata");
    fields_object(&f, "cache_control");
    fields_string(&f, "service_tier", NULL);
    return fields_end(&f, s, r);
}

static void answer_messages(server *s, http_request *r, int counting) {
    asked q = {0};
    task_ask a = {0};
    qm_err e;
    json_t *body = api_body(r);
    if (!body) return;
    if (!read_request(s, r, body, counting, &q, &a)) {
        if (api_prepare(s, &q.c, &a, &e) || (!counting && api_fit(s, &a, &e))) api_refuse(r, &e);
        else if (counting) api_reply_json(r, 200, json_pack("{s:I}", "input_tokens", (json_int_t)a.prompt.n));
        else exchange_begin(s, r, &a, &anthropic_protocol, q.stream, q.max_tokens, json_object());
    }
    task_ask_free(&a);
    asked_free(&q);
    json_decref(body);
}

void api_messages(server *s, http_request *r) { answer_messages(s, r, 0); }
void api_count_tokens(server *s, http_request *r) { answer_messages(s, r, 1); }
