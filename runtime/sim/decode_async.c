/* decode_async.c: tensor-core forms and copies that overlap. */
#include "decode.h"
#include <string.h>

static int vec_in(decoder *d, const ptx_opnd *o, int n, ptx_type t, int dst, uint32_t *out) {
    if (o->kind != PO_VEC) { /* one register needs no braces */
        if (n != 1) dec_fail(d, "a vector of %d is wanted", n);
        out[0] = dst ? dec_dst(d, o, t, 0) : dec_src(d, o, t, 0);
        return 1;
    }
    if (o->n != n) dec_fail(d, "a vector of %d is wanted", n);
    for (int i = 0; i < n; i++) out[i] = dst ? dec_dst(d, &o->list[i], t, 0) : dec_src(d, &o->list[i], t, 0);
    return n;
}

static void put_aux(decoder *d, int inst, const uint32_t *v, int n) {
    uint32_t first = d->n_aux;
    for (int i = 0; i < n; i++) dec_aux(d, v[i]);
    d->code[inst].aux = first;
    d->code[inst].n_aux = (uint32_t)n;
}

void dec_ldmatrix(decoder *d) {
    if (d->s->n != 2) dec_fail(d, "wrong number of operands");
    int n = isa_has(&d->k, "x4") ? 4 : isa_has(&d->k, "x2") ? 2 : 1;
    uint32_t v[4], mod = d->k.mod;
    int64_t imm;
    vec_in(d, dec_opnd(d, 0), n, PT_B32, 1, v);
    uint32_t a = dec_addr(d, dec_opnd(d, 1), PS_SHARED, &imm, &mod);
    sim_inst *in = dec_emit(d, "ldmatrix");
    in->o[0] = a;
    in->imm = imm;
    in->mod = mod;
    in->n = (uint8_t)n;
    put_aux(d, d->n_code - 1, v, n);
}

/* aux: D, A, B, C registers; n: k; rsz: 2 if C and D are f16; cmp, bop: A, B are signed bytes */
void dec_mma(decoder *d) {
    if (d->s->n != 4) dec_fail(d, "wrong number of operands");
    int k = isa_has(&d->k, "m16n8k32") ? 32 : isa_has(&d->k, "m16n8k16") ? 16 : 8;
    const char *last = d->k.tok[d->k.n_tok - 2], *first = d->k.tok[d->k.n_tok - 3];
    int s8 = !strcmp(last, "s8") || !strcmp(last, "u8"), tf32 = !strcmp(last, "tf32"),
        half = !strcmp(d->k.tok[d->k.n_tok - 1], "f16");
    int na = s8 ? k / 8 : tf32 ? k / 2 : k / 4, nb = na / 2, nc = half ? 2 : 4;
    ptx_type tc = half ? PT_B32 : s8 ? PT_S32 : PT_F32;
    uint32_t v[16];
    vec_in(d, dec_opnd(d, 0), nc, tc, 1, v);
    vec_in(d, dec_opnd(d, 1), na, PT_B32, 0, v + nc);
    vec_in(d, dec_opnd(d, 2), nb, PT_B32, 0, v + nc + na);
    vec_in(d, dec_opnd(d, 3), nc, tc, 0, v + nc + na + nb);
    sim_inst *in = dec_emit(d, s8 ? "mma_s8" : tf32 ? "mma_tf32" : !strcmp(last, "bf16") ? "mma_bf16" : "mma_f16");
    in->n = (uint8_t)k;
    in->rsz = half ? 2 : 4;
    in->cmp = !strcmp(first, "s8");
    in->bop = !strcmp(last, "s8");
    in->flags |= s8 ? IF_MMA_INT : IF_MMA_FLOAT;
    put_aux(d, d->n_code - 1, v, nc + na + nb + nc);
}

/* o: 0 destination address, 1 source address, 2 source size; imm source's, target destination's addend;
 * n = size; F_ADDR32 = the shared address is a 32-bit register */
void dec_cp_async(decoder *d) {
    int n = d->s->n - d->k.hint;
    if (n < 3 || n > 4) dec_fail(d, "wrong number of operands");
    uint32_t m0 = d->k.mod, m1 = d->k.mod, o[3] = {0};
    int64_t i0, i1;
    o[0] = dec_addr(d, dec_opnd(d, 0), PS_SHARED, &i0, &m0);
    o[1] = dec_addr(d, dec_opnd(d, 1), PS_GLOBAL, &i1, &m1);
    const ptx_opnd *size = dec_opnd(d, 2);
    int cg = !strcmp(d->k.tok[2], "cg");
    if (size->kind != PO_INT || !(size->i == 16 || (!cg && (size->i == 4 || size->i == 8))))
        dec_fail(d, "this size cannot be copied");
    if (n == 4) o[2] = dec_src(d, dec_opnd(d, 3), PT_B32, 0);
    if (d->k.hint) dec_src(d, dec_opnd(d, n), PT_B64, 0);
    sim_inst *in = dec_emit(d, "cp_async");
    memcpy(in->o, o, sizeof o);
    in->imm = i1;
    in->target = (int32_t)i0;
    in->mod = m0;
    in->n = (uint8_t)size->i;
    in->flags |= IF_MEM;
}

/* cmp says which; o: 0 mbarrier address, 1 destination, 2 count or token or parity */
void dec_mbar(decoder *d) {
    const isa_match *k = &d->k;
    const char *a = k->tok[1];
    int parity = isa_has(k, "parity"), n = d->s->n, at = 0, tx = isa_has(k, "expect_tx");
    int what = !strcmp(k->tok[0], "cp")    ? MB_CP_ARRIVE
               : !strcmp(a, "init")        ? MB_INIT
               : !strcmp(a, "inval")       ? MB_INVAL
               : !strcmp(a, "arrive")      ? (tx ? MB_ARRIVE_TX : MB_ARRIVE)
               : !strcmp(a, "expect_tx")   ? MB_EXPECT
               : !strcmp(a, "complete_tx") ? MB_COMPLETE
               : !strcmp(a, "test_wait")   ? MB_TEST + parity
                                           : MB_TRY + parity;
    uint32_t o[3] = {0}, mod = k->mod;
    int64_t imm;
    if (what >= MB_TEST && what <= MB_TRY_PARITY) o[1] = dec_dst_pred(d, dec_opnd(d, at++));
    else if (what == MB_ARRIVE || what == MB_ARRIVE_TX) o[1] = dec_dst(d, dec_opnd(d, at++), PT_B64, 0);
    int space = k->space ? k->space : PS_GENERIC;
    o[0] = dec_addr(d, dec_opnd(d, at++), space, &imm, &mod);
    if (at < n) {
        o[2] = dec_src(d, dec_opnd(d, at), (what == MB_TEST || what == MB_TRY) ? PT_B64 : PT_B32, 0);
        at++;
        if (what >= MB_TRY && at < n) dec_src(d, dec_opnd(d, at++), PT_B32, 0); /* a time limit: only a hint */
    } else if (what != MB_INVAL && what != MB_ARRIVE && what != MB_CP_ARRIVE) dec_fail(d, "an operand is missing");
    if (at != n) dec_fail(d, "wrong number of operands");
    sim_inst *in = dec_emit(d, "mbar");
    memcpy(in->o, o, sizeof o);
    in->cmp = (uint8_t)what;
    in->imm = imm;
    in->mod = mod;
    in->space = (uint8_t)space;
    in->n = (uint8_t)(o[2] != 0);
    in->flags |= IF_SYNC;
}

/* o: 0 destination, 1 source, 2 size, 3 mbarrier; addends of a shared and a global address and the
 * mbarrier's: target, imm, aux. cmp: 0 load, 1 store, 2 prefetch. */
void dec_bulk(decoder *d) {
    int pre = isa_has(&d->k, "prefetch"), store = isa_has(&d->k, "bulk_group");
    int want = (pre ? 2 : store ? 3 : 4) + d->k.hint;
    if (d->s->n != want) dec_fail(d, "wrong number of operands");
    uint32_t o[4] = {0}, ms = d->k.mod, mg = d->k.mod, mm = d->k.mod;
    int64_t is = 0, ig = 0, im = 0;
    if (pre) {
        o[1] = dec_addr(d, dec_opnd(d, 0), PS_GLOBAL, &ig, &mg);
        o[2] = dec_src(d, dec_opnd(d, 1), PT_B32, 0);
    } else {
        o[store] = dec_addr(d, dec_opnd(d, store), PS_SHARED, &is, &ms);
        o[!store] = dec_addr(d, dec_opnd(d, !store), PS_GLOBAL, &ig, &mg);
        o[2] = dec_src(d, dec_opnd(d, 2), PT_B32, 0);
        if (!store) o[3] = dec_addr(d, dec_opnd(d, 3), PS_SHARED, &im, &mm);
    }
    if (!store && !pre && (ms ^ mm) & F_ADDR32) dec_fail(d, "both shared addresses have one width");
    if (d->k.hint) dec_src(d, dec_opnd(d, want - 1), PT_B64, 0);
    sim_inst *in = dec_emit(d, "bulk");
    memcpy(in->o, o, sizeof o);
    in->mod = ms;
    in->imm = ig;
    in->target = (int32_t)is;
    in->aux = (uint32_t)im;
    in->cmp = (uint8_t)(pre ? 2 : store);
}
