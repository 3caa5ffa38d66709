/* openai.h: what chat and completions have in common. */
#ifndef QM_SERVE_OPENAI_H
#define QM_SERVE_OPENAI_H
#include "sink.h"

enum { OPENAI_MOST_ANSWERS = 128 };
typedef struct {
    int stream, include_usage;
    uint32_t n;
} openai_common;
/* model, stream, stream_options, n, sampling and stop; what is taken and has no effect; what is refused by its name. */
void openai_fields(fields *f, server *s, task_ask *a, openai_common *c);
const char *openai_finish(task_finish f); /* finish_reason */
json_t *openai_usage(const task_usage *u);
/* {id, object, created, model, system_fingerprint, choices}; takes choices. */
json_t *openai_object(const server *s, const char *id, const char *object, json_int_t created, json_t *choices);
/* What comes with the last object of an answer: timings, and the seed that gives it again. */
void openai_last(json_t *object, const task_usage *u, uint64_t seed);
double openai_logprob(float x); /* JSON has no -inf: -9999 */
/* {token, logprob, bytes, top_logprobs}; NULL: no memory. */
json_t *openai_token(const server *s, const char *piece, size_t n, const qm_logprobs *lp);
#endif
