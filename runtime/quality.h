/* quality.h: the part of qmoe.h that tells how well a model predicts a text, and how far two computations of the
 * same model are apart. Included by it, never by itself. */
#ifndef QM_QUALITY_H
#define QM_QUALITY_H
#ifndef QMOE_H
#error "include qmoe.h"
#endif

/* A file of log-probabilities (docs/logprobs.md): token sequences and, for their scored positions, the likeliest
 * tokens or all of them, as some program computed them. */
typedef struct {
    char note[512];           /* who computed them, from what */
    uint32_t n_vocab, k;      /* entries for each position; k = n_vocab: all */
    uint32_t n_seqs, longest; /* sequences; tokens of the longest */
    uint64_t n_scored;
} qm_logprobs_info;
int qm_logprobs_get_info(const char *path, qm_logprobs_info *i, qm_err *e);

typedef struct {
    uint32_t n_ctx;      /* tokens of a chunk; 0 = 512 */
    uint32_t max_chunks; /* 0 = as many as the text has */
    const char *base;    /* NULL, or a file of log-probabilities to compare with. Its sequences are run, and no text */
    const char *out;     /* NULL, or a file of log-probabilities to write */
    const char *note;    /* for out */
    uint32_t k;          /* for out: entries for each position; 0 = all */
    /* After each chunk or sequence, with the perplexity so far. A non-zero return cancels. May be NULL. */
    int (*on_chunk)(void *user, uint32_t done, uint32_t n, double ppl);
    /* Before each position: tokens done, of all; the chunk that they are in, from 1, of how many; the perplexity so far, 0 where
     * nothing is scored yet. A non-zero return cancels. May be NULL. */
    int (*on_position)(void *user, uint64_t done, uint64_t of, uint32_t chunk, uint32_t n, double ppl);
    void *user;
} qm_perplexity_opts;

/* Where base has k < n_vocab entries, KL is that of the distribution over its k tokens and "any other": at most the
 * true KL, which is larger by no more than what lies within "any other" (rest_mass says how probable that is). */
typedef struct {
    uint64_t n;       /* positions */
    double mean, err; /* KL(base || here), in nats; standard error of the mean */
    double max, min, p999, p99, p95, p90, median;
    uint32_t max_seq, max_pos; /* where the largest is */
    double rest_mass;          /* mean base probability of the tokens that base does not name; 0 if it names all */
    uint64_t n_same;           /* positions with the same likeliest token */
    uint64_t n_near;           /* of the others, how many where base's likeliest leads by less than 0.1 nats */
    uint64_t n_next;           /* positions where base knows the probability of the text's next token: */
    double base_ppl;           /*   perplexity by base, there */
    double mean_dp, rms_dp;    /*   its probability here minus that by base: mean, root mean square */
} qm_divergence;

typedef struct {
    uint32_t n_seqs;             /* chunks */
    uint64_t n_tokens, n_scored; /* tokens computed; tokens predicted */
    double nll, ppl, err;        /* mean -log p of the next token, its exponential, and the standard error of that */
    double seconds;
    qm_divergence kl; /* with base */
} qm_perplexity_result;

/* Perplexity as llama-perplexity takes it: the text in chunks of n_ctx tokens, each computed from an empty cache,
 * what does not fill a chunk left out; in each, the tokens of the second half are scored, given all before them.
 * The first token of a chunk is replaced by the BOS token if the model wants one. tokens: the text's, NULL with base. */
int qm_perplexity(qm_engine *g, const uint32_t *tokens, size_t n, const qm_perplexity_opts *o, qm_perplexity_result *r,
                  qm_err *e);
#endif
