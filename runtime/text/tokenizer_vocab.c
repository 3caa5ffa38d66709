/* What a vocabulary is asked: tokens by id and by text. */
#include "tokenizer_impl.h"
#include <string.h>

int64_t tok_find(const qm_tokenizer *t, const char *a, size_t na, const char *b, size_t nb) {
    for (uint32_t i = (uint32_t)qm_siphash(&t->key, a, na, b, nb) & t->hash_mask; t->hash[i];
         i = (i + 1) & t->hash_mask) {
        uint32_t id = t->hash[i] - 1;
        const char *s = t->text + t->text_off[id];
        if (t->text_off[id + 1] - t->text_off[id] == na + nb && !memcmp(s, a, na) && !memcmp(s + na, b, nb)) return id;
    }
    return -1;
}

uint32_t qm_tokenizer_n(const qm_tokenizer *t) { return t->n; }

qm_str qm_token_bytes(const qm_tokenizer *t, uint32_t id) {
    if (id >= t->n) return (qm_str){"", 0};
    return (qm_str){t->raw + t->raw_off[id], t->raw_off[id + 1] - t->raw_off[id]};
}

int qm_token_is_control(const qm_tokenizer *t, uint32_t id) { return id < t->n && t->type[id] == TT_CONTROL; }

int qm_token_is_eog(const qm_tokenizer *t, uint32_t id) { return id < t->n && t->eog[id]; }

int64_t qm_token_find(const qm_tokenizer *t, const char *text) { return tok_find(t, text, strlen(text), "", 0); }

const char *qm_token_piece(const qm_tokenizer *t, uint32_t id, size_t *n) {
    qm_str s = qm_token_bytes(t, id);
    *n = s.n;
    return id < t->n ? s.s : NULL;
}

const char *qm_token_answer(const qm_tokenizer *t, uint32_t id, size_t *n) {
    static const char *const tags[] = {"<think>", "</think>", "<tool_call>", "</tool_call>"};
    const char *s = qm_token_piece(t, id, n);
    if (!s || !qm_token_is_control(t, id)) return s;
    for (size_t i = 0; i < sizeof tags / sizeof *tags; i++)
        if (*n == strlen(tags[i]) && !memcmp(s, tags[i], *n)) return s;
    *n = 0;
    return s;
}
