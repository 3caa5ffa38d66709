/* numbers.h: the arithmetic that expected values are made of, in plain C and apart from the interpreter's
 * own: exact sums in double, one rounding at the end. */
/* clang-format off */
#ifndef ISA_NUMBERS_H
#define ISA_NUMBERS_H
#include <fenv.h>
#include <math.h>
#include <stdint.h>
#include <string.h>
typedef uint8_t u8; typedef uint16_t u16; typedef uint32_t u32; typedef uint64_t u64;
typedef int8_t s8; typedef int16_t s16; typedef int32_t s32; typedef int64_t s64;
typedef float f32; typedef double f64;
typedef unsigned __int128 u128; typedef __int128 s128;
#define MAYBE static inline __attribute__((unused))

MAYBE u32 f_bits(f32 f) { u32 u; memcpy(&u, &f, 4); return u; }
MAYBE f32 bits_f(u32 u) { f32 f; memcpy(&f, &u, 4); return f; }
MAYBE u64 d_bits(f64 f) { u64 u; memcpy(&u, &f, 8); return u; }

/* Rounds x once to a small format with eb exponent and mb mantissa bits; toward zero if rz. Bits. */
MAYBE u32 small_bits(f64 x, int eb, int mb, int rz) {
    const int bias = (1 << (eb - 1)) - 1;
    const u32 sign = (u32)(d_bits(x) >> 63) << (eb + mb), inf = ((1u << eb) - 1) << mb;
    if (isnan(x)) return (1u << (eb + mb)) - 1; /* the canonical NaN */
    x = fabs(x);
    if (isinf(x)) return sign | inf;
    if (x == 0) return sign;
    int e = ilogb(x);
    if (e < 1 - bias) e = 1 - bias;
    const f64 q = ldexp(x, mb - e), m = rz ? floor(q) : nearbyint(q);
    u32 r = m >= ldexp(1, mb) ? ((u32)(e + bias) << mb) + (u32)(m - ldexp(1, mb)) : (u32)m;
    if (r >= inf) r = rz ? inf - 1 : inf;
    return sign | r;
}
MAYBE f64 small_value(u32 h, int eb, int mb) {
    const int bias = (1 << (eb - 1)) - 1;
    const u32 e = h >> mb & ((1u << eb) - 1), m = h & ((1u << mb) - 1);
    f64 v = e == (1u << eb) - 1 ? (m ? NAN : INFINITY) : e ? ldexp(m + ldexp(1, mb), (int)e - bias - mb) : ldexp(m, 1 - bias - mb);
    return h >> (eb + mb) & 1 ? -v : v;
}
#define H(v) ((u16)small_bits((v), 5, 10, 0))     /* to f16 */
#define HV(h) small_value((u16)(h), 5, 10)        /* from f16 */
#define BF(v) ((u16)small_bits((v), 8, 7, 0))     /* to bf16 */
#define BV(h) small_value((u16)(h), 8, 7)

/* To f16 toward -inf or, if up, toward +inf: toward zero, then one up in magnitude if that lost something. */
MAYBE u16 h_directed(f64 v, int up) {
    const u16 z = (u16)small_bits(v, 5, 10, 1);
    if (isnan(v) || HV(z) == v || !signbit(v) == !up) return z;
    return (u16)(z + 1);
}

/* a + b rounded to odd, so that one more rounding to a much narrower format is right. */
MAYBE f64 add_odd(f64 a, f64 b) {
    f64 s = a + b;
    if (!isfinite(s)) return s;
    const f64 bb = s - a, err = (a - (s - bb)) + (b - bb);
    if (err != 0 && !(d_bits(s) & 1)) s = nextafter(s, (err > 0) ? INFINITY : -INFINITY);
    return s;
}

/* f32 operations under a rounding mode of the host's FPU. */
enum { RN = FE_TONEAREST, RZ = FE_TOWARDZERO, RM = FE_DOWNWARD, RP = FE_UPWARD };
#define ROUNDED(T, mode, expr) { volatile T r_; fesetround(mode); r_ = (expr); fesetround(FE_TONEAREST); return r_; }
MAYBE f32 r_add(int m, f32 a, f32 b) { volatile f32 x = a, y = b; ROUNDED(f32, m, x + y) }
MAYBE f32 r_mul(int m, f32 a, f32 b) { volatile f32 x = a, y = b; ROUNDED(f32, m, x * y) }
MAYBE f32 r_div(int m, f32 a, f32 b) { volatile f32 x = a, y = b; ROUNDED(f32, m, x / y) }
MAYBE f32 r_fma(int m, f32 a, f32 b, f32 c) { volatile f32 x = a, y = b, z = c; ROUNDED(f32, m, fmaf(x, y, z)) }
MAYBE f32 r_sqrt(int m, f32 a) { volatile f32 x = a; ROUNDED(f32, m, sqrtf(x)) }
MAYBE f32 r_f64(int m, f64 a) { volatile f64 x = a; ROUNDED(f32, m, (f32)x) }
MAYBE f32 r_s64(int m, s64 a) { volatile s64 x = a; ROUNDED(f32, m, (f32)x) }
MAYBE f32 r_u64(int m, u64 a) { volatile u64 x = a; ROUNDED(f32, m, (f32)x) }
MAYBE f32 fz(f32 x) { return fpclassify(x) == FP_SUBNORMAL ? copysignf(0, x) : x; }  /* .ftz */
MAYBE f32 sat(f32 x) { return x > 0 ? (x < 1 ? x : 1) : 0; }                          /* NaN gives 0 */
MAYBE f64 satd(f64 x) { return x > 0 ? (x < 1 ? x : 1) : 0; }
MAYBE f64 relu(f64 x) { return isnan(x) ? x : x > 0 ? x : 0; }
/* min and max: a NaN loses unless nan says otherwise; -0 is below +0. */
MAYBE f64 fmn(f64 a, f64 b, int nan) {
    if (isnan(a) || isnan(b)) return nan || (isnan(a) && isnan(b)) ? NAN : isnan(a) ? b : a;
    return a < b || (a == b && signbit(a)) ? a : b;
}
MAYBE f64 fmx(f64 a, f64 b, int nan) {
    if (isnan(a) || isnan(b)) return nan || (isnan(a) && isnan(b)) ? NAN : isnan(a) ? b : a;
    return a > b || (a == b && !signbit(a)) ? a : b;
}

/* Float to integer: NaN is 0, or 1 << (bits - 1) if either side is 64 bits wide; else clamped. */
enum { NI, ZI, MI, PI_ };
MAYBE u64 f2i(f64 v, int mode, int bits, int is_signed, int src64) {
    if (isnan(v)) return src64 || bits == 64 ? (u64)1 << (bits - 1) : 0;
    v = mode == NI ? nearbyint(v) : mode == ZI ? trunc(v) : mode == MI ? floor(v) : ceil(v);
    const u64 most = is_signed ? ((u64)1 << (bits - 1)) - 1 : bits == 64 ? UINT64_MAX : ((u64)1 << bits) - 1;
    if (is_signed) {
        if (v >= ldexp(1, bits - 1)) return most;
        if (v <= -ldexp(1, bits - 1)) return ~most;
        return (u64)(s64)v;
    }
    return v <= 0 ? 0 : v >= ldexp(1, bits) ? most : (u64)v;
}

MAYBE u64 bfe(u64 a, u32 pos, u32 len, int bits, int is_signed) {
    pos &= 255;
    len &= 255;
    const u32 top = (u32)bits - 1, at = pos + len - 1 < top ? pos + len - 1 : top;
    const u64 fill = is_signed && len ? a >> at & 1 : 0;
    u64 d = 0;
    for (u32 i = 0; i <= top; i++) d |= (i < len && pos + i <= top ? a >> (pos + i) & 1 : fill) << i;
    return d;
}
MAYBE u64 bfi(u64 a, u64 b, u32 pos, u32 len, int bits) {
    pos &= 255;
    len &= 255;
    for (u32 i = 0; i < len && pos + i < (u32)bits; i++) b = (b & ~((u64)1 << (pos + i))) | (a >> i & 1) << (pos + i);
    return b;
}
MAYBE u32 bfind(u64 a, int bits, int is_signed, int shift) {
    if (is_signed && a >> (bits - 1) & 1) a = ~a;
    for (int i = bits - 1; i >= 0; i--)
        if (a >> i & 1) return (u32)(shift ? bits - 1 - i : i);
    return 0xffffffffu;
}
MAYBE u64 brev(u64 a, int bits) {
    u64 d = 0;
    for (int i = 0; i < bits; i++) d |= (a >> i & 1) << (bits - 1 - i);
    return d;
}
MAYBE u32 byte_of(u32 a, u32 b, u32 i) { return (u32)(((u64)b << 32 | a) >> (8 * (i & 7))) & 255; }
MAYBE u32 prmt(u32 a, u32 b, u32 sel) {
    u32 d = 0;
    for (int i = 0; i < 4; i++) {
        const u32 s = sel >> (4 * i) & 15, v = byte_of(a, b, s);
        d |= (s & 8 ? (v & 0x80 ? 255u : 0u) : v) << (8 * i);
    }
    return d;
}
/* The four bytes of each mode, most significant first, for selector 0..3. */
MAYBE u32 prmt_mode(const char *rows, u32 a, u32 b, u32 c) {
    u32 d = 0;
    for (int i = 0; i < 4; i++) d = d << 8 | byte_of(a, b, (u32)(rows[(c & 3) * 4 + (u32)i] - '0'));
    return d;
}
MAYBE u32 lop3(u32 a, u32 b, u32 c, u32 lut) {
    u32 d = 0;
    for (int i = 0; i < 32; i++) d |= (lut >> ((a >> i & 1) * 4 + (b >> i & 1) * 2 + (c >> i & 1)) & 1) << i;
    return d;
}
MAYBE u32 dot(u32 a, u32 b, u32 c, int n, int a_bits, int b_first, int a_signed, int b_signed) {
    u32 d = c;
    for (int i = 0; i < n; i++) {
        u32 x = a >> (a_bits * i) & ((1u << a_bits) - 1), y = b >> (8 * (i + b_first)) & 255;
        if (a_signed) x = a_bits == 8 ? (u32)(s32)(s8)x : (u32)(s32)(s16)x;
        if (b_signed) y = (u32)(s32)(s8)y;
        d += x * y;
    }
    return d;
}
MAYBE u32 h_fz(u32 h) { return (h & 0x7c00) ? h : h & 0x8000; } /* .ftz of an f16 */
MAYBE s64 clamp(s64 v, s64 lo, s64 hi) { return v < lo ? lo : v > hi ? hi : v; }
#endif
