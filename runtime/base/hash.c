#include "hash.h"
#include <string.h>
#include <sys/auxv.h>
#include <sys/random.h>

qm_hash_key qm_hash_key_new(void) {
    qm_hash_key key;
    if (getrandom(&key, sizeof key, GRND_NONBLOCK) == (ssize_t)sizeof key) return key;
    /* early in a boot, or a kernel without the call: 16 random bytes that each process was given */
    const void *given = (const void *)getauxval(AT_RANDOM);
    if (given) memcpy(&key, given, sizeof key);
    else key = (qm_hash_key){{(uintptr_t)&key, (uintptr_t)&qm_hash_key_new}};
    return key;
}

static uint64_t rotl(uint64_t x, int b) { return x << b | x >> (64 - b); }
static void sip_round(uint64_t v[4]) {
    v[0] += v[1], v[1] = rotl(v[1], 13) ^ v[0], v[0] = rotl(v[0], 32);
    v[2] += v[3], v[3] = rotl(v[3], 16) ^ v[2];
    v[0] += v[3], v[3] = rotl(v[3], 21) ^ v[0];
    v[2] += v[1], v[1] = rotl(v[1], 17) ^ v[2], v[2] = rotl(v[2], 32);
}

uint64_t qm_siphash(const qm_hash_key *key, const void *a, size_t na, const void *b, size_t nb) {
    uint64_t v[4] = {key->k[0] ^ 0x736f6d6570736575u, key->k[1] ^ 0x646f72616e646f6du, key->k[0] ^ 0x6c7967656e657261u,
                     key->k[1] ^ 0x7465646279746573u};
    const size_t n = na + nb;
    uint64_t word = 0;
    for (size_t i = 0; i < n; i++) {
        word |= (uint64_t)(i < na ? ((const uint8_t *)a)[i] : ((const uint8_t *)b)[i - na]) << 8 * (i & 7);
        if ((i & 7) != 7) continue;
        v[3] ^= word;
        sip_round(v);
        v[0] ^= word;
        word = 0;
    }
    word |= (uint64_t)n << 56;
    v[3] ^= word;
    sip_round(v);
    v[0] ^= word;
    v[2] ^= 0xff;
    for (int i = 0; i < 3; i++) sip_round(v);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}
