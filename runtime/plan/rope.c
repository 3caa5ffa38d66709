/* rope.c: rotary positions: the frequencies that a model's settings ask for, and the table that the kernels read. */
#include <math.h>
#include "../../kernels/ref/ref.h"
#include "plan.h"

/* The (fractional) index of the pair that turns `turns` times over the original context. */
static double pair_of(const qm_hparams *hp, double turns) {
    const double two_pi = 6.283185307179586;
    return hp->head_dim * log(hp->rope_orig_ctx / (turns * two_pi)) / (2 * log(hp->rope_base));
}

/* YaRN (Peng et al. 2023): pairs that turn more than beta_fast times over the original context keep
 * their frequency, those under beta_slow are interpolated, a linear ramp lies between. */
void qm_model_inv_freq(const qm_hparams *hp, double *inv_freq, double *mscale) {
    double d = hp->head_dim, lo = 0, hi = 1;
    *mscale = hp->rope_attn;
    if (hp->rope_yarn) {
        lo = fmax(floor(pair_of(hp, hp->yarn_beta_fast)), 0);
        hi = fmin(ceil(pair_of(hp, hp->yarn_beta_slow)), d - 1);
        *mscale *= hp->yarn_mscale;
    }
    for (int i = 0; i < (int)hp->head_dim / 2; i++) {
        double f = pow(hp->rope_base, -2.0 * i / d);
        double keep = 0; /* share of the unscaled frequency */
        if (hp->rope_yarn) keep = 1 - fmin(1, fmax(0, (i - lo) / fmax(0.001, hi - lo)));
        inv_freq[i] = f / hp->rope_factor * (1 - keep) + f * keep;
    }
}

static uint64_t rope_rows(uint32_t n_ctx) { return QM_ROPE_ROWS((uint64_t)n_ctx); }

uint64_t qm_rope_bytes(const qm_hparams *hp, uint32_t n_ctx) { return rope_rows(n_ctx) * hp->head_dim * 4; }

void qm_rope_fill(float *table, const qm_hparams *hp, uint32_t n_ctx) {
    double inv_freq[128], mscale;
    qm_model_inv_freq(hp, inv_freq, &mscale);
    qm_rope_table(table, inv_freq, (int)hp->head_dim, n_ctx);
    /* every position is fine x coarse: scaling the coarse rows scales all of them once */
    if (mscale != 1)
        for (uint64_t i = (uint64_t)QM_ROPE_FINE * hp->head_dim; i < rope_rows(n_ctx) * hp->head_dim; i++)
            table[i] = (float)(table[i] * mscale);
}
