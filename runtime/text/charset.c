/* Sets of code points, and automata over the bytes that spell them. */
#include "charset.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "unicode.h"

enum { LAST_CP = 0x10FFFF };

void qm_charset_free(qm_charset *s) {
    free(s->v);
    memset(s, 0, sizeof *s);
}

static int by_start(const void *a, const void *b) {
    uint32_t x = ((const qm_span_cp *)a)->lo, y = ((const qm_span_cp *)b)->lo;
    return x < y ? -1 : x > y;
}

int qm_charset_add(qm_charset *s, uint32_t lo, uint32_t hi) {
    if (!lo) lo = 1;
    if (lo > hi) return 0;
    if (s->n == s->cap) {
        size_t cap = s->cap ? 2 * s->cap : 8;
        qm_span_cp *v = realloc(s->v, cap * sizeof *v);
        if (!v) return -1;
        s->v = v;
        s->cap = cap;
    }
    s->v[s->n++] = (qm_span_cp){lo, hi};
    return 0;
}

int qm_charset_add_all(qm_charset *s, const qm_charset *more) {
    for (size_t i = 0; i < more->n; i++)
        if (qm_charset_add(s, more->v[i].lo, more->v[i].hi)) return -1;
    return 0;
}

/* Sorted, without overlaps. */
static void tidy(qm_charset *s) {
    size_t n = 0;
    if (s->n) qsort(s->v, s->n, sizeof *s->v, by_start);
    for (size_t i = 0; i < s->n; i++) {
        if (n && s->v[i].lo <= s->v[n - 1].hi + 1) {
            if (s->v[i].hi > s->v[n - 1].hi) s->v[n - 1].hi = s->v[i].hi;
        } else {
            s->v[n++] = s->v[i];
        }
    }
    s->n = n;
}

int qm_charset_invert(qm_charset *s) {
    qm_charset out = {0};
    uint32_t at = 1;
    int rc = 0;
    tidy(s);
    for (size_t i = 0; i < s->n && !rc; i++) {
        if (s->v[i].lo > at) rc = qm_charset_add(&out, at, s->v[i].lo - 1);
        at = s->v[i].hi + 1;
    }
    if (!rc && at <= LAST_CP) rc = qm_charset_add(&out, at, LAST_CP);
    qm_charset_free(s);
    *s = out;
    return rc;
}

static int add_spans(qm_charset *s, const qm_span_cp *v, size_t n) {
    return qm_charset_add_all(s, &(qm_charset){.v = (qm_span_cp *)v, .n = n});
}
#define ADD_SPANS(s, v) add_spans(s, v, sizeof(v) / sizeof *(v))

static int add_unicode(qm_charset *s, qm_uc_class c) {
    for (size_t i = 0; i < qm_uc_class_runs_n; i++)
        if (qm_uc_class_runs[i].class == c && qm_charset_add(s, qm_uc_class_runs[i].first, qm_uc_class_runs[i].last))
            return -1;
    return 0;
}

int qm_charset_class(qm_charset *s, char name, int wide) {
    static const qm_span_cp digit[] = {{'0', '9'}}, word[] = {{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}};
    static const qm_span_cp space[] = {{'\t', '\r'}, {' ', ' '}};
    static const qm_span_cp beyond[] = {{0x80, LAST_CP}};
    static const qm_span_cp more_space[] = {{0x1c, 0x1f}, {0x85, 0x85}, {0xfeff, 0xfeff}};
    static const qm_span_cp line_end[] = {{'\n', '\n'}, {'\r', '\r'}, {0x2028, 0x2029}};
    qm_charset not = {0};
    int rc = 0;
    switch (name) {
    case 'd': rc = ADD_SPANS(s, digit); return rc ? rc : wide ? add_unicode(s, QM_UC_NUMBER) : 0;
    case 'w': rc = ADD_SPANS(s, word); return rc ? rc : wide ? ADD_SPANS(s, beyond) : 0;
    case 's':
        rc = ADD_SPANS(s, space);
        if (!rc && wide) rc = ADD_SPANS(s, more_space);
        return rc ? rc : wide ? add_unicode(s, QM_UC_SPACE) : 0;
    case 'D': rc = qm_charset_class(&not, 'd', !wide); break;
    case 'W': rc = qm_charset_class(&not, 'w', !wide); break;
    case 'S': rc = qm_charset_class(&not, 's', !wide); break;
    default: rc = ADD_SPANS(&not, line_end); break;
    }
    if (!rc) rc = qm_charset_invert(&not );
    if (!rc) rc = qm_charset_add_all(s, &not );
    qm_charset_free(&not );
    return rc;
}

/* ---- bytes ---- */
static int utf8(uint32_t cp, uint8_t out[4]) {
    if (cp < 0x80) return out[0] = (uint8_t)cp, 1;
    int n = cp < 0x800 ? 2 : cp < 0x10000 ? 3 : 4;
    for (int i = n - 1; i > 0; i--, cp >>= 6) out[i] = (uint8_t)(0x80 | (cp & 0x3f));
    out[0] = (uint8_t)(cp | (n == 2 ? 0xc0 : n == 3 ? 0xe0 : 0xf0));
    return n;
}

/* States for the n bytes of characters from lo to hi, which have as many each: where first bytes differ, those between
 * take any rest. */
static uint32_t between(qm_nfa *f, const uint8_t *lo, const uint8_t *hi, int n, uint32_t next) {
    static const uint8_t least[4] = {0x80, 0x80, 0x80, 0x80}, most[4] = {0xbf, 0xbf, 0xbf, 0xbf};
    if (n == 1) return qm_nfa_byte(f, lo[0], hi[0], next);
    if (lo[0] == hi[0]) return qm_nfa_byte(f, lo[0], lo[0], between(f, lo + 1, hi + 1, n - 1, next));
    size_t rest = (size_t)n - 1;
    int from = lo[0] + (memcmp(lo + 1, least, rest) != 0), to = hi[0] - (memcmp(hi + 1, most, rest) != 0);
    uint32_t s = UINT32_MAX, x;
    if (from <= to) s = qm_nfa_byte(f, (uint8_t)from, (uint8_t)to, between(f, least, most, n - 1, next));
    if (from > lo[0]) {
        x = qm_nfa_byte(f, lo[0], lo[0], between(f, lo + 1, most, n - 1, next));
        s = s == UINT32_MAX ? x : qm_nfa_split(f, x, s);
    }
    if (to < hi[0]) {
        x = qm_nfa_byte(f, hi[0], hi[0], between(f, least, hi + 1, n - 1, next));
        s = s == UINT32_MAX ? x : qm_nfa_split(f, s, x);
    }
    return s;
}

size_t qm_json_escape_cp(uint32_t cp, char out[7]) {
    static const char from[] = "\"\\\b\f\n\r\t", to[] = "\"\\bfnrt";
    const char *p = cp && cp < 0x80 ? strchr(from, (int)cp) : NULL;
    if (!p && cp >= 0x20) return 0;
    if (!p) return (size_t)snprintf(out, 7, "\\u%04x", (unsigned)cp);
    out[0] = '\\';
    out[1] = to[p - from];
    return 2;
}

static uint32_t either(qm_nfa *f, uint32_t a, uint32_t b) { return a == UINT32_MAX ? b : qm_nfa_split(f, b, a); }

/* lo..hi, of one length in UTF-8 at a time. */
static uint32_t plain(qm_nfa *f, uint32_t lo, uint32_t hi, uint32_t next, uint32_t others) {
    static const uint32_t ends[] = {0x7f, 0x7ff, 0xd7ff, 0xffff, LAST_CP};
    for (size_t i = 0; i < sizeof ends / sizeof *ends && lo <= hi; i++) {
        uint32_t last = hi < ends[i] ? hi : ends[i];
        if (lo > last) continue;
        uint8_t a[4], b[4];
        int n = utf8(lo, a);
        utf8(last, b);
        others = either(f, others, between(f, a, b, n, next));
        lo = last + 1 == 0xd800 ? 0xe000 : last + 1;
    }
    return others;
}

uint32_t qm_nfa_charset(qm_nfa *f, const qm_charset *set, qm_spell spell, uint32_t next) {
    uint32_t s = UINT32_MAX;
    qm_charset c = {0};
    if (qm_charset_add_all(&c, set)) f->failed = QM_ERR_NOMEM;
    tidy(&c);
    for (size_t i = 0; i < c.n; i++) {
        uint32_t lo = c.v[i].lo, hi = c.v[i].hi;
        if (lo >= 0xd800 && lo <= 0xdfff) lo = 0xe000;
        for (; spell == QM_SPELL_JSON && lo <= hi && lo <= '\\'; lo++) {
            char e[7];
            uint32_t until = lo < '"' ? '"' - 1 : '\\' - 1; /* the characters up to there need no escape */
            size_t n = qm_json_escape_cp(lo, e);
            uint32_t to = next;
            if (!n && until > hi) until = hi;
            if (!n) {
                s = plain(f, lo, until, next, s);
                lo = until;
                continue;
            }
            while (n) n--, to = qm_nfa_byte(f, (uint8_t)e[n], (uint8_t)e[n], to);
            s = either(f, s, to);
        }
        s = plain(f, lo, hi, next, s);
    }
    qm_charset_free(&c);
    /* an empty set: a state that takes nothing */
    return s == UINT32_MAX ? qm_nfa_byte(f, 1, 0, next) : s;
}
