/* whole.h: what the kernels of whole.py must leave in out. W: a thread's 16 input bytes as words; O: its 64
 * output bytes. Grids are 1; blocks as the table at the end says. */
/* clang-format off */
#define THREADS(n) for (u32 i = 0; i < (n); i++)
MAYBE u32 rd32(const u8 *p) { u32 v; memcpy(&v, p, 4); return v; }
MAYBE u64 rd64(const u8 *p) { u64 v; memcpy(&v, p, 8); return v; }
MAYBE void wr32(u8 *p, u32 v) { memcpy(p, &v, 4); }
MAYBE void wr64(u8 *p, u64 v) { memcpy(p, &v, 8); }
#define IN(i) (in + 16 * (i))
#define W(i, k) rd32(in + 16 * (i) + 4 * (k))
#define OUT64(i) (out + 64 * (i))
#define O(i, k, v) wr32(out + 64 * (i) + 4 * (k), (v))
#define OUT4(i, v) wr32(out + 4 * (i), (v))

/* ---- loads and stores ---- */
static void w_ld_types(const u8 *in, u8 *out) {
    THREADS(32) {
        const u8 *p = IN(i);
        const u16 h = (u16)(p[2] | p[3] << 8);
        O(i, 0, p[0]); O(i, 1, (u32)(s32)(s8)p[1]); O(i, 2, h); O(i, 3, (u32)(s32)(s16)h);
        O(i, 4, W(i, 1));
        wr64(OUT64(i) + 24, rd64(p + 8));
        wr64(OUT64(i) + 32, (u64)(s64)(s32)W(i, 1));
        OUT64(i)[40] = p[7]; OUT64(i)[41] = 0;
    }
}
static void w_ld_vec(const u8 *in, u8 *out) {
    THREADS(32) {
        for (u32 k = 0; k < 4; k++) O(i, k, W(i, 3 - k));
        O(i, 4, W(i, 3)); O(i, 5, W(i, 2));
        wr64(OUT64(i) + 32, rd64(IN(i) + 8)); wr64(OUT64(i) + 40, rd64(IN(i)));
        for (u32 k = 0; k < 4; k++) memcpy(OUT64(i) + 48 + 2 * k, IN(i) + 6 - 2 * k, 2);
        for (u32 k = 0; k < 4; k++) OUT64(i)[56 + k] = IN(i)[15 - k];
        O(i, 15, W(i, 3));
    }
}
static void words(const u8 *in, u8 *out, u32 n) { THREADS(32) for (u32 k = 0; k < n; k++) O(i, k, W(i, k % 4)); }
static void w_ld_cache(const u8 *in, u8 *out) { words(in, out, 16); }
static void w_ld_ordered(const u8 *in, u8 *out) { words(in, out, 7); }
static void w_ld_nc(const u8 *in, u8 *out) {
    words(in, out, 8);
    THREADS(32) {
        O(i, 8, W(i, 3)); O(i, 9, W(i, 1)); O(i, 10, W(i, 2)); O(i, 11, W(i, 0));
        memcpy(OUT64(i) + 48, IN(i), 16);
    }
}
static void w_ld_spaces(const u8 *in, u8 *out) {
    static const u32 table[32] = {3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9, 7, 9, 3};
    THREADS(32) {
        O(i, 0, table[i]); O(i, 1, 4);
        for (u32 k = 2; k < 6; k++) O(i, k, W(i, 0));
        O(i, 6, 0x0403); O(i, 7, 0x3f800000);
    }
}
static void w_st_types(const u8 *in, u8 *out) {
    THREADS(32) {
        OUT64(i)[0] = IN(i)[0];
        memcpy(OUT64(i) + 2, IN(i) + 4, 2);
        OUT64(i)[4] = IN(i)[0];
        memcpy(OUT64(i) + 6, IN(i), 2);
        O(i, 2, W(i, 2));
        memcpy(OUT64(i) + 16, IN(i), 8);
        O(i, 6, W(i, 3)); O(i, 7, W(i, 2));
        for (u32 k = 0; k < 4; k++) O(i, 8 + k, W(i, 3 - k));
        memcpy(OUT64(i) + 48, IN(i), 8); memcpy(OUT64(i) + 56, IN(i), 8);
    }
}
static void w_st_cache(const u8 *in, u8 *out) { THREADS(32) for (u32 k = 0; k < 9; k++) O(i, k, W(i, 0)); }
static void w_st_ordered(const u8 *in, u8 *out) { THREADS(32) for (u32 k = 0; k < 7; k++) O(i, k, W(i, 0)); }
static void w_cvta(const u8 *in, u8 *out) { THREADS(32) { O(i, 0, W(i, 0)); O(i, 1, 1 | 4); } }
static void w_prefetch(const u8 *in, u8 *out) { (void)in; THREADS(32) OUT4(i, 5); }
static void w_policy(const u8 *in, u8 *out) { THREADS(32) OUT4(i, W(i, 0) + W(i, 3)); }

/* ---- atomics: old value r0 (or r0:r1), operand r2 (or r2:r3); new value at 16k, old at 16k + 8 ---- */
static void at32(u8 *out, u32 i, u32 k, u32 old, u32 now) { O(i, 4 * k, now); O(i, 4 * k + 2, old); }
static void at64(u8 *out, u32 i, u32 k, u64 old, u64 now) { wr64(OUT64(i) + 16 * k, now); wr64(OUT64(i) + 16 * k + 8, old); }
#define ATOM_IN u32 a = W(i, 0), b = W(i, 2); u64 la = rd64(IN(i)), lb = rd64(IN(i) + 8); (void)a; (void)b; (void)la; (void)lb;
static void w_atom_add_int(const u8 *in, u8 *out) {
    THREADS(32) {
        ATOM_IN
        at32(out, i, 0, a, a + b); at32(out, i, 1, a, a + b); at64(out, i, 2, la, la + lb);
        const f32 fa = (f32)(s32)a, fb = (f32)(s32)b;
        at32(out, i, 3, f_bits(fa), f_bits(fa + fb));
    }
}
static void w_atom_minmax_32(const u8 *in, u8 *out) {
    THREADS(32) {
        ATOM_IN
        const s32 s = (s32)a, t = (s32)b;
        at32(out, i, 0, a, a < b ? a : b); at32(out, i, 1, a, (u32)(s < t ? s : t));
        at32(out, i, 2, a, a > b ? a : b); at32(out, i, 3, a, (u32)(s > t ? s : t));
    }
}
static void w_atom_minmax_64(const u8 *in, u8 *out) {
    THREADS(32) {
        ATOM_IN
        const s64 s = (s64)la, t = (s64)lb;
        at64(out, i, 0, la, la < lb ? la : lb); at64(out, i, 1, la, (u64)(s < t ? s : t));
        at64(out, i, 2, la, la > lb ? la : lb); at64(out, i, 3, la, (u64)(s > t ? s : t));
    }
}
static void w_atom_bits_32(const u8 *in, u8 *out) {
    THREADS(32) { ATOM_IN at32(out, i, 0, a, a & b); at32(out, i, 1, a, a | b); at32(out, i, 2, a, a ^ b); at32(out, i, 3, a, b); }
}
static void w_atom_bits_64(const u8 *in, u8 *out) {
    THREADS(32) { ATOM_IN at64(out, i, 0, la, la & lb); at64(out, i, 1, la, la | lb); at64(out, i, 2, la, la ^ lb); at64(out, i, 3, la, lb); }
}
static u32 inc(u32 old, u32 b) { return old >= b ? 0 : old + 1; }
static u32 dec(u32 old, u32 b) { return old == 0 || old > b ? b : old - 1; }
static void w_atom_inc(const u8 *in, u8 *out) {
    THREADS(32) {
        ATOM_IN
        at32(out, i, 0, a, inc(a, b)); at32(out, i, 1, a, dec(a, b)); at32(out, i, 2, a, inc(a, a)); at32(out, i, 3, a, dec(a, W(i, 3)));
    }
}
static void w_atom_cas(const u8 *in, u8 *out) {
    THREADS(32) {
        ATOM_IN
        const u32 c = W(i, 1);
        at32(out, i, 0, a, b); at32(out, i, 1, a, a == c ? b : a); at64(out, i, 2, la, lb); at64(out, i, 3, la, la);
    }
}
static void w_red_own(const u8 *in, u8 *out) {
    THREADS(32) {
        ATOM_IN
        O(i, 0, a + b); O(i, 4, (s32)a > (s32)b ? a : b); O(i, 8, a ^ b);
        wr64(OUT64(i) + 48, la + lb);
    }
}
/* 128 threads on words that start as all ones (-1), the f32 one as 0.5: the sum of 1..128 is 8256. */
static void w_red_one(const u8 *in, u8 *out) {
    (void)in;
    wr32(out, 8256 - 1);
    wr32(out + 4, f_bits(8256.5f)); /* exact in any order */
    wr32(out + 8, 0xffffffff);
    wr32(out + 12, 0);
    wr32(out + 16, 0xffffffff);
    wr64(out + 24, 8256 - 1);
    wr32(out + 32, 127); /* the first inc wraps 0xffffffff to 0 */
}
static void w_atom_add_f16x2(const u8 *in, u8 *out) {
    (void)in;
    THREADS(32) { O(i, 0, (u32)H(3) << 16 | H(1.5)); O(i, 1, 0x40003c00); O(i, 2, 0x3c003800); }
}
static void w_atom_add_shared(const u8 *in, u8 *out) { (void)in; THREADS(128) OUT4(i, 8256); }
static void w_fence(const u8 *in, u8 *out) { THREADS(32) OUT4(i, W(i, 0) + 1); }

/* ---- warp: one of 32 lanes ---- */
static void shfl(const u8 *in, u8 *out, u32 i, u32 word, int k, u32 by, u32 seg, int with_p) {
    const u32 mask = seg ? ~(seg - 1) & 31 : 0, lo = i & mask, hi = lo | (seg ? seg - 1 : 31);
    s32 j;
    int ok;
    by &= 31;
    switch (k) {
    case 0: j = (s32)i - (s32)by; ok = j >= (s32)lo; break;
    case 1: j = (s32)(i + by); ok = j <= (s32)hi; break;
    case 2: j = (s32)(i ^ by); ok = j <= (s32)hi; break;
    default: j = (s32)(lo | (by & (seg ? seg - 1 : 31))); ok = 1;
    }
    O(i, word, W(ok ? (u32)j : i, 0));
    if (with_p) O(i, word + 1, (u32)ok);
}
static void shfls(const u8 *in, u8 *out, int k, u32 a, u32 b, u32 c) {
    THREADS(32) {
        shfl(in, out, i, 0, k, a, 0, 1); shfl(in, out, i, 2, k, b, 0, 1); shfl(in, out, i, 4, k, c, 0, 1);
        shfl(in, out, i, 6, k, 3, 8, 1); shfl(in, out, i, 8, k, W(i, 0) & 31, 0, 0);
    }
}
static void w_shfl_up(const u8 *in, u8 *out) { shfls(in, out, 0, 1, 5, 40); }
static void w_shfl_down(const u8 *in, u8 *out) { shfls(in, out, 1, 1, 7, 33); }
static void w_shfl_bfly(const u8 *in, u8 *out) { shfls(in, out, 2, 1, 16, 21); }
static void w_shfl_idx(const u8 *in, u8 *out) { shfls(in, out, 3, 0, 13, 31); }
static void w_vote(const u8 *in, u8 *out) {
    u32 b = 0;
    THREADS(32) b |= (W(i, 0) & 1) << i;
    THREADS(32) {
        O(i, 0, b); O(i, 1, (b != 0) + (b == ~0u ? 2u : 0) + (b == ~0u || !b ? 4u : 0)); O(i, 2, ~b); O(i, 3, W(i, 0) & 1);
        O(i, 4, 3);
    }
}
static void w_match(const u8 *in, u8 *out) {
    THREADS(32) {
        u32 m = 0;
        for (u32 j = 0; j < 32; j++) m |= (u32)((W(j, 0) & 3) == (W(i, 0) & 3)) << j;
        O(i, 0, m); O(i, 1, m == ~0u ? m : 0); O(i, 2, m == ~0u); O(i, 3, W(i, 0) & 3); O(i, 4, m); O(i, 5, ~0u);
    }
}
static void w_redux(const u8 *in, u8 *out) {
    u32 sum = 0, mn = ~0u, mx = 0, an = ~0u, o = 0, x = 0;
    s32 smn = INT32_MAX, smx = INT32_MIN;
    THREADS(32) {
        const u32 v = W(i, 0);
        sum += v; an &= v; o |= v; x ^= v;
        if (v < mn) mn = v;
        if (v > mx) mx = v;
        if ((s32)v < smn) smn = (s32)v;
        if ((s32)v > smx) smx = (s32)v;
    }
    const u32 r[9] = {sum, sum, mn, (u32)smn, mx, (u32)smx, an, o, x};
    THREADS(32) for (u32 k = 0; k < 9; k++) O(i, k, r[k]);
}
static void w_activemask(const u8 *in, u8 *out) { (void)in; THREADS(32) OUT4(i, ~0u); }
static void w_elect(const u8 *in, u8 *out) { (void)in; THREADS(32) { O(i, 0, 0); O(i, 1, 1); } } /* any one lane may be chosen; lane 0 is, on hardware too */
static void w_warpsync(const u8 *in, u8 *out) { THREADS(32) OUT4(i, W(i ^ 31, 0)); }
static void w_special(const u8 *in, u8 *out) {
    (void)in;
    THREADS(32) {
        const u32 eq = 1u << i, r[14] = {i, eq, eq - 1, eq | (eq - 1), ~(eq | (eq - 1)), ~(eq - 1), 32, 1, 0, 1, 0, 1, 7, 32};
        for (u32 k = 0; k < 14; k++) O(i, k, r[k]);
    }
}

/* ---- control ---- */
static void w_branch_loop(const u8 *in, u8 *out) {
    THREADS(64) {
        u32 r = 0;
        for (u32 n = W(i, 0) & 63; n; n--) r = n & 1 ? r + n : r ^ n;
        OUT4(i, r);
    }
}
static void w_predicated(const u8 *in, u8 *out) { THREADS(64) OUT4(i, (s32)W(i, 0) < 0 ? 2 : 6); }
static void w_brx(const u8 *in, u8 *out) { THREADS(64) OUT4(i, 10 + 11 * (W(i, 0) & 3)); }
static u32 mix(u32 x, u32 y) { return (s32)x < 0 ? x ^ y : x + y; }
static void w_call(const u8 *in, u8 *out) { THREADS(64) { O(i, 0, mix(W(i, 0), i)); O(i, 1, mix(mix(W(i, 0), i), 3)); } }
static void w_exit(const u8 *in, u8 *out) { (void)in; THREADS(64) if (i >= 10) OUT4(i, i < 40 ? i : i + 1000); }
static void w_trap_not_taken(const u8 *in, u8 *out) { (void)in; THREADS(64) OUT4(i, 1); }
static void w_one(const u8 *in, u8 *out) { (void)in; THREADS(64) OUT4(i, 1); }
static void w_barrier(const u8 *in, u8 *out) {
    THREADS(128) {
        O(i, 0, W(i ^ 127, 0)); O(i, 1, W(i, 0)); /* swapped twice */
        if (i < 64) O(i, 2, W((i ^ 63) ^ 127, 0) + 1);
    }
}
static void w_bar_arrive(const u8 *in, u8 *out) { THREADS(32) OUT4(32 + i, W(i, 0)); }
static void w_bar_red(const u8 *in, u8 *out) {
    u32 n = 0;
    THREADS(128) n += W(i, 0) & 1;
    THREADS(128) { O(i, 0, n); O(i, 1, (n == 128) + (n ? 2u : 0)); O(i, 2, 1); }
}

/* ---- tensor cores: A [16, k] at 0, B [8 columns, k] at 1024, C [16, 8] at 2048; D [16, 8] ---- */
static u16 rd16(const u8 *p) { u16 v; memcpy(&v, p, 2); return v; }
static void wr16(u8 *p, u16 v) { memcpy(p, &v, 2); }
/* Small values, so that sums are of size 1 and the tolerance means something; C as f32 */
static void p_f16(u8 *in) {
    for (u32 i = 0; i < 1024; i++) wr16(in + 2 * i, H(((s32)in[2 * i] - 128) / 256.0));
    for (u32 i = 0; i < 128; i++) wr32(in + 2048 + 4 * i, f_bits((f32)((s32)in[2048 + 4 * i] - 128) / 64.0f));
}
static void p_bf16(u8 *in) {
    p_f16(in);
    for (u32 i = 0; i < 1024; i++) wr16(in + 2 * i, BF(HV(rd16(in + 2 * i))));
}
static void p_tf32(u8 *in) {
    for (u32 i = 0; i < 640; i++) wr32(in + 4 * i, f_bits((f32)((s32)in[4 * i] - 128) / 64.0f));
}
/* Small integers: every sum is exact in f16 */
static void p_half_ints(u8 *in) {
    for (u32 i = 0; i < 1280; i++) wr16(in + 2 * i, H((s32)(in[2 * i] % 9) - 4));
}
static f64 mma_value(const u8 *row, u32 k, int type) {
    return type == 0 ? HV(rd16(row + 2 * k)) : type == 1 ? BV(rd16(row + 2 * k)) : (f64)bits_f(rd32(row + 4 * k));
}
/* type 0 f16, 1 bf16, 2 tf32; half: C and D are f16 */
static void mma(const u8 *in, u8 *out, int type, u32 k_n, int half) {
    const u32 row = k_n * (type == 2 ? 4 : 2);
    for (u32 r = 0; r < 16; r++)
        for (u32 c = 0; c < 8; c++) {
            const u32 at = r * 8 + c;
            f64 s = half ? HV(rd16(in + 2048 + 2 * at)) : (f64)bits_f(rd32(in + 2048 + 4 * at));
            for (u32 k = 0; k < k_n; k++) s += mma_value(in + r * row, k, type) * mma_value(in + 1024 + c * row, k, type);
            if (half) wr16(out + 2 * at, H(s));
            else wr32(out + 4 * at, f_bits((f32)s));
        }
}
static void w_mma_k16_f16(const u8 *in, u8 *out) { mma(in, out, 0, 16, 0); }
static void w_mma_k8_f16(const u8 *in, u8 *out) { mma(in, out, 0, 8, 0); }
static void w_mma_k16_bf16(const u8 *in, u8 *out) { mma(in, out, 1, 16, 0); }
static void w_mma_k8_bf16(const u8 *in, u8 *out) { mma(in, out, 1, 8, 0); }
static void w_mma_k16_f16_f16(const u8 *in, u8 *out) { mma(in, out, 0, 16, 1); }
static void w_mma_k8_f16_f16(const u8 *in, u8 *out) { mma(in, out, 0, 8, 1); }
static void w_mma_k8_tf32(const u8 *in, u8 *out) { mma(in, out, 2, 8, 0); }
static void mma8(const u8 *in, u8 *out, u32 k_n, int a_signed, int b_signed, int saturate) {
    for (u32 r = 0; r < 16; r++)
        for (u32 c = 0; c < 8; c++) {
            s64 s = (s32)rd32(in + 2048 + 32 * r + 4 * c);
            for (u32 k = 0; k < k_n; k++) {
                const u8 a = in[k_n * r + k], b = in[1024 + k_n * c + k];
                s += (a_signed ? (s32)(s8)a : (s32)a) * (b_signed ? (s32)(s8)b : (s32)b);
            }
            wr32(out + 32 * r + 4 * c, (u32)(saturate ? clamp(s, INT32_MIN, INT32_MAX) : s));
        }
}
static void p_extreme_sums(u8 *in) {
    for (u32 i = 0; i < 128; i++) wr32(in + 2048 + 4 * i, i & 1 ? 0x7ffffff0u + (i & 15) : 0x80000010u - (i & 15));
}
static void w_mma_k32_s8_s8(const u8 *in, u8 *out) { mma8(in, out, 32, 1, 1, 0); }
static void w_mma_k32_s8_u8(const u8 *in, u8 *out) { mma8(in, out, 32, 1, 0, 0); }
static void w_mma_k32_u8_s8(const u8 *in, u8 *out) { mma8(in, out, 32, 0, 1, 0); }
static void w_mma_k32_u8_u8(const u8 *in, u8 *out) { mma8(in, out, 32, 0, 0, 0); }
static void w_mma_k32_sat_s8(const u8 *in, u8 *out) { mma8(in, out, 32, 1, 1, 1); }
static void w_mma_k16_s8_s8(const u8 *in, u8 *out) { mma8(in, out, 16, 1, 1, 0); }
/* Matrix m's row j is the 16 bytes that lane 8m + j points to; lane i gets words i%4 of row i/4. */
static void w_ldmatrix(const u8 *in, u8 *out) {
    THREADS(32) {
        const u32 row = i / 4, col = i % 4;
        O(i, 0, W(row, col));
        for (u32 m = 0; m < 2; m++) O(i, 2 + m, W(8 * m + row, col));
        for (u32 m = 0; m < 4; m++) O(i, 4 + m, W(8 * m + row, col));
        for (u32 m = 0; m < 4; m++) {
            u16 lo, hi; /* transposed: elements (2 col, row) and (2 col + 1, row) */
            memcpy(&lo, IN(8 * m + 2 * col) + 2 * row, 2);
            memcpy(&hi, IN(8 * m + 2 * col + 1) + 2 * row, 2);
            O(i, 8 + m, (u32)hi << 16 | lo);
        }
    }
}
static void w_cp_async(const u8 *in, u8 *out) {
    THREADS(32) {
        O(i, 0, W(i, 0)); O(i, 2, W(i, 2)); O(i, 3, W(i, 3));
        for (u32 k = 0; k < 4; k++) O(i, 4 + k, W(i, k));
        O(i, 8, W(i, 3)); O(i, 9, W(i, 1)); O(i, 10, W(i, 2)); O(i, 11, W(i, 0));
        O(i, 12, W(i, 0)); O(i, 13, W(i, 1)); O(i, 14, 0); O(i, 15, 0);
    }
}
static void w_mbarrier(const u8 *in, u8 *out) { THREADS(64) OUT4(i, W(i ^ 63, 0)); }
static void w_bulk_in(const u8 *in, u8 *out) { THREADS(32) for (u32 k = 0; k < 4; k++) O(i, k, W(i, 3 - k)); }
static void w_griddepcontrol(const u8 *in, u8 *out) { THREADS(32) OUT4(i, W(i, 0)); }

static void w_cp_mbarrier(const u8 *in, u8 *out) { THREADS(32) for (u32 k = 0; k < 4; k++) O(i, k, W(i ^ 31, k)); }
static void w_mbarrier_state(const u8 *in, u8 *out) { (void)in; O(0, 0, 0); O(0, 1, 1); O(0, 2, 0); O(0, 3, 1); }
static void w_mbarrier_tx(const u8 *in, u8 *out) { (void)in; O(0, 0, 0); O(0, 1, 1); O(0, 2, 0); O(0, 3, 1); }
static void w_bulk_store(const u8 *in, u8 *out) {
    THREADS(32) for (u32 k = 0; k < 4; k++) wr32(out + 16 * i + 4 * k, W(i, 3 - k));
    memcpy(out + 1024, out + 256, 16);
}
static void w_bulk_prefetch(const u8 *in, u8 *out) { (void)in; THREADS(32) OUT4(i, 5); }
static void w_fence_proxy(const u8 *in, u8 *out) { THREADS(32) OUT4(i, W(i, 0) + 1); }

/* the rest of each form's modifiers */
static void w_barrier_cta(const u8 *in, u8 *out) { THREADS(128) { O(i, 0, W(i ^ 127, 0)); O(i, 1, W(i, 0)); } }
static void w_ldu(const u8 *in, u8 *out) { THREADS(32) { O(i, 0, W(i, 0)); O(i, 1, W(i, 3)); } }
static void w_ld_ordered_types(const u8 *in, u8 *out) {
    THREADS(32) {
        O(i, 0, W(i, 1)); O(i, 1, W(i, 0)); O(i, 2, IN(i)[3]); O(i, 3, (u32)(s32)(s16)rd16(IN(i) + 6));
        wr64(OUT64(i) + 16, rd64(IN(i) + 8));
        O(i, 6, W(i, 0)); O(i, 7, W(i, 0));
    }
}
static void w_st_ordered_types(const u8 *in, u8 *out) {
    THREADS(32) {
        O(i, 0, W(i, 1)); O(i, 1, W(i, 0));
        wr64(OUT64(i) + 8, rd64(IN(i) + 8));
        OUT64(i)[16] = IN(i)[8];
        wr16(OUT64(i) + 18, rd16(IN(i) + 12));
    }
}
static void w_match_all_b64(const u8 *in, u8 *out) {
    int same = 1;
    THREADS(32) same &= W(i, 0) == W(0, 0);
    THREADS(32) { O(i, 0, same ? ~0u : 0); O(i, 1, ~0u); O(i, 2, (u32)same); O(i, 3, 1); }
}
static void w_ldmatrix_trans(const u8 *in, u8 *out) {
    THREADS(32) {
        const u32 row = i / 4, col = i % 4;
        for (u32 m = 0; m < 2; m++) {
            const u32 v = (u32)rd16(IN(8 * m + 2 * col + 1) + 2 * row) << 16 | rd16(IN(8 * m + 2 * col) + 2 * row);
            O(i, 2 + m, v);
            if (!m) O(i, 0, v);
        }
    }
}
static void w_mma_k16_u8_s8(const u8 *in, u8 *out) { mma8(in, out, 16, 0, 1, 0); }
static void w_mma_k16_sat_s8(const u8 *in, u8 *out) { mma8(in, out, 16, 1, 1, 1); }
static void w_atom_shared(const u8 *in, u8 *out) {
    THREADS(32) {
        const u32 a = W(i, 0), b = W(i, 1), c = W(i, 2), d = W(i, 3);
        const u64 la = rd64(IN(i)), lb = rd64(IN(i) + 8);
        u32 v = a;
        O(i, 0, v); v ^= c;
        O(i, 1, v); v &= d;
        O(i, 2, v); v = v > b ? v : b;
        O(i, 3, v); v = (s32)v < (s32)c ? v : c;
        const u32 before = v;
        O(i, 4, v); v = inc(v, d);
        if (v == before) v = c; /* the cas expects what the inc saw */
        O(i, 5, v);
        O(i, 6, a);
        const u64 m = (s64)la > (s64)lb ? la : lb;
        wr64(OUT64(i) + 32, m);
        wr64(OUT64(i) + 40, (m + lb) | la);
        O(i, 12, dec(b, c));
    }
}
static void w_atom_add_f64(const u8 *in, u8 *out) {
    THREADS(32) {
        const f64 a = (s32)W(i, 0), b = (s32)W(i, 1);
        wr64(OUT64(i), d_bits(a + b + b));
        wr64(OUT64(i) + 8, d_bits(a));
    }
}
static void w_mbarrier_more(const u8 *in, u8 *out) { (void)in; O(0, 0, 1); O(0, 1, 1); }

#define WIDE(file, n, block) {#file, #n, 1, block, 16 * block, 64 * block, NULL, w_##n, 0},
#define WORD(file, n, block) {#file, #n, 1, block, 16 * block, 4 * block, NULL, w_##n, 0},
#define MMA(file, n, prepare, bytes, rel) {#file, #n, 1, 32, 2560, bytes, prepare, w_##n, rel},
static const whole k_whole[] = {
    WIDE(ld, ld_types, 32) WIDE(ld, ld_vec, 32) WIDE(ld, ld_cache, 32) WIDE(ld, ld_spaces, 32) WIDE(ld_nc, ld_nc, 32)
    WIDE(ld_ordered, ld_ordered, 32) WIDE(st, st_types, 32) WIDE(st, st_cache, 32) WIDE(st_ordered, st_ordered, 32)
    WIDE(cvta, cvta, 32) WORD(prefetch, prefetch, 32) WORD(policy, policy, 32)
    WIDE(atom_add, atom_add_int, 32) WIDE(atom_minmax, atom_minmax_32, 32) WIDE(atom_minmax, atom_minmax_64, 32)
    WIDE(atom_bits, atom_bits_32, 32) WIDE(atom_bits, atom_bits_64, 32) WIDE(atom_inc, atom_inc, 32) WIDE(atom_cas, atom_cas, 32)
    WIDE(red, red_own, 32) {"red", "red_one", 1, 128, 16 * 128, 64, NULL, w_red_one, 0}, WIDE(atom_add, atom_add_f16x2, 32)
    WORD(atom_add, atom_add_shared, 128) WORD(fence, fence, 32)
    WIDE(shfl, shfl_up, 32) WIDE(shfl, shfl_down, 32) WIDE(shfl, shfl_bfly, 32) WIDE(shfl, shfl_idx, 32) WIDE(vote, vote, 32)
    WIDE(match, match, 32) WIDE(redux, redux, 32) WORD(activemask, activemask, 32) WIDE(elect, elect, 32) WORD(warpsync, warpsync, 32)
    WIDE(special, special, 32)
    WORD(branch, branch_loop, 64) WORD(branch, predicated, 64) WORD(brx, brx, 64) WIDE(call, call, 64) WORD(exit, exit, 64)
    WORD(trap, trap_not_taken, 64) {"nanosleep", "nanosleep", 1, 64, 1024, 256, NULL, w_one, 0},
    WIDE(barrier, barrier, 128) WORD(bar_arrive, bar_arrive, 64) WIDE(bar_red, bar_red, 128)
    MMA(mma_f16, mma_k16_f16, p_f16, 512, 1e-5) MMA(mma_f16, mma_k8_f16, p_f16, 512, 1e-5)
    MMA(mma_bf16, mma_k16_bf16, p_bf16, 512, 1e-5) MMA(mma_bf16, mma_k8_bf16, p_bf16, 512, 1e-5)
    MMA(mma_f16, mma_k16_f16_f16, p_half_ints, 256, 0) MMA(mma_f16, mma_k8_f16_f16, p_half_ints, 256, 0)
    MMA(mma_tf32, mma_k8_tf32, p_tf32, 512, 1e-5)
    MMA(mma_s8, mma_k32_s8_s8, NULL, 512, 0) MMA(mma_s8, mma_k32_s8_u8, NULL, 512, 0) MMA(mma_s8, mma_k32_u8_s8, NULL, 512, 0)
    MMA(mma_s8, mma_k32_u8_u8, NULL, 512, 0) MMA(mma_s8, mma_k32_sat_s8, p_extreme_sums, 512, 0) MMA(mma_s8, mma_k16_s8_s8, NULL, 512, 0)
    WIDE(ldmatrix, ldmatrix, 32) WIDE(cp_async, cp_async, 32)
    WIDE(cp_mbarrier, cp_mbarrier, 32) {"mbarrier", "mbarrier_state", 1, 32, 512, 64, NULL, w_mbarrier_state, 0},
    {"mbarrier_tx", "mbarrier_tx", 1, 32, 512, 64, NULL, w_mbarrier_tx, 0}, WIDE(bulk_store, bulk_store, 32)
    WORD(bulk_prefetch, bulk_prefetch, 32) WORD(fence_proxy, fence_proxy, 32)
    WIDE(barrier, barrier_cta, 128)
    {"bar_arrive", "bar_arrive_0", 1, 64, 1024, 256, NULL, w_bar_arrive, 0}, {"bar_arrive", "bar_arrive_1", 1, 64, 1024, 256, NULL, w_bar_arrive, 0},
    {"bar_arrive", "bar_arrive_2", 1, 64, 1024, 256, NULL, w_bar_arrive, 0}, {"bar_red", "bar_red_0", 1, 128, 2048, 8192, NULL, w_bar_red, 0},
    {"bar_red", "bar_red_1", 1, 128, 2048, 8192, NULL, w_bar_red, 0}, WIDE(ld_nc, ldu, 32) WIDE(ld_ordered, ld_ordered_types, 32)
    WIDE(st_ordered, st_ordered_types, 32) WIDE(match, match_all_b64, 32) WIDE(ldmatrix, ldmatrix_trans, 32)
    MMA(mma_s8, mma_k16_u8_s8, NULL, 512, 0) MMA(mma_s8, mma_k16_sat_s8, p_extreme_sums, 512, 0) WIDE(atom_bits, atom_shared, 32)
    WIDE(atom_add, atom_add_f64, 32) {"mbarrier", "mbarrier_more", 1, 32, 512, 64, NULL, w_mbarrier_more, 0},
    WORD(mbarrier, mbarrier, 64) WIDE(bulk, bulk_in, 32) WORD(griddepcontrol, griddepcontrol, 32)
};
