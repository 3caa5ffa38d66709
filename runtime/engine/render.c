/* render.c: a conversation as text and as tokens, by the model's chat format. */
#include <stdlib.h>
#include <string.h>
#include "../device/prof.h"
#include "engine.h"

/* Whether r ends in a tag that is the format's own: a message may end in the same text. */
static int ends_in(const qm_rendered *r, const char *tag) {
    size_t n = r->n, k = strlen(tag);
    const qm_span *last = r->n_own ? r->own + r->n_own - 1 : NULL;
    while (n && strchr(" \t\r\n", r->text[n - 1])) n--;
    return n >= k && !memcmp(r->text + n - k, tag, k) && last && last->start <= n - k && last->end >= n;
}

static const char opens[] = "<think>", closes[] = "</think>";

int qm_engine_render(const qm_engine *g, const qm_message *m, size_t n_messages, qm_tokens *out, qm_err *e) {
    qm_rendered r;
    QM_PROF_SCOPE(QM_PROF_TOKENIZE, "chat");
    int rc = qm_chat_format_messages(g->format, g->tok, m, n_messages, &r, e);
    if (!rc) rc = qm_tokenize_rendered(g->tok, &r, g->tok_flags, out, e);
    qm_rendered_free(&r);
    return rc;
}

int qm_engine_thinks(const qm_engine *g, const qm_message *m, size_t n_messages, qm_err *e) {
    qm_rendered r;
    int rc = qm_chat_format_messages(g->format, g->tok, m, n_messages, &r, e);
    if (!rc) rc = ends_in(&r, opens);
    qm_rendered_free(&r);
    return rc;
}

/* Puts text, which is data, behind r. */
static int begin_answer(qm_rendered *r, const char *text, qm_err *e) {
    size_t n = strlen(text);
    if (ends_in(r, opens))
        return qm_fail(e, QM_ERR_UNSUPPORTED, "an answer cannot be begun: the chat template opens a <think> block");
    char *p = realloc(r->text, r->n + n + 1);
    if (!p) return qm_fail(e, QM_ERR_NOMEM, "chat: out of memory");
    memcpy(p + r->n, text, n + 1);
    r->text = p;
    r->n += n;
    return 0;
}

static int render(const qm_engine *g, const qm_conversation *c, qm_rendered *r, qm_err *e) {
    qm_chat_values v;
    *r = (qm_rendered){0};
    int rc = qm_chat_values_read(&v, c, e);
    if (!rc) rc = qm_chat_format_render(g->format, g->tok, &v, r, e);
    if (!rc && c->begun && (rc = begin_answer(r, c->begun, e))) qm_rendered_free(r);
    qm_chat_values_free(&v);
    return rc;
}

int qm_engine_render_json(const qm_engine *g, const qm_conversation *c, qm_tokens *out, int *thinking, qm_err *e) {
    qm_rendered r;
    QM_PROF_SCOPE(QM_PROF_TOKENIZE, "chat");
    int rc = render(g, c, &r, e);
    if (!rc) rc = qm_tokenize_rendered(g->tok, &r, g->tok_flags, out, e);
    if (!rc && thinking)
        *thinking = ends_in(&r, opens) ? 2 : !c->begun && !ends_in(&r, closes) && qm_chat_format_thinks(g->format);
    qm_rendered_free(&r);
    return rc;
}

int qm_engine_render_text(const qm_engine *g, const qm_conversation *c, char **text, size_t *n, qm_err *e) {
    qm_rendered r;
    int rc = render(g, c, &r, e);
    *text = r.text;
    *n = r.n;
    free(r.own);
    return rc;
}

int qm_engine_tool_format(const qm_engine *g) { return qm_chat_format_tools(g->format); }
