/* oracle.h: sampling said a second time, in double and by sorting: softmax, cumulate, cut. What the integer
 * reference and the kernels keep is held against it. */
#ifndef ORACLE_H
#define ORACLE_H
#include "../../runtime/base/rng.h"
#include "../../runtime/engine/sampling_words.h"

/* The usual seven parameters; the others off, the chain the default one. */
#define ORA_HOW(temp, k, p, min, penalty, last, seed_)                                                  \
    {                                                                                                   \
        .temperature = (temp), .top_k = (k), .top_p = (p), .min_p = (min), .repeat_penalty = (penalty), \
        .repeat_last_n = (last), .seed = (seed_),                                                       \
    }
/* Chains of every kind: each of the four that can be moved is before and behind each other, and some are missing. */
enum { ORA_N_CHAINS = 30 };
void ora_chain(unsigned char out[QM_N_SAMPLERS], int number); /* 0: the default */
typedef struct {
    uint32_t n_kept;
    int near;            /* a cut is within 1e-6 of the other decision */
    unsigned char *kept; /* [n] by id */
    double *p;           /* [n] by id: probability of the draw, 0 where not kept */
} ora_kept;
ora_kept ora_keep(const float *logits, uint32_t n, const qm_sampling *s, const uint32_t *tokens, uint32_t pos);
void ora_free(ora_kept *k);
/* Draws presence and frequency penalties, up to `most` biases over n ids (some twice, some -inf) and a chain into s. */
void ora_more(qm_sampling *s, qm_logit_bias *bias, uint32_t most, uint32_t n, qm_rng *r);
/* Ids on which the oracle and "items from `last` on, of a mass >= min_mass" differ; keys [n] by id. */
uint32_t ora_differ(const ora_kept *k, const uint32_t *keys, uint32_t n, uint64_t last, const qm_sample_params *p);

/* Logits to stumble over. seed: of the random ones. */
enum {
    ORA_NORMAL,
    ORA_PEAKED,
    ORA_FLAT,
    ORA_EQUAL,
    ORA_ONE_HOT,
    ORA_NEG_INF,
    ORA_ALL_NEG_INF,
    ORA_TIES,
    ORA_HUGE,
    ORA_TINY,
    ORA_N_KINDS
};
extern const char *const ora_kind_name[ORA_N_KINDS];
void ora_logits(float *x, uint32_t n, int kind, uint64_t seed);
/* Upper tail of chi-squared: the probability of a value >= x with `dof` degrees of freedom (Wilson-Hilferty). */
double ora_chi2_tail(double x, double dof);
#endif
