/* stream.c: work into streams: at once, or pending after what it has to wait for. */
#include "stream.h"
#include <stdlib.h>
#include "context.h"
#include "handle.h"
#include "mem.h"

static sim_pending *g_legacy; /* the legacy stream's last pending work */

static int is_null_stream(CUstream s) { return !s || s == CU_STREAM_LEGACY || s == CU_STREAM_PER_THREAD; }

CUresult sim_stream_of(CUstream s, sim_stream **out) {
    *out = NULL;
    if (is_null_stream(s)) return CUDA_SUCCESS;
    if (!sim_handle_is(s, SIM_H_STREAM)) return sim_fail(CUDA_ERROR_INVALID_HANDLE, "not a live stream");
    *out = (sim_stream *)s;
    return CUDA_SUCCESS;
}

/* After what the stream has, and after `also`. The legacy stream's work comes after all that blocking streams have, and
 * before all that they get later; a non-blocking stream knows of neither. */
CUresult sim_enqueue(sim_stream *st, const sim_op *op, sim_pending *also) {
    sim_pending **dep, *x;
    sim_pending **tail = st ? &st->tail : &g_legacy;
    size_t at = 0;
    int n = 0, cap = 3;
    while (!st && sim_handle_next(SIM_H_STREAM, &at)) cap++;
    if (!(dep = malloc((size_t)cap * sizeof *dep))) return CUDA_ERROR_OUT_OF_MEMORY;
    dep[n++] = *tail;
    dep[n++] = also;
    if (st && !st->non_blocking) dep[n++] = g_legacy;
    at = 0;
    for (const sim_stream *o; !st && (o = sim_handle_next(SIM_H_STREAM, &at));)
        if (!o->non_blocking) dep[n++] = o->tail;
    CUresult r = sim_order_add(op, dep, n, &x);
    free(dep);
    if (!x) return r;
    sim_pending_drop(*tail);
    *tail = x;
    return r;
}

/* Does a copy read or write host memory that nobody pinned? */
static int is_pageable(const sim_op *op) {
    if (op->kind != SIM_OP_COPY || !op->n || op->src_dev == op->dst_dev) return 0;
    const sim_alloc *a = sim_mem_find(op->dst_dev ? op->src : op->dst);
    return !a || !a->live;
}

/* Enqueues op, or runs it now that all before it has run. host: SIM_HOST_*, what a late copy finds. */
static CUresult start(sim_stream *st, const sim_op *op, int host) {
    CUresult r;
    if (!sim_order_lazy()) {
        r = sim_order_drain(); /* of a time when it was on */
        return r ? r : sim_op_run(op);
    }
    if ((r = sim_op_check(op))) return r;
    sim_op late = *op;
    late.host = host;
    if (host != SIM_HOST_DIRECT && !op->src_dev) {
        late.params = (uint8_t *)(uintptr_t)op->src;
        late.params_bytes = op->n;
    }
    return sim_enqueue(st, &late, NULL);
}

/* From pageable memory: once what the legacy stream has is done the bytes are staged, and the call returns; the copy
 * itself may come later. Otherwise it returns when the copy is done. */
CUresult sim_submit_sync(const sim_op *op) {
    const int staged = op->dst_dev && is_pageable(op) && sim_order_lazy();
    CUresult r = staged ? sim_enqueue(NULL, NULL, NULL) : start(NULL, op, SIM_HOST_DIRECT);
    if (!r) r = sim_order_finish(g_legacy);
    return r || !staged ? r : start(NULL, op, SIM_HOST_STAGED);
}

CUresult sim_submit(CUstream s, const sim_op *op, const char *call) {
    sim_stream *st;
    CUresult r = sim_stream_of(s, &st);
    if (r) return r;
    if (!st && (r = sim_legacy_in_capture(call))) return r;
    if (!st || !st->cap) return start(st, op, is_pageable(op) ? SIM_HOST_PAGEABLE : SIM_HOST_DIRECT);
    return sim_capture_op(st, op, call);
}

sim_pending *sim_stream_tail(const sim_stream *st) { return st ? st->tail : g_legacy; }

void sim_legacy_drop(void) {
    sim_pending_drop(g_legacy);
    g_legacy = NULL;
}
