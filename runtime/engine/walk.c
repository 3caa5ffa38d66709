/* walk.c: see walk.h. */
#include "walk.h"
#include <stdlib.h>
#include <string.h>
#include "../file/quant.h"

enum { WARPS = QM_WALK_BLOCK / 32, SHARED_MAX = 46 * 1024 /* with the kernel's own under 48 KB */ };

int qm_walk_kernel(void) { return qm_kernel_find(QM_OP_WALK, -1, -1, 128); }

int qm_walk_validate(const qm_plan *p, qm_err *e) {
    if (p->resident.missing < 0) return 0;
    const qm_op *op = &p->ops[p->resident.missing];
    return qm_fail(
        e, QM_ERR_UNSUPPORTED,
        "executor persistent: kernel %s (layer %d, %s) is not one it holds; it runs Q4_K_M files with head_dim 128 and "
        "keys and values in f16. The executor graph runs this one",
        qm_kernel_table[op->kernel].entry, op->layer, op->slot);
}

/* How many of an op's CTAs run side by side, and how far apart their shared memories are. */
static int side_by_side(qm_walk_record *r, const qm_op *op, qm_device *d, qm_kernels *k, qm_err *e) {
    CUfunction f;
    int own = 0, rc = qm_kernels_get(k, op->kernel, &f, e);
    if (rc) return rc;
    QM_CU_TRY(d, FuncGetAttribute(&own, CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES, f));
    r->warps = op->block / 32;
    r->stride = ((uint32_t)own + op->shared + 15) & ~15u;
    r->subs = r->warps ? WARPS / r->warps : 0;
    if (r->subs > QM_WALK_SUBS) r->subs = QM_WALK_SUBS;
    if (r->stride && r->subs > SHARED_MAX / r->stride) r->subs = SHARED_MAX / r->stride;
    if (!r->subs || op->block % 32)
        rc = qm_fail(e, QM_ERR_UNSUPPORTED,
                     "executor persistent: layer %d, %s: %u threads and %u bytes of shared memory do not fit",
                     op->layer, op->slot, op->block, r->stride);
out:
    return rc;
}

int qm_walk_open(qm_walk *w, qm_uploader *put, qm_device *d, qm_kernels *k, const qm_plan *p, const qm_bases *b,
                 qm_err *e) {
    *w = (qm_walk){
        .first = p->resident.first, .n = p->resident.n, .kernel = qm_walk_kernel(), .grid = (unsigned)d->n_sm};
    qm_walk_record *rec = NULL;
    CUfunction f;
    int fit = 0, rc = qm_walk_validate(p, e);
    if (rc || !w->n) return rc;
    if (!(rec = calloc((size_t)w->n, sizeof *rec)))
        return qm_fail(e, QM_ERR_NOMEM, "executor persistent: out of memory");
    for (int i = 0; i < w->n; i++) {
        const qm_op *op = &p->ops[w->first + i];
        qm_walk_record *r = &rec[i];
        r->id = (uint32_t)qm_resident_case(op);
        memcpy(r->grid, op->grid, sizeof r->grid);
        r->sync = i + 1 < w->n && op[1].waits; /* the kernel's end is the last one's */
        qm_op_resolve(p, op, b, &r->args);
        if (op->prefetch.bytes) {
            r->prefetch = qm_ref_resolve(p, QM_REF(QM_SPACE_REGION, op->prefetch.region), b) + op->prefetch.off;
            r->prefetch_bytes = op->prefetch.bytes;
        }
        if ((rc = side_by_side(r, op, d, k, e))) goto out;
        if (r->subs * r->stride > w->shared) w->shared = r->subs * r->stride;
    }
    if ((rc = qm_kernels_get(k, w->kernel, &f, e))) goto out;
    QM_CU_TRY(d, OccupancyMaxActiveBlocks(&fit, f, QM_WALK_BLOCK, w->shared));
    if (fit < 1) {
        rc = qm_fail(e, QM_ERR_UNSUPPORTED,
                     "executor persistent: a multiprocessor of this device does not hold %d threads and %u bytes of "
                     "shared memory",
                     QM_WALK_BLOCK, w->shared);
        goto out;
    }
    QM_CU_TRY(d, MemAlloc(&w->records, (size_t)w->n * sizeof *rec));
    rc = qm_uploader_copy(put, w->records, rec, (size_t)w->n * sizeof *rec, e);
out:
    free(rec);
    if (rc) qm_walk_close(w, d);
    return rc;
}

void qm_walk_close(qm_walk *w, qm_device *d) {
    if (w->records) d->cu.MemFree(w->records);
    *w = (qm_walk){0};
}

int qm_walk_launch(const qm_walk *w, qm_kernels *k, CUdeviceptr arrived, CUdeviceptr stamps, CUstream st, qm_err *e) {
    qm_walk_args a = {.records = w->records, .arrived = arrived, .stamps = stamps, .n = (uint32_t)w->n};
    return qm_kernels_launch_resident(k, w->kernel, (const unsigned[3]){w->grid, 1, 1}, QM_WALK_BLOCK, w->shared, &a,
                                      st, e);
}
