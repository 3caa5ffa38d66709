/* model.h: a checked Qwen3-MoE: hyperparameters and weights with verified shapes, over an open GGUF.
 * Nothing here knows of a device. Names and keys are those of llama.cpp's `qwen3moe` architecture. */
#ifndef QM_MODEL_H
#define QM_MODEL_H
#include "../file/gguf.h"
#include "../file/quant.h"

typedef struct {
    char arch[32], name[96];
    uint32_t n_layers, n_embd, n_head, n_kv, head_dim, n_expert, n_used, n_ff, n_vocab, n_ctx_train;
    float eps;
    double rope_base;
    /* rope.scaling.*; factor 1 = none */
    int rope_yarn;          /* 1: YaRN; 0: linear (factor may be 1) */
    double rope_factor;
    uint32_t rope_orig_ctx; /* YaRN */
} qm_hparams;

/* One weight matrix or vector. Vectors (norms, biases) are F32 with n_rows = 1. */
typedef struct {
    const qm_tensor *t;
    const qm_type_info *type;
    uint32_t n_expert;      /* 1 unless an expert tensor [n_expert, n_rows, n_cols] */
    uint32_t n_rows, n_cols;
} qm_weight;

typedef struct {
    /* indices into qm_model.weights; -1 = absent (biases only) */
    int attn_norm, q, k, v, q_bias, k_bias, v_bias, q_norm, k_norm, o;
    int ffn_norm, router, gate, up, down;
} qm_layer;

typedef struct {
    const qm_gguf *gguf;    /* not owned */
    qm_hparams hp;
    qm_weight *weights;     /* [n_weights] */
    int n_weights;
    qm_layer *layers;       /* [n_layers] */
    int token_embd, output_norm, output; /* output == token_embd when tied */
} qm_model;

/* rope_base > 0 overrides the file's. Errors name the key or tensor, what was found and expected. */
int qm_model_open(qm_model **out, const qm_gguf *g, float rope_base, qm_err *e);
void qm_model_close(qm_model *m);

/* Angle per position of each rotary pair, [head_dim/2], in radians; *mscale multiplies cos and sin
 * (YaRN's attention factor; Peng et al. 2023; 1 otherwise). */
void qm_model_inv_freq(const qm_hparams *hp, double *inv_freq, double *mscale);
#endif
