/* A vocabulary sorted for guides. */
#include "lexicon.h"
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include "regex.h"
#include "tokenizer_impl.h"

/* ---- the automata that all guides share ---- */
/* The characters of a JSON string, in any spelling (RFC 8259) but U+0000 and half of a surrogate pair. */
static const char json_string[] = "([^\"\\\\\\x01-\\x1f]|\\\\[\"\\\\/bfnrt]|\\\\u("
                                  "0[1-9a-fA-F][0-9a-fA-F]{2}|00[1-9a-fA-F][0-9a-fA-F]|000[1-9a-fA-F]|"
                                  "[1-9a-ce-fA-CE-F][0-9a-fA-F]{3}|[dD][0-7][0-9a-fA-F]{2}|"
                                  "[dD][89abAB][0-9a-fA-F]{2}\\\\u[dD][c-fC-F][0-9a-fA-F]{2}))*";
static const char raw_string[] = "[\\x01-\\uffff\\S]*"; /* \S: what lies beyond U+FFFF too */
static const char raw_end[] = "</parameter>"; /* with or without a line end: readers differ in what closes a value */

static int make_shared(qm_dfa *d, qm_err *e) {
    qm_dfa any = {0}, without = {0};
    int rc = qm_regex_dfa(&d[QM_G_STRING], json_string, sizeof json_string - 1, 0, e);
    if (!rc) rc = qm_regex_dfa(&any, raw_string, sizeof raw_string - 1, 0, e);
    if (!rc) rc = qm_dfa_word(&without, raw_end, 0, e);
    if (!rc) rc = qm_dfa_both(&d[QM_G_RAW], &any, &without, 0, "a string", e);
    qm_dfa_free(&any);
    qm_dfa_free(&without);
    if (!rc) rc = qm_dfa_word(&d[QM_G_UNTIL_THOUGHT], "</think>", 1, e);
    if (!rc) rc = qm_dfa_word(&d[QM_G_UNTIL_CALL], "<tool_call>", 1, e);
    if (!rc) rc = qm_dfa_word(&d[QM_G_NO_THOUGHT], "</think>", 0, e);
    if (!rc) rc = qm_dfa_word(&d[QM_G_NO_CALL], "<tool_call>", 0, e);
    return rc;
}

/* ---- what stays inside ---- */
static const char *bytes_of(const void *t, uint32_t id, size_t *n) { return qm_token_piece(t, id, n); }

static int make_bulk(qm_lexicon *x, qm_bulk *b, const qm_dfa *d, const qm_tokenizer *t, uint32_t *ids) {
    uint32_t n = 0, n_leaving = 0;
    uint16_t *chars = malloc((x->n + 1) * sizeof *chars);
    uint32_t *inside = malloc((x->n + 1) * sizeof *inside);
    int rc = -1;
    b->inside = calloc(x->n_words, sizeof *b->inside);
    if (!chars || !inside || !b->inside) goto out;
    for (uint32_t id = 0; id < x->n; id++) {
        size_t len, i = 0;
        if (x->kind[id] != QM_LEX_TEXT && x->kind[id] != QM_LEX_SPECIAL) continue;
        const char *s = qm_token_piece(t, id, &len);
        uint32_t state = QM_DFA_START, next, c = 0;
        for (; i < len && (next = d->next[256 * state + (uint8_t)s[i]]); i++) {
            c += d->accept[next]; /* a character is complete */
            state = next;
        }
        if (i < len && d->accept[state]) ids[n_leaving++] = id;
        if (i < len || !len || len > UINT16_MAX) continue;
        c += !d->accept[state]; /* one that is begun needs room as well */
        chars[id] = (uint16_t)c;
        if (c > b->most_chars) b->most_chars = c;
        inside[n++] = id;
        qm_bit_set(b->inside, id);
    }
    b->by_chars = malloc((n + 1) * sizeof *b->by_chars);
    b->chars_from = calloc(b->most_chars + 2, sizeof *b->chars_from);
    if (!b->by_chars || !b->chars_from) goto out;
    b->n_inside = n;
    for (uint32_t i = 0; i < n; i++) b->chars_from[chars[inside[i]] + 1]++;
    for (uint32_t k = 0; k <= b->most_chars; k++) b->chars_from[k + 1] += b->chars_from[k];
    for (uint32_t i = n; i--;) b->by_chars[--b->chars_from[chars[inside[i]] + 1]] = inside[i];
    /* now chars_from[c + 1] is where those of c begin */
    memmove(b->chars_from, b->chars_from + 1, (b->most_chars + 1) * sizeof *b->chars_from);
    b->chars_from[b->most_chars + 1] = n;
    rc = qm_trie_build(&b->leaving, ids, n_leaving, NULL, bytes_of, t);
out:
    free(chars);
    free(inside);
    return rc;
}

/* ---- all of it ---- */
void qm_lexicon_free(qm_lexicon *x) {
    if (!x) return;
    for (int i = 0; i < QM_G_SHARED; i++) {
        qm_dfa_free(&x->shared[i]);
        free(x->bulk[i].inside);
        free(x->bulk[i].by_chars);
        free(x->bulk[i].chars_from);
        qm_trie_free(&x->bulk[i].leaving);
    }
    qm_trie_free(&x->trie);
    free(x->kind);
    free(x->same);
    free(x->all);
    free(x->ends);
    free(x->special);
    free(x);
}

static qm_lex_kind kind_of(const qm_tokenizer *t, uint32_t id) {
    size_t n;
    if (t->eog[id]) return QM_LEX_END;
    qm_token_answer(t, id, &n); /* tags have bytes, other control tokens have none */
    switch (t->type[id]) {
    case TT_NORMAL:
    case TT_BYTE: return n ? QM_LEX_TEXT : QM_LEX_NONE;
    case TT_CONTROL:
    case TT_USER: return n ? QM_LEX_SPECIAL : QM_LEX_NONE;
    default: return QM_LEX_NONE;
    }
}

static int make(qm_lexicon **out, const qm_tokenizer *t, qm_err *e) {
    qm_lexicon *x = calloc(1, sizeof *x);
    uint32_t *ids = malloc((qm_tokenizer_n(t) + 1) * sizeof *ids), n = 0;
    int rc = 0;
    if (!x || !ids) goto out;
    x->tok = t;
    x->n = qm_tokenizer_n(t);
    x->n_words = (x->n + 31) / 32;
    x->kind = malloc(x->n + 1);
    x->same = malloc((x->n + 1) * sizeof *x->same);
    x->all = calloc(x->n_words + 1, sizeof *x->all);
    x->ends = calloc(x->n_words + 1, sizeof *x->ends);
    x->special = malloc((x->n + 1) * sizeof *x->special);
    if (!x->kind || !x->same || !x->all || !x->ends || !x->special) goto out;
    int may_end = 0;
    for (uint32_t id = 0; id < x->n; id++) {
        x->kind[id] = (uint8_t)kind_of(t, id);
        x->same[id] = QM_TRIE_NONE;
        if (x->kind[id] != QM_LEX_NONE) qm_bit_set(x->all, id);
        if (x->kind[id] == QM_LEX_END) qm_bit_set(x->ends, id), may_end = 1;
        if (x->kind[id] == QM_LEX_SPECIAL) x->special[x->n_special++] = id;
        if (x->kind[id] == QM_LEX_TEXT || x->kind[id] == QM_LEX_SPECIAL) ids[n++] = id;
    }
    /* So that no answer gets stuck: what may come can be spelled, and the end can be said. */
    for (int b = 0; b < 256 && !rc; b++)
        if (x->kind[t->byte_id[b]] != QM_LEX_TEXT)
            rc = qm_fail(e, QM_ERR_UNSUPPORTED, "%s: answers cannot be guided: no ordinary token for the byte 0x%02x",
                         t->name, (unsigned)b);
    if (!rc && !may_end)
        rc = qm_fail(e, QM_ERR_UNSUPPORTED, "%s: answers cannot be guided: no token ends generation", t->name);
    if (!rc) rc = make_shared(x->shared, e);
    if (rc) goto out;
    if (qm_trie_build(&x->trie, ids, n, x->same, bytes_of, t)) goto out;
    for (int i = 0; i < QM_G_SHARED; i++)
        if (make_bulk(x, &x->bulk[i], &x->shared[i], t, ids)) goto out;
    free(ids);
    *out = x;
    return 0;
out:
    qm_lexicon_free(x);
    free(ids);
    return rc ? rc : qm_fail(e, QM_ERR_NOMEM, "guide: out of memory");
}

int qm_tokenizer_lexicon(const qm_lexicon **out, const qm_tokenizer *t, qm_err *e) {
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    pthread_mutex_lock(&lock);
    int rc = *t->lexicon ? 0 : make(t->lexicon, t, e);
    *out = *t->lexicon;
    pthread_mutex_unlock(&lock);
    return rc;
}
