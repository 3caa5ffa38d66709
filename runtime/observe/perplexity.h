/* perplexity.h: token sequences through an engine, position by position: what perplexity, KL and the parity gates
 * of the tests have in common. */
#ifndef QM_PERPLEXITY_H
#define QM_PERPLEXITY_H
#include "../engine/inside.h"
#include "logprobs.h"

/* One scored position: sequence seq, tokens up to and with position pos, what may follow. */
typedef int (*qm_position_fn)(void *user, uint32_t seq, uint32_t pos, const float *logits, qm_err *e);
/* Computes one sequence from an empty cache, as many positions at once as the engine has room for (n_ubatch; of scored ones
 * n_outs), and hands its scored positions to fn, in order. watch: its on_prefill is called before each step and may cancel;
 * or NULL. */
int qm_score_sequence(qm_session *s, uint32_t seq, const qm_lp_seq *q, qm_position_fn fn, void *user,
                      const qm_watch *watch, qm_err *e);

/* How far logits are from a record of the base's. */
typedef struct {
    double kl;              /* KL(base || logits) over the base's tokens and "any other" (qmoe_tools.h) */
    double lead;            /* of the base's likeliest token over its second, in nats */
    uint32_t top, base_top; /* the likeliest tokens; the lower id where two are equal */
} qm_apart;
/* in: [n_vocab] zeroes, and zeroes again afterwards */
qm_apart qm_compare(const float *logits, uint32_t n_vocab, const qm_lp_record *base, unsigned char *in);
#endif
