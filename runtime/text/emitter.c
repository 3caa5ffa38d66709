/* emitter.c: see emitter.h. Each stop string has an automaton of its own: a byte costs a step of each. */
#include "emitter.h"
#include <stdlib.h>
#include <string.h>

static int nomem(qm_err *e) { return qm_fail(e, QM_ERR_NOMEM, "answer: out of memory"); }

static int stop_open(qm_stop *p, const char *s, size_t n) {
    p->s = malloc(n + 1);
    p->back = malloc(n * sizeof *p->back);
    if (!p->s || !p->back) return -1;
    memcpy(p->s, s, n + 1);
    p->n = (uint32_t)n;
    p->back[0] = 0;
    for (uint32_t i = 1, k = 0; i < n; i++) {
        while (k && s[i] != s[k]) k = p->back[k - 1];
        p->back[i] = k += s[i] == s[k];
    }
    return 0;
}

int qm_emitter_open(qm_emitter *m, const char *const *stop, size_t n_stop, qm_err *e) {
    *m = (qm_emitter){0};
    if (!n_stop) return 0;
    if (!(m->stop = calloc(n_stop, sizeof *m->stop))) return nomem(e);
    for (size_t i = 0; i < n_stop; i++) {
        size_t n = strlen(stop[i]);
        if (n && stop_open(&m->stop[m->n_stop++], stop[i], n)) {
            qm_emitter_close(m);
            return nomem(e);
        }
    }
    return 0;
}

void qm_emitter_close(qm_emitter *m) {
    for (size_t i = 0; i < m->n_stop; i++) {
        free(m->stop[i].s);
        free(m->stop[i].back);
    }
    free(m->stop);
    free(m->held);
    *m = (qm_emitter){0};
}

/* Takes the bytes held[from .. n) into the automata. The stop string that is complete, and *end where it ends; or NULL. */
static const qm_stop *find_stop(qm_emitter *m, size_t from, size_t *end) {
    const qm_stop *found = NULL;
    for (size_t at = from; at < m->n && !found; at++)
        for (size_t i = 0; i < m->n_stop; i++) {
            qm_stop *p = &m->stop[i];
            while (p->at && p->s[p->at] != m->held[at]) p->at = p->back[p->at - 1];
            p->at += p->s[p->at] == m->held[at];
            if (p->at < p->n) continue;
            *end = at + 1;
            if (!found || p->n > found->n) found = p;
        }
    return found;
}

int qm_emitter_push(qm_emitter *m, const char *s, size_t n, int last, const char **text, size_t *n_text, qm_err *e) {
    if (m->given) memmove(m->held, m->held + m->given, m->n - m->given);
    m->n -= m->given;
    m->given = *n_text = 0;
    *text = m->held;
    if (m->stopped) return 1;
    if (m->n + 3 * (n + 4) > m->cap) {
        size_t cap = 2 * (m->n + 3 * (n + 4));
        char *p = realloc(m->held, cap);
        if (!p) return nomem(e);
        *text = m->held = p;
        m->cap = cap;
    }
    size_t from = m->n, end;
    m->n += qm_utf8_push(&m->utf8, s, n, last, m->held + m->n);
    const qm_stop *found = find_stop(m, from, &end);
    if (found) {
        *n_text = end - found->n;
        m->given = m->n;
        m->stopped = found->s;
        return 1;
    }
    size_t wait = 0;
    for (size_t i = 0; i < m->n_stop; i++)
        if (m->stop[i].at > wait) wait = m->stop[i].at;
    *n_text = m->given = last ? m->n : qm_text_cut(m->held, m->n, m->n - wait);
    return 0;
}
