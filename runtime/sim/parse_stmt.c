/* parse_stmt.c: statements of a body: instructions, labels, directives, nested blocks. Which opcodes and modifiers exist
 * is not known here: see isa.c. */
#include "parser.h"
#include <string.h>

static ptx_stmt *stmt_new(ptx_parser *p) {
    ptx_func *f = p->f;
    if (f->n_s == f->cap_s) {
        int cap = f->cap_s ? 2 * f->cap_s : 64;
        ptx_stmt *s = ptx_alloc(p->u, sizeof *s * (size_t)cap);
        if (f->n_s) memcpy(s, f->s, sizeof *s * (size_t)f->n_s);
        f->s = s;
        f->cap_s = cap;
    }
    ptx_stmt *s = &f->s[f->n_s++];
    memset(s, 0, sizeof *s);
    return s;
}

static void parse_inst(ptx_parser *p, const char *op, ptx_stmt *s) {
    lexer *x = &p->x;
    ptx_opnd tmp[12];
    int n = 0;
    s->op = op;
    int is_call = !strncmp(op, "call", 4) && (op[4] == 0 || op[4] == '.');
    lex_skip(x);
    while (*x->p != ';') {
        if (n == 12) ptx_fail(p->u, x->line, "too many operands in `%s`", op);
        if (is_call && lex_accept(x, '(')) ptx_parse_list(p, &tmp[n++], ')');
        else ptx_parse_opnd(p, &tmp[n++]);
        lex_skip(x);
        if (*x->p == ';') break;
        lex_expect(x, ',');
        lex_skip(x);
    }
    s->src_n = (int)(x->p - s->src);
    x->p++;
    s->n = n;
    s->o = ptx_alloc(p->u, sizeof *s->o * (size_t)(n ? n : 1));
    memcpy(s->o, tmp, sizeof *s->o * (size_t)n);
}

static void parse_directive(ptx_parser *p) {
    const char *w = lex_directive(&p->x);
    int sp;
    if (!strcmp(w, ".reg")) ptx_parse_regs(p);
    else if ((sp = ptx_space_of(w))) {
        if (sp == PS_GLOBAL || sp == PS_CONST || sp == PS_SHARED || sp == PS_LOCAL || sp == PS_PARAM)
            ptx_parse_vars(p, sp, 0);
    } else if (!strcmp(w, ".pragma")) lex_skip_to(&p->x, ';');
    else if (!strcmp(w, ".loc")) lex_skip_line(&p->x);
    else ptx_fail(p->u, p->x.line, "unknown directive %s", w);
}

static void parse_statement(ptx_parser *p) {
    lexer *x = &p->x;
    lex_skip(x);
    if (*x->p == '{') {
        x->p++;
        ptx_parse_block(p);
        return;
    }
    if (*x->p == ';') {
        x->p++;
        return;
    }
    if (*x->p == '.') {
        parse_directive(p);
        return;
    }
    const char *start = x->p;
    int line = x->line;
    ptx_reg *guard = NULL;
    int gneg = 0;
    if (lex_accept(x, '@')) {
        gneg = lex_accept(x, '!');
        const char *name = lex_ident(x);
        ptx_opnd o;
        if (!ptx_name_opnd(p, name, &o) || o.kind != PO_REG || o.reg->type != PT_PRED)
            ptx_fail(p->u, x->line, "guard `%s` is not a predicate", name);
        guard = o.reg;
    } else {
        const char *save = x->p;
        int l0 = x->line;
        if (!lex_is_ident(*x->p)) ptx_fail(p->u, x->line, "a statement cannot begin with `%c`", *x->p);
        const char *name = lex_ident(x);
        lex_skip(x);
        if (*x->p == ':' && x->p[1] != ':') {
            x->p++;
            lex_skip(x);
            if (!strncmp(x->p, ".branchtargets", 14)) {
                x->p += 14;
                ptx_targets *t = ptx_alloc(p->u, sizeof *t);
                t->name = name;
                t->f = p->f;
                ptx_parse_list(p, &t->list, ';');
                t->next = p->m->targets;
                p->m->targets = t;
                return;
            }
            if (*x->p == '.' && strncmp(x->p, ".reg", 4) && strncmp(x->p, ".loc", 4) && strncmp(x->p, ".pragma", 7))
                ptx_fail(p->u, x->line, "unknown directive after label `%s`", name);
            ptx_scope_add(p, name)->label = p->f->n_s;
            return;
        }
        x->p = save;
        x->line = l0;
    }
    const char *op = lex_opcode(x);
    ptx_stmt tmp = {.line = line, .src = start, .guard = guard, .gneg = gneg};
    parse_inst(p, op, &tmp);
    *stmt_new(p) = tmp;
}

void ptx_parse_block(ptx_parser *p) {
    ptx_deeper(p);
    ptx_scope_push(p);
    for (;;) {
        lex_skip(&p->x);
        if (!*p->x.p) ptx_fail(p->u, p->x.line, "the text ends inside a block");
        if (lex_accept(&p->x, '}')) break;
        parse_statement(p);
    }
    ptx_scope_pop(p);
    p->depth--;
}
