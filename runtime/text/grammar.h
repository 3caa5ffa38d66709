/* grammar.h: what an answer may be, as a graph of nodes: a pushdown automaton over bytes. A rule is a part of the graph
 * that others call: a value of JSON. It has one counter, for the members of an array or the characters of a string.
 *
 * Nodes are made the last first: each is told what comes after it. */
#ifndef QM_GRAMMAR_H
#define QM_GRAMMAR_H
#include "dfa.h"

enum {
    QM_G_RET,  /* the end of the rule */
    QM_G_FAIL, /* never */
    QM_G_BYTE, /* this byte */
    QM_G_DFA, /* what an automaton accepts; counted: min .. max of its characters, each of which ends in an end state */
    QM_G_SPLIT, /* next or other */
    QM_G_CALL,  /* a rule */
    QM_G_ADD,   /* the counter goes up, to max at most: more are told apart by nobody */
    QM_G_ZERO,  /* the counter becomes 0 */
    QM_G_LESS,  /* only where the counter is below max */
    QM_G_LEAST  /* only where it is min at least */
};
enum { QM_G_ENDLESS = UINT32_MAX }; /* max */
/* How deeply rules may be nested in an answer: what would have to go deeper to be completed is not begun. */
enum { QM_G_DEPTH = 64, QM_G_NEVER = 255, QM_G_NODES = 1 << 20, QM_G_RULES = 1 << 14 };
enum { QM_G_STATES = 1 << 16 }; /* of all tables of a grammar; 512 bytes each */

typedef struct {
    uint8_t kind, byte;
    uint8_t need;    /* rules that must be open at once, beside those that are, until this one has ended; QM_G_NEVER */
    uint8_t counted; /* QM_G_DFA */
    uint32_t next;
    uint32_t other; /* QM_G_SPLIT; QM_G_CALL: the rule; QM_G_DFA: the automaton */
    uint32_t min, max;
} qm_gnode;
typedef struct {
    uint32_t entry;
    uint32_t rank; /* a rule that another may begin with has a higher one */
} qm_grule;
/* Tables that are the same for all grammars; bulk.c knows which tokens stay inside. */
typedef enum {
    QM_G_STRING,
    QM_G_RAW,
    QM_G_UNTIL_THOUGHT,
    QM_G_UNTIL_CALL,
    QM_G_NO_THOUGHT,
    QM_G_NO_CALL,
    QM_G_SHARED
} qm_gshared;
typedef struct {
    qm_gnode *node; /* [n_nodes] 0: QM_G_RET, 1: QM_G_FAIL */
    qm_grule *rule; /* [n_rules] 0: the whole answer */
    qm_dfa *dfa;    /* [n_dfas] the first QM_G_SHARED are there from the beginning */
    uint32_t n_nodes, cap_nodes, n_rules, cap_rules, n_dfas, cap_dfas;
    uint64_t n_states;    /* of all dfas but the shared */
    const qm_dfa *shared; /* [QM_G_SHARED] */
    int failed;           /* QM_ERR_NOMEM, QM_ERR_LIMIT: nodes that are made then are QM_G_FAIL */
} qm_grammar;

int qm_grammar_open(qm_grammar *g, const qm_dfa *shared, qm_err *e);
void qm_grammar_close(qm_grammar *g);
const qm_dfa *qm_grammar_dfa(const qm_grammar *g, uint32_t i);

uint32_t qm_g_byte(qm_grammar *g, uint8_t b, uint32_t next);
uint32_t qm_g_text(qm_grammar *g, const char *s, size_t n, uint32_t next);
uint32_t qm_g_split(qm_grammar *g, uint32_t a, uint32_t b); /* where one is QM_G_FAIL, the other */
uint32_t qm_g_loop(qm_grammar *g);                          /* a split that is set later */
void qm_g_set(qm_grammar *g, uint32_t split, uint32_t a, uint32_t b);
uint32_t qm_g_call(qm_grammar *g, uint32_t rule, uint32_t next);
uint32_t qm_g_count(qm_grammar *g, int kind, uint32_t n, uint32_t next); /* QM_G_ADD, ZERO, LESS, LEAST */
/* counted: max QM_G_ENDLESS where there is no end. */
uint32_t qm_g_dfa(qm_grammar *g, uint32_t dfa, uint32_t next);
uint32_t qm_g_counted(qm_grammar *g, uint32_t dfa, uint32_t min, uint32_t max, uint32_t next);
/* Takes *d; its number, for the above. */
uint32_t qm_g_add_dfa(qm_grammar *g, qm_dfa *d);
/* A new rule, whose entry is set later. */
uint32_t qm_g_rule(qm_grammar *g);

/* When all is made: what each node needs, and the rules' ranks. QM_ERR_ARG: a rule begins with itself; nothing can be
 * completed. */
int qm_grammar_end(qm_grammar *g, qm_err *e);
#endif
