/* launch.c: see launch.h. The figures per type are those of contracts/streams.def. */
#include "launch.h"
#include "../../contracts/abi.h"

enum { MAX_WARPS = 16, WARPS_PER_SM = 16, SHARED_MAX = 48 * 1024 };

typedef struct {
    int type;
    uint32_t step;         /* weights of a row in a step */
    uint32_t chunk;        /* steps that a warp has in flight */
    uint32_t tile_bytes;   /* of 32 rows, a step */
    uint32_t x_bytes;      /* activations, a step, as read from global memory */
    uint32_t shared_bytes; /* activations, a step, as they lie in shared memory */
} stream_type;

#define ACT_BYTES_f32(n) 4 * (n)
#define ACT_BYTES_q16a(n) QM_Q16A_BYTES(n)
static const stream_type streams[] = {
#define QM_STREAM(word, WORD, number, act, weights, bytes, pieces, piece_at, tail, tail_at, step, chunk, form, staged, \
                  ...)                                                                                                 \
    {number, step, chunk, QM_TILE_ROWS * (step) / (weights) * (bytes), ACT_BYTES_##act(step), (staged) / (chunk)},
#include "../../contracts/streams.def"
#undef QM_STREAM
};

static stream_type stream_of(int wtype) {
    int i = 0;
    while (streams[i].type != wtype) i++;
    return streams[i];
}

static uint32_t div_up(uint32_t a, uint32_t b) { return (a + b - 1) / b; }
static uint32_t min_u32(uint32_t a, uint32_t b) { return a < b ? a : b; }
static uint32_t max_u32(uint32_t a, uint32_t b) { return a > b ? a : b; }

uint32_t qm_launch_shared(int wtype, uint32_t n_cols, uint32_t n_splits, uint32_t n_streams, uint32_t tiles,
                          uint32_t slices) {
    stream_type s = stream_of(wtype);
    uint32_t bytes = div_up(n_cols / s.step, n_splits) * s.shared_bytes;
    if (slices > 1) bytes += n_streams * tiles * slices * 32 * 4; /* partial sums */
    return bytes;
}

/* copies: matrices side by side in the grid (experts); streams: matrices that share a read of x. */
static qm_launch deal(int wtype, uint32_t n_rows, uint32_t n_cols, uint32_t copies, uint32_t streams, uint32_t n_sm,
                      uint32_t max_splits) {
    stream_type s = stream_of(wtype);
    uint32_t tiles = div_up(n_rows, QM_TILE_ROWS), steps = n_cols / s.step;
    n_sm = max_u32(n_sm, 1);
    copies = max_u32(copies, 1);

    /* T: the activations that a CTA reads are at most 3.5% of its weights (4.5% where there are few tiles);
     * more tiles where the grid is large */
    uint32_t t = 1, permille = (uint64_t)tiles * copies * 2 <= n_sm ? 45 : 35;
    while (s.x_bytes * 1000 > permille * t * streams * s.tile_bytes && t < tiles) t *= 2;
    while (t < 4 && (uint64_t)div_up(tiles, 2 * t) * copies >= 8 * (uint64_t)n_sm) t *= 2;
    uint64_t ctas = (uint64_t)div_up(tiles, t) * copies;

    /* k_splits: enough CTAs for every multiprocessor, at least a chunk for each split, activations and
     * partial results together below 5% of the weights, activations that fit */
    uint32_t chunks = max_u32(div_up(steps, s.chunk), 1), splits = 1;
    if (ctas < n_sm) splits = div_up(n_sm, (uint32_t)ctas);
    uint32_t x_permille = s.x_bytes * 1000 / (t * streams * s.tile_bytes);
    if (x_permille < 49)
        splits = min_u32(splits, (uint32_t)((uint64_t)steps * s.tile_bytes / QM_TILE_ROWS * (49 - x_permille) / 4000));
    splits = max_u32(splits, div_up(steps * s.shared_bytes, SHARED_MAX));
    splits = max_u32(min_u32(splits, min_u32(max_splits, chunks)), 1);

    /* S: enough warps to keep the memory busy, each with two chunks (about 9 kB) or more where there are so
     * many: less would not pay for a warp's way in and out, much more would wait for memory too often. Where
     * most multiprocessors stay idle, latency is all that counts: one chunk a warp, everything in flight.
     * No more slices than the longest-working one needs. */
    uint32_t per_split = div_up(chunks, splits);
    uint64_t tile_warps = ctas * splits * t, wanted = (WARPS_PER_SM * (uint64_t)n_sm + tile_warps - 1) / tile_warps;
    uint32_t slices = min_u32(MAX_WARPS / t, max_u32(per_split / (ctas * splits * 2 <= n_sm ? 1 : 2), 1));
    if (wanted < slices) slices = (uint32_t)wanted;
    slices = div_up(per_split, div_up(per_split, slices));

    /* copies and splits never meet: the expert ops do not split K */
    qm_launch l = {{div_up(tiles, t), splits * copies, 1}, 32 * t * slices, 0, t};
    l.shared = qm_launch_shared(wtype, n_cols, splits, streams, t, slices);
    return l;
}

qm_launch qm_launch_matvec(int wtype, uint32_t n_rows, uint32_t n_cols, uint32_t n_sm, uint32_t max_splits) {
    return deal(wtype, n_rows, n_cols, 1, 1, n_sm, max_u32(max_splits, 1));
}
qm_launch qm_launch_moe_up(int wtype, uint32_t n_ff, uint32_t n_cols, uint32_t n_used, uint32_t n_sm) {
    return deal(wtype, n_ff, n_cols, n_used, 2, n_sm, 1);
}
qm_launch qm_launch_moe_matvec(int wtype, uint32_t n_rows, uint32_t n_cols, uint32_t n_used, uint32_t n_sm) {
    return deal(wtype, n_rows, n_cols, n_used, 1, n_sm, 1);
}

qm_launch qm_launch_rmsnorm(uint32_t n) {
    return (qm_launch){.grid = {1, 1, 1}, .block = min_u32(div_up(n, 128) * 32, 1024)};
}

static qm_launch sample(uint32_t n, uint32_t block, uint32_t ids_a_cta) {
    uint32_t ctas = (n + ids_a_cta - 1) / ids_a_cta;
    return (qm_launch){.grid = {ctas < QM_SAMPLE_CTAS ? ctas : QM_SAMPLE_CTAS, 1, 1}, .block = block};
}

qm_launch qm_launch_sample_scan(uint32_t n) { return sample(n, 256, 2048); }
qm_launch qm_launch_sample_draw(uint32_t n) { return sample(n, 1024, 4096); }
