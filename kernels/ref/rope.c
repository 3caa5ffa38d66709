/* rope: the host-side table of rotary position embeddings (Su et al., "RoFormer", 2021).
 * Two levels (contracts/abi.h): position p = 256 j + f has the angle of coarse row j plus fine row f. */
#include "ref.h"
#include <math.h>

void qm_rope_table(float *table, const double *inv_freq, int head_dim, uint32_t n_ctx) {
    uint32_t half = (uint32_t)head_dim / 2, coarse = (n_ctx + QM_ROPE_FINE - 1) / QM_ROPE_FINE;
    for (uint32_t row = 0; row < QM_ROPE_FINE + coarse; row++) {
        double pos = row < QM_ROPE_FINE ? row : (double)(row - QM_ROPE_FINE) * QM_ROPE_FINE;
        for (uint32_t i = 0; i < half; i++) {
            table[2 * ((size_t)row * half + i)] = (float)cos(pos * inv_freq[i]);
            table[2 * ((size_t)row * half + i) + 1] = (float)sin(pos * inv_freq[i]);
        }
    }
}
