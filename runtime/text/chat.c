/* chat.c: ChatML, as text that knows which of its bytes are the format's own (jinja.h, qm_rendered). */
#include "chat.h"
#include <stdlib.h>
#include <string.h>
#include "tokenizer_impl.h"

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
    else if (own) r->own[r->n_own++] = (qm_template_span){r->n, r->n + n};
    r->n += n;
}

int qm_chatml_render(const qm_message *m, size_t n_messages, qm_rendered *out, qm_err *e) {
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
    out->own = malloc((n_messages + 1) * sizeof *out->own); /* one before and behind each content */
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
    put(out, start, sizeof start - 1, 1);
    put(out, "assistant\n", 10, 1);
    out->text[out->n] = 0;
    return 0;
}

/* Ids: control and user-defined tokens only where every byte is the template's own. */
int qm_template_tokenize(const qm_tokenizer *t, const qm_rendered *r, int flags, qm_tokens *ids, qm_err *e) {
    return tok_tokenize_spans(t, r->text, r->n, r->own, r->n_own, flags, ids, e);
}

int qm_chatml(const qm_tokenizer *t, const qm_message *m, size_t n_messages, int tok_flags, qm_tokens *ids, qm_err *e) {
    qm_rendered r;
    int rc = qm_chatml_check(t, e);
    if (rc || (rc = qm_chatml_render(m, n_messages, &r, e))) return rc;
    rc = qm_template_tokenize(t, &r, tok_flags, ids, e);
    qm_rendered_free(&r);
    return rc;
}

static char *own_of(const qm_rendered *r, size_t n) { /* [n] 1 where the byte is the template's own */
    char *own = calloc(n + 1, 1);
    for (size_t i = 0; own && i < r->n_own && r->own[i].start < n; i++)
        memset(own + r->own[i].start, 1, (r->own[i].end < n ? r->own[i].end : n) - r->own[i].start);
    return own;
}

int qm_rendered_goes_on(const qm_tokenizer *t, const qm_rendered *r, const qm_rendered *before, qm_err *e) {
    size_t n = before->n;
    if (r->n <= n || memcmp(r->text, before->text, n)) return 0;
    char *a = own_of(r, n), *b = own_of(before, n);
    tok_found found = {0};
    int yes = a && b && !tok_added_find(t, r->text, n, &found)
                  ? 1
                  : qm_fail(e, QM_ERR_NOMEM, "no memory for a conversation of %zu bytes", n);
    size_t differ = n, i = n; /* the first byte from i on that only one of the two calls its own */
    for (size_t k = 0; k < found.n && yes == 1; k++) {
        for (; i > found.at[k].pos; i--)
            if (a[i - 1] != b[i - 1]) differ = i - 1;
        if (differ < found.at[k].pos + found.at[k].len) yes = 0;
    }
    free(found.at);
    free(a);
    free(b);
    return yes;
}
