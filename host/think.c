/* think.c: <think> counts at the beginning of an answer alone, after white space at most: an answer may speak of the
 * tag. */
#include "think.h"
#include <string.h>

enum { BEFORE, INSIDE, AFTER };
static const char open_tag[] = "<think>", close_tag[] = "</think>";

void qm_think_begin(qm_think *t, int inside, qm_think_fn out, void *user) {
    *t = (qm_think){.out = out, .user = user, .state = inside ? INSIDE : BEFORE};
}

static int release(qm_think *t) {
    size_t n = t->n;
    t->n = 0;
    return n ? t->out(t->user, t->state == INSIDE, t->held, n) : 0;
}

/* White space and the beginning of the tag wait; anything else, and all of it is answer. */
static int before(qm_think *t, char c) {
    t->held[t->n++] = c;
    size_t space = 0;
    while (space < t->n && strchr(" \t\r\n", t->held[space])) space++;
    size_t k = t->n - space;
    if (k == sizeof open_tag - 1 && !memcmp(t->held + space, open_tag, k)) t->state = INSIDE;
    else if (k < sizeof open_tag - 1 && !memcmp(t->held + space, open_tag, k) && t->n < sizeof t->held) return 0;
    else t->state = AFTER;
    return release(t);
}

static int inside(qm_think *t, char c) {
    if (c != close_tag[t->n]) {
        int rc = release(t); /* no tag: one can only begin anew, as < stands in it once */
        if (rc) return rc;
        if (c != close_tag[0]) return t->out(t->user, 1, &c, 1);
    }
    t->held[t->n++] = c;
    if (t->n < sizeof close_tag - 1) return 0;
    int rc = release(t);
    t->state = AFTER;
    return rc;
}

int qm_think_push(qm_think *t, const char *s, size_t n) {
    int rc = 0;
    size_t i = 0;
    for (; i < n && t->state != AFTER && !rc; i++) rc = t->state == BEFORE ? before(t, s[i]) : inside(t, s[i]);
    return rc || i == n ? rc : t->out(t->user, 0, s + i, n - i);
}

int qm_think_end(qm_think *t) {
    int rc = release(t);
    t->state = AFTER;
    return rc;
}
