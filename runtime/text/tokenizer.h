/* tokenizer.h: byte-level BPE as in GPT-2, with the qwen2 pre-tokenizer, from a GGUF's metadata. The ids
 * are those of the Hugging Face `tokenizers` library (docs/tokenizer.md). */
#ifndef QM_TOKENIZER_H
#define QM_TOKENIZER_H
#include <stddef.h>
#include <stdint.h>
#include "../file/gguf.h"
#include "../qmoe.h" /* qm_tokens */
#include "rendered.h"

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

/* The same of a rendered conversation: control and user-defined tokens match only where all their bytes are the format's
 * own; all else is plain text, tokenised in one go between them as the reference does. QM_TOK_SPECIAL in flags makes no
 * difference. */
int qm_tokenize_rendered(const qm_tokenizer *t, const qm_rendered *r, int flags, qm_tokens *ids, qm_err *e);
/* Whether r begins with what was rendered before and more follows: the same bytes, and where they spell a control or
 * user-defined token, the same ones the format's own. (Elsewhere it makes no difference: a role that the template spells
 * out in one place and takes from a message in another.) 1, 0, or negative: no memory. */
int qm_rendered_goes_on(const qm_tokenizer *t, const qm_rendered *r, const qm_rendered *before, qm_err *e);

uint32_t qm_tokenizer_n(const qm_tokenizer *t); /* vocabulary entries, specials included */
/* The raw bytes of a token; control tokens give their text (callers drop them if they must). */
qm_str qm_token_bytes(const qm_tokenizer *t, uint32_t id);
/* The same as qmoe.h has it: NULL where there is no such token. */
const char *qm_token_piece(const qm_tokenizer *t, uint32_t id, size_t *n);
/* The same as it counts for an answer: nothing of a control token, but for the tags that answers are read by, which a
 * file may have made control tokens. */
const char *qm_token_answer(const qm_tokenizer *t, uint32_t id, size_t *n);
int qm_token_is_control(const qm_tokenizer *t, uint32_t id);
int qm_token_is_eog(const qm_tokenizer *t, uint32_t id); /* ends generation: eos, eot, <|endoftext|>, <|im_end|> */
int64_t qm_token_find(const qm_tokenizer *t, const char *text); /* exact token text; -1 if none */
#endif
