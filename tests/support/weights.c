/* weights.c: see weights.h. */
#include "weights.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

const int wt_types[WT_PRODUCTS] = {
#define QM_STREAM_LOADED QM_STREAM
#define QM_STREAM(word, WORD, ...) QM_TYPE_##WORD,
#include "../../contracts/streams.def"
#undef QM_STREAM
};

uint32_t wt_unit(const qm_type_info *t) { return t->qk > 32 ? t->qk : 32; }

static void put_half(unsigned char *at, float f) {
    uint16_t h = qm_f32_to_f16(f);
    memcpy(at, &h, 2);
}

void *wt_random(const qm_type_info *t, size_t n_rows, size_t n_cols) {
    qm_rng *r = chk_rng();
    size_t n = n_rows * n_cols, bytes = n_rows * qm_row_bytes(t, n_cols);
    unsigned char *raw = chk_tmp(bytes);
    if (!t->q16a) {
        for (size_t i = 0; i < n; i++) {
            float f = qm_rng_normal(r);
            uint16_t h = t->type == QM_TYPE_F16 ? qm_f32_to_f16(f) : qm_f32_to_bf16(f);
            if (t->type == QM_TYPE_F32) memcpy(raw + 4 * i, &f, 4);
            else memcpy(raw + 2 * i, &h, 2);
        }
        return raw;
    }
    for (size_t i = 0; i < bytes; i++) raw[i] = (unsigned char)(qm_rng_u32(r) >> 24);
    /* one over the spread of (scale times weight) of a block of random bytes */
    float unit = t->type == QM_TYPE_Q8_0   ? 1 / 74.f
                 : t->type == QM_TYPE_Q6_K ? 1 / 1365.f
                 : t->type == QM_TYPE_Q4_K ? 1 / 250.f
                                           : 1 / 500.f;
    for (unsigned char *b = raw; b < raw + bytes; b += t->bytes) {
        float d = unit * qm_rng_normal(r);
        if (!qm_rng_below(r, 64)) d = 0;
        put_half(b + (t->type == QM_TYPE_Q6_K ? 208 : 0), d);
        if (t->type == QM_TYPE_Q4_K || t->type == QM_TYPE_Q5_K) put_half(b + 2, qm_rng_normal(r) / 32);
    }
    return raw;
}

uint64_t wt_in(const char *name, const qm_type_info *t, size_t n_expert, size_t n_rows, size_t n_cols) {
    size_t raw_bytes = n_rows * qm_row_bytes(t, n_cols), packed_bytes = qm_pack_bytes(t, n_rows, n_cols);
    unsigned char *raw = wt_random(t, n_expert * n_rows, n_cols), *packed = chk_tmp(n_expert * packed_bytes);
    for (size_t e = 0; e < n_expert; e++) qm_pack(packed + e * packed_bytes, raw + e * raw_bytes, t, n_rows, n_cols);
    return chk_in2(name, packed, n_expert * packed_bytes, raw, n_expert * raw_bytes);
}

size_t wt_act_bytes(const qm_type_info *t, size_t n_cols) { return t->q16a ? QM_Q16A_BYTES(n_cols) : 4 * n_cols; }

uint64_t wt_act_in(const char *name, const qm_type_info *t, size_t n_vec, size_t n_cols) {
    size_t bytes = wt_act_bytes(t, n_cols);
    float *x = chk_normal(n_vec * n_cols, 1);
    for (size_t g = 0; g < n_vec * n_cols / 32; g++) { /* groups of very different size, and some of zeros */
        uint32_t kind = qm_rng_below(chk_rng(), 16);
        float s = kind == 0 ? 0 : kind == 1 ? 30 : kind == 2 ? 0.01f : 1;
        for (int i = 0; i < 32; i++) x[32 * g + (size_t)i] *= s;
    }
    if (!t->q16a) return chk_in(name, x, n_vec * bytes);
    unsigned char *q = chk_tmp(n_vec * bytes);
    for (size_t v = 0; v < n_vec; v++) qm_q16a_quantize(q + v * bytes, x + v * n_cols, n_cols);
    return chk_in(name, q, n_vec * bytes);
}

double wt_act_norm(const qm_type_info *t, uint64_t d, size_t n_cols) {
    float *x = malloc(4 * n_cols); /* not chk_tmp: it may be asked of hundreds of vectors */
    double sum = 0;
    if (!x) chk_fail("out of memory");
    if (t->q16a) qm_q16a_dequantize(x, chk_twin(d), n_cols);
    else memcpy(x, chk_twin(d), 4 * n_cols);
    for (size_t i = 0; i < n_cols; i++) sum += (double)x[i] * (double)x[i];
    free(x);
    return sqrt(sum);
}

double wt_products_norm(const qm_type_info *t, uint64_t d, uint64_t stride, size_t n_cols, const float *scale,
                        uint32_t n_slots, uint32_t rows) {
    double norm = 0;
    for (uint32_t e = 0; e < n_slots; e++) {
        const double v = (scale ? (double)scale[e] : 1) * wt_act_norm(t, d + e * stride, n_cols);
        norm += rows * v * v;
    }
    return sqrt(norm);
}

void wt_compare(uint64_t d, size_t n, double norm, double tol) {
    const float *ref = chk_twin(d);
    double own = 0;
    for (size_t i = 0; i < n; i++) own += (double)ref[i] * (double)ref[i];
    own = sqrt(own);
    chk_f32(d, n, own > 0 && own < norm / 2 ? tol * norm / 2 / own : tol);
}
