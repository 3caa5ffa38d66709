/* Tokens into a tree, by jinja2's grammar: its precedences, and its habit that -x binds before |filter
 * only within the operand. Depth is bounded here, so that what walks the tree cannot run out of stack. */
#include "jinja_impl.h"

static jnode *expr(jc *c);
static jnode *expr_or(jc *c);
static jnode *unary(jc *c, int filters);
static jnode *body(jc *c, const char *const *ends);

static jtok *tok(jc *c) { return &c->tok[c->at]; }
static int is(jc *c, jtok_kind k, const char *s) {
    c->line = tok(c)->line;
    return tok(c)->k == k && (!s || j_is(tok(c)->s, s));
}
static int op(jc *c, const char *s) { return is(c, T_OP, s) && ++c->at; }
static int word(jc *c, const char *s) { return is(c, T_NAME, s) && ++c->at; }
_Noreturn static void unexpected(jc *c, const char *want) {
    jtok *t = tok(c);
    c->line = t->line;
    j_fail(c, QM_ERR_FORMAT, "expected %s, got %s%.*s%s", want, t->k == T_EOF ? "the end of the template" : "\"", (int)(t->s.n > 40 ? 40 : t->s.n), t->s.p, t->k == T_EOF ? "" : "\"");
}
static void need(jc *c, const char *s) { if (!op(c, s)) unexpected(c, s); }
static jstr need_name(jc *c) {
    if (!is(c, T_NAME, NULL)) unexpected(c, "a name");
    return c->tok[c->at++].s;
}
static jnode *node(jc *c, jnode_kind k, jnode *a, jnode *b) {
    jnode *n = j_alloc(c, sizeof *n);
    *n = (jnode){.k = k, .line = c->line, .a = a, .b = b};
    return n;
}
static void kid(jc *c, jnode *n, jnode *k, jv name) {
    size_t cap = n->n & (n->n - 1) ? SIZE_MAX : n->n; /* full at powers of two: there it doubles */
    if (cap == n->n) {
        cap = n->n;
        n->kid = j_grow(c, n->kid, n->n, &cap, sizeof *n->kid);
        cap = n->n;
        n->name = j_grow(c, n->name, n->n, &cap, sizeof *n->name);
    }
    n->kid[n->n] = k, n->name[n->n++] = name;
}
#define NO_NAME ((jv){0})

/* "(a, b, name=c)" into n's kids; the "(" has been read. */
static void arguments(jc *c, jnode *n) {
    while (!op(c, ")")) {
        if (n->n) need(c, ",");
        if (n->n && op(c, ")")) return;
        jv name = NO_NAME;
        if (is(c, T_NAME, NULL) && c->tok[c->at + 1].k == T_OP && j_is(c->tok[c->at + 1].s, "=")) name = j_string(need_name(c)), c->at++;
        if (is(c, T_OP, "*") || is(c, T_OP, "**")) j_fail(c, QM_ERR_UNSUPPORTED, "*args and **kwargs are not supported");
        if (n->n && name.k == J_MISSING && n->name[n->n - 1].k != J_MISSING) j_fail(c, QM_ERR_FORMAT, "a positional argument after a named one");
        kid(c, n, expr(c), name);
    }
}

/* Expressions up to what can follow a tuple; one without a comma is itself. */
static jnode *tuple(jc *c, jnode *(*one)(jc *), int empty) {
    jnode *t = node(c, N_TUPLE, NULL, NULL);
    do {
        if (is(c, T_BLOCK_END, NULL) || is(c, T_VAR_END, NULL) || is(c, T_OP, ")")) break;
        kid(c, t, one(c), NO_NAME);
        if (t->n == 1 && !is(c, T_OP, ",")) return t->kid[0];
    } while (op(c, ","));
    if (!t->n && !empty) unexpected(c, "an expression");
    return t;
}

static jnode *primary(jc *c) {
    jnode *n;
    j_enter(c);
    if (is(c, T_NAME, NULL)) {
        static const struct { const char *s; jkind k; int i; } lit[] = {{"true", J_BOOL, 1}, {"True", J_BOOL, 1}, {"false", J_BOOL, 0}, {"False", J_BOOL, 0}, {"none", J_NONE, 0}, {"None", J_NONE, 0}};
        n = node(c, N_NAME, NULL, NULL);
        jstr name = need_name(c);
        n->v = j_string(name);
        for (size_t i = 0; i < 6; i++)
            if (j_is(name, lit[i].s)) n->k = N_LIT, n->v = (jv){.k = lit[i].k, .i = lit[i].i};
    } else if (is(c, T_STR, NULL)) {
        jbuf b = {0};
        n = node(c, N_LIT, NULL, NULL);
        while (is(c, T_STR, NULL)) j_put_s(c, &b, c->tok[c->at++].v.s);
        n->v = j_buf(&b);
    } else if (is(c, T_NUM, NULL)) {
        n = node(c, N_LIT, NULL, NULL);
        n->v = c->tok[c->at++].v;
    } else if (op(c, "(")) {
        n = tuple(c, expr, 1);
        need(c, ")");
    } else if (op(c, "[") || op(c, "{")) {
        int dict = *c->tok[c->at - 1].s.p == '{';
        const char *close = dict ? "}" : "]";
        for (n = node(c, dict ? N_DICT : N_LIST, NULL, NULL); !op(c, close);) {
            if (n->n) need(c, ",");
            if (op(c, close)) break;
            kid(c, n, expr(c), NO_NAME);
            if (dict) need(c, ":"), kid(c, n, expr(c), NO_NAME);
        }
    } else {
        unexpected(c, "an expression");
    }
    c->depth--;
    return n;
}

static jnode *call(jc *c, jnode *f) {
    jnode *n = node(c, N_CALL, f, NULL);
    arguments(c, n);
    return n;
}

/* .name, [index], [a:b:c], (arguments) */
static jnode *postfix(jc *c, jnode *n) {
    for (;;) {
        if (op(c, ".")) {
            jnode *a = node(c, is(c, T_NUM, NULL) ? N_INDEX : N_ATTR, n, NULL);
            if (a->k == N_ATTR) a->v = j_string(need_name(c));
            else if (tok(c)->v.k != J_INT) unexpected(c, "a name");
            else a->b = primary(c);
            n = a;
        } else if (op(c, "[")) {
            jnode *part[3] = {0}, *a = node(c, N_SLICE, n, NULL);
            int i = 0;
            while (!is(c, T_OP, "]")) {
                if (op(c, ":") && ++i < 3) continue;
                if (i > 2 || part[i]) unexpected(c, "]");
                part[i] = expr(c);
            }
            need(c, "]");
            if (!i && !part[0]) c->at--, unexpected(c, "an expression");
            if (!i) a->k = N_INDEX, a->b = part[0];
            else for (i = 0; i < 3; i++) kid(c, a, part[i], NO_NAME);
            n = a;
        } else if (op(c, "(")) {
            n = call(c, n);
        } else {
            return n;
        }
    }
}

static const jbuiltin *lookup(jc *c, const jbuiltin *table, const char *what) {
    c->line = tok(c)->line;
    jstr name = is(c, T_OP, "==") ? c->tok[c->at++].s : need_name(c);
    const jbuiltin *f = j_builtin(table, name, ~0u);
    if (!f) j_fail(c, QM_ERR_UNSUPPORTED, "unknown %s \"%.*s\"", what, (int)(name.n > 60 ? 60 : name.n), name.p);
    return f;
}

static jnode *filter(jc *c, jnode *n) {
    jnode *f = node(c, N_FILTER, n, NULL);
    f->fn = lookup(c, j_filters, "filter");
    if (op(c, "(")) arguments(c, f);
    return f;
}

/* |filter, is test, (arguments) */
static jnode *filters(jc *c, jnode *n) {
    for (;;) {
        if (op(c, "|")) {
            n = filter(c, n);
        } else if (word(c, "is")) {
            jnode *t = node(c, N_TEST, n, NULL);
            t->op = word(c, "not");
            t->fn = lookup(c, j_tests, "test");
            if (op(c, "(")) arguments(c, t);
            else if (is(c, T_STR, NULL) || is(c, T_NUM, NULL) || is(c, T_OP, "[") || is(c, T_OP, "{") ||
                     (is(c, T_NAME, NULL) && !is(c, T_NAME, "else") && !is(c, T_NAME, "or") && !is(c, T_NAME, "and"))) {
                if (is(c, T_NAME, "is")) j_fail(c, QM_ERR_FORMAT, "tests cannot be chained with is");
                kid(c, t, postfix(c, primary(c)), NO_NAME);
            }
            n = t;
        } else if (op(c, "(")) {
            n = call(c, n);
        } else {
            return n;
        }
    }
}

static jnode *unary(jc *c, int with_filters) {
    jnode *n;
    j_enter(c);
    int minus = op(c, "-");
    if (minus || op(c, "+")) n = node(c, minus ? N_NEG : N_POS, unary(c, 0), NULL);
    else n = primary(c);
    n = postfix(c, n);
    if (with_filters) n = filters(c, n);
    c->depth--;
    return n;
}

/* Binary operators by level, the loosest first: + -, ~, * / // %, ** (to the left, as in jinja2). */
static jnode *binary(jc *c, int level) {
    static const char *const ops[4][4] = {{"+", "-"}, {"~"}, {"*", "/", "//", "%"}, {"**"}};
    if (level == 4) return unary(c, 1);
    jnode *n = binary(c, level + 1), *b;
    for (int i = 0; i < 4 && ops[level][i];) {
        if (!op(c, ops[level][i])) {
            i++;
            continue;
        }
        if (level == 1 && n->k == N_CAT && n->op == 1) {
            kid(c, n, binary(c, 2), NO_NAME);
            continue;
        }
        b = node(c, level == 1 ? N_CAT : N_BIN, n, NULL);
        b->op = level == 1 ? 1 : J_OP(ops[level][i][0], ops[level][i][1]);
        if (level == 1) kid(c, b, n, NO_NAME), kid(c, b, binary(c, 2), NO_NAME);
        else b->b = binary(c, level + 1);
        n = b;
        i = 0;
    }
    if (n->k == N_CAT) n->op = 0; /* closed: (a ~ b) is one operand of what follows */
    return n;
}

static jnode *compare(jc *c) {
    static const char *const ops[] = {"==", "!=", ">=", "<=", ">", "<"};
    jnode *n = node(c, N_CMP, NULL, NULL);
    n->a = binary(c, 0);
    for (size_t i = 0; i < 8;) {
        int o = 0;
        if (i < 6) o = op(c, ops[i]) ? J_OP(ops[i][0], ops[i][1]) : 0;
        else if (i == 6) o = word(c, "in") ? 'i' : 0;
        else if (is(c, T_NAME, "not") && c->tok[c->at + 1].k == T_NAME && j_is(c->tok[c->at + 1].s, "in")) o = 'n', c->at += 2;
        if (o) kid(c, n, binary(c, 0), j_int(o));
        i = o ? 0 : i + 1;
    }
    return n->n ? n : n->a;
}
static jnode *expr_not(jc *c) {
    if (!word(c, "not")) return compare(c);
    j_enter(c);
    jnode *n = node(c, N_NOT, NULL, NULL);
    n->a = expr_not(c);
    c->depth--;
    return n;
}
static jnode *expr_and(jc *c) {
    jnode *n = expr_not(c);
    while (word(c, "and")) n = node(c, N_AND, n, NULL), n->b = expr_not(c);
    return n;
}
static jnode *expr_or(jc *c) {
    jnode *n = expr_and(c);
    while (word(c, "or")) n = node(c, N_OR, n, NULL), n->b = expr_and(c);
    return n;
}
static jnode *expr(jc *c) {
    j_enter(c);
    jnode *n = expr_or(c);
    while (word(c, "if")) {
        n = node(c, N_COND, n, NULL);
        n->b = expr_or(c);
        if (word(c, "else")) n->c = expr(c);
    }
    c->depth--;
    return n;
}

static jnode *target_one(jc *c) {
    if (op(c, "(")) {
        j_enter(c);
        jnode *t = tuple(c, target_one, 1);
        c->depth--;
        need(c, ")");
        return t;
    }
    jnode *n = node(c, N_NAME, NULL, NULL);
    static const char *const reserved[] = {"true", "True", "false", "False", "none", "None", "loop", "in", "not", "and", "or", "if", "else", "is"};
    n->v = j_string(need_name(c));
    for (size_t i = 0; i < sizeof reserved / sizeof *reserved; i++)
        if (j_is(n->v.s, reserved[i])) j_fail(c, QM_ERR_FORMAT, "cannot assign to \"%s\"", reserved[i]);
    if (op(c, ".")) n = node(c, N_ATTR, n, NULL), n->v = j_string(need_name(c));
    return n;
}
static void end_tag(jc *c) { if (!is(c, T_BLOCK_END, NULL)) unexpected(c, "%}"); c->at++; }
static jnode *until(jc *c, const char *a, const char *b, const char *d) { return body(c, (const char *const[]){a, b, d, NULL}); }
static jnode *body_end(jc *c, const char *end) {
    end_tag(c);
    jnode *b = until(c, end, NULL, NULL);
    c->at++;
    return b;
}

static jnode *statement(jc *c) {
    jnode *n = node(c, N_BODY, NULL, NULL);
    if (word(c, "for")) {
        n->k = N_FOR;
        n->a = tuple(c, target_one, 0);
        if (!word(c, "in")) unexpected(c, "in");
        n->b = tuple(c, expr_or, 0);
        if (word(c, "if")) n->c = expr(c);
        if (is(c, T_NAME, "recursive")) j_fail(c, QM_ERR_UNSUPPORTED, "recursive loops are not supported");
        end_tag(c);
        c->loops++;
        kid(c, n, until(c, "else", "endfor", NULL), NO_NAME);
        c->loops--;
        if (word(c, "else")) kid(c, n, body_end(c, "endfor"), NO_NAME);
        else c->at++;
    } else if (word(c, "if")) {
        for (jnode *i = n;; i = i->c) {
            i->k = N_IF;
            i->a = tuple(c, expr_or, 0);
            end_tag(c);
            i->b = until(c, "elif", "else", "endif");
            if (word(c, "endif")) break;
            if (word(c, "else")) {
                i->c = body_end(c, "endif");
                break;
            }
            c->at++;
            i->c = node(c, N_BODY, NULL, NULL);
        }
    } else if (word(c, "set")) {
        n->a = tuple(c, target_one, 0);
        if (op(c, "=")) {
            n->k = N_SET, n->b = tuple(c, expr, 0);
        } else {
            n->k = N_SET_BODY, n->c = node(c, N_CAUGHT, NULL, NULL);
            while (op(c, "|")) n->c = filter(c, n->c);
            n->b = body_end(c, "endset");
        }
    } else if (word(c, "macro")) {
        int loops = c->loops;
        n->k = N_MACRO, n->v = j_string(need_name(c));
        need(c, "(");
        while (!op(c, ")")) {
            if (n->n) need(c, ",");
            jnode *p = target_one(c), *d = op(c, "=") ? expr(c) : NULL;
            if (p->k != N_NAME) unexpected(c, ")");
            if (!d && n->n && n->kid[n->n - 1]) j_fail(c, QM_ERR_FORMAT, "a parameter without a default after one with");
            kid(c, n, d, p->v);
        }
        c->loops = 0;
        n->a = body_end(c, "endmacro");
        c->loops = loops;
    } else if (word(c, "filter")) {
        n->k = N_FILTER_BODY, n->c = filter(c, node(c, N_CAUGHT, NULL, NULL));
        while (op(c, "|")) n->c = filter(c, n->c);
        n->b = body_end(c, "endfilter");
    } else if (word(c, "generation")) {
        return body_end(c, "endgeneration"); /* only marks the assistant's part, for training */
    } else if (word(c, "break") || word(c, "continue")) {
        n->k = *c->tok[c->at - 1].s.p == 'b' ? N_BREAK : N_CONTINUE;
        if (!c->loops) j_fail(c, QM_ERR_FORMAT, "break and continue stand in a loop");
    } else {
        jstr s = need_name(c);
        j_fail(c, QM_ERR_UNSUPPORTED, "unknown tag \"%.*s\"", (int)(s.n > 60 ? 60 : s.n), s.p);
    }
    return n;
}

/* Text, {{ }} and {% %} up to a tag named in ends (which is left for the caller) or the end of all. */
static jnode *body(jc *c, const char *const *ends) {
    jnode *n = node(c, N_BODY, NULL, NULL), *k;
    j_enter(c);
    for (;;) {
        if (is(c, T_DATA, NULL)) {
            k = node(c, N_OUT, node(c, N_LIT, NULL, NULL), NULL);
            k->a->v = j_string(c->tok[c->at++].s);
        } else if (is(c, T_VAR, NULL)) {
            c->at++;
            k = node(c, N_OUT, tuple(c, expr, 0), NULL);
            if (!is(c, T_VAR_END, NULL)) unexpected(c, "}}");
            c->at++;
        } else if (is(c, T_BLOCK, NULL)) {
            c->at++;
            for (size_t i = 0; ends && ends[i]; i++)
                if (is(c, T_NAME, ends[i])) return c->depth--, n;
            k = statement(c);
            end_tag(c);
        } else {
            if (ends) unexpected(c, ends[0]);
            return c->depth--, n;
        }
        kid(c, n, k, NO_NAME);
    }
}
jnode *j_parse(jc *c) {
    c->at = 0;
    return body(c, NULL);
}
