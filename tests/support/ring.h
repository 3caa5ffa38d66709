/* ring.h: which weights the persistent kernel copies ahead of a product, by its geometry alone (kernels/ptx/stream.inc). */
#ifndef QM_TEST_RING_H
#define QM_TEST_RING_H
#include "../../runtime/sim/sim.h"

/* Adds to c what the warps of a product of one row copy of the packed matrix at w, n_rows x n_cols: of each warp's run of steps, behind
 * its first chunk, as many as `ring`. tiles: of a CTA, of so many warps; parts: of K, all or 1. */
void ring_expect(qm_sim_counters *c, uint64_t w, int wtype, uint32_t n_rows, uint32_t n_cols, uint32_t tiles,
                 uint32_t warps, uint32_t parts, uint32_t ring);
#endif
