/* exec_dot.c: dp4a by the instructions that x86 has for it; a quarter of the time of a Q4_K GEMV went
 * there. exec_table.c puts these in the place of the plain loops where the CPU has them.
 *   AVX-512 VNNI: vpdpbusd adds four u8 x s8 products to an s32, without saturation.
 *   AVX2: the even and the odd bytes, widened to 16 bits, by vpmaddwd. */
#include <string.h>
#include "exec.h"
#if defined(__x86_64__)
#include <immintrin.h>

#define VNNI __attribute__((target("avx512f,avx512bw,avx512vl,avx512vnni")))
#define AT(i) (w->r + in->o[i])

/* s x s: a + 128 is unsigned, so take 128 * sum(b) off again. u x u: b - 128 is signed, add 128 * sum(a). */
#define VNNI_OP(name, expr)                                                                             \
    static VNNI int vnni_##name(sim_warp *w, const sim_inst *in, uint32_t m) {                          \
        const __m512i flip = _mm512_set1_epi32((int)0x80808080u), ones = _mm512_set1_epi32(0x01010101), \
                      zero = _mm512_setzero_si512();                                                    \
        (void)flip;                                                                                     \
        (void)ones;                                                                                     \
        (void)zero;                                                                                     \
        for (int h = 0; h < 2; h++) {                                                                   \
            const __m512i a = _mm512_load_si512(AT(1) + 64 * h), b = _mm512_load_si512(AT(2) + 64 * h), \
                          c = _mm512_load_si512(AT(3) + 64 * h);                                        \
            _mm512_mask_store_epi32(AT(0) + 64 * h, (__mmask16)(m >> (16 * h)), (expr));                \
        }                                                                                               \
        return X_NEXT;                                                                                  \
    }
VNNI_OP(us, _mm512_dpbusd_epi32(c, a, b))
VNNI_OP(su, _mm512_dpbusd_epi32(c, b, a))
VNNI_OP(ss, _mm512_sub_epi32(_mm512_dpbusd_epi32(c, _mm512_xor_si512(a, flip), b), _mm512_dpbusd_epi32(zero, flip, b)))
VNNI_OP(uu, _mm512_add_epi32(_mm512_dpbusd_epi32(c, a, _mm512_xor_si512(b, flip)),
                             _mm512_slli_epi32(_mm512_dpbusd_epi32(zero, a, ones), 7)))

#define AVX2 __attribute__((target("avx2")))
static AVX2 inline __m256i even(__m256i x, int sg) {
    return sg ? _mm256_srai_epi16(_mm256_slli_epi16(x, 8), 8) : _mm256_and_si256(x, _mm256_set1_epi16(255));
}
static AVX2 inline __m256i odd(__m256i x, int sg) { return sg ? _mm256_srai_epi16(x, 8) : _mm256_srli_epi16(x, 8); }
#define AVX2_OP(name, sa, sb)                                                                                    \
    static AVX2 int avx2_##name(sim_warp *w, const sim_inst *in, uint32_t m) {                                   \
        const __m256i bit = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);                                      \
        for (int h = 0; h < 4; h++) {                                                                            \
            const __m256i a = _mm256_load_si256((const __m256i *)(AT(1) + 32 * h)),                              \
                          b = _mm256_load_si256((const __m256i *)(AT(2) + 32 * h)),                              \
                          c = _mm256_load_si256((const __m256i *)(AT(3) + 32 * h));                              \
            const __m256i d = _mm256_add_epi32(_mm256_add_epi32(c, _mm256_madd_epi16(even(a, sa), even(b, sb))), \
                                               _mm256_madd_epi16(odd(a, sa), odd(b, sb)));                       \
            const __m256i on =                                                                                   \
                _mm256_cmpeq_epi32(_mm256_and_si256(_mm256_set1_epi32((int)(m >> (8 * h) & 255)), bit), bit);    \
            _mm256_maskstore_epi32((int *)(AT(0) + 32 * h), on, d);                                              \
        }                                                                                                        \
        return X_NEXT;                                                                                           \
    }
AVX2_OP(us, 0, 1)
AVX2_OP(su, 1, 0)
AVX2_OP(ss, 1, 1)
AVX2_OP(uu, 0, 0)

sim_handler sim_dot_better(const char *name, int level) {
    static const struct {
        const char *name;
        sim_handler vnni, avx2;
    } t[] = {{"dp4a_us", vnni_us, avx2_us},
             {"dp4a_su", vnni_su, avx2_su},
             {"dp4a_ss", vnni_ss, avx2_ss},
             {"dp4a_uu", vnni_uu, avx2_uu}};
    __builtin_cpu_init();
    int vnni = level >= 2 && __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512bw") &&
               __builtin_cpu_supports("avx512vl");
    int avx2 = level >= 1 && __builtin_cpu_supports("avx2");
    for (size_t i = 0; i < sizeof t / sizeof t[0]; i++)
        if (!strcmp(name, t[i].name)) return vnni ? t[i].vnni : avx2 ? t[i].avx2 : NULL;
    return NULL;
}
#else
sim_handler sim_dot_better(const char *name, int level) {
    (void)name;
    (void)level;
    return NULL;
}
#endif
