/* synth.c: a random model of any family and shape as a GGUF that any reader of the architecture accepts:
 * for tests, for speed on the true shape, and for trying the program without a download. Its text is
 * nonsense; its activations stay of order one through all layers, and its routing is spread. */
#include "mix.h"
#include "../file/quant.h"
#include "../arch/family.h"
#include "synth.h"
#include "../qmoe_tools.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CHUNK = 1 << 20 };

typedef struct {
    const char *name;
    const qm_family *family;
    uint32_t d[QM_DIMS];
    const char *types;
    int tied; /* token_embd is the output too */
    int bf16_routers;
} shape;

/* Of all families, in their order. */
static const qm_preset *preset_at(int i, const qm_family **family) {
    for (int f = 0; f < qm_n_families; f++)
        for (const qm_preset *p = qm_families[f]->presets; p->name; p++)
            if (!i--) {
                *family = qm_families[f];
                return p;
            }
    return NULL;
}

static int no_preset(const char *want, qm_err *e) {
    char list[300] = "";
    const qm_family *f;
    for (int i = 0; preset_at(i, &f); i++) {
        size_t n = strlen(list);
        snprintf(list + n, sizeof list - n, "%s%s",
                 !i                     ? ""
                 : preset_at(i + 1, &f) ? ", "
                                        : " and ",
                 preset_at(i, &f)->name);
    }
    return qm_fail(e, QM_ERR_ARG, "there is no preset '%s'; there are %s", want, list);
}

static int resolve(shape *s, const qm_mix **m, const qm_synth_opts *o, qm_err *e) {
    const qm_family *f;
    const qm_preset *p = preset_at(0, &f);
    for (int i = 1; o->preset && p && strcmp(p->name, o->preset); i++) p = preset_at(i, &f);
    if (!p) return no_preset(o->preset, e);
    *s = (shape){.name = p->name, .family = f, .types = p->types, .tied = p->tied};
    memcpy(s->d, p->dims, sizeof s->d);
    if (o->types) s->types = o->types;
    if (o->tied) s->tied = 1;
    s->bf16_routers = p->bf16_routers || o->bf16_routers;
    *m = qm_mix_find(s->types);
    if (!*m) return qm_fail(e, QM_ERR_ARG, "there is no mix of types '%s'; there are %s", s->types, qm_mix_names);
    const uint32_t given[QM_DIMS] = QM_SHAPE(o->n_layers, o->n_embd, o->n_head, o->n_kv_head, o->head_dim, o->n_expert,
                                             o->n_expert_used, o->n_ff_exp, o->n_vocab, o->n_ctx);
    static const char *const flags[QM_DIMS] = {[QM_DIM_EXPERTS] = "experts", [QM_DIM_USED] = "experts-used"};
    char why[96];
    for (int i = 0; i < QM_DIMS; i++) {
        if (given[i] && !s->family->dims[i].flag)
            return qm_fail(e, QM_ERR_ARG, "--%s %u: a %s has none", flags[i], given[i], s->family->title);
        if (given[i]) s->d[i] = given[i];
    }
    int bad = qm_shape_check(s->family, s->d, why, sizeof why);
    if (bad >= 0) return qm_fail(e, QM_ERR_ARG, "--%s %u: %s", s->family->dims[bad].flag, s->d[bad], why);
    if (s->d[QM_DIM_VOCAB] < QM_SYNTH_MIN_VOCAB)
        return qm_fail(e, QM_ERR_ARG, "--vocab %u: must be at least %d", s->d[QM_DIM_VOCAB], QM_SYNTH_MIN_VOCAB);
    return 0;
}

/* A key under the architecture's prefix. */
static void put_u32(qm_gguf_writer *w, const shape *s, const char *key, uint32_t v) {
    char name[96];
    snprintf(name, sizeof name, "%s.%s", s->family->names[0], key);
    qm_gguf_write_u32(w, name, v);
}
static void put_f32(qm_gguf_writer *w, const shape *s, const char *key, float v) {
    char name[96];
    snprintf(name, sizeof name, "%s.%s", s->family->names[0], key);
    qm_gguf_write_f32(w, name, v);
}
static void put_dim(qm_gguf_writer *w, const shape *s, qm_dim d) {
    if (s->family->dims[d].key) put_u32(w, s, s->family->dims[d].key, s->d[d]);
}

static void write_keys(qm_gguf_writer *w, const shape *s, const qm_mix *m, uint64_t seed) {
    const int moe = s->family->dims[QM_DIM_EXPERTS].key != NULL;
    char name[128];
    snprintf(name, sizeof name, "qmoe-gpu synthetic %s, seed %llu", s->name, (unsigned long long)seed);
    qm_gguf_write_str(w, "general.architecture", s->family->names[0]);
    qm_gguf_write_str(w, "general.type", "model");
    qm_gguf_write_str(w, "general.name", name);
    qm_gguf_write_u32(w, "general.quantization_version", 2);
    qm_gguf_write_u32(w, "general.file_type", m->file_type);
    put_dim(w, s, QM_DIM_LAYERS);
    put_dim(w, s, QM_DIM_CTX);
    put_dim(w, s, QM_DIM_EMBD);
    put_u32(w, s, "feed_forward_length", s->d[QM_DIM_FF] * (moe ? s->d[QM_DIM_USED] : 1));
    put_dim(w, s, QM_DIM_HEADS);
    put_dim(w, s, QM_DIM_KV_HEADS);
    put_dim(w, s, QM_DIM_HEAD_DIM);
    put_u32(w, s, "attention.value_length", s->d[QM_DIM_HEAD_DIM]);
    put_f32(w, s, "attention.layer_norm_rms_epsilon", 1e-6f);
    put_f32(w, s, "rope.freq_base", (float)s->family->rope_base);
    for (int d = QM_DIM_EXPERTS; moe && d <= QM_DIM_FF; d++) put_dim(w, s, (qm_dim)d);
}

/* One tensor of the model. */
typedef struct {
    char name[64];
    uint32_t type, n_dims;
    uint64_t ne[3];
    float sigma;
    int norm, bf16;
} tensor;

/* Tensor i of a layer: the weights that every file has, then the biases that the family always has. NULL: there are no
 * more. */
static const qm_weight_spec *in_layer(const qm_family *f, uint32_t i, int *bias) {
    for (*bias = 0; *bias < 2; ++*bias)
        for (int w = 0; w < f->n_weights; w++) {
            const qm_weight_spec *x = &f->weights[w];
            if (!x->may_be_absent && (!*bias || x->bias == QM_HAS_BIAS) && !i--) return x;
        }
    return NULL;
}

static uint32_t n_per_layer(const qm_family *f) {
    uint32_t n = 0;
    for (int bias; in_layer(f, n, &bias);) n++;
    return n;
}

static uint32_t n_tensors(const shape *s) {
    return QM_N_OUTSIDE - (s->tied ? 1 : 0) + n_per_layer(s->family) * s->d[QM_DIM_LAYERS];
}

/* Standard deviation of a matrix's output for unit input, that is sigma times the square root of the row length; of a
 * vector, the spread around 1. By the beginning of the name, the first that fits.
 *
 * A layer adds about a third of the embedding's size to the residual stream, so that every part shows in the logits
 * and yet an expert that two implementations choose differently on a near tie (rounding; there are always some) does
 * not drown them. Router logits spread by two, which keeps the last expert's weight small for the same reason; output
 * logits by three. */
static float gain_of(const char *name, int vector) {
    static const struct {
        const char *begins;
        float gain;
    } gains[] = {{"attn_q_norm", 0.3f}, {"attn_k_norm", 0.3f}, {"ffn_gate_inp", 2.0f}, {"ffn_gate", 1.4f},
                 {"ffn_up", 1.4f},      {"ffn_down", 0.5f},    {"output_norm", 0.15f}, {"output", 3.0f}};
    for (size_t i = 0; i < sizeof gains / sizeof *gains; i++)
        if (!strncmp(name, gains[i].begins, strlen(gains[i].begins))) return gains[i].gain;
    return vector ? 0.15f : 1.0f;
}

/* Tensor i of the file: the embedding, the layers, the output. */
static tensor tensor_at(const shape *s, const qm_mix *m, uint32_t i) {
    const uint32_t n = n_per_layer(s->family), layers = s->d[QM_DIM_LAYERS];
    const uint32_t layer = i ? (i - 1) / n : 0, outside = i ? i - layers * n : 0;
    const int inside = i && layer < layers;
    int bias = 0;
    const qm_weight_spec *x = inside ? in_layer(s->family, (i - 1) % n, &bias) : &qm_weights_outside[outside];
    char block[24] = "";
    tensor t = {.n_dims = x->vector || bias          ? 1
                          : x->experts == QM_DIM_ONE ? 2
                                                     : 3,
                .ne = {qm_extent(s->d, x->cols), qm_extent(s->d, x->rows), qm_extent(s->d, x->experts)},
                .norm = x->vector,
                .bf16 = s->bf16_routers && x->may_narrow};
    if (inside) snprintf(block, sizeof block, "blk.%u.", layer);
    snprintf(t.name, sizeof t.name, "%s%s.%s", block, x->name, bias ? "bias" : "weight");
    const int output = s->tied && !i; /* an embedding that is the output too is drawn as the output */
    if (bias) t.ne[0] = t.ne[1], t.ne[1] = 1;
    t.sigma = bias ? 0.5f : gain_of(output ? qm_weights_outside[QM_OUTPUT].name : x->name, x->vector);
    if (!x->vector && !bias && (i || output)) t.sigma /= sqrtf((float)t.ne[0]);
    t.type = qm_mix_type(m, t.name, t.n_dims, t.ne[0], layers, s->tied, NULL);
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
        st->bf16 = t.bf16;
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
    if ((rc = qm_synth_vocab_make(&v, s.d[QM_DIM_VOCAB], e))) goto out;
    if ((rc = qm_gguf_writer_open(&w, out_path, e))) goto out;
    /* errors of the writer stick and surface in finish */
    write_keys(w, &s, m, o->seed);
    qm_synth_vocab_write(&v, w);
    for (uint32_t i = 0; i < n_tensors(&s); i++) {
        tensor t = tensor_at(&s, m, i);
        qm_gguf_write_tensor(w, t.name, t.type, t.n_dims, t.ne);
    }
    /* 64 bytes a token are more than the vocabulary takes; 4 KiB a layer more than the tensor list */
    if (!o->sparse && (rc = qm_gguf_writer_room(w, 64ull * s.d[QM_DIM_VOCAB] + 4096ull * s.d[QM_DIM_LAYERS], e)))
        goto out;
    rc = o->sparse ? qm_gguf_write_hole(w) : write_weights(w, &s, m, o, e);
    if (rc != QM_ERR_CANCELLED && rc != QM_ERR_NOMEM) rc = qm_gguf_writer_finish(w, e);
out:
    qm_gguf_writer_close(w);
    qm_synth_vocab_free(&v);
    return rc;
}
