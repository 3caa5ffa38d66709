/* walk.c: see walk.h. */
#include "walk.h"
#include <stdlib.h>
#include <string.h>
#include "../device/texts.h"
#include "../file/quant.h"

int qm_walk_kernel(void) { return qm_kernel_find(QM_OP_WALK, -1, -1, 0); }

/* ---- the kernel's text ---- */
int qm_walk_need(qm_walk_cases *c, const qm_plan *p) {
    int more = 0;
    for (int i = 0; i < p->resident.n; i++) {
        const int k = qm_resident_case(&p->ops[p->resident.first + i]);
        if (k < 0 || c->needed[k]) continue;
        c->needed[k] = more = 1;
    }
    return more;
}

int qm_walk_load(const qm_walk_cases *c, qm_kernels *k, qm_err *e) {
    char *text;
    int rc = qm_ptx_cases(&text, "walk", c->needed, QM_N_RESIDENT_CASES, e);
    if (rc) return rc;
    rc = qm_kernels_load(k, qm_walk_kernel(), text, e);
    free(text);
    return rc;
}

/* ---- the records ---- */
/* Which of the run's ops wait for which; *waits, *n_waits are the caller's. */
static int waits_of(const qm_plan *p, int **waits, int **n_waits, qm_err *e) {
    int bad, rc;
    *waits = malloc(sizeof(int) * QM_WALK_WAITS * (size_t)(p->resident.n + 1));
    *n_waits = malloc(sizeof(int) * (size_t)(p->resident.n + 1));
    if (!*waits || !*n_waits) return qm_fail(e, QM_ERR_NOMEM, "executor persistent: out of memory");
    if ((rc = qm_resident_waits(p, QM_WALK_WAITS, *waits, *n_waits, &bad, e)) || bad < 0) return rc;
    return qm_fail(e, QM_ERR_UNSUPPORTED,
                   "executor persistent: layer %d, %s waits for more than %d others. The executor graph runs this one",
                   p->ops[bad].layer, p->ops[bad].slot, QM_WALK_WAITS);
}

int qm_walk_validate(const qm_plan *p, qm_err *e) {
    int *waits = NULL, *n_waits = NULL, rc;
    if (p->resident.missing >= 0) {
        const qm_op *op = &p->ops[p->resident.missing];
        return qm_fail(
            e, QM_ERR_UNSUPPORTED,
            "executor persistent: kernel %s (layer %d, %s) is not one it has. The executor graph runs this one",
            qm_kernel_table[op->kernel].entry, op->layer, op->slot);
    }
    rc = waits_of(p, &waits, &n_waits, e);
    free(waits);
    free(n_waits);
    return rc;
}

/* How many of an op's CTAs run side by side, how far apart their shared memories are, and where in each the weights copied ahead
 * lie: after what the body needs. */
static int side_by_side(qm_walk_record *r, const qm_plan *p, const qm_op *op, qm_device *d, qm_kernels *k, qm_err *e) {
    const uint32_t block = qm_resident_block(op);
    uint32_t room = QM_RESIDENT_SHARED;
    CUfunction f;
    int own = 0, rc = qm_kernels_get(k, op->kernel, &f, e);
    if (rc) return rc;
    QM_CU_TRY(d, FuncGetAttribute(&own, CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES, f));
    r->warps = block / 32;
    r->stride = ((uint32_t)own + op->shared + 15) & ~15u;
    if (op->ring) {
        r->ring_steps = op->ring;
        r->ring_at = r->stride;
        r->stride += qm_ring_shared(op);
        if (p->limits.ring_bytes > room) room = p->limits.ring_bytes;
    }
    r->subs = qm_resident_parts(op, (uint32_t)d->n_sm, r->stride, room);
    if (!r->subs || op->block % 32)
        rc = qm_fail(e, QM_ERR_UNSUPPORTED,
                     "executor persistent: layer %d, %s: %u threads and %u bytes of shared memory do not fit",
                     op->layer, op->slot, op->block, r->stride);
out:
    return rc;
}

static uint32_t ctas_of(const qm_op *op) { return op->grid[0] * op->grid[1] * op->grid[2]; }

/* Of the grid's CTAs so many have a share in the op. */
static uint32_t share_of(const qm_walk *w, const qm_op *op) {
    const uint32_t n = ctas_of(op);
    return n < w->grid ? n : w->grid;
}

/* Who waits for whom, and where each op's CTAs begin: those of an op that waits for what the one before it waits for come after that
 * one's, so that the two are on different multiprocessors where there are enough. */
static int order(qm_walk_record *rec, const qm_walk *w, const qm_plan *p, qm_err *e) {
    int *waits = NULL, *n_waits = NULL, rc = waits_of(p, &waits, &n_waits, e);
    for (int i = 0; i < w->n && !rc; i++) {
        int after_last = 0;
        for (int k = 0; k < n_waits[i]; k++) {
            const int of = waits[i * QM_WALK_WAITS + k];
            rec[i].waits[k].op = (uint32_t)of;
            rec[i].waits[k].goal = share_of(w, &p->ops[w->first + of]);
            rec[of].arrives = 1;
            after_last |= of == i - 1;
        }
        if (i && !after_last) rec[i].first = (rec[i - 1].first + ctas_of(&p->ops[w->first + i - 1])) % w->grid;
    }
    free(waits);
    free(n_waits);
    return rc;
}

static int fill(qm_walk_record *rec, qm_walk *w, qm_device *d, qm_kernels *k, const qm_plan *p, const qm_bases *b,
                qm_err *e) {
    for (int i = 0; i < w->n; i++) {
        const qm_op *op = &p->ops[w->first + i], *before = i ? op - 1 : NULL;
        qm_walk_record *r = &rec[i];
        int rc;
        r->id = (uint32_t)qm_resident_case(op);
        memcpy(r->grid, op->grid, sizeof r->grid);
        qm_op_resolve(p, op, b, &r->args);
        if (before && before->prefetch.bytes) { /* the pause after the one before is this one's wait */
            r->prefetch = qm_ref_resolve(p, QM_REF(QM_SPACE_REGION, before->prefetch.region), b) + before->prefetch.off;
            r->prefetch_bytes = before->prefetch.bytes;
        }
        if ((rc = side_by_side(r, p, op, d, k, e))) return rc;
        if (r->subs * r->stride > w->shared) w->shared = r->subs * r->stride;
    }
    return order(rec, w, p, e);
}

int qm_walk_open(qm_walk *w, qm_uploader *put, qm_device *d, qm_kernels *k, const qm_plan *p, const qm_bases *b,
                 qm_err *e) {
    *w = (qm_walk){
        .first = p->resident.first, .n = p->resident.n, .kernel = qm_walk_kernel(), .grid = (unsigned)d->n_sm};
    const size_t bytes = (size_t)w->n * QM_WALK_REC_SIZE + (size_t)(w->n + 1) * QM_WALK_COUNTER;
    qm_walk_record *rec = NULL; /* [n], and the counters after them: zero */
    CUfunction f;
    int fit = 0, rc = qm_walk_validate(p, e);
    if (rc || !w->n) return rc;
    if (!(rec = calloc(1, bytes))) return qm_fail(e, QM_ERR_NOMEM, "executor persistent: out of memory");
    if ((rc = fill(rec, w, d, k, p, b, e))) goto out;
    if ((rc = qm_kernels_get(k, w->kernel, &f, e)) || (rc = qm_kernels_allow_shared(k, w->kernel, w->shared, e)))
        goto out;
    QM_CU_TRY(d, OccupancyMaxActiveBlocks(&fit, f, QM_WALK_BLOCK, w->shared));
    if (fit < 1) {
        rc = qm_fail(e, QM_ERR_UNSUPPORTED,
                     "executor persistent: a multiprocessor of this device does not hold %d threads and %u bytes of "
                     "shared memory",
                     QM_WALK_BLOCK, w->shared);
        goto out;
    }
    QM_CU_TRY(d, MemAlloc(&w->records, bytes));
    rc = qm_uploader_copy(put, w->records, rec, bytes, e);
out:
    free(rec);
    if (rc) qm_walk_close(w, d);
    return rc;
}

void qm_walk_close(qm_walk *w, qm_device *d) {
    if (w->records) d->cu.MemFree(w->records);
    *w = (qm_walk){0};
}

int qm_walk_launch(const qm_walk *w, qm_kernels *k, CUdeviceptr stamps, CUstream st, qm_err *e) {
    qm_walk_args a = {.records = w->records,
                      .arrived = w->records + (uint64_t)w->n * QM_WALK_REC_SIZE,
                      .stamps = stamps,
                      .n = (uint32_t)w->n};
    return qm_kernels_launch_resident(k, w->kernel, (const unsigned[3]){w->grid, 1, 1}, QM_WALK_BLOCK, w->shared, &a,
                                      st, e);
}
