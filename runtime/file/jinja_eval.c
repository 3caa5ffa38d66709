/* The tree into text. Names live in scopes as in jinja2: a loop's body and a macro have their own, an if
 * has none. All that makes no value goes through j_work and j_enter, so that every template ends. */
#include "jinja_impl.h"
#include <math.h>

static jv eval(jc *c, const jnode *n);
enum { GO_ON, BREAK, CONTINUE };

const jbuiltin *j_builtin(const jbuiltin *t, jstr name, unsigned kind) {
    for (; t->name; t++)
        if ((t->kinds & kind) && j_is(name, t->name)) return t;
    return NULL;
}

/* Binds arguments to the names of fn->sig and calls it; a[0] is the value it is applied to. */
jv j_call(jc *c, const jbuiltin *fn, const jv *self, const jargs *args) {
    jv a[8] = {*self};
    size_t slot = 0, used = 0;
    if (*fn->sig == '*') return fn->fn(c, a, args);
    for (const char *s = fn->sig; *s; slot++) {
        size_t k = strcspn(s, "! "), i = 0;
        while (i < args->n_kw && !(args->kw[2 * i].s.n == k && !memcmp(args->kw[2 * i].s.p, s, k))) i++;
        if (slot < args->n) a[slot + 1] = args->v[slot];
        else if (i < args->n_kw) a[slot + 1] = args->kw[2 * i + 1], used++;
        else if (s[k] == '!') J_ERR(c, "%s needs the argument \"%.*s\"", fn->name, (int)k, s);
        s += k + (s[k] == '!');
        s += *s == ' ';
    }
    if (args->n > slot || used < args->n_kw) J_ERR(c, "%s takes other arguments: (%s)", fn->name, fn->sig);
    return fn->fn(c, a, args);
}

static jargs arguments(jc *c, const jnode *n) {
    jargs a = {0};
    jv *v = j_alloc(c, n->n * sizeof *v), *kw = j_alloc(c, n->n * 2 * sizeof *kw);
    for (size_t i = 0; i < n->n; i++) {
        jv x = eval(c, n->kid[i]);
        if (n->name[i].k == J_MISSING) v[a.n++] = x;
        else kw[2 * a.n_kw] = n->name[i], kw[2 * a.n_kw++ + 1] = x;
    }
    a.v = v, a.kw = kw;
    return a;
}

static jv undefined(jstr name) { return (jv){.k = J_UNDEF, .s = name}; }
_Noreturn static void is_undefined(jc *c, jv v) {
    J_ERR(c, "\"%.*s\" is undefined", (int)(v.s.n > 80 ? 80 : v.s.n), v.s.p);
}
static jv lookup(jc *c, jstr name) {
    for (jscope *s = c->scope; s; s = s->up) {
        jv *v = j_get(c, &s->vars, j_string(name));
        if (v) return *v;
    }
    const jbuiltin *f = j_builtin(j_functions, name, ~0u);
    if (f) return (jv){.k = J_CALL, .call = {f, memset(j_alloc(c, sizeof(jv)), 0, sizeof(jv))}};
    return undefined(name);
}

static jv loop_attr(jloop *l, jstr name) {
    int64_t i = (int64_t)l->i, n = (int64_t)l->l.n;
    const struct { const char *name; jv v; } at[] = {
        {"index", j_int(i + 1)}, {"index0", j_int(i)}, {"revindex", j_int(n - i)}, {"revindex0", j_int(n - i - 1)}, {"first", j_bool(!i)},
        {"last", j_bool(i + 1 == n)}, {"length", j_int(n)}, {"depth", j_int(1)}, {"depth0", j_int(0)},
        {"previtem", i ? l->l.v[i - 1] : undefined(name)}, {"nextitem", i + 1 < n ? l->l.v[i + 1] : undefined(name)}};
    for (size_t k = 0; k < sizeof at / sizeof *at; k++)
        if (j_is(name, at[k].name)) return at[k].v;
    return undefined(name);
}
static jv method(jc *c, jv v, jstr name) {
    const jbuiltin *f = j_builtin(j_methods, name, 1u << v.k);
    if (!f) return v.k == J_LOOP ? loop_attr(v.loop, name) : undefined(name);
    jv r = {.k = J_CALL, .call = {f, j_alloc(c, sizeof(jv))}};
    *r.call.self = v;
    return r;
}
jv j_attr(jc *c, jv v, jstr name) {
    if (v.k == J_UNDEF) is_undefined(c, v);
    jv m = method(c, v, name), *x = m.k == J_UNDEF && (v.k == J_DICT || v.k == J_NS) ? j_get(c, v.m, j_string(name)) : NULL;
    return x ? *x : m;
}
jv j_index(jc *c, jv v, jv key) {
    if (v.k == J_UNDEF) is_undefined(c, v);
    if (v.k == J_DICT) {
        jv *x = j_get(c, v.m, key);
        if (x) return *x;
    }
    if ((v.k == J_LIST || v.k == J_TUPLE || v.k == J_STR) && (key.k == J_INT || key.k == J_BOOL)) {
        jlist l = v.k == J_STR ? j_iter(c, v) : v.l;
        int64_t i = key.i + (key.i < 0 ? (int64_t)l.n : 0);
        return i >= 0 && (size_t)i < l.n ? l.v[i] : undefined(j_str(c, key));
    }
    return key.k == J_STR ? v.k == J_DICT ? method(c, v, key.s) : j_attr(c, v, key.s) : undefined(j_str(c, key));
}
static jv slice(jc *c, jv v, const jnode *n) {
    jv part[3];
    for (int i = 0; i < 3; i++) {
        part[i] = n->kid[i] ? eval(c, n->kid[i]) : j_none();
        if (part[i].k != J_NONE) j_need_int(c, part[i], "a slice");
    }
    if (v.k == J_UNDEF) is_undefined(c, v);
    if (v.k != J_STR && v.k != J_LIST && v.k != J_TUPLE) J_ERR(c, "%s cannot be sliced", j_type(v));
    jlist l = j_iter(c, v), r = {0};
    int64_t len = (int64_t)l.n, step = part[2].k == J_NONE ? 1 : part[2].i, at[2];
    if (!step) J_ERR(c, "a slice's step is 0");
    for (int i = 0; i < 2; i++) { /* as Python's slice.indices */
        int64_t lo = step < 0 ? -1 : 0, hi = step < 0 ? len - 1 : len, x = part[i].i;
        if (part[i].k == J_NONE) x = (step < 0) == (i == 0) ? hi : lo;
        else if (x < 0) x = x < -len ? lo : x + len < lo ? lo : x + len;
        else if (x > hi) x = hi;
        at[i] = x;
    }
    if (v.k == J_STR && step == 1) { /* characters lie side by side */
        if (at[0] >= at[1]) return j_string(j_cut(v.s, 0, 0));
        const char *p = l.v[at[0]].s.p;
        size_t from = (size_t)(p - v.s.p), to = at[1] < len ? (size_t)(l.v[at[1]].s.p - v.s.p) : v.s.n;
        return j_string(j_cut(v.s, from, to));
    }
    jbuf b = {0};
    r.v = j_alloc(c, l.n * sizeof *r.v);
    for (int64_t i = at[0]; step > 0 ? i < at[1] : i > at[1];) {
        if (v.k == J_STR) j_put_s(c, &b, l.v[i].s);
        else r.v[r.n++] = l.v[i];
        if (__builtin_add_overflow(i, step, &i)) break;
    }
    return v.k == J_STR ? j_buf(&b) : j_list(v.k, r.v, r.n);
}

static jv repeat(jc *c, jv v, int64_t times) {
    jbuf b = {0};
    jv r = {.k = v.k};
    size_t cap = 0;
    for (int64_t i = 0; i < times && (v.k == J_STR ? v.s.n : v.l.n); i++) {
        if (v.k == J_STR) j_put_s(c, &b, v.s);
        for (size_t k = 0; v.k != J_STR && k < v.l.n; k++) r.l.v = j_grow(c, r.l.v, r.l.n, &cap, sizeof v), r.l.v[r.l.n++] = v.l.v[k];
    }
    return v.k == J_STR ? j_buf(&b) : r;
}
jv j_binary(jc *c, int op, jv a, jv b) {
    int seq = a.k == J_STR || a.k == J_LIST || a.k == J_TUPLE;
    if (a.k == J_UNDEF || b.k == J_UNDEF) is_undefined(c, a.k == J_UNDEF ? a : b);
    if (op == '+' && a.k == b.k && a.k == J_STR) {
        jbuf s = {0};
        return j_put_s(c, &s, a.s), j_put_s(c, &s, b.s), j_buf(&s);
    }
    if (op == '+' && a.k == b.k && seq) {
        jv r = j_list(a.k, j_alloc(c, (a.l.n + b.l.n) * sizeof *r.l.v), a.l.n + b.l.n);
        for (size_t i = 0; i < r.l.n; i++) r.l.v[i] = i < a.l.n ? a.l.v[i] : b.l.v[i - a.l.n];
        return j_work(c, r.l.n * sizeof r), r;
    }
    if (op == '*' && seq && (b.k == J_INT || b.k == J_BOOL)) return repeat(c, a, b.i);
    if (op == '*' && (a.k == J_INT || a.k == J_BOOL) && (b.k == J_STR || b.k == J_LIST || b.k == J_TUPLE)) return repeat(c, b, a.i);
    if (!j_num(a) || !j_num(b)) J_ERR(c, "\"%c%c\" cannot join %s and %s", op & 255, op >> 8 ? op >> 8 : ' ', j_type(a), j_type(b));
    int real = a.k == J_FLOAT || b.k == J_FLOAT, divides = op == '/' || op == '%' || op == J_OP('/', '/');
    double x = j_double(a), y = j_double(b), m;
    if (divides && y == 0) J_ERR(c, "division by zero");
    if (op == '/') return j_float(x / y);
    if (op == J_OP('*', '*') && (real || b.i < 0)) {
        if (x == 0 && y < 0) J_ERR(c, "0 to a negative power");
        if (x < 0 && y != floor(y)) J_ERR(c, "a negative number to a fractional power");
        m = pow(x, y);
        if (isinf(m) && isfinite(x) && isfinite(y)) J_ERR(c, "a power is too large");
        return j_float(m);
    }
    if (real && divides) {
        m = fmod(x, y);
        if (m != 0 ? (m < 0) != (y < 0) : 0) m += y;
        if (op == '%') return j_float(m != 0 ? m : copysign(0, y));
        double q = (x - m) / y, f = floor(q);
        return j_float(q != 0 ? q - f > 0.5 ? f + 1 : f : copysign(0, x / y));
    }
    if (real) return j_float(op == '+' ? x + y : op == '-' ? x - y : x * y);
    int64_t r = 0, k;
    int over = 0;
    if (op == '+') over = __builtin_add_overflow(a.i, b.i, &r);
    else if (op == '-') over = __builtin_sub_overflow(a.i, b.i, &r);
    else if (op == '*') over = __builtin_mul_overflow(a.i, b.i, &r);
    else if (divides && b.i == -1) over = op != '%' && __builtin_sub_overflow((int64_t)0, a.i, &r);
    else if (divides) {
        k = a.i % b.i;
        if (k && (k < 0) != (b.i < 0)) k += b.i, r = -1;
        r = op == '%' ? k : a.i / b.i + r;
    } else {
        for (r = 1, k = b.i; k > 0 && !over && r != 0 && (a.i != 1); k--) {
            over = __builtin_mul_overflow(r, a.i, &r);
            if (a.i == -1 && k > 2) k = 2 + k % 2; /* its powers take turns */
        }
    }
    if (over) J_ERR(c, "an integer does not fit 64 bits");
    return j_int(r);
}

static int contains(jc *c, jv v, jv x) {
    if (v.k == J_STR) return j_find(c, v.s, j_need_str(c, x, "\"in\" a string"), 0) != SIZE_MAX;
    if (v.k == J_DICT) return j_get(c, v.m, x) != NULL;
    jlist l = j_iter(c, v);
    for (size_t i = 0; i < l.n; i++)
        if (j_eq(c, l.v[i], x)) return 1;
    return 0;
}
int j_compare(jc *c, int op, jv a, jv b) {
    if (op == 'i' || op == 'n') return contains(c, b, a) == (op == 'i');
    if (op == J_OP('=', '=') || op == J_OP('!', '=')) return j_eq(c, a, b) == (op == J_OP('=', '='));
    if (a.k == J_UNDEF || b.k == J_UNDEF) is_undefined(c, a.k == J_UNDEF ? a : b);
    int r = j_cmp(c, a, b);
    return r == 2 && (a.k == J_FLOAT || b.k == J_FLOAT) ? 0 : (op & 255) == '<' ? r < (op >> 8 ? 1 : 0) : r > (op >> 8 ? -1 : 0);
}

static void assign(jc *c, const jnode *t, jv v) {
    if (t->k == N_NAME) {
        j_set(c, &c->scope->vars, t->v, v);
    } else if (t->k == N_ATTR) {
        jv ns = lookup(c, t->a->v.s);
        if (ns.k != J_NS) J_ERR(c, "cannot assign to an attribute of %s", j_type(ns));
        j_set(c, ns.m, t->v, v);
    } else {
        jlist l = j_iter(c, v);
        if (l.n != t->n) J_ERR(c, "%zu values for %zu names", l.n, t->n);
        for (size_t i = 0; i < l.n; i++) assign(c, t->kid[i], l.v[i]);
    }
}

/* Runs n with its output caught. */
static jv caught(jc *c, const jnode *n, jscope *scope) {
    jbuf b = {0}, *out = c->out;
    jscope *old = c->scope;
    c->out = &b, c->scope = scope;
    j_run(c, n);
    c->out = out, c->scope = old;
    return j_buf(&b);
}
static jv call_macro(jc *c, jv m, const jargs *a) {
    const jnode *d = m.macro.def;
    jscope *old = c->scope, *s = j_alloc(c, sizeof *s);
    s->up = m.macro.scope;
    size_t used = 0;
    if (a->n > d->n) J_ERR(c, "macro \"%.*s\" takes not more than %zu arguments", (int)d->v.s.n, d->v.s.p, d->n);
    for (size_t i = 0; i < d->n; i++) {
        jv v = undefined(d->name[i].s);
        size_t k = 0;
        while (k < a->n_kw && !j_eq(c, a->kw[2 * k], d->name[i])) k++;
        if (k < a->n_kw && i < a->n) J_ERR(c, "an argument is given twice");
        c->scope = s;
        if (i < a->n) v = a->v[i];
        else if (k < a->n_kw) v = a->kw[2 * k + 1], used++;
        else if (d->kid[i]) v = eval(c, d->kid[i]);
        c->scope = old;
        j_set(c, &s->vars, d->name[i], v);
    }
    if (used < a->n_kw) J_ERR(c, "macro \"%.*s\" has no such parameter", (int)d->v.s.n, d->v.s.p);
    return caught(c, d->a, s);
}

static jv eval_node(jc *c, const jnode *n) {
    jv v, r = j_none();
    jargs args;
    jbuf b = {0};
    switch (n->k) {
    case N_LIT: return n->v;
    case N_CAUGHT: return c->caught;
    case N_NAME: return lookup(c, n->v.s);
    case N_LIST: case N_TUPLE:
        r = j_list(n->k == N_LIST ? J_LIST : J_TUPLE, j_alloc(c, n->n * sizeof v), n->n);
        for (size_t i = 0; i < n->n; i++) r.l.v[i] = eval(c, n->kid[i]);
        return r;
    case N_DICT:
        r = (jv){.k = J_DICT, .m = j_alloc(c, sizeof *r.m)};
        for (size_t i = 0; i < n->n; i += 2) v = eval(c, n->kid[i]), j_set(c, r.m, v, eval(c, n->kid[i + 1]));
        return r;
    case N_ATTR: return v = eval(c, n->a), c->line = n->line, j_attr(c, v, n->v.s);
    case N_INDEX: return v = eval(c, n->a), r = eval(c, n->b), c->line = n->line, j_index(c, v, r);
    case N_SLICE: return slice(c, eval(c, n->a), n);
    case N_CALL: case N_FILTER: case N_TEST:
        v = eval(c, n->a);
        args = arguments(c, n);
        c->line = n->line;
        if (n->k == N_TEST) return j_bool(j_true(j_call(c, n->fn, &v, &args)) != n->op);
        if (n->k == N_FILTER) return j_call(c, n->fn, &v, &args);
        if (v.k == J_CALL) return j_call(c, v.call.fn, v.call.self, &args);
        if (v.k == J_UNDEF) is_undefined(c, v);
        if (v.k != J_MACRO) J_ERR(c, "%s cannot be called", j_type(v));
        return call_macro(c, v, &args);
    case N_NOT: return j_bool(!j_true(eval(c, n->a)));
    case N_NEG: return v = eval(c, n->a), v.k == J_FLOAT ? j_float(-v.f) : j_binary(c, '-', j_int(0), v);
    case N_POS: return v = eval(c, n->a), v.k == J_FLOAT ? v : j_binary(c, '+', j_int(0), v);
    case N_BIN: return v = eval(c, n->a), r = eval(c, n->b), c->line = n->line, j_binary(c, n->op, v, r);
    case N_CMP:
        v = eval(c, n->a);
        for (size_t i = 0; i < n->n; i++, v = r) {
            r = eval(c, n->kid[i]);
            c->line = n->line;
            if (!j_compare(c, (int)n->name[i].i, v, r)) return j_bool(0);
        }
        return j_bool(1);
    case N_AND: return v = eval(c, n->a), j_true(v) ? eval(c, n->b) : v;
    case N_OR: return v = eval(c, n->a), j_true(v) ? v : eval(c, n->b);
    case N_CAT:
        for (size_t i = 0; i < n->n; i++) j_put_value(c, &b, eval(c, n->kid[i]), 0);
        return j_buf(&b);
    default: /* N_COND */
        if (j_true(eval(c, n->b))) return eval(c, n->a);
        return n->c ? eval(c, n->c) : undefined(j_text("the inline if without else").s);
    }
}
static jv eval(jc *c, const jnode *n) {
    j_enter(c);
    j_work(c, 0);
    c->line = n->line;
    jv v = eval_node(c, n);
    c->depth--;
    return v;
}

static int run_for(jc *c, const jnode *n) {
    jlist all = j_iter(c, eval(c, n->b)), l = all;
    jscope s = {.up = c->scope}, *old = c->scope;
    jloop loop = {0};
    jscope *in = j_alloc(c, sizeof *in); /* macros of the body may outlive it */
    *in = s;
    c->scope = in;
    if (n->c) {
        l = (jlist){j_alloc(c, all.n * sizeof *l.v), 0};
        for (size_t i = 0; i < all.n; i++) {
            in->vars.n = 0;
            assign(c, n->a, all.v[i]);
            if (j_true(eval(c, n->c))) l.v[l.n++] = all.v[i];
        }
    }
    loop.l = l;
    jloop *at = j_alloc(c, sizeof *at);
    *at = loop;
    int r = GO_ON, whole = 0;
    for (size_t i = 0; i < l.n && r != BREAK; i++) {
        j_work(c, 0);
        at->i = i;
        in->vars.n = 0;
        j_set(c, &in->vars, j_text("loop"), (jv){.k = J_LOOP, .loop = at});
        assign(c, n->a, l.v[i]);
        r = j_run(c, n->kid[0]);
        whole |= r == GO_ON;
    }
    in->vars.n = 0;
    /* jinja2's else: no pass came to its end. A break in it belongs to the loop around. */
    r = !whole && n->n > 1 ? j_run(c, n->kid[1]) : GO_ON;
    c->scope = old;
    return r;
}
int j_run(jc *c, const jnode *n) {
    int r = GO_ON;
    jv v;
    j_enter(c);
    j_work(c, 0);
    c->line = n->line;
    switch (n->k) {
    case N_BODY: for (size_t i = 0; i < n->n && r == GO_ON; i++) r = j_run(c, n->kid[i]); break;
    case N_OUT: v = eval(c, n->a), j_put_value(c, c->out, v, 0); break;
    case N_IF: if (j_true(eval(c, n->a))) r = j_run(c, n->b); else if (n->c) r = j_run(c, n->c); break;
    case N_FOR: r = run_for(c, n); break;
    case N_SET: v = eval(c, n->b), c->line = n->line, assign(c, n->a, v); break;
    case N_MACRO: j_set(c, &c->scope->vars, n->v, (jv){.k = J_MACRO, .macro = {n, c->scope}}); break;
    case N_SET_BODY: case N_FILTER_BODY: {
        jscope *s = j_alloc(c, sizeof *s);
        s->up = c->scope;
        v = caught(c, n->b, s);
        c->caught = v;
        v = eval(c, n->c); /* its filters, applied to what was caught */
        if (n->k == N_SET_BODY) assign(c, n->a, v);
        else j_put_value(c, c->out, v, 0);
        break;
    }
    default: r = n->k == N_BREAK ? BREAK : CONTINUE;
    }
    c->depth--;
    return r;
}
