/* Statements, and what stands between them. As in jinja_expr.c a function reads what its rule describes and does it, or,
 * where c->dry is not 0, only reads it; what is not taken (a branch of an if, the rest of a loop's body after a break) is
 * read with dry one higher. Names live in scopes as in jinja2: a loop's body and a macro have their own, an if has none.
 * Every step is in j_work and every nesting in j_enter, so that all templates end and the stack suffices. */
#include "jinja_impl.h"

static void body(jc *c, const char *ends);

/* ---- scopes and what is written in them ---- */
jscope *j_scope(jc *c, jscope *up) {
    jscope *s = j_alloc(c, sizeof *s);
    *s = (jscope){up, j_map(c)};
    return s;
}

/* Which of the arguments is for parameter i, by its name or its place; args->n: none is. */
static size_t argument_for(jc *c, const jargs *args, size_t i, jv name) {
    for (size_t k = 0; k < args->n; k++)
        if (args->name[k].k ? !j_cmp(c, args->name[k], name, 0) : k == i) return k;
    return args->n;
}

/* (a, b=1): into the scope, with the arguments that are given and defaults for the rest. */
static void parameters(jc *c, const jargs *args) {
    size_t used = 0, i = 0;
    int defaults = 0;
    j_expect(c, "(");
    for (size_t n = 0; j_another(c, ")", &n); i++) {
        jv name = j_expect_name(c), v = j_undef(name);
        const size_t k = argument_for(c, args, i, name);
        const int given = k < args->n;
        c->dry += given;
        if (j_accept(c, "=")) v = j_expr(c), defaults = 1;
        else if (defaults) j_fail(c, QM_ERR_FORMAT, "a parameter without a default after one with");
        c->dry -= given;
        used += (size_t)given;
        if (!c->dry) j_set(c, c->scope->vars, name, given ? args->v[k] : v);
    }
    if (used < args->n) J_ERR(c, "a macro takes other arguments");
}

/* What is written from here to the tag `end`, in a scope of its own inside `up`; a macro's parameters come first, if
 * args is not NULL. */
static jv captured(jc *c, jscope *up, const jargs *args, const char *end) {
    jv text = {.k = J_STR}, *out = c->out;
    jscope *scope = c->scope;
    c->out = &text;
    c->scope = j_scope(c, up);
    if (args) parameters(c, args);
    body(c, end);
    c->out = out;
    c->scope = scope;
    return text;
}

static jv call_macro(jc *c, jv macro, const jargs *args) {
    jtok *back = c->at;
    c->at = macro.def;
    jv text = captured(c, macro.scope, args, "endmacro");
    c->at = back;
    return text;
}

/* ---- what is assigned to ---- */
/* "a", "a, b" or "ns.a" */
typedef struct {
    jv name[J_MAX_ARGS], attr; /* [n]; attr: J_MISSING: none */
    size_t n;
    int line;
} target;

static target read_target(jc *c) {
    target t = {0};
    do {
        int reserved = c->at->k != T_NAME ||
                       j_word("loop in not and or if else is none None false False true True", c->at->v) >= 0;
        if (t.n == J_MAX_ARGS || reserved) j_unexpected(c, "a name");
        t.name[t.n++] = j_expect_name(c);
    } while (j_accept(c, ","));
    if (t.n == 1 && j_accept(c, ".")) t.attr = j_expect_name(c);
    t.line = c->line;
    return t;
}

/* Several names take a sequence apart. */
static void assign(jc *c, const target *t, jv v) {
    if (c->dry) return;
    c->line = t->line;
    if (t->attr.k) {
        jv ns = j_lookup(c, t->name[0]);
        if (ns.k != J_NS) J_ERR(c, "cannot assign to an attribute of %s", j_type(ns));
        j_set(c, ns.m, t->attr, v);
        return;
    }
    jv all = t->n > 1 ? j_iter(c, v) : (jv){.k = J_LIST, .n = 1, .v = &v};
    if (all.n != t->n) J_ERR(c, "%zu values for %zu names", all.n, t->n);
    for (size_t i = 0; i < t->n; i++) j_set(c, c->scope->vars, t->name[i], j_item(all, i));
}

/* ---- for ---- */
/* "if condition" after the list, from the condition on: the items for which it holds. */
static jv chosen(jc *c, const target *names, jv all) {
    jv some = {.k = J_LIST};
    jtok *condition = c->at;
    c->dry++;
    (void)j_expr(c);
    c->dry--;
    jtok *end = c->at;
    for (size_t i = 0; i < all.n && !c->dry; i++) {
        c->scope->vars->n = 0;
        c->at = condition;
        assign(c, names, j_item(all, i));
        if (j_true(j_expr(c))) j_add(c, &some, j_item(all, i));
    }
    c->at = end;
    return some;
}

/* The body once, for item loop->i; dry where there is none. */
static void pass(jc *c, jloop *loop, const target *names, jtok *start) {
    c->at = start;
    c->scope->vars->n = 0;
    if (!loop->all.n) c->dry++;
    if (!c->dry) {
        c->go = J_ON;
        j_set(c, c->scope->vars, j_text(c, "loop", 4, 0), (jv){.k = J_LOOP, .loop = loop});
        assign(c, names, j_item(loop->all, loop->i));
    }
    body(c, "else endfor");
}

static void for_tag(jc *c) {
    const target names = read_target(c);
    const int dry = c->dry;
    int completed = 0; /* a pass came to its end, without break or continue */
    jscope *outer = c->scope;
    jloop *loop = j_alloc(c, sizeof *loop);
    j_expect(c, "in");
    loop->all = j_tuple(c, j_without_if);
    if (!dry) loop->all = j_iter(c, loop->all);
    c->scope = j_scope(c, outer);
    if (j_accept(c, "if")) loop->all = chosen(c, &names, loop->all);
    jtok *start = c->at;
    c->loops++;
    for (int more = 1; more; loop->i++) { /* once, dry, if there is nothing to go through */
        pass(c, loop, &names, start);
        completed |= !c->dry;
        c->dry = dry; /* break and continue have raised it */
        more = !dry && c->go != J_BREAK && loop->i + 1 < loop->all.n;
    }
    c->loops--;
    c->scope->vars->n = 0;
    if (!dry) c->go = J_ON;
    c->dry += completed; /* jinja2's else. A break in it belongs to the loop around. */
    if (j_was(c, "else")) body(c, "endfor");
    c->dry -= completed;
    c->scope = outer;
}

/* Nothing more is done up to the end of the loop's body; for_tag sets dry back. */
static void leave(jc *c, int go) {
    if (!c->loops) j_fail(c, QM_ERR_FORMAT, "break and continue stand in a loop");
    if (c->dry) return;
    c->go = go;
    c->dry++;
}
static void break_tag(jc *c) { leave(c, J_BREAK); }
static void continue_tag(jc *c) { leave(c, J_CONTINUE); }

/* ---- the other tags ---- */
static void if_tag(jc *c) {
    int taken = 0; /* one of the branches has been */
    do {
        c->dry += taken;
        int untrue = !j_true(j_tuple(c, j_without_if));
        c->dry += untrue;
        body(c, "elif else endif");
        c->dry -= untrue + taken; /* not to what it was: a break in the branch has raised it */
        taken |= !untrue;
    } while (j_was(c, "elif"));
    c->dry += taken;
    if (j_was(c, "else")) body(c, "endif");
    c->dry -= taken;
}

/* set a = value, or set a, what is written, endset */
static void set_tag(jc *c) {
    const target to = read_target(c);
    jv v = j_accept(c, "=") ? j_tuple(c, j_expr) : captured(c, c->scope, NULL, "endset");
    assign(c, &to, v);
}

static void macro_tag(jc *c) {
    const int loops = c->loops;
    jv name = j_expect_name(c);
    if (!c->dry) j_set(c, c->scope->vars, name, (jv){.k = J_MACRO, .def = c->at, .scope = c->scope});
    c->dry++;
    c->loops = 0; /* a break in a macro is not for the loop around it */
    (void)captured(c, c->scope, &(jargs){0}, "endmacro");
    c->loops = loops;
    c->dry--;
}

/* It marks the assistant's part, for training: here only what is written counts. */
static void generation_tag(jc *c) {
    jv v = captured(c, c->scope, NULL, "endgeneration");
    if (c->out) j_cat(c, c->out, v);
}

static void statement(jc *c) {
    static void (*const tags[])(jc *) = {for_tag, if_tag, set_tag, macro_tag, generation_tag, break_tag, continue_tag};
    jv name = j_expect_name(c);
    int tag = j_word("for if set macro generation break continue", name);
    if (tag < 0) j_fail(c, QM_ERR_UNSUPPORTED, "unknown tag \"%s\"", j_utf8(c, name, 60));
    tags[tag](c);
}

/* ---- text, {{ }} and {% %} ---- */
/* From the end of a tag to the next tag that is named in `ends`, which is read as far as its name; "": all there is. The
 * first token's link, once compiled, is that tag: what is not wanted is passed over at once. */
static void body(jc *c, const char *ends) {
    jtok *start = c->at;
    j_enter(c);
    if (*ends) j_expect(c, "%}");
    if (c->dry && start->link) c->at = start->link;
    for (; c->at->k != T_EOF; j_work(c, 0)) {
        const jtok *t = c->at++;
        if (t->k == T_DATA) {
            if (!c->dry) j_cat(c, c->out, t->v);
        } else if (j_was(c, "{{")) {
            jv v = j_tuple(c, j_expr);
            if (!c->dry) j_cat(c, c->out, j_str(c, v));
            j_expect(c, "}}");
        } else if (c->at->k == T_NAME && j_word(ends, c->at->v) >= 0) {
            break;
        } else {
            statement(c);
            j_expect(c, "%}");
        }
    }
    if (*ends) {
        if (c->at->k == T_EOF) j_unexpected(c, ends);
        if (c->compiling) start->link = c->at - 1;
        c->at++;
    }
    c->depth--;
}

void j_run(jc *c) {
    c->call_macro = call_macro;
    c->at = c->tok;
    body(c, "");
}
