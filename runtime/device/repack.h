/* repack.h: packing weights into tiles on the device (kernels/cu/repack.cu, by NVRTC), so that a loader
 * can upload raw rows and leave the permutation to the GPU. Where qm_repack_open says
 * QM_ERR_UNSUPPORTED (no NVRTC), the host packs instead: qm_pack_tiles of file/quant.h, same bytes. */
#ifndef QM_REPACK_H
#define QM_REPACK_H
#include "cuda.h"
#include <stdint.h>

typedef struct qm_repack qm_repack;
int qm_repack_open(qm_repack **out, qm_device *d, qm_err *e);
void qm_repack_close(qm_repack *r);

/* Packs tiles [t0, t1) of the matrix [n_rows, n_cols] of `type` (qm_type); as in qm_pack_tiles dst is
 * tile t0's place and src is row 32 * t0. Both 16-byte aligned. Queued on `stream`. */
int qm_repack_run(qm_repack *r, CUdeviceptr dst, CUdeviceptr src, uint32_t type, uint64_t n_rows, uint64_t n_cols,
                  uint64_t t0, uint64_t t1, CUstream stream, qm_err *e);
#endif
