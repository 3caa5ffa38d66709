/* parse_decl.c: declarations of registers and variables, with their initial values. */
#include "parser.h"
#include <string.h>

void ptx_parse_decl_type(ptx_parser *p, ptx_decl *d) {
    d->align = 0;
    d->type = PT_NONE;
    for (;;) {
        lex_skip(&p->x);
        if (*p->x.p != '.') break;
        const char *w = lex_directive(&p->x);
        if (!strcmp(w, ".align")) {
            d->align = (int)lex_expr(&p->x).i;
            if (d->align < 1 || d->align > 1 << 16 || (d->align & (d->align - 1)))
                ptx_fail(p->u, p->x.line, ".align is not a power of two");
        } else if (!strcmp(w, ".ptr") || !strcmp(w, ".global") || !strcmp(w, ".shared") || !strcmp(w, ".const") ||
                   !strcmp(w, ".local") || !strcmp(w, ".noalias")) {
            /* `.param .u64 .ptr .global .align 16 name`: the rest describes what it points at */
            for (;;) {
                lex_skip(&p->x);
                if (*p->x.p != '.') return;
                w = lex_directive(&p->x);
                if (!strcmp(w, ".align")) lex_expr(&p->x);
                else if (strcmp(w, ".global") && strcmp(w, ".shared") && strcmp(w, ".const") && strcmp(w, ".local"))
                    ptx_fail(p->u, p->x.line, "unknown directive %s", w);
            }
        } else if ((d->type = ptx_type_of(w + 1)) == PT_NONE)
            ptx_fail(p->u, p->x.line, "unknown type or directive %s in a declaration", w);
    }
    if (d->type == PT_NONE) ptx_fail(p->u, p->x.line, "a declaration lacks its type");
}

static void parse_init(ptx_parser *p, ptx_var *v, size_t *at) {
    lexer *x = &p->x;
    size_t es = ptx_types[v->type].bytes;
    if (lex_accept(x, '{')) {
        ptx_deeper(p);
        do {
            lex_skip(x);
            if (*x->p == '}') break;
            parse_init(p, v, at);
        } while (lex_accept(x, ','));
        lex_expect(x, '}');
        p->depth--;
        return;
    }
    if (*at + es > v->bytes) ptx_fail(p->u, x->line, "too many initialisers for `%s`", v->name);
    lex_skip(x);
    ptx_opnd o;
    if (lex_is_ident(*x->p)) {
        const char *name = lex_ident(x);
        int generic = !strcmp(name, "generic") && lex_accept(x, '(');
        if (generic) name = lex_ident(x);
        if (!ptx_name_opnd(p, name, &o) || o.kind != PO_VAR) ptx_fail(p->u, x->line, "`%s` is not a variable", name);
        if (generic) lex_expect(x, ')');
        lex_skip(x);
        int64_t add = 0;
        if (*x->p == '+') {
            x->p++;
            add = lex_expr(x).i;
        }
        if (es != 8) ptx_fail(p->u, x->line, "an address needs a 64-bit initialiser");
        ptx_reloc *r = ptx_alloc(p->u, sizeof *r);
        *r = (ptx_reloc){*at, o.var, add, v->reloc};
        v->reloc = r;
    } else {
        ptx_const_opnd(p, &o);
        uint64_t bits = (uint64_t)o.i;
        if (o.kind == PO_FLT) {
            float f = (float)o.f;
            if (es == 8) memcpy(&bits, &o.f, 8);
            else {
                uint32_t b;
                memcpy(&b, &f, 4);
                bits = b;
            }
        } else if (ptx_types[v->type].kind == PK_FLOAT && !o.fbits && es >= 4) {
            double d = (double)o.i;
            float f = (float)d;
            bits = 0;
            if (es == 8) memcpy(&bits, &d, 8);
            else memcpy(&bits, &f, 4);
        }
        memcpy(v->init + *at, &bits, es); /* little-endian host */
    }
    *at += es;
}

ptx_var *ptx_parse_var(ptx_parser *p, const ptx_decl *d, const char *name) {
    ptx_var *v = ptx_alloc(p->u, sizeof *v);
    v->name = name;
    v->space = (uint8_t)d->space;
    v->type = (uint8_t)d->type;
    v->is_extern = (uint8_t)d->is_extern;
    v->id = p->m->n_var++;
    uint64_t n = ptx_types[d->type].bytes;
    v->align = d->align ? (uint32_t)d->align : (uint32_t)n;
    if (!v->align) ptx_fail(p->u, p->x.line, "`%s` cannot have this type", name);
    while (lex_accept(&p->x, '[')) {
        lex_skip(&p->x);
        if (*p->x.p == ']') v->unsized = 1;
        else {
            int64_t k = lex_expr(&p->x).i;
            if (k < 0 || (uint64_t)k > (1ull << 40) || n * (uint64_t)k > (1ull << 40))
                ptx_fail(p->u, p->x.line, "array `%s` is too large", name);
            n *= (uint64_t)k;
        }
        lex_expect(&p->x, ']');
    }
    v->bytes = v->unsized ? 0 : n;
    return v;
}

/* `.reg .b32 %r<8>, x, y;` after the word .reg */
void ptx_parse_regs(ptx_parser *p) {
    ptx_decl d = {0};
    ptx_parse_decl_type(p, &d);
    if (d.type == PT_B128) ptx_fail(p->u, p->x.line, "128-bit registers are not supported");
    do {
        const char *name = lex_ident(&p->x);
        uint32_t count = 0;
        if (lex_accept(&p->x, '<')) {
            int64_t k = lex_int(&p->x);
            if (k < 1 || k > 1 << 20) ptx_fail(p->u, p->x.line, "bad register count for `%s`", name);
            count = (uint32_t)k;
            lex_expect(&p->x, '>');
        }
        ptx_sym *s = ptx_scope_add(p, name);
        s->count = count;
        s->reg = ptx_reg_new(p, name, d.type, count ? count : 1);
    } while (lex_accept(&p->x, ','));
    lex_expect(&p->x, ';');
}

void ptx_parse_vars(ptx_parser *p, int space, int is_extern) {
    ptx_decl d = {space, 0, is_extern, PT_NONE};
    ptx_parse_decl_type(p, &d);
    do {
        const char *name = lex_ident(&p->x);
        ptx_var *v = ptx_parse_var(p, &d, name);
        if (v->unsized && !(space == PS_SHARED && is_extern) && !is_extern) {
            lex_skip(&p->x);
            if (*p->x.p != '=') ptx_fail(p->u, p->x.line, "array `%s` has no size", name);
            ptx_fail(p->u, p->x.line, "array `%s` needs a written size", name);
        }
        if (is_extern && space != PS_SHARED) ptx_fail(p->u, p->x.line, "`%s`: external symbols cannot be linked", name);
        ptx_scope_add(p, name)->var = v;
        if (lex_accept(&p->x, '=')) {
            if (space != PS_GLOBAL && space != PS_CONST) ptx_fail(p->u, p->x.line, "`%s` cannot be initialised", name);
            v->init = ptx_alloc(p->u, v->bytes ? v->bytes : 1);
            size_t at = 0;
            parse_init(p, v, &at);
        }
        v->next = p->m->vars;
        p->m->vars = v;
    } while (lex_accept(&p->x, ','));
    lex_expect(&p->x, ';');
}

int ptx_space_of(const char *w) {
    return !strcmp(w, ".global")   ? PS_GLOBAL
           : !strcmp(w, ".const")  ? PS_CONST
           : !strcmp(w, ".shared") ? PS_SHARED
           : !strcmp(w, ".local")  ? PS_LOCAL
           : !strcmp(w, ".param")  ? PS_PARAM
                                   : PS_NONE;
}
