/* hash.h: two hashes. FNV-1a names data in one word, the same everywhere; SipHash places strings from outside in a
 * table, with a key that nobody outside knows. */
#ifndef QM_HASH_H
#define QM_HASH_H
#include <stddef.h>
#include <stdint.h>

/* FNV-1a, 64 bits (Fowler, Noll, Vo): names the logits of a run in one word. */
static inline uint64_t qm_fnv1a(const void *p, size_t n) {
    const unsigned char *c = (const unsigned char *)p;
    uint64_t h = 0xcbf29ce484222325u;
    for (size_t i = 0; i < n; i++) h = (h ^ c[i]) * 0x100000001b3u;
    return h;
}

typedef struct {
    uint64_t k[2];
} qm_hash_key;
/* A key from the kernel's random numbers. */
qm_hash_key qm_hash_key_new(void);
/* SipHash-1-3 (Aumasson, Bernstein: "SipHash: a fast short-input PRF", 2012) of a followed by b. Texts that collide under
 * an unknown key cannot be found, so that a table of a hostile file's strings stays a table. */
uint64_t qm_siphash(const qm_hash_key *key, const void *a, size_t na, const void *b, size_t nb);
#endif
