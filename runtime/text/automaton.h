/* automaton.h: where an answer is in its grammar, byte by byte. A state is a set of threads, each a node and what is open
 * around it; states have numbers, and steps between them are remembered.
 *
 * What is open is shared: all callers of a rule at one place of the text are one stack entry, with as many ways back
 * (Tomita's graph-structured stack). So what several alternatives have in common is followed once, and a state is never
 * larger than the grammar times the levels that are open. */
#ifndef QM_AUTOMATON_H
#define QM_AUTOMATON_H
#include "grammar.h"

typedef struct {
    uint32_t node, sub; /* sub: QM_G_DFA: its state */
    uint32_t count, stack;
} qm_gthread; /* its node takes a byte: QM_G_BYTE or QM_G_DFA */
typedef struct qm_automaton qm_automaton;
enum { QM_AUTO_DEAD };

/* NULL: no memory. */
qm_automaton *qm_automaton_open(const qm_grammar *g);
void qm_automaton_close(qm_automaton *a);
uint32_t qm_automaton_start(qm_automaton *a);
/* QM_AUTO_DEAD: the answer cannot go on with this byte; or there was no memory (qm_automaton_failed). */
uint32_t qm_automaton_step(qm_automaton *a, uint32_t state, uint8_t byte);
/* What steps have cost so far: about the threads that were followed. It grows only where a step is new. */
uint64_t qm_automaton_work(const qm_automaton *a);
int qm_automaton_failed(const qm_automaton *a);
int qm_automaton_accepts(const qm_automaton *a, uint32_t state); /* the answer is complete */
const qm_gthread *qm_automaton_threads(const qm_automaton *a, uint32_t state, uint32_t *n);
/* The state of some of these threads alone, none of them complete. */
uint32_t qm_automaton_some(qm_automaton *a, const qm_gthread *t, uint32_t n);
/* Where much has been remembered (some megabytes), forgets all but one state, whose number it returns; *gone: 1: numbers
 * from before mean nothing any more. */
uint32_t qm_automaton_tidy(qm_automaton *a, uint32_t state, int *gone);
#endif
