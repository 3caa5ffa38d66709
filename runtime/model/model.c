/* model.c: finds every tensor of the graph and checks its shape. */
#include "model.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include "arch.h"

enum { REQUIRED = 1, VECTOR = 2 };

typedef struct {
    qm_model *m;
    qm_err *e;
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
    l->ffn_norm = find(f, REQUIRED | VECTOR, 1, 1, h->n_embd, "blk.%u.ffn_norm.weight", i);
    l->router = find(f, REQUIRED, 1, h->n_expert, h->n_embd, "blk.%u.ffn_gate_inp.weight", i);
    l->gate = find(f, REQUIRED, h->n_expert, h->n_ff, h->n_embd, "blk.%u.ffn_gate_exps.weight", i);
    l->up = find(f, REQUIRED, h->n_expert, h->n_ff, h->n_embd, "blk.%u.ffn_up_exps.weight", i);
    l->down = find(f, REQUIRED, h->n_expert, h->n_embd, h->n_ff, "blk.%u.ffn_down_exps.weight", i);
}

int qm_model_open(qm_model **out, const qm_gguf *g, float rope_base, qm_err *e) {
    *out = NULL;
    qm_hparams hp;
    int rc = qm_arch_read(&hp, g, rope_base, e);
    if (rc) return rc;
    qm_model *m = calloc(1, sizeof *m);
    if (!m) return qm_fail(e, QM_ERR_NOMEM, "model: out of memory");
    m->gguf = g;
    m->hp = hp;
    m->layers = calloc(hp.n_layers, sizeof *m->layers);
    m->weights = calloc(3 + 15 * (size_t)hp.n_layers, sizeof *m->weights);
    if (!m->layers || !m->weights) {
        qm_model_close(m);
        return qm_fail(e, QM_ERR_NOMEM, "model: out of memory for %u layers", hp.n_layers);
    }
    finder f = {m, e, 0};
    const qm_tensor *embd = qm_gguf_tensor(g, "token_embd.weight");
    if (embd && (embd->n_dims != 2 || embd->ne[1] < 1 || embd->ne[1] > 1u << 24))
        f.failed = qm_fail(e, QM_ERR_FORMAT, "%s: tensor token_embd.weight is not [embedding, vocabulary]",
                           qm_gguf_path(g));
    m->hp.n_vocab = embd ? (uint32_t)embd->ne[1] : 0;
    m->token_embd = find(&f, REQUIRED, 1, m->hp.n_vocab, hp.n_embd, "token_embd.weight");
    m->output_norm = find(&f, REQUIRED | VECTOR, 1, 1, hp.n_embd, "output_norm.weight");
    m->output = find(&f, 0, 1, m->hp.n_vocab, hp.n_embd, "output.weight");
    if (m->output < 0) m->output = m->token_embd; /* tied */
    for (uint32_t i = 0; i < hp.n_layers && !f.failed; i++) find_layer(&f, i, &m->layers[i]);
    if (f.failed) {
        qm_model_close(m);
        return f.failed;
    }
    *out = m;
    return 0;
}

void qm_model_close(qm_model *m) {
    if (!m) return;
    free(m->layers);
    free(m->weights);
    free(m);
}
