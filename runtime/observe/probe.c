/* probe.c: memory bandwidth, by the device's own clock: kernels/ptx/probe.ptx reads a buffer many times the
 * size of the L2, and the driver copies one half of it onto the other. */
#include "probe.h"
#include <stdlib.h>
#include <string.h>
#include "../base/rng.h"
#include "../device/prof.h"
#include "../device/kernels.h"
#include "../engine/inside.h"

enum { CHUNK = 1 << 20, SMALL = 16 << 20, BLOCK = 256, PASSES = 12 };
static const uint64_t FULL = 4ull << 30;
/* A device that needs longer than this for a pass over the full buffer (below 43 GB/s: no GPU that we run on)
 * gets no better figure from a larger one. */
static const double LONGEST_PASS_S = 0.1;

typedef struct {
    qm_device *d;
    qm_kernels *kernels;
    int kernel;
    CUstream stream;
    qm_timer timer;
    CUdeviceptr buf, out;
    uint64_t bytes;           /* of buf, whole chunks */
    uint32_t grid, chunk_sum; /* chunk_sum: of the words of one chunk, mod 2^32 */
    uint32_t *host;           /* [chunk], then [grid * BLOCK / 32] sums */
} probe;

static int compare(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Random bytes, so that nothing on the way can gain by their being alike. */
static int allocate(probe *p, uint64_t bytes, qm_err *e) {
    qm_device *d = p->d;
    int rc = 0;
    if (p->buf) d->cu.MemFree(p->buf);
    p->buf = 0;
    p->bytes = bytes / (2 * CHUNK) * (2 * CHUNK);
    if (!p->bytes) return qm_fail(e, QM_ERR_NOMEM, "bandwidth: no memory is free on %s", d->spec);
    QM_CU_TRY(d, MemAlloc(&p->buf, p->bytes));
    qm_rng r = {1};
    p->chunk_sum = 0;
    for (uint32_t i = 0; i < CHUNK / 4; i++) p->chunk_sum += p->host[i] = qm_rng_u32(&r);
    QM_CU_TRY(d, MemcpyHtoDAsync(p->buf, p->host, CHUNK, p->stream));
    for (uint64_t have = CHUNK, n; have < p->bytes; have += n) {
        n = p->bytes - have < have ? p->bytes - have : have;
        QM_CU_TRY(d, MemcpyDtoDAsync(p->buf + have, p->buf, n, p->stream));
    }
    QM_CU_TRY(d, StreamSynchronize(p->stream));
out:
    return rc;
}

/* One pass; seconds. */
static int read_pass(probe *p, double *s, qm_err *e) {
    const unsigned grid[3] = {p->grid, 1, 1};
    qm_probe_args a = {.src = p->buf, .out = p->out, .n = (uint32_t)(p->bytes / 16)};
    double ms = 0;
    int rc = qm_timer_start(&p->timer, p->stream, e);
    if (!rc) rc = qm_kernels_launch(p->kernels, p->kernel, grid, BLOCK, 0, &a, p->stream, e);
    if (!rc) rc = qm_timer_stop(&p->timer, p->stream, e);
    if (!rc) rc = qm_timer_ms(&p->timer, &ms, e);
    *s = 1e-3 * ms;
    return rc;
}

static int copy_pass(probe *p, double *s, qm_err *e) {
    qm_device *d = p->d;
    double ms = 0;
    int rc = qm_timer_start(&p->timer, p->stream, e);
    if (rc) return rc;
    QM_CU_TRY(d, MemcpyDtoDAsync(p->buf + p->bytes / 2, p->buf, p->bytes / 2, p->stream));
    if (!(rc = qm_timer_stop(&p->timer, p->stream, e))) rc = qm_timer_ms(&p->timer, &ms, e);
    *s = 1e-3 * ms;
out:
    return rc;
}

/* The last pass's sums: a kernel that had not read every byte would be fast and wrong. */
static int verify(probe *p, qm_err *e) {
    qm_device *d = p->d;
    uint32_t *sums = p->host + CHUNK / 4, got = 0, want = (uint32_t)(p->bytes / CHUNK) * p->chunk_sum;
    int rc = 0;
    QM_CU_TRY(d, MemcpyDtoH(sums, p->out, (size_t)p->grid * BLOCK / 8));
    for (uint32_t i = 0; i < p->grid * BLOCK / 32; i++) got += sums[i];
    if (got != want)
        rc = qm_fail(e, QM_ERR_DEVICE,
                     "bandwidth: %s read a sum of %08x, not %08x: its memory or the kernel is at fault", d->spec, got,
                     want);
out:
    return rc;
}

/* The first pass is not counted. All copies write the bytes that are there already: halves are alike. */
static int passes(probe *p, int (*pass)(probe *, double *, qm_err *), double bytes, double *best, double *median,
                  qm_err *e) {
    double s[PASSES];
    for (int i = -1; i < PASSES; i++) {
        double t = 0;
        int rc = pass(p, &t, e);
        if (rc) return rc;
        if (i >= 0) s[i] = t > 0 ? bytes / t : 0;
    }
    qsort(s, PASSES, sizeof *s, compare);
    *best = s[PASSES - 1];
    *median = 0.5 * (s[(PASSES - 1) / 2] + s[PASSES / 2]);
    return 0;
}

static int open_probe(probe *p, qm_err *e) {
    qm_device *d = p->d;
    CUfunction f;
    int rc, per_sm = 0;
    p->kernel = qm_kernel_find(QM_OP_PROBE, -1, -1, 0);
    if ((rc = qm_kernels_open(&p->kernels, d, e)) || (rc = qm_kernels_get(p->kernels, p->kernel, &f, e)) ||
        (rc = qm_timer_open(&p->timer, d, e)))
        return rc;
    QM_CU_TRY(d, OccupancyMaxActiveBlocks(&per_sm, f, BLOCK, 0));
    p->grid = (uint32_t)d->n_sm * (uint32_t)(per_sm > 0 ? per_sm : 1);
    QM_CU_TRY(d, StreamCreate(&p->stream, CU_STREAM_NON_BLOCKING));
    QM_CU_TRY(d, MemAlloc(&p->out, (size_t)p->grid * BLOCK / 8));
    p->host = malloc(CHUNK + (size_t)p->grid * BLOCK / 8);
    if (!p->host) rc = qm_fail(e, QM_ERR_NOMEM, "bandwidth: out of memory");
out:
    return rc;
}

static int choose_bytes(probe *p, uint64_t bytes, qm_err *e) {
    size_t avail = 0, total = 0;
    double s = 0;
    int rc = qm_device_mem(p->d, &avail, &total, e);
    if (rc) return rc;
    uint64_t most = avail / 4 < FULL ? avail / 4 : FULL;
    if (bytes) return allocate(p, bytes < avail && bytes < 2 * FULL ? bytes : most, e);
    if ((rc = allocate(p, most < SMALL ? most : SMALL, e))) return rc;
    for (int i = 0; i < 2; i++)
        if ((rc = read_pass(p, &s, e))) return rc;
    return s * (double)most / (double)p->bytes < LONGEST_PASS_S ? allocate(p, most, e) : 0;
}

int qm_probe_bandwidth(qm_device *d, uint64_t bytes, qm_bandwidth *b, qm_err *e) {
    probe p = {.d = d};
    memset(b, 0, sizeof *b);
    QM_PROF_SCOPE(QM_PROF_BENCH, "bandwidth");
    int rc = open_probe(&p, e);
    if (!rc) rc = choose_bytes(&p, bytes, e);
    if (!rc) rc = passes(&p, read_pass, (double)p.bytes, &b->read_best, &b->read_median, e);
    if (!rc) rc = verify(&p, e);
    if (!rc) rc = passes(&p, copy_pass, (double)p.bytes, &b->copy_best, &b->copy_median, e);
    b->bytes = p.bytes;
    b->passes = rc ? 0 : PASSES;
    qm_kernels_close(p.kernels);
    qm_timer_close(&p.timer);
    if (p.stream) d->cu.StreamDestroy(p.stream);
    if (p.buf) d->cu.MemFree(p.buf);
    if (p.out) d->cu.MemFree(p.out);
    free(p.host);
    return rc;
}

int qm_engine_bandwidth(qm_engine *g, qm_bandwidth *b, qm_err *e) {
    memset(b, 0, sizeof *b);
    qm_device *d = qm_inside_device(g);
    if (!d) return qm_fail(e, QM_ERR_UNSUPPORTED, "bandwidth: the C reference has no device");
    return qm_probe_bandwidth(d, 0, b, e);
}
