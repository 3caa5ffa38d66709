/* sampling_words.h: from what a user says to what the device reads. */
#ifndef QM_SAMPLING_WORDS_H
#define QM_SAMPLING_WORDS_H
#include "../../kernels/ref/sample.h"
#include "../qmoe.h"

/* As it lies in a sequence's state from QM_STATE_MODE on. */
typedef struct {
    qm_sample_params p;
    qm_sample_bias bias[QM_SAMPLE_BIASES]; /* p.n_bias of them */
} qm_sample_words;
static_assert(offsetof(qm_sample_words, bias) + QM_STATE_MODE == QM_STATE_BIAS, "abi");
static inline size_t qm_sample_words_bytes(const qm_sample_words *w) {
    return offsetof(qm_sample_words, bias) + w->p.n_bias * sizeof *w->bias;
}

/* QM_ERR_ARG with the range where a value is outside it. */
int qm_sampling_words(qm_sample_words *out, const qm_sampling *s, uint32_t n_vocab, qm_err *e);
/* The same without the biases. */
int qm_sampling_params(qm_sample_params *out, const qm_sampling *s, qm_err *e);

/* p for a choice among the tokens that a mask allows (QM_EDIT_MASK; abi.h, "Sampling"), NULL: among all. n_allowed: how many of
 * n_vocab these are, whatever the mask has behind them; or, where that is no matter to p, fewer, but not 0. */
qm_sample_params qm_sampling_masked(const qm_sample_params *p, const uint32_t *mask, uint32_t n_vocab,
                                    uint32_t *n_allowed);
/* Of a row that was asked for them, of n_vocab tokens; with the n_top first tokens, or all that there are. */
void qm_logprobs_of(qm_logprobs *out, const qm_result *r, uint32_t n_top, uint32_t n_vocab);
#endif
