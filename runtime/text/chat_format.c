/* chat_format.c: which chat format a model speaks. Its own template (tokenizer.chat_template) or one that the caller
 * gives; without one plain ChatML, which is what Qwen3 was trained on, and no think block. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "../base/log.h"
#include "chat_format.h"
#include "chatml.h"
#include "jinja.h"

struct qm_chat_format {
    qm_template *t;  /* NULL: ChatML */
    char *text;      /* the template's; of ChatML "" */
    json_t *kwargs;  /* object: more variables of the template */
    json_t *trusted; /* object: bos_token, eos_token */
    int tools;       /* the format of calls: qm_engine_tool_format */
    char name[24];
};

void qm_chat_format_close(qm_chat_format *f) {
    if (!f) return;
    qm_template_free(f->t);
    free(f->text);
    json_decref(f->kwargs);
    json_decref(f->trusted);
    free(f);
}

const char *qm_chat_format_name(const qm_chat_format *f) { return f->name; }
int qm_chat_format_tools(const qm_chat_format *f) { return f->tools; }
int qm_chat_format_thinks(const qm_chat_format *f) { return !f->t || strstr(f->text, "<think>") != NULL; }

static int set_tokens(qm_chat_format *f, const qm_gguf *g, const qm_tokenizer *t, qm_err *e) {
    static const char *const names[][2] = {{"bos_token", "tokenizer.ggml.bos_token_id"},
                                           {"eos_token", "tokenizer.ggml.eos_token_id"}};
    if (!(f->trusted = json_object())) return qm_fail(e, QM_ERR_NOMEM, "chat format: out of memory");
    for (int i = 0; i < 2; i++) {
        uint32_t id;
        if (qm_gguf_get_u32(g, names[i][1], &id, NULL) <= 0 || id >= qm_tokenizer_n(t)) continue;
        qm_str s = qm_token_bytes(t, id);
        json_t *v = json_stringn(s.s, s.n);
        if (v)
            json_object_set_new(f->trusted, names[i][0], v); /* a token that is no UTF-8 has no place in a template */
    }
    return 0;
}

/* tools and documents are None where transformers has none to give. */
static int render(const qm_chat_format *f, const qm_chat_values *v, const qm_template_limits *limits, qm_rendered *out,
                  qm_err *e) {
    json_t *data = json_pack("{s:O, s:b, s:n, s:n}", "messages", v->messages, "add_generation_prompt", !v->no_turn,
                             "tools", "documents");
    int rc = !data || json_object_update(data, f->kwargs) || (v->kwargs && json_object_update(data, v->kwargs)) ||
             (v->tools && json_object_set(data, "tools", v->tools));
    rc = rc ? qm_fail(e, QM_ERR_NOMEM, "chat format: out of memory")
            : qm_template_render(f->t, &(qm_template_vars){.data = data, .trusted = f->trusted, .limits = *limits}, out,
                                 e);
    json_decref(data);
    return rc;
}

static int render_chatml(const qm_chat_values *v, qm_rendered *out, qm_err *e) {
    size_t n = json_array_size(v->messages), i;
    json_t *one;
    qm_message *m = malloc((n + 1) * sizeof *m);
    if (!m) return qm_fail(e, QM_ERR_NOMEM, "chat format: out of memory");
    json_array_foreach (v->messages, i, one) {
        json_t *content = json_object_get(one, "content");
        m[i] = (qm_message){json_string_value(json_object_get(one, "role")), json_string_value(content),
                            json_string_length(content)};
    }
    int rc = qm_chatml_render(m, n, !v->no_turn, out, e);
    free(m);
    return rc;
}

/* ---- what a template can say ---- */
/* A conversation with a tool, a call of it and a result shows how the template writes calls, and so how the model was
 * taught to: no names of families. */
static int call_format(const qm_chat_format *f) {
    static const qm_conversation probe = {
        .messages = "[{\"role\": \"user\", \"content\": \"a\"}, {\"role\": \"assistant\", \"content\": \"\","
                    " \"tool_calls\": [{\"id\": \"call00001\", \"type\": \"function\", \"function\":"
                    " {\"name\": \"called\", \"arguments\": {\"key\": \"value\"}}}]},"
                    " {\"role\": \"tool\", \"tool_call_id\": \"call00001\", \"content\": \"b\"}]",
        .tools =
            "[{\"type\": \"function\", \"function\": {\"name\": \"offered\", \"description\": \"c\", \"parameters\":"
            " {\"type\": \"object\", \"properties\": {\"key\": {\"type\": \"string\"}}}}}]"};
    qm_chat_values v;
    qm_rendered r = {0};
    qm_err ignored;
    int format = 0;
    if (!f->t || qm_chat_values_read(&v, &probe, &ignored)) return 0;
    if (!render(f, &v, &(qm_template_limits){.steps = 1000000}, &r, &ignored) && strstr(r.text, "offered"))
        format = strstr(r.text, "<function=called") ? QM_TOOLS_XML : strstr(r.text, "<tool_call>") ? QM_TOOLS_JSON : 0;
    qm_rendered_free(&r);
    qm_chat_values_free(&v);
    return format;
}

/* The template's text has the word in quotes. */
static int names(const qm_chat_format *f, const char *word) {
    size_t n = strlen(word);
    for (const char *at = f->text; (at = strstr(at, word)); at++)
        if (at > f->text && (at[-1] == '\'' || at[-1] == '"') && at[n] == at[-1]) return 1;
    return 0;
}

/* Templates pass over in silence what they do not know. So it is refused here, or, a developer's message, said by
 * another name. */
static int fit(const qm_chat_format *f, qm_chat_values *v, qm_err *e) {
    size_t i;
    json_t *m;
    const char *what = v->tools && !f->tools ? "tools" : NULL;
    char at[64];
    json_array_foreach (v->messages, i, m) {
        const char *role = json_string_value(json_object_get(m, "role"));
        if (!strcmp(role, "developer") && !names(f, role)) {
            if (json_object_set_new(m, "role", json_string("system")))
                return qm_fail(e, QM_ERR_NOMEM, "chat format: out of memory");
        } else if (strcmp(role, "system") && strcmp(role, "user") && strcmp(role, "assistant") && !names(f, role))
            return qm_fail(e, QM_ERR_ARG, "messages[%zu].role: \"%.40s\" is not known to the chat format (%s)", i, role,
                           f->name);
        if (what || f->tools || !json_object_get(m, "tool_calls")) continue;
        snprintf(at, sizeof at, "messages[%zu].tool_calls", i);
        what = at;
    }
    if (!what) return 0;
    return qm_fail(e, QM_ERR_UNSUPPORTED, "%s: the chat format (%s) has no tools, or calls in a form that is not known",
                   what, f->name);
}

int qm_chat_format_open(qm_chat_format **out, const qm_gguf *g, const qm_tokenizer *t, const char *own_template,
                        const char *kwargs, qm_err *e) {
    qm_chat_format *f = *out = calloc(1, sizeof *f);
    qm_str text;
    qm_err why;
    if (!f) return qm_fail(e, QM_ERR_NOMEM, "chat format: out of memory");
    int rc = qm_chat_kwargs(&f->kwargs, kwargs, e);
    if (!rc) rc = set_tokens(f, g, t, e);
    if (rc) return rc;
    strcpy(f->name, "ChatML");
    int found = own_template ? 1 : qm_gguf_get_str(g, "tokenizer.chat_template", &text, &why);
    if (own_template) text = (qm_str){own_template, strlen(own_template)};
    if (found > 0 && (text.n || own_template)) found = qm_template_compile(&f->t, text.s, text.n, &why) ? -1 : 1;
    if (found < 0 && own_template) return qm_fail(e, why.code, "%s", why.msg); /* asked for: what fails is an error */
    if (found < 0)
        qm_log(QM_LOG_WARN, "%s: tokenizer.chat_template: %s; plain ChatML is used instead", qm_gguf_path(g), why.msg);
    if (f->t) strcpy(f->name, own_template ? "the caller's template" : "the file's template");
    if (!(f->text = f->t ? strndup(text.s, text.n) : strdup("")))
        return qm_fail(e, QM_ERR_NOMEM, "chat format: out of memory");
    f->tools = call_format(f);
    return 0;
}

int qm_chat_format_render(const qm_chat_format *f, const qm_tokenizer *t, qm_chat_values *v, qm_rendered *out,
                          qm_err *e) {
    *out = (qm_rendered){0};
    int rc = fit(f, v, e);
    if (!rc && !f->t) rc = qm_chatml_check(t, e);
    if (rc) return rc;
    return f->t ? render(f, v, &(qm_template_limits){0}, out, e) : render_chatml(v, out, e);
}

int qm_chat_format_messages(const qm_chat_format *f, const qm_tokenizer *t, const qm_message *m, size_t n,
                            qm_rendered *out, qm_err *e) {
    qm_chat_values v;
    *out = (qm_rendered){0};
    int rc = qm_chat_values_of(&v, m, n, e);
    if (!rc) rc = qm_chat_format_render(f, t, &v, out, e);
    qm_chat_values_free(&v);
    return rc;
}
