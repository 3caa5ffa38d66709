/* The operators, filters, tests, methods and functions that chat templates use, with Python's results. What gives an
 * iterator or a view there gives a list here. The table is at the end. */
#include "jinja_impl.h"
#include <stdio.h>
#include <stdlib.h>
#include <utf8proc.h>

#define F(name) \
    static jv name(__attribute__((unused)) jc *c, __attribute__((unused)) jv *a, __attribute__((unused)) int how)
#define EACH(i, l) for (size_t i = 0; i < (l).n; i++)
/* ---- operators ---- */
static jv repeat(jc *c, jv seq, int64_t times) {
    jv b = {.k = seq.k};
    while (times-- > 0 && seq.n) j_cat(c, &b, seq);
    return b;
}
jv j_math(jc *c, jv *a, int how) {
    jv x = a[0], y = a[1], b = {.k = x.k};
    int seq = x.k >= J_STR && x.k <= J_TUPLE, divides = strchr("/%d", how) != NULL;
    int64_t r = 0;
    if (x.k == J_UNDEF || y.k == J_UNDEF) j_undefined(c, x.k == J_UNDEF ? x : y);
    if (how == '*' && seq && y.k == J_INT) return repeat(c, x, y.i);
    if (how == '+' && seq && x.k == y.k) return j_cat(c, &b, x), j_cat(c, &b, y), b;
    if (!j_num(x) || !j_num(y)) J_ERR(c, "%s and %s cannot be joined by an operator", j_type(x), j_type(y));
    if (divides && j_double(y) == 0) J_ERR(c, "division by zero");
    if (how == '/') return j_float(j_double(x) / j_double(y));
    if (x.k == J_FLOAT || y.k == J_FLOAT) J_ERR(c, "only / computes with floats");
    int over = how == '+'   ? __builtin_add_overflow(x.i, y.i, &r)
               : how == '-' ? __builtin_sub_overflow(x.i, y.i, &r)
               : how == '*' ? __builtin_mul_overflow(x.i, y.i, &r)
                            : x.i == INT64_MIN && y.i == -1;
    if (over) J_ERR(c, "an integer does not fit 64 bits");
    int down = divides && x.i % y.i && (x.i < 0) != (y.i < 0); /* Python rounds so */
    return j_int(!divides ? r : how == '%' ? x.i % y.i + down * y.i : x.i / y.i - down);
}
F(o_tilde) { return j_math(c, (jv[2]){j_str(c, a[0]), j_str(c, a[1])}, '+'); }
F(o_compare) { /* how: = ! < > l for <= g for >= */
    int r = j_cmp(c, a[0], a[1], how != '=' && how != '!');
    return j_bool(how == '='   ? !r
                  : how == '!' ? r
                  : how == '<' ? r == -1
                  : how == '>' ? r == 1
                  : how == 'l' ? r <= 0
                               : r == 0 || r == 1);
}
/* Where a part of a string or an item of a list is, from `at` on; SIZE_MAX: nowhere. */
static size_t find(jc *c, jv seq, jv what, size_t at) {
    size_t n = seq.k == J_STR ? what.n : 1, k;
    if (seq.k == J_STR && what.k != J_STR) J_ERR(c, "a part of a string is a string, not %s", j_type(what));
    for (; at <= seq.n && n <= seq.n - at; at++) {
        for (k = 0; seq.k == J_STR && k < n && J_CHAR(seq.s[at + k]) == J_CHAR(what.s[k]);) k++;
        if (seq.k == J_STR ? k == n : !j_cmp(c, seq.v[at], what, 0)) return at;
        if (k > 15 || at % 16 == 15) j_work(c, k);
    }
    return SIZE_MAX;
}
F(o_in) {
    return j_bool(a[1].k == J_DICT ? j_get(c, a[1].m, a[0]) != NULL : find(c, j_iter(c, a[1]), a[0], 0) != SIZE_MAX);
}
jv j_slice(jc *c, jv v, const jv part[3]) { /* as Python's slice.indices */
    jv b = {.k = v.k};
    int64_t n = (int64_t)v.n, step = part[2].k > J_NONE ? part[2].i : 1, at[2];
    if (v.k == J_UNDEF) j_undefined(c, v);
    if (v.k < J_STR || v.k > J_TUPLE || !step) J_ERR(c, "%s cannot be sliced so", j_type(v));
    for (int i = 0; i < 2; i++) {
        int64_t lo = step < 0 ? -1 : 0, hi = step < 0 ? n - 1 : n, x = part[i].i;
        if (part[i].k > J_NONE && part[i].k != J_INT) J_ERR(c, "a slice wants integers, not %s", j_type(part[i]));
        at[i] = part[i].k <= J_NONE ? ((step < 0) == (i == 0) ? hi : lo)
                : x < -n            ? lo
                : x < 0             ? x + n
                : x > hi            ? hi
                                    : x;
    }
    if (step == 1) return j_cut(v, (size_t)at[0], (size_t)(at[1] > at[0] ? at[1] : at[0]));
    for (int64_t i = at[0], over = 0; !over && (step > 0 ? i < at[1] : i > at[1]);
         over = __builtin_add_overflow(i, step, &i))
        j_cat(c, &b, j_cut(v, (size_t)i, (size_t)i + 1));
    return b;
}
/* ---- text ---- */
F(f_case) { /* how: u upper, l lower, c capitalize, t title */
    jv b = {.k = J_STR};
    int start = how != 'l';
    j_work(c, a[0].n);
    EACH (i, a[0]) {
        utf8proc_int32_t ch = (utf8proc_int32_t)J_CHAR(a[0].s[i]);
        utf8proc_int32_t to = !start ? utf8proc_tolower(ch) : how == 'u' ? utf8proc_toupper(ch) : utf8proc_totitle(ch);
        uint32_t own = a[0].s[i] & J_OWN;
        j_put(c, &b, (start && ch == 0xdf ? 'S' : (uint32_t)to) | own);
        if (start && ch == 0xdf) j_put(c, &b, (how == 'u' ? 'S' : 's') | own);
        start = how == 'u' || (how == 't' && (j_space((uint32_t)ch) || (ch && ch < 0x80 && strchr("-({[<", ch))));
    }
    return b;
}
static int goes(jc *c, jv chars, jv one) {
    return j_work(c, 0), chars.k ? find(c, chars, one, 0) != SIZE_MAX : j_space(J_CHAR(*one.s));
}
F(f_strip) { /* how: 1 left, 2 right, 3 both, 0 neither */
    jv s = a[0];
    while ((how & 1) && s.n && goes(c, a[1], j_item(s, 0))) s = j_cut(s, 1, s.n);
    while ((how & 2) && s.n && goes(c, a[1], j_item(s, s.n - 1))) s.n--;
    return s;
}
F(f_reverse) { return j_slice(c, j_iter(c, a[0]), (jv[3]){{0}, {0}, j_int(-1)}); }
F(m_split) {
    jv r = {.k = J_LIST}, s = a[0];
    int64_t left = a[2].k ? a[2].i : -1;
    if (!a[1].n) J_ERR(c, "split by an empty string");
    for (size_t at; left-- != 0 && (at = find(c, s, a[1], 0)) != SIZE_MAX; s = j_cut(s, at + a[1].n, s.n))
        j_add(c, &r, j_cut(s, 0, at));
    return j_add(c, &r, s), r;
}
F(m_has_end) { /* how: s start, e end: that, or one of a tuple */
    jv all = a[1].k == J_TUPLE ? a[1] : (jv){.k = J_TUPLE, .n = 1, .v = a + 1};
    int any = 0;
    EACH (i, all) {
        if (all.v[i].k != J_STR) J_ERR(c, "the start or end of a string is a string, not %s", j_type(all.v[i]));
        size_t n = all.v[i].n, from = how == 'e' ? a[0].n - n : 0;
        any |= n <= a[0].n && !j_cmp(c, j_cut(a[0], from, from + n), all.v[i], 0);
    }
    return j_bool(any);
}
F(f_tojson) { /* separators as json.dumps has them */
    jv b = {.k = J_STR}, two = a[3].k > J_NONE ? j_iter(c, a[3]) : (jv){.k = J_LIST},
       indent = a[2].k == J_NONE ? (jv){0} : a[2];
    if (a[3].k <= J_NONE) j_add(c, &two, j_text(c, ", ", indent.k ? 1 : 2, 0)), j_add(c, &two, j_text(c, ": ", 2, 0));
    if (indent.k == J_INT) indent = repeat(c, j_text(c, " ", 1, 0), indent.i);
    if (indent.k && indent.k != J_STR) J_ERR(c, "indent is a number or a string, not %s", j_type(indent));
    if (two.n != 2 || j_item(two, 0).k != J_STR || j_item(two, 1).k != J_STR) J_ERR(c, "separators are two strings");
    if (j_true(a[1])) j_fail(c, QM_ERR_UNSUPPORTED, "tojson with ensure_ascii");
    return j_write(c, &b, a[0], &(jformat){1, j_item(two, 0), j_item(two, 1), indent}, 0), b;
}
/* ---- attribute= and order ---- */
static jv path(jc *c, jv v, jv attribute) { /* "a.b"; no attribute: v itself */
    if (attribute.k != J_STR) return attribute.k <= J_NONE ? v : j_index(c, v, attribute);
    jv parts = m_split(c, (jv[3]){attribute, j_text(c, ".", 1, 0)}, 0);
    EACH (i, parts) v = j_index(c, v, parts.v[i]);
    return v;
}
F(f_sort) { /* how: s sort, d dictsort, of pairs by their keys; stable, by insertion */
    int dict = how == 'd', reverse = j_true(a[dict ? 3 : 1]), sensitive = j_true(a[dict ? 1 : 2]);
    jv b = {.k = J_LIST}, keys = b, l = dict ? j_pairs(c, a[0]) : j_iter(c, a[0]);
    if (dict && a[2].k && j_word("key", a[2])) J_ERR(c, "dictsort goes by key");
    EACH (i, l) {
        jv x = j_item(l, i), key = path(c, x, dict ? j_int(0) : a[3]);
        size_t at = i;
        if (key.k == J_STR && !sensitive) key = f_case(c, &key, 'l');
        for (j_add(c, &b, x), j_add(c, &keys, key); at > 0 && j_cmp(c, keys.v[at - 1], key, 1) == (reverse ? -1 : 1);
             at--)
            b.v[at] = b.v[at - 1], keys.v[at] = keys.v[at - 1];
        b.v[at] = x, keys.v[at] = key;
    }
    return b;
}
F(f_first) { return j_index(c, j_iter(c, a[0]), j_int(how)); } /* how: 0, or -1: the last */
/* ---- sequences and dicts ---- */
F(f_list) {
    jv b = {.k = J_LIST}, l = j_iter(c, a[0]);
    EACH (i, l) j_add(c, &b, j_item(l, i));
    return b;
}
F(f_items) { return j_pairs(c, a[0]); }
F(f_length) { return j_int((int64_t)(a[0].k == J_DICT ? a[0].m->n / 2 : a[0].k == J_UNDEF ? 0 : a[0].n)); }
F(m_get) {
    jv *v = j_get(c, a[0].m, a[1]), none = {.k = J_NONE};
    return v ? *v : a[2].k ? a[2] : none;
}
F(f_default) { return a[0].k != J_UNDEF && (j_true(a[0]) || !j_true(a[2])) ? a[0] : a[1].k ? a[1] : (jv){.k = J_STR}; }
F(f_join) { /* how: f the filter, m the method, which wants strings */
    jv b = {.k = J_STR}, l = j_iter(c, a[how == 'm']), between = a[how == 'f'];
    EACH (i, l) {
        jv v = how == 'm' ? j_item(l, i) : path(c, j_item(l, i), a[2]);
        if (how == 'm' && v.k != J_STR) J_ERR(c, "join wants strings, not %s", j_type(v));
        if (i) j_cat(c, &b, between);
        j_cat(c, &b, j_str(c, v));
    }
    return b;
}
F(f_replace) { return f_join(c, (jv[3]){m_split(c, (jv[3]){a[0], a[1], a[3]}, 0), a[2]}, 'f'); }
F(f_map) { /* map('filter', argument...) or map(attribute=...) */
    jargs all = *c->args, more = {all.n - 1, all.v + 1, all.name + 1};
    jv b = {.k = J_LIST}, l = j_iter(c, a[0]);
    if (!all.n || (all.name->k && (all.n > 1 || j_word("attribute", *all.name))))
        J_ERR(c, "map wants a filter or attribute=");
    const jbuiltin *f = all.name->k ? NULL : j_named(c, J_FILTER, *all.v);
    EACH (i, l) j_add(c, &b, f ? j_call(c, f, j_item(l, i), &more) : path(c, j_item(l, i), *all.v));
    return b;
}
F(f_select) { /* how: 1 select, 0 reject; 2 more: by an attribute */
    size_t by = how >= 2;
    jargs all = *c->args, more = {all.n > by ? all.n - by - 1 : 0, all.v + by + 1, all.name + by + 1};
    jv b = {.k = J_LIST}, l = j_iter(c, a[0]);
    if (all.n < by || (all.n && all.name->k)) J_ERR(c, "an attribute or a test is wanted");
    const jbuiltin *t = all.n > by ? j_named(c, J_TEST, all.v[by]) : NULL;
    EACH (i, l) {
        jv v = by ? path(c, j_item(l, i), *all.v) : j_item(l, i);
        if (j_true(t ? j_call(c, t, v, &more) : v) == (how & 1)) j_add(c, &b, j_item(l, i));
    }
    return b;
}
/* ---- the other tests, functions ---- */
F(t_divides) { return j_bool(j_double(j_math(c, (jv[2]){a[0], a[1].k ? a[1] : j_int(2)}, '%')) == how); }
F(t_is) { return j_bool(a[0].k == J_BOOL && a[0].i == how); }
F(g_raise) { J_ERR(c, "%s", j_utf8(c, j_str(c, a[1]), 300)); }
F(g_range) {
    jv b = {.k = J_LIST};
    int64_t at = a[2].k ? a[1].i : 0, stop = a[a[2].k ? 2 : 1].i, step = a[3].k ? a[3].i : 1, over = 0;
    if (!step) J_ERR(c, "range with a step of 0");
    for (; !over && (step > 0 ? at < stop : at > stop); over = __builtin_add_overflow(at, step, &at)) {
        if (b.n == 100000)
            j_fail(c, QM_ERR_LIMIT, "range over the limit of 100000 items"); /* jinja2's sandbox has it too */
        j_add(c, &b, j_int(at));
    }
    return b;
}
F(g_strftime) {
    char buf[1024], format[512];
    time_t t = time(NULL);
    struct tm local, *now = c->vars->now ? memcpy(&local, c->vars->now, sizeof local) : localtime_r(&t, &local);
    snprintf(format, sizeof format, "%s ", j_utf8(c, a[1], 500)); /* never empty, so that 0 means too long */
    size_t n = now && a[1].n <= 100 ? strftime(buf, sizeof buf, format, now) : 0;
    if (!n) J_ERR(c, "cannot format the time so");
    return j_text(c, buf, n - 1, 0);
}
F(g_dict) { /* how: J_DICT or J_NS */
    jv r = {.k = (jkind)how, .m = j_map(c)};
    for (size_t i = 0; i < c->args->n; i++)
        j_set(c, r.m, c->args->name[i], c->args->v[i]); /* without a name: an error */
    return r;
}

enum {
    TEXT = J_BIT(J_STR),
    DICT = J_BIT(J_DICT),
    UNDEF = J_BIT(J_UNDEF),
    SEQ = TEXT | DICT | UNDEF | J_BIT(J_LIST) | J_BIT(J_TUPLE),
    INT = J_BIT(J_INT),
    FLOAT = J_BIT(J_FLOAT),
    BOOL = J_BIT(J_BOOL),
    NONE = J_BIT(J_NONE),
    FREE = J_BIT(J_MISSING),
    ANY = ~0,
    OP = J_OPERATOR,
    FI = J_FILTER,
    TE = J_TEST,
    ME = J_METHOD,
    FN = J_FUNCTION,
    OP_TE = OP | TE,
    FI_ME = FI | ME
};
#define PLAIN(what, names, kinds, fn, how) \
    { names, what, kinds, "", "", fn, how } /* without arguments */
#define RAW(what, names, kinds, fn, how) \
    { names, what, kinds, "", NULL, fn, how } /* with any */
#define INFIX(what, names, fn, how) \
    { names, what, ANY, "other", "V", fn, how }
#define KIND(names, kinds) \
    { names, TE, ANY, "", "", NULL, kinds }
const jbuiltin j_builtins[] = {
    INFIX(OP, "+", j_math, '+'),
    INFIX(OP, "-", j_math, '-'),
    INFIX(OP, "*", j_math, '*'),
    INFIX(OP, "/", j_math, '/'),
    INFIX(OP, "//", j_math, 'd'),
    INFIX(OP, "%", j_math, '%'),
    INFIX(OP, "~", o_tilde, 0),
    INFIX(OP_TE, "== eq equalto", o_compare, '='),
    INFIX(OP_TE, "!= ne", o_compare, '!'),
    INFIX(OP_TE, "< lt lessthan", o_compare, '<'),
    INFIX(OP_TE, "> gt greaterthan", o_compare, '>'),
    INFIX(OP_TE, "<= le", o_compare, 'l'),
    INFIX(OP_TE, ">= ge", o_compare, 'g'),
    INFIX(OP_TE, "in", o_in, 0),
    KIND("defined", ~UNDEF),
    KIND("undefined", UNDEF),
    KIND("none", NONE),
    KIND("boolean", BOOL),
    KIND("integer", INT),
    KIND("float", FLOAT),
    KIND("number", INT | FLOAT | BOOL),
    KIND("string", TEXT),
    KIND("mapping", DICT),
    KIND("sequence", SEQ),
    KIND("iterable", SEQ | J_BIT(J_LOOP)),
    KIND("callable", J_BIT(J_CALL) | J_BIT(J_MACRO)),
    PLAIN(TE, "true", ANY, t_is, 1),
    PLAIN(TE, "false", ANY, t_is, 0),
    PLAIN(TE, "even", ANY, t_divides, 0),
    PLAIN(TE, "odd", ANY, t_divides, 1),
    {"divisibleby", TE, ANY, "num", "I", t_divides, 0},
    PLAIN(FI_ME, "upper", TEXT, f_case, 'u'),
    PLAIN(FI_ME, "lower", TEXT, f_case, 'l'),
    PLAIN(FI_ME, "capitalize", TEXT, f_case, 'c'),
    PLAIN(FI, "title", TEXT, f_case, 't'),
    PLAIN(FI, "string safe", TEXT, f_strip, 0),
    {"trim", FI, TEXT, "chars", "s", f_strip, 3},
    {"strip", ME, TEXT, "chars", "s", f_strip, 3},
    {"lstrip", ME, TEXT, "chars", "s", f_strip, 1},
    {"rstrip", ME, TEXT, "chars", "s", f_strip, 2},
    {"replace", FI, TEXT, "old new count", "TTi", f_replace, 0},
    {"replace", ME, TEXT, "old new count", "SSi", f_replace, 0},
    {"split", ME, TEXT, "sep maxsplit", "Si", m_split, 0},
    {"startswith", ME, TEXT, "prefix", "V", m_has_end, 's'},
    {"endswith", ME, TEXT, "suffix", "V", m_has_end, 'e'},
    {"join", FI, ANY, "d attribute", "tv", f_join, 'f'},
    {"join", ME, TEXT, "iterable", "V", f_join, 'm'},
    {"tojson", FI, ANY, "ensure_ascii indent separators", "vvv", f_tojson, 0},
    {"default d", FI, ANY, "default_value boolean", "vv", f_default, 0},
    PLAIN(FI, "length count", SEQ, f_length, 0),
    PLAIN(FI, "list", ANY, f_list, 0),
    PLAIN(FI, "first", ANY, f_first, 0),
    PLAIN(FI, "last", ANY, f_first, -1),
    PLAIN(FI, "items", DICT | UNDEF, f_items, 0),
    PLAIN(ME, "items", DICT, f_items, 0),
    PLAIN(ME, "keys", DICT, f_list, 0),
    PLAIN(FI, "reverse", ANY, f_reverse, 0),
    {"get", ME, DICT, "key default", "Vv", m_get, 0},
    {"sort", FI, ANY, "reverse case_sensitive attribute", "vvv", f_sort, 's'},
    {"dictsort", FI, DICT, "case_sensitive by reverse", "vsv", f_sort, 'd'},
    RAW(FI, "map", ANY, f_map, 0),
    RAW(FI, "select", ANY, f_select, 1),
    RAW(FI, "reject", ANY, f_select, 0),
    RAW(FI, "selectattr", ANY, f_select, 3),
    RAW(FI, "rejectattr", ANY, f_select, 2),
    {"raise_exception", FN, FREE, "message", "V", g_raise, 0},
    {"range", FN, FREE, "start stop step", "Iii", g_range, 0},
    {"strftime_now", FN, FREE, "format", "S", g_strftime, 0},
    RAW(FN, "dict", FREE, g_dict, J_DICT),
    RAW(FN, "namespace", FREE, g_dict, J_NS),
};
const size_t j_n_builtins = sizeof j_builtins / sizeof *j_builtins;
