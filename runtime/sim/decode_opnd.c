/* decode_opnd.c: what every form is made of: an instruction, its operands, constants, jumps to be fixed. */
#include "decode.h"
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include "opcode.h"

void dec_fail(decoder *d, const char *fmt, ...) {
    char b[400];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(b, sizeof b, fmt, ap);
    va_end(ap);
    ptx_fail(d->u, d->s ? d->s->line : d->entry->line, "%s in `%.*s`", b, d->s ? d->s->src_n : 0,
             d->s ? d->s->src : "");
}

static void *grow(decoder *d, void *p, int n, int *cap, size_t size) {
    if (n < *cap) return p;
    int c = *cap ? 2 * *cap : 64;
    void *q = ptx_alloc(d->u, size * (size_t)c); /* the old one stays in the arena: small and short-lived */
    if (n) memcpy(q, p, size * (size_t)n);
    *cap = c;
    return q;
}

int dec_reg_bytes(ptx_type t) {
    int b = ptx_types[t].bytes;
    return b == 1 ? 2 : b;
}

uint32_t dec_temp(decoder *d, int class) { return OPN(class, d->n[class]++); }

uint32_t dec_reg(decoder *d, const ptx_reg *r) {
    if (!d->reg_of[r->id]) {
        int b = ptx_types[r->type].bytes;
        d->reg_of[r->id] = dec_temp(d, r->type == PT_PRED ? OC_PRED : b == 8 ? OC_R64 : OC_R32);
        if (r->special && r->special < SR_CLOCK) {
            sim_func *f = d->out;
            sim_sreg *s = ptx_alloc(d->u, sizeof *s * (size_t)(f->n_sreg + 1));
            if (f->n_sreg) memcpy(s, f->sreg, sizeof *s * (size_t)f->n_sreg);
            s[f->n_sreg] = (sim_sreg){r->special, d->reg_of[r->id]};
            f->sreg = s;
            f->n_sreg++;
        }
    }
    if (r->special >= SR_CLOCK) {
        sim_inst *in = dec_emit(d, "clock");
        in->o[0] = d->reg_of[r->id];
        in->sub = r->special;
        in->rsz = ptx_types[r->type].bytes;
    }
    return d->reg_of[r->id];
}

uint32_t dec_const(decoder *d, int bytes, uint64_t v) {
    int c = bytes == 8, class = c ? OC_C64 : OC_C32;
    if (bytes == 2) v &= 0xffff;
    if (bytes <= 4) v &= 0xffffffffu;
    for (uint32_t i = 0; i < d->n[class]; i++)
        if (d->cval[c][i] == v) return OPN(class, i);
    int cap = (int)d->ccap[c];
    d->cval[c] = grow(d, d->cval[c], (int)d->n[class], &cap, sizeof(uint64_t));
    d->ccap[c] = (uint32_t)cap;
    d->cval[c][d->n[class]] = v;
    return dec_temp(d, class);
}

uint32_t dec_aux(decoder *d, uint32_t v) {
    int cap = (int)d->cap_aux;
    d->aux = grow(d, d->aux, (int)d->n_aux, &cap, sizeof *d->aux);
    d->cap_aux = (uint32_t)cap;
    d->aux[d->n_aux] = v;
    return d->n_aux++;
}

void dec_fix_stmt(decoder *d, int inst, int aux, int64_t stmt) {
    d->fix = grow(d, d->fix, d->n_fix, &d->cap_fix, sizeof *d->fix);
    d->fix[d->n_fix++] = (dec_fix){inst, aux, d->fn, (int)stmt, NULL};
}

sim_inst *dec_emit(decoder *d, const char *op) {
    int id = sim_opcode_find(op);
    if (id < 0) dec_fail(d, "the form has no handler `%s`", op);
    int cap = d->cap_code;
    d->code = grow(d, d->code, d->n_code, &d->cap_code, sizeof *d->code);
    d->origin = grow(d, d->origin, d->n_code, &cap, sizeof *d->origin);
    sim_inst *in = &d->code[d->n_code];
    memset(in, 0, sizeof *in);
    d->origin[d->n_code++] = d->s;
    in->op = (uint16_t)id;
    in->target = -1;
    if (d->s) {
        in->line = (uint32_t)d->s->line;
        if (d->s->guard) {
            in->guard = dec_reg(d, d->s->guard);
            in->gneg = d->s->gneg ? ~0u : 0;
        }
        in->mod = d->k.mod;
        in->cmp = (uint8_t)d->k.cmp;
        in->bop = (uint8_t)d->k.bop;
        in->space = (uint8_t)d->k.space;
        in->order = (uint8_t)d->k.order;
        in->sub = (uint8_t)d->k.sub;
        in->ty = d->k.ty[0];
        in->ty2 = d->k.n_ty > 1 ? d->k.ty[1] : PT_NONE;
        if (d->k.form && (isa_has(&d->k, "sync") || !strcmp(d->k.tok[0], "nanosleep"))) in->flags |= IF_SYNC;
    }
    return in;
}

const ptx_opnd *dec_opnd(decoder *d, int i) {
    if (i >= d->s->n) dec_fail(d, "operand %d is missing", i + 1);
    return &d->s->o[i];
}

/* ---- operands ---- */
static const char *reg_text(const ptx_reg *r) { return r->name; }

static void check_reg(decoder *d, const ptx_reg *r, ptx_type t, int wide) {
    int rb = ptx_types[r->type].bytes, tb = ptx_types[t].bytes;
    if (r->type == PT_PRED)
        dec_fail(d, "predicate `%s` where a .%s register is wanted", reg_text(r), ptx_types[t].name);
    if (wide ? rb < tb : rb != tb && !(tb == 1 && rb == 2))
        dec_fail(d, "register `%s` is .%s, the instruction wants .%s", reg_text(r), ptx_types[r->type].name,
                 ptx_types[t].name);
    int rk = ptx_types[r->type].kind, tk = ptx_types[t].kind;
    if (!wide && rk != PK_BITS && tk != PK_BITS && (rk == PK_FLOAT) != (tk == PK_FLOAT))
        dec_fail(d, "register `%s` is .%s, the instruction wants .%s", reg_text(r), ptx_types[r->type].name,
                 ptx_types[t].name);
}

uint64_t dec_imm_bits(decoder *d, const ptx_opnd *o, ptx_type t) {
    uint64_t bits = (uint64_t)o->i;
    int b = ptx_types[t].bytes, k = ptx_types[t].kind;
    double v = o->kind == PO_FLT ? o->f : (double)o->i;
    if (o->kind == PO_FLT || k == PK_FLOAT) {
        if (o->kind == PO_FLT && k != PK_FLOAT && k != PK_BITS)
            dec_fail(d, "a floating constant where .%s is wanted", ptx_types[t].name);
        if (b == 8) memcpy(&bits, &v, 8);
        else if (b == 4) {
            float f = (float)v;
            uint32_t u;
            memcpy(&u, &f, 4);
            bits = o->kind == PO_FLT && o->fbits == 32 ? (uint64_t)o->i : u;
        } else if (o->kind == PO_FLT) dec_fail(d, "a floating constant where .%s is wanted", ptx_types[t].name);
        if (o->kind == PO_FLT && o->fbits == 32 && b == 8) memcpy(&bits, &v, 8);
    }
    return bits;
}

int64_t dec_var_addr(decoder *d, const ptx_var *v) {
    if (v->space == PS_GLOBAL || v->space == PS_CONST) return (int64_t)v->addr;
    if (v->space == PS_PARAM) {
        for (int i = 0; i < d->entry->n_par; i++)
            if (d->entry->par[i].var == v) return (int64_t)v->off;
    }
    if (d->var_off[v->id] >= 0) return d->var_off[v->id];
    if (v->space == PS_SHARED) dec_fail(d, "shared variable `%s` was not laid out", v->name);
    /* .local, and .param of calls: per-thread memory */
    uint32_t at = (d->local_at + v->align - 1) / v->align * v->align;
    if (v->bytes > 1 << 20 || at + v->bytes > 1 << 20) dec_fail(d, "local memory exceeds 1 MiB");
    d->local_at = at + (uint32_t)v->bytes;
    d->var_off[v->id] = at;
    return at;
}

static int is_entry_param(const decoder *d, const ptx_var *v) {
    for (int i = 0; i < d->entry->n_par; i++)
        if (d->entry->par[i].var == v) return 1;
    return 0;
}

uint32_t dec_src(decoder *d, const ptx_opnd *o, ptx_type t, int wide) {
    switch (o->kind) {
    case PO_REG:
        if (o->neg || o->reg2) dec_fail(d, "a plain register is wanted");
        check_reg(d, o->reg, t, wide);
        return dec_reg(d, o->reg);
    case PO_INT:
    case PO_FLT: return dec_const(d, dec_reg_bytes(t), dec_imm_bits(d, o, t));
    case PO_VAR: {
        int b = ptx_types[t].bytes;
        if (b != 8 && !(b == 4 && o->var->space != PS_GLOBAL && o->var->space != PS_CONST))
            dec_fail(d, "the address of `%s` does not fit .%s", o->var->name, ptx_types[t].name);
        return dec_const(d, b, (uint64_t)(dec_var_addr(d, o->var) + o->i));
    }
    case PO_NAME: dec_fail(d, "`%s` is not declared", o->name);
    default: dec_fail(d, "a register or constant is wanted");
    }
}

uint32_t dec_dst(decoder *d, const ptx_opnd *o, ptx_type t, int wide) {
    if (o->kind == PO_SINK) return dec_temp(d, ptx_types[t].bytes == 8 ? OC_R64 : OC_R32);
    if (o->kind != PO_REG || o->neg) dec_fail(d, "a destination register is wanted");
    if (o->reg->special) dec_fail(d, "`%s` cannot be written", o->reg->name);
    check_reg(d, o->reg, t, wide);
    return dec_reg(d, o->reg);
}

uint32_t dec_src_pred(decoder *d, const ptx_opnd *o) {
    if (o->kind == PO_INT) { /* a constant predicate: made by comparing */
        uint32_t p = dec_temp(d, OC_PRED);
        sim_inst *in = dec_emit(d, "setp_u32");
        in->o[0] = p;
        in->o[2] = in->o[3] = dec_const(d, 4, 0);
        in->cmp = o->i ? CMP_EQ : CMP_NE;
        in->bop = 0;
        return p;
    }
    if (o->kind == PO_NAME) dec_fail(d, "`%s` is not declared", o->name);
    if (o->kind != PO_REG || o->reg->type != PT_PRED) dec_fail(d, "a predicate is wanted");
    uint32_t r = dec_reg(d, o->reg);
    if (!o->neg) return r;
    uint32_t p = dec_temp(d, OC_PRED);
    sim_inst *in = dec_emit(d, "not_pred");
    in->o[0] = p;
    in->o[1] = r;
    return p;
}

uint32_t dec_dst_pred(decoder *d, const ptx_opnd *o) {
    if (o->kind == PO_SINK) return dec_temp(d, OC_PRED);
    if (o->kind != PO_REG || o->neg || o->reg->type != PT_PRED) dec_fail(d, "a destination predicate is wanted");
    return dec_reg(d, o->reg);
}

uint32_t dec_addr(decoder *d, const ptx_opnd *o, int space, int64_t *imm, uint32_t *mod) {
    if (o->kind != PO_ADDR) dec_fail(d, "a memory operand is wanted");
    *imm = o->i;
    *mod &= ~(uint32_t)F_ADDR32;
    if (o->reg) {
        int b = ptx_types[o->reg->type].bytes;
        if (o->reg->type == PT_PRED || ptx_types[o->reg->type].kind == PK_FLOAT ||
            (b != 8 && !(b == 4 && (space == PS_SHARED || space == PS_LOCAL || space == PS_PARAM))))
            dec_fail(d, "`%s` is .%s: not an address here", o->reg->name, ptx_types[o->reg->type].name);
        if (b == 4) *mod |= F_ADDR32;
        return dec_reg(d, o->reg);
    }
    int64_t base = 0;
    if (o->var) {
        int vs = o->var->space == PS_CONST ? PS_GLOBAL : o->var->space;
        if (vs == PS_PARAM && !is_entry_param(d, o->var)) vs = PS_PARAM;
        if (space == PS_GENERIC && vs != PS_GLOBAL)
            dec_fail(d, "`%s` is not in the generic address space", o->var->name);
        if (space != PS_GENERIC && vs != space) dec_fail(d, "`%s` is in another state space", o->var->name);
        base = dec_var_addr(d, o->var);
    }
    if (space == PS_SHARED) {
        *mod |= F_ADDR32;
        int64_t at = base + *imm;
        *imm = 0;
        return dec_const(d, 4, (uint64_t)at);
    }
    int64_t at = base + *imm;
    *imm = 0;
    return dec_const(d, 8, (uint64_t)at);
}

dec_fn *dec_fn_get(decoder *d, ptx_func *f) {
    dec_fn **p = &d->fns;
    for (; *p; p = &(*p)->next)
        if ((*p)->f == f) return *p;
    dec_fn *n = ptx_alloc(d->u, sizeof *n);
    n->f = f;
    n->start = -1;
    n->at = ptx_alloc(d->u, sizeof *n->at * (size_t)(f->n_s + 1));
    *p = n;
    return n;
}

void dec_count(decoder *d, int lo, int hi) {
    if (d->s->n < lo || d->s->n > hi) dec_fail(d, "wrong number of operands");
}
