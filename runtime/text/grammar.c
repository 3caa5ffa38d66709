/* The graph of what an answer may be: making nodes, and what is known of them when all are there. */
#include "grammar.h"
#include <stdlib.h>
#include <string.h>

static int grow(void **v, uint32_t *cap, uint32_t n, uint32_t most, size_t size) {
    if (n < *cap) return 0;
    if (n >= most) return QM_ERR_LIMIT;
    uint32_t c = *cap ? 2 * *cap : 64;
    void *p = realloc(*v, c * size);
    if (!p) return QM_ERR_NOMEM;
    *v = p;
    *cap = c;
    return 0;
}

static uint32_t add(qm_grammar *g, qm_gnode n) {
    if (!g->failed) g->failed = grow((void **)&g->node, &g->cap_nodes, g->n_nodes, QM_G_NODES, sizeof *g->node);
    if (g->failed) return QM_G_FAIL;
    g->node[g->n_nodes] = n;
    return g->n_nodes++;
}

int qm_grammar_open(qm_grammar *g, const qm_dfa *shared, qm_err *e) {
    memset(g, 0, sizeof *g);
    g->shared = shared;
    g->n_dfas = QM_G_SHARED;
    add(g, (qm_gnode){.kind = QM_G_RET});
    add(g, (qm_gnode){.kind = QM_G_FAIL});
    return g->failed ? qm_fail(e, QM_ERR_NOMEM, "guide: out of memory") : 0;
}

void qm_grammar_close(qm_grammar *g) {
    for (uint32_t i = QM_G_SHARED; i < g->n_dfas; i++) qm_dfa_free(&g->dfa[i - QM_G_SHARED]);
    free(g->dfa);
    free(g->rule);
    free(g->node);
    memset(g, 0, sizeof *g);
}

const qm_dfa *qm_grammar_dfa(const qm_grammar *g, uint32_t i) {
    return i < QM_G_SHARED ? &g->shared[i] : &g->dfa[i - QM_G_SHARED];
}

uint32_t qm_g_byte(qm_grammar *g, uint8_t b, uint32_t next) {
    return next == QM_G_FAIL ? next : add(g, (qm_gnode){.kind = QM_G_BYTE, .byte = b, .next = next});
}

uint32_t qm_g_text(qm_grammar *g, const char *s, size_t n, uint32_t next) {
    while (n) next = qm_g_byte(g, (uint8_t)s[--n], next);
    return next;
}

uint32_t qm_g_loop(qm_grammar *g) {
    return add(g, (qm_gnode){.kind = QM_G_SPLIT, .next = QM_G_FAIL, .other = QM_G_FAIL});
}

void qm_g_set(qm_grammar *g, uint32_t split, uint32_t a, uint32_t b) {
    if (g->failed) return;
    g->node[split].next = a;
    g->node[split].other = b;
}

uint32_t qm_g_split(qm_grammar *g, uint32_t a, uint32_t b) {
    if (a == QM_G_FAIL || a == b) return b;
    if (b == QM_G_FAIL) return a;
    return add(g, (qm_gnode){.kind = QM_G_SPLIT, .next = a, .other = b});
}

uint32_t qm_g_call(qm_grammar *g, uint32_t rule, uint32_t next) {
    return next == QM_G_FAIL ? next : add(g, (qm_gnode){.kind = QM_G_CALL, .other = rule, .next = next});
}

uint32_t qm_g_count(qm_grammar *g, int kind, uint32_t n, uint32_t next) {
    if (next == QM_G_FAIL) return next;
    return add(g, (qm_gnode){.kind = (uint8_t)kind, .min = n, .max = n, .next = next});
}

uint32_t qm_g_counted(qm_grammar *g, uint32_t dfa, uint32_t min, uint32_t max, uint32_t next) {
    if (next == QM_G_FAIL || min > max) return QM_G_FAIL;
    return add(g, (qm_gnode){.kind = QM_G_DFA, .other = dfa, .min = min, .max = max, .next = next, .counted = 1});
}

uint32_t qm_g_dfa(qm_grammar *g, uint32_t dfa, uint32_t next) {
    if (next == QM_G_FAIL || g->failed || qm_grammar_dfa(g, dfa)->n < 2) return QM_G_FAIL;
    return add(g, (qm_gnode){.kind = QM_G_DFA, .other = dfa, .max = QM_G_ENDLESS, .next = next});
}

uint32_t qm_g_add_dfa(qm_grammar *g, qm_dfa *d) {
    uint32_t n = g->n_dfas - QM_G_SHARED;
    if (!g->failed) g->failed = grow((void **)&g->dfa, &g->cap_dfas, n, QM_G_STATES, sizeof *g->dfa);
    if (!g->failed && (g->n_states += d->n) > QM_G_STATES) g->failed = QM_ERR_LIMIT;
    if (g->failed) {
        qm_dfa_free(d);
        return 0;
    }
    g->dfa[n] = *d;
    memset(d, 0, sizeof *d);
    return g->n_dfas++;
}

uint32_t qm_g_rule(qm_grammar *g) {
    if (!g->failed) g->failed = grow((void **)&g->rule, &g->cap_rules, g->n_rules, QM_G_RULES, sizeof *g->rule);
    if (g->failed) return 0;
    g->rule[g->n_rules] = (qm_grule){.entry = QM_G_FAIL};
    return g->n_rules++;
}

/* ---- when all is there ---- */
static unsigned least(unsigned a, unsigned b) { return a < b ? a : b; }

/* The shortest way to the rule's end, counted in rules that are open at once. Deeper than QM_G_DEPTH is never: a value that
 * rises no more in a round is final, and no round takes more than one level away. */
static void find_needs(qm_grammar *g) {
    for (uint32_t i = 0; i < g->n_nodes; i++) g->node[i].need = i == QM_G_RET ? 0 : QM_G_NEVER;
    for (int changed = 1; changed;) {
        changed = 0;
        for (uint32_t i = 2; i < g->n_nodes; i++) {
            qm_gnode *n = &g->node[i];
            unsigned need = g->node[n->next].need;
            if (n->kind == QM_G_SPLIT) need = least(need, g->node[n->other].need);
            if (n->kind == QM_G_CALL) {
                unsigned in = g->node[g->rule[n->other].entry].need + 1u;
                if (in > need) need = in;
            }
            if (need > QM_G_DEPTH) need = QM_G_NEVER;
            if (need < n->need) n->need = (uint8_t)need, changed = 1;
        }
    }
}

/* ---- ranks: which rule may begin with which ---- */
enum { NEW, OPEN, DONE };
typedef struct {
    uint32_t node, n_eps;
} frame;
typedef struct {
    const qm_grammar *g;
    uint32_t *seen;  /* [n_nodes] rule + 1 that has looked at it last */
    uint32_t *stack; /* nodes to look at */
    uint8_t *state;  /* [n_rules] */
} order;

/* The rules that r may begin with, into out; *empty: it may end at once. */
static size_t first_rules(order *o, uint32_t r, uint32_t *out, int *empty) {
    const qm_grammar *g = o->g;
    size_t n = 0, n_out = 0;
    o->stack[n++] = g->rule[r].entry;
    while (n) {
        uint32_t i = o->stack[--n];
        const qm_gnode *x = &g->node[i];
        if (o->seen[i] == r + 1) continue;
        o->seen[i] = r + 1;
        switch (x->kind) {
        case QM_G_RET: *empty = 1; break;
        case QM_G_FAIL:
        case QM_G_BYTE: break;
        case QM_G_CALL: out[n_out++] = x->other; break;
        case QM_G_DFA:
            if (qm_grammar_dfa(g, x->other)->accept[QM_DFA_START] && !x->min) o->stack[n++] = x->next;
            break;
        default:
            o->stack[n++] = x->next;
            if (x->kind == QM_G_SPLIT) o->stack[n++] = x->other;
        }
    }
    return n_out;
}

int qm_grammar_end(qm_grammar *g, qm_err *e) {
    if (g->failed == QM_ERR_LIMIT) return qm_fail(e, QM_ERR_LIMIT, "what the answer is held to is too large");
    if (g->failed) return qm_fail(e, QM_ERR_NOMEM, "guide: out of memory");
    order o = {.g = g};
    size_t room = 2 * (size_t)g->n_nodes + 2;
    o.seen = calloc(g->n_nodes, sizeof *o.seen);
    o.stack = malloc(room * sizeof *o.stack);
    o.state = calloc(g->n_rules, 1);
    /* a depth-first search without recursion: todo holds rules, each with its first rules above it */
    uint32_t *todo = malloc(((size_t)g->n_nodes + g->n_rules + 2) * sizeof *todo);
    int rc = o.seen && o.stack && o.state && todo ? 0 : qm_fail(e, QM_ERR_NOMEM, "guide: out of memory");
    uint32_t rank = g->n_rules;
    size_t n = 0;
    for (uint32_t r = 0; r < g->n_rules && !rc; r++) {
        if (o.state[r] == NEW) todo[n++] = r;
        while (n && !rc) {
            uint32_t at = todo[n - 1];
            int empty = 0;
            if (o.state[at] != NEW) {
                if (o.state[at] == OPEN) {
                    o.state[at] = DONE;
                    g->rule[at].rank = --rank;
                }
                n--;
                continue;
            }
            o.state[at] = OPEN;
            size_t k = first_rules(&o, at, todo + n, &empty);
            for (size_t i = 0; i < k; i++)
                if (o.state[todo[n + i]] == OPEN)
                    rc = qm_fail(e, QM_ERR_ARG, "a $ref leads to itself with nothing in between");
            if (empty && at) rc = qm_fail(e, QM_ERR_ARG, "a value that may be empty"); /* no JSON is */
            n += k;
        }
    }
    free(o.seen);
    free(o.stack);
    free(o.state);
    free(todo);
    if (rc) return rc;
    find_needs(g);
    if (g->node[g->rule[0].entry].need == QM_G_NEVER)
        return qm_fail(e, QM_ERR_ARG, "nothing satisfies it (within %d levels of nesting)", QM_G_DEPTH);
    return 0;
}
