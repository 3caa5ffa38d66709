/* rendered.c: what becomes of a rendered conversation: its ids, and whether a later one goes on from it. */
#include "rendered.h"
#include <stdlib.h>
#include <string.h>
#include "tokenizer_impl.h"

void qm_rendered_free(qm_rendered *r) {
    free(r->text);
    free(r->own);
    *r = (qm_rendered){0};
}

int qm_tokenize_rendered(const qm_tokenizer *t, const qm_rendered *r, int flags, qm_tokens *ids, qm_err *e) {
    return tok_tokenize_spans(t, r->text, r->n, r->own, r->n_own, flags, ids, e);
}

/* [n] 1 where the byte is the format's own. NULL: no memory. */
static char *own_of(const qm_rendered *r, size_t n) {
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
