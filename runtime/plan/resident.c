/* resident.c: which run of a plan's ops one resident kernel can walk (kernels/ptx/walk.ptx): from the first op whose
 * body it has (contracts/kernels.def) to the last; and which of them wait for which. */
#include <stdlib.h>
#include <string.h>
#include "ops.h"

static const struct {
    const char *op;
    int wtype, kv, head_dim;
} cases[] = {
#define QM_WALK(op, wtype, kv, head_dim) {#op, wtype, kv, head_dim},
#include "../../contracts/kernels.def"
};

enum { N_CASES = sizeof cases / sizeof *cases };

/* Of ops that may have more threads than that (rmsnorm, sampling) their number changes no bit: they make do with fewer. Of others the
 * block is part of how they are cut. */
uint32_t qm_resident_block(const qm_op *op) { return op->block < QM_WALK_BLOCK ? op->block : QM_WALK_BLOCK; }

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

/* Of op i, from the one before it on down: whom it conflicts with it waits for, and so for all that this one waits for; those
 * need not be looked at. What is found so is transitively reduced: nobody waits for an op for which another of them waits. */
int qm_resident_waits(const qm_plan *p, int max, int *waits, int *n_waits, int *too_many, qm_err *e) {
    const qm_op *ops = p->ops + p->resident.first;
    const int n = p->resident.n;
    unsigned char *before =
        calloc((size_t)n ? (size_t)n : 1, (size_t)n ? (size_t)n : 1); /* [n, n]: op k is done when op i begins */
    int rc = before ? 0 : qm_fail(e, QM_ERR_NOMEM, "resident ops: out of memory");
    *too_many = -1;
    for (int i = 0; i < n && !rc; i++) {
        unsigned char *known = before + (size_t)i * (size_t)n;
        n_waits[i] = 0;
        for (int k = i - 1; k >= 0; k--) {
            if (known[k] || (!p->limits.chain && !qm_ops_conflict(p, &ops[k], &ops[i]))) continue;
            if (n_waits[i] == max) {
                if (*too_many < 0) *too_many = p->resident.first + i;
                break;
            }
            waits[i * max + n_waits[i]++] = k;
            known[k] = 1;
            for (int j = 0; j < k; j++) known[j] |= before[(size_t)k * (size_t)n + (size_t)j];
        }
    }
    free(before);
    return rc;
}
