/* What names, attributes, items and calls mean, by jinja2's rules: what is not there is an undefined value that knows
 * its name, and becomes an error only where it is used. */
#include "jinja_impl.h"

static const jv
    nothing[J_MAX_ARGS]; /* the value of a function, which belongs to none; the names of unnamed arguments */
const jv *const j_unnamed = nothing;

jv j_undef(jv name) { return (jv){.k = J_UNDEF, .n = name.n, .s = name.s}; }

/* ---- the table of jinja_builtin.c, whose functions call this file's: reached through the context ---- */
const jbuiltin *j_builtin(const jc *c, unsigned what, jv name, jkind k) {
    for (const jbuiltin *b = c->builtins; b < c->builtins + c->n_builtins; b++)
        if (b->what & what && (!k || b->kinds & J_BIT(k)) && j_word(b->names, name) >= 0) return b;
    return NULL;
}

const jbuiltin *j_named(jc *c, unsigned what, jv name) {
    const jbuiltin *b = j_builtin(c, what, j_str(c, name), J_MISSING);
    if (!b)
        j_fail(c, QM_ERR_UNSUPPORTED, "unknown %s \"%s\"", what == J_TEST ? "test" : "filter",
               j_utf8(c, j_str(c, name), 60));
    return b;
}

/* ---- names: of the scopes, from the innermost out, then of the functions ---- */
jv j_lookup(jc *c, jv name) {
    for (jscope *s = c->scope; s; s = s->up) {
        const jv *v = j_get(c, s->vars, name);
        if (v) return *v;
    }
    const jbuiltin *f = j_builtin(c, J_FUNCTION, name, J_MISSING);
    return f ? (jv){.k = J_CALL, .fn = f, .self = nothing} : j_undef(name);
}

/* ---- attributes and items ---- */
static jv loop_attr(jc *c, const jloop *l, jv name) {
    enum { INDEX, INDEX0, LENGTH, REVINDEX, REVINDEX0, FIRST, LAST, PREVITEM, NEXTITEM };
    const int64_t i = (int64_t)l->i, n = (int64_t)l->all.n;
    switch (j_word("index index0 length revindex revindex0 first last previtem nextitem", name)) {
    case INDEX: return j_int(i + 1);
    case INDEX0: return j_int(i);
    case LENGTH: return j_int(n);
    case REVINDEX: return j_int(n - i);
    case REVINDEX0: return j_int(n - i - 1);
    case FIRST: return j_bool(i == 0);
    case LAST: return j_bool(i + 1 == n);
    case PREVITEM: return i > 0 ? j_item(l->all, l->i - 1) : j_undef(name);
    case NEXTITEM: return i + 1 < n ? j_item(l->all, l->i + 1) : j_undef(name);
    }
    j_fail(c, QM_ERR_UNSUPPORTED, "unknown loop.%s", j_utf8(c, name, 60));
}

/* v.name: a method of v's kind, or an item of a dict or namespace. */
jv j_attr(jc *c, jv v, jv name) {
    if (v.k == J_UNDEF) j_undefined(c, v);
    if (v.k == J_LOOP) return loop_attr(c, v.loop, name);
    const jbuiltin *method = j_builtin(c, J_METHOD, name, v.k);
    if (method) {
        jv *self = j_alloc(c, sizeof *self);
        *self = v;
        return (jv){.k = J_CALL, .fn = method, .self = self};
    }
    const jv *item = v.k == J_DICT || v.k == J_NS ? j_get(c, v.m, name) : NULL;
    return item ? *item : j_undef(name);
}

/* v[key]: an item of a dict, an attribute, or an item of a sequence, from the end where key is negative. */
jv j_index(jc *c, jv v, jv key) {
    const jv *item = v.k == J_DICT ? j_get(c, v.m, key) : NULL;
    if (item) return *item;
    if (v.k == J_UNDEF || key.k == J_STR) return j_attr(c, v, key);
    int is_seq = v.k >= J_STR && v.k <= J_TUPLE, is_int = key.k == J_INT || key.k == J_BOOL;
    int64_t n = is_seq ? (int64_t)v.n : 0, i = is_int ? key.i : n;
    if (i < 0) i += n;
    return i >= 0 && i < n ? j_item(v, (size_t)i) : j_undef(j_str(c, key));
}

/* ---- calls of what the table holds ---- */
/* What f is applied to. A filter on nothing but text makes text of any value. */
static jv receiver(jc *c, const jbuiltin *f, jv self) {
    if (f->kinds & J_BIT(self.k)) return self;
    if (f->kinds == J_BIT(J_STR) && f->what & J_FILTER) return j_str(c, self);
    if (self.k == J_UNDEF) j_undefined(c, self);
    J_ERR(c, "\"%s\" cannot be applied to %s", f->names, j_type(self));
}

/* An argument as its type wants it; None is as not given. */
static jv argument(jc *c, const jbuiltin *f, char type, jv v) {
    type |= 32; /* a capital: it must be there */
    if (type == 'v') return v;
    if (type == 't') return j_str(c, v);
    if (v.k == J_NONE) return (jv){0};
    if (v.k != (type == 's' ? J_STR : J_INT))
        J_ERR(c, "%s wants %s, not %s", f->names, type == 's' ? "a string" : "an integer", j_type(v));
    return v;
}

/* What is given, by place or by name, into the places that f->sig names. */
static void bind(jc *c, const jbuiltin *f, const jargs *given, jv *into) {
    const int n = (int)strlen(f->types);
    for (size_t i = 0; i < given->n; i++) {
        int at = given->name[i].k ? j_word(f->sig, given->name[i]) : (int)i;
        if (at < 0 || at >= n || into[at].k) J_ERR(c, "%s takes other arguments: (%s)", f->names, f->sig);
        into[at] = argument(c, f, f->types[at], given->v[i]);
    }
    for (int i = 0; i < n; i++)
        if (f->types[i] < 'a' && !into[i].k) J_ERR(c, "%s wants (%s)", f->names, f->sig);
}

jv j_call(jc *c, const jbuiltin *f, jv self, const jargs *args) {
    jv a[8] = {receiver(c, f, self)};
    if (f->types) bind(c, f, args, a + 1);
    c->args = args;
    return f->fn ? f->fn(c, a, f->how) : j_bool((f->how >> self.k) & 1);
}
