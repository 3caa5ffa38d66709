/* parse_opnd.c: operands: registers, constants, addresses, vectors, names yet unknown. */
#include "parser.h"
#include <ctype.h>
#include <string.h>

void ptx_parse_list(ptx_parser *p, ptx_opnd *o, int close) {
    ptx_opnd tmp[32];
    int n = 0;
    ptx_deeper(p);
    lex_skip(&p->x);
    if (*p->x.p != close)
        for (;;) {
            if (n == 32) ptx_fail(p->u, p->x.line, "too many elements in a list");
            ptx_parse_opnd(p, &tmp[n++]);
            if (!lex_accept(&p->x, ',')) break;
        }
    lex_expect(&p->x, close);
    memset(o, 0, sizeof *o);
    o->kind = PO_VEC;
    o->n = n;
    o->list = ptx_alloc(p->u, sizeof *o * (size_t)(n ? n : 1));
    memcpy(o->list, tmp, sizeof *o * (size_t)n);
    p->depth--;
}

void ptx_const_opnd(ptx_parser *p, ptx_opnd *o) {
    lex_num v = lex_expr(&p->x);
    memset(o, 0, sizeof *o);
    o->kind = v.is_f ? PO_FLT : PO_INT;
    o->i = v.i;
    o->f = v.f;
    o->fbits = (uint8_t)v.fbits;
}

void ptx_parse_opnd(ptx_parser *p, ptx_opnd *o) {
    lexer *x = &p->x;
    memset(o, 0, sizeof *o);
    lex_skip(x);
    if (lex_accept(x, '{')) {
        ptx_parse_list(p, o, '}');
        return;
    }
    if (lex_accept(x, '[')) {
        lex_skip(x);
        if (lex_is_ident(*x->p)) {
            const char *name = lex_ident(x);
            if (!ptx_name_opnd(p, name, o)) ptx_fail(p->u, x->line, "`%s` is not declared", name);
            int64_t add = 0;
            lex_skip(x);
            if (*x->p == '+' || *x->p == '-') {
                int neg = *x->p == '-';
                x->p++;
                lex_num v = lex_expr(x);
                if (v.is_f) ptx_fail(p->u, x->line, "an address offset is an integer");
                add = neg ? -v.i : v.i;
            }
            if (o->kind == PO_INT) add += o->i;
            o->i = add;
        } else {
            lex_num v = lex_expr(x);
            if (v.is_f) ptx_fail(p->u, x->line, "an address is an integer");
            o->i = v.i;
        }
        o->kind = PO_ADDR;
        lex_expect(x, ']');
        return;
    }
    if (*x->p == '!' && x->p[1] != '=') {
        const char *q = x->p + 1;
        while (isspace((unsigned char)*q)) q++;
        if (lex_is_ident(*q)) {
            x->p++;
            const char *name = lex_ident(x);
            if (!ptx_name_opnd(p, name, o) || o->kind != PO_REG)
                ptx_fail(p->u, x->line, "`%s` is not a predicate", name);
            o->neg = 1;
            return;
        }
    }
    if (lex_is_ident(*x->p)) {
        const char *name = lex_ident(x);
        if (!strcmp(name, "_")) {
            o->kind = PO_SINK;
            if (lex_accept(x, '|')) {
                ptx_opnd b;
                name = lex_ident(x);
                if (!ptx_name_opnd(p, name, &b) || b.kind != PO_REG)
                    ptx_fail(p->u, x->line, "`%s` is not a register", name);
                o->reg2 = b.reg;
            }
            return;
        }
        if (!ptx_name_opnd(p, name, o)) {
            if (name[0] == '%') ptx_fail(p->u, x->line, "register `%s` is not declared", name);
            o->kind = PO_NAME;
            o->name = name;
            return;
        }
        if (o->kind == PO_VAR) {
            lex_skip(x);
            if (*x->p == '+' || *x->p == '-') {
                int neg = *x->p == '-';
                x->p++;
                lex_num v = lex_expr(x);
                o->i = neg ? -v.i : v.i;
            }
        } else if (o->kind == PO_REG && lex_accept(x, '|')) {
            ptx_opnd b;
            name = lex_ident(x);
            if (!strcmp(name, "_")) return;
            if (!ptx_name_opnd(p, name, &b) || b.kind != PO_REG)
                ptx_fail(p->u, x->line, "`%s` is not a register", name);
            o->reg2 = b.reg;
        }
        return;
    }
    ptx_const_opnd(p, o);
}
