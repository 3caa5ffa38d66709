/* Methods of str, dict, list and loop, and the functions that a template finds. */
#include "jinja_impl.h"
#include <stdio.h>
#include <utf8proc.h>

#define F(name) static jv name(jc *c, jv *a, const jargs *raw)
#define UNUSED (void)c, (void)a, (void)raw

static int letter(uint32_t cp) {
    utf8proc_category_t k = utf8proc_category((utf8proc_int32_t)cp);
    return k >= UTF8PROC_CATEGORY_LU && k <= UTF8PROC_CATEGORY_LT;
}
jv j_case(jc *c, jstr s, int how) {
    jbuf b = {0};
    int start = 1;
    uint32_t cp;
    for (size_t i = 0, k; i < s.n; i += k) {
        k = j_char(s, i, &cp);
        int up = how == 'u' || (how != 'l' && start), ascii = cp < 0x80;
        uint32_t to = ascii ? (up ? cp - 32 * (cp - 'a' < 26) : cp + 32 * (cp - 'A' < 26))
                            : (uint32_t)(up ? utf8proc_toupper((utf8proc_int32_t)cp) : utf8proc_tolower((utf8proc_int32_t)cp));
        utf8proc_uint8_t out[8];
        uint8_t own[8];
        size_t n = cp == 0xdf && up ? (out[0] = 'S', out[1] = how == 'u' ? 'S' : 's', (size_t)2) : to == cp ? 0 : (size_t)utf8proc_encode_char((utf8proc_int32_t)to, out);
        memset(own, s.own && s.own[i], sizeof own);
        if (n) j_put(c, &b, (char *)out, own, n);
        else j_put_s(c, &b, j_cut(s, i, i + k));
        start = how == 't' ? !letter(cp) : how == 'T' ? j_space(cp) || (ascii && cp && strchr("-({[<", (int)cp)) : 0;
    }
    return j_buf(&b);
}
jv j_strip(jc *c, jstr s, jv chars, int sides) {
    size_t from = 0, to = s.n;
    uint32_t cp;
    jstr set = chars.k > J_NONE ? j_need_str(c, chars, "strip") : (jstr){0};
    for (int side = 1; side <= 2; side++) {
        while ((sides & side) && from < to) {
            size_t at = side == 1 ? from : to - 1;
            while (side == 2 && at > from && to - at < 4 && ((uint8_t)s.p[at] & 0xc0) == 0x80) at--;
            size_t k = j_char(s, at, &cp);
            if (chars.k > J_NONE ? j_find(c, set, j_cut(s, at, at + k), 0) == SIZE_MAX : !j_space(cp)) break;
            if (side == 1) from += k;
            else to = at;
            j_work(c, 0);
        }
    }
    return j_string(j_cut(s, from, to));
}
jv j_replace(jc *c, jstr s, jstr old, jstr new, int64_t count) {
    jbuf b = {0};
    size_t i = 0, at;
    while (count != 0 && i <= s.n && (at = j_find(c, s, old, i)) != SIZE_MAX) {
        j_put_s(c, &b, j_cut(s, i, at));
        j_put_s(c, &b, new);
        i = at + old.n;
        if (count > 0) count--;
        if (old.n) continue;
        size_t k = i < s.n ? j_char(s, i, NULL) : 1; /* between all characters */
        if (i < s.n) j_put_s(c, &b, j_cut(s, i, i + k));
        i += k;
    }
    if (i < s.n) j_put_s(c, &b, j_cut(s, i, s.n));
    return j_buf(&b);
}
static void add(jc *c, jv *l, size_t *cap, jstr s) {
    l->l.v = j_grow(c, l->l.v, l->l.n, cap, sizeof *l);
    l->l.v[l->l.n++] = j_string(s);
}
jv j_lines(jc *c, jstr s) {
    jv r = {.k = J_LIST};
    size_t cap = 0, from = 0;
    uint32_t cp;
    for (size_t i = 0, k; i < s.n;) {
        k = j_char(s, i, &cp);
        if (cp == 13 && i + 1 < s.n && s.p[i + 1] == 10) k = 2;
        if ((cp >= 10 && cp <= 13) || (cp >= 28 && cp <= 30) || cp == 0x85 || cp == 0x2028 || cp == 0x2029) add(c, &r, &cap, j_cut(s, from, i)), from = i + k;
        i += k;
    }
    if (from < s.n) add(c, &r, &cap, j_cut(s, from, s.n));
    return r;
}
/* str.split and rsplit; pieces of rsplit are found from the end and turned round. */
static jv split(jc *c, jstr s, jv sep, jv max, int right) {
    jv r = {.k = J_LIST};
    size_t cap = 0, from = 0, to = s.n, at;
    int64_t left = max.k > J_NONE ? j_need_int(c, max, "split") : -1;
    uint32_t cp;
    j_work(c, s.n);
    if (sep.k <= J_NONE) {
        while (s = j_strip(c, j_cut(s, from, to), j_none(), right ? 2 : 1).s, from = 0, to = s.n, s.n) {
            if (left-- == 0) {
                add(c, &r, &cap, s);
                break;
            }
            size_t i = 0, last = 0, end = s.n;
            for (size_t k; i < s.n; i += k) {
                k = j_char(s, i, &cp);
                if (!j_space(cp)) continue;
                end = i, last = i + k;
                if (!right) break;
            }
            if (right) add(c, &r, &cap, j_cut(s, last, s.n)), to = last;
            else add(c, &r, &cap, j_cut(s, 0, end)), from = end;
            j_work(c, i);
        }
    } else {
        jstr p = j_need_str(c, sep, "split");
        if (!p.n) J_ERR(c, "split by an empty string");
        while (left-- != 0) {
            if (!right && (at = j_find(c, s, p, from)) != SIZE_MAX) {
                add(c, &r, &cap, j_cut(s, from, at)), from = at + p.n;
                continue;
            }
            if (!right || to < p.n) break;
            for (at = to - p.n + 1; at-- > 0;)
                if (!memcmp(s.p + at, p.p, p.n)) break;
            j_work(c, to - p.n - at);
            if (at == SIZE_MAX) break;
            add(c, &r, &cap, j_cut(s, at + p.n, to)), to = at;
        }
        add(c, &r, &cap, j_cut(s, from, to));
    }
    for (size_t i = 0; right && i < r.l.n / 2; i++) { jv t = r.l.v[i]; r.l.v[i] = r.l.v[r.l.n - 1 - i]; r.l.v[r.l.n - 1 - i] = t; }
    return r;
}
static int ends_with(jc *c, jstr s, jv w, int end) {
    if (w.k == J_TUPLE) {
        for (size_t i = 0; i < w.l.n; i++)
            if (ends_with(c, s, w.l.v[i], end)) return 1;
        return 0;
    }
    jstr x = j_need_str(c, w, end ? "endswith" : "startswith");
    return x.n <= s.n && (!x.n || !memcmp(s.p + (end ? s.n - x.n : 0), x.p, x.n));
}
F(m_upper) { UNUSED; return j_case(c, a[0].s, 'u'); }
F(m_lower) { UNUSED; return j_case(c, a[0].s, 'l'); }
F(m_title) { UNUSED; return j_case(c, a[0].s, 't'); }
F(m_capitalize) { UNUSED; return j_case(c, a[0].s, 'c'); }
F(m_strip) { UNUSED; return j_strip(c, a[0].s, a[1], 3); }
F(m_lstrip) { UNUSED; return j_strip(c, a[0].s, a[1], 1); }
F(m_rstrip) { UNUSED; return j_strip(c, a[0].s, a[1], 2); }
F(m_split) { UNUSED; return split(c, a[0].s, a[1], a[2], 0); }
F(m_rsplit) { UNUSED; return split(c, a[0].s, a[1], a[2], 1); }
F(m_splitlines) { UNUSED; return j_lines(c, a[0].s); }
F(m_startswith) { UNUSED; return j_bool(ends_with(c, a[0].s, a[1], 0)); }
F(m_endswith) { UNUSED; return j_bool(ends_with(c, a[0].s, a[1], 1)); }
F(m_replace) { UNUSED; return j_replace(c, a[0].s, j_need_str(c, a[1], "replace"), j_need_str(c, a[2], "replace"), a[3].k ? j_need_int(c, a[3], "replace") : -1); }
F(m_find) { UNUSED; size_t at = j_find(c, a[0].s, j_need_str(c, a[1], "find"), 0); return j_int(at == SIZE_MAX ? -1 : (int64_t)j_chars(c, j_cut(a[0].s, 0, at))); }
F(m_removeprefix) { UNUSED; return j_string(ends_with(c, a[0].s, a[1], 0) ? j_cut(a[0].s, j_need_str(c, a[1], "removeprefix").n, a[0].s.n) : a[0].s); }
F(m_removesuffix) { UNUSED; return j_string(ends_with(c, a[0].s, a[1], 1) ? j_cut(a[0].s, 0, a[0].s.n - j_need_str(c, a[1], "removesuffix").n) : a[0].s); }
F(m_isdigit) { UNUSED; int r = a[0].s.n > 0; for (size_t i = 0; i < a[0].s.n; i++) r &= a[0].s.p[i] >= '0' && a[0].s.p[i] <= '9'; return j_bool(r); }
F(m_count) {
    UNUSED;
    int64_t n = 0;
    if (a[0].k == J_STR) {
        jstr w = j_need_str(c, a[1], "count");
        if (!w.n) return j_int((int64_t)j_chars(c, a[0].s) + 1);
        for (size_t at = 0; (at = j_find(c, a[0].s, w, at)) != SIZE_MAX; at += w.n) n++;
    }
    for (size_t i = 0; a[0].k != J_STR && i < a[0].l.n; i++) n += j_eq(c, a[0].l.v[i], a[1]);
    return j_int(n);
}
F(m_index) {
    UNUSED;
    jv r = a[0].k == J_STR ? m_find(c, a, raw) : j_int(-1);
    for (size_t i = 0; a[0].k != J_STR && r.i < 0 && i < a[0].l.n; i++)
        if (j_eq(c, a[0].l.v[i], a[1])) r.i = (int64_t)i;
    if (r.i < 0) J_ERR(c, "index finds nothing");
    return r;
}
F(m_join) {
    UNUSED;
    jbuf b = {0};
    jlist l = j_iter(c, a[1]);
    for (size_t i = 0; i < l.n; i++) j_put_s(c, &b, i ? a[0].s : (jstr){0}), j_put_s(c, &b, j_need_str(c, l.v[i], "join"));
    return j_buf(&b);
}
F(m_items) { UNUSED; return j_call(c, j_builtin(j_filters, j_text("items").s, ~0u), a, raw); }
F(m_keys) { UNUSED; jlist l = j_iter(c, a[0]); return j_list(J_LIST, l.v, l.n); }
F(m_values) { UNUSED; jlist l = j_iter(c, a[0]); for (size_t i = 0; i < l.n; i++) l.v[i] = a[0].m->kv[2 * i + 1]; return j_list(J_LIST, l.v, l.n); }
F(m_get) { UNUSED; jv *v = j_get(c, a[0].m, a[1]); return v ? *v : a[2].k ? a[2] : j_none(); }
F(m_cycle) { UNUSED; if (!raw->n) J_ERR(c, "cycle through nothing"); return raw->v[a[0].loop->i % raw->n]; }
F(m_changed) {
    UNUSED;
    jv now = j_list(J_TUPLE, (jv *)raw->v, raw->n), *last = &a[0].loop->last;
    int same = last->k && j_eq(c, *last, now);
    *last = now;
    return j_bool(!same);
}
F(m_unsafe) { UNUSED; J_ERR(c, "the template may not change a list or dict"); }

#define S (1u << J_STR)
#define L (1u << J_LIST)
#define D (1u << J_DICT)
const jbuiltin j_methods[] = {
    {"upper", "", m_upper, S}, {"lower", "", m_lower, S}, {"title", "", m_title, S}, {"capitalize", "", m_capitalize, S}, {"strip", "chars", m_strip, S},
    {"lstrip", "chars", m_lstrip, S}, {"rstrip", "chars", m_rstrip, S}, {"split", "sep maxsplit", m_split, S}, {"rsplit", "sep maxsplit", m_rsplit, S},
    {"splitlines", "", m_splitlines, S}, {"startswith", "prefix!", m_startswith, S}, {"endswith", "suffix!", m_endswith, S}, {"replace", "old! new! count", m_replace, S},
    {"find", "sub!", m_find, S}, {"removeprefix", "prefix!", m_removeprefix, S}, {"removesuffix", "suffix!", m_removesuffix, S}, {"isdigit", "", m_isdigit, S}, {"join", "iterable!", m_join, S},
    {"count", "value!", m_count, S | L | 1u << J_TUPLE}, {"index", "value!", m_index, S | L | 1u << J_TUPLE}, {"items", "", m_items, D}, {"keys", "", m_keys, D}, {"values", "", m_values, D},
    {"get", "key! default", m_get, D}, {"cycle", "*", m_cycle, 1u << J_LOOP}, {"changed", "*", m_changed, 1u << J_LOOP}, {"append", "*", m_unsafe, L}, {"extend", "*", m_unsafe, L},
    {"insert", "*", m_unsafe, L}, {"remove", "*", m_unsafe, L}, {"reverse", "*", m_unsafe, L}, {"sort", "*", m_unsafe, L}, {"pop", "*", m_unsafe, L | D}, {"clear", "*", m_unsafe, L | D},
    {"update", "*", m_unsafe, D}, {"setdefault", "*", m_unsafe, D}, {"popitem", "*", m_unsafe, D}, {0}};

/* ---- functions ---- */
F(g_raise) { UNUSED; jstr s = j_str(c, a[1]); J_ERR(c, "%.*s", (int)(s.n > 300 ? 300 : s.n), s.p); }
F(g_range) {
    UNUSED;
    int64_t at = 0, stop, step = a[3].k ? j_need_int(c, a[3], "range") : 1;
    jv r = {.k = J_LIST};
    size_t cap = 0;
    stop = j_need_int(c, a[1], "range");
    if (a[2].k) at = stop, stop = j_need_int(c, a[2], "range");
    if (!step) J_ERR(c, "range with a step of 0");
    while (step > 0 ? at < stop : at > stop) {
        if (r.l.n == 100000) j_fail(c, QM_ERR_LIMIT, "range over the limit of 100000 items"); /* jinja2's sandbox has it too */
        r.l.v = j_grow(c, r.l.v, r.l.n, &cap, sizeof r);
        r.l.v[r.l.n++] = j_int(at);
        if (__builtin_add_overflow(at, step, &at)) break;
    }
    return r;
}
F(g_strftime) {
    UNUSED;
    char buf[512], fmt[128];
    jstr s = j_need_str(c, a[1], "strftime_now");
    time_t t = time(NULL);
    struct tm local, *now = c->now ? memcpy(&local, c->now, sizeof local) : localtime_r(&t, &local);
    if (s.n >= sizeof fmt - 1) j_fail(c, QM_ERR_LIMIT, "a time format over the limit of %zu bytes", sizeof fmt - 2);
    snprintf(fmt, sizeof fmt, "%.*s ", (int)s.n, s.p); /* never empty, so that 0 means too long */
    size_t n = now ? strftime(buf, sizeof buf, fmt, now) : 0;
    if (!n) J_ERR(c, "cannot format the time");
    jbuf b = {0};
    return j_put(c, &b, buf, NULL, n - 1), j_buf(&b);
}
static jv fill(jc *c, jkind k, const jargs *raw) {
    jv r = {.k = k, .m = j_alloc(c, sizeof *r.m)};
    if (raw->n > 1 || (raw->n && raw->v[0].k != J_DICT)) J_ERR(c, "dict and namespace take a dict and named values");
    for (size_t i = 0; raw->n && i < raw->v[0].m->n; i++) j_set(c, r.m, raw->v[0].m->kv[2 * i], raw->v[0].m->kv[2 * i + 1]);
    for (size_t i = 0; i < raw->n_kw; i++) j_set(c, r.m, raw->kw[2 * i], raw->kw[2 * i + 1]);
    return r;
}
F(g_dict) { UNUSED; return fill(c, J_DICT, raw); }
F(g_namespace) { UNUSED; return fill(c, J_NS, raw); }
const jbuiltin j_functions[] = {{"raise_exception", "message!", g_raise, 1}, {"range", "start! stop step", g_range, 1}, {"strftime_now", "format!", g_strftime, 1},
                                {"dict", "*", g_dict, 1}, {"namespace", "*", g_namespace, 1}, {0}};
