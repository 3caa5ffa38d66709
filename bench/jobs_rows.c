/* jobs_rows.c: the jobs of ops that compute many rows: products of a step's rows, sorted by expert or not; attention of a
 * prompt's. See jobs.h. */
#include <math.h>
#include "../runtime/file/quant.h"
#include "jobs.h"

/* As runtime/plan/build.c: fewer rows leave partial sums. */
enum { FEW_EXPERTS = 16 };

uint32_t qm_bench_experts(const qm_bench_job *j) {
    const int all = j->wtype == QM_TYPE_Q4_K || j->wtype == QM_TYPE_Q6_K || j->wtype < 0;
    return all || j->m->n_expert < FEW_EXPERTS ? j->m->n_expert : FEW_EXPERTS;
}

static uint32_t rows_of(const qm_bench_job *j) {
    return j->rows_run && j->rows_run < j->n_rows ? j->rows_run : j->n_rows;
}

/* The groups that op moe_sort would make. */
static int route(qm_bench_work *w, qm_moe_sort_args *a, qm_err *e) {
    const qm_bench_job *j = &w->job;
    const uint32_t n = qm_bench_experts(j), used = j->m->n_used, width = qm_moe_width(j->rows, used, n);
    *a = (qm_moe_sort_args){.n_expert = n,
                            .n_used = used,
                            .width = width,
                            .max_groups = qm_moe_groups(j->rows, used, n, width),
                            .rows = j->rows};
    return qm_routing_make(&w->routing, a, j->rows, e);
}

int qm_bench_shape_rows(qm_bench_work *w, uint32_t n_sm, qm_op_args *a, qm_err *e) {
    const qm_bench_job *j = &w->job;
    const qm_bench_model *m = j->m;
    const uint32_t rows = rows_of(j), tiles = (rows + QM_TILE_ROWS - 1) / QM_TILE_ROWS;
    const qm_type_info *t = j->wtype >= 0 ? qm_type_get((uint32_t)j->wtype) : NULL;
    qm_moe_sort_args sort;
    int rc = 0;
    switch (j->op) {
    case QM_OP_GEMM:
        w->l = qm_launch_gemm(j->wtype, j->n_rows, j->n_cols, j->rows, n_sm, j->max_parts);
        a->gemm =
            (qm_gemm_args){.n_rows = rows, .n_cols = j->n_cols, .tiles = w->l.tiles, .rows = j->rows, .y_stride = rows};
        break;
    case QM_OP_MOE_SORT:
        rc = route(w, &a->moe_sort, e);
        w->l = qm_launch_moe_sort(j->rows, m->n_used, qm_bench_experts(j));
        return rc;
    case QM_OP_MOE_GEMM_UP:
        rc = route(w, &sort, e);
        w->l = qm_launch_moe_gemm_up(j->wtype, j->n_rows, j->n_cols, sort.width, sort.max_groups, n_sm);
        a->moe_gemm_up = (qm_moe_gemm_up_args){.expert_bytes = qm_pack_bytes(t, rows, j->n_cols),
                                               .n_ff = rows,
                                               .n_cols = j->n_cols,
                                               .tiles = w->l.tiles,
                                               .n_expert = sort.n_expert,
                                               .n_used = sort.n_used,
                                               .max_groups = sort.max_groups};
        break;
    case QM_OP_MOE_GEMM:
        rc = route(w, &sort, e);
        w->l = qm_launch_moe_gemm(j->wtype, j->n_rows, j->n_cols, sort.width, sort.max_groups, n_sm);
        a->moe_gemm = (qm_moe_gemm_args){.expert_bytes = qm_pack_bytes(t, rows, j->n_cols),
                                         .n_rows = rows,
                                         .n_cols = j->n_cols,
                                         .tiles = w->l.tiles,
                                         .n_expert = sort.n_expert,
                                         .n_used = sort.n_used,
                                         .max_groups = sort.max_groups,
                                         .x_slots = 1,
                                         .y_row = rows,
                                         .y_pick = j->rows * rows};
        break;
    case QM_OP_ATTN_PREFILL:
        w->l.grid[0] = m->n_kv;
        w->l.grid[1] = (j->rows + QM_RUN_ROWS - 1) / QM_RUN_ROWS;
        w->l.grid[2] = (m->n_head / m->n_kv + 7) / 8;
        a->attn_prefill =
            (qm_attn_prefill_args){.n_head = m->n_head, .n_kv = m->n_kv, .scale = (float)(1 / sqrt(m->head_dim))};
        return 0;
    default: return qm_fail(e, QM_ERR_UNSUPPORTED, "bench: op %s has no job", qm_op_name(j->op));
    }
    w->l.grid[0] = (tiles + w->l.tiles - 1) / w->l.tiles;
    return rc;
}

double qm_bench_packed_blocks(const qm_bench_work *w) {
    const qm_bench_job *j = &w->job;
    const double tiles = (rows_of(j) + QM_TILE_ROWS - 1) / QM_TILE_ROWS, one = tiles * j->n_cols / 256;
    if (j->width <= 0) return 0; /* of no width: no product of many rows */
    const uint32_t width = j->width < 32 ? (uint32_t)j->width : 32;
    uint32_t groups = 0;
    for (uint32_t i = 0; i < w->routing.n_groups; i++) groups += (w->routing.groups[i].n + width - 1) / width;
    switch (j->op) {
    case QM_OP_GEMM: return one * ((j->rows + width - 1) / width);
    case QM_OP_MOE_GEMM_UP: return 2 * one * groups;
    case QM_OP_MOE_GEMM: return one * groups;
    default: return 0;
    }
}
