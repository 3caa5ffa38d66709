/* tokenizer_impl.h: what the tokenizer's own files share. Nobody else includes it.
 *
 *   tokenizer_open.c   a GGUF's metadata, checked, into a qm_tokenizer
 *   tokenizer_vocab.c  tokens by id and by text
 *   tokenizer_bpe.c    one piece of bytes into ids, by merge rank
 *   tokenizer_split.c  text into pieces (the qwen2 regex)
 *   tokenizer_added.c  where control and user-defined tokens stand in a text
 *   tokenizer.c        text into ids: control tokens, NFC, pieces, merges; and the way back
 *   rendered.c         conversations into ids */
#ifndef QM_TOKENIZER_IMPL_H
#define QM_TOKENIZER_IMPL_H
#include "../base/hash.h"
#include "tokenizer.h"

/* tokenizer.ggml.token_type */
enum { TT_NORMAL = 1, TT_UNKNOWN = 2, TT_CONTROL = 3, TT_USER = 4, TT_UNUSED = 5, TT_BYTE = 6 };

/* left and right, side by side, become id; of two merges the one of lower rank goes first. */
typedef struct {
    uint32_t left, right, id, rank;
} tok_merge;

/* A node of the automaton that finds added tokens (tokenizer_added.c). Children are a list of siblings. id: the
 * longest token that ends here, or -1. */
typedef struct {
    uint32_t child, sibling, fail;
    int32_t id;
    uint8_t byte;
} tok_node;

struct qm_tokenizer {
    char *name;         /* the file's, for messages */
    uint32_t n;         /* tokens */
    char *text;         /* the texts, end to end */
    uint32_t *text_off; /* [n + 1] into text */
    char *raw;          /* the bytes that each token stands for, end to end */
    uint32_t *raw_off;  /* [n + 1] into raw */
    uint8_t *type;      /* [n] TT_* */
    uint8_t *eog;       /* [n] ends generation */
    qm_hash_key key;    /* of both tables: a file cannot know where its texts collide */
    uint32_t *hash;     /* [hash_mask + 1] id + 1 by text, 0 = empty; linear probing */
    uint32_t hash_mask;
    tok_merge *merge; /* [merge_mask + 1] by (left, right), rank UINT32_MAX = empty */
    uint32_t merge_mask, n_merges;
    uint32_t byte_id[256]; /* the token of each single byte */
    tok_node *node;        /* [n_nodes] node 0 is the root; child and sibling 0 = none */
    uint32_t n_nodes;
    void *regex;                 /* pcre2_code */
    struct qm_lexicon **lexicon; /* [1] what guides need of the vocabulary: made when first asked for (lexicon.c) */
};

static inline uint32_t tok_merge_slot(const qm_tokenizer *t, uint32_t left, uint32_t right) {
    /* multiply-shift with secret odd factors (Dietzfelbinger 1996): one of the cheapest that an adversary cannot fill */
    uint64_t h = left * (t->key.k[0] | 1) + right * (t->key.k[1] | 1) + (t->key.k[0] >> 1);
    return (uint32_t)(h >> 32) & t->merge_mask;
}
/* NULL when the two do not merge. */
static inline const tok_merge *tok_merge_find(const qm_tokenizer *t, uint32_t left, uint32_t right) {
    for (uint32_t i = tok_merge_slot(t, left, right);; i = (i + 1) & t->merge_mask) {
        const tok_merge *m = &t->merge[i];
        if (m->rank == UINT32_MAX) return NULL;
        if (m->left == left && m->right == right) return m;
    }
}
/* The token whose text is a followed by b; -1 if none. */
int64_t tok_find(const qm_tokenizer *t, const char *a, size_t na, const char *b, size_t nb);

/* Scratch that lives for one qm_tokenize call. */
typedef struct {
    uint32_t rank, pos, id;
} tok_cand;
typedef struct {
    uint32_t id, prev, next;
} tok_sym;
typedef struct {
    tok_sym *sym;   /* [sym_cap] */
    tok_cand *heap; /* [heap_cap] */
    size_t sym_cap, heap_cap, heap_n;
    char *shadow; /* [shadow_cap] */
    size_t shadow_cap;
    void *match, *match_ctx; /* pcre2_match_data, pcre2_match_context */
} tok_scratch;
void tok_scratch_free(tok_scratch *s);

/* An added token at text[pos .. pos + len). */
typedef struct {
    size_t pos;
    uint32_t id, len;
} tok_added;
typedef struct {
    tok_added *at;
    size_t n, cap;
} tok_found;                          /* free(at) */
int tok_added_build(qm_tokenizer *t); /* the automaton; 0, or -1: no memory */
/* Every position of text[0..n) where an added token starts, with the longest one there, by falling position. In time
 * proportional to n. 0, or -1: no memory. */
int tok_added_find(const qm_tokenizer *t, const char *text, size_t n, tok_found *out);
/* As qm_tokenize; added tokens are those that lie within one of the spans, the leftmost first and the longest there. */
int tok_tokenize_spans(const qm_tokenizer *t, const char *text, size_t n, const qm_span *span, size_t n_spans,
                       int flags, qm_tokens *ids, qm_err *e);
/* Appends the ids of one piece. 0 or QM_ERR_NOMEM (no message). */
int tok_bpe(const qm_tokenizer *t, const uint8_t *p, size_t n, tok_scratch *s, qm_tokens *ids);

/* The compiled pre-tokenizer. */
int tok_split_compile(qm_tokenizer *t, qm_err *e);
void tok_split_free(qm_tokenizer *t);
/* Cuts text[0..n) into pieces and appends their ids. */
int tok_split(const qm_tokenizer *t, const char *text, size_t n, tok_scratch *s, qm_tokens *ids, qm_err *e);
#endif
