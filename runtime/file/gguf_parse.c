/* gguf_parse.c: one file's bytes, from the magic to the last tensor, through a bounded cursor.
 * Layout (ggml docs/gguf.md): "GGUF", u32 version, u64 n_tensors, u64 n_kv, the key-values, the
 * tensor infos, padding to general.alignment, the data. Strings are u64 length and bytes.
 * Nothing is allocated by a length that the file has not yet been seen to contain: the lists grow as
 * items are read, and an item costs at least a dozen bytes of file. */
#include "../base/text.h"
#include "gguf_impl.h"
#include <stdlib.h>
#include <string.h>

enum { KEY_MAX = 65535, NAME_MAX_BYTES = 64, DEFAULT_ALIGNMENT = 32 };

typedef struct {
    const uint8_t *base;
    uint64_t n, off; /* off <= n always */
    const char *file;
    qm_err *e;
} reader;

#define SHOW(str) qm_show(str).s
#define OFF(x) ((unsigned long long)(x))

qm_shown qm_show(qm_str s) {
    qm_shown r;
    qm_text_show(r.s, sizeof r.s, s.s, s.n);
    return r;
}

/* n bytes of `what`, or NULL with the error filled. */
static const uint8_t *take(reader *r, uint64_t n, const char *what) {
    if (n > r->n - r->off) {
        qm_fail(r->e, QM_ERR_FORMAT, "%s: %s at offset %llu needs %llu bytes, the file has %llu left", r->file, what,
                OFF(r->off), OFF(n), OFF(r->n - r->off));
        return NULL;
    }
    const uint8_t *p = r->base + r->off;
    r->off += n;
    return p;
}

static int take_u32(reader *r, uint32_t *v, const char *what) {
    const uint8_t *p = take(r, 4, what);
    if (p) *v = qm_le32(p);
    return p ? 0 : QM_ERR_FORMAT;
}

static int take_u64(reader *r, uint64_t *v, const char *what) {
    const uint8_t *p = take(r, 8, what);
    if (p) *v = qm_le64(p);
    return p ? 0 : QM_ERR_FORMAT;
}

static int take_str(reader *r, qm_str *s, const char *what) {
    uint64_t n;
    if (take_u64(r, &n, what)) return QM_ERR_FORMAT;
    const uint8_t *p = take(r, n, what);
    if (!p) return QM_ERR_FORMAT;
    s->s = (const char *)p;
    s->n = (size_t)n;
    return 0;
}

/* Makes room for one more item in a list that doubles. */
static void *grow(void *items, size_t n, size_t *cap, size_t size) {
    if (n < *cap) return items;
    size_t want = *cap ? *cap * 2 : 64;
    if (want > SIZE_MAX / size) return NULL;
    void *p = realloc(items, want * size);
    if (p) *cap = want;
    return p;
}

static int bad_bool(reader *r, qm_str key, uint64_t off, uint8_t v) {
    return qm_fail(r->e, QM_ERR_FORMAT, "%s: key '%s': bool value %u at offset %llu is neither 0 nor 1", r->file,
                   SHOW(key), v, OFF(off));
}

static int read_array(reader *r, qm_kv *kv) {
    uint32_t type;
    uint64_t at = r->off;
    if (take_u32(r, &type, "array element type")) goto bad;
    if (type > QM_KV_F64)
        return qm_fail(r->e, QM_ERR_FORMAT, "%s: key '%s': unknown array element type %u at offset %llu", r->file,
                       SHOW(kv->key), type, OFF(at));
    if (type == QM_KV_ARR)
        return qm_fail(r->e, QM_ERR_UNSUPPORTED, "%s: key '%s': array of arrays at offset %llu", r->file, SHOW(kv->key),
                       OFF(at));
    kv->arr_type = (qm_kv_type)type;
    if (take_u64(r, &kv->arr_n, "array length")) goto bad;
    kv->arr = r->base + r->off;
    uint32_t each = qm_kv_scalar_bytes(type);
    uint64_t least = each ? each : 8; /* a string is at least its length */
    if (kv->arr_n > (r->n - r->off) / least)
        return qm_fail(r->e, QM_ERR_FORMAT,
                       "%s: key '%s': array at offset %llu claims %llu elements of at least %llu bytes, the file "
                       "has %llu bytes left",
                       r->file, SHOW(kv->key), OFF(at), OFF(kv->arr_n), OFF(least), OFF(r->n - r->off));
    if (each) {
        const uint8_t *p = take(r, kv->arr_n * each, "array");
        if (!p) goto bad;
        if (type == QM_KV_BOOL)
            for (uint64_t i = 0; i < kv->arr_n; i++)
                if (p[i] > 1) return bad_bool(r, kv->key, (uint64_t)(p + i - r->base), p[i]);
        return 0;
    }
    for (uint64_t i = 0; i < kv->arr_n; i++) {
        qm_str s;
        if (take_str(r, &s, "string in an array")) goto bad;
    }
    return 0;
bad:
    return qm_err_prefix(r->e, "key '%s'", SHOW(kv->key)), QM_ERR_FORMAT;
}

static int read_kv(reader *r, qm_kv *kv) {
    memset(kv, 0, sizeof *kv);
    uint64_t at = r->off;
    uint32_t type;
    if (take_str(r, &kv->key, "key")) return QM_ERR_FORMAT;
    if (kv->key.n == 0 || kv->key.n > KEY_MAX)
        return qm_fail(r->e, QM_ERR_FORMAT, "%s: key at offset %llu has %llu bytes, allowed are 1 to %d", r->file,
                       OFF(at), OFF(kv->key.n), KEY_MAX);
    if (memchr(kv->key.s, 0, kv->key.n))
        return qm_fail(r->e, QM_ERR_FORMAT, "%s: key '%s' at offset %llu holds a NUL byte", r->file, SHOW(kv->key),
                       OFF(at));
    at = r->off;
    if (take_u32(r, &type, "value type")) goto bad;
    if (type > QM_KV_F64)
        return qm_fail(r->e, QM_ERR_FORMAT, "%s: key '%s': unknown value type %u at offset %llu", r->file,
                       SHOW(kv->key), type, OFF(at));
    kv->type = (qm_kv_type)type;
    kv->file_off = r->off;
    if (type == QM_KV_ARR) return read_array(r, kv);
    if (type == QM_KV_STR) {
        if (take_str(r, &kv->v.str, "string value")) goto bad;
        return 0;
    }
    const uint8_t *p = take(r, qm_kv_scalar_bytes(type), "value");
    if (!p) goto bad;
    float f;
    uint32_t w;
    uint64_t d;
    switch (kv->type) {
    case QM_KV_U8: kv->v.u = p[0]; break;
    case QM_KV_I8: kv->v.i = (int8_t)p[0]; break;
    case QM_KV_U16: kv->v.u = qm_le16(p); break;
    case QM_KV_I16: kv->v.i = (int16_t)qm_le16(p); break;
    case QM_KV_U32: kv->v.u = qm_le32(p); break;
    case QM_KV_I32: kv->v.i = (int32_t)qm_le32(p); break;
    case QM_KV_U64: kv->v.u = qm_le64(p); break;
    case QM_KV_I64: kv->v.i = (int64_t)qm_le64(p); break;
    case QM_KV_F32:
        w = qm_le32(p);
        memcpy(&f, &w, 4);
        kv->v.f = (double)f;
        break;
    case QM_KV_F64:
        d = qm_le64(p);
        memcpy(&kv->v.f, &d, 8);
        break;
    case QM_KV_BOOL:
        if (p[0] > 1) return bad_bool(r, kv->key, kv->file_off, p[0]);
        kv->v.u = p[0];
        break;
    case QM_KV_STR:
    case QM_KV_ARR: break;
    }
    return 0;
bad:
    return qm_err_prefix(r->e, "key '%s'", SHOW(kv->key)), QM_ERR_FORMAT;
}

/* general.alignment: u32, a power of two, at least 8 (the format says a multiple of 8). */
static int read_alignment(reader *r, const qm_kv_list *kvs, uint64_t *alignment) {
    *alignment = DEFAULT_ALIGNMENT;
    for (size_t i = 0; i < kvs->n; i++) {
        const qm_kv *kv = &kvs->kvs[i];
        if (kv->key.n != 17 || memcmp(kv->key.s, "general.alignment", 17) != 0) continue;
        if (kv->type != QM_KV_U32)
            return qm_fail(r->e, QM_ERR_FORMAT, "%s: key 'general.alignment': type %s at offset %llu, must be u32",
                           r->file, qm_kv_type_name(kv->type), OFF(kv->file_off));
        if (kv->v.u < 8 || (kv->v.u & (kv->v.u - 1)))
            return qm_fail(r->e, QM_ERR_FORMAT,
                           "%s: key 'general.alignment': %llu at offset %llu is not a power of two of at least 8",
                           r->file, OFF(kv->v.u), OFF(kv->file_off));
        *alignment = kv->v.u;
    }
    return 0;
}

/* Name, shape, type and offset; t->file_off is left relative to the data section. */
static int read_tensor(reader *r, qm_tensor *t) {
    memset(t, 0, sizeof *t);
    uint64_t at = r->off, elements = 1;
    uint32_t block, block_bytes;
    if (take_str(r, &t->name, "tensor name")) return QM_ERR_FORMAT;
    if (t->name.n == 0 || t->name.n > NAME_MAX_BYTES)
        return qm_fail(r->e, QM_ERR_FORMAT, "%s: tensor name at offset %llu has %llu bytes, allowed are 1 to %d",
                       r->file, OFF(at), OFF(t->name.n), NAME_MAX_BYTES);
    if (memchr(t->name.s, 0, t->name.n))
        return qm_fail(r->e, QM_ERR_FORMAT, "%s: tensor name '%s' at offset %llu holds a NUL byte", r->file,
                       SHOW(t->name), OFF(at));
    at = r->off;
    if (take_u32(r, &t->n_dims, "number of dimensions")) goto bad;
    if (t->n_dims < 1 || t->n_dims > 4)
        return qm_fail(r->e, QM_ERR_FORMAT, "%s: tensor '%s': %u dimensions at offset %llu, allowed are 1 to 4",
                       r->file, SHOW(t->name), t->n_dims, OFF(at));
    for (uint32_t d = 0; d < 4; d++) {
        t->ne[d] = 1;
        if (d >= t->n_dims) continue;
        at = r->off;
        if (take_u64(r, &t->ne[d], "extent")) goto bad;
        if (t->ne[d] == 0 || t->ne[d] > INT64_MAX)
            return qm_fail(r->e, QM_ERR_FORMAT, "%s: tensor '%s': extent ne[%u] = %lld at offset %llu is not positive",
                           r->file, SHOW(t->name), d, (long long)t->ne[d], OFF(at));
        if (__builtin_mul_overflow(elements, t->ne[d], &elements) || elements > INT64_MAX)
            return qm_fail(r->e, QM_ERR_FORMAT,
                           "%s: tensor '%s': number of elements overflows at ne[%u] = %llu, "
                           "offset %llu",
                           r->file, SHOW(t->name), d, OFF(t->ne[d]), OFF(at));
    }
    at = r->off;
    if (take_u32(r, &t->type, "tensor type")) goto bad;
    if (!qm_ggml_type_size(t->type, &block, &block_bytes))
        return qm_fail(r->e, QM_ERR_UNSUPPORTED,
                       "%s: tensor '%s': type %u at offset %llu is not known: its size cannot be "
                       "told",
                       r->file, SHOW(t->name), t->type, OFF(at));
    if (t->ne[0] % block)
        return qm_fail(r->e, QM_ERR_FORMAT,
                       "%s: tensor '%s': row length ne[0] = %llu is not a multiple of %s's block "
                       "of %u; type at offset %llu",
                       r->file, SHOW(t->name), OFF(t->ne[0]), qm_ggml_type_name(t->type), block, OFF(at));
    if (__builtin_mul_overflow(elements / block, (uint64_t)block_bytes, &t->bytes) || t->bytes > INT64_MAX)
        return qm_fail(r->e, QM_ERR_FORMAT, "%s: tensor '%s': size in bytes overflows; shape before offset %llu",
                       r->file, SHOW(t->name), OFF(at));
    if (take_u64(r, &t->file_off, "tensor data offset")) goto bad;
    return 0;
bad:
    return qm_err_prefix(r->e, "tensor '%s'", SHOW(t->name)), QM_ERR_FORMAT;
}

/* Every offset must be the padded sum of the sizes before it, and every byte must be there. */
static int place_tensors(reader *r, qm_tensor *t, uint64_t n, uint64_t infos_end, uint64_t alignment) {
    uint64_t data = (infos_end + alignment - 1) & ~(alignment - 1), sum = 0;
    for (uint64_t i = 0; i < n; i++, t++) {
        if (t->file_off % alignment)
            return qm_fail(r->e, QM_ERR_FORMAT, "%s: tensor '%s': data offset %llu is not aligned to %llu", r->file,
                           SHOW(t->name), OFF(t->file_off), OFF(alignment));
        if (t->file_off != sum)
            return qm_fail(r->e, QM_ERR_FORMAT,
                           "%s: tensor '%s': data offset %llu, but the tensors before it end at "
                           "%llu",
                           r->file, SHOW(t->name), OFF(t->file_off), OFF(sum));
        if (data > r->n || sum > r->n - data || t->bytes > r->n - data - sum)
            return qm_fail(r->e, QM_ERR_FORMAT,
                           "%s: tensor '%s': %llu bytes of data at offset %llu reach past the "
                           "file's end at %llu: the file is truncated",
                           r->file, SHOW(t->name), OFF(t->bytes), OFF(data + sum), OFF(r->n));
        t->file_off = data + sum;
        t->data = r->base + t->file_off;
        /* bytes < n, alignment <= 2^31, and sum <= n: no overflow below 2^63 */
        sum = (sum + t->bytes + alignment - 1) & ~(alignment - 1);
    }
    return 0;
}

int qm_gguf_parse(qm_gguf *g, uint32_t shard, qm_kv_list *kvs, qm_err *e) {
    qm_gguf_shard *s = &g->shards[shard];
    reader r = {.base = s->base, .n = s->bytes, .file = s->name, .e = e};
    uint64_t n_tensors, n_kv;
    const uint8_t *magic = take(&r, 4, "magic");
    if (!magic) return QM_ERR_FORMAT;
    if (memcmp(magic, "GGUF", 4) != 0)
        return qm_fail(e, QM_ERR_FORMAT, "%s: not a GGUF file: magic %02x %02x %02x %02x at offset 0", s->name,
                       magic[0], magic[1], magic[2], magic[3]);
    if (take_u32(&r, &s->version, "version")) return QM_ERR_FORMAT;
    if (s->version != 2 && s->version != 3)
        return qm_fail(e, s->version == 1 ? QM_ERR_UNSUPPORTED : QM_ERR_FORMAT,
                       "%s: GGUF version %u at offset 4 is not supported; 2 and 3 are%s", s->name, s->version,
                       s->version && !(s->version & 0xffff) ? " (a big-endian file?)" : "");
    if (take_u64(&r, &n_tensors, "tensor count") || take_u64(&r, &n_kv, "key count")) return QM_ERR_FORMAT;
    /* Least sizes: a key-value is 8 + 1 + 4 + 1 bytes, a tensor info 8 + 1 + 4 + 8 + 4 + 8. */
    uint64_t left = r.n - r.off;
    if (n_tensors > left / 33)
        return qm_fail(e, QM_ERR_FORMAT, "%s: tensor count %llu at offset 8 cannot fit in the file's %llu bytes",
                       s->name, OFF(n_tensors), OFF(r.n));
    if (n_kv > left / 14)
        return qm_fail(e, QM_ERR_FORMAT, "%s: key count %llu at offset 16 cannot fit in the file's %llu bytes", s->name,
                       OFF(n_kv), OFF(r.n));
    for (uint64_t i = 0; i < n_kv; i++) {
        qm_kv *p = grow(kvs->kvs, kvs->n, &kvs->cap, sizeof *p);
        if (!p) return qm_fail(e, QM_ERR_NOMEM, "%s: no memory for %llu keys", s->name, OFF(n_kv));
        kvs->kvs = p;
        int rc = read_kv(&r, &p[kvs->n]);
        if (rc) return rc;
        kvs->n++;
    }
    int rc = read_alignment(&r, kvs, &s->alignment);
    if (rc) return rc;
    s->tensor_first = g->n_tensors;
    s->tensor_n = n_tensors;
    for (uint64_t i = 0; i < n_tensors; i++) {
        qm_tensor *p = grow(g->tensors, g->n_tensors, &g->cap_tensors, sizeof *p);
        if (!p) return qm_fail(e, QM_ERR_NOMEM, "%s: no memory for %llu tensors", s->name, OFF(n_tensors));
        g->tensors = p;
        rc = read_tensor(&r, &p[g->n_tensors]);
        if (rc) return rc;
        p[g->n_tensors].shard = shard;
        g->n_tensors++;
    }
    if (!n_tensors) return 0; /* a file of metadata only; g->tensors may be NULL */
    return place_tensors(&r, g->tensors + s->tensor_first, n_tensors, r.off, s->alignment);
}

static int cmp_bytes(const char *a, size_t an, const char *b, size_t bn) {
    int c = memcmp(a, b, an < bn ? an : bn);
    return c ? c : (an > bn) - (an < bn);
}

static int cmp_item(const void *a, const void *b) {
    const qm_str *x = *(const qm_str *const *)a, *y = *(const qm_str *const *)b;
    return cmp_bytes(x->s, x->n, y->s, y->n);
}

int qm_str_index(const qm_str ***out, const void *items, size_t n, size_t size, const qm_str **dup, qm_err *e) {
    *dup = NULL;
    const qm_str **v = malloc((n ? n : 1) * sizeof *v);
    if (!v) return qm_fail(e, QM_ERR_NOMEM, "no memory for an index of %zu names", n);
    for (size_t i = 0; i < n; i++) v[i] = (const void *)((const char *)items + i * size);
    qsort(v, n, sizeof *v, cmp_item);
    for (size_t i = 1; i < n && !*dup; i++) /* of two equals, report the later one in the file */
        if (cmp_item(&v[i - 1], &v[i]) == 0) *dup = v[i] > v[i - 1] ? v[i] : v[i - 1];
    *out = v;
    return 0;
}

const qm_str *qm_str_find(const qm_str *const *index, size_t n, const char *s, size_t len) {
    size_t lo = 0, hi = n;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        int c = cmp_bytes(index[mid]->s, index[mid]->n, s, len);
        if (c == 0) return index[mid];
        if (c < 0) lo = mid + 1;
        else hi = mid;
    }
    return NULL;
}
