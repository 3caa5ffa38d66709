/* capture.c: a capture keeps its operations in the order of the calls; that order respects every dependency that an event
 * can express, so replaying it in order is right. */
#include <stdlib.h>
#include <string.h>
#include "context.h"
#include "stream.h"

static sim_capture *g_captures; /* those in progress */

CUresult sim_capture_lost(sim_capture *c, CUresult r, const char *call) {
    c->invalid = 1;
    return sim_fail(r, "%s: not while a stream is being captured; the capture is lost", call);
}

CUresult sim_unsafe_in_capture(const char *call) {
    for (sim_capture *c = g_captures; c; c = c->next)
        if (!c->invalid &&
            (c->mode == CU_STREAM_CAPTURE_MODE_GLOBAL ||
             (c->mode == CU_STREAM_CAPTURE_MODE_THREAD_LOCAL && pthread_equal(c->thread, pthread_self()))))
            return sim_capture_lost(c, CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, call);
    return CUDA_SUCCESS;
}

CUresult sim_legacy_in_capture(const char *call) {
    for (sim_capture *c = g_captures; c; c = c->next)
        for (int i = 0; i < c->n_streams && !c->invalid; i++)
            if (c->stream[i] && !c->stream[i]->non_blocking)
                return sim_capture_lost(c, CUDA_ERROR_STREAM_CAPTURE_IMPLICIT, call);
    return CUDA_SUCCESS;
}

CUresult sim_any_capture_is_lost(const char *call) {
    for (sim_capture *c = g_captures; c; c = c->next)
        if (!c->invalid) return sim_capture_lost(c, CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, call);
    return CUDA_SUCCESS;
}

sim_capture *sim_capture_new(sim_stream *st, CUstreamCaptureMode mode) {
    static uint64_t n_captures;
    sim_capture *c = calloc(1, sizeof *c);
    if (!c || !(c->ops = sim_ops_new())) {
        free(c);
        return NULL;
    }
    c->mode = mode;
    c->id = ++n_captures;
    c->thread = pthread_self();
    c->stream[c->n_streams++] = st;
    c->next = g_captures;
    g_captures = c;
    st->cap = c;
    st->index = 0;
    memset(st->seen, 0, sizeof st->seen);
    return c;
}

void sim_capture_free(sim_capture *c) {
    for (int i = 0; i < c->n_streams; i++)
        if (c->stream[i]) c->stream[i]->cap = NULL;
    for (sim_capture **p = &g_captures; *p; p = &(*p)->next)
        if (*p == c) {
            *p = c->next;
            break;
        }
    sim_ops_drop(c->ops);
    free(c);
}

CUresult sim_capture_op(sim_stream *st, const sim_op *op, const char *call) {
    sim_capture *c = st->cap;
    if (c->invalid) return sim_fail(CUDA_ERROR_STREAM_CAPTURE_INVALIDATED, "%s: the capture was lost before", call);
    sim_op caught = *op;
    caught.stream = st->index;
    caught.serial = c->serial + 1;
    memcpy(caught.after, st->seen, sizeof caught.after);
    if (sim_ops_add(c->ops, &caught)) return CUDA_ERROR_OUT_OF_MEMORY;
    st->seen[st->index] = ++c->serial;
    return CUDA_SUCCESS;
}

CUresult sim_capture_join(sim_capture *c, sim_stream *st) {
    if (c->n_streams == SIM_CAPTURE_STREAMS)
        return sim_capture_lost(c, CUDA_ERROR_NOT_SUPPORTED, "a 17th captured stream");
    st->cap = c;
    st->index = c->n_streams;
    memset(st->seen, 0, sizeof st->seen);
    /* Joining is itself something that the origin must wait for. */
    st->seen[st->index] = ++c->serial;
    c->stream[c->n_streams++] = st;
    return CUDA_SUCCESS;
}

/* The capture in progress that the event was last recorded in, or NULL. */
sim_capture *sim_capture_of(const sim_event *ev) {
    for (sim_capture *c = g_captures; c; c = c->next)
        if (c->id == ev->capture_id) return c;
    return NULL;
}
