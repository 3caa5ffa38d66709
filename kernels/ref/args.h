/* args.h: the argument struct of every op (contracts/ops.def), and the C view of what an argument may point to
 * (contracts/abi.h has the meaning of each field). The same struct serves the device (device addresses, packed
 * weights) and the reference in kernels/ref (host addresses as u64, weights as raw GGUF rows). */
#ifndef QM_ARGS_H
#define QM_ARGS_H
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include "../../contracts/abi.h"
#include "deal.h"

/* clang-format off */
#define OP(word, WORD) typedef struct {
#define OPERAND(field, ...) uint64_t field;
#define SCALAR(type, field) type field;
#define END(word) } qm_##word##_args;
/* clang-format on */
#include "../../contracts/ops.def"

/* Any op's. */
typedef union {
#define OP(word, WORD) qm_##word##_args word;
#include "../../contracts/ops.def"
    unsigned char bytes[QM_WALK_ARGS_MAX];
} qm_op_args;
static_assert(sizeof(qm_op_args) == QM_WALK_ARGS_MAX, "a record of the walk has no room for an op's arguments");

/* Kernels read these as vectors of 16 bytes. */
static_assert(offsetof(qm_matvec_args, deal) % 16 == 0, "ops.def");
static_assert(offsetof(qm_moe_up_args, deal) % 16 == 0, "ops.def");
static_assert(offsetof(qm_moe_up_args, choice) % 16 == 0, "ops.def");
static_assert(offsetof(qm_moe_matvec_args, deal) % 16 == 0, "ops.def");
static_assert(offsetof(qm_moe_down_args, deal) % 16 == 0, "ops.def");
static_assert(offsetof(qm_moe_down_args, groups) % 16 == 0, "ops.def");

typedef struct { /* what row points to: one row of a step */
    uint32_t pos, seq;
    uint64_t seq_off;
} qm_row_record;
static_assert(offsetof(qm_row_record, pos) == QM_ROW_POS, "abi");
static_assert(offsetof(qm_row_record, seq) == QM_ROW_SEQ, "abi");
static_assert(offsetof(qm_row_record, seq_off) == QM_ROW_SEQ_OFF, "abi");
static_assert(sizeof(qm_row_record) == QM_ROW_SIZE, "abi");

typedef struct { /* a step: its header, rows and lists (abi.h, "Rows of a step") */
    uint32_t n_rows, n_singles, n_runs, n_outs, n_draws, pad_[3];
    qm_row_record rows[QM_STEP_ROWS_MAX];
    uint32_t singles[QM_STEP_ROWS_MAX];
    uint32_t runs[QM_STEP_ROWS_MAX][2];
    uint32_t outs[QM_STEP_ROWS_MAX];
} qm_step_record;
static_assert(offsetof(qm_step_record, n_rows) == QM_STEP_N_ROWS, "abi");
static_assert(offsetof(qm_step_record, n_singles) == QM_STEP_N_SINGLES, "abi");
static_assert(offsetof(qm_step_record, n_runs) == QM_STEP_N_RUNS, "abi");
static_assert(offsetof(qm_step_record, n_outs) == QM_STEP_N_OUTS, "abi");
static_assert(offsetof(qm_step_record, n_draws) == QM_STEP_N_DRAWS, "abi");
static_assert(offsetof(qm_step_record, rows) == QM_STEP_AT_ROWS, "abi");
static_assert(offsetof(qm_step_record, singles) == QM_STEP_AT_SINGLES, "abi");
static_assert(offsetof(qm_step_record, runs) == QM_STEP_AT_RUNS, "abi");
static_assert(offsetof(qm_step_record, outs) == QM_STEP_AT_OUTS, "abi");
static_assert(sizeof(qm_step_record) == QM_STEP_SIZE, "abi");

typedef struct { /* what groups points to */
    uint32_t expert, first, n, pad_;
} qm_group;
static_assert(offsetof(qm_group, expert) == QM_GROUP_EXPERT, "abi");
static_assert(offsetof(qm_group, first) == QM_GROUP_FIRST, "abi");
static_assert(offsetof(qm_group, n) == QM_GROUP_N, "abi");
static_assert(sizeof(qm_group) == QM_GROUP_SIZE, "abi");

typedef struct { /* a slot of what result points to */
    uint32_t token, flags, pos, pad_;
    uint64_t sum;
    float first, chosen;
    struct {
        uint32_t id;
        float logit;
    } top[QM_RESULT_N_TOP];
} qm_result;
static_assert(offsetof(qm_result, token) == QM_RESULT_TOKEN, "abi");
static_assert(offsetof(qm_result, flags) == QM_RESULT_FLAGS, "abi");
static_assert(offsetof(qm_result, pos) == QM_RESULT_POS, "abi");
static_assert(offsetof(qm_result, sum) == QM_RESULT_SUM, "abi");
static_assert(offsetof(qm_result, first) == QM_RESULT_FIRST, "abi");
static_assert(offsetof(qm_result, chosen) == QM_RESULT_CHOSEN, "abi");
static_assert(offsetof(qm_result, top) == QM_RESULT_TOP, "abi");
static_assert(sizeof(qm_result) == QM_RESULT_SIZE, "abi");

typedef struct { /* what jobs points to */
    uint64_t x;
    uint64_t add;
    uint64_t copy;
    uint32_t n;
    uint32_t n_parts;
    uint32_t stride;
    uint32_t pad_;
} qm_stats_job;
static_assert(offsetof(qm_stats_job, x) == QM_STATS_JOB_X, "abi");
static_assert(offsetof(qm_stats_job, add) == QM_STATS_JOB_ADD, "abi");
static_assert(offsetof(qm_stats_job, copy) == QM_STATS_JOB_COPY, "abi");
static_assert(offsetof(qm_stats_job, n) == QM_STATS_JOB_N, "abi");
static_assert(offsetof(qm_stats_job, n_parts) == QM_STATS_JOB_N_PARTS, "abi");
static_assert(offsetof(qm_stats_job, stride) == QM_STATS_JOB_STRIDE, "abi");
static_assert(sizeof(qm_stats_job) == QM_STATS_JOB_SIZE, "abi");

typedef struct { /* what out points to */
    double mean, std_dev, l2;
    float min, max;
    uint32_t nans, infs, zeros, count;
} qm_stats_record;
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

/* A run of ops, for the kernel that walks it (contracts/abi.h, "walk"). */
typedef struct {
    uint32_t id, warps, subs, stride; /* id: number in contracts/kernels.def */
    uint32_t grid[3], first;
    struct {
        uint32_t op, goal;
    } waits[QM_WALK_WAITS];
    uint64_t prefetch, prefetch_bytes;
    uint32_t arrives, pad, ring_steps, ring_at;
    qm_op_args args;
} qm_walk_record;
static_assert(offsetof(qm_walk_record, id) == QM_WALK_REC_CASE, "abi");
static_assert(offsetof(qm_walk_record, warps) == QM_WALK_REC_WARPS, "abi");
static_assert(offsetof(qm_walk_record, subs) == QM_WALK_REC_SUBS, "abi");
static_assert(offsetof(qm_walk_record, stride) == QM_WALK_REC_STRIDE, "abi");
static_assert(offsetof(qm_walk_record, grid) == QM_WALK_REC_GRID, "abi");
static_assert(offsetof(qm_walk_record, first) == QM_WALK_REC_FIRST, "abi");
static_assert(offsetof(qm_walk_record, waits) == QM_WALK_REC_WAITS, "abi");
static_assert(offsetof(qm_walk_record, prefetch) == QM_WALK_REC_PREFETCH, "abi");
static_assert(offsetof(qm_walk_record, prefetch_bytes) == QM_WALK_REC_PREFETCH_BYTES, "abi");
static_assert(offsetof(qm_walk_record, arrives) == QM_WALK_REC_ARRIVES, "abi");
static_assert(offsetof(qm_walk_record, ring_steps) == QM_WALK_REC_RING, "abi");
static_assert(offsetof(qm_walk_record, args) == QM_WALK_REC_ARGS, "abi");
static_assert(sizeof(qm_walk_record) == QM_WALK_REC_SIZE, "abi");
static_assert(QM_WALK_RECS_BYTES == QM_WALK_RING * QM_WALK_REC_SIZE, "abi");
static_assert(QM_WALK_WARPS_BYTES == QM_WALK_BLOCK / 32 * QM_WALK_WARP_SIZE, "abi");
#endif
