/* What making rules of schemas takes: errors that name their place, references, rules that others ask for. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "regex.h"
#include "schema_impl.h"

enum { MOST_WORK = 20 * 1000 * 1000 };

/* ---- places and errors ---- */
static const sc_place *new_place(sc *c, const sc_place *up, const char *key, size_t index) {
    sc_place *p = malloc(sizeof *p);
    if (!p) {
        sc_nomem(c);
        return up;
    }
    *p = (sc_place){up, key, index, c->places};
    return c->places = p;
}
const sc_place *sc_key(sc *c, const sc_place *up, const char *key) { return new_place(c, up, key, 0); }
const sc_place *sc_index(sc *c, const sc_place *up, size_t i) { return new_place(c, up, NULL, i); }

static size_t put_key(char *out, size_t cap, size_t n, const char *key) {
    if (n + 1 < cap) out[n++] = '/';
    for (; *key && n + 2 < cap; key++) {
        if (*key == '~' || *key == '/') out[n++] = '~', out[n++] = *key == '/' ? '1' : '0';
        else out[n++] = *key;
    }
    return n;
}

/* A JSON pointer (RFC 6901). */
static size_t put_place(char *out, size_t cap, const sc_place *p) {
    const sc_place *way[64];
    size_t n_way = 0, n = 0;
    for (; p; p = p->up)
        if (n_way < 64) way[n_way++] = p; /* what is deeper is cut at its beginning */
    while (n_way--) {
        char index[24];
        snprintf(index, sizeof index, "%zu", way[n_way]->index);
        n = put_key(out, cap, n, way[n_way]->key ? way[n_way]->key : index);
    }
    return n;
}

uint32_t sc_fail(sc *c, int code, const sc_place *at, const char *keyword, const char *fmt, ...) {
    char where[256], what[256];
    if (c->rc) return QM_G_FAIL;
    size_t n = put_place(where, sizeof where - 64, at);
    if (keyword) n = put_key(where, sizeof where, n, keyword);
    where[n] = '\0';
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(what, sizeof what, fmt, ap);
    va_end(ap);
    c->rc = qm_fail(c->e, code, "%s%s: %s", c->o.where, n ? where : "(the whole)", what);
    return QM_G_FAIL;
}

uint32_t sc_nomem(sc *c) {
    if (!c->rc) c->rc = qm_fail(c->e, QM_ERR_NOMEM, "%sout of memory", c->o.where);
    return QM_G_FAIL;
}

/* ---- rules ---- */
static uint32_t hash(const void *p) { return (uint32_t)((uintptr_t)p * 0x9e3779b97f4a7c15u >> 32); }

uint32_t sc_rule(sc *c, const json_t *schema, const sc_place *at) {
    if (c->rc) return 0;
    if (2 * (c->n_jobs + 1) > c->n_slots) {
        uint32_t n = c->n_slots ? 2 * c->n_slots : 64;
        uint32_t *slot = calloc(n, sizeof *slot);
        if (!slot) return sc_nomem(c), 0;
        for (uint32_t i = 0; i < c->n_jobs; i++) {
            uint32_t k = hash(c->job[i].schema) & (n - 1);
            while (slot[k]) k = (k + 1) & (n - 1);
            slot[k] = i + 1;
        }
        free(c->slot);
        c->slot = slot;
        c->n_slots = n;
    }
    uint32_t k = hash(schema) & (c->n_slots - 1);
    for (; c->slot[k]; k = (k + 1) & (c->n_slots - 1))
        if (c->job[c->slot[k] - 1].schema == schema) return c->job[c->slot[k] - 1].rule;
    if (c->n_jobs == c->cap_jobs) {
        uint32_t cap = c->cap_jobs ? 2 * c->cap_jobs : 32;
        sc_job *job = realloc(c->job, cap * sizeof *job);
        if (!job) return sc_nomem(c), 0;
        c->job = job;
        c->cap_jobs = cap;
    }
    c->job[c->n_jobs] = (sc_job){schema, at, qm_g_rule(c->g)};
    c->slot[k] = c->n_jobs + 1;
    return c->job[c->n_jobs++].rule;
}

/* ---- $ref ---- */
static int hex(char x) {
    const char *digits = "0123456789abcdef", *d = x ? strchr(digits, x | 32) : NULL;
    return d ? (int)(d - digits) : -1;
}

const json_t *sc_target(sc *c, const json_t *ref, const sc_place *at, const sc_place **to) {
    const char *s = json_string_value(ref);
    if (!s) return sc_fail(c, QM_ERR_ARG, at, "$ref", "not a string"), NULL;
    if (*s != '#' || (s[1] && s[1] != '/'))
        return sc_fail(c, QM_ERR_UNSUPPORTED, at, "$ref", "only \"#\" and \"#/...\" within the schema are supported"),
               NULL;
    const json_t *x = c->o.root;
    *to = NULL;
    s++;
    while (x && *s == '/') {
        char key[512];
        size_t n = 0;
        for (s++; *s && *s != '/' && n + 1 < sizeof key; s++) {
            char b = *s;
            if (b == '%' && hex(s[1]) >= 0 && hex(s[2]) >= 0) b = (char)(16 * hex(s[1]) + hex(s[2])), s += 2;
            if (b == '~' && (s[1] == '0' || s[1] == '1')) b = *++s == '0' ? '~' : '/';
            key[n++] = b;
        }
        key[n] = '\0';
        const char *kept = NULL;
        if (json_is_array(x)) {
            char *end;
            size_t i = strtoul(key, &end, 10);
            x = n && !*end && key[0] != '-' && key[0] != '+' ? json_array_get(x, i) : NULL;
            *to = sc_index(c, *to, i);
        } else {
            void *it = json_is_object(x) ? json_object_iter_at((json_t *)x, key) : NULL;
            x = it ? json_object_iter_value(it) : NULL;
            if (it) kept = json_object_iter_key(it);
            if (kept) *to = sc_key(c, *to, kept);
        }
    }
    if (!x || *s) return sc_fail(c, QM_ERR_ARG, at, "$ref", "\"%.100s\" leads nowhere", json_string_value(ref)), NULL;
    return x;
}

const json_t *sc_behind(sc *c, const json_t *schema, const sc_place **at) {
    for (int steps = 0; schema && steps < 100; steps++) {
        const json_t *ref = json_object_get(schema, "$ref"), *all = json_object_get(schema, "allOf");
        if (ref) schema = sc_target(c, ref, *at, at);
        else if (json_array_size(all) == 1) {
            *at = sc_index(c, sc_key(c, *at, "allOf"), 0);
            schema = json_array_get(all, 0);
        } else {
            return schema;
        }
    }
    return NULL;
}

/* ---- nodes that many need ---- */
uint32_t sc_dfa(sc *c, qm_dfa *d, uint32_t next) {
    if (d->n < 2) {
        qm_dfa_free(d);
        return QM_G_FAIL;
    }
    return qm_g_dfa(c->g, qm_g_add_dfa(c->g, d), next);
}

void sc_spend(sc *c, const qm_dfa *d) {
    c->k->work += d->work;
    if (c->k->work > MOST_WORK && !c->rc)
        c->rc =
            qm_fail(c->e, QM_ERR_LIMIT, "%sthe schema is too large: its patterns take too long to make", c->o.where);
}

uint32_t sc_common(sc *c, uint32_t *slot, const char *regex) {
    if (*slot || c->rc) return *slot;
    qm_dfa d;
    if ((c->rc = qm_regex_dfa(&d, regex, strlen(regex), QM_REGEX_JSON, c->e))) return 0;
    return *slot = qm_g_add_dfa(c->g, &d);
}

uint32_t sc_space(sc *c, uint32_t next) {
    /* JSON spelling would escape the line end and the tab: so these are plain. */
    static const char regex[] = "( |\n {0,64}|\n\t{0,16})?";
    if (!c->k->space && !c->rc) {
        qm_dfa d;
        c->rc = qm_regex_dfa(&d, regex, sizeof regex - 1, 0, c->e);
        if (!c->rc) c->k->space = qm_g_add_dfa(c->g, &d);
    }
    return c->rc ? QM_G_FAIL : qm_g_dfa(c->g, c->k->space, next);
}

uint32_t sc_text(sc *c, const char *s, uint32_t next) { return qm_g_text(c->g, s, strlen(s), next); }

uint32_t sc_size(sc *c, const json_t *schema, const sc_place *at, const char *keyword, uint32_t none) {
    const json_t *v = json_object_get(schema, keyword);
    if (!v) return none;
    double x = json_number_value(v);
    if (!json_is_number(v) || x < 0 || x != (double)(uint64_t)(x < 1e18 ? x : 0))
        return sc_fail(c, QM_ERR_ARG, at, keyword, "not a whole number of 0 or more");
    return x >= UINT32_MAX ? UINT32_MAX - 1 : (uint32_t)x;
}

/* ---- types ---- */
static unsigned type_of(sc *c, const json_t *name, const sc_place *at) {
    static const struct {
        const char *name;
        unsigned bit;
    } types[] = {{"null", T_NULL},  {"boolean", T_BOOL}, {"integer", T_INT}, {"number", T_NUM},
                 {"string", T_STR}, {"array", T_ARR},    {"object", T_OBJ}};
    for (size_t i = 0; json_is_string(name) && i < sizeof types / sizeof *types; i++)
        if (!strcmp(json_string_value(name), types[i].name)) return types[i].bit;
    sc_fail(c, QM_ERR_ARG, at, "type", "neither a type's name nor a list of some");
    return 0;
}

static int has(const json_t *schema, const char *const *names) {
    for (; *names; names++)
        if (json_object_get(schema, *names)) return 1;
    return 0;
}

unsigned sc_types(sc *c, const json_t *schema, const sc_place *at) {
    static const char *const strings[] = {"minLength", "maxLength", "pattern", "format", NULL};
    static const char *const numbers[] = {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", NULL};
    static const char *const arrays[] = {"items", "prefixItems", "minItems", "maxItems", NULL};
    static const char *const objects[] = {"properties", "required", "additionalProperties", NULL};
    const json_t *type = json_object_get(schema, "type"), *x;
    unsigned bits = 0;
    size_t i;
    if (json_is_array(type)) {
        if (!json_array_size(type)) sc_fail(c, QM_ERR_ARG, at, "type", "an empty list");
        json_array_foreach ((json_t *)type, i, x) bits |= type_of(c, x, at);
    } else if (type) {
        bits = type_of(c, type, at);
    } else { /* what the keywords are for is meant */
        bits |= has(schema, strings) ? T_STR : 0;
        bits |= has(schema, numbers) ? T_NUM : 0;
        bits |= has(schema, arrays) ? T_ARR : 0;
        bits |= has(schema, objects) ? T_OBJ : 0;
        if (!bits) bits = T_ANY;
    }
    return bits & T_NUM ? bits & ~(unsigned)T_INT : bits;
}
