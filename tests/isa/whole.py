# whole.py: the bodies of the kernels in tests/isa that are not elementwise; run by make.py.
S = ".shared .align 16 .b8 {0}[{1}];\n"

# ---- loads and stores
whole("ld", "ld_types", """
ld.global.u8 %r0, [%in16];
ld.global.s8 %r1, [%in16+1];
ld.global.u16 %r2, [%in16+2];
ld.global.s16 %r3, [%in16+2];
ld.global.b32 %r4, [%in16+4];
ld.global.u64 %l0, [%in16+8];
ld.global.s32 %l1, [%in16+4];
ld.global.u8 %h0, [%in16+7];
st.global.v4.b32 [%out64], {%r0, %r1, %r2, %r3};
st.global.b32 [%out64+16], %r4;
st.global.b64 [%out64+24], %l0;
st.global.b64 [%out64+32], %l1;
st.global.b16 [%out64+40], %h0;
""")
whole("ld", "ld_vec", """
ld.global.v4.u32 {%r0, %r1, %r2, %r3}, [%in16];
st.global.v4.u32 [%out64], {%r3, %r2, %r1, %r0};
ld.global.v2.u32 {%r0, %r1}, [%in16+8];
st.global.v2.u32 [%out64+16], {%r1, %r0};
ld.global.v2.u64 {%l0, %l1}, [%in16];
st.global.v2.u64 [%out64+32], {%l1, %l0};
ld.global.v4.u16 {%h0, %h1, %h2, %h3}, [%in16];
st.global.v4.u16 [%out64+48], {%h3, %h2, %h1, %h0};
ld.global.v4.u8 {%h0, %h1, %h2, %h3}, [%in16+12];
st.global.v4.u8 [%out64+56], {%h3, %h2, %h1, %h0};
ld.global.v2.f32 {%f0, %f1}, [%in16];
ld.global.v4.f32 {%f0, %f1, %f2, %f3}, [%in16];
st.global.f32 [%out64+60], %f3;
""")
whole("ld", "ld_cache", "\n".join(f"ld{m} %r{i}, [%in16+{4 * (i % 4)}];\nst.global.b32 [%out64+{4 * i}], %r{i};" for i, m in enumerate([
    ".global.ca.b32", ".global.cg.b32", ".global.cs.b32", ".global.lu.b32", ".global.cv.b32", ".volatile.global.b32", ".weak.global.b32",
    ".global.L1::no_allocate.b32", ".global.L1::evict_last.b32", ".global.L1::evict_first.b32", ".global.L2::64B.b32",
    ".global.L2::128B.b32", ".global.L2::256B.b32", ".b32", ".volatile.b32", ".global.L1::no_allocate.L2::128B.b32"])))
whole("ld", "ld_spaces", """
mul.wide.u32 %l0, %tx, 4;
mov.u64 %l1, ld_table;
add.u64 %l1, %l1, %l0;
ld.const.u32 %r0, [%l1];
ld.const.u32 %r1, [ld_table+8];
mov.u32 %r2, ld_shared;
mad.lo.u32 %r2, %tx, 4, %r2;
ld.global.b32 %r3, [%in16];
st.shared.b32 [%r2], %r3;
ld.shared.b32 %r4, [%r2];
mov.u64 %l2, ld_local;
st.local.b32 [%l2+4], %r3;
st.local.v2.b32 [ld_local+8], {%r3, %r4};
ld.local.b32 %r5, [ld_local+4];
ld.local.b32 %r6, [%l2+12];
cvta.local.u64 %l3, %l2;
ld.b32 %r7, [%l3+8];
st.global.v4.b32 [%out64], {%r0, %r1, %r4, %r5};
st.global.v2.b32 [%out64+16], {%r6, %r7};
mov.u64 %l4, ld_global;
ld.global.u16 %r8, [%l4+2];
ld.global.f32 %f0, [ld_global+4];
st.global.b32 [%out64+24], %r8;
st.global.f32 [%out64+28], %f0;
""", before=".const .align 4 .u32 ld_table[32] = {3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9, 7, 9, 3};\n.shared .align 4 .b8 ld_shared[128];\n"
     ".global .align 4 .b8 ld_global[8] = {1, 2, 3, 4, 0, 0, 128, 63};\n")
WHOLE["ld"][1][-1] = (WHOLE["ld"][1][-1][0], WHOLE["ld"][1][-1][1], ".local .align 16 .b8 ld_local[16];\n" + WHOLE["ld"][1][-1][2])
whole("ld_nc", "ld_nc", "\n".join(f"ld.global{m}.b32 %r{i}, [%in16+{4 * (i % 4)}];\nst.global.b32 [%out64+{4 * i}], %r{i};" for i, m in enumerate([
    ".nc", ".ca.nc", ".cg.nc", ".cs.nc", ".nc.L1::no_allocate", ".nc.L1::evict_last", ".nc.L2::128B", ".nc.L1::no_allocate.L2::256B"])) + """
ld.global.nc.v4.b32 {%r0, %r1, %r2, %r3}, [%in16];
st.global.v4.b32 [%out64+32], {%r3, %r1, %r2, %r0};
ld.global.nc.v2.b64 {%l0, %l1}, [%in16];
st.global.v2.b64 [%out64+48], {%l0, %l1};
""")
whole("ld_ordered", "ld_ordered", "\n".join(f"ld.{m}.b32 %r{i}, [%in16+{4 * (i % 4)}];\nst.global.b32 [%out64+{4 * i}], %r{i};" for i, m in enumerate([
    "relaxed.cta.global", "relaxed.gpu.global", "relaxed.sys.global", "acquire.cta.global", "acquire.gpu.global", "acquire.sys.global", "acquire.gpu"])))
whole("st", "st_types", """
ld.global.v4.b32 {%r0, %r1, %r2, %r3}, [%in16];
ld.global.b64 %l0, [%in16];
cvt.u16.u32 %h0, %r0;
st.global.u8 [%out64], %r0;
st.global.u16 [%out64+2], %r1;
st.global.b8 [%out64+4], %h0;
st.global.b16 [%out64+6], %h0;
st.global.u32 [%out64+8], %r2;
st.global.b64 [%out64+16], %l0;
st.global.v2.b32 [%out64+24], {%r3, %r2};
st.global.v4.b32 [%out64+32], {%r3, %r2, %r1, %r0};
st.global.v2.b64 [%out64+48], {%l0, %l0};
""")
whole("st", "st_cache", "ld.global.b32 %r0, [%in16];\n" + "\n".join(f"st{m} [%out64+{4 * i}], %r0;" for i, m in enumerate([
    ".global.wb.b32", ".global.cg.b32", ".global.cs.b32", ".global.wt.b32", ".volatile.global.b32", ".weak.global.b32",
    ".global.L1::no_allocate.b32", ".b32", ".volatile.b32"])))
whole("st_ordered", "st_ordered", "ld.global.b32 %r0, [%in16];\n" + "\n".join(f"st.{m}.b32 [%out64+{4 * i}], %r0;" for i, m in enumerate([
    "relaxed.cta.global", "relaxed.gpu.global", "relaxed.sys.global", "release.cta.global", "release.gpu.global", "release.sys.global", "release.gpu"])))
whole("cvta", "cvta", """
cvta.to.global.u64 %l0, %in16;
cvta.global.u64 %l1, %l0;
ld.b32 %r0, [%l1];
mov.u64 %l2, cvta_shared;
cvta.shared.u64 %l3, %l2;
mad.wide.u32 %l3, %tx, 4, %l3;
st.b32 [%l3], %r0;
cvta.to.shared.u64 %l4, %l3;
ld.shared.b32 %r1, [%l4];
isspacep.shared %p0, %l3;
isspacep.global %p1, %l3;
isspacep.global %p2, %l1;
selp.b32 %r2, 1, 0, %p0;
selp.b32 %r3, 2, 0, %p1;
selp.b32 %r4, 4, 0, %p2;
or.b32 %r2, %r2, %r3;
or.b32 %r2, %r2, %r4;
st.global.v2.b32 [%out64], {%r1, %r2};
""", before=".shared .align 4 .b8 cvta_shared[128];\n")
whole("prefetch", "prefetch", """
prefetch.global.L1 [%in16];
prefetch.global.L2 [%in16];
prefetch.L2 [%in16];
prefetchu.L1 [%in16];
prefetch.global.L2::evict_last [%in16];
st.global.b32 [%out4], 5;
""")
whole("policy", "policy", """
createpolicy.fractional.L2::evict_first.b64 %l0, 1.0;
createpolicy.fractional.L2::evict_last.b64 %l1;
ld.global.L2::cache_hint.b32 %r0, [%in16], %l0;
ld.global.nc.L1::no_allocate.L2::cache_hint.v4.b32 {%r1, %r2, %r3, %r4}, [%in16], %l1;
add.u32 %r0, %r0, %r4;
st.global.L2::cache_hint.b32 [%out4], %r0, %l1;
""")

# ---- atomics: each thread on its own 16 bytes (old and new value), then all on one word
def atomics(file, name, ops, shared=False, red=False):
    b = "ld.global.v4.b32 {%r0, %r1, %r2, %r3}, [%in16];\n"
    for i, (op, t, extra) in enumerate(ops):
        at = f"%out64+{16 * i}"
        wide = t.endswith("64")
        v = "%l1" if wide else "%f1" if t == "f32" else "%r2"
        d = "%l2" if wide else "%f2" if t == "f32" else "%r4"
        if wide:
            b += f"mov.b64 %l0, {{%r0, %r1}};\nmov.b64 %l1, {{%r2, %r3}};\nst.global.b64 [{at}], %l0;\n"
        elif t == "f32":
            b += f"cvt.rn.f32.s32 %f1, %r2;\ncvt.rn.f32.s32 %f0, %r0;\nst.global.f32 [{at}], %f0;\n"
        else:
            b += f"st.global.b32 [{at}], %r0;\n"
        more = extra.replace("$V", v)
        if red:
            b += f"red.{op.replace('$', 'global')}.{t} [{at}], {v};\n"
        else:
            b += f"atom.{op.replace('$', 'global')}.{t} {d}, [{at}], {more or v};\nst.global.b{64 if wide else 32} [{at}+8], {d};\n"
    whole(file, name, b)
atomics("atom_add", "atom_add_int", [("$.add", "u32", ""), ("relaxed.gpu.$.add", "s32", ""), ("acq_rel.gpu.$.add", "u64", ""), ("$.add", "f32", "")])
atomics("atom_minmax", "atom_minmax_32", [("$.min", "u32", ""), ("$.min", "s32", ""), ("$.max", "u32", ""), ("$.max", "s32", "")])
atomics("atom_minmax", "atom_minmax_64", [("$.min", "u64", ""), ("$.min", "s64", ""), ("$.max", "u64", ""), ("$.max", "s64", "")])
atomics("atom_bits", "atom_bits_32", [("$.and", "b32", ""), ("$.or", "b32", ""), ("$.xor", "b32", ""), ("$.exch", "b32", "")])
atomics("atom_bits", "atom_bits_64", [("$.and", "b64", ""), ("$.or", "b64", ""), ("$.xor", "b64", ""), ("acquire.sys.$.exch", "b64", "")])
atomics("atom_inc", "atom_inc", [("$.inc", "u32", ""), ("$.dec", "u32", ""), ("release.cta.$.inc", "u32", "%r0"), ("$.dec", "u32", "%r3")])
atomics("atom_cas", "atom_cas", [("$.cas", "b32", "%r0, %r2"), ("$.cas", "b32", "%r1, %r2"), ("$.cas", "b64", "%l0, %l1"), ("acq_rel.gpu.$.cas", "b64", "%l1, %l1")])
atomics("red", "red_own", [("$.add", "u32", ""), ("relaxed.gpu.$.max", "s32", ""), ("$.xor", "b32", ""), ("release.gpu.$.add", "u64", "")], red=True)
whole("red", "red_one", """
setp.eq.u32 %p0, %tx, 0;
@%p0 st.global.f32 [%out+4], 0f3f000000;
bar.sync 0;
add.u32 %r0, %i, 1;
red.global.add.u32 [%out], %r0;
cvt.rn.f32.u32 %f0, %r0;
red.global.add.f32 [%out+4], %f0;
red.global.max.u32 [%out+8], %r0;
red.global.and.b32 [%out+12], %r0;
red.global.min.s32 [%out+16], %r0;
cvt.u64.u32 %l0, %r0;
red.global.add.u64 [%out+24], %l0;
red.global.inc.u32 [%out+32], 0x7fffffff;
""")
whole("atom_add", "atom_add_f16x2", """
st.global.b32 [%out64], 0x40003c00;
mov.b32 %r1, 0x3c003800;
atom.global.add.noftz.f16x2 %r0, [%out64], %r1;
st.global.b32 [%out64+4], %r0;
st.global.b32 [%out64+8], 0;
red.global.add.noftz.f16x2 [%out64+8], %r1;
""")
whole("atom_add", "atom_add_shared", """
mov.u32 %r0, atom_sum;
setp.eq.u32 %p0, %tx, 0;
@%p0 st.shared.b32 [%r0], 0;
bar.sync 0;
add.u32 %r1, %tx, 1;
atom.shared.add.u32 %r2, [%r0], %r1;
bar.sync 0;
ld.shared.u32 %r3, [%r0];
st.global.u32 [%out4], %r3;
""", before=".shared .align 4 .b32 atom_sum;\n")
whole("fence", "fence", """
ld.global.b32 %r0, [%in16];
st.global.b32 [%out4], %r0;
membar.cta;
membar.gl;
membar.sys;
fence.acq_rel.cta;
fence.acq_rel.gpu;
fence.acq_rel.sys;
fence.sc.cta;
fence.sc.gpu;
fence.sc.sys;
ld.global.b32 %r1, [%out4];
add.u32 %r1, %r1, 1;
st.global.b32 [%out4], %r1;
""")

# ---- warp
for k in ("up", "down", "bfly", "idx"):
    n = {"up": (1, 5, 40), "down": (1, 7, 33), "bfly": (1, 16, 21), "idx": (0, 13, 31)}[k]
    full, seg = ("0", "0x1800") if k == "up" else ("0x1f", "0x181f")   # clamp 0 / 31; segments of 8 lanes
    b = "ld.global.b32 %r0, [%in16];\n"
    for j, by in enumerate(n):
        b += f"shfl.sync.{k}.b32 %r1|%p0, %r0, {by}, {full}, -1;\nselp.b32 %r2, 1, 0, %p0;\nst.global.v2.b32 [%out64+{8 * j}], {{%r1, %r2}};\n"
    b += f"shfl.sync.{k}.b32 %r1|%p0, %r0, 3, {seg}, -1;\nselp.b32 %r2, 1, 0, %p0;\nst.global.v2.b32 [%out64+24], {{%r1, %r2}};\n"
    b += f"and.b32 %r3, %r0, 31;\nshfl.sync.{k}.b32 %r1, %r0, %r3, {full}, 0xffffffff;\nst.global.b32 [%out64+32], %r1;\n"
    whole("shfl", f"shfl_{k}", b)
whole("vote", "vote", """
ld.global.b32 %r0, [%in16];
and.b32 %r1, %r0, 1;
setp.eq.u32 %p0, %r1, 1;
vote.sync.ballot.b32 %r2, %p0, -1;
vote.sync.any.pred %p1, %p0, -1;
vote.sync.all.pred %p2, %p0, -1;
vote.sync.uni.pred %p3, %p0, -1;
selp.b32 %r3, 1, 0, %p1;
@%p2 add.u32 %r3, %r3, 2;
@%p3 add.u32 %r3, %r3, 4;
vote.sync.ballot.b32 %r4, !%p0, -1;
st.global.v4.b32 [%out64], {%r2, %r3, %r4, %r1};
setp.ge.u32 %p0, %tx, 0;
vote.sync.all.pred %p2, %p0, -1;
vote.sync.uni.pred %p3, !%p0, -1;
selp.b32 %r3, 1, 0, %p2;
@%p3 add.u32 %r3, %r3, 2;
st.global.b32 [%out64+16], %r3;
""")
whole("match", "match", """
ld.global.b32 %r0, [%in16];
and.b32 %r0, %r0, 3;
match.any.sync.b32 %r1, %r0, -1;
match.all.sync.b32 %r2|%p0, %r0, -1;
selp.b32 %r3, 1, 0, %p0;
st.global.v4.b32 [%out64], {%r1, %r2, %r3, %r0};
cvt.u64.u32 %l0, %r0;
shl.b64 %l0, %l0, 40;
match.any.sync.b64 %r1, %l0, -1;
match.all.sync.b32 %r2|%p0, 7, -1;
st.global.v2.b32 [%out64+16], {%r1, %r2};
""")
whole("redux", "redux", "ld.global.b32 %r0, [%in16];\n" + "\n".join(
    f"redux.sync.{o} %r1, %r0, -1;\nst.global.b32 [%out64+{4 * i}], %r1;" for i, o in enumerate(
        ["add.u32", "add.s32", "min.u32", "min.s32", "max.u32", "max.s32", "and.b32", "or.b32", "xor.b32"])))
whole("activemask", "activemask", "activemask.b32 %r0;\nst.global.b32 [%out4], %r0;")
whole("elect", "elect", """
elect.sync %r0|%p0, -1;
selp.b32 %r1, 1, 0, %p0;
vote.sync.ballot.b32 %r2, %p0, -1;
st.global.v2.b32 [%out64], {%r0, %r2};
""", sm=90)
whole("warpsync", "warpsync", """
ld.global.b32 %r0, [%in16];
mov.u32 %r1, warp_words;
mad.lo.u32 %r2, %tx, 4, %r1;
st.shared.b32 [%r2], %r0;
bar.warp.sync 0xffffffff;
xor.b32 %r3, %tx, 31;
mad.lo.u32 %r3, %r3, 4, %r1;
ld.shared.b32 %r4, [%r3];
setp.lt.u32 %p0, %tx, 8;
@!%p0 bra L_done;
bar.warp.sync 0xff;
L_done:
bar.warp.sync -1;
st.global.b32 [%out4], %r4;
""", before=".shared .align 4 .b8 warp_words[128];\n")
whole("special", "special", """
mov.u32 %r0, %laneid;
mov.u32 %r1, %lanemask_eq;
mov.u32 %r2, %lanemask_lt;
mov.u32 %r3, %lanemask_le;
st.global.v4.b32 [%out64], {%r0, %r1, %r2, %r3};
mov.u32 %r0, %lanemask_gt;
mov.u32 %r1, %lanemask_ge;
mov.u32 %r2, %ntid.x;
mov.u32 %r3, %nctaid.x;
st.global.v4.b32 [%out64+16], {%r0, %r1, %r2, %r3};
mov.u32 %r0, %tid.y;
mov.u32 %r1, %ntid.z;
mov.u32 %r2, %ctaid.y;
mov.u32 %r3, %nctaid.z;
st.global.v4.b32 [%out64+32], {%r0, %r1, %r2, %r3};
mov.u64 %l0, %clock64;
mov.u64 %l1, %globaltimer;
mov.u64 %l2, %clock64;
setp.ge.u64 %p0, %l2, %l0;
setp.ne.u64 %p1, %l1, 0;
mov.u32 %r0, %smid;
mov.u32 %r1, %nsmid;
setp.lt.u32 %p2, %r0, %r1;
selp.b32 %r2, 1, 0, %p0;
@%p1 add.u32 %r2, %r2, 2;
@%p2 add.u32 %r2, %r2, 4;
mov.u32 %r3, WARP_SZ;
st.global.v2.b32 [%out64+48], {%r2, %r3};
""")

# ---- control
whole("branch", "branch_loop", """
ld.global.b32 %r0, [%in16];
and.b32 %r1, %r0, 63;
mov.u32 %r2, 0;
setp.eq.u32 %p0, %r1, 0;
@%p0 bra L_out;
L_again:
and.b32 %r3, %r1, 1;
setp.eq.u32 %p1, %r3, 0;
@%p1 bra L_even;
add.u32 %r2, %r2, %r1;
bra L_next;
L_even:
xor.b32 %r2, %r2, %r1;
L_next:
sub.u32 %r1, %r1, 1;
setp.ne.u32 %p0, %r1, 0;
@%p0 bra L_again;
L_out:
st.global.b32 [%out4], %r2;
bra.uni L_end;
st.global.b32 [%out4], 0;
L_end:
""")
whole("branch", "predicated", """
ld.global.b32 %r0, [%in16];
setp.lt.s32 %p0, %r0, 0;
mov.u32 %r1, 1;
@%p0 mov.u32 %r1, 2;
@!%p0 add.u32 %r1, %r1, 5;
@%p0 st.global.b32 [%out4], %r1;
@!%p0 st.global.b32 [%out4], %r1;
""")
whole("brx", "brx", """
ld.global.b32 %r0, [%in16];
and.b32 %r0, %r0, 3;
ts: .branchtargets L_a, L_b, L_c, L_d;
brx.idx %r0, ts;
L_a:
mov.u32 %r1, 10;
bra L_end;
L_b:
mov.u32 %r1, 21;
bra L_end;
L_c:
mov.u32 %r1, 32;
bra L_end;
L_d:
mov.u32 %r1, 43;
L_end:
st.global.b32 [%out4], %r1;
""")
whole("call", "call", """
{
.param .b32 a0;
.param .b32 a1;
.param .b32 d0;
ld.global.b32 %r0, [%in16];
st.param.b32 [a0], %r0;
st.param.b32 [a1], %tx;
call.uni (d0), mix, (a0, a1);
ld.param.b32 %r1, [d0];
}
{
.param .b32 b0;
.param .b32 b1;
.param .b32 e0;
st.param.b32 [b0], %r1;
st.param.b32 [b1], 3;
call (e0), mix, (b0, b1);
ld.param.b32 %r2, [e0];
}
st.global.v2.b32 [%out64], {%r1, %r2};
""", before=""".func (.param .b32 mix_d) mix(.param .b32 mix_a, .param .b32 mix_b)
{
    .reg .b32 %x, %y;
    .reg .pred %p;
    ld.param.b32 %x, [mix_a];
    ld.param.b32 %y, [mix_b];
    setp.lt.s32 %p, %x, 0;
    @%p bra L_neg;
    add.u32 %x, %x, %y;
    st.param.b32 [mix_d], %x;
    ret;
L_neg:
    xor.b32 %x, %x, %y;
    st.param.b32 [mix_d], %x;
    ret;
}
""")
whole("exit", "exit", """
setp.lt.u32 %p0, %tx, 10;
@%p0 exit;
st.global.b32 [%out4], %tx;
setp.lt.u32 %p0, %tx, 40;
@!%p0 bra L_on;
exit;
L_on:
add.u32 %r0, %tx, 1000;
st.global.b32 [%out4], %r0;
""")
whole("trap", "trap_not_taken", """
setp.eq.u32 %p0, %tx, 5000;
@%p0 trap;
st.global.b32 [%out4], 1;
""")
whole("nanosleep", "nanosleep", "nanosleep.u32 100;\nmov.u32 %r0, 20;\nnanosleep.u32 %r0;\nst.global.b32 [%out4], 1;")

# ---- CTA barriers, 128 threads
whole("barrier", "barrier", """
ld.global.b32 %r0, [%in16];
mov.u32 %r1, bar_words;
mad.lo.u32 %r2, %tx, 4, %r1;
st.shared.b32 [%r2], %r0;
bar.sync 0;
xor.b32 %r3, %tx, 127;
mad.lo.u32 %r4, %r3, 4, %r1;
ld.shared.b32 %r5, [%r4];
barrier.sync 1;
st.shared.b32 [%r2], %r5;
barrier.sync.aligned 2, 128;
ld.shared.b32 %r6, [%r4];
st.global.v2.b32 [%out64], {%r5, %r6};
setp.ge.u32 %p0, %tx, 64;
@%p0 bra L_end;
add.u32 %r5, %r5, 1;
st.shared.b32 [%r2+512], %r5;
bar.sync 3, 64;
xor.b32 %r3, %tx, 63;
mad.lo.u32 %r4, %r3, 4, %r1;
ld.shared.b32 %r6, [%r4+512];
st.global.b32 [%out64+8], %r6;
L_end:
""", before=".shared .align 4 .b8 bar_words[1024];\n")
whole("bar_arrive", "bar_arrive", """
mov.u32 %r1, arrive_words;
and.b32 %r2, %tx, 31;
mad.lo.u32 %r3, %r2, 4, %r1;
setp.ge.u32 %p0, %tx, 32;
@%p0 bra L_consumer;
ld.global.b32 %r0, [%in16];
st.shared.b32 [%r3], %r0;
bar.arrive 1, 64;
bra L_end;
L_consumer:
bar.sync 1, 64;
ld.shared.b32 %r4, [%r3];
st.global.b32 [%out4], %r4;
L_end:
""", before=".shared .align 4 .b8 arrive_words[128];\n")
whole("bar_red", "bar_red", """
ld.global.b32 %r0, [%in16];
and.b32 %r1, %r0, 1;
setp.eq.u32 %p0, %r1, 1;
bar.red.popc.u32 %r2, 0, %p0;
bar.red.and.pred %p1, 0, %p0;
bar.red.or.pred %p2, 0, %p0;
selp.b32 %r3, 1, 0, %p1;
@%p2 add.u32 %r3, %r3, 2;
setp.lt.u32 %p0, %tx, 5000;
bar.red.and.pred %p1, 1, %p0;
bar.red.or.pred %p2, 1, !%p0;
selp.b32 %r4, 1, 0, %p1;
@%p2 add.u32 %r4, %r4, 2;
st.global.v2.b32 [%out64], {%r2, %r3};
st.global.b32 [%out64+8], %r4;
""")

# ---- tensor cores: one warp; A row-major at in, B (columns of k) at in + 1024, C after it; D row-major to out
def mma(file, name, shape, types, halves, acc, kbytes):
    """A row of A and a column of B are kbytes long; lane = 4 * group + t. halves: 16-byte pieces of a row."""
    b = f"shr.u32 %r20, %tx, 2;\nand.b32 %r21, %tx, 3;\nmul.lo.u32 %r22, %r20, {kbytes};\nmad.lo.u32 %r22, %r21, 4, %r22;\n"
    b += "cvt.u64.u32 %l0, %r22;\nadd.u64 %l0, %in, %l0;\nadd.u64 %l1, %l0, 1024;\n"
    for i in range(2 * halves):  # a0: row g, a1: row g + 8, a2 and a3: the same, half a row on
        b += f"ld.global.b32 %r{i}, [%l0+{(i & 1) * 8 * kbytes + (i >> 1) * 16}];\n"
    for i in range(halves):
        b += f"ld.global.b32 %r{8 + i}, [%l1+{16 * i}];\n"
    A, B = ", ".join(f"%r{i}" for i in range(2 * halves)), ", ".join(f"%r{8 + i}" for i in range(halves))
    row = 16 if acc == "f16" else 32
    b += f"mul.lo.u32 %r23, %r20, {row};\nmad.lo.u32 %r23, %r21, {row // 4}, %r23;\ncvt.u64.u32 %l2, %r23;\nadd.u64 %l3, %in, %l2;\nadd.u64 %l4, %out, %l2;\n"
    if acc == "f16":
        b += "ld.global.b32 %r10, [%l3+2048];\nld.global.b32 %r11, [%l3+2176];\n"
        b += f"mma.sync.aligned.{shape}.row.col.{types} {{%r12, %r13}}, {{{A}}}, {{{B}}}, {{%r10, %r11}};\n"
        b += "st.global.b32 [%l4], %r12;\nst.global.b32 [%l4+128], %r13;\n"
    else:
        r = "%f" if acc == "f32" else "%r1"
        c, d = [f"{r}{i}" for i in range(4)], [f"{r}{4 + i}" for i in range(4)]
        b += f"ld.global.v2.{acc} {{{c[0]}, {c[1]}}}, [%l3+2048];\nld.global.v2.{acc} {{{c[2]}, {c[3]}}}, [%l3+2304];\n"
        b += f"mma.sync.aligned.{shape}.row.col.{types} {{{', '.join(d)}}}, {{{A}}}, {{{B}}}, {{{', '.join(c)}}};\n"
        b += f"st.global.v2.{acc} [%l4], {{{d[0]}, {d[1]}}};\nst.global.v2.{acc} [%l4+256], {{{d[2]}, {d[3]}}};\n"
    whole(file, name, b)
for t in ("f16", "bf16"):
    mma(f"mma_{t}", f"mma_k16_{t}", "m16n8k16", f"f32.{t}.{t}.f32", 2, "f32", 32)
    mma(f"mma_{t}", f"mma_k8_{t}", "m16n8k8", f"f32.{t}.{t}.f32", 1, "f32", 16)
mma("mma_f16", "mma_k16_f16_f16", "m16n8k16", "f16.f16.f16.f16", 2, "f16", 32)
mma("mma_f16", "mma_k8_f16_f16", "m16n8k8", "f16.f16.f16.f16", 1, "f16", 16)
mma("mma_tf32", "mma_k8_tf32", "m16n8k8", "f32.tf32.tf32.f32", 2, "f32", 32)
for x in ("s8", "u8"):
    for y in ("s8", "u8"):
        mma("mma_s8", f"mma_k32_{x}_{y}", "m16n8k32", f"s32.{x}.{y}.s32", 2, "s32", 32)
mma("mma_s8", "mma_k32_sat_s8", "m16n8k32", "satfinite.s32.s8.s8.s32", 2, "s32", 32)
mma("mma_s8", "mma_k16_s8_s8", "m16n8k16", "s32.s8.s8.s32", 1, "s32", 16)
LDM = """
mov.u32 %r0, ldm_words;
mad.lo.u32 %r1, %tx, 16, %r0;
ld.global.v4.b32 {%r2, %r3, %r4, %r5}, [%in16];
st.shared.v4.b32 [%r1], {%r2, %r3, %r4, %r5};
bar.sync 0;
"""
whole("ldmatrix", "ldmatrix", LDM + """
ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%r6}, [%r1];
st.global.b32 [%out64], %r6;
ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%r6, %r7}, [%r1];
st.global.v2.b32 [%out64+8], {%r6, %r7};
ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%r6, %r7, %r8, %r9}, [%r1];
st.global.v4.b32 [%out64+16], {%r6, %r7, %r8, %r9};
ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%r6, %r7, %r8, %r9}, [%r1];
st.global.v4.b32 [%out64+32], {%r6, %r7, %r8, %r9};
""", before=".shared .align 16 .b8 ldm_words[512];\n")
whole("cp_async", "cp_async", """
mov.u32 %r0, cp_words;
mad.lo.u32 %r1, %tx, 64, %r0;
cp.async.ca.shared.global [%r1], [%in16], 4;
cp.async.ca.shared.global [%r1+8], [%in16+8], 8;
cp.async.commit_group;
cp.async.cg.shared.global [%r1+16], [%in16], 16;
cp.async.ca.shared.global.L2::128B [%r1+32], [%in16], 16;
cp.async.cg.shared.global [%r1+48], [%in16], 16, 8;
cp.async.commit_group;
cp.async.wait_group 1;
ld.shared.b32 %r2, [%r1];
ld.shared.v2.b32 {%r3, %r4}, [%r1+8];
cp.async.wait_all;
ld.shared.v4.b32 {%r5, %r6, %r7, %r8}, [%r1+16];
st.global.b32 [%out64], %r2;
st.global.v2.b32 [%out64+8], {%r3, %r4};
st.global.v4.b32 [%out64+16], {%r5, %r6, %r7, %r8};
ld.shared.v4.b32 {%r5, %r6, %r7, %r8}, [%r1+32];
st.global.v4.b32 [%out64+32], {%r8, %r6, %r7, %r5};
ld.shared.v4.b32 {%r5, %r6, %r7, %r8}, [%r1+48];
st.global.v4.b32 [%out64+48], {%r5, %r6, %r7, %r8};
""", before=".shared .align 16 .b8 cp_words[2048];\n")

# ---- sm_90
whole("mbarrier", "mbarrier", """
mov.u32 %r0, mb_bar;
mov.u32 %r1, mb_words;
setp.eq.u32 %p0, %tx, 0;
@%p0 mbarrier.init.shared.b64 [%r0], 64;
bar.sync 0;
ld.global.b32 %r2, [%in16];
mad.lo.u32 %r3, %tx, 4, %r1;
st.shared.b32 [%r3], %r2;
mbarrier.arrive.shared.b64 %l0, [%r0];
L_wait:
mbarrier.try_wait.parity.shared.b64 %p1, [%r0], 0;
@!%p1 bra L_wait;
xor.b32 %r4, %tx, 63;
mad.lo.u32 %r4, %r4, 4, %r1;
ld.shared.b32 %r5, [%r4];
st.global.b32 [%out4], %r5;
""", before=".shared .align 8 .b64 mb_bar;\n.shared .align 4 .b8 mb_words[256];\n", sm=90)
whole("bulk", "bulk_in", """
mov.u32 %r0, bulk_bar;
mov.u32 %r1, bulk_words;
setp.eq.u32 %p0, %tx, 0;
@!%p0 bra L_ready;
mbarrier.init.shared.b64 [%r0], 1;
fence.proxy.async.shared::cta;
mbarrier.arrive.expect_tx.shared.b64 %l0, [%r0], 512;
cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%r1], [%in], 512, [%r0];
L_ready:
bar.sync 0;
L_wait:
mbarrier.try_wait.parity.shared.b64 %p1, [%r0], 0;
@!%p1 bra L_wait;
mad.lo.u32 %r2, %tx, 16, %r1;
ld.shared.v4.b32 {%r3, %r4, %r5, %r6}, [%r2];
st.global.v4.b32 [%out64], {%r6, %r5, %r4, %r3};
""", before=".shared .align 8 .b64 bulk_bar;\n.shared .align 128 .b8 bulk_words[512];\n", sm=90)
whole("griddepcontrol", "griddepcontrol", "griddepcontrol.wait;\nld.global.b32 %r0, [%in16];\ngriddepcontrol.launch_dependents;\nst.global.b32 [%out4], %r0;", sm=90)

whole("cp_mbarrier", "cp_mbarrier", """
mov.u32 %r0, cpm_bar;
mov.u32 %r1, cpm_words;
setp.eq.u32 %p0, %tx, 0;
@%p0 mbarrier.init.shared.b64 [%r0], 32;
bar.sync 0;
mad.lo.u32 %r2, %tx, 16, %r1;
cp.async.cg.shared.global [%r2], [%in16], 16;
cp.async.mbarrier.arrive.noinc.shared.b64 [%r0];
L_wait:
mbarrier.test_wait.parity.shared.b64 %p1, [%r0], 0;
@!%p1 bra L_wait;
xor.b32 %r3, %tx, 31;
mad.lo.u32 %r3, %r3, 16, %r1;
ld.shared.v4.b32 {%r4, %r5, %r6, %r7}, [%r3];
st.global.v4.b32 [%out64], {%r4, %r5, %r6, %r7};
""", before=".shared .align 8 .b64 cpm_bar;\n.shared .align 16 .b8 cpm_words[512];\n")
whole("mbarrier", "mbarrier_state", """
mov.u32 %r0, mbs_bar;
setp.ne.u32 %p0, %tx, 0;
@%p0 bra L_end;
mbarrier.init.shared.b64 [%r0], 3;
mbarrier.arrive.shared.b64 %l0, [%r0];
mbarrier.test_wait.shared.b64 %p1, [%r0], %l0;
selp.b32 %r1, 1, 0, %p1;
mbarrier.arrive.shared.b64 %l1, [%r0], 2;
mbarrier.test_wait.shared.b64 %p1, [%r0], %l0;
selp.b32 %r2, 1, 0, %p1;
mbarrier.test_wait.parity.shared.b64 %p1, [%r0], 1;
selp.b32 %r3, 1, 0, %p1;
mbarrier.arrive.shared.b64 %l1, [%r0], 3;
mbarrier.test_wait.parity.shared.b64 %p1, [%r0], 1;
selp.b32 %r4, 1, 0, %p1;
st.global.v4.b32 [%out], {%r1, %r2, %r3, %r4};
mbarrier.inval.shared.b64 [%r0];
L_end:
""", before=".shared .align 8 .b64 mbs_bar;\n", sm=90)
whole("mbarrier_tx", "mbarrier_tx", """
mov.u32 %r0, mbt_bar;
setp.ne.u32 %p0, %tx, 0;
@%p0 bra L_end;
mbarrier.init.shared.b64 [%r0], 1;
mbarrier.expect_tx.relaxed.cta.shared::cta.b64 [%r0], 16;
mbarrier.arrive.shared.b64 %l0, [%r0];
mbarrier.test_wait.parity.shared.b64 %p1, [%r0], 0;
selp.b32 %r1, 1, 0, %p1;
mbarrier.complete_tx.relaxed.cta.shared::cta.b64 [%r0], 16;
mbarrier.test_wait.parity.shared.b64 %p1, [%r0], 0;
selp.b32 %r2, 1, 0, %p1;
mbarrier.arrive.expect_tx.shared.b64 %l0, [%r0], 8;
mbarrier.test_wait.parity.shared.b64 %p1, [%r0], 1;
selp.b32 %r3, 1, 0, %p1;
mbarrier.complete_tx.relaxed.cta.shared::cta.b64 [%r0], 8;
mbarrier.test_wait.parity.shared.b64 %p1, [%r0], 1;
selp.b32 %r4, 1, 0, %p1;
st.global.v4.b32 [%out], {%r1, %r2, %r3, %r4};
L_end:
""", before=".shared .align 8 .b64 mbt_bar;\n", sm=90)
whole("bulk_store", "bulk_store", """
mov.u32 %r0, bs_words;
mad.lo.u32 %r1, %tx, 16, %r0;
ld.global.v4.b32 {%r2, %r3, %r4, %r5}, [%in16];
st.shared.v4.b32 [%r1], {%r5, %r4, %r3, %r2};
fence.proxy.async.shared::cta;
bar.sync 0;
setp.ne.u32 %p0, %tx, 0;
@%p0 bra L_end;
cp.async.bulk.global.shared::cta.bulk_group [%out], [%r0], 512;
cp.async.bulk.commit_group;
cp.async.bulk.wait_group.read 0;
cp.async.bulk.global.shared::cta.bulk_group [%out+1024], [%r0+256], 16;
cp.async.bulk.commit_group;
cp.async.bulk.wait_group 0;
L_end:
""", before=".shared .align 128 .b8 bs_words[512];\n", sm=90)
whole("bulk_prefetch", "bulk_prefetch", "cp.async.bulk.prefetch.L2.global [%in], 512;\nst.global.b32 [%out4], 5;", sm=90)
whole("fence_proxy", "fence_proxy", """
ld.global.b32 %r0, [%in16];
st.global.b32 [%out4], %r0;
fence.proxy.async;
fence.proxy.async.global;
fence.proxy.async.shared::cta;
fence.mbarrier_init.release.cluster;
ld.global.b32 %r1, [%out4];
add.u32 %r1, %r1, 1;
st.global.b32 [%out4], %r1;
""", sm=90)

# ---- the rest of each form's modifiers
whole("barrier", "barrier_cta", """
ld.global.b32 %r0, [%in16];
mov.u32 %r1, barc_words;
mad.lo.u32 %r2, %tx, 4, %r1;
st.shared.b32 [%r2], %r0;
bar.cta.sync 0;
xor.b32 %r3, %tx, 127;
mad.lo.u32 %r4, %r3, 4, %r1;
ld.shared.b32 %r5, [%r4];
barrier.cta.sync 1;
st.shared.b32 [%r2], %r5;
barrier.cta.sync.aligned 2, 128;
ld.shared.b32 %r6, [%r4];
st.global.v2.b32 [%out64], {%r5, %r6};
""", before=".shared .align 4 .b8 barc_words[512];\n")
for j, k in enumerate(("bar.cta.arrive", "barrier.arrive", "barrier.cta.arrive.aligned")):
    whole("bar_arrive", f"bar_arrive_{j}", WHOLE["bar_arrive"][1][0][2].replace("bar.arrive", k).replace("arrive_words", f"arrive_words_{j}"),
          before=f".shared .align 4 .b8 arrive_words_{j}[128];\n")
for j, k in enumerate(("barrier.red", "barrier.cta.red")):
    whole("bar_red", f"bar_red_{j}", WHOLE["bar_red"][1][0][2].replace("bar.red", k))
whole("ld_nc", "ldu", """
ldu.global.b32 %r0, [%in16];
ldu.global.v2.u32 {%r1, %r2}, [%in16+8];
st.global.v2.b32 [%out64], {%r0, %r2};
""")
whole("ld_ordered", "ld_ordered_types", """
mov.u32 %r9, ldo_words;
mad.lo.u32 %r9, %tx, 4, %r9;
ld.relaxed.gpu.global.v2.b32 {%r0, %r1}, [%in16];
ld.acquire.sys.global.u64 %l0, [%in16+8];
ld.relaxed.gpu.global.u8 %r2, [%in16+3];
ld.acquire.gpu.global.s16 %r3, [%in16+6];
st.relaxed.cta.shared.b32 [%r9], %r0;
ld.acquire.cta.shared.b32 %r4, [%r9];
ld.relaxed.gpu.global.L1::no_allocate.b32 %r5, [%in16];
st.global.v4.b32 [%out64], {%r1, %r0, %r2, %r3};
st.global.b64 [%out64+16], %l0;
st.global.v2.b32 [%out64+24], {%r4, %r5};
""", before=".shared .align 4 .b8 ldo_words[128];\n")
whole("st_ordered", "st_ordered_types", """
ld.global.v4.b32 {%r0, %r1, %r2, %r3}, [%in16];
mov.b64 %l0, {%r2, %r3};
st.relaxed.gpu.global.v2.b32 [%out64], {%r1, %r0};
st.release.sys.global.u64 [%out64+8], %l0;
st.relaxed.gpu.global.u8 [%out64+16], %r2;
st.release.gpu.global.u16 [%out64+18], %r3;
""")
whole("match", "match_all_b64", """
ld.global.b32 %r0, [%in16];
cvt.u64.u32 %l0, %r0;
match.all.sync.b64 %r1|%p0, %l0, -1;
mov.b64 %l1, 0x700000007;
match.all.sync.b64 %r2|%p1, %l1, -1;
selp.b32 %r3, 1, 0, %p0;
selp.b32 %r4, 1, 0, %p1;
st.global.v4.b32 [%out64], {%r1, %r2, %r3, %r4};
""")
whole("ldmatrix", "ldmatrix_trans", LDM.replace("ldm_words", "ldt_words") + """
ldmatrix.sync.aligned.m8n8.x1.trans.shared.b16 {%r6}, [%r1];
st.global.b32 [%out64], %r6;
ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%r6, %r7}, [%r1];
st.global.v2.b32 [%out64+8], {%r6, %r7};
""", before=".shared .align 16 .b8 ldt_words[512];\n")
mma("mma_s8", "mma_k16_u8_s8", "m16n8k16", "s32.u8.s8.s32", 1, "s32", 16)
mma("mma_s8", "mma_k16_sat_s8", "m16n8k16", "satfinite.s32.s8.s8.s32", 1, "s32", 16)
# atomics on shared memory, by 32 threads on words of their own, with orders and scopes in turn
whole("atom_bits", "atom_shared", """
ld.global.v4.b32 {%r0, %r1, %r2, %r3}, [%in16];
mov.u32 %r4, ats_words;
mad.lo.u32 %r4, %tx, 32, %r4;
mov.b64 %l0, {%r0, %r1};
mov.b64 %l1, {%r2, %r3};
st.shared.b32 [%r4], %r0;
atom.acquire.cta.shared.xor.b32 %r5, [%r4], %r2;
st.global.b32 [%out64], %r5;
atom.release.gpu.shared.and.b32 %r5, [%r4], %r3;
st.global.b32 [%out64+4], %r5;
atom.relaxed.sys.shared.max.u32 %r5, [%r4], %r1;
st.global.b32 [%out64+8], %r5;
atom.acq_rel.cta.shared.min.s32 %r5, [%r4], %r2;
st.global.b32 [%out64+12], %r5;
atom.shared.inc.u32 %r5, [%r4], %r3;
st.global.b32 [%out64+16], %r5;
atom.acq_rel.gpu.shared.cas.b32 %r5, [%r4], %r5, %r2;
atom.shared.exch.b32 %r5, [%r4], %r0;
st.global.b32 [%out64+20], %r5;
ld.shared.b32 %r5, [%r4];
st.global.b32 [%out64+24], %r5;
st.shared.b64 [%r4+8], %l0;
atom.shared.max.s64 %l2, [%r4+8], %l1;
atom.relaxed.gpu.shared.add.u64 %l3, [%r4+8], %l1;
red.shared.or.b64 [%r4+8], %l0;
red.relaxed.cta.shared.add.s32 [%r4+16], %r1;
st.shared.b32 [%r4+16], %r1;
red.release.gpu.shared.dec.u32 [%r4+16], %r2;
ld.shared.b64 %l4, [%r4+8];
st.global.v2.b64 [%out64+32], {%l3, %l4};
ld.shared.b32 %r5, [%r4+16];
st.global.b32 [%out64+48], %r5;
""", before=".shared .align 8 .b8 ats_words[1024];\n")
whole("atom_add", "atom_add_f64", """
ld.global.v2.b32 {%r0, %r1}, [%in16];
cvt.rn.f64.s32 %g0, %r0;
cvt.rn.f64.s32 %g1, %r1;
st.global.f64 [%out64], %g0;
atom.global.add.f64 %g2, [%out64], %g1;
st.global.f64 [%out64+8], %g2;
red.relaxed.gpu.global.add.f64 [%out64], %g1;
""")
whole("mbarrier", "mbarrier_more", """
mov.u32 %r0, mbm_bar;
setp.ne.u32 %p0, %tx, 0;
@%p0 bra L_end;
mbarrier.init.shared::cta.b64 [%r0], 2;
mbarrier.arrive.noComplete.release.cta.shared::cta.b64 %l0, [%r0], 1;
mbarrier.arrive.release.cta.shared::cta.b64 %l1, [%r0];
mbarrier.try_wait.shared.b64 %p1, [%r0], %l0;
selp.b32 %r1, 1, 0, %p1;
mbarrier.test_wait.acquire.cta.shared::cta.b64 %p1, [%r0], %l1;
selp.b32 %r2, 1, 0, %p1;
st.global.v2.b32 [%out], {%r1, %r2};
L_end:
""", before=".shared .align 8 .b64 mbm_bar;\n", sm=90)
