/* stats: mean, deviation, range and oddities of vectors, and copies of them. Two passes, all in double. */
#include "ref.h"
#include <math.h>
#include <string.h>

static float value(const qm_stats_job *j, uint32_t i) {
    const float *x = (const float *)(uintptr_t)j->x, *add = (const float *)(uintptr_t)j->add;
    double v = -0.0; /* the parts first, by rising index */
    for (uint32_t s = 0; s < j->n_parts; s++) v += x[(size_t)s * j->stride + i];
    return (float)(add ? add[i] + v : v);
}

static void look(const qm_stats_job *j, qm_stats_record *r) {
    float *copy = (float *)(uintptr_t)j->copy;
    double sum = 0, squares = 0, deviation = 0;
    uint32_t n = 0;
    *r = (qm_stats_record){.min = INFINITY, .max = -INFINITY, .count = j->n};
    for (uint32_t i = 0; i < j->n; i++) {
        float v = value(j, i);
        if (copy) copy[i] = v;
        if (isnan(v)) r->nans++;
        else if (isinf(v)) r->infs++;
        else {
            if (v == 0) r->zeros++;
            r->min = fminf(r->min, v);
            r->max = fmaxf(r->max, v);
            sum += v;
            squares += (double)v * v;
            n++;
        }
    }
    r->mean = n ? sum / n : NAN;
    for (uint32_t i = 0; i < j->n; i++) {
        float v = value(j, i);
        if (isfinite(v)) deviation += (v - r->mean) * (v - r->mean);
    }
    r->std_dev = n ? sqrt(deviation / n) : 0;
    r->l2 = sqrt(squares);
}

void qm_ref_stats(const qm_stats_args *a, const qm_ref_env *env) {
    const qm_stats_job *jobs = (const qm_stats_job *)(uintptr_t)a->jobs;
    qm_stats_record *out = (qm_stats_record *)(uintptr_t)a->out;
    for (uint32_t i = 0; i < env->grid[0]; i++) look(&jobs[i], &out[i]);
    if (a->words) memcpy((void *)(uintptr_t)a->words_to, (const void *)(uintptr_t)a->words, 4ull * a->n_words);
    if (a->words2)
        memcpy((char *)(uintptr_t)a->words_to + 4ull * a->n_words, (const void *)(uintptr_t)a->words2,
               4ull * a->n_words);
}
