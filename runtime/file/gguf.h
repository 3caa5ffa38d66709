/* gguf.h: a GGUF v2/v3 file (or split set), mapped read-only and fully checked at open.
 * Format: ggml docs/gguf.md. Nothing returned here outlives qm_gguf_close. A file that shrinks while it is mapped raises
 * SIGBUS where its lost pages are read (qm_input_fault tells a handler which file it was). Tensor data is aligned as the
 * file aligns it: at least 8 bytes in a mapped file, nothing in particular in a buffer given to qm_gguf_open_mem. */
#ifndef QM_GGUF_H
#define QM_GGUF_H
#include <stddef.h>
#include <stdint.h>
#include "../base/err.h"

typedef enum {
    QM_KV_U8,
    QM_KV_I8,
    QM_KV_U16,
    QM_KV_I16,
    QM_KV_U32,
    QM_KV_I32,
    QM_KV_F32,
    QM_KV_BOOL,
    QM_KV_STR,
    QM_KV_ARR,
    QM_KV_U64,
    QM_KV_I64,
    QM_KV_F64
} qm_kv_type; /* the format's own numbers */

typedef struct {
    const char *s;
    size_t n;
} qm_str; /* not NUL-terminated; points into the map */
/* Names in a message: printable ASCII of at most 64 characters, whatever the file holds. */
typedef struct {
    char s[72];
} qm_shown;
qm_shown qm_show(qm_str s);

typedef struct {
    qm_str key;
    qm_kv_type type;
    uint64_t file_off; /* offset of the value in shard 0, for messages */
    union {
        uint64_t u;
        int64_t i;
        double f;
        qm_str str;
    } v;                 /* scalars, widened */
    qm_kv_type arr_type; /* arrays: element type, count, first byte */
    uint64_t arr_n;
    const uint8_t *arr;
} qm_kv;

typedef struct qm_tensor {
    qm_str name;
    uint32_t type;    /* ggml type, one that qm_ggml_type_size knows */
    uint32_t n_dims;  /* 1..4 */
    uint64_t ne[4];   /* ne[0] is the row length; unused dims are 1 */
    const void *data; /* into the map */
    uint64_t bytes;
    uint32_t shard;    /* which file of a split set */
    uint64_t file_off; /* of data, in that file */
} qm_tensor;

typedef struct qm_gguf qm_gguf;

/* path: a .gguf; for a split set any of its parts, -00001-of-0000N.gguf. */
int qm_gguf_open(qm_gguf **out, const char *path, qm_err *e);
/* The same checks over a buffer (fuzzing, tests); the buffer must outlive the result. */
int qm_gguf_open_mem(qm_gguf **out, const void *buf, size_t n, const char *name, qm_err *e);
void qm_gguf_close(qm_gguf *g);

const char *qm_gguf_path(const qm_gguf *g);
uint32_t qm_gguf_version(const qm_gguf *g);
uint64_t qm_gguf_file_bytes(const qm_gguf *g); /* all shards */
uint32_t qm_gguf_n_shards(const qm_gguf *g);
int qm_gguf_shard_fd(const qm_gguf *g, uint32_t shard); /* for posix_fadvise; -1 from open_mem */
/* QM_ERR_IO when a file is shorter by now than it was: the end of its last page would read as zeros, with no signal. */
int qm_gguf_whole(const qm_gguf *g, qm_err *e);
/* Tells the kernel that the mapped pages of [data, data+bytes) are no longer needed (unmaps them
 * and drops them from the page cache where allowed). */
void qm_gguf_drop(const qm_gguf *g, const qm_tensor *t);

size_t qm_gguf_n_kv(const qm_gguf *g);
const qm_kv *qm_gguf_kv_at(const qm_gguf *g, size_t i);
const qm_kv *qm_gguf_find(const qm_gguf *g, const char *key); /* NULL if absent */

/* Typed getters. Return 1 = found, 0 = absent, negative = present with the wrong type or range
 * (message names file, key, offset). Integers of any width and sign are accepted if they fit. */
int qm_gguf_get_u32(const qm_gguf *g, const char *key, uint32_t *v, qm_err *e);
int qm_gguf_get_f32(const qm_gguf *g, const char *key, float *v, qm_err *e); /* ints accepted too */
int qm_gguf_get_bool(const qm_gguf *g, const char *key, int *v, qm_err *e);
int qm_gguf_get_str(const qm_gguf *g, const char *key, qm_str *v, qm_err *e);
/* Array element i as a string / number; the caller has checked arr_type and i < arr_n.
 * Strings are variable-length: use the iterator to go through all. */
typedef struct {
    const uint8_t *p;
    uint64_t left;
} qm_str_iter;
int qm_gguf_get_str_array(const qm_gguf *g, const char *key, qm_str_iter *it, uint64_t *n, qm_err *e);
int qm_str_iter_next(qm_str_iter *it, qm_str *s); /* 1, or 0 at the end */
/* Element i of an array of integers (bool counts as one) or of any numbers; 0 for other arrays or
 * i >= arr_n. */
int64_t qm_kv_arr_i64(const qm_kv *kv, uint64_t i);
double qm_kv_arr_f64(const qm_kv *kv, uint64_t i);
const char *qm_kv_type_name(uint32_t type);   /* "u32", "arr" ...; "?" if unknown */
uint32_t qm_kv_scalar_bytes(uint32_t type);   /* 0 for strings, arrays and unknown types */
const char *qm_ggml_type_name(uint32_t type); /* "unknown" where it is none */
/* Weights and bytes per block of any ggml type, as the file format counts them (F32: 1 and 4); 0 where it is none.
 * Those that can be read and run are fewer: qm_type_get (quant.h). */
int qm_ggml_type_size(uint32_t type, uint32_t *block, uint32_t *bytes);

size_t qm_gguf_n_tensors(const qm_gguf *g);
const qm_tensor *qm_gguf_tensor_at(const qm_gguf *g, size_t i);
const qm_tensor *qm_gguf_tensor(const qm_gguf *g, const char *name); /* NULL if absent */
#endif
