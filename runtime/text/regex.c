/* Regular expressions: text into a tree, the tree into states from the last to the first. */
#include "regex.h"
#include <stdlib.h>
#include <string.h>
#include "../base/text.h"

typedef enum { R_EMPTY, R_SET, R_CAT, R_ALT, R_REPEAT } kind;
typedef struct node {
    kind k;
    qm_charset set;     /* R_SET */
    struct node *a, *b; /* R_CAT, R_ALT; R_REPEAT: a */
    uint32_t min, max;  /* R_REPEAT; max UINT32_MAX: no end */
    struct node *all;   /* the next of all nodes, to be freed */
} node;
enum { MOST_DEPTH = 100, MOST_REPEAT = 10000 };

typedef struct {
    const char *text;
    size_t n, at;
    int search, depth;
    node *all;
    qm_err *e;
    int rc;
} parser;

static void *fail(parser *p, int code, const char *what) {
    if (!p->rc) {
        char shown[160];
        p->rc =
            qm_fail(p->e, code, "\"%s\": at %zu: %s", qm_text_show(shown, sizeof shown, p->text, p->n), p->at, what);
    }
    return NULL;
}

static node *new_node(parser *p, kind k, node *a, node *b) {
    node *x = calloc(1, sizeof *x);
    if (!x) return fail(p, QM_ERR_NOMEM, "out of memory");
    x->k = k;
    x->a = a;
    x->b = b;
    x->all = p->all;
    p->all = x;
    return x;
}

static int more(const parser *p) { return p->at < p->n; }
static int here(const parser *p, char c) { return more(p) && p->text[p->at] == c; }
static int take(parser *p, char c) { return here(p, c) ? p->at++, 1 : 0; }

static uint32_t take_char(parser *p) {
    uint32_t cp;
    int k = more(p) ? qm_utf8_decode((const uint8_t *)p->text + p->at, p->n - p->at, &cp) : 0;
    if (k <= 0) return fail(p, QM_ERR_ARG, "not UTF-8"), 0;
    p->at += (size_t)k;
    return cp;
}

static uint32_t take_hex(parser *p, int n) {
    uint32_t v = 0;
    for (int i = 0; i < n; i++, p->at++) {
        const char *digits = "0123456789abcdef", *d = more(p) ? memchr(digits, p->text[p->at] | 32, 16) : NULL;
        if (!d || (p->text[p->at] < '0')) return fail(p, QM_ERR_ARG, "hexadecimal digits are missing"), 0;
        v = 16 * v + (uint32_t)(d - digits);
    }
    return v;
}

/* After a backslash: a class's letter, [*cp] 0; or a character. */
static char take_escape(parser *p, uint32_t *cp) {
    static const char letters[] = "tnrfv", means[] = "\t\n\r\f\v";
    static const char marks[] = "^$\\.*+?()[]{}|/-\"'!#%&,:;<=>@_`~ ";
    *cp = 0;
    if (!more(p)) return fail(p, QM_ERR_ARG, "a backslash at the end"), '\0';
    char c = p->text[p->at];
    const char *l;
    if (strchr("dDwWsS", c) && c) return p->at++, c;
    if (c && (l = strchr(letters, c))) *cp = (uint32_t)means[l - letters], p->at++;
    else if (c && strchr(marks, c)) *cp = (uint32_t)c, p->at++;
    else if (c == 'x') p->at++, *cp = take_hex(p, 2);
    else if (c == 'u' && p->at + 1 < p->n && p->text[p->at + 1] == '{') fail(p, QM_ERR_UNSUPPORTED, "\\u{...}");
    else if (c == 'u') p->at++, *cp = take_hex(p, 4);
    else fail(p, QM_ERR_UNSUPPORTED, "this escape (\\b, \\B, \\p, back references ...)");
    if (!p->rc && (!*cp || (*cp >= 0xd800 && *cp <= 0xdfff))) fail(p, QM_ERR_UNSUPPORTED, "U+0000, or half of a pair");
    return '\0';
}

static void add_span(parser *p, qm_charset *s, uint32_t lo, uint32_t hi) {
    if (!p->rc && qm_charset_add(s, lo, hi)) fail(p, QM_ERR_NOMEM, "out of memory");
}
static void add_class(parser *p, qm_charset *s, char name, int wide) {
    if (!p->rc && qm_charset_class(s, name, wide)) fail(p, QM_ERR_NOMEM, "out of memory");
}

/* After "[". What a negated class leaves out is taken widely, so that what it holds is certain. */
static node *take_class(parser *p) {
    node *x = new_node(p, R_SET, NULL, NULL);
    if (!x) return NULL;
    int inverted = take(p, '^');
    if (here(p, ']')) return fail(p, QM_ERR_UNSUPPORTED, "an empty class");
    while (!p->rc && !take(p, ']')) {
        uint32_t lo, hi;
        char class = '\0';
        if (!more(p)) return fail(p, QM_ERR_ARG, "a class without its ]");
        if (here(p, '[')) return fail(p, QM_ERR_UNSUPPORTED, "[ in a class (write \\[)");
        if (take(p, '\\')) class = take_escape(p, &lo);
        else lo = take_char(p);
        if (class) {
            if (here(p, '-') && p->at + 1 < p->n && p->text[p->at + 1] != ']')
                return fail(p, QM_ERR_ARG, "a range from a class");
            add_class(p, &x->set, class, inverted);
            continue;
        }
        hi = lo;
        if (here(p, '-') && p->at + 1 < p->n && p->text[p->at + 1] != ']') {
            p->at++;
            if (take(p, '\\')) {
                if (take_escape(p, &hi)) return fail(p, QM_ERR_ARG, "a range to a class");
            } else {
                hi = take_char(p);
            }
            if (!p->rc && hi < lo) return fail(p, QM_ERR_ARG, "a range that runs backwards");
        }
        add_span(p, &x->set, lo, hi);
    }
    if (!p->rc && inverted && qm_charset_invert(&x->set)) fail(p, QM_ERR_NOMEM, "out of memory");
    return p->rc ? NULL : x;
}

static node *take_alternatives(parser *p, int top);

static node *take_atom(parser *p) {
    if (take(p, '(')) {
        if (take(p, '?') && !take(p, ':')) return fail(p, QM_ERR_UNSUPPORTED, "(? other than (?:");
        if (p->depth == MOST_DEPTH) return fail(p, QM_ERR_LIMIT, "groups nested too deeply");
        p->depth++;
        node *x = take_alternatives(p, 0);
        p->depth--;
        return p->rc || take(p, ')') ? x : fail(p, QM_ERR_ARG, "a group without its )");
    }
    if (take(p, '[')) return take_class(p);
    if (here(p, '^') || here(p, '$'))
        return fail(p, QM_ERR_UNSUPPORTED, "^ and $ other than at the ends of the whole, or of its alternatives");
    if (more(p) && memchr("*+?{}]", p->text[p->at], 6)) return fail(p, QM_ERR_ARG, "this character wants a backslash");
    node *x = new_node(p, R_SET, NULL, NULL);
    if (!x) return NULL;
    uint32_t cp = 0;
    char class = '\0';
    if (take(p, '.')) class = '.';
    else if (take(p, '\\')) class = take_escape(p, &cp);
    else cp = take_char(p);
    if (class) add_class(p, &x->set, class, 0);
    else add_span(p, &x->set, cp, cp);
    return p->rc ? NULL : x;
}

static int take_number(parser *p, uint32_t *v) {
    size_t from = p->at;
    for (*v = 0; more(p) && p->text[p->at] >= '0' && p->text[p->at] <= '9'; p->at++)
        if (*v <= MOST_REPEAT) *v = 10 * *v + (uint32_t)(p->text[p->at] - '0');
    return p->at > from;
}

static node *take_repeated(parser *p) {
    node *x = take_atom(p);
    if (!x) return NULL;
    uint32_t min = 1, max = 1;
    if (take(p, '?')) min = 0;
    else if (take(p, '*')) min = 0, max = UINT32_MAX;
    else if (take(p, '+')) max = UINT32_MAX;
    else if (take(p, '{')) {
        if (!take_number(p, &min)) return fail(p, QM_ERR_UNSUPPORTED, "{ without a number after it");
        max = min;
        if (take(p, ',') && !take_number(p, &max)) max = UINT32_MAX;
        if (!take(p, '}')) return fail(p, QM_ERR_ARG, "a { without its }");
        if (min > MOST_REPEAT || (max != UINT32_MAX && max > MOST_REPEAT))
            return fail(p, QM_ERR_LIMIT, "more than 10000 times");
        if (max < min) return fail(p, QM_ERR_ARG, "{m,n} with n below m");
    } else {
        return x;
    }
    take(p, '?'); /* a lazy one matches the same strings */
    if (more(p) && memchr("*+?{", p->text[p->at], 4))
        return fail(p, QM_ERR_UNSUPPORTED, "a quantifier after a quantifier");
    node *r = new_node(p, R_REPEAT, x, NULL);
    if (r) r->min = min, r->max = max;
    return r;
}

static node *anything(parser *p) {
    node *x = new_node(p, R_SET, NULL, NULL), *r = new_node(p, R_REPEAT, x, NULL);
    if (!r) return NULL;
    add_span(p, &x->set, 1, 0x10ffff);
    r->max = UINT32_MAX;
    return r;
}

static node *joined(parser *p, node *a, node *b) { return a && b ? new_node(p, R_CAT, a, b) : a ? a : b; }

static node *take_branch(parser *p, int top) {
    node *x = NULL;
    int begins = top && take(p, '^'), ends = 0;
    if (top && p->search && !begins) x = anything(p);
    while (!p->rc && more(p) && !here(p, '|') && !here(p, ')') && !ends) {
        if (top && here(p, '$') && (p->at + 1 == p->n || p->text[p->at + 1] == '|')) ends = 1, p->at++;
        else x = joined(p, x, take_repeated(p));
    }
    if (top && p->search && !ends) x = joined(p, x, anything(p));
    return p->rc ? NULL : x ? x : new_node(p, R_EMPTY, NULL, NULL);
}

static node *take_alternatives(parser *p, int top) {
    node *x = take_branch(p, top);
    while (x && take(p, '|')) x = new_node(p, R_ALT, x, take_branch(p, top));
    return p->rc ? NULL : x;
}

/* ---- states ---- */
static uint32_t emit(qm_nfa *f, const node *x, qm_spell spell, uint32_t next) {
    uint32_t s;
    if (f->failed) return 0;
    switch (x->k) {
    case R_EMPTY: return next;
    case R_SET: return qm_nfa_charset(f, &x->set, spell, next);
    case R_CAT:
        /* the left ones are nested: as deep as the text is long */
        for (; x->k == R_CAT; x = x->a) next = emit(f, x->b, spell, next);
        return emit(f, x, spell, next);
    case R_ALT:
        s = emit(f, x->b, spell, next);
        for (x = x->a; x->k == R_ALT; x = x->a) s = qm_nfa_split(f, emit(f, x->b, spell, next), s);
        return qm_nfa_split(f, emit(f, x, spell, next), s);
    case R_REPEAT: break;
    }
    if (x->max == UINT32_MAX) {
        s = qm_nfa_split(f, next, next);
        qm_nfa_set(f, s, emit(f, x->a, spell, s), next);
    } else {
        s = next;
        for (uint32_t i = x->min; i < x->max && !f->failed; i++) s = qm_nfa_split(f, emit(f, x->a, spell, s), next);
    }
    for (uint32_t i = 0, n = 0; i < x->min && !f->failed && f->n != n;
         i++) { /* until nothing is added: what is empty */
        n = f->n;
        s = emit(f, x->a, spell, s);
    }
    return s;
}

int qm_regex_dfa(qm_dfa *out, const char *text, size_t n, int flags, qm_err *e) {
    memset(out, 0, sizeof *out);
    parser p = {.text = text, .n = n, .search = flags & QM_REGEX_SEARCH, .e = e};
    qm_nfa f = {0};
    node *x = take_alternatives(&p, 1);
    if (x && more(&p)) fail(&p, QM_ERR_ARG, "a ) without its (");
    if (!p.rc && qm_nfa_open(&f)) fail(&p, QM_ERR_NOMEM, "out of memory");
    if (!p.rc) {
        uint32_t start = emit(&f, x, flags & QM_REGEX_JSON ? QM_SPELL_JSON : QM_SPELL_RAW, QM_NFA_END);
        char shown[160];
        p.rc = qm_dfa_make(out, &f, start, qm_text_show(shown, sizeof shown, text, n), e);
    }
    qm_nfa_close(&f);
    for (node *y = p.all, *up; y; y = up) {
        up = y->all;
        qm_charset_free(&y->set);
        free(y);
    }
    return p.rc;
}
