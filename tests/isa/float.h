/* float.h: cases of floating-point instructions. FCASE: NaNs of any kind agree, all else bit for bit; HCASE
 * the same for each f16 half, BCASE for each bf16 half. NEAR: |got - d| <= rel * |d| + tiny, d in double;
 * the bounds are those of FACTS' list (PTX ISA), with half an ulp for the comparison's own rounding. */
/* clang-format off */
#define RNDS(file, op, k, expr)                                                              \
    FCASE(file, op##_rn_f32, k, f32, f32, expr(RN)) FCASE(file, op##_rz_f32, k, f32, f32, expr(RZ)) \
    FCASE(file, op##_rm_f32, k, f32, f32, expr(RM)) FCASE(file, op##_rp_f32, k, f32, f32, expr(RP))
#define E_ADD(m) r_add(m, a, b)
#define E_SUB(m) r_add(m, a, -b)
#define E_MUL(m) r_mul(m, a, b)
#define E_DIV(m) r_div(m, a, b)
#define E_FMA(m) r_fma(m, a, b, c)
#define E_RCP(m) r_div(m, 1, a)
#define E_SQRT(m) r_sqrt(m, a)
RNDS(add_f32, add, "ff", E_ADD) RNDS(add_f32, sub, "ff", E_SUB) RNDS(mul_f32, mul, "ff", E_MUL) RNDS(fma_f32, fma, "fff", E_FMA)
RNDS(div_f32, div, "ff", E_DIV) RNDS(rcp, rcp, "f", E_RCP) RNDS(sqrt, sqrt, "f", E_SQRT)
FCASE(add_f32, add_f32, "ff", f32, f32, a + b) FCASE(add_f32, sub_f32, "ff", f32, f32, a - b)
FCASE(add_f32, add_ftz_f32, "ff", f32, f32, fz(fz(a) + fz(b))) FCASE(add_f32, sub_ftz_f32, "ff", f32, f32, fz(fz(a) - fz(b)))
FCASE(add_f32, add_sat_f32, "ff", f32, f32, sat(a + b)) FCASE(add_f32, sub_sat_f32, "ff", f32, f32, sat(a - b))
FCASE(add_f32, add_rn_ftz_sat_f32, "ff", f32, f32, sat(fz(fz(a) + fz(b)))) FCASE(add_f32, sub_rn_ftz_sat_f32, "ff", f32, f32, sat(fz(fz(a) - fz(b))))
FCASE(mul_f32, mul_f32, "ff", f32, f32, a * b) FCASE(mul_f32, mul_ftz_f32, "ff", f32, f32, fz(fz(a) * fz(b)))
FCASE(mul_f32, mul_sat_f32, "ff", f32, f32, sat(a * b))
FCASE(fma_f32, fma_rn_ftz_f32, "fff", f32, f32, fz(fmaf(fz(a), fz(b), fz(c)))) FCASE(fma_f32, fma_rn_sat_f32, "fff", f32, f32, sat(fmaf(a, b, c)))
FCASE(fma_f32, fma_rm_ftz_f32, "fff", f32, f32, fz(r_fma(RM, fz(a), fz(b), fz(c)))) FCASE(fma_f32, mad_rn_f32, "fff", f32, f32, fmaf(a, b, c))
FCASE(minmax_f32, min_f32, "ff", f32, f32, fmn(a, b, 0)) FCASE(minmax_f32, max_f32, "ff", f32, f32, fmx(a, b, 0))
FCASE(minmax_f32, min_ftz_f32, "ff", f32, f32, fmn(fz(a), fz(b), 0)) FCASE(minmax_f32, max_ftz_f32, "ff", f32, f32, fmx(fz(a), fz(b), 0))
FCASE(minmax_f32, min_NaN_f32, "ff", f32, f32, fmn(a, b, 1)) FCASE(minmax_f32, max_NaN_f32, "ff", f32, f32, fmx(a, b, 1))
FCASE(abs_neg_f32, abs_f32, "f", f32, f32, fabsf(a)) FCASE(abs_neg_f32, abs_ftz_f32, "f", f32, f32, fabsf(fz(a)))
FCASE(abs_neg_f32, neg_f32, "f", f32, f32, -a) FCASE(abs_neg_f32, neg_ftz_f32, "f", f32, f32, -fz(a))
FCASE(abs_neg_f32, copysign_f32, "ff", f32, f32, copysignf(b, a))
FCASE(div_f32, div_rn_ftz_f32, "ff", f32, f32, fz(fz(a) / fz(b)))
/* flushed before it is rounded: just above 2^126 .rm and .rp give 0, not 2^-126 */
#define RCP_FTZ(m, a) (fabs(1 / (f64)fz(a)) < 0x1p-126 ? copysignf(0, a) : fz(r_div(m, 1, fz(a))))
FCASE(rcp, rcp_rz_ftz_f32, "f", f32, f32, RCP_FTZ(RZ, a)) FCASE(rcp, rcp_rm_ftz_f32, "f", f32, f32, RCP_FTZ(RM, a)) FCASE(rcp, rcp_rp_ftz_f32, "f", f32, f32, RCP_FTZ(RP, a))
FCASE(rcp, rcp_rn_ftz_f32, "f", f32, f32, fz(1 / fz(a))) FCASE(sqrt, sqrt_rn_ftz_f32, "f", f32, f32, sqrtf(fz(a)))

#define TINY 0x1p-148          /* an ulp among subnormals, and a half */
#define FLUSHED 0x1.00001p-126 /* where .ftz may give 0 */
#define ULP2 0x1.8p-22         /* 2 ulp of any mantissa is at most 2^-22 */
NEAR(div_approx, div_approx_f32, "gg", f32, f32, ULP2, FLUSHED, (f64)a / b) NEAR(div_approx, div_approx_ftz_f32, "gg", f32, f32, ULP2, FLUSHED, (f64)a / b)
NEAR(div_approx, div_full_f32, "gg", f32, f32, ULP2, FLUSHED, (f64)a / b) NEAR(div_approx, div_full_ftz_f32, "gg", f32, f32, ULP2, FLUSHED, (f64)a / b)
NEAR(rcp, rcp_approx_f32, "f", f32, f32, 0x1.8p-23, TINY, 1 / (f64)a) NEAR(rcp, rcp_approx_ftz_f32, "f", f32, f32, 0x1.8p-23, FLUSHED, 1 / (f64)fz(a))
NEAR(sqrt, sqrt_approx_f32, "f", f32, f32, 0x1.8p-23, TINY, sqrt((f64)a)) NEAR(sqrt, sqrt_approx_ftz_f32, "f", f32, f32, 0x1.8p-23, TINY, sqrt((f64)fz(a)))
NEAR(rsqrt, rsqrt_approx_f32, "f", f32, f32, 0x1.8p-23, TINY, 1 / sqrt((f64)a)) NEAR(rsqrt, rsqrt_approx_ftz_f32, "f", f32, f32, 0x1.8p-23, TINY, 1 / sqrt((f64)fz(a)))
NEAR(ex2, ex2_approx_f32, "f", f32, f32, ULP2, TINY, exp2((f64)a)) NEAR(ex2, ex2_approx_ftz_f32, "f", f32, f32, ULP2, FLUSHED, exp2((f64)fz(a)))
NEAR(lg2, lg2_approx_f32, "f", f32, f32, 0x1.8p-22, 0x1p-22, log2((f64)a)) NEAR(lg2, lg2_approx_ftz_f32, "f", f32, f32, 0x1.8p-22, 0x1p-22, log2((f64)fz(a)))
NEAR(sincos, sin_approx_f32, "c", f32, f32, 0, 0x1.8p-21, sin((f64)a)) NEAR(sincos, sin_approx_ftz_f32, "c", f32, f32, 0, 0x1.8p-21, sin((f64)a))
NEAR(sincos, cos_approx_f32, "c", f32, f32, 0, 0x1.8p-21, cos((f64)a)) NEAR(sincos, cos_approx_ftz_f32, "c", f32, f32, 0, 0x1.8p-21, cos((f64)a))
NEAR(tanh, tanh_approx_f32, "f", f32, f32, 0x1.08p-11, TINY, tanh((f64)a))

#define TESTP(T, k)                                                                                \
    /* a zero is a normal number to a GPU */                                                       \
    CASE(testp, testp_finite_##T, k, T, u32, isfinite(a) != 0) CASE(testp, testp_infinite_##T, k, T, u32, isinf(a) != 0) \
    CASE(testp, testp_number_##T, k, T, u32, !isnan(a)) CASE(testp, testp_notanumber_##T, k, T, u32, isnan(a) != 0)      \
    CASE(testp, testp_normal_##T, k, T, u32, isnormal(a) || a == 0) CASE(testp, testp_subnormal_##T, k, T, u32, fpclassify(a) == FP_SUBNORMAL)
TESTP(f32, "f") TESTP(f64, "d")
FCASE(f64, add_f64, "dd", f64, f64, a + b) FCASE(f64, sub_f64, "dd", f64, f64, a - b) FCASE(f64, mul_f64, "dd", f64, f64, a * b)
FCASE(f64, min_f64, "dd", f64, f64, fmn(a, b, 0)) FCASE(f64, max_f64, "dd", f64, f64, fmx(a, b, 0)) FCASE(f64, copysign_f64, "dd", f64, f64, copysign(b, a))
FCASE(f64, fma_rn_f64, "ddd", f64, f64, fma(a, b, c)) FCASE(f64, div_rn_f64, "dd", f64, f64, a / b)
FCASE(f64, sqrt_rn_f64, "d", f64, f64, sqrt(a)) FCASE(f64, rcp_rn_f64, "d", f64, f64, 1 / a)
FCASE(f64, abs_f64, "d", f64, f64, fabs(a)) FCASE(f64, neg_f64, "d", f64, f64, -a)
NEAR(f64, rcp_approx_ftz_f64, "D", f64, f64, 0x1p-20, 0, 1 / a) NEAR(f64, rsqrt_approx_f64, "D", f64, f64, 0x1p-20, 0, 1 / sqrt(a))

/* f16 and bf16: one value, or the same on each half of a pair */
#define PAIR1(fn) ((u32)fn(a & 0xffff) | (u32)fn(a >> 16) << 16)
#define PAIR2(fn) ((u32)fn(a & 0xffff, b & 0xffff) | (u32)fn(a >> 16, b >> 16) << 16)
#define PAIR3(fn) ((u32)fn(a & 0xffff, b & 0xffff, c & 0xffff) | (u32)fn(a >> 16, b >> 16, c >> 16) << 16)
#define H_ADD(p, q) H(HV(p) + HV(q))
#define H_SUB(p, q) H(HV(p) - HV(q))
#define H_MUL(p, q) H(HV(p) * HV(q))
#define H_ADDSAT(p, q) H(satd(HV(H_ADD(p, q))))
#define H_FMA(p, q, r) H(add_odd(HV(p) * HV(q), HV(r)))
#define H_FMASAT(p, q, r) H(satd(HV(H_FMA(p, q, r))))
#define H_FMARELU(p, q, r) H(relu(HV(H_FMA(p, q, r))))
#define H_MIN(p, q) H(fmn(HV(p), HV(q), 0))
#define H_MAX(p, q) H(fmx(HV(p), HV(q), 0))
#define H_MINN(p, q) H(fmn(HV(p), HV(q), 1))
#define H_MAXN(p, q) H(fmx(HV(p), HV(q), 1))
#define H_ABS(p) ((p) & 0x7fff)
#define H_NEG(p) ((p) ^ 0x8000)
#define H_MULZ(p, q) h_fz(H(HV(h_fz(p)) * HV(h_fz(q))))
#define HALVES2(file, op, fn) HCASE(file, op##_f16, "ee", u16, u16, fn(a, b)) HCASE(file, op##_f16x2, "EE", u32, u32, PAIR2(fn))
#define HALVES1(file, op, fn) HCASE(file, op##_f16, "e", u16, u16, fn(a)) HCASE(file, op##_f16x2, "E", u32, u32, PAIR1(fn))
#define HALVES3(file, op, fn) HCASE(file, op##_f16, "eee", u16, u16, fn(a, b, c)) HCASE(file, op##_f16x2, "EEE", u32, u32, PAIR3(fn))
HALVES2(f16, add, H_ADD) HALVES2(f16, sub, H_SUB) HALVES2(f16, mul, H_MUL) HALVES2(f16, add_sat, H_ADDSAT) HALVES2(f16, mul_ftz, H_MULZ)
HALVES3(f16, fma_rn, H_FMA) HALVES3(f16, fma_rn_sat, H_FMASAT) HALVES3(f16, fma_rn_relu, H_FMARELU)
HALVES1(f16, abs, H_ABS) HALVES1(f16, neg, H_NEG)
HALVES2(f16_minmax, min, H_MIN) HALVES2(f16_minmax, max, H_MAX) HALVES2(f16_minmax, min_NaN, H_MINN) HALVES2(f16_minmax, max_NaN, H_MAXN)
#define H_EX2(p) H(exp2(HV(p)))
#define H_TANH(p) H(tanh(HV(p)))
/* 2^-9.9 and 2^-10.987, relative; a rounding to f16 besides */
HNEAR(f16, ex2_f16, "e", u16, u16, 0x1.8p-9, 0x1p-24, H_EX2(a)) HNEAR(f16, ex2_f16x2, "E", u32, u32, 0x1.8p-9, 0x1p-24, PAIR1(H_EX2))
HNEAR(tanh_f16, tanh_f16, "e", u16, u16, 0x1p-9, 0x1p-24, H_TANH(a)) HNEAR(tanh_f16, tanh_f16x2, "E", u32, u32, 0x1p-9, 0x1p-24, PAIR1(H_TANH))
#define B_ADD(p, q) BF(add_odd(BV(p), BV(q)))
#define B_SUB(p, q) BF(add_odd(BV(p), -BV(q)))
#define B_MUL(p, q) BF(BV(p) * BV(q))
#define B_FMA(p, q, r) BF(add_odd(BV(p) * BV(q), BV(r)))
#define B_FMARELU(p, q, r) BF(relu(BV(B_FMA(p, q, r))))
#define B_MIN(p, q) BF(fmn(BV(p), BV(q), 0))
#define B_MAX(p, q) BF(fmx(BV(p), BV(q), 0))
#define B_MINN(p, q) BF(fmn(BV(p), BV(q), 1))
#define B_MAXN(p, q) BF(fmx(BV(p), BV(q), 1))
#define BS2(file, op, fn) BCASE(file, op##_bf16, "rr", u16, u16, fn(a, b)) BCASE(file, op##_bf16x2, "RR", u32, u32, PAIR2(fn))
#define BS1(file, op, fn) BCASE(file, op##_bf16, "r", u16, u16, fn(a)) BCASE(file, op##_bf16x2, "R", u32, u32, PAIR1(fn))
#define BS3(file, op, fn) BCASE(file, op##_bf16, "rrr", u16, u16, fn(a, b, c)) BCASE(file, op##_bf16x2, "RRR", u32, u32, PAIR3(fn))
BS3(bf16, fma_rn, B_FMA) BS3(bf16, fma_rn_relu, B_FMARELU) BS1(bf16, abs, H_ABS) BS1(bf16, neg, H_NEG)
BS2(bf16_sm90, add, B_ADD) BS2(bf16_sm90, sub, B_SUB) BS2(bf16_sm90, mul, B_MUL)
BS2(bf16_minmax, min, B_MIN) BS2(bf16_minmax, max, B_MAX) BS2(bf16_minmax, min_NaN, B_MINN) BS2(bf16_minmax, max_NaN, B_MAXN)

/* comparisons: ordered ones are false with a NaN, the ...u ones true */
#define FC14(file, T, t, k, V)                                                                      \
    CASE(file, setp_eq_##t, k, T, u32, V(a) == V(b)) CASE(file, setp_ne_##t, k, T, u32, V(a) < V(b) || V(a) > V(b))             \
    CASE(file, setp_lt_##t, k, T, u32, V(a) < V(b)) CASE(file, setp_le_##t, k, T, u32, V(a) <= V(b))                            \
    CASE(file, setp_gt_##t, k, T, u32, V(a) > V(b)) CASE(file, setp_ge_##t, k, T, u32, V(a) >= V(b))                            \
    CASE(file, setp_equ_##t, k, T, u32, !(V(a) < V(b) || V(a) > V(b))) CASE(file, setp_neu_##t, k, T, u32, V(a) != V(b))        \
    CASE(file, setp_ltu_##t, k, T, u32, !(V(a) >= V(b))) CASE(file, setp_leu_##t, k, T, u32, !(V(a) > V(b)))                    \
    CASE(file, setp_gtu_##t, k, T, u32, !(V(a) <= V(b))) CASE(file, setp_geu_##t, k, T, u32, !(V(a) < V(b)))                    \
    CASE(file, setp_num_##t, k, T, u32, !isnan(V(a)) && !isnan(V(b))) CASE(file, setp_nan_##t, k, T, u32, isnan(V(a)) || isnan(V(b)))
#define SELF(v) (v)
FC14(setp_float, f32, f32, "ff", SELF) FC14(setp_float, f64, f64, "dd", SELF)
FC14(setp_f16, u16, f16, "ee", HV) FC14(setp_f16_sm90, u16, bf16, "rr", BV)
CASE(setp_float, setp_lt_ftz_f32, "ff", f32, u32, fz(a) < fz(b))
#define LT1(p, q) (HV(p) < HV(q) ? 0x3c00 : 0)
CASE(set_f16, set_lt_f16x2, "EE", u32, u32, PAIR2(LT1)) CASE(set_f16, set_geu_f16, "ee", u16, u16, !(HV(a) < HV(b)) ? 0x3c00 : 0)

/* conversions */
#define F2I(m, M)                                                                                   \
    CASE(cvt_f2i, cvt_##m##_s32_f32, "f", f32, u32, f2i(a, M, 32, 1, 0)) CASE(cvt_f2i, cvt_##m##_u32_f32, "f", f32, u32, f2i(a, M, 32, 0, 0)) \
    CASE(cvt_f2i, cvt_##m##_s64_f32, "f", f32, u64, f2i(a, M, 64, 1, 0)) CASE(cvt_f2i, cvt_##m##_u64_f32, "f", f32, u64, f2i(a, M, 64, 0, 0))
F2I(rni, NI) F2I(rzi, ZI) F2I(rmi, MI) F2I(rpi, PI_)
CASE(cvt_f2i, cvt_rni_sat_s8_f32, "f", f32, u8, f2i(a, NI, 8, 1, 0)) CASE(cvt_f2i, cvt_rni_sat_u8_f32, "f", f32, u8, f2i(a, NI, 8, 0, 0))
CASE(cvt_f2i, cvt_rni_sat_s16_f32, "f", f32, u16, f2i(a, NI, 16, 1, 0)) CASE(cvt_f2i, cvt_rni_sat_u16_f32, "f", f32, u16, f2i(a, NI, 16, 0, 0))
CASE(cvt_f2i, cvt_rzi_ftz_s32_f32, "f", f32, u32, f2i(a, ZI, 32, 1, 0))
#define D2I(m, M)                                                                                   \
    CASE(cvt_f2i, cvt_##m##_s32_f64, "d", f64, u32, f2i(a, M, 32, 1, 1)) CASE(cvt_f2i, cvt_##m##_u32_f64, "d", f64, u32, f2i(a, M, 32, 0, 1)) \
    CASE(cvt_f2i, cvt_##m##_s64_f64, "d", f64, u64, f2i(a, M, 64, 1, 1)) CASE(cvt_f2i, cvt_##m##_u64_f64, "d", f64, u64, f2i(a, M, 64, 0, 1)) \
    CASE(cvt_f2i, cvt_##m##_s16_f16, "e", u16, u16, f2i(HV(a), M, 16, 1, 0)) CASE(cvt_f2i, cvt_##m##_u16_f16, "e", u16, u16, f2i(HV(a), M, 16, 0, 0)) \
    CASE(cvt_f2i, cvt_##m##_s32_f16, "e", u16, u32, f2i(HV(a), M, 32, 1, 0)) CASE(cvt_f2i, cvt_##m##_u32_f16, "e", u16, u32, f2i(HV(a), M, 32, 0, 0))
D2I(rni, NI) D2I(rzi, ZI)
#define I2F(m, M)                                                                                   \
    FCASE(cvt_i2f, cvt_##m##_f32_s32, "i", s32, f32, r_s64(M, a)) FCASE(cvt_i2f, cvt_##m##_f32_u32, "i", u32, f32, r_s64(M, a)) \
    FCASE(cvt_i2f, cvt_##m##_f32_s64, "l", s64, f32, r_s64(M, a)) FCASE(cvt_i2f, cvt_##m##_f32_u64, "l", u64, f32, r_u64(M, a)) \
    FCASE(cvt_f2f, cvt_##m##_f32_f64, "d", f64, f32, r_f64(M, a))
I2F(rn, RN) I2F(rz, RZ) I2F(rm, RM) I2F(rp, RP)
FCASE(cvt_i2f, cvt_rn_f32_s8, "H", s8, f32, a) FCASE(cvt_i2f, cvt_rn_f32_u8, "H", u8, f32, a)
FCASE(cvt_i2f, cvt_rn_f32_s16, "H", s16, f32, a) FCASE(cvt_i2f, cvt_rn_f32_u16, "H", u16, f32, a)
FCASE(cvt_i2f, cvt_rn_f64_s32, "i", s32, f64, a) FCASE(cvt_i2f, cvt_rn_f64_u32, "i", u32, f64, a)
FCASE(cvt_i2f, cvt_rn_f64_s64, "l", s64, f64, a) FCASE(cvt_i2f, cvt_rn_f64_u64, "l", u64, f64, a)
HCASE(cvt_i2f, cvt_rn_f16_s16, "H", s16, u16, H(a)) HCASE(cvt_i2f, cvt_rn_f16_u16, "H", u16, u16, H(a))
HCASE(cvt_i2f, cvt_rn_f16_s32, "i", s32, u16, H(a)) HCASE(cvt_i2f, cvt_rn_f16_u32, "i", u32, u16, H(a))
FCASE(cvt_f2f, cvt_rni_f32_f32, "f", f32, f32, nearbyintf(a)) FCASE(cvt_f2f, cvt_rzi_f32_f32, "f", f32, f32, truncf(a))
FCASE(cvt_f2f, cvt_rmi_f32_f32, "f", f32, f32, floorf(a)) FCASE(cvt_f2f, cvt_rpi_f32_f32, "f", f32, f32, ceilf(a))
FCASE(cvt_f2f, cvt_sat_f32_f32, "f", f32, f32, sat(a)) FCASE(cvt_f2f, cvt_ftz_f32_f32, "f", f32, f32, fz(a))
FCASE(cvt_f2f, cvt_rmi_f64_f64, "d", f64, f64, floor(a)) HCASE(cvt_f2f, cvt_rni_f16_f16, "e", u16, u16, H(nearbyint(HV(a))))
FCASE(cvt_f2f, cvt_f64_f32, "f", f32, f64, a)
FCASE(cvt_f16, cvt_f32_f16, "e", u16, f32, HV(a)) FCASE(cvt_f16, cvt_f64_f16, "e", u16, f64, HV(a))
HCASE(cvt_f16, cvt_rn_f16_f32, "f", f32, u16, H(a)) HCASE(cvt_f16, cvt_rz_f16_f32, "f", f32, u16, small_bits(a, 5, 10, 1))
BCASE(cvt_f16, cvt_rn_bf16_f32, "f", f32, u16, BF(a)) BCASE(cvt_f16, cvt_rz_bf16_f32, "f", f32, u16, small_bits(a, 8, 7, 1))
BCASE(cvt_f16, cvt_rn_relu_bf16_f32, "f", f32, u16, BF(relu(a))) HCASE(cvt_f16, cvt_rn_relu_f16_f32, "f", f32, u16, H(relu(a)))
HCASE(cvt_f16, cvt_rn_f16_f64, "d", f64, u16, H(a))
FCASE(cvt_f16, cvt_rna_tf32_f32, "f", f32, f32, isfinite(a) ? bits_f((f_bits(a) + 0x1000) & ~0x1fffu) : a)
FCASE(cvt_f16_sm90, cvt_f32_bf16, "r", u16, f32, BV(a))
HCASE(cvt_pair, cvt_rn_f16x2_f32, "ff", f32, u32, (u32)H(a) << 16 | H(b))
HCASE(cvt_pair, cvt_rz_f16x2_f32, "ff", f32, u32, small_bits(a, 5, 10, 1) << 16 | small_bits(b, 5, 10, 1))
HCASE(cvt_pair, cvt_rn_relu_f16x2_f32, "ff", f32, u32, (u32)H(relu(a)) << 16 | H(relu(b)))
BCASE(cvt_pair, cvt_rn_bf16x2_f32, "ff", f32, u32, (u32)BF(a) << 16 | BF(b))
BCASE(cvt_pair, cvt_rz_bf16x2_f32, "ff", f32, u32, small_bits(a, 8, 7, 1) << 16 | small_bits(b, 8, 7, 1))
BCASE(cvt_pair, cvt_rn_relu_bf16x2_f32, "ff", f32, u32, (u32)BF(relu(a)) << 16 | BF(relu(b)))

/* the rest of each form's modifiers */
#define SB_F(T, k)                                                                                  \
    CASE(setp_bool, setp_eq_or_##T, k, T, u32, (a == b) | NEG2) CASE(setp_bool, setp_eq_xor_##T, k, T, u32, (a == b) ^ NEG2)  \
    SB(eq, T, T, k, a == b) SB(ne, T, T, k, a < b || a > b) SB(le, T, T, k, a <= b) SB(gt, T, T, k, a > b) SB(ge, T, T, k, a >= b) \
    SB(equ, T, T, k, !(a < b || a > b)) SB(neu, T, T, k, a != b) SB(ltu, T, T, k, !(a >= b)) SB(leu, T, T, k, !(a > b))           \
    SB(gtu, T, T, k, !(a <= b)) SB(geu, T, T, k, !(a < b)) SB(num, T, T, k, !isnan(a) && !isnan(b)) SB(nan, T, T, k, isnan(a) || isnan(b))
SB_F(f32, "ffi") SB_F(f64, "ddi")
CASE(setp_bool, setp_lt_and_ftz_f32, "ffi", f32, u32, (fz(a) < fz(b)) & NEG2) CASE(setp_bool, setp_lt_or_ftz_f32, "ffi", f32, u32, (fz(a) < fz(b)) | NEG2)
CASE(setp_bool, setp_lt_xor_ftz_f32, "ffi", f32, u32, (fz(a) < fz(b)) ^ NEG2)
FCASE(f64, mad_rn_f64, "ddd", f64, f64, fma(a, b, c)) FCASE(f64, add_rn_f64, "dd", f64, f64, a + b) FCASE(f64, sub_rn_f64, "dd", f64, f64, a - b)
FCASE(f64, mul_rn_f64, "dd", f64, f64, a * b)
FCASE(fma_f32, mad_rz_ftz_f32, "fff", f32, f32, fz(r_fma(RZ, fz(a), fz(b), fz(c)))) FCASE(fma_f32, mad_rp_sat_f32, "fff", f32, f32, sat(r_fma(RP, a, b, c)))
#define H_ADDZ(p, q) h_fz(H(HV(h_fz(p)) + HV(h_fz(q))))
#define H_SUBZ(p, q) h_fz(H(HV(h_fz(p)) - HV(h_fz(q))))
#define H_SUBSAT(p, q) H(satd(HV(H_SUB(p, q))))
#define H_MULSAT(p, q) H(satd(HV(H_MUL(p, q))))
#define H_FMAZ(p, q, r) h_fz(H(add_odd(HV(h_fz(p)) * HV(h_fz(q)), HV(h_fz(r)))))
#define H_ABSZ(p) H_ABS(h_fz(p))
#define H_NEGZ(p) H_NEG(h_fz(p))
#define H_MINZ(p, q) H_MIN(h_fz(p), h_fz(q))
#define H_MAXZ(p, q) H_MAX(h_fz(p), h_fz(q))
HALVES2(f16, add_ftz, H_ADDZ) HALVES2(f16, sub_ftz, H_SUBZ) HALVES2(f16, sub_sat, H_SUBSAT) HALVES2(f16, mul_sat, H_MULSAT) HALVES2(f16, add_rn, H_ADD)
HALVES3(f16, fma_rn_ftz, H_FMAZ) HALVES1(f16, abs_ftz, H_ABSZ) HALVES1(f16, neg_ftz, H_NEGZ) HALVES2(f16_minmax, min_ftz, H_MINZ) HALVES2(f16_minmax, max_ftz, H_MAXZ)
FCASE(cvt_f2f, cvt_rn_ftz_f32_f64, "d", f64, f32, fz((f32)a)) FCASE(cvt_f2f, cvt_rn_sat_f32_f64, "d", f64, f32, satd(a))
FCASE(cvt_f2f, cvt_ftz_f64_f32, "f", f32, f64, fz(a)) FCASE(cvt_f2f, cvt_sat_f64_f32, "f", f32, f64, sat(a))
FCASE(cvt_f2f, cvt_rni_f64_f64, "d", f64, f64, nearbyint(a)) FCASE(cvt_f2f, cvt_rzi_f64_f64, "d", f64, f64, trunc(a))
FCASE(cvt_f2f, cvt_rpi_f64_f64, "d", f64, f64, ceil(a)) FCASE(cvt_f2f, cvt_sat_f64_f64, "d", f64, f64, satd(a))
HCASE(cvt_f2f, cvt_rzi_f16_f16, "e", u16, u16, H(trunc(HV(a)))) HCASE(cvt_f2f, cvt_rmi_f16_f16, "e", u16, u16, H(floor(HV(a))))
HCASE(cvt_f2f, cvt_rpi_f16_f16, "e", u16, u16, H(ceil(HV(a)))) HCASE(cvt_f2f, cvt_sat_f16_f16, "e", u16, u16, H(satd(HV(a))))
FCASE(cvt_f2f, cvt_rzi_sat_f32_f32, "f", f32, f32, sat(truncf(a)))
FCASE(cvt_f16, cvt_sat_f32_f16, "e", u16, f32, satd(HV(a))) HCASE(cvt_f16, cvt_rn_sat_f16_f32, "f", f32, u16, H(sat(a)))
HCASE(cvt_f16, cvt_rn_ftz_f16_f32, "f", f32, u16, H(fz(a)))
/* .ftz does not reach a subnormal that becomes an f16 */
HCASE(cvt_f16, cvt_rm_ftz_f16_f32, "f", f32, u16, h_directed(a, 0)) HCASE(cvt_f16, cvt_rp_ftz_f16_f32, "f", f32, u16, h_directed(a, 1))
HCASE(cvt_f16, cvt_rm_f16_f32, "f", f32, u16, h_directed(a, 0)) HCASE(cvt_f16, cvt_rp_f16_f32, "f", f32, u16, h_directed(a, 1))
BCASE(cvt_f16_sm90, cvt_rn_bf16_f16, "e", u16, u16, BF(HV(a))) BCASE(cvt_f16_sm90, cvt_rz_bf16_f64, "d", f64, u16, small_bits(a, 8, 7, 1))
CASE(cvt_f2i_sm90, cvt_rni_s32_bf16, "r", u16, u32, f2i(BV(a), NI, 32, 1, 0)) CASE(cvt_f2i_sm90, cvt_rni_u32_bf16, "r", u16, u32, f2i(BV(a), NI, 32, 0, 0))
CASE(cvt_f2i_sm90, cvt_rzi_s32_bf16, "r", u16, u32, f2i(BV(a), ZI, 32, 1, 0)) CASE(cvt_f2i_sm90, cvt_rzi_u32_bf16, "r", u16, u32, f2i(BV(a), ZI, 32, 0, 0))
BCASE(cvt_i2f_sm90, cvt_rn_bf16_s32, "i", s32, u16, BF(a)) BCASE(cvt_i2f_sm90, cvt_rn_bf16_u16, "H", u16, u16, BF(a))
FCASE(cvt_i2f, cvt_rn_sat_f32_s32, "i", s32, f32, a > 0 ? 1 : 0)
