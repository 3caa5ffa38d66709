/* arch.h: hyperparameters from a GGUF's metadata; see model.h. */
#ifndef QM_ARCH_H
#define QM_ARCH_H
#include "keys.h"
#include "model.h"
/* Whether general.architecture is one that runs here. */
int qm_arch_check(const qm_gguf *g, qm_err *e);
/* All but hp->n_vocab. */
int qm_arch_read(qm_hparams *hp, const qm_gguf *g, float rope_base, qm_err *e);
/* rope.c: rope.*; hp->n_ctx_train and head_dim are known. override: 0 = none. */
int qm_rope_read(qm_hparams *hp, qm_keys *k, float override);
#endif
