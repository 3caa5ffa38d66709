/* repack.cu: raw GGUF rows to the tile layout of contracts/abi.h, on the device.
 *
 *   qm_repack_wide, qm_repack_narrow(qm_repack_args a)   grid ceil(n_tiles * nb / 8), block 256, no shared
 *
 * One warp packs one block column of one tile: lane r owns row r, as in the kernels that read the
 * result. A lane reads its own B contiguous bytes (its sectors stay in L1 between the pieces) and the
 * warp writes each piece as one contiguous run of 512 bytes. Reading and writing are n_tiles * nb *
 * 32 * B bytes each, less the rows that are padding.
 *
 * wide reads a piece as one 16-byte load: B, piece_at and the row's length are then multiples of 16.
 * narrow reads it as eight 2-byte loads, all that Q6_K and Q8_0 (210 and 34 bytes) allow. */

struct qm_repack_args {      /* the host's twin: runtime/device/repack.c */
    unsigned long long dst;  /* packed tiles, from tile t0 on */
    unsigned long long src;  /* raw rows, from row 32 * t0 on */
    unsigned long long n_rows; /* rows of src: those beyond are zero */
    unsigned n_tiles;
    unsigned nb;             /* blocks a row */
    unsigned bytes;          /* B */
    unsigned pieces;         /* P */
    unsigned piece_at;       /* offset of piece 0 in the block */
    unsigned tail_bytes;     /* 0 or 2 */
    unsigned tail_at;
    unsigned pad;
};

template <bool WIDE>
static __device__ __forceinline__ uint4 load_piece(const unsigned char *p) {
    if (WIDE) return *(const uint4 *)p;
    const unsigned short *h = (const unsigned short *)p;
    uint4 v;
    v.x = h[0] | (unsigned)h[1] << 16;
    v.y = h[2] | (unsigned)h[3] << 16;
    v.z = h[4] | (unsigned)h[5] << 16;
    v.w = h[6] | (unsigned)h[7] << 16;
    return v;
}

template <bool WIDE>
static __device__ __forceinline__ void repack(const qm_repack_args &a) {
    const unsigned lane = threadIdx.x & 31;
    const unsigned long long unit = (unsigned long long)blockIdx.x * 8 + threadIdx.x / 32; /* tile * nb + block */
    if (unit >= (unsigned long long)a.n_tiles * a.nb) return;
    const unsigned long long tile = unit / a.nb;
    const unsigned block = (unsigned)(unit % a.nb);
    const unsigned long long row = tile * 32 + lane;
    const bool real = row < a.n_rows;
    const unsigned char *src = (const unsigned char *)a.src + (row * a.nb + block) * a.bytes;
    unsigned char *dst = (unsigned char *)a.dst + unit * 32 * a.bytes;
    for (unsigned p = 0; p < a.pieces; p++) {
        uint4 v = make_uint4(0, 0, 0, 0);
        if (real) v = load_piece<WIDE>(src + a.piece_at + p * 16);
        *(uint4 *)(dst + p * 512 + lane * 16) = v;
    }
    if (a.tail_bytes) /* always 2 */
        *(unsigned short *)(dst + a.pieces * 512 + lane * 2) = real ? *(const unsigned short *)(src + a.tail_at) : 0;
}

extern "C" __global__ void __launch_bounds__(256) qm_repack_wide(const qm_repack_args a) { repack<true>(a); }
extern "C" __global__ void __launch_bounds__(256) qm_repack_narrow(const qm_repack_args a) { repack<false>(a); }
