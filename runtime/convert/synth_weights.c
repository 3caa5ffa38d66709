/* synth_weights.c: random blocks, written directly in each type's format (quant.h names the formats).
 * Every number is exact arithmetic on seeded integers and single roundings, so that the bytes are the
 * same on every host. */
#include "../file/quant.h"
#include "quantize.h"
#include "synth.h"
#include <string.h>

/* FNV-1a (Fowler, Noll, Vo), 64 bits. */
static uint64_t fnv(const char *s) {
    uint64_t h = 0xcbf29ce484222325u;
    for (; *s; s++) h = (h ^ (uint8_t)*s) * 0x100000001b3u;
    return h;
}

static void put16(uint8_t *p, uint32_t v) {
    p[0] = (uint8_t)v;
    p[1] = (uint8_t)(v >> 8);
}
static void put64(uint8_t *p, uint64_t v) {
    for (int i = 0; i < 8; i++) p[i] = (uint8_t)(v >> 8 * i);
}

/* d, dmin and 8 six-bit (scale, min) pairs: Q4_K and Q5_K. q is uniform in 0..top, so a min of about
 * scale * top/2 centres the weights: dmin = d * top/2 and m near sc. */
static void head_k(uint8_t *h, qm_rng *r, float d, float half_top) {
    uint32_t sc[8], m[8];
    for (int j = 0; j < 8; j++) {
        sc[j] = 32 + qm_rng_below(r, 32);
        m[j] = sc[j] + qm_rng_below(r, 5) - 2;
        if (m[j] > 63) m[j] = 63;
    }
    put16(h, qm_f32_to_f16(d));
    put16(h + 2, qm_f32_to_f16(d * half_top));
    for (int j = 0; j < 4; j++) {
        h[4 + j] = (uint8_t)(sc[j] | (sc[j + 4] >> 4) << 6);
        h[8 + j] = (uint8_t)(m[j] | (m[j + 4] >> 4) << 6);
        h[12 + j] = (uint8_t)((sc[j + 4] & 15) | (m[j + 4] & 15) << 4);
    }
}

void qm_synth_stream_init(qm_synth_stream *s, uint64_t seed, const char *name, uint32_t type, float sigma, int norm) {
    memset(s, 0, sizeof *s);
    qm_rng mix = {seed};
    s->rng.s = qm_rng_u64(&mix) ^ fnv(name);
    s->type = type;
    s->sigma = sigma;
    s->norm = norm;
    for (int i = 0; i < 64; i++) {
        uint8_t *h = s->heads[i];
        float d = sigma * ((float)(96 + i) * 0x1p-7f); /* 0.75 .. 1.24, times */
        /* rms of a code times rms of a scale: scales are uniform in 32..63 (48.4), 64..127 (97.3) */
        switch (type) {
        case QM_TYPE_Q4_K: head_k(h, &s->rng, d / 223.0f, 7.5f); break;  /* 4.61 * 48.4 */
        case QM_TYPE_Q5_K: head_k(h, &s->rng, d / 446.8f, 15.5f); break; /* 9.23 * 48.4 */
        case QM_TYPE_Q6_K:                                               /* 18.5 * 97.3 */
            for (int j = 0; j < 16; j++) {
                uint32_t v = qm_rng_u32(&s->rng);
                int sc = 64 + (int)(v & 63);
                h[j] = (uint8_t)(v >> 31 ? -sc : sc);
            }
            put16(h + 16, qm_f32_to_f16(d / 1798.0f));
            break;
        case QM_TYPE_Q8_0: put16(h, qm_f32_to_f16(d / 73.3f)); break;
        default: break;
        }
    }
}

static void codes(qm_rng *r, uint8_t *p, size_t n) {
    for (size_t i = 0; i < n; i += 8) put64(p + i, qm_rng_u64(r));
}

static float weight(qm_synth_stream *s) {
    float v = s->sigma * qm_rng_normal(&s->rng); /* a statement of its own: never fused with the sum */
    return s->norm ? 1.0f + v : v;
}

/* A block of any type, by the quantiser: for the types that have no quicker way here. */
static size_t quantised(qm_synth_stream *s, uint8_t *out) {
    const qm_type_info *t = qm_type_get(s->type);
    float x[256];
    for (uint32_t i = 0; i < t->qk; i++) x[i] = weight(s);
    qm_quantize_blocks(t, out, x, t->qk);
    return t->bytes;
}

void qm_synth_stream_next(qm_synth_stream *s, uint8_t *out, size_t n) {
    qm_rng *r = &s->rng;
    for (size_t i = 0; i < n; i++) {
        const uint8_t *h = s->heads[qm_rng_below(r, 64)];
        float f;
        uint32_t u;
        switch (s->type) {
        case QM_TYPE_Q4_K:
            memcpy(out, h, 16);
            codes(r, out + 16, 128);
            out += 144;
            break;
        case QM_TYPE_Q5_K:
            memcpy(out, h, 16);
            codes(r, out + 16, 160);
            out += 176;
            break;
        case QM_TYPE_Q6_K:
            codes(r, out, 192);
            memcpy(out + 192, h, 18);
            out += 210;
            break;
        case QM_TYPE_Q8_0:
            memcpy(out, h, 2);
            codes(r, out + 2, 32);
            for (int j = 2; j < 34; j++) out[j] = out[j] == 0x80 ? 0x81 : out[j]; /* quantisers stop at -127 */
            out += 34;
            break;
        case QM_TYPE_F16:
            put16(out, qm_f32_to_f16(weight(s)));
            out += 2;
            break;
        case QM_TYPE_BF16:
            put16(out, qm_f32_to_bf16(weight(s)));
            out += 2;
            break;
        case QM_TYPE_F32:
            f = weight(s);
            if (s->bf16) f = qm_bf16_to_f32(qm_f32_to_bf16(f));
            memcpy(&u, &f, 4);
            put16(out, u & 0xffff);
            put16(out + 2, u >> 16);
            out += 4;
            break;
        default: out += quantised(s, out); break;
        }
    }
}
