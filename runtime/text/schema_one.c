/* oneOf is anyOf where no two of its schemas allow the same value: then one at most can match. What is not seen to be so
 * is refused. */
#include <string.h>
#include "schema_impl.h"

enum { LOOK_DEPTH = 8 };
static int disjoint(sc *c, const json_t *a, const json_t *b, const sc_place *at, int depth);

static int any_equal(const json_t *a, const json_t *b) {
    for (size_t i = 0; i < json_array_size(a); i++)
        for (size_t k = 0; k < json_array_size(b); k++)
            if (json_equal(json_array_get(a, i), json_array_get(b, k))) return 1;
    return 0;
}

/* The values of an enum or a const as a list of its own, or NULL. */
static json_t *values(const json_t *s) {
    json_t *one = json_object_get(s, "const"), *all = json_object_get(s, "enum");
    return one ? json_pack("[O]", one) : json_is_array(all) ? json_incref(all) : NULL;
}

static int lists(const json_t *names, const char *name) {
    for (size_t i = 0; i < json_array_size(names); i++)
        if (json_is_string(json_array_get(names, i)) && !strcmp(json_string_value(json_array_get(names, i)), name))
            return 1;
    return 0;
}

/* Objects: a property that both describe without anything in common, and one of them requires on either side; or that one
 * requires and the other does not allow. */
static int objects(sc *c, const json_t *a, const json_t *b, const sc_place *at, int depth) {
    const json_t *pa = json_object_get(a, "properties"), *pb = json_object_get(b, "properties");
    const json_t *ra = json_object_get(a, "required"), *rb = json_object_get(b, "required");
    for (size_t i = 0; i < json_array_size(ra); i++) {
        const char *key = json_string_value(json_array_get(ra, i));
        const json_t *x = key ? json_object_get(pa, key) : NULL, *y = key ? json_object_get(pb, key) : NULL;
        if (!key) continue;
        if (!y && json_is_false(json_object_get(b, "additionalProperties"))) return 1;
        if (x && y && lists(rb, key) && disjoint(c, x, y, at, depth + 1)) return 1;
    }
    for (size_t i = 0; i < json_array_size(rb); i++) {
        const char *key = json_string_value(json_array_get(rb, i));
        if (key && !json_object_get(pa, key) && json_is_false(json_object_get(a, "additionalProperties"))) return 1;
    }
    return 0;
}

/* The types of values that a schema allows, as far as it says. of: its enum or const, or NULL. */
static unsigned types(sc *c, const json_t *s, const json_t *of, const sc_place *at) {
    unsigned bits = 0;
    for (size_t i = 0; i < json_array_size(of); i++) bits |= sc_type_bits(json_array_get(of, i));
    if (bits) return bits;
    if (!json_is_object(s)) return T_ANY;
    if (json_object_get(s, "anyOf") || json_object_get(s, "oneOf") || json_object_get(s, "allOf")) return T_ANY;
    if (!json_object_get(s, "type")) return T_ANY;
    unsigned t = sc_types(c, s, at);
    return t & T_NUM ? t | T_INT : t;
}

static int disjoint(sc *c, const json_t *a, const json_t *b, const sc_place *at, int depth) {
    const sc_place *pa = at, *pb = at;
    a = sc_behind(c, a, &pa);
    b = sc_behind(c, b, &pb);
    if (!a || !b || c->rc || depth > LOOK_DEPTH) return 0;
    json_t *va = values(a), *vb = values(b);
    int both = va && vb && !any_equal(va, vb);
    unsigned ta = types(c, a, va, pa), tb = types(c, b, vb, pb);
    json_decref(va);
    json_decref(vb);
    if (both || !(ta & tb)) return 1;
    return ta == T_OBJ && tb == T_OBJ && objects(c, a, b, at, depth);
}

int sc_disjoint(sc *c, const json_t *a, const json_t *b, const sc_place *at) { return disjoint(c, a, b, at, 0); }
