/* cache.h: small files kept between runs under ${QMOE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/qmoe-gpu}.
 * Paths that are not absolute are ignored, with a warning; so are a folder and files that are not this user's or that
 * others may write. A cache never fails its caller: what cannot be read is a miss, what cannot be written is a debug
 * log. */
#ifndef QM_CACHE_H
#define QM_CACHE_H
#include <stddef.h>
#include <stdint.h>

typedef struct {
    uint64_t a, b;
} qm_cache_key; /* 128 bits: two FNV-1a sums of different start */
qm_cache_key qm_cache_key_begin(void);
void qm_cache_key_add(qm_cache_key *h, const void *p, size_t n);
void qm_cache_key_add_str(qm_cache_key *h, const char *s); /* with its NUL, so that "ab","c" differs from "a","bc" */

/* The folder, 0; or -1 where the environment names none (or the path is longer than n). */
int qm_cache_dir(char *dir, size_t n);
/* The entry's bytes, malloc'd with a NUL after them, or NULL: absent, or damaged (then removed). */
void *qm_cache_get(const qm_cache_key *key, size_t *bytes);
/* Keeps a copy, all of it or nothing (outfile.h). */
void qm_cache_put(const qm_cache_key *key, const void *p, size_t bytes);
#endif
