/* hparams.c: the family by general.architecture, and its hyperparameters. */
#include "hparams.h"
#include <math.h>
#include <stdio.h>
#include <string.h>
#include "../base/text.h"

static int is(qm_str s, const char *word) { return s.n == strlen(word) && !memcmp(s.s, word, s.n); }

static int find_family(const qm_family **f, const qm_gguf *g, qm_err *e) {
    qm_str s;
    const char *path = qm_gguf_path(g);
    int rc = qm_gguf_get_str(g, "general.type", &s, e);
    if (rc < 0) return rc;
    if (rc && !is(s, "model"))
        return qm_fail(e, QM_ERR_UNSUPPORTED, "%s: general.type '%s': not a model that runs by itself", path,
                       qm_show(s).s);
    rc = qm_gguf_get_str(g, "general.architecture", &s, e);
    if (rc < 0) return rc;
    if (!rc) return qm_fail(e, QM_ERR_FORMAT, "%s: missing metadata key general.architecture", path);
    if ((*f = qm_family_find(s.s, s.n))) return 0;
    char list[400] = "";
    for (int i = 0; i < qm_n_families; i++) {
        size_t n = strlen(list);
        snprintf(list + n, sizeof list - n, "; %s is: %s", qm_families[i]->names[0], qm_families[i]->models);
    }
    return qm_fail(e, QM_ERR_UNSUPPORTED, "%s: architecture '%s' is not supported%s", path, qm_show(s).s, list);
}

int qm_arch_check(const qm_gguf *g, qm_err *e) {
    const qm_family *f;
    return find_family(&f, g, e);
}

/* Key i of the table into *v; required where there is no default. */
static int dim(qm_keys *k, qm_dim i, int required, uint32_t *v) {
    if (!k->f->dims[i].key) return 0;
    int rc = qm_key_u32(k, k->f->dims[i].key, &v[i]);
    return rc < 0 ? rc : !rc && required ? qm_key_missing(k) : 0;
}

static int read_shape(qm_hparams *hp, uint32_t *v, qm_keys *k) {
    static const qm_dim required[] = {QM_DIM_CTX,     QM_DIM_EMBD, QM_DIM_LAYERS, QM_DIM_HEADS,
                                      QM_DIM_EXPERTS, QM_DIM_USED, QM_DIM_FF};
    uint32_t value_length;
    char why[96];
    int rc;
    for (size_t i = 0; i < sizeof required / sizeof *required; i++)
        if ((rc = dim(k, required[i], 1, v))) return rc;
    v[QM_DIM_KV_HEADS] = v[QM_DIM_HEADS];
    v[QM_DIM_HEAD_DIM] = v[QM_DIM_HEADS] ? v[QM_DIM_EMBD] / v[QM_DIM_HEADS] : 0;
    v[QM_DIM_VOCAB] = 1; /* the file's tensors say it */
    if ((rc = dim(k, QM_DIM_KV_HEADS, 0, v)) || (rc = dim(k, QM_DIM_HEAD_DIM, 0, v))) return rc;
    int bad = qm_shape_check(k->f, v, why, sizeof why);
    if (bad >= 0) {
        rc = qm_key_u32(k, k->f->dims[bad].key, &v[bad]); /* names it */
        return rc < 0 ? rc : qm_key_refuse(k, QM_ERR_UNSUPPORTED, "is %u: %s", v[bad], why);
    }
    value_length = v[QM_DIM_HEAD_DIM];
    if ((rc = qm_key_u32(k, "attention.value_length", &value_length)) < 0) return rc;
    if (value_length != v[QM_DIM_HEAD_DIM])
        return qm_key_refuse(k, QM_ERR_UNSUPPORTED, "is %u: must be the key length, %u", value_length,
                             v[QM_DIM_HEAD_DIM]);
    hp->n_ctx_train = v[QM_DIM_CTX];
    hp->n_embd = v[QM_DIM_EMBD];
    hp->n_layers = v[QM_DIM_LAYERS];
    hp->n_head = v[QM_DIM_HEADS];
    hp->n_kv = v[QM_DIM_KV_HEADS];
    hp->head_dim = v[QM_DIM_HEAD_DIM];
    hp->n_expert = v[QM_DIM_EXPERTS];
    hp->n_used = v[QM_DIM_USED];
    hp->n_ff = v[QM_DIM_FF];
    return 0;
}

static int read_scales(qm_hparams *hp, qm_keys *k) {
    int rc = qm_key_f32(k, "attention.layer_norm_rms_epsilon", &hp->eps);
    if (rc < 0) return rc;
    if (!rc) return qm_key_missing(k);
    if (!(hp->eps > 0 && hp->eps < 1))
        return qm_key_refuse(k, QM_ERR_FORMAT, "is %g: must lie between 0 and 1", (double)hp->eps);
    /* 0 says nothing; the architecture's own is 1 / sqrt(head_dim) */
    float scale = 0;
    if ((rc = qm_key_f32(k, "attention.scale", &scale)) < 0) return rc;
    double own = 1 / sqrt(hp->head_dim);
    if (scale != 0 && !(fabs((double)scale - own) < 1e-6 * own))
        return qm_key_refuse(k, QM_ERR_UNSUPPORTED,
                             "is %g: only %g, 1 over the root of the head's length, is supported", (double)scale, own);
    return 0;
}

int qm_hparams_read(qm_hparams *hp, const qm_family **f, uint32_t *d, const qm_gguf *g, float rope_base, qm_err *e) {
    qm_keys k;
    qm_str s;
    memset(hp, 0, sizeof *hp);
    memset(d, 0, QM_DIMS * sizeof *d);
    int rc = find_family(f, g, e);
    if (rc) return rc;
    if (qm_gguf_get_str(g, "general.architecture", &s, e) == 1) qm_text_name(hp->arch, sizeof hp->arch, s.s, s.n);
    if ((rc = qm_gguf_get_str(g, "general.name", &s, e)) < 0) return rc;
    if (rc) qm_text_name(hp->name, sizeof hp->name, s.s, s.n);
    if ((rc = qm_keys_open(&k, g, *f, e))) return rc;
    rc = read_shape(hp, d, &k);
    if (!rc) rc = read_scales(hp, &k);
    if (!rc) rc = qm_rope_read(hp, &k, rope_base);
    if (!rc) rc = qm_keys_rest(&k);
    qm_keys_close(&k);
    return rc;
}
