/* deal.h: the parts of argument structs that are structs themselves (contracts/abi.h has the meaning of each field). A kernel reads
 * them as vectors of 16 bytes, so they lie at multiples of 16 (args.h). */
#ifndef QM_DEAL_H
#define QM_DEAL_H
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include "../../contracts/abi.h"

typedef struct {
    uint32_t rows, rows_log, n_tiles, slices;
    uint32_t n_steps, run, run_on, segment;
    uint32_t x_at, x_run, x_bytes, sums_run;
    uint32_t two, x_segment, part, part_on;
    uint32_t stride, sums, sums_part, sums_cta;
} qm_deal;
static_assert(offsetof(qm_deal, rows) == QM_DEAL_ROWS, "abi");
static_assert(offsetof(qm_deal, rows_log) == QM_DEAL_ROWS_LOG, "abi");
static_assert(offsetof(qm_deal, n_tiles) == QM_DEAL_TILES, "abi");
static_assert(offsetof(qm_deal, slices) == QM_DEAL_SLICES, "abi");
static_assert(offsetof(qm_deal, n_steps) == QM_DEAL_STEPS, "abi");
static_assert(offsetof(qm_deal, run) == QM_DEAL_RUN, "abi");
static_assert(offsetof(qm_deal, run_on) == QM_DEAL_RUN_ON, "abi");
static_assert(offsetof(qm_deal, segment) == QM_DEAL_SEGMENT, "abi");
static_assert(offsetof(qm_deal, x_at) == QM_DEAL_X_AT, "abi");
static_assert(offsetof(qm_deal, x_run) == QM_DEAL_X_RUN, "abi");
static_assert(offsetof(qm_deal, x_bytes) == QM_DEAL_X_BYTES, "abi");
static_assert(offsetof(qm_deal, sums_run) == QM_DEAL_SUMS_RUN, "abi");
static_assert(offsetof(qm_deal, two) == QM_DEAL_TWO, "abi");
static_assert(offsetof(qm_deal, x_segment) == QM_DEAL_X_SEGMENT, "abi");
static_assert(offsetof(qm_deal, part) == QM_DEAL_PART, "abi");
static_assert(offsetof(qm_deal, part_on) == QM_DEAL_PART_ON, "abi");
static_assert(offsetof(qm_deal, stride) == QM_DEAL_STRIDE, "abi");
static_assert(offsetof(qm_deal, sums) == QM_DEAL_SUMS, "abi");
static_assert(offsetof(qm_deal, sums_part) == QM_DEAL_SUMS_PART, "abi");
static_assert(offsetof(qm_deal, sums_cta) == QM_DEAL_SUMS_CTA, "abi");
static_assert(sizeof(qm_deal) == QM_DEAL_SIZE, "abi");

typedef struct {
    uint32_t threads, mask, n, n_log;
    uint32_t log, bytes, at, last;
} qm_groups;
static_assert(offsetof(qm_groups, threads) == QM_GROUPS_THREADS, "abi");
static_assert(offsetof(qm_groups, mask) == QM_GROUPS_MASK, "abi");
static_assert(offsetof(qm_groups, n) == QM_GROUPS_N, "abi");
static_assert(offsetof(qm_groups, n_log) == QM_GROUPS_N_LOG, "abi");
static_assert(offsetof(qm_groups, log) == QM_GROUPS_LOG, "abi");
static_assert(offsetof(qm_groups, bytes) == QM_GROUPS_BYTES, "abi");
static_assert(offsetof(qm_groups, at) == QM_GROUPS_AT, "abi");
static_assert(offsetof(qm_groups, last) == QM_GROUPS_LAST, "abi");
static_assert(sizeof(qm_groups) == QM_GROUPS_SIZE, "abi");

typedef struct {
    uint32_t at, padded, best, end;
} qm_choice_place;
static_assert(offsetof(qm_choice_place, at) == QM_CHOICE_OF_AT, "abi");
static_assert(offsetof(qm_choice_place, padded) == QM_CHOICE_OF_PADDED, "abi");
static_assert(offsetof(qm_choice_place, best) == QM_CHOICE_OF_BEST, "abi");
static_assert(offsetof(qm_choice_place, end) == QM_CHOICE_OF_END, "abi");
static_assert(sizeof(qm_choice_place) == QM_CHOICE_OF_SIZE, "abi");
#endif
