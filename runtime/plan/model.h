/* model.h: a model as a plan sees it: dimensions, rotary positions, weights of checked shapes, and the function that
 * writes a layer's ops. Which family it is, what its keys and tensors are called, only runtime/arch knows. */
#ifndef QM_MODEL_H
#define QM_MODEL_H
#include "../file/quant.h"

typedef struct {
    char arch[32], name[96];
    uint32_t n_layers, n_embd, n_head, n_kv, head_dim, n_vocab, n_ctx_train;
    uint32_t n_ff;             /* of one expert, or of the feed-forward network where there are none */
    uint32_t n_expert, n_used; /* 0: no experts, and no router */
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
    const struct qm_tensor *t; /* of the file */
    const void *data;          /* its raw rows, [n_expert, n_rows, n_cols] */
    const qm_type_info *type;
    const char *name;  /* "attn_q": the tensor's without blk.N and .weight */
    int layer;         /* -1 outside the layers */
    uint32_t n_expert; /* 1 unless an expert tensor */
    uint32_t n_rows, n_cols;
    int vector;     /* 1: copied to the device as it is; 0: packed into tiles */
    int bias;       /* the weight that is this matrix's bias; -1: none */
    int is_bias;    /* lies where its matrix's region wants it */
    int joins;      /* 1: may share a region with the weight before it, whose input it has */
    int may_narrow; /* 1: only products read it, which take it in fewer bytes where these hold it exactly (narrow.h) */
} qm_weight;

typedef struct qm_builder qm_builder;
typedef struct qm_model {
    qm_hparams hp;
    qm_weight *weights; /* [n_weights], in the order in which they lie on the device */
    int n_weights;
    int token_embd, output_norm, output; /* weights; output == token_embd when tied */
    int *layers;                         /* [n_layers, n_per_layer] weights, as the family counts them; -1: absent */
    int n_per_layer;
    /* Appends a layer's ops (build.h). w: its row of layers. */
    void (*layer)(qm_builder *b, const int *w);
} qm_model;

/* The weight of this name; -1: there is none. */
int qm_model_find(const qm_model *m, int layer, const char *name);

/* Angle per position of each rotary pair, [head_dim/2], in radians; *mscale multiplies cos and sin
 * (attn_factor, times YaRN's own; Peng et al. 2023). */
void qm_model_inv_freq(const qm_hparams *hp, double *inv_freq, double *mscale);
#endif
