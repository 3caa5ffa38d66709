/* ring.c: which weights a resident grid copies to shared memory before it waits. Of a product whose weights the step does not choose
 * (q, k, v, output, router, logits) a warp asks for its first chunk, into registers, before it waits for the op's input; where there
 * is room it asks for the chunks after that as well, by cp.async (kernels/ptx/stream.inc). So all of a short run is on its way while
 * the grid waits: no hint that may be dropped, and no second latency behind the first chunk. The room is what shared memory the
 * device has beyond what the body needs, for the op's CTAs that are at work at once. */
#include "../../kernels/ref/launch.h"
#include "ops.h"

static uint32_t least(uint32_t a, uint32_t b) { return a < b ? a : b; }

uint32_t qm_resident_parts(const qm_op *op, uint32_t n_sm, uint32_t shared, uint32_t room) {
    const uint32_t block = qm_resident_block(op), ctas = op->grid[0] * op->grid[1] * op->grid[2];
    uint32_t n = least(QM_WALK_BLOCK / block, QM_WALK_SUBS);
    n = least(n, (ctas + n_sm - 1) / n_sm); /* more would find nothing to do */
    return shared ? least(n, room / shared) : n;
}

uint32_t qm_ring_shared(const qm_op *op) {
    return op->ring ? op->block / 32 * op->ring * qm_step_bytes(qm_kernel_table[op->kernel].wtype) : 0;
}

/* Of ops of one row whose weights are known (qm_op_known_weight), all of which are matvec's: steps of each warp. */
static uint32_t run_of(const qm_op *op) {
    const qm_matvec_args *a = &op->args.matvec;
    return qm_launch_run(qm_kernel_table[op->kernel].wtype, a->n_cols, op->grid[1], a->deal.rows / QM_TILE_ROWS,
                         op->block);
}

static uint32_t body_of(const qm_op *op) { return (op->shared + 15) & ~15u; }

void qm_plan_ring(qm_plan *p) {
    for (int i = 0; p->limits.ring_bytes && i < p->resident.n; i++) {
        qm_op *op = &p->ops[p->resident.first + i];
        qm_operand w;
        if (!qm_op_known_weight(p, op, &w)) continue;
        const int wtype = qm_kernel_table[op->kernel].wtype;
        const uint32_t chunk = qm_chunk_steps(wtype), bytes = op->block / 32 * chunk * qm_step_bytes(wtype);
        const uint32_t run = run_of(op), body = body_of(op),
                       parts = qm_resident_parts(op, p->limits.n_sm, body, QM_RESIDENT_SHARED);
        if (!parts || p->limits.ring_bytes / parts <= body) continue;
        const uint32_t room = (p->limits.ring_bytes / parts - body) / bytes, later = (run + chunk - 1) / chunk - 1;
        op->ring = chunk * least(room, later);
    }
}

uint64_t qm_ring_reach(const qm_plan *p, const qm_op *op) {
    const int wtype = qm_kernel_table[op->kernel].wtype;
    const uint32_t ring = p->limits.ring_bytes, room = ring > QM_RESIDENT_SHARED ? ring : QM_RESIDENT_SHARED;
    if (!op->ring && run_of(op) > qm_chunk_steps(wtype)) return 0;
    const uint64_t now =
        (uint64_t)p->limits.n_sm * qm_resident_parts(op, p->limits.n_sm, body_of(op) + qm_ring_shared(op), room);
    if (op->grid[1] > 1 || now >= op->grid[0]) return op->weight_bytes;
    const qm_matvec_args *a = &op->args.matvec;
    return now * (a->deal.rows / QM_TILE_ROWS) * qm_sums_of(wtype, a->n_cols).n_steps * qm_step_bytes(wtype);
}
