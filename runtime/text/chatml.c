/* chatml.c: see chatml.h. */
#include "chatml.h"
#include <stdlib.h>
#include <string.h>

int qm_chatml_check(const qm_tokenizer *t, qm_err *e) {
    static const char *const texts[] = {"<|im_start|>", "<|im_end|>"};
    for (int i = 0; i < 2; i++) {
        int64_t v = qm_token_find(t, texts[i]);
        if (v < 0 || !qm_token_is_control(t, (uint32_t)v))
            return qm_fail(e, QM_ERR_UNSUPPORTED, "chat needs the control token %s, which the vocabulary lacks",
                           texts[i]);
    }
    return 0;
}

static void put(qm_rendered *r, const char *s, size_t n, int own) {
    if (!n) return;
    memcpy(r->text + r->n, s, n);
    if (own && r->n_own && r->own[r->n_own - 1].end == r->n) r->own[r->n_own - 1].end += n;
    else if (own) r->own[r->n_own++] = (qm_span){r->n, r->n + n};
    r->n += n;
}

int qm_chatml_render(const qm_message *m, size_t n_messages, int turn, qm_rendered *out, qm_err *e) {
    static const char *const roles[] = {"system", "user", "assistant"};
    static const char start[] = "<|im_start|>", end[] = "<|im_end|>\n";
    size_t room = 64;
    *out = (qm_rendered){0};
    for (size_t i = 0; i < n_messages; i++) {
        size_t r = 0;
        while (r < 3 && strcmp(roles[r], m[i].role)) r++;
        if (r == 3)
            return qm_fail(e, QM_ERR_ARG, "message %zu has the role \"%.40s\"; known: system, user, assistant", i,
                           m[i].role);
        if (m[i].n > SIZE_MAX - room - 64)
            return qm_fail(e, QM_ERR_NOMEM, "no memory for a message of %zu bytes", m[i].n);
        room += m[i].n + 64;
    }
    out->text = malloc(room);
    out->own = malloc((n_messages + 1) * sizeof *out->own); /* one before and after each content */
    if (!out->text || !out->own) {
        qm_rendered_free(out);
        return qm_fail(e, QM_ERR_NOMEM, "no memory for a conversation of %zu bytes", room);
    }
    for (size_t i = 0; i < n_messages; i++) {
        put(out, start, sizeof start - 1, 1);
        put(out, m[i].role, strlen(m[i].role), 1);
        put(out, "\n", 1, 1);
        put(out, m[i].content, m[i].n, 0);
        put(out, end, sizeof end - 1, 1);
    }
    if (turn) put(out, start, sizeof start - 1, 1), put(out, "assistant\n", 10, 1);
    out->text[out->n] = 0;
    return 0;
}

int qm_chatml(const qm_tokenizer *t, const qm_message *m, size_t n_messages, int tok_flags, qm_tokens *ids, qm_err *e) {
    qm_rendered r;
    int rc = qm_chatml_check(t, e);
    if (rc || (rc = qm_chatml_render(m, n_messages, 1, &r, e))) return rc;
    rc = qm_tokenize_rendered(t, &r, tok_flags, ids, e);
    qm_rendered_free(&r);
    return rc;
}
