/* jinja2's filters and tests that chat templates use, with Python's results. Filters that give an
 * iterator there give a list here. */
#include "jinja_impl.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define F(name) static jv name(jc *c, jv *a, const jargs *raw)
#define UNUSED (void)c, (void)a, (void)raw

jv j_attr_path(jc *c, jv v, jv path) {
    if (path.k == J_INT) return j_index(c, v, path);
    jstr s = j_need_str(c, path, "attribute");
    for (size_t i = 0, k; i <= s.n; i = k + 1) {
        for (k = i; k < s.n && s.p[k] != '.';) k++;
        jstr part = j_cut(s, i, k);
        int digits = part.n > 0 && part.n < 10;
        for (size_t d = 0; d < part.n; d++) digits &= part.p[d] >= '0' && part.p[d] <= '9';
        int64_t number = 0;
        for (size_t d = 0; digits && d < part.n; d++) number = number * 10 + part.p[d] - '0';
        v = j_index(c, v, digits ? j_int(number) : j_string(part));
    }
    return v;
}
/* What sort, min, unique compare: an attribute if asked for, without case unless asked for. */
static jv key_of(jc *c, jv v, jv attribute, jv case_sensitive) {
    if (attribute.k > J_NONE) v = j_attr_path(c, v, attribute);
    return v.k == J_STR && !j_true(case_sensitive) ? j_case(c, v.s, 'l') : v;
}
typedef struct { jv key, v; } pair;
/* Stable merge sort of p[0..n) through tmp. */
static void sort_pairs(jc *c, pair *p, pair *tmp, size_t n, int sign) {
    if (n < 2) return;
    size_t h = n / 2, i = 0, j = h, k = 0;
    sort_pairs(c, p, tmp, h, sign);
    sort_pairs(c, p + h, tmp, n - h, sign);
    while (i < h || j < n) tmp[k++] = j >= n || (i < h && j_cmp(c, p[j].key, p[i].key) * sign >= 0) ? p[i++] : p[j++];
    memcpy(p, tmp, n * sizeof *p);
}
static jv sorted(jc *c, jlist l, jv attribute, jv case_sensitive, jv reverse) {
    pair *p = j_alloc(c, 2 * l.n * sizeof *p);
    for (size_t i = 0; i < l.n; i++) p[i] = (pair){key_of(c, l.v[i], attribute, case_sensitive), l.v[i]};
    sort_pairs(c, p, p + l.n, l.n, j_true(reverse) ? -1 : 1);
    jv r = j_list(J_LIST, j_alloc(c, l.n * sizeof *r.l.v), l.n);
    for (size_t i = 0; i < l.n; i++) r.l.v[i] = p[i].v;
    return r;
}
static jlist pairs(jc *c, jv v) { /* (key, value) of a dict */
    if (v.k == J_UNDEF) return (jlist){0};
    if (v.k != J_DICT) J_ERR(c, "a dict is wanted, not %s", j_type(v));
    jlist l = {j_alloc(c, v.m->n * sizeof v), v.m->n};
    for (size_t i = 0; i < l.n; i++) l.v[i] = j_list(J_TUPLE, v.m->kv + 2 * i, 2);
    return l;
}
static jv copied(jc *c, jlist l) {
    return j_list(J_LIST, l.n ? memcpy(j_alloc(c, l.n * sizeof *l.v), l.v, l.n * sizeof *l.v) : NULL, l.n);
}

F(f_abs) { UNUSED; if (!j_num(a[0])) J_ERR(c, "abs wants a number"); if (a[0].k != J_FLOAT && a[0].i == INT64_MIN) J_ERR(c, "an integer does not fit 64 bits"); return a[0].k == J_FLOAT ? j_float(fabs(a[0].f)) : j_int(llabs(a[0].i)); }
F(f_capitalize) { UNUSED; return j_case(c, j_str(c, a[0]), 'c'); }
F(f_title) { UNUSED; return j_case(c, j_str(c, a[0]), 'T'); }
F(f_lower) { UNUSED; return j_case(c, j_str(c, a[0]), 'l'); }
F(f_upper) { UNUSED; return j_case(c, j_str(c, a[0]), 'u'); }
F(f_string) { UNUSED; return j_string(j_str(c, a[0])); }
F(f_trim) { UNUSED; return j_strip(c, j_str(c, a[0]), a[1], 3); }
F(f_replace) { UNUSED; return j_replace(c, j_str(c, a[0]), j_str(c, a[1]), j_str(c, a[2]), a[3].k > J_NONE ? j_need_int(c, a[3], "replace") : -1); }
F(f_list) { UNUSED; return copied(c, j_iter(c, a[0])); }
F(f_items) { UNUSED; jlist l = pairs(c, a[0]); return j_list(J_LIST, l.v, l.n); }
F(f_default) { UNUSED; return a[0].k == J_UNDEF || (j_true(a[2]) && !j_true(a[0])) ? a[1].k ? a[1] : j_text("") : a[0]; }
F(f_sort) { UNUSED; return sorted(c, j_iter(c, a[0]), a[3], a[2], a[1]); }
F(f_count) {
    UNUSED;
    if (a[0].k != J_STR && a[0].k != J_DICT && a[0].k != J_UNDEF && a[0].k != J_LIST && a[0].k != J_TUPLE) J_ERR(c, "%s has no length", j_type(a[0]));
    return j_int((int64_t)(a[0].k == J_STR ? j_chars(c, a[0].s) : a[0].k == J_DICT ? a[0].m->n : a[0].k == J_UNDEF ? 0 : a[0].l.n));
}
F(f_dictsort) {
    UNUSED;
    jv by = a[2].k == J_STR ? a[2] : j_text("key");
    if (!j_is(by.s, "key") && !j_is(by.s, "value")) J_ERR(c, "dictsort sorts by \"key\" or \"value\"");
    return sorted(c, pairs(c, a[0]), j_int(j_is(by.s, "value")), a[1], a[3]);
}
F(f_escape) {
    UNUSED;
    static const char from[] = "&<>'\"", *const to[] = {"&amp;", "&lt;", "&gt;", "&#39;", "&#34;"};
    jstr s = j_str(c, a[0]);
    jbuf b = {0};
    for (size_t i = 0; i < s.n; i++) {
        const char *f = s.p[i] ? strchr(from, s.p[i]) : NULL;
        if (f) j_puts(c, &b, to[f - from]);
        else j_put_s(c, &b, j_cut(s, i, i + 1));
    }
    return j_buf(&b);
}
F(f_first) { UNUSED; jlist l = j_iter(c, a[0]); return l.n ? l.v[0] : (jv){.k = J_UNDEF, .s = j_text("first of nothing").s}; }
F(f_last) { UNUSED; jlist l = j_iter(c, a[0]); return l.n ? l.v[l.n - 1] : (jv){.k = J_UNDEF, .s = j_text("last of nothing").s}; }
F(f_reverse) {
    UNUSED;
    jbuf b = {0};
    jv r = copied(c, j_iter(c, a[0]));
    for (size_t i = 0; i < r.l.n / 2; i++) { jv t = r.l.v[i]; r.l.v[i] = r.l.v[r.l.n - 1 - i]; r.l.v[r.l.n - 1 - i] = t; }
    if (a[0].k != J_STR) return r;
    for (size_t i = 0; i < r.l.n; i++) j_put_s(c, &b, r.l.v[i].s);
    return j_buf(&b);
}
/* Python's float(text) and int(text, base); 0 when it is none. */
static int parse_float(jc *c, jstr s, double *f) {
    s = j_strip(c, s, j_none(), 3).s;
    char buf[64];
    size_t m = 0, lead = 0, sign = s.n && (s.p[0] == '-' || s.p[0] == '+');
    for (size_t i = sign; i < s.n && m < 60; i++) {
        if (s.p[i] == '.' && m == 0) buf[m++] = '0';
        if (s.p[i] != '_' || !m) buf[m++] = s.p[i];
        if (s.p[i] == '.' && (i + 1 == s.n || (s.p[i + 1] | 32) == 'e')) buf[m++] = '0';
    }
    buf[m] = 0;
    while (buf[lead] == '0' && buf[lead + 1] >= '0' && buf[lead + 1] <= '9') lead++;
    jv low = j_case(c, (jstr){buf, NULL, m}, 'l');
    json_t *j = *buf == '-' ? NULL : json_loadb(buf + lead, m - lead, JSON_DECODE_ANY | JSON_DECODE_INT_AS_REAL, NULL);
    int ok = json_is_real(j);
    *f = ok ? json_real_value(j) : j_is(low.s, "nan") ? NAN : INFINITY;
    ok |= j_is(low.s, "nan") || j_is(low.s, "inf") || j_is(low.s, "infinity");
    if (sign && s.p[0] == '-') *f = -*f;
    json_decref(j);
    return ok;
}
static int parse_int(jc *c, jstr s, int64_t base, int64_t *r) {
    s = j_strip(c, s, j_none(), 3).s;
    size_t i = s.n && (s.p[0] == '-' || s.p[0] == '+'), from;
    char x = i + 1 < s.n && s.p[i] == '0' ? (char)(s.p[i + 1] | 32) : 0;
    if ((base == 16 && x == 'x') || (base == 8 && x == 'o') || (base == 2 && x == 'b')) i += 2;
    if (base < 2 || base > 36) J_ERR(c, "int has a base from 2 to 36");
    for (*r = 0, from = i; i < s.n; i++) {
        char ch = s.p[i];
        int d = ch >= '0' && ch <= '9' ? ch - '0' : (ch | 32) >= 'a' && (ch | 32) <= 'z' ? (ch | 32) - 'a' + 10 : 99;
        if (ch == '_' && i > from && i + 1 < s.n && s.p[i - 1] != '_') continue;
        if (d >= base) return 0;
        if (__builtin_mul_overflow(*r, base, r) || __builtin_add_overflow(*r, *s.p == '-' ? -d : d, r)) J_ERR(c, "an integer does not fit 64 bits");
    }
    return i > from;
}
F(f_float) {
    UNUSED;
    double f;
    if (j_num(a[0])) return j_float(j_double(a[0]));
    return a[0].k == J_STR && parse_float(c, a[0].s, &f) ? j_float(f) : a[1].k ? a[1] : j_float(0);
}
F(f_int) {
    UNUSED;
    int64_t i;
    double f;
    jv none = a[1].k ? a[1] : j_int(0);
    if (a[0].k == J_INT || a[0].k == J_BOOL) return j_int(a[0].i);
    if (a[0].k == J_STR && parse_int(c, a[0].s, a[2].k ? j_need_int(c, a[2], "int") : 10, &i)) return j_int(i);
    if (a[0].k == J_FLOAT) f = a[0].f;
    else if (a[0].k != J_STR || !parse_float(c, a[0].s, &f)) return none;
    if (!isfinite(f)) return none;
    if (!(f > -9223372036854775809.0 && f < 9223372036854775808.0)) J_ERR(c, "an integer does not fit 64 bits");
    return j_int((int64_t)f);
}
F(f_indent) {
    UNUSED;
    jbuf b = {0}, w = {0};
    if (a[1].k == J_STR) j_put_s(c, &w, a[1].s);
    for (int64_t i = a[1].k == J_STR ? 0 : a[1].k ? j_need_int(c, a[1], "indent") : 4; i > 0; i--) j_puts(c, &w, " ");
    jstr s = j_str(c, a[0]);
    j_put_s(c, &b, s), j_puts(c, &b, "\n"); /* so that a line end at the end counts, as in jinja2 */
    jlist l = j_lines(c, j_buf(&b).s).l;
    b = (jbuf){0};
    for (size_t i = 0; i < l.n; i++) {
        if (i) j_puts(c, &b, "\n");
        if (i ? l.v[i].s.n || j_true(a[3]) : j_true(a[2])) j_put_s(c, &b, j_buf(&w).s);
        j_put_s(c, &b, l.v[i].s);
    }
    return j_buf(&b);
}
F(f_join) {
    UNUSED;
    jbuf b = {0};
    jlist l = j_iter(c, a[0]);
    for (size_t i = 0; i < l.n; i++) {
        if (i && a[1].k) j_put_s(c, &b, j_str(c, a[1]));
        j_put_value(c, &b, a[2].k > J_NONE ? j_attr_path(c, l.v[i], a[2]) : l.v[i], 0);
    }
    return j_buf(&b);
}
static jv extreme(jc *c, jv *a, int sign) {
    jlist l = j_iter(c, a[0]);
    size_t at = 0;
    for (size_t i = 1; i < l.n; i++)
        if (j_cmp(c, key_of(c, l.v[i], a[2], a[1]), key_of(c, l.v[at], a[2], a[1])) * sign > 0) at = i;
    return l.n ? l.v[at] : (jv){.k = J_UNDEF, .s = j_text("the extreme of nothing").s};
}
F(f_max) { UNUSED; return extreme(c, a, 1); }
F(f_min) { UNUSED; return extreme(c, a, -1); }
/* map, select, reject, selectattr, rejectattr: what names a filter or test is looked up at last here. */
static const jbuiltin *named(jc *c, const jbuiltin *table, jv name, const char *what) {
    jstr s = j_need_str(c, name, what);
    const jbuiltin *f = j_builtin(table, s, ~0u);
    if (!f) j_fail(c, QM_ERR_UNSUPPORTED, "unknown %s \"%.*s\"", what, (int)(s.n > 60 ? 60 : s.n), s.p);
    return f;
}
F(f_map) {
    jlist l = j_iter(c, a[0]);
    jv r = j_list(J_LIST, j_alloc(c, l.n * sizeof *l.v), l.n), attr = {0}, none = {0};
    for (size_t i = 0; i < raw->n_kw && !raw->n; i++) {
        if (j_is(raw->kw[2 * i].s, "attribute")) attr = raw->kw[2 * i + 1];
        else if (j_is(raw->kw[2 * i].s, "default")) none = raw->kw[2 * i + 1];
    }
    if (!attr.k && !raw->n) J_ERR(c, "map wants a filter or attribute=");
    const jbuiltin *f = attr.k ? NULL : named(c, j_filters, raw->v[0], "filter");
    jargs rest = {raw->v + 1, raw->n - !attr.k, raw->kw, raw->n_kw};
    for (size_t i = 0; i < l.n; i++) {
        r.l.v[i] = f ? j_call(c, f, &l.v[i], &rest) : j_attr_path(c, l.v[i], attr);
        if (!f && none.k && r.l.v[i].k == J_UNDEF) r.l.v[i] = none;
    }
    return r;
}
static jv chosen(jc *c, jv *a, const jargs *raw, size_t attr, int want) {
    jlist l = j_iter(c, a[0]);
    jv r = j_list(J_LIST, j_alloc(c, l.n * sizeof *l.v), 0);
    if (raw->n < attr) J_ERR(c, "an attribute is wanted");
    const jbuiltin *t = raw->n > attr ? named(c, j_tests, raw->v[attr], "test") : NULL;
    jargs rest = {t ? raw->v + attr + 1 : NULL, t ? raw->n - attr - 1 : 0, raw->kw, raw->n_kw};
    for (size_t i = 0; i < l.n; i++) {
        jv v = attr ? j_attr_path(c, l.v[i], raw->v[0]) : l.v[i];
        if (j_true(t ? j_call(c, t, &v, &rest) : v) == want) r.l.v[r.l.n++] = l.v[i];
    }
    return r;
}
F(f_select) { return chosen(c, a, raw, 0, 1); }
F(f_reject) { return chosen(c, a, raw, 0, 0); }
F(f_selectattr) { return chosen(c, a, raw, 1, 1); }
F(f_rejectattr) { return chosen(c, a, raw, 1, 0); }
F(f_round) {
    UNUSED;
    int64_t p = a[1].k ? j_need_int(c, a[1], "round") : 0;
    jstr how = a[2].k ? j_need_str(c, a[2], "round") : j_text("common").s;
    if (!j_num(a[0])) J_ERR(c, "round wants a number, not %s", j_type(a[0]));
    int up = j_is(how, "ceil"), down = j_is(how, "floor");
    if (!up && !down && !j_is(how, "common")) J_ERR(c, "round goes \"common\", \"ceil\" or \"floor\"");
    if (p > 300 || p < -300) J_ERR(c, "round to %lld digits", (long long)p);
    double x = j_double(a[0]), scale = pow(10, (double)p);
    if (up || down) return x *= scale, j_float((up ? ceil(x) : floor(x)) / scale);
    if (a[0].k != J_FLOAT) {
        if (p >= 0) return j_int(a[0].i);
        int64_t unit = p < -18 ? 0 : (int64_t)(1 / scale + 0.5), down_to;
        if (!unit) return j_int(0);
        down_to = a[0].i - ((a[0].i % unit) + unit) % unit;
        int64_t over = a[0].i - down_to;
        return j_int(over * 2 > unit || (over * 2 == unit && down_to / unit % 2) ? down_to + unit : down_to);
    }
    char buf[720]; /* printf rounds as Python does: the exact value, ties to even */
    if (p < 0 || !isfinite(x)) return j_float(isfinite(x) ? nearbyint(x * scale) / scale : x);
    snprintf(buf, sizeof buf, "%.*f", (int)p, x);
    return j_float(strtod(buf, NULL));
}
F(f_sum) {
    UNUSED;
    jlist l = j_iter(c, a[0]);
    jv r = a[2].k ? a[2] : j_int(0);
    for (size_t i = 0; i < l.n; i++) r = j_binary(c, '+', r, a[1].k > J_NONE ? j_attr_path(c, l.v[i], a[1]) : l.v[i]);
    return r;
}
F(f_unique) {
    UNUSED;
    jlist l = j_iter(c, a[0]);
    jv r = j_list(J_LIST, j_alloc(c, l.n * sizeof *l.v), 0);
    jmap seen = {0};
    for (size_t i = 0; i < l.n; i++) {
        jv key = key_of(c, l.v[i], a[2], a[1]);
        if (!j_get(c, &seen, key)) j_set(c, &seen, key, j_none()), r.l.v[r.l.n++] = l.v[i];
    }
    return r;
}
F(f_tojson) {
    UNUSED;
    jbuf b = {0}, w = {0};
    jv opt[5] = {a[1], a[2], j_text(a[2].k > J_NONE ? "," : ", "), j_text(": "), a[4]};
    if (a[3].k == J_TUPLE || a[3].k == J_LIST) {
        if (a[3].l.n != 2) J_ERR(c, "separators are two");
        opt[2] = j_string(j_need_str(c, a[3].l.v[0], "a separator")), opt[3] = j_string(j_need_str(c, a[3].l.v[1], "a separator"));
    }
    if (opt[1].k > J_NONE && opt[1].k != J_STR) {
        for (int64_t i = j_need_int(c, opt[1], "indent"); i > 0; i--) j_puts(c, &w, " ");
        opt[1] = j_buf(&w);
    }
    j_put_json(c, &b, a[0], opt, 0);
    return j_buf(&b);
}
const jbuiltin j_filters[] = {
    {"abs", "", f_abs, 1}, {"capitalize", "", f_capitalize, 1}, {"count", "", f_count, 1}, {"length", "", f_count, 1}, {"d", "default_value boolean", f_default, 1},
    {"default", "default_value boolean", f_default, 1}, {"dictsort", "case_sensitive by reverse", f_dictsort, 1}, {"e", "", f_escape, 1}, {"escape", "", f_escape, 1},
    {"first", "", f_first, 1}, {"float", "default", f_float, 1}, {"indent", "width first blank", f_indent, 1}, {"int", "default base", f_int, 1}, {"items", "", f_items, 1},
    {"join", "d attribute", f_join, 1}, {"last", "", f_last, 1}, {"list", "", f_list, 1}, {"lower", "", f_lower, 1}, {"map", "*", f_map, 1},
    {"max", "case_sensitive attribute", f_max, 1}, {"min", "case_sensitive attribute", f_min, 1}, {"reject", "*", f_reject, 1}, {"rejectattr", "*", f_rejectattr, 1},
    {"replace", "old! new! count", f_replace, 1}, {"reverse", "", f_reverse, 1}, {"round", "precision method", f_round, 1}, {"safe", "", f_string, 1}, {"select", "*", f_select, 1},
    {"selectattr", "*", f_selectattr, 1}, {"sort", "reverse case_sensitive attribute", f_sort, 1}, {"string", "", f_string, 1}, {"sum", "attribute start", f_sum, 1},
    {"title", "", f_title, 1}, {"tojson", "ensure_ascii indent separators sort_keys", f_tojson, 1}, {"trim", "chars", f_trim, 1},
    {"unique", "case_sensitive attribute", f_unique, 1}, {"upper", "", f_upper, 1}, {0}};

/* ---- tests ---- */
#define T(name, what) F(name) { UNUSED; return j_bool(what); }
T(t_boolean, a[0].k == J_BOOL)
T(t_callable, a[0].k == J_CALL || a[0].k == J_MACRO)
T(t_defined, a[0].k != J_UNDEF)
T(t_undefined, a[0].k == J_UNDEF)
T(t_divisibleby, j_eq(c, j_binary(c, '%', a[0], a[1]), j_int(0)))
T(t_even, j_eq(c, j_binary(c, '%', a[0], j_int(2)), j_int(0)))
T(t_odd, j_eq(c, j_binary(c, '%', a[0], j_int(2)), j_int(1)))
T(t_eq, j_compare(c, J_OP('=', '='), a[0], a[1]))
T(t_ne, j_compare(c, J_OP('!', '='), a[0], a[1]))
T(t_ge, j_compare(c, J_OP('>', '='), a[0], a[1]))
T(t_gt, j_compare(c, '>', a[0], a[1]))
T(t_le, j_compare(c, J_OP('<', '='), a[0], a[1]))
T(t_lt, j_compare(c, '<', a[0], a[1]))
T(t_in, j_compare(c, 'i', a[0], a[1]))
T(t_false, a[0].k == J_BOOL && !a[0].i)
T(t_true, a[0].k == J_BOOL && a[0].i)
T(t_float, a[0].k == J_FLOAT)
T(t_integer, a[0].k == J_INT)
T(t_iterable, a[0].k == J_UNDEF || (a[0].k >= J_STR && a[0].k <= J_DICT) || a[0].k == J_LOOP)
T(t_lower, j_eq(c, j_case(c, j_str(c, a[0]), 'l'), j_string(j_str(c, a[0]))) && !j_eq(c, j_case(c, j_str(c, a[0]), 'u'), j_string(j_str(c, a[0]))))
T(t_upper, j_eq(c, j_case(c, j_str(c, a[0]), 'u'), j_string(j_str(c, a[0]))) && !j_eq(c, j_case(c, j_str(c, a[0]), 'l'), j_string(j_str(c, a[0]))))
T(t_mapping, a[0].k == J_DICT)
T(t_none, a[0].k == J_NONE)
T(t_number, j_num(a[0]))
T(t_sequence, a[0].k == J_UNDEF || (a[0].k >= J_STR && a[0].k <= J_DICT))
T(t_string, a[0].k == J_STR)
const jbuiltin j_tests[] = {
    {"!=", "other!", t_ne, 1}, {"<", "other!", t_lt, 1}, {"<=", "other!", t_le, 1}, {"==", "other!", t_eq, 1}, {">", "other!", t_gt, 1}, {">=", "other!", t_ge, 1},
    {"boolean", "", t_boolean, 1}, {"callable", "", t_callable, 1}, {"defined", "", t_defined, 1}, {"divisibleby", "num!", t_divisibleby, 1}, {"eq", "other!", t_eq, 1},
    {"equalto", "other!", t_eq, 1}, {"even", "", t_even, 1}, {"false", "", t_false, 1}, {"float", "", t_float, 1}, {"ge", "other!", t_ge, 1}, {"greaterthan", "other!", t_gt, 1},
    {"gt", "other!", t_gt, 1}, {"in", "seq!", t_in, 1}, {"integer", "", t_integer, 1}, {"iterable", "", t_iterable, 1}, {"le", "other!", t_le, 1}, {"lessthan", "other!", t_lt, 1},
    {"lower", "", t_lower, 1}, {"lt", "other!", t_lt, 1}, {"mapping", "", t_mapping, 1}, {"ne", "other!", t_ne, 1}, {"none", "", t_none, 1}, {"number", "", t_number, 1},
    {"odd", "", t_odd, 1}, {"sequence", "", t_sequence, 1}, {"string", "", t_string, 1}, {"true", "", t_true, 1}, {"undefined", "", t_undefined, 1}, {"upper", "", t_upper, 1}, {0}};
