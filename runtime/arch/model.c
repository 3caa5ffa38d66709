/* model.c: finds every tensor of the graph and checks its shape. */
#include "model.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "shape.h"
#include "arch.h"

enum { REQUIRED = 1, VECTOR = 2, PER_LAYER = 16 /* weights, biases counted */ };

typedef struct {
    qm_model *m;
    qm_err *e;
    unsigned char *asked; /* [tensors of the file] */
    int failed;
} finder;

/* Looks up a tensor of shape [n_expert, n_rows, n_cols] (vectors: [n_cols]); returns its weight index,
 * -1 if absent and optional, or -1 with f->failed. */
static int find(finder *f, int flags, uint32_t n_expert, uint32_t n_rows, uint32_t n_cols, const char *fmt, ...)
    __attribute__((format(printf, 6, 7)));
static int find(finder *f, int flags, uint32_t n_expert, uint32_t n_rows, uint32_t n_cols, const char *fmt, ...) {
    char name[96];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(name, sizeof name, fmt, ap);
    va_end(ap);
    if (f->failed) return -1;
    const char *path = qm_gguf_path(f->m->gguf);
    const qm_tensor *t = qm_gguf_tensor(f->m->gguf, name);
    if (!t) {
        if (flags & REQUIRED) f->failed = qm_fail(f->e, QM_ERR_FORMAT, "%s: missing tensor %s", path, name);
        return -1;
    }
    f->asked[t - qm_gguf_tensor_at(f->m->gguf, 0)] = 1;
    uint64_t want[3] = {n_cols, flags & VECTOR ? 1 : n_rows, n_expert};
    if (t->ne[0] != want[0] || t->ne[1] != want[1] || t->ne[2] != want[2] || t->ne[3] != 1) {
        f->failed = qm_fail(f->e, QM_ERR_FORMAT,
                            "%s: tensor %s has shape [%llu, %llu, %llu, %llu], expected [%llu, %llu, %llu, 1]", path,
                            name, (unsigned long long)t->ne[0], (unsigned long long)t->ne[1],
                            (unsigned long long)t->ne[2], (unsigned long long)t->ne[3], (unsigned long long)want[0],
                            (unsigned long long)want[1], (unsigned long long)want[2]);
        return -1;
    }
    const qm_type_info *ti = qm_type_get(t->type);
    if ((flags & VECTOR) && t->type != QM_TYPE_F32) {
        f->failed = qm_fail(f->e, QM_ERR_UNSUPPORTED, "%s: tensor %s is %s; norms and biases must be F32", path, name,
                            ti->name);
        return -1;
    }
    f->m->weights[f->m->n_weights] = (qm_weight){t, ti, n_expert, flags & VECTOR ? 1 : n_rows, n_cols};
    return f->m->n_weights++;
}

static void find_layer(finder *f, uint32_t i, qm_layer *l) {
    const qm_hparams *h = &f->m->hp;
    uint32_t nq = h->n_head * h->head_dim, nkv = h->n_kv * h->head_dim;
    l->attn_norm = find(f, REQUIRED | VECTOR, 1, 1, h->n_embd, "blk.%u.attn_norm.weight", i);
    l->q = find(f, REQUIRED, 1, nq, h->n_embd, "blk.%u.attn_q.weight", i);
    l->k = find(f, REQUIRED, 1, nkv, h->n_embd, "blk.%u.attn_k.weight", i);
    l->v = find(f, REQUIRED, 1, nkv, h->n_embd, "blk.%u.attn_v.weight", i);
    l->q_bias = find(f, VECTOR, 1, 1, nq, "blk.%u.attn_q.bias", i);
    l->k_bias = find(f, VECTOR, 1, 1, nkv, "blk.%u.attn_k.bias", i);
    l->v_bias = find(f, VECTOR, 1, 1, nkv, "blk.%u.attn_v.bias", i);
    l->q_norm = find(f, REQUIRED | VECTOR, 1, 1, h->head_dim, "blk.%u.attn_q_norm.weight", i);
    l->k_norm = find(f, REQUIRED | VECTOR, 1, 1, h->head_dim, "blk.%u.attn_k_norm.weight", i);
    l->o = find(f, REQUIRED, 1, h->n_embd, nq, "blk.%u.attn_output.weight", i);
    l->o_bias = find(f, VECTOR, 1, 1, h->n_embd, "blk.%u.attn_output.bias", i);
    l->ffn_norm = find(f, REQUIRED | VECTOR, 1, 1, h->n_embd, "blk.%u.ffn_norm.weight", i);
    l->router = find(f, REQUIRED, 1, h->n_expert, h->n_embd, "blk.%u.ffn_gate_inp.weight", i);
    l->gate = find(f, REQUIRED, h->n_expert, h->n_ff, h->n_embd, "blk.%u.ffn_gate_exps.weight", i);
    l->up = find(f, REQUIRED, h->n_expert, h->n_ff, h->n_embd, "blk.%u.ffn_up_exps.weight", i);
    l->down = find(f, REQUIRED, h->n_expert, h->n_embd, h->n_ff, "blk.%u.ffn_down_exps.weight", i);
}

/* Every tensor of the file was asked for; else the first that was not is refused. */
static void rest(finder *f) {
    const qm_gguf *g = f->m->gguf;
    for (size_t i = 0; i < qm_gguf_n_tensors(g) && !f->failed; i++)
        if (!f->asked[i])
            f->failed = qm_fail(f->e, QM_ERR_UNSUPPORTED,
                                "%s: tensor %s is not part of a Qwen3-MoE of %u layers as it runs "
                                "here: it would be ignored",
                                qm_gguf_path(g), qm_show(qm_gguf_tensor_at(g, i)->name).s, f->m->hp.n_layers);
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
                   "%s: tensor types without kernels here: %s; supported are F32 F16 BF16 Q8_0 Q4_K Q5_K "
                   "Q6_K, that is files called Q4_K_M, Q4_K_S, UD-Q4_K_XL, Q5_K_M, Q5_K_S, Q6_K, Q8_0, F16 and BF16",
                   qm_gguf_path(g), list);
}

static void find_all(finder *f) {
    qm_model *m = f->m;
    uint32_t n_vocab = 0, n_embd = m->hp.n_embd;
    const qm_tensor *embd = qm_gguf_tensor(m->gguf, "token_embd.weight");
    const qm_dim_range *d = &qm_dim_ranges[QM_DIM_VOCAB];
    if (embd && (embd->n_dims != 2 || embd->ne[1] < d->lo || embd->ne[1] > d->hi)) {
        f->failed =
            qm_fail(f->e, QM_ERR_UNSUPPORTED, "%s: tensor token_embd.weight is not [embedding, vocabulary of %u to %u]",
                    qm_gguf_path(m->gguf), d->lo, d->hi);
        return;
    }
    if (embd) n_vocab = (uint32_t)embd->ne[1];
    m->hp.n_vocab = n_vocab;
    m->token_embd = find(f, REQUIRED, 1, n_vocab, n_embd, "token_embd.weight");
    m->output_norm = find(f, REQUIRED | VECTOR, 1, 1, n_embd, "output_norm.weight");
    m->output = find(f, 0, 1, n_vocab, n_embd, "output.weight");
    if (m->output < 0) m->output = m->token_embd; /* tied */
    for (uint32_t i = 0; i < m->hp.n_layers && !f->failed; i++) find_layer(f, i, &m->layers[i]);
    rest(f);
}

int qm_model_open(qm_model **out, const qm_gguf *g, float rope_base, qm_err *e) {
    *out = NULL;
    qm_hparams hp;
    int rc = qm_arch_read(&hp, g, rope_base, e);
    if (!rc) rc = qm_model_types_check(g, e);
    if (rc) return rc;
    qm_model *m = calloc(1, sizeof *m);
    if (!m) return qm_fail(e, QM_ERR_NOMEM, "model: out of memory");
    finder f = {m, e, calloc(qm_gguf_n_tensors(g) + 1, 1), 0};
    m->gguf = g;
    m->hp = hp;
    m->layers = calloc(hp.n_layers, sizeof *m->layers);
    m->weights = calloc(3 + PER_LAYER * (size_t)hp.n_layers, sizeof *m->weights);
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
