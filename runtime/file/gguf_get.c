/* gguf_get.c: what an open file is asked: its shards, keys and tensors, and values with their types checked. */
#include "gguf_impl.h"
#include <errno.h>
#include <fcntl.h>
#include <float.h>
#include <math.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

const char *qm_gguf_path(const qm_gguf *g) { return g->shards[0].name; }
uint32_t qm_gguf_version(const qm_gguf *g) { return g->shards[0].version; }
uint32_t qm_gguf_n_shards(const qm_gguf *g) { return g->n_shards; }
int qm_gguf_shard_fd(const qm_gguf *g, uint32_t shard) { return shard < g->n_shards ? g->shards[shard].fd : -1; }

uint64_t qm_gguf_file_bytes(const qm_gguf *g) {
    uint64_t n = 0;
    for (uint32_t i = 0; i < g->n_shards; i++) n += g->shards[i].bytes;
    return n;
}

int qm_gguf_whole(const qm_gguf *g, qm_err *e) {
    for (uint32_t i = 0; i < g->n_shards; i++) {
        const qm_gguf_shard *s = &g->shards[i];
        struct stat st;
        if (s->fd < 0) continue;
        if (fstat(s->fd, &st)) return qm_fail(e, QM_ERR_IO, "%s: cannot stat: %s", s->name, strerror(errno));
        if ((uint64_t)st.st_size < s->bytes)
            return qm_fail(e, QM_ERR_IO, "%s: the file shrank from %llu to %llu bytes while it was in use", s->name,
                           (unsigned long long)s->bytes, (unsigned long long)st.st_size);
    }
    return 0;
}

void qm_gguf_drop(const qm_gguf *g, const qm_tensor *t) {
    const qm_gguf_shard *s = &g->shards[t->shard];
    if (s->fd < 0) return;
    /* Whole pages inside the tensor only: its neighbours share the first and the last. */
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
    uint64_t from = (t->file_off + page - 1) / page * page, to = (t->file_off + t->bytes) / page * page;
    if (from >= to) return;
    /* Both calls are hints; a failure costs memory, not correctness. */
    (void)madvise((void *)(uintptr_t)(s->base + from), (size_t)(to - from), MADV_DONTNEED);
    (void)posix_fadvise(s->fd, (off_t)from, (off_t)(to - from), POSIX_FADV_DONTNEED);
}

size_t qm_gguf_n_kv(const qm_gguf *g) { return g->n_kv; }
const qm_kv *qm_gguf_kv_at(const qm_gguf *g, size_t i) { return i < g->n_kv ? &g->kvs[i] : NULL; }
size_t qm_gguf_n_tensors(const qm_gguf *g) { return g->n_tensors; }
const qm_tensor *qm_gguf_tensor_at(const qm_gguf *g, size_t i) { return i < g->n_tensors ? &g->tensors[i] : NULL; }

const qm_kv *qm_gguf_find(const qm_gguf *g, const char *key) {
    return (const void *)qm_str_find(g->kv_index, g->n_kv, key, strlen(key));
}

const qm_tensor *qm_gguf_tensor(const qm_gguf *g, const char *name) {
    return (const void *)qm_str_find(g->tensor_index, g->n_tensors, name, strlen(name));
}

static int is_uint(const qm_kv *kv) {
    return kv->type == QM_KV_U8 || kv->type == QM_KV_U16 || kv->type == QM_KV_U32 || kv->type == QM_KV_U64;
}
static int is_int(const qm_kv *kv) {
    return kv->type == QM_KV_I8 || kv->type == QM_KV_I16 || kv->type == QM_KV_I32 || kv->type == QM_KV_I64;
}

static int wrong_type(const qm_gguf *g, const qm_kv *kv, const char *want, qm_err *e) {
    return qm_fail(e, QM_ERR_FORMAT, "%s: key '%s': value at offset %llu is of type %s, expected %s", qm_gguf_path(g),
                   qm_show(kv->key).s, (unsigned long long)kv->file_off, qm_kv_type_name(kv->type), want);
}

int qm_gguf_get_u32(const qm_gguf *g, const char *key, uint32_t *v, qm_err *e) {
    const qm_kv *kv = qm_gguf_find(g, key);
    if (!kv) return 0;
    if (!is_uint(kv) && !is_int(kv)) return wrong_type(g, kv, "an integer", e);
    if (is_int(kv) ? kv->v.i < 0 || kv->v.i > UINT32_MAX : kv->v.u > UINT32_MAX) {
        if (is_int(kv))
            return qm_fail(e, QM_ERR_FORMAT, "%s: key '%s': value %lld at offset %llu does not fit in 32 unsigned bits",
                           qm_gguf_path(g), key, (long long)kv->v.i, (unsigned long long)kv->file_off);
        return qm_fail(e, QM_ERR_FORMAT, "%s: key '%s': value %llu at offset %llu does not fit in 32 unsigned bits",
                       qm_gguf_path(g), key, (unsigned long long)kv->v.u, (unsigned long long)kv->file_off);
    }
    *v = (uint32_t)kv->v.u;
    return 1;
}

int qm_gguf_get_f32(const qm_gguf *g, const char *key, float *v, qm_err *e) {
    const qm_kv *kv = qm_gguf_find(g, key);
    if (!kv) return 0;
    double d;
    if (kv->type == QM_KV_F32 || kv->type == QM_KV_F64) d = kv->v.f;
    else if (is_uint(kv)) d = (double)kv->v.u;
    else if (is_int(kv)) d = (double)kv->v.i;
    else return wrong_type(g, kv, "a number", e);
    if (isfinite(d) && fabs(d) > (double)FLT_MAX)
        return qm_fail(e, QM_ERR_FORMAT, "%s: key '%s': value %g at offset %llu does not fit in a 32-bit float",
                       qm_gguf_path(g), key, d, (unsigned long long)kv->file_off);
    *v = (float)d;
    return 1;
}

int qm_gguf_get_bool(const qm_gguf *g, const char *key, int *v, qm_err *e) {
    const qm_kv *kv = qm_gguf_find(g, key);
    if (!kv) return 0;
    if (kv->type != QM_KV_BOOL) return wrong_type(g, kv, "bool", e);
    *v = (int)kv->v.u;
    return 1;
}

int qm_gguf_get_str(const qm_gguf *g, const char *key, qm_str *v, qm_err *e) {
    const qm_kv *kv = qm_gguf_find(g, key);
    if (!kv) return 0;
    if (kv->type != QM_KV_STR) return wrong_type(g, kv, "str", e);
    *v = kv->v.str;
    return 1;
}

int qm_gguf_get_str_array(const qm_gguf *g, const char *key, qm_str_iter *it, uint64_t *n, qm_err *e) {
    const qm_kv *kv = qm_gguf_find(g, key);
    if (!kv) return 0;
    if (kv->type != QM_KV_ARR) return wrong_type(g, kv, "an array of str", e);
    if (kv->arr_type != QM_KV_STR)
        return qm_fail(e, QM_ERR_FORMAT, "%s: key '%s': array at offset %llu has elements of type %s, expected str",
                       qm_gguf_path(g), key, (unsigned long long)kv->file_off, qm_kv_type_name(kv->arr_type));
    it->p = kv->arr;
    it->left = kv->arr_n;
    *n = kv->arr_n;
    return 1;
}

int qm_str_iter_next(qm_str_iter *it, qm_str *s) {
    if (!it->left) return 0;
    s->n = (size_t)qm_le64(it->p); /* the lengths were checked at open */
    s->s = (const char *)it->p + 8;
    it->p += 8 + s->n;
    it->left--;
    return 1;
}

int64_t qm_kv_arr_i64(const qm_kv *kv, uint64_t i) {
    if (kv->type != QM_KV_ARR || i >= kv->arr_n) return 0;
    const uint8_t *p = kv->arr + i * qm_kv_scalar_bytes(kv->arr_type);
    switch (kv->arr_type) {
    case QM_KV_U8:
    case QM_KV_BOOL: return p[0];
    case QM_KV_I8: return (int8_t)p[0];
    case QM_KV_U16: return qm_le16(p);
    case QM_KV_I16: return (int16_t)qm_le16(p);
    case QM_KV_U32: return qm_le32(p);
    case QM_KV_I32: return (int32_t)qm_le32(p);
    case QM_KV_U64:
    case QM_KV_I64: return (int64_t)qm_le64(p);
    case QM_KV_F32:
    case QM_KV_F64:
    case QM_KV_STR:
    case QM_KV_ARR: break;
    }
    return 0;
}

double qm_kv_arr_f64(const qm_kv *kv, uint64_t i) {
    if (kv->type != QM_KV_ARR || i >= kv->arr_n) return 0;
    const uint8_t *p = kv->arr + i * qm_kv_scalar_bytes(kv->arr_type);
    if (kv->arr_type == QM_KV_F32) {
        uint32_t w = qm_le32(p);
        float f;
        memcpy(&f, &w, 4);
        return (double)f;
    }
    if (kv->arr_type == QM_KV_F64) {
        uint64_t w = qm_le64(p);
        double d;
        memcpy(&d, &w, 8);
        return d;
    }
    if (kv->arr_type == QM_KV_U64) return (double)qm_le64(p);
    return (double)qm_kv_arr_i64(kv, i);
}
