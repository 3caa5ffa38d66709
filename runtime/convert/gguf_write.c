/* gguf_write.c: see gguf_write.h. Keys and tensor infos are held back until the first byte of data, because the header
 * before them has their counts: so the file is written from front to back, and may be a pipe. Offsets follow from the
 * declared sizes: of the data nothing is held. */
#include "gguf_write.h"
#include "../file/outfile.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ALIGN = 32 };

struct qm_gguf_writer {
    char *path;
    qm_outfile *f;
    qm_err err;    /* the first one; code 0 = none */
    uint8_t *head; /* all before the data; NULL once it is written */
    size_t n_head, cap_head;
    uint64_t off; /* bytes handed over so far */
    uint64_t n_kv, n_tensors;
    uint64_t arr_left; /* elements still owed to the open array */
    qm_kv_type arr_type;
    uint64_t *sizes; /* [n_tensors] bytes without padding */
    size_t cap_sizes;
    uint64_t data_bytes;   /* sum of the padded sizes */
    uint64_t tensor, left; /* the one being written, and its bytes still owed */
    int in_data;
};

/* Only the first error is kept. */
#define FAIL(w, what, ...) ((w)->err.code ? (w)->err.code : qm_fail(&(w)->err, what, __VA_ARGS__))

static int put(qm_gguf_writer *w, const void *p, size_t n) {
    if (w->err.code) return w->err.code;
    w->off += n;
    if (w->in_data) return qm_outfile_put(w->f, p, n, &w->err);
    if (w->n_head + n > w->cap_head) {
        size_t cap = 2 * (w->n_head + n) + 4096;
        uint8_t *more = realloc(w->head, cap);
        if (!more) return FAIL(w, QM_ERR_NOMEM, "%s: no memory for %zu bytes of keys", w->path, cap);
        w->head = more;
        w->cap_head = cap;
    }
    if (n) memcpy(w->head + w->n_head, p, n);
    w->n_head += n;
    return 0;
}

static int put_le(qm_gguf_writer *w, uint64_t v, int n) {
    uint8_t b[8];
    for (int i = 0; i < n; i++) b[i] = (uint8_t)(v >> 8 * i);
    return put(w, b, (size_t)n);
}

static int put_str(qm_gguf_writer *w, const char *s, size_t n) {
    put_le(w, n, 8);
    return put(w, s, n);
}

static int pad(qm_gguf_writer *w) {
    static const uint8_t zero[ALIGN];
    return put(w, zero, (size_t)(-w->off % ALIGN));
}

/* The head goes out; what follows is data. */
static int begin_data(qm_gguf_writer *w) {
    pad(w);
    w->in_data = 1;
    if (w->err.code) return w->err.code;
    for (int i = 0; i < 8; i++) {
        w->head[8 + i] = (uint8_t)(w->n_tensors >> 8 * i);
        w->head[16 + i] = (uint8_t)(w->n_kv >> 8 * i);
    }
    return qm_outfile_put(w->f, w->head, w->n_head, &w->err);
}

int qm_gguf_writer_open(qm_gguf_writer **out, const char *path, qm_err *e) {
    *out = NULL;
    qm_gguf_writer *w = calloc(1, sizeof *w);
    if (w) w->path = strdup(path);
    int rc = w && w->path ? qm_outfile_open(&w->f, path, QM_OUT_SYNC, e)
                          : qm_fail(e, QM_ERR_NOMEM, "%s: no memory for a writer", path);
    if (rc) {
        qm_gguf_writer_close(w);
        return rc;
    }
    put(w, "GGUF", 4);
    put_le(w, 3, 4);
    put_le(w, 0, 8); /* n_tensors and n_kv: when they are known */
    put_le(w, 0, 8);
    *out = w;
    return 0;
}

void qm_gguf_writer_close(qm_gguf_writer *w) {
    if (!w) return;
    qm_outfile_close(w->f);
    free(w->path);
    free(w->head);
    free(w->sizes);
    free(w);
}

static int start_kv_n(qm_gguf_writer *w, const char *key, size_t n, qm_kv_type type) {
    if (w->arr_left || w->n_tensors)
        return FAIL(w, QM_ERR_ARG, "%s: key '%.*s' written inside an array or after a tensor", w->path, (int)n, key);
    w->n_kv++;
    put_str(w, key, n);
    return put_le(w, type, 4);
}
static int start_kv(qm_gguf_writer *w, const char *key, qm_kv_type type) {
    return start_kv_n(w, key, strlen(key), type);
}

/* Bytes of the elements of an array as they stand in the file. */
static size_t array_bytes(const qm_kv *kv) {
    if (kv->arr_type != QM_KV_STR) return (size_t)kv->arr_n * qm_kv_scalar_bytes(kv->arr_type);
    qm_str_iter it = {kv->arr, kv->arr_n};
    for (qm_str s; qm_str_iter_next(&it, &s);) {}
    return (size_t)(it.p - kv->arr);
}

int qm_gguf_write_kv(qm_gguf_writer *w, const qm_kv *kv) {
    uint64_t u = kv->v.u;
    uint32_t w32;
    float f = kv->type == QM_KV_F32 ? (float)kv->v.f : 0;
    start_kv_n(w, kv->key.s, kv->key.n, kv->type);
    switch (kv->type) {
    case QM_KV_STR: return put_str(w, kv->v.str.s, kv->v.str.n);
    case QM_KV_ARR:
        put_le(w, kv->arr_type, 4);
        put_le(w, kv->arr_n, 8);
        return put(w, kv->arr, array_bytes(kv));
    case QM_KV_F32:
        memcpy(&w32, &f, 4);
        u = w32;
        break; /* the union holds a double */
    case QM_KV_F64: memcpy(&u, &kv->v.f, 8); break;
    default: break;
    }
    return put_le(w, u, (int)qm_kv_scalar_bytes(kv->type));
}

int qm_gguf_write_u32(qm_gguf_writer *w, const char *key, uint32_t v) {
    start_kv(w, key, QM_KV_U32);
    return put_le(w, v, 4);
}
int qm_gguf_write_f32(qm_gguf_writer *w, const char *key, float v) {
    uint32_t u;
    memcpy(&u, &v, 4);
    start_kv(w, key, QM_KV_F32);
    return put_le(w, u, 4);
}
int qm_gguf_write_bool(qm_gguf_writer *w, const char *key, int v) {
    start_kv(w, key, QM_KV_BOOL);
    return put_le(w, v != 0, 1);
}
int qm_gguf_write_str(qm_gguf_writer *w, const char *key, const char *s) {
    start_kv(w, key, QM_KV_STR);
    return put_str(w, s, strlen(s));
}

int qm_gguf_write_array(qm_gguf_writer *w, const char *key, qm_kv_type type, uint64_t n) {
    if (type != QM_KV_STR && type != QM_KV_I32)
        return FAIL(w, QM_ERR_ARG, "%s: key '%s': arrays of %s are not written", w->path, key, qm_kv_type_name(type));
    start_kv(w, key, QM_KV_ARR);
    w->arr_type = type;
    w->arr_left = n;
    put_le(w, type, 4);
    return put_le(w, n, 8);
}

static int take_element(qm_gguf_writer *w, qm_kv_type type) {
    if (!w->arr_left || w->arr_type != type)
        return FAIL(w, QM_ERR_ARG, "%s: array element too many or of another type", w->path);
    w->arr_left--;
    return 0;
}
int qm_gguf_push_str(qm_gguf_writer *w, const char *s, size_t n) {
    return take_element(w, QM_KV_STR) ? w->err.code : put_str(w, s, n);
}
int qm_gguf_push_i32(qm_gguf_writer *w, int32_t v) {
    return take_element(w, QM_KV_I32) ? w->err.code : put_le(w, (uint32_t)v, 4);
}

int qm_gguf_write_tensor(qm_gguf_writer *w, const char *name, uint32_t type, uint32_t n_dims, const uint64_t *ne) {
    uint32_t block, block_bytes;
    uint64_t n = 1;
    if (w->arr_left || w->in_data)
        return FAIL(w, QM_ERR_ARG, "%s: tensor '%s' declared inside an array or after data", w->path, name);
    if (!qm_ggml_type_size(type, &block, &block_bytes) || n_dims < 1 || n_dims > 4 || ne[0] % block)
        return FAIL(w, QM_ERR_ARG, "%s: tensor '%s': type %s with rows of %llu and %u dimensions is not writable",
                    w->path, name, qm_ggml_type_name(type), (unsigned long long)ne[0], n_dims);
    for (uint32_t d = 0; d < n_dims; d++)
        if (ne[d] == 0 || __builtin_mul_overflow(n, ne[d], &n) || n >> 50)
            return FAIL(w, QM_ERR_ARG, "%s: tensor '%s': extent ne[%u] = %llu is out of range", w->path, name, d,
                        (unsigned long long)ne[d]);
    if (w->n_tensors == w->cap_sizes) {
        size_t cap = w->cap_sizes ? w->cap_sizes * 2 : 64;
        uint64_t *p = realloc(w->sizes, cap * sizeof *p);
        if (!p) return FAIL(w, QM_ERR_NOMEM, "%s: no memory for %zu tensors", w->path, cap);
        w->sizes = p;
        w->cap_sizes = cap;
    }
    uint64_t bytes = n / block * block_bytes;
    w->sizes[w->n_tensors++] = bytes;
    put_str(w, name, strlen(name));
    put_le(w, n_dims, 4);
    for (uint32_t d = 0; d < n_dims; d++) put_le(w, ne[d], 8);
    put_le(w, type, 4);
    put_le(w, w->data_bytes, 8);
    w->data_bytes += (bytes + ALIGN - 1) / ALIGN * ALIGN;
    return w->err.code;
}

int qm_gguf_writer_room(const qm_gguf_writer *w, uint64_t more, qm_err *e) {
    return qm_outfile_room(w->f, w->data_bytes + more, e);
}

uint64_t qm_gguf_writer_data_bytes(const qm_gguf_writer *w) { return w->data_bytes; }

int qm_gguf_write_data(qm_gguf_writer *w, const void *p, size_t n) {
    if (!w->in_data) {
        if (begin_data(w)) return w->err.code;
        w->left = w->n_tensors ? w->sizes[0] : 0;
    }
    const uint8_t *b = p;
    while (n) {
        if (w->tensor >= w->n_tensors)
            return FAIL(w, QM_ERR_ARG, "%s: %zu bytes of data after the last tensor", w->path, n);
        size_t k = n < w->left ? n : (size_t)w->left;
        if (put(w, b, k)) return w->err.code;
        b += k;
        n -= k;
        if ((w->left -= k) == 0) {
            pad(w);
            if (++w->tensor < w->n_tensors) w->left = w->sizes[w->tensor];
        }
    }
    return w->err.code;
}

int qm_gguf_write_hole(qm_gguf_writer *w) {
    if (w->in_data) return FAIL(w, QM_ERR_ARG, "%s: a hole after data", w->path);
    if (begin_data(w)) return w->err.code;
    w->off += w->data_bytes;
    w->tensor = w->n_tensors;
    return qm_outfile_zeros(w->f, w->data_bytes, &w->err);
}

int qm_gguf_writer_finish(qm_gguf_writer *w, qm_err *e) {
    if (w->arr_left || w->tensor < w->n_tensors)
        FAIL(w, QM_ERR_ARG, "%s: %llu of %llu tensors written, %llu array elements missing", w->path,
             (unsigned long long)w->tensor, (unsigned long long)w->n_tensors, (unsigned long long)w->arr_left);
    if (!w->in_data) begin_data(w);
    if (!w->err.code) qm_outfile_finish(w->f, &w->err);
    if (w->err.code && e) *e = w->err;
    return w->err.code;
}
