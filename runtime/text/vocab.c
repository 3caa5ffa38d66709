/* vocab.c: a file's vocabulary without its weights. */
#include <stdlib.h>
#include "../qmoe.h"
#include "guide.h"
#include "tokenizer.h"

struct qm_vocab {
    qm_gguf *gguf;
    qm_tokenizer *tok;
    int flags;
    int add_bos; /* the file asks for a BOS token before every text */
    uint32_t bos;
};

void qm_vocab_close(qm_vocab *v) {
    if (!v) return;
    qm_tokenizer_close(v->tok);
    qm_gguf_close(v->gguf);
    free(v);
}

int qm_vocab_open(qm_vocab **out, const char *gguf_path, int no_nfc, qm_err *e) {
    *out = NULL;
    qm_vocab *v = calloc(1, sizeof *v);
    if (!v) return qm_fail(e, QM_ERR_NOMEM, "vocabulary: out of memory");
    v->flags = no_nfc ? QM_TOK_NO_NFC : 0;
    int rc = qm_gguf_open(&v->gguf, gguf_path, e);
    if (!rc) rc = qm_tokenizer_open(&v->tok, v->gguf, e);
    if (rc) goto out;
    if ((rc = qm_gguf_get_bool(v->gguf, "tokenizer.ggml.add_bos_token", &v->add_bos, e)) < 0) goto out;
    rc = v->add_bos ? qm_gguf_get_u32(v->gguf, "tokenizer.ggml.bos_token_id", &v->bos, e) : 1;
    if (!rc)
        rc = qm_fail(e, QM_ERR_FORMAT, "%s: tokenizer.ggml.add_bos_token is set, but there is no bos_token_id",
                     gguf_path);
    if (rc > 0 && v->add_bos && v->bos >= qm_tokenizer_n(v->tok))
        rc = qm_fail(e, QM_ERR_FORMAT, "%s: tokenizer.ggml.bos_token_id is %u, the vocabulary has %u", gguf_path,
                     v->bos, qm_tokenizer_n(v->tok));
out:
    if (rc < 0) qm_vocab_close(v);
    else *out = v;
    return rc < 0 ? rc : 0;
}

int qm_vocab_tokenize(const qm_vocab *v, const char *text, size_t n, int special, int bos, qm_tokens *out, qm_err *e) {
    size_t n_before = out->n;
    if (bos && v->add_bos && qm_tokens_put(out, v->bos)) return qm_fail(e, QM_ERR_NOMEM, "tokenize: out of memory");
    int rc = qm_tokenize(v->tok, text, n, v->flags | (special ? QM_TOK_SPECIAL : 0), out, e);
    if (rc) out->n = n_before;
    return rc;
}

uint32_t qm_vocab_n(const qm_vocab *v) { return qm_tokenizer_n(v->tok); }

const char *qm_vocab_piece(const qm_vocab *v, uint32_t id, size_t *n) { return qm_token_piece(v->tok, id, n); }

int qm_guide_open_vocab(qm_guide **out, const qm_vocab *v, const qm_guide_opts *o, qm_err *e) {
    return qm_guide_make(out, v->tok, o, e);
}
