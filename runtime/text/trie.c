/* Tokens sorted by their bytes: each adds the nodes that it does not share with the one before. */
#include "trie.h"
#include <stdlib.h>
#include <string.h>

typedef struct {
    const char *s;
    size_t n;
    uint64_t head; /* the first eight bytes, as a number: most comparisons need no more */
    uint32_t id;
} entry;

static int by_bytes(const void *a, const void *b) {
    const entry *x = a, *y = b;
    if (x->head != y->head) return x->head < y->head ? -1 : 1;
    int d = memcmp(x->s, y->s, x->n < y->n ? x->n : y->n);
    if (d) return d;
    if (x->n != y->n) return x->n < y->n ? -1 : 1;
    return x->id < y->id ? -1 : x->id > y->id;
}

static size_t shared(const entry *a, const entry *b) {
    size_t n = a->n < b->n ? a->n : b->n, k = 0;
    while (k < n && a->s[k] == b->s[k]) k++;
    return k;
}

void qm_trie_free(qm_trie *t) {
    free(t->byte);
    free(t->depth);
    free(t->end);
    free(t->token);
    memset(t, 0, sizeof *t);
}

int qm_trie_build(qm_trie *t, uint32_t *id, uint32_t n, uint32_t *same, qm_trie_bytes bytes, const void *user) {
    memset(t, 0, sizeof *t);
    entry *e = malloc((n + 1) * sizeof *e);
    uint32_t *open = NULL, n_open = 0; /* the nodes on the way to the last token */
    int rc = -1;
    if (!e) return -1;
    uint32_t k = 0;
    size_t nodes = 0;
    for (uint32_t i = 0; i < n; i++) {
        e[k] = (entry){.id = id[i]};
        e[k].s = bytes(user, id[i], &e[k].n);
        if (!e[k].s || !e[k].n || e[k].n > UINT16_MAX) continue;
        for (size_t b = 0; b < 8; b++) e[k].head = e[k].head << 8 | (b < e[k].n ? (uint8_t)e[k].s[b] : 0);
        k++;
    }
    if (k) qsort(e, k, sizeof *e, by_bytes);
    for (uint32_t i = 0; i < k; i++) {
        id[i] = e[i].id;
        nodes += e[i].n - (i ? shared(&e[i], &e[i - 1]) : 0);
        if (e[i].n > t->deepest) t->deepest = (uint32_t)e[i].n;
    }
    if (nodes >= UINT32_MAX) goto out;
    t->byte = malloc(nodes + 1);
    t->depth = malloc((nodes + 1) * sizeof *t->depth);
    t->end = malloc((nodes + 1) * sizeof *t->end);
    t->token = malloc((nodes + 1) * sizeof *t->token);
    open = malloc((t->deepest + 1) * sizeof *open);
    if (!t->byte || !t->depth || !t->end || !t->token || !open) goto out;
    for (uint32_t i = 0; i < k; i++) {
        size_t from = i ? shared(&e[i], &e[i - 1]) : 0;
        while (n_open > from) t->end[open[--n_open]] = t->n;
        for (size_t b = from; b < e[i].n; b++) {
            t->byte[t->n] = (uint8_t)e[i].s[b];
            t->depth[t->n] = (uint16_t)(b + 1);
            t->token[t->n] = QM_TRIE_NONE;
            open[n_open++] = t->n++;
        }
        uint32_t *at = &t->token[open[n_open - 1]];
        if (same) same[e[i].id] = *at;
        *at = e[i].id;
    }
    while (n_open) t->end[open[--n_open]] = t->n;
    rc = 0;
out:
    free(e);
    free(open);
    if (rc) qm_trie_free(t);
    return rc;
}
