/* shape.h: the shapes of Qwen3-MoE that this program runs: one table, asked by whoever reads a model (runtime/model) and
 * by whoever writes one (synth.c), so that nothing is written that would not be read. */
#ifndef QM_SHAPE_H
#define QM_SHAPE_H
#include <stddef.h>
#include <stdint.h>

typedef enum {
    QM_DIM_CTX,
    QM_DIM_EMBD,
    QM_DIM_LAYERS,
    QM_DIM_HEADS,
    QM_DIM_KV_HEADS,
    QM_DIM_HEAD_DIM,
    QM_DIM_EXPERTS,
    QM_DIM_USED,
    QM_DIM_FF,
    QM_DIM_VOCAB,
    QM_DIMS
} qm_dim;

typedef struct {
    const char *key;  /* the metadata key after the architecture's prefix; NULL: the rows of token_embd.weight */
    const char *flag; /* synth's option, without dashes */
    uint32_t lo, hi, multiple;
} qm_dim_range;
extern const qm_dim_range qm_dim_ranges[QM_DIMS];

/* The first dimension of v[QM_DIMS] that is out of its range or at odds with another, and why[n] in words
 * ("must be 64 or 128"); -1 where all is well. */
int qm_shape_check(const uint32_t *v, char *why, size_t n);
#endif
