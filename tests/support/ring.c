/* ring.c: see ring.h. */
#include "ring.h"
#include "../../contracts/abi.h"
#include "../../kernels/ref/launch.h"

static uint32_t least(uint32_t a, uint32_t b) { return a < b ? a : b; }

void ring_expect(qm_sim_counters *c, uint64_t w, int wtype, uint32_t n_rows, uint32_t n_cols, uint32_t tiles,
                 uint32_t warps, uint32_t parts, uint32_t ring) {
    const qm_sums s = qm_sums_of(wtype, n_cols);
    const uint32_t slices = warps / tiles, chunk = qm_chunk_steps(wtype), bytes = qm_step_bytes(wtype);
    for (uint32_t part = 0; part < parts; part++) {
        const uint32_t first = part * s.part, mine = part + 1 < parts ? s.part : s.n_steps - first;
        const uint32_t segs = mine / s.segment > 1 ? mine / s.segment : 1;
        const uint32_t whole = parts == 1 ? segs : s.part / s.segment, per = (whole + slices - 1) / slices;
        for (uint32_t tile = 0; tile * QM_TILE_ROWS < n_rows; tile++)
            for (uint32_t slice = 0; slice < slices; slice++) {
                if (slice * per >= segs) continue;
                const uint32_t from = slice * per * s.segment;
                const uint32_t run = (slice + 1) * per < segs ? per * s.segment : mine - from;
                const uint64_t at = (uint64_t)tile * s.n_steps + first + from + chunk;
                qm_sim_expect_async(c, w + at * bytes, (uint64_t)bytes * least(run > chunk ? run - chunk : 0, ring));
            }
    }
}
