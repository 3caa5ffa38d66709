/* sample: the parts of sample_scan and sample_draw: penalty, order, masses, cuts, random bits (sample.h). */
#include "sample.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Salmon et al. 2011, table 2 and section 3.3: ten rounds of two 32 x 32 bit products, Weyl keys. */
void qm_philox4x32(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4])
{
    uint32_t c[4] = {counter[0], counter[1], counter[2], counter[3]}, k[2] = {key[0], key[1]};
    for (int round = 0; round < 10; round++) {
        uint64_t a = (uint64_t)0xd2511f53u * c[0], b = (uint64_t)0xcd9e8d57u * c[2];
        uint32_t next[4] = {(uint32_t)(b >> 32) ^ c[1] ^ k[0], (uint32_t)b, (uint32_t)(a >> 32) ^ c[3] ^ k[1], (uint32_t)a};
        memcpy(c, next, sizeof c);
        k[0] += 0x9e3779b9u;
        k[1] += 0xbb67ae85u;
    }
    memcpy(out, c, sizeof c);
}

uint64_t qm_sample_bits(uint64_t seed, uint32_t position, uint32_t seq)
{
    uint32_t out[4];
    qm_philox4x32((uint32_t[4]){position, seq, 0, 0}, (uint32_t[2]){(uint32_t)seed, (uint32_t)(seed >> 32)}, out);
    return (uint64_t)out[1] << 32 | out[0];
}

uint32_t qm_order_key(float x)
{
    uint32_t b;
    if (isnan(x)) return 1;
    x += 0.0f; /* -0 becomes 0 */
    memcpy(&b, &x, 4);
    return b >> 31 ? ~b : b | 0x80000000u;
}

float qm_order_value(uint32_t key)
{
    uint32_t b = key >> 31 ? key ^ 0x80000000u : ~key;
    float x;
    memcpy(&x, &b, 4);
    return x;
}

/* x = n ln 2 + r, |r| <= 0.35; e^r by its series to r^7 (the rest is below 0.1 ulp); times 2^n. Single roundings
 * in this order, as the device does them. ln 2 in two parts, the first with enough zeros to make n * LN2_HI exact. */
float qm_sample_exp(float x)
{
    if (!(x > -31.0f)) return 0;
    float n = rintf(x * 0x1.715476p+0f);
    float r = fmaf(n, -0x1.62e4p-1f, x);
    r = fmaf(n, -0x1.7f7d1cp-20f, r);
    float p = 0x1.a01a02p-13f;         /* 1/7! */
    p = fmaf(p, r, 0x1.6c16c2p-10f);   /* 1/6! */
    p = fmaf(p, r, 0x1.111112p-7f);    /* 1/5! */
    p = fmaf(p, r, 0x1.555556p-5f);    /* 1/4! */
    p = fmaf(p, r, 0x1.555556p-3f);    /* 1/3! */
    p = fmaf(p, r, 0.5f);
    p = fmaf(p, r, 1.0f);
    p = fmaf(p, r, 1.0f);
    uint32_t b = (uint32_t)((int32_t)n + 127) << 23;
    float scale;
    memcpy(&scale, &b, 4);
    return p * scale;
}

uint64_t qm_sample_mass(uint32_t key, uint32_t first_key, float temperature)
{
    if (key == first_key) return QM_SAMPLE_ONE;
    float d = qm_order_value(key) - qm_order_value(first_key);
    return (uint64_t)(qm_sample_exp(d / temperature) * (float)QM_SAMPLE_ONE);
}

void qm_sample_keys(uint32_t *keys, const float *logits, uint32_t n, const qm_sample_params *p, const uint32_t *tokens,
                    uint32_t pos)
{
    uint32_t count = p->penalty == 1 ? 0 : p->last_n > pos ? pos + 1 : p->last_n;
    for (uint32_t i = 0; i < n; i++) keys[i] = qm_order_key(logits[i]);
    for (uint32_t i = pos + 1 - count; i != pos + 1; i++) {
        uint32_t id = tokens[i];
        if (id >= n) continue;
        float l = logits[id]; /* from the logit, not from the key: twice is as once */
        keys[id] = qm_order_key(l > 0 ? l / p->penalty : l * p->penalty);
    }
}

static int falling(const void *a, const void *b)
{
    uint64_t x, y;
    memcpy(&x, a, 8);
    memcpy(&y, b, 8);
    return (x < y) - (x > y);
}

void qm_sample_order(uint64_t *items, const uint32_t *keys, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) items[i] = qm_sample_item(keys[i], i);
    qsort(items, n, sizeof *items, falling);
}

static uint64_t mass(const uint64_t *items, uint32_t i, const qm_sample_params *p)
{
    return qm_sample_mass((uint32_t)(items[i] >> 32), (uint32_t)(items[0] >> 32), p->temperature);
}

qm_sample_kept qm_sample_keep(const uint64_t *items, uint32_t n, const qm_sample_params *p)
{
    qm_sample_kept k = {p->top_k && p->top_k < n ? p->top_k : n, 0};
    if (p->top_p < 1) {
        uint64_t total = 0, sum = 0;
        for (uint32_t i = 0; i < k.n; i++) total += mass(items, i, p);
        uint64_t want = (uint64_t)(p->top_p * (double)total);
        if (!want) want = 1;
        uint32_t i = 0;
        while (sum < want) sum += mass(items, i++, p);
        k.n = i;
    }
    for (uint32_t i = 0; i < k.n; i++) {
        uint64_t m = mass(items, i, p);
        if (m >= p->min_mass) k.total += m;
    }
    return k;
}

uint32_t qm_sample_pick(const uint64_t *items, qm_sample_kept kept, const qm_sample_params *p, uint64_t bits)
{
    uint64_t r = (uint64_t)((unsigned __int128)bits * kept.total >> 64), sum = 0;
    for (uint32_t i = 0;; i++) {
        uint64_t m = mass(items, i, p);
        if (m >= p->min_mass) sum += m;
        if (sum > r) return ~(uint32_t)items[i];
    }
}
