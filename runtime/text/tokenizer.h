/* tokenizer.h: byte-level BPE as in GPT-2, with the qwen2 pre-tokenizer, from a GGUF's metadata. The ids
 * are those of the Hugging Face `tokenizers` library (docs/tokenizer.md). */
#ifndef QM_TOKENIZER_H
#define QM_TOKENIZER_H
#include <stddef.h>
#include <stdint.h>
#include "../file/gguf.h"
#include "../qmoe.h" /* qm_tokens */

typedef struct qm_tokenizer qm_tokenizer;

/* Checks everything; keeps nothing of g. Errors name the file, the key and its offset. */
int qm_tokenizer_open(qm_tokenizer **out, const qm_gguf *g, qm_err *e);
void qm_tokenizer_close(qm_tokenizer *t);

enum {
    QM_TOK_SPECIAL = 1, /* match control and user-defined tokens (trusted text: a template's own) */
    QM_TOK_NO_NFC = 2   /* skip NFC normalisation, as llama.cpp does */
};
int qm_tokens_put(qm_tokens *t, uint32_t id); /* appends; 0, or -1: no memory */
/* Appends the ids of text[0..n), or nothing on failure. Any bytes are accepted: those that are no UTF-8
 * become the tokens of their bytes (tokenizer.c says how), and come back as they were. Up to 1 GiB. */
int qm_tokenize(const qm_tokenizer *t, const char *text, size_t n, int flags, qm_tokens *ids, qm_err *e);

uint32_t qm_tokenizer_n(const qm_tokenizer *t); /* vocabulary entries, specials included */
/* The raw bytes of a token; control tokens give their text (callers drop them if they must). */
qm_str qm_token_bytes(const qm_tokenizer *t, uint32_t id);
int qm_token_is_control(const qm_tokenizer *t, uint32_t id);
int qm_token_is_eog(const qm_tokenizer *t, uint32_t id); /* ends generation: eos, eot, <|endoftext|>, <|im_end|> */
int64_t qm_token_find(const qm_tokenizer *t, const char *text); /* exact token text; -1 if none */

/* Streaming UTF-8: bytes go in token by token, only whole characters come out. */
typedef struct {
    uint8_t hold[4];
    uint8_t n_hold;
} qm_utf8_stream;
/* Appends to out (capacity at least n + 4) and returns the bytes written. Malformed bytes are
 * replaced by U+FFFD only when flush is set or a following byte proves them malformed.
 * Worst case a held prefix and each input byte become U+FFFD: capacity 3 * (n + 4). */
size_t qm_utf8_push(qm_utf8_stream *s, const void *bytes, size_t n, int flush, char *out);
#endif
