/* synth.h: what the synth*.c files share. The public call is qm_synth in runtime/qmoe.h. */
#ifndef QM_SYNTH_H
#define QM_SYNTH_H
#include "gguf_write.h"
#include "../base/rng.h"

/* A byte-level BPE of exactly n tokens: 256 bytes, merges, the 26 specials of Qwen3, unused padding. */
typedef struct {
    uint32_t n, n_merges, first_special; /* ids: 256 + merge index; then specials; then padding */
    uint32_t endoftext, im_end;
    uint32_t *left, *right; /* [n_merges] ids of the parts, both below the merge's own id */
    char *text;             /* all token texts, one after the other, as the file spells them */
    uint32_t *at;           /* [n + 1] where each begins in text */
} qm_synth_vocab;

enum { QM_SYNTH_MIN_VOCAB = 512, QM_SYNTH_SPECIALS = 26 };
int qm_synth_vocab_make(qm_synth_vocab *v, uint32_t n, qm_err *e);
void qm_synth_vocab_free(qm_synth_vocab *v);
/* tokenizer.* keys, chat template included. */
int qm_synth_vocab_write(const qm_synth_vocab *v, qm_gguf_writer *w);

/* Random weights of one tensor: near-uniform codes for the quantised types, near-normal values for the
 * others, zero mean, standard deviation sigma; mean 1 if norm. A stream of its own per tensor. */
typedef struct {
    qm_rng rng;
    uint32_t type;
    float sigma;
    int norm;
    int bf16;              /* F32: the weights are BF16 values */
    uint8_t heads[64][18]; /* quantised types: the scales a block can start with, drawn once */
} qm_synth_stream;
void qm_synth_stream_init(qm_synth_stream *s, uint64_t seed, const char *name, uint32_t type, float sigma, int norm);
/* n blocks (F32, F16, BF16: weights) in the file's format. */
void qm_synth_stream_next(qm_synth_stream *s, uint8_t *out, size_t n);
#endif
