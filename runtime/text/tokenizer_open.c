/* A GGUF's tokenizer.ggml.* metadata, checked, into a qm_tokenizer. Nothing is assumed of the file but
 * what gguf.c has checked (every string lies inside it). Errors name the file, the key and its offset. */
#include "../base/log.h"
#include "lexicon.h"
#include "tokenizer_impl.h"
#include "unicode.h"
#include <stdlib.h>
#include <string.h>

#define K_MODEL "tokenizer.ggml.model"
#define K_PRE "tokenizer.ggml.pre"
#define K_TOKENS "tokenizer.ggml.tokens"
#define K_TYPES "tokenizer.ggml.token_type"
#define K_MERGES "tokenizer.ggml.merges"

static unsigned long long off_of(const qm_gguf *g, const char *key) {
    const qm_kv *kv = qm_gguf_find(g, key);
    return kv ? kv->file_off : 0;
}
/* fail(code, key, fmt, ...): "file: key (offset n): what". */
#define fail(code, key, fmt, ...) \
    qm_fail(e, code, "%s: %s (offset %llu): " fmt, t->name, key, off_of(g, key), ##__VA_ARGS__)
#define nomem() qm_fail(e, QM_ERR_NOMEM, "%s: no memory for the tokenizer", t->name)

/* ---- the GPT-2 alphabet: each byte is written as a printable character ---- */
/* Printable Latin-1 stands for itself; the 68 others, in order, for U+0100.. */
static int is_plain(unsigned b) { return (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174; }
typedef struct {
    int16_t byte[324];
    uint16_t cp[256];
} alphabet;
static void alphabet_make(alphabet *a) {
    unsigned next = 256;
    for (unsigned i = 0; i < 324; i++) a->byte[i] = -1;
    for (unsigned b = 0; b < 256; b++) {
        a->cp[b] = (uint16_t)(is_plain(b) ? b : next++);
        a->byte[a->cp[b]] = (int16_t)b;
    }
}

/* The bytes that a token's text stands for; never more than n. A text with a character outside the
 * alphabet stands for itself, as the reference's decoder has it. */
static size_t alphabet_decode(const alphabet *a, const char *p, size_t n, char *out) {
    size_t w = 0;
    for (size_t i = 0; i < n;) {
        uint32_t cp;
        int len = qm_utf8_decode((const uint8_t *)p + i, n - i, &cp);
        if (len <= 0 || cp >= 324 || a->byte[cp] < 0) {
            memcpy(out, p, n);
            return n;
        }
        out[w++] = (char)a->byte[cp];
        i += (size_t)len;
    }
    return w;
}

static uint32_t table_size(uint64_t n) { /* a power of two, at most half full */
    uint32_t c = 16;
    while (c < 2 * n) c *= 2;
    return c;
}

static int read_tokens(qm_tokenizer *t, const qm_gguf *g, qm_err *e) {
    qm_str_iter it, again;
    uint64_t n, bytes = 0;
    qm_str s;
    int rc = qm_gguf_get_str_array(g, K_TOKENS, &it, &n, e);
    if (rc < 0) return rc;
    if (!rc) return qm_fail(e, QM_ERR_FORMAT, "%s: no %s", t->name, K_TOKENS);
    if (n < 256 || n > 1u << 28)
        return fail(QM_ERR_FORMAT, K_TOKENS, "%llu tokens; a byte-level vocabulary has 256 to 2^28",
                    (unsigned long long)n);
    again = it;
    while (qm_str_iter_next(&again, &s)) bytes += s.n;
    if (bytes > UINT32_MAX) return fail(QM_ERR_FORMAT, K_TOKENS, "over 4 GiB of text");
    t->n = (uint32_t)n;
    t->hash_mask = table_size(n) - 1;
    t->text = malloc(bytes + 1);
    t->raw = malloc(bytes + 1);
    t->text_off = malloc((n + 1) * sizeof *t->text_off);
    t->raw_off = malloc((n + 1) * sizeof *t->raw_off);
    t->hash = calloc((size_t)t->hash_mask + 1, sizeof *t->hash);
    t->type = malloc(n);
    t->eog = calloc(n, 1);
    if (!t->text || !t->raw || !t->text_off || !t->raw_off || !t->hash || !t->type || !t->eog) return nomem();
    uint32_t at = 0;
    for (uint32_t id = 0; id < t->n; id++) {
        if (!qm_str_iter_next(&it, &s)) return fail(QM_ERR_FORMAT, K_TOKENS, "ends at entry %u of %u", id, t->n);
        if (!s.n) return fail(QM_ERR_FORMAT, K_TOKENS, "token %u is empty", id);
        int64_t other = tok_find(t, s.s, s.n, "", 0);
        if (other >= 0)
            return fail(QM_ERR_FORMAT, K_TOKENS, "tokens %u and %u are both \"%s\"", (unsigned)other, id, qm_show(s).s);
        memcpy(t->text + at, s.s, s.n);
        t->text_off[id] = at;
        at += (uint32_t)s.n;
        t->text_off[id + 1] = at;
        uint32_t i = (uint32_t)qm_siphash(&t->key, s.s, s.n, "", 0) & t->hash_mask;
        while (t->hash[i]) i = (i + 1) & t->hash_mask;
        t->hash[i] = id + 1;
    }
    return 0;
}

static int read_types(qm_tokenizer *t, const qm_gguf *g, qm_err *e) {
    const qm_kv *kv = qm_gguf_find(g, K_TYPES);
    if (!kv) {
        qm_log(QM_LOG_WARN, "%s: no %s: no token is a control token", t->name, K_TYPES);
        memset(t->type, TT_NORMAL, t->n);
        return 0;
    }
    if (kv->type != QM_KV_ARR || (kv->arr_type != QM_KV_I32 && kv->arr_type != QM_KV_U32))
        return fail(QM_ERR_FORMAT, K_TYPES, "not an array of 32-bit integers");
    if (kv->arr_n != t->n)
        return fail(QM_ERR_FORMAT, K_TYPES, "%llu types for %u tokens", (unsigned long long)kv->arr_n, t->n);
    for (uint32_t id = 0; id < t->n; id++) {
        const uint8_t *p = kv->arr + 4 * (size_t)id;
        uint32_t v = p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
        if (v < TT_NORMAL || v > TT_BYTE) return fail(QM_ERR_FORMAT, K_TYPES, "token %u has type %d", id, (int)v);
        t->type[id] = (uint8_t)v;
    }
    return 0;
}

/* The bytes of every token, and the token of every byte. */
static int read_bytes(qm_tokenizer *t, const qm_gguf *g, qm_err *e) {
    alphabet a;
    alphabet_make(&a);
    uint32_t at = 0;
    for (uint32_t id = 0; id < t->n; id++) {
        const char *s = t->text + t->text_off[id];
        size_t n = t->text_off[id + 1] - t->text_off[id];
        t->raw_off[id] = at;
        if (t->type[id] == TT_CONTROL || t->type[id] == TT_USER) {
            memcpy(t->raw + at, s, n);
            at += (uint32_t)n;
        } else {
            at += (uint32_t)alphabet_decode(&a, s, n, t->raw + at);
        }
        t->raw_off[id + 1] = at;
    }
    for (unsigned b = 0; b < 256; b++) {
        char s[2] = {(char)a.cp[b], 0};
        size_t n = 1;
        if (a.cp[b] >= 128) {
            s[0] = (char)(0xc0 | a.cp[b] >> 6);
            s[1] = (char)(0x80 | (a.cp[b] & 63));
            n = 2;
        }
        int64_t id = tok_find(t, s, n, "", 0);
        if (id < 0) return fail(QM_ERR_FORMAT, K_TOKENS, "no token for byte 0x%02x (\"%.2s\")", b, s);
        if (t->type[id] == TT_CONTROL)
            return fail(QM_ERR_FORMAT, K_TYPES, "the token of byte 0x%02x (%u) is a control token", b, (unsigned)id);
        t->byte_id[b] = (uint32_t)id;
    }
    return 0;
}

static int read_merges(qm_tokenizer *t, const qm_gguf *g, qm_err *e) {
    qm_str_iter it;
    uint64_t n;
    qm_str s;
    int rc = qm_gguf_get_str_array(g, K_MERGES, &it, &n, e);
    if (rc < 0) return rc;
    if (!rc) return qm_fail(e, QM_ERR_FORMAT, "%s: no %s", t->name, K_MERGES);
    if (n > 1u << 28) return fail(QM_ERR_FORMAT, K_MERGES, "%llu merges; the limit is 2^28", (unsigned long long)n);
    t->n_merges = (uint32_t)n;
    t->merge_mask = table_size(n) - 1;
    t->merge = malloc(((size_t)t->merge_mask + 1) * sizeof *t->merge);
    if (!t->merge) return nomem();
    memset(t->merge, 0xff, ((size_t)t->merge_mask + 1) * sizeof *t->merge);
    for (uint32_t r = 0; r < t->n_merges; r++) {
        if (!qm_str_iter_next(&it, &s)) return fail(QM_ERR_FORMAT, K_MERGES, "ends at entry %u of %u", r, t->n_merges);
        const char *sp = memchr(s.s, ' ', s.n);
        size_t left = sp ? (size_t)(sp - s.s) : 0, right = sp ? s.n - left - 1 : 0;
        if (!left || !right || memchr(sp + 1, ' ', right))
            return fail(QM_ERR_FORMAT, K_MERGES, "merge %u (\"%s\") is not two tokens and a space", r, qm_show(s).s);
        int64_t a = tok_find(t, s.s, left, "", 0), b = tok_find(t, sp + 1, right, "", 0);
        int64_t c = tok_find(t, s.s, left, sp + 1, right);
        if (a < 0 || b < 0 || c < 0)
            return fail(QM_ERR_FORMAT, K_MERGES, "merge %u (\"%s\"): %s is not in %s", r, qm_show(s).s,
                        a < 0   ? "its left half"
                        : b < 0 ? "its right half"
                                : "its result",
                        K_TOKENS);
        if (t->type[c] == TT_CONTROL) /* plain text could then spell a control token */
            return fail(QM_ERR_FORMAT, K_MERGES, "merge %u (\"%s\") makes a control token", r, qm_show(s).s);
        uint32_t i = tok_merge_slot(t, (uint32_t)a, (uint32_t)b);
        for (; t->merge[i].rank != UINT32_MAX; i = (i + 1) & t->merge_mask)
            if (t->merge[i].left == a && t->merge[i].right == b)
                return fail(QM_ERR_FORMAT, K_MERGES, "merges %u and %u are the same (\"%s\")", t->merge[i].rank, r,
                            qm_show(s).s);
        t->merge[i] = (tok_merge){(uint32_t)a, (uint32_t)b, (uint32_t)c, r};
    }
    return 0;
}

/* Ids by key. An absent key names no token: there is no default. */
static int read_ids(qm_tokenizer *t, const qm_gguf *g, qm_err *e) {
    static const struct {
        const char *key;
        int ends;
    } ids[] = {
        {"tokenizer.ggml.bos_token_id", 0},     {"tokenizer.ggml.eos_token_id", 1},
        {"tokenizer.ggml.eot_token_id", 1},     {"tokenizer.ggml.eom_token_id", 0},
        {"tokenizer.ggml.unknown_token_id", 0}, {"tokenizer.ggml.padding_token_id", 0},
    };
    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++) {
        uint32_t v;
        int rc = qm_gguf_get_u32(g, ids[i].key, &v, e);
        if (rc < 0) return rc;
        if (!rc) continue;
        if (v >= t->n) return fail(QM_ERR_FORMAT, ids[i].key, "%u is not below the vocabulary's %u", v, t->n);
        if (ids[i].ends) t->eog[v] = 1;
    }
    static const char *const enders[] = {"<|endoftext|>", "<|im_end|>"};
    for (size_t i = 0; i < 2; i++) {
        int64_t id = qm_token_find(t, enders[i]);
        if (id >= 0 && t->type[id] == TT_CONTROL) t->eog[id] = 1;
    }
    int add;
    int rc = qm_gguf_get_bool(g, "tokenizer.ggml.add_bos_token", &add, e);
    if (rc < 0) return rc;
    if (rc && add)
        qm_log(QM_LOG_WARN, "%s: tokenizer.ggml.add_bos_token is set; no token is put before the text", t->name);
    return 0;
}

int qm_tokenizer_open(qm_tokenizer **out, const qm_gguf *g, qm_err *e) {
    *out = NULL;
    qm_tokenizer *t = calloc(1, sizeof *t);
    if (!t) return qm_fail(e, QM_ERR_NOMEM, "no memory for the tokenizer");
    const char *name = qm_gguf_path(g);
    t->name = strdup(name ? name : "(memory)");
    t->key = qm_hash_key_new();
    t->lexicon = calloc(1, sizeof *t->lexicon);
    qm_str s;
    int rc = t->name && t->lexicon ? 0 : qm_fail(e, QM_ERR_NOMEM, "no memory for the tokenizer");
    if (rc) goto out;

    if ((rc = qm_gguf_get_str(g, K_MODEL, &s, e)) < 0) goto out;
    if (!rc) {
        rc = qm_fail(e, QM_ERR_FORMAT, "%s: no %s: the file carries no tokenizer", t->name, K_MODEL);
        goto out;
    }
    if (s.n != 4 || memcmp(s.s, "gpt2", 4)) {
        rc = fail(QM_ERR_UNSUPPORTED, K_MODEL, "\"%s\"; supported: gpt2", qm_show(s).s);
        goto out;
    }
    if ((rc = qm_gguf_get_str(g, K_PRE, &s, e)) < 0) goto out;
    if (!rc) {
        rc = qm_fail(e, QM_ERR_UNSUPPORTED, "%s: no %s: the pre-tokenizer is not known; supported: qwen2", t->name,
                     K_PRE);
        goto out;
    }
    if (s.n != 5 || memcmp(s.s, "qwen2", 5)) {
        rc = fail(QM_ERR_UNSUPPORTED, K_PRE, "\"%s\"; supported: qwen2", qm_show(s).s);
        goto out;
    }
    if ((rc = read_tokens(t, g, e))) goto out;
    const qm_tensor *embd = qm_gguf_tensor(g, "token_embd.weight");
    if (embd && embd->n_dims == 2 && embd->ne[1] != t->n) {
        rc = fail(QM_ERR_FORMAT, K_TOKENS, "%u tokens, but token_embd.weight has %llu rows", t->n,
                  (unsigned long long)embd->ne[1]);
        goto out;
    }
    if ((rc = read_types(t, g, e)) || (rc = read_bytes(t, g, e)) || (rc = read_merges(t, g, e)) ||
        (rc = read_ids(t, g, e)) || (rc = tok_added_build(t) ? nomem() : 0) || (rc = tok_split_compile(t, e)))
        goto out;
    *out = t;
    return 0;
out:
    qm_tokenizer_close(t);
    return rc;
}

void qm_tokenizer_close(qm_tokenizer *t) {
    if (!t) return;
    if (t->lexicon) qm_lexicon_free(*t->lexicon);
    free(t->lexicon);
    free(t->name);
    free(t->text);
    free(t->text_off);
    free(t->raw);
    free(t->raw_off);
    free(t->type);
    free(t->eog);
    free(t->hash);
    free(t->merge);
    free(t->node);
    if (t->regex) tok_split_free(t);
    free(t);
}
