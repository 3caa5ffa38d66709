#include "weights.h"
#include <string.h>
#include "../device/mem.h"
#include "../device/prof.h"

/* Bytes in flight: two buffers, so that packing the next overlaps with copying the last. */
enum { STAGING_BYTES = 32 << 20, STAGING_BUFFERS = 2 };

/* One segment of a region on its way: tiles of one matrix, or a plain F32 vector. */
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
        const unsigned char *raw = (const unsigned char *)w->t->data + expert * raw_expert;
        qm_pack_tiles(out, raw + t0 * QM_TILE_ROWS * qm_row_bytes(w->type, w->n_cols), w->type, w->n_rows, w->n_cols,
                      t0, t1);
        out += (t1 - t0) * s->tile_bytes;
        tile += t1 - t0;
    }
    return 0;
}

static int fill_vector(void *user, void *dst, uint64_t off, uint64_t n, qm_err *e) {
    (void)e;
    const segment *s = user;
    memcpy(dst, (const char *)s->w->t->data + off, n);
    return 0;
}

static int put_region(qm_engine *g, qm_uploader *u, const qm_region *r, CUdeviceptr base, qm_err *e) {
    CUdeviceptr at = base + r->off;
    for (int i = 0; i < r->n_segments; i++) {
        const qm_weight *w = &g->model->weights[r->weight[i]];
        segment s = {w, 0, 0};
        uint64_t bytes;
        int rc;
        if (r->packed) {
            s.tiles_per_expert = (w->n_rows + QM_TILE_ROWS - 1) / QM_TILE_ROWS;
            s.tile_bytes = QM_TILE_ROWS * qm_row_bytes(w->type, w->n_cols);
            bytes = s.tile_bytes * s.tiles_per_expert * w->n_expert;
            rc = qm_uploader_put(u, at, bytes, s.tile_bytes, fill_tiles, &s, e);
        } else {
            bytes = (uint64_t)w->n_cols * 4;
            rc = qm_uploader_put(u, at, bytes, 4, fill_vector, &s, e);
        }
        if (rc) return qm_err_prefix(e, "uploading %.*s", (int)w->t->name.n, w->t->name.s);
        if (g->dev->integrated) qm_gguf_drop(g->gguf, w->t);
        at += bytes;
    }
    return 0;
}

int qm_weights_upload(qm_engine *g, CUdeviceptr base, CUstream stream, const qm_engine_opts *o, qm_err *e) {
    qm_uploader *u;
    int rc = qm_uploader_open(&u, g->dev, stream, STAGING_BYTES, STAGING_BUFFERS, e);
    if (rc) return rc;
    qm_prof_push(QM_PROF_LOAD, "weights");
    uint64_t done = 0;
    for (int i = 0; i < g->place->n_regions && !rc; i++) {
        rc = put_region(g, u, &g->place->regions[i], base, e);
        done += g->place->regions[i].bytes;
        if (!rc && o->progress && o->progress(o->user, done, g->place->bytes))
            rc = qm_fail(e, QM_ERR_CANCELLED, "loading was cancelled");
    }
    if (!rc) rc = qm_uploader_flush(u, e);
    qm_uploader_close(u);
    qm_prof_pop();
    return rc;
}
