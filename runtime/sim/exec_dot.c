/* exec_dot.c: dp4a and mma of bytes by the instructions that x86 has for them; a quarter of the time of a Q4_K GEMV
 * went to dp4a, and of a GEMM's most to mma. exec_table.c puts these in the place of the plain loops where the CPU has
 * them.
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

/* mma of bytes. Four lanes make one row of C, columns 0, 2, 4, 6 in one register and 1, 3, 5, 7 in the next, and
 * hold that row's 16 bytes of A (exec_mma.inc). So word j of a row is broadcast among its four lanes by one shuffle,
 * and meets word j of four columns of B, the same for all rows. */
typedef struct {
    int32_t v[2][8][4]; /* [odd][word of K][column / 2] */
} columns;
static inline void columns_of(columns *b, const sim_warp *w, const uint32_t *reg, int nb) {
    for (int i = 0; i < nb; i++)
        for (int c = 0; c < 8; c++)
            for (int j = 0; j < 4; j++) memcpy(&b->v[c & 1][4 * i + j][c >> 1], w->r + reg[i] + 16 * c + 4 * j, 4);
}

/* Any signs: the even and the odd bytes of both, by vpmaddwd. */
static AVX2 int avx2_mma(sim_warp *w, const sim_inst *in, uint32_t m) {
    if (m != SIM_FULL) return sim_part_of_warp(w, in, m);
    const uint32_t *aux = w->cta->f->aux + in->aux;
    const int nk = in->n / 16, sa = in->cmp, sb = in->bop;
    columns b;
    columns_of(&b, w, aux + 4 + 2 * nk, nk);
    __m256i B[2][8][2], out[4][4];
    for (int o = 0; o < 2; o++)
        for (int j = 0; j < 4 * nk; j++) {
            const __m256i x = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)b.v[o][j]));
            B[o][j][0] = even(x, sb);
            B[o][j][1] = odd(x, sb);
        }
    for (int h = 0; h < 2; h++)
        for (int q = 0; q < 4; q++) {
            __m256i c[2] = {_mm256_setzero_si256(), _mm256_setzero_si256()};
            for (int i = 0; i < nk; i++) {
                const __m256i a = _mm256_load_si256((const __m256i *)(w->r + aux[4 + 2 * i + h] + 32 * q)),
                              e = even(a, sa), d = odd(a, sa);
#define STEP(j)                                                                                          \
    do {                                                                                                 \
        const __m256i x = _mm256_shuffle_epi32(e, (j)*0x55), y = _mm256_shuffle_epi32(d, (j)*0x55);      \
        for (int o = 0; o < 2; o++)                                                                      \
            c[o] = _mm256_add_epi32(c[o], _mm256_add_epi32(_mm256_madd_epi16(x, B[o][4 * i + (j)][0]),   \
                                                           _mm256_madd_epi16(y, B[o][4 * i + (j)][1]))); \
    } while (0)
                STEP(0);
                STEP(1);
                STEP(2);
                STEP(3);
#undef STEP
            }
            for (int o = 0; o < 2; o++) {
                const __m256i was = _mm256_load_si256((const __m256i *)(w->r + aux[4 + 3 * nk + 2 * h + o] + 32 * q)),
                              sum = _mm256_add_epi32(was, c[o]);
                /* two of one sign gave the other: it saturates at the end that was's sign names */
                const __m256i over =
                    _mm256_srai_epi32(_mm256_andnot_si256(_mm256_xor_si256(was, c[o]), _mm256_xor_si256(was, sum)), 31);
                const __m256i end = _mm256_xor_si256(_mm256_srai_epi32(was, 31), _mm256_set1_epi32(INT32_MAX));
                out[2 * h + o][q] = in->mod & F_SAT ? _mm256_blendv_epi8(sum, end, over) : sum;
            }
        }
    for (int i = 0; i < 4; i++)
        for (int q = 0; q < 4; q++) _mm256_store_si256((__m256i *)(w->r + aux[i] + 32 * q), out[i][q]);
    return X_NEXT;
}

/* Signed B; a signed A is taken + 128, and 128 * sum(b) off its C. */
static VNNI int vnni_mma(sim_warp *w, const sim_inst *in, uint32_t m) {
    if (m != SIM_FULL) return sim_part_of_warp(w, in, m);
    if (!in->bop || in->mod & F_SAT) return avx2_mma(w, in, m);
    const uint32_t *aux = w->cta->f->aux + in->aux;
    const int nk = in->n / 16;
    const __m512i flip = _mm512_set1_epi32(in->cmp ? (int)0x80808080u : 0);
    const __m512i even = _mm512_setr_epi32(0, 8, 16, 24, 0, 8, 16, 24, 0, 8, 16, 24, 0, 8, 16, 24);
    __m512i B[2][8], off[2] = {_mm512_setzero_si512(), _mm512_setzero_si512()}, out[4][2];
    for (int o = 0; o < 2; o++)
        for (int j = 0; j < 4 * nk; j++) {
            const uint8_t *b = w->r + aux[4 + 2 * nk + j / 4];
            const __m512i at = _mm512_add_epi32(even, _mm512_set1_epi32(4 * o + j % 4));
            B[o][j] = _mm512_permutex2var_epi32(_mm512_load_si512(b), at, _mm512_load_si512(b + 64));
            off[o] = _mm512_dpbusd_epi32(off[o], flip, B[o][j]);
        }
    for (int h = 0; h < 2; h++)
        for (int q = 0; q < 2; q++) {
            __m512i c[2];
            for (int o = 0; o < 2; o++)
                c[o] = _mm512_sub_epi32(_mm512_load_si512(w->r + aux[4 + 3 * nk + 2 * h + o] + 64 * q), off[o]);
            for (int i = 0; i < nk; i++) {
                const __m512i a = _mm512_xor_si512(_mm512_load_si512(w->r + aux[4 + 2 * i + h] + 64 * q), flip);
#define STEP(j)                                                               \
    do {                                                                      \
        const __m512i x = _mm512_shuffle_epi32(a, (_MM_PERM_ENUM)((j)*0x55)); \
        c[0] = _mm512_dpbusd_epi32(c[0], x, B[0][4 * i + (j)]);               \
        c[1] = _mm512_dpbusd_epi32(c[1], x, B[1][4 * i + (j)]);               \
    } while (0)
                STEP(0);
                STEP(1);
                STEP(2);
                STEP(3);
#undef STEP
            }
            out[2 * h][q] = c[0];
            out[2 * h + 1][q] = c[1];
        }
    for (int i = 0; i < 4; i++)
        for (int q = 0; q < 2; q++) _mm512_store_si512(w->r + aux[i] + 64 * q, out[i][q]);
    return X_NEXT;
}

sim_handler sim_dot_better(const char *name, int level) {
    static const struct {
        const char *name;
        sim_handler vnni, avx2;
    } t[] = {{"dp4a_us", vnni_us, avx2_us},
             {"dp4a_su", vnni_su, avx2_su},
             {"dp4a_ss", vnni_ss, avx2_ss},
             {"dp4a_uu", vnni_uu, avx2_uu},
             {"mma_s8", vnni_mma, avx2_mma}};
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
