/* slots.h: the slots of a traced step against the file's weights, in double: a slot under another's name is no such product. */
#ifndef QM_SLOTS_H
#define QM_SLOTS_H
#include "../../runtime/observe/trace.h"
/* Fails the test where a slot of the last step (its vectors kept), which computed `token`, is not what the weights make
 * of the slot before it: norms, q, k, v, the output's projection, the routers' choice and weights, each expert, logits. For
 * small models: rows of at most 1,024 weights, 64 experts. */
void slots_check(const qm_tracer *t, uint32_t token);
#endif
