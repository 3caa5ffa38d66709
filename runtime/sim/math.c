/* math.c: conversions in full generality, approximate functions, directed division and square root,
 * and what an atomic does to its word. Exactness: every rounding below is done on an exact value. */
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("fp-contract=off,no-strict-aliasing")
#endif
#include <math.h>
#include <stdint.h>
#include <string.h>
#include "exec.h"
#include "exec_scalar.h"
#include "ptx.h"
#if defined(__clang__)
#pragma STDC FP_CONTRACT OFF
#define IVDEP
#else
#define IVDEP
#endif
#include "exec_num.inc"

/* a / b and sqrt(a) in a direction: the nearest quotient, corrected by the sign of the exact remainder */
float qm_sim_div_dir(float a, float b, uint32_t mod) {
    float q = a / b;
    if (q != q || isinf(a) || isinf(b) || b == 0 || a == 0) return cn(q);
    double hi = (double)a / (double)b, rem = fma(-hi, (double)b, (double)a); /* exact */
    double lo = rem == 0 ? 0 : copysign(fabs(hi) * 0x1p-60, rem * (double)b);
    if (hi == 0) hi = copysign(0x1p-500, (double)a * (double)b); /* below everything: only the side matters */
    return round_dir(hi, lo, mod);
}
float qm_sim_sqrt_dir(float a, uint32_t mod) {
    float q = sqrtf(a);
    if (!(a > 0) || isinf(a)) return cn(q);
    double hi = sqrt((double)a), rem = fma(-hi, hi, (double)a);
    return round_dir(hi, rem == 0 ? 0 : copysign(hi * 0x1p-60, rem), mod);
}

/* ---- cvt ---- */
/* clang-format off */
static const struct { double lo; double hi; } irange[] = {
    [PT_U8] = {0, 255}, [PT_S8] = {-128, 127}, [PT_U16] = {0, 65535}, [PT_S16] = {-32768, 32767},
    [PT_U32] = {0, 4294967295.0}, [PT_S32] = {-2147483648.0, 2147483647.0},
    [PT_U64] = {0, 18446744073709551616.0}, [PT_S64] = {-9223372036854775808.0, 9223372036854775808.0}};
/* clang-format on */

static double round_int(double x, uint32_t mod) {
    return mod & F_RZ ? trunc(x) : mod & F_RM ? floor(x) : mod & F_RP ? ceil(x) : rint(x);
}
/* NaN gives 0, or 1 << (bits - 1) where either side has 64 bits (PTX ISA, cvt). */
static uint64_t f2i(double x, ptx_type t, int src_bytes, uint32_t mod) {
    const int bytes = ptx_types[t].bytes;
    if (x != x) return src_bytes == 8 || bytes == 8 ? 1ull << (8 * bytes - 1) : 0;
    x = round_int(x, mod);
    if (t == PT_U64) return x <= 0 ? 0 : x >= irange[t].hi ? ~0ull : (uint64_t)x;
    if (t == PT_S64)
        return x >= irange[t].hi ? (uint64_t)INT64_MAX : x < irange[t].lo ? (uint64_t)INT64_MIN : (uint64_t)(int64_t)x;
    if (x < irange[t].lo) x = irange[t].lo;
    if (x > irange[t].hi) x = irange[t].hi;
    return (uint64_t)(int64_t)x;
}
/* magnitude m * 2^e (m < 2^64, sticky bit ORed into m's lowest) to a float with p bits of precision and
 * least exponent emin (of the last subnormal bit), in a direction; returns m' and e' */
typedef struct {
    int p, emin, emax, bits, mant;
} fmt; /* emax: largest exponent of the leading bit */
static const fmt F16 = {11, -24, 15, 16, 10}, BF16 = {8, -133, 127, 16, 7}, F32_ = {24, -149, 127, 32, 23},
                 F64_ = {53, -1074, 1023, 64, 52};
static uint64_t pack(const fmt *f, int neg, uint64_t m, int e, int sticky, uint32_t mod) {
    uint64_t sign = (uint64_t)neg << (f->bits - 1), inf = ((1ull << (f->bits - 1 - f->mant)) - 1) << f->mant;
    if (!m && !sticky) return sign;
    int top = m ? 63 - __builtin_clzll(m) : -1;
    int drop = top + 1 - f->p;
    if (e + drop < f->emin) drop = f->emin - e;
    uint64_t q, half, rest;
    if (drop <= 0) {
        q = m << -drop;
        half = 0;
        rest = (uint64_t)sticky;
    } else if (drop > 64) {
        q = 0;
        half = 0;
        rest = 1;
    } else {
        q = drop == 64 ? 0 : m >> drop;
        half = m >> (drop - 1) & 1;
        rest = (m & ((1ull << (drop - 1)) - 1)) != 0 || sticky;
    }
    int up = mod & F_RZ   ? 0
             : mod & F_RM ? neg && (half || rest)
             : mod & F_RP ? !neg && (half || rest)
                          : half && (rest || (q & 1));
    q += (uint64_t)up;
    int qe = e + drop; /* value = q * 2^qe; q may have grown to p + 1 bits: the packing below carries */
    if (!q) return sign;
    int lead = 63 - __builtin_clzll(q) + qe;
    if (lead > f->emax) {
        int to_max = mod & F_RZ || (mod & F_RM && !neg) || (mod & F_RP && neg);
        return sign | (to_max ? inf - 1 : inf);
    }
    uint64_t biased = (uint64_t)(lead - (f->emin + f->mant) + 1);
    if (lead < f->emin + f->mant) return sign | q << (qe - f->emin); /* subnormal */
    int sh = 63 - __builtin_clzll(q) - f->mant;
    q = sh >= 0 ? q >> sh : q << -sh;
    return sign | biased << f->mant | (q & ((1ull << f->mant) - 1));
}
static uint64_t from_double(const fmt *f, double x, uint32_t mod) {
    if (x != x) return f->bits == 16 ? 0x7fff : f->bits == 32 ? CANON32 : 0x7fffffffffffffffull;
    uint64_t u = d2u(x);
    int neg = (int)(u >> 63);
    if (isinf(x)) return pack(f, neg, 1, 5000, 0, F_RN);
    int e = (int)(u >> 52 & 2047);
    uint64_t m = u & 0xfffffffffffffull;
    if (e) m |= 1ull << 52;
    else e = 1;
    return pack(f, neg, m, e - 1075, 0, mod);
}
static const fmt *format_of(ptx_type t) {
    return t == PT_F16 ? &F16 : t == PT_BF16 ? &BF16 : t == PT_F32 ? &F32_ : &F64_;
}

static uint64_t cvt_one(const sim_inst *in, uint64_t v) {
    ptx_type td = in->ty, ts = in->ty2;
    int ks = ptx_types[ts].kind, kd = ptx_types[td].kind, bs = ptx_types[ts].bytes, bd = ptx_types[td].bytes;
    uint32_t mod = in->mod;
    if (ks != PK_FLOAT) {
        int s = 64 - 8 * bs;
        int64_t sv = (int64_t)(v << s) >> s;
        uint64_t uv = s ? v & (~0ull >> s) : v;
        int neg = ks == PK_SINT && sv < 0;
        if (kd == PK_FLOAT) {
            uint64_t mag = neg ? 0 - (uint64_t)sv : ks == PK_SINT ? (uint64_t)sv : uv;
            uint64_t r = pack(format_of(td), neg, mag, 0, 0, mod);
            if (mod & F_SAT)
                r = neg || !mag     ? 0
                    : td == PT_F16  ? 0x3c00
                    : td == PT_BF16 ? 0x3f80
                    : td == PT_F32  ? 0x3f800000
                                    : 0x3ff0000000000000ull;
            return r;
        }
        uint64_t x = ks == PK_SINT ? (uint64_t)sv : uv;
        if (mod & F_SAT) {
            uint64_t umax = ~0ull >> (64 - 8 * bd);
            int64_t smax = (int64_t)(umax >> 1), smin = -smax - 1;
            if (kd == PK_UINT) x = neg ? 0 : x > umax ? umax : x;
            else if (ks == PK_UINT) x = x > (uint64_t)smax ? (uint64_t)smax : x;
            else x = (uint64_t)(sv > smax ? smax : sv < smin ? smin : sv);
        }
        return x;
    }
    double x = ts == PT_F16    ? (double)h2f((u32)v & 0xffff)
               : ts == PT_BF16 ? (double)b2f((u32)v & 0xffff)
               : ts == PT_F32  ? (double)u2f((u32)v)
                               : u2d(v);
    /* On a GPU .ftz leaves a subnormal that becomes an f16 as it is: with .rm and .rp it shows. */
    if (mod & F_FTZ && ts == PT_F32 && td != PT_F16) x = (double)fz(u2f((u32)v));
    if (kd != PK_FLOAT) return f2i(x, td, bs, mod);
    if (mod & F_INT) x = round_int(x, mod);
    if (mod & F_RELU && x < 0) x = 0;
    if (mod & F_SAT) x = x > 0 ? (x < 1 ? x : 1) : 0;
    uint64_t r = from_double(format_of(td), x, mod & F_INT ? 0 : mod);
    if (mod & F_FTZ && td == PT_F32) r = f2u(fz(u2f((u32)r)));
    return r;
}

int h_cvt_any(sim_warp *w, const sim_inst *in, uint32_t m) {
    int bd = ptx_types[in->ty].bytes, sg = ptx_types[in->ty].kind == PK_SINT;
    for (uint32_t q = m; q; q &= q - 1) {
        int l = __builtin_ctz(q);
        uint64_t v = in->esz == 8 ? ((const u64 *)(w->r + in->o[1]))[l] : ((const u32 *)(w->r + in->o[1]))[l];
        uint64_t r = cvt_one(in, v);
        int s = 64 - 8 * bd; /* a wider register takes the sign or zeros */
        if (s) r = sg ? (uint64_t)((int64_t)(r << s) >> s) : r & (~0ull >> s);
        if (in->rsz == 8) ((u64 *)(w->r + in->o[0]))[l] = r;
        else ((u32 *)(w->r + in->o[0]))[l] = in->rsz == 2 ? (u32)r & 0xffff : (u32)r;
    }
    return X_NEXT;
}
int h_cvt_pair(sim_warp *w, const sim_inst *in, uint32_t m) {
    const fmt *f = in->ty == PT_F16X2 ? &F16 : &BF16;
    const f32 *a = (const f32 *)(w->r + in->o[1]), *b = (const f32 *)(w->r + in->o[2]);
    for (uint32_t q = m; q; q &= q - 1) {
        int l = __builtin_ctz(q);
        double hi = (double)a[l], lo = (double)b[l];
        if (in->mod & F_RELU) hi = hi < 0 ? 0 : hi, lo = lo < 0 ? 0 : lo;
        ((u32 *)(w->r + in->o[0]))[l] = (u32)(from_double(f, hi, in->mod) << 16 | from_double(f, lo, in->mod));
    }
    return X_NEXT;
}
int h_cvt_tf32(sim_warp *w, const sim_inst *in, uint32_t m) { /* nearest, ties away, 10 mantissa bits kept */
    for (uint32_t q = m; q; q &= q - 1) {
        int l = __builtin_ctz(q);
        u32 u = ((const u32 *)(w->r + in->o[1]))[l];
        ((u32 *)(w->r + in->o[0]))[l] = (u & 0x7fffffff) >= 0x7f800000 ? u : (u + 0x1000) & ~0x1fffu;
    }
    return X_NEXT;
}

/* ---- approximate functions ---- */
#define APPROX(name, expr)                                               \
    int h_##name(sim_warp *w, const sim_inst *in, uint32_t m) {          \
        for (uint32_t q = m; q; q &= q - 1) {                            \
            int l = __builtin_ctz(q);                                    \
            float a = ((const f32 *)(w->r + in->o[1]))[l];               \
            if (in->mod & F_FTZ) a = fz(a);                              \
            float r = cn((float)(expr));                                 \
            ((f32 *)(w->r + in->o[0]))[l] = in->mod & F_FTZ ? fz(r) : r; \
        }                                                                \
        return X_NEXT;                                                   \
    }
APPROX(lg2, log2((double)a))
APPROX(sin, sin((double)a))
APPROX(cos, cos((double)a))
APPROX(tanh, tanh((double)a))
int h_tanh_f16(sim_warp *w, const sim_inst *in, uint32_t m) {
    for (uint32_t q = m; q; q &= q - 1) {
        int l = __builtin_ctz(q);
        ((u32 *)(w->r + in->o[0]))[l] = f2h(tanhf(h2f(((const u32 *)(w->r + in->o[1]))[l] & 0xffff)));
    }
    return X_NEXT;
}
int h_tanh_f16x2(sim_warp *w, const sim_inst *in, uint32_t m) {
    for (uint32_t q = m; q; q &= q - 1) {
        int l = __builtin_ctz(q);
        u32 a = ((const u32 *)(w->r + in->o[1]))[l];
        ((u32 *)(w->r + in->o[0]))[l] = f2h(tanhf(h2f(a & 0xffff))) | f2h(tanhf(h2f(a >> 16))) << 16;
    }
    return X_NEXT;
}
/* rcp.approx.ftz.f64: only the upper 32 bits of input and result carry anything (PTX ISA) */
int h_rcp_approx_f64(sim_warp *w, const sim_inst *in, uint32_t m) {
    for (uint32_t q = m; q; q &= q - 1) {
        int l = __builtin_ctz(q);
        u64 u = ((const u64 *)(w->r + in->o[1]))[l] & 0xffffffff00000000ull;
        if (!(u & 0x7ff0000000000000ull)) u &= 1ull << 63;
        double r = 1.0 / u2d(u);
        u64 v = d2u(r);
        if (r != r) v = 0x7fffffff00000000ull;
        else if (!(v & 0x7ff0000000000000ull)) v &= 1ull << 63;
        ((u64 *)(w->r + in->o[0]))[l] = v & 0xffffffff00000000ull;
    }
    return X_NEXT;
}

static int testp(const char *t, size_t n, int cls) {
#define IS(s) (n == strlen(s) && !memcmp(t, s, n))
    return IS("finite")       ? cls != FP_INFINITE && cls != FP_NAN
           : IS("infinite")   ? cls == FP_INFINITE
           : IS("number")     ? cls != FP_NAN
           : IS("notanumber") ? cls == FP_NAN
           : IS("normal")     ? cls == FP_NORMAL || cls == FP_ZERO /* a GPU counts a zero among the normal ones */
                              : cls == FP_SUBNORMAL;
#undef IS
}
static int testp_any(sim_warp *w, const sim_inst *in, uint32_t m, int wide) {
    long pc = in - w->cta->f->code;
    const char *t = w->cta->f->text[pc];
    t = strstr(t, "testp.") + 6; /* the statement names the class */
    size_t n = strcspn(t, ".");
    u32 *p = (u32 *)(w->r + in->o[0]), r = 0;
    for (uint32_t q = m; q; q &= q - 1) {
        int l = __builtin_ctz(q);
        int cls =
            wide ? fpclassify(((const f64 *)(w->r + in->o[1]))[l]) : fpclassify(((const f32 *)(w->r + in->o[1]))[l]);
        r |= (u32)testp(t, n, cls) << l;
    }
    *p = (*p & ~m) | r;
    return X_NEXT;
}
int h_testp_f32(sim_warp *w, const sim_inst *in, uint32_t m) { return testp_any(w, in, m, 0); }
int h_testp_f64(sim_warp *w, const sim_inst *in, uint32_t m) { return testp_any(w, in, m, 1); }

/* ---- extended precision ---- */
int h_carry(sim_warp *w, const sim_inst *in, uint32_t m) {
    int wide = in->esz == 8, sg = ptx_types[in->ty].kind == PK_SINT;
    u32 *cc = (u32 *)(w->r + in->o[4]);
    for (uint32_t q = m; q; q &= q - 1) {
        int l = __builtin_ctz(q);
        u64 x[3];
        for (int i = 0; i < 3; i++)
            x[i] = wide ? ((const u64 *)(w->r + in->o[1 + i]))[l] : ((const u32 *)(w->r + in->o[1 + i]))[l];
        /* After a subtraction the flag is set when nothing was borrowed, as the adders of a GPU do it: that shows
         * where addc follows sub.cc, or subc add.cc. */
        u64 a = x[0], b = x[1], c = in->cmp & 1 ? (*cc >> l & 1) ^ (in->sub == 1) : 0, hi = 0;
        if (in->sub >= 2) {
            if (wide) {
                unsigned __int128 p = (unsigned __int128)a * b;
                if (sg) p = (unsigned __int128)((__int128)(int64_t)a * (int64_t)b);
                a = in->sub == 3 ? (u64)(p >> 64) : (u64)p;
            } else {
                u64 p = sg ? (u64)((int64_t)(int32_t)a * (int32_t)b) : a * b;
                a = in->sub == 3 ? p >> 32 : (u32)p;
            }
            b = x[2];
        }
        u64 r;
        if (in->sub == 1) {
            r = a - b - c;
            hi = !(wide ? a < b || (a == b && c) : (r >> 32) & 1);
        } else {
            r = a + b + c;
            hi = wide ? (c ? r <= a : r < a) : r >> 32;
        }
        if (wide) ((u64 *)(w->r + in->o[0]))[l] = r;
        else ((u32 *)(w->r + in->o[0]))[l] = (u32)r;
        if (in->cmp & 2) *cc = (*cc & ~(1u << l)) | (u32)(hi & 1) << l;
    }
    return X_NEXT;
}

/* ---- atomics ---- */
uint64_t sim_atom_apply(const sim_inst *in, uint64_t old, uint64_t b, uint64_t c);
uint64_t sim_atom_apply(const sim_inst *in, uint64_t old, uint64_t b, uint64_t c) {
    u32 o = (u32)old, x = (u32)b;
    switch (in->sub) {
    case ATOM_ADD:
        switch (in->ty) {
        case PT_F32:
            return f2u(cn(in->space == PS_SHARED ? u2f(o) + u2f(x) : fz(fz(u2f(o)) + fz(u2f(x))))); /* global flushes */
        case PT_F64: return d2u(u2d(old) + u2d(b));
        case PT_F16: return f2h(cn(h2f(o & 0xffff) + h2f(x & 0xffff)));
        case PT_BF16: return f2b(cn(b2f(o & 0xffff) + b2f(x & 0xffff)));
        case PT_F16X2: return f2h(cn(h2f(o & 0xffff) + h2f(x & 0xffff))) | f2h(cn(h2f(o >> 16) + h2f(x >> 16))) << 16;
        case PT_BF16X2: return f2b(cn(b2f(o & 0xffff) + b2f(x & 0xffff))) | f2b(cn(b2f(o >> 16) + b2f(x >> 16))) << 16;
        default: return old + b;
        }
    case ATOM_MIN:
        switch (in->ty) {
        case PT_S32: return (u32)((s32)x < (s32)o ? x : o);
        case PT_S64: return (int64_t)b < (int64_t)old ? b : old;
        default: return b < old ? b : old;
        }
    case ATOM_MAX:
        switch (in->ty) {
        case PT_S32: return (u32)((s32)x > (s32)o ? x : o);
        case PT_S64: return (int64_t)b > (int64_t)old ? b : old;
        default: return b > old ? b : old;
        }
    case ATOM_AND: return old & b;
    case ATOM_OR: return old | b;
    case ATOM_XOR: return old ^ b;
    case ATOM_EXCH: return b;
    case ATOM_CAS: return old == (in->esz == 2 ? (b & 0xffff) : b) ? c : old;
    case ATOM_INC: return o >= x ? 0 : o + 1;
    default: return o == 0 || o > x ? x : o - 1;
    }
}
