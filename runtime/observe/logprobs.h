/* logprobs.h: files of log-probabilities (docs/logprobs.md), read and written record by record. */
#ifndef QM_LOGPROBS_H
#define QM_LOGPROBS_H
#include <stdint.h>
#include <stdio.h>
#include "../qmoe_tools.h"

/* One sequence. Positions [first, end) are scored: a record each, on the tokens that may follow the position. */
typedef struct {
    uint32_t n_tokens, first, end; /* first <= end <= n_tokens */
    uint32_t *tokens;              /* [n_tokens] */
} qm_lp_seq;

/* What may follow one position. */
typedef struct {
    uint32_t k;    /* entries: the k likeliest tokens, likeliest first; or all, by id */
    uint32_t *ids; /* [k] */
    double *logp;  /* [k] natural logarithms */
    double rest;   /* log-probability of all other tokens together; -INFINITY where there are none */
    double next;   /* of the token that does follow; NAN: there is none, or it is not known */
} qm_lp_record;
int qm_lp_record_alloc(qm_lp_record *r, uint32_t k, qm_err *e);
void qm_lp_record_free(qm_lp_record *r);
/* logits [n_vocab] to a record of k entries (k = n_vocab: all). next: the token that follows, UINT32_MAX: none.
 * Equal logits are ordered by id. tmp: [n_vocab] */
void qm_lp_from_logits(qm_lp_record *r, const float *logits, uint32_t n_vocab, uint32_t k, uint32_t next,
                       uint32_t *tmp);
/* log(sum(exp(logits))) */
double qm_log_sum_exp(const float *logits, uint32_t n);

typedef struct {
    FILE *f;                /* being read, and held (file/input.h) in slot `held`; else NULL */
    struct qm_outfile *out; /* being written; else NULL */
    int held;
    char *path;
    char *note;
    uint32_t n_vocab, k, n_seqs;
    qm_lp_seq *seqs;        /* [n_seqs] */
    uint64_t n_records, at; /* in all; written or read so far */
    uint32_t record_bytes;
    unsigned char *buf; /* [record_bytes] */
    double *lp;         /* [k] */
} qm_lp_file;

/* Checks the header and that the file is as long as it says. Records then follow in order. */
int qm_lp_open(qm_lp_file *f, const char *path, qm_err *e);
int qm_lp_read(qm_lp_file *f, qm_lp_record *r, qm_err *e);
/* Written as file/outfile.h says. seqs is copied. */
int qm_lp_create(qm_lp_file *f, const char *path, const char *note, uint32_t n_vocab, uint32_t k, const qm_lp_seq *seqs,
                 uint32_t n_seqs, qm_err *e);
int qm_lp_write(qm_lp_file *f, const qm_lp_record *r, qm_err *e);
int qm_lp_finish(qm_lp_file *f, qm_err *e); /* of create: all records must have been written */
void qm_lp_close(qm_lp_file *f);            /* an unfinished file never was */
#endif
