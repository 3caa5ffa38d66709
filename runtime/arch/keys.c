/* keys.c: see keys.h. The names are those of the gguf package (its constants.py); what a value of a key would change is
 * told by llama.cpp and by the architectures that use it. */
#include "keys.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Not asked for, and of no effect on what is computed, in any family. */
static const char *const idle[] = {
    "vocab_size",             /* the rows of token_embd.weight say it */
    "rope.scaling.finetuned", /* how the weights were made */
    NULL,
};

/* Not asked for, and of no effect at this value in any family: what the forward pass does anyhow. */
static const qm_neutral_key neutral[] = {
    {"attention.causal", {1, 1}, "attention is causal"},
    {"attention.clamp_kqv", {0, 0}, "q, k and v are not clamped"},
    {"attention.max_alibi_bias", {0, 0}, "positions are rotary"},
    {"attention.output_scale", {0, 1}, "attention's output is not scaled"},
    {"attention.shared_kv_layers", {0, 0}, "every layer has its own keys and values"},
    {"attention.sliding_window", {0, 0}, "attention sees every position"},
    {"attention.temperature_length", {0, 0}, "attention's scale does not depend on the position"},
    {"attention.temperature_scale", {0, 0}, "attention's scale does not depend on the position"},
    {"attn_logit_softcapping", {0, 0}, "attention's scores are not capped"},
    {"embedding_scale", {0, 1}, "embeddings are not scaled"},
    {"final_logit_softcapping", {0, 0}, "logits are not capped"},
    {"logit_scale", {0, 1}, "logits are not scaled"},
    {"nextn_predict_layers", {0, 0}, "there are no layers that predict further tokens"},
    {"pooling_type", {0, 0}, "the output is logits, not an embedding"},
    {"residual_scale", {0, 1}, "the residual stream is not scaled"},
    {"swin_norm", {0, 0}, "norms are RMSNorms"},
    {NULL, {0, 0}, NULL},
};

int qm_keys_open(qm_keys *k, const qm_gguf *g, const qm_family *f, qm_err *e) {
    *k = (qm_keys){.g = g, .f = f, .e = e, .asked = calloc(qm_gguf_n_kv(g) + 1, 1)};
    return k->asked ? 0 : qm_fail(e, QM_ERR_NOMEM, "model: no memory for a mark for each of %zu keys", qm_gguf_n_kv(g));
}

void qm_keys_close(qm_keys *k) { free(k->asked); }

/* Finds the key: k->name is its name. A file may use any name of its family as the prefix, whatever general.architecture
 * says. */
static int mark(qm_keys *k, const char *key) {
    const qm_kv *found = NULL;
    snprintf(k->name, sizeof k->name, "%s.%s", k->f->names[0], key);
    for (int i = 0; i < QM_FAMILY_NAMES && k->f->names[i]; i++) {
        char name[sizeof k->name];
        snprintf(name, sizeof name, "%s.%s", k->f->names[i], key);
        const qm_kv *kv = qm_gguf_find(k->g, name);
        if (kv && found) return qm_key_refuse(k, QM_ERR_FORMAT, "is given again as '%s'", name);
        if (!kv) continue;
        found = kv;
        memcpy(k->name, name, sizeof name);
    }
    if (found) k->asked[found - qm_gguf_kv_at(k->g, 0)] = 1;
    return found != NULL;
}

int qm_key_u32(qm_keys *k, const char *key, uint32_t *v) {
    int rc = mark(k, key);
    return rc > 0 ? qm_gguf_get_u32(k->g, k->name, v, k->e) : rc;
}
int qm_key_f32(qm_keys *k, const char *key, float *v) {
    int rc = mark(k, key);
    return rc > 0 ? qm_gguf_get_f32(k->g, k->name, v, k->e) : rc;
}
int qm_key_str(qm_keys *k, const char *key, qm_str *v) {
    int rc = mark(k, key);
    return rc > 0 ? qm_gguf_get_str(k->g, k->name, v, k->e) : rc;
}

int qm_key_missing(qm_keys *k) {
    return qm_fail(k->e, QM_ERR_FORMAT, "%s: missing metadata key %s", qm_gguf_path(k->g), k->name);
}

int qm_key_refuse(qm_keys *k, int code, const char *fmt, ...) {
    char why[256];
    const qm_kv *kv = qm_gguf_find(k->g, k->name);
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(why, sizeof why, fmt, ap);
    va_end(ap);
    if (!kv) return qm_fail(k->e, code, "%s: %s: %s", qm_gguf_path(k->g), k->name, why);
    return qm_fail(k->e, code, "%s: key '%s': value at offset %llu %s", qm_gguf_path(k->g), k->name,
                   (unsigned long long)kv->file_off, why);
}

/* A number or flag; 0 for other types. */
static int number(const qm_kv *kv, double *v) {
    switch (kv->type) {
    case QM_KV_F32:
    case QM_KV_F64: *v = kv->v.f; return 1;
    case QM_KV_I8:
    case QM_KV_I16:
    case QM_KV_I32:
    case QM_KV_I64: *v = (double)kv->v.i; return 1;
    case QM_KV_STR:
    case QM_KV_ARR: return 0;
    default: *v = (double)kv->v.u; return 1;
    }
}

static int is(const char *name, size_t n, const char *key) { return strlen(key) == n && !memcmp(key, name, n); }

static int idles(const char *const *list, const char *key, size_t n) {
    while (*list && !is(key, n, *list)) list++;
    return *list != NULL;
}
static const qm_neutral_key *neutral_of(const qm_neutral_key *list, const char *key, size_t n) {
    while (list->key && !is(key, n, list->key)) list++;
    return list->key ? list : NULL;
}

static int unasked(qm_keys *k, const qm_kv *kv, const char *key, size_t n) {
    const char *path = qm_gguf_path(k->g);
    const qm_shown shown = qm_show(kv->key);
    const char *at = shown.s;
    double v = 0;
    if (idles(idle, key, n) || idles(k->f->idle, key, n)) return 0;
    const qm_neutral_key *x = neutral_of(neutral, key, n);
    if (!x) x = neutral_of(k->f->neutral, key, n);
    if (x && number(kv, &v) && (v == x->ok[0] || v == x->ok[1])) return 0;
    if (!x)
        return qm_fail(k->e, QM_ERR_UNSUPPORTED,
                       "%s: key '%s' at offset %llu is not supported: what it asks for would not be done", path, at,
                       (unsigned long long)kv->file_off);
    if (!number(kv, &v))
        return qm_fail(k->e, QM_ERR_UNSUPPORTED,
                       "%s: key '%s': a value of type %s at offset %llu is not supported (%g is): "
                       "here %s",
                       path, at, qm_kv_type_name(kv->type), (unsigned long long)kv->file_off, x->ok[1], x->what);
    return qm_fail(k->e, QM_ERR_UNSUPPORTED, "%s: key '%s': %g at offset %llu is not supported (%g is): here %s", path,
                   at, v, (unsigned long long)kv->file_off, x->ok[1], x->what);
}

int qm_keys_rest(qm_keys *k) {
    for (size_t i = 0; i < qm_gguf_n_kv(k->g); i++) {
        const qm_kv *kv = qm_gguf_kv_at(k->g, i);
        for (int p = 0; p < QM_FAMILY_NAMES && k->f->names[p] && !k->asked[i]; p++) {
            size_t n = strlen(k->f->names[p]);
            if (kv->key.n <= n || memcmp(kv->key.s, k->f->names[p], n) || kv->key.s[n] != '.') continue;
            int rc = unasked(k, kv, kv->key.s + n + 1, kv->key.n - n - 1);
            if (rc) return rc;
        }
    }
    return 0;
}
