/* hash.h: FNV-1a, 64 bits (Fowler, Noll, Vo): names the logits of a run in one word. */
#ifndef QM_HASH_H
#define QM_HASH_H
#include <stddef.h>
#include <stdint.h>
static inline uint64_t qm_fnv1a(const void *p, size_t n) {
    const unsigned char *c = (const unsigned char *)p;
    uint64_t h = 0xcbf29ce484222325u;
    for (size_t i = 0; i < n; i++) h = (h ^ c[i]) * 0x100000001b3u;
    return h;
}
#endif
