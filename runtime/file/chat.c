/* ChatML. The text between two control tokens is tokenised in one go ("user\n" and the message
 * together), because that is what the reference does with the rendered template: a message that starts
 * with a line end shares a token with the line end after the role. */
#include "chat.h"
#include <stdlib.h>
#include <string.h>

static int control(const qm_tokenizer *t, const char *text, uint32_t *id, qm_err *e) {
    int64_t v = qm_token_find(t, text);
    if (v < 0 || !qm_token_is_control(t, (uint32_t)v))
        return qm_fail(e, QM_ERR_UNSUPPORTED, "chat needs the control token %s, which the vocabulary lacks", text);
    *id = (uint32_t)v;
    return 0;
}

static int put(qm_ids *ids, uint32_t id, qm_err *e) {
    if (ids->n == ids->cap) {
        size_t cap = ids->cap ? ids->cap * 2 : 64;
        uint32_t *p = realloc(ids->ids, cap * sizeof *p);
        if (!p) return qm_fail(e, QM_ERR_NOMEM, "no memory for %zu ids", cap);
        ids->ids = p;
        ids->cap = cap;
    }
    ids->ids[ids->n++] = id;
    return 0;
}

int qm_chatml(const qm_tokenizer *t, const qm_message *m, size_t n_messages, int tok_flags, qm_ids *ids, qm_err *e) {
    static const char *const roles[] = {"system", "user", "assistant"};
    uint32_t start = 0, end = 0;
    size_t n_before = ids->n;
    char *text = NULL;
    int rc;
    if ((rc = control(t, "<|im_start|>", &start, e)) || (rc = control(t, "<|im_end|>", &end, e))) return rc;
    int flags = tok_flags & ~QM_TOK_SPECIAL; /* a message is never trusted */
    for (size_t i = 0; i < n_messages; i++) {
        size_t r = 0;
        while (r < 3 && strcmp(roles[r], m[i].role)) r++;
        if (r == 3) {
            rc = qm_fail(e, QM_ERR_ARG, "message %zu has the role \"%.40s\"; known: system, user, assistant", i, m[i].role);
            goto out;
        }
        size_t n_role = strlen(m[i].role);
        if (m[i].n > SIZE_MAX - n_role - 1 || !(text = malloc(n_role + 1 + m[i].n))) {
            rc = qm_fail(e, QM_ERR_NOMEM, "no memory for a message of %zu bytes", m[i].n);
            goto out;
        }
        memcpy(text, m[i].role, n_role);
        text[n_role] = '\n';
        if (m[i].n) memcpy(text + n_role + 1, m[i].content, m[i].n);
        if ((rc = put(ids, start, e)) || (rc = qm_tokenize(t, text, n_role + 1 + m[i].n, flags, ids, e)) ||
            (rc = put(ids, end, e)) || (rc = qm_tokenize(t, "\n", 1, flags, ids, e)))
            goto out;
        free(text);
        text = NULL;
    }
    if (!(rc = put(ids, start, e))) rc = qm_tokenize(t, "assistant\n", 10, flags, ids, e);
out:
    free(text);
    if (rc) ids->n = n_before;
    return rc;
}
