/* place.c: where every weight lives on the device. Q, K and V of one type become one region, so that
 * one matvec computes all three: fusing is nothing but adjacency. */
#include <stdlib.h>
#include "plan.h"

static int add(qm_place *p, const int *w, int n, int packed) {
    const qm_model *m = p->model;
    const qm_weight *first = &m->weights[w[0]];
    qm_region *r = &p->regions[p->n_regions];
    *r = (qm_region){
        .n_segments = n, .type = first->type, .packed = packed, .n_expert = first->n_expert, .n_cols = first->n_cols};
    for (int i = 0; i < n; i++) {
        const qm_weight *s = &m->weights[w[i]];
        r->weight[i] = w[i];
        if (packed) {
            r->n_rows += s->n_rows;
            r->expert_bytes += qm_pack_bytes(s->type, s->n_rows, s->n_cols);
        } else {
            r->n_rows = 1;
            r->n_cols = i ? r->n_cols + s->n_cols : s->n_cols;
            r->expert_bytes += (uint64_t)s->n_cols * 4;
        }
    }
    r->bytes = r->expert_bytes * r->n_expert;
    r->off = p->bytes;
    p->bytes += (r->bytes + 255) & ~(uint64_t)255;
    return p->n_regions++;
}

static int add_one(qm_place *p, int w, int packed) { return w < 0 ? -1 : add(p, &w, 1, packed); }

/* Two weights can share a region if they have one type and the first fills whole tiles; biases must
 * be there for both or for neither. */
static int joins(const qm_model *m, int a, int b, int bias_a, int bias_b) {
    return m->weights[a].type == m->weights[b].type && m->weights[a].n_rows % QM_TILE_ROWS == 0 &&
           (bias_a < 0) == (bias_b < 0);
}

static void place_qkv(qm_place *p, const qm_layer *l, qm_layer_place *out) {
    const int w[3] = {l->q, l->k, l->v}, bias[3] = {l->q_bias, l->k_bias, l->v_bias};
    for (int i = 0; i < 3;) {
        int n = 1;
        while (i + n < 3 && joins(p->model, w[i + n - 1], w[i + n], bias[i + n - 1], bias[i + n])) n++;
        out->qkv[out->n_qkv] = add(p, w + i, n, 1);
        out->qkv_bias[out->n_qkv] = bias[i] < 0 ? -1 : add(p, bias + i, n, 0);
        out->n_qkv++;
        i += n;
    }
}

int qm_place_build(qm_place **out, const qm_model *m, qm_err *e) {
    *out = NULL;
    qm_place *p = calloc(1, sizeof *p);
    if (!p) return qm_fail(e, QM_ERR_NOMEM, "plan: out of memory");
    p->model = m;
    p->regions = calloc((size_t)m->n_weights + 1, sizeof *p->regions);
    p->layers = calloc(m->hp.n_layers, sizeof *p->layers);
    if (!p->regions || !p->layers) {
        qm_place_free(p);
        return qm_fail(e, QM_ERR_NOMEM, "plan: out of memory");
    }
    p->token_embd = add_one(p, m->token_embd, 1);
    for (uint32_t i = 0; i < m->hp.n_layers; i++) {
        const qm_layer *l = &m->layers[i];
        qm_layer_place *o = &p->layers[i];
        o->attn_norm = add_one(p, l->attn_norm, 0);
        place_qkv(p, l, o);
        o->q_norm = add_one(p, l->q_norm, 0);
        o->k_norm = add_one(p, l->k_norm, 0);
        o->o = add_one(p, l->o, 1);
        o->o_bias = add_one(p, l->o_bias, 0);
        o->ffn_norm = add_one(p, l->ffn_norm, 0);
        o->router = add_one(p, l->router, 1);
        o->gate = add_one(p, l->gate, 1);
        o->up = add_one(p, l->up, 1);
        o->down = add_one(p, l->down, 1);
    }
    p->output_norm = add_one(p, m->output_norm, 0);
    p->output = m->output == m->token_embd ? p->token_embd : add_one(p, m->output, 1);
    *out = p;
    return 0;
}

void qm_place_free(qm_place *p) {
    if (!p) return;
    free(p->regions);
    free(p->layers);
    free(p);
}
