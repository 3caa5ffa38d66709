#include "weights.h"
#include <stdlib.h>
#include <string.h>
#include "../base/log.h"
#include "../device/upload.h"
#include "../device/prof.h"
#include "../device/repack.h"
#include "../plan/narrow.h"

/* Bytes in flight: two buffers, so that packing the next overlaps with copying the last. */
enum { STAGING_BYTES = 32 << 20, STAGING_BUFFERS = 2 };

/* One matrix (or expert tensor) on its way. */
typedef struct {
    const qm_weight *w;
    uint64_t tile_bytes, tiles_per_expert;
} segment;

/* Fills whole packed tiles. A range may cross from one expert into the next. */
static int fill_tiles(void *user, void *dst, uint64_t off, uint64_t n, qm_err *e) {
    (void)e;
    const segment *s = user;
    const qm_weight *w = s->w;
    uint64_t raw_expert = (uint64_t)w->n_rows * qm_row_bytes(w->type, w->n_cols);
    uint64_t tile = off / s->tile_bytes, end = (off + n) / s->tile_bytes;
    unsigned char *out = dst;
    while (tile < end) {
        uint64_t expert = tile / s->tiles_per_expert, t0 = tile % s->tiles_per_expert;
        uint64_t t1 = t0 + (end - tile);
        if (t1 > s->tiles_per_expert) t1 = s->tiles_per_expert;
        const unsigned char *raw = (const unsigned char *)w->data + expert * raw_expert;
        qm_pack_tiles(out, raw + t0 * QM_TILE_ROWS * qm_row_bytes(w->type, w->n_cols), w->type, w->n_rows, w->n_cols,
                      t0, t1);
        out += (t1 - t0) * s->tile_bytes;
        tile += t1 - t0;
    }
    return 0;
}

/* The device's own packing, where NVRTC is at hand: raw rows go over the bus into a staging buffer and
 * kernels/cu/repack.cu deals them into tiles, so that the host only copies. Without NVRTC the host's
 * threads pack while they fill the pinned buffers: the same bytes either way. */
typedef struct {
    qm_engine *g;
    qm_uploader *u;
    CUstream stream;
    qm_repack *repack;   /* NULL: the host packs */
    CUdeviceptr staging; /* QM_LOAD_BYTES */
} loader;

static int fill_raw(void *user, void *dst, uint64_t off, uint64_t n, qm_err *e) {
    (void)e;
    memcpy(dst, (const char *)user + off, n);
    return 0;
}

/* One matrix of n_rows raw rows, a staging buffer at a time; the next fill waits on the stream for the
 * repack before it. */
static int put_matrix_on_device(loader *l, CUdeviceptr at, const qm_weight *w, const unsigned char *raw,
                                uint64_t n_rows, qm_err *e) {
    uint64_t row_bytes = qm_row_bytes(w->type, w->n_cols), tile_bytes = QM_TILE_ROWS * row_bytes;
    uint64_t tiles = (n_rows + QM_TILE_ROWS - 1) / QM_TILE_ROWS, step = QM_LOAD_BYTES / tile_bytes;
    for (uint64_t t = 0; t < tiles; t += step) {
        uint64_t t1 = t + step < tiles ? t + step : tiles, row = t * QM_TILE_ROWS;
        uint64_t rows = (t1 * QM_TILE_ROWS < n_rows ? t1 * QM_TILE_ROWS : n_rows) - row;
        int rc = qm_uploader_put(l->u, l->staging, rows * row_bytes, row_bytes, fill_raw,
                                 (void *)(uintptr_t)(raw + row * row_bytes), e);
        if (!rc)
            rc = qm_repack_run(l->repack, at + t * tile_bytes, l->staging, (uint32_t)w->type->type, n_rows, w->n_cols,
                               t, t1, l->stream, e);
        if (rc) return rc;
    }
    return 0;
}

static int put_packed(loader *l, CUdeviceptr at, const qm_weight *w, uint64_t *bytes, qm_err *e) {
    segment s = {w, QM_TILE_ROWS * qm_row_bytes(w->type, w->n_cols), (w->n_rows + QM_TILE_ROWS - 1) / QM_TILE_ROWS};
    *bytes = s.tile_bytes * s.tiles_per_expert * w->n_expert;
    if (!l->repack || s.tile_bytes > QM_LOAD_BYTES)
        return qm_uploader_put(l->u, at, *bytes, s.tile_bytes, fill_tiles, &s, e);
    const unsigned char *raw = w->data;
    /* experts of whole tiles are one tall matrix */
    if (w->n_rows % QM_TILE_ROWS == 0) return put_matrix_on_device(l, at, w, raw, (uint64_t)w->n_rows * w->n_expert, e);
    int rc = 0;
    for (uint32_t i = 0; i < w->n_expert && !rc; i++)
        rc = put_matrix_on_device(l, at + i * s.tile_bytes * s.tiles_per_expert, w,
                                  raw + (uint64_t)i * w->n_rows * qm_row_bytes(w->type, w->n_cols), w->n_rows, e);
    return rc;
}

/* In fewer bytes than the file's (plan/narrow.h): as if the file had it so. */
static int put_narrow(loader *l, CUdeviceptr at, const qm_weight *w, const qm_type_info *type, uint64_t *bytes,
                      qm_err *e) {
    const size_t n = qm_row_bytes(type, w->n_cols) * w->n_rows * w->n_expert;
    void *rows = malloc(n);
    qm_weight as = *w;
    if (!rows) return qm_fail(e, QM_ERR_NOMEM, "out of host memory for %zu bytes", n);
    qm_narrow(rows, w);
    as.type = type;
    as.data = rows;
    int rc = put_packed(l, at, &as, bytes, e);
    free(rows);
    return rc;
}

static int put_region(loader *l, const qm_region *r, CUdeviceptr at, qm_err *e) {
    for (int i = 0; i < r->n_segments; i++) {
        const qm_weight *w = &l->g->model->weights[r->weight[i]];
        uint64_t bytes = (uint64_t)w->n_cols * 4;
        int rc = !r->packed           ? qm_uploader_copy(l->u, at, w->data, bytes, e)
                 : r->type != w->type ? put_narrow(l, at, w, r->type, &bytes, e)
                                      : put_packed(l, at, w, &bytes, e);
        if (rc) {
            qm_err_prefix(e, "uploading %.*s", (int)w->t->name.n, w->t->name.s);
            return rc;
        }
        if (l->g->dev->integrated) qm_gguf_drop(l->g->gguf, w->t);
        at += bytes;
    }
    return 0;
}

static void choose_packing(loader *l) {
    qm_err e;
    if (qm_repack_open(&l->repack, l->g->dev, &e)) {
        qm_log(QM_LOG_DEBUG, "weights are packed by the host: %s", e.msg);
        l->repack = NULL;
    } else if (l->g->dev->cu.MemAlloc(&l->staging, QM_LOAD_BYTES)) {
        qm_log(QM_LOG_DEBUG, "weights are packed by the host: no room for a staging buffer on the device");
        qm_repack_close(l->repack);
        l->repack = NULL;
    }
}

int qm_weights_upload(qm_engine *g, CUdeviceptr base, CUstream stream, const qm_engine_opts *o, qm_err *e) {
    loader l = {.g = g, .stream = stream};
    QM_PROF_SCOPE(QM_PROF_LOAD, "weights");
    int rc = qm_uploader_open(&l.u, g->dev, stream, STAGING_BYTES, STAGING_BUFFERS, e);
    if (rc) return rc;
    choose_packing(&l);
    uint64_t done = 0;
    for (int i = 0; i < g->place->n_regions && !rc; i++) {
        rc = put_region(&l, &g->place->regions[i], base + g->place->regions[i].off, e);
        done += g->place->regions[i].bytes;
        if (!rc && o->progress && o->progress(o->user, done, g->place->bytes))
            rc = qm_fail(e, QM_ERR_CANCELLED, "loading was cancelled");
    }
    if (!rc) rc = qm_uploader_flush(l.u, e);
    if (!rc) rc = qm_gguf_whole(g->gguf, e);
    g->dev->cu.StreamSynchronize(stream); /* the last repack reads the staging buffer */
    qm_uploader_close(l.u);
    qm_repack_close(l.repack);
    if (l.staging) g->dev->cu.MemFree(l.staging);
    return rc;
}
