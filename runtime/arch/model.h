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
    int rope_yarn;                 /* 1: YaRN; 0: linear (factor may be 1) */
    double rope_factor, rope_attn; /* rope_attn multiplies cos and sin, of every type */
    double yarn_mscale, yarn_beta_fast,
        yarn_beta_slow;     /* YaRN: multiplies cos and sin; turns over the original context */
    uint32_t rope_orig_ctx; /* YaRN */
} qm_hparams;

/* One weight matrix or vector. Vectors (norms, biases) are F32 with n_rows = 1. */
typedef struct {
    const qm_tensor *t;
    const qm_type_info *type;
    uint32_t n_expert; /* 1 unless an expert tensor [n_expert, n_rows, n_cols] */
    uint32_t n_rows, n_cols;
} qm_weight;

typedef struct {
    /* indices into qm_model.weights; -1 = absent (biases only) */
    int attn_norm, q, k, v, q_bias, k_bias, v_bias, q_norm, k_norm, o, o_bias;
    int ffn_norm, router, gate, up, down;
} qm_layer;

typedef struct {
    const qm_gguf *gguf; /* not owned */
    qm_hparams hp;
    qm_weight *weights; /* [n_weights] */
    int n_weights;
    qm_layer *layers;                    /* [n_layers] */
    int token_embd, output_norm, output; /* output == token_embd when tied */
} qm_model;

/* rope_base overrides the file's: above 1, or 0 for none. Errors name the key or tensor, what was found and expected; a key
 * or tensor that asks for something which is not done here is an error too (keys.h). */
int qm_model_open(qm_model **out, const qm_gguf *g, float rope_base, qm_err *e);
void qm_model_close(qm_model *m);

/* Whether all tensors are of types that have kernels; the message counts those that are not. */
int qm_model_types_check(const qm_gguf *g, qm_err *e);

/* Angle per position of each rotary pair, [head_dim/2], in radians; *mscale multiplies cos and sin
 * (attn_factor, times YaRN's own; Peng et al. 2023). */
void qm_model_inv_freq(const qm_hparams *hp, double *inv_freq, double *mscale);
#endif
