/* Where added tokens (control and user-defined) stand in a text: at each position the longest one that starts there.
 *
 * Aho and Corasick's automaton ("Efficient string matching", CACM 1975) over the tokens read backwards, run over the
 * text from its end: the node after byte p is the longest text that begins at p and begins backwards a token, and the
 * longest token among its suffixes, read backwards, is the longest one that starts at p. So the time is that of the text
 * alone, whatever the tokens: trying each position by itself is quadratic for tokens like "aaa...ab". */
#include "tokenizer_impl.h"
#include <stdlib.h>

static uint32_t child_of(const qm_tokenizer *t, uint32_t at, uint8_t b) {
    uint32_t c = t->node[at].child;
    while (c && t->node[c].byte != b) c = t->node[c].sibling;
    return c;
}

/* The node after one more byte. */
static uint32_t step(const qm_tokenizer *t, uint32_t at, uint8_t b) {
    uint32_t c;
    while (!(c = child_of(t, at, b)) && at) at = t->node[at].fail;
    return c;
}

static int put_node(qm_tokenizer *t, size_t *cap, tok_node node) {
    if (t->n_nodes == *cap) {
        size_t n = *cap ? 2 * *cap : 256;
        void *p = realloc(t->node, n * sizeof *t->node);
        if (!p) return -1;
        t->node = p;
        *cap = n;
    }
    t->node[t->n_nodes++] = node;
    return 0;
}

int tok_added_build(qm_tokenizer *t) {
    size_t cap = 0;
    if (put_node(t, &cap, (tok_node){.id = -1})) return -1;
    for (uint32_t id = 0; id < t->n; id++) {
        if (t->type[id] != TT_CONTROL && t->type[id] != TT_USER) continue;
        uint32_t at = 0;
        for (uint32_t i = t->text_off[id + 1]; i-- > t->text_off[id];) {
            uint8_t b = (uint8_t)t->text[i];
            uint32_t c = child_of(t, at, b);
            if (!c) {
                c = t->n_nodes;
                if (put_node(t, &cap, (tok_node){.sibling = t->node[at].child, .id = -1, .byte = b})) return -1;
                t->node[at].child = c;
            }
            at = c;
        }
        t->node[at].id = (int32_t)id;
    }
    /* By levels: a node falls back to the longest suffix of its text that is a node, and inherits its token. */
    uint32_t *queue = malloc(t->n_nodes * sizeof *queue), n = 0;
    if (!queue) return -1;
    queue[n++] = 0;
    for (uint32_t k = 0; k < n; k++) {
        uint32_t at = queue[k];
        for (uint32_t c = t->node[at].child; c; c = t->node[c].sibling) {
            tok_node *node = &t->node[c];
            node->fail = at ? step(t, t->node[at].fail, node->byte) : 0;
            if (node->id < 0) node->id = t->node[node->fail].id;
            queue[n++] = c;
        }
    }
    free(queue);
    return 0;
}

int tok_added_find(const qm_tokenizer *t, const char *text, size_t n, tok_found *out) {
    uint32_t at = 0;
    out->n = 0;
    for (size_t i = n; i-- > 0;) {
        at = step(t, at, (uint8_t)text[i]);
        if (t->node[at].id < 0) continue;
        if (out->n == out->cap) {
            size_t cap = out->cap ? 2 * out->cap : 64;
            void *p = realloc(out->at, cap * sizeof *out->at);
            if (!p) return -1;
            out->at = p;
            out->cap = cap;
        }
        uint32_t id = (uint32_t)t->node[at].id;
        out->at[out->n++] = (tok_added){i, id, t->text_off[id + 1] - t->text_off[id]};
    }
    return 0;
}
