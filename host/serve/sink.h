/* sink.h: what the protocols' sinks share: an answer as it is collected where it is not streamed, and what an answer says of its
 * computation. */
#ifndef QM_SERVE_SINK_H
#define QM_SERVE_SINK_H
#include "api.h"

typedef struct {
    char id[40];
    qm_buffer name, arguments;
} sink_call;
typedef struct {
    qm_buffer text, thinking;
    sink_call *calls; /* [n_calls] */
    size_t n_calls;
    task_finish finish;
} sink_answer;
/* A part of it. 0, or -1: no memory. id_prefix: of calls, "call_". */
int sink_take(sink_answer *a, const char *id_prefix, qm_part part, const char *s, size_t n);
void sink_answer_free(sink_answer *a);
json_t *sink_text(const qm_buffer *b); /* a string */
/* Valid UTF-8 as it is; what is not becomes U+FFFD. */
json_t *sink_string(const char *s, size_t n);

/* "qmoe-gpu-3f2a9c-cuda:0-graph": the build, the device and the executor that computed it. */
void sink_fingerprint(const server *s, char out[96]);
/* As llama.cpp's server has them: cache_n, prompt_n (computed), prompt_ms (queueing excluded), prompt_per_second, predicted_n,
 * predicted_ms, predicted_per_second ..; and queued_ms. */
json_t *sink_timings(const task_usage *u);
void sink_add_usage(task_usage *sum, const task_usage *u); /* of several prompts: counts add up, of times the longest */
#endif
