/* mem.h: device memory in large pieces, and the way bytes get there. */
#ifndef QM_MEM_H
#define QM_MEM_H
#include "cuda.h"
#include <stdint.h>

#define QM_MEM_ALIGN 256

/* ---- arena: one driver allocation per kind (weights, kv, scratch), handed out front to back.
 * Measure first with qm_arena_add on a size, then open, then allocate in the same order. */
typedef struct {
    qm_device *d;
    const char *kind;  /* for messages; a literal */
    CUdeviceptr base;
    size_t bytes, used;
} qm_arena;
/* The running total after one more allocation of n bytes; SIZE_MAX on overflow (and from then on). */
size_t qm_arena_add(size_t total, size_t n);
/* QM_ERR_NOMEM's message has the numbers. bytes 0 is allowed: nothing is allocated. */
int qm_arena_open(qm_arena *a, qm_device *d, const char *kind, size_t bytes, qm_err *e);
void qm_arena_close(qm_arena *a); /* safe on a zeroed arena */
int qm_arena_alloc(qm_arena *a, size_t n, CUdeviceptr *p, qm_err *e); /* 256-byte aligned */
int qm_arena_zero(qm_arena *a, CUstream s, qm_err *e);                /* all of it, queued on s */

/* ---- uploader: pinned staging buffers between a producer and the device. While one buffer is being
 * copied the next is being filled, by several threads where asked. */
typedef struct qm_uploader qm_uploader;

/* Writes bytes [off, off + n) of the destination into buf. Several threads call it at once, for ranges
 * that do not overlap. Returns 0, or a negative code with e filled: the upload then stops. */
typedef int (*qm_fill_fn)(void *user, void *buf, uint64_t off, size_t n, qm_err *e);

/* staging_bytes: of each of the n_buffers (2..8). n_threads: fill threads, 0 = the host's cores, at most 64. */
int qm_uploader_open(qm_uploader **out, qm_device *d, size_t staging_bytes, int n_buffers, int n_threads, qm_err *e);
void qm_uploader_close(qm_uploader *u); /* waits for copies under way */
/* Fills and copies bytes to dst; returns when all is filled and queued. unit: ranges handed to fill begin
 * and end at multiples of it (the end of the whole excepted), e.g. the bytes of one tile row; at most
 * staging_bytes. After a failure dst is partly written. */
int qm_uploader_put(qm_uploader *u, CUdeviceptr dst, uint64_t bytes, size_t unit, qm_fill_fn fill, void *user, qm_err *e);
/* Waits until all that was put is on the device. */
int qm_uploader_flush(qm_uploader *u, qm_err *e);
/* The stream that the copies are queued on: work queued there runs after what was put before. */
CUstream qm_uploader_stream(const qm_uploader *u);
#endif
