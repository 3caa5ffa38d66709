/* arch.h: a GGUF becomes a model: its family by general.architecture (families.def), hyperparameters and weights
 * checked. */
#ifndef QM_ARCH_H
#define QM_ARCH_H
#include "../file/gguf.h"
#include "../plan/model.h"

/* rope_base overrides the file's: above 1, or 0 for none. Errors name the key or tensor, what was found and expected;
 * a key or tensor that asks for something which is not done here is an error too (keys.h). The file must stay open. */
int qm_model_open(qm_model **out, const qm_gguf *g, float rope_base, qm_err *e);
void qm_model_close(qm_model *m);

/* Whether general.architecture is one that runs here. */
int qm_arch_check(const qm_gguf *g, qm_err *e);
/* Whether all tensors are of types that have kernels; the message counts those that are not. */
int qm_model_types_check(const qm_gguf *g, qm_err *e);
#endif
