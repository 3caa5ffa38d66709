/* stream.h: streams, events and captures, shared by stream.c, launch.c and graph.c. */
#ifndef QM_SIM_STREAM_H
#define QM_SIM_STREAM_H
#include "back.h"

enum { SIM_CAPTURE_STREAMS = 16 };
struct sim_capture;
typedef struct sim_stream {
    int non_blocking;
    struct sim_capture *cap;       /* NULL: not capturing */
    int index;                     /* in cap->stream; 0 is the stream the capture began on */
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
    sim_oplist ops;
} sim_capture;
typedef struct {
    int no_timing, recorded;
    double ms;
    uint64_t capture_id;           /* of the capture it was last recorded in; 0: a real record */
    uint64_t seen[SIM_CAPTURE_STREAMS];
} sim_event;
CUresult sim_graph_new(CUgraph *g, sim_oplist *take);  /* takes the list's contents */
void sim_graphs_drop(void);
#endif
