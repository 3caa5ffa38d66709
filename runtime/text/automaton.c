/* Sets of threads, stepped by bytes; sets and stacks are kept once each, and known by numbers. */
#include "automaton.h"
#include <stdlib.h>
#include <string.h>
#include "../base/hash.h"

enum { MOST_ROWS = 2048, MOST_WORDS = 1 << 20 }; /* then it is time to forget: 2 MiB of steps, 4 of the rest */
enum { UNKNOWN = UINT32_MAX };

/* Lists of words, each kept once: list i is word[at[i] .. at[i + 1]). List 0 is empty. */
typedef struct {
    uint32_t *word, *at, *slot; /* slot [n_slots]: i, by words; 0: none */
    uint32_t n, cap, n_words, cap_words, n_slots;
} lists;

typedef struct {
    uint32_t node, count, stack;
} way; /* back from a rule */
typedef struct {
    uint32_t rank, rule; /* a rank is one rule's */
    way to;
} call;

struct qm_automaton {
    const qm_grammar *g;
    lists states;    /* of qm_gthread, and for a complete one the word 1 at the end */
    lists stacks;    /* of way; 0: the bottom */
    uint8_t *depth;  /* [stacks.cap] rules open */
    uint32_t *row;   /* [states.cap] its steps are steps + 256 * row; 0: none are known */
    uint32_t *steps; /* [n_rows][256] a state, or UNKNOWN */
    uint32_t n_rows, cap_rows;
    int failed;
    uint64_t work;
    /* while a set is made */
    qm_gthread *todo, *out;
    uint32_t n_todo, cap_todo, n_out, cap_out;
    call *calls;
    uint32_t n_calls, cap_calls;
    qm_gthread *seen; /* [n_seen] an open table of those of this set: where stamp is now */
    uint32_t *stamp, n_seen, n_in_seen, now;
    uint32_t *words;
    uint32_t cap_words_now;
    int complete;
};

/* Room for one more of `size` bytes in v[cap]. */
static int room(qm_automaton *a, void *v, uint32_t *cap, uint32_t n, size_t size) {
    if (n < *cap) return 1;
    uint32_t c = *cap ? 2 * *cap : 64;
    while (c <= n) c *= 2;
    void *p = realloc(*(void **)v, c * size);
    if (!p) return a->failed = 1, 0;
    *(void **)v = p;
    *cap = c;
    return 1;
}

/* ---- lists ---- */
static uint32_t hash(const uint32_t *w, uint32_t n) {
    uint64_t h = n;
    for (uint32_t i = 0; i < n; i++) h = (h ^ w[i]) * 0x9e3779b97f4a7c15u, h ^= h >> 29;
    return (uint32_t)(h >> 20);
}

static void lists_place(lists *l, uint32_t i) {
    uint32_t k = hash(l->word + l->at[i], l->at[i + 1] - l->at[i]) & (l->n_slots - 1);
    while (l->slot[k]) k = (k + 1) & (l->n_slots - 1);
    l->slot[k] = i;
}

/* Anew, of all lists there are. */
static int lists_index(qm_automaton *a, lists *l) {
    uint32_t n = 256;
    while (n < 4 * l->n) n *= 2;
    uint32_t *slot = calloc(n, sizeof *slot);
    if (!slot) return a->failed = 1, 0;
    free(l->slot);
    l->slot = slot;
    l->n_slots = n;
    for (uint32_t i = 1; i < l->n; i++) lists_place(l, i);
    return 1;
}

static int lists_open(qm_automaton *a, lists *l) {
    if (!room(a, &l->at, &l->cap, 1, sizeof *l->at) || !room(a, &l->word, &l->cap_words, 0, sizeof *l->word)) return 0;
    l->at[0] = l->at[1] = 0;
    l->n = 1;
    return lists_index(a, l);
}

static void lists_close(lists *l) {
    free(l->word);
    free(l->at);
    free(l->slot);
}

/* The list of w[0..n), n > 0; 0: no memory. */
static uint32_t lists_find(qm_automaton *a, lists *l, const uint32_t *w, uint32_t n) {
    uint32_t k = hash(w, n) & (l->n_slots - 1);
    for (; l->slot[k]; k = (k + 1) & (l->n_slots - 1)) {
        uint32_t i = l->slot[k];
        if (l->at[i + 1] - l->at[i] == n && !memcmp(l->word + l->at[i], w, 4 * (size_t)n)) return i;
    }
    if (!room(a, &l->word, &l->cap_words, l->n_words + n, sizeof *l->word)) return 0;
    if (!room(a, &l->at, &l->cap, l->n + 1, sizeof *l->at)) return 0;
    memcpy(l->word + l->n_words, w, 4 * (size_t)n);
    l->n_words += n;
    l->at[l->n + 1] = l->n_words;
    l->slot[k] = l->n++;
    if (2 * l->n > l->n_slots && !lists_index(a, l)) return 0;
    return l->n - 1;
}

/* ---- a set of threads ---- */
static void set_begin(qm_automaton *a) {
    a->now++;
    a->n_todo = a->n_out = a->n_calls = a->n_in_seen = 0;
    a->complete = 0;
}

static void add(qm_automaton *a, uint32_t node, uint32_t sub, uint32_t count, uint32_t stack) {
    if (a->depth[stack] + a->g->node[node].need > QM_G_DEPTH) return; /* it could not be completed */
    if (!room(a, &a->todo, &a->cap_todo, a->n_todo, sizeof *a->todo)) return;
    a->todo[a->n_todo++] = (qm_gthread){node, sub, count, stack};
}

/* 1 the first time. */
static int is_new(qm_automaton *a, const qm_gthread *t) {
    if (2 * (a->n_in_seen + 1) > a->n_seen) {
        uint32_t n = a->n_seen ? 4 * a->n_seen : 256;
        qm_gthread *seen = malloc(n * sizeof *seen), *old = a->seen;
        uint32_t *stamp = calloc(n, sizeof *stamp), *was = a->stamp, n_old = a->n_seen;
        if (!seen || !stamp) {
            free(seen);
            free(stamp);
            return a->failed = 1, 0;
        }
        a->seen = seen;
        a->stamp = stamp;
        a->n_seen = n;
        a->n_in_seen = 0;
        for (uint32_t i = 0; i < n_old; i++)
            if (was[i] == a->now) is_new(a, &old[i]);
        free(old);
        free(was);
    }
    uint32_t k = hash((const uint32_t *)t, sizeof *t / 4) & (a->n_seen - 1);
    for (; a->stamp[k] == a->now; k = (k + 1) & (a->n_seen - 1))
        if (!memcmp(&a->seen[k], t, sizeof *t)) return 0;
    a->stamp[k] = a->now;
    a->seen[k] = *t;
    a->n_in_seen++;
    return 1;
}

static int by_words(const void *x, const void *y, size_t n) {
    const uint32_t *p = x, *q = y;
    for (size_t i = 0; i < n; i++)
        if (p[i] != q[i]) return p[i] < q[i] ? -1 : 1;
    return 0;
}
static int by_thread(const void *x, const void *y) { return by_words(x, y, sizeof(qm_gthread) / 4); }
static int by_call(const void *x, const void *y) { return by_words(x, y, sizeof(call) / 4); }

/* Calls wait in a heap: the one of lowest rank comes first, and those of one rule one after the other. */
static void call_put(qm_automaton *a, call c) {
    if (!room(a, &a->calls, &a->cap_calls, a->n_calls, sizeof *a->calls)) return;
    uint32_t i = a->n_calls++;
    for (; i && by_call(&c, &a->calls[(i - 1) / 2]) < 0; i = (i - 1) / 2) a->calls[i] = a->calls[(i - 1) / 2];
    a->calls[i] = c;
}

static call call_take(qm_automaton *a) {
    call first = a->calls[0], last = a->calls[--a->n_calls];
    uint32_t i = 0;
    for (uint32_t k = 1; k < a->n_calls; i = k, k = 2 * i + 1) {
        if (k + 1 < a->n_calls && by_call(&a->calls[k + 1], &a->calls[k]) < 0) k++;
        if (by_call(&last, &a->calls[k]) <= 0) break;
        a->calls[i] = a->calls[k];
    }
    a->calls[i] = last;
    return first;
}

static uint32_t most_count(const qm_gnode *n) { return n->max == QM_G_ENDLESS ? n->min : n->max; }

static void follow(qm_automaton *a, qm_gthread t) {
    const qm_gnode *n = &a->g->node[t.node];
    const qm_dfa *d;
    a->work++;
    switch (n->kind) {
    case QM_G_RET:
        if (!t.stack) a->complete = 1;
        for (uint32_t i = a->stacks.at[t.stack]; t.stack && i < a->stacks.at[t.stack + 1]; i += 3) {
            const uint32_t *w = a->stacks.word + i;
            add(a, w[0], QM_DFA_START, w[1], w[2]);
        }
        break;
    case QM_G_DFA:
        d = qm_grammar_dfa(a->g, n->other);
        if (d->accept[t.sub] && (!n->counted || t.count >= n->min))
            add(a, n->next, QM_DFA_START, n->counted ? 0 : t.count, t.stack);
        if (d->ends[t.sub] || (n->counted && d->accept[t.sub] && t.count >= n->max)) break;
        /* fall through */
    case QM_G_BYTE:
        if (room(a, &a->out, &a->cap_out, a->n_out, sizeof *a->out)) a->out[a->n_out++] = t;
        break;
    case QM_G_SPLIT:
        add(a, n->next, QM_DFA_START, t.count, t.stack);
        add(a, n->other, QM_DFA_START, t.count, t.stack);
        break;
    case QM_G_CALL: call_put(a, (call){a->g->rule[n->other].rank, n->other, {n->next, t.count, t.stack}}); break;
    case QM_G_ADD: add(a, n->next, QM_DFA_START, t.count + (t.count < n->max), t.stack); break;
    case QM_G_ZERO: add(a, n->next, QM_DFA_START, 0, t.stack); break;
    case QM_G_LESS:
        if (t.count < n->max) add(a, n->next, QM_DFA_START, t.count, t.stack);
        break;
    case QM_G_LEAST:
        if (t.count >= n->min) add(a, n->next, QM_DFA_START, t.count, t.stack);
        break;
    default: break;
    }
}

/* Enters the rule of lowest rank that is called: all its callers are known by then. */
static void enter(qm_automaton *a) {
    uint32_t rank = a->calls[0].rank, rule = a->calls[0].rule, n = 0, depth = 0;
    while (a->n_calls && a->calls[0].rank == rank) {
        call c = call_take(a);
        a->work++;
        if (!room(a, &a->words, &a->cap_words_now, 3 * n + 3, sizeof *a->words)) return;
        const uint32_t *w = a->words + 3 * n;
        if (n && w[-3] == c.to.node && w[-2] == c.to.count && w[-1] == c.to.stack) continue;
        memcpy(a->words + 3 * n++, &c.to, sizeof c.to);
        if (a->depth[c.to.stack] + 1u > depth) depth = a->depth[c.to.stack] + 1u;
    }
    uint32_t cap = a->stacks.cap, s = lists_find(a, &a->stacks, a->words, 3 * n);
    if (cap != a->stacks.cap) {
        uint8_t *d = realloc(a->depth, a->stacks.cap);
        if (d) a->depth = d;
        else a->failed = 1;
    }
    if (!s || a->failed) return;
    a->depth[s] = (uint8_t)depth;
    add(a, a->g->rule[rule].entry, QM_DFA_START, 0, s);
}

/* The number of what has been added, with all that it leads to. */
static uint32_t set_end(qm_automaton *a) {
    while (!a->failed && (a->n_todo || a->n_calls)) {
        if (!a->n_todo) enter(a);
        else {
            qm_gthread t = a->todo[--a->n_todo];
            if (is_new(a, &t)) follow(a, t);
        }
    }
    uint32_t n = 4 * a->n_out;
    if (a->failed || (!n && !a->complete)) return QM_AUTO_DEAD;
    if (n) qsort(a->out, a->n_out, sizeof *a->out, by_thread);
    if (!room(a, &a->words, &a->cap_words_now, n + 1, sizeof *a->words)) return QM_AUTO_DEAD;
    if (n) memcpy(a->words, a->out, 4 * (size_t)n);
    if (a->complete) a->words[n++] = 1;
    uint32_t cap = a->states.cap, n_states = a->states.n, s = lists_find(a, &a->states, a->words, n);
    if (cap != a->states.cap || !a->row) {
        uint32_t *row = realloc(a->row, a->states.cap * sizeof *row);
        if (row) a->row = row;
        else a->failed = 1;
    }
    if (a->failed) return QM_AUTO_DEAD;
    if (a->states.n > n_states) a->row[s] = 0;
    return s;
}

/* ---- outside ---- */
qm_automaton *qm_automaton_open(const qm_grammar *g) {
    qm_automaton *a = calloc(1, sizeof *a);
    if (!a) return NULL;
    a->g = g;
    if (lists_open(a, &a->states) && lists_open(a, &a->stacks) && (a->depth = calloc(a->stacks.cap, 1))) {
        a->n_rows = 1; /* row 0 is nobody's */
        return a;
    }
    qm_automaton_close(a);
    return NULL;
}

void qm_automaton_close(qm_automaton *a) {
    if (!a) return;
    lists_close(&a->states);
    lists_close(&a->stacks);
    free(a->depth);
    free(a->row);
    free(a->steps);
    free(a->todo);
    free(a->out);
    free(a->calls);
    free(a->seen);
    free(a->stamp);
    free(a->words);
    free(a);
}

uint32_t qm_automaton_start(qm_automaton *a) {
    set_begin(a);
    add(a, a->g->rule[0].entry, QM_DFA_START, 0, 0);
    return set_end(a);
}

uint64_t qm_automaton_work(const qm_automaton *a) { return a->work; }
int qm_automaton_failed(const qm_automaton *a) { return a->failed; }

int qm_automaton_accepts(const qm_automaton *a, uint32_t s) { return (a->states.at[s + 1] - a->states.at[s]) % 4 == 1; }

const qm_gthread *qm_automaton_threads(const qm_automaton *a, uint32_t s, uint32_t *n) {
    *n = (a->states.at[s + 1] - a->states.at[s]) / 4;
    return (const qm_gthread *)(a->states.word + a->states.at[s]);
}

uint32_t qm_automaton_some(qm_automaton *a, const qm_gthread *t, uint32_t n) {
    set_begin(a);
    for (uint32_t i = 0; i < n; i++)
        if (room(a, &a->out, &a->cap_out, a->n_out, sizeof *a->out)) a->out[a->n_out++] = t[i];
    return set_end(a);
}

static uint32_t take(qm_automaton *a, uint32_t s, uint8_t byte) {
    uint32_t n;
    const qm_gthread *t = qm_automaton_threads(a, s, &n);
    set_begin(a);
    for (uint32_t i = 0; i < n; i++) {
        const qm_gnode *x = &a->g->node[t[i].node];
        if (x->kind == QM_G_BYTE) {
            if (x->byte == byte) add(a, x->next, QM_DFA_START, t[i].count, t[i].stack);
            continue;
        }
        const qm_dfa *d = qm_grammar_dfa(a->g, x->other);
        uint32_t to = d->next[256 * (size_t)t[i].sub + byte], count = t[i].count;
        if (!to) continue;
        if (x->counted && d->accept[to] && count < most_count(x)) count++;
        add(a, t[i].node, to, count, t[i].stack);
    }
    return set_end(a);
}

uint32_t qm_automaton_step(qm_automaton *a, uint32_t s, uint8_t byte) {
    if (!a->row[s]) {
        if (!room(a, &a->steps, &a->cap_rows, a->n_rows, 256 * sizeof *a->steps)) return QM_AUTO_DEAD;
        memset(a->steps + 256 * (size_t)a->n_rows, 0xff, 256 * sizeof *a->steps);
        a->row[s] = a->n_rows++;
        a->work += 64; /* a kilobyte of memory */
    }
    uint32_t *to = &a->steps[256 * (size_t)a->row[s] + byte];
    if (*to == UNKNOWN) *to = take(a, s, byte);
    return *to;
}

uint32_t qm_automaton_tidy(qm_automaton *a, uint32_t state, int *gone) {
    *gone = a->n_rows > MOST_ROWS || a->states.n_words > MOST_WORDS || a->stacks.n_words > MOST_WORDS;
    if (!*gone) return state;
    lists *st = &a->stacks, *l = &a->states;
    uint32_t *name = calloc(st->n, sizeof *name);
    if (!name) return a->failed = 1, QM_AUTO_DEAD;
    uint32_t from = l->at[state], n = l->at[state + 1] - from;
    for (uint32_t i = 0; i + 4 <= n; i += 4) name[l->word[from + i + 3]] = 1;
    for (uint32_t s = st->n - 1; s; s--) /* a stack's ways lead to older ones */
        for (uint32_t i = st->at[s]; name[s] && i < st->at[s + 1]; i += 3) name[st->word[i + 2]] = 1;
    uint32_t kept = 1, words = 0;
    name[0] = 0;
    for (uint32_t s = 1; s < st->n; s++) {
        uint32_t begin = st->at[s], end = st->at[s + 1];
        if (!name[s]) continue;
        name[s] = kept;
        a->depth[kept] = a->depth[s];
        st->at[kept] = words;
        for (uint32_t i = begin; i < end; i++)
            st->word[words++] = (i - begin) % 3 == 2 ? name[st->word[i]] : st->word[i];
        st->at[++kept] = words;
    }
    st->n = kept;
    st->n_words = words;
    for (uint32_t i = 0; i < n; i++) l->word[i] = i % 4 == 3 ? name[l->word[from + i]] : l->word[from + i];
    free(name);
    l->at[1] = 0;
    l->at[2] = l->n_words = n;
    l->n = 2;
    a->row[1] = 0;
    a->n_rows = 1;
    if (!lists_index(a, st) || !lists_index(a, l)) return QM_AUTO_DEAD;
    return 1;
}
