/* chat_format.c: which chat format a model speaks. Its own template (tokenizer.chat_template) or one that the caller
 * gives; without one plain ChatML, which is what Qwen3 was trained on, and no think block. */
#include <stdlib.h>
#include <string.h>
#include "../base/log.h"
#include "chat_format.h"
#include "chatml.h"
#include "jinja.h"
#include "unicode.h"

struct qm_chat_format {
    qm_template *t;  /* NULL: ChatML */
    json_t *kwargs;  /* object: more variables of the template */
    json_t *trusted; /* object: bos_token, eos_token */
    char name[24];
};

void qm_chat_format_close(qm_chat_format *f) {
    if (!f) return;
    qm_template_free(f->t);
    json_decref(f->kwargs);
    json_decref(f->trusted);
    free(f);
}

const char *qm_chat_format_name(const qm_chat_format *f) { return f->name; }

static int set_kwargs(qm_chat_format *f, const char *text, qm_err *e) {
    static const char *const ours[] = {"messages", "add_generation_prompt", "bos_token", "eos_token"};
    json_error_t at;
    f->kwargs = text ? json_loads(text, JSON_REJECT_DUPLICATES, &at) : json_object();
    if (!f->kwargs && !text) return qm_fail(e, QM_ERR_NOMEM, "chat format: out of memory");
    if (!f->kwargs)
        return qm_fail(e, QM_ERR_ARG, "template kwargs: line %d, column %d: %s", at.line, at.column, at.text);
    if (!json_is_object(f->kwargs))
        return qm_fail(e, QM_ERR_ARG, "template kwargs: expected an object: {\"name\": value, ...}");
    for (int i = 0; i < 4; i++)
        if (json_object_get(f->kwargs, ours[i]))
            return qm_fail(e, QM_ERR_ARG, "template kwargs: \"%s\" is not for the caller to set", ours[i]);
    return 0;
}

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

int qm_chat_format_open(qm_chat_format **out, const qm_gguf *g, const qm_tokenizer *t, const char *own_template,
                        const char *kwargs, qm_err *e) {
    qm_chat_format *f = *out = calloc(1, sizeof *f);
    qm_str text;
    qm_err why;
    if (!f) return qm_fail(e, QM_ERR_NOMEM, "chat format: out of memory");
    int rc = set_kwargs(f, kwargs, e);
    if (!rc) rc = set_tokens(f, g, t, e);
    if (rc) return rc;
    strcpy(f->name, "ChatML");
    if (own_template) { /* asked for: what does not work is an error */
        strcpy(f->name, "the caller's template");
        return qm_template_compile(&f->t, own_template, strlen(own_template), e);
    }
    int found = qm_gguf_get_str(g, "tokenizer.chat_template", &text, &why);
    if (found > 0 && text.n) found = qm_template_compile(&f->t, text.s, text.n, &why) ? -1 : 1;
    if (found < 0)
        qm_log(QM_LOG_WARN, "%s: tokenizer.chat_template: %s; plain ChatML is used instead", qm_gguf_path(g), why.msg);
    if (f->t) strcpy(f->name, "the file's template");
    return 0;
}

/* Messages are UTF-8, whatever the format: a template works on characters, and bytes of another encoding would be
 * answered as if they had been meant. (transformers takes nothing else either.) */
static int check_utf8(const qm_message *m, size_t n, qm_err *e) {
    for (size_t i = 0; i < n; i++)
        for (int role = 0; role < 2; role++) {
            const uint8_t *s = (const uint8_t *)(role ? m[i].role : m[i].content);
            size_t len = role ? strlen(m[i].role) : m[i].n, at = 0;
            uint32_t cp;
            for (int k = 1; at < len && (k = qm_utf8_decode(s + at, len - at, &cp)) > 0;) at += (size_t)k;
            if (at < len && role)
                return qm_fail(e, QM_ERR_ARG, "message %zu: its role is not UTF-8 at byte %zu (0x%02x)", i, at, s[at]);
            if (at < len)
                return qm_fail(e, QM_ERR_ARG, "message %zu (%.16s): not UTF-8 at byte %zu (0x%02x)", i, m[i].role, at,
                               s[at]);
        }
    return 0;
}

/* NULL: no memory. */
static json_t *messages(const qm_message *m, size_t n) {
    json_t *list = json_array();
    for (size_t i = 0; list && i < n; i++) {
        json_t *one = json_pack("{s:s, s:s%}", "role", m[i].role, "content", m[i].content ? m[i].content : "", m[i].n);
        if (!json_array_append_new(list, one)) continue; /* takes NULL as a failure */
        json_decref(list);
        return NULL;
    }
    return list;
}

int qm_chat_format_render(const qm_chat_format *f, const qm_tokenizer *t, const qm_message *m, size_t n,
                          qm_rendered *out, qm_err *e) {
    *out = (qm_rendered){0};
    int rc = check_utf8(m, n, e);
    if (rc) return rc;
    if (!f->t) return (rc = qm_chatml_check(t, e)) ? rc : qm_chatml_render(m, n, out, e);
    json_t *list = messages(m, n);
    if (!list) return qm_fail(e, QM_ERR_NOMEM, "chat format: out of memory");
    /* tools and documents are None where transformers has none to give. */
    json_t *data =
        json_pack("{s:o, s:b, s:n, s:n}", "messages", list, "add_generation_prompt", 1, "tools", "documents");
    rc = !data || json_object_update(data, f->kwargs) ? qm_fail(e, QM_ERR_NOMEM, "chat format: out of memory") : 0;
    if (!rc) rc = qm_template_render(f->t, &(qm_template_vars){.data = data, .trusted = f->trusted}, out, e);
    json_decref(data);
    return rc;
}
