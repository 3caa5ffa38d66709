/* model.c: finds every tensor of the family's list and checks its shape. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "hparams.h"

typedef struct {
    qm_model *m;
    const qm_gguf *g;
    const qm_family *f;
    uint32_t d[QM_DIMS];
    qm_err *e;
    unsigned char *asked; /* [tensors of the file] */
    int failed;
} finder;

/* Looks up blk.<layer>.<name>.<what> (layer -1: <name>.<what>) and checks its shape; returns its index among the model's
 * weights, -1 if it is absent, or -1 with f->failed. */
static int find(finder *f, const qm_weight_spec *s, int layer, const char *what, int required) {
    const int vector = s->vector || *what == 'b';
    const uint64_t n = qm_extent(f->d, *what == 'b' ? s->rows : s->cols);
    const uint64_t want[3] = {n, vector ? 1 : qm_extent(f->d, s->rows), vector ? 1 : qm_extent(f->d, s->experts)};
    char name[96], block[16] = "";
    if (f->failed) return -1;
    if (layer >= 0) snprintf(block, sizeof block, "blk.%d.", layer);
    snprintf(name, sizeof name, "%s%s.%s", block, s->name, what);
    const char *path = qm_gguf_path(f->g);
    const qm_tensor *t = qm_gguf_tensor(f->g, name);
    if (!t) {
        if (required) f->failed = qm_fail(f->e, QM_ERR_FORMAT, "%s: missing tensor %s", path, name);
        return -1;
    }
    f->asked[t - qm_gguf_tensor_at(f->g, 0)] = 1;
    if (t->ne[0] != want[0] || t->ne[1] != want[1] || t->ne[2] != want[2] || t->ne[3] != 1) {
        f->failed = qm_fail(f->e, QM_ERR_FORMAT,
                            "%s: tensor %s has shape [%llu, %llu, %llu, %llu], expected [%llu, %llu, %llu, 1]", path,
                            name, (unsigned long long)t->ne[0], (unsigned long long)t->ne[1],
                            (unsigned long long)t->ne[2], (unsigned long long)t->ne[3], (unsigned long long)want[0],
                            (unsigned long long)want[1], (unsigned long long)want[2]);
        return -1;
    }
    const qm_type_info *ti = qm_type_get(t->type);
    if (vector && t->type != QM_TYPE_F32) {
        f->failed = qm_fail(f->e, QM_ERR_UNSUPPORTED, "%s: tensor %s is %s; norms and biases must be F32", path, name,
                            ti->name);
        return -1;
    }
    f->m->weights[f->m->n_weights] = (qm_weight){.t = t,
                                                 .data = t->data,
                                                 .type = ti,
                                                 .name = s->name,
                                                 .layer = layer,
                                                 .n_expert = (uint32_t)want[2],
                                                 .n_rows = (uint32_t)want[1],
                                                 .n_cols = (uint32_t)want[0],
                                                 .vector = vector,
                                                 .bias = -1,
                                                 .is_bias = *what == 'b',
                                                 .joins = s->joins,
                                                 .may_narrow = s->may_narrow};
    return f->m->n_weights++;
}

static int find_weight(finder *f, const qm_weight_spec *s, int layer) {
    return find(f, s, layer, "weight", !s->may_be_absent);
}

/* The weights of a layer, then their biases: what may be joined lies side by side. */
static void find_layer(finder *f, int layer, int *w) {
    for (int i = 0; i < f->f->n_weights; i++) w[i] = find_weight(f, &f->f->weights[i], layer);
    for (int i = 0; i < f->f->n_weights; i++)
        if (w[i] >= 0 && f->f->weights[i].bias) {
            int bias = find(f, &f->f->weights[i], layer, "bias", f->f->weights[i].bias == QM_HAS_BIAS);
            if (!f->failed) f->m->weights[w[i]].bias = bias;
        }
}

/* Every tensor of the file was asked for; else the first that was not is refused. */
static void rest(finder *f) {
    const qm_gguf *g = f->g;
    for (size_t i = 0; i < qm_gguf_n_tensors(g) && !f->failed; i++)
        if (!f->asked[i])
            f->failed =
                qm_fail(f->e, QM_ERR_UNSUPPORTED,
                        "%s: tensor %s is not part of a %s of %u layers as it runs here: it would be ignored",
                        qm_gguf_path(g), qm_show(qm_gguf_tensor_at(g, i)->name).s, f->f->title, f->m->hp.n_layers);
}

int qm_model_types_check(const qm_gguf *g, qm_err *e) {
    enum { TYPES = 256 };
    size_t count[TYPES] = {0}, bad = 0;
    char list[200] = "";
    for (size_t i = 0; i < qm_gguf_n_tensors(g); i++) {
        uint32_t t = qm_gguf_tensor_at(g, i)->type;
        if (qm_type_get(t)) continue;
        bad++;
        count[t % TYPES]++;
    }
    if (!bad) return 0;
    for (uint32_t t = 0; t < TYPES; t++) {
        size_t n = strlen(list);
        if (count[t]) snprintf(list + n, sizeof list - n, "%s%zu of %s", n ? ", " : "", count[t], qm_ggml_type_name(t));
    }
    return qm_fail(e, QM_ERR_UNSUPPORTED,
                   "%s: tensor types without kernels here: %s; supported are"
#define QM_STREAM(word, WORD, ...) " " #WORD
#include "../../contracts/streams.def"
#undef QM_STREAM
                   ", that is files called after one of these, as Q4_K_M, Q4_K_S, UD-Q4_K_XL, Q5_K_M, Q6_K and Q8_0",
                   qm_gguf_path(g), list);
}

static void find_all(finder *f) {
    qm_model *m = f->m;
    const qm_tensor *embd = qm_gguf_tensor(f->g, "token_embd.weight");
    const qm_dim_range *d = &f->f->dims[QM_DIM_VOCAB];
    if (embd && (embd->n_dims != 2 || embd->ne[1] < d->lo || embd->ne[1] > d->hi)) {
        f->failed =
            qm_fail(f->e, QM_ERR_UNSUPPORTED, "%s: tensor token_embd.weight is not [embedding, vocabulary of %u to %u]",
                    qm_gguf_path(f->g), d->lo, d->hi);
        return;
    }
    if (embd) m->hp.n_vocab = f->d[QM_DIM_VOCAB] = (uint32_t)embd->ne[1];
    m->token_embd = find_weight(f, &qm_weights_outside[QM_TOKEN_EMBD], -1);
    for (uint32_t i = 0; i < m->hp.n_layers && !f->failed; i++)
        find_layer(f, (int)i, m->layers + (size_t)i * (size_t)m->n_per_layer);
    m->output_norm = find_weight(f, &qm_weights_outside[QM_OUTPUT_NORM], -1);
    m->output = find_weight(f, &qm_weights_outside[QM_OUTPUT], -1);
    if (m->output < 0) m->output = m->token_embd; /* tied */
    rest(f);
}

int qm_model_open(qm_model **out, const qm_gguf *g, float rope_base, qm_err *e) {
    finder f = {.g = g, .e = e};
    qm_hparams hp;
    *out = NULL;
    int rc = qm_hparams_read(&hp, &f.f, f.d, g, rope_base, e);
    if (!rc) rc = qm_model_types_check(g, e);
    if (rc) return rc;
    qm_model *m = f.m = calloc(1, sizeof *m);
    if (!m) return qm_fail(e, QM_ERR_NOMEM, "model: out of memory");
    m->hp = hp;
    m->layer = f.f->layer;
    m->n_per_layer = f.f->n_weights;
    m->layers = calloc((size_t)hp.n_layers * (size_t)m->n_per_layer, sizeof *m->layers);
    m->weights = calloc(QM_N_OUTSIDE + 2 * (size_t)m->n_per_layer * hp.n_layers, sizeof *m->weights); /* with biases */
    f.asked = calloc(qm_gguf_n_tensors(g) + 1, 1);
    if (m->layers && m->weights && f.asked) find_all(&f);
    else f.failed = qm_fail(e, QM_ERR_NOMEM, "model: out of memory for %u layers", hp.n_layers);
    free(f.asked);
    if (f.failed) qm_model_close(m);
    else *out = m;
    return f.failed;
}

void qm_model_close(qm_model *m) {
    if (!m) return;
    free(m->layers);
    free(m->weights);
    free(m);
}
