/* predict_flight.c: how much of what it reads an op has on its way at once, and what it does one after the other: read off
 * the kernels' texts (kernels/ptx), where they say how they load. See predict.h. */
#include <math.h>
#include "../../contracts/abi.h"
#include "../file/quant.h"
#include "predict.h"

/* A warp's own loads of a tile of weights: as many steps as streams.def says. */
static double chunk_bytes(int wtype) {
    switch (wtype) {
#define QM_STREAM(word, WORD, number, act, weights, bytes, pieces, piece_at, tail, tail_at, step, chunk, ...) \
    case number:                                                                                              \
        return (double)QM_TILE_ROWS * (chunk) * (step) / (weights) * (bytes);
#include "../../contracts/streams.def"
#undef QM_STREAM
    default: return 0;
    }
}

double qm_flight_bytes(const qm_op *op) {
    enum { BATCHES_OF_A_PAGE = 12 /* attn: 4 of keys and 8 of values, each waited for */ };
    const qm_kernel_info *k = &qm_kernel_table[op->kernel];
    const double chunk = chunk_bytes(k->wtype), warps = op->block / 32.0;
    switch (op->kind) {
    case QM_OP_MATVEC:
    case QM_OP_MOE_MATVEC:
    case QM_OP_MOE_DOWN: return warps * chunk;
    case QM_OP_MOE_UP: return warps * 2 * chunk;
    case QM_OP_GEMM:
    case QM_OP_MOE_GEMM:
    case QM_OP_MOE_GEMM_UP: /* half a tile (rows_stream.inc); float weights: a whole one (rows_float.inc) */
        return qm_type_get((uint32_t)k->wtype)->q16a ? warps * chunk / 2 : warps * chunk;
    case QM_OP_ATTN:
        return warps * 2 * (double)qm_kv_head_page_bytes((qm_kv_cache_type)k->kv, (uint32_t)k->head_dim) /
               BATCHES_OF_A_PAGE;
    default: return 0;
    }
}

double qm_flight_passes(const qm_op_record *r) {
    const qm_op *op = r->op;
    const double read = (double)r->weight_bytes;
    switch (op->kind) {
    case QM_OP_GEMM: return op->grid[2] * (op->block / 32.0 / op->args.gemm.tiles);
    case QM_OP_MOE_GEMM: return r->ctas / op->grid[0] * (double)op->args.moe_gemm.expert_bytes / read;
    case QM_OP_MOE_GEMM_UP: return r->ctas / op->grid[0] * 2 * (double)op->args.moe_gemm_up.expert_bytes / read;
    default: return 1;
    }
}

void qm_serial(const qm_op *op, double *trips, double *clocks) {
    *trips = 2;
    *clocks = 0;
    switch (op->kind) {
    case QM_OP_EMBED: *trips = 3; break;        /* row, token, weights */
    case QM_OP_QKROPE: *trips = 4; break;       /* row, block table, parts and rotation, norm */
    case QM_OP_ATTN: *trips = 4; break;         /* row, block table, q, keys */
    case QM_OP_ATTN_PREFILL: *trips = 5; break; /* run, row, block table, q, keys */
    case QM_OP_MOE_UP:                          /* ids, or logits, first; each key is held against all (topk.inc) */
        *trips = 3;
        if (op->args.moe_up.logits) *clocks = 150 + 4.6 * op->args.moe_up.n_expert;
        break;
    case QM_OP_MOE_MATVEC:
    case QM_OP_MOE_DOWN: *trips = 3; break; /* ids first */
    case QM_OP_MOE_GEMM_UP:
    case QM_OP_MOE_GEMM: *trips = 4; break; /* group, order, activations */
    case QM_OP_MOE_SORT: *trips = 3; break;
    case QM_OP_COMBINE:
        *trips = 1 + ceil(op->args.combine.n_spans / 32.0) + ceil(op->args.combine.n_spans / 8.0);
        break;
    case QM_OP_ROUTER: /* the parts of four experts in turn, four at a time; a pick is two reductions of a warp */
        *trips = 4 * (1 + ceil((op->args.router.n_partials - 1) / 4.0));
        *clocks = 200.0 * op->args.router.n_used;
        break;
    default: break;
    }
}
