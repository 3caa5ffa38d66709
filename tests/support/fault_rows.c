/* fault_rows.c: the faults of steps of many rows. */
#include <stdlib.h>
#include <string.h>
#include "../../runtime/engine/inside_means.h"
#include "fault_site.h"

/* u32 or records in a region of the fault's own. Takes data (malloc), `bytes` of it, a multiple of 4. */
static int own_words(fault_site *x, void *data, uint64_t bytes, int *index, qm_err *e) {
    return fault_add_region(x, data, 1, 1, (uint32_t)(bytes / 4), 0, index, e);
}

/* Attention's norm reads the first two rows of the step in each other's place: so their q, k and v change places. */
static int prepare_swapped(fault_site *x, qm_err *e) {
    uint32_t *map = malloc(QM_STEP_ROWS_MAX * sizeof *map);
    for (uint32_t r = 0; map && r < QM_STEP_ROWS_MAX; r++) map[r] = r < 2 && !x->at.neutral ? 1 - r : r;
    return own_words(x, map, QM_STEP_ROWS_MAX * sizeof *map, &x->region, e);
}
static int edit_swapped(fault_site *x, qm_plan *p, int *i, qm_err *e) {
    (void)e;
    if (p->ops[*i].kind == QM_OP_RMSNORM && !strcmp(p->ops[*i].slot, "attn_norm"))
        p->ops[*i].args.rmsnorm.map = QM_REF(QM_SPACE_REGION, x->region);
    return 0;
}

/* The first expert that any row has chosen is left out of the down product: what its rows get of it is what the layer
 * before has left there. The groups lie in memory of ours, and this product reads them from the second on; after the
 * last one is an empty one, so the memory is zero before each step. */
static int prepare_dropped(fault_site *x, qm_err *e) {
    const qm_hparams *hp = &x->g->model->hp;
    x->stride = QM_GROUP_SIZE * (hp->n_used * QM_STEP_ROWS_MAX + 1);
    if (!(x->regions = calloc(2ull * hp->n_layers, sizeof *x->regions)))
        return qm_fail(e, QM_ERR_NOMEM, "fault: out of memory");
    int rc = own_words(x, calloc(hp->n_layers, x->stride), (uint64_t)hp->n_layers * x->stride, &x->region, e);
    for (uint32_t l = 0; l < hp->n_layers && !rc; l++)
        if (!(rc = fault_add_part(x, x->region, (uint64_t)l * x->stride, &x->regions[2 * l], e)))
            rc = fault_add_part(x, x->region, (uint64_t)l * x->stride + QM_GROUP_SIZE, &x->regions[2 * l + 1], e);
    return rc;
}
static int edit_dropped_group(fault_site *x, qm_plan *p, int *i, qm_err *e) {
    qm_op *op = &p->ops[*i];
    const qm_ref all = QM_REF(QM_SPACE_REGION, x->regions[2 * op->layer]),
                 but_one = QM_REF(QM_SPACE_REGION, x->regions[2 * op->layer + 1]);
    (void)e;
    if (op->kind == QM_OP_MOE_SORT) op->args.moe_sort.groups = all;
    if (op->kind == QM_OP_MOE_GEMM_UP) op->args.moe_gemm_up.groups = all;
    if (op->kind == QM_OP_MOE_GEMM)
        op->args.moe_gemm.groups = op->args.moe_gemm.scale && !x->at.neutral ? but_one : all;
    return 0;
}
static int feed_zeros(fault_site *x, const qm_row *rows, uint32_t n, qm_err *e) {
    const uint64_t bytes = (uint64_t)x->g->model->hp.n_layers * x->stride;
    void *zeros = calloc(1, bytes);
    (void)rows, (void)n;
    int rc = zeros ? fault_put(x, x->region, zeros, bytes, e) : qm_fail(e, QM_ERR_NOMEM, "fault: out of memory");
    free(zeros);
    return rc;
}

/* Attention of a step's rows sees one key more than is past: that of the sequence's next row in the step. */
static int prepare_mask(fault_site *x, qm_err *e) {
    return own_words(x, calloc(QM_STEP_ROWS_MAX, QM_ROW_SIZE), QM_STEP_ROWS_MAX * QM_ROW_SIZE, &x->region, e);
}
static int edit_mask(fault_site *x, qm_plan *p, int *i, qm_err *e) {
    (void)e;
    if (p->ops[*i].kind == QM_OP_ATTN_PREFILL) p->ops[*i].args.attn_prefill.row = QM_REF(QM_SPACE_REGION, x->region);
    return 0;
}
/* Where the sequences' blocks begin, the probe's does: it is the first that was opened. */
static int feed_rows(fault_site *x, const qm_row *rows, uint32_t n, qm_err *e) {
    const qm_inside_means *in = x->inner->inside;
    const uint64_t first = in->bases(x->g, x->probe->seq).base[QM_SPACE_SEQ], bytes = x->g->plans[0]->seq.bytes;
    qm_row_record rec[QM_STEP_ROWS_MAX];
    for (uint32_t r = 0; r < n; r++) {
        const uint64_t off = in->bases(x->g, rows[r].seq).base[QM_SPACE_SEQ] - first;
        const int next = r + 1 < n && rows[r + 1].seq == rows[r].seq && !x->at.neutral;
        rec[r] = (qm_row_record){.pos = rows[r].pos + (uint32_t)next, .seq = (uint32_t)(off / bytes), .seq_off = off};
    }
    return fault_put(x, x->region, rec, n * sizeof *rec, e);
}

const fault faults_of_many[FAULT_MANY_N] = {
    {"swapped_rows", "two rows of a step have each other's q, k and v", 0, prepare_swapped, edit_swapped, NULL, 1,
     NULL},
    {"dropped_group", "an expert's rows are left out of its down product", 0, prepare_dropped, edit_dropped_group, NULL,
     1, feed_zeros},
    {"mask_off_by_one", "a step's rows see one key past their own", 0, prepare_mask, edit_mask, NULL, 1, feed_rows},
    {"stale_page_of_rows", "the first page of the cache becomes an earlier sequence's within the prompt", 1,
     fault_prepare_page, NULL, fault_begin_page, 1, NULL},
};
