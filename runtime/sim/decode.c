/* decode.c: statements to fixed-size instructions for one entry and every function that it calls.
 * A called function's registers live in the entry's block once (there is no recursion), so that a call
 * is a jump that leaves its return address in a register. */
#include "decode.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void dec_fail(decoder *d, const char *fmt, ...) {
    char b[400];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(b, sizeof b, fmt, ap);
    va_end(ap);
    ptx_fail(d->m, d->s ? d->s->line : d->entry->line, "%s in `%.*s`", b, d->s ? d->s->src_n : 0,
             d->s ? d->s->src : "");
}

static void *grow(decoder *d, void *p, int n, int *cap, size_t size) {
    if (n < *cap) return p;
    int c = *cap ? 2 * *cap : 64;
    void *q = ptx_alloc(d->m, size * (size_t)c); /* the old one stays in the arena: small and short-lived */
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
            sim_sreg *s = ptx_alloc(d->m, sizeof *s * (size_t)(f->n_sreg + 1));
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
    int id = sim_op_find(op);
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

/* ---- plain forms ---- */
static void handler_name(decoder *d, const char *h, char *out, size_t n) {
    static const int bits[] = {8, 8, 16, 32, 64};
    size_t k = 0;
    for (; *h && k + 8 < n; h++) {
        if (*h == '%') {
            h++;
            if (*h == 'b') {
                int b = ptx_types[d->k.ty[0]].bytes;
                k += (size_t)snprintf(out + k, n - k, "%d", bits[b == 8 ? 4 : b == 4 ? 3 : b == 2 ? 2 : 0]);
            } else k += (size_t)snprintf(out + k, n - k, "%s", ptx_types[d->k.ty[*h == 'u']].name);
        } else if (*h == '*') {
            uint32_t f = d->k.mod & (F_FTZ | F_SAT | F_RZ | F_RM | F_RP | F_NAN);
            if (f) {
                out[k] = f == F_FTZ ? 'z' : 'x';
                out[k + 1] = 0;
                if (sim_op_find(out) < 0) out[k] = 'x';
                k++;
            }
        } else out[k++] = *h;
    }
    out[k] = 0;
}

static ptx_type double_width(ptx_type t) {
    return t == PT_U16 ? PT_U32 : t == PT_S16 ? PT_S32 : t == PT_U32 ? PT_U64 : PT_S64;
}

static void decode_plain(decoder *d) {
    char name[48];
    handler_name(d, d->k.form->handler, name, sizeof name);
    const ptx_stmt *s = d->s;
    uint32_t o[SIM_MAX_O] = {0}, mod = d->k.mod;
    int n = 0, at = 0, optional = 0;
    int64_t imm = 0;
    ptx_type t0 = d->k.ty[0], t1 = d->k.n_ty > 1 ? d->k.ty[1] : t0;
    for (const char *c = d->k.form->operands; *c; c++) {
        if (*c == '?') {
            optional = 1;
            continue;
        }
        if (*c == 'k') {
            if (d->k.hint) dec_src(d, dec_opnd(d, at++), PT_B64, 0);
            continue;
        }
        if (optional && at >= s->n) break;
        if (n >= SIM_MAX_O - 1) dec_fail(d, "too many operands");
        const ptx_opnd *p = dec_opnd(d, at++);
        switch (*c) {
        case 'd': o[n++] = dec_dst(d, p, t0, 0); break;
        case 'a': o[n++] = dec_src(d, p, t0, 0); break;
        case 'b': o[n++] = dec_src(d, p, t1, 0); break;
        case 'D': o[n++] = dec_dst(d, p, double_width(t0), 0); break;
        case 'A': o[n++] = dec_src(d, p, double_width(t0), 0); break;
        case 'x': o[n++] = dec_dst(d, p, t0, 1); break;
        case 'y': o[n++] = dec_src(d, p, t1, 1); break;
        case 'I': o[n++] = dec_dst(d, p, PT_B32, 0); break;
        case 'J': o[n++] = dec_dst(d, p, PT_B64, 0); break;
        case 'i': o[n++] = dec_src(d, p, PT_B32, 0); break;
        case 'j': o[n++] = dec_src(d, p, PT_B64, 0); break;
        case 'n':
            if (p->kind != PO_INT) dec_fail(d, "an integer constant is wanted");
            imm = p->i;
            break;
        case 'p': o[n++] = dec_dst_pred(d, p); break;
        case 'q':
            if (p->kind != PO_REG && p->kind != PO_SINK) dec_fail(d, "a destination predicate is wanted");
            o[n++] = dec_dst_pred(d, p);
            if (p->reg2 && p->reg2->type != PT_PRED) dec_fail(d, "`%s` is not a predicate", p->reg2->name);
            o[n++] = p->reg2 ? dec_reg(d, p->reg2) : 0;
            break;
        case 's':
            o[n++] = dec_dst(d, p, t0 == PT_NONE || !strncmp(d->k.form->handler, "match", 5) ? PT_B32 : t0, 0);
            if (p->reg2 && p->reg2->type != PT_PRED) dec_fail(d, "`%s` is not a predicate", p->reg2->name);
            o[n++] = p->reg2 ? dec_reg(d, p->reg2) : 0;
            break;
        case 'P': o[n++] = dec_src_pred(d, p); break;
        case 'm': o[n++] = dec_addr(d, p, d->k.space ? d->k.space : PS_GENERIC, &imm, &mod); break;
        default: dec_fail(d, "operand letter %c", *c);
        }
    }
    if (at != s->n) dec_fail(d, "%d operands, not %d", s->n, at);
    sim_inst *in = dec_emit(d, name);
    memcpy(in->o, o, sizeof o);
    in->mod = mod;
    in->imm = imm;
    in->n = (uint8_t)n;
}

static void decode_stmt(decoder *d, const ptx_stmt *s) {
    d->s = s;
    isa_find(d->m, s, &d->k);
    if (d->k.form->handler[0] == '=') dec_named(d, d->k.form->handler + 1);
    else decode_plain(d);
}

/* ---- functions ---- */
dec_fn *dec_fn_get(decoder *d, ptx_func *f) {
    dec_fn **p = &d->fns;
    for (; *p; p = &(*p)->next)
        if ((*p)->f == f) return *p;
    dec_fn *n = ptx_alloc(d->m, sizeof *n);
    n->f = f;
    n->start = -1;
    n->at = ptx_alloc(d->m, sizeof *n->at * (size_t)(f->n_s + 1));
    *p = n;
    return n;
}

static void lay_out_shared(decoder *d, const ptx_opnd *o, int n) {
    for (int i = 0; i < n; i++) {
        if (o[i].kind == PO_VEC) lay_out_shared(d, o[i].list, o[i].n);
        ptx_var *v = o[i].var;
        if (!v || v->space != PS_SHARED || d->var_off[v->id] >= 0) continue;
        if (v->align > d->shared_align) d->shared_align = v->align;
        if (v->is_extern) continue;
        d->shared_at = (d->shared_at + v->align - 1) / v->align * v->align;
        if (d->shared_at + v->bytes > 232448)
            ptx_fail(d->m, d->entry->line, "`%s`: too much shared memory", d->entry->name);
        d->var_off[v->id] = d->shared_at;
        d->shared_at += (uint32_t)v->bytes;
    }
}

/* Marks what the entry reaches (finding recursion) and places its static shared variables. */
static void reach(decoder *d, ptx_func *f, int depth) {
    dec_fn *n = dec_fn_get(d, f);
    if (n->active) ptx_fail(d->m, f->line, "`%s` calls itself: recursion is not supported", f->name);
    if (!f->has_body) ptx_fail(d->m, f->line, "`%s` is declared but not defined", f->name);
    if (depth > 64) ptx_fail(d->m, f->line, "calls are nested too deeply");
    if (n->emitted) return;
    n->active = 1;
    for (int i = 0; i < f->n_s; i++) {
        const ptx_stmt *s = &f->s[i];
        lay_out_shared(d, s->o, s->n);
        if (strncmp(s->op, "call", 4)) continue;
        for (int j = 0; j < s->n; j++)
            if (s->o[j].kind == PO_NAME) {
                ptx_func *g = ptx_find_func(d->m, s->o[j].name);
                if (g && !g->is_entry) reach(d, g, depth + 1);
            }
    }
    n->active = 0;
    n->emitted = 1;
}

static void place_extern_shared(decoder *d) {
    uint32_t a = d->shared_align > 16 ? d->shared_align : 16, base = (d->shared_at + a - 1) / a * a;
    for (const ptx_var *v = d->m->vars; v; v = v->next)
        if (v->space == PS_SHARED && v->is_extern) d->var_off[v->id] = base;
}

static void emit_fn(decoder *d, dec_fn *n) {
    d->fn = n;
    n->start = d->n_code;
    for (int i = 0; i < n->f->n_s; i++) {
        n->at[i] = d->n_code;
        decode_stmt(d, &n->f->s[i]);
    }
    n->at[n->f->n_s] = d->n_code;
    /* falling off the end returns */
    ptx_stmt end = {.op = n->f->is_entry ? "exit" : "ret",
                    .src = "(end of function)",
                    .src_n = 17,
                    .line = n->f->n_s ? n->f->s[n->f->n_s - 1].line : n->f->line};
    ptx_stmt *e = ptx_alloc(d->m, sizeof *e);
    *e = end;
    decode_stmt(d, e);
}

static uint32_t offset_of(const decoder *d, const uint32_t base[OC_N], uint32_t o) {
    (void)d;
    static const uint32_t size[OC_N] = {4, 128, 256, 128, 256};
    uint32_t c = o >> 28, i = o & 0xfffffff;
    return base[c] + i * size[c];
}

static void layout(decoder *d) {
    sim_func *f = d->out;
    uint32_t base[OC_N];
    uint64_t at = ((uint64_t)d->n[OC_PRED] * 4 + 63) / 64 * 64;
    base[OC_PRED] = 0;
    base[OC_R32] = (uint32_t)at;
    at += (uint64_t)d->n[OC_R32] * 128;
    base[OC_R64] = (uint32_t)at;
    at += (uint64_t)d->n[OC_R64] * 256;
    f->const_off = base[OC_C32] = (uint32_t)at;
    at += (uint64_t)d->n[OC_C32] * 128;
    base[OC_C64] = (uint32_t)at;
    at += (uint64_t)d->n[OC_C64] * 256;
    if (at > 64u << 20) ptx_fail(d->m, d->entry->line, "`%s` uses too many registers", d->entry->name);
    f->reg_bytes = (uint32_t)at;
    f->n_regs = d->n[OC_R32] + 2 * d->n[OC_R64];
    f->consts = ptx_alloc(d->m, f->reg_bytes - f->const_off + 1);
    for (uint32_t i = 0; i < d->n[OC_C32]; i++)
        for (int l = 0; l < 32; l++) memcpy(f->consts + i * 128 + l * 4, &d->cval[0][i], 4);
    for (uint32_t i = 0; i < d->n[OC_C64]; i++)
        for (int l = 0; l < 32; l++) memcpy(f->consts + d->n[OC_C32] * 128 + i * 256 + l * 8, &d->cval[1][i], 8);
    for (int i = 0; i < d->n_code; i++) {
        sim_inst *in = &d->code[i];
        for (int k = 0; k < SIM_MAX_O; k++) in->o[k] = offset_of(d, base, in->o[k]);
        in->guard = offset_of(d, base, in->guard);
        if (in->n_aux) /* vectors of registers (mma, ldmatrix) */
            for (uint32_t k = 0; k < in->n_aux; k++) d->aux[in->aux + k] = offset_of(d, base, d->aux[in->aux + k]);
        else if (in->flags & IF_MEM) in->aux = (uint32_t)i % SIM_ACACHE;
    }
    for (int i = 0; i < f->n_sreg; i++) f->sreg[i].off = offset_of(d, base, f->sreg[i].off);
}

static void fix_targets(decoder *d) {
    for (int i = 0; i < d->n_fix; i++) {
        const dec_fix *x = &d->fix[i];
        int pc = x->callee ? x->callee->start : x->fn->at[x->stmt];
        if (x->aux >= 0) d->aux[x->aux] = (uint32_t)pc;
        else d->code[x->inst].target = pc;
        d->code[pc].flags |= IF_JOIN;
        if (x->inst + 1 < d->n_code) d->code[x->inst + 1].flags |= IF_JOIN;
    }
    for (int i = 0; i + 1 < d->n_code; i++) /* whatever may leave a group behind makes a joint after it */
        if (d->code[i].flags & IF_SYNC) d->code[i].flags |= IF_JOIN, d->code[i + 1].flags |= IF_JOIN;
}

void ptx_decode(sim_module *m, ptx_func *entry) {
    decoder *d = ptx_alloc(m, sizeof *d);
    sim_func *f = ptx_alloc(m, sizeof *f);
    d->m = m;
    d->entry = entry;
    d->out = f;
    d->reg_of = ptx_alloc(m, sizeof *d->reg_of * (m->n_reg + 1));
    d->var_off = ptx_alloc(m, sizeof *d->var_off * (m->n_var + 1));
    for (uint32_t i = 0; i < m->n_var; i++) d->var_off[i] = -1;
    d->n[OC_PRED] = 1; /* predicate 0 stands for "none" */
    f->name = entry->name;
    f->src = entry;
    reach(d, entry, 0);
    place_extern_shared(d);
    for (dec_fn *n = d->fns; n; n = n->next) emit_fn(d, n);
    d->s = NULL;
    fix_targets(d);
    layout(d);
    f->code = d->code;
    f->n_code = d->n_code;
    f->aux = d->aux;
    f->n_aux = d->n_aux;
    f->text = ptx_alloc(m, sizeof *f->text * (size_t)d->n_code);
    f->text_n = ptx_alloc(m, sizeof *f->text_n * (size_t)d->n_code);
    for (int i = 0; i < d->n_code; i++) {
        f->text[i] = d->origin[i]->src;
        f->text_n[i] = d->origin[i]->src_n;
    }
    f->shared_bytes = d->shared_at;
    f->shared_align = d->shared_align > 16 ? d->shared_align : 16;
    f->local_bytes = (d->local_at + 15) / 16 * 16;
    f->max_threads = entry->maxntid ? entry->maxntid : 1024;
    memcpy(f->reqntid, entry->reqntid, sizeof f->reqntid);
    f->param_bytes = entry->param_bytes;
    f->n_param = entry->n_par;
    f->param_off = ptx_alloc(m, sizeof *f->param_off * (size_t)(entry->n_par + 1));
    f->param_size = ptx_alloc(m, sizeof *f->param_size * (size_t)(entry->n_par + 1));
    for (int i = 0; i < entry->n_par; i++) {
        f->param_off[i] = entry->par[i].var->off;
        f->param_size[i] = entry->par[i].var->bytes;
    }
    entry->code = f;
}
