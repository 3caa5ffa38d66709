/* openai_completions.c: POST /v1/completions: what is asked for. How the answer is written: openai_completions_sink.c. */
#include "openai_completions.h"
#include <stdlib.h>
#include <string.h>

static const fields_refusal refused[] = {
    {"suffix", "\"\"", "not supported: nothing is filled in between"},
    {"response_format", "{\"type\":\"text\"}", "not supported for completions: use /v1/chat/completions"},
    {"tools", "[]", "not supported for completions: use /v1/chat/completions"},
    {"tool_choice", "\"none\"", "not supported for completions: use /v1/chat/completions"},
    {"messages", "", "this is /v1/completions: say prompt, or use /v1/chat/completions"},
    {"prompt_embeds", "", "not supported"},
};

/* The prompts [n]; each one's text or ids. */
typedef struct {
    qm_tokens v[COMPLETIONS_MOST_PROMPTS];
    size_t n;
} prompts;

static void free_prompts(prompts *p) {
    for (size_t i = 0; i < p->n; i++) qm_tokens_free(&p->v[i]);
}

static int is_ids(const json_t *v) { return json_is_integer(json_array_get(v, 0)); }

static void take_ids(fields *f, const server *s, const json_t *ids, qm_tokens *out) {
    size_t i;
    json_t *id;
    if (!(out->v = malloc((json_array_size(ids) + 1) * sizeof *out->v)))
        return fields_fail(f, "prompt", "out of memory");
    out->cap = json_array_size(ids) + 1;
    json_array_foreach (ids, i, id) {
        if (!json_is_integer(id) || json_integer_value(id) < 0 || json_integer_value(id) >= s->info.n_vocab)
            return fields_fail(f, "prompt", "token %zu: expected an id from 0 to %u", i, s->info.n_vocab - 1);
        out->v[out->n++] = (uint32_t)json_integer_value(id);
    }
}

/* The whole context is the caller's to write: control tokens in its text are meant. */
static void take_text(fields *f, const server *s, const json_t *text, qm_tokens *out) {
    qm_err e;
    if (qm_engine_tokenize(s->g, json_string_value(text), json_string_length(text), 1, out, &e))
        fields_fail(f, "prompt", "%s", e.msg);
}

/* A text, ids, or an array of one or the other. */
static void take_prompts(fields *f, const server *s, prompts *p) {
    const json_t *v = fields_any(f, "prompt");
    const int many = json_is_array(v) && !is_ids(v);
    const size_t n = many ? json_array_size(v) : 1;
    if (*f->error) return;
    if (!json_is_string(v) && !json_array_size(v))
        return fields_fail(f, "prompt", "expected a string, token ids, or an array of such");
    if (n > COMPLETIONS_MOST_PROMPTS) return fields_fail(f, "prompt", "more than %d prompts", COMPLETIONS_MOST_PROMPTS);
    for (size_t i = 0; i < n && !*f->error; i++) {
        const json_t *one = many ? json_array_get(v, i) : v;
        qm_tokens *out = &p->v[p->n++];
        if (json_is_string(one)) take_text(f, s, one, out);
        else if (is_ids(one)) take_ids(f, s, one, out);
        else return fields_fail(f, "prompt", "prompt %zu: expected a string or token ids", i);
        if (!out->n) fields_fail(f, "prompt", "prompt %zu is empty", i);
    }
}

static void logprobs(fields *f, task_ask *a) {
    if (!fields_any(f, "logprobs")) return;
    a->logprobs = 1;
    a->n_logprobs = (uint32_t)fields_int(f, "logprobs", 0, QM_TOP_LOGPROBS, 0);
    if (a->echo) fields_fail(f, "logprobs", "not with echo: those of the prompt's tokens are not computed");
}

void api_completions(server *s, http_request *r) {
    static const char *const max_names[] = {"max_tokens"};
    json_t *body = api_body(r);
    if (!body) return;
    task_ask a = {0};
    openai_common c = {0};
    prompts *p = calloc(1, sizeof *p);
    fields f;
    qm_err e;
    fields_begin(&f, body);
    if (p) take_prompts(&f, s, p);
    openai_fields(&f, s, &a, &c);
    a.max_tokens = fields_max_tokens(&f, max_names, 1, 16); /* OpenAI's */
    a.echo = fields_bool(&f, "echo", 0);
    logprobs(&f, &a);
    fields_refuse_all(&f, refused, sizeof refused / sizeof *refused);
    if (p && p->n * c.n > OPENAI_MOST_ANSWERS) fields_fail(&f, "n", "more than %d answers in all", OPENAI_MOST_ANSWERS);
    if (!p) api_error(r, 500, NULL, "out of memory");
    else if (!fields_end(&f, s, r)) {
        int rc = 0;
        for (size_t i = 0; i < p->n && !rc; i++) {
            task_ask one = a; /* only its length is looked at */
            one.prompt = p->v[i];
            rc = api_fit(s, &one, &e);
        }
        if (rc) api_refuse(r, &e);
        else openai_completions_begin(s, r, &a, p->v, p->n, &c);
    }
    task_ask_free(&a);
    if (p) free_prompts(p);
    free(p);
    json_decref(body);
}
