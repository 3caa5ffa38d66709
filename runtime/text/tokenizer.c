/* Text into ids and ids into bytes. The reference is the Hugging Face `tokenizers` library with the
 * model's own tokenizer.json; the order is its order:
 *   1. control and added tokens are cut out of the text as it stands (QM_TOK_SPECIAL only);
 *   2. what lies between is normalised to NFC, each stretch alone (unless QM_TOK_NO_NFC);
 *   3. the qwen2 expression cuts it into pieces (tokenizer_split.c);
 *   4. each piece is merged by rank (tokenizer_bpe.c).
 *
 * Text is bytes and need not be UTF-8, while the reference takes only Unicode: there is nothing to
 * compare with. Ill-formed bytes pass through NFC, are "other" to the expression, one character each,
 * and become the tokens of their bytes; they are never replaced, so that tokenising with QM_TOK_NO_NFC
 * and joining qm_token_bytes gives back any input, byte for byte. */
#include "tokenizer_impl.h"
#include "unicode.h"
#include <stdlib.h>
#include <string.h>

void qm_tokens_free(qm_tokens *ids) {
    free(ids->v);
    *ids = (qm_tokens){0};
}

static int plain(const qm_tokenizer *t, const char *text, size_t n, int flags, tok_scratch *s, qm_tokens *ids,
                 qm_err *e) {
    if (!n) return 0;
    char *nfc = NULL;
    size_t m = n;
    if (!(flags & QM_TOK_NO_NFC)) {
        int rc = qm_unicode_nfc(text, n, &nfc, &m, e);
        if (rc < 0) return rc;
    }
    int rc = tok_split(t, nfc ? nfc : text, m, s, ids, e);
    free(nfc);
    return rc;
}

int tok_tokenize_spans(const qm_tokenizer *t, const char *text, size_t n, const qm_span *span, size_t n_spans,
                       int flags, qm_tokens *ids, qm_err *e) {
    /* NFC can make text up to three times longer; positions in a piece are 32 bits. */
    if (n > (size_t)1 << 30)
        return qm_fail(e, QM_ERR_LIMIT, "%zu bytes of text to tokenise; the limit is %zu", n, (size_t)1 << 30);
    tok_scratch s = {0};
    tok_found found = {0};
    size_t n_before = ids->n, from = 0;
    int rc = 0;
    for (size_t k = 0; k < n_spans; k++) {
        if (tok_added_find(t, text + span[k].start, span[k].end - span[k].start, &found)) goto nomem;
        for (size_t i = found.n; i-- > 0;) {
            const tok_added *a = &found.at[i];
            size_t at = span[k].start + a->pos;
            if (at < from) continue; /* inside the one before */
            if ((rc = plain(t, text + from, at - from, flags, &s, ids, e))) goto out;
            if (qm_tokens_put(ids, a->id)) goto nomem;
            from = at + a->len;
        }
    }
    rc = plain(t, text + from, n - from, flags, &s, ids, e);
    goto out;
nomem:
    rc = qm_fail(e, QM_ERR_NOMEM, "no memory to tokenise %zu bytes of text", n);
out:
    free(found.at);
    tok_scratch_free(&s);
    if (rc) ids->n = n_before; /* all or nothing */
    return rc;
}

int qm_tokenize(const qm_tokenizer *t, const char *text, size_t n, int flags, qm_tokens *ids, qm_err *e) {
    const qm_span all = {0, n};
    return tok_tokenize_spans(t, text, n, &all, flags & QM_TOK_SPECIAL ? 1 : 0, flags, ids, e);
}
