/* Values: memory from an arena with a limit, sequences that share their items, dicts in order of insertion, Python's
 * truth, order, str(), repr() and json.dumps. A character keeps its origin wherever it goes; what is put between or
 * around is data. */
#include "jinja_impl.h"
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <utf8proc.h>
/* ---- errors, limits, memory ---- */
struct jchunk {
    struct jchunk *next;
    size_t n, used;
    max_align_t mem[];
};
_Noreturn void j_fail(jc *c, int code, const char *fmt, ...) {
    char msg[400];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(msg, sizeof msg, fmt, ap);
    va_end(ap);
    c->code = qm_fail(c->e, code, "template, line %d: %s", c->line, msg);
    longjmp(c->fail, 1);
}
_Noreturn void j_undefined(jc *c, jv v) {
    J_ERR(c, "\"%s\" is undefined", j_utf8(c, (jv){.k = J_STR, .n = v.n, .s = v.s}, 80));
}
void *j_alloc(jc *c, size_t n) {
    size_t limit = c->max.value_bytes, need = n < limit ? (n + 15) & ~(size_t)15 : n,
           size = need > 65536 ? need : 65536;
    if (n > limit || need > limit - c->n_bytes) j_fail(c, QM_ERR_LIMIT, "over the limit of %zu bytes of values", limit);
    if (!c->chunks || c->chunks->n - c->chunks->used < need) {
        struct jchunk *k = malloc(sizeof *k + size);
        if (!k) j_fail(c, QM_ERR_NOMEM, "no memory for %zu bytes", size);
        *k = (struct jchunk){.next = c->chunks, .n = size};
        c->chunks = k;
    }
    void *p = (char *)c->chunks->mem + c->chunks->used;
    c->chunks->used += need, c->n_bytes += need;
    return memset(p, 0, need);
}
void j_chunks_free(struct jchunk *k) {
    for (struct jchunk *next; k; k = next) next = k->next, free(k);
}
static size_t power_of_2(size_t n) { return n < 5 ? 4 * (n > 0) : (size_t)1 << (64 - __builtin_clzll(n - 1)); }
void *j_grow(jc *c, void *p, size_t n, size_t more, size_t size) {
    if (more > c->max.value_bytes / size) (void)j_alloc(c, SIZE_MAX); /* which is refused */
    if (power_of_2(n + more) == power_of_2(n)) return p;
    void *q = j_alloc(c, power_of_2(n + more) * size);
    return n ? memcpy(q, p, n * size) : q;
}
void j_enter(jc *c) {
    if (++c->depth > c->max.depth) j_fail(c, QM_ERR_LIMIT, "nested deeper than the limit of %zu", c->max.depth);
}
void j_work(jc *c, size_t items) {
    if ((c->n_steps += 1 + items / 16) > c->max.steps)
        j_fail(c, QM_ERR_LIMIT, "over the limit of %zu steps", c->max.steps);
}
/* ---- sequences: strings, lists, tuples ---- */
static size_t size_of(jv seq) { return seq.k == J_STR ? sizeof *seq.s : sizeof *seq.v; }
static void room(jc *c, jv *b, size_t more) {
    size_t limit = c->max.output_bytes;
    if (b->k == J_STR && more > limit - b->n) j_fail(c, QM_ERR_LIMIT, "over the limit of %zu bytes of output", limit);
    b->s = j_grow(c, b->s, b->n, more, size_of(*b));
}
void j_add(jc *c, jv *list, jv item) { room(c, list, 1), list->v[list->n++] = item; }
void j_put(jc *c, jv *text, uint32_t ch) { room(c, text, 1), text->s[text->n++] = ch; }
void j_cat(jc *c, jv *b, jv seq) {
    room(c, b, seq.n), j_work(c, seq.n);
    if (seq.n) memcpy((char *)b->s + b->n * size_of(seq), seq.s, seq.n * size_of(seq));
    b->n += seq.n;
}
jv j_cut(jv seq, size_t from, size_t to) {
    if (seq.n) seq.s = (uint32_t *)((char *)seq.s + from * size_of(seq));
    return seq.n = to - from, seq;
}
jv j_item(jv seq, size_t i) { return seq.k == J_STR ? j_cut(seq, i, i + 1) : seq.v[i]; }
jv j_pairs(jc *c, jv dict) {
    jv all = {.k = J_LIST};
    for (size_t i = 0; dict.k == J_DICT && i < dict.m->n; i += 2)
        j_add(c, &all, (jv){.k = J_TUPLE, .n = 2, .v = dict.m->v + i});
    return all;
}
jv j_iter(jc *c, jv v) {
    jv keys = {.k = J_LIST};
    if (v.k >= J_STR && v.k <= J_TUPLE) return v;
    if (v.k != J_UNDEF && v.k != J_DICT) J_ERR(c, "%s cannot be iterated", j_type(v));
    for (size_t i = 0; v.k == J_DICT && i < v.m->n; i += 2) j_add(c, &keys, v.m->v[i]);
    return keys;
}
jv j_text(jc *c, const char *s, size_t n, uint32_t own) {
    jv b = {.k = J_STR};
    uint32_t ch;
    for (size_t i = 0; i < n;) {
        int k = qm_utf8_decode((const uint8_t *)s + i, n - i, &ch);
        j_put(c, &b, (k > 0 ? ch : 0xfffd) | own);
        i += k > 0 ? (size_t)k : 1;
    }
    return b;
}
char *j_utf8(jc *c, jv s, size_t max) {
    utf8proc_uint8_t *p = j_alloc(c, (s.n < max ? 4 * s.n : max) + 4), *end = p;
    for (size_t i = 0; i < s.n && (size_t)(end - p) + 4 <= max; i++)
        end += utf8proc_encode_char((utf8proc_int32_t)J_CHAR(s.s[i]), end);
    return (char *)p;
}
jv j_from_json(jc *c, json_t *j, uint32_t own) {
    jv v = {.k = json_is_array(j) ? J_LIST : json_is_object(j) ? J_DICT : J_NONE};
    const char *key;
    json_t *x;
    j_work(c, 0), j_enter(c);
    if (json_is_boolean(j)) v = j_bool(json_is_true(j));
    if (json_is_integer(j)) v = j_int(json_integer_value(j));
    if (json_is_real(j)) v = j_float(json_real_value(j));
    if (json_is_string(j)) v = j_text(c, json_string_value(j), json_string_length(j), own);
    for (size_t i = 0; i < json_array_size(j); i++) j_add(c, &v, j_from_json(c, json_array_get(j, i), own));
    if (v.k == J_DICT) v.m = j_map(c);
    json_object_foreach (j, key, x)
        j_add(c, v.m, j_text(c, key, strlen(key), 0)), j_add(c, v.m, j_from_json(c, x, own)); /* keys differ */
    return c->depth--, v;
}
/* ---- truth, order, dicts ---- */
const char *j_type(jv v) {
    static const char *const name[] = {
        "nothing", "an undefined value", "None", "bool",  "int",     "float", "str", "list", "tuple",
        "dict",    "namespace",          "loop", "macro", "function"};
    return name[v.k];
}
int j_word(const char *words, jv name) {
    size_t n, k;
    for (int index = 0; *words; index++, words += n + (words[n] == ' ')) {
        n = strcspn(words, " ");
        for (k = 0; n == name.n && k < n && J_CHAR(name.s[k]) == (uint8_t)words[k];) k++;
        if (k == n && n == name.n) return index;
    }
    return -1;
}
int j_true(jv v) {
    if (v.k <= J_NONE || v.k == J_FLOAT) return v.k == J_FLOAT && v.f != 0;
    if (v.k == J_BOOL || v.k == J_INT) return v.i != 0;
    return v.k <= J_TUPLE ? v.n != 0 : v.k != J_DICT || v.m->n != 0;
}
int j_cmp(jc *c, jv a, jv b, int order) {
    int r = 0, seq = a.k >= J_STR && a.k <= J_TUPLE, ints = a.k != J_FLOAT && b.k != J_FLOAT;
    j_work(c, 0);
    if (j_num(a) && j_num(b) && ints) return (a.i > b.i) - (a.i < b.i);
    if (j_num(a) && j_num(b))
        return j_double(a) < j_double(b) ? -1 : j_double(a) > j_double(b) ? 1 : j_double(a) == j_double(b) ? 0 : 2;
    if (order && (a.k == J_UNDEF || b.k == J_UNDEF)) j_undefined(c, a.k == J_UNDEF ? a : b);
    if (order && (a.k != b.k || !seq)) J_ERR(c, "cannot order %s and %s", j_type(a), j_type(b));
    if (a.k != b.k || (seq && !order && a.n != b.n) || (a.k == J_DICT && a.m->n != b.m->n)) return 2;
    if (a.k > J_DICT) return a.m == b.m ? 0 : 2;
    j_enter(c);
    for (size_t i = 0; seq && !r && i < a.n && i < b.n; i++) {
        if (a.k == J_STR) r = (J_CHAR(a.s[i]) > J_CHAR(b.s[i])) - (J_CHAR(a.s[i]) < J_CHAR(b.s[i]));
        else if (j_cmp(c, a.v[i], b.v[i], 0)) r = order ? j_cmp(c, a.v[i], b.v[i], 1) : 2;
        if (i % 16 == 15) j_work(c, 0);
    }
    for (size_t i = 0; a.k == J_DICT && !r && i < a.m->n; i += 2) {
        jv *other = j_get(c, b.m, a.m->v[i]);
        r = other && !j_cmp(c, a.m->v[i + 1], *other, 0) ? 0 : 2;
    }
    return c->depth--, r || !seq ? r : (a.n > b.n) - (a.n < b.n);
}
jv *j_map(jc *c) {
    jv *m = j_alloc(c, sizeof *m);
    return m->k = J_LIST, m;
}
jv *j_get(jc *c, const jv *m, jv key) {
    for (size_t i = 0; i < m->n; i += 2)
        if (!j_cmp(c, m->v[i], key, 0)) return &m->v[i + 1];
    return NULL;
}
void j_set(jc *c, jv *m, jv key, jv v) {
    jv *old = j_get(c, m, key);
    if (key.k == J_MISSING || key.k == J_LIST || key.k == J_DICT) J_ERR(c, "%s cannot be a key", j_type(key));
    if (old) *old = v;
    else j_add(c, m, key), j_add(c, m, v);
}
/* ---- text of values ---- */
static void put_all(jc *c, jv *b, const char *s, uint32_t own) { j_cat(c, b, j_text(c, s, strlen(s), own)); }
/* The shortest digits that read back as x, laid out as Python's repr does. */
static void write_float(jc *c, jv *b, double x, int json) {
    char s[64], *point;
    int p = -1;
    do snprintf(s, sizeof s, "%.*e", ++p, x);
    while (p < 16 && strtod(s, NULL) != x);
    int exp = isfinite(x) ? atoi(strchr(s, 'e') + 1) : 99;
    if (exp >= -4 && exp < 16) snprintf(s, sizeof s, "%.*f", p > exp ? p - exp : 1, x);
    if (!isfinite(x))
        strcpy(s, isnan(x) ? json ? "NaN" : "nan" : x > 0 ? json ? "Infinity" : "inf" : json ? "-Infinity" : "-inf");
    if ((point = strchr(s, ','))) *point = '.'; /* of some locales */
    put_all(c, b, s, 0);
}
/* s between quotes, as repr or json.dumps escapes it. */
static void write_quoted(jc *c, jv *b, jv s, int json) {
    static const char from[] = "\n\r\t\b\f", to[] = "nrtbf";
    int has[2] = {0};
    for (size_t i = 0; i < s.n; i++) has[0] |= J_CHAR(s.s[i]) == '\'', has[1] |= J_CHAR(s.s[i]) == '"';
    uint32_t quote = json || (has[0] && !has[1]) ? '"' : '\'';
    j_work(c, s.n), j_put(c, b, quote);
    for (size_t i = 0; i < s.n; i++) {
        uint32_t ch = J_CHAR(s.s[i]);
        utf8proc_category_t k = utf8proc_category((utf8proc_int32_t)ch);
        int plain = json ? ch >= 32 : ch == ' ' || (k != UTF8PROC_CATEGORY_CN && k < UTF8PROC_CATEGORY_ZS);
        const char *e = ch && ch < 0x80 ? strchr(from, (int)ch) : NULL;
        char esc[16] = {'\\', (char)ch};
        if (e && (json || e - from < 3)) esc[1] = to[e - from];
        else if (!plain)
            snprintf(esc, sizeof esc,
                     json || (ch > 0xff && ch < 0x10000) ? "\\u%04x"
                     : ch > 0xff                         ? "\\U%08x"
                                                         : "\\x%02x",
                     ch);
        if (plain && ch != '\\' && ch != quote) j_put(c, b, s.s[i]);
        else put_all(c, b, esc, s.s[i] & J_OWN);
    }
    j_put(c, b, quote);
}
static void new_line(jc *c, jv *b, const jformat *f, size_t level) {
    if (f->indent.k) j_put(c, b, '\n');
    for (size_t i = 0; i < level && f->indent.k; i++) j_cat(c, b, f->indent);
}
void j_write(jc *c, jv *b, jv v, const jformat *f, size_t level) {
    static const char *const word[][2] = {{"None", "null"}, {"False", "false"}, {"True", "true"}};
    int dict = v.k == J_DICT, tuple = v.k == J_TUPLE && !f->json;
    jv all = dict ? j_pairs(c, v) : v;
    char s[32];
    j_enter(c), j_work(c, 0);
    if (v.k == J_INT) snprintf(s, sizeof s, "%lld", (long long)v.i), put_all(c, b, s, 0);
    else if (v.k == J_NONE || v.k == J_BOOL) put_all(c, b, word[v.k == J_BOOL ? 1 + v.i : 0][f->json], 0);
    else if (v.k == J_FLOAT) write_float(c, b, v.f, f->json);
    else if (v.k == J_STR) write_quoted(c, b, v, f->json);
    else if (v.k == J_UNDEF && !f->json) put_all(c, b, "Undefined", 0);
    else if (v.k < J_LIST || v.k > J_DICT) J_ERR(c, "%s cannot be %s", j_type(v), f->json ? "made JSON" : "printed");
    if (v.k >= J_LIST) j_put(c, b, dict ? '{' : tuple ? '(' : '[');
    for (size_t i = 0; v.k >= J_LIST && i < all.n; i++) {
        if (i) j_cat(c, b, f->item);
        new_line(c, b, f, level + 1);
        if (dict && f->json && all.v[i].v->k != J_STR)
            J_ERR(c, "a key in JSON is a string, not %s", j_type(*all.v[i].v));
        if (dict) j_write(c, b, all.v[i].v[0], f, level), j_cat(c, b, f->key);
        j_write(c, b, dict ? all.v[i].v[1] : all.v[i], f, level + 1);
    }
    if (v.k >= J_LIST && all.n) new_line(c, b, f, level);
    if (tuple && all.n == 1) j_put(c, b, ',');
    if (v.k >= J_LIST) j_put(c, b, dict ? '}' : tuple ? ')' : ']');
    c->depth--;
}
jv j_str(jc *c, jv v) {
    jv b = {.k = J_STR};
    if (v.k > J_UNDEF && v.k != J_STR)
        j_write(c, &b, v, &(jformat){0, j_text(c, ", ", 2, 0), j_text(c, ": ", 2, 0), {0}}, 0);
    return v.k == J_STR ? v : b;
}
