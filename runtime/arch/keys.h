/* keys.h: the metadata keys under the architecture's prefix, and which of them somebody asked for: what nobody asked for
 * is refused by name, unless it is known to change nothing. */
#ifndef QM_KEYS_H
#define QM_KEYS_H
#include "../file/gguf.h"
#include "family.h"

typedef struct {
    const qm_gguf *g;
    const qm_family *f;
    qm_err *e;
    unsigned char *asked; /* [keys of the file] */
    char name[160];       /* the key last asked for, as the file spells it (ARCH.KEY where it is absent) */
} qm_keys;

int qm_keys_open(qm_keys *k, const qm_gguf *g, const qm_family *f, qm_err *e);
void qm_keys_close(qm_keys *k);

/* key: without the prefix. 1 = found, 0 = absent, negative = of a wrong type, or given under two prefixes. */
int qm_key_u32(qm_keys *k, const char *key, uint32_t *v);
int qm_key_f32(qm_keys *k, const char *key, float *v);
int qm_key_str(qm_keys *k, const char *key, qm_str *v);

/* Of the key last asked for: it is missing; its value will not do ("FILE: key 'NAME': value at offset N ..."). */
int qm_key_missing(qm_keys *k);
int qm_key_refuse(qm_keys *k, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* Every key under the prefix was asked for, or changes nothing; else the first that does is refused. */
int qm_keys_rest(qm_keys *k);
#endif
