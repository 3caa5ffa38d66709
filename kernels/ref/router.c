/* router: of each row softmax over all experts, the top k, their weights divided by their sum.
 * Order: by logit (the f32 sum of the partials in order, so that device and reference choose alike),
 * ties to the lowest id, a NaN below everything; a NaN anywhere makes the weights NaN, never an id
 * out of range. */
#include "ref.h"
#include <math.h>

enum { MAX_EXPERTS = 512, MAX_USED = 32 };

static int before(float a, float b) /* a ranks strictly before b */
{
    if (isnan(a)) return 0;
    return isnan(b) || a > b;
}

static void choose(const qm_router_args *a, uint32_t row) {
    const float *p = (const float *)(uintptr_t)a->logits + (size_t)row * a->n_expert;
    uint32_t *ids = (uint32_t *)(uintptr_t)a->ids + (size_t)row * a->n_used;
    float *weights = (float *)(uintptr_t)a->weights + (size_t)row * a->n_used, x[MAX_EXPERTS];
    double m = -INFINITY, sum = 0, top = 0, w[MAX_USED];
    unsigned char taken[MAX_EXPERTS] = {0};
    for (uint32_t e = 0; e < a->n_expert; e++) {
        x[e] = p[e];
        for (uint32_t s = 1; s < a->n_partials; s++) x[e] += p[(size_t)s * a->rows * a->n_expert + e];
        m = fmax(m, x[e]);
    }
    for (uint32_t e = 0; e < a->n_expert; e++) sum += exp(x[e] - m);
    for (uint32_t i = 0; i < a->n_used; i++) {
        uint32_t best = MAX_EXPERTS;
        for (uint32_t e = 0; e < a->n_expert; e++)
            if (!taken[e] && (best == MAX_EXPERTS || before(x[e], x[best]))) best = e;
        taken[best] = 1;
        ids[i] = best;
        w[i] = exp(x[best] - m) / sum;
        top += w[i];
    }
    if (top < 6.103515625e-5) top = 6.103515625e-5; /* llama.cpp's clamp, the least normal f16 */
    for (uint32_t i = 0; i < a->n_used; i++) weights[i] = (float)(w[i] / top);
}

void qm_ref_router(const qm_router_args *a, const qm_ref_env *env) {
    if (a->n_expert > MAX_EXPERTS || a->n_used > MAX_USED || a->n_used > a->n_expert) return;
    for (uint32_t row = 0; row < qm_ref_count(env, 0); row++) choose(a, row);
}
