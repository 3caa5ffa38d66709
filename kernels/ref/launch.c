/* launch.c: see launch.h. The figures per type are those of contracts/streams.def. */
#include "launch.h"
#include "../../contracts/abi.h"

enum { MAX_WARPS = 16, WARPS_PER_SM = 16, MAX_TILES = 8, NORM_WARPS = 4 };

typedef struct {
    int type;
    uint32_t step;       /* weights of a row in a step */
    uint32_t chunk;      /* steps that a warp has in flight */
    uint32_t segment;    /* steps */
    uint32_t part;       /* segments */
    uint32_t tile_bytes; /* of 32 rows, a step */
    uint32_t x_bytes;    /* activations, a step, as read from global memory */
    uint32_t staged;     /* activations, a chunk, as they lie in shared memory */
    uint32_t row_staged; /* the same in a product of many rows */
} stream_type;

#define ACT_BYTES_f32(n) 4 * (n)
#define ACT_BYTES_q16a(n) QM_Q16A_DATA(n)
/* hi, lo, dx, and the sum of 32 activations */
#define ROW_STAGED_F32(n) 4 * (n)
#define ROW_STAGED_D(n) 2 * (n) + (n) / 8
#define ROW_STAGED_DS(n) 2 * (n) + (n) / 4
#define ROW_STAGED_Z(n) 2 * (n) + (n) / 8
static const stream_type streams[] = {
#define QM_STREAM_LOADED QM_STREAM
#define QM_STREAM(word, WORD, number, act, weights, bytes, pieces, piece_at, tail, tail_at, step, chunk, paired, \
                  segment, part, form, staged, ...)                                                              \
    {number,                                                                                                     \
     step,                                                                                                       \
     chunk,                                                                                                      \
     segment,                                                                                                    \
     part,                                                                                                       \
     QM_TILE_ROWS * (step) / (weights) * (bytes),                                                                \
     ACT_BYTES_##act(step),                                                                                      \
     staged,                                                                                                     \
     ROW_STAGED_##form((chunk) * (step))},
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

qm_sums qm_sums_of(int wtype, uint32_t n_cols) {
    stream_type t = stream_of(wtype);
    qm_sums s = {.step = t.step, .n_steps = n_cols / t.step};
    uint32_t pow2 = 1;
    while (pow2 < s.n_steps) pow2 *= 2;
    s.segment = max_u32(t.segment, pow2 >> QM_SEGMENTS_LOG);
    s.n_segments = max_u32(s.n_steps / s.segment, 1);
    s.part = max_u32(t.segment * t.part, pow2 >> QM_PARTS_LOG);
    s.n_parts = div_up(s.n_segments * s.segment, s.part);
    return s;
}

uint32_t qm_sums_begin(const qm_sums *s, uint32_t p) { return (p < s->n_parts ? p * s->part : s->n_steps) * s->step; }

/* Segments that a CTA has, the most of any. */
static uint32_t segments_of(const qm_sums *s, uint32_t n_parts) {
    return n_parts == 1 ? s->n_segments : min_u32(s->part / s->segment, s->n_segments);
}

/* Steps of a CTA, the most of any: what remains may be in the last part. */
static uint32_t steps_of(const qm_sums *s, uint32_t n_parts) {
    return n_parts == 1 ? s->n_steps : max_u32(s->part, s->n_steps - (n_parts - 1) * s->part);
}

uint32_t qm_launch_run(int wtype, uint32_t n_cols, uint32_t n_parts, uint32_t tiles, uint32_t block) {
    const qm_sums s = qm_sums_of(wtype, n_cols);
    const uint32_t steps = steps_of(&s, n_parts), n = steps / s.segment, slices = max_u32(block / 32 / tiles, 1);
    if (n <= 1) return steps;
    const uint32_t run = div_up(n, slices) * s.segment + steps % s.segment; /* the last segment has what remains */
    return min_u32(run, steps);
}
uint32_t qm_step_bytes(int wtype) { return stream_of(wtype).tile_bytes; }
uint32_t qm_chunk_steps(int wtype) { return stream_of(wtype).chunk; }

uint32_t qm_launch_shared(int wtype, uint32_t n_cols, uint32_t n_parts, uint32_t n_streams, uint32_t tiles) {
    stream_type t = stream_of(wtype);
    qm_sums s = qm_sums_of(wtype, n_cols);
    uint32_t n = segments_of(&s, n_parts), steps = steps_of(&s, n_parts);
    uint32_t sums = n > 1 ? n_streams * tiles * n * QM_TILE_ROWS * 4 : 0; /* kernels/ptx/stream.inc */
    return div_up(steps, t.chunk) * t.staged + sums;
}

/* Whether so many warps have enough on its way. WARPS_PER_SM, 16 chunks of Q4_K, are 73 kB, twice what an H200's memory needs of
 * each multiprocessor. */
static int enough(const stream_type *s, qm_sms sms, uint64_t warps) {
    const uint64_t chunk = (uint64_t)s->chunk * s->tile_bytes, n_sm = max_u32(sms.n_sm, 1);
    return warps >= WARPS_PER_SM * n_sm || (sms.flight && warps * chunk >= sms.flight * n_sm);
}

static uint32_t log2_of(uint32_t power) {
    uint32_t n = 0;
    while (power >> n > 1) n++;
    return n;
}

/* A slice has neighbouring segments, as many as each other one, but for the last ones; one has all of a CTA that has one segment. */
qm_deal qm_deal_of(int wtype, uint32_t n_rows, uint32_t n_cols, uint32_t n_parts, uint32_t n_streams,
                   const qm_launch *l) {
    const stream_type t = stream_of(wtype);
    const qm_sums s = qm_sums_of(wtype, n_cols);
    const uint32_t n = segments_of(&s, n_parts), steps = steps_of(&s, n_parts), step_staged = t.staged / t.chunk;
    const uint32_t slices = max_u32(l->block / 32 / l->tiles / max_u32(l->width, 1), 1), each = div_up(n, slices);
    const uint32_t rows = QM_TILE_ROWS * l->tiles, stride = n > 1 ? n_streams * 4 * rows : 0;
    const uint32_t of_part = s.part / s.segment; /* segments */
    return (qm_deal){.rows = rows,
                     .rows_log = log2_of(rows),
                     .n_tiles = div_up(n_rows, QM_TILE_ROWS),
                     .slices = div_up(n, each),
                     .n_steps = s.n_steps,
                     .run = each * s.segment,
                     .run_on = (each + 1) * s.segment,
                     .segment = min_u32(s.segment, s.n_steps),
                     .x_at = n * stride,
                     .x_run = each * s.segment * step_staged,
                     .x_bytes = div_up(steps, t.chunk) * t.staged,
                     .sums_run = (each - 1) * stride,
                     .two = n > 1 ? 2 * s.segment : INT32_MAX,
                     .x_segment = s.segment * step_staged,
                     .part = n_parts == 1 ? s.n_steps : s.part,
                     .part_on = (n_parts == 1 ? s.n_steps : s.part) + s.segment,
                     .stride = stride,
                     .sums = s.n_segments * stride,
                     .sums_part =
                         (of_part > 1 ? of_part : s.n_segments) * stride, /* of one each: as if all were one part */
                     .sums_cta = n * stride};
}

/* copies: matrices side by side in the grid (experts); n_streams: matrices that share a read of x; normed: 1 where x is normed
 * in the CTA. No bit depends on it. */
static qm_launch deal(int wtype, uint32_t n_rows, uint32_t n_cols, uint32_t copies, uint32_t n_streams, qm_sms sms,
                      uint32_t max_parts, uint32_t normed) {
    const stream_type s = stream_of(wtype);
    const qm_sums sums = qm_sums_of(wtype, n_cols);
    const uint32_t tiles = div_up(n_rows, QM_TILE_ROWS), parts = sums.n_parts <= max_parts ? sums.n_parts : 1;
    const uint32_t steps = parts == 1 ? sums.n_steps : sums.part; /* of a CTA */
    const uint32_t n_sm = max_u32(sms.n_sm, 1);
    copies = max_u32(copies, 1);

    /* T: the busiest multiprocessor reads the fewest bytes: of tiles, and for each of its CTAs activations, which cost it
     * instructions though they come from the L2. Where two tiles fall to some anyway they are one CTA's, and others may have
     * none: as many warps wait for memory, and the last one to be done is done no later. */
    const uint32_t residual = normed ? 4 * n_cols : 0;
    uint32_t t_min = 1, t;
    uint64_t least = UINT64_MAX;
    while (normed && t_min < tiles && t_min * segments_of(&sums, parts) < NORM_WARPS) t_min *= 2;
    t = t_min;
    for (uint32_t i = t_min; i <= MAX_TILES; i *= 2) {
        const uint64_t ctas = (uint64_t)div_up(tiles, i) * copies * parts;
        const uint64_t cta = steps * ((uint64_t)i * n_streams * s.tile_bytes + s.x_bytes) + residual;
        const uint64_t bytes = (ctas + n_sm - 1) / n_sm * cta;
        if (i > t_min && qm_launch_shared(wtype, n_cols, parts, n_streams, i) > QM_SHARED_MAX) break;
        if (bytes < least) least = bytes, t = i;
    }

    /* S: warps, each with a run of segments and a chunk on its way, as many as segments allow, until there is enough of it. A power
     * of two, like T. */
    const uint64_t tile_warps = (uint64_t)div_up(tiles, t) * copies * parts * t;
    uint32_t slices = 1;
    while ((!enough(&s, sms, tile_warps * slices) || (normed && t * slices < NORM_WARPS)) &&
           slices < segments_of(&sums, parts) && 2 * slices * t <= MAX_WARPS)
        slices *= 2;

    /* copies and parts never meet: the expert ops add up all parts */
    return (qm_launch){{div_up(tiles, t), parts * copies, 1},
                       32 * t * slices,
                       qm_launch_shared(wtype, n_cols, parts, n_streams, t) + (normed ? QM_NORM_SHARED(n_cols) : 0),
                       t,
                       0};
}

qm_launch qm_launch_matvec(int wtype, uint32_t n_rows, uint32_t n_cols, qm_sms sms, uint32_t max_parts) {
    return deal(wtype, n_rows, n_cols, 1, 1, sms, max_u32(max_parts, 1), 0);
}
qm_launch qm_launch_matvec_normed(int wtype, uint32_t n_rows, uint32_t n_cols, qm_sms sms, uint32_t max_parts) {
    return deal(wtype, n_rows, n_cols, 1, 1, sms, max_u32(max_parts, 1), 1);
}
qm_launch qm_launch_moe_up(int wtype, uint32_t n_ff, uint32_t n_cols, uint32_t n_used, qm_sms sms) {
    return deal(wtype, n_ff, n_cols, n_used, 2, sms, 1, 0);
}
qm_launch qm_launch_moe_up_normed(int wtype, uint32_t n_ff, uint32_t n_cols, uint32_t n_used, qm_sms sms) {
    return deal(wtype, n_ff, n_cols, n_used, 2, sms, 1, 1);
}
qm_launch qm_launch_moe_matvec(int wtype, uint32_t n_rows, uint32_t n_cols, uint32_t n_used, qm_sms sms) {
    return deal(wtype, n_rows, n_cols, n_used, 1, sms, 1, 0);
}

qm_choice_place qm_choice_of(uint32_t n_expert, uint32_t n_used, uint32_t *shared) {
    const uint32_t n = div_up(n_expert, 32), best = QM_CHOICE_KEYS + 128 * n, end = best + 128 * div_up(n * n_used, 32);
    const qm_choice_place c = {.at = div_up(*shared, 16) * 16, .padded = 32 * n, .best = best, .end = end};
    *shared = c.at + end + (end - best); /* the candidates' ids are behind their keys */
    return c;
}

uint32_t qm_moe_down_shared(int wtype, uint32_t n_cols, uint32_t n_used, uint32_t tiles, uint32_t groups) {
    /* scales; what is added, and the experts' products */
    return 4 * 32 + 4 * QM_TILE_ROWS * tiles * (1 + n_used) + groups * qm_launch_shared(wtype, n_cols, 1, 1, tiles);
}

qm_groups qm_groups_of(int wtype, uint32_t n_cols, uint32_t n_used, const qm_launch *l) {
    const uint32_t threads = l->block / l->width;
    return (qm_groups){.threads = threads,
                       .mask = threads - 1,
                       .n = l->width,
                       .n_log = log2_of(l->width),
                       .log = log2_of(threads),
                       .bytes = qm_launch_shared(wtype, n_cols, 1, 1, l->tiles),
                       .at = qm_moe_down_shared(wtype, n_cols, n_used, l->tiles, 0),
                       .last = div_up(n_used, l->width) - 1};
}

/* All warps of a row's experts are in one CTA. A group an expert, where threads and shared memory allow; the warps that are
 * left take tiles where there are two CTAs a multiprocessor without them, else segments. */
qm_launch qm_launch_moe_down(int wtype, uint32_t n_rows, uint32_t n_cols, uint32_t n_used, qm_sms sms) {
    const stream_type s = stream_of(wtype);
    const qm_sums sums = qm_sums_of(wtype, n_cols);
    const uint32_t tiles = div_up(n_rows, QM_TILE_ROWS);
    uint32_t groups = 1, t = 1, slices = 1;
    while (groups < n_used && 2 * groups <= MAX_WARPS &&
           qm_moe_down_shared(wtype, n_cols, n_used, 1, 2 * groups) <= QM_SHARED_MAX)
        groups *= 2;
    while (2 * t * groups <= MAX_WARPS && div_up(tiles, 2 * t) >= 2 * max_u32(sms.n_sm, 1) &&
           qm_moe_down_shared(wtype, n_cols, n_used, 2 * t, groups) <= QM_SHARED_MAX)
        t *= 2;
    while (slices < sums.n_segments && 2 * slices * t * groups <= MAX_WARPS &&
           !enough(&s, sms, (uint64_t)div_up(tiles, t) * t * groups * slices))
        slices *= 2;
    return (qm_launch){.grid = {div_up(tiles, t), 1, 1},
                       .block = 32 * t * slices * groups,
                       .shared = qm_moe_down_shared(wtype, n_cols, n_used, t, groups),
                       .tiles = t,
                       .width = groups};
}

/* ---- many rows ---- */
enum { GEMM_WARPS = 8 };

static int on_tensor_cores(int wtype) {
    switch (wtype) {
#define TENSOR_f32(number)
#define TENSOR_q16a(number) case number:
#define QM_STREAM(word, WORD, number, act, ...) TENSOR_##act(number)
#include "../../contracts/streams.def"
#undef QM_STREAM
        return 1;
    default: return 0;
    }
}

static uint32_t width_of(int wtype, uint32_t rows) {
    if (!on_tensor_cores(wtype) || rows <= 8) return 8;
    return rows <= 16 ? 16 : 32;
}

uint32_t qm_rows_shared(int wtype, uint32_t width, uint32_t warps) {
    /* without tensor cores, kernels/ptx/rows_float.inc: stages, steps, weights, columns, bytes */
    if (!on_tensor_cores(wtype)) return 3 * 4 * 32 * 8 * 4;
    return 16 * width + 16 + 2 * width * stream_of(wtype).row_staged + warps * QM_ROWS_WARP_BYTES;
}

qm_launch qm_launch_gemm(int wtype, uint32_t n_rows, uint32_t n_cols, uint32_t rows, uint32_t n_sm,
                         uint32_t max_parts) {
    const qm_sums sums = qm_sums_of(wtype, n_cols);
    const uint32_t tiles = div_up(n_rows, QM_TILE_ROWS), width = width_of(wtype, rows);
    const uint32_t parts = sums.n_parts <= max_parts && rows <= QM_PARTS_ROWS ? sums.n_parts : 1;
    const uint32_t groups = div_up(rows, width);
    const stream_type s = stream_of(wtype);
    /* T: every multiprocessor has a CTA, and the busiest reads the fewest bytes, of tiles and, for each of its CTAs, columns.
     * Few rows wait for memory, which has as many warps' loads under way whatever T is: there as many warps as may be share
     * the copying of columns, while every other multiprocessor has a CTA. */
    uint32_t t = GEMM_WARPS;
    uint64_t least = UINT64_MAX;
    if (rows <= QM_PARTS_ROWS)
        while (t > 1 && 2 * (uint64_t)div_up(tiles, t) * parts * groups < n_sm) t /= 2;
    else
        for (uint32_t i = GEMM_WARPS; i; i /= 2) {
            const uint64_t ctas = (uint64_t)div_up(tiles, i) * parts * groups;
            const uint64_t bytes = (ctas + max_u32(n_sm, 1) - 1) / max_u32(n_sm, 1) *
                                   ((uint64_t)i * s.tile_bytes + (uint64_t)width * s.x_bytes);
            if ((ctas >= n_sm || i == 1) && bytes < least) least = bytes, t = i;
        }
    return (qm_launch){.grid = {div_up(tiles, t), parts, groups},
                       .block = 32 * t,
                       .shared = qm_rows_shared(wtype, width, t),
                       .tiles = t,
                       .width = width};
}

/* An expert that has more slots than a group holds is read again for its next group. Loads spread about their mean as
 * chance has it, at best: of a mean of 5 (11) one expert in 16 (18) has more than 8 (16). 64 columns are taken 16 at a time,
 * as many as there are: so nothing is between 16 and 64, but for experts that have no more than 32 slots at all. */
uint32_t qm_moe_width(uint32_t rows, uint32_t n_used, uint32_t n_expert) {
    const uint32_t slots = rows * n_used;
    if (rows <= 8 || slots <= 5 * n_expert) return 8;
    if (rows <= 16 || slots <= 11 * n_expert) return 16;
    return rows <= 32 ? 32 : 64;
}

uint32_t qm_moe_groups(uint32_t rows, uint32_t n_used, uint32_t n_expert, uint32_t width) {
    const uint32_t slots = rows * n_used, used = min_u32(slots, max_u32(n_expert, 1));
    return used + (slots - used) / width; /* one an expert, and one more for each further width */
}

/* T: as many tiles as a CTA takes, so that its columns are read few times; fewer where that leaves multiprocessors
 * idle. */
static qm_launch deal_groups(int wtype, uint32_t n_rows, uint32_t width, uint32_t max_groups, uint32_t n_streams,
                             uint32_t n_sm) {
    const uint32_t tiles = div_up(n_rows, QM_TILE_ROWS);
    uint32_t t = GEMM_WARPS / n_streams;
    while (t > 1 && t >= 2 * tiles) t /= 2;
    while (t > 1 && (uint64_t)div_up(tiles, t) * max_groups < n_sm) t /= 2;
    if (!on_tensor_cores(wtype)) width = 8;
    return (qm_launch){.grid = {div_up(tiles, t), max_groups, 1},
                       .block = 32 * t * n_streams,
                       .shared = qm_rows_shared(wtype, width, t * n_streams),
                       .tiles = t,
                       .width = width};
}
qm_launch qm_launch_moe_gemm_up(int wtype, uint32_t n_ff, uint32_t n_cols, uint32_t width, uint32_t max_groups,
                                uint32_t n_sm) {
    (void)n_cols;
    return deal_groups(wtype, n_ff, width, max_groups, 2, n_sm);
}
qm_launch qm_launch_moe_gemm(int wtype, uint32_t n_rows, uint32_t n_cols, uint32_t width, uint32_t max_groups,
                             uint32_t n_sm) {
    (void)n_cols;
    return deal_groups(wtype, n_rows, width, max_groups, 1, n_sm);
}
/* A thread a slot, and one an expert. */
qm_launch qm_launch_moe_sort(uint32_t rows, uint32_t n_used, uint32_t n_expert) {
    const uint32_t threads = min_u32(max_u32(rows * n_used, n_expert), 1024);
    uint32_t block = 32;
    while (block < threads) block *= 2;
    return (qm_launch){.grid = {1, 1, 1}, .block = block};
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
