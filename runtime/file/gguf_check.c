/* gguf_check.c: what a file's keys say of each other and of its tensors, as far as it can be checked
 * without knowing the architecture: layer count, vocabulary arrays of one length, merges that are
 * pairs, token ids inside the vocabulary. Whether a merge names known tokens is for the tokenizer,
 * which has the table to look them up in. */
#include "gguf_impl.h"
#include <stdio.h>
#include <string.h>

enum { MAX_BLOCKS = 1024, MAX_VOCAB = 1 << 24 };
#define OFF(x) ((unsigned long long)(x))

static const qm_kv *find_array(const qm_gguf *g, const char *key, qm_kv_type type, qm_kv_type or_type, int *rc,
                               qm_err *e) {
    const qm_kv *kv = qm_gguf_find(g, key);
    if (!kv) return NULL;
    if (kv->type != QM_KV_ARR)
        *rc = qm_fail(e, QM_ERR_FORMAT, "%s: key '%s': value at offset %llu is of type %s, expected an array of %s",
                      qm_gguf_path(g), key, OFF(kv->file_off), qm_kv_type_name(kv->type), qm_kv_type_name(type));
    else if (kv->arr_type != type && kv->arr_type != or_type)
        *rc = qm_fail(e, QM_ERR_FORMAT, "%s: key '%s': array at offset %llu has elements of type %s, expected %s",
                      qm_gguf_path(g), key, OFF(kv->file_off), qm_kv_type_name(kv->arr_type), qm_kv_type_name(type));
    return kv;
}

/* Each merge is "left right": one space inside, as byte-level tokens hold none. */
static int check_merges(const qm_gguf *g, qm_err *e) {
    int rc = 0;
    const qm_kv *kv = find_array(g, "tokenizer.ggml.merges", QM_KV_STR, QM_KV_STR, &rc, e);
    if (rc || !kv) return rc;
    qm_str_iter it = {kv->arr, kv->arr_n};
    qm_str s;
    for (uint64_t i = 0; qm_str_iter_next(&it, &s); i++) {
        const char *sp = s.n > 2 ? memchr(s.s + 1, ' ', s.n - 2) : NULL;
        if (!sp)
            return qm_fail(e, QM_ERR_FORMAT,
                           "%s: key 'tokenizer.ggml.merges': element %llu '%s' at offset %llu is not "
                           "a pair of tokens",
                           qm_gguf_path(g), OFF(i), qm_show(s).s, OFF((const uint8_t *)s.s - g->shards[0].base));
    }
    return 0;
}

static int check_vocab(const qm_gguf *g, qm_err *e) {
    int rc = 0;
    const qm_kv *tokens = find_array(g, "tokenizer.ggml.tokens", QM_KV_STR, QM_KV_STR, &rc, e);
    if (rc) return rc;
    if (tokens && tokens->arr_n > MAX_VOCAB)
        return qm_fail(e, QM_ERR_LIMIT,
                       "%s: key 'tokenizer.ggml.tokens': %llu tokens at offset %llu, at most %d are "
                       "supported",
                       qm_gguf_path(g), OFF(tokens->arr_n), OFF(tokens->file_off), MAX_VOCAB);
    static const struct {
        const char *key;
        qm_kv_type type, or_type;
    } same[] = {
        {"tokenizer.ggml.token_type", QM_KV_I32, QM_KV_U32},
        {"tokenizer.ggml.scores", QM_KV_F32, QM_KV_F32},
    };
    for (size_t i = 0; i < sizeof same / sizeof *same; i++) {
        const qm_kv *kv = find_array(g, same[i].key, same[i].type, same[i].or_type, &rc, e);
        if (rc) return rc;
        if (kv && kv->arr_n != (tokens ? tokens->arr_n : 0))
            return qm_fail(e, QM_ERR_FORMAT,
                           "%s: key '%s': %llu elements at offset %llu, 'tokenizer.ggml.tokens' has "
                           "%llu",
                           qm_gguf_path(g), same[i].key, OFF(kv->arr_n), OFF(kv->file_off),
                           OFF(tokens ? tokens->arr_n : 0));
    }
    const qm_tensor *embd = qm_gguf_tensor(g, "token_embd.weight");
    if (tokens && embd && embd->ne[1] != tokens->arr_n)
        return qm_fail(e, QM_ERR_FORMAT,
                       "%s: key 'tokenizer.ggml.tokens': %llu tokens at offset %llu, but tensor "
                       "'token_embd.weight' has %llu rows",
                       qm_gguf_path(g), OFF(tokens->arr_n), OFF(tokens->file_off), OFF(embd->ne[1]));
    if ((rc = check_merges(g, e))) return rc;
    /* tokenizer.ggml.<role>_token_id */
    for (size_t i = 0; i < g->n_kv; i++) {
        const qm_kv *kv = &g->kvs[i];
        static const char head[] = "tokenizer.ggml.", tail[] = "_token_id";
        size_t h = sizeof head - 1, t = sizeof tail - 1;
        if (kv->key.n < h + t || memcmp(kv->key.s, head, h) || memcmp(kv->key.s + kv->key.n - t, tail, t)) continue;
        char key[96];
        if (kv->key.n >= sizeof key) continue;
        memcpy(key, kv->key.s, kv->key.n);
        key[kv->key.n] = 0;
        uint32_t id = 0;
        if ((rc = qm_gguf_get_u32(g, key, &id, e)) < 0) return rc;
        if (tokens && id >= tokens->arr_n)
            return qm_fail(e, QM_ERR_FORMAT, "%s: key '%s': token id %u at offset %llu, but there are %llu tokens",
                           qm_gguf_path(g), key, id, OFF(kv->file_off), OFF(tokens->arr_n));
    }
    return 0;
}

static int check_blocks(const qm_gguf *g, qm_err *e) {
    qm_str arch;
    int rc = qm_gguf_get_str(g, "general.architecture", &arch, e);
    if (rc <= 0) return rc;
    char key[96];
    uint32_t n = 0;
    if (arch.n == 0 || arch.n > 64 || memchr(arch.s, 0, arch.n))
        return qm_fail(e, QM_ERR_FORMAT, "%s: key 'general.architecture': '%s' is not a name", qm_gguf_path(g),
                       qm_show(arch).s);
    snprintf(key, sizeof key, "%.*s.block_count", (int)arch.n, arch.s);
    rc = qm_gguf_get_u32(g, key, &n, e);
    if (rc <= 0) return rc;
    if (n == 0 || n > MAX_BLOCKS)
        return qm_fail(e, QM_ERR_LIMIT, "%s: key '%s': %u layers at offset %llu, supported are 1 to %d",
                       qm_gguf_path(g), key, n, OFF(qm_gguf_find(g, key)->file_off), MAX_BLOCKS);
    return 0;
}

int qm_gguf_check(const qm_gguf *g, qm_err *e) {
    int rc = check_blocks(g, e);
    return rc ? rc : check_vocab(g, e);
}
