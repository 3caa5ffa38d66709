/* repack.cu: raw GGUF rows to the tile layout of contracts/abi.h, on the device.
 *
 *   qm_repack_wide, qm_repack_narrow, qm_repack_five, qm_repack_six(qm_repack_args a)   grid ceil(n_tiles * nb / 8), block 256, no shared
 *
 * One warp packs one block column of one tile: lane r owns row r, as in the kernels that read the
 * result. A lane reads its own B contiguous bytes (its sectors stay in L1 between the pieces) and the
 * warp writes each piece as one contiguous run of 512 bytes. Reading and writing are n_tiles * nb *
 * 32 * B bytes each, less the rows that are padding.
 *
 * wide reads a piece as one 16-byte load: B, piece_at and the row's length are then multiples of 16.
 * narrow reads it as eight 2-byte loads, all that Q6_K and Q8_0 (210 and 34 bytes) allow. five and six
 * are these of Q5_K and Q6_K, and put their bits into the order of abi.h, "Five bits" and "Six bits". */

struct qm_repack_args {        /* the host's twin: runtime/device/repack.c */
    unsigned long long dst;    /* packed tiles, from tile t0 on */
    unsigned long long src;    /* raw rows, from row 32 * t0 on */
    unsigned long long n_rows; /* rows of src: those beyond are zero */
    unsigned n_tiles;
    unsigned nb;         /* blocks a row */
    unsigned bytes;      /* B */
    unsigned pieces;     /* P */
    unsigned piece_at;   /* offset of piece 0 in the block */
    unsigned tail_bytes; /* 0 or 2 */
    unsigned tail_at;
    unsigned pad;
};

template <bool WIDE> static __device__ __forceinline__ uint4 load_piece(const unsigned char *p) {
    if (WIDE) return *(const uint4 *)p;
    const unsigned short *h = (const unsigned short *)p;
    uint4 v;
    v.x = h[0] | (unsigned)h[1] << 16;
    v.y = h[2] | (unsigned)h[3] << 16;
    v.z = h[4] | (unsigned)h[5] << 16;
    v.w = h[6] | (unsigned)h[7] << 16;
    return v;
}

/* The words A, B, C of 16 weights: of ql's words a, b and of qh's c. */
static __device__ __forceinline__ void six_bits(unsigned &a, unsigned &b, unsigned &c) {
    const unsigned lo = 0x0f0f0f0fu, hi = 0x30303030u, sign = 0x20202020u, two = 0x03030303u;
    const unsigned p3 = ((b >> 4 & lo) | (c >> 2 & hi)) ^ sign;
    const unsigned p0 = ((a & lo) | (c << 4 & hi)) ^ sign, p1 = ((b & lo) | (c << 2 & hi)) ^ sign;
    const unsigned p2 = ((a >> 4 & lo) | (c & hi)) ^ sign;
    const unsigned sum = (p0 << 2) + (p1 << 4) + (p2 << 6);
    unsigned low = 0; /* six bits of each byte: what sum lacks of p3 there, from the low byte on */
#pragma unroll
    for (int i = 0; i < 32; i += 8) low |= ((p3 >> i) - ((sum + low) >> i) & 63) << i;
    a = p0 << 2 | (low & two);
    b = p1 << 2 | (low >> 2 & two);
    c = p2 << 2 | (low >> 4 & two);
}

/* Five bits of each byte, so many as one step takes; what `sum` lacks, at bit `at`, to have the low n bits of q there. */
static __device__ __forceinline__ unsigned lacking(unsigned q, unsigned sum, int at, int n) {
    return (q - (sum >> at)) & ((1u << n) - 1u);
}

/* The words A .. E of 32 weights: of qs' words s[0..3] and of qh's h. */
static __device__ __forceinline__ void five_bits(unsigned s[4], unsigned &h) {
    unsigned q[8];
#pragma unroll
    for (int j = 0; j < 8; j++) q[j] = (s[j / 2] >> 4 * (j & 1) & 0x0f0f0f0fu) | (h >> j & 0x01010101u) << 4;
    unsigned a = q[1] << 3, b = q[3] << 3, c = q[5] << 3, d = q[4] << 3, e = q[7] << 3;
#pragma unroll
    for (int i = 0; i < 32; i += 8) {
        b |= lacking(q[0] >> i, 4 * a + b, i, 2) << i;
        b |= lacking(q[2] >> i, b + 8 * c + 16 * d, i + 2, 1) << (i + 2);
        a |= lacking(q[0] >> (i + 2), 4 * a + b, i + 2, 3) << i;
        d |= lacking(q[6] >> i, d + 4 * e, i, 2) << i;
        c |= lacking(q[2] >> (i + 1), b + 8 * c + 16 * d, i + 3, 3) << i;
        d |= lacking(q[2] >> (i + 4), b + 8 * c + 16 * d, i + 6, 1) << (i + 2);
        e |= lacking(q[6] >> (i + 2), d + 4 * e, i + 2, 3) << i;
    }
    h = a, s[0] = b, s[1] = c, s[2] = d, s[3] = e;
}

enum order { AS_IN_FILE, FIVE, SIX };

template <bool WIDE, order ORDER> static __device__ __forceinline__ void repack(const qm_repack_args &a) {
    const unsigned lane = threadIdx.x & 31;
    const unsigned long long unit = (unsigned long long)blockIdx.x * 8 + threadIdx.x / 32; /* tile * nb + block */
    if (unit >= (unsigned long long)a.n_tiles * a.nb) return;
    const unsigned long long tile = unit / a.nb;
    const unsigned block = (unsigned)(unit % a.nb);
    const unsigned long long row = tile * 32 + lane;
    const bool real = row < a.n_rows;
    const unsigned char *src = (const unsigned char *)a.src + (row * a.nb + block) * a.bytes;
    unsigned char *dst = (unsigned char *)a.dst + unit * 32 * a.bytes;
    const uint4 zero = make_uint4(0, 0, 0, 0);
    unsigned p = 0;
    if (ORDER == FIVE) {
        *(uint4 *)(dst + lane * 16) = real ? load_piece<WIDE>(src) : zero;
        for (p = 1; p < 3; p++) { /* 8 words of each sub-block, 4 at a time; pieces p, p + 2 .. p + 8 */
            uint4 v[5] = {zero, zero, zero, zero, zero};
            if (real) {
#pragma unroll
                for (int k = 0; k < 5; k++) v[k] = load_piece<WIDE>(src + 16 * p + 32 * k);
#define FIVE_BITS(i)                                                \
    {                                                               \
        unsigned s[4] = {v[1].i, v[2].i, v[3].i, v[4].i};           \
        five_bits(s, v[0].i);                                       \
        v[1].i = s[0], v[2].i = s[1], v[3].i = s[2], v[4].i = s[3]; \
    }
                FIVE_BITS(x) FIVE_BITS(y) FIVE_BITS(z) FIVE_BITS(w)
            }
#pragma unroll
            for (int k = 0; k < 5; k++) *(uint4 *)(dst + (p + 2 * k) * 512 + lane * 16) = v[k];
        }
        p = 11;
    }
    if (ORDER == SIX) {
        for (; p < 4; p++) { /* 16 words of each quarter, 4 at a time */
            uint4 v = zero, w = zero, x = zero;
            if (real) {
                v = load_piece<WIDE>(src + 64 * (p / 2) + 16 * (p % 2));
                w = load_piece<WIDE>(src + 64 * (p / 2) + 16 * (p % 2) + 32);
                x = load_piece<WIDE>(src + 128 + 16 * p);
                six_bits(v.x, w.x, x.x);
                six_bits(v.y, w.y, x.y);
                six_bits(v.z, w.z, x.z);
                six_bits(v.w, w.w, x.w);
            }
            *(uint4 *)(dst + p * 512 + lane * 16) = v;
            *(uint4 *)(dst + (p + 4) * 512 + lane * 16) = w;
            *(uint4 *)(dst + (p + 8) * 512 + lane * 16) = x;
        }
        p = 12;
    }
    for (; p < a.pieces; p++)
        *(uint4 *)(dst + p * 512 + lane * 16) = real ? load_piece<WIDE>(src + a.piece_at + p * 16) : zero;
    if (a.tail_bytes) /* always 2 */
        *(unsigned short *)(dst + a.pieces * 512 + lane * 2) = real ? *(const unsigned short *)(src + a.tail_at) : 0;
}

extern "C" __global__ void __launch_bounds__(256) qm_repack_wide(const qm_repack_args a) {
    repack<true, AS_IN_FILE>(a);
}
extern "C" __global__ void __launch_bounds__(256) qm_repack_narrow(const qm_repack_args a) {
    repack<false, AS_IN_FILE>(a);
}
extern "C" __global__ void __launch_bounds__(256) qm_repack_five(const qm_repack_args a) { repack<true, FIVE>(a); }
extern "C" __global__ void __launch_bounds__(256) qm_repack_six(const qm_repack_args a) { repack<false, SIX>(a); }
