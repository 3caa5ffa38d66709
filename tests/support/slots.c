/* slots.c: see slots.h. */
#include "slots.h"
#include "fixture.h"
#include <math.h>
#include <stdlib.h>

static const float *vector_of(const qm_tracer *t, int layer, const char *name, int rank) {
    const qm_trace_vector *s = qm_tracer_find(t, layer, name, rank);
    assert_non_null(s);
    return t->values + s->at;
}

/* Row `row` of an expert of weight w, times x; *scale is what rounding is measured by: |row| |x|. */
static double row_times(const qm_model *m, int w, uint32_t expert, uint32_t row, const float *x, double *scale) {
    static float r[1024];
    const qm_weight *a = &m->weights[w];
    double sum = 0, rr = 0, xx = 0;
    assert_true(a->n_cols <= 1024 && row < a->n_rows && expert < a->n_expert);
    a->type->to_f32(r, (const char *)a->data + ((uint64_t)expert * a->n_rows + row) * qm_row_bytes(a->type, a->n_cols),
                    a->n_cols);
    for (uint32_t i = 0; i < a->n_cols; i++) {
        sum += (double)r[i] * x[i];
        rr += (double)r[i] * r[i];
        xx += (double)x[i] * x[i];
    }
    *scale = sqrt(rr * xx);
    return sum;
}

static void is_row(const qm_model *m, int w, uint32_t expert, uint32_t row, const float *x, double factor, double got,
                   const char *what, int layer) {
    double scale, want = factor * row_times(m, w, expert, row, x, &scale);
    if (!(fabs(got - want) < 1e-4 * factor * scale))
        fail_msg("layer %d, %s, row %u: %g, by the weights %g", layer, what, row, got, want);
}

/* Every fifth row of y is a row of w times x. */
static void is_product(const qm_model *m, int w, const float *x, const float *y, const char *what, int layer) {
    for (uint32_t i = 0; i < m->weights[w].n_rows; i += 5) is_row(m, w, 0, i, x, 1, y[i], what, layer);
}

static void is_norm(const qm_model *m, int w, const double *x, const float *y, const char *what, int layer) {
    const float *gain = m->weights[w].data;
    double ss = 0;
    for (uint32_t i = 0; i < m->hp.n_embd; i++) ss += x[i] * x[i];
    for (uint32_t i = 0; i < m->hp.n_embd; i++) {
        double want = x[i] / sqrt(ss / m->hp.n_embd + m->hp.eps) * gain[i];
        if (!(fabs(y[i] - want) < 1e-5 * (1 + fabs(want))))
            fail_msg("layer %d, %s [%u]: %g, by the weights %g", layer, what, i, y[i], want);
    }
}

/* The experts of a layer, in the order of the router's ids, and what the router made of ffn_norm. */
static void check_experts(const qm_tracer *t, int l, const float *ffn_norm) {
    const qm_model *m = t->g->model;
    const qm_hparams *hp = &m->hp;
    const int router = qm_model_find(m, l, "ffn_gate_inp"), gate_w = qm_model_find(m, l, "ffn_gate_exps"),
              up = qm_model_find(m, l, "ffn_up_exps"), down = qm_model_find(m, l, "ffn_down_exps");
    double scale, p[64], top = 0;
    float h[1024];
    assert_true(hp->n_expert <= 64 && hp->n_ff <= 1024);
    for (uint32_t x = 0; x < hp->n_expert; x++) p[x] = exp(row_times(m, router, 0, x, ffn_norm, &scale));
    for (uint32_t k = 0; k < hp->n_used; k++) top += p[t->ids[(uint32_t)l * hp->n_used + k]];
    for (uint32_t k = 0; k < hp->n_used; k++) {
        uint32_t id = t->ids[(uint32_t)l * hp->n_used + k];
        double w = t->weights[(uint32_t)l * hp->n_used + k];
        if (!(fabs(w - p[id] / top) < 1e-4))
            fail_msg("layer %d, weight of expert %u: %g, by the weights %g", l, id, w, p[id] / top);
        for (uint32_t x = 0, above = 0; x < hp->n_expert; x++)
            if ((above += p[x] > p[id] * 1.001) > k)
                fail_msg("layer %d: expert %u is not the router's choice %u", l, id, k);
        for (uint32_t i = 0; i < hp->n_ff; i++) {
            double gate = row_times(m, gate_w, id, i, ffn_norm, &scale);
            h[i] = (float)(gate / (1 + exp(-gate)) * row_times(m, up, id, i, ffn_norm, &scale));
        }
        for (uint32_t i = 0; i < hp->n_embd; i += 31)
            is_row(m, down, id, i, h, w, vector_of(t, l, "expert", (int)k)[i], "expert", l);
    }
}

void slots_check(const qm_tracer *t, uint32_t token) {
    const qm_model *m = t->g->model;
    const qm_hparams *hp = &m->hp;
    uint32_t n = hp->n_embd;
    double *x = malloc(n * sizeof *x), *mid = malloc(n * sizeof *mid);
    float *row = malloc(4 * n);
    const qm_weight *e = &m->weights[m->token_embd];
    e->type->to_f32(row, (const char *)e->data + token * qm_row_bytes(e->type, n), n);
    for (uint32_t i = 0; i < n; i++) x[i] = row[i];
    assert_memory_equal(row, vector_of(t, -1, "embedding", -1), 4 * n);
    for (int l = 0; l < (int)hp->n_layers; l++) {
        const float *norm = vector_of(t, l, "attn_norm", -1), *qkv = vector_of(t, l, "qkv", -1),
                    *ffn_norm = vector_of(t, l, "ffn_norm", -1);
        is_norm(m, qm_model_find(m, l, "attn_norm"), x, norm, "attn_norm", l);
        is_product(m, qm_model_find(m, l, "attn_q"), norm, qkv, "q", l);
        is_product(m, qm_model_find(m, l, "attn_k"), norm, qkv + hp->n_head * hp->head_dim, "k", l);
        is_product(m, qm_model_find(m, l, "attn_v"), norm, qkv + (hp->n_head + hp->n_kv) * hp->head_dim, "v", l);
        is_product(m, qm_model_find(m, l, "attn_output"), vector_of(t, l, "attn_heads", -1),
                   vector_of(t, l, "attn_out", -1), "attn_out", l);
        for (uint32_t i = 0; i < n; i++) mid[i] = x[i] + vector_of(t, l, "attn_out", -1)[i];
        is_norm(m, qm_model_find(m, l, "ffn_norm"), mid, ffn_norm, "ffn_norm", l);
        check_experts(t, l, ffn_norm);
        for (uint32_t i = 0; i < n; i++) x[i] = vector_of(t, l, "output", -1)[i];
    }
    is_norm(m, m->output_norm, x, vector_of(t, -1, "final_norm", -1), "final_norm", -1);
    is_product(m, m->output, vector_of(t, -1, "final_norm", -1), vector_of(t, -1, "logits", -1), "logits", -1);
    free(x);
    free(mid);
    free(row);
}
