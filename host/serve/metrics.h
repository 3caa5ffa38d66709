/* metrics.h: what the server counts, as Prometheus' text. Loop's thread. */
#ifndef QM_SERVE_METRICS_H
#define QM_SERVE_METRICS_H
#include <stdint.h>
#include "../host.h"

typedef struct metrics metrics;
metrics *metrics_open(void); /* NULL: no memory */
void metrics_close(metrics *m);
void metrics_request(metrics *m, const char *path,
                     int status); /* an answered request; what is no endpoint's path, NULL too, is "other" */
/* A task has ended. finish: "stop", "length", "tool_calls", "cancelled", "error" */
void metrics_task(metrics *m, const char *finish, uint32_t n_prompt, uint32_t n_cached, uint32_t n_generated);
void metrics_first_token(metrics *m, double seconds);
void metrics_between_tokens(metrics *m, double seconds);
void metrics_latency(metrics *m, double seconds);
void metrics_queued(metrics *m, double seconds);

enum { METRICS_ROWS = 10 }; /* steps of 1, 2, 3..4, 5..8 .. 257..512 rows */
/* The values of now, which are not counted here. */
typedef struct {
    uint32_t n_running, n_waiting, n_pages, n_held, n_kept, page_tokens, n_connections;
    uint64_t n_steps, n_rows, n_failed;
    uint64_t steps_of[METRICS_ROWS]; /* of n_steps, how many had so many rows */
    double uptime_s;
    const char *model, *device, *executor, *version;
} metrics_now;
/* Appends to b; 0, or -1: no memory. */
int metrics_text(metrics *m, const metrics_now *now, qm_buffer *b);
#endif
