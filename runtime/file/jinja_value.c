/* Values: memory from an arena with a limit, strings that know which of their bytes are the template's
 * own, and Python's str(), repr(), json.dumps, equality and order. */
#include "jinja_impl.h"
#include "unicode.h"
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <utf8proc.h>

struct jchunk { struct jchunk *next; size_t n, used; max_align_t mem[]; };

_Noreturn void j_fail(jc *c, int code, const char *fmt, ...) {
    char msg[400];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(msg, sizeof msg, fmt, ap);
    va_end(ap);
    c->code = qm_fail(c->e, code, "template, line %d: %s", c->line, msg);
    longjmp(c->fail, 1);
}
void *j_alloc(jc *c, size_t n) {
    n = (n + 15) & ~(size_t)15;
    if (n > c->max.value_bytes || c->n_bytes + n > c->max.value_bytes) j_fail(c, QM_ERR_LIMIT, "over the limit of %zu bytes of values", c->max.value_bytes);
    struct jchunk *k = c->chunks;
    if (!k || k->n - k->used < n) {
        size_t size = n > 65536 ? n : 65536;
        if (!(k = malloc(sizeof *k + size))) j_fail(c, QM_ERR_NOMEM, "no memory for %zu bytes", size);
        *k = (struct jchunk){.next = c->chunks, .n = size};
        c->chunks = k;
    }
    void *p = (char *)k->mem + k->used;
    k->used += n, c->n_bytes += n;
    return memset(p, 0, n);
}
void j_chunks_free(struct jchunk *k) {
    for (struct jchunk *next; k; k = next) next = k->next, free(k);
}
void *j_grow(jc *c, void *p, size_t n, size_t *cap, size_t size) {
    if (n < *cap) return p;
    *cap = *cap ? *cap * 2 : 4;
    void *q = j_alloc(c, *cap * size);
    return n ? memcpy(q, p, n * size) : q;
}
void j_enter(jc *c) {
    if (++c->depth > c->max.depth) j_fail(c, QM_ERR_LIMIT, "nested deeper than the limit of %zu", c->max.depth);
}
void j_work(jc *c, size_t bytes) {
    c->n_steps += 1 + bytes / 16;
    if (c->n_steps > c->max.steps) j_fail(c, QM_ERR_LIMIT, "over the limit of %zu steps", c->max.steps);
}

/* ---- strings ---- */
void j_put(jc *c, jbuf *b, const char *p, const uint8_t *own, size_t n) {
    if (n > c->max.output_bytes - b->n) j_fail(c, QM_ERR_LIMIT, "over the limit of %zu bytes of output", c->max.output_bytes);
    if (b->n + n > b->cap) {
        size_t cap = (b->n + n) * 2 + 32;
        char *q = j_alloc(c, cap * 2);
        if (b->n) memcpy(q, b->p, b->n), memcpy(q + cap, b->own, b->n);
        b->p = q, b->own = (uint8_t *)q + cap, b->cap = cap;
    }
    j_work(c, n);
    if (n) memcpy(b->p + b->n, p, n);
    if (n && own) memcpy(b->own + b->n, own, n);
    else if (n) memset(b->own + b->n, 0, n);
    b->n += n;
}
void j_puts(jc *c, jbuf *b, const char *s) { j_put(c, b, s, NULL, strlen(s)); }
void j_put_s(jc *c, jbuf *b, jstr s) { j_put(c, b, s.p, s.own, s.n); }
jv j_buf(const jbuf *b) { return j_string((jstr){b->p ? b->p : "", b->own, b->n}); }
jv j_text(const char *s) { return j_string((jstr){s, NULL, strlen(s)}); }
jstr j_cut(jstr s, size_t from, size_t to) { return (jstr){s.p + from, s.own ? s.own + from : NULL, to - from}; }
int j_is(jstr s, const char *t) { return s.n == strlen(t) && !memcmp(s.p, t, s.n); }
size_t j_char(jstr s, size_t at, uint32_t *cp) {
    uint32_t u = (uint8_t)s.p[at];
    int k = u < 0x80 ? 1 : qm_utf8_decode((const uint8_t *)s.p + at, s.n - at, &u);
    if (cp) *cp = u;
    return k > 0 ? (size_t)k : 1;
}
size_t j_chars(jc *c, jstr s) {
    size_t n = 0;
    j_work(c, s.n);
    for (size_t i = 0; i < s.n; n++) i += j_char(s, i, NULL);
    return n;
}
int j_space(uint32_t u) { /* Python's str.isspace */
    return (u >= 9 && u <= 13) || (u >= 28 && u <= 32) || u == 0x85 || u == 0xa0 || u == 0x1680 || (u >= 0x2000 && u <= 0x200a) ||
           u == 0x2028 || u == 0x2029 || u == 0x202f || u == 0x205f || u == 0x3000;
}
size_t j_find(jc *c, jstr s, jstr w, size_t from) {
    if (from > s.n) return SIZE_MAX;
    const char *at = w.n ? memmem(s.p + from, s.n - from, w.p, w.n) : s.p + from;
    j_work(c, at ? (size_t)(at - s.p) - from : s.n - from);
    return at ? (size_t)(at - s.p) : SIZE_MAX;
}
jstr j_str(jc *c, jv v) {
    if (v.k == J_STR) return v.s;
    jbuf b = {0};
    j_put_value(c, &b, v, 0);
    return j_buf(&b).s;
}
jstr j_need_str(jc *c, jv v, const char *what) {
    if (v.k != J_STR) J_ERR(c, "%s wants a string, not %s", what, j_type(v));
    return v.s;
}
int64_t j_need_int(jc *c, jv v, const char *what) {
    if (v.k != J_INT && v.k != J_BOOL) J_ERR(c, "%s wants an integer, not %s", what, j_type(v));
    return v.i;
}

/* ---- numbers, truth, order ---- */
const char *j_type(jv v) {
    static const char *const name[] = {"nothing", "an undefined value", "None", "bool", "int", "float", "str", "list", "tuple", "dict", "namespace", "loop", "macro", "function"};
    return name[v.k];
}
int j_num(jv v) { return v.k == J_INT || v.k == J_BOOL || v.k == J_FLOAT; }
double j_double(jv v) { return v.k == J_FLOAT ? v.f : (double)v.i; }
int j_true(jv v) {
    switch (v.k) {
    case J_MISSING: case J_UNDEF: case J_NONE: return 0;
    case J_BOOL: case J_INT: return v.i != 0;
    case J_FLOAT: return v.f != 0;
    case J_STR: return v.s.n != 0;
    case J_LIST: case J_TUPLE: return v.l.n != 0;
    case J_DICT: return v.m->n != 0;
    default: return 1;
    }
}
/* A number's order against another; exact, as long double holds any int64 (where it does not, so be it). */
static int cmp_num(jv a, jv b) {
    if (a.k != J_FLOAT && b.k != J_FLOAT) return (a.i > b.i) - (a.i < b.i);
    long double x = a.k == J_FLOAT ? (long double)a.f : (long double)a.i, y = b.k == J_FLOAT ? (long double)b.f : (long double)b.i;
    return x < y ? -1 : x > y ? 1 : x == y ? 0 : 2; /* 2: a NaN */
}
static int cmp_str(jc *c, jstr a, jstr b) {
    size_t n = a.n < b.n ? a.n : b.n;
    j_work(c, n);
    int r = n ? memcmp(a.p, b.p, n) : 0;
    return r ? r : (a.n > b.n) - (a.n < b.n);
}
int j_eq(jc *c, jv a, jv b) {
    j_work(c, 0);
    if (j_num(a) && j_num(b)) return cmp_num(a, b) == 0;
    if (a.k != b.k) return 0;
    if (a.k == J_STR) return a.s.n == b.s.n && !cmp_str(c, a.s, b.s);
    int same = 1;
    j_enter(c);
    if (a.k == J_LIST || a.k == J_TUPLE) {
        same = a.l.n == b.l.n;
        for (size_t i = 0; same && i < a.l.n; i++) same = j_eq(c, a.l.v[i], b.l.v[i]);
    } else if (a.k == J_DICT) {
        same = a.m->n == b.m->n;
        for (size_t i = 0; same && i < a.m->n; i++) {
            jv *v = j_get(c, b.m, a.m->kv[2 * i]);
            same = v && j_eq(c, a.m->kv[2 * i + 1], *v);
        }
    } else if (a.k > J_DICT) {
        same = a.k == J_MACRO ? a.macro.def == b.macro.def : a.m == b.m;
    }
    c->depth--;
    return same;
}
int j_cmp(jc *c, jv a, jv b) {
    if (j_num(a) && j_num(b)) return cmp_num(a, b);
    if (a.k == b.k && a.k == J_STR) return cmp_str(c, a.s, b.s);
    if (a.k != b.k || (a.k != J_LIST && a.k != J_TUPLE)) J_ERR(c, "cannot order %s and %s", j_type(a), j_type(b));
    int r = 0;
    j_enter(c);
    for (size_t i = 0; !r && i < a.l.n && i < b.l.n; i++) r = j_eq(c, a.l.v[i], b.l.v[i]) ? 0 : j_cmp(c, a.l.v[i], b.l.v[i]);
    c->depth--;
    return r ? r : (a.l.n > b.l.n) - (a.l.n < b.l.n);
}
jv *j_get(jc *c, const jmap *m, jv key) {
    for (size_t i = 0; i < m->n; i++)
        if (j_eq(c, m->kv[2 * i], key)) return &m->kv[2 * i + 1];
    return NULL;
}
void j_set(jc *c, jmap *m, jv key, jv v) {
    if (key.k == J_LIST || key.k == J_DICT) J_ERR(c, "%s cannot be a key", j_type(key));
    jv *old = j_get(c, m, key);
    if (old) {
        *old = v;
        return;
    }
    m->kv = j_grow(c, m->kv, m->n, &m->cap, 2 * sizeof *m->kv);
    m->kv[2 * m->n] = key, m->kv[2 * m->n++ + 1] = v;
}
jlist j_iter(jc *c, jv v) {
    jlist l = {0};
    if (v.k == J_LIST || v.k == J_TUPLE) return v.l;
    if (v.k == J_UNDEF) return l;
    if (v.k != J_STR && v.k != J_DICT) J_ERR(c, "%s cannot be iterated", j_type(v));
    l.v = j_alloc(c, (v.k == J_STR ? j_chars(c, v.s) : v.m->n) * sizeof *l.v);
    if (v.k == J_DICT)
        for (; l.n < v.m->n; l.n++) l.v[l.n] = v.m->kv[2 * l.n];
    else
        for (size_t i = 0, k; i < v.s.n; i += k) k = j_char(v.s, i, NULL), l.v[l.n++] = j_string(j_cut(v.s, i, i + k));
    return l;
}
jv j_from_json(jc *c, json_t *j, int trusted) {
    jv v = j_none();
    const char *key;
    json_t *x;
    j_work(c, 0);
    j_enter(c);
    switch (j ? json_typeof(j) : JSON_NULL) {
    case JSON_TRUE: v = j_bool(1); break;
    case JSON_FALSE: v = j_bool(0); break;
    case JSON_INTEGER: v = j_int(json_integer_value(j)); break;
    case JSON_REAL: v = j_float(json_real_value(j)); break;
    case JSON_STRING:
        v = j_string((jstr){json_string_value(j), NULL, json_string_length(j)});
        if (trusted) v.s.own = memset(j_alloc(c, v.s.n), 1, v.s.n);
        break;
    case JSON_ARRAY:
        v = j_list(J_LIST, j_alloc(c, json_array_size(j) * sizeof v), json_array_size(j));
        for (size_t i = 0; i < v.l.n; i++) v.l.v[i] = j_from_json(c, json_array_get(j, i), trusted);
        break;
    case JSON_OBJECT: /* keys differ: no need to look for them */
        v = (jv){.k = J_DICT, .m = j_alloc(c, sizeof *v.m)};
        v.m->kv = j_alloc(c, json_object_size(j) * 2 * sizeof v);
        v.m->cap = json_object_size(j);
        json_object_foreach(j, key, x) v.m->kv[2 * v.m->n] = j_text(key), v.m->kv[2 * v.m->n++ + 1] = j_from_json(c, x, trusted);
        break;
    default: break;
    }
    c->depth--;
    return v;
}

/* ---- text of values ---- */
/* The shortest digits that read back as x, laid out as Python's repr does. */
static void put_float(jc *c, jbuf *b, double x, int json) {
    char s[40], d[20], out[48];
    int n = 0, m = 0, exp;
    if (!isfinite(x)) {
        j_puts(c, b, isnan(x) ? json ? "NaN" : "nan" : x > 0 ? json ? "Infinity" : "inf" : json ? "-Infinity" : "-inf");
        return;
    }
    for (int p = 0; p < 17; p++) {
        snprintf(s, sizeof s, "%.*e", p, x);
        if (strtod(s, NULL) == x) break;
    }
    char *e = strchr(s, 'e');
    exp = atoi(e + 1);
    for (char *p = s; p < e; p++)
        if (*p >= '0' && *p <= '9') d[n++] = *p;
    while (n > 1 && d[n - 1] == '0') n--;
    if (signbit(x)) out[m++] = '-';
    if (exp < -4 || exp >= 16) {
        out[m++] = d[0];
        if (n > 1) out[m++] = '.', memcpy(out + m, d + 1, (size_t)n - 1), m += n - 1;
        m += snprintf(out + m, 8, "e%c%02d", exp < 0 ? '-' : '+', abs(exp));
    } else {
        for (int i = exp < 0 ? exp : 0; i < n || i <= exp + 1; i++) {
            if (i == exp + 1) out[m++] = '.';
            out[m++] = i >= 0 && i < n ? d[i] : '0';
        }
    }
    j_put(c, b, out, NULL, (size_t)m);
}
static int printable(uint32_t cp) {
    utf8proc_category_t k = cp < 0x80 ? (cp >= 32 && cp < 127 ? UTF8PROC_CATEGORY_LU : UTF8PROC_CATEGORY_CC) : utf8proc_category((utf8proc_int32_t)cp);
    return k != UTF8PROC_CATEGORY_CN && k < UTF8PROC_CATEGORY_ZS;
}
/* One character as repr (json 0), json.dumps (1) or json.dumps for ASCII (2) writes it between quotes. */
static void put_char(jc *c, jbuf *b, jstr ch, uint32_t cp, char quote, int json) {
    static const char from[] = "\n\r\t\b\f", to[] = "nrtbf";
    char s[16] = {'\\', (char)cp};
    const char *f = cp ? strchr(from, (int)cp) : NULL;
    if (cp < 0x80 && f && (json || f - from < 3)) s[1] = to[f - from];
    else if (cp == '\\' || cp == (uint8_t)quote) ;
    else if (json ? cp >= 32 && (cp < 0x7f || json < 2) : printable(cp)) { j_put_s(c, b, ch); return; }
    else if (json && cp > 0xffff) snprintf(s, sizeof s, "\\u%04x\\u%04x", 0xd800 + ((cp - 0x10000) >> 10), 0xdc00 + (cp & 0x3ff));
    else snprintf(s, sizeof s, json || (cp > 0xff && cp < 0x10000) ? "\\u%04x" : cp > 0xff ? "\\U%08x" : "\\x%02x", cp);
    uint8_t own[16];
    memset(own, ch.own && ch.own[0], sizeof own);
    j_put(c, b, s, own, strlen(s));
}
static void put_quoted(jc *c, jbuf *b, jstr s, int json) {
    uint32_t cp;
    char quote[2] = {json || (s.n && memchr(s.p, '\'', s.n) && !memchr(s.p, '"', s.n)) ? '"' : '\''};
    j_puts(c, b, quote);
    for (size_t i = 0, k, from; i < s.n;) {
        for (from = i; i < s.n && (uint8_t)s.p[i] >= 32 && (uint8_t)s.p[i] < 127 && s.p[i] != '\\' && s.p[i] != *quote;) i++;
        if (i > from) j_put_s(c, b, j_cut(s, from, i));
        if (i < s.n) k = j_char(s, i, &cp), put_char(c, b, j_cut(s, i, i + k), cp, *quote, json), i += k;
    }
    j_puts(c, b, quote);
}
void j_put_value(jc *c, jbuf *b, jv v, int repr) {
    char s[32];
    const char *o = v.k == J_LIST ? "[" : v.k == J_TUPLE ? "(" : v.k == J_NS ? "<Namespace {" : "{";
    j_enter(c);
    switch (v.k) {
    case J_MISSING: case J_UNDEF: j_puts(c, b, repr ? "Undefined" : ""); break;
    case J_NONE: j_puts(c, b, "None"); break;
    case J_BOOL: j_puts(c, b, v.i ? "True" : "False"); break;
    case J_INT: snprintf(s, sizeof s, "%lld", (long long)v.i), j_puts(c, b, s); break;
    case J_FLOAT: put_float(c, b, v.f, 0); break;
    case J_STR: if (repr) put_quoted(c, b, v.s, 0); else j_put_s(c, b, v.s); break;
    case J_LIST: case J_TUPLE:
        j_puts(c, b, o);
        for (size_t i = 0; i < v.l.n; i++) j_puts(c, b, i ? ", " : ""), j_put_value(c, b, v.l.v[i], 1);
        j_puts(c, b, v.k == J_LIST ? "]" : v.l.n == 1 ? ",)" : ")");
        break;
    case J_DICT: case J_NS:
        j_puts(c, b, o);
        for (size_t i = 0; i < v.m->n; i++) j_puts(c, b, i ? ", " : ""), j_put_value(c, b, v.m->kv[2 * i], 1), j_puts(c, b, ": "), j_put_value(c, b, v.m->kv[2 * i + 1], 1);
        j_puts(c, b, v.k == J_NS ? "}>" : "}");
        break;
    default: J_ERR(c, "%s cannot be printed", j_type(v));
    }
    c->depth--;
}
void j_put_json(jc *c, jbuf *b, jv v, const jv *opt, size_t level) {
    int ascii = j_true(opt[0]) ? 2 : 1;
    size_t n = v.k == J_DICT ? v.m->n : v.k == J_LIST || v.k == J_TUPLE ? v.l.n : 0;
    j_enter(c);
    if (v.k == J_STR) put_quoted(c, b, v.s, ascii);
    else if (v.k == J_FLOAT) put_float(c, b, v.f, 1);
    else if (v.k == J_INT) j_put_value(c, b, v, 0);
    else if (v.k == J_NONE || v.k == J_BOOL) j_puts(c, b, v.k == J_NONE ? "null" : v.i ? "true" : "false");
    else if (v.k == J_DICT || v.k == J_LIST || v.k == J_TUPLE) {
        j_puts(c, b, v.k == J_DICT ? "{" : "[");
        jlist keys = {0};
        if (v.k == J_DICT && j_true(opt[4])) keys = j_call(c, j_builtin(j_filters, j_text("sort").s, ~0u), &(jv){.k = J_DICT, .m = v.m}, &(jargs){(jv[]){j_bool(0), j_bool(1)}, 2, NULL, 0}).l;
        for (size_t i = 0; i < n; i++) {
            if (i) j_put_s(c, b, opt[2].s);
            for (size_t k = 0; opt[1].k == J_STR && k <= level + 1; k++) k ? j_put_s(c, b, opt[1].s) : j_puts(c, b, "\n");
            if (v.k == J_DICT) {
                jv key = keys.v ? keys.v[i] : v.m->kv[2 * i];
                if (key.k == J_TUPLE || key.k > J_DICT || key.k == J_UNDEF) J_ERR(c, "%s cannot be a key in JSON", j_type(key));
                if (key.k != J_STR) j_puts(c, b, "\""), j_put_json(c, b, key, opt, 0), j_puts(c, b, "\"");
                else put_quoted(c, b, key.s, ascii);
                j_put_s(c, b, opt[3].s);
                j_put_json(c, b, keys.v ? *j_get(c, v.m, key) : v.m->kv[2 * i + 1], opt, level + 1);
            } else {
                j_put_json(c, b, v.l.v[i], opt, level + 1);
            }
        }
        for (size_t k = 0; n && opt[1].k == J_STR && k <= level; k++) k ? j_put_s(c, b, opt[1].s) : j_puts(c, b, "\n");
        j_puts(c, b, v.k == J_DICT ? "}" : "]");
    } else {
        J_ERR(c, "%s is not JSON serializable", j_type(v));
    }
    c->depth--;
}
