/* prefetch.c: which weights are asked for while a resident grid waits. After every op the multiprocessors wait for the
 * slowest of them, and small ops keep few of them busy: meanwhile the memory would be idle. Weights that every token
 * needs (q, k, v, output, router; not the experts, which the router has yet to choose) are dealt to these pauses.
 *
 * An op's weights go to the pauses before it, the nearest first, one op a pause. A pause takes at most
 * limits.prefetch_bytes: more would still be on its way when the next op's own reads begin, in front of them. And
 * no pause is taken from which on half of the L2 would have been filled before they are used. Weights that the L2 keeps (keep.c)
 * are there already, in its other half. In its own pause an op asks for weights by itself (ring.c): of those no hint is given
 * there, and what comes by a hint of an earlier pause it then copies from the L2. */
#include "ops.h"

uint64_t qm_prefetch_bytes(double bytes_per_s, uint64_t l2_bytes) {
    uint64_t n = bytes_per_s > 0 ? (uint64_t)(bytes_per_s * 2e-6) : l2_bytes / 32;
    return n < l2_bytes / 8 ? n : l2_bytes / 8;
}

/* Does the grid wait after op j? */
static int pause_after(const qm_plan *p, int j) { return j + 1 < p->n_ops && p->ops[j + 1].waits; }

/* The op after which op i waits, by itself or beside others. */
static int before(const qm_plan *p, int i) {
    while (i > 0 && !p->ops[i].waits) i--;
    return i - 1;
}

void qm_plan_prefetch(qm_plan *p) {
    const uint64_t most = p->limits.prefetch_bytes & ~(uint64_t)127, half = p->limits.l2_bytes / 2;
    const int first = p->resident.first;
    for (int i = first; most && i < first + p->resident.n; i++) {
        const qm_op *op = &p->ops[i];
        qm_operand w;
        if (!qm_op_known_weight(p, op, &w) || qm_op_l2(op) == QM_L2_LAST) continue;
        uint64_t left = op->weight_bytes, filled = 0;
        for (int j = i - 1; j >= first && left && filled + op->weight_bytes - left < half; j--) {
            qm_op *at = &p->ops[j];
            const uint64_t by_itself = j == before(p, i) ? qm_ring_reach(p, op) : 0;
            if (pause_after(p, j) && !at->prefetch.bytes && left > by_itself) {
                uint64_t n = left - by_itself < most ? left - by_itself : most;
                left -= n;
                at->prefetch.region = (int)QM_REF_VALUE(w.ref);
                at->prefetch.off = left; /* from the end: what is read first may come by itself */
                at->prefetch.bytes = n;
            }
            if (qm_op_l2(at) != QM_L2_LAST) filled += at->weight_bytes; /* read after the pause before it */
        }
    }
}
