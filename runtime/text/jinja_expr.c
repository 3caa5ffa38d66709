/* Expressions. There is no tree: the parser is the evaluator. A function below reads what its rule of jinja2's grammar
 * describes, from c->at on, and returns its value:
 *
 *   expr     x if condition else y           choice: the condition comes first, wherever it stands
 *   binary   or, and, not, == in <, + -, ~, * / // %, from the loosest: by climbing precedences
 *   unary    - +                             tighter than all of them
 *   postfix  .name [index] (arguments), then |filter, is test
 *   primary  a literal, a name, ( ), [ ], { }
 *
 * Where c->dry is not 0 the same functions only parse: they go on to the same token, look up no name, call nothing,
 * and what they return means nothing (but is safe to hand on). So a template is compiled by one dry run, and the side
 * of an "or" or an inline if that is not taken is read with dry one higher. What a dry run finds that rendering needs at
 * once is left on a token: operators, filters, tests (jtok.fn), and where an inline if has its condition (jtok.link). */
#include "jinja_impl.h"

static jv postfix(jc *c, jv v, int filters);

/* ---- primary ---- */
jv j_tuple(jc *c, jv (*one)(jc *)) {
    jv all = {.k = J_LIST};
    while (!j_at(c, "%}") && !j_at(c, "}}") && !j_at(c, ")")) {
        j_add(c, &all, one(c));
        int comma = j_accept(c, ",");
        if (!comma && all.n == 1) return all.v[0];
        if (!comma) break;
    }
    if (!all.n && !j_at(c, ")")) j_unexpected(c, "an expression");
    all.k = J_TUPLE;
    return all;
}

int j_another(jc *c, const char *close, size_t *n) {
    if (j_accept(c, close)) return 0;
    if ((*n)++) j_expect(c, ",");
    return *n == 1 || !j_accept(c, close); /* a comma may stand before the bracket too */
}

/* A number, or strings side by side, which are one. */
static jv literal(jc *c, jv v) {
    while (v.k == J_STR && c->at->k == T_VALUE && c->at->v.k == J_STR) v = j_math(c, (jv[2]){v, c->at++->v}, '+');
    return v;
}

static jv name(jc *c, jv word) {
    enum { NONE = 2, FALSE = 4 }; /* where these end among the constants */
    int constant = j_word("none None false False true True", word);
    if (constant < 0) return c->dry ? (jv){.k = J_LIST} : j_lookup(c, word);
    return constant < NONE ? (jv){.k = J_NONE} : j_bool(constant >= FALSE);
}

static jv list(jc *c) {
    jv all = {.k = J_LIST};
    for (size_t n = 0; j_another(c, "]", &n);) j_add(c, &all, j_expr(c));
    return all;
}

static jv dict(jc *c) {
    jv all = {.k = J_DICT, .m = j_map(c)};
    for (size_t n = 0; j_another(c, "}", &n);) {
        jv key = j_expr(c);
        j_expect(c, ":");
        jv v = j_expr(c);
        if (!c->dry) j_set(c, all.m, key, v);
    }
    return all;
}

static jv primary(jc *c) {
    const jtok *t = c->at;
    c->line = t->line;
    if (t->k == T_VALUE) return c->at++, literal(c, t->v);
    if (t->k == T_NAME) return c->at++, name(c, t->v);
    if (j_accept(c, "[")) return list(c);
    if (j_accept(c, "{")) return dict(c);
    if (!j_accept(c, "(")) j_unexpected(c, "an expression");
    jv v = j_tuple(c, j_expr);
    j_expect(c, ")");
    return v;
}

/* ---- postfix; the sign that begins each has been read ---- */
/* [index] or [from:to:step], of which all three may be left out */
static jv subscript(jc *c, jv v) {
    jv part[3] = {0};
    int colons = 0, any = 0;
    for (;; colons++) {
        if (!j_at(c, ":") && !j_at(c, "]")) part[colons] = j_expr(c), any = 1;
        if (colons == 2 || !j_accept(c, ":")) break;
    }
    if (!colons && !any) j_unexpected(c, "an expression");
    j_expect(c, "]");
    if (c->dry) return v;
    return colons ? j_slice(c, v, part) : j_index(c, v, part[0]);
}

/* (a, b, name=c): how many are read into value and name, [J_MAX_ARGS] each. */
static size_t arguments(jc *c, jv *value, jv *name) {
    size_t n = 0, read = 0;
    for (; j_another(c, ")", &read); n++) {
        int named = c->at->k == T_NAME && j_means(c->at + 1, "=");
        if (n == J_MAX_ARGS) j_fail(c, QM_ERR_LIMIT, "more than %d arguments", J_MAX_ARGS);
        name[n] = named ? c->at->v : (jv){0};
        if (named) c->at += 2;
        value[n] = j_expr(c);
    }
    return n;
}

/* f(arguments), where f is a function, a method of a value or a macro */
static jv call(jc *c, jv f) {
    jv value[J_MAX_ARGS], name[J_MAX_ARGS];
    const jargs a = {arguments(c, value, name), value, name};
    if (c->dry) return f;
    if (f.k == J_CALL) return j_call(c, f.fn, *f.self, &a);
    if (f.k == J_UNDEF) j_undefined(c, f);
    if (f.k != J_MACRO) J_ERR(c, "%s cannot be called", j_type(f));
    return c->call_macro(c, f, &a);
}

/* The filter or test that is named here: looked up once, when the template is compiled. */
static const jbuiltin *named(jc *c, unsigned what) {
    jtok *t = c->at;
    jv name = j_expect_name(c);
    if (c->compiling) t->fn = j_named(c, what, name);
    return t->fn;
}

/* |filter and is test take v before the arguments in their brackets. */
static jv apply_in_brackets(jc *c, const jbuiltin *f, jv v) {
    jv value[J_MAX_ARGS], name[J_MAX_ARGS];
    const jargs a = {arguments(c, value, name), value, name};
    return c->dry ? v : j_call(c, f, v, &a);
}

/* The same with n arguments, 0 or 1. */
static jv apply(jc *c, const jbuiltin *f, jv v, size_t n, jv argument) {
    return c->dry ? v : j_call(c, f, v, &(jargs){n, &argument, j_unnamed});
}

static jv filter(jc *c, jv v) {
    const jbuiltin *f = named(c, J_FILTER);
    return j_accept(c, "(") ? apply_in_brackets(c, f, v) : apply(c, f, v, 0, v);
}

/* "is divisibleby 3" is the same as "is divisibleby(3)" */
static int bare_argument(jc *c) {
    if (c->at->k == T_NAME && j_word("else or and is", c->at->v) < 0) return 1;
    return c->at->k == T_VALUE || j_at(c, "[") || j_at(c, "{");
}

static jv test(jc *c, jv v) {
    int negated = j_accept(c, "not");
    const jbuiltin *f = named(c, J_TEST);
    if (j_accept(c, "(")) v = apply_in_brackets(c, f, v);
    else if (bare_argument(c)) v = apply(c, f, v, 1, postfix(c, primary(c), 0));
    else v = apply(c, f, v, 0, v);
    return negated ? j_bool(!j_true(v)) : v;
}

/* filters: whether |filter and is test may follow. After one of them no .name and no [index] does, and after a test no
 * other test. */
static jv postfix(jc *c, jv v, int filters) {
    enum { NEITHER, FILTERED, TESTED } after = NEITHER;
    for (;;) {
        if (j_accept(c, "(")) v = call(c, v);
        else if (filters && j_accept(c, "|")) v = filter(c, v), after = FILTERED;
        else if (filters && after != TESTED && j_accept(c, "is")) v = test(c, v), after = TESTED;
        else if (!after && j_accept(c, "[")) v = subscript(c, v);
        else if (!after && j_accept(c, ".")) {
            jv name = j_expect_name(c);
            v = c->dry ? name : j_attr(c, v, name);
        } else return v;
    }
}

/* ---- operators ---- */
/* -x|f is (-x)|f, so filters follow the outermost sign alone. */
static jv unary(jc *c, int filters) {
    j_enter(c), j_work(c, 0);
    int sign = j_accept(c, "-") ? '-' : j_accept(c, "+") ? '+' : 0;
    jv v = sign ? unary(c, 0) : primary(c);
    if (sign == '-' && v.k == J_FLOAT) v.f = -v.f; /* j_math subtracts integers alone */
    else if (sign && !c->dry) v = j_math(c, (jv[2]){j_int(0), v}, sign);
    v = postfix(c, v, filters);
    c->depth--;
    return v;
}

/* The operators of level `loosest` and tighter ones, to the left: a - b - c is (a - b) - c, as the right side of one
 * takes only what is tighter than it. */
static jv binary(jc *c, int loosest) {
    jv left;
    j_enter(c);
    if (loosest <= J_NOT && j_accept(c, "not")) left = j_bool(!j_true(binary(c, J_NOT)));
    else left = unary(c, 1);
    while (c->at->level && c->at->level >= loosest) {
        jtok *op = c->at++;
        const int level = op->level, negated = j_was(c, "not");
        const int decided = level == J_AND ? !j_true(left) : level == J_OR && j_true(left);
        if (negated) op = c->at, j_expect(c, "in"); /* not in */
        c->dry += decided;
        jv right = binary(c, level + 1);
        c->dry -= decided;
        c->line = op->line;
        if (c->compiling)
            op->fn = j_builtin(c, J_OPERATOR, op->v, J_MISSING); /* none for "and", "or": they are `right` */
        if (!decided && !c->dry) left = op->fn ? j_call(c, op->fn, left, &(jargs){1, &right, j_unnamed}) : right;
        if (negated) left = j_bool(!j_true(left));
        if (level == J_COMPARE && c->at->level == J_COMPARE) j_fail(c, QM_ERR_UNSUPPORTED, "a chain of comparisons");
    }
    c->depth--;
    return left;
}
jv j_without_if(jc *c) { return binary(c, J_OR); }

/* x if condition else y; x begins at `start`, whose link is the "if". Without an else: undefined. */
static jv choice(jc *c, jtok *start) {
    jv x = {0};
    j_enter(c);
    c->at = start->link + 1;
    int yes = j_true(j_without_if(c)) && !c->dry;
    jtok *rest = c->at;
    if (yes) c->at = start, x = j_without_if(c);
    c->at = rest;
    c->dry += yes;
    jv y = j_accept(c, "else") ? j_expr(c) : j_undef(start->link->v);
    c->dry -= yes;
    c->depth--;
    return yes ? x : y;
}

jv j_expr(jc *c) {
    jtok *start = c->at;
    if (start->link) return choice(c, start);
    jv v = j_without_if(c);
    if (!c->compiling || !j_at(c, "if")) return v;
    start->link = c->at;
    return choice(c, start);
}
