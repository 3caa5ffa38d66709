/* arch.h: hyperparameters from a GGUF's metadata; see model.h. */
#ifndef QM_ARCH_H
#define QM_ARCH_H
#include "model.h"
int qm_arch_read(qm_hparams *hp, const qm_gguf *g, float rope_base, qm_err *e);
#endif
