/* qwen3moe.c: Qwen3-MoE, and the text part of Qwen3-VL-MoE, which computes the same. Names and keys are those of
 * llama.cpp's `qwen3moe` architecture; the forward pass is that of transformers' Qwen3MoeForCausalLM. */
#include "../plan/build.h"
#include "family.h"

enum { ATTN_NORM, Q, K, V, Q_NORM, K_NORM, ATTN_OUT, FFN_NORM, ROUTER, GATE, UP, DOWN, N_WEIGHTS };

static const qm_weight_spec weights[N_WEIGHTS] = {
    [ATTN_NORM] = QM_VECTOR("attn_norm", EMBD),
    [Q] = QM_MATRIX("attn_q", Q, EMBD, .bias = QM_MAY_HAVE_BIAS),
    [K] = QM_MATRIX("attn_k", KV, EMBD, .bias = QM_MAY_HAVE_BIAS, .joins = 1),
    [V] = QM_MATRIX("attn_v", KV, EMBD, .bias = QM_MAY_HAVE_BIAS, .joins = 1),
    [Q_NORM] = QM_VECTOR("attn_q_norm", HEAD_DIM),
    [K_NORM] = QM_VECTOR("attn_k_norm", HEAD_DIM),
    [ATTN_OUT] = QM_MATRIX("attn_output", EMBD, Q, .bias = QM_MAY_HAVE_BIAS),
    [FFN_NORM] = QM_VECTOR("ffn_norm", EMBD),
    [ROUTER] = QM_MATRIX("ffn_gate_inp", EXPERTS, EMBD, .may_narrow = 1),
    [GATE] = QM_EXPERTS("ffn_gate_exps", FF, EMBD),
    [UP] = QM_EXPERTS("ffn_up_exps", FF, EMBD),
    [DOWN] = QM_EXPERTS("ffn_down_exps", EMBD, FF),
};

static void layer(qm_builder *b, const int *w) {
    qm_build_rmsnorm(b, w[ATTN_NORM], "attn_norm");
    qm_build_qkv(b, w[Q], w[K], w[V]);
    qm_build_qkrope(b, w[Q_NORM], w[K_NORM]);
    if (qm_build_cache_only(b)) return; /* the cache is complete: nobody needs the rest */
    qm_build_attention(b);
    qm_build_attn_out(b, w[ATTN_OUT]);
    qm_build_rmsnorm(b, w[FFN_NORM], "ffn_norm");
    qm_build_router(b, w[ROUTER]);
    qm_build_experts(b, w[GATE], w[UP], w[DOWN]);
}

static const qm_neutral_key neutral[] = {
    {"expert_gating_func", {0, 1}, "experts are weighted by a softmax"},
    {"expert_group_count", {0, 1}, "experts form no groups"},
    {"expert_group_used_count", {0, 1}, "experts form no groups"},
    {"expert_shared_count", {0, 0}, "there are no shared experts"},
    {"expert_shared_feed_forward_length", {0, 0}, "there are no shared experts"},
    {"expert_weights_norm", {1, 1}, "the chosen experts' weights are divided by their sum"},
    {"expert_weights_scale", {0, 1}, "the chosen experts' weights are not scaled"},
    {"interleave_moe_layer_step", {0, 1}, "every layer has experts"},
    {"leading_dense_block_count", {0, 0}, "every layer has experts"},
    {"moe_every_n_layers", {0, 1}, "every layer has experts"},
    {"router_logit_softcapping", {0, 0}, "the router's logits are not capped"},
    {"use_parallel_residual", {0, 0}, "attention comes before the experts"},
    {NULL, {0, 0}, NULL},
};
static const char *const idle[] = {
    "feed_forward_length",     /* of a dense layer; there is none */
    "rope.dimension_sections", /* for time, height and width: those of text are alike */
    "n_deepstack_layers",      /* they add to images alone */
    NULL,
};

static const qm_preset presets[] = {
    {"tiny", QM_SHAPE(4, 512, 8, 2, 128, 32, 8, 256, 2048, 4096), "q4_k_m", 0, 0},
    {"qwen3-30b-a3b", QM_SHAPE(48, 2048, 32, 4, 128, 128, 8, 768, 151936, 40960), "q4_k_m", 0, 1},
    {NULL, {0}, NULL, 0, 0},
};

const qm_family qm_family_qwen3moe = {
    .names = {"qwen3moe", "qwen3_moe", "qwen3vlmoe"},
    .title = "Qwen3-MoE",
    .models = "Qwen3-30B-A3B, Qwen3-Coder-30B-A3B, Qwen3-235B-A22B and their relatives",
    .rope_base = 1e6,
    .dims = {QM_DIMS_OF_A_DECODER, [QM_DIM_EXPERTS] = {"expert_count", "experts", 1, 512, 1}, /* the router's limits */
             [QM_DIM_USED] = {"expert_used_count", "experts-used", 1, 32, 1},
             [QM_DIM_FF] = {"expert_feed_forward_length", "ff", 32, 1u << 14, 32}}, /* a row in shared memory */
    .weights = weights,
    .n_weights = N_WEIGHTS,
    .neutral = neutral,
    .idle = idle,
    .presets = presets,
    .layer = layer,
};
