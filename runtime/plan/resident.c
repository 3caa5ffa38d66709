/* resident.c: which run of a plan's ops one resident kernel can walk (kernels/ptx/walk.ptx): from the first op whose
 * body it holds (contracts/kernels.def) to the last. */
#include <string.h>
#include "plan.h"

static const struct {
    const char *op;
    int wtype, kv, head_dim;
} cases[] = {
#define QM_WALK(op, wtype, kv, head_dim) {#op, wtype, kv, head_dim},
#include "../../contracts/kernels.def"
};

enum { N_CASES = sizeof cases / sizeof *cases };

int qm_resident_case(const qm_op *op) {
    const qm_kernel_info *k = &qm_kernel_table[op->kernel];
    for (int i = 0; i < N_CASES; i++)
        if (!strcmp(cases[i].op, k->file) && cases[i].wtype == k->wtype && cases[i].kv == k->kv &&
            cases[i].head_dim == k->head_dim)
            return i;
    return -1;
}

void qm_plan_resident(qm_plan *p) {
    int last = -1, missing = -1;
    p->resident = (qm_resident){.first = -1, .missing = -1};
    if (p->shape.rows > 1) return; /* products of many rows keep the device busy by themselves */
    for (int i = 0; i < p->n_ops; i++) {
        if (qm_resident_case(&p->ops[i]) >= 0) {
            if (p->resident.first < 0) p->resident.first = i;
            last = i;
            if (missing >= 0 && p->resident.missing < 0) p->resident.missing = missing;
        } else if (p->resident.first >= 0 && missing < 0) missing = i;
    }
    p->resident.n = last < 0 ? 0 : last - p->resident.first + 1;
}
