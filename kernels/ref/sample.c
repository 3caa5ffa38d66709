/* sample: the parts of sample_scan and sample_draw: biases, penalties, order, masses, cuts, random bits (sample.h). */
#include "sample.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Salmon et al. 2011, table 2 and section 3.3: ten rounds of two 32 x 32 bit products, Weyl keys. */
void qm_philox4x32(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]) {
    uint32_t c[4] = {counter[0], counter[1], counter[2], counter[3]}, k[2] = {key[0], key[1]};
    for (int round = 0; round < 10; round++) {
        uint64_t a = (uint64_t)0xd2511f53u * c[0], b = (uint64_t)0xcd9e8d57u * c[2];
        uint32_t next[4] = {(uint32_t)(b >> 32) ^ c[1] ^ k[0], (uint32_t)b, (uint32_t)(a >> 32) ^ c[3] ^ k[1],
                            (uint32_t)a};
        memcpy(c, next, sizeof c);
        k[0] += 0x9e3779b9u;
        k[1] += 0xbb67ae85u;
    }
    memcpy(out, c, sizeof c);
}

uint64_t qm_sample_bits(uint64_t seed, uint32_t position, uint32_t seq) {
    uint32_t out[4];
    qm_philox4x32((uint32_t[4]){position, seq, 0, 0}, (uint32_t[2]){(uint32_t)seed, (uint32_t)(seed >> 32)}, out);
    return (uint64_t)out[1] << 32 | out[0];
}

uint32_t qm_order_key(float x) {
    uint32_t b;
    if (isnan(x)) return 1;
    x += 0.0f; /* -0 becomes 0 */
    memcpy(&b, &x, 4);
    return b >> 31 ? ~b : b | 0x80000000u;
}

float qm_order_value(uint32_t key) {
    uint32_t b = key >> 31 ? key ^ 0x80000000u : ~key;
    float x;
    memcpy(&x, &b, 4);
    return x;
}

/* x = n ln 2 + r, |r| <= 0.35; e^r by its series to r^7 (the rest is below 0.1 ulp); times 2^n. Single roundings
 * in this order, as the device does them. ln 2 in two parts, the first with enough zeros to make n * LN2_HI exact. */
float qm_sample_exp(float x) {
    if (!(x > -31.0f)) return 0;
    float n = rintf(x * 0x1.715476p+0f);
    float r = fmaf(n, -0x1.62e4p-1f, x);
    r = fmaf(n, -0x1.7f7d1cp-20f, r);
    float p = 0x1.a01a02p-13f;       /* 1/7! */
    p = fmaf(p, r, 0x1.6c16c2p-10f); /* 1/6! */
    p = fmaf(p, r, 0x1.111112p-7f);  /* 1/5! */
    p = fmaf(p, r, 0x1.555556p-5f);  /* 1/4! */
    p = fmaf(p, r, 0x1.555556p-3f);  /* 1/3! */
    p = fmaf(p, r, 0.5f);
    p = fmaf(p, r, 1.0f);
    p = fmaf(p, r, 1.0f);
    uint32_t b = (uint32_t)((int32_t)n + 127) << 23;
    float scale;
    memcpy(&scale, &b, 4);
    return p * scale;
}

uint64_t qm_sample_mass(uint32_t key, uint32_t first_key, float temperature) {
    if (key == first_key) return QM_SAMPLE_ONE;
    float d = qm_order_value(key) - qm_order_value(first_key);
    return (uint64_t)(qm_sample_exp(d / temperature) * (float)QM_SAMPLE_ONE);
}

/* One logit; each line is one rounding. */
static float edit(float l, uint32_t count, const float *bias, const qm_sample_params *p) {
    if (bias) l += *bias;
    if (!count) return l;
    l = l > 0 ? l / p->penalty : l * p->penalty;
    float less = (float)count * p->frequency;
    less += p->presence;
    return l - less;
}

/* keys[] first holds what there is to do for each id, as on the device: {number of its bias + 1, its count}. */
void qm_sample_keys(uint32_t *keys, const float *logits, uint32_t n, const qm_sample_params *p,
                    const qm_sample_bias *bias, const uint32_t *tokens, uint32_t pos) {
    uint32_t window = p->last_n > pos ? pos + 1 : p->last_n;
    memset(keys, 0, n * sizeof *keys);
    for (uint32_t i = 0; i < p->n_bias; i++)
        if (bias[i].id < n) keys[bias[i].id] = (i + 1) << QM_SAMPLE_COUNT_BITS;
    for (uint32_t i = pos + 1 - window; i != pos + 1; i++)
        if (tokens[i] < n) keys[tokens[i]]++;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t number = keys[i] >> QM_SAMPLE_COUNT_BITS;
        float l = logits[i];
        if (keys[i]) l = edit(l, keys[i] & QM_SAMPLE_WINDOW, number ? &bias[number - 1].bias : NULL, p);
        keys[i] = qm_order_key(l);
    }
}

void qm_sample_mask(uint32_t *keys, uint32_t n, const uint32_t *mask) {
    for (uint32_t i = 0; i < n; i++)
        if (!(mask[i / 32] >> i % 32 & 1)) keys[i] = qm_order_key(NAN);
}

static int falling(const void *a, const void *b) {
    uint64_t x, y;
    memcpy(&x, a, 8);
    memcpy(&y, b, 8);
    return (x < y) - (x > y);
}

void qm_sample_order(uint64_t *items, const uint32_t *keys, uint32_t n) {
    for (uint32_t i = 0; i < n; i++) items[i] = qm_sample_item(keys[i], i);
    qsort(items, n, sizeof *items, falling);
}

/* The mass of item i at temperature t; 0 where its mass for min_p is below `least`. */
static uint64_t mass(const uint64_t *items, uint32_t i, float t, uint64_t least, const qm_sample_params *p) {
    uint32_t key = (uint32_t)(items[i] >> 32), first = (uint32_t)(items[0] >> 32);
    return least && qm_sample_mass(key, first, p->min_temperature) < least ? 0 : qm_sample_mass(key, first, t);
}
static uint64_t cut_mass(const uint64_t *items, uint32_t i, const qm_sample_params *p) {
    return mass(items, i, p->cut_temperature, p->cut_min_mass, p);
}
static uint64_t draw_mass(const uint64_t *items, uint32_t i, const qm_sample_params *p) {
    return mass(items, i, p->temperature, p->min_mass, p);
}

qm_sample_kept qm_sample_keep(const uint64_t *items, uint32_t n, const qm_sample_params *p) {
    uint32_t n_k = p->top_k && p->top_k < n ? p->top_k : n;
    qm_sample_kept k = {p->k_late ? n : n_k, 0};
    if (p->top_p < 1) {
        uint64_t total = 0, sum = 0;
        for (uint32_t i = 0; i < k.n; i++) total += cut_mass(items, i, p);
        uint64_t want = (uint64_t)(p->top_p * (double)total);
        if (!want) want = 1;
        uint32_t i = 0;
        while (sum < want) sum += cut_mass(items, i++, p);
        k.n = i;
    }
    if (k.n > n_k) k.n = n_k;
    for (uint32_t i = 0; i < k.n; i++) k.total += draw_mass(items, i, p);
    return k;
}

uint32_t qm_sample_pick(const uint64_t *items, qm_sample_kept kept, const qm_sample_params *p, uint64_t bits) {
    uint64_t r = (uint64_t)((unsigned __int128)bits * kept.total >> 64), sum = 0;
    for (uint32_t i = 0;; i++) {
        sum += draw_mass(items, i, p);
        if (sum > r) return ~(uint32_t)items[i];
    }
}

/* The largest items so far stand first, in order: an item that is among them moves in. */
void qm_sample_tell(qm_result *r, const float *logits, uint32_t n, uint32_t token) {
    uint64_t top[QM_RESULT_N_TOP] = {0};
    for (uint32_t i = 0; i < n; i++) {
        uint64_t item = qm_sample_item(qm_order_key(logits[i]), i);
        for (int k = 0; k < QM_RESULT_N_TOP; k++) {
            if (item < top[k]) continue;
            uint64_t less = top[k];
            top[k] = item;
            item = less;
        }
    }
    const uint32_t first = (uint32_t)(top[0] >> 32);
    r->sum = 0;
    for (uint32_t i = 0; i < n; i++) r->sum += qm_sample_mass(qm_order_key(logits[i]), first, 1);
    r->first = qm_order_value(first);
    r->chosen = logits[token < n ? token : n - 1]; /* nothing beyond them is read, whatever it is */
    for (uint32_t k = 0; k < QM_RESULT_N_TOP && k < n; k++) {
        r->top[k].id = ~(uint32_t)top[k];
        r->top[k].logit = qm_order_value((uint32_t)(top[k] >> 32));
    }
}
