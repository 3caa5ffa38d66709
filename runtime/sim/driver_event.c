/* driver_event.c: events: recorded, waited for, timed. */
#include <stdlib.h>
#include <string.h>
#include "../base/clock.h"
#include "driver.h"
#include "stream.h"

static CUresult event_of(CUevent e, sim_event **out) {
    if (!sim_handle_is(e, SIM_H_EVENT)) return sim_fail(CUDA_ERROR_INVALID_HANDLE, "not a live event");
    *out = (sim_event *)e;
    return CUDA_SUCCESS;
}

CUresult CUDAAPI sim_cu_EventCreate(CUevent *e, unsigned int flags) {
    sim_lock();
    CUresult r = sim_ready();
    if (r) return sim_unlock(r);
    if (!e || (flags & ~(unsigned)(CU_EVENT_BLOCKING_SYNC | CU_EVENT_DISABLE_TIMING)))
        return sim_unlock(sim_fail(CUDA_ERROR_INVALID_VALUE, "cuEventCreate: flags %u", flags));
    sim_event *ev = calloc(1, sizeof *ev);
    if (!ev || sim_handle_add(ev, SIM_H_EVENT)) {
        free(ev);
        return sim_unlock(CUDA_ERROR_OUT_OF_MEMORY);
    }
    ev->no_timing = (flags & CU_EVENT_DISABLE_TIMING) != 0;
    *e = (CUevent)ev;
    return sim_unlock(CUDA_SUCCESS);
}

static void event_free(sim_event *ev) {
    sim_pending_drop(ev->mark);
    sim_handle_del(ev);
    free(ev);
}

CUresult CUDAAPI sim_cu_EventDestroy(CUevent e) {
    sim_event *ev = NULL;
    sim_lock();
    CUresult r = sim_ready();
    if (!r) r = event_of(e, &ev);
    if (!r) event_free(ev);
    return sim_unlock(r);
}

CUresult CUDAAPI sim_cu_EventRecord(CUevent e, CUstream s) {
    sim_event *ev = NULL;
    sim_stream *st;
    sim_lock();
    CUresult r = sim_ready();
    if (!r) r = event_of(e, &ev);
    if (!r) r = sim_stream_of(s, &st);
    if (!r && !st) r = sim_legacy_in_capture("cuEventRecord");
    if (!r && st && st->cap && st->cap->invalid) r = CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
    if (r) return sim_unlock(r);
    ev->capture_id = 0;
    if (st && st->cap) {
        ev->capture_id = st->cap->id;
        memcpy(ev->seen, st->seen, sizeof ev->seen);
    } else {
        ev->recorded = 1;
        ev->ms = 1e3 * qm_now();
        sim_pending_drop(ev->mark);
        ev->mark = NULL;
        if (sim_order_lazy() && !(r = sim_enqueue(st, NULL, NULL))) ev->mark = sim_pending_share(sim_stream_tail(st));
    }
    return sim_unlock(r);
}

static CUresult event_wait(CUevent e, const char *call, CUresult (*how)(sim_pending *)) {
    sim_event *ev = NULL;
    sim_lock();
    CUresult r = sim_ready();
    if (!r) r = event_of(e, &ev);
    if (!r && sim_capture_of(ev)) r = sim_capture_lost(sim_capture_of(ev), CUDA_ERROR_CAPTURED_EVENT, call);
    else if (!r && ev->capture_id) r = sim_fail(CUDA_ERROR_CAPTURED_EVENT, "%s: last recorded in a capture", call);
    if (!r) r = sim_unsafe_in_capture(call);
    if (!r) r = how(ev->mark);
    return sim_unlock(r);
}
CUresult CUDAAPI sim_cu_EventQuery(CUevent e) { return event_wait(e, "cuEventQuery", sim_order_query); }
CUresult CUDAAPI sim_cu_EventSynchronize(CUevent e) { return event_wait(e, "cuEventSynchronize", sim_order_finish); }

CUresult CUDAAPI sim_cu_EventElapsedTime(float *ms, CUevent a, CUevent b) {
    sim_event *ea = NULL, *eb = NULL;
    sim_lock();
    CUresult r = sim_ready();
    if (!r) r = event_of(a, &ea);
    if (!r) r = event_of(b, &eb);
    if (r) return sim_unlock(r);
    if (!ms) return sim_unlock(CUDA_ERROR_INVALID_VALUE);
    if (ea->capture_id || eb->capture_id)
        return sim_unlock(sim_fail(CUDA_ERROR_CAPTURED_EVENT, "an event was last recorded in a capture"));
    if (!ea->recorded || !eb->recorded || ea->no_timing || eb->no_timing)
        return sim_unlock(sim_fail(CUDA_ERROR_INVALID_HANDLE, "an event was not recorded or keeps no time"));
    if (!sim_pending_done(ea->mark) || !sim_pending_done(eb->mark)) return sim_unlock(CUDA_ERROR_NOT_READY);
    *ms = (float)((eb->mark ? sim_pending_ms(eb->mark) : eb->ms) - (ea->mark ? sim_pending_ms(ea->mark) : ea->ms));
    return sim_unlock(CUDA_SUCCESS);
}

/* Outside a capture this matters to late work only. Waiting for an event of a capture pulls the stream into it. */
CUresult CUDAAPI sim_cu_StreamWaitEvent(CUstream s, CUevent e, unsigned int flags) {
    sim_event *ev = NULL;
    sim_stream *st;
    sim_lock();
    CUresult r = sim_ready();
    if (!r) r = sim_stream_of(s, &st);
    if (!r) r = event_of(e, &ev);
    if (!r && flags) r = CUDA_ERROR_INVALID_VALUE;
    if (!r && !st) r = sim_legacy_in_capture("cuStreamWaitEvent");
    if (r) return sim_unlock(r);
    sim_capture *c = sim_capture_of(ev);
    if (st && st->cap && st->cap->invalid) r = CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
    else if (!c && ev->capture_id) r = sim_fail(CUDA_ERROR_CAPTURED_EVENT, "the event's capture has ended");
    else if (!c && st && st->cap)
        r = sim_capture_lost(st->cap, CUDA_ERROR_STREAM_CAPTURE_ISOLATION, "cuStreamWaitEvent for uncaptured work");
    else if (c && c->invalid) r = CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
    else if (c && !st)
        r = sim_capture_lost(c, CUDA_ERROR_STREAM_CAPTURE_IMPLICIT, "cuStreamWaitEvent on the legacy stream");
    else if (c && st->cap && st->cap != c)
        r = sim_capture_lost(c, CUDA_ERROR_STREAM_CAPTURE_MERGE, "cuStreamWaitEvent");
    else if (c && !st->cap) r = sim_capture_join(c, st);
    if (!r && c)
        for (int i = 0; i < SIM_CAPTURE_STREAMS; i++)
            if (st->seen[i] < ev->seen[i]) st->seen[i] = ev->seen[i];
    if (!r && !c && !sim_pending_done(ev->mark)) r = sim_enqueue(st, NULL, ev->mark);
    return sim_unlock(r);
}

void sim_events_drop(void) {
    for (void *h; (h = sim_handle_any(SIM_H_EVENT));) event_free(h);
}
