/* synth.c: a random Qwen3-MoE model of any shape as a GGUF that any reader of the architecture accepts:
 * for tests, for speed on the true shape, and for trying the program without a download. Its text is
 * nonsense; its activations stay of order one through all layers, and its routing is spread. */
#include "mix.h"
#include "../file/quant.h"
#include "../arch/shape.h"
#include "synth.h"
#include "../qmoe_tools.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CHUNK = 1 << 20 };

typedef struct {
    const char *name;
    uint32_t n_layers, n_embd, n_head, n_kv_head, head_dim, n_expert, n_expert_used, n_ff_exp, n_vocab, n_ctx;
    const char *types;
} shape;

static const shape presets[] = {
    {"tiny", 4, 512, 8, 2, 128, 32, 8, 256, 2048, 4096, "q4_k_m"},
    {"qwen3-30b-a3b", 48, 2048, 32, 4, 128, 128, 8, 768, 151936, 40960, "q4_k_m"},
};

static int resolve(shape *s, const qm_mix **m, const qm_synth_opts *o, qm_err *e) {
    const char *want = o->preset ? o->preset : presets[0].name;
    *s = (shape){0};
    for (size_t i = 0; i < sizeof presets / sizeof *presets; i++)
        if (!strcmp(presets[i].name, want)) *s = presets[i];
    if (!s->name) return qm_fail(e, QM_ERR_ARG, "there is no preset '%s'; there are tiny and qwen3-30b-a3b", want);
    if (o->types) s->types = o->types;
    *m = qm_mix_find(s->types);
    if (!*m) return qm_fail(e, QM_ERR_ARG, "there is no mix of types '%s'; there are %s", s->types, qm_mix_names);
    uint32_t *to[QM_DIMS] = {&s->n_ctx,    &s->n_embd,   &s->n_layers,      &s->n_head,   &s->n_kv_head,
                             &s->head_dim, &s->n_expert, &s->n_expert_used, &s->n_ff_exp, &s->n_vocab};
    const uint32_t from[QM_DIMS] = {o->n_ctx,    o->n_embd,   o->n_layers,      o->n_head,   o->n_kv_head,
                                    o->head_dim, o->n_expert, o->n_expert_used, o->n_ff_exp, o->n_vocab};
    uint32_t v[QM_DIMS];
    char why[96];
    for (int i = 0; i < QM_DIMS; i++) v[i] = *to[i] = from[i] ? from[i] : *to[i];
    int bad = qm_shape_check(v, why, sizeof why);
    if (bad >= 0) return qm_fail(e, QM_ERR_ARG, "--%s %u: %s", qm_dim_ranges[bad].flag, v[bad], why);
    if (s->n_vocab < QM_SYNTH_MIN_VOCAB)
        return qm_fail(e, QM_ERR_ARG, "--vocab %u: must be at least %d", s->n_vocab, QM_SYNTH_MIN_VOCAB);
    return 0;
}

static int write_keys(qm_gguf_writer *w, const shape *s, const qm_mix *m, const char *preset, uint64_t seed) {
    char name[128];
    snprintf(name, sizeof name, "qmoe-gpu synthetic %s, seed %llu", preset, (unsigned long long)seed);
    qm_gguf_write_str(w, "general.architecture", "qwen3moe");
    qm_gguf_write_str(w, "general.type", "model");
    qm_gguf_write_str(w, "general.name", name);
    qm_gguf_write_u32(w, "general.quantization_version", 2);
    qm_gguf_write_u32(w, "general.file_type", m->file_type);
    qm_gguf_write_u32(w, "qwen3moe.block_count", s->n_layers);
    qm_gguf_write_u32(w, "qwen3moe.context_length", s->n_ctx);
    qm_gguf_write_u32(w, "qwen3moe.embedding_length", s->n_embd);
    qm_gguf_write_u32(w, "qwen3moe.feed_forward_length", s->n_ff_exp * s->n_expert_used);
    qm_gguf_write_u32(w, "qwen3moe.attention.head_count", s->n_head);
    qm_gguf_write_u32(w, "qwen3moe.attention.head_count_kv", s->n_kv_head);
    qm_gguf_write_u32(w, "qwen3moe.attention.key_length", s->head_dim);
    qm_gguf_write_u32(w, "qwen3moe.attention.value_length", s->head_dim);
    qm_gguf_write_f32(w, "qwen3moe.attention.layer_norm_rms_epsilon", 1e-6f);
    qm_gguf_write_f32(w, "qwen3moe.rope.freq_base", 1e6f);
    qm_gguf_write_u32(w, "qwen3moe.expert_count", s->n_expert);
    qm_gguf_write_u32(w, "qwen3moe.expert_used_count", s->n_expert_used);
    return qm_gguf_write_u32(w, "qwen3moe.expert_feed_forward_length", s->n_ff_exp);
}

/* One tensor of the model. gain: standard deviation of its output for unit input, that is sigma times
 * the square root of the row length. */
typedef struct {
    char name[64];
    uint32_t type, n_dims;
    uint64_t ne[3];
    float sigma;
    int norm;
} tensor;

static tensor matrix(float gain, uint64_t k, uint64_t rows, uint64_t experts) {
    tensor t = {.n_dims = experts ? 3 : 2, .ne = {k, rows, experts ? experts : 1}};
    t.sigma = gain / sqrtf((float)k);
    return t;
}
static tensor vector(uint64_t n, float spread) {
    return (tensor){.n_dims = 1, .ne = {n, 1, 1}, .sigma = spread, .norm = 1};
}

enum { PER_LAYER = 12, OUTSIDE = 3 };
static uint32_t n_tensors(const shape *s) { return OUTSIDE + PER_LAYER * s->n_layers; }

/* Tensor i of the file. Gains: a layer adds about a third of the embedding's size to the residual stream,
 * so that every part shows in the logits and yet an expert that two implementations choose differently
 * on a near tie (rounding; there are always some) does not drown them. Router logits spread by two,
 * which keeps the last expert's weight small for the same reason; output logits by three. */
static tensor shape_at(const shape *s, uint32_t i) {
    uint32_t il = (i - 1) / PER_LAYER, q = s->n_head * s->head_dim, kv = s->n_kv_head * s->head_dim;
    uint32_t d = s->n_embd, ff = s->n_ff_exp, ne = s->n_expert, n = s->n_layers;
    tensor t;
    if (i == 0) {
        t = matrix(1.0f, d, s->n_vocab, 0);
        t.sigma = 1.0f;
        snprintf(t.name, sizeof t.name, "token_embd.weight");
        return t;
    }
    if (il >= n) {
        int last = i == 2 + PER_LAYER * n;
        t = last ? matrix(3.0f, d, s->n_vocab, 0) : vector(d, 0.15f);
        snprintf(t.name, sizeof t.name, last ? "output.weight" : "output_norm.weight");
        return t;
    }
    const struct {
        const char *name;
        tensor t;
    } layer[PER_LAYER] = {
        {"attn_norm", vector(d, 0.15f)},
        {"attn_q", matrix(1.0f, d, q, 0)},
        {"attn_k", matrix(1.0f, d, kv, 0)},
        {"attn_v", matrix(1.0f, d, kv, 0)},
        {"attn_q_norm", vector(s->head_dim, 0.3f)},
        {"attn_k_norm", vector(s->head_dim, 0.3f)},
        {"attn_output", matrix(1.0f, q, d, 0)},
        {"ffn_norm", vector(d, 0.15f)},
        {"ffn_gate_inp", matrix(2.0f, d, ne, 0)},
        {"ffn_gate_exps", matrix(1.4f, d, ff, ne)},
        {"ffn_up_exps", matrix(1.4f, d, ff, ne)},
        {"ffn_down_exps", matrix(0.5f, ff, d, ne)},
    };
    uint32_t k = (i - 1) % PER_LAYER;
    t = layer[k].t;
    snprintf(t.name, sizeof t.name, "blk.%u.%s.weight", il, layer[k].name);
    return t;
}

static tensor tensor_at(const shape *s, const qm_mix *m, uint32_t i) {
    tensor t = shape_at(s, i);
    t.type = qm_mix_type(m, t.name, t.n_dims, t.ne[0], s->n_layers, 0, NULL);
    return t;
}

static int write_weights(qm_gguf_writer *w, const shape *s, const qm_mix *m, const qm_synth_opts *o, qm_err *e) {
    uint64_t done = 0, total = qm_gguf_writer_data_bytes(w);
    uint8_t *buf = malloc(CHUNK);
    qm_synth_stream *st = malloc(sizeof *st);
    int rc = buf && st ? 0 : qm_fail(e, QM_ERR_NOMEM, "no memory for a buffer of %d bytes", CHUNK);
    for (uint32_t i = 0; i < n_tensors(s) && !rc; i++) {
        tensor t = tensor_at(s, m, i);
        uint32_t block = 1, bytes = 4;
        qm_ggml_type_size(t.type, &block, &bytes);
        uint64_t left = t.ne[0] * t.ne[1] * t.ne[2] / block;
        qm_synth_stream_init(st, o->seed, t.name, t.type, t.sigma, t.norm);
        while (left && !rc) {
            size_t n = CHUNK / bytes < left ? CHUNK / bytes : (size_t)left;
            qm_synth_stream_next(st, buf, n);
            rc = qm_gguf_write_data(w, buf, n * bytes);
            left -= n;
            done += n * bytes;
            if (!rc && o->progress && o->progress(o->user, done, total))
                rc = qm_fail(e, QM_ERR_CANCELLED, "cancelled after %llu of %llu bytes", (unsigned long long)done,
                             (unsigned long long)total);
        }
    }
    free(buf);
    free(st);
    return rc;
}

int qm_synth(const char *out_path, const qm_synth_opts *o, qm_err *e) {
    shape s;
    const qm_mix *m = NULL;
    qm_synth_vocab v = {0};
    qm_gguf_writer *w = NULL;
    static const qm_synth_opts none;
    if (!o) o = &none;
    int rc = resolve(&s, &m, o, e);
    if (rc) return rc;
    if ((rc = qm_synth_vocab_make(&v, s.n_vocab, e))) goto out;
    if ((rc = qm_gguf_writer_open(&w, out_path, e))) goto out;
    /* errors of the writer stick and surface in finish */
    write_keys(w, &s, m, s.name, o->seed);
    qm_synth_vocab_write(&v, w);
    for (uint32_t i = 0; i < n_tensors(&s); i++) {
        tensor t = tensor_at(&s, m, i);
        qm_gguf_write_tensor(w, t.name, t.type, t.n_dims, t.ne);
    }
    /* 64 bytes a token are more than the vocabulary takes; 4 KiB a layer more than the tensor list */
    if (!o->sparse && (rc = qm_gguf_writer_room(w, 64ull * s.n_vocab + 4096ull * s.n_layers, e))) goto out;
    rc = o->sparse ? qm_gguf_write_hole(w) : write_weights(w, &s, m, o, e);
    if (rc != QM_ERR_CANCELLED && rc != QM_ERR_NOMEM) rc = qm_gguf_writer_finish(w, e);
out:
    qm_gguf_writer_close(w);
    qm_synth_vocab_free(&v);
    return rc;
}
