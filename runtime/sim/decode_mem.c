/* decode_mem.c: loads, stores, atomics. */
#include "decode.h"
#include <stdio.h>
#include <string.h>
#include "access.h"

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
    const int hot = sp == PS_GLOBAL || sp == PS_SHARED || (sp == PS_LOCAL && b >= 4);
    if (hot && !d->k.order && !(d->k.mod & F_VOLATILE))
        snprintf(buf, size, "%s%c_%d_%d", load ? "ld" : "st",
                 sp == PS_GLOBAL   ? 'g'
                 : sp == PS_SHARED ? 's'
                                   : 'l',
                 b, n);
    else snprintf(buf, size, load ? "ld_any" : "st_any");
    return buf;
}

static void mem(decoder *d, int load) {
    ptx_type t = d->k.ty[0];
    const ptx_opnd *a = dec_opnd(d, load), *v = dec_opnd(d, !load);
    dec_count(d, 2 + d->k.hint, 2 + d->k.hint);
    const uint32_t policy = d->k.hint ? dec_src(d, dec_opnd(d, 2), PT_B64, 0) : 0;
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
    if (load && d->k.hint) {
        in->mod |= F_HINT;
        in->o[SIM_MAX_O - 1] = policy;
    }
}

void dec_atom(decoder *d) {
    int red = !strcmp(d->k.tok[0], "red"), cas = d->k.sub == ATOM_CAS;
    ptx_type t = d->k.ty[0];
    int want = (red ? 2 : 3) + cas;
    dec_count(d, want + d->k.hint, want + d->k.hint);
    uint32_t mod = d->k.mod, o[4] = {0};
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

void dec_ld(decoder *d) { mem(d, 1); }
void dec_st(decoder *d) { mem(d, 0); }
