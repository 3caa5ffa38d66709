/* think.c: <think> counts at the beginning of an answer alone, after white space at most: an answer may speak of the
 * tag. Where the prompt has opened the block, a model may write the tag once more. */
#include "../qmoe_text.h"
#include <string.h>

enum { BEFORE, BEFORE_INSIDE, INSIDE, AFTER };
static const char open_tag[] = "<think>", close_tag[] = "</think>";

void qm_think_begin(qm_think *t, int inside, qm_think_fn out, void *user) {
    *t = (qm_think){.out = out, .user = user, .state = inside ? BEFORE_INSIDE : BEFORE};
}

static int release(qm_think *t, qm_think_kind kind) {
    size_t n = t->n;
    t->n = 0;
    return n ? t->out(t->user, kind, t->held, n) : 0;
}

static int inside(qm_think *t, char c) {
    if (c != close_tag[t->n]) {
        int rc = release(t, QM_THINK_THOUGHT); /* no tag: one can only begin anew, as < stands in it once */
        if (rc) return rc;
        if (c != close_tag[0]) return t->out(t->user, QM_THINK_THOUGHT, &c, 1);
    }
    t->held[t->n++] = c;
    if (t->n < sizeof close_tag - 1) return 0;
    t->state = AFTER;
    return release(t, QM_THINK_TAG);
}

/* White space and the beginning of the tag wait; anything else, and all of it is answer, or thought. */
static int before(qm_think *t, char c) {
    t->held[t->n++] = c;
    size_t space = 0;
    while (space < t->n && strchr(" \t\r\n", t->held[space]) && t->held[space]) space++;
    size_t k = t->n - space;
    int fits = k < sizeof open_tag && !memcmp(t->held + space, open_tag, k);
    if (fits && k == sizeof open_tag - 1) {
        t->state = INSIDE;
        return release(t, QM_THINK_TAG);
    }
    if (fits && t->n < sizeof t->held) return 0;
    if (t->state == BEFORE) {
        t->state = AFTER;
        return release(t, QM_THINK_ANSWER);
    }
    char held[sizeof t->held]; /* what is no opening tag may begin the closing one */
    size_t n = t->n;
    memcpy(held, t->held, n);
    t->n = 0;
    t->state = INSIDE;
    return qm_think_push(t, held, n);
}

int qm_think_push(qm_think *t, const char *s, size_t n) {
    int rc = 0;
    size_t i = 0;
    for (; i < n && t->state != AFTER && !rc; i++) rc = t->state == INSIDE ? inside(t, s[i]) : before(t, s[i]);
    return rc || i == n ? rc : t->out(t->user, QM_THINK_ANSWER, s + i, n - i);
}

int qm_think_end(qm_think *t) {
    qm_think_kind kind = t->state == BEFORE ? QM_THINK_ANSWER : QM_THINK_THOUGHT;
    t->state = AFTER;
    return release(t, kind);
}
