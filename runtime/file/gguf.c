/* gguf.c: opening a file or a split set.
 * A split set (llama.cpp's gguf-split) is NAME-00001-of-0000N.gguf ... : every part carries split.no
 * (from 0), split.count and split.tensors.count; the first part carries the model's metadata. */
#include "gguf_impl.h"
#include "input.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MAX_SHARDS = 512 };
#define SHOW(str) qm_show(str).s

/* Maps path into *s; the caller's cleanup releases what was filled in, also on failure. */
static int map_file(qm_gguf_shard *s, const char *path, qm_err *e) {
    uint64_t bytes;
    if (!(s->name = strdup(path))) return qm_fail(e, QM_ERR_NOMEM, "%s: no memory", path);
    int rc = qm_input_open(&s->fd, &bytes, path, e);
    if (rc) return rc;
    if (bytes < 24)
        return qm_fail(e, QM_ERR_FORMAT, "%s: %llu bytes are too few for a GGUF header of 24", path,
                       (unsigned long long)bytes);
    void *p = mmap(NULL, (size_t)bytes, PROT_READ, MAP_SHARED, s->fd, 0);
    if (p == MAP_FAILED)
        return qm_fail(e, QM_ERR_IO, "%s: cannot map %llu bytes: %s", path, (unsigned long long)bytes, strerror(errno));
    s->base = p;
    s->bytes = bytes;
    s->held = qm_input_hold(s->fd, path, p, bytes, e);
    return s->held < 0 ? s->held : 0;
}

/* A non-negative integer key of a part. 1 found, 0 absent, negative error. */
static int split_key(const qm_gguf_shard *s, const qm_kv_list *l, const char *key, uint64_t *v, qm_err *e) {
    size_t n = strlen(key);
    int found = 0;
    for (size_t i = 0; i < l->n; i++) {
        const qm_kv *kv = &l->kvs[i];
        if (kv->key.n != n || memcmp(kv->key.s, key, n) != 0) continue;
        if (found++)
            return qm_fail(e, QM_ERR_FORMAT, "%s: key '%s' appears twice, again at offset %llu", s->name, key,
                           (unsigned long long)kv->file_off);
        int is_signed = kv->type == QM_KV_I8 || kv->type == QM_KV_I16 || kv->type == QM_KV_I32 || kv->type == QM_KV_I64;
        int is_unsigned =
            kv->type == QM_KV_U8 || kv->type == QM_KV_U16 || kv->type == QM_KV_U32 || kv->type == QM_KV_U64;
        if ((!is_signed && !is_unsigned) || (is_signed && kv->v.i < 0))
            return qm_fail(e, QM_ERR_FORMAT, "%s: key '%s' at offset %llu is not a non-negative integer", s->name, key,
                           (unsigned long long)kv->file_off);
        *v = kv->v.u;
    }
    return found;
}

/* "…-00002-of-00005.gguf": the length of the part before "-00002", and the two numbers. */
static int split_name(const char *path, size_t *stem, uint32_t *no, uint32_t *count) {
    static const char tail[] = "-00000-of-00000.gguf";
    size_t n = strlen(path), m = sizeof tail - 1;
    if (n < m) return 0;
    const char *p = path + n - m;
    uint32_t v[2] = {0, 0};
    for (size_t i = 0; i < m; i++) {
        if (tail[i] != '0') {
            if (p[i] != tail[i]) return 0;
        } else {
            if (p[i] < '0' || p[i] > '9') return 0;
            v[i > 6] = v[i > 6] * 10 + (uint32_t)(p[i] - '0');
        }
    }
    *stem = n - m;
    *no = v[0];
    *count = v[1];
    return v[0] >= 1 && v[0] <= v[1];
}

/* Checks part i's split keys; total is set by part 0. */
static int check_part(const qm_gguf_shard *s, const qm_kv_list *l, uint32_t i, uint32_t count, uint64_t *total,
                      qm_err *e) {
    uint64_t no = 0, n = 0, t = 0;
    int a = split_key(s, l, "split.no", &no, e);
    int b = a < 0 ? a : split_key(s, l, "split.count", &n, e);
    int c = b < 0 ? b : split_key(s, l, "split.tensors.count", &t, e);
    if (c < 0) return c;
    if (!a || !b || !c)
        return qm_fail(e, QM_ERR_FORMAT, "%s: part %u of %u lacks key '%s'", s->name, i + 1, count,
                       !a   ? "split.no"
                       : !b ? "split.count"
                            : "split.tensors.count");
    if (no != i)
        return qm_fail(e, QM_ERR_FORMAT, "%s: key 'split.no' is %llu, its name says %u", s->name,
                       (unsigned long long)no, i);
    if (n != count)
        return qm_fail(e, QM_ERR_FORMAT, "%s: key 'split.count' is %llu, the set has %u parts", s->name,
                       (unsigned long long)n, count);
    if (i == 0) *total = t;
    if (t != *total)
        return qm_fail(e, QM_ERR_FORMAT, "%s: key 'split.tensors.count' is %llu, part 1 says %llu", s->name,
                       (unsigned long long)t, (unsigned long long)*total);
    return 0;
}

/* Parses the other parts of a set whose part `given` is already mapped as shards[0]. */
static int open_set(qm_gguf *g, const char *path, qm_kv_list *kvs, qm_err *e) {
    size_t stem;
    uint32_t given, count;
    uint64_t total = 0, parts = 0;
    int rc = split_key(&g->shards[0], kvs, "split.count", &parts, e);
    if (rc < 0) return rc;
    if (parts <= 1) return 0;
    if (parts > MAX_SHARDS)
        return qm_fail(e, QM_ERR_LIMIT, "%s: key 'split.count' is %llu, at most %d are supported", path,
                       (unsigned long long)parts, MAX_SHARDS);
    if (!split_name(path, &stem, &given, &count) || count != parts)
        return qm_fail(e, QM_ERR_FORMAT,
                       "%s: one of %llu parts by its key 'split.count', but its name does not end in "
                       "-NNNNN-of-%05llu.gguf",
                       path, (unsigned long long)parts, (unsigned long long)parts);
    qm_gguf_shard *s = calloc(count, sizeof *s);
    char *name = malloc(strlen(path) + 1);
    if (!s || !name) {
        free(s);
        free(name);
        return qm_fail(e, QM_ERR_NOMEM, "%s: no memory for %u parts", path, count);
    }
    for (uint32_t i = 0; i < count; i++) s[i].fd = s[i].held = -1;
    s[given - 1] = g->shards[0];
    free(g->shards);
    g->shards = s;
    g->n_shards = count;
    g->n_tensors = 0;
    kvs->n = 0;
    for (uint32_t i = 0; i < count; i++) {
        memcpy(name, path, stem);
        snprintf(name + stem, strlen(path) + 1 - stem, "-%05u-of-%05u.gguf", i + 1, count);
        if (!s[i].base && (rc = map_file(&s[i], name, e))) break;
        qm_kv_list other = {0};
        rc = qm_gguf_parse(g, i, i == 0 ? kvs : &other, e);
        if (!rc) rc = check_part(&s[i], i == 0 ? kvs : &other, i, count, &total, e);
        free(other.kvs);
        if (rc) break;
    }
    free(name);
    if (!rc && g->n_tensors != total)
        rc = qm_fail(e, QM_ERR_FORMAT, "%s: key 'split.tensors.count' is %llu, the %u parts hold %zu tensors",
                     g->shards[0].name, (unsigned long long)total, count, g->n_tensors);
    return rc;
}

/* After shards[0] is there: parse, gather the other parts, index, check. */
static int finish_open(qm_gguf *g, const char *path, qm_err *e) {
    qm_kv_list kvs = {0};
    const qm_str *dup;
    uint64_t parts = 0;
    int rc = qm_gguf_parse(g, 0, &kvs, e);
    if (!rc && path) rc = open_set(g, path, &kvs, e);
    if (!rc && !path) {
        rc = split_key(&g->shards[0], &kvs, "split.count", &parts, e);
        if (rc > 0) rc = 0;
        if (!rc && parts > 1)
            rc = qm_fail(e, QM_ERR_UNSUPPORTED, "%s: one of %llu parts of a split set; open it by its file name",
                         g->shards[0].name, (unsigned long long)parts);
    }
    g->kvs = kvs.kvs;
    g->n_kv = kvs.n;
    if (rc) return rc;
    if ((rc = qm_str_index(&g->kv_index, g->kvs, g->n_kv, sizeof *g->kvs, &dup, e))) return rc;
    if (dup) {
        const qm_kv *kv = (const qm_kv *)(const void *)dup;
        return qm_fail(e, QM_ERR_FORMAT, "%s: key '%s' appears twice, again at offset %llu", g->shards[0].name,
                       SHOW(kv->key), (unsigned long long)kv->file_off);
    }
    if ((rc = qm_str_index(&g->tensor_index, g->tensors, g->n_tensors, sizeof *g->tensors, &dup, e))) return rc;
    if (dup) {
        const qm_tensor *t = (const qm_tensor *)(const void *)dup;
        return qm_fail(e, QM_ERR_FORMAT, "%s: tensor '%s' appears twice, again with data at offset %llu",
                       g->shards[t->shard].name, SHOW(t->name), (unsigned long long)t->file_off);
    }
    return qm_gguf_check(g, e);
}

static int new_gguf(qm_gguf **out, qm_err *e) {
    *out = NULL;
    qm_gguf *g = calloc(1, sizeof *g);
    if (g) g->shards = calloc(1, sizeof *g->shards);
    if (!g || !g->shards) {
        free(g);
        return qm_fail(e, QM_ERR_NOMEM, "no memory for a GGUF reader");
    }
    g->n_shards = 1;
    g->shards[0].fd = g->shards[0].held = -1;
    *out = g;
    return 0;
}

int qm_gguf_open(qm_gguf **out, const char *path, qm_err *e) {
    int rc = new_gguf(out, e);
    if (rc) return rc;
    rc = map_file(&(*out)->shards[0], path, e);
    if (!rc) rc = finish_open(*out, path, e);
    if (rc) {
        qm_gguf_close(*out);
        *out = NULL;
    }
    return rc;
}

int qm_gguf_open_mem(qm_gguf **out, const void *buf, size_t n, const char *name, qm_err *e) {
    int rc = new_gguf(out, e);
    if (rc) return rc;
    qm_gguf_shard *s = &(*out)->shards[0];
    s->base = buf;
    s->bytes = n;
    s->name = strdup(name ? name : "(memory)");
    rc = s->name ? finish_open(*out, NULL, e) : qm_fail(e, QM_ERR_NOMEM, "no memory for a GGUF reader");
    if (rc) {
        qm_gguf_close(*out);
        *out = NULL;
    }
    return rc;
}

void qm_gguf_close(qm_gguf *g) {
    if (!g) return;
    for (uint32_t i = 0; i < g->n_shards; i++) {
        qm_gguf_shard *s = &g->shards[i];
        qm_input_release(s->held);
        if (s->fd >= 0) {
            if (s->base) munmap((void *)(uintptr_t)s->base, (size_t)s->bytes);
            close(s->fd);
        }
        free(s->name);
    }
    free(g->shards);
    free(g->kvs);
    free(g->tensors);
    free(g->kv_index);
    free(g->tensor_index);
    free(g);
}
