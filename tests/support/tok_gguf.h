/* tok_gguf.h: a small GGUF with a byte-level vocabulary, built in memory: the 256 byte tokens (id =
 * byte), then `extra` tokens. For the tests and the fuzzer of the tokenizer. */
#ifndef QM_TOK_GGUF_H
#define QM_TOK_GGUF_H
#include "runtime/file/gguf.h"
#include <stdlib.h>
#include <string.h>

typedef struct {
    uint8_t *p;
    size_t n, cap;
} tg_buf;

typedef struct {
    const char *model, *pre; /* NULL = no such key */
    const qm_str *extra;     /* [n_extra] texts, and their types */
    const uint32_t *extra_type;
    size_t n_extra;
    const qm_str *merges; /* [n_merges] */
    size_t n_merges;
    int n_tokens_cut, n_types_cut; /* entries left out at the end */
    int no_tokens, no_types, no_merges;
    uint32_t types_kind;   /* element type of token_type; 0 = QM_KV_I32 */
    int byte_as_control;   /* a byte that is made a control token, or -1 */
    int64_t bos, eos, eot; /* negative = no such key */
    uint32_t embd_rows;    /* > 0: a token_embd.weight with so many rows */
} tg_spec;

static inline void tg_put(tg_buf *b, const void *p, size_t n) {
    if (b->n + n > b->cap) {
        b->cap = (b->n + n) * 2;
        b->p = realloc(b->p, b->cap);
        if (!b->p) abort();
    }
    if (n) memcpy(b->p + b->n, p, n);
    b->n += n;
}
static inline void tg_le(tg_buf *b, uint64_t v, int n) {
    uint8_t x[8];
    for (int i = 0; i < n; i++) x[i] = (uint8_t)(v >> 8 * i);
    tg_put(b, x, (size_t)n);
}
static inline void tg_str(tg_buf *b, const char *s, size_t n) {
    tg_le(b, n, 8);
    tg_put(b, s, n);
}
static inline void tg_key(tg_buf *b, const char *key, uint32_t type, uint64_t *n_kv) {
    tg_str(b, key, strlen(key));
    tg_le(b, type, 4);
    ++*n_kv;
}
static inline void tg_arr(tg_buf *b, const char *key, uint32_t type, uint64_t n, uint64_t *n_kv) {
    tg_key(b, key, QM_KV_ARR, n_kv);
    tg_le(b, type, 4);
    tg_le(b, n, 8);
}

/* The GPT-2 character of a byte, by the rule's other wording: printable Latin-1 but the soft hyphen. */
static inline size_t tg_byte_char(unsigned b, char out[2]) {
    unsigned cp = b, n = 0;
    for (unsigned i = 0; i <= b; i++) {
        int plain = (i > 0x20 && i < 0x7f) || (i > 0xa0 && i != 0xad);
        if (i == b) cp = plain ? b : 256 + n;
        if (!plain) n++;
    }
    if (cp < 128) {
        out[0] = (char)cp;
        return 1;
    }
    out[0] = (char)(0xc0 | cp >> 6);
    out[1] = (char)(0x80 | (cp & 63));
    return 2;
}

static inline tg_buf tg_build(const tg_spec *s) {
    tg_buf b = {0};
    uint64_t n_kv = 0;
    tg_put(&b, "GGUF", 4);
    tg_le(&b, 3, 4);
    tg_le(&b, s->embd_rows ? 1 : 0, 8);
    tg_le(&b, 0, 8); /* the number of keys, set at the end */
    if (s->model) {
        tg_key(&b, "tokenizer.ggml.model", QM_KV_STR, &n_kv);
        tg_str(&b, s->model, strlen(s->model));
    }
    if (s->pre) {
        tg_key(&b, "tokenizer.ggml.pre", QM_KV_STR, &n_kv);
        tg_str(&b, s->pre, strlen(s->pre));
    }
    size_t n = 256 + s->n_extra;
    if (!s->no_tokens) {
        size_t m = n - (size_t)s->n_tokens_cut;
        tg_arr(&b, "tokenizer.ggml.tokens", QM_KV_STR, m, &n_kv);
        for (size_t i = 0; i < m; i++) {
            char c[2];
            if (i < 256) tg_str(&b, c, tg_byte_char((unsigned)i, c));
            else tg_str(&b, s->extra[i - 256].s, s->extra[i - 256].n);
        }
    }
    if (!s->no_types) {
        size_t m = n - (size_t)s->n_types_cut;
        uint32_t kind = s->types_kind ? s->types_kind : QM_KV_I32;
        tg_arr(&b, "tokenizer.ggml.token_type", kind, m, &n_kv);
        for (size_t i = 0; i < m; i++)
            tg_le(&b, i < 256 ? ((int)i == s->byte_as_control ? 3u : 1u) : s->extra_type[i - 256],
                  kind == QM_KV_I64 ? 8 : 4);
    }
    if (!s->no_merges) {
        tg_arr(&b, "tokenizer.ggml.merges", QM_KV_STR, s->n_merges, &n_kv);
        for (size_t i = 0; i < s->n_merges; i++) tg_str(&b, s->merges[i].s, s->merges[i].n);
    }
    const struct {
        const char *key;
        int64_t v;
    } ids[] = {{"tokenizer.ggml.bos_token_id", s->bos},
               {"tokenizer.ggml.eos_token_id", s->eos},
               {"tokenizer.ggml.eot_token_id", s->eot}};
    for (int i = 0; i < 3; i++) {
        if (ids[i].v < 0) continue;
        tg_key(&b, ids[i].key, QM_KV_U32, &n_kv);
        tg_le(&b, (uint64_t)ids[i].v, 4);
    }
    if (s->embd_rows) {
        tg_str(&b, "token_embd.weight", 17);
        tg_le(&b, 2, 4);
        tg_le(&b, 1, 8);
        tg_le(&b, s->embd_rows, 8);
        tg_le(&b, 0, 4); /* F32 */
        tg_le(&b, 0, 8);
        while (b.n % 32) tg_le(&b, 0, 1);
        for (uint32_t i = 0; i < (s->embd_rows + 7) / 8 * 8; i++) tg_le(&b, 0, 4);
    }
    for (int i = 0; i < 8; i++) b.p[16 + i] = (uint8_t)(n_kv >> 8 * i);
    return b;
}
#endif
