/* hparams.h: hyperparameters from a GGUF's metadata. */
#ifndef QM_HPARAMS_H
#define QM_HPARAMS_H
#include "arch.h"
#include "family.h"
#include "keys.h"
/* The file's family, and the dimensions that its keys say, d[QM_DIMS]: all but QM_DIM_VOCAB, which is 1. */
int qm_hparams_read(qm_hparams *hp, const qm_family **f, uint32_t *d, const qm_gguf *g, float rope_base, qm_err *e);
/* rope.c: rope.*; hp->n_ctx_train and head_dim are known. override: 0 = none. */
int qm_rope_read(qm_hparams *hp, qm_keys *k, float override);
#endif
