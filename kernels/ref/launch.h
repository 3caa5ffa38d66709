/* launch.h: how the weight-streaming ops are cut and launched: the order of their sums, which type and K alone decide
 * (contracts/abi.h, "Canonical sums"), and how a matrix is dealt to CTAs and warps, so that every multiprocessor has some, none
 * much more than the others, and as many loads are under way as segments allow. A CTA has at most 512 threads. Activations, which
 * each CTA reads for itself, come from the L2: they are up to 15% of what a small matrix' CTAs ask for, and no reason to have
 * fewer CTAs. */
#ifndef QM_LAUNCH_H
#define QM_LAUNCH_H
#include <stdint.h>
#include "deal.h"

/* The sums of a row of n_cols weights. */
typedef struct {
    uint32_t step; /* weights */
    uint32_t n_steps;
    uint32_t segment;    /* steps; the last segment has what remains as well */
    uint32_t n_segments; /* <= 2^QM_SEGMENTS_LOG */
    uint32_t part;       /* steps; the last part has what remains */
    uint32_t n_parts;    /* <= 2^QM_PARTS_LOG */
} qm_sums;
qm_sums qm_sums_of(int wtype, uint32_t n_cols);
/* The first weight of part p; K for p = n_parts. */
uint32_t qm_sums_begin(const qm_sums *s, uint32_t p);

enum { QM_SHARED_MAX = 48 * 1024 }; /* that a CTA has without being asked for */
typedef struct {
    uint32_t grid[3], block;
    uint32_t shared; /* dynamic shared memory, bytes */
    uint32_t tiles;  /* T of the argument struct */
    /* rows that a warp has, which picks the kernel of a product of many rows; of moe_down its groups; else 0 */
    uint32_t width;
} qm_launch;
/* What geometry knows of a device. */
typedef struct qm_sms {
    uint32_t n_sm;
    /* bytes of weights that each multiprocessor should have on its way at once; 0: as many as warps can */
    uint32_t flight;
} qm_sms;
/* What all warps of a product of one row have in common: of weights [n_rows, n_cols], with n_parts as for qm_launch_shared, n_streams 2
 * for moe_up. Of the launch its block, tiles and, of moe_down, width count. */
qm_deal qm_deal_of(int wtype, uint32_t n_rows, uint32_t n_cols, uint32_t n_parts, uint32_t n_streams,
                   const qm_launch *l);
/* The same of moe_down's groups. */
qm_groups qm_groups_of(int wtype, uint32_t n_cols, uint32_t n_used, const qm_launch *l);
/* Steps of a row's weights that a warp of a product of one row has, one after the other, at most; n_parts as for qm_launch_shared. */
uint32_t qm_launch_run(int wtype, uint32_t n_cols, uint32_t n_parts, uint32_t tiles, uint32_t block);
/* Of a tile of 32 rows: bytes of a step, and steps of a chunk (contracts/streams.def). */
uint32_t qm_step_bytes(int wtype);
uint32_t qm_chunk_steps(int wtype);
/* grid[1]: how many parts of K the op writes: all of them, where that is at most max_parts, else 1, their sum. */
qm_launch qm_launch_matvec(int wtype, uint32_t n_rows, uint32_t n_cols, qm_sms sms, uint32_t max_parts);
/* The same where the op norms its input itself, which each CTA does for itself: fewer CTAs, of four warps and more. shared has
 * QM_NORM_SHARED in it. */
qm_launch qm_launch_matvec_normed(int wtype, uint32_t n_rows, uint32_t n_cols, qm_sms sms, uint32_t max_parts);
qm_launch qm_launch_moe_up_normed(int wtype, uint32_t n_ff, uint32_t n_cols, uint32_t n_used, qm_sms sms);
/* grid[1] = n_used */
qm_launch qm_launch_moe_up(int wtype, uint32_t n_ff, uint32_t n_cols, uint32_t n_used, qm_sms sms);
qm_launch qm_launch_moe_matvec(int wtype, uint32_t n_rows, uint32_t n_cols, uint32_t n_used, qm_sms sms);
/* Where moe_up has its choice of experts (kernels/ptx/topk.inc), behind `shared` bytes; takes them along. */
qm_choice_place qm_choice_of(uint32_t n_expert, uint32_t n_used, uint32_t *shared);
/* width: groups of warps, each with its own expert at a time. */
qm_launch qm_launch_moe_down(int wtype, uint32_t n_rows, uint32_t n_cols, uint32_t n_used, qm_sms sms);
/* Dynamic shared memory of a CTA of so many groups (kernels/ptx/moe_down.inc); a group's own is qm_launch_shared. */
uint32_t qm_moe_down_shared(int wtype, uint32_t n_cols, uint32_t n_used, uint32_t tiles, uint32_t groups);

/* ---- many rows ---- */
/* Dynamic shared memory of a product of many rows, of so many warps a CTA (kernels/ptx/rows_stream.inc, rows_float.inc). */
uint32_t qm_rows_shared(int wtype, uint32_t width, uint32_t warps);
/* As matvec, for `rows` rows; grid[1]: all parts where that is at most max_parts and the rows are QM_PARTS_ROWS at most, else 1: more
 * keep the device busy as they are. */
enum { QM_PARTS_ROWS = 32 };
qm_launch qm_launch_gemm(int wtype, uint32_t n_rows, uint32_t n_cols, uint32_t rows, uint32_t n_sm, uint32_t max_parts);
/* Slots of a group (op moe_sort): 8, 16, 32 or 64, from the mean load of an expert, so that most have one group. */
uint32_t qm_moe_width(uint32_t rows, uint32_t n_used, uint32_t n_expert);
/* Groups of that width that rows * n_used slots can make, at most. */
uint32_t qm_moe_groups(uint32_t rows, uint32_t n_used, uint32_t n_expert, uint32_t width);
/* grid[1] = max_groups. Kernels without tensor cores (float weights) take any group, 8 slots at a time: their width is 8. */
qm_launch qm_launch_moe_gemm_up(int wtype, uint32_t n_ff, uint32_t n_cols, uint32_t width, uint32_t max_groups,
                                uint32_t n_sm);
qm_launch qm_launch_moe_gemm(int wtype, uint32_t n_rows, uint32_t n_cols, uint32_t width, uint32_t max_groups,
                             uint32_t n_sm);
/* One CTA. */
qm_launch qm_launch_moe_sort(uint32_t rows, uint32_t n_used, uint32_t n_expert);

/* A CTA a row, a thread for each 4 elements, 1024 at most. */
qm_launch qm_launch_rmsnorm(uint32_t n);

/* The two passes over a vocabulary of n: about two 16-byte loads a thread, and one; QM_SAMPLE_CTAS at most. */
#define QM_SAMPLE_CTAS 256
qm_launch qm_launch_sample_scan(uint32_t n);
qm_launch qm_launch_sample_draw(uint32_t n);

/* More of it, where an op norms its input of n_cols values itself (kernels/ptx/norm.inc). */
#define QM_NORM_SHARED(n_cols) (192 + 4 * (((n_cols) + 511) / 512 * 512))
/* Dynamic shared memory of any other geometry: T tiles a CTA; n_parts (of grid[1]) all or 1; n_streams 2 for moe_up,
 * else 1. */
uint32_t qm_launch_shared(int wtype, uint32_t n_cols, uint32_t n_parts, uint32_t n_streams, uint32_t tiles);
#endif
