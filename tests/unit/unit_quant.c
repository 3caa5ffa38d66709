/* unit_quant: block decoding against the Python `gguf` package's floats (fixtures/quant.bin) and against
 * hand-made blocks, the half floats, the packing against abi.h's address formula, the q16a rule. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "../../contracts/abi.h"
#include "../../runtime/base/rng.h"
#include "../../runtime/file/quant.h"

static const int all_types[] = {
#define QM_STREAM_LOADED QM_STREAM
#define QM_STREAM(word, WORD, ...) QM_TYPE_##WORD,
#include "../../contracts/streams.def"
#undef QM_STREAM
};
enum { N_TYPES = sizeof all_types / sizeof *all_types };

static uint32_t bits(float f) {
    uint32_t u;
    memcpy(&u, &f, 4);
    return u;
}
static float from_bits(uint32_t u) {
    float f;
    memcpy(&f, &u, 4);
    return f;
}

static void fixture(void **state) {
    (void)state;
    FILE *f = fopen("tests/fixtures/quant.bin", "rb");
    assert_non_null(f);
    uint32_t head[2];
    int records = 0;
    while (fread(head, 4, 2, f) == 2) {
        const qm_type_info *t = qm_type_get(head[0]);
        assert_non_null(t);
        size_t n = head[1], bytes = qm_row_bytes(t, n);
        unsigned char *raw = malloc(bytes);
        float *want = malloc(4 * n), *got = malloc(4 * n);
        assert_int_equal(fread(raw, 1, bytes, f), bytes);
        assert_int_equal(fread(want, 4, n, f), n);
        t->to_f32(got, raw, n);
        for (size_t i = 0; i < n; i++)
            if (got[i] != want[i])
                fail_msg("%s[%zu]: %.9g, gguf has %.9g", t->name, i, (double)got[i], (double)want[i]);
        free(raw);
        free(want);
        free(got);
        records++;
    }
    fclose(f);
    assert_int_equal(records, 5);
}

/* Blocks in which one field at a time is set: the places of every nibble, high bit and scale. */
static void fields(void **state) {
    (void)state;
    float x[256];
    unsigned char b[210];
    const qm_type_info *q4 = qm_type_get(QM_TYPE_Q4_K), *q5 = qm_type_get(QM_TYPE_Q5_K),
                       *q6 = qm_type_get(QM_TYPE_Q6_K);
    for (int w = 0; w < 256; w++) {
        int c = w / 64, hi = w / 32 % 2, l = w % 32, j = w / 32;
        /* Q4_K: weight w = 9, scale of its sub-block 37, d = 1 */
        memset(b, 0, sizeof b);
        b[1] = 0x3c;
        b[16 + 32 * c + l] = (unsigned char)(9 << 4 * hi);
        if (j < 4) b[4 + j] = 37;
        else {
            b[4 + j + 4] = 37 & 15;
            b[4 + j - 4] = 37 >> 4 << 6;
        }
        q4->to_f32(x, b, 256);
        for (int i = 0; i < 256; i++) assert_true(x[i] == (i == w ? 9.0f * 37 : 0.0f));
        /* the min of its sub-block 37, dmin = 1: 32 weights at -37 */
        memset(b, 0, sizeof b);
        b[3] = 0x3c;
        if (j < 4) b[4 + j + 4] = 37;
        else {
            b[4 + j + 4] = (37 & 15) << 4;
            b[4 + j] = 37 >> 4 << 6;
        }
        q4->to_f32(x, b, 256);
        for (int i = 0; i < 256; i++) assert_true(x[i] == (i / 32 == j ? -37.0f : 0.0f));
        /* Q5_K: nibble 9 and the fifth bit: 25 */
        memset(b, 0, sizeof b);
        b[1] = 0x3c;
        memset(b + 4, 1, 4);  /* scales 0..3 = 1 */
        memset(b + 12, 1, 4); /* 4..7 = 1, mins 0 */
        b[16 + l] = (unsigned char)(1 << j);
        b[48 + 32 * c + l] = (unsigned char)(9 << 4 * hi);
        q5->to_f32(x, b, 256);
        for (int i = 0; i < 256; i++) assert_true(x[i] == (i == w ? 25.0f : 0.0f));
        /* Q6_K: 32 + 5 at w, all others 32 (= 0), scale of 16 weights -3 */
        memset(b, 0, sizeof b);
        b[209] = 0x3c;
        memset(b + 128, 0xaa, 64);
        int h = w >> 7, k = w >> 5 & 3;
        b[64 * h + 32 * (k & 1) + l] = (unsigned char)(5 << 4 * (k >> 1));
        b[192 + w / 16] = (unsigned char)-3;
        q6->to_f32(x, b, 256);
        for (int i = 0; i < 256; i++) assert_true(x[i] == (i == w ? -15.0f : 0.0f));
    }
}

static void table(void **state) {
    (void)state;
    for (int i = 0; i < N_TYPES; i++) {
        const qm_type_info *t = qm_type_get((uint32_t)all_types[i]);
        assert_non_null(t);
        assert_int_equal(t->type, all_types[i]);
        assert_int_equal(t->pieces * 16 + t->tail_bytes, t->bytes);
        assert_ptr_equal(qm_type_by_name(t->name), t);
        assert_int_equal(qm_row_bytes(t, t->qk * 3), 3 * t->bytes);
    }
    assert_ptr_equal(qm_type_by_name("q4_k"), qm_type_get(QM_TYPE_Q4_K));
    assert_null(qm_type_by_name("q4_0"));
    assert_null(qm_type_get(2));
    assert_null(qm_type_get(0xffffffff));
}

/* Every f16 against its value by ldexp; every f16 and the midpoints between neighbours on the way back. */
static void half_floats(void **state) {
    (void)state;
    for (uint32_t h = 0; h < 65536; h++) {
        int e = (int)(h >> 10 & 31), m = (int)(h & 0x3ff);
        float got = qm_f16_to_f32((uint16_t)h), sign = h >> 15 ? -1 : 1;
        if (e == 31 && m) {
            assert_true(isnan(got));
            assert_true(isnan(qm_f16_to_f32(qm_f32_to_f16(got))));
            continue;
        }
        float want = e == 31 ? INFINITY : e ? ldexpf((float)(1024 + m), e - 25) : ldexpf((float)m, -24);
        assert_true(bits(got) == bits(sign * want));
        assert_int_equal(qm_f32_to_f16(got), h);
        if (e == 31) continue;
        /* halfway to the next one goes to the even one, a hair beyond goes up, a hair before down */
        float next = (h & 0x7fff) == 0x7bff ? sign * 65536.0f : qm_f16_to_f32((uint16_t)(h + 1));
        float mid = got / 2 + next / 2;
        assert_int_equal(qm_f32_to_f16(mid), h & 1 ? h + 1 : h);
        assert_int_equal(qm_f32_to_f16(nextafterf(mid, sign * INFINITY)), h + 1);
        assert_int_equal(qm_f32_to_f16(nextafterf(mid, 0)), h);
    }
    assert_int_equal(qm_f32_to_f16(1e30f), 0x7c00);
    assert_int_equal(qm_f32_to_f16(-1e-30f), 0x8000);
    for (uint32_t h = 0; h < 65536; h++) {
        float f = qm_bf16_to_f32((uint16_t)h);
        assert_true(bits(f) == h << 16);
        if (isnan(f)) {
            assert_true(isnan(qm_bf16_to_f32(qm_f32_to_bf16(f))));
            continue;
        }
        assert_int_equal(qm_f32_to_bf16(f), h);
        if (isinf(f)) continue;
        assert_int_equal(qm_f32_to_bf16(from_bits(h << 16 | 0x8000)), h & 1 ? h + 1 : h);
        assert_int_equal(qm_f32_to_bf16(from_bits(h << 16 | 0x8001)), h + 1);
        assert_int_equal(qm_f32_to_bf16(from_bits(h << 16 | 0x7fff)), h);
    }
    assert_true(isnan(qm_bf16_to_f32(qm_f32_to_bf16(from_bits(0x7f800001)))));
}

/* Random bytes, and few different ones, so that sums carry far or not at all. */
static void fill(unsigned char *block, size_t n, int turn, qm_rng *rng) {
    for (size_t o = 0; o < n; o++) block[o] = (unsigned char)(qm_rng_u32(rng) | (turn % 3 == 1 ? 0xee : 0));
    if (turn % 3 == 2) memset(block, turn / 3, n);
}

/* Five words of Q5_K hold 32 weights as abi.h says ("Five bits"), and the header is as in the file. */
static void five_bits(void **state) {
    (void)state;
    qm_rng rng = {13};
    const qm_type_info *t = qm_type_get(QM_TYPE_Q5_K);
    unsigned char block[176], cut[176];
    float x[256];
    for (int n = 0; n < 20000; n++) {
        fill(block + 16, 160, n, &rng);
        memset(block, 0, 16); /* scales of 1 and minima of 0, d = 1 */
        block[1] = 0x3c;
        memset(block + 4, 1, 4);
        memset(block + 12, 1, 4);
        t->to_f32(x, block, 256);
        memset(cut, 0xaa, sizeof cut);
        t->order(cut, block);
        assert_memory_equal(cut, block, 16);
        for (size_t l = 0; l < 32; l += 4) {
            uint32_t w[5];
            for (size_t k = 0; k < 5; k++) memcpy(&w[k], cut + 16 + 32 * k + l, 4);
            const uint32_t times_8[8] = {
                (4 * w[0] + w[1]) << 3, w[0], (w[1] + 8 * w[2] + 16 * w[3]) << 1, w[1], w[3], w[2],
                (w[3] + 4 * w[4]) << 3, w[4]};
            for (size_t j = 0; j < 8; j++)
                for (size_t i = 0; i < 4; i++) assert_int_equal(times_8[j] >> 8 * i & 0xf8, 8 * (int)x[32 * j + l + i]);
        }
    }
}

/* Three words of Q6_K hold sixteen weights as abi.h says ("Six bits"), and everything else of a block is as in the file. */
static void six_bits(void **state) {
    (void)state;
    qm_rng rng = {11};
    const qm_type_info *t = qm_type_get(QM_TYPE_Q6_K);
    unsigned char block[210], cut[210];
    float x[256];
    for (int n = 0; n < 20000; n++) {
        fill(block, 192, n, &rng);
        memset(block + 192, 1, 16); /* scales of 1, and d = 1 */
        block[208] = 0, block[209] = 0x3c;
        t->to_f32(x, block, 256);
        memset(cut, 0xaa, sizeof cut);
        t->order(cut, block);
        assert_memory_equal(cut + 192, block + 192, 18);
        for (size_t h = 0; h < 2; h++)
            for (size_t l = 0; l < 32; l += 4) {
                uint32_t w[4];
                for (size_t k = 0; k < 3; k++) memcpy(&w[k], cut + 64 * k + 32 * h + l, 4);
                w[3] = (w[0] + 4 * w[1] + 16 * w[2]) << 2;
                for (size_t k = 0; k < 4; k++)
                    for (size_t i = 0; i < 4; i++)
                        assert_int_equal((int8_t)(w[k] >> 8 * i & 0xfc), 4 * (int)x[128 * h + 32 * k + l + i]);
            }
    }
}

/* A byte of a row, by abi.h's formula alone: block b's byte o of row r. */
static size_t packed_at(const qm_type_info *t, size_t nb, size_t row, size_t b, size_t o) {
    size_t B = t->bytes, P = B / 16, tail = B % 16, start = (row / 32 * nb + b) * 32 * B, r = row % 32;
    if (t->type == QM_TYPE_Q8_0) { /* d first in the file, last in the tile */
        if (o < 2) return start + P * 512 + r * tail + o;
        o -= 2;
    }
    if (o < P * 16) return start + o / 16 * 512 + r * 16 + o % 16;
    return start + P * 512 + r * tail + (o - P * 16);
}

static void packing(void **state) {
    (void)state;
    qm_rng rng = {7};
    static const size_t rows[] = {1, 31, 32, 33, 70};
    for (int i = 0; i < N_TYPES; i++)
        for (size_t k = 0; k < sizeof rows / sizeof *rows; k++) {
            const qm_type_info *t = qm_type_get((uint32_t)all_types[i]);
            size_t nb = 3, n = rows[k], tiles = (n + 31) / 32, rb = nb * t->bytes;
            size_t total = qm_pack_bytes(t, n, nb * t->qk);
            assert_int_equal(total, tiles * 32 * rb);
            unsigned char *raw = malloc(n * rb), *packed = malloc(total), *parts = malloc(total),
                          *seen = calloc(1, total), *cut = malloc(n * rb);
            for (size_t j = 0; j < n * rb; j++) raw[j] = (unsigned char)qm_rng_u32(&rng);
            memset(packed, 0xee, total);
            memset(parts, 0xdd, total);
            qm_pack(packed, raw, t, n, nb * t->qk);
            memcpy(cut, raw, n * rb); /* what is cut into pieces */
            for (size_t j = 0; t->order && j < n * nb; j++) t->order(cut + j * t->bytes, raw + j * t->bytes);
            for (size_t row = 0; row < n; row++)
                for (size_t b = 0; b < nb; b++)
                    for (size_t o = 0; o < t->bytes; o++) {
                        size_t at = packed_at(t, nb, row, b, o);
                        assert_true(at < total && !seen[at]++); /* each place once: a permutation */
                        assert_int_equal(packed[at], cut[row * rb + b * t->bytes + o]);
                    }
            for (size_t j = 0; j < total; j++)
                if (!seen[j]) assert_int_equal(packed[j], 0);
            for (size_t t0 = 0; t0 < tiles; t0++)
                qm_pack_tiles(parts + t0 * 32 * rb, raw + t0 * 32 * rb, t, n, nb * t->qk, t0, t0 + 1);
            assert_memory_equal(parts, packed, total);
            free(raw);
            free(cut);
            free(packed);
            free(parts);
            free(seen);
        }
}

/* The rule restated with other means: double division, exact comparisons. */
static void q16a_group(const float *x) {
    unsigned char out[QM_Q16A_BYTES(32)];
    float back[32], d, amax = 0;
    qm_q16a_quantize(out, x, 32);
    memcpy(&d, out + 64, 4);
    int nan = 0, inf = 0;
    for (int i = 0; i < 32; i++) {
        nan |= isnan(x[i]) != 0;
        inf |= isinf(x[i]) != 0;
        amax = fmaxf(amax, fabsf(x[i]));
    }
    qm_q16a_dequantize(back, out, 32);
    if (nan || inf) {
        assert_true(nan ? isnan(d) : isinf(d));
        for (int i = 0; i < 32; i++) assert_true(isnan(back[i])); /* nothing is hidden */
        return;
    }
    assert_true(d == (float)((double)amax / 32512));
    for (int i = 0; i < 32; i++) {
        int hi = (int8_t)out[i], lo = (int8_t)out[32 + i], q = 256 * hi + lo;
        double exact = d > 0 ? (double)x[i] / (double)d : 0;
        assert_true(q >= -32512 && q <= 32512 && hi >= -127);
        if (d >= 1.1754944e-38f) assert_true(fabs(exact - q) <= 0.5 * (1 + 1e-2)); /* x / d in f32: 2^-9 of a step */
        assert_true(back[i] == d * (float)q);
    }
}

static void q16a(void **state) {
    (void)state;
    qm_rng rng = {11};
    float x[32];
    for (int round = 0; round < 2000; round++) {
        float scale = ldexpf(1, (int)qm_rng_below(&rng, 280) - 150);
        for (int i = 0; i < 32; i++) x[i] = scale * qm_rng_normal(&rng);
        q16a_group(x);
    }
    memset(x, 0, sizeof x);
    q16a_group(x);
    static const float odd[] = {1e-45f, -1e-45f,  1e-40f,   1.1754944e-38f, 3.4028235e38f, -3.4028235e38f,
                                127,    -127,     1,        0x1.02p0f,      0x1.020002p0f, NAN,
                                -NAN,   INFINITY, -INFINITY};
    for (size_t i = 0; i < sizeof odd / sizeof *odd; i++) {
        memset(x, 0, sizeof x);
        x[i % 32] = odd[i];
        q16a_group(x);
        for (int j = 0; j < 32; j++) x[j] = odd[i];
        q16a_group(x);
    }
    x[0] = NAN;
    x[1] = INFINITY;
    q16a_group(x);
    /* by hand: amax 65024 -> d = 2 exactly; halves go to even; both planes and their signs */
    unsigned char out[QM_Q16A_BYTES(32)];
    memset(x, 0, sizeof x);
    x[0] = -65024;
    x[1] = 1;
    x[2] = 3;
    x[3] = 5;
    x[4] = -5;
    x[5] = 256;
    x[6] = 254;
    x[7] = -258;
    x[8] = 65024;
    qm_q16a_quantize(out, x, 32);
    static const int8_t hi[] = {-127, 0, 0, 0, 0, 1, 0, -1, 127, 0}, lo[] = {0, 0, 2, 2, -2, -128, 127, 127, 0, 0};
    assert_memory_equal(out, hi, sizeof hi);
    assert_memory_equal(out + 32, lo, sizeof lo);
    uint32_t d;
    memcpy(&d, out + 64, 4);
    assert_int_equal(d, 0x40000000u);
}

int main(void) {
    const struct CMUnitTest t[] = {cmocka_unit_test(fixture),   cmocka_unit_test(fields),
                                   cmocka_unit_test(table),     cmocka_unit_test(half_floats),
                                   cmocka_unit_test(five_bits), cmocka_unit_test(six_bits),
                                   cmocka_unit_test(packing),   cmocka_unit_test(q16a)};
    return cmocka_run_group_tests(t, NULL, NULL);
}
