/* Finite automata: states that know their successors into tables, tables into tables. */
#include "dfa.h"
#include <stdlib.h>
#include <string.h>
#include "../base/hash.h"

enum { NFA_END_KIND, NFA_BYTE, NFA_SPLIT };
enum { MOST_WORK = 10 * 1000 * 1000 }; /* visits of states: a tenth of a second */

void qm_dfa_free(qm_dfa *d) {
    free(d->next);
    free(d->accept);
    free(d->ends);
    memset(d, 0, sizeof *d);
}

/* ---- states ---- */
static uint32_t add(qm_nfa *f, qm_nfa_state s) {
    if (f->failed) return 0;
    if (f->n == QM_NFA_STATES) {
        f->failed = QM_ERR_LIMIT;
        return 0;
    }
    if (f->n == f->cap) {
        uint32_t cap = f->cap ? 2 * f->cap : 256;
        qm_nfa_state *v = realloc(f->v, cap * sizeof *v);
        if (!v) {
            f->failed = QM_ERR_NOMEM;
            return 0;
        }
        f->v = v;
        f->cap = cap;
    }
    f->v[f->n] = s;
    return f->n++;
}

int qm_nfa_open(qm_nfa *f) {
    memset(f, 0, sizeof *f);
    add(f, (qm_nfa_state){.kind = NFA_END_KIND});
    return f->failed;
}

void qm_nfa_close(qm_nfa *f) {
    free(f->v);
    memset(f, 0, sizeof *f);
}

uint32_t qm_nfa_byte(qm_nfa *f, uint8_t lo, uint8_t hi, uint32_t next) {
    return add(f, (qm_nfa_state){.kind = NFA_BYTE, .lo = lo, .hi = hi, .a = next});
}

uint32_t qm_nfa_split(qm_nfa *f, uint32_t a, uint32_t b) {
    return add(f, (qm_nfa_state){.kind = NFA_SPLIT, .a = a, .b = b});
}

void qm_nfa_set(qm_nfa *f, uint32_t split, uint32_t a, uint32_t b) {
    if (f->failed) return;
    f->v[split].a = a;
    f->v[split].b = b;
}

/* ---- tables that grow ---- */
/* A table whose states are known by keys: lists of words. State 0 is dead and has no key. */
typedef struct {
    qm_dfa d;
    uint32_t cap;
    uint32_t *key; /* keys, end to end */
    size_t n_key, cap_key;
    size_t *key_at; /* [n + 1] into key */
    uint32_t *slot; /* [n_slots] state + 1 by key, 0 = empty */
    uint32_t n_slots;
    uint64_t work;
    const char *what;
} maker;

static int too_large(const maker *m, qm_err *e) {
    return qm_fail(e, QM_ERR_LIMIT, "%s is too large: its automaton has more than %d states, or takes too long to make",
                   m->what, QM_DFA_STATES);
}
static int no_memory(const maker *m, qm_err *e) { return qm_fail(e, QM_ERR_NOMEM, "%s: out of memory", m->what); }

static void maker_free(maker *m) {
    free(m->key);
    free(m->key_at);
    free(m->slot);
    qm_dfa_free(&m->d);
}

static int maker_room(maker *m, size_t n_words, qm_err *e) {
    if (m->d.n >= m->cap) {
        uint32_t cap = m->cap ? 2 * m->cap : 64;
        uint16_t *next = realloc(m->d.next, (size_t)cap * 256 * sizeof *next);
        if (next) m->d.next = next;
        uint8_t *accept = realloc(m->d.accept, cap);
        if (accept) m->d.accept = accept;
        size_t *at = realloc(m->key_at, (cap + 1) * sizeof *at);
        if (at) m->key_at = at;
        uint32_t *slot = calloc(4 * (size_t)cap, sizeof *slot);
        if (!next || !accept || !at || !slot) {
            free(slot);
            return no_memory(m, e);
        }
        m->cap = cap;
        free(m->slot);
        m->slot = slot;
        m->n_slots = 4 * cap;
        for (uint32_t s = 1; s < m->d.n; s++) {
            size_t n = m->key_at[s + 1] - m->key_at[s];
            uint32_t i = (uint32_t)qm_fnv1a(m->key + m->key_at[s], 4 * n) & (m->n_slots - 1);
            while (m->slot[i]) i = (i + 1) & (m->n_slots - 1);
            m->slot[i] = s + 1;
        }
    }
    if (m->n_key + n_words > m->cap_key) {
        size_t cap = 2 * (m->n_key + n_words) + 1024;
        uint32_t *key = realloc(m->key, cap * sizeof *key);
        if (!key) return no_memory(m, e);
        m->key = key;
        m->cap_key = cap;
    }
    return 0;
}

static int maker_begin(maker *m, qm_err *e) {
    int rc = maker_room(m, 0, e);
    if (rc) return rc;
    memset(m->d.next, 0, 256 * sizeof *m->d.next);
    m->d.accept[0] = 0;
    m->d.n = 1;
    m->key_at[0] = m->key_at[1] = 0;
    return 0;
}

/* The state of key[0..n), n > 0: an old one, or a new one with no transitions yet. Negative: an error. */
static int maker_state(maker *m, const uint32_t *key, size_t n, qm_err *e) {
    uint32_t i = 0;
    for (int again = 0; again < 2; again++) {
        i = (uint32_t)qm_fnv1a(key, 4 * n) & (m->n_slots - 1);
        for (; m->slot[i]; i = (i + 1) & (m->n_slots - 1)) {
            uint32_t s = m->slot[i] - 1;
            if (m->key_at[s + 1] - m->key_at[s] == n && !memcmp(m->key + m->key_at[s], key, 4 * n)) return (int)s;
        }
        if (m->d.n >= QM_DFA_STATES) return too_large(m, e);
        uint32_t before = m->n_slots;
        int rc = maker_room(m, n, e);
        if (rc) return rc;
        if (m->n_slots == before) break;
    }
    uint32_t s = m->d.n++;
    memcpy(m->key + m->n_key, key, 4 * n);
    m->n_key += n;
    m->key_at[s + 1] = m->n_key;
    m->slot[i] = s + 1;
    memset(m->d.next + 256 * (size_t)s, 0, 256 * sizeof *m->d.next);
    m->d.accept[s] = 0;
    return (int)s;
}

static uint8_t *find_ends(const qm_dfa *d) {
    uint8_t *ends = malloc(d->n);
    for (uint32_t s = 0; ends && s < d->n; s++) {
        ends[s] = 1;
        for (int b = 0; b < 256 && ends[s]; b++) ends[s] = !d->next[256 * (size_t)s + b];
    }
    return ends;
}

/* States from which no end can be reached become the dead one; the rest is the result. */
static int maker_end(maker *m, qm_dfa *out, qm_err *e) {
    qm_dfa *d = &m->d;
    uint32_t *name = calloc(d->n, sizeof *name), *list = malloc(d->n * sizeof *list);
    uint32_t *head = calloc(d->n + 1, sizeof *head), *from = NULL;
    int rc = QM_ERR_NOMEM;
    size_t n_edges = 0;
    if (!name || !list || !head) goto out;
    /* edges backwards; a run of bytes with one target is one edge */
    for (int fill = 0; fill < 2; fill++) {
        for (uint32_t s = 1; s < d->n; s++)
            for (int b = 0; b < 256; b++) {
                uint32_t t = d->next[256 * (size_t)s + b];
                if (!t || (b && d->next[256 * (size_t)s + b - 1] == t)) continue;
                if (fill) from[--head[t]] = s;
                else head[t]++, n_edges++;
            }
        if (fill) break;
        for (uint32_t s = 1; s <= d->n; s++) head[s] += head[s - 1];
        if (!(from = malloc((n_edges + 1) * sizeof *from))) goto out;
    }
    uint32_t n = 0;
    for (uint32_t s = 1; s < d->n; s++)
        if (d->accept[s]) name[list[n++] = s] = 1;
    for (uint32_t i = 0; i < n; i++)
        for (uint32_t k = head[list[i]]; k < head[list[i] + 1]; k++)
            if (!name[from[k]]) name[list[n++] = from[k]] = 1;
    uint32_t kept = 1;
    for (uint32_t s = 1; s < d->n; s++)
        if (name[s]) name[s] = kept++;
    if (d->n > 1 && !name[1]) kept = 1;
    for (uint32_t s = 1; s < d->n && kept > 1; s++) {
        if (!name[s]) continue;
        uint16_t *to = d->next + 256 * (size_t)name[s];
        const uint16_t *src = d->next + 256 * (size_t)s;
        for (int b = 0; b < 256; b++) to[b] = (uint16_t)name[src[b]];
        d->accept[name[s]] = d->accept[s];
    }
    d->n = kept;
    if (!(d->ends = find_ends(d))) goto out;
    uint16_t *next = realloc(d->next, (size_t)kept * 256 * sizeof *next);
    if (next) d->next = next;
    *out = *d;
    out->work = m->work;
    memset(d, 0, sizeof *d);
    rc = 0;
out:
    free(name);
    free(list);
    free(head);
    free(from);
    return rc ? no_memory(m, e) : 0;
}

/* ---- subset construction ---- */
typedef struct {
    const qm_nfa *f;
    uint32_t *stamp, now; /* [f->n] */
    uint32_t *stack, *set;
    size_t n_set;
    int ends; /* the set has QM_NFA_END */
} closure;

/* Adds what state s leads to without a byte: only states that take one, and the end. */
static void close_over(closure *c, uint32_t s, uint64_t *work) {
    size_t n = 0;
    if (c->stamp[s] == c->now) return;
    c->stamp[s] = c->now;
    c->stack[n++] = s;
    while (n) {
        const qm_nfa_state *x = &c->f->v[c->stack[--n]];
        ++*work;
        if (x->kind == NFA_SPLIT) {
            uint32_t to[2] = {x->a, x->b};
            for (int i = 0; i < 2; i++)
                if (c->stamp[to[i]] != c->now) {
                    c->stamp[to[i]] = c->now;
                    c->stack[n++] = to[i];
                }
        } else {
            c->ends |= x->kind == NFA_END_KIND;
            c->set[c->n_set++] = (uint32_t)(x - c->f->v);
        }
    }
}

static int by_number(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

static int set_state(maker *m, closure *c, qm_err *e) {
    if (!c->n_set) return 0;
    qsort(c->set, c->n_set, sizeof *c->set, by_number);
    uint32_t before = m->d.n;
    int s = maker_state(m, c->set, c->n_set, e);
    if (s > 0 && (uint32_t)s == before) m->d.accept[s] = (uint8_t)c->ends;
    return s;
}

static void set_begin(closure *c) {
    c->now++;
    c->n_set = 0;
    c->ends = 0;
}

int qm_dfa_make(qm_dfa *out, const qm_nfa *f, uint32_t start, const char *what, qm_err *e) {
    memset(out, 0, sizeof *out);
    maker m = {.what = what};
    closure c = {.f = f};
    if (f->failed == QM_ERR_LIMIT) return too_large(&m, e);
    if (f->failed) return no_memory(&m, e);
    c.stamp = calloc(f->n, sizeof *c.stamp);
    c.stack = malloc(f->n * sizeof *c.stack);
    c.set = malloc(f->n * sizeof *c.set);
    int rc = c.stamp && c.stack && c.set ? maker_begin(&m, e) : no_memory(&m, e);
    if (rc) goto out;
    set_begin(&c);
    close_over(&c, start, &m.work);
    if ((rc = set_state(&m, &c, e)) < 0) goto out;
    for (uint32_t s = 1; s < m.d.n; s++) {
        /* bytes between two cuts are alike to all states of the set */
        uint8_t cut[257] = {0};
        size_t at = m.key_at[s], end = m.key_at[s + 1];
        for (size_t k = at; k < end; k++) {
            const qm_nfa_state *x = &f->v[m.key[k]];
            if (x->kind == NFA_BYTE) cut[x->lo] = cut[x->hi + 1] = 1;
        }
        for (int lo = 0, hi; lo < 256; lo = hi) {
            for (hi = lo + 1; hi < 256 && !cut[hi]; hi++) {}
            set_begin(&c);
            for (size_t k = at; k < end; k++) {
                const qm_nfa_state *x = &f->v[m.key[k]];
                if (x->kind == NFA_BYTE && x->lo <= lo && lo <= x->hi) close_over(&c, x->a, &m.work);
            }
            m.work += end - at;
            int t = set_state(&m, &c, e);
            if ((rc = t < 0 ? t : 0)) goto out;
            for (int b = lo; b < hi; b++) m.d.next[256 * (size_t)s + b] = (uint16_t)t;
        }
        if (m.work > MOST_WORK) {
            rc = too_large(&m, e);
            goto out;
        }
    }
    rc = maker_end(&m, out, e);
out:
    free(c.stamp);
    free(c.stack);
    free(c.set);
    maker_free(&m);
    return rc;
}

int qm_dfa_both(qm_dfa *out, const qm_dfa *a, const qm_dfa *b, int but_not, const char *what, qm_err *e) {
    memset(out, 0, sizeof *out);
    maker m = {.what = what};
    int rc = maker_begin(&m, e);
    if (!rc && a->n > 1 && (b->n > 1 || but_not)) {
        uint32_t start[2] = {QM_DFA_START, b->n > 1 ? QM_DFA_START : QM_DFA_DEAD};
        rc = maker_state(&m, start, 2, e);
    }
    for (uint32_t s = 1; rc >= 0 && s < m.d.n; s++) {
        uint32_t x = m.key[m.key_at[s]], y = m.key[m.key_at[s] + 1];
        m.work += 256;
        m.d.accept[s] = a->accept[x] && (but_not ? !b->accept[y] : b->accept[y]);
        for (int c = 0; c < 256 && rc >= 0; c++) {
            uint32_t to[2] = {a->next[256 * (size_t)x + c], b->next[256 * (size_t)y + c]};
            if (!to[0] || (!to[1] && !but_not)) continue;
            if ((rc = maker_state(&m, to, 2, e)) >= 0) m.d.next[256 * (size_t)s + c] = (uint16_t)rc;
        }
    }
    if (rc >= 0) rc = maker_end(&m, out, e);
    maker_free(&m);
    return rc;
}

int qm_dfa_word(qm_dfa *out, const char *word, int until, qm_err *e) {
    memset(out, 0, sizeof *out);
    size_t n = strlen(word);
    uint32_t states = (uint32_t)n + (until ? 2 : 1);
    out->next = calloc((size_t)states * 256, sizeof *out->next);
    out->accept = calloc(states, 1);
    if (!out->next || !out->accept) {
        qm_dfa_free(out);
        return qm_fail(e, QM_ERR_NOMEM, "%s: out of memory", word);
    }
    out->n = states;
    /* state 1 + k: the last k bytes are the word's first; another byte leads back, to 1 or, by its first byte, to 2 */
    for (size_t k = 0; k < n; k++) {
        uint16_t *row = out->next + 256 * (k + 1);
        for (int b = 0; b < 256; b++) row[b] = QM_DFA_START;
        if (n > 1 || until) row[(uint8_t)word[0]] = QM_DFA_START + 1;
        row[(uint8_t)word[k]] = (uint16_t)(k + 1 < n || until ? k + 2 : QM_DFA_DEAD);
        out->accept[k + 1] = !until;
    }
    if (until) out->accept[n + 1] = 1;
    if ((out->ends = find_ends(out))) return 0;
    qm_dfa_free(out);
    return qm_fail(e, QM_ERR_NOMEM, "%s: out of memory", word);
}
