/* Arguments as Qwen3-Coder writes them: each property's value between tags, a string as it is, all else as JSON. */
#include <stdlib.h>
#include <string.h>
#include "schema_impl.h"

enum { CHOICE_DEPTH = 16 };

static uint32_t value(sc *c, const json_t *schema, const sc_place *at, int depth, uint32_t next) {
    schema = sc_behind(c, schema, &at);
    if (c->rc) return QM_G_FAIL;
    if (!schema || depth > CHOICE_DEPTH) return sc_fail(c, QM_ERR_ARG, at, NULL, "schemas lead in a circle");
    if (json_is_false(schema)) return QM_G_FAIL;
    if (!json_is_object(schema) && !json_is_true(schema))
        return sc_fail(c, QM_ERR_ARG, at, NULL, "a schema is an object, true or false");
    int kind = json_is_true(schema) ? SC_REST : sc_look(c, schema, at);
    if (c->rc) return QM_G_FAIL;
    if (kind == SC_VALUE) return sc_enum(c, schema, at, 1, next);
    if (kind == SC_CHOICE) {
        const sc_place *list_at;
        const json_t *all = sc_choice(c, schema, at, &list_at);
        uint32_t s = QM_G_FAIL;
        for (size_t i = json_array_size(all); i-- && !c->rc;)
            s = qm_g_split(c->g, value(c, json_array_get(all, i), sc_index(c, list_at, i), depth + 1, next), s);
        return s;
    }
    unsigned types = sc_types(c, schema, at);
    if (c->rc) return QM_G_FAIL;
    if (!(types & T_STR)) return qm_g_call(c->g, sc_rule(c, schema, at), next);
    uint32_t s = sc_string(c, schema, at, 1, next), rule;
    if (!(types &= ~(unsigned)T_STR)) return s;
    rule = qm_g_rule(c->g);
    uint32_t entry = sc_of_types(c, schema, at, types);
    if (c->g->failed || c->rc) return QM_G_FAIL;
    c->g->rule[rule].entry = entry;
    return qm_g_split(c->g, s, qm_g_call(c->g, rule, next));
}

int qm_schema_parameters(const qm_schema_opts *o, uint32_t next, uint32_t *entry, qm_err *e) {
    sc c;
    sc_begin(&c, o, e);
    const sc_place *at = NULL;
    const json_t *schema = sc_behind(&c, o->root, &at);
    const json_t *properties = json_object_get(schema, "properties"), *required = json_object_get(schema, "required");
    *entry = next;
    if (!c.rc && !json_is_object(schema) && !json_is_true(schema))
        sc_fail(&c, QM_ERR_ARG, at, NULL, "no schema of an object");
    if (!c.rc && json_is_object(schema) && sc_look(&c, schema, at) != SC_REST)
        sc_fail(&c, QM_ERR_UNSUPPORTED, at, NULL, "parameters that are not plainly an object's properties");
    if (!c.rc && json_is_object(schema) && !(sc_types(&c, schema, at) & T_OBJ))
        sc_fail(&c, QM_ERR_ARG, at, "type", "parameters are an object");
    if (properties && !json_is_object(properties)) sc_fail(&c, QM_ERR_ARG, at, "properties", "not an object");
    for (size_t i = 0; i < json_array_size(required) && !c.rc; i++) {
        const char *name = json_string_value(json_array_get(required, i));
        if (!name || !json_object_get(properties, name))
            sc_fail(&c, QM_ERR_UNSUPPORTED, at, "required", "a name that is not among the properties");
    }
    const sc_place *below = sc_key(&c, at, "properties");
    size_t n = json_object_size(properties);
    const char *key, **keys = malloc((n + 1) * sizeof *keys);
    json_t *x;
    if (!keys) sc_nomem(&c);
    n = 0;
    json_object_foreach ((json_t *)properties, key, x)
        if (keys) keys[n++] = key;
    while (n-- && !c.rc) { /* the last first */
        int needed = 0;
        for (size_t r = 0; r < json_array_size(required); r++)
            needed |= !strcmp(json_string_value(json_array_get(required, r)), keys[n]);
        if (strpbrk(keys[n], ">\n"))
            sc_fail(&c, QM_ERR_UNSUPPORTED, below, keys[n], "a name with > or a line end in it");
        uint32_t s = sc_text(&c, "\n</parameter>\n", *entry);
        s = value(&c, json_object_get(properties, keys[n]), sc_key(&c, below, keys[n]), 0, s);
        s = sc_text(&c, "<parameter=", sc_text(&c, keys[n], sc_text(&c, ">\n", s)));
        *entry = needed ? s : qm_g_split(c.g, s, *entry);
    }
    free(keys);
    return sc_finish(&c);
}
