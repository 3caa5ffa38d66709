#include "oracle.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "../../runtime/base/rng.h"

typedef struct {
    double l;
    uint32_t id;
} token;

static int before(const void *a, const void *b) {
    const token *x = a, *y = b;
    if (x->l != y->l) return x->l > y->l ? -1 : 1;
    return x->id < y->id ? -1 : 1;
}

ora_kept ora_keep(const float *logits, uint32_t n, const qm_sampling *s, const uint32_t *tokens, uint32_t pos) {
    ora_kept k = {0, 0, calloc(n, 1), calloc(n, sizeof *k.p)};
    token *t = malloc(n * sizeof *t);
    double *p = malloc(n * sizeof *p), total = 0, sum = 0;
    for (uint32_t i = 0; i < n; i++) {
        float l = logits[i];
        int seen = 0;
        if (s->repeat_penalty != 1 && tokens)
            for (uint32_t j = 0; j <= pos; j++)
                if (tokens[j] == i && (s->repeat_last_n < 0 || pos - j < (uint32_t)s->repeat_last_n)) seen = 1;
        if (seen && l > 0) l /= s->repeat_penalty;
        else if (seen) l *= s->repeat_penalty;
        t[i] = (token){l, i};
    }
    qsort(t, n, sizeof *t, before);
    uint32_t m = s->top_k && (uint32_t)s->top_k < n ? (uint32_t)s->top_k : n;
    if (s->temperature == 0) m = 1;
    for (uint32_t i = 0; i < m; i++) {
        p[i] = t[i].l == t[0].l ? 1 : exp((t[i].l - t[0].l) / s->temperature);
        total += p[i];
    }
    if (s->top_p < 1) {
        uint32_t i = 0;
        while (i < m) {
            sum += p[i++];
            if (fabs(sum / total - s->top_p) < 1e-6 && i < m) k.near = 1;
            if (sum >= s->top_p * total) break;
        }
        m = i;
    }
    double all = 0;
    for (uint32_t i = 0; i < m; i++) {
        if (s->min_p > 0 && fabs(p[i] - s->min_p) < 1e-6 * s->min_p && p[i] < 1) k.near = 1;
        if (p[i] < s->min_p) continue;
        k.kept[t[i].id] = 1;
        k.n_kept++;
        k.p[t[i].id] = p[i];
        all += p[i];
    }
    for (uint32_t i = 0; i < n; i++) k.p[i] /= all;
    free(t);
    free(p);
    return k;
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
        int kept = qm_sample_item(keys[i], i) >= last && qm_sample_mass(keys[i], first, p->temperature) >= p->min_mass;
        differ += kept != k->kept[i];
    }
    return differ;
}

const char *const ora_kind_name[ORA_N_KINDS] = {"normal", "peaked", "flat", "equal", "one_hot", "neg_inf", "all_neg_inf",
                                                "ties", "huge", "tiny"};

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
