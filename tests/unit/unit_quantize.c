/* unit_quantize: our quantiser on seeded tensors against llama.cpp's error on the same ones, its bytes
 * against those of the machine that wrote the golden file, its blocks' values against the Python gguf
 * package's (tests/golden/quant_llama.json, written by tools/quant_compare.py --golden); and what must
 * hold whatever the data. QMOE_QUANT_DUMP=DIR writes the tensors and our blocks there instead. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "../../runtime/base/rng.h"
#include "../../runtime/convert/quantize.h"

enum { ROWS = 64, COLS = 1024, COUNT = ROWS * COLS };
static const int types[] = {
#define QM_STREAM(word, WORD, ...) QM_TYPE_##WORD,
#include "../../contracts/streams.def"
#undef QM_STREAM
};
enum { N_TYPES = sizeof types / sizeof *types };

/* One weight at a time, from exact operations only: the same tensor on every host. */
static float gauss(qm_rng *r) { return qm_rng_normal(r); }
static float laplace(qm_rng *r) { /* n1 n2 + n3 n4 of normals is Laplace */
    float a = qm_rng_normal(r) * qm_rng_normal(r), b = qm_rng_normal(r) * qm_rng_normal(r);
    return a + b;
}
static float heavy(qm_rng *r) {
    float a = qm_rng_normal(r);
    return a / (0.02f + fabsf(qm_rng_unit(r)));
}
static float uniform(qm_rng *r) { return qm_rng_unit(r) + 1; }    /* all above zero: no min helps */
static float tiny(qm_rng *r) { return qm_rng_normal(r) * 1e-6f; } /* d is a denormal half */
static float large(qm_rng *r) { return qm_rng_normal(r) * 1e4f; }
static float below(qm_rng *r) { return qm_rng_unit(r) * 0.1f - 1; } /* far from zero, all below */

static const struct {
    const char *name;
    float (*draw)(qm_rng *);
} kinds[] = {
    {"gauss", gauss},     {"laplace", laplace},     {"heavy", heavy},   {"uniform", uniform},
    {"tiny", tiny},       {"large", large},         {"below", below},   {"row_scales", gauss},
    {"zero_rows", gauss}, {"constant_rows", gauss}, {"outlier", gauss},
};
enum { N_KINDS = sizeof kinds / sizeof *kinds };

static float *tensor(int kind) {
    qm_rng r = {1000 + (uint64_t)kind};
    const char *name = kinds[kind].name;
    float *x = malloc(4 * COUNT), scale = 1;
    for (int i = 0; i < COUNT; i++) {
        int col = i % COLS;
        x[i] = kinds[kind].draw(&r);
        if (!strcmp(name, "row_scales")) {
            if (!col) {
                scale = 1 + fabsf(qm_rng_unit(&r));
                scale = ldexpf(scale, (int)qm_rng_below(&r, 16) - 10);
            }
            x[i] *= scale;
        } else if (!strcmp(name, "zero_rows") && i / COLS % 2) x[i] = 0;
        else if (!strcmp(name, "constant_rows") && col) x[i] = x[i - 1];
        else if (!strcmp(name, "outlier") && col % 256 == 77) x[i] *= 100;
    }
    return x;
}

static uint64_t fnv(const void *p, size_t n) { /* FNV-1a, 64 bits */
    const unsigned char *b = p;
    uint64_t h = 0xcbf29ce484222325u;
    for (size_t i = 0; i < n; i++) h = (h ^ b[i]) * 0x100000001b3u;
    return h;
}

/* Floats as little-endian bytes, whatever the host. */
static uint64_t fnv_f32(const float *x, size_t n) {
    uint64_t h;
    unsigned char *b = malloc(4 * n);
    qm_quantize_blocks(qm_type_get(QM_TYPE_F32), b, x, n);
    h = fnv(b, 4 * n);
    free(b);
    return h;
}

static double rmse(const float *a, const float *b, size_t n) {
    double s = 0;
    for (size_t i = 0; i < n; i++) s += ((double)a[i] - (double)b[i]) * ((double)a[i] - (double)b[i]);
    return sqrt(s / (double)n);
}

static void golden(void **state) {
    (void)state;
    json_error_t err;
    json_t *all = json_load_file("tests/golden/quant_llama.json", 0, &err);
    if (!all) fail_msg("%s", err.text);
    int seen = 0;
    for (int k = 0; k < N_KINDS; k++) {
        float *x = tensor(k), *y = malloc(4 * COUNT);
        unsigned char *q = malloc(4 * COUNT);
        char hash[32];
        json_t *g = json_object_get(json_object_get(all, "tensors"), kinds[k].name);
        snprintf(hash, sizeof hash, "%016llx", (unsigned long long)fnv_f32(x, COUNT));
        assert_non_null(g);
        assert_string_equal(hash, json_string_value(json_object_get(g, "weights_fnv")));
        for (int i = 0; i < N_TYPES; i++) {
            const qm_type_info *t = qm_type_get((uint32_t)types[i]);
            json_t *w = json_object_get(json_object_get(g, "types"), t->name);
            assert_non_null(w);
            qm_quantize_blocks(t, q, x, COUNT);
            t->to_f32(y, q, COUNT);
            double ours = rmse(x, y, COUNT), theirs = json_number_value(json_object_get(w, "llama_rmse"));
            if (!(ours <= theirs * 1.05))
                fail_msg("%s %s: rmse %.6g, llama.cpp has %.6g", kinds[k].name, t->name, ours, theirs);
            snprintf(hash, sizeof hash, "%016llx", (unsigned long long)fnv(q, qm_row_bytes(t, COUNT)));
            if (strcmp(hash, json_string_value(json_object_get(w, "blocks_fnv"))))
                fail_msg("%s %s: the blocks are not those of the golden file: %s", kinds[k].name, t->name, hash);
            snprintf(hash, sizeof hash, "%016llx", (unsigned long long)fnv_f32(y, COUNT));
            if (strcmp(hash, json_string_value(json_object_get(w, "gguf_values_fnv"))))
                fail_msg("%s %s: the gguf package reads other values in our blocks", kinds[k].name, t->name);
            seen++;
        }
        free(x);
        free(y);
        free(q);
    }
    json_decref(all);
    assert_int_equal(seen, N_KINDS * N_TYPES);
}

/* What a type can hold exactly comes back: halves, bfloats; Q8_0 codes that reach 127. */
static void exact(void **state) {
    (void)state;
    qm_rng r = {5};
    for (int round = 0; round < 200; round++) {
        unsigned char b[34], again[34];
        float x[32];
        b[0] = (unsigned char)qm_rng_u32(&r);
        b[1] = (unsigned char)(4 + qm_rng_below(&r, 0x70)); /* a normal, positive half */
        for (int i = 0; i < 32; i++) b[2 + i] = (unsigned char)((int)qm_rng_below(&r, 255) - 127);
        b[2 + qm_rng_below(&r, 32)] = round % 2 ? 127 : (unsigned char)-127;
        qm_type_get(QM_TYPE_Q8_0)->to_f32(x, b, 32);
        qm_quantize_blocks(qm_type_get(QM_TYPE_Q8_0), again, x, 32);
        assert_memory_equal(b, again, 34);
        for (int k = 0; k < 2; k++) {
            const qm_type_info *t = qm_type_get(k ? QM_TYPE_F16 : QM_TYPE_BF16);
            uint16_t h[8], back[8];
            float y[8];
            for (int i = 0; i < 8; i++) h[i] = (uint16_t)(qm_rng_u32(&r) & 0xbbff); /* finite in both */
            t->to_f32(y, h, 8);
            qm_quantize_blocks(t, back, y, 8);
            assert_memory_equal(h, back, 16);
        }
    }
}

/* K blocks made at random, decoded: values that a block can hold exactly. The search must come within a
 * fraction of a step of them. */
static void representable(void **state) {
    (void)state;
    static const struct {
        int type;
        double bound;
    } cases[] = {{QM_TYPE_Q4_K, 0.25}, {QM_TYPE_Q5_K, 0.3}, {QM_TYPE_Q6_K, 0.3}};
    for (int c = 0; c < 3; c++) {
        const qm_type_info *t = qm_type_get((uint32_t)cases[c].type);
        qm_rng r = {77};
        double sum = 0, steps = 0;
        for (int round = 0; round < 200; round++) {
            unsigned char b[210];
            float x[256], y[256];
            for (size_t i = 0; i < sizeof b; i++) b[i] = (unsigned char)qm_rng_u32(&r);
            if (t->type == QM_TYPE_Q6_K) b[208] = 0, b[209] = 0x1c;
            else b[0] = 0, b[1] = 0x1c, b[2] = 0, b[3] = 0x28; /* d = 2^-8, dmin = 2^-5 */
            t->to_f32(x, b, 256);
            qm_quantize_blocks(t, b, x, 256);
            t->to_f32(y, b, 256);
            sum += rmse(x, y, 256);
            steps += 0x1p-8 * (t->type == QM_TYPE_Q6_K ? 64 : 31.5); /* a mean sub-block's step */
        }
        /* uniform codes, quantised as if any reals: 0.29 of a step */
        if (sum > cases[c].bound * steps) fail_msg("%s: mean rmse %.4f of a step", t->name, sum / steps);
    }
}

/* Twice the weights give the same codes and scales under twice the d. */
static void powers_of_two(void **state) {
    (void)state;
    qm_rng r = {9};
    for (int c = 0; c < N_TYPES; c++) {
        const qm_type_info *t = qm_type_get((uint32_t)types[c]);
        if (!t->q16a) continue;
        for (int round = 0; round < 20; round++) {
            float x[256], y[256], z[256];
            unsigned char a[8 * 34], b[8 * 34];
            for (int i = 0; i < 256; i++) x[i] = gauss(&r), y[i] = x[i] * 64;
            qm_quantize_blocks(t, a, x, 256);
            qm_quantize_blocks(t, b, y, 256);
            t->to_f32(y, a, 256);
            t->to_f32(z, b, 256);
            for (int i = 0; i < 256; i++) assert_true(z[i] == 64 * y[i]);
        }
    }
}

/* Blocks know nothing of each other, so that rows can be shared out to threads. */
static void independent(void **state) {
    (void)state;
    float *x = tensor(2);
    for (int c = 0; c < N_TYPES; c++) {
        const qm_type_info *t = qm_type_get((uint32_t)types[c]);
        unsigned char all[4 * 2048], one[4 * 2048];
        qm_quantize_blocks(t, all, x, 2048);
        for (size_t i = 2048; i; i -= t->qk)
            qm_quantize_blocks(t, one + (i - t->qk) / t->qk * t->bytes, x + i - t->qk, t->qk);
        assert_memory_equal(all, one, qm_row_bytes(t, 2048));
    }
    free(x);
}

/* Zero, the least and the most that a type takes, and what it refuses. */
static void edges(void **state) {
    (void)state;
    static const float odd[] = {0,     -0.0f, 1e-45f, -1e-38f, 1e-30f, 0x1p-25f, -0x1p-24f, 6e-8f,
                                1e-7f, 1,     -1,     65504,   -65504, 4e6f,     -4e6f};
    for (int c = 0; c < N_TYPES; c++) {
        const qm_type_info *t = qm_type_get((uint32_t)types[c]);
        float x[256], y[256];
        unsigned char b[4 * 256];
        for (size_t k = 0; k < sizeof odd / sizeof *odd; k++)
            for (int one = 0; one < 2; one++) {
                for (int i = 0; i < 256; i++) x[i] = !one || i == 100 ? odd[k] : 0;
                size_t bad = qm_quantize_bad(t, x, 256);
                if (t->type == QM_TYPE_F16 && fabsf(odd[k]) > 65504) {
                    assert_int_equal(bad, one ? 100 : 0);
                    continue;
                }
                assert_int_equal(bad, 256);
                qm_quantize_blocks(t, b, x, 256);
                t->to_f32(y, b, 256);
                for (int i = 0; i < 256; i++) {
                    /* half of BF16's step, and half of the least step near zero; where a min and a scale
                     * must cancel to give zero, what rounding both to f16 leaves */
                    float least = t->type == QM_TYPE_F32 ? 0 : t->type == QM_TYPE_BF16 ? 0x1p-134f : 0x1p-25f;
                    float e = fabsf(y[i] - x[i]), most = fabsf(t->q16a ? odd[k] : x[i]) * 0x1p-9f + least;
                    if (!(e <= most))
                        fail_msg("%s: %.9g became %.9g (one %d)", t->name, (double)x[i], (double)y[i], one);
                }
            }
        memset(x, 0, sizeof x);
        x[200] = NAN;
        assert_int_equal(qm_quantize_bad(t, x, 256), 200);
        x[31] = -INFINITY;
        assert_int_equal(qm_quantize_bad(t, x, 256), 31);
        x[30] = INFINITY;
        assert_int_equal(qm_quantize_bad(t, x, 256), 30);
        assert_int_equal(qm_quantize_bad(t, x, 30), 30);
    }
    /* sub-blocks of very different sizes, some of them of denormals alone: every weight within a step of
     * what its block's largest asks for */
    for (int round = 0; round < 3000; round++)
        for (int c = 0; c < N_TYPES; c++) {
            const qm_type_info *t = qm_type_get((uint32_t)types[c]);
            if (!t->q16a) continue;
            qm_rng q = {(uint64_t)round};
            float x[256], y[256], most = 0;
            unsigned char b[8 * 34];
            for (int i = 0, e = 0; i < 256; i++) {
                if (i % 16 == 0 && !qm_rng_below(&q, 2)) e = (int)qm_rng_below(&q, 150) - 149;
                x[i] = ldexpf(qm_rng_unit(&q), e);
            }
            qm_quantize_blocks(t, b, x, 256);
            t->to_f32(y, b, 256);
            for (int j = 0; j < 256; j += (int)t->qk) {
                most = 0;
                for (int i = j; i < j + (int)t->qk; i++) most = fmaxf(most, fabsf(x[i]));
                for (int i = j; i < j + (int)t->qk; i++)
                    if (!(fabsf(x[i] - y[i]) <= most * 0.15f + 0x1p-25f))
                        fail_msg("%s, round %d: %.9g became %.9g beside %.9g", t->name, round, (double)x[i],
                                 (double)y[i], (double)most);
            }
        }
    /* whatever is let through stays finite */
    qm_rng r = {3};
    for (int round = 0; round < 4000; round++)
        for (int c = 0; c < N_TYPES; c++) {
            const qm_type_info *t = qm_type_get((uint32_t)types[c]);
            float x[256], y[256];
            unsigned char b[4 * 256];
            for (int i = 0; i < 256; i++) {
                uint32_t u = qm_rng_u32(&r);
                memcpy(x + i, &u, 4);
                if (round % 2) x[i] = ldexpf(qm_rng_unit(&r), (int)(u % 80) - 50);
            }
            for (size_t k; (k = qm_quantize_bad(t, x, 256)) < 256;) x[k] = 0;
            qm_quantize_blocks(t, b, x, 256);
            t->to_f32(y, b, 256);
            for (int i = 0; i < 256; i++) assert_true(isfinite(y[i]));
        }
}

static int dump(const char *dir) {
    for (int k = 0; k < N_KINDS; k++) {
        float *x = tensor(k);
        unsigned char *q = malloc(4 * COUNT);
        for (int i = 0; i < N_TYPES; i++) {
            const qm_type_info *t = qm_type_get((uint32_t)types[i]);
            char path[512];
            qm_quantize_blocks(t, q, x, COUNT);
            snprintf(path, sizeof path, "%s/%s.%s", dir, kinds[k].name, t->name);
            FILE *f = fopen(path, "wb");
            size_t n = qm_row_bytes(t, COUNT);
            if (!f || fwrite(q, 1, n, f) != n || fclose(f)) return perror(path), 1;
        }
        free(x);
        free(q);
    }
    return 0;
}

int main(void) {
    const char *dir = getenv("QMOE_QUANT_DUMP");
    if (dir) return dump(dir);
    const struct CMUnitTest t[] = {cmocka_unit_test(golden),        cmocka_unit_test(exact),
                                   cmocka_unit_test(representable), cmocka_unit_test(powers_of_two),
                                   cmocka_unit_test(independent),   cmocka_unit_test(edges)};
    return cmocka_run_group_tests(t, NULL, NULL);
}
