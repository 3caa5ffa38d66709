/* think.h: tells a model's reasoning, <think> ... </think> at the beginning of an answer, from the answer. */
#ifndef QM_HOST_THINK_H
#define QM_HOST_THINK_H
#include <stddef.h>

/* n bytes of one kind; the tags count as thinking. Non-zero stops. */
typedef int (*qm_think_fn)(void *user, int thinking, const char *s, size_t n);
typedef struct {
    qm_think_fn out;
    void *user;
    int state;
    char held[32]; /* [n] may be the beginning of a tag */
    size_t n;
} qm_think;
/* inside: the prompt has opened the block already. */
void qm_think_begin(qm_think *t, int inside, qm_think_fn out, void *user);
/* A piece of the answer, of any length: tags may be split between two. What out returned. */
int qm_think_push(qm_think *t, const char *s, size_t n);
/* The end of the answer: what was held back comes. */
int qm_think_end(qm_think *t);
#endif
