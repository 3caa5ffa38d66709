/* unit_launch: what launch.h promises, over many shapes: tiles covered, steps dealt once, limits kept; at the shapes of Qwen3-30B-A3B no
 * multiprocessor with much more than its share, all loads under way that there can be, and activations below 15% of the weights. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdio.h>
#include "../../contracts/abi.h"
#include "../../kernels/ref/launch.h"
#include "../../runtime/base/rng.h"
#include "../../runtime/file/quant.h"
#include "../../runtime/plan/plan.h"

static const int types[] = {
#define QM_STREAM_LOADED QM_STREAM
#define QM_STREAM(word, WORD, ...) QM_TYPE_##WORD,
#include "../../contracts/streams.def"
#undef QM_STREAM
};
enum { N_TYPES = sizeof types / sizeof *types };

/* Limits, for any launch; copies: experts. Returns the parts of K that are written. */
static uint32_t limits(const qm_launch *l, int wtype, uint32_t rows, uint32_t cols, uint32_t copies, uint32_t streams,
                       uint32_t max_parts) {
    uint32_t tiles = (rows + 31) / 32, t = l->tiles, s = l->block / 32 / (t ? t : 1);
    assert_true(t >= 1 && !(t & (t - 1)));
    assert_true(l->block >= 32 && l->block <= 512 && l->block == 32 * t * s);
    assert_true(l->grid[0] * t >= tiles && (l->grid[0] - 1) * t < tiles && l->grid[2] == 1);
    assert_int_equal(l->grid[1] % copies, 0);
    uint32_t parts = l->grid[1] / copies;
    assert_true(parts >= 1 && parts <= max_parts);
    const qm_sums sums = qm_sums_of(wtype, cols);
    assert_true(parts == 1 || parts == sums.n_parts);
    assert_true(!(s & (s - 1)) && (s == 1 || s < 2 * sums.n_segments));
    assert_int_equal(l->shared, qm_launch_shared(wtype, cols, parts, streams, t));
    return parts;
}

static void any_shape(void **state) {
    static const uint32_t rows[] = {1, 31, 32, 33, 96, 128, 512, 768, 2048, 5120, 151936};
    static const uint32_t cols[] = {32, 96, 256, 768, 1536, 2048, 4096, 8192}, sms[] = {0, 1, 4, 48, 128, 132};
    (void)state;
    for (int i = 0; i < N_TYPES; i++)
        for (size_t r = 0; r < sizeof rows / sizeof *rows; r++)
            for (size_t c = 0; c < sizeof cols / sizeof *cols; c++)
                for (size_t m = 0; m < sizeof sms / sizeof *sms; m++) {
                    if (qm_type_get((uint32_t)types[i])->qk == 256 && cols[c] % 256) continue;
                    qm_launch l = qm_launch_matvec(types[i], rows[r], cols[c], (qm_sms){sms[m], 0}, 8);
                    limits(&l, types[i], rows[r], cols[c], 1, 1, 8);
                    l = qm_launch_matvec(types[i], rows[r], cols[c], (qm_sms){sms[m], 0}, 1);
                    limits(&l, types[i], rows[r], cols[c], 1, 1, 1);
                    assert_true(l.shared <= 48 * 1024);
                    l = qm_launch_moe_matvec(types[i], rows[r], cols[c], 8, (qm_sms){sms[m], 0});
                    limits(&l, types[i], rows[r], cols[c], 8, 1, 1);
                    if (rows[r] % 32) continue;
                    l = qm_launch_moe_up(types[i], rows[r], cols[c], 8, (qm_sms){sms[m], 0});
                    limits(&l, types[i], rows[r], cols[c], 8, 2, 1);
                }
}

/* The 30B's products on the chips of contracts/chips.def: no multiprocessor has more than a tenth over a whole number of tiles
 * that is its share; and every segment has its warp, until all have 16 warps. What CTAs ask for beyond the weights, x and y,
 * comes from the L2 or goes there. */
static void dealt(void **state) {
    static const struct {
        uint32_t rows, cols, max_parts, copies, streams;
    } shape[] = {{5120, 2048, 8, 1, 1}, {4608, 2048, 1, 1, 1}, {4096, 2048, 1, 1, 1}, {512, 2048, 1, 1, 1},
                 {2048, 4096, 8, 1, 1}, {2048, 4096, 1, 1, 1}, {128, 2048, 8, 1, 1},  {151936, 2048, 1, 1, 1},
                 {768, 2048, 1, 8, 2},  {2048, 768, 1, 8, 1}};
    static const uint32_t sms[] = {48, 128, 132, 170};
    (void)state;
    for (int i = 0; i < N_TYPES * 4; i++)
        for (size_t k = 0; k < sizeof shape / sizeof *shape; k++) {
            const int type = types[i / 4];
            const qm_type_info *t = qm_type_get((uint32_t)type);
            const uint32_t rows = shape[k].rows, cols = shape[k].cols, copies = shape[k].copies, n = sms[i % 4],
                           streams = shape[k].streams;
            const qm_launch l = streams == 2 ? qm_launch_moe_up(type, rows, cols, copies, (qm_sms){n, 0})
                                : copies > 1 ? qm_launch_moe_matvec(type, rows, cols, copies, (qm_sms){n, 0})
                                             : qm_launch_matvec(type, rows, cols, (qm_sms){n, 0}, shape[k].max_parts);
            const uint32_t parts = limits(&l, type, rows, cols, copies, streams, shape[k].max_parts);
            const uint32_t ctas = l.grid[0] * l.grid[1], tiles = rows / 32 * copies * parts, s = l.block / 32 / l.tiles;
            const uint32_t fair = (tiles + n - 1) / n, busiest = (ctas + n - 1) / n * l.tiles;
            const qm_sums sums = qm_sums_of(type, cols);
            const uint32_t segments = parts == 1 ? sums.n_segments : sums.part / sums.segment;
            if (busiest > fair + fair / 10)
                fail_msg("%s [%u,%u], %u: %u tiles of %u", t->name, rows, cols, n, busiest, fair);
            if (s < segments && 2 * s * l.tiles <= 16 && ctas * l.tiles * s < 16 * n)
                fail_msg("%s [%u,%u], %u: %u slices of %u", t->name, rows, cols, n, s, segments);
            const double x = (t->q16a ? 2.125 : 4) * cols * l.grid[0] * copies, y = 4.0 * rows * parts * copies;
            const double w = (double)qm_pack_bytes(t, rows, cols) * copies * streams;
            if ((x + y) / w > 0.15) fail_msg("%s [%u,%u]: %.3f of the weights", t->name, rows, cols, (x + y) / w);
        }
}

/* What a device's memory asks for takes warps away, and nothing else: as few as have that much on its way, all there are where all
 * have less. */
static void flight(void **state) {
    static const struct {
        uint32_t rows, cols, copies;
    } shape[] = {{4608, 2048, 1}, {2048, 4096, 1}, {151936, 2048, 1}, {768, 2048, 8}, {2048, 768, 8}};
    static const struct {
        uint32_t n_sm;
        double bytes_per_s;
    } chip[] = {{48, 273e9}, {128, 1008e9}, {132, 4800e9}, {170, 1792e9}};
    int fewer = 0;
    (void)state;
    for (int i = 0; i < N_TYPES * 4; i++)
        for (size_t k = 0; k < sizeof shape / sizeof *shape; k++) {
            const int type = types[i / 4], down = shape[k].cols == 768, up = shape[k].rows == 768;
            const uint32_t rows = shape[k].rows, cols = shape[k].cols, copies = shape[k].copies, n = chip[i % 4].n_sm;
            const qm_sms sms[2] = {{n, 0}, {n, qm_flight_bytes(chip[i % 4].bytes_per_s, n)}};
            qm_launch l[2];
            for (int j = 0; j < 2; j++)
                l[j] = down ? qm_launch_moe_down(type, rows, cols, copies, sms[j])
                       : up ? qm_launch_moe_up(type, rows, cols, copies, sms[j])
                            : qm_launch_matvec_normed(type, rows, cols, sms[j], 1);
            assert_memory_equal(l[0].grid, l[1].grid, sizeof l[0].grid);
            assert_int_equal(l[0].tiles, l[1].tiles);
            assert_int_equal(l[0].width, l[1].width);
            assert_int_equal(l[0].shared, l[1].shared);
            const uint64_t chunk = (uint64_t)qm_chunk_steps(type) * qm_step_bytes(type),
                           wanted = (uint64_t)sms[1].flight * n, ctas = (uint64_t)l[1].grid[0] * l[1].grid[1],
                           warps = l[1].block / 32,
                           others = l[1].tiles * (down ? l[1].width : 1); /* a slice of every tile has so many */
            if (warps < l[0].block / 32) assert_true(ctas * warps * chunk >= wanted);
            if (warps > others && warps > 4) assert_true(ctas * warps / 2 * chunk < wanted);
            fewer += warps < l[0].block / 32;
        }
    assert_true(fewer > 10);
    assert_int_equal(qm_flight_bytes(0, 128), 0);
}

/* Segments and parts as abi.h says them: they tile K in order, within their limits, and no multiprocessor has a say. */
static void sums(void **state) {
    (void)state;
    for (int i = 0; i < N_TYPES; i++)
        for (uint32_t cols = 256; cols <= 65536; cols += 256) {
            const qm_sums s = qm_sums_of(types[i], cols);
            assert_int_equal(s.n_steps * s.step, cols);
            assert_true(s.n_segments >= 1 && s.n_segments <= 1 << QM_SEGMENTS_LOG);
            assert_true(s.n_parts >= 1 && s.n_parts <= 1 << QM_PARTS_LOG);
            assert_true(!(s.segment & (s.segment - 1)) && !(s.part & (s.part - 1)) && s.part >= s.segment);
            if (s.n_segments > 1) assert_int_equal(s.n_steps / s.segment, s.n_segments);
            assert_int_equal(qm_sums_begin(&s, 0), 0);
            assert_int_equal(qm_sums_begin(&s, s.n_parts), cols);
            for (uint32_t p = 1; p < s.n_parts; p++) {
                assert_int_equal(qm_sums_begin(&s, p), p * s.part * s.step);
                assert_true(p * s.part / s.segment < s.n_segments);
            }
            if (s.n_parts > 1) assert_true(s.n_parts * s.part / s.segment >= s.n_segments);
            for (uint32_t sms = 1; sms < 300; sms += 50)
                assert_int_equal(qm_launch_matvec(types[i], 512, cols, (qm_sms){sms, 0}, 8).grid[1], s.n_parts);
        }
}

/* The most that a CTA may ask for on every GPU from sm_80 on (sm_86, sm_89, sm_120). */
enum { SHARED_OPT_IN = 99 * 1024 };

/* Groups of slots: every tile has a warp, multiprocessors are busy, and few experts are read for more than one group,
 * where rows choose theirs evenly. */
static void groups(void **state) {
    static const struct { uint32_t used, experts; } of[] = {{8, 128}, {4, 16}, {1, 1}, {2, 512}, {8, 8}};
    static const uint32_t n_rows[] = {32, 96, 160, 768, 2048};
    qm_rng rng = {1};
    (void)state;
    for (size_t m = 0; m < sizeof of / sizeof *of; m++)
        for (uint32_t rows = 2; rows <= 512; rows *= 2) {
            const uint32_t used = of[m].used, experts = of[m].experts, width = qm_moe_width(rows, used, experts);
            const uint32_t most = qm_moe_groups(rows, used, experts, width);
            uint32_t load[512] = {0}, n_groups = 0, n_experts = 0;
            assert_true(width == 8 || width == 16 || width == 32 || width == 64);
            assert_true(rows <= 8 || width < 2 * rows); /* no expert has more slots than there are rows */
            for (uint32_t r = 0; r < rows; r++) {
                uint32_t first = qm_rng_below(&rng, experts), step = 1 + 2 * qm_rng_below(&rng, 64);
                while (experts > 1 && experts % 2 && step % experts == 0) step += 2;
                for (uint32_t k = 0; k < used; k++) load[(first + k * step) % experts]++; /* different ones */
            }
            for (uint32_t e = 0; e < experts; e++) {
                n_groups += (load[e] + width - 1) / width;
                n_experts += load[e] > 0;
            }
            assert_true(n_groups <= most);
            if (experts == 128 && n_groups > 1.10 * n_experts)
                fail_msg("%u rows: %u groups of %u experts", rows, n_groups, n_experts);
            for (int i = 0; i < N_TYPES; i++)
                for (size_t n = 0; n < sizeof n_rows / sizeof *n_rows; n++)
                    for (uint32_t streams = 1; streams <= 2; streams++) {
                        const uint32_t tiles = (n_rows[n] + 31) / 32;
                        const qm_launch l = streams == 2
                                                ? qm_launch_moe_gemm_up(types[i], n_rows[n], 2048, width, most, 128)
                                                : qm_launch_moe_gemm(types[i], n_rows[n], 2048, width, most, 128);
                        const uint32_t t = l.tiles;
                        assert_true(t && !(t & (t - 1)) && l.block == 32 * t * streams && l.block <= 256);
                        assert_true(l.grid[0] * t >= tiles && (l.grid[0] - 1) * t < tiles);
                        assert_true(l.grid[1] == most && l.grid[2] == 1);
                        assert_true(l.shared <= (width == 64 ? SHARED_OPT_IN : 48u * 1024));
                        assert_int_equal(l.width, qm_type_get((uint32_t)types[i])->q16a ? width : 8);
                        assert_true(t == 1 || l.grid[0] * l.grid[1] >= 128);
                    }
        }
}

/* By the deal alone, as kernels/ptx/stream.inc takes it: every step is in one warp's run, a run is whole segments but for the end of K,
 * and each segment of a CTA has a place of its own before the activations. */
static void deal_of(int wtype, uint32_t cols, uint32_t parts, uint32_t t, uint32_t slices) {
    const qm_sums s = qm_sums_of(wtype, cols);
    const uint32_t streams = parts == 1 ? 2 : 1;
    const qm_launch l = {.block = 32 * t * slices, .tiles = t};
    const qm_deal d = qm_deal_of(wtype, 100, cols, parts, streams, &l);
    const uint32_t shared = qm_launch_shared(wtype, cols, parts, streams, t), step = d.x_segment / s.segment;
    uint32_t at = 0;
    assert_true(d.rows == 32 * t && 1u << d.rows_log == d.rows && d.n_tiles == 4 && d.n_steps == s.n_steps);
    assert_int_equal(d.x_at + d.x_bytes, shared);
    for (uint32_t p = 0; p < parts; p++) {
        const uint32_t first = p * d.part, left_of = d.n_steps - first, mine = left_of >= d.part_on ? d.part : left_of;
        const uint32_t sums = d.sums > p * d.sums_cta ? d.sums - p * d.sums_cta : 0;
        uint32_t place = 0;
        assert_int_equal(first * s.step, qm_sums_begin(&s, p));
        assert_int_equal(first + mine, qm_sums_begin(&s, parts == 1 ? s.n_parts : p + 1) / s.step);
        for (uint32_t slice = 0; slice < slices; slice++) {
            const uint32_t from = first + slice * d.run;
            if (slice >= d.slices || from + d.segment > d.n_steps) continue;
            const uint32_t left = d.n_steps - from, ahead = left >= d.run_on ? d.run : left;
            assert_int_equal(from, at);
            at += ahead;
            assert_true(at == first + mine || !(ahead % s.segment));
            assert_int_equal(slice * d.x_run, (from - first) * step);
            assert_true((from - first + ahead) * step <= d.x_bytes);
            if (!d.x_at) {
                assert_true(d.two > ahead && !slice);
                continue;
            }
            assert_int_equal(d.two, 2 * s.segment);
            const uint32_t segments = ahead < d.two ? 1 : ahead / s.segment;
            /* lanes of slice 1 are `rows` further, so that much of a stride comes of their numbers */
            assert_int_equal(slice * (d.sums_run + d.rows * 4 * streams), place);
            place += segments * d.stride;
        }
        assert_int_equal(at, first + mine);
        if (d.x_at) assert_true(place <= d.x_at && place == (sums < d.sums_cta ? sums : d.sums_cta));
    }
    assert_int_equal(at, d.n_steps);
    if (parts == 1 && d.x_at) /* parts in one CTA are added up as if each had its own */
        assert_int_equal(d.sums_part, (s.part > s.segment ? s.part / s.segment : s.n_segments) * d.stride);
}

static void deals(void **state) {
    (void)state;
    for (int i = 0; i < N_TYPES; i++)
        for (uint32_t cols = 32; cols <= 16384; cols += cols < 4096 ? 32 : 1024) {
            if (qm_type_get((uint32_t)types[i])->qk == 256 && cols % 256) continue;
            for (uint32_t t = 1; t <= 8; t *= 2)
                for (uint32_t s = 1; t * s <= 16; s *= 2) {
                    deal_of(types[i], cols, 1, t, s);
                    deal_of(types[i], cols, qm_sums_of(types[i], cols).n_parts, t, s);
                }
        }
}

int main(void) {
    const struct CMUnitTest t[] = {cmocka_unit_test(any_shape), cmocka_unit_test(dealt),  cmocka_unit_test(flight),
                                   cmocka_unit_test(sums),      cmocka_unit_test(groups), cmocka_unit_test(deals)};
    return cmocka_run_group_tests(t, NULL, NULL);
}
