/* argmax: tokens[pos + 1] = the id of the largest logit; ties to the lowest id, a NaN below everything.
 * Any NaN or inf raises QM_FLAG_NONFINITE. */
#include "ref.h"
#include <math.h>

void qm_ref_argmax(const qm_argmax_args *a, const qm_ref_env *env)
{
    const float *x = (const float *)(uintptr_t)a->logits;
    char *state = (char *)(uintptr_t)a->state;
    uint32_t pos = *(uint32_t *)(state + QM_STATE_POS), best = 0;
    (void)env;
    for (uint32_t i = 0; i < a->n; i++) {
        if (!isfinite(x[i])) *(uint32_t *)(state + QM_STATE_FLAGS) |= QM_FLAG_NONFINITE;
        if (x[i] > x[best] || (isnan(x[best]) && !isnan(x[i]))) best = i;
    }
    ((uint32_t *)(uintptr_t)a->tokens)[pos + 1] = best;
}
