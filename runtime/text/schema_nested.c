/* Objects and arrays: what may follow each member. White space: after what opens, after a comma, before what closes, and a
 * blank after a colon. */
#include <stdlib.h>
#include <string.h>
#include "regex.h"
#include "schema_impl.h"

static uint32_t close_with(sc *c, const char *bracket, uint32_t next) { return sc_space(c, sc_text(c, bracket, next)); }
static uint32_t comma(sc *c, uint32_t next) { return qm_g_byte(c->g, ',', sc_space(c, next)); }
static uint32_t colon(sc *c, uint32_t next) {
    return qm_g_byte(c->g, ':', qm_g_split(c->g, next, qm_g_byte(c->g, ' ', next)));
}

/* ---- any value ---- */
/* Members of an object, whose key is what the automaton accepts, and whose values are of a rule: one or more, then end. */
static uint32_t members(sc *c, uint32_t key, uint32_t rule, uint32_t end) {
    uint32_t again = qm_g_loop(c->g);
    uint32_t member = qm_g_byte(c->g, '"', colon(c, qm_g_call(c->g, rule, again)));
    member = qm_g_byte(
        c->g, '"', key < QM_G_SHARED ? qm_g_counted(c->g, key, 0, QM_G_ENDLESS, member) : qm_g_dfa(c->g, key, member));
    qm_g_set(c->g, again, end, comma(c, member));
    return member;
}

static void make_any(sc *c) {
    qm_grammar *g = c->g;
    qm_schema_common *k = c->k;
    const json_t *nothing = NULL; /* a schema of no keywords */
    k->any_value = qm_g_rule(g);
    k->any_object = qm_g_rule(g);
    k->any_array = qm_g_rule(g);
    uint32_t end = sc_text(c, "}", QM_G_RET);
    uint32_t m = members(c, QM_G_STRING, k->any_value, close_with(c, "}", QM_G_RET));
    uint32_t object = qm_g_byte(g, '{', sc_space(c, qm_g_split(g, m, end)));
    uint32_t again = qm_g_loop(g), item = qm_g_call(g, k->any_value, again);
    qm_g_set(g, again, close_with(c, "]", QM_G_RET), comma(c, item));
    uint32_t array = qm_g_byte(g, '[', sc_space(c, qm_g_split(g, item, sc_text(c, "]", QM_G_RET))));
    uint32_t value = qm_g_split(g, qm_g_call(g, k->any_object, QM_G_RET), qm_g_call(g, k->any_array, QM_G_RET));
    value = qm_g_split(g, sc_text(c, "true", QM_G_RET), value);
    value = qm_g_split(g, sc_text(c, "false", QM_G_RET), value);
    value = qm_g_split(g, sc_text(c, "null", QM_G_RET), value);
    value = qm_g_split(g, sc_number(c, nothing, NULL, 0, QM_G_RET), value);
    value = qm_g_split(g, sc_string(c, nothing, NULL, 0, QM_G_RET), value);
    if (g->failed || c->rc) return;
    g->rule[k->any_value].entry = value;
    g->rule[k->any_object].entry = object;
    g->rule[k->any_array].entry = array;
}

uint32_t sc_any_rule(sc *c, unsigned type) {
    if (!c->k->any_value) make_any(c);
    return type == T_ANY ? c->k->any_value : type == T_OBJ ? c->k->any_object : c->k->any_array;
}

/* The rule of a keyword's schema; any value where it is not there or says true. 0: it says false. */
static uint32_t rule_under(sc *c, const json_t *schema, const sc_place *at, const char *keyword) {
    const json_t *s = json_object_get(schema, keyword);
    if (json_is_false(s)) return 0;
    return s && !json_is_true(s) ? sc_rule(c, s, sc_key(c, at, keyword)) : sc_any_rule(c, T_ANY);
}

/* ---- objects ---- */
/* Keys that are none of these: as writers of JSON spell them, so that no other spelling makes one of these of it. */
static uint32_t other_keys(sc *c, const json_t *properties) {
    const char *key;
    json_t *x;
    qm_nfa f;
    qm_dfa known, other = {0};
    if (!json_object_size(properties)) return QM_G_STRING;
    uint32_t any = sc_common(c, &c->k->key, "[\\x01-\\uffff\\S]*");
    if (c->rc) return QM_G_FAIL;
    if (qm_nfa_open(&f)) return sc_nomem(c);
    uint32_t start = qm_nfa_byte(&f, 1, 0, QM_NFA_END); /* nothing */
    json_object_foreach ((json_t *)properties, key, x) {
        uint32_t s = QM_NFA_END;
        for (size_t n = strlen(key); n;) {
            char e[7];
            size_t k = qm_json_escape_cp((uint8_t)key[--n], e);
            if (!k) s = qm_nfa_byte(&f, (uint8_t)key[n], (uint8_t)key[n], s);
            while (k) k--, s = qm_nfa_byte(&f, (uint8_t)e[k], (uint8_t)e[k], s);
        }
        start = qm_nfa_split(&f, s, start);
    }
    int rc = qm_dfa_make(&known, &f, start, "properties", c->e);
    qm_nfa_close(&f);
    if (!rc) {
        rc = qm_dfa_both(&other, qm_grammar_dfa(c->g, any), &known, 1, "properties", c->e);
        sc_spend(c, &known);
        sc_spend(c, &other);
        qm_dfa_free(&known);
    }
    if (rc) return c->rc = rc, QM_G_FAIL;
    return qm_g_add_dfa(c->g, &other);
}

typedef struct {
    const char *key;
    uint32_t rule;
    int required;
} property;

static size_t take_properties(sc *c, const json_t *schema, const sc_place *at, property *p, uint32_t extra) {
    const json_t *properties = json_object_get(schema, "properties"), *required = json_object_get(schema, "required");
    const char *key;
    json_t *x;
    size_t i, n = 0, left = 0;
    json_t *needed = json_object();
    json_array_foreach ((json_t *)required, i, x) {
        if (!json_is_string(x)) sc_fail(c, QM_ERR_ARG, sc_key(c, at, "required"), NULL, "not a list of names");
        else if (!needed || json_object_set_new(needed, json_string_value(x), json_true())) sc_nomem(c);
    }
    json_object_foreach ((json_t *)properties, key, x) {
        p[n] = (property){.key = key, .rule = sc_rule(c, x, sc_key(c, sc_key(c, at, "properties"), key))};
        p[n++].required = json_object_get(needed, key) != NULL;
    }
    /* required, and described by nothing but additionalProperties */
    json_array_foreach ((json_t *)required, i, x) {
        key = json_string_value(x);
        if (c->rc || !key || !json_object_get(needed, key) || json_object_get(properties, key)) continue;
        left++;
        if (extra) p[n++] = (property){.key = key, .rule = extra, .required = 1};
        json_object_del(needed, key); /* once */
    }
    json_decref(needed);
    return left && !extra ? SIZE_MAX : n;
}

uint32_t sc_object(sc *c, const json_t *schema, const sc_place *at, uint32_t next) {
    const json_t *properties = json_object_get(schema, "properties"), *required = json_object_get(schema, "required");
    if (properties && !json_is_object(properties)) return sc_fail(c, QM_ERR_ARG, at, "properties", "not an object");
    if (required && !json_is_array(required)) return sc_fail(c, QM_ERR_ARG, at, "required", "not a list of names");
    uint32_t extra = rule_under(c, schema, at, "additionalProperties");
    property *p = malloc((json_object_size(properties) + json_array_size(required) + 1) * sizeof *p);
    if (!p) return sc_nomem(c);
    size_t n = take_properties(c, schema, at, p, extra);
    uint32_t s = QM_G_FAIL;
    if (c->rc || n == SIZE_MAX) goto out; /* what is required is not allowed: nothing satisfies it */

    /* From the last to the first. done: may follow the members so far; go_on: begins the next one. */
    uint32_t end = close_with(c, "}", next), done = end, go_on = QM_G_FAIL;
    if (extra) {
        json_t *known = json_object();
        for (size_t i = 0; known && i < n; i++) json_object_set_new(known, p[i].key, json_null());
        go_on = known ? members(c, other_keys(c, known), extra, end) : sc_nomem(c);
        json_decref(known);
        done = qm_g_split(c->g, end, comma(c, go_on));
    }
    int all_optional = 1;
    for (size_t i = n; i-- && !c->rc;) {
        uint32_t member = sc_quoted(c, p[i].key, "", colon(c, qm_g_call(c->g, p[i].rule, done)));
        go_on = p[i].required ? member : qm_g_split(c->g, member, go_on);
        all_optional = all_optional && !p[i].required;
        done = comma(c, go_on);
        if (all_optional) done = qm_g_split(c->g, end, done);
    }
    s = all_optional ? qm_g_split(c->g, go_on, sc_text(c, "}", next)) : go_on;
    s = qm_g_byte(c->g, '{', sc_space(c, s));
out:
    free(p);
    return s;
}

/* ---- arrays ---- */
uint32_t sc_array(sc *c, const json_t *schema, const sc_place *at, uint32_t next) {
    qm_grammar *g = c->g;
    const json_t *prefix = json_object_get(schema, "prefixItems");
    uint32_t min = sc_size(c, schema, at, "minItems", 0), max = sc_size(c, schema, at, "maxItems", QM_G_ENDLESS);
    if (prefix && !json_is_array(prefix)) return sc_fail(c, QM_ERR_ARG, at, "prefixItems", "not a list");
    if (json_is_array(json_object_get(schema, "items")))
        return sc_fail(c, QM_ERR_UNSUPPORTED, at, "items", "a list of schemas: prefixItems is the name of that");
    uint32_t rest = rule_under(c, schema, at, "items"), k = (uint32_t)json_array_size(prefix);
    if (!rest && max > k) max = k;
    if (c->rc || min > max) return QM_G_FAIL;
    if (k > max) k = max;
    uint32_t end = close_with(c, "]", next), done = end, item = QM_G_FAIL;
    if (max > k) { /* behind the prefix: counted from there */
        uint32_t more_min = min > k ? min - k : 0, more_max = max == QM_G_ENDLESS ? max : max - k;
        uint32_t loop = qm_g_loop(g), at_least = qm_g_count(g, QM_G_LEAST, more_min, end);
        item = qm_g_call(g, rest, qm_g_count(g, QM_G_ADD, more_max == QM_G_ENDLESS ? more_min : more_max, loop));
        uint32_t more = comma(c, item);
        if (more_max != QM_G_ENDLESS) more = qm_g_count(g, QM_G_LESS, more_max, more);
        qm_g_set(g, loop, at_least, more);
        done = qm_g_split(g, more_min ? QM_G_FAIL : end, comma(c, item)); /* none of them is there yet */
    }
    for (uint32_t i = k; i--;) {
        uint32_t rule = sc_rule(c, json_array_get(prefix, i), sc_index(c, sc_key(c, at, "prefixItems"), i));
        item = qm_g_call(g, rule, done);
        done = comma(c, item);
        if (i >= min) done = qm_g_split(g, end, done); /* i members are there */
    }
    uint32_t s = min ? item : qm_g_split(g, item, sc_text(c, "]", next));
    return qm_g_byte(g, '[', sc_space(c, s));
}
