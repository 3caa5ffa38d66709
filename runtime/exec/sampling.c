/* sampling.c: checks a user's sampling parameters and turns them into the words that the kernels read. */
#include "sampling.h"
#include <math.h>

static int within(const char *name, double v, double lo, double hi, qm_err *e) {
    if (v >= lo && v <= hi) return 0; /* not so for NaN */
    return qm_fail(e, QM_ERR_ARG, "%s is %g, not in the range %g to %g", name, v, lo, hi);
}

static int at_least(const char *name, int32_t v, int32_t lo, qm_err *e) {
    return v >= lo ? 0 : qm_fail(e, QM_ERR_ARG, "%s is %d, not in the range %d and up", name, v, lo);
}

int qm_sampling_params(qm_sample_params *out, const qm_sampling *p, qm_err *e) {
    int rc;
    if ((rc = within("temperature", p->temperature, 0, 1000, e)) || (rc = at_least("top_k", p->top_k, 0, e)) ||
        (rc = within("top_p", p->top_p, 0, 1, e)) || (rc = within("min_p", p->min_p, 0, 1, e)) ||
        (rc = within("repeat_penalty", p->repeat_penalty, 0.01f, 100, e)) ||
        (rc = at_least("repeat_last_n", p->repeat_last_n, -1, e)))
        return rc;
    *out = (qm_sample_params){.mode = p->temperature > 0 && p->top_k != 1,
                              .top_k = (uint32_t)p->top_k,
                              .seed = p->seed,
                              .top_p = p->top_p,
                              .min_mass = (uint64_t)ceil(p->min_p * (double)QM_SAMPLE_ONE),
                              .temperature = p->temperature,
                              .penalty = p->repeat_penalty,
                              .last_n = (uint32_t)p->repeat_last_n}; /* -1 becomes all */
    return 0;
}
