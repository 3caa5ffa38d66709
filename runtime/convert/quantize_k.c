/* quantize_k.c: the K types: super-blocks of 256 weights whose sub-blocks have integer scales (and mins)
 * that multiply an f16 d (and dmin). quant.c has the formats.
 *
 * The error to minimise is sum w (x - x')^2, w = weight_of(x). A sub-block on its own is a small problem:
 * with the codes fixed the best scale and min solve two linear equations; with the scale and min fixed
 * the best codes are roundings. fit_* starts from a range of scales and improves the best by turns. The
 * scales of all sub-blocks are then rounded to integers against an f16 d; rounding each by itself loses
 * what the codes could make good, so every sub-block tries the integers around, codes anew each time, and
 * d and dmin are fitted again to what was chosen, until that gains nothing.
 *
 * Weights are scaled by a power of two first (exact), so that no sum over- or underflows. Sums run in
 * four lanes in a fixed order: fast, and the same on every host. */
#include "quantize.h"
#include <math.h>
#include <string.h>
#ifdef __clang__
#pragma STDC FP_CONTRACT OFF /* gcc in ISO mode never contracts */
#endif

enum { SB = 256 };

/* To the nearest integer, ties to even, for |v| < 2^22; vectorises where rintf does not. */
static inline float near(float v) { return (v + 12582912.0f) - 12582912.0f; }
static inline float clamp(float v, float lo, float hi) {
    v = v < lo ? lo : v;
    return v > hi ? hi : v;
}
static inline float sum4(const float *a) { return (a[0] + a[2]) + (a[1] + a[3]); }

static void put16(uint8_t *p, uint32_t v) {
    p[0] = (uint8_t)v;
    p[1] = (uint8_t)(v >> 8);
}

/* y = x * 2^-e with the largest |y| in [0.5, 1); 0 when no block could tell the weights from zero: below
 * 2^-25, half of the least product of an f16 scale and integers. Beside a weight of 0.5 those below 2^-40
 * are zero for every block too; made so here, or their reciprocals would overflow. */
static int normalise(float *y, const float *x, int *e) {
    float amax = 0;
    for (int i = 0; i < SB; i++) amax = fabsf(x[i]) > amax ? fabsf(x[i]) : amax;
    if (amax < 0x1p-25f) return 0;
    frexpf(amax, e);
    float f = ldexpf(1, -*e);
    for (int i = 0; i < SB; i++) {
        y[i] = x[i] * f;
        if (fabsf(y[i]) < 0x1p-40f) y[i] = 0;
    }
    return 1;
}

/* The f16 nearest to v * 2^e, at most the largest finite one; *stored becomes its value * 2^-e. Among
 * denormals, whose steps are wide, the next one away from zero: scales can shrink to suit it, not grow. */
static uint16_t to_half(float v, int e, float *stored) {
    float f = ldexpf(v, e);
    uint16_t h = f >= 65504.0f ? 0x7bff : f <= -65504.0f ? 0xfbff : qm_f32_to_f16(f);
    if ((h & 0x7fff) < 0x400 && fabsf(qm_f16_to_f32(h)) < fabsf(f)) h++;
    *stored = ldexpf(qm_f16_to_f32(h), -e);
    return h;
}

/* w of weight i: the root mean square of its sub-block (of n) plus |x_i|. What a weight meets is unknown;
 * a large one passes on more of whatever it is, and the small ones that make up most of the plain
 * squared error must not set the scale alone. */
static void weigh(float *w, const float *x, int n) {
    for (int i = 0; i < SB; i += n) {
        float t = 0;
        for (int j = i; j < i + n; j++) t += x[j] * x[j];
        t = sqrtf(t / (float)n);
        for (int j = i; j < i + n; j++) w[j] = t + fabsf(x[j]);
    }
}

/* ---- Q4_K, Q5_K: eight sub-blocks of 32, x' = d sc q - dmin m ------------------------------------ */
enum { N = 32, SUBS = 8 };

typedef struct {
    float sw, sx;    /* sum w, sum w x: the same whatever the codes */
    float q, qq, xq; /* sum w q, w q^2, w x q */
} sums_a;

/* Codes for scale s (inv = 1/s) and min m, and what they sum to. */
static void codes_a(sums_a *t, const float *x, const float *w, float inv, float m, float top) {
    float a[4] = {0}, b[4] = {0}, c[4] = {0};
    for (int i = 0; i < N; i += 4)
        for (int j = 0; j < 4; j++) {
            float q = near(clamp((x[i + j] + m) * inv, 0, top)), wq = w[i + j] * q;
            a[j] += wq;
            b[j] += wq * q;
            c[j] += wq * x[i + j];
        }
    t->q = sum4(a);
    t->qq = sum4(b);
    t->xq = sum4(c);
}

static float error_a(const float *x, const float *w, float s, float m, float top) {
    float a[4] = {0}, inv = s > 0 ? 1.0f / s : 0;
    for (int i = 0; i < N; i += 4)
        for (int j = 0; j < 4; j++) {
            float q = near(clamp((x[i + j] + m) * inv, 0, top)), e = s * q - m - x[i + j];
            a[j] += w[i + j] * (e * e);
        }
    return sum4(a);
}

/* The best scale and min (>= 0) for the codes summed in t; 0 if they determine none. *gain: by how much
 * the error falls below sum w x^2. */
static int solve_a(const sums_a *t, float *s, float *m, float *gain) {
    float det = t->sw * t->qq - t->q * t->q;
    if (!(t->qq > 0)) return 0;
    *m = -1;
    if (det > 4e-6f * t->sw * t->qq) { /* less is rounding: all codes are equal */
        *s = (t->sw * t->xq - t->q * t->sx) / det;
        *m = (t->q * t->xq - t->qq * t->sx) / det;
    }
    if (!(*m > 0)) {
        *m = 0;
        *s = t->xq / t->qq;
    }
    *gain = *s * t->xq - *m * t->sx;
    return *s > 0;
}

/* The best real scale and min of a sub-block. */
static void fit_a(const float *x, const float *w, float top, float *scale, float *min) {
    sums_a t = {0};
    float lo = x[0], hi = x[0];
    for (int i = 0; i < N; i++) {
        t.sw += w[i];
        t.sx += w[i] * x[i];
        lo = x[i] < lo ? x[i] : lo;
        hi = x[i] > hi ? x[i] : hi;
    }
    lo = lo > 0 ? 0 : lo;
    *scale = (hi - lo) / top;
    *min = -lo;
    if (!(*scale > 0)) return; /* all equal and not above zero: the min alone */
    float best = -1, s, m, gain;
    float s0 = *scale;
    for (int k = -10; k <= 6; k++) {
        float step = s0 * (1.0f + 0.03125f * (float)k);
        codes_a(&t, x, w, 1.0f / step, -lo, top);
        if (solve_a(&t, &s, &m, &gain) && gain > best) best = gain, *scale = s, *min = m;
    }
    for (int turn = 0; turn < 4; turn++) {
        codes_a(&t, x, w, 1.0f / *scale, *min, top);
        if (!solve_a(&t, &s, &m, &gain) || gain <= best) break;
        best = gain, *scale = s, *min = m;
    }
}

typedef struct {
    int sc[SUBS], m[SUBS];
    uint16_t hd, hm; /* d and dmin as stored */
    float d, dm;     /* and their values, scaled like the weights */
    float err;
} block_a;

static int around(float v, int k, int top) {
    int i = (int)near(clamp(v, 0, (float)top)) + k;
    return i < 0 || i > top ? -1 : i;
}

/* Integer scales and mins for the stored d and dmin, near the wanted real ones. */
static void choose_a(block_a *b, const float *x, const float *w, const float *want_s, const float *want_m, float top) {
    b->err = 0;
    float id = b->d > 0 ? 1.0f / b->d : 0, im = b->dm > 0 ? 1.0f / b->dm : 0;
    for (int j = 0; j < SUBS; j++) {
        float best = 0;
        int any = 0;
        for (int ks = -1; ks <= 1; ks++)
            for (int km = -1; km <= 1; km++) {
                int sc = around(want_s[j] * id, ks, 63), m = around(want_m[j] * im, km, 63);
                if (sc < 0 || m < 0) continue;
                float err = error_a(x + N * j, w + N * j, b->d * (float)sc, b->dm * (float)m, top);
                if (any++ && err >= best) continue;
                best = err, b->sc[j] = sc, b->m[j] = m;
            }
        b->err += best;
    }
}

static float code_a(const block_a *b, int j, float x, float top) {
    float s = b->d * (float)b->sc[j], m = b->dm * (float)b->m[j];
    return s > 0 ? near(clamp((x + m) * (1.0f / s), 0, top)) : 0;
}

/* d and dmin that suit the integers of b and their codes best. */
static int refit_a(const block_a *b, const float *x, const float *w, float top, float *d, float *dm) {
    float aa = 0, am = 0, mm = 0, xa = 0, xm = 0;
    for (int j = 0; j < SUBS; j++) {
        float sc = (float)b->sc[j], m = (float)b->m[j];
        for (int i = N * j; i < N * j + N; i++) {
            float a = sc * code_a(b, j, x[i], top);
            aa += w[i] * a * a;
            am += w[i] * a * m;
            mm += w[i] * m * m;
            xa += w[i] * x[i] * a;
            xm += w[i] * x[i] * m;
        }
    }
    float det = aa * mm - am * am;
    if (det > 1e-4f * aa * mm) {
        *d = (xa * mm - xm * am) / det;
        *dm = (xa * am - xm * aa) / det;
    } else { /* not told apart: each given the other */
        if (aa > 0) *d = (xa + b->dm * am) / aa;
        if (mm > 0) *dm = (b->d * am - xm) / mm;
    }
    if (*dm < 0) {
        *dm = 0;
        if (aa > 0) *d = xa / aa;
    }
    return *d >= 0;
}

static void quantize_a(uint8_t *dst, const float *x0, int bits) {
    float x[SB], w[SB], s[SUBS], m[SUBS], top = (float)((1 << bits) - 1), smax = 0, mmax = 0;
    int e;
    memset(dst, 0, bits == 4 ? 144 : 176);
    if (!normalise(x, x0, &e)) return;
    weigh(w, x, N);
    for (int j = 0; j < SUBS; j++) {
        fit_a(x + N * j, w + N * j, top, &s[j], &m[j]);
        smax = s[j] > smax ? s[j] : smax;
        mmax = m[j] > mmax ? m[j] : mmax;
    }
    block_a best, b;
    float d = smax / 63, dm = mmax / 63;
    for (int turn = 0; turn < 4; turn++) {
        b.hd = to_half(d, e, &b.d);
        b.hm = to_half(dm, e, &b.dm);
        choose_a(&b, x, w, s, m, top);
        if (turn && b.err >= best.err) break;
        best = b;
        if (!refit_a(&b, x, w, top, &d, &dm)) break;
    }
    put16(dst, best.hd);
    put16(dst + 2, best.hm);
    uint8_t *h = dst + 4, *qh = dst + 16, *qs = bits == 4 ? dst + 16 : dst + 48;
    for (int j = 0; j < 4; j++) {
        h[j] = (uint8_t)(best.sc[j] | (best.sc[j + 4] >> 4) << 6);
        h[j + 4] = (uint8_t)(best.m[j] | (best.m[j + 4] >> 4) << 6);
        h[j + 8] = (uint8_t)((best.sc[j + 4] & 15) | (best.m[j + 4] & 15) << 4);
    }
    for (int j = 0; j < SUBS; j++)
        for (int l = 0; l < N; l++) {
            int q = (int)code_a(&best, j, x[N * j + l], top);
            qs[j / 2 * 32 + l] |= (uint8_t)((q & 15) << 4 * (j & 1));
            if (bits == 5) qh[l] |= (uint8_t)((q >> 4) << j);
        }
}

void qm_quantize_q4_k(uint8_t *dst, const float *x) { quantize_a(dst, x, 4); }
void qm_quantize_q5_k(uint8_t *dst, const float *x) { quantize_a(dst, x, 5); }

/* ---- Q6_K: sixteen sub-blocks of 16, x' = d sc q, q in -32..31, sc in -128..127 ------------------- */
enum { N6 = 16, SUBS6 = 16 };

static float error_6(const float *x, const float *w, float s) {
    float a[4] = {0}, inv = s != 0 ? 1.0f / s : 0;
    for (int i = 0; i < N6; i += 4)
        for (int j = 0; j < 4; j++) {
            float q = near(clamp(x[i + j] * inv, -32, 31)), e = s * q - x[i + j];
            a[j] += w[i + j] * (e * e);
        }
    return sum4(a);
}

/* Best scale for the codes that s gives; *gain as in solve_a. */
static float improve_6(const float *x, const float *w, float s, float *gain) {
    float a[4] = {0}, b[4] = {0}, inv = 1.0f / s;
    for (int i = 0; i < N6; i += 4)
        for (int j = 0; j < 4; j++) {
            float q = near(clamp(x[i + j] * inv, -32, 31)), wq = w[i + j] * q;
            a[j] += wq * q;
            b[j] += wq * x[i + j];
        }
    float qq = sum4(a), xq = sum4(b);
    if (!(qq > 0)) return *gain = 0, s;
    *gain = xq * xq / qq;
    return xq / qq;
}

/* The best real scale of a sub-block, of either sign: the codes reach one further down than up. */
static float fit_6(const float *x, const float *w) {
    float ext = 0, best = -1, scale = 0, gain;
    for (int i = 0; i < N6; i++) ext = fabsf(x[i]) > fabsf(ext) ? x[i] : ext;
    if (ext == 0) return 0;
    for (int k = -6; k <= 8; k++) {
        float s = improve_6(x, w, -ext / (32.0f + 0.5f * (float)k), &gain);
        if (gain > best) best = gain, scale = s;
    }
    for (int turn = 0; turn < 3; turn++) {
        float s = improve_6(x, w, scale, &gain);
        if (gain <= best) break;
        best = gain, scale = s;
    }
    return scale;
}

typedef struct {
    int sc[SUBS6];
    uint16_t hd;
    float d, err;
} block_6;

static void choose_6(block_6 *b, const float *x, const float *w, const float *want) {
    float id = b->d != 0 ? 1.0f / b->d : 0;
    b->err = 0;
    for (int j = 0; j < SUBS6; j++) {
        float best = 0;
        int any = 0, c = (int)near(clamp(want[j] * id, -128, 127));
        for (int sc = c - 2; sc <= c + 2; sc++) {
            if (sc < -128 || sc > 127) continue;
            float err = error_6(x + N6 * j, w + N6 * j, b->d * (float)sc);
            if (any++ && err >= best) continue;
            best = err, b->sc[j] = sc;
        }
        b->err += best;
    }
}

static float code_6(const block_6 *b, int j, float x) {
    float s = b->d * (float)b->sc[j];
    return s != 0 ? near(clamp(x * (1.0f / s), -32, 31)) : 0;
}

void qm_quantize_q6_k(uint8_t *dst, const float *x0) {
    float x[SB], w[SB], s[SUBS6], ext = 0;
    int e;
    memset(dst, 0, 210);
    memset(dst + 128, 0xaa, 64); /* code 32 is zero */
    if (!normalise(x, x0, &e)) return;
    weigh(w, x, N6);
    for (int j = 0; j < SUBS6; j++) {
        s[j] = fit_6(x + N6 * j, w + N6 * j);
        ext = fabsf(s[j]) > fabsf(ext) ? s[j] : ext;
    }
    block_6 best, b;
    float d = ext / -128;
    for (int turn = 0; turn < 4; turn++) {
        b.hd = to_half(d, e, &b.d);
        choose_6(&b, x, w, s);
        if (turn && b.err >= best.err) break;
        best = b;
        float aa = 0, xa = 0;
        for (int i = 0; i < SB; i++) {
            float a = (float)b.sc[i / N6] * code_6(&b, i / N6, x[i]);
            aa += w[i] * a * a;
            xa += w[i] * x[i] * a;
        }
        if (!(aa > 0)) break;
        d = xa / aa;
    }
    put16(dst + 208, best.hd);
    memset(dst + 128, 0, 64);
    for (int j = 0; j < SUBS6; j++) dst[192 + j] = (uint8_t)(int8_t)best.sc[j];
    for (int i = 0; i < SB; i++) {
        int q = (int)code_6(&best, i / N6, x[i]) + 32, h = i >> 7, k = i >> 5 & 3, l = i & 31;
        dst[64 * h + 32 * (k & 1) + l] |= (uint8_t)((q & 15) << 4 * (k >> 1));
        dst[128 + 32 * h + l] |= (uint8_t)((q >> 4) << 2 * k);
    }
}
