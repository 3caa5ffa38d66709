/* openai.c: see openai.h. */
#include "openai.h"
#include <string.h>

/* Fields that change what comes, which are not done here: refused by name, unless they ask for what is done anyway. */
static const fields_refusal refused[] = {
    {"best_of", "1", "only n answers are computed, and all are given"},
    {"use_beam_search", "false", "there is no beam search"},
    {"grammar", "\"\"", "not supported: response_format holds an answer to a JSON schema"},
    {"json_schema", "", "not supported: say response_format {\"type\": \"json_schema\", ...}"},
    {"guided_json", "", "not supported: say response_format {\"type\": \"json_schema\", ...}"},
    {"guided_regex", "", "not supported: a JSON schema in response_format may have a pattern"},
    {"guided_choice", "", "not supported: a JSON schema in response_format may have an enum"},
    {"guided_grammar", "", "not supported: response_format holds an answer to a JSON schema"},
    {"structured_outputs", "", "not supported: say response_format {\"type\": \"json_schema\", ...}"},
    {"min_tokens", "0", "not supported"},
    {"stop_token_ids", "[]", "not supported: say stop, or logit_bias"},
    {"allowed_token_ids", "", "not supported: say logit_bias"},
    {"bad_words", "[]", "not supported: say logit_bias"},
    {"prompt_logprobs", "0|false", "not supported: log-probabilities are those of generated tokens"},
    {"samplers", "[]", "not supported: the server's --samplers says the order"},
    {"n_predict", "", "not supported: say max_tokens"},
    {"typical_p", "1|1.0", "not supported"},
    {"tfs_z", "1|1.0", "not supported"},
    {"mirostat", "0", "not supported"},
    {"xtc_probability", "0|0.0", "not supported"},
    {"dry_multiplier", "0|0.0", "not supported"},
    {"dynatemp_range", "0|0.0", "not supported"},
    {"top_n_sigma", "-1|-1.0|0|0.0", "not supported"},
    {"top_a", "0|0.0", "not supported"},
    {"n_probs", "0", "not supported: say logprobs"},
    {"lora", "[]", "not supported"},
    {"id_slot", "-1", "not supported: prefixes are found by themselves"},
};

void openai_fields(fields *f, server *s, task_ask *a, openai_common *c) {
    /* One model is served; whatever name a client has for it, the answer has ours. */
    fields_string(f, "model", NULL);
    c->stream = fields_bool(f, "stream", 0);
    json_t *options = fields_object(f, "stream_options");
    if (options) {
        fields o;
        fields_within(&o, options, "stream_options.");
        c->include_usage = fields_bool(&o, "include_usage", 0);
        fields_bool(&o, "include_obfuscation", 0);
        fields_join(f, &o);
        if (!c->stream) fields_fail(f, "stream_options", "goes with stream: true alone");
    }
    c->n = a->n = (uint32_t)fields_int(f, "n", 1, OPENAI_MOST_ANSWERS, 1);
    fields_sampling(f, s, "stop", a);
    /* Taken, and without effect on an answer. */
    fields_string(f, "user", NULL);
    fields_bool(f, "cache_prompt", 1);
    fields_refuse_all(f, refused, sizeof refused / sizeof *refused);
}

const char *openai_finish(task_finish f) {
    switch (f) {
    case TASK_STOP: return "stop";
    case TASK_CALLS: return "tool_calls";
    case TASK_LENGTH: return "length";
    default: return "error";
    }
}

json_t *openai_usage(const task_usage *u) {
    return json_pack("{s:I, s:I, s:I, s:{s:I}}", "prompt_tokens", (json_int_t)u->n_prompt, "completion_tokens",
                     (json_int_t)u->n_generated, "total_tokens", (json_int_t)u->n_prompt + u->n_generated,
                     "prompt_tokens_details", "cached_tokens", (json_int_t)u->n_cached);
}

json_t *openai_object(const server *s, const char *id, const char *object, json_int_t created, json_t *choices) {
    char fingerprint[96];
    sink_fingerprint(s, fingerprint);
    return json_pack("{s:s, s:s, s:I, s:o, s:s, s:o}", "id", id, "object", object, "created", created, "model",
                     sink_string(s->alias, strlen(s->alias)), "system_fingerprint", fingerprint, "choices", choices);
}

void openai_last(json_t *object, const task_usage *u, uint64_t seed) {
    json_object_set_new(object, "timings", sink_timings(u));
    json_object_set_new(object, "seed", json_integer((json_int_t)seed));
}

double openai_logprob(float x) { return x > -9999.0f ? (double)x : -9999.0; }

static json_t *token_json(const char *s, size_t n, float logprob) {
    json_t *bytes = json_array();
    for (size_t i = 0; i < n; i++) json_array_append_new(bytes, json_integer((unsigned char)s[i]));
    return json_pack("{s:o, s:f, s:o}", "token", sink_string(s, n), "logprob", openai_logprob(logprob), "bytes", bytes);
}

json_t *openai_token(const server *s, const char *piece, size_t n, const qm_logprobs *lp) {
    json_t *top = json_array(), *j = token_json(piece, n, lp->logprob);
    for (uint32_t k = 0; k < lp->n; k++) {
        size_t m;
        const char *other = qm_engine_piece(s->g, lp->top[k].id, &m);
        json_array_append_new(top, token_json(other ? other : "", other ? m : 0, lp->top[k].logprob));
    }
    if (!json_object_set_new(j, "top_logprobs", top)) return j;
    json_decref(j);
    return NULL;
}
