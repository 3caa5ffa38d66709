/* parse.c: a module's directives and the heads of its functions; see parser.h for the rest. */
#include "parser.h"
#include <stdlib.h>
#include <string.h>

ptx_func *ptx_find_func(const sim_module *m, const char *name) {
    for (ptx_func *f = m->funcs; f; f = f->next)
        if (!strcmp(f->name, name)) return f;
    return NULL;
}

static void parse_params(ptx_parser *p, ptx_opnd **out, int *n_out, int entry) {
    ptx_opnd tmp[64];
    int n = 0;
    size_t off = 0;
    lex_expect(&p->x, '(');
    lex_skip(&p->x);
    if (*p->x.p != ')') do {
            const char *w = lex_directive(&p->x);
            ptx_decl d = {PS_PARAM, 0, 0, PT_NONE};
            int is_reg = !strcmp(w, ".reg");
            if (!is_reg && strcmp(w, ".param")) ptx_fail(p->u, p->x.line, "unknown parameter space %s", w);
            if (entry && is_reg) ptx_fail(p->u, p->x.line, "an entry's parameters are .param");
            ptx_parse_decl_type(p, &d);
            const char *name = lex_ident(&p->x);
            if (n == 64) ptx_fail(p->u, p->x.line, "too many parameters");
            ptx_opnd *o = &tmp[n++];
            memset(o, 0, sizeof *o);
            if (is_reg) {
                o->kind = PO_REG;
                o->reg = ptx_reg_new(p, name, d.type, 1);
                ptx_scope_add(p, name)->reg = o->reg;
            } else {
                o->kind = PO_VAR;
                o->var = ptx_parse_var(p, &d, name);
                if (o->var->unsized) ptx_fail(p->u, p->x.line, "parameter `%s` has no size", name);
                off = (off + o->var->align - 1) / o->var->align * o->var->align;
                o->var->off = off;
                off += o->var->bytes;
                ptx_scope_add(p, name)->var = o->var;
                o->var->next = p->m->vars;
                p->m->vars = o->var;
            }
        } while (lex_accept(&p->x, ','));
    lex_expect(&p->x, ')');
    *out = ptx_alloc(p->u, sizeof **out * (size_t)(n ? n : 1));
    memcpy(*out, tmp, sizeof **out * (size_t)n);
    *n_out = n;
    if (entry) p->f->param_bytes = off;
}

static void parse_func(ptx_parser *p, int is_entry) {
    sim_module *m = p->m;
    ptx_func *f = ptx_alloc(p->u, sizeof *f);
    p->f = f;
    f->is_entry = is_entry;
    f->line = p->x.line;
    memset(p->special, 0, sizeof p->special);
    memset(p->left, 0, sizeof p->left); /* what another function left may be alive when one calls the other */
    ptx_scope_push(p);
    lex_skip(&p->x);
    if (!is_entry && *p->x.p == '(') parse_params(p, &f->ret, &f->n_ret, 0);
    f->name = lex_ident(&p->x);
    lex_skip(&p->x);
    if (*p->x.p == '(') parse_params(p, &f->par, &f->n_par, is_entry);
    for (;;) {
        lex_skip(&p->x);
        if (*p->x.p != '.') break;
        const char *w = lex_directive(&p->x);
        int take = 0;
        if (!strcmp(w, ".maxntid") || !strcmp(w, ".reqntid")) {
            uint32_t d[3] = {1, 1, 1};
            int k = 0;
            do {
                int64_t v = lex_int(&p->x);
                if (k < 3 && v >= 1 && v <= 1024) d[k++] = (uint32_t)v;
                else ptx_fail(p->u, p->x.line, "bad %s", w);
            } while (lex_accept(&p->x, ','));
            f->maxntid = d[0] * d[1] * d[2];
            if (f->maxntid > 1024) ptx_fail(p->u, p->x.line, "bad %s: more than 1024 threads", w);
            if (w[1] == 'r') memcpy(f->reqntid, d, sizeof d);
            take = 1;
        } else if (!strcmp(w, ".minnctapersm") || !strcmp(w, ".maxnreg")) {
            lex_int(&p->x);
            take = 1;
        } else if (!strcmp(w, ".noreturn")) take = 1;
        else if (!strcmp(w, ".pragma")) {
            lex_skip_to(&p->x, ';');
            take = 1;
        }
        if (!take) ptx_fail(p->u, p->x.line, "unknown directive %s", w);
    }
    ptx_func *old = ptx_find_func(m, f->name);
    if (lex_accept(&p->x, ';')) {
        if (is_entry) ptx_fail(p->u, p->x.line, "entry `%s` has no body", f->name);
    } else {
        if (old && old->has_body) ptx_fail(p->u, f->line, "`%s` is defined twice", f->name);
        f->has_body = 1;
        lex_expect(&p->x, '{');
        ptx_parse_block(p);
        ptx_scope_pop(p);
        ptx_scope_push(p); /* keeps push and pop balanced below */
    }
    p->sc = p->sc->up;
    p->f = NULL;
    if (old && !f->has_body) return; /* a second declaration tells nothing new */
    if (old) {                       /* the definition takes the declaration's place */
        ptx_func *next = old->next;
        *old = *f;
        old->next = next;
        for (ptx_targets *t = m->targets; t; t = t->next)
            if (t->f == f) t->f = old;
        return;
    }
    ptx_func **end = &m->funcs;
    while (*end) end = &(*end)->next;
    *end = f;
}

void ptx_parse(sim_module *m) {
    ptx_parser p = {.m = m, .u = &m->unit, .x = {.p = m->text, .line = 1, .u = &m->unit}};
    ptx_scope_push(&p);
    for (;;) {
        lex_skip(&p.x);
        if (!*p.x.p) break;
        if (*p.x.p == ';') {
            p.x.p++;
            continue;
        }
        if (*p.x.p != '.') ptx_fail(p.u, p.x.line, "expected a directive at `%.20s`", p.x.p);
        const char *w = lex_directive(&p.x);
        int ext = 0, sp;
        while (!strcmp(w, ".visible") || !strcmp(w, ".weak") || !strcmp(w, ".common") || !strcmp(w, ".extern")) {
            ext |= !strcmp(w, ".extern");
            lex_skip(&p.x);
            w = lex_directive(&p.x);
        }
        if (!strcmp(w, ".version")) {
            int64_t a = lex_int(&p.x), b = 0;
            if (lex_accept(&p.x, '.')) b = lex_int(&p.x);
            m->version = (int)(a * 10 + b);
            if (m->version < 60 || m->version > 99)
                ptx_fail(p.u, p.x.line, ".version %d.%d is not supported", (int)a, (int)b);
        } else if (!strcmp(w, ".target")) {
            const char *t = lex_ident(&p.x);
            char *end;
            m->sm = !strncmp(t, "sm_", 3) ? (int)strtol(t + 3, &end, 10) : 0;
            if (!m->sm || *end) ptx_fail(p.u, p.x.line, ".target %s is not supported", t);
            while (lex_accept(&p.x, ',')) lex_ident(&p.x);
        } else if (!strcmp(w, ".address_size")) {
            if (lex_int(&p.x) != 64) ptx_fail(p.u, p.x.line, ".address_size is not 64");
        } else if (!strcmp(w, ".entry")) parse_func(&p, 1);
        else if (!strcmp(w, ".func")) parse_func(&p, 0);
        else if ((sp = ptx_space_of(w)) && sp != PS_LOCAL && sp != PS_PARAM) ptx_parse_vars(&p, sp, ext);
        else if (!strcmp(w, ".pragma")) lex_skip_to(&p.x, ';');
        else if (!strcmp(w, ".file")) lex_skip_line(&p.x);
        else if (!strcmp(w, ".section")) lex_skip_to(&p.x, '}');
        else ptx_fail(p.u, p.x.line, "unknown directive %s", w);
    }
    if (!m->version) ptx_fail(p.u, 1, "the text has no .version");
    if (!m->sm) ptx_fail(p.u, 1, "the text has no .target");
}
