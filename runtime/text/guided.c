/* One answer under a guide: which tokens may come now, and the one that came. */
#include <stdlib.h>
#include <string.h>
#include "automaton.h"
#include "guide.h"

/* Masks that are kept: states of JSON come back. 19 KB each for Qwen's vocabulary. */
enum { N_MASKS = 24 };
/* What a mask may cost, as qm_automaton_work counts: tens of milliseconds. A schema made to be slow then gets its longer
 * tokens left out; each byte alone is always looked at, so that an answer goes on. */
enum { MOST_WORK = 250000 };
typedef struct {
    uint32_t state; /* QM_AUTO_DEAD: none */
    uint64_t used;  /* the clock when it last was */
    int any;        /* all tokens: the words are not looked at */
    uint32_t *words;
} mask;

struct qm_guided {
    const qm_guide *g;
    qm_automaton *a;
    uint32_t state;
    int ended; /* the end has come */
    mask masks[N_MASKS];
    uint64_t clock;
    uint32_t *at; /* [deepest + 1] states on the way into a trie */
};

int qm_guided_open(qm_guided **out, const qm_guide *g, qm_err *e) {
    *out = NULL;
    qm_guided *s = calloc(1, sizeof *s);
    if (s) {
        s->g = g;
        s->a = qm_automaton_open(&g->grammar);
        s->at = malloc((g->x->trie.deepest + 1) * sizeof *s->at);
        if (s->a) s->state = qm_automaton_start(s->a);
    }
    if (!s || !s->a || !s->at || !s->state) {
        qm_guided_close(s);
        return qm_fail(e, QM_ERR_NOMEM, "guide: out of memory");
    }
    *out = s;
    return 0;
}

void qm_guided_close(qm_guided *s) {
    if (!s) return;
    for (int i = 0; i < N_MASKS; i++) free(s->masks[i].words);
    qm_automaton_close(s->a);
    free(s->at);
    free(s);
}

/* ---- masks ---- */
/* The tokens of t that state takes. */
static void walk(qm_guided *s, const qm_trie *t, uint32_t state, uint32_t *words) {
    const uint32_t *same = s->g->x->same;
    uint64_t begun = qm_automaton_work(s->a);
    s->at[0] = state;
    for (uint32_t i = 0; i < t->n; i = t->end[i])
        if (qm_automaton_step(s->a, state, t->byte[i]))
            for (uint32_t id = t->token[i]; id != QM_TRIE_NONE; id = same[id]) qm_bit_set(words, id);
    for (uint32_t i = 0; i < t->n && qm_automaton_work(s->a) - begun < MOST_WORK;) {
        uint32_t to = qm_automaton_step(s->a, s->at[t->depth[i] - 1], t->byte[i]);
        if (!to) {
            i = t->end[i];
            continue;
        }
        s->at[t->depth[i]] = to;
        for (uint32_t id = t->token[i]; id != QM_TRIE_NONE; id = same[id]) qm_bit_set(words, id);
        i++;
    }
}

/* Tokens that stay inside, of up to so many characters. */
static void add_inside(const qm_lexicon *x, const qm_bulk *b, uint32_t chars, uint32_t *words) {
    if (chars >= b->most_chars) {
        for (uint32_t i = 0; i < x->n_words; i++) words[i] |= b->inside[i];
        return;
    }
    for (uint32_t i = 0, n = b->chars_from[chars + 1]; i < n; i++) qm_bit_set(words, b->by_chars[i]);
}

/* The shared automaton that a thread is at the start of, or NULL. */
static const qm_bulk *bulk_of(const qm_guide *g, const qm_gthread *t) {
    const qm_gnode *n = &g->grammar.node[t->node];
    return n->kind == QM_G_DFA && n->other < QM_G_SHARED && t->sub == QM_DFA_START ? &g->x->bulk[n->other] : NULL;
}

/* Special tokens belong to free text, and to where their own first byte is the format's next. */
static int takes_special(const qm_guide *g, const qm_gthread *t) {
    const qm_gnode *n = &g->grammar.node[t->node];
    return n->kind == QM_G_BYTE ? n->byte == '<' : n->other >= QM_G_UNTIL_THOUGHT && n->other < QM_G_SHARED;
}

static int special_may_come(const qm_guided *s, uint32_t state) {
    uint32_t n;
    const qm_gthread *t = qm_automaton_threads(s->a, state, &n);
    for (uint32_t i = 0; i < n; i++)
        if (takes_special(s->g, &t[i])) return 1;
    return 0;
}

/* A thread in a shared automaton takes what stays inside of it; what leaves it is walked from the whole state. The other
 * threads walk alone. What a state takes is what its threads take. */
static void fill(qm_guided *s, mask *m) {
    const qm_guide *g = s->g;
    const qm_lexicon *x = g->x;
    uint32_t n, kept = 0;
    memset(m->words, 0, x->n_words * sizeof *m->words);
    const qm_gthread *t = qm_automaton_threads(s->a, m->state, &n);
    qm_gthread *others = malloc((n + 1) * sizeof *others);
    uint32_t leaving = 0; /* bits: of which the leaving tokens are walked */
    for (uint32_t i = 0; others && i < n; i++) {
        const qm_bulk *b = bulk_of(g, &t[i]);
        const qm_gnode *node = &g->grammar.node[t[i].node];
        if (!b) {
            others[kept++] = t[i];
            continue;
        }
        int endless = !node->counted || node->max == QM_G_ENDLESS;
        add_inside(x, b, endless ? UINT32_MAX : node->max - t[i].count, m->words);
        leaving |= 1u << node->other;
    }
    for (int i = 0; i < QM_G_SHARED; i++)
        if (leaving >> i & 1) walk(s, &x->bulk[i].leaving, m->state, m->words);
    if (others && kept) walk(s, &x->trie, kept == n ? m->state : qm_automaton_some(s->a, others, kept), m->words);
    free(others);
    if (!special_may_come(s, m->state))
        for (uint32_t i = 0; i < x->n_special; i++) qm_bit_clear(m->words, x->special[i]);
    if (qm_automaton_accepts(s->a, m->state))
        for (uint32_t i = 0; i < x->n_words; i++) m->words[i] |= x->ends[i];
    m->any = !memcmp(m->words, x->all, x->n_words * sizeof *m->words);
}

static void tidy(qm_guided *s) {
    int gone;
    s->state = qm_automaton_tidy(s->a, s->state, &gone);
    for (int i = 0; i < N_MASKS && gone; i++) s->masks[i].state = QM_AUTO_DEAD;
}

static const mask *mask_now(qm_guided *s) {
    mask *m = NULL, *oldest = &s->masks[0];
    for (int i = 0; i < N_MASKS && !m; i++) {
        if (s->masks[i].state == s->state) m = &s->masks[i];
        if (s->masks[i].used < oldest->used) oldest = &s->masks[i];
    }
    if (!m) {
        tidy(s);
        m = oldest;
        m->state = QM_AUTO_DEAD;
        if (!m->words && !(m->words = malloc(s->g->x->n_words * sizeof *m->words))) return NULL;
        m->state = s->state;
        if (m->state) fill(s, m);
        if (qm_automaton_failed(s->a)) return NULL;
    }
    m->used = ++s->clock;
    return m;
}

const uint32_t *qm_guided_mask(qm_guided *s) {
    if (s->ended) return s->g->x->ends;
    const mask *m = mask_now(s);
    if (!m) return s->g->x->ends; /* no memory: there is no going on */
    return m->any ? NULL : m->words;
}

/* ---- tokens ---- */
int qm_guided_accept_bytes(qm_guided *s, const char *p, size_t n) {
    uint32_t to = s->state;
    for (size_t i = 0; i < n && to; i++) to = qm_automaton_step(s->a, to, (uint8_t)p[i]);
    if (!to || s->ended) return -1;
    s->state = to;
    return 0;
}

int qm_guided_accept(qm_guided *s, uint32_t id) {
    const qm_lexicon *x = s->g->x;
    const mask *m;
    if (s->ended || id >= x->n) return -1;
    tidy(s);
    switch ((qm_lex_kind)x->kind[id]) {
    case QM_LEX_END:
        if (!qm_automaton_accepts(s->a, s->state)) return -1;
        s->ended = 1;
        return 0;
    case QM_LEX_NONE: /* says nothing; where anything may come, so may this */
        m = mask_now(s);
        return m && m->any ? 0 : -1;
    case QM_LEX_SPECIAL:
        if (!special_may_come(s, s->state)) return -1;
        break;
    case QM_LEX_TEXT: break;
    }
    size_t n;
    const char *p = qm_token_piece(x->tok, id, &n);
    return n ? qm_guided_accept_bytes(s, p, n) : -1;
}

int qm_guided_complete(const qm_guided *s) { return s->ended || qm_automaton_accepts(s->a, s->state); }

int qm_guided_done(const qm_guided *s) {
    uint32_t n;
    qm_automaton_threads(s->a, s->state, &n);
    return s->ended || !n;
}
