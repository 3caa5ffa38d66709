/* stream.h: streams, events and captures, shared by stream.c (work into streams), capture.c (work into graphs) and the
 * entries. */
#ifndef QM_SIM_STREAM_H
#define QM_SIM_STREAM_H
#include <pthread.h>
#include "order.h"

struct sim_capture;
typedef struct sim_stream {
    int non_blocking;
    sim_pending *tail;                  /* its last pending work */
    struct sim_capture *cap;            /* NULL: not capturing */
    int index;                          /* in cap->stream; 0 is the stream the capture began on */
    uint64_t seen[SIM_CAPTURE_STREAMS]; /* last operation of each captured stream that comes before the next here */
} sim_stream;
typedef struct sim_capture {
    struct sim_capture *next;
    uint64_t id, serial;
    CUstreamCaptureMode mode;
    pthread_t thread;
    int invalid;
    int n_streams;
    sim_stream *stream[SIM_CAPTURE_STREAMS];
    sim_oplist *ops;
} sim_capture;
typedef struct {
    int no_timing, recorded;
    double ms;           /* when recorded; if mark is not NULL the time it was done counts */
    sim_pending *mark;   /* the record, if it was enqueued */
    uint64_t capture_id; /* of the capture it was last recorded in; 0: a real record */
    uint64_t seen[SIM_CAPTURE_STREAMS];
} sim_event;

/* ---- capture.c ---- */
/* A call that must not be made while a stream is being captured. */
CUresult sim_unsafe_in_capture(const char *call);
/* The legacy stream, used during a capture that it would have to wait for. */
CUresult sim_legacy_in_capture(const char *call);
CUresult sim_any_capture_is_lost(const char *call); /* a call that no capture survives */
/* The capture is lost: r, with its reason. */
CUresult sim_capture_lost(sim_capture *c, CUresult r, const char *call);
sim_capture *sim_capture_new(sim_stream *origin, CUstreamCaptureMode mode); /* NULL: out of memory */
void sim_capture_free(sim_capture *c);
CUresult sim_capture_op(sim_stream *st, const sim_op *op, const char *call); /* records op */
/* st is captured from here on as well. */
CUresult sim_capture_join(sim_capture *c, sim_stream *st);
sim_capture *sim_capture_of(const sim_event *ev); /* in progress, the event's last record is in it; or NULL */

/* ---- stream.c ---- */
/* The stream of a handle; *out NULL: the legacy one. */
CUresult sim_stream_of(CUstream s, sim_stream **out);
/* Runs op now or late, or records it if the stream is capturing. */
CUresult sim_submit(CUstream s, const sim_op *op, const char *call);
CUresult sim_submit_sync(const sim_op *op); /* a copy on the legacy stream without "Async" */
/* A pending piece after what the stream has (NULL: the legacy one) and after `also`; op NULL: nothing to run. */
CUresult sim_enqueue(sim_stream *st, const sim_op *op, sim_pending *also);
sim_pending *sim_stream_tail(const sim_stream *st); /* its last pending work; st NULL: the legacy stream's */
void sim_legacy_drop(void);                         /* the context ends */
#endif
