/* narrow.h: weights that lie on the device in fewer bytes than in the file, and are the same to the bit. Routers are F32 in GGUF
 * files, and most were BF16 before: the low halves of all their weights are zero. Without them they are F32H (streams.def), which is
 * multiplied and added as F32 is, so that nothing else can tell. */
#ifndef QM_NARROW_H
#define QM_NARROW_H
#include "model.h"

/* The type that w has on the device: its own, or F32H where the family allows it (may_narrow) and every low half is zero. Reads
 * the weights, up to the first that is not. */
const qm_type_info *qm_narrow_type(const qm_weight *w);
/* w's raw rows as F32H: 2 n_rows n_cols bytes. Only where qm_narrow_type says so. */
void qm_narrow(void *dst, const qm_weight *w);
#endif
