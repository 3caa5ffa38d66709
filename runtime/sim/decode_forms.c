/* decode_forms.c: forms whose operands or handler depend on more than their types. */
#include <stdio.h>
#include <string.h>
#include "decode.h"

static void count(decoder *d, int lo, int hi) {
    if (d->s->n < lo || d->s->n > hi) dec_fail(d, "wrong number of operands");
}

/* ---- mov, with packing and unpacking ---- */
static void mov(decoder *d) {
    ptx_type t = d->k.ty[0];
    int b = ptx_types[t].bytes;
    count(d, 2, 2);
    const ptx_opnd *dst = dec_opnd(d, 0), *src = dec_opnd(d, 1);
    if (src->kind == PO_VEC) {
        int n = src->n;
        if (!n || b % n) dec_fail(d, "cannot pack %d parts", n);
        ptx_type pt = b / n == 4 ? PT_B32 : b / n == 2 ? PT_B16 : PT_B8;
        const char *op = b == 4 && n == 2   ? "pack_2x16"
                         : b == 8 && n == 2 ? "pack_2x32"
                         : b == 8 && n == 4 ? "pack_4x16"
                         : b == 4 && n == 4 ? "pack_4x8"
                                            : NULL;
        if (!op) dec_fail(d, "cannot pack %d parts", n);
        uint32_t o[5];
        for (int i = 0; i < n; i++) o[1 + i] = dec_src(d, &src->list[i], pt, 0);
        o[0] = dec_dst(d, dst, t, 0);
        sim_inst *in = dec_emit(d, op);
        memcpy(in->o, o, sizeof o[0] * (size_t)(n + 1));
        return;
    }
    if (dst->kind == PO_VEC) {
        int n = dst->n;
        if (!n || b % n) dec_fail(d, "cannot unpack into %d parts", n);
        ptx_type pt = b / n == 4 ? PT_B32 : b / n == 2 ? PT_B16 : PT_B8;
        const char *op = b == 8   ? (n == 2   ? "part64_32"
                                     : n == 4 ? "part64_16"
                                              : NULL)
                         : b == 4 ? (n == 2   ? "part_16"
                                     : n == 4 ? "part_8"
                                              : NULL)
                                  : NULL;
        if (!op) dec_fail(d, "cannot unpack into %d parts", n);
        uint32_t a = dec_src(d, src, t, 0);
        for (int i = 0; i < n; i++) {
            if (dst->list[i].kind == PO_SINK) continue;
            uint32_t r = dec_dst(d, &dst->list[i], pt, 0);
            sim_inst *in = dec_emit(d, op);
            in->o[0] = r;
            in->o[1] = a;
            in->imm = i * (8 * b / n);
        }
        return;
    }
    if (src->kind == PO_NAME)
        dec_fail(d, "`%s` is not declared (addresses of functions and labels cannot be taken)", src->name);
    uint32_t a = dec_src(d, src, t, 0), r = dec_dst(d, dst, t, 0);
    sim_inst *in = dec_emit(d, b == 8 ? "mov_64" : b == 4 ? "mov_32" : "mov_16");
    in->o[0] = r;
    in->o[1] = a;
}

static void cvta(decoder *d) {
    count(d, 2, 2);
    uint32_t a = dec_src(d, dec_opnd(d, 1), PT_U64, 0), r = dec_dst(d, dec_opnd(d, 0), PT_U64, 0);
    uint64_t win = d->k.space == PS_SHARED  ? SIM_WIN_SHARED
                   : d->k.space == PS_LOCAL ? SIM_WIN_LOCAL
                   : d->k.space == PS_PARAM ? SIM_WIN_PARAM
                                            : 0;
    if (isa_has(&d->k, "to")) win = 0 - win;
    uint32_t c = win ? dec_const(d, 8, win) : 0;
    sim_inst *in = dec_emit(d, win ? "add_64" : "mov_64");
    in->o[0] = r;
    in->o[1] = a;
    if (win) in->o[2] = c;
}

static void prmt(decoder *d) {
    count(d, 4, 4);
    const ptx_opnd *c = dec_opnd(d, 3);
    uint32_t o[4] = {0};
    o[0] = dec_dst(d, dec_opnd(d, 0), PT_B32, 0);
    for (int i = 1; i < 4; i++) o[i] = dec_src(d, dec_opnd(d, i), PT_B32, 0);
    int fixed = c->kind == PO_INT && !(c->i & 0x8888);
    sim_inst *in = dec_emit(d, fixed ? "prmt_i" : "prmt");
    memcpy(in->o, o, sizeof o);
    if (fixed) in->imm = c->i;
}

static void set(decoder *d) {
    ptx_type t0 = d->k.ty[0], t1 = d->k.ty[1];
    count(d, d->k.bop ? 4 : 3, d->k.bop ? 4 : 3);
    int pair = t1 == PT_F16X2 || t1 == PT_BF16X2;
    if ((t0 == PT_F16 || t0 == PT_BF16 || t0 == PT_F16X2 || t0 == PT_BF16X2) && t0 != t1)
        dec_fail(d, "the two types differ");
    char name[32];
    snprintf(name, sizeof name, "set_%s%s", ptx_types[t1].name, t1 == PT_F32 && d->k.mod & F_FTZ ? "x" : "");
    uint32_t r = dec_dst(d, dec_opnd(d, 0), t0, 0), a = dec_src(d, dec_opnd(d, 1), t1, 0),
             b = dec_src(d, dec_opnd(d, 2), t1, 0);
    uint32_t c = d->k.bop ? dec_src_pred(d, dec_opnd(d, 3)) : 0;
    sim_inst *in = dec_emit(d, name);
    in->o[0] = r;
    in->o[1] = a;
    in->o[2] = b;
    in->o[3] = c;
    in->imm = t0 == PT_F32                       ? 0x3f800000
              : t0 == PT_F16 || t0 == PT_F16X2   ? 0x3c00
              : t0 == PT_BF16 || t0 == PT_BF16X2 ? 0x3f80
              : pair || ptx_types[t0].bytes == 2 ? 0xffff
                                                 : 0xffffffff;
}

/* Extended precision: sub 0 add, 1 sub, 2 mad.lo, 3 mad.hi; bit 0 of cmp = carry in, bit 1 = carry out. */
static void carry(decoder *d) {
    const char *op = d->k.tok[0];
    ptx_type t = d->k.ty[0];
    int mad = op[0] == 'm', n = mad ? 4 : 3;
    count(d, n, n);
    uint32_t o[5] = {0};
    o[0] = dec_dst(d, dec_opnd(d, 0), t, 0);
    for (int i = 1; i < n; i++) o[i] = dec_src(d, dec_opnd(d, i), t, 0);
    if (!d->cc) d->cc = dec_temp(d, OC_PRED);
    o[4] = d->cc;
    sim_inst *in = dec_emit(d, "carry");
    memcpy(in->o, o, sizeof o);
    in->esz = ptx_types[t].bytes;
    in->sub = (uint8_t)(mad ? (isa_has(&d->k, "hi") ? 3 : 2) : op[0] == 's');
    in->cmp = (uint8_t)((op[strlen(op) - 1] == 'c') | isa_has(&d->k, "cc") << 1);
}

/* ---- cvt ---- */
static const char *cvt_fast(ptx_type td, ptx_type ts, int rd, int rs, uint32_t mod) {
    int kd = ptx_types[td].kind, ks = ptx_types[ts].kind;
    uint32_t f = mod & (F_FTZ | F_SAT | F_RELU | F_RZ | F_RM | F_RP | F_INT);
    if (kd != PK_FLOAT && ks != PK_FLOAT) {
        if (f) return NULL;
        int bd = ptx_types[td].bytes, bs = ptx_types[ts].bytes, sg = ks == PK_SINT;
        if (rs <= 4 && rd == 4 && bd == 4)
            return bs == 4 ? "mov_32" : bs == 2 ? (sg ? "cvt_32_s16" : "cvt_32_u16") : (sg ? "cvt_32_s8" : "cvt_32_u8");
        if (rs <= 4 && rd == 2 && bd == 2) return bs >= 2 ? "mov_16" : sg ? "cvt_16_s8" : "cvt_32_u8";
        if (rs <= 4 && rd == 4 && bd == 2 && bs >= 2) return kd == PK_SINT ? "cvt_32_s16" : "cvt_32_u16";
        if (rs <= 4 && rd <= 4 && bd == 1 && kd == PK_UINT) return "cvt_32_u8";
        if (rs <= 4 && rd == 4 && bd == 1 && kd == PK_SINT) return "cvt_32_s8";
        if (rs == 8 && rd == 4 && bd == 4 && bs == 8) return "cvt_32_64";
        if (rs == 4 && rd == 8 && bd == 8 && bs == 4) return sg ? "cvt_64_s32" : "cvt_64_u32";
        if (rs == 8 && rd == 8 && bd == 8 && bs == 8) return "mov_64";
        return NULL;
    }
    if (td == PT_F32 && rd == 4 && !f && rs <= 4) switch (ts) {
        case PT_U32: return "cvt_f32_u32";
        case PT_S32: return "cvt_f32_s32";
        case PT_U16: return "cvt_f32_u16";
        case PT_S16: return "cvt_f32_s16";
        case PT_U8: return "cvt_f32_u8";
        case PT_S8: return "cvt_f32_s8";
        case PT_F16: return "cvt_f32_f16";
        case PT_BF16: return "cvt_f32_bf16";
        default: break;
        }
    if (ts == PT_F32 && rs == 4 && !f) {
        if (td == PT_F16) return "cvt_f16_f32";
        if (td == PT_BF16) return "cvt_bf16_f32";
        if (td == PT_F64) return "cvt_f64_f32";
    }
    if (td == PT_F32 && ts == PT_F64 && !f && rd == 4) return "cvt_f32_f64";
    f &= ~(uint32_t)(F_FTZ | F_SAT); /* a flushed or clamped s32 is the same number */
    if (td == PT_S32 && rd == 4 && ts == PT_F32 && rs == 4) {
        if (f == (F_INT | F_RZ)) return "cvt_s32_f32_rzi";
        if (f == F_INT) return "cvt_s32_f32_rni";
    }
    return NULL;
}

static int opnd_bytes(const ptx_opnd *o, ptx_type t) {
    return o->kind == PO_REG ? dec_reg_bytes(o->reg->type) : dec_reg_bytes(t);
}

/* Integer conversions that no source overflows: ptxas refuses .sat there. */
static int cvt_sat_in_vain(ptx_type td, ptx_type ts) {
    int kd = ptx_types[td].kind, ks = ptx_types[ts].kind, bd = ptx_types[td].bytes, bs = ptx_types[ts].bytes;
    if (kd == PK_FLOAT || ks == PK_FLOAT) return 0;
    return kd == ks ? bd >= bs : kd == PK_SINT && bd > bs;
}

static void cvt(decoder *d) {
    ptx_type td = d->k.ty[0], ts = d->k.ty[1];
    count(d, 2, 2);
    if (d->k.mod & F_SAT && cvt_sat_in_vain(td, ts))
        dec_fail(d, ".sat between integers is for results that cannot hold every source");
    int rd = opnd_bytes(dec_opnd(d, 0), td), rs = opnd_bytes(dec_opnd(d, 1), ts);
    uint32_t a = dec_src(d, dec_opnd(d, 1), ts, 1), r = dec_dst(d, dec_opnd(d, 0), td, 1);
    const char *fast = cvt_fast(td, ts, rd, rs, d->k.mod);
    sim_inst *in = dec_emit(d, fast ? fast : "cvt_any");
    in->o[0] = r;
    in->o[1] = a;
    in->rsz = (uint8_t)rd;
    in->esz = (uint8_t)rs;
}

static void cvt2(decoder *d) {
    count(d, 3, 3);
    uint32_t r = dec_dst(d, dec_opnd(d, 0), PT_B32, 0), a = dec_src(d, dec_opnd(d, 1), PT_F32, 0),
             b = dec_src(d, dec_opnd(d, 2), PT_F32, 0);
    int plain = !(d->k.mod & (F_RZ | F_RELU));
    sim_inst *in = dec_emit(d, !plain ? "cvt_pair" : d->k.ty[0] == PT_F16X2 ? "cvt_f16x2_f32" : "cvt_bf16x2_f32");
    in->o[0] = r;
    in->o[1] = a;
    in->o[2] = b;
}

/* ---- control ---- */
static void bra(decoder *d) {
    count(d, 1, 1);
    const ptx_opnd *o = dec_opnd(d, 0);
    if (o->kind == PO_NAME) dec_fail(d, "label `%s` is not in scope", o->name);
    if (o->kind != PO_LABEL) dec_fail(d, "a label is wanted");
    dec_emit(d, "bra");
    dec_fix_stmt(d, d->n_code - 1, -1, o->i);
}

static void brx(decoder *d) {
    count(d, 2, 2);
    uint32_t a = dec_src(d, dec_opnd(d, 0), PT_U32, 0);
    const ptx_opnd *o = dec_opnd(d, 1);
    const ptx_targets *t = NULL;
    if (o->kind == PO_NAME)
        for (t = d->m->targets; t && (t->f != d->fn->f || strcmp(t->name, o->name)); t = t->next) {}
    if (!t) dec_fail(d, "the list of targets is not declared");
    uint32_t first = d->n_aux;
    dec_emit(d, "brx");
    int at = d->n_code - 1;
    for (int i = 0; i < t->list.n; i++) {
        if (t->list.list[i].kind != PO_LABEL) dec_fail(d, "target %d is not a label in scope", i);
        dec_fix_stmt(d, at, (int)dec_aux(d, 0), t->list.list[i].i);
    }
    sim_inst *in = &d->code[at];
    in->o[0] = a;
    in->aux = first;
    in->imm = t->list.n;
}

static void copy_reg(decoder *d, uint32_t dst, uint32_t src, ptx_type t) {
    sim_inst *in = dec_emit(d, t == PT_PRED ? "mov_pred" : ptx_types[t].bytes == 8 ? "mov_64" : "mov_32");
    in->o[0] = dst;
    in->o[1] = src;
}

static void copy_local(decoder *d, int64_t dst, int64_t src, size_t bytes) {
    sim_inst *in = dec_emit(d, "lcopy");
    in->imm = src;
    in->target = (int32_t)dst;
    in->aux = (uint32_t)bytes;
}

/* One argument into a formal (to = 1), or a formal into a result (to = 0). */
static void pass(decoder *d, const ptx_opnd *formal, const ptx_opnd *o, int to) {
    if (formal->kind == PO_REG) {
        ptx_type t = formal->reg->type;
        if (to) {
            uint32_t v = t == PT_PRED ? dec_src_pred(d, o) : dec_src(d, o, t, 0);
            copy_reg(d, dec_reg(d, formal->reg), v, t);
        } else copy_reg(d, t == PT_PRED ? dec_dst_pred(d, o) : dec_dst(d, o, t, 0), dec_reg(d, formal->reg), t);
        return;
    }
    ptx_var *v = formal->var;
    int64_t at = dec_var_addr(d, v);
    if (o->kind == PO_VAR && o->var->space == PS_PARAM) {
        if (o->var->bytes != v->bytes) dec_fail(d, "`%s` has another size than the parameter", o->var->name);
        int64_t other = dec_var_addr(d, o->var);
        if (to) copy_local(d, at, other, v->bytes);
        else copy_local(d, other, at, v->bytes);
        return;
    }
    if (ptx_types[v->type].bytes != v->bytes) dec_fail(d, "an array parameter is passed by a .param variable");
    uint32_t r = to ? dec_src(d, o, v->type, 0) : dec_dst(d, o, v->type, 0), a = dec_const(d, 8, (uint64_t)at);
    sim_inst *in = dec_emit(d, to ? "st_any" : "ld_any");
    in->o[0] = a;
    in->o[1] = r;
    in->n = 1;
    in->space = PS_LOCAL;
    in->mod = 0;
    in->esz = ptx_types[v->type].bytes;
    in->rsz = (uint8_t)dec_reg_bytes(v->type);
}

static void call(decoder *d) {
    const ptx_stmt *s = d->s;
    const ptx_opnd *ret = NULL, *args = NULL;
    int at = 0;
    if (at < s->n && s->o[at].kind == PO_VEC) ret = &s->o[at++];
    const ptx_opnd *name = dec_opnd(d, at++);
    if (at < s->n && s->o[at].kind == PO_VEC) args = &s->o[at++];
    if (at != s->n || name->kind != PO_NAME) dec_fail(d, "only direct calls are supported");
    ptx_func *f = ptx_find_func(d->m, name->name);
    if (!f || f->is_entry) dec_fail(d, "function `%s` is not declared", name->name);
    if ((ret ? ret->n : 0) != f->n_ret || (args ? args->n : 0) != f->n_par)
        dec_fail(d, "`%s` takes %d arguments and gives %d results", f->name, f->n_par, f->n_ret);
    for (int i = 0; i < f->n_par; i++) pass(d, &f->par[i], &args->list[i], 1);
    dec_fn *fn = dec_fn_get(d, f);
    if (!fn->ret_reg) fn->ret_reg = dec_temp(d, OC_R32);
    sim_inst *in = dec_emit(d, "call");
    in->o[0] = fn->ret_reg;
    dec_fix_stmt(d, d->n_code - 1, -1, 0);
    d->fix[d->n_fix - 1].callee = fn;
    for (int i = 0; i < f->n_ret; i++) pass(d, &f->ret[i], &ret->list[i], 0);
    if (!f->n_ret) dec_emit(d, "nop"); /* somewhere to return to, even at the end */
}

static void ret(decoder *d) {
    count(d, 0, 0);
    if (d->fn->f->is_entry) {
        dec_emit(d, "exit");
        return;
    }
    if (!d->fn->ret_reg) d->fn->ret_reg = dec_temp(d, OC_R32);
    sim_inst *in = dec_emit(d, "ret");
    in->o[0] = d->fn->ret_reg;
}

/* ---- memory ---- */
static int data(decoder *d, const ptx_opnd *o, int load, uint32_t *regs, int *rsz) {
    ptx_type t = d->k.ty[0];
    int n = d->k.vec ? d->k.vec : 1;
    const ptx_opnd *e = o;
    if (d->k.vec) {
        if (o->kind != PO_VEC || o->n != n) dec_fail(d, "a vector of %d is wanted", n);
        e = o->list;
    }
    *rsz = 0;
    for (int i = 0; i < n; i++) {
        regs[i] = load ? dec_dst(d, &e[i], t, 1) : dec_src(d, &e[i], t, 1);
        int b = e[i].kind == PO_REG ? dec_reg_bytes(e[i].reg->type) : 0;
        if (!b) continue;
        if (*rsz && (*rsz == 8) != (b == 8)) dec_fail(d, "the vector's registers differ in width");
        if (*rsz != 4) *rsz = b;
    }
    if (!*rsz) *rsz = dec_reg_bytes(t);
    /* a sink or a constant has the type's own width: it must agree with the registers' */
    for (int i = 0; i < n; i++)
        if (e[i].kind != PO_REG && (*rsz == 8) != (dec_reg_bytes(t) == 8)) {
            if (load) regs[i] = dec_temp(d, OC_R64);
            else regs[i] = dec_const(d, 8, dec_imm_bits(d, &e[i], t));
        }
    return n;
}

static const char *mem_op(decoder *d, int load, int n, char *buf, size_t size) {
    int b = ptx_types[d->k.ty[0]].bytes, sp = d->k.space;
    if (b * n > 16) dec_fail(d, "an access is at most 16 bytes");
    if ((sp == PS_GLOBAL || sp == PS_SHARED) && !d->k.order && !(d->k.mod & F_VOLATILE))
        snprintf(buf, size, "%s%c_%d_%d", load ? "ld" : "st", sp == PS_GLOBAL ? 'g' : 's', b, n);
    else snprintf(buf, size, load ? "ld_any" : "st_any");
    return buf;
}

static void mem(decoder *d, int load) {
    ptx_type t = d->k.ty[0];
    const ptx_opnd *a = dec_opnd(d, load), *v = dec_opnd(d, !load);
    count(d, 2 + d->k.hint, 2 + d->k.hint);
    if (d->k.hint) dec_src(d, dec_opnd(d, 2), PT_B64, 0);
    int rsz, bytes = ptx_types[t].bytes;
    uint32_t regs[4], mod = d->k.mod;
    if (a->kind != PO_ADDR) dec_fail(d, "a memory operand is wanted");
    int space = d->k.space ? d->k.space : PS_GENERIC, entry_param = 0;
    if (space == PS_PARAM && a->var) {
        for (int i = 0; i < d->entry->n_par; i++) entry_param |= d->entry->par[i].var == a->var;
        if (a->var->space != PS_PARAM) dec_fail(d, "`%s` is not a parameter", a->var->name);
    }
    int n = data(d, v, load, regs, &rsz);
    char buf[24];
    const char *op;
    int64_t imm = 0;
    uint32_t base = 0;
    if (entry_param) {
        if (!load) dec_fail(d, "an entry's parameters cannot be written");
        imm = (int64_t)a->var->off + a->i;
        if (a->i < 0 || (uint64_t)a->i + (uint64_t)(bytes * n) > a->var->bytes)
            dec_fail(d, "beyond parameter `%s`", a->var->name);
        if (imm % (bytes * n)) dec_fail(d, "misaligned for parameter `%s`", a->var->name);
        op = "ldp";
    } else if (space == PS_PARAM && a->var) { /* a call's parameters lie in local memory */
        int64_t at = dec_var_addr(d, a->var) + a->i;
        if (a->i < 0 || (uint64_t)a->i + (uint64_t)(bytes * n) > a->var->bytes)
            dec_fail(d, "beyond parameter `%s`", a->var->name);
        base = dec_const(d, 8, (uint64_t)at);
        op = load ? "ld_any" : "st_any";
        space = PS_LOCAL;
    } else {
        base = dec_addr(d, a, space, &imm, &mod);
        op = mem_op(d, load, n, buf, sizeof buf);
        if (!load && d->k.mod & F_CONST) dec_fail(d, ".const cannot be written");
    }
    sim_inst *in = dec_emit(d, op);
    in->flags |= entry_param ? 0 : IF_MEM;
    in->o[0] = base;
    for (int i = 0; i < n; i++) in->o[1 + i] = regs[i];
    in->n = (uint8_t)n;
    in->imm = imm;
    in->mod = mod;
    in->space = (uint8_t)space;
    in->esz = (uint8_t)bytes;
    in->rsz = (uint8_t)rsz;
    in->sub = ptx_types[t].kind == PK_SINT && (bytes < 4 || rsz > bytes);
}

static void atom(decoder *d) {
    int red = !strcmp(d->k.tok[0], "red"), cas = d->k.sub == ATOM_CAS;
    ptx_type t = d->k.ty[0];
    int want = (red ? 2 : 3) + cas;
    count(d, want + d->k.hint, want + d->k.hint);
    uint32_t mod = d->k.mod | (red ? F_RED : 0), o[4] = {0};
    int64_t imm;
    int at = 0;
    if (!red) o[1] = dec_dst(d, dec_opnd(d, at++), t, 0);
    int space = d->k.space ? d->k.space : PS_GENERIC;
    o[0] = dec_addr(d, dec_opnd(d, at++), space, &imm, &mod);
    o[2] = dec_src(d, dec_opnd(d, at++), t, 0);
    if (cas) o[3] = dec_src(d, dec_opnd(d, at++), t, 0);
    sim_inst *in = dec_emit(d, "atom");
    memcpy(in->o, o, sizeof o);
    in->flags |= IF_MEM | IF_SYNC;
    in->mod = mod;
    in->imm = imm;
    in->space = (uint8_t)space;
    if (!in->order) in->order = SIM_RELAXED;
    in->esz = ptx_types[t].bytes;
    in->rsz = (uint8_t)dec_reg_bytes(t);
    in->n = 1;
}

static void bar(decoder *d) {
    int red = isa_has(&d->k, "red"), arrive = isa_has(&d->k, "arrive"), at = 0;
    uint32_t o[4] = {0};
    count(d, red ? 3 : arrive ? 2 : 1, red ? 4 : 2);
    int pred = isa_has(&d->k, "pred"), n = d->s->n;
    if (red) {
        o[2] = pred ? dec_dst_pred(d, dec_opnd(d, at)) : dec_dst(d, dec_opnd(d, at), PT_U32, 0);
        at++;
        o[3] = dec_src_pred(d, dec_opnd(d, --n));
    }
    o[0] = dec_src(d, dec_opnd(d, at++), PT_U32, 0);
    if (at < n) o[1] = dec_src(d, dec_opnd(d, at++), PT_U32, 0);
    sim_inst *in = dec_emit(d, "bar");
    memcpy(in->o, o, sizeof o);
    in->n = (uint8_t)n;
    in->flags |= IF_SYNC;
    in->sub = (uint8_t)(arrive ? 4 : !red ? 0 : isa_has(&d->k, "popc") ? 1 : isa_has(&d->k, "and") ? 2 : 3);
    if (!strcmp(d->k.tok[0], "bar")) in->mod |= F_ALIGNED;
}

void dec_async_named(decoder *d, const char *name);

void dec_named(decoder *d, const char *name) {
    if (!strcmp(name, "mov")) mov(d);
    else if (!strcmp(name, "cvta")) cvta(d);
    else if (!strcmp(name, "prmt")) prmt(d);
    else if (!strcmp(name, "set")) set(d);
    else if (!strcmp(name, "carry")) carry(d);
    else if (!strcmp(name, "cvt")) cvt(d);
    else if (!strcmp(name, "cvt2")) cvt2(d);
    else if (!strcmp(name, "bra")) bra(d);
    else if (!strcmp(name, "brx")) brx(d);
    else if (!strcmp(name, "call")) call(d);
    else if (!strcmp(name, "ret")) ret(d);
    else if (!strcmp(name, "ld")) mem(d, 1);
    else if (!strcmp(name, "st")) mem(d, 0);
    else if (!strcmp(name, "atom")) atom(d);
    else if (!strcmp(name, "bar")) bar(d);
    else dec_async_named(d, name);
}
