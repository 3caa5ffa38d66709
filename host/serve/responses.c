/* responses.c: POST /v1/responses: what is asked for. Nothing is stored: each request says the whole conversation. */
#include "responses.h"
#include <stdlib.h>
#include <string.h>

static const fields_refusal refused[] = {
    {"previous_response_id", "", "nothing is stored here: say the whole conversation in input"},
    {"conversation", "", "nothing is stored here: say the whole conversation in input"},
    {"prompt", "", "not supported: nothing is stored here"},
    {"background", "false", "not supported: an answer comes where it was asked for"},
    {"truncation", "\"disabled\"", "not supported: what does not fit is refused"},
    {"moderation", "", "not supported: nobody judges here"},
    {"max_tool_calls", "", "not supported: it is for tools that a server runs"},
    {"context_management", "[]", "not supported: say the items that are to be seen"},
    {"service_tier", "\"auto\"|\"default\"", "not supported: there is one tier"},
};

typedef struct {
    api_conversation c;
    int stream;
    char *schema;
    json_t *answer; /* what the answer repeats */
} asked;

static void asked_free(asked *q) {
    json_decref(q->c.messages);
    json_decref(q->c.tools);
    json_decref(q->c.kwargs);
    json_decref(q->answer);
    free(q->schema);
}

/* Takes value. */
static void keep(fields *f, asked *q, const char *name, json_t *value) {
    if (json_object_set_new(q->answer, name, value)) fields_fail(f, name, "out of memory");
}

/* Whatever stands there, or null. */
static void keep_asked(fields *f, asked *q, const char *name) {
    json_t *v = json_object_get(f->o, name);
    keep(f, q, name, v ? json_incref(v) : json_null());
}

/* ---- tools: {"type": "function", "name", ..} here, the same within "function" in a chat ---- */
static json_t *as_in_chat(fields *f, const char *at, const json_t *t) {
    static const char *const names[] = {"name", "description", "parameters", "strict"};
    char place[64];
    const char *type = json_string_value(json_object_get(t, "type"));
    snprintf(place, sizeof place, "%s.type", at);
    if (!type || strcmp(type, "function")) {
        fields_fail(f, place, "%.40s: not supported: only functions can be called here",
                    type ? type : "expected a string");
        return NULL;
    }
    json_t *function = json_object();
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        json_t *v = json_object_get(t, names[i]);
        if (v && !json_is_null(v) && json_object_set(function, names[i], v)) fields_fail(f, place, "out of memory");
    }
    if (json_is_true(json_object_get(t, "defer_loading"))) {
        snprintf(place, sizeof place, "%s.defer_loading", at);
        fields_fail(f, place, "not supported: all tools are told of");
    }
    snprintf(place, sizeof place, "%s.name", at);
    if (!json_is_string(json_object_get(t, "name"))) fields_fail(f, place, "expected a string");
    return json_pack("{s:s, s:o}", "type", "function", "function", function);
}

static void tools(fields *f, asked *q) {
    json_t *all = fields_array(f, "tools"), *t;
    size_t i;
    if (json_array_size(all)) q->c.tools = json_array();
    json_array_foreach (all, i, t) {
        char at[40];
        snprintf(at, sizeof at, "tools[%zu]", i);
        if (json_array_append_new(q->c.tools, as_in_chat(f, at, t))) fields_fail(f, at, "out of memory");
    }
    keep(f, q, "tools", all ? json_incref(all) : json_array());
}

static void tool_choice(fields *f, asked *q) {
    json_t *v = fields_any(f, "tool_choice");
    const char *word = json_string_value(v);
    q->c.parallel_calls = fields_bool(f, "parallel_tool_calls", 1);
    keep(f, q, "parallel_tool_calls", json_boolean(q->c.parallel_calls));
    keep(f, q, "tool_choice", v ? json_incref(v) : json_string("auto"));
    if (!v) return;
    if (word && (!strcmp(word, "none") || !strcmp(word, "auto") || !strcmp(word, "required"))) {
        q->c.tool_choice = word;
        return;
    }
    if (!json_is_object(v)) {
        fields_fail(f, "tool_choice",
                    "expected \"none\", \"auto\", \"required\", or {\"type\": \"function\", \"name\": ...}");
        return;
    }
    fields o;
    fields_within(&o, v, "tool_choice.");
    const char *type = fields_string(&o, "type", "");
    if (strcmp(type, "function"))
        fields_fail(&o, "type", "%.40s: not supported: only functions can be called here", type);
    q->c.tool_choice = "named";
    q->c.tool_name = fields_string(&o, "name", NULL);
    if (!q->c.tool_name) fields_fail(&o, "name", "expected a string");
    fields_join(f, &o);
}

/* ---- text.format, reasoning, include ---- */
static void format(fields *f, asked *q, const json_t *v) {
    fields o;
    fields_within(&o, v, "text.format.");
    const char *type = fields_string(&o, "type", "");
    if (!strcmp(type, "json_object")) q->c.schema = "";
    else if (!strcmp(type, "json_schema")) {
        const json_t *schema = fields_object(&o, "schema");
        fields_string(&o, "name", NULL);
        fields_string(&o, "description", NULL);
        fields_bool(&o, "strict", 0);
        q->c.schema_name = "text.format.schema";
        if (!schema) fields_fail(&o, "schema", "expected a JSON schema, an object");
        else if (!(q->c.schema = q->schema = json_dumps(schema, JSON_COMPACT)))
            fields_fail(&o, "schema", "out of memory");
    } else if (strcmp(type, "text")) fields_fail(&o, "type", "expected \"text\", \"json_object\" or \"json_schema\"");
    fields_join(f, &o);
}

static void text(fields *f, asked *q) {
    json_t *v = fields_object(f, "text"), *inner = NULL;
    if (v) {
        fields o;
        fields_within(&o, v, "text.");
        fields_refuse(&o, "verbosity", "\"medium\"", "not supported");
        if ((inner = fields_object(&o, "format"))) format(&o, q, inner);
        fields_join(f, &o);
    }
    keep(f, q, "text", inner ? json_pack("{s:O}", "format", inner) : json_pack("{s:{s:s}}", "format", "type", "text"));
}

/* Effort turns thinking on or off, where the template can; how much there is of it is the model's affair. */
static void reasoning(fields *f, asked *q) {
    static const char *const efforts[] = {"none", "minimal", "low", "medium", "high", "xhigh", "max"};
    json_t *v = fields_object(f, "reasoning"), *more = fields_object(f, "chat_template_kwargs");
    const char *effort = NULL;
    if (more && !(q->c.kwargs = json_copy(more))) fields_fail(f, "chat_template_kwargs", "out of memory");
    if (v) {
        fields o;
        size_t i = 0;
        fields_within(&o, v, "reasoning.");
        effort = fields_string(&o, "effort", NULL);
        /* There are no summaries: what is thought comes as it is. */
        fields_string(&o, "summary", NULL);
        fields_string(&o, "generate_summary", NULL);
        fields_refuse(&o, "context", "\"auto\"", "not supported: the template says what of earlier thoughts is seen");
        fields_refuse(&o, "mode", "\"standard\"", "not supported: there is one mode");
        while (effort && i < 7 && strcmp(effort, efforts[i])) i++;
        if (i == 7) fields_fail(&o, "effort", "expected none, minimal, low, medium, high, xhigh or max");
        if (effort && !q->c.kwargs) q->c.kwargs = json_object();
        if (effort && json_object_set_new(q->c.kwargs, "enable_thinking", json_boolean(i >= 2)))
            fields_fail(&o, "effort", "out of memory");
        fields_join(f, &o);
    }
    keep(f, q, "reasoning", json_pack("{s:s?, s:n}", "effort", effort, "summary"));
}

static void include(fields *f, task_ask *a) {
    json_t *all = fields_array(f, "include"), *v;
    size_t i;
    a->n_logprobs = (uint32_t)fields_int(f, "top_logprobs", 0, QM_TOP_LOGPROBS, 0);
    a->logprobs = a->n_logprobs > 0;
    json_array_foreach (all, i, v) {
        char at[40];
        const char *s = json_is_string(v) ? json_string_value(v) : "";
        snprintf(at, sizeof at, "include[%zu]", i);
        if (!strcmp(s, "message.output_text.logprobs")) a->logprobs = 1;
        else if (strcmp(s, "reasoning.encrypted_content")) /* nothing is hidden: there is none */
            fields_fail(f, at, "%.60s: not supported", *s ? s : "expected a string");
    }
}

static void options(fields *f, asked *q) {
    q->stream = fields_bool(f, "stream", 0);
    json_t *v = fields_object(f, "stream_options");
    if (!v) return;
    fields o;
    fields_within(&o, v, "stream_options.");
    fields_bool(&o, "include_obfuscation", 0);
    fields_join(f, &o);
}

/* 0, or r is answered. */
static int read_request(server *s, http_request *r, const json_t *body, asked *q, task_ask *a, uint32_t *max_tokens) {
    static const char *const max_name = "max_output_tokens";
    static const char *const repeated[] = {"instructions", "max_output_tokens", "safety_identifier", "user",
                                           "prompt_cache_key"};
    fields f;
    fields_begin(&f, body);
    q->answer = json_object();
    q->c.messages = responses_messages(&f);
    tools(&f, q);
    tool_choice(&f, q);
    text(&f, q);
    reasoning(&f, q);
    include(&f, a);
    options(&f, q);
    fields_string(&f, "model", NULL); /* one is served, whatever it is called: the answer has our name for it */
    a->max_tokens = fields_max_tokens(&f, &max_name, 1, 0);
    *max_tokens = a->max_tokens;
    fields_sampling(&f, s, "stop", a);
    fields_refuse_all(&f, refused, sizeof refused / sizeof *refused);
    /* Taken, and without effect on an answer. Nothing is stored, whoever asks for it: the answer says so. */
    fields_bool(&f, "store", 0);
    json_t *metadata = fields_object(&f, "metadata");
    fields_string(&f, "user", NULL);
    fields_string(&f, "safety_identifier", NULL);
    fields_string(&f, "prompt_cache_key", NULL);
    fields_string(&f, "prompt_cache_retention", NULL);
    fields_object(&f, "prompt_cache_options");
    for (size_t i = 0; i < sizeof repeated / sizeof *repeated; i++) keep_asked(&f, q, repeated[i]);
    keep(&f, q, "metadata", metadata ? json_incref(metadata) : json_object());
    keep(&f, q, "temperature", json_real((double)a->sampling.temperature));
    keep(&f, q, "top_p", json_real(a->sampling.top_p));
    keep(&f, q, "top_logprobs", json_integer(a->n_logprobs));
    return fields_end(&f, s, r);
}

void api_responses(server *s, http_request *r) {
    asked q = {0};
    task_ask a = {0};
    uint32_t max_tokens = 0;
    qm_err e;
    json_t *body = api_body(r);
    if (!body) return;
    if (!read_request(s, r, body, &q, &a, &max_tokens)) {
        if (api_prepare(s, &q.c, &a, &e) || api_fit(s, &a, &e)) api_refuse(r, &e);
        else exchange_begin(s, r, &a, &responses_protocol, q.stream, max_tokens, json_incref(q.answer));
    }
    task_ask_free(&a);
    asked_free(&q);
    json_decref(body);
}
