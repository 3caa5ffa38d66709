/* op_path.c: see op_path.h. */
#include "op_path.h"
#include <math.h>
#include <string.h>
#include "../file/quant.h"
#include "../plan/ops.h"

/* ---- what waits for what ---- */
/* Operands that hold where others are: a load of one comes back before the next can be asked for. Who leaves what he picked has
 * found out himself. */
static int is_index(const qm_operand *o) {
    static const char *const names[] = {"row",  "map",    "table", "tokens", "ids",
                                        "runs", "groups", "order", "picked", NULL};
    if (!o->ref || (!(o->dir & QM_IN) && strcmp(o->name, "picked") != 0)) return 0;
    for (const char *const *n = names; *n; n++)
        if (!strcmp(o->name, *n)) return 1;
    return 0;
}

/* What the kernels' texts do in turn beyond that. norm.inc: a warp squares runs of 512 elements, about 140 clocks each, and rounds
 * them one after the other, about 600 each; rmsnorm's has 350 of that as well. */
#define QM_NORM_CLOCKS(n, part, block) \
    (140 * ceil((n) / (16.0 * (block))) + 600 * ceil((part) / (16.0 * (block))) - 350)
#define OP(word, WORD)                                                                                       \
    static void path_##word(const qm_##word##_args *a, const qm_op_view *v, double *trips, double *clocks) { \
        (void)a, (void)v, (void)trips, (void)clocks;
#define PATH(t, c) *trips += (t), *clocks += (c);
#define END(word) }
#include "../../contracts/ops.def"

static void further(const qm_op *op, const qm_op_view *v, double *trips, double *clocks) {
    switch (op->kind) {
#define OP(word, WORD)                                 \
    case QM_OP_##WORD:                                 \
        path_##word(&op->args.word, v, trips, clocks); \
        break;
#include "../../contracts/ops.def"
    default: break;
    }
}

/* ---- what is on its way ---- */
/* A warp's own loads of a tile of weights: as many steps as streams.def says. */
static double chunk_bytes(int wtype) {
    switch (wtype) {
#define QM_STREAM_LOADED QM_STREAM
#define QM_STREAM(word, WORD, number, act, weights, bytes, pieces, piece_at, tail, tail_at, step, chunk, ...) \
    case number:                                                                                              \
        return (double)QM_TILE_ROWS * (chunk) * (step) / (weights) * (bytes);
#include "../../contracts/streams.def"
#undef QM_STREAM
    default: return 0;
    }
}

/* Whether a warp has a chunk of each of two matrices at a time. */
static int paired(int wtype) {
    switch (wtype) {
#define QM_STREAM_LOADED QM_STREAM
#define QM_STREAM(word, WORD, number, act, weights, bytes, pieces, piece_at, tail, tail_at, step, chunk, paired, ...) \
    case number:                                                                                                      \
        return paired;
#include "../../contracts/streams.def"
#undef QM_STREAM
    default: return 0;
    }
}

/* attn.inc, attn_decode.inc: all keys of a page are asked for at once, and the L2 for its values, which come from there together. */
enum { TRIPS_FOR_VALUES = 1 };

/* One row: a chunk a warp, also where it has two matrices in turn, as all have in the walk (stream.inc). Many: half a tile
 * (rows_stream.inc); of float weights a whole one (rows_float.inc). */
static void flight_of(const qm_op *op, const qm_operand *o, int n, qm_op_path *path) {
    const qm_kernel_info *k = &qm_kernel_table[op->kernel];
    const double warps = op->block / 32.0;
    for (int i = 0; i < n && !path->flight; i++) {
        if (!o[i].ref || !(o[i].dir & QM_IN)) continue;
        if (o[i].kind == QM_KIND_WEIGHT && !qm_operand_find(o, n, "tokens")) {
            const int half = k->width && qm_type_get((uint32_t)k->wtype)->q16a;
            path->flight = warps * chunk_bytes(k->wtype) / (half ? 2 : 1);
            path->rounds = 1;
            int matrices = 0;
            for (int j = 0; j < n; j++) matrices += o[j].ref && o[j].kind == QM_KIND_WEIGHT;
            if (!k->width && qm_kernel_can_wait(op->kernel)) path->run = matrices * QM_RUN_CHUNKS;
            path->walked = path->flight;
            if (!k->width && matrices == 2 && paired(k->wtype)) path->flight *= 2, path->run /= 2;
        } else if (o[i].kind == QM_KIND_KV && (o[i].dir == QM_IN || o[i].appended) && !qm_operand_find(o, n, "runs")) {
            path->flight = warps * 2 * (double)qm_kv_head_page_bytes((qm_kv_cache_type)k->kv, (uint32_t)k->head_dim);
            path->walked = path->flight;
            path->rounds = 1;
            path->again = TRIPS_FOR_VALUES;
        }
    }
}

qm_op_path qm_op_path_of(const qm_plan *p, const qm_op *op) {
    qm_operand o[QM_MAX_OPERANDS];
    const qm_op_view v = qm_op_view_of(p, op);
    const int n = qm_op_operands(p, op, o);
    qm_op_path path = {0};
    flight_of(op, o, n, &path);
    for (int i = 0; i < n; i++) path.trips += is_index(&o[i]);
    path.indexed = path.trips > 0;
    further(op, &v, &path.trips, &path.clocks);
    return path;
}

double qm_ctas_at_once(const qm_op *op, double ctas, double n_sm) {
    const double warps = op->block / 32.0, room = warps < QM_RESIDENT_WARPS ? floor(QM_RESIDENT_WARPS / warps) : 1;
    return ctas < n_sm * room ? ctas : n_sm * room;
}

double qm_in_flight(const qm_op *op, const qm_op_path *path, double ctas, double bytes, double n_sm) {
    const double all = qm_ctas_at_once(op, ctas, n_sm) * path->flight;
    return (all < bytes ? all : bytes) / n_sm;
}
