/* openai_chat.c: POST /v1/chat/completions: what is asked for. How the answer is written: openai_chat_sink.c. */
#include "openai_chat.h"
#include <stdlib.h>
#include <string.h>

static const fields_refusal refused[] = {
    {"functions", "[]", "not supported: say tools"},
    {"function_call", "", "not supported: say tool_choice"},
    {"modalities", "[\"text\"]", "not supported: answers are text"},
    {"audio", "", "not supported: answers are text"},
    {"prediction", "", "not supported"},
    {"web_search_options", "", "not supported: nothing is searched here"},
    {"enable_thinking", "", "say it in chat_template_kwargs: {\"enable_thinking\": true or false}"},
    {"verbosity", "\"medium\"", "not supported"},
    {"store", "false", "nothing is stored here"},
    {"service_tier", "\"auto\"|\"default\"", "not supported: there is one tier"},
    {"chat_template", "", "not supported: the server's --chat-template says which"},
    {"add_generation_prompt", "true", "not supported: an answer is what is asked for"},
    {"continue_final_message", "false", "not supported"},
    {"documents", "[]", "not supported: say them in a message"},
    {"echo", "false", "not supported for chats"},
    {"reasoning_format", "\"auto\"|\"deepseek\"", "not supported: what is thought is reasoning_content"},
    {"include_reasoning", "true", "not supported: what is thought is reasoning_content"},
};

typedef struct {
    api_conversation c;
    char *schema;   /* malloc'd */
    json_t *kwargs; /* ours: chat_template_kwargs with what reasoning_effort means; NULL: none */
} asked;

static void tool_choice(fields *f, api_conversation *c) {
    const json_t *v = fields_any(f, "tool_choice");
    if (!v) return;
    const char *word = json_string_value(v);
    if (word && (!strcmp(word, "none") || !strcmp(word, "auto") || !strcmp(word, "required"))) c->tool_choice = word;
    else if (json_is_object(v)) {
        fields o, g;
        fields_within(&o, v, "tool_choice.");
        const char *type = fields_string(&o, "type", NULL);
        const json_t *function = fields_object(&o, "function");
        if (!type || strcmp(type, "function")) fields_fail(&o, "type", "expected \"function\"");
        fields_within(&g, function, "tool_choice.function.");
        c->tool_name = fields_string(&g, "name", NULL);
        if (!c->tool_name) fields_fail(&g, "name", "expected a string");
        c->tool_choice = "named";
        fields_join(f, &o);
        fields_join(f, &g);
    } else
        fields_fail(
            f, "tool_choice",
            "expected \"none\", \"auto\", \"required\", or {\"type\": \"function\", \"function\": {\"name\": ...}}");
}

static void take_schema(fields *f, asked *a, json_t *schema) {
    if (*f->error) return;
    if (!schema) return fields_fail(f, "schema", "expected a JSON schema, an object");
    if (!(a->schema = json_dumps(schema, JSON_COMPACT))) return fields_fail(f, "schema", "out of memory");
    a->c.schema = a->schema;
}

/* OpenAI's; and {"type": "json_object", "schema": {...}}, which is llama.cpp's. Held to in any case: strict need not be said. */
static void response_format(fields *f, asked *a) {
    const json_t *v = fields_object(f, "response_format");
    if (!v) return;
    fields o, g;
    fields_within(&o, v, "response_format.");
    const char *type = fields_string(&o, "type", "");
    if (!strcmp(type, "json_object")) {
        json_t *schema = fields_object(&o, "schema");
        if (schema) take_schema(&o, a, schema);
        else a->c.schema = "";
    } else if (!strcmp(type, "json_schema")) {
        const json_t *inner = fields_object(&o, "json_schema");
        if (!inner) fields_fail(&o, "json_schema", "expected an object {\"name\", \"schema\"}");
        fields_within(&g, inner, "response_format.json_schema.");
        fields_string(&g, "name", NULL);
        fields_string(&g, "description", NULL);
        fields_bool(&g, "strict", 0);
        if (!*o.error) take_schema(&g, a, fields_object(&g, "schema"));
        fields_join(&o, &g);
    } else if (strcmp(type, "text")) fields_fail(&o, "type", "expected \"text\", \"json_object\" or \"json_schema\"");
    fields_join(f, &o);
}

static void logprobs(fields *f, task_ask *a) {
    a->logprobs = fields_bool(f, "logprobs", 0);
    a->n_logprobs = (uint32_t)fields_int(f, "top_logprobs", 0, QM_TOP_LOGPROBS, 0);
    if (a->n_logprobs && !a->logprobs) fields_fail(f, "top_logprobs", "goes with logprobs: true alone");
}

/* Effort turns thinking on or off, where the template can; how much there is of it is the model's affair. What
 * chat_template_kwargs says goes before it. */
static void template_kwargs(fields *f, asked *k) {
    static const char *const efforts[] = {"none", "minimal", "low", "medium", "high", "xhigh", "max"};
    enum { N = sizeof efforts / sizeof *efforts };
    json_t *said = fields_object(f, "chat_template_kwargs");
    const char *effort = fields_string(f, "reasoning_effort", NULL);
    size_t i = 0;
    if (*f->error || (!said && !effort)) return;
    while (effort && i < N && strcmp(effort, efforts[i])) i++;
    if (i == N) return fields_fail(f, "reasoning_effort", "expected none, minimal, low, medium, high, xhigh or max");
    k->c.kwargs = k->kwargs = said ? json_copy(said) : json_object();
    if (!k->kwargs) fields_fail(f, "chat_template_kwargs", "out of memory");
    else if (effort && !json_object_get(k->kwargs, "enable_thinking") &&
             json_object_set_new(k->kwargs, "enable_thinking", json_boolean(i >= 2)))
        fields_fail(f, "reasoning_effort", "out of memory");
}

static void conversation(fields *f, asked *k) {
    k->c.messages = fields_array(f, "messages");
    if (!json_array_size(k->c.messages)) fields_fail(f, "messages", "expected an array of messages");
    k->c.tools = fields_array(f, "tools");
    template_kwargs(f, k);
    k->c.parallel_calls = fields_bool(f, "parallel_tool_calls", 1);
    tool_choice(f, &k->c);
    response_format(f, k);
}

void api_chat(server *s, http_request *r) {
    static const char *const max_names[] = {"max_completion_tokens", "max_tokens"};
    json_t *body = api_body(r);
    if (!body) return;
    asked k = {0};
    task_ask a = {0};
    openai_common c = {0};
    qm_err e;
    fields f;
    fields_begin(&f, body);
    conversation(&f, &k);
    openai_fields(&f, s, &a, &c);
    a.max_tokens = fields_max_tokens(&f, max_names, 2, 0);
    logprobs(&f, &a);
    fields_refuse_all(&f, refused, sizeof refused / sizeof *refused);
    /* Taken, and without effect on an answer. */
    fields_object(&f, "metadata");
    fields_string(&f, "safety_identifier", NULL);
    fields_string(&f, "prompt_cache_key", NULL);
    fields_string(&f, "prompt_cache_retention", NULL);
    if (!fields_end(&f, s, r)) {
        if (api_prepare(s, &k.c, &a, &e) || api_fit(s, &a, &e)) api_refuse(r, &e);
        else openai_chat_begin(s, r, &a, &c);
    }
    task_ask_free(&a);
    free(k.schema);
    json_decref(k.kwargs);
    json_decref(body);
}
