#include "repack.h"
#include "nvrtc.h"
#include "../../contracts/abi.h"
#include "../file/quant.h"
#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* kernels/cu/repack.cu has the meaning of each field. */
typedef struct {
    uint64_t dst, src, n_rows;
    uint32_t n_tiles, nb, bytes, pieces, piece_at, tail_bytes, tail_at, pad;
} repack_args;
static_assert(sizeof(repack_args) == 56, "the struct of repack.cu");

struct qm_repack {
    qm_device *d;
    CUmodule mod;
    CUfunction wide, narrow, five, six;
};

int qm_repack_open(qm_repack **out, qm_device *d, qm_err *e) {
    int rc = 0;
    qm_nvrtc *n = NULL;
    *out = NULL;
    qm_repack *r = calloc(1, sizeof *r);
    if (!r) return qm_fail(e, QM_ERR_NOMEM, "repack: out of host memory");
    r->d = d;
    if ((rc = qm_nvrtc_open(&n, e))) goto out;
    if ((rc = qm_nvrtc_module(n, d, "repack", NULL, 0, &r->mod, NULL, e))) goto out;
    QM_CU_TRY(d, ModuleGetFunction(&r->wide, r->mod, "qm_repack_wide"));
    QM_CU_TRY(d, ModuleGetFunction(&r->narrow, r->mod, "qm_repack_narrow"));
    QM_CU_TRY(d, ModuleGetFunction(&r->five, r->mod, "qm_repack_five"));
    QM_CU_TRY(d, ModuleGetFunction(&r->six, r->mod, "qm_repack_six"));
    *out = r;
    r = NULL;
out:
    qm_nvrtc_close(n);
    qm_repack_close(r);
    return rc;
}

void qm_repack_close(qm_repack *r) {
    if (!r) return;
    if (r->mod) r->d->cu.ModuleUnload(r->mod);
    free(r);
}

int qm_repack_run(qm_repack *r, CUdeviceptr dst, CUdeviceptr src, uint32_t type, uint64_t n_rows, uint64_t n_cols,
                  uint64_t t0, uint64_t t1, CUstream stream, qm_err *e) {
    const qm_type_info *t = qm_type_get(type);
    uint64_t n_tiles = (n_rows + QM_TILE_ROWS - 1) / QM_TILE_ROWS;
    if (!t) return qm_fail(e, QM_ERR_UNSUPPORTED, "repack: type %u is not one we read", type);
    /* The block of the table is what repack.cu was written for; a new type must fit its two loads. */
    int wide = t->bytes % 16 == 0 && t->piece_at % 16 == 0;
    if (!n_cols || n_cols % t->qk || n_cols / t->qk > UINT32_MAX || t0 > t1 || t1 > n_tiles || t1 - t0 > UINT32_MAX ||
        (dst | src) % 16 || (t->tail_bytes != 0 && t->tail_bytes != 2) || t->bytes % 2 || t->piece_at % 2)
        return qm_fail(e, QM_ERR_ARG, "repack: %s [%llu, %llu], tiles %llu..%llu", t->name, (unsigned long long)n_rows,
                       (unsigned long long)n_cols, (unsigned long long)t0, (unsigned long long)t1);
    if (t0 == t1) return 0;
    repack_args a = {.dst = dst,
                     .src = src,
                     .n_rows = n_rows - t0 * QM_TILE_ROWS,
                     .n_tiles = (uint32_t)(t1 - t0),
                     .nb = (uint32_t)(n_cols / t->qk),
                     .bytes = t->bytes,
                     .pieces = t->pieces,
                     .piece_at = t->piece_at,
                     .tail_bytes = t->tail_bytes,
                     .tail_at = t->tail_at};
    uint64_t grid = ((uint64_t)a.n_tiles * a.nb + 7) / 8; /* 8 warps a CTA, one (tile, block) a warp */
    if (grid > INT32_MAX) return qm_fail(e, QM_ERR_LIMIT, "repack: %llu CTAs in one launch", (unsigned long long)grid);
    int rc = 0;
    void *params[] = {&a};
    CUfunction f = t->order == qm_order_five ? r->five : t->order == qm_order_six ? r->six : wide ? r->wide : r->narrow;
    QM_CU_TRY(r->d, LaunchKernel(f, (unsigned)grid, 1, 1, 256, 1, 1, 0, stream, params, NULL));
out:
    return rc;
}
