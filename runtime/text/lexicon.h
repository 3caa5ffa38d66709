/* lexicon.h: a vocabulary as guides see it, made once for a tokenizer: its tokens by their bytes, and which of them stay
 * within a string, or within free text, whatever comes before. */
#ifndef QM_LEXICON_H
#define QM_LEXICON_H
#include "grammar.h"
#include "tokenizer.h"
#include "trie.h"

/* Of one of the shared automata, from its start: the common case, so that a mask is a copy and a short walk. */
typedef struct {
    uint32_t *inside;     /* [n_words] tokens all of whose bytes it takes */
    uint32_t *by_chars;   /* those, by how many of its characters they begin or go on with */
    uint32_t *chars_from; /* [most_chars + 2] where in by_chars those of so many begin */
    uint32_t n_inside, most_chars;
    qm_trie leaving; /* tokens that it takes up to where it may end, and not further */
} qm_bulk;
typedef enum {
    QM_LEX_NONE, /* never in guided text: control tokens, and what the file says is unused */
    QM_LEX_TEXT,
    QM_LEX_SPECIAL, /* user-defined, and tags that are control tokens: only in free text, or where what is spelled is wanted */
    QM_LEX_END /* ends generation */
} qm_lex_kind;
typedef struct qm_lexicon {
    const qm_tokenizer *tok;
    uint32_t n, n_words;  /* tokens; (n + 31) / 32 */
    uint8_t *kind;        /* [n] qm_lex_kind */
    uint32_t *same;       /* [n] as qm_trie_build */
    uint32_t *all, *ends; /* [n_words] text, special and end; end */
    uint32_t *special, n_special;
    qm_trie trie; /* text and special */
    qm_dfa shared[QM_G_SHARED];
    qm_bulk bulk[QM_G_SHARED];
} qm_lexicon;

/* Of t, which keeps it: the first call makes it. Any thread. */
int qm_tokenizer_lexicon(const qm_lexicon **out, const qm_tokenizer *t, qm_err *e);
void qm_lexicon_free(qm_lexicon *x);

static inline void qm_bit_set(uint32_t *w, uint32_t i) { w[i / 32] |= 1u << i % 32; }
static inline void qm_bit_clear(uint32_t *w, uint32_t i) { w[i / 32] &= ~(1u << i % 32); }
static inline int qm_bit(const uint32_t *w, uint32_t i) { return w[i / 32] >> i % 32 & 1; }
#endif
