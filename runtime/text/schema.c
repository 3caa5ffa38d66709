/* Schemas into rules: one after the other, as others ask for them. */
#include "schema.h"
#include <stdlib.h>
#include <string.h>
#include "schema_impl.h"

enum { MOST_ONE_OF = 64, MOST_CHOICES = 256 };
#define NOTE SC_NOTE
#define REF SC_REF
#define CHOICE SC_CHOICE
#define VALUE SC_VALUE
#define REST SC_REST
/* What is not here is not supported. NOTE: holds nobody to anything, or is read where it is referred to. */
static const struct {
    const char *name;
    int what;
} keywords[] = {
    {"title", NOTE},
    {"description", NOTE},
    {"default", NOTE},
    {"examples", NOTE},
    {"deprecated", NOTE},
    {"readOnly", NOTE},
    {"writeOnly", NOTE},
    {"$comment", NOTE},
    {"$schema", NOTE},
    {"$id", NOTE},
    {"$defs", NOTE},
    {"definitions", NOTE},
    {"$ref", REF},
    {"anyOf", CHOICE},
    {"oneOf", CHOICE},
    {"allOf", CHOICE},
    {"enum", VALUE},
    {"const", VALUE},
    {"type", REST},
    {"properties", REST},
    {"required", REST},
    {"items", REST},
    {"prefixItems", REST},
    {"additionalProperties", REST},
    {"minItems", REST},
    {"maxItems", REST},
    {"minLength", REST},
    {"maxLength", REST},
    {"pattern", REST},
    {"format", REST},
    {"minimum", REST},
    {"maximum", REST},
    {"exclusiveMinimum", REST},
    {"exclusiveMaximum", REST},
};

/* The kind of the schema's keywords, the first of REF, CHOICE, VALUE, REST that it has. */
int sc_look(sc *c, const json_t *schema, const sc_place *at) {
    const char *key, *first = NULL;
    json_t *x;
    int kind = REST;
    json_object_foreach ((json_t *)schema, key, x) {
        size_t i = 0, n = sizeof keywords / sizeof *keywords;
        while (i < n && strcmp(keywords[i].name, key)) i++;
        if (i < n && keywords[i].what < kind && keywords[i].what != NOTE) kind = keywords[i].what, first = key;
        if (i < n || c->o.lenient) continue;
        /* said to change nothing */
        if (json_is_false(x) && (!strcmp(key, "uniqueItems") || !strcmp(key, "nullable"))) continue;
        sc_fail(c, QM_ERR_UNSUPPORTED, at, key, "this keyword is not supported");
        return kind;
    }
    json_object_foreach ((json_t *)schema, key, x) {
        size_t i = 0, n = sizeof keywords / sizeof *keywords;
        while (i < n && strcmp(keywords[i].name, key)) i++;
        if (kind == REST || i == n || keywords[i].what == NOTE || !strcmp(key, first) || c->o.lenient) continue;
        if (kind == VALUE && (keywords[i].what == VALUE || !strcmp(key, "type"))) continue;
        sc_fail(c, QM_ERR_UNSUPPORTED, at, key, "not supported beside \"%s\"", first);
    }
    return kind;
}

const json_t *sc_choice(sc *c, const json_t *schema, const sc_place *at, const sc_place **list_at) {
    static const char *const names[] = {"allOf", "anyOf", "oneOf"};
    int which = 0;
    while (!json_object_get(schema, names[which])) which++;
    const json_t *all = json_object_get(schema, names[which]);
    const char *name = names[which];
    size_t n = json_array_size(all);
    if (!n) return sc_fail(c, QM_ERR_ARG, at, name, "not a list of schemas"), NULL;
    if (which == 0 && n > 1)
        return sc_fail(c, QM_ERR_UNSUPPORTED, at, name, "of several schemas: of one it is supported"), NULL;
    int most = which == 2 ? MOST_ONE_OF : MOST_CHOICES;
    if (n > (size_t)most) return sc_fail(c, QM_ERR_LIMIT, at, name, "more than %d schemas", most), NULL;
    for (size_t i = 0; which == 2 && i < n && !c->o.lenient; i++)
        for (size_t k = 0; k < i && !c->rc; k++)
            if (!sc_disjoint(c, json_array_get(all, k), json_array_get(all, i), at))
                sc_fail(c, QM_ERR_UNSUPPORTED, at, name,
                        "a value may be of both %zu and %zu, as far as is seen; anyOf takes that", k, i);
    *list_at = sc_key(c, at, name);
    return c->rc ? NULL : all;
}

static uint32_t any_of(sc *c, const json_t *schema, const sc_place *at) {
    const sc_place *list_at;
    const json_t *all = sc_choice(c, schema, at, &list_at);
    uint32_t s = QM_G_FAIL;
    for (size_t i = json_array_size(all); i-- && !c->rc;) {
        uint32_t rule = sc_rule(c, json_array_get(all, i), sc_index(c, list_at, i));
        s = qm_g_split(c->g, qm_g_call(c->g, rule, QM_G_RET), s);
    }
    return s;
}

uint32_t sc_of_types(sc *c, const json_t *schema, const sc_place *at, unsigned types) {
    qm_grammar *g = c->g;
    uint32_t s = QM_G_FAIL, end = QM_G_RET;
    if (types == T_ANY - T_INT && json_object_size(schema) == 0) return qm_g_call(g, sc_any_rule(c, T_ANY), end);
    if (types & T_NULL) s = qm_g_split(g, sc_text(c, "null", end), s);
    if (types & T_BOOL) s = qm_g_split(g, sc_text(c, "false", end), s), s = qm_g_split(g, sc_text(c, "true", end), s);
    if (types & (T_INT | T_NUM)) s = qm_g_split(g, sc_number(c, schema, at, !(types & T_NUM), end), s);
    if (types & T_STR) s = qm_g_split(g, sc_string(c, schema, at, 0, end), s);
    if (types & T_ARR) s = qm_g_split(g, sc_array(c, schema, at, end), s);
    if (types & T_OBJ) s = qm_g_split(g, sc_object(c, schema, at, end), s);
    return s;
}

/* The nodes of a schema's rule. */
static uint32_t body(sc *c, const json_t *schema, const sc_place *at) {
    const sc_place *to;
    const json_t *target;
    if (json_is_true(schema)) return qm_g_call(c->g, sc_any_rule(c, T_ANY), QM_G_RET);
    if (json_is_false(schema)) return QM_G_FAIL;
    if (!json_is_object(schema)) return sc_fail(c, QM_ERR_ARG, at, NULL, "a schema is an object, true or false");
    int kind = sc_look(c, schema, at);
    if (c->rc) return QM_G_FAIL;
    switch (kind) {
    case REF:
        target = sc_target(c, json_object_get(schema, "$ref"), at, &to);
        return target ? qm_g_call(c->g, sc_rule(c, target, to), QM_G_RET) : QM_G_FAIL;
    case CHOICE: return any_of(c, schema, at);
    case VALUE: return sc_enum(c, schema, at, 0, QM_G_RET);
    default: return sc_of_types(c, schema, at, sc_types(c, schema, at));
    }
}

/* ---- outside ---- */
void sc_begin(sc *c, const qm_schema_opts *o, qm_err *e) { *c = (sc){.o = *o, .g = o->g, .k = o->common, .e = e}; }

/* Makes the rules that are asked for, and those that these ask for. */
int sc_finish(sc *c) {
    while (c->n_done < c->n_jobs && !c->rc && !c->g->failed) {
        sc_job j = c->job[c->n_done++]; /* job grows meanwhile */
        uint32_t entry = body(c, j.schema, j.at);
        if (!c->rc && !c->g->failed) c->g->rule[j.rule].entry = entry;
    }
    if (!c->rc && c->g->failed == QM_ERR_LIMIT)
        c->rc = qm_fail(c->e, QM_ERR_LIMIT, "%sthe schema is too large", c->o.where);
    else if (!c->rc && c->g->failed) sc_nomem(c);
    for (sc_place *p = c->places, *next; p; p = next) {
        next = p->all;
        free(p);
    }
    free(c->job);
    free(c->slot);
    return c->rc;
}

int qm_schema_rule(const qm_schema_opts *o, uint32_t *rule, qm_err *e) {
    sc c;
    sc_begin(&c, o, e);
    *rule = sc_rule(&c, o->root, NULL);
    return sc_finish(&c);
}

int qm_schema_any(qm_grammar *g, qm_schema_common *k, int object, uint32_t *rule, qm_err *e) {
    sc c;
    sc_begin(&c, &(qm_schema_opts){.g = g, .common = k, .where = ""}, e);
    *rule = sc_any_rule(&c, object ? T_OBJ : T_ANY);
    return sc_finish(&c);
}

int qm_schema_line_ends(qm_grammar *g, qm_schema_common *k, uint32_t next, uint32_t *entry, qm_err *e) {
    sc c;
    sc_begin(&c, &(qm_schema_opts){.g = g, .common = k, .where = ""}, e);
    uint32_t second = qm_g_byte(g, '\n', next);
    *entry = qm_g_split(g, next, qm_g_byte(g, '\n', qm_g_split(g, next, second)));
    return sc_finish(&c);
}
