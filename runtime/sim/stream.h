/* stream.h: streams, events, captures and pending work, shared by stream.c, order.c and graph.c. */
#ifndef QM_SIM_STREAM_H
#define QM_SIM_STREAM_H
#include "back.h"

/* Work that has been enqueued and not run (QMOE_SIM_ORDER=lazy). NULL stands for work that is done. */
typedef struct sim_node sim_node;
int sim_order_lazy(void);
/* A node that runs op (NULL: nothing, as an event's record or wait does) once all of dep[n] (NULL among them allowed) are
 * done. *out is the caller's to drop. */
CUresult sim_order_add(const sim_op *op, sim_node *const *dep, int n, sim_node **out);
sim_node *sim_node_share(sim_node *n);
void sim_node_drop(sim_node *n);
int sim_node_done(const sim_node *n);
double sim_node_ms(const sim_node *n);         /* when it was done */
CUresult sim_order_finish(sim_node *want);     /* runs it and what it waits for, no more */
CUresult sim_order_query(sim_node *want);      /* CUDA_ERROR_NOT_READY, having run one of these, or success if done */
CUresult sim_order_graph(const sim_oplist *l); /* runs a graph in an order that its edges allow */
void sim_order_drop(void);                     /* the context is lost or ends: what is pending never runs */

struct sim_capture;
typedef struct sim_stream {
    int non_blocking;
    sim_node *tail;                     /* its last pending work */
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
    sim_node *mark;      /* the record, if it was enqueued */
    uint64_t capture_id; /* of the capture it was last recorded in; 0: a real record */
    uint64_t seen[SIM_CAPTURE_STREAMS];
} sim_event;
double sim_now_ms(void);
CUresult sim_graph_new(CUgraph *g, sim_oplist *ops); /* shares the list */
void sim_graphs_drop(void);
#endif
