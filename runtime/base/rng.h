/* rng.h: a small seeded generator for tests and synthetic weights (SplitMix64; Steele, Lea, Flood,
 * OOPSLA 2014). Sampling does not use it: that is Philox, on the device. */
#ifndef QM_RNG_H
#define QM_RNG_H
#include <stdint.h>
typedef struct {
    uint64_t s;
} qm_rng;
static inline uint64_t qm_rng_u64(qm_rng *r) {
    uint64_t z = (r->s += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}
static inline uint32_t qm_rng_u32(qm_rng *r) { return (uint32_t)(qm_rng_u64(r) >> 32); }
/* [0, n) for n > 0; bias below 2^-32. */
static inline uint32_t qm_rng_below(qm_rng *r, uint32_t n) { return (uint32_t)(((uint64_t)qm_rng_u32(r) * n) >> 32); }
/* [-1, 1) */
static inline float qm_rng_unit(qm_rng *r) { return (float)(int32_t)qm_rng_u32(r) * 0x1p-31f; }
/* Near-normal with unit variance: sum of four uniforms (variance 4/3). Bounded by 3.47. */
static inline float qm_rng_normal(qm_rng *r) {
    float s = qm_rng_unit(r); /* one draw a statement: C does not say which operand of + comes first */
    s += qm_rng_unit(r);
    s += qm_rng_unit(r);
    s += qm_rng_unit(r);
    return s * 0.8660254f;
}
#endif
