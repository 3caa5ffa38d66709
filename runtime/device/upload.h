/* upload.h: the uploader: pinned staging buffers between a producer on the host and device memory. While
 * one buffer is being copied the next is being filled, by several threads. */
#ifndef QM_UPLOAD_H
#define QM_UPLOAD_H
#include "cuda.h"
#include <stdint.h>

typedef struct qm_uploader qm_uploader;

/* Writes bytes [off, off + n) of the destination to dst. Several threads call it at once, for ranges
 * that do not overlap. Returns 0, or a negative code with e filled: the upload then stops. */
typedef int (*qm_fill_fn)(void *user, void *dst, uint64_t off, uint64_t n, qm_err *e);

/* Copies are queued on s, which must outlive the uploader. staging_bytes: of each of the n_buffers (2..8). One
 * fill thread a host core, at most 16: beyond that, memory bandwidth is what limits packing. */
int qm_uploader_open(qm_uploader **out, qm_device *d, CUstream s, size_t staging_bytes, int n_buffers, qm_err *e);
/* The same with n_threads (1..64), the caller's own included. */
int qm_uploader_open_threads(qm_uploader **out, qm_device *d, CUstream s, size_t staging_bytes, int n_buffers,
                             int n_threads, qm_err *e);
void qm_uploader_close(qm_uploader *u); /* waits for copies under way; NULL is allowed */
/* Fills and copies bytes to dst; returns when all is filled and queued. granule: ranges handed to fill
 * begin and end at multiples of it (the end of the whole excepted), e.g. the bytes of one tile; at
 * most staging_bytes. After a failure dst is partly written. */
int qm_uploader_put(qm_uploader *u, CUdeviceptr dst, uint64_t bytes, uint64_t granule, qm_fill_fn fill, void *user,
                    qm_err *e);
/* Copies `bytes` at src to dst in stream order. src may go when this returns: it is in pinned memory by then. */
int qm_uploader_copy(qm_uploader *u, CUdeviceptr dst, const void *src, uint64_t bytes, qm_err *e);
/* Waits until all that was put is on the device. */
int qm_uploader_flush(qm_uploader *u, qm_err *e);
#endif
