#include "oracle.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    double l;
    uint32_t id;
} token;

static int before(const void *a, const void *b) {
    const token *x = a, *y = b;
    if (x->l != y->l) return x->l > y->l ? -1 : 1;
    return x->id < y->id ? -1 : 1;
}

/* Bias and penalties, as llama.cpp writes them. */
static float edited(float l, uint32_t id, const qm_sampling *s, int penalises, const uint32_t *tokens, uint32_t pos) {
    uint32_t count = 0;
    for (size_t i = 0; i < s->n_bias; i++)
        if (s->bias[i].id == id) l += s->bias[i].bias;
    if (penalises && tokens)
        for (uint32_t j = 0; j <= pos; j++)
            count += tokens[j] == id && (s->repeat_last_n < 0 || pos - j < (uint32_t)s->repeat_last_n);
    if (!count) return l;
    if (l > 0) l /= s->repeat_penalty;
    else l *= s->repeat_penalty;
    return l - ((float)count * s->frequency_penalty + (float)(count > 0) * s->presence_penalty);
}

/* Likelihood against the first. */
static double likely(const token *t, uint32_t i) { return t[i].l == t[0].l ? 1 : exp(t[i].l - t[0].l); }

static uint32_t cut_top_p(const token *t, uint32_t m, double top_p, int *near) {
    double total = 0, sum = 0;
    uint32_t i = 0;
    if (top_p >= 1) return m;
    for (uint32_t k = 0; k < m; k++) total += likely(t, k);
    while (i < m) {
        sum += likely(t, i++);
        if (fabs(sum / total - top_p) < 1e-6 && i < m) *near = 1;
        if (sum >= top_p * total) break;
    }
    return i;
}

static uint32_t cut_min_p(const token *t, uint32_t m, double min_p, int *near) {
    uint32_t left = 0;
    for (uint32_t i = 0; i < m; i++) {
        double p = likely(t, i);
        if (min_p > 0 && fabs(p - min_p) < 1e-6 * min_p && p < 1) *near = 1;
        left += p >= min_p;
    }
    return left; /* likelihoods fall: those are the first */
}

/* One link after the other over the list, each as if there were no other. */
ora_kept ora_keep(const float *logits, uint32_t n, const qm_sampling *s, const uint32_t *tokens, uint32_t pos) {
    static const unsigned char usual[QM_N_SAMPLERS] = {QM_SAMPLER_PENALTIES, QM_SAMPLER_TEMPERATURE, QM_SAMPLER_TOP_K,
                                                       QM_SAMPLER_TOP_P, QM_SAMPLER_MIN_P};
    const unsigned char *chain = s->samplers[0] ? s->samplers : usual;
    ora_kept k = {0, 0, calloc(n, 1), calloc(n, sizeof *k.p)};
    token *t = malloc(n * sizeof *t);
    uint32_t m = n;
    double all = 0;
    for (uint32_t i = 0; i < n; i++)
        t[i] = (token){edited(logits[i], i, s, chain[0] == QM_SAMPLER_PENALTIES, tokens, pos), i};
    qsort(t, n, sizeof *t, before);
    for (const unsigned char *link = chain; *link; link++) {
        if (*link == QM_SAMPLER_TEMPERATURE && s->temperature <= 0) m = 1;
        else if (*link == QM_SAMPLER_TEMPERATURE)
            for (uint32_t i = 0; i < m; i++) t[i].l /= s->temperature;
        else if (*link == QM_SAMPLER_TOP_K && s->top_k > 0 && (uint32_t)s->top_k < m) m = (uint32_t)s->top_k;
        else if (*link == QM_SAMPLER_TOP_P) m = cut_top_p(t, m, s->top_p, &k.near);
        else if (*link == QM_SAMPLER_MIN_P) m = cut_min_p(t, m, s->min_p, &k.near);
    }
    k.n_kept = m;
    for (uint32_t i = 0; i < m; i++) all += likely(t, i);
    for (uint32_t i = 0; i < m; i++) {
        k.kept[t[i].id] = 1;
        k.p[t[i].id] = likely(t, i) / all;
    }
    free(t);
    return k;
}

/* 1 .. 24: the orders of four behind the penalties; the rest: without one of them, or with one alone. */
void ora_chain(unsigned char out[QM_N_SAMPLERS], int number) {
    static const char *const few[] = {"temperature;top_k", "penalties;top_k;min_p", "top_p;temperature", "min_p",
                                      "penalties"};
    qm_err e;
    memset(out, 0, QM_N_SAMPLERS);
    if (number > 24) {
        if (qm_samplers_parse(out, few[number - 25], 0, &e)) abort();
    } else if (number) {
        unsigned char left[4] = {QM_SAMPLER_TEMPERATURE, QM_SAMPLER_TOP_K, QM_SAMPLER_TOP_P, QM_SAMPLER_MIN_P};
        out[0] = QM_SAMPLER_PENALTIES;
        for (int i = 0, code = number - 1; i < 4; i++) {
            int pick = code % (4 - i);
            code /= 4 - i;
            out[1 + i] = left[pick];
            memmove(left + pick, left + pick + 1, (size_t)(3 - pick));
        }
    }
}

void ora_more(qm_sampling *s, qm_logit_bias *bias, uint32_t most, uint32_t n, qm_rng *r) {
    ora_chain(s->samplers, (int)qm_rng_below(r, ORA_N_CHAINS));
    if (qm_rng_below(r, 2)) s->presence_penalty = 0.25f * (float)qm_rng_below(r, 9) - 1;
    if (qm_rng_below(r, 2)) s->frequency_penalty = 0.3f * (float)qm_rng_below(r, 7) - 0.6f;
    s->bias = bias;
    s->n_bias = qm_rng_below(r, 2) ? qm_rng_below(r, most + 1) : 0;
    for (size_t i = 0; i < s->n_bias; i++)
        bias[i] = (qm_logit_bias){qm_rng_below(r, n), qm_rng_below(r, 12) ? (float)qm_rng_below(r, 17) - 8 : -INFINITY};
}

void ora_free(ora_kept *k) {
    free(k->kept);
    free(k->p);
}

uint32_t ora_differ(const ora_kept *k, const uint32_t *keys, uint32_t n, uint64_t last, const qm_sample_params *p) {
    uint32_t differ = 0, first = 0;
    for (uint32_t i = 0; i < n; i++)
        if (keys[i] > first) first = keys[i];
    for (uint32_t i = 0; i < n; i++) {
        int kept =
            qm_sample_item(keys[i], i) >= last && qm_sample_mass(keys[i], first, p->min_temperature) >= p->min_mass;
        differ += kept != k->kept[i];
    }
    return differ;
}

const char *const ora_kind_name[ORA_N_KINDS] = {"normal",  "peaked",      "flat", "equal", "one_hot",
                                                "neg_inf", "all_neg_inf", "ties", "huge",  "tiny"};

void ora_logits(float *x, uint32_t n, int kind, uint64_t seed) {
    qm_rng r = {seed};
    for (uint32_t i = 0; i < n; i++) {
        float v = qm_rng_normal(&r);
        switch (kind) {
        case ORA_NORMAL: x[i] = 3 * v; break;
        case ORA_PEAKED: x[i] = 2 * v + (i % 97 == 5 ? 14 : 0); break;
        case ORA_FLAT: x[i] = 1 + 1e-4f * v; break;
        case ORA_EQUAL: x[i] = -1.5f; break;
        case ORA_ONE_HOT: x[i] = i == n / 3 ? 60 : -2; break;
        case ORA_NEG_INF: x[i] = qm_rng_below(&r, 3) ? -INFINITY : v; break;
        case ORA_ALL_NEG_INF: x[i] = -INFINITY; break;
        case ORA_TIES: x[i] = (float)qm_rng_below(&r, 7); break;
        case ORA_HUGE: x[i] = 1e38f * v; break;
        default: x[i] = 1e-38f * v; break;
        }
    }
}

double ora_chi2_tail(double x, double dof) {
    double z = (cbrt(x / dof) - (1 - 2 / (9 * dof))) / sqrt(2 / (9 * dof));
    return 0.5 * erfc(z / sqrt(2));
}
