/* parse.c: PTX text to statements with every name resolved. Scopes nest and shadow; labels belong to
 * the block that holds them. Which opcodes and modifiers exist is not known here: see isa.def. */
#include "parse.h"
#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "lex.h"

const ptx_type_info ptx_types[PT_N] = {
    [PT_NONE] = {"", 0, PK_NONE},         [PT_PRED] = {"pred", 0, PK_PRED}, [PT_B8] = {"b8", 1, PK_BITS},
    [PT_U8] = {"u8", 1, PK_UINT},         [PT_S8] = {"s8", 1, PK_SINT},     [PT_B16] = {"b16", 2, PK_BITS},
    [PT_U16] = {"u16", 2, PK_UINT},       [PT_S16] = {"s16", 2, PK_SINT},   [PT_F16] = {"f16", 2, PK_FLOAT},
    [PT_BF16] = {"bf16", 2, PK_FLOAT},    [PT_B32] = {"b32", 4, PK_BITS},   [PT_U32] = {"u32", 4, PK_UINT},
    [PT_S32] = {"s32", 4, PK_SINT},       [PT_F32] = {"f32", 4, PK_FLOAT},  [PT_F16X2] = {"f16x2", 4, PK_BITS},
    [PT_BF16X2] = {"bf16x2", 4, PK_BITS}, [PT_B64] = {"b64", 8, PK_BITS},   [PT_U64] = {"u64", 8, PK_UINT},
    [PT_S64] = {"s64", 8, PK_SINT},       [PT_F64] = {"f64", 8, PK_FLOAT},  [PT_B128] = {"b128", 16, PK_BITS},
};

ptx_type ptx_type_of(const char *name) {
    for (int i = 1; i < PT_N; i++)
        if (!strcmp(name, ptx_types[i].name)) return (ptx_type)i;
    return PT_NONE;
}

static const struct {
    const char *name;
    uint8_t kind, type;
} sregs[] = {
    {"%tid.x", SR_TID_X, PT_U32},
    {"%tid.y", SR_TID_Y, PT_U32},
    {"%tid.z", SR_TID_Z, PT_U32},
    {"%ntid.x", SR_NTID_X, PT_U32},
    {"%ntid.y", SR_NTID_Y, PT_U32},
    {"%ntid.z", SR_NTID_Z, PT_U32},
    {"%ctaid.x", SR_CTAID_X, PT_U32},
    {"%ctaid.y", SR_CTAID_Y, PT_U32},
    {"%ctaid.z", SR_CTAID_Z, PT_U32},
    {"%nctaid.x", SR_NCTAID_X, PT_U32},
    {"%nctaid.y", SR_NCTAID_Y, PT_U32},
    {"%nctaid.z", SR_NCTAID_Z, PT_U32},
    {"%laneid", SR_LANEID, PT_U32},
    {"%warpid", SR_WARPID, PT_U32},
    {"%nwarpid", SR_NWARPID, PT_U32},
    {"%smid", SR_SMID, PT_U32},
    {"%nsmid", SR_NSMID, PT_U32},
    {"%gridid", SR_GRIDID, PT_U64},
    {"%lanemask_eq", SR_LANEMASK_EQ, PT_U32},
    {"%lanemask_le", SR_LANEMASK_LE, PT_U32},
    {"%lanemask_lt", SR_LANEMASK_LT, PT_U32},
    {"%lanemask_ge", SR_LANEMASK_GE, PT_U32},
    {"%lanemask_gt", SR_LANEMASK_GT, PT_U32},
    {"%dynamic_smem_size", SR_DYNAMIC_SMEM_SIZE, PT_U32},
    {"%total_smem_size", SR_TOTAL_SMEM_SIZE, PT_U32},
    {"%clock", SR_CLOCK, PT_U32},
    {"%clock_hi", SR_CLOCK_HI, PT_U32},
    {"%clock64", SR_CLOCK64, PT_U64},
    {"%globaltimer", SR_GLOBALTIMER, PT_U64},
    {"%globaltimer_lo", SR_GLOBALTIMER_LO, PT_U32},
    {"%globaltimer_hi", SR_GLOBALTIMER_HI, PT_U32},
};

/* ---- scopes ---- */
typedef struct sym {
    const char *name;
    uint32_t count; /* 0: one register; else a range name0 .. name(count-1) */
    ptx_reg *reg;   /* [max(count,1)] */
    ptx_var *var;
    int label; /* statement number, when neither reg nor var */
    struct sym *next;
} sym;
typedef struct scope {
    sym *syms;
    int first;
    struct scope *up;
} scope;
typedef struct {
    lexer x;
    sim_module *m;
    scope *sc;
    ptx_func *f;
    int depth; /* of blocks and braces */
    ptx_reg *special[sizeof sregs / sizeof sregs[0]];
} parser;

static sym *scope_add(parser *p, const char *name) {
    for (sym *s = p->sc->syms; s; s = s->next)
        if (!strcmp(s->name, name) && !s->count) ptx_fail(p->m, p->x.line, "`%s` is declared twice in one scope", name);
    sym *s = ptx_alloc(p->m, sizeof *s);
    s->name = name;
    s->label = -1;
    s->next = p->sc->syms;
    return p->sc->syms = s;
}

/* name is stem0 .. stem(count-1)? The number has no leading zero. */
static int in_range(const sym *s, const char *name, size_t n, uint32_t *index) {
    size_t k = strlen(s->name);
    if (k >= n || n - k > 7 || strncmp(s->name, name, k) || (name[k] == '0' && n - k > 1)) return 0;
    uint32_t v = 0;
    for (size_t j = k; j < n; j++) {
        if (!isdigit((unsigned char)name[j])) return 0;
        v = v * 10 + (uint32_t)(name[j] - '0');
    }
    *index = v;
    return v < s->count;
}

static sym *scope_find(const scope *sc, const char *name, uint32_t *index) {
    size_t n = strlen(name);
    for (; sc; sc = sc->up)
        for (sym *s = sc->syms; s; s = s->next) {
            *index = 0;
            if (s->count ? in_range(s, name, n, index) : !strcmp(s->name, name)) return s;
        }
    return NULL;
}

static ptx_reg *reg_new(parser *p, const char *name, ptx_type t, uint32_t count) {
    ptx_reg *r = ptx_alloc(p->m, sizeof *r * count);
    for (uint32_t i = 0; i < count; i++) r[i] = (ptx_reg){name, (uint8_t)t, 0, p->m->n_reg++};
    return r;
}

static void scope_push(parser *p) {
    scope *s = ptx_alloc(p->m, sizeof *s);
    s->up = p->sc;
    s->first = p->f ? p->f->n_s : 0;
    p->sc = s;
}

static void resolve_labels(const scope *sc, ptx_opnd *o, int n) {
    for (int i = 0; i < n; i++) {
        if (o[i].kind == PO_VEC) resolve_labels(sc, o[i].list, o[i].n);
        if (o[i].kind != PO_NAME) continue;
        for (const sym *s = sc->syms; s; s = s->next)
            if (s->label >= 0 && !strcmp(s->name, o[i].name)) {
                o[i].kind = PO_LABEL;
                o[i].i = s->label;
                break;
            }
    }
}

static void scope_pop(parser *p) {
    for (int i = p->sc->first; i < p->f->n_s; i++) resolve_labels(p->sc, p->f->s[i].o, p->f->s[i].n);
    for (ptx_targets *t = p->m->targets; t; t = t->next)
        if (t->f == p->f) resolve_labels(p->sc, &t->list, 1);
    p->sc = p->sc->up;
}

/* ---- operands ---- */
static ptx_reg *special_reg(parser *p, const char *name) {
    for (size_t i = 0; i < sizeof sregs / sizeof sregs[0]; i++)
        if (!strcmp(sregs[i].name, name)) {
            if (!p->special[i]) {
                p->special[i] = reg_new(p, sregs[i].name, sregs[i].type, 1);
                p->special[i]->special = sregs[i].kind;
            }
            return p->special[i];
        }
    return NULL;
}

static int name_to_opnd(parser *p, const char *name, ptx_opnd *o) {
    uint32_t k;
    sym *s = scope_find(p->sc, name, &k);
    memset(o, 0, sizeof *o);
    if (s && s->reg) {
        o->kind = PO_REG;
        o->reg = s->reg + k;
        return 1;
    }
    if (s && s->var) {
        o->kind = PO_VAR;
        o->var = s->var;
        return 1;
    }
    if (name[0] == '%' && (o->reg = special_reg(p, name))) {
        o->kind = PO_REG;
        return 1;
    }
    if (!strcmp(name, "WARP_SZ")) {
        o->kind = PO_INT;
        o->i = 32;
        return 1;
    }
    return 0;
}

static void parse_opnd(parser *p, ptx_opnd *o);

static void deeper(parser *p) {
    if (++p->depth > 64) ptx_fail(p->m, p->x.line, "nested too deeply");
}

static void parse_list(parser *p, ptx_opnd *o, int close) {
    ptx_opnd tmp[32];
    int n = 0;
    deeper(p);
    lex_skip(&p->x);
    if (*p->x.p != close)
        for (;;) {
            if (n == 32) ptx_fail(p->m, p->x.line, "too many elements in a list");
            parse_opnd(p, &tmp[n++]);
            if (!lex_accept(&p->x, ',')) break;
        }
    lex_expect(&p->x, close);
    memset(o, 0, sizeof *o);
    o->kind = PO_VEC;
    o->n = n;
    o->list = ptx_alloc(p->m, sizeof *o * (size_t)(n ? n : 1));
    memcpy(o->list, tmp, sizeof *o * (size_t)n);
    p->depth--;
}

static void const_opnd(parser *p, ptx_opnd *o) {
    lex_num v = lex_expr(&p->x);
    memset(o, 0, sizeof *o);
    o->kind = v.is_f ? PO_FLT : PO_INT;
    o->i = v.i;
    o->f = v.f;
    o->fbits = (uint8_t)v.fbits;
}

static void parse_opnd(parser *p, ptx_opnd *o) {
    lexer *x = &p->x;
    memset(o, 0, sizeof *o);
    lex_skip(x);
    if (lex_accept(x, '{')) {
        parse_list(p, o, '}');
        return;
    }
    if (lex_accept(x, '[')) {
        lex_skip(x);
        if (lex_is_ident(*x->p)) {
            const char *name = lex_ident(x);
            if (!name_to_opnd(p, name, o)) ptx_fail(p->m, x->line, "`%s` is not declared", name);
            int64_t add = 0;
            lex_skip(x);
            if (*x->p == '+' || *x->p == '-') {
                int neg = *x->p == '-';
                x->p++;
                lex_num v = lex_expr(x);
                if (v.is_f) ptx_fail(p->m, x->line, "an address offset is an integer");
                add = neg ? -v.i : v.i;
            }
            if (o->kind == PO_INT) add += o->i;
            o->i = add;
        } else {
            lex_num v = lex_expr(x);
            if (v.is_f) ptx_fail(p->m, x->line, "an address is an integer");
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
            if (!name_to_opnd(p, name, o) || o->kind != PO_REG)
                ptx_fail(p->m, x->line, "`%s` is not a predicate", name);
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
                if (!name_to_opnd(p, name, &b) || b.kind != PO_REG)
                    ptx_fail(p->m, x->line, "`%s` is not a register", name);
                o->reg2 = b.reg;
            }
            return;
        }
        if (!name_to_opnd(p, name, o)) {
            if (name[0] == '%') ptx_fail(p->m, x->line, "register `%s` is not declared", name);
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
            if (!name_to_opnd(p, name, &b) || b.kind != PO_REG) ptx_fail(p->m, x->line, "`%s` is not a register", name);
            o->reg2 = b.reg;
        }
        return;
    }
    const_opnd(p, o);
}

/* ---- declarations ---- */
typedef struct {
    int space, align, is_extern;
    ptx_type type;
} decl;

/* Reads `.space [.align N] [.vN] .type [.ptr ...]` after the space word. */
static void parse_decl_type(parser *p, decl *d) {
    d->align = 0;
    d->type = PT_NONE;
    for (;;) {
        lex_skip(&p->x);
        if (*p->x.p != '.') break;
        const char *w = lex_directive(&p->x);
        if (!strcmp(w, ".align")) {
            d->align = (int)lex_expr(&p->x).i;
            if (d->align < 1 || d->align > 1 << 16 || (d->align & (d->align - 1)))
                ptx_fail(p->m, p->x.line, ".align is not a power of two");
        } else if (!strcmp(w, ".ptr") || !strcmp(w, ".global") || !strcmp(w, ".shared") || !strcmp(w, ".const") ||
                   !strcmp(w, ".local") || !strcmp(w, ".noalias")) {
            /* `.param .u64 .ptr .global .align 16 name`: the rest describes what it points at */
            for (;;) {
                lex_skip(&p->x);
                if (*p->x.p != '.') return;
                w = lex_directive(&p->x);
                if (!strcmp(w, ".align")) lex_expr(&p->x);
                else if (strcmp(w, ".global") && strcmp(w, ".shared") && strcmp(w, ".const") && strcmp(w, ".local"))
                    ptx_fail(p->m, p->x.line, "unknown directive %s", w);
            }
        } else if ((d->type = ptx_type_of(w + 1)) == PT_NONE)
            ptx_fail(p->m, p->x.line, "unknown type or directive %s in a declaration", w);
    }
    if (d->type == PT_NONE) ptx_fail(p->m, p->x.line, "a declaration lacks its type");
}

static void parse_init(parser *p, ptx_var *v, size_t *at) {
    lexer *x = &p->x;
    size_t es = ptx_types[v->type].bytes;
    if (lex_accept(x, '{')) {
        deeper(p);
        do {
            lex_skip(x);
            if (*x->p == '}') break;
            parse_init(p, v, at);
        } while (lex_accept(x, ','));
        lex_expect(x, '}');
        p->depth--;
        return;
    }
    if (*at + es > v->bytes) ptx_fail(p->m, x->line, "too many initialisers for `%s`", v->name);
    lex_skip(x);
    ptx_opnd o;
    if (lex_is_ident(*x->p)) {
        const char *name = lex_ident(x);
        int generic = !strcmp(name, "generic") && lex_accept(x, '(');
        if (generic) name = lex_ident(x);
        if (!name_to_opnd(p, name, &o) || o.kind != PO_VAR) ptx_fail(p->m, x->line, "`%s` is not a variable", name);
        if (generic) lex_expect(x, ')');
        lex_skip(x);
        int64_t add = 0;
        if (*x->p == '+') {
            x->p++;
            add = lex_expr(x).i;
        }
        if (es != 8) ptx_fail(p->m, x->line, "an address needs a 64-bit initialiser");
        ptx_reloc *r = ptx_alloc(p->m, sizeof *r);
        *r = (ptx_reloc){*at, o.var, add, v->reloc};
        v->reloc = r;
    } else {
        const_opnd(p, &o);
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

static ptx_var *parse_var(parser *p, const decl *d, const char *name) {
    ptx_var *v = ptx_alloc(p->m, sizeof *v);
    v->name = name;
    v->space = (uint8_t)d->space;
    v->type = (uint8_t)d->type;
    v->is_extern = (uint8_t)d->is_extern;
    v->id = p->m->n_var++;
    uint64_t n = ptx_types[d->type].bytes;
    v->align = d->align ? (uint32_t)d->align : (uint32_t)n;
    if (!v->align) ptx_fail(p->m, p->x.line, "`%s` cannot have this type", name);
    while (lex_accept(&p->x, '[')) {
        lex_skip(&p->x);
        if (*p->x.p == ']') v->unsized = 1;
        else {
            int64_t k = lex_expr(&p->x).i;
            if (k < 0 || (uint64_t)k > (1ull << 40) || n * (uint64_t)k > (1ull << 40))
                ptx_fail(p->m, p->x.line, "array `%s` is too large", name);
            n *= (uint64_t)k;
        }
        lex_expect(&p->x, ']');
    }
    v->bytes = v->unsized ? 0 : n;
    return v;
}

/* `.reg .b32 %r<8>, x, y;` after the word .reg */
static void parse_regs(parser *p) {
    decl d = {0};
    parse_decl_type(p, &d);
    if (d.type == PT_B128) ptx_fail(p->m, p->x.line, "128-bit registers are not supported");
    do {
        const char *name = lex_ident(&p->x);
        uint32_t count = 0;
        if (lex_accept(&p->x, '<')) {
            int64_t k = lex_int(&p->x);
            if (k < 1 || k > 1 << 20) ptx_fail(p->m, p->x.line, "bad register count for `%s`", name);
            count = (uint32_t)k;
            lex_expect(&p->x, '>');
        }
        sym *s = scope_add(p, name);
        s->count = count;
        s->reg = reg_new(p, name, d.type, count ? count : 1);
    } while (lex_accept(&p->x, ','));
    lex_expect(&p->x, ';');
}

static void parse_vars(parser *p, int space, int is_extern) {
    decl d = {space, 0, is_extern, PT_NONE};
    parse_decl_type(p, &d);
    do {
        const char *name = lex_ident(&p->x);
        ptx_var *v = parse_var(p, &d, name);
        if (v->unsized && !(space == PS_SHARED && is_extern) && !is_extern) {
            lex_skip(&p->x);
            if (*p->x.p != '=') ptx_fail(p->m, p->x.line, "array `%s` has no size", name);
            ptx_fail(p->m, p->x.line, "array `%s` needs a written size", name);
        }
        if (is_extern && space != PS_SHARED) ptx_fail(p->m, p->x.line, "`%s`: external symbols cannot be linked", name);
        scope_add(p, name)->var = v;
        if (lex_accept(&p->x, '=')) {
            if (space != PS_GLOBAL && space != PS_CONST) ptx_fail(p->m, p->x.line, "`%s` cannot be initialised", name);
            v->init = ptx_alloc(p->m, v->bytes ? v->bytes : 1);
            size_t at = 0;
            parse_init(p, v, &at);
        }
        v->next = p->m->vars;
        p->m->vars = v;
    } while (lex_accept(&p->x, ','));
    lex_expect(&p->x, ';');
}

static int space_of(const char *w) {
    return !strcmp(w, ".global")   ? PS_GLOBAL
           : !strcmp(w, ".const")  ? PS_CONST
           : !strcmp(w, ".shared") ? PS_SHARED
           : !strcmp(w, ".local")  ? PS_LOCAL
           : !strcmp(w, ".param")  ? PS_PARAM
                                   : PS_NONE;
}

/* ---- statements ---- */
static ptx_stmt *stmt_new(parser *p) {
    ptx_func *f = p->f;
    if (f->n_s == f->cap_s) {
        int cap = f->cap_s ? 2 * f->cap_s : 64;
        ptx_stmt *s = ptx_alloc(p->m, sizeof *s * (size_t)cap);
        if (f->n_s) memcpy(s, f->s, sizeof *s * (size_t)f->n_s);
        f->s = s;
        f->cap_s = cap;
    }
    ptx_stmt *s = &f->s[f->n_s++];
    memset(s, 0, sizeof *s);
    return s;
}

static void parse_inst(parser *p, const char *op, ptx_stmt *s) {
    lexer *x = &p->x;
    ptx_opnd tmp[12];
    int n = 0;
    s->op = op;
    int is_call = !strncmp(op, "call", 4) && (op[4] == 0 || op[4] == '.');
    lex_skip(x);
    while (*x->p != ';') {
        if (n == 12) ptx_fail(p->m, x->line, "too many operands in `%s`", op);
        if (is_call && lex_accept(x, '(')) parse_list(p, &tmp[n++], ')');
        else parse_opnd(p, &tmp[n++]);
        lex_skip(x);
        if (*x->p == ';') break;
        lex_expect(x, ',');
        lex_skip(x);
    }
    s->src_n = (int)(x->p - s->src);
    x->p++;
    s->n = n;
    s->o = ptx_alloc(p->m, sizeof *s->o * (size_t)(n ? n : 1));
    memcpy(s->o, tmp, sizeof *s->o * (size_t)n);
}

static void parse_block(parser *p);

static void parse_directive(parser *p) {
    const char *w = lex_directive(&p->x);
    int sp;
    if (!strcmp(w, ".reg")) parse_regs(p);
    else if ((sp = space_of(w))) {
        if (sp == PS_GLOBAL || sp == PS_CONST || sp == PS_SHARED || sp == PS_LOCAL || sp == PS_PARAM)
            parse_vars(p, sp, 0);
    } else if (!strcmp(w, ".pragma")) lex_skip_to(&p->x, ';');
    else if (!strcmp(w, ".loc")) lex_skip_line(&p->x);
    else ptx_fail(p->m, p->x.line, "unknown directive %s", w);
}

static void parse_statement(parser *p) {
    lexer *x = &p->x;
    lex_skip(x);
    if (*x->p == '{') {
        x->p++;
        parse_block(p);
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
        if (!name_to_opnd(p, name, &o) || o.kind != PO_REG || o.reg->type != PT_PRED)
            ptx_fail(p->m, x->line, "guard `%s` is not a predicate", name);
        guard = o.reg;
    } else {
        const char *save = x->p;
        int l0 = x->line;
        if (!lex_is_ident(*x->p)) ptx_fail(p->m, x->line, "a statement cannot begin with `%c`", *x->p);
        const char *name = lex_ident(x);
        lex_skip(x);
        if (*x->p == ':' && x->p[1] != ':') {
            x->p++;
            lex_skip(x);
            if (!strncmp(x->p, ".branchtargets", 14)) {
                x->p += 14;
                ptx_targets *t = ptx_alloc(p->m, sizeof *t);
                t->name = name;
                t->f = p->f;
                parse_list(p, &t->list, ';');
                t->next = p->m->targets;
                p->m->targets = t;
                return;
            }
            if (*x->p == '.' && strncmp(x->p, ".reg", 4) && strncmp(x->p, ".loc", 4) && strncmp(x->p, ".pragma", 7))
                ptx_fail(p->m, x->line, "unknown directive after label `%s`", name);
            scope_add(p, name)->label = p->f->n_s;
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

static void parse_block(parser *p) {
    deeper(p);
    scope_push(p);
    for (;;) {
        lex_skip(&p->x);
        if (!*p->x.p) ptx_fail(p->m, p->x.line, "the text ends inside a block");
        if (lex_accept(&p->x, '}')) break;
        parse_statement(p);
    }
    scope_pop(p);
    p->depth--;
}

/* ---- functions ---- */
static void parse_params(parser *p, ptx_opnd **out, int *n_out, int entry) {
    ptx_opnd tmp[64];
    int n = 0;
    size_t off = 0;
    lex_expect(&p->x, '(');
    lex_skip(&p->x);
    if (*p->x.p != ')') do {
            const char *w = lex_directive(&p->x);
            decl d = {PS_PARAM, 0, 0, PT_NONE};
            int is_reg = !strcmp(w, ".reg");
            if (!is_reg && strcmp(w, ".param")) ptx_fail(p->m, p->x.line, "unknown parameter space %s", w);
            if (entry && is_reg) ptx_fail(p->m, p->x.line, "an entry's parameters are .param");
            parse_decl_type(p, &d);
            const char *name = lex_ident(&p->x);
            if (n == 64) ptx_fail(p->m, p->x.line, "too many parameters");
            ptx_opnd *o = &tmp[n++];
            memset(o, 0, sizeof *o);
            if (is_reg) {
                o->kind = PO_REG;
                o->reg = reg_new(p, name, d.type, 1);
                scope_add(p, name)->reg = o->reg;
            } else {
                o->kind = PO_VAR;
                o->var = parse_var(p, &d, name);
                if (o->var->unsized) ptx_fail(p->m, p->x.line, "parameter `%s` has no size", name);
                off = (off + o->var->align - 1) / o->var->align * o->var->align;
                o->var->off = off;
                off += o->var->bytes;
                scope_add(p, name)->var = o->var;
                o->var->next = p->m->vars;
                p->m->vars = o->var;
            }
        } while (lex_accept(&p->x, ','));
    lex_expect(&p->x, ')');
    *out = ptx_alloc(p->m, sizeof **out * (size_t)(n ? n : 1));
    memcpy(*out, tmp, sizeof **out * (size_t)n);
    *n_out = n;
    if (entry) p->f->param_bytes = off;
}

static void parse_func(parser *p, int is_entry) {
    sim_module *m = p->m;
    ptx_func *f = ptx_alloc(m, sizeof *f);
    p->f = f;
    f->is_entry = is_entry;
    f->line = p->x.line;
    memset(p->special, 0, sizeof p->special);
    scope_push(p);
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
                else ptx_fail(m, p->x.line, "bad %s", w);
            } while (lex_accept(&p->x, ','));
            f->maxntid = d[0] * d[1] * d[2];
            if (f->maxntid > 1024) ptx_fail(m, p->x.line, "bad %s: more than 1024 threads", w);
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
        if (!take) ptx_fail(m, p->x.line, "unknown directive %s", w);
    }
    ptx_func *old = ptx_find_func(m, f->name);
    if (lex_accept(&p->x, ';')) {
        if (is_entry) ptx_fail(m, p->x.line, "entry `%s` has no body", f->name);
    } else {
        if (old && old->has_body) ptx_fail(m, f->line, "`%s` is defined twice", f->name);
        f->has_body = 1;
        lex_expect(&p->x, '{');
        parse_block(p);
        scope_pop(p);
        scope_push(p); /* keeps push and pop balanced below */
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
    parser p = {.m = m, .x = {.p = m->text, .line = 1, .m = m}};
    scope_push(&p);
    for (;;) {
        lex_skip(&p.x);
        if (!*p.x.p) break;
        if (*p.x.p == ';') {
            p.x.p++;
            continue;
        }
        if (*p.x.p != '.') ptx_fail(m, p.x.line, "expected a directive at `%.20s`", p.x.p);
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
                ptx_fail(m, p.x.line, ".version %d.%d is not supported", (int)a, (int)b);
        } else if (!strcmp(w, ".target")) {
            const char *t = lex_ident(&p.x);
            char *end;
            m->sm = !strncmp(t, "sm_", 3) ? (int)strtol(t + 3, &end, 10) : 0;
            if (!m->sm || *end) ptx_fail(m, p.x.line, ".target %s is not supported", t);
            while (lex_accept(&p.x, ',')) lex_ident(&p.x);
        } else if (!strcmp(w, ".address_size")) {
            if (lex_int(&p.x) != 64) ptx_fail(m, p.x.line, ".address_size is not 64");
        } else if (!strcmp(w, ".entry")) parse_func(&p, 1);
        else if (!strcmp(w, ".func")) parse_func(&p, 0);
        else if ((sp = space_of(w)) && sp != PS_LOCAL && sp != PS_PARAM) parse_vars(&p, sp, ext);
        else if (!strcmp(w, ".pragma")) lex_skip_to(&p.x, ';');
        else if (!strcmp(w, ".file")) lex_skip_line(&p.x);
        else if (!strcmp(w, ".section")) lex_skip_to(&p.x, '}');
        else ptx_fail(m, p.x.line, "unknown directive %s", w);
    }
    if (!m->version) ptx_fail(m, 1, "the text has no .version");
    if (!m->sm) ptx_fail(m, 1, "the text has no .target");
}
