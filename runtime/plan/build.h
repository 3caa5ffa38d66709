/* build.h: what a family's layer() is written in (runtime/arch): each call appends the ops that its name says to the
 * plan, in the order of the calls. Weights are the model's (plan/model.h), slot is what the op is called in traces and
 * tables.
 *
 * Data flows through buffers of the step: x, the residual stream, f32 [n_embd]; xn and xq, its norm, in f32 and q16a;
 * the buffers of attention and of the feed-forward network. What attn_out and ffn or experts leave are partial sums,
 * which the next rmsnorm adds to x. A call after one that failed does nothing. */
#ifndef QM_BUILD_H
#define QM_BUILD_H
#include "model.h"

/* x += what is pending; xn, xq = norm(x) * weight [n_embd]. Of one row the call after it computes them, where it can. */
void qm_build_rmsnorm(qm_builder *b, int weight, const char *slot);

/* q, k and v of xn: one op where they share a region. */
void qm_build_qkv(qm_builder *b, int q, int k, int v);
/* Norms of q's and k's heads (weights [head_dim]; -1: none), their rotation, and k and v into the cache. */
void qm_build_qkrope(qm_builder *b, int q_norm, int k_norm);
/* 1: the step wants no logits and this is the last layer: with the cache complete it is done. */
int qm_build_cache_only(const qm_builder *b);
/* Each head's mean of the values so far: att, f32 and q16a [n_head * head_dim]. */
void qm_build_attention(qm_builder *b);
/* Back to the residual's width; pending. */
void qm_build_attn_out(qm_builder *b, int weight);

/* The n_used best of n_expert experts for xn, by softmax, and their weights, which sum to 1. */
void qm_build_router(qm_builder *b, int weight);
/* Of each chosen expert: down(silu(gate xn) * up xn), times its weight; pending. */
void qm_build_experts(qm_builder *b, int gate, int up, int down);
/* down(silu(gate xn) * up xn); pending. */
void qm_build_ffn(qm_builder *b, int gate, int up, int down);
#endif
