/* Strings, numbers, and values that are spelled out. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "digits.h"
#include "regex.h"
#include "schema_impl.h"

/* ---- strings ---- */
#define DATE                                                                                                         \
    "(((0\\d\\d[1-9]|0\\d[1-9]0|0[1-9]00|[1-9]\\d{3})-((0[13578]|1[02])-(0[1-9]|[12]\\d|3[01])|(0[469]|11)-(0[1-9]|" \
    "[12]\\d|30)|02-(0[1-9]|1\\d|2[0-8])))|(\\d\\d(0[48]|[2468][048]|[13579][26])|(0[48]|[2468][048]|[13579][26])"   \
    "00)-02-29)"
#define TIME "([01]\\d|2[0-3]):[0-5]\\d:[0-5]\\d(\\.\\d{1,6})?(Z|[-+]([01]\\d|2[0-3]):[0-5]\\d)"
#define OCTET "(25[0-5]|2[0-4]\\d|1\\d\\d|[1-9]?\\d)"
static const struct {
    const char *name, *regex;
} formats[] = {
    {"date", "^" DATE "$"},
    {"time", "^" TIME "$"},
    {"date-time", "^" DATE "T" TIME "$"},
    {"uuid", "^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$"},
    {"ipv4", "^" OCTET "(\\." OCTET "){3}$"},
    {"email", "^[A-Za-z0-9_+-]{1,20}(\\.[A-Za-z0-9_+-]{1,20}){0,2}@[A-Za-z0-9]([A-Za-z0-9-]{0,30}[A-Za-z0-9])?"
              "(\\.[A-Za-z0-9]([A-Za-z0-9-]{0,30}[A-Za-z0-9])?){1,3}$"},
};

/* d becomes what it and the expression accept; {0} stands for all. */
static void narrow(sc *c, qm_dfa *d, const char *regex, size_t n, int raw, const sc_place *at, const char *keyword) {
    qm_dfa more = {0}, both = {0};
    qm_err why;
    if (c->rc) return;
    int rc = qm_regex_dfa(&more, regex, n, QM_REGEX_SEARCH | (raw ? 0 : QM_REGEX_JSON), &why);
    sc_spend(c, &more);
    if (!rc && d->n) {
        rc = qm_dfa_both(&both, d, &more, 0, keyword, &why);
        sc_spend(c, &both);
        qm_dfa_free(&more);
        more = both;
    }
    qm_dfa_free(d);
    *d = more;
    if (rc) sc_fail(c, rc, at, keyword, "%.200s", why.msg);
}

/* A keyword that is left out where schemas are taken as far as they are understood. */
static int understood(sc *c, const char *regex, size_t n) {
    qm_dfa d;
    if (!c->o.lenient) return 1;
    int rc = qm_regex_dfa(&d, regex, n, QM_REGEX_SEARCH, NULL);
    if (!rc) qm_dfa_free(&d);
    return !rc;
}

uint32_t sc_string(sc *c, const json_t *schema, const sc_place *at, int raw, uint32_t next) {
    const json_t *pattern = json_object_get(schema, "pattern"), *format = json_object_get(schema, "format");
    uint32_t min = sc_size(c, schema, at, "minLength", 0), max = sc_size(c, schema, at, "maxLength", QM_G_ENDLESS);
    qm_dfa d = {0};
    if (!raw) next = qm_g_byte(c->g, '"', next);
    if (pattern && !json_is_string(pattern)) return sc_fail(c, QM_ERR_ARG, at, "pattern", "not a string");
    if (format && !json_is_string(format)) return sc_fail(c, QM_ERR_ARG, at, "format", "not a string");
    if (format) {
        size_t i = 0, n = sizeof formats / sizeof *formats;
        while (i < n && strcmp(formats[i].name, json_string_value(format))) i++;
        if (i < n) narrow(c, &d, formats[i].regex, strlen(formats[i].regex), raw, at, "format");
        else if (!c->o.lenient)
            return sc_fail(c, QM_ERR_UNSUPPORTED, at, "format", "\"%.60s\" is not supported",
                           json_string_value(format));
    }
    if (pattern && understood(c, json_string_value(pattern), json_string_length(pattern)))
        narrow(c, &d, json_string_value(pattern), json_string_length(pattern), raw, at, "pattern");
    uint32_t s;
    if (!d.n) {
        s = qm_g_counted(c->g, raw ? QM_G_RAW : QM_G_STRING, min, max, next);
        if (raw) s = qm_g_count(c->g, QM_G_ZERO, 0, s);
    } else {
        char length[64] = "^[\\x01-\\uffff\\S]*$";
        if (min > max) d.n = 1;
        if (max != QM_G_ENDLESS) snprintf(length, sizeof length, "^[\\x01-\\uffff\\S]{%u,%u}$", min, max);
        else if (min) snprintf(length, sizeof length, "^[\\x01-\\uffff\\S]{%u,}$", min);
        if (d.n > 1 && (min || max != QM_G_ENDLESS)) narrow(c, &d, length, strlen(length), raw, at, "maxLength");
        if (d.n > 1 && raw && !c->rc) { /* what would end the parameter is not in it */
            qm_dfa both;
            if ((c->rc = qm_dfa_both(&both, &d, qm_grammar_dfa(c->g, QM_G_RAW), 0, "a string", c->e)) == 0) {
                qm_dfa_free(&d);
                d = both;
            }
        }
        s = c->rc ? QM_G_FAIL : sc_dfa(c, &d, next);
        qm_dfa_free(&d);
    }
    return raw ? s : qm_g_byte(c->g, '"', s);
}

/* ---- numbers ---- */
/* The tighter of two bounds; side 0: below, 1: above. */
static void bound(sc *c, const json_t *schema, const sc_place *at, int side, const json_t **v, int *strict) {
    const char *names[] = {side ? "maximum" : "minimum", side ? "exclusiveMaximum" : "exclusiveMinimum"};
    for (int i = 0; i < 2; i++) {
        const json_t *x = json_object_get(schema, names[i]);
        if (x && !json_is_number(x)) sc_fail(c, QM_ERR_ARG, at, names[i], "not a number");
        if (!x || c->rc) continue;
        double d = *v ? json_number_value(x) - json_number_value(*v) : 0;
        if (!*v || (side ? d <= 0 : d >= 0)) *v = x, *strict = i;
    }
}

uint32_t sc_number(sc *c, const json_t *schema, const sc_place *at, int integer, uint32_t next) {
    qm_bounds b = {0};
    bound(c, schema, at, 0, &b.least, &b.least_strict);
    bound(c, schema, at, 1, &b.most, &b.most_strict);
    uint32_t *slot = b.least || b.most ? NULL : integer ? &c->k->integer : &c->k->number;
    if (c->rc) return QM_G_FAIL;
    if (slot && *slot) return qm_g_dfa(c->g, *slot, next);
    qm_dfa d;
    qm_err why;
    int rc = qm_number_dfa(&d, integer, &b, &why);
    if (rc == QM_ERR_UNSUPPORTED && c->o.lenient) rc = qm_number_dfa(&d, integer, &(qm_bounds){0}, &why);
    sc_spend(c, &d);
    if (rc) return sc_fail(c, rc, at, b.least ? "minimum" : "maximum", "%.200s", why.msg);
    if (!slot) return sc_dfa(c, &d, next);
    *slot = qm_g_add_dfa(c->g, &d);
    return qm_g_dfa(c->g, *slot, next);
}

/* ---- values ---- */
uint32_t sc_quoted(sc *c, const char *s, const char *after, uint32_t next) {
    next = qm_g_byte(c->g, '"', sc_text(c, after, next));
    for (size_t n = strlen(s); n;) {
        char e[7];
        size_t k = qm_json_escape_cp((uint8_t)s[--n], e);
        next = k ? qm_g_text(c->g, e, k, next) : qm_g_byte(c->g, (uint8_t)s[n], next);
    }
    return qm_g_byte(c->g, '"', next);
}

static uint32_t real(sc *c, double v, uint32_t next) {
    char s[32];
    if (v != (double)(int64_t)(v < 1e15 && v > -1e15 ? v : 0.5)) {
        qm_shortest(s, v);
        return sc_text(c, s, next);
    }
    snprintf(s, sizeof s, "%.0f", v);
    uint32_t whole = sc_text(c, s, next);
    return qm_g_split(c->g, whole, sc_text(c, s, sc_text(c, ".0", next)));
}

/* Values in an array or object, the last first, without recursion in C: what is left to do is a list. */
typedef struct todo {
    const json_t *v;
    const char *text; /* where v is NULL: this, or white space where it is empty */
    int key;          /* text is a key */
} todo;

uint32_t sc_const(sc *c, const json_t *value, int raw, uint32_t next) {
    if (raw && json_is_string(value)) return sc_text(c, json_string_value(value), next);
    size_t n = 0, cap = 64, i;
    todo *list = malloc(cap * sizeof *list);
    if (!list) return sc_nomem(c);
    list[n++] = (todo){.v = value};
    while (n && !c->rc) {
        todo t = list[--n];
        size_t more = json_is_array(t.v) ? json_array_size(t.v) : json_is_object(t.v) ? json_object_size(t.v) : 0;
        if (n + 4 * more + 8 > cap) {
            todo *v = realloc(list, (cap = 2 * (n + 4 * more + 8)) * sizeof *list);
            if (!v) {
                sc_nomem(c);
                break;
            }
            list = v;
        }
        const char *key;
        json_t *x;
        char number[32];
        switch (t.v ? json_typeof(t.v) : JSON_NULL) {
        case JSON_ARRAY:
        case JSON_OBJECT:
            list[n++] = (todo){.text = json_is_array(t.v) ? "[" : "{"};
            list[n++] = (todo){.text = ""};
            json_array_foreach ((json_t *)t.v, i, x) {
                if (i) list[n++] = (todo){.text = ","}, list[n++] = (todo){.text = ""};
                list[n++] = (todo){.v = x};
            }
            i = 0;
            json_object_foreach ((json_t *)t.v, key, x) {
                if (i++) list[n++] = (todo){.text = ","}, list[n++] = (todo){.text = ""};
                list[n++] = (todo){.text = key, .key = 1};
                list[n++] = (todo){.v = x};
            }
            if (more) list[n++] = (todo){.text = ""};
            list[n++] = (todo){.text = json_is_array(t.v) ? "]" : "}"};
            break;
        case JSON_STRING: next = sc_quoted(c, json_string_value(t.v), "", next); break;
        case JSON_INTEGER:
            snprintf(number, sizeof number, "%lld", (long long)json_integer_value(t.v));
            next = sc_text(c, number, next);
            break;
        case JSON_REAL: next = real(c, json_real_value(t.v), next); break;
        case JSON_TRUE: next = sc_text(c, "true", next); break;
        case JSON_FALSE: next = sc_text(c, "false", next); break;
        case JSON_NULL:
            if (t.v) next = sc_text(c, "null", next);
            else if (t.key) next = sc_quoted(c, t.text, ":", qm_g_split(c->g, next, qm_g_byte(c->g, ' ', next)));
            else next = *t.text ? sc_text(c, t.text, next) : sc_space(c, next);
            break;
        }
    }
    free(list);
    return c->rc ? QM_G_FAIL : next;
}

unsigned sc_type_bits(const json_t *v) {
    switch (json_typeof(v)) {
    case JSON_OBJECT: return T_OBJ;
    case JSON_ARRAY: return T_ARR;
    case JSON_STRING: return T_STR;
    case JSON_INTEGER: return T_INT | T_NUM;
    case JSON_REAL: return json_real_value(v) == floor(json_real_value(v)) ? T_INT | T_NUM : T_NUM;
    case JSON_NULL: return T_NULL;
    default: return T_BOOL;
    }
}

uint32_t sc_enum(sc *c, const json_t *schema, const sc_place *at, int raw, uint32_t next) {
    const json_t *all = json_object_get(schema, "enum"), *one = json_object_get(schema, "const");
    unsigned types = json_object_get(schema, "type") ? sc_types(c, schema, at) : T_ANY;
    uint32_t s = QM_G_FAIL;
    if (all && !json_is_array(all)) return sc_fail(c, QM_ERR_ARG, at, "enum", "not a list");
    for (size_t i = all ? json_array_size(all) : 1; i-- && !c->rc;) {
        const json_t *v = all ? json_array_get(all, i) : one;
        if (!(sc_type_bits(v) & types) || (all && one && !json_equal(v, one))) continue;
        s = qm_g_split(c->g, sc_const(c, v, raw, next), s);
    }
    return s;
}
