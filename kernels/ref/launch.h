/* launch.h: launch geometry of the weight-streaming ops: how a matrix is dealt to CTAs, warps and
 * K-splits (contracts/abi.h, "matvec"), so that the grid fills n_sm multiprocessors, a CTA has at
 * most 512 threads, and activations plus partial sums stay under 5% of the weight bytes. */
#ifndef QM_LAUNCH_H
#define QM_LAUNCH_H
#include <stdint.h>
typedef struct {
    uint32_t grid[3], block;
    uint32_t shared; /* dynamic shared memory, bytes */
    uint32_t tiles;  /* T of the argument struct */
} qm_launch;
/* grid[1] = k_splits, at most max_splits (1: no split). */
qm_launch qm_launch_matvec(int wtype, uint32_t n_rows, uint32_t n_cols, uint32_t n_sm, uint32_t max_splits);
/* grid[1] = n_used */
qm_launch qm_launch_moe_up(int wtype, uint32_t n_ff, uint32_t n_cols, uint32_t n_used, uint32_t n_sm);
qm_launch qm_launch_moe_matvec(int wtype, uint32_t n_rows, uint32_t n_cols, uint32_t n_used, uint32_t n_sm);

/* One CTA, a thread for each 4 elements, 1024 at most. */
qm_launch qm_launch_rmsnorm(uint32_t n);

/* The two passes over a vocabulary of n: about two 16-byte loads a thread, and one; QM_SAMPLE_CTAS at most. */
#define QM_SAMPLE_CTAS 256
qm_launch qm_launch_sample_scan(uint32_t n);
qm_launch qm_launch_sample_draw(uint32_t n);

/* Dynamic shared memory of any other geometry: T tiles x S slices (block / 32 / T), n_splits K-splits,
 * n_streams 2 for moe_up, else 1. */
uint32_t qm_launch_shared(int wtype, uint32_t n_cols, uint32_t n_splits, uint32_t n_streams, uint32_t tiles,
                          uint32_t slices);
#endif
