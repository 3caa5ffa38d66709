/* qwen3.c: Qwen3 without experts, and the text part of Qwen3-VL, which computes the same. Names and keys are those of
 * llama.cpp's `qwen3` architecture; the forward pass is that of transformers' Qwen3ForCausalLM. */
#include "../plan/build.h"
#include "family.h"

enum { ATTN_NORM, Q, K, V, Q_NORM, K_NORM, ATTN_OUT, FFN_NORM, GATE, UP, DOWN, N_WEIGHTS };

static const qm_weight_spec weights[N_WEIGHTS] = {
    [ATTN_NORM] = QM_VECTOR("attn_norm", EMBD),
    [Q] = QM_MATRIX("attn_q", Q, EMBD, .bias = QM_MAY_HAVE_BIAS),
    [K] = QM_MATRIX("attn_k", KV, EMBD, .bias = QM_MAY_HAVE_BIAS, .joins = 1),
    [V] = QM_MATRIX("attn_v", KV, EMBD, .bias = QM_MAY_HAVE_BIAS, .joins = 1),
    [Q_NORM] = QM_VECTOR("attn_q_norm", HEAD_DIM),
    [K_NORM] = QM_VECTOR("attn_k_norm", HEAD_DIM),
    [ATTN_OUT] = QM_MATRIX("attn_output", EMBD, Q, .bias = QM_MAY_HAVE_BIAS),
    [FFN_NORM] = QM_VECTOR("ffn_norm", EMBD),
    [GATE] = QM_MATRIX("ffn_gate", FF, EMBD),
    [UP] = QM_MATRIX("ffn_up", FF, EMBD),
    [DOWN] = QM_MATRIX("ffn_down", EMBD, FF),
};

static void layer(qm_builder *b, const int *w) {
    qm_build_rmsnorm(b, w[ATTN_NORM], "attn_norm");
    qm_build_qkv(b, w[Q], w[K], w[V]);
    qm_build_qkrope(b, w[Q_NORM], w[K_NORM]);
    if (qm_build_cache_only(b)) return; /* the cache is complete: nobody needs the rest */
    qm_build_attention(b);
    qm_build_attn_out(b, w[ATTN_OUT]);
    qm_build_rmsnorm(b, w[FFN_NORM], "ffn_norm");
    qm_build_ffn(b, w[GATE], w[UP], w[DOWN]);
}

static const qm_neutral_key neutral[] = {
    {"expert_count", {0, 0}, "there are no experts"},
    {"expert_used_count", {0, 0}, "there are no experts"},
    {"use_parallel_residual", {0, 0}, "attention comes before the feed-forward network"},
    {NULL, {0, 0}, NULL},
};
static const char *const idle[] = {"rope.dimension_sections", "n_deepstack_layers", NULL}; /* as in qwen3moe.c */

static const qm_preset presets[] = {
    {"tiny-dense", QM_SHAPE(4, 512, 8, 2, 128, 0, 0, 1024, 2048, 4096), "q4_k_m", 0, 0},
    {"qwen3-0.6b", QM_SHAPE(28, 1024, 16, 8, 128, 0, 0, 3072, 151936, 40960), "q4_k_m", 1, 0},
    {NULL, {0}, NULL, 0, 0},
};

const qm_family qm_family_qwen3 = {
    .names = {"qwen3", "qwen3vl"},
    .title = "Qwen3",
    .models = "Qwen3-0.6B to Qwen3-32B and their relatives",
    .rope_base = 1e6,
    .dims = {QM_DIMS_OF_A_DECODER,
             /* down splits its rows, so that no more than an eighth of the input need fit in shared memory */
             [QM_DIM_FF] = {"feed_forward_length", "ff", 32, 1u << 16, 32}},
    .weights = weights,
    .n_weights = N_WEIGHTS,
    .neutral = neutral,
    .idle = idle,
    .presets = presets,
    .layer = layer,
};
