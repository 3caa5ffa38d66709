/* choose.h: which executor `auto` is, on a device, for a model: what was measured there, or else a rule on the chip. */
#ifndef QM_CHOOSE_H
#define QM_CHOOSE_H
#include "engine.h"

/* The rule. why (may be NULL) receives one line. A software device: graph. Compute capability 8.x: persistent, since an op cannot begin
 * under the one before it there, and a graph's node costs more than a wait inside one kernel. 9.0 and later: graph, by dependent
 * launches (device/dependent.h). */
const qm_executor *qm_choose_by_chip(const qm_device *d, char *why, size_t why_n);
/* The same for an engine whose device is open: what qm_choice_put has kept, else the rule; and graph, where that one cannot run plan p. */
const qm_executor *qm_choose(const qm_engine *g, const qm_plan *p, char *why, size_t why_n);

/* What was measured (tokens/s of decoding), in the folder of cache.h, for this program's kernels, device, driver, and model. */
typedef struct {
    double graph, persistent;
} qm_choice;
int qm_choice_get(const qm_engine *g, qm_choice *c); /* 1: there is one */
void qm_choice_put(const qm_engine *g, const qm_choice *c);
#endif
