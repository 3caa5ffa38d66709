/* decode_data.c: moves, conversions and the other data forms whose handler depends on more than their types. */
#include "decode.h"
#include <stdio.h>
#include <string.h>
#include "warp.h"

/* ---- mov, with packing and unpacking ---- */
void dec_mov(decoder *d) {
    ptx_type t = d->k.ty[0];
    int b = ptx_types[t].bytes;
    dec_count(d, 2, 2);
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

void dec_cvta(decoder *d) {
    dec_count(d, 2, 2);
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

void dec_prmt(decoder *d) {
    dec_count(d, 4, 4);
    const ptx_opnd *c = dec_opnd(d, 3);
    uint32_t o[4] = {0};
    o[0] = dec_dst(d, dec_opnd(d, 0), PT_B32, 0);
    for (int i = 1; i < 4; i++) o[i] = dec_src(d, dec_opnd(d, i), PT_B32, 0);
    int fixed = c->kind == PO_INT && !(c->i & 0x8888);
    sim_inst *in = dec_emit(d, fixed ? "prmt_i" : "prmt");
    memcpy(in->o, o, sizeof o);
    if (fixed) in->imm = c->i;
}

void dec_set(decoder *d) {
    ptx_type t0 = d->k.ty[0], t1 = d->k.ty[1];
    dec_count(d, d->k.bop ? 4 : 3, d->k.bop ? 4 : 3);
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
void dec_carry(decoder *d) {
    const char *op = d->k.tok[0];
    ptx_type t = d->k.ty[0];
    int mad = op[0] == 'm', n = mad ? 4 : 3;
    dec_count(d, n, n);
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

void dec_cvt(decoder *d) {
    ptx_type td = d->k.ty[0], ts = d->k.ty[1];
    dec_count(d, 2, 2);
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

void dec_cvt2(decoder *d) {
    dec_count(d, 3, 3);
    uint32_t r = dec_dst(d, dec_opnd(d, 0), PT_B32, 0), a = dec_src(d, dec_opnd(d, 1), PT_F32, 0),
             b = dec_src(d, dec_opnd(d, 2), PT_F32, 0);
    int plain = !(d->k.mod & (F_RZ | F_RELU));
    sim_inst *in = dec_emit(d, !plain ? "cvt_pair" : d->k.ty[0] == PT_F16X2 ? "cvt_f16x2_f32" : "cvt_bf16x2_f32");
    in->o[0] = r;
    in->o[1] = a;
    in->o[2] = b;
}
