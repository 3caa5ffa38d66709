/* order.c: see order.h. */
#include "order.h"
#include <string.h>

/* Four words of a block, each by itself. */
typedef uint32_t words __attribute__((vector_size(16)));

static words load(const uint8_t *from) {
    words w;
    memcpy(&w, from, sizeof w);
    return w;
}
static void store(uint8_t *to, words w) { memcpy(to, &w, sizeof w); }

/* n bits that bits `at` .. of a sum lack to be `bits`. A sum has what is known of it; bits below `at` are final. */
static words lacks(words bits, words sum, int at, int n) { return (bits - (sum >> at)) & ((1u << n) - 1); }

/* 32 weights of five bits in five words: from the low byte on, and in it in an order in which each sum lacks one thing. */
static void five(words w[5], const words q[8]) {
    words a = q[1] << 3, b = q[3] << 3, c = q[5] << 3, d = q[4] << 3, e = q[7] << 3;
    for (int i = 0; i < 32; i += 8) {
        const words q0 = q[0] >> i, q2 = q[2] >> i, q6 = q[6] >> i;
        b |= lacks(q0, 4 * a + b, i, 2) << i;
        b |= lacks(q2, b + 8 * c + 16 * d, i + 2, 1) << (i + 2);
        a |= lacks(q0 >> 2, 4 * a + b, i + 2, 3) << i;
        d |= lacks(q6, d + 4 * e, i, 2) << i;
        c |= lacks(q2 >> 1, b + 8 * c + 16 * d, i + 3, 3) << i;
        d |= lacks(q2 >> 4, b + 8 * c + 16 * d, i + 6, 1) << (i + 2);
        e |= lacks(q6 >> 2, d + 4 * e, i + 2, 3) << i;
    }
    w[0] = a, w[1] = b, w[2] = c, w[3] = d, w[4] = e;
}

void qm_order_five(uint8_t *dst, const uint8_t *block) {
    memcpy(dst, block, 16);
    for (size_t l = 0; l < 32; l += sizeof(words)) {
        const words qh = load(block + 16 + l);
        words q[8], w[5];
        for (int j = 0; j < 8; j++)
            q[j] = (load(block + 48 + j / 2 * 32 + l) >> 4 * (j % 2) & 0x0f0f0f0f) | (qh >> j & 0x01010101) << 4;
        five(w, q);
        for (size_t k = 0; k < 5; k++) store(dst + 16 + 32 * k + l, w[k]);
    }
}

/* Sixteen weights, p = q - 32 as six bits, in three words. What p3 takes is added up from the low byte on: the bits that the sum
 * has without it, and what it carries, are known then. */
static void six(words w[3], const words p[4]) {
    for (int k = 0; k < 3; k++) w[k] = p[k] << 2;
    words sum = w[0] + 4 * w[1] + 16 * w[2], low = {0};
    for (int i = 0; i < 32; i += 8) {
        const words part = lacks(p[3] >> i, sum, i, 6) << i;
        sum += part;
        low |= part;
    }
    for (int k = 0; k < 3; k++) w[k] |= low >> 2 * k & 0x03030303;
}

void qm_order_six(uint8_t *dst, const uint8_t *block) {
    enum { LO = 0x0f0f0f0f, HI = 0x30303030, SIGN = 0x20202020 };
    memcpy(dst + 192, block + 192, 18);
    for (size_t h = 0; h < 2; h++)
        for (size_t l = 0; l < 32; l += sizeof(words)) {
            const words a = load(block + 64 * h + l), b = load(block + 64 * h + 32 + l),
                        c = load(block + 128 + 32 * h + l);
            const words p[4] = {((a & LO) | (c << 4 & HI)) ^ SIGN, ((b & LO) | (c << 2 & HI)) ^ SIGN,
                                ((a >> 4 & LO) | (c & HI)) ^ SIGN, ((b >> 4 & LO) | (c >> 2 & HI)) ^ SIGN};
            words w[3];
            six(w, p);
            for (size_t k = 0; k < 3; k++) store(dst + 64 * k + 32 * h + l, w[k]);
        }
}
