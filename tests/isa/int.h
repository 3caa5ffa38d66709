/* int.h: cases of moves, integers, bits and comparisons. CASE(file, entry, operand kinds, type of a and
 * b and c, type of d, d). x[] are the raw 8-byte slots. */
/* clang-format off */
#define INT6(file, op, k16, k32, k64, expr)                                     \
    CASE(file, op##_u16, k16, u16, u16, expr) CASE(file, op##_s16, k16, s16, s16, expr) \
    CASE(file, op##_u32, k32, u32, u32, expr) CASE(file, op##_s32, k32, s32, s32, expr) \
    CASE(file, op##_u64, k64, u64, u64, expr) CASE(file, op##_s64, k64, s64, s64, expr)
#define BITS3(file, op, n, expr)                                                \
    CASE(file, op##_b16, &"HHH"[3 - n], u16, u16, expr) CASE(file, op##_b32, &"iii"[3 - n], u32, u32, expr) \
    CASE(file, op##_b64, &"lll"[3 - n], u64, u64, expr)

CASE(mov, mov_b16, "H", u16, u16, a) CASE(mov, mov_u16, "H", u16, u16, a) CASE(mov, mov_s16, "H", u16, u16, a)
CASE(mov, mov_b32, "i", u32, u32, a) CASE(mov, mov_u32, "i", u32, u32, a) CASE(mov, mov_s32, "i", u32, u32, a)
CASE(mov, mov_f32, "f", u32, u32, a) CASE(mov, mov_b64, "l", u64, u64, a) CASE(mov, mov_u64, "l", u64, u64, a)
CASE(mov, mov_s64, "l", u64, u64, a) CASE(mov, mov_f64, "d", u64, u64, a)
CASE(mov, mov_imm_f32, "i", u32, u32, 0x40490fdbu + 0 * a) CASE(mov, mov_imm_u64, "i", u32, u64, 0x123456789abcdef0u + 0 * a)
CASE(mov, mov_pred, "ii", u32, u32, a < b)
CASE(mov, mov_pack_2x16, "HH", u16, u32, (u32)b << 16 | a) CASE(mov, mov_pack_2x32, "ii", u32, u64, (u64)b << 32 | a)
CASE(mov, mov_pack_4x16, "HHH", u16, u64, (u64)a << 48 | (u64)c << 32 | (u64)b << 16 | a)
CASE(mov, mov_part_2x16, "i", u32, u16, a >> 16) CASE(mov, mov_part_2x32, "l", u64, u32, a >> 32)
CASE(mov, mov_part_4x16, "l", u64, u16, a >> 32)
#define NEG2 ((s32)x[2] < 0)
CASE(selp, selp_b16, "HHi", u16, u16, NEG2 ? a : b) CASE(selp, selp_u16, "HHi", u16, u16, NEG2 ? a : b)
CASE(selp, selp_b32, "iii", u32, u32, NEG2 ? a : b) CASE(selp, selp_u32, "iii", u32, u32, NEG2 ? a : b)
CASE(selp, selp_s32, "iii", u32, u32, NEG2 ? a : b) CASE(selp, selp_f32, "ffi", u32, u32, NEG2 ? a : b)
CASE(selp, selp_b64, "lli", u64, u64, NEG2 ? a : b) CASE(selp, selp_u64, "lli", u64, u64, NEG2 ? a : b)
CASE(selp, selp_f64, "ddi", u64, u64, NEG2 ? a : b)
CASE(prmt, prmt_b32, "iii", u32, u32, prmt(a, b, c)) CASE(prmt, prmt_imm, "ii", u32, u32, prmt(a, b, 0x7604))
CASE(prmt_mode, prmt_f4e, "iin", u32, u32, prmt_mode("3210432154326543", a, b, c))
CASE(prmt_mode, prmt_b4e, "iin", u32, u32, prmt_mode("5670670170120123", a, b, c))
CASE(prmt_mode, prmt_rc8, "iin", u32, u32, prmt_mode("0000111122223333", a, b, c))
CASE(prmt_mode, prmt_ecl, "iin", u32, u32, prmt_mode("3210321132223333", a, b, c))
CASE(prmt_mode, prmt_ecr, "iin", u32, u32, prmt_mode("0000111022103210", a, b, c))
CASE(prmt_mode, prmt_rc16, "iin", u32, u32, prmt_mode("1010323210103232", a, b, c))

INT6(add_int, add, "HH", "ii", "ll", (u64)a + (u64)b)
CASE(add_int, add_imm, "i", u32, u32, a - 7)
INT6(sub_int, sub, "HH", "ii", "ll", (u64)a - (u64)b)
CASE(add_sat, add_sat_s32, "ii", s32, s32, clamp((s64)a + b, INT32_MIN, INT32_MAX))
CASE(add_sat, sub_sat_s32, "ii", s32, s32, clamp((s64)a - b, INT32_MIN, INT32_MAX))
INT6(mul_lo, mul_lo, "HH", "ii", "ll", (u64)a * (u64)b)
INT6(mul_hi, mul_hi, "HH", "ii", "ll", ((u128)(s128)a * (u128)(s128)b) >> (8 * sizeof a))
CASE(mul_wide, mul_wide_u16, "HH", u16, u32, (u32)a * b) CASE(mul_wide, mul_wide_s16, "HH", s16, s32, (s32)a * b)
CASE(mul_wide, mul_wide_u32, "ii", u32, u64, (u64)a * b) CASE(mul_wide, mul_wide_s32, "ii", s32, s64, (s64)a * b)
CASE(mul24, mul24_lo_u32, "ii", u32, u32, (u64)(a & 0xffffff) * (b & 0xffffff))
CASE(mul24, mul24_lo_s32, "ii", u32, u32, (s64)((s32)(a << 8) >> 8) * ((s32)(b << 8) >> 8))
INT6(mad_lo, mad_lo, "HHH", "iii", "lll", (u64)a * (u64)b + (u64)c)
CASE(mad_hi, mad_hi_u32, "iii", u32, u32, ((u64)a * b >> 32) + c)
CASE(mad_hi, mad_hi_s32, "iii", s32, u32, (u32)((u64)((s64)a * b) >> 32) + (u32)c)
CASE(mad_wide, mad_wide_u16, "HHi", u16, u32, (u32)a * b + (u32)x[2])
CASE(mad_wide, mad_wide_s16, "HHi", s16, u32, (u32)((s32)a * b) + (u32)x[2])
CASE(mad_wide, mad_wide_u32, "iil", u32, u64, (u64)a * b + x[2])
CASE(mad_wide, mad_wide_s32, "iil", s32, u64, (u64)((s64)a * b) + x[2])
INT6(div_int, div, "HJ", "ij", "lk", (s128)a / (s128)b)
INT6(rem_int, rem, "HJ", "ij", "lk", (s128)a % (s128)b)
INT6(minmax_int, min, "HH", "ii", "ll", a < b ? a : b)
INT6(minmax_int, max, "HH", "ii", "ll", a > b ? a : b)
CASE(abs_neg_int, abs_s16, "H", s16, u16, a < 0 ? 0 - (u64)a : (u64)a) CASE(abs_neg_int, abs_s32, "i", s32, u32, a < 0 ? 0 - (u64)a : (u64)a)
CASE(abs_neg_int, abs_s64, "l", s64, u64, a < 0 ? 0 - (u64)a : (u64)a) CASE(abs_neg_int, neg_s16, "H", s16, u16, 0 - (u64)a)
CASE(abs_neg_int, neg_s32, "i", s32, u32, 0 - (u64)a) CASE(abs_neg_int, neg_s64, "l", s64, u64, 0 - (u64)a)
CASE(sad, sad_u32, "iii", u32, u32, c + (a > b ? a - b : b - a))
CASE(sad, sad_s32, "iii", s32, u32, (u32)c + (u32)(a > b ? (s64)a - b : (s64)b - a))

BITS3(logic, and, 2, a & b) BITS3(logic, or, 2, a | b) BITS3(logic, xor, 2, a ^ b) BITS3(logic, not, 1, ~a)
CASE(logic, cnot_b32, "i", u32, u32, a == 0)
CASE(logic_pred, and_pred, "ii", s32, u32, a < 0 && b < 0) CASE(logic_pred, or_pred, "ii", s32, u32, a < 0 || b < 0)
CASE(logic_pred, xor_pred, "ii", s32, u32, (a < 0) != (b < 0)) CASE(logic_pred, not_pred, "i", s32, u32, a >= 0)
CASE(lop3, lop3_00, "iii", u32, u32, lop3(a, b, c, 0x00)) CASE(lop3, lop3_80, "iii", u32, u32, lop3(a, b, c, 0x80))
CASE(lop3, lop3_fe, "iii", u32, u32, lop3(a, b, c, 0xfe)) CASE(lop3, lop3_96, "iii", u32, u32, lop3(a, b, c, 0x96))
CASE(lop3, lop3_ca, "iii", u32, u32, lop3(a, b, c, 0xca)) CASE(lop3, lop3_e8, "iii", u32, u32, lop3(a, b, c, 0xe8))
CASE(lop3, lop3_3c, "iii", u32, u32, lop3(a, b, c, 0x3c)) CASE(lop3, lop3_ff, "iii", u32, u32, lop3(a, b, c, 0xff))
#define COUNT ((u32)x[1])
#define SHL(bits) COUNT >= bits ? 0 : (u64)a << COUNT
#define SHRU(bits) COUNT >= bits ? 0 : (u64)a >> COUNT
#define SHRS(bits) (s64)a >> (COUNT >= bits ? bits - 1 : COUNT)
CASE(shift, shl_b16, "Hn", u16, u16, SHL(16)) CASE(shift, shl_b32, "in", u32, u32, SHL(32)) CASE(shift, shl_b64, "ln", u64, u64, SHL(64))
CASE(shift, shr_u16, "Hn", u16, u16, SHRU(16)) CASE(shift, shr_u32, "in", u32, u32, SHRU(32)) CASE(shift, shr_u64, "ln", u64, u64, SHRU(64))
CASE(shift, shr_s16, "Hn", s16, u16, SHRS(16)) CASE(shift, shr_s32, "in", s32, u32, SHRS(32)) CASE(shift, shr_s64, "ln", s64, u64, SHRS(64))
CASE(shift, shr_b16, "Hn", u16, u16, SHRU(16)) CASE(shift, shr_b32, "in", u32, u32, SHRU(32)) CASE(shift, shr_b64, "ln", u64, u64, SHRU(64))
#define AB ((u64)b << 32 | a)
CASE(shf, shf_l_wrap, "iin", u32, u32, (AB << (c & 31)) >> 32) CASE(shf, shf_l_clamp, "iin", u32, u32, (u64)((u128)AB << (c < 32 ? c : 32)) >> 32)
CASE(shf, shf_r_wrap, "iin", u32, u32, AB >> (c & 31)) CASE(shf, shf_r_clamp, "iin", u32, u32, AB >> (c < 32 ? c : 32))
CASE(bfe, bfe_u32, "inn", u32, u32, bfe(a, (u32)x[1], (u32)x[2], 32, 0)) CASE(bfe, bfe_s32, "inn", u32, u32, bfe(a, (u32)x[1], (u32)x[2], 32, 1))
CASE(bfe, bfe_u64, "loo", u64, u64, bfe(a, (u32)x[1], (u32)x[2], 64, 0)) CASE(bfe, bfe_s64, "loo", u64, u64, bfe(a, (u32)x[1], (u32)x[2], 64, 1))
CASE(bfi, bfi_b32, "iiN", u32, u32, bfi(a, b, (u32)x[2], (u32)(x[2] >> 32), 32))
CASE(bfi, bfi_b64, "llN", u64, u64, bfi(a, b, (u32)x[2], (u32)(x[2] >> 32), 64))
CASE(bfind, bfind_u32, "i", u32, u32, bfind(a, 32, 0, 0)) CASE(bfind, bfind_s32, "i", u32, u32, bfind(a, 32, 1, 0))
CASE(bfind, bfind_u64, "l", u64, u32, bfind(a, 64, 0, 0)) CASE(bfind, bfind_s64, "l", u64, u32, bfind(a, 64, 1, 0))
CASE(bfind, bfind_shiftamt_u32, "i", u32, u32, bfind(a, 32, 0, 1)) CASE(bfind, bfind_shiftamt_s32, "i", u32, u32, bfind(a, 32, 1, 1))
CASE(bfind, bfind_shiftamt_u64, "l", u64, u32, bfind(a, 64, 0, 1)) CASE(bfind, bfind_shiftamt_s64, "l", u64, u32, bfind(a, 64, 1, 1))
CASE(bits, brev_b32, "i", u32, u32, brev(a, 32)) CASE(bits, brev_b64, "l", u64, u64, brev(a, 64))
CASE(bits, clz_b32, "i", u32, u32, bfind(a, 32, 0, 1) == ~0u ? 32 : bfind(a, 32, 0, 1))
CASE(bits, clz_b64, "l", u64, u32, bfind(a, 64, 0, 1) == ~0u ? 64 : bfind(a, 64, 0, 1))
CASE(bits, popc_b32, "i", u32, u32, __builtin_popcount(a)) CASE(bits, popc_b64, "l", u64, u32, __builtin_popcountll(a))
#define DOTS(ta, tb, sa, sb)                                                                       \
    CASE(dp4a, dp4a_##ta##_##tb, "iii", u32, u32, dot(a, b, c, 4, 8, 0, sa, sb))                   \
    CASE(dp2a, dp2a_lo_##ta##_##tb, "iii", u32, u32, dot(a, b, c, 2, 16, 0, sa, sb))               \
    CASE(dp2a, dp2a_hi_##ta##_##tb, "iii", u32, u32, dot(a, b, c, 2, 16, 2, sa, sb))
DOTS(u32, u32, 0, 0) DOTS(u32, s32, 0, 1) DOTS(s32, u32, 1, 0) DOTS(s32, s32, 1, 1)

#define SCMP(T, k)                                                                                  \
    CASE(setp_int, setp_eq_##T, k, T, u32, a == b) CASE(setp_int, setp_ne_##T, k, T, u32, a != b)   \
    CASE(setp_int, setp_lt_##T, k, T, u32, a < b) CASE(setp_int, setp_ge_##T, k, T, u32, a >= b)
#define SCMP2(T, k) SCMP(T, k) CASE(setp_int, setp_le_##T, k, T, u32, a <= b) CASE(setp_int, setp_gt_##T, k, T, u32, a > b)
#define UCMP(T, k)                                                                                  \
    SCMP(T, k) CASE(setp_int, setp_lo_##T, k, T, u32, a < b) CASE(setp_int, setp_ls_##T, k, T, u32, a <= b) \
    CASE(setp_int, setp_hi_##T, k, T, u32, a > b) CASE(setp_int, setp_hs_##T, k, T, u32, a >= b)
SCMP2(s16, "HH") SCMP2(s32, "ii") SCMP2(s64, "ll") UCMP(u16, "HH") UCMP(u32, "ii") UCMP(u64, "ll")
CASE(setp_int, setp_eq_b16, "HH", u16, u32, a == b) CASE(setp_int, setp_eq_b32, "ii", u32, u32, a == b)
CASE(setp_int, setp_eq_b64, "ll", u64, u32, a == b) CASE(setp_int, setp_pair_s32, "ii", s32, u32, a < b ? 1 : 2)
#define BOOLS(T, k)                                                                                 \
    CASE(setp_bool, setp_lt_and_##T, k, T, u32, (a < b) & NEG2) CASE(setp_bool, setp_lt_or_##T, k, T, u32, (a < b) | NEG2) \
    CASE(setp_bool, setp_lt_xor_##T, k, T, u32, (a < b) ^ NEG2)
BOOLS(s16, "HHi") BOOLS(u16, "HHi") BOOLS(s32, "iii") BOOLS(u32, "iii") BOOLS(s64, "lli") BOOLS(u64, "lli") BOOLS(f32, "ffi") BOOLS(f64, "ddi")
CASE(setp_bool, setp_lt_and_not_s32, "iii", s32, u32, a < b && !NEG2)
CASE(set, set_lt_u32_s32, "ii", s32, u32, a < b ? ~0u : 0) CASE(set, set_gt_f32_u32, "ii", u32, u32, a > b ? 0x3f800000 : 0)
CASE(set, set_le_u32_f32, "ff", f32, u32, a <= b ? ~0u : 0) CASE(set, set_neu_f32_f32, "ff", f32, u32, a != b ? 0x3f800000 : 0)
CASE(set, set_eq_s32_u64, "ll", u64, u32, a == b ? ~0u : 0)
CASE(set, set_lt_and_u32_s32, "iii", s32, u32, a < b && NEG2 ? ~0u : 0)
CASE(set, set_lt_or_u32_f32, "ffi", f32, u32, a < b || NEG2 ? ~0u : 0)

#define CVTI_FROM(s, k)                                                                             \
    CASE(cvt_int, cvt_u8_##s, k, s, u8, a) CASE(cvt_int, cvt_s8_##s, k, s, s8, a) CASE(cvt_int, cvt_u16_##s, k, s, u16, a) \
    CASE(cvt_int, cvt_s16_##s, k, s, s16, a) CASE(cvt_int, cvt_u32_##s, k, s, u32, a) CASE(cvt_int, cvt_s32_##s, k, s, s32, a) \
    CASE(cvt_int, cvt_u64_##s, k, s, u64, a) CASE(cvt_int, cvt_s64_##s, k, s, s64, a)
CVTI_FROM(u8, "H") CVTI_FROM(s8, "H") CVTI_FROM(u16, "H") CVTI_FROM(s16, "H") CVTI_FROM(u32, "i") CVTI_FROM(s32, "i") CVTI_FROM(u64, "l") CVTI_FROM(s64, "l")
CASE(cvt_int, cvt_sat_u8_s32, "i", s32, u8, clamp(a, 0, 255)) CASE(cvt_int, cvt_sat_s8_s32, "i", s32, s8, clamp(a, -128, 127))
CASE(cvt_int, cvt_sat_s8_u32, "i", u32, s8, clamp(a, 0, 127)) CASE(cvt_int, cvt_sat_u16_s32, "i", s32, u16, clamp(a, 0, 65535))
CASE(cvt_int, cvt_sat_s16_s64, "l", s64, s16, clamp(a, -32768, 32767)) CASE(cvt_int, cvt_sat_s32_s64, "l", s64, s32, clamp(a, INT32_MIN, INT32_MAX))
CASE(cvt_int, cvt_sat_u32_s64, "l", s64, u32, clamp(a, 0, UINT32_MAX)) CASE(cvt_int, cvt_sat_s32_u32, "i", u32, s32, clamp(a, 0, INT32_MAX))
CASE(cvt_int, cvt_sat_u32_s32, "i", s32, u32, clamp(a, 0, UINT32_MAX))
CASE(cvt_int, cvt_wide_s8, "i", s32, s32, (s8)a) CASE(cvt_int, cvt_wide_u8, "i", u32, u32, (u8)a)

CASE(carry, add_cc_u32, "ll", u64, u64, a + b) CASE(carry, add_cc_s32, "ll", u64, u64, a + b)
CASE(carry, sub_cc_u32, "ll", u64, u64, a - b) CASE(carry, sub_cc_s32, "ll", u64, u64, a - b)
CASE(carry, addc_cc_u32, "ll", u64, u32, a + b < a) CASE(carry, subc_cc_u32, "ll", u64, u32, a < b ? ~0u : 0)
CASE(carry, add_cc_u64, "lll", u64, u64, c + (a + b < a)) CASE(carry, sub_cc_s64, "lll", u64, u64, c - (a < b))
CASE(carry, sub_cc_addc_u32, "ii", u32, u32, a >= b) CASE(carry, add_cc_subc_u32, "ii", u32, u32, (u32)(a + b) < a ? 0 : ~0u)
CASE(carry, sub_cc_addc_u64, "ll", u64, u64, a >= b) CASE(carry, add_cc_subc_u64, "ll", u64, u64, a + b < a ? 0 : ~(u64)0)
/* what subc.cc leaves is a carry again: set when a + b's carry, as it came in, was enough to borrow nothing */
CASE(carry, add_cc_subc_cc_u32, "iii", u32, u32, ((u64)a + b) >> 32 ? 1 : c != 0)
CASE(carry, mad_cc_u32, "iil", u32, u64, (u64)a * b + x[2]) CASE(carry, madc_cc_u32, "iil", u32, u32, (u64)a * b + x[2] < x[2])
CASE(carry, mad_hi_cc_u32, "iii", u32, u32, (u64)a * b + ((((u64)a * b >> 32) + c) >> 32))

CASE(selp, selp_s16, "HHi", u16, u16, NEG2 ? a : b) CASE(selp, selp_s64, "lli", u64, u64, NEG2 ? a : b)
CASE(setp_int, setp_le_u16, "HH", u16, u32, a <= b) CASE(setp_int, setp_le_u32, "ii", u32, u32, a <= b) CASE(setp_int, setp_le_u64, "ll", u64, u32, a <= b)
CASE(setp_int, setp_gt_u16, "HH", u16, u32, a > b) CASE(setp_int, setp_gt_u32, "ii", u32, u32, a > b) CASE(setp_int, setp_gt_u64, "ll", u64, u32, a > b)
/* compare, then combine with a predicate: every comparison with and, eq and lt with or and xor (float.h has the rest) */
#define SB(c, T, t, k, expr)                                                                        \
    CASE(setp_bool, setp_##c##_and_##t, k, T, u32, (expr) & NEG2)
#define SB_EQ(T, t, k)                                                                              \
    CASE(setp_bool, setp_eq_or_##t, k, T, u32, (a == b) | NEG2) CASE(setp_bool, setp_eq_xor_##t, k, T, u32, (a == b) ^ NEG2) \
    SB(eq, T, t, k, a == b) SB(ne, T, t, k, a != b)
#define SB_S(T, k) SB_EQ(T, T, k) SB(le, T, T, k, a <= b) SB(gt, T, T, k, a > b) SB(ge, T, T, k, a >= b)
#define SB_U(T, k) SB_EQ(T, T, k) SB(ge, T, T, k, a >= b) SB(lo, T, T, k, a < b) SB(ls, T, T, k, a <= b) SB(hi, T, T, k, a > b) SB(hs, T, T, k, a >= b)
SB_S(s16, "HHi") SB_S(s32, "iii") SB_S(s64, "lli") SB_U(u16, "HHi") SB_U(u32, "iii") SB_U(u64, "lli")
SB_EQ(u16, b16, "HHi") SB_EQ(u32, b32, "iii") SB_EQ(u64, b64, "lli")
