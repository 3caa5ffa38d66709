/* sampling_words.c: checks a user's sampling parameters and turns them into the words that the kernels read. */
#include "sampling_words.h"
#include <math.h>
#include <string.h>

static int within(const char *name, double v, double lo, double hi, qm_err *e) {
    if (v >= lo && v <= hi) return 0; /* not so for NaN */
    return qm_fail(e, QM_ERR_ARG, "%s is %g, not in the range %g to %g", name, v, lo, hi);
}

static int check_ranges(const qm_sampling *s, qm_err *e) {
    int rc;
    if ((rc = within("temperature", s->temperature, -1000, 1000, e)) || (rc = within("top_p", s->top_p, 0, 1, e)) ||
        (rc = within("min_p", s->min_p, 0, 1, e)) ||
        (rc = within("repeat_penalty", s->repeat_penalty, 0.01f, 100, e)) ||
        (rc = within("presence_penalty", s->presence_penalty, -100, 100, e)) ||
        (rc = within("frequency_penalty", s->frequency_penalty, -100, 100, e)))
        return rc;
    if (s->repeat_last_n >= -1) return 0;
    return qm_fail(e, QM_ERR_ARG, "repeat_last_n is %d, not in the range -1 and up", s->repeat_last_n);
}

static int penalises(const qm_sampling *s) {
    return s->repeat_last_n && (s->repeat_penalty != 1 || s->presence_penalty != 0 || s->frequency_penalty != 0);
}

/* place[sampler] = its place in the chain, from 1 on; 0: it is not there. */
static int read_chain(int place[QM_N_SAMPLERS], const qm_sampling *s, qm_err *e) {
    const unsigned char *chain = s->samplers[0] ? s->samplers : qm_samplers_default;
    memset(place, 0, QM_N_SAMPLERS * sizeof *place);
    for (int i = 0; i < QM_N_SAMPLERS && chain[i]; i++) {
        if (chain[i] >= QM_N_SAMPLERS) return qm_fail(e, QM_ERR_ARG, "samplers: there is no sampler %u", chain[i]);
        if (place[chain[i]]) return qm_fail(e, QM_ERR_ARG, "samplers: %s is there twice", qm_sampler_name(chain[i]));
        place[chain[i]] = i + 1;
    }
    if (place[QM_SAMPLER_PENALTIES] > 1 && penalises(s))
        return qm_fail(e, QM_ERR_ARG, "samplers: penalties that are on come first, not behind %s",
                       qm_sampler_name(chain[place[QM_SAMPLER_PENALTIES] - 2]));
    return 0;
}

int qm_sampling_params(qm_sample_params *out, const qm_sampling *s, qm_err *e) {
    int at[QM_N_SAMPLERS], rc;
    if ((rc = check_ranges(s, e)) || (rc = read_chain(at, s, e))) return rc;
    float t = at[QM_SAMPLER_TEMPERATURE] ? s->temperature : 1;
    uint32_t top_k = at[QM_SAMPLER_TOP_K] && s->top_k > 0 ? (uint32_t)s->top_k : 0;
    double top_p = at[QM_SAMPLER_TOP_P] ? s->top_p : 1;
    uint64_t min_mass = at[QM_SAMPLER_MIN_P] ? (uint64_t)ceil(s->min_p * (double)QM_SAMPLE_ONE) : 0;
    int p_at = at[QM_SAMPLER_TOP_P], m_at = at[QM_SAMPLER_MIN_P], t_at = at[QM_SAMPLER_TEMPERATURE];
    int draws = t > 0 && top_k != 1, cuts = top_p < 1, edits = at[QM_SAMPLER_PENALTIES] && penalises(s);
    if (!draws) t = 1; /* not read */
    *out = (qm_sample_params){
        .mode = (uint32_t)draws,
        .edits = edits ? QM_EDIT_LOGITS : 0,
        .seed = s->seed,
        .top_p = top_p,
        .min_mass = min_mass,
        .cut_min_mass = cuts && m_at > p_at ? 0 : min_mass,
        .top_k = top_k,
        .k_late = cuts && top_k && at[QM_SAMPLER_TOP_K] > p_at,
        .temperature = t,
        .cut_temperature = cuts && t_at > p_at ? 1 : t,
        .min_temperature = t_at > m_at ? 1 : t,
        .penalty = s->repeat_penalty,
        .presence = s->presence_penalty,
        .frequency = s->frequency_penalty,
        .last_n = !edits                                                        ? 0
                  : s->repeat_last_n < 0 || s->repeat_last_n > QM_SAMPLE_WINDOW ? QM_SAMPLE_WINDOW
                                                                                : (uint32_t)s->repeat_last_n,
    };
    return 0;
}

int qm_sampling_words(qm_sample_words *out, const qm_sampling *s, uint32_t n_vocab, qm_err *e) {
    int rc = qm_sampling_params(&out->p, s, e);
    if (rc) return rc;
    for (size_t i = 0; i < s->n_bias; i++) {
        const qm_logit_bias *b = &s->bias[i];
        uint32_t k = 0;
        if (b->id >= n_vocab)
            return qm_fail(e, QM_ERR_ARG, "logit bias: token %u is outside the vocabulary of %u", b->id, n_vocab);
        if (b->bias != -INFINITY && (rc = within("logit bias", b->bias, -1e6, 1e6, e))) return rc;
        while (k < out->p.n_bias && out->bias[k].id != b->id) k++;
        if (k == QM_SAMPLE_BIASES) return qm_fail(e, QM_ERR_ARG, "logit bias: more than %d tokens", QM_SAMPLE_BIASES);
        if (k == out->p.n_bias) out->bias[out->p.n_bias++] = (qm_sample_bias){b->id, 0};
        out->bias[k].bias += b->bias; /* a token that is named twice gets both, as in llama.cpp */
    }
    if (out->p.n_bias) out->p.edits = QM_EDIT_LOGITS;
    return 0;
}

int qm_sampling_check(const qm_sampling *p, qm_err *e) {
    qm_sample_words w;
    return qm_sampling_words(&w, p, UINT32_MAX, e);
}

/* Not past `enough`: most masks allow either few tokens, and are empty words, or many. */
static uint32_t count(const uint32_t *mask, uint32_t n_vocab, uint32_t enough) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < n_vocab / 32 && n <= enough; i++)
        if (mask[i]) n += (uint32_t)__builtin_popcount(mask[i]);
    if (n_vocab % 32) n += (uint32_t)__builtin_popcount(mask[n_vocab / 32] & ((1u << n_vocab % 32) - 1));
    return n;
}

qm_sample_params qm_sampling_masked(const qm_sample_params *p, const uint32_t *mask, uint32_t n_vocab,
                                    uint32_t *n_allowed) {
    qm_sample_params m = *p;
    *n_allowed = n_vocab;
    if (!mask) return m;
    *n_allowed = count(mask, n_vocab, p->top_k ? p->top_k : QM_SAMPLE_CAP);
    m.edits |= QM_EDIT_MASK;
    if (m.top_k > *n_allowed || (!m.top_k && *n_allowed <= QM_SAMPLE_CAP)) m.top_k = *n_allowed;
    return m;
}

void qm_logprobs_of(qm_logprobs *out, const qm_result *r, uint32_t n_top, uint32_t n_vocab) {
    const double first = r->first, of_all = log((double)r->sum / (double)QM_SAMPLE_ONE);
    out->logprob = (float)(r->chosen - first - of_all);
    out->n = n_top < n_vocab ? n_top : n_vocab;
    for (uint32_t i = 0; i < out->n; i++)
        out->top[i] = (qm_logprob){r->top[i].id, (float)(r->top[i].logit - first - of_all)};
}
