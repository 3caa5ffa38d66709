/* One piece of bytes into ids. Byte pair encoding: start from one token per byte; while some
 * neighbours merge, merge the pair of lowest rank, the leftmost of equals. */
#include "tokenizer_impl.h"
#include <stdlib.h>

int qm_tokens_put(qm_tokens *ids, uint32_t id) {
    if (ids->n == ids->cap) {
        size_t cap = ids->cap ? ids->cap * 2 : 64;
        uint32_t *p = realloc(ids->v, cap * sizeof *p);
        if (!p) return -1;
        ids->v = p;
        ids->cap = cap;
    }
    ids->v[ids->n++] = id;
    return 0;
}

/* Words are short: scan all pairs for the best one, again after each merge. Quadratic in n <= SHORT,
 * and still quicker than a heap. */
#define SHORT 48
static int bpe_short(const qm_tokenizer *t, const uint8_t *p, size_t n, qm_tokens *ids) {
    uint32_t id[SHORT];
    const tok_merge *pair[SHORT]; /* pair[i]: the merge of id[i] and id[i+1] */
    for (size_t i = 0; i < n; i++) id[i] = t->byte_id[p[i]];
    for (size_t i = 0; i < n; i++) pair[i] = i + 1 < n ? tok_merge_find(t, id[i], id[i + 1]) : NULL;
    for (;;) {
        size_t best = n;
        uint32_t rank = UINT32_MAX;
        for (size_t i = 0; i + 1 < n; i++) {
            if (pair[i] && pair[i]->rank < rank) {
                rank = pair[i]->rank;
                best = i;
            }
        }
        if (best == n) break;
        id[best] = pair[best]->id;
        n--;
        for (size_t i = best + 1; i < n; i++) {
            id[i] = id[i + 1];
            pair[i] = pair[i + 1]; /* the last one is not used: there is no right neighbour */
        }
        if (best + 1 < n) pair[best] = tok_merge_find(t, id[best], id[best + 1]);
        if (best > 0) pair[best - 1] = tok_merge_find(t, id[best - 1], id[best]);
    }
    for (size_t i = 0; i < n; i++)
        if (qm_tokens_put(ids, id[i])) return QM_ERR_NOMEM;
    return 0;
}

/* ---- long pieces: a linked list of symbols and a heap of candidate merges, O(n log n) ---- */
static int before(const tok_cand *a, const tok_cand *b) {
    return a->rank != b->rank ? a->rank < b->rank : a->pos < b->pos;
}

/* The heap never overflows: one candidate per pair at first, and each merge takes one out and adds
 * at most two, so that 2n entries are enough. */
static void heap_put(tok_scratch *s, tok_cand c) {
    size_t i = s->heap_n++;
    while (i > 0 && before(&c, &s->heap[(i - 1) / 2])) {
        s->heap[i] = s->heap[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    s->heap[i] = c;
}

static tok_cand heap_take(tok_scratch *s) {
    tok_cand top = s->heap[0], last = s->heap[--s->heap_n];
    size_t i = 0, k;
    while ((k = 2 * i + 1) < s->heap_n) {
        if (k + 1 < s->heap_n && before(&s->heap[k + 1], &s->heap[k])) k++;
        if (!before(&s->heap[k], &last)) break;
        s->heap[i] = s->heap[k];
        i = k;
    }
    s->heap[i] = last;
    return top;
}

#define END UINT32_MAX  /* no neighbour */
#define GONE UINT32_MAX /* as an id: merged into its left neighbour */

static void propose(const qm_tokenizer *t, tok_scratch *s, uint32_t pos) {
    uint32_t next = s->sym[pos].next;
    if (next == END) return;
    const tok_merge *m = tok_merge_find(t, s->sym[pos].id, s->sym[next].id);
    if (m) heap_put(s, (tok_cand){m->rank, pos, m->id});
}

int tok_bpe(const qm_tokenizer *t, const uint8_t *p, size_t n, tok_scratch *s, qm_tokens *ids) {
    if (n <= SHORT) return bpe_short(t, p, n, ids);
    if (s->sym_cap < n) {
        void *q = realloc(s->sym, n * sizeof *s->sym);
        if (!q) return QM_ERR_NOMEM;
        s->sym = q;
        s->sym_cap = n;
    }
    if (s->heap_cap < 2 * n) {
        void *q = realloc(s->heap, 2 * n * sizeof *s->heap);
        if (!q) return QM_ERR_NOMEM;
        s->heap = q;
        s->heap_cap = 2 * n;
    }
    s->heap_n = 0;
    for (size_t i = 0; i < n; i++) {
        s->sym[i].id = t->byte_id[p[i]];
        s->sym[i].prev = i ? (uint32_t)i - 1 : END;
        s->sym[i].next = i + 1 < n ? (uint32_t)i + 1 : END;
    }
    for (size_t i = 0; i < n; i++) propose(t, s, (uint32_t)i);
    while (s->heap_n) {
        tok_cand c = heap_take(s);
        tok_sym *a = &s->sym[c.pos];
        if (a->id == GONE || a->next == END) continue;
        /* A candidate is stale when either side has changed since: the pair's text is then longer,
         * so that it cannot make the same token. */
        const tok_merge *m = tok_merge_find(t, a->id, s->sym[a->next].id);
        if (!m || m->id != c.id) continue;
        tok_sym *b = &s->sym[a->next];
        a->id = c.id;
        b->id = GONE;
        a->next = b->next;
        if (b->next != END) s->sym[b->next].prev = c.pos;
        propose(t, s, c.pos);
        if (a->prev != END) propose(t, s, a->prev);
    }
    for (uint32_t i = 0; i != END; i = s->sym[i].next)
        if (qm_tokens_put(ids, s->sym[i].id)) return QM_ERR_NOMEM;
    return 0;
}
