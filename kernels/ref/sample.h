/* sample.h: the parts of sampling, each a function of its own: what contracts/abi.h ("Sampling") says in C.
 * Everything here is exact: the device computes the same bits. */
#ifndef QM_SAMPLE_H
#define QM_SAMPLE_H
#include "args.h"

/* The parameters as they lie in a sequence's state, from QM_STATE_MODE on. */
typedef struct {
    uint32_t mode;  /* 0 greedy, 1 a draw */
    uint32_t edits; /* QM_EDIT_* */
    uint64_t seed;
    double top_p;
    uint64_t min_mass, cut_min_mass;
    uint32_t top_k, k_late;
    float temperature, cut_temperature, min_temperature;
    float penalty, presence, frequency;
    uint32_t last_n, n_bias;
    uint32_t seq;
    uint32_t logprobs; /* 1: wanted */
} qm_sample_params;
#define QM_SAMPLE_FIELD(field, off) \
    static_assert(offsetof(qm_sample_params, field) + QM_STATE_MODE == QM_STATE_##off, "abi")
QM_SAMPLE_FIELD(mode, MODE);
QM_SAMPLE_FIELD(edits, EDITS);
QM_SAMPLE_FIELD(seed, SEED);
QM_SAMPLE_FIELD(top_p, TOP_P);
QM_SAMPLE_FIELD(min_mass, MIN_MASS);
QM_SAMPLE_FIELD(cut_min_mass, CUT_MIN_MASS);
QM_SAMPLE_FIELD(top_k, TOP_K);
QM_SAMPLE_FIELD(k_late, K_LATE);
QM_SAMPLE_FIELD(temperature, TEMPERATURE);
QM_SAMPLE_FIELD(cut_temperature, CUT_TEMPERATURE);
QM_SAMPLE_FIELD(min_temperature, MIN_TEMPERATURE);
QM_SAMPLE_FIELD(penalty, PENALTY);
QM_SAMPLE_FIELD(presence, PRESENCE);
QM_SAMPLE_FIELD(frequency, FREQUENCY);
QM_SAMPLE_FIELD(last_n, LAST_N);
QM_SAMPLE_FIELD(n_bias, N_BIAS);
QM_SAMPLE_FIELD(seq, SEQ);
QM_SAMPLE_FIELD(logprobs, LOGPROBS);
static_assert(sizeof(qm_sample_params) + QM_STATE_MODE == QM_STATE_SIZE, "abi");

/* At QM_STATE_BIAS, n_bias of them. */
typedef struct {
    uint32_t id;
    float bias;
} qm_sample_bias;

/* Random bits: a block of Philox4x32-10, and the 64 bits of a position. */
void qm_philox4x32(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]);
uint64_t qm_sample_bits(uint64_t seed, uint32_t position, uint32_t seq);

/* u32 with the order of floats: a NaN (1) below -inf, -0 = 0. The float behind a key (NaN for 1). */
uint32_t qm_order_key(float x);
float qm_order_value(uint32_t key);

/* e^x for x <= 0, within 1 ulp; 0 below -31, where no mass is left, and for NaN. */
float qm_sample_exp(float x);
uint64_t qm_sample_mass(uint32_t key, uint32_t first_key, float temperature);

/* A token in its order: falling is first to last. */
static inline uint64_t qm_sample_item(uint32_t key, uint32_t id) { return (uint64_t)key << 32 | (uint32_t)~id; }

/* keys[n]: logits after biases and penalties over tokens[.. pos]. bias [n_bias]. */
void qm_sample_keys(uint32_t *keys, const float *logits, uint32_t n, const qm_sample_params *p,
                    const qm_sample_bias *bias, const uint32_t *tokens, uint32_t pos);
/* Those that the mask [(n + 31) / 32] does not allow become a NaN's. */
void qm_sample_mask(uint32_t *keys, uint32_t n, const uint32_t *mask);
/* items[n] = the tokens in order. */
void qm_sample_order(uint64_t *items, const uint32_t *keys, uint32_t n);
/* What is kept: the first n tokens, and of them those whose mass for min_p is >= min_mass; total: of their masses. */
typedef struct {
    uint32_t n;
    uint64_t total;
} qm_sample_kept;
qm_sample_kept qm_sample_keep(const uint64_t *items, uint32_t n, const qm_sample_params *p);
/* The id that 64 random bits choose. */
uint32_t qm_sample_pick(const uint64_t *items, qm_sample_kept kept, const qm_sample_params *p, uint64_t bits);

/* r's sum, first, chosen and top: of the model's logits [n] and the token that was chosen. */
void qm_sample_tell(qm_result *r, const float *logits, uint32_t n, uint32_t token);
#endif
