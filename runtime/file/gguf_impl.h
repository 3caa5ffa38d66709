/* gguf_impl.h: what the gguf*.c files share. */
#ifndef QM_GGUF_IMPL_H
#define QM_GGUF_IMPL_H
#include "gguf.h"

/* One mapped file of the set. */
typedef struct {
    char *name;   /* path, or the caller's name for a buffer */
    int fd, held; /* -1 for a buffer; held: input.h */
    const uint8_t *base;
    uint64_t bytes;
    uint32_t version;
    uint64_t alignment;
    uint64_t tensor_first, tensor_n; /* its run in qm_gguf.tensors */
} qm_gguf_shard;

struct qm_gguf {
    qm_gguf_shard *shards; /* [n_shards] */
    uint32_t n_shards;
    qm_kv *kvs; /* [n_kv], shard 0's, in file order */
    size_t n_kv, cap_kv;
    qm_tensor *tensors; /* [n_tensors], shard after shard, in file order */
    size_t n_tensors, cap_tensors;
    const qm_str **kv_index;     /* [n_kv] sorted by key; each is the first member of a qm_kv */
    const qm_str **tensor_index; /* [n_tensors] sorted by name; likewise */
};

/* Little-endian loads from any address, on any host. */
static inline uint32_t qm_le16(const uint8_t *p) { return (uint32_t)p[0] | (uint32_t)p[1] << 8; }
static inline uint32_t qm_le32(const uint8_t *p) { return qm_le16(p) | qm_le16(p + 2) << 16; }
static inline uint64_t qm_le64(const uint8_t *p) { return qm_le32(p) | (uint64_t)qm_le32(p + 4) << 32; }

/* gguf_parse.c: checks one shard's bytes. kvs: 1 = its metadata go into g (shard 0), 0 = they are
 * checked and left in *other (freed by the caller). Appends to g->tensors. */
typedef struct {
    qm_kv *kvs;
    size_t n, cap;
} qm_kv_list;
int qm_gguf_parse(qm_gguf *g, uint32_t shard, qm_kv_list *kvs, qm_err *e);

/* Sorted pointers to the leading qm_str of n items of `size` bytes; *dup is set to a repeated item. */
int qm_str_index(const qm_str ***out, const void *items, size_t n, size_t size, const qm_str **dup, qm_err *e);
const qm_str *qm_str_find(const qm_str *const *index, size_t n, const char *s, size_t len);

/* gguf_check.c: what the keys say of each other and of the tensors. */
int qm_gguf_check(const qm_gguf *g, qm_err *e);
#endif
