/* driver_stream.c: streams and their captures. */
#include <stdlib.h>
#include "driver.h"
#include "stream.h"

/* A call that waits for the stream or asks about it. */
static CUresult wait_on(CUstream s, const char *call, CUresult (*how)(sim_pending *)) {
    sim_stream *st;
    sim_lock();
    CUresult r = sim_ready();
    if (!r) r = sim_stream_of(s, &st);
    if (!r && !st) r = sim_legacy_in_capture(call);
    if (!r && st && st->cap) r = sim_capture_lost(st->cap, CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, call);
    if (!r) r = sim_unsafe_in_capture(call);
    if (!r) r = how(sim_stream_tail(st));
    return sim_unlock(r);
}

CUresult CUDAAPI sim_cu_StreamCreate(CUstream *s, unsigned int flags) {
    sim_lock();
    CUresult r = sim_ready();
    if (r) return sim_unlock(r);
    if (!s || (flags & ~(unsigned)CU_STREAM_NON_BLOCKING)) return sim_unlock(CUDA_ERROR_INVALID_VALUE);
    sim_stream *st = calloc(1, sizeof *st);
    if (!st || sim_handle_add(st, SIM_H_STREAM)) {
        free(st);
        return sim_unlock(CUDA_ERROR_OUT_OF_MEMORY);
    }
    st->non_blocking = flags != 0;
    *s = (CUstream)st;
    return sim_unlock(CUDA_SUCCESS);
}

static void stream_free(sim_stream *st) {
    if (st->cap) {
        /* Destroying a stream mid-capture loses the capture; its origin still has to end it. */
        st->cap->invalid = 1;
        if (st->index == 0) sim_capture_free(st->cap);
        else st->cap->stream[st->index] = NULL;
    }
    sim_handle_del(st);
    sim_pending_drop(st->tail);
    free(st);
}

CUresult CUDAAPI sim_cu_StreamDestroy(CUstream s) {
    sim_stream *st;
    sim_lock();
    CUresult r = sim_ready();
    if (!r) r = sim_stream_of(s, &st);
    if (!r && !st) r = sim_fail(CUDA_ERROR_INVALID_HANDLE, "the legacy stream cannot be destroyed");
    /* Its work goes on; what the legacy stream gets later still comes after that of a blocking one. */
    if (!r && !st->non_blocking && !sim_pending_done(st->tail)) r = sim_enqueue(NULL, NULL, NULL);
    if (!r) stream_free(st);
    return sim_unlock(r);
}

CUresult CUDAAPI sim_cu_StreamSynchronize(CUstream s) { return wait_on(s, "cuStreamSynchronize", sim_order_finish); }
CUresult CUDAAPI sim_cu_StreamQuery(CUstream s) { return wait_on(s, "cuStreamQuery", sim_order_query); }

CUresult CUDAAPI sim_cu_CtxSynchronize(void) {
    sim_lock();
    CUresult r = sim_ready();
    if (!r) r = sim_any_capture_is_lost("cuCtxSynchronize");
    if (!r) r = sim_order_drain();
    return sim_unlock(r);
}

CUresult CUDAAPI sim_cu_StreamBeginCapture(CUstream s, CUstreamCaptureMode mode) {
    sim_stream *st;
    sim_lock();
    CUresult r = sim_ready();
    if (!r) r = sim_stream_of(s, &st);
    if (r) return sim_unlock(r);
    if (mode > CU_STREAM_CAPTURE_MODE_RELAXED) return sim_unlock(CUDA_ERROR_INVALID_VALUE);
    if (!st) return sim_unlock(sim_fail(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, "the legacy stream cannot be captured"));
    if (st->cap) return sim_unlock(sim_fail(CUDA_ERROR_ILLEGAL_STATE, "the stream is being captured already"));
    if (!sim_capture_new(st, mode)) return sim_unlock(CUDA_ERROR_OUT_OF_MEMORY);
    return sim_unlock(CUDA_SUCCESS);
}

CUresult CUDAAPI sim_cu_StreamEndCapture(CUstream s, CUgraph *g) {
    sim_stream *st;
    sim_lock();
    CUresult r = sim_ready();
    if (!r) r = sim_stream_of(s, &st);
    if (r) return sim_unlock(r);
    if (!g) return sim_unlock(CUDA_ERROR_INVALID_VALUE);
    *g = NULL;
    if (!st || !st->cap) return sim_unlock(sim_fail(CUDA_ERROR_ILLEGAL_STATE, "the stream is not being captured"));
    sim_capture *c = st->cap;
    if (st->index)
        return sim_unlock(
            sim_capture_lost(c, CUDA_ERROR_STREAM_CAPTURE_UNMATCHED, "cuStreamEndCapture on another stream"));
    if (c->mode != CU_STREAM_CAPTURE_MODE_RELAXED && !pthread_equal(c->thread, pthread_self()))
        return sim_unlock(sim_fail(CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD, "the capture began on another thread"));
    if (c->invalid) r = sim_fail(CUDA_ERROR_STREAM_CAPTURE_INVALIDATED, "an earlier call broke the capture");
    for (int i = 1; i < c->n_streams && !r; i++)
        if (c->stream[i] && c->stream[i]->seen[i] != st->seen[i])
            r = sim_fail(CUDA_ERROR_STREAM_CAPTURE_UNJOINED, "work on another captured stream is not waited for");
    if (!r) r = sim_graph_new(g, c->ops);
    sim_capture_free(c);
    return sim_unlock(r);
}

void sim_streams_drop(void) {
    void *h;
    sim_order_drop();
    while ((h = sim_handle_any(SIM_H_STREAM))) stream_free(h);
    sim_legacy_drop();
}
