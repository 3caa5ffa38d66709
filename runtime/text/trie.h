/* trie.h: tokens by their bytes, in the order of a depth-first walk: what cannot come is left out with all that begins
 * with it. */
#ifndef QM_TRIE_H
#define QM_TRIE_H
#include <stddef.h>
#include <stdint.h>

enum { QM_TRIE_NONE = UINT32_MAX };
typedef struct {
    uint32_t n;      /* nodes; the root is none of them */
    uint8_t *byte;   /* [n] what leads to it */
    uint16_t *depth; /* [n] bytes up to it, 1 .. */
    uint32_t *end;   /* [n] the first node that is not below it */
    uint32_t *token; /* [n] a token of these bytes, or QM_TRIE_NONE; more of the same bytes: same */
    uint32_t deepest;
} qm_trie;
/* The bytes of token id, *n of them. */
typedef const char *(*qm_trie_bytes)(const void *user, uint32_t id, size_t *n);
/* Of id[0..n), which is put in order. Tokens without bytes, and of more than 65535, are left out. same: [vocabulary] the
 * next token of the same bytes, or QM_TRIE_NONE; may be NULL where it is filled. 0, or -1: no memory. */
int qm_trie_build(qm_trie *t, uint32_t *id, uint32_t n, uint32_t *same, qm_trie_bytes bytes, const void *user);
void qm_trie_free(qm_trie *t);
#endif
