/* One walk over the tokens, by jinja2's grammar. A template is compiled by walking over it dry: all is parsed
 * and no value is made. Rendering walks with values, and dry over what is not taken: the branch of an if, the
 * other side of an "or". Names live in scopes as in jinja2: a loop's body and a macro have their own, an if has
 * none. Every step is in j_work and every nesting in j_enter, so that all templates end and the stack suffices. */
#include "jinja_impl.h"

static jv expr(jc *c);
static jv postfix(jc *c, jv v, int filters);
static jv caught(jc *c, jscope *up, const jargs *a, const char *end);
static const jv no_names[J_MAX_ARGS];
/* ---- names, attributes, calls ---- */
static jv undefined(jv name) { return (jv){.k = J_UNDEF, .n = name.n, .s = name.s}; }
static jv lookup(jc *c, jv name) {
    jv *v;
    for (jscope *s = c->scope; s; s = s->up)
        if ((v = j_get(c, s->vars, name))) return *v;
    const jbuiltin *f = j_builtin(J_FUNCTION, name, J_MISSING);
    return f ? (jv){.k = J_CALL, .fn = f, .self = no_names} : undefined(name);
}
static jv loop_attr(jc *c, const jloop *l, jv name) {
    int64_t i = (int64_t)l->i, n = (int64_t)l->all.n;
    int k = j_word("index index0 length revindex revindex0 first last previtem nextitem", name);
    if (k < 0) j_fail(c, QM_ERR_UNSUPPORTED, "unknown loop.%s", j_utf8(c, name, 60));
    if (k < 5) return j_int((int64_t[]){i + 1, i, n, n - i, n - i - 1}[k]);
    if (k < 7) return j_bool(k == 5 ? i == 0 : i + 1 == n);
    return k == 7 && i > 0       ? j_item(l->all, l->i - 1)
           : k == 8 && i + 1 < n ? j_item(l->all, l->i + 1)
                                 : undefined(name);
}
jv j_attr(jc *c, jv v, jv name) {
    if (v.k == J_UNDEF) j_undefined(c, v);
    if (v.k == J_LOOP) return loop_attr(c, v.loop, name);
    const jbuiltin *f = j_builtin(J_METHOD, name, v.k);
    jv *x = f ? j_alloc(c, sizeof *x) : v.k == J_DICT || v.k == J_NS ? j_get(c, v.m, name) : NULL;
    if (f) return *x = v, (jv){.k = J_CALL, .fn = f, .self = x};
    return x ? *x : undefined(name);
}
jv j_index(jc *c, jv v, jv key) {
    jv *x = v.k == J_DICT ? j_get(c, v.m, key) : NULL;
    if (x) return *x;
    if (v.k == J_UNDEF || key.k == J_STR) return j_attr(c, v, key);
    int64_t i = key.k != J_INT && key.k != J_BOOL ? -1 : key.i < 0 ? key.i + (int64_t)v.n : key.i;
    return v.k >= J_STR && v.k <= J_TUPLE && i >= 0 && (size_t)i < v.n ? j_item(v, (size_t)i)
                                                                       : undefined(j_str(c, key));
}
jv j_call(jc *c, const jbuiltin *f, jv self, const jargs *args) {
    jv a[8] = {self};
    int applies = (f->kinds & J_BIT(self.k)) != 0, n = f->types ? (int)strlen(f->types) : 0;
    if (!applies && f->kinds == J_BIT(J_STR) && (f->what & J_FILTER)) a[0] = j_str(c, self);
    else if (!applies && self.k == J_UNDEF) j_undefined(c, self);
    else if (!applies) J_ERR(c, "\"%s\" cannot be applied to %s", f->names, j_type(self));
    for (size_t i = 0; i < args->n && f->types; i++) {
        int slot = args->name[i].k ? j_word(f->sig, args->name[i]) : (int)i;
        if (slot < 0 || slot >= n || a[slot + 1].k) J_ERR(c, "%s takes other arguments: (%s)", f->names, f->sig);
        jv v = args->v[i];
        int type = f->types[slot] | 32,
            fits = strchr("tv", type) || v.k == J_NONE || v.k == (type == 's' ? J_STR : J_INT);
        if (!fits) J_ERR(c, "%s wants %s, not %s", f->names, type == 's' ? "a string" : "an integer", j_type(v));
        a[slot + 1] = type == 't' ? j_str(c, v) : type != 'v' && v.k == J_NONE ? (jv){0} : v; /* None is as not given */
    }
    for (int i = 0; i < n; i++)
        if (f->types[i] < 'a' && !a[i + 1].k) J_ERR(c, "%s wants (%s)", f->names, f->sig);
    c->args = args;
    return f->fn ? f->fn(c, a, f->how) : j_bool((f->how >> self.k) & 1);
}
/* ---- tokens ---- */
static int means(const jtok *t, const char *s) {
    return t->k >= T_NAME && t->k <= T_OP && (char)*t->v.s == *s && !j_word(s, t->v);
}
static int is(jc *c, const char *s) { return c->line = c->at->line, means(c->at, s); }
static int take(jc *c, const char *s) { return is(c, s) && c->at++; }
static int took(jc *c, const char *s) { return means(c->at - 1, s); }
_Noreturn static void unexpected(jc *c, const char *want) {
    c->line = c->at->line;
    const char *got = c->at->k == T_EOF ? "the end of the template" : j_utf8(c, j_str(c, c->at->v), 60);
    j_fail(c, QM_ERR_FORMAT, "expected %s, got %s", want, got);
}
static void need(jc *c, const char *s) {
    if (!take(c, s)) unexpected(c, s);
}
static jv need_name(jc *c) {
    if (c->at->k != T_NAME) unexpected(c, "a name");
    return c->line = c->at->line, c->at++->v;
}
/* ---- expressions ---- */
static jv tuple(jc *c, jv (*one)(jc *)) { /* up to what can follow a tuple; one without a comma is itself */
    jv b = {.k = J_LIST};
    while (!is(c, "%}") && !is(c, "}}") && !is(c, ")")) {
        j_add(c, &b, one(c));
        if (!take(c, ",") && b.n == 1) return b.v[0];
        if (!took(c, ",")) break;
    }
    if (!b.n && !is(c, ")")) unexpected(c, "an expression");
    return b.k = J_TUPLE, b;
}
static int item(jc *c, const char *close, int *n) { /* of a list in brackets: is there one more? */
    if (take(c, close)) return 0;
    if ((*n)++) need(c, ",");
    return *n == 1 || !take(c, close);
}
static jv primary(jc *c) {
    jtok *t = c->at++;
    jv b = {.k = J_LIST};
    int n = 0, constant = t->k == T_NAME ? j_word("none None false False true True", t->v) : -1;
    c->line = t->line;
    if (t->k == T_VALUE) b = t->v;
    while (b.k == J_STR && c->at->k == T_VALUE && c->at->v.k == J_STR)
        b = j_math(c, (jv[2]){b, c->at++->v}, '+'); /* side by side: one */
    if (t->k == T_VALUE) return b;
    if (constant >= 0) return constant < 2 ? (jv){.k = J_NONE} : j_bool(constant > 3);
    if (t->k == T_NAME) return c->dry ? b : lookup(c, t->v);
    if (took(c, "(")) return b = tuple(c, expr), need(c, ")"), b;
    int dict = took(c, "{");
    if (!dict && !took(c, "[")) c->at--, unexpected(c, "an expression");
    if (dict) b = (jv){.k = J_DICT, .m = j_map(c)};
    while (item(c, dict ? "}" : "]", &n)) {
        jv v = expr(c), key = v;
        if (dict) need(c, ":"), v = expr(c);
        if (!dict) j_add(c, &b, v);
        else if (!c->dry) j_set(c, b.m, key, v);
    }
    return b;
}
static jv subscript(jc *c, jv v) { /* [index] or [from:to:step]; the "[" has been read */
    jv part[3] = {0};
    int n = 0, some = 0;
    do
        if (!is(c, ":") && !is(c, "]")) part[n] = expr(c), some = 1;
    while (n < 2 && take(c, ":") && ++n);
    if (!n && !some) unexpected(c, "an expression");
    need(c, "]");
    return c->dry ? v : n ? j_slice(c, v, part) : j_index(c, v, part[0]);
}
/* "a, b, name=c)" to be passed to f or, without, to `what`; the "(" has been read. */
static jv arguments(jc *c, const jbuiltin *f, jv what) {
    jv v[J_MAX_ARGS], name[J_MAX_ARGS];
    jargs a = {0, v, name};
    for (int n = 0; item(c, ")", &n); a.n++) {
        int named = c->at->k == T_NAME && means(c->at + 1, "=");
        if (a.n == J_MAX_ARGS) j_fail(c, QM_ERR_LIMIT, "more than %d arguments", J_MAX_ARGS);
        name[a.n] = named ? c->at->v : (jv){0}, c->at += 2 * named;
        v[a.n] = expr(c);
    }
    if (c->dry) return what;
    if (f || what.k == J_CALL) return j_call(c, f ? f : what.fn, f ? what : *what.self, &a);
    if (what.k == J_UNDEF) j_undefined(c, what);
    if (what.k != J_MACRO) J_ERR(c, "%s cannot be called", j_type(what));
    jtok *back = c->at;
    c->at = what.def, what = caught(c, what.scope, &a, "endmacro");
    return c->at = back, what;
}
static jv filter_or_test(jc *c, unsigned what, jv v) {
    int not = what == J_TEST && take(c, "not");
    jtok *t = c->at;
    jv arg, name = need_name(c);
    if (c->compiling) t->fn = j_named(c, what, name);
    int paren = take(c, "("), word = c->at->k == T_NAME && j_word("else or and is", c->at->v) < 0;
    int more = !paren && what == J_TEST && (word || c->at->k == T_VALUE || is(c, "[") || is(c, "{"));
    if (more) arg = postfix(c, primary(c), 0);
    if (paren) v = arguments(c, t->fn, v);
    else if (!c->dry) v = j_call(c, t->fn, v, &(jargs){(size_t)more, &arg, no_names});
    return not ? j_bool(!j_true(v)) : v;
}
/* .name, [index], (arguments); and if asked |filter, is test, after which only calls may follow. */
static jv postfix(jc *c, jv v, int filters) {
    for (int filtered = 0;;) {
        if (take(c, "(")) v = arguments(c, NULL, v);
        else if (filters && take(c, "|")) v = filter_or_test(c, J_FILTER, v), filtered = 1;
        else if (filters && filtered < 2 && take(c, "is")) v = filter_or_test(c, J_TEST, v), filtered = 2;
        else if (!filtered && take(c, "[")) v = subscript(c, v);
        else if (!filtered && take(c, ".")) v = c->dry ? need_name(c) : j_attr(c, v, need_name(c));
        else return v;
    }
}
static jv unary(jc *c, int filters) { /* -x|f is (-x)|f */
    jv v[2] = {j_int(0)};
    j_enter(c), j_work(c, 0);
    int sign = take(c, "-") ? '-' : take(c, "+") ? '+' : 0;
    v[1] = sign ? unary(c, 0) : primary(c);
    if (sign == '-' && v[1].k == J_FLOAT) v[1].f = -v[1].f;
    else if (sign && !c->dry) v[1] = j_math(c, v, sign);
    v[1] = postfix(c, v[1], filters);
    return c->depth--, v[1];
}
static jv binary(jc *c, int min) { /* operators of level min and tighter ones, to the left */
    jv v;
    j_enter(c);
    if (min <= J_NOT && take(c, "not")) v = j_bool(!j_true(binary(c, J_NOT)));
    else v = unary(c, 1);
    while (c->at->level && c->at->level >= min) {
        jtok *op = c->at++;
        int level = op->level, not = took(c, "not"), skip = level == J_AND ? !j_true(v) : level == J_OR && j_true(v);
        if (not ) op = c->at, need(c, "in");
        c->dry += skip;
        jv right = binary(c, level + 1);
        c->dry -= skip, c->line = op->line;
        if (c->compiling) op->fn = j_builtin(J_OPERATOR, op->v, J_MISSING); /* "and", "or": none */
        if (!skip && !c->dry) v = op->fn ? j_call(c, op->fn, v, &(jargs){1, &right, no_names}) : right;
        if (not ) v = j_bool(!j_true(v));
        if (level == J_COMPARE && c->at->level == J_COMPARE) j_fail(c, QM_ERR_UNSUPPORTED, "a chain of comparisons");
    }
    return c->depth--, v;
}
static jv no_if(jc *c) { return binary(c, J_OR); }
static jv
expr(jc *c) { /* x if condition else y: once compiled, a link says where the condition is, which comes first */
    jtok *start = c->at, *rest;
    jv v = {0};
    if (!start->link) v = no_if(c);
    if (c->compiling && is(c, "if")) start->link = c->at;
    if (!start->link) return v;
    j_enter(c);
    c->at = start->link + 1;
    int yes = j_true(no_if(c)) && !c->dry;
    rest = c->at, c->at = start;
    if (yes) v = no_if(c);
    c->at = rest, c->dry += yes;
    jv other = take(c, "else") ? expr(c) : undefined(start->link->v);
    c->dry -= yes, c->depth--;
    return yes ? v : other;
}
/* ---- statements ---- */
static jtok *assign(jc *c, jtok *at, jv v) { /* to "a", "a, b" or "ns.a" that stands at `at`; where that ends */
    jv name[J_MAX_ARGS], attr = {0};
    jtok *back = c->at;
    size_t n = 0;
    for (c->at = at; !n || take(c, ",");) {
        int reserved = c->at->k != T_NAME ||
                       j_word("loop in not and or if else is none None false False true True", c->at->v) >= 0;
        if (n == J_MAX_ARGS || reserved) unexpected(c, "a name");
        name[n++] = need_name(c);
    }
    if (n == 1 && take(c, ".")) attr = need_name(c);
    at = c->at, c->at = back;
    if (c->dry || !v.k) return at;
    jv ns = attr.k ? lookup(c, *name) : (jv){0}, all = n > 1 ? j_iter(c, v) : (jv){.k = J_LIST, .n = 1, .v = &v};
    if (attr.k && ns.k != J_NS) J_ERR(c, "cannot assign to an attribute of %s", j_type(ns));
    if (all.n != n) J_ERR(c, "%zu values for %zu names", all.n, n);
    for (size_t i = 0; i < n; i++) j_set(c, attr.k ? ns.m : c->scope->vars, attr.k ? attr : name[i], j_item(all, i));
    return at;
}
jscope *j_scope(jc *c, jscope *up) {
    jscope *s = j_alloc(c, sizeof *s);
    return *s = (jscope){up, j_map(c)}, s;
}
static void parameters(jc *c, const jargs *a) { /* "(a, b=1)" into the scope, with the arguments that are given */
    size_t used = 0, with = 0, k, i = 0;
    need(c, "(");
    for (int n = 0; item(c, ")", &n); i++) {
        jv name = need_name(c), v = undefined(name);
        for (k = 0; k < a->n && !(a->name[k].k ? !j_cmp(c, a->name[k], name, 0) : k == i);) k++;
        int given = k < a->n;
        c->dry += given, used += (size_t)given;
        if (take(c, "=")) v = expr(c), with = 1;
        else if (with) j_fail(c, QM_ERR_FORMAT, "a parameter without a default after one with");
        c->dry -= given;
        if (!c->dry) j_set(c, c->scope->vars, name, given ? a->v[k] : v);
    }
    if (used < a->n) J_ERR(c, "a macro takes other arguments");
}
static void body(jc *c, const char *ends);
/* What is written up to the tag `end`, in a scope inside `up`; with arguments if it is a macro's. */
static jv caught(jc *c, jscope *up, const jargs *a, const char *end) {
    jv b = {.k = J_STR}, *out = c->out;
    jscope *old = c->scope;
    c->out = &b, c->scope = j_scope(c, up);
    if (a) parameters(c, a);
    body(c, end);
    c->out = out, c->scope = old;
    return b;
}
static void for_tag(jc *c) {
    jtok *names = c->at, *condition, *start;
    jloop *loop = j_alloc(c, sizeof *loop);
    c->at = assign(c, names, (jv){0}), need(c, "in");
    jv all = tuple(c, no_if), some = {.k = J_LIST}, pass = {.k = J_LOOP, .loop = loop};
    jscope *old = c->scope;
    int dry = c->dry, whole = 0;
    if (!dry) all = j_iter(c, all);
    condition = take(c, "if") ? c->at : NULL;
    c->dry++;
    if (condition) (void)expr(c);
    start = c->at, c->dry = dry, c->scope = j_scope(c, old);
    for (size_t i = 0; i < all.n && condition && !dry; i++) {
        c->scope->vars->n = 0, c->at = condition;
        (void)assign(c, names, j_item(all, i));
        if (j_true(expr(c))) j_add(c, &some, j_item(all, i));
    }
    loop->all = condition ? some : all;
    c->loops++;
    for (int more = 1; more; loop->i++) { /* dry if there is nothing to go through */
        c->dry += dry || !loop->all.n;
        c->scope->vars->n = 0, c->at = start, c->go = c->dry ? c->go : J_ON;
        if (!c->dry)
            j_set(c, c->scope->vars, j_text(c, "loop", 4, 0), pass), (void)assign(c, names, j_item(loop->all, loop->i));
        body(c, "else endfor");
        whole |= !c->dry;
        more = !dry && c->go != J_BREAK && loop->i + 1 < loop->all.n;
        c->dry = dry;
    }
    c->loops--, c->scope->vars->n = 0;
    if (!dry) c->go = J_ON;
    c->dry += whole; /* jinja2's else: no pass came to its end. A break in it belongs to the loop around. */
    if (took(c, "else")) body(c, "endfor");
    c->dry -= whole, c->scope = old;
}
static void if_tag(jc *c) {
    int done = 0, no;
    do {
        c->dry += done, no = !j_true(tuple(c, no_if)), c->dry += no;
        body(c, "elif else endif");
        c->dry -= no + done, done |= !no;
    } while (took(c, "elif"));
    c->dry += done;
    if (took(c, "else")) body(c, "endif");
    c->dry -= done;
}
static void statement(jc *c) {
    enum { FOR, IF, SET, MACRO, GENERATION, BREAK, CONTINUE };
    jv name = need_name(c), v;
    jtok *at = c->at;
    int tag = j_word("for if set macro generation break continue", name), loops = c->loops;
    if (tag < 0) j_fail(c, QM_ERR_UNSUPPORTED, "unknown tag \"%s\"", j_utf8(c, name, 60));
    if (tag >= BREAK && !loops) j_fail(c, QM_ERR_FORMAT, "break and continue stand in a loop");
    if (tag >= BREAK && !c->dry)
        c->go = tag == BREAK ? J_BREAK : J_CONTINUE, c->dry++; /* up to the loop, which sets it back */
    if (tag == FOR) for_tag(c);
    if (tag == IF) if_tag(c);
    if (tag == SET) {
        c->at = assign(c, at, (jv){0});
        v = take(c, "=") ? tuple(c, expr) : caught(c, c->scope, NULL, "endset");
        (void)assign(c, at, v);
    }
    if (tag == MACRO) {
        name = need_name(c), v = (jv){.k = J_MACRO, .def = c->at, .scope = c->scope};
        if (!c->dry) j_set(c, c->scope->vars, name, v);
        c->dry++, c->loops = 0;
        (void)caught(c, c->scope, &(jargs){0}, "endmacro");
        c->dry--, c->loops = loops;
    }
    if (tag == GENERATION)
        v = caught(c, c->scope, NULL, "endgeneration"); /* only marks the assistant's part, for training */
    if (tag == GENERATION && c->out) j_cat(c, c->out, v);
}
/* The end of a tag, then text, {{ }} and {% %} up to a tag named in `ends`, which is read as far as its name;
 * "": all there is. */
static void body(jc *c, const char *ends) {
    jtok *start = c->at;
    j_enter(c);
    if (*ends) need(c, "%}");
    if (c->dry && start->link) c->at = start->link; /* nothing to do: to the end at once */
    for (; c->at->k != T_EOF; j_work(c, 0)) {
        jtok *t = c->at++;
        if (t->k == T_DATA) {
            if (!c->dry) j_cat(c, c->out, t->v);
        } else if (took(c, "{{")) {
            jv v = tuple(c, expr);
            if (!c->dry) j_cat(c, c->out, j_str(c, v));
            need(c, "}}");
        } else if (c->at->k == T_NAME && j_word(ends, c->at->v) >= 0) {
            break;
        } else {
            statement(c), need(c, "%}");
        }
    }
    if (*ends && c->at->k == T_EOF) unexpected(c, ends);
    if (c->compiling && *ends) start->link = c->at - 1;
    c->at += *ends != 0, c->depth--;
}
void j_run(jc *c) { c->at = c->tok, body(c, ""); }
