/* dfa.h: finite automata over bytes, as tables. Built from a nondeterministic one (nfa_*), from each other, or from a
 * word; a table never changes, and from each of its states but the dead one an end can be reached. */
#ifndef QM_DFA_H
#define QM_DFA_H
#include <stddef.h>
#include <stdint.h>
#include "../base/err.h"

enum { QM_DFA_DEAD, QM_DFA_START, QM_DFA_STATES = 32767 }; /* states; the most of one table */
typedef struct {
    uint32_t n;      /* states; 1: nothing is accepted */
    uint16_t *next;  /* [n][256] */
    uint8_t *accept; /* [n] */
    uint8_t *ends;   /* [n] 1: no byte leads on */
    uint64_t work;   /* what making it has cost: about the states that were visited */
} qm_dfa;
void qm_dfa_free(qm_dfa *d); /* {0} afterwards */

/* ---- built from states, the last first: each knows what comes after it ---- */
typedef struct {
    uint8_t kind, lo, hi;
    uint32_t a, b;
} qm_nfa_state;
typedef struct {
    qm_nfa_state *v;
    uint32_t n, cap;
    int failed; /* QM_ERR_NOMEM, QM_ERR_LIMIT: too many states; what is added then is nonsense, and stays harmless */
} qm_nfa;
enum { QM_NFA_END, QM_NFA_STATES = 1 << 17 };
int qm_nfa_open(qm_nfa *f); /* with the state QM_NFA_END */
void qm_nfa_close(qm_nfa *f);
uint32_t qm_nfa_byte(qm_nfa *f, uint8_t lo, uint8_t hi, uint32_t next);
uint32_t qm_nfa_split(qm_nfa *f, uint32_t a, uint32_t b);
void qm_nfa_set(qm_nfa *f, uint32_t split, uint32_t a, uint32_t b); /* for loops */

/* What start leads to (subset construction). what: for the message. QM_ERR_LIMIT: more than QM_DFA_STATES states, or too
 * much work. */
int qm_dfa_make(qm_dfa *out, const qm_nfa *f, uint32_t start, const char *what, qm_err *e);
/* What both accept; but_not: what a accepts and b does not. */
int qm_dfa_both(qm_dfa *out, const qm_dfa *a, const qm_dfa *b, int but_not, const char *what, qm_err *e);
/* until: all that ends with the first `word` in it; else all without `word`. word begins with a byte that is nowhere else
 * in it, so that it cannot begin inside of itself. */
int qm_dfa_word(qm_dfa *out, const char *word, int until, qm_err *e);
#endif
