/* args.h: the C view of every kernel's argument struct (contracts/abi.h has the meaning of each field).
 * The same struct serves the device (device addresses, packed weights) and the reference in
 * kernels/ref (host addresses as u64, weights as raw GGUF rows). Checked field by field below. */
#ifndef QM_ARGS_H
#define QM_ARGS_H
#include <stddef.h>
#include <stdint.h>
#include "../../contracts/abi.h"

typedef struct {
    uint64_t w;
    uint64_t state;
    uint64_t tokens;
    uint64_t y;
    uint32_t n_cols;
    uint32_t n_rows;
} qm_embed_args;

typedef struct {
    uint64_t x;
    uint64_t partials;
    uint64_t x_out;
    uint64_t w;
    uint64_t y;
    uint64_t yq;
    uint32_t n;
    uint32_t n_partials;
    float eps;
    uint32_t pad_;
} qm_rmsnorm_args;

typedef struct {
    uint64_t w;
    uint64_t x;
    uint64_t bias;
    uint64_t y;
    uint32_t n_rows;
    uint32_t n_cols;
    uint32_t tiles;
    uint32_t pad_;
} qm_matvec_args;

typedef struct {
    uint64_t w_gate;
    uint64_t w_up;
    uint64_t x;
    uint64_t ids;
    uint64_t h;
    uint64_t hq;
    uint64_t expert_bytes;
    uint32_t n_ff;
    uint32_t n_cols;
    uint32_t tiles;
    uint32_t n_expert;
} qm_moe_up_args;

typedef struct {
    uint64_t w;
    uint64_t x;
    uint64_t ids;
    uint64_t scale;
    uint64_t y;
    uint64_t expert_bytes;
    uint64_t x_stride;
    uint32_t n_rows;
    uint32_t n_cols;
    uint32_t tiles;
    uint32_t n_expert;
} qm_moe_matvec_args;

typedef struct {
    uint64_t gate;
    uint64_t up;
    uint64_t h;
    uint64_t hq;
    uint32_t n;
    uint32_t k;
} qm_swiglu_args;

typedef struct {
    uint64_t qkv;
    uint64_t q_norm;
    uint64_t k_norm;
    uint64_t rope;
    uint64_t state;
    uint64_t table;
    uint64_t k_pool;
    uint64_t v_pool;
    uint64_t q_out;
    uint32_t n_head;
    uint32_t n_kv;
    uint32_t n_partials;
    float eps;
} qm_qkrope_args;

typedef struct {
    uint64_t q;
    uint64_t k_pool;
    uint64_t v_pool;
    uint64_t table;
    uint64_t state;
    uint64_t acc;
    uint64_t ml;
    uint32_t n_head;
    uint32_t n_kv;
    uint32_t n_spans;
    float scale;
} qm_attn_args;

typedef struct {
    uint64_t acc;
    uint64_t ml;
    uint64_t state;
    uint64_t y;
    uint64_t yq;
    uint32_t n_head;
    uint32_t n_spans;
} qm_combine_args;

typedef struct {
    uint64_t logits;
    uint64_t ids;
    uint64_t weights;
    uint32_t n_expert;
    uint32_t n_used;
    uint32_t n_partials;
    uint32_t pad_;
} qm_router_args;

typedef struct {
    uint64_t logits;
    uint64_t keys;
    uint64_t hist;
    uint64_t part;
    uint64_t work;
    uint64_t state;
    uint64_t tokens;
    uint32_t n;
    uint32_t pad_;
} qm_sample_scan_args;

typedef struct {
    uint64_t keys;
    uint64_t cand;
    uint64_t work;
    uint64_t state;
    uint64_t tokens;
    uint64_t result;
    uint32_t n;
    uint32_t pad_;
} qm_sample_draw_args;

typedef struct { /* a slot of what result points to */
    uint32_t token, flags, pos, pad_;
} qm_result;

typedef struct {
    uint64_t src;
    uint64_t out;
    uint32_t n;
    uint32_t pad_;
} qm_probe_args;

typedef struct {
    uint64_t jobs;
    uint64_t out;
    uint64_t words;
    uint64_t words2;
    uint64_t words_to;
    uint32_t n_words;
    uint32_t pad_;
} qm_stats_args;

typedef struct { /* what jobs points to */
    uint64_t x;
    uint64_t add;
    uint64_t copy;
    uint32_t n;
    uint32_t n_parts;
    uint32_t stride;
    uint32_t pad_;
} qm_stats_job;

typedef struct { /* what out points to */
    double mean, std_dev, l2;
    float min, max;
    uint32_t nans, infs, zeros, count;
} qm_stats_record;

#include <assert.h>
static_assert(offsetof(qm_embed_args, w) == QM_EMBED_W, "abi");
static_assert(offsetof(qm_embed_args, state) == QM_EMBED_STATE, "abi");
static_assert(offsetof(qm_embed_args, tokens) == QM_EMBED_TOKENS, "abi");
static_assert(offsetof(qm_embed_args, y) == QM_EMBED_Y, "abi");
static_assert(offsetof(qm_embed_args, n_cols) == QM_EMBED_N_COLS, "abi");
static_assert(offsetof(qm_embed_args, n_rows) == QM_EMBED_N_ROWS, "abi");
static_assert(sizeof(qm_embed_args) == QM_EMBED_SIZE, "abi");
static_assert(offsetof(qm_rmsnorm_args, x) == QM_RMSNORM_X, "abi");
static_assert(offsetof(qm_rmsnorm_args, partials) == QM_RMSNORM_PARTIALS, "abi");
static_assert(offsetof(qm_rmsnorm_args, x_out) == QM_RMSNORM_X_OUT, "abi");
static_assert(offsetof(qm_rmsnorm_args, w) == QM_RMSNORM_W, "abi");
static_assert(offsetof(qm_rmsnorm_args, y) == QM_RMSNORM_Y, "abi");
static_assert(offsetof(qm_rmsnorm_args, yq) == QM_RMSNORM_YQ, "abi");
static_assert(offsetof(qm_rmsnorm_args, n) == QM_RMSNORM_N, "abi");
static_assert(offsetof(qm_rmsnorm_args, n_partials) == QM_RMSNORM_N_PARTIALS, "abi");
static_assert(offsetof(qm_rmsnorm_args, eps) == QM_RMSNORM_EPS, "abi");
static_assert(sizeof(qm_rmsnorm_args) == QM_RMSNORM_SIZE, "abi");
static_assert(offsetof(qm_matvec_args, w) == QM_MATVEC_W, "abi");
static_assert(offsetof(qm_matvec_args, x) == QM_MATVEC_X, "abi");
static_assert(offsetof(qm_matvec_args, bias) == QM_MATVEC_BIAS, "abi");
static_assert(offsetof(qm_matvec_args, y) == QM_MATVEC_Y, "abi");
static_assert(offsetof(qm_matvec_args, n_rows) == QM_MATVEC_N_ROWS, "abi");
static_assert(offsetof(qm_matvec_args, n_cols) == QM_MATVEC_N_COLS, "abi");
static_assert(offsetof(qm_matvec_args, tiles) == QM_MATVEC_TILES, "abi");
static_assert(sizeof(qm_matvec_args) == QM_MATVEC_SIZE, "abi");
static_assert(offsetof(qm_moe_up_args, w_gate) == QM_MOE_UP_W_GATE, "abi");
static_assert(offsetof(qm_moe_up_args, w_up) == QM_MOE_UP_W_UP, "abi");
static_assert(offsetof(qm_moe_up_args, x) == QM_MOE_UP_X, "abi");
static_assert(offsetof(qm_moe_up_args, ids) == QM_MOE_UP_IDS, "abi");
static_assert(offsetof(qm_moe_up_args, h) == QM_MOE_UP_H, "abi");
static_assert(offsetof(qm_moe_up_args, hq) == QM_MOE_UP_HQ, "abi");
static_assert(offsetof(qm_moe_up_args, expert_bytes) == QM_MOE_UP_EXPERT_BYTES, "abi");
static_assert(offsetof(qm_moe_up_args, n_ff) == QM_MOE_UP_N_FF, "abi");
static_assert(offsetof(qm_moe_up_args, n_cols) == QM_MOE_UP_N_COLS, "abi");
static_assert(offsetof(qm_moe_up_args, tiles) == QM_MOE_UP_TILES, "abi");
static_assert(offsetof(qm_moe_up_args, n_expert) == QM_MOE_UP_N_EXPERT, "abi");
static_assert(sizeof(qm_moe_up_args) == QM_MOE_UP_SIZE, "abi");
static_assert(offsetof(qm_moe_matvec_args, w) == QM_MOE_MATVEC_W, "abi");
static_assert(offsetof(qm_moe_matvec_args, x) == QM_MOE_MATVEC_X, "abi");
static_assert(offsetof(qm_moe_matvec_args, ids) == QM_MOE_MATVEC_IDS, "abi");
static_assert(offsetof(qm_moe_matvec_args, scale) == QM_MOE_MATVEC_SCALE, "abi");
static_assert(offsetof(qm_moe_matvec_args, y) == QM_MOE_MATVEC_Y, "abi");
static_assert(offsetof(qm_moe_matvec_args, expert_bytes) == QM_MOE_MATVEC_EXPERT_BYTES, "abi");
static_assert(offsetof(qm_moe_matvec_args, x_stride) == QM_MOE_MATVEC_X_STRIDE, "abi");
static_assert(offsetof(qm_moe_matvec_args, n_rows) == QM_MOE_MATVEC_N_ROWS, "abi");
static_assert(offsetof(qm_moe_matvec_args, n_cols) == QM_MOE_MATVEC_N_COLS, "abi");
static_assert(offsetof(qm_moe_matvec_args, tiles) == QM_MOE_MATVEC_TILES, "abi");
static_assert(offsetof(qm_moe_matvec_args, n_expert) == QM_MOE_MATVEC_N_EXPERT, "abi");
static_assert(sizeof(qm_moe_matvec_args) == QM_MOE_MATVEC_SIZE, "abi");
static_assert(offsetof(qm_swiglu_args, gate) == QM_SWIGLU_GATE, "abi");
static_assert(offsetof(qm_swiglu_args, up) == QM_SWIGLU_UP, "abi");
static_assert(offsetof(qm_swiglu_args, h) == QM_SWIGLU_H, "abi");
static_assert(offsetof(qm_swiglu_args, hq) == QM_SWIGLU_HQ, "abi");
static_assert(offsetof(qm_swiglu_args, n) == QM_SWIGLU_N, "abi");
static_assert(offsetof(qm_swiglu_args, k) == QM_SWIGLU_K, "abi");
static_assert(sizeof(qm_swiglu_args) == QM_SWIGLU_SIZE, "abi");
static_assert(offsetof(qm_qkrope_args, qkv) == QM_QKROPE_QKV, "abi");
static_assert(offsetof(qm_qkrope_args, q_norm) == QM_QKROPE_Q_NORM, "abi");
static_assert(offsetof(qm_qkrope_args, k_norm) == QM_QKROPE_K_NORM, "abi");
static_assert(offsetof(qm_qkrope_args, rope) == QM_QKROPE_ROPE, "abi");
static_assert(offsetof(qm_qkrope_args, state) == QM_QKROPE_STATE, "abi");
static_assert(offsetof(qm_qkrope_args, table) == QM_QKROPE_TABLE, "abi");
static_assert(offsetof(qm_qkrope_args, k_pool) == QM_QKROPE_K_POOL, "abi");
static_assert(offsetof(qm_qkrope_args, v_pool) == QM_QKROPE_V_POOL, "abi");
static_assert(offsetof(qm_qkrope_args, q_out) == QM_QKROPE_Q_OUT, "abi");
static_assert(offsetof(qm_qkrope_args, n_head) == QM_QKROPE_N_HEAD, "abi");
static_assert(offsetof(qm_qkrope_args, n_kv) == QM_QKROPE_N_KV, "abi");
static_assert(offsetof(qm_qkrope_args, n_partials) == QM_QKROPE_N_PARTIALS, "abi");
static_assert(offsetof(qm_qkrope_args, eps) == QM_QKROPE_EPS, "abi");
static_assert(sizeof(qm_qkrope_args) == QM_QKROPE_SIZE, "abi");
static_assert(offsetof(qm_attn_args, q) == QM_ATTN_Q, "abi");
static_assert(offsetof(qm_attn_args, k_pool) == QM_ATTN_K_POOL, "abi");
static_assert(offsetof(qm_attn_args, v_pool) == QM_ATTN_V_POOL, "abi");
static_assert(offsetof(qm_attn_args, table) == QM_ATTN_TABLE, "abi");
static_assert(offsetof(qm_attn_args, state) == QM_ATTN_STATE, "abi");
static_assert(offsetof(qm_attn_args, acc) == QM_ATTN_ACC, "abi");
static_assert(offsetof(qm_attn_args, ml) == QM_ATTN_ML, "abi");
static_assert(offsetof(qm_attn_args, n_head) == QM_ATTN_N_HEAD, "abi");
static_assert(offsetof(qm_attn_args, n_kv) == QM_ATTN_N_KV, "abi");
static_assert(offsetof(qm_attn_args, n_spans) == QM_ATTN_N_SPANS, "abi");
static_assert(offsetof(qm_attn_args, scale) == QM_ATTN_SCALE, "abi");
static_assert(sizeof(qm_attn_args) == QM_ATTN_SIZE, "abi");
static_assert(offsetof(qm_combine_args, acc) == QM_COMBINE_ACC, "abi");
static_assert(offsetof(qm_combine_args, ml) == QM_COMBINE_ML, "abi");
static_assert(offsetof(qm_combine_args, state) == QM_COMBINE_STATE, "abi");
static_assert(offsetof(qm_combine_args, y) == QM_COMBINE_Y, "abi");
static_assert(offsetof(qm_combine_args, yq) == QM_COMBINE_YQ, "abi");
static_assert(offsetof(qm_combine_args, n_head) == QM_COMBINE_N_HEAD, "abi");
static_assert(offsetof(qm_combine_args, n_spans) == QM_COMBINE_N_SPANS, "abi");
static_assert(sizeof(qm_combine_args) == QM_COMBINE_SIZE, "abi");
static_assert(offsetof(qm_router_args, logits) == QM_ROUTER_LOGITS, "abi");
static_assert(offsetof(qm_router_args, ids) == QM_ROUTER_IDS, "abi");
static_assert(offsetof(qm_router_args, weights) == QM_ROUTER_WEIGHTS, "abi");
static_assert(offsetof(qm_router_args, n_expert) == QM_ROUTER_N_EXPERT, "abi");
static_assert(offsetof(qm_router_args, n_used) == QM_ROUTER_N_USED, "abi");
static_assert(offsetof(qm_router_args, n_partials) == QM_ROUTER_N_PARTIALS, "abi");
static_assert(sizeof(qm_router_args) == QM_ROUTER_SIZE, "abi");
static_assert(offsetof(qm_sample_scan_args, logits) == QM_SAMPLE_SCAN_LOGITS, "abi");
static_assert(offsetof(qm_sample_scan_args, keys) == QM_SAMPLE_SCAN_KEYS, "abi");
static_assert(offsetof(qm_sample_scan_args, hist) == QM_SAMPLE_SCAN_HIST, "abi");
static_assert(offsetof(qm_sample_scan_args, part) == QM_SAMPLE_SCAN_PART, "abi");
static_assert(offsetof(qm_sample_scan_args, work) == QM_SAMPLE_SCAN_WORK, "abi");
static_assert(offsetof(qm_sample_scan_args, state) == QM_SAMPLE_SCAN_STATE, "abi");
static_assert(offsetof(qm_sample_scan_args, tokens) == QM_SAMPLE_SCAN_TOKENS, "abi");
static_assert(offsetof(qm_sample_scan_args, n) == QM_SAMPLE_SCAN_N, "abi");
static_assert(sizeof(qm_sample_scan_args) == QM_SAMPLE_SCAN_SIZE, "abi");
static_assert(offsetof(qm_sample_draw_args, keys) == QM_SAMPLE_DRAW_KEYS, "abi");
static_assert(offsetof(qm_sample_draw_args, cand) == QM_SAMPLE_DRAW_CAND, "abi");
static_assert(offsetof(qm_sample_draw_args, work) == QM_SAMPLE_DRAW_WORK, "abi");
static_assert(offsetof(qm_sample_draw_args, state) == QM_SAMPLE_DRAW_STATE, "abi");
static_assert(offsetof(qm_sample_draw_args, tokens) == QM_SAMPLE_DRAW_TOKENS, "abi");
static_assert(offsetof(qm_sample_draw_args, result) == QM_SAMPLE_DRAW_RESULT, "abi");
static_assert(offsetof(qm_sample_draw_args, n) == QM_SAMPLE_DRAW_N, "abi");
static_assert(sizeof(qm_sample_draw_args) == QM_SAMPLE_DRAW_SIZE, "abi");
static_assert(offsetof(qm_result, token) == QM_RESULT_TOKEN, "abi");
static_assert(offsetof(qm_result, flags) == QM_RESULT_FLAGS, "abi");
static_assert(offsetof(qm_result, pos) == QM_RESULT_POS, "abi");
static_assert(sizeof(qm_result) == QM_RESULT_SIZE, "abi");
static_assert(offsetof(qm_probe_args, src) == QM_PROBE_SRC, "abi");
static_assert(offsetof(qm_probe_args, out) == QM_PROBE_OUT, "abi");
static_assert(offsetof(qm_probe_args, n) == QM_PROBE_N, "abi");
static_assert(sizeof(qm_probe_args) == QM_PROBE_SIZE, "abi");
static_assert(offsetof(qm_stats_args, jobs) == QM_STATS_JOBS, "abi");
static_assert(offsetof(qm_stats_args, out) == QM_STATS_OUT, "abi");
static_assert(offsetof(qm_stats_args, words) == QM_STATS_WORDS, "abi");
static_assert(offsetof(qm_stats_args, words2) == QM_STATS_WORDS2, "abi");
static_assert(offsetof(qm_stats_args, words_to) == QM_STATS_WORDS_TO, "abi");
static_assert(offsetof(qm_stats_args, n_words) == QM_STATS_N_WORDS, "abi");
static_assert(sizeof(qm_stats_args) == QM_STATS_SIZE, "abi");
static_assert(offsetof(qm_stats_job, x) == QM_STATS_JOB_X, "abi");
static_assert(offsetof(qm_stats_job, add) == QM_STATS_JOB_ADD, "abi");
static_assert(offsetof(qm_stats_job, copy) == QM_STATS_JOB_COPY, "abi");
static_assert(offsetof(qm_stats_job, n) == QM_STATS_JOB_N, "abi");
static_assert(offsetof(qm_stats_job, n_parts) == QM_STATS_JOB_N_PARTS, "abi");
static_assert(offsetof(qm_stats_job, stride) == QM_STATS_JOB_STRIDE, "abi");
static_assert(sizeof(qm_stats_job) == QM_STATS_JOB_SIZE, "abi");
static_assert(offsetof(qm_stats_record, mean) == QM_STATS_MEAN, "abi");
static_assert(offsetof(qm_stats_record, std_dev) == QM_STATS_STD_DEV, "abi");
static_assert(offsetof(qm_stats_record, l2) == QM_STATS_L2, "abi");
static_assert(offsetof(qm_stats_record, min) == QM_STATS_MIN, "abi");
static_assert(offsetof(qm_stats_record, max) == QM_STATS_MAX, "abi");
static_assert(offsetof(qm_stats_record, nans) == QM_STATS_NANS, "abi");
static_assert(offsetof(qm_stats_record, infs) == QM_STATS_INFS, "abi");
static_assert(offsetof(qm_stats_record, zeros) == QM_STATS_ZEROS, "abi");
static_assert(offsetof(qm_stats_record, count) == QM_STATS_COUNT, "abi");
static_assert(sizeof(qm_stats_record) == QM_STATS_RECORD, "abi");

/* The largest of them: what a plan reserves for an op. */
typedef union {
    qm_embed_args embed;
    qm_rmsnorm_args rmsnorm;
    qm_matvec_args matvec;
    qm_moe_up_args moe_up;
    qm_moe_matvec_args moe_matvec;
    qm_swiglu_args swiglu;
    qm_qkrope_args qkrope;
    qm_attn_args attn;
    qm_combine_args combine;
    qm_router_args router;
    qm_sample_scan_args sample_scan;
    qm_sample_draw_args sample_draw;
    qm_probe_args probe;
    qm_stats_args stats;
    unsigned char bytes[96];
} qm_op_args;

/* A run of ops, for the kernel that walks it (contracts/abi.h, "walk"). */
typedef struct {
    uint32_t id, warps, subs, stride; /* id: number in contracts/walk.def */
    uint32_t grid[3], sync;
    uint64_t prefetch, prefetch_bytes;
    qm_op_args args;
} qm_walk_record;
static_assert(offsetof(qm_walk_record, id) == QM_WALK_REC_CASE, "abi");
static_assert(offsetof(qm_walk_record, warps) == QM_WALK_REC_WARPS, "abi");
static_assert(offsetof(qm_walk_record, subs) == QM_WALK_REC_SUBS, "abi");
static_assert(offsetof(qm_walk_record, stride) == QM_WALK_REC_STRIDE, "abi");
static_assert(offsetof(qm_walk_record, grid) == QM_WALK_REC_GRID, "abi");
static_assert(offsetof(qm_walk_record, sync) == QM_WALK_REC_SYNC, "abi");
static_assert(offsetof(qm_walk_record, prefetch) == QM_WALK_REC_PREFETCH, "abi");
static_assert(offsetof(qm_walk_record, prefetch_bytes) == QM_WALK_REC_PREFETCH_BYTES, "abi");
static_assert(offsetof(qm_walk_record, args) == QM_WALK_REC_ARGS, "abi");
static_assert(sizeof(qm_walk_record) == QM_WALK_REC_SIZE, "abi");

typedef struct {
    uint64_t records;
    uint64_t arrived;
    uint64_t stamps;
    uint32_t n;
    uint32_t pad_;
} qm_walk_args;
static_assert(offsetof(qm_walk_args, stamps) == QM_WALK_STAMPS, "abi");
static_assert(offsetof(qm_walk_args, arrived) == QM_WALK_ARRIVED, "abi");
static_assert(offsetof(qm_walk_args, n) == QM_WALK_N, "abi");
static_assert(sizeof(qm_walk_args) == QM_WALK_SIZE, "abi");
#endif
