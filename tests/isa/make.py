#!/usr/bin/env python3
"""make.py FOLDER: writes the opcode tests as FOLDER/*.ptx, one file per test named in contracts/isa.def, one
entry per opcode form. The elementwise ones are rows here and have one frame: thread i reads its operands a, b, c
from the 8-byte slots of its 32-byte item, runs the instruction and stores d into its 16-byte result. Kernels of
other shapes are in whole.py. What d must be stands in int.h, float.h and whole.h, computed in C. The Makefile
runs this into build/isa, where check_isa reads them."""
import os, re, sys

# file, .target, rows of "entry | operand types > result type | instructions"
FILES = {}
def add(name, *rows, sm=80):
    FILES.setdefault(name, (sm, []))[1].extend(rows)

def each(pattern, types, sep="_"):
    """One row per type; T is the type, entry names take it with the dots dropped."""
    return [pattern.replace("$T", t) for t in types]

INT = ["u16", "s16", "u32", "s32", "u64", "s64"]
add("mov", *each("mov_$T | $T > $T | mov.$T %d, %a", ["b16", "u16", "s16", "b32", "u32", "s32", "f32", "b64", "u64", "s64", "f64"]),
    "mov_imm_f32 | b32 > f32 | mov.f32 %d, 0f40490fdb", "mov_imm_u64 | b32 > u64 | mov.u64 %d, 0x123456789abcdef0",
    "mov_pred | b32 b32 > b32 | setp.lt.u32 %p, %a, %b; mov.pred %q, %p; selp.b32 %d, 1, 0, %q",
    "mov_pack_2x16 | b16 b16 > b32 | mov.b32 %d, {%a, %b}", "mov_pack_2x32 | b32 b32 > b64 | mov.b64 %d, {%a, %b}",
    "mov_pack_4x16 | b16 b16 b16 > b64 | mov.b64 %d, {%a, %b, %c, %a}",
    "mov_part_2x16 | b32 > b16 | mov.b32 {%h0, %d}, %a", "mov_part_2x32 | b64 > b32 | mov.b64 {%r0, %d}, %a",
    "mov_part_4x16 | b64 > b16 | mov.b64 {%h0, %h1, %d, %h2}, %a")
add("selp", *each("selp_$T | $T $T b32 > $T | setp.lt.s32 %p, %c, 0; selp.$T %d, %a, %b, %p",
    ["b16", "u16", "b32", "u32", "s32", "f32", "b64", "u64", "f64"]))
add("prmt", "prmt_b32 | b32 b32 b32 > b32 | prmt.b32 %d, %a, %b, %c", "prmt_imm | b32 b32 > b32 | prmt.b32 %d, %a, %b, 0x7604")
add("prmt_mode", *each("prmt_$T | b32 b32 b32 > b32 | prmt.b32.$T %d, %a, %b, %c", ["f4e", "b4e", "rc8", "ecl", "ecr", "rc16"]))

add("add_int", *each("add_$T | $T $T > $T | add.$T %d, %a, %b", INT), "add_imm | s32 > s32 | add.s32 %d, %a, -7")
add("sub_int", *each("sub_$T | $T $T > $T | sub.$T %d, %a, %b", INT))
add("add_sat", "add_sat_s32 | s32 s32 > s32 | add.sat.s32 %d, %a, %b", "sub_sat_s32 | s32 s32 > s32 | sub.sat.s32 %d, %a, %b")
add("mul_lo", *each("mul_lo_$T | $T $T > $T | mul.lo.$T %d, %a, %b", INT))
add("mul_hi", *each("mul_hi_$T | $T $T > $T | mul.hi.$T %d, %a, %b", INT))
WIDE = [("u16", "u32"), ("s16", "s32"), ("u32", "u64"), ("s32", "s64")]
add("mul_wide", *[f"mul_wide_{t} | {t} {t} > {w} | mul.wide.{t} %d, %a, %b" for t, w in WIDE])
add("mul24", *each("mul24_lo_$T | $T $T > $T | mul24.lo.$T %d, %a, %b", ["u32", "s32"]))
add("mad_lo", *each("mad_lo_$T | $T $T $T > $T | mad.lo.$T %d, %a, %b, %c", INT))
add("mad_hi", *each("mad_hi_$T | $T $T $T > $T | mad.hi.$T %d, %a, %b, %c", ["u32", "s32"]))
add("mad_wide", *[f"mad_wide_{t} | {t} {t} {w} > {w} | mad.wide.{t} %d, %a, %b, %c" for t, w in WIDE])
add("div_int", *each("div_$T | $T $T > $T | div.$T %d, %a, %b", INT))
add("rem_int", *each("rem_$T | $T $T > $T | rem.$T %d, %a, %b", INT))
add("minmax_int", *each("min_$T | $T $T > $T | min.$T %d, %a, %b", INT), *each("max_$T | $T $T > $T | max.$T %d, %a, %b", INT))
add("abs_neg_int", *each("abs_$T | $T > $T | abs.$T %d, %a", ["s16", "s32", "s64"]), *each("neg_$T | $T > $T | neg.$T %d, %a", ["s16", "s32", "s64"]))
add("sad", *each("sad_$T | $T $T u32 > u32 | sad.$T %d, %a, %b, %c", ["u32", "s32"]))
B = ["b16", "b32", "b64"]
for op in ("and", "or", "xor"):
    add("logic", *each(op + "_$T | $T $T > $T | " + op + ".$T %d, %a, %b", B))
add("logic", *each("not_$T | $T > $T | not.$T %d, %a", B), "cnot_b32 | b32 > b32 | cnot.b32 %d, %a")
for op in ("and", "or", "xor"):
    add("logic_pred", f"{op}_pred | s32 s32 > b32 | setp.lt.s32 %p, %a, 0; setp.lt.s32 %q, %b, 0; {op}.pred %p, %p, %q; selp.b32 %d, 1, 0, %p")
add("logic_pred", "not_pred | s32 > b32 | setp.lt.s32 %p, %a, 0; not.pred %p, %p; selp.b32 %d, 1, 0, %p")
LUTS = (0x00, 0x80, 0xfe, 0x96, 0xca, 0xe8, 0x3c, 0xff)
add("lop3", *[f"lop3_{n:02x} | b32 b32 b32 > b32 | lop3.b32 %d, %a, %b, %c, 0x{n:02x}" for n in LUTS])
add("shift", *each("shl_$T | $T u32 > $T | shl.$T %d, %a, %b", B), *each("shr_$T | $T u32 > $T | shr.$T %d, %a, %b", INT + B))
for d in "lr":
    for m in ("wrap", "clamp"):
        add("shf", f"shf_{d}_{m} | b32 b32 u32 > b32 | shf.{d}.{m}.b32 %d, %a, %b, %c")
add("bfe", *each("bfe_$T | $T u32 u32 > $T | bfe.$T %d, %a, %b, %c", ["u32", "s32", "u64", "s64"]))
add("bfi", *each("bfi_$T | $T $T b64 > $T | mov.b64 {%r0, %r1}, %c; bfi.$T %d, %a, %b, %r0, %r1", ["b32", "b64"]))
add("bfind", *each("bfind_$T | $T > u32 | bfind.$T %d, %a", ["u32", "s32", "u64", "s64"]),
    *each("bfind_shiftamt_$T | $T > u32 | bfind.shiftamt.$T %d, %a", ["u32", "s32", "u64", "s64"]))
add("bits", *each("brev_$T | $T > $T | brev.$T %d, %a", B[1:]), *each("clz_$T | $T > u32 | clz.$T %d, %a", B[1:]),
    *each("popc_$T | $T > u32 | popc.$T %d, %a", B[1:]))
for a in ("u32", "s32"):
    for b in ("u32", "s32"):
        r = "u32" if a == b == "u32" else "s32"
        add("dp4a", f"dp4a_{a}_{b} | {a} {b} {r} > {r} | dp4a.{a}.{b} %d, %a, %b, %c")
        for h in ("lo", "hi"):
            add("dp2a", f"dp2a_{h}_{a}_{b} | {a} {b} {r} > {r} | dp2a.{h}.{a}.{b} %d, %a, %b, %c")

A4 = "mov.b64 {%r0, %r1}, %a; mov.b64 {%r2, %r3}, %b; "
for t in ("u32", "s32"):
    add("carry", f"add_cc_{t} | b64 b64 > b64 | {A4}add.cc.{t} %r0, %r0, %r2; addc.{t} %r1, %r1, %r3; mov.b64 %d, {{%r0, %r1}}",
        f"sub_cc_{t} | b64 b64 > b64 | {A4}sub.cc.{t} %r0, %r0, %r2; subc.{t} %r1, %r1, %r3; mov.b64 %d, {{%r0, %r1}}")
add("carry", f"addc_cc_u32 | b64 b64 > b32 | {A4}add.cc.u32 %r0, %r0, %r2; addc.cc.u32 %r1, %r1, %r3; addc.u32 %d, 0, 0",
    f"subc_cc_u32 | b64 b64 > b32 | {A4}sub.cc.u32 %r0, %r0, %r2; subc.cc.u32 %r1, %r1, %r3; subc.u32 %d, 0, 0",
    "add_cc_u64 | u64 u64 u64 > u64 | add.cc.u64 %l0, %a, %b; addc.u64 %d, %c, 0", "sub_cc_s64 | s64 s64 s64 > s64 | sub.cc.s64 %l0, %a, %b; subc.s64 %d, %c, 0",
    *[f"sub_cc_addc_{t} | {t} {t} > {t} | sub.cc.{t} {r}0, %a, %b; addc.{t} %d, 0, 0" for t, r in (("u32", "%r"), ("u64", "%l"))],
    *[f"add_cc_subc_{t} | {t} {t} > {t} | add.cc.{t} {r}0, %a, %b; subc.{t} %d, 0, 0" for t, r in (("u32", "%r"), ("u64", "%l"))],
    "add_cc_subc_cc_u32 | u32 u32 u32 > u32 | add.cc.u32 %r0, %a, %b; subc.cc.u32 %r1, %c, 0; addc.u32 %d, 0, 0",
    "mad_cc_u32 | u32 u32 b64 > b64 | mov.b64 {%r0, %r1}, %c; mad.lo.cc.u32 %r2, %a, %b, %r0; madc.hi.u32 %r3, %a, %b, %r1; mov.b64 %d, {%r2, %r3}",
    "madc_cc_u32 | u32 u32 b64 > b32 | mov.b64 {%r0, %r1}, %c; mad.lo.cc.u32 %r2, %a, %b, %r0; madc.hi.cc.u32 %r3, %a, %b, %r1; addc.u32 %d, 0, 0",
    "mad_hi_cc_u32 | u32 u32 u32 > b32 | mad.hi.cc.u32 %r0, %a, %b, %c; madc.lo.u32 %d, %a, %b, 0")

RND = ("rn", "rz", "rm", "rp")
for op in ("add", "sub"):
    add("add_f32", *[f"{op}_{m.replace('.', '_')}_f32 | f32 f32 > f32 | {op}.{m}.f32 %d, %a, %b" for m in RND + ("ftz", "sat", "rn.ftz.sat")])
    add("add_f32", f"{op}_f32 | f32 f32 > f32 | {op}.f32 %d, %a, %b")
add("mul_f32", "mul_f32 | f32 f32 > f32 | mul.f32 %d, %a, %b",
    *[f"mul_{m.replace('.', '_')}_f32 | f32 f32 > f32 | mul.{m}.f32 %d, %a, %b" for m in RND + ("ftz", "sat")])
add("fma_f32", *[f"fma_{m.replace('.', '_')}_f32 | f32 f32 f32 > f32 | fma.{m}.f32 %d, %a, %b, %c" for m in RND + ("rn.ftz", "rn.sat", "rm.ftz")],
    "mad_rn_f32 | f32 f32 f32 > f32 | mad.rn.f32 %d, %a, %b, %c")
for op in ("min", "max"):
    add("minmax_f32", *[f"{op}_{(m + '_').replace('.', '_') if m else ''}f32 | f32 f32 > f32 | {op}{'.' + m if m else ''}.f32 %d, %a, %b" for m in ("", "ftz", "NaN")])
add("abs_neg_f32", *[f"{op}{'_ftz' if z else ''}_f32 | f32 > f32 | {op}{'.ftz' if z else ''}.f32 %d, %a" for op in ("abs", "neg") for z in (0, 1)],
    "copysign_f32 | f32 f32 > f32 | copysign.f32 %d, %a, %b")
add("div_f32", *[f"div_{m.replace('.', '_')}_f32 | f32 f32 > f32 | div.{m}.f32 %d, %a, %b" for m in RND + ("rn.ftz",)])
add("div_approx", *[f"div_{m.replace('.', '_')}_f32 | f32 f32 > f32 | div.{m}.f32 %d, %a, %b" for m in ("approx", "approx.ftz", "full", "full.ftz")])
add("rcp", *[f"rcp_{m}_ftz_f32 | f32 > f32 | rcp.{m}.ftz.f32 %d, %a" for m in ("rz", "rm", "rp")])
for f in ("rcp", "sqrt"):
    add(f, *[f"{f}_{m.replace('.', '_')}_f32 | f32 > f32 | {f}.{m}.f32 %d, %a" for m in RND + ("rn.ftz", "approx", "approx.ftz")])
for f, ops in (("rsqrt", ["rsqrt"]), ("ex2", ["ex2"]), ("lg2", ["lg2"]), ("sincos", ["sin", "cos"])):
    add(f, *[f"{o}_{m.replace('.', '_')}_f32 | f32 > f32 | {o}.{m}.f32 %d, %a" for o in ops for m in ("approx", "approx.ftz")])
add("tanh", "tanh_approx_f32 | f32 > f32 | tanh.approx.f32 %d, %a")
add("testp", *[f"testp_{k}_{t} | {t} > b32 | testp.{k}.{t} %p, %a; selp.b32 %d, 1, 0, %p" for t in ("f32", "f64")
               for k in ("finite", "infinite", "number", "notanumber", "normal", "subnormal")])
add("f64", *[f"{o}_f64 | f64 f64 > f64 | {o}.f64 %d, %a, %b" for o in ("add", "sub", "mul", "min", "max", "copysign")],
    "fma_rn_f64 | f64 f64 f64 > f64 | fma.rn.f64 %d, %a, %b, %c", "div_rn_f64 | f64 f64 > f64 | div.rn.f64 %d, %a, %b",
    *[f"{o.replace('.', '_')}_f64 | f64 > f64 | {o}.f64 %d, %a" for o in ("sqrt.rn", "rcp.rn", "abs", "neg", "rcp.approx.ftz", "rsqrt.approx")])

HALF = [("f16", "b16"), ("f16x2", "b32")]
BF = [("bf16", "b16"), ("bf16x2", "b32")]
for t, r in HALF:
    add("f16", *[f"{o}_{t} | {r} {r} > {r} | {o}.{t} %d, %a, %b" for o in ("add", "sub", "mul")],
        f"add_sat_{t} | {r} {r} > {r} | add.sat.{t} %d, %a, %b", f"mul_ftz_{t} | {r} {r} > {r} | mul.ftz.{t} %d, %a, %b",
        *[f"fma_{m.replace('.', '_')}_{t} | {r} {r} {r} > {r} | fma.{m}.{t} %d, %a, %b, %c" for m in ("rn", "rn.sat", "rn.relu")],
        f"abs_{t} | {r} > {r} | abs.{t} %d, %a", f"neg_{t} | {r} > {r} | neg.{t} %d, %a", f"ex2_{t} | {r} > {r} | ex2.approx.{t} %d, %a")
    add("f16_minmax", *[f"{o}_{m}{t} | {r} {r} > {r} | {o}{'.NaN' if m else ''}.{t} %d, %a, %b" for o in ("min", "max") for m in ("", "NaN_")])
    add("tanh_f16", f"tanh_{t} | {r} > {r} | tanh.approx.{t} %d, %a")
for t, r in BF:
    add("bf16", *[f"fma_{m.replace('.', '_')}_{t} | {r} {r} {r} > {r} | fma.{m}.{t} %d, %a, %b, %c" for m in ("rn", "rn.relu")],
        f"abs_{t} | {r} > {r} | abs.{t} %d, %a", f"neg_{t} | {r} > {r} | neg.{t} %d, %a")
    add("bf16_sm90", *[f"{o}_{t} | {r} {r} > {r} | {o}.{t} %d, %a, %b" for o in ("add", "sub", "mul")], sm=90)
    add("bf16_minmax", *[f"{o}_{m}{t} | {r} {r} > {r} | {o}{'.NaN' if m else ''}.{t} %d, %a, %b" for o in ("min", "max") for m in ("", "NaN_")])

SC, UC = ("eq", "ne", "lt", "le", "gt", "ge"), ("eq", "ne", "lo", "ls", "hi", "hs", "lt", "ge")
FC = ("eq", "ne", "lt", "le", "gt", "ge", "equ", "neu", "ltu", "leu", "gtu", "geu", "num", "nan")
SEL = "; selp.b32 %d, 1, 0, %p"
for t in ("s16", "s32", "s64"):
    add("setp_int", *[f"setp_{c}_{t} | {t} {t} > b32 | setp.{c}.{t} %p, %a, %b" + SEL for c in SC])
for t in ("u16", "u32", "u64"):
    add("setp_int", *[f"setp_{c}_{t} | {t} {t} > b32 | setp.{c}.{t} %p, %a, %b" + SEL for c in UC])
for t in B:
    add("setp_int", f"setp_eq_{t} | {t} {t} > b32 | setp.eq.{t} %p, %a, %b" + SEL)
add("setp_int", "setp_pair_s32 | s32 s32 > b32 | setp.lt.s32 %p|%q, %a, %b; selp.b32 %d, 1, 0, %p; selp.b32 %r0, 2, 0, %q; or.b32 %d, %d, %r0")
for t in ("f32", "f64"):
    add("setp_float", *[f"setp_{c}_{t} | {t} {t} > b32 | setp.{c}.{t} %p, %a, %b" + SEL for c in FC])
add("setp_float", "setp_lt_ftz_f32 | f32 f32 > b32 | setp.lt.ftz.f32 %p, %a, %b" + SEL)
add("setp_f16", *[f"setp_{c}_f16 | b16 b16 > b32 | setp.{c}.f16 %p, %a, %b" + SEL for c in FC])
add("setp_f16_sm90", *[f"setp_{c}_bf16 | b16 b16 > b32 | setp.{c}.bf16 %p, %a, %b" + SEL for c in FC], sm=90)
for o in ("and", "or", "xor"):
    add("setp_bool", *[f"setp_lt_{o}_{t} | {t} {t} s32 > b32 | setp.lt.s32 %q, %c, 0; setp.lt.{o}.{t} %p, %a, %b, %q" + SEL
                       for t in ("s16", "u16", "s32", "u32", "s64", "u64", "f32", "f64")])
add("setp_bool", "setp_lt_and_not_s32 | s32 s32 s32 > b32 | setp.lt.s32 %q, %c, 0; setp.lt.and.s32 %p, %a, %b, !%q" + SEL)
add("set", "set_lt_u32_s32 | s32 s32 > u32 | set.lt.u32.s32 %d, %a, %b", "set_gt_f32_u32 | u32 u32 > f32 | set.gt.f32.u32 %d, %a, %b",
    "set_le_u32_f32 | f32 f32 > u32 | set.le.u32.f32 %d, %a, %b", "set_neu_f32_f32 | f32 f32 > f32 | set.neu.f32.f32 %d, %a, %b",
    "set_eq_s32_u64 | u64 u64 > s32 | set.eq.s32.u64 %d, %a, %b",
    "set_lt_and_u32_s32 | s32 s32 s32 > u32 | setp.lt.s32 %p, %c, 0; set.lt.and.u32.s32 %d, %a, %b, %p",
    "set_lt_or_u32_f32 | f32 f32 s32 > u32 | setp.lt.s32 %p, %c, 0; set.lt.or.u32.f32 %d, %a, %b, %p")
add("set_f16", "set_lt_f16x2 | b32 b32 > b32 | set.lt.f16x2.f16x2 %d, %a, %b", "set_geu_f16 | b16 b16 > b16 | set.geu.f16.f16 %d, %a, %b")

ALL = ("u8", "s8") + tuple(INT)
add("cvt_int", *[f"cvt_{d}_{s} | {s} > {d} | cvt.{d}.{s} %d, %a" for d in ALL for s in ALL],
    *[f"cvt_sat_{d}_{s} | {s} > {d} | cvt.sat.{d}.{s} %d, %a" for d, s in (("u8", "s32"), ("s8", "s32"), ("s8", "u32"), ("u16", "s32"), ("s16", "s64"), ("s32", "s64"), ("u32", "s64"), ("s32", "u32"), ("u32", "s32"))],
    "cvt_wide_s8 | s32 > s32 | cvt.s8.s32 %d, %a", "cvt_wide_u8 | u32 > u32 | cvt.u8.u32 %d, %a")
add("cvt_f2i", *[f"cvt_{m}_{d}_f32 | f32 > {d} | cvt.{m}.{d}.f32 %d, %a" for m in ("rni", "rzi", "rmi", "rpi") for d in ("s32", "u32", "s64", "u64")],
    *[f"cvt_rni_sat_{d}_f32 | f32 > {d} | cvt.rni.sat.{d}.f32 %d, %a" for d in ("s8", "u8", "s16", "u16")],
    "cvt_rzi_ftz_s32_f32 | f32 > s32 | cvt.rzi.ftz.s32.f32 %d, %a",
    *[f"cvt_{m}_{d}_f64 | f64 > {d} | cvt.{m}.{d}.f64 %d, %a" for m in ("rni", "rzi") for d in ("s32", "u32", "s64", "u64")],
    *[f"cvt_{m}_{d}_f16 | b16 > {d} | cvt.{m}.{d}.f16 %d, %a" for m in ("rni", "rzi") for d in ("s16", "u16", "s32", "u32")])
add("cvt_i2f", *[f"cvt_{m}_f32_{s} | {s} > f32 | cvt.{m}.f32.{s} %d, %a" for m in RND for s in ("s32", "u32", "s64", "u64")],
    *[f"cvt_rn_f32_{s} | {s} > f32 | cvt.rn.f32.{s} %d, %a" for s in ("s8", "u8", "s16", "u16")],
    *[f"cvt_rn_f64_{s} | {s} > f64 | cvt.rn.f64.{s} %d, %a" for s in ("s32", "u32", "s64", "u64")],
    *[f"cvt_rn_f16_{s} | {s} > b16 | cvt.rn.f16.{s} %d, %a" for s in ("s16", "u16", "s32", "u32")])
add("cvt_f2f", *[f"cvt_{m.replace('.', '_')}_f32_f32 | f32 > f32 | cvt.{m}.f32.f32 %d, %a" for m in ("rni", "rzi", "rmi", "rpi", "sat", "ftz")],
    "cvt_rmi_f64_f64 | f64 > f64 | cvt.rmi.f64.f64 %d, %a", "cvt_rni_f16_f16 | b16 > b16 | cvt.rni.f16.f16 %d, %a",
    *[f"cvt_{m}_f32_f64 | f64 > f32 | cvt.{m}.f32.f64 %d, %a" for m in RND], "cvt_f64_f32 | f32 > f64 | cvt.f64.f32 %d, %a")
add("cvt_f16", "cvt_f32_f16 | b16 > f32 | cvt.f32.f16 %d, %a", "cvt_f64_f16 | b16 > f64 | cvt.f64.f16 %d, %a",
    "cvt_rn_f16_f32 | f32 > b16 | cvt.rn.f16.f32 %d, %a", "cvt_rz_f16_f32 | f32 > b16 | cvt.rz.f16.f32 %d, %a",
    "cvt_rn_bf16_f32 | f32 > b16 | cvt.rn.bf16.f32 %d, %a", "cvt_rz_bf16_f32 | f32 > b16 | cvt.rz.bf16.f32 %d, %a",
    "cvt_rn_relu_bf16_f32 | f32 > b16 | cvt.rn.relu.bf16.f32 %d, %a", "cvt_rn_relu_f16_f32 | f32 > b16 | cvt.rn.relu.f16.f32 %d, %a",
    "cvt_rn_f16_f64 | f64 > b16 | cvt.rn.f16.f64 %d, %a", "cvt_rna_tf32_f32 | f32 > b32 | cvt.rna.tf32.f32 %d, %a")
add("cvt_f16_sm90", "cvt_f32_bf16 | b16 > f32 | cvt.f32.bf16 %d, %a", sm=90)
add("cvt_pair", *[f"cvt_{m.replace('.', '_')}_{t}_f32 | f32 f32 > b32 | cvt.{m}.{t}.f32 %d, %a, %b" for t in ("f16x2", "bf16x2") for m in ("rn", "rz", "rn.relu")])

# ---- the rest of each form's modifiers
for o in ("and", "or", "xor"):
    add("setp_bool", *[f"setp_{c}_{o}_{t} | {t} {t} s32 > b32 | setp.lt.s32 %q, %c, 0; setp.{c}.{o}.{t} %p, %a, %b, %q" + SEL
                       for t, cs in (("s16", SC), ("b16", SC[:2]), ("s32", SC), ("b32", SC[:2]), ("s64", SC), ("b64", SC[:2]), ("u16", UC), ("u32", UC), ("u64", UC),
                                     ("f32", FC), ("f64", FC)) for c in cs if c != "lt" and (o == "and" or c == "eq")],
        f"setp_lt_{o}_ftz_f32 | f32 f32 s32 > b32 | setp.lt.s32 %q, %c, 0; setp.lt.{o}.ftz.f32 %p, %a, %b, %q" + SEL)
add("setp_int", *[f"setp_{c}_{t} | {t} {t} > b32 | setp.{c}.{t} %p, %a, %b" + SEL for c in ("le", "gt") for t in ("u16", "u32", "u64")])
add("selp", *[f"selp_{t} | {r} {r} b32 > {r} | setp.lt.s32 %p, %c, 0; selp.{t} %d, %a, %b, %p" for t, r in (("s16", "s16"), ("s64", "s64"))])
add("f64", "mad_rn_f64 | f64 f64 f64 > f64 | mad.rn.f64 %d, %a, %b, %c", *[f"{o}_rn_f64 | f64 f64 > f64 | {o}.rn.f64 %d, %a, %b" for o in ("add", "sub", "mul")])
add("fma_f32", "mad_rz_ftz_f32 | f32 f32 f32 > f32 | mad.rz.ftz.f32 %d, %a, %b, %c", "mad_rp_sat_f32 | f32 f32 f32 > f32 | mad.rp.sat.f32 %d, %a, %b, %c")
for t, r in HALF:
    add("f16", *[f"{o}_ftz_{t} | {r} {r} > {r} | {o}.ftz.{t} %d, %a, %b" for o in ("add", "sub")],
        *[f"{o}_sat_{t} | {r} {r} > {r} | {o}.sat.{t} %d, %a, %b" for o in ("sub", "mul")], f"add_rn_{t} | {r} {r} > {r} | add.rn.{t} %d, %a, %b",
        f"fma_rn_ftz_{t} | {r} {r} {r} > {r} | fma.rn.ftz.{t} %d, %a, %b, %c", f"abs_ftz_{t} | {r} > {r} | abs.ftz.{t} %d, %a", f"neg_ftz_{t} | {r} > {r} | neg.ftz.{t} %d, %a")
    add("f16_minmax", *[f"{o}_ftz_{t} | {r} {r} > {r} | {o}.ftz.{t} %d, %a, %b" for o in ("min", "max")])
add("cvt_f2f", *[f"cvt_{m.replace('.', '_')}_f32_f64 | f64 > f32 | cvt.{m}.f32.f64 %d, %a" for m in ("rn.ftz", "rn.sat")],
    "cvt_ftz_f64_f32 | f32 > f64 | cvt.ftz.f64.f32 %d, %a", "cvt_sat_f64_f32 | f32 > f64 | cvt.sat.f64.f32 %d, %a",
    *[f"cvt_{m}_f64_f64 | f64 > f64 | cvt.{m}.f64.f64 %d, %a" for m in ("rni", "rzi", "rpi", "sat")],
    *[f"cvt_{m}_f16_f16 | b16 > b16 | cvt.{m}.f16.f16 %d, %a" for m in ("rzi", "rmi", "rpi", "sat")], "cvt_rzi_sat_f32_f32 | f32 > f32 | cvt.rzi.sat.f32.f32 %d, %a")
add("cvt_f16", "cvt_sat_f32_f16 | b16 > f32 | cvt.sat.f32.f16 %d, %a", "cvt_rn_sat_f16_f32 | f32 > b16 | cvt.rn.sat.f16.f32 %d, %a",
    "cvt_rn_ftz_f16_f32 | f32 > b16 | cvt.rn.ftz.f16.f32 %d, %a", *[f"cvt_{m}_ftz_f16_f32 | f32 > b16 | cvt.{m}.ftz.f16.f32 %d, %a" for m in ("rm", "rp")], "cvt_rm_f16_f32 | f32 > b16 | cvt.rm.f16.f32 %d, %a", "cvt_rp_f16_f32 | f32 > b16 | cvt.rp.f16.f32 %d, %a")
add("cvt_f16_sm90", "cvt_rn_bf16_f16 | b16 > b16 | cvt.rn.bf16.f16 %d, %a", "cvt_rz_bf16_f64 | f64 > b16 | cvt.rz.bf16.f64 %d, %a", sm=90)
add("cvt_f2i_sm90", *[f"cvt_{m}_{d}_bf16 | b16 > {d} | cvt.{m}.{d}.bf16 %d, %a" for m in ("rni", "rzi") for d in ("s32", "u32")], sm=90)
add("cvt_i2f_sm90", *[f"cvt_rn_bf16_{d} | {d} > b16 | cvt.rn.bf16.{d} %d, %a" for d in ("s32", "u16")], sm=90)
add("cvt_i2f", "cvt_rn_sat_f32_s32 | s32 > f32 | cvt.rn.sat.f32.s32 %d, %a")

FRAME = """.visible .entry {name}(.param .u64 {name}_in, .param .u64 {name}_out)
{{
{regs}    ld.param.u64 %in, [{name}_in];
    ld.param.u64 %out, [{name}_out];
    mov.u32 %i, %tid.x;
    mov.u32 %t, %ctaid.x;
    mov.u32 %n, %ntid.x;
    mad.lo.u32 %i, %t, %n, %i;
    mad.wide.u32 %in, %i, 32, %in;
    mad.wide.u32 %out, %i, 16, %out;
{body}    ret;
}}
"""

def reg_type(t):
    return {"u8": "u16", "s8": "s16"}.get(t, t)

def entry(row):
    name, types, code = (s.strip() for s in row.split("|", 2))
    src, dst = types.split(">")
    src, dst = src.split(), dst.strip()
    regs = ["    .reg .u64 %in, %out;", "    .reg .u32 %i, %t, %n;"]
    body = []
    for v, t in zip("abc", src):
        regs.append(f"    .reg .{reg_type(t)} %{v};")
        body.append(f"    ld.global.{t} %{v}, [%in{'+%d' % (8 * 'abc'.index(v)) if v != 'a' else ''}];")
    regs.append(f"    .reg .{reg_type(dst)} %d;")
    for k, t in (("p", "pred"), ("q", "pred"), ("r0", "b32"), ("r1", "b32"), ("r2", "b32"), ("r3", "b32"), ("r4", "b32"), ("r5", "b32"), ("l0", "b64"), ("h0", "b16"), ("h1", "b16"), ("h2", "b16")):
        if re.search(r"%" + k + r"\b", code):
            regs.append(f"    .reg .{t} %{k};")
    body += [f"    {c.strip()};" for c in code.split(";")]
    body.append(f"    st.global.{dst} [%out], %d;")
    return FRAME.format(name=name, regs="\n".join(regs) + "\n", body="\n".join(body) + "\n")

# ---- kernels that are not elementwise: %in, %out as given, %i the thread's index in the grid, %tx in its
# CTA; %in16 is the thread's 16 bytes of input, %out64 its 64 bytes of output, %out4 its word.
WHOLE = {}
def whole(file, name, body, before="", sm=80):
    WHOLE.setdefault(file, (sm, []))[1].append((name, before, body))

WFRAME = """{before}.visible .entry {name}(.param .u64 {name}_in, .param .u64 {name}_out)
{{
    .reg .u64 %in, %out, %in16, %out64, %out4;
    .reg .u32 %i, %tx, %c, %n;
{regs}    ld.param.u64 %in, [{name}_in];
    ld.param.u64 %out, [{name}_out];
    mov.u32 %tx, %tid.x;
    mov.u32 %c, %ctaid.x;
    mov.u32 %n, %ntid.x;
    mad.lo.u32 %i, %c, %n, %tx;
    mad.wide.u32 %in16, %i, 16, %in;
    mad.wide.u32 %out64, %i, 64, %out;
    mad.wide.u32 %out4, %i, 4, %out;

{body}    ret;
}}
"""
def whole_entry(name, before, body):
    regs = ""
    for k, t in (("r", "b32"), ("l", "b64"), ("f", "f32"), ("g", "f64"), ("h", "b16"), ("p", "pred")):
        used = [int(x) for x in re.findall(r"%" + k + r"(\d+)\b", body)]
        if used:
            regs += f"    .reg .{t} %{k}<{max(used) + 1}>;\n"
    lines = [l.strip() for l in body.strip().split("\n")]
    return WFRAME.format(before=before, name=name, regs=regs,
                         body="".join((l if l.endswith(":") else "    " + l) + "\n" for l in lines))

exec(open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "whole.py")).read())

folder = sys.argv[1]
os.makedirs(folder, exist_ok=True)

for f, (sm, rows) in WHOLE.items():
    FILES.setdefault(f, (sm, []))
for f, (sm, rows) in FILES.items():
    more = WHOLE.get(f, (sm, []))[1]
    names = [r.split('|')[0].strip() for r in rows] + [m[0] for m in more]
    with open(os.path.join(folder, f + ".ptx"), "w") as out:
        out.write(f"// {f}: {', '.join(names[:4])}{' ...' if len(names) > 4 else ''}; written by make.py; expected values in the headers beside it\n")
        out.write(f".version {'8.0' if sm == 90 or f.startswith('bar') else '7.4'}\n.target sm_{sm}\n.address_size 64\n")
        for r in rows:
            out.write("\n" + entry(r))
        for m in more:
            out.write("\n" + whole_entry(*m))
