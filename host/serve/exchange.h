/* exchange.h: a request and its answer as a list of blocks, thoughts, texts and calls in their order, as Anthropic's protocol
 * and OpenAI's Responses have it. Blocks go out as events while they come, or all at the end. */
#ifndef QM_SERVE_EXCHANGE_H
#define QM_SERVE_EXCHANGE_H
#include "api.h"

typedef enum { BLOCK_THINKING, BLOCK_TEXT, BLOCK_CALL, N_BLOCK_KINDS } block_kind;
typedef struct {
    block_kind kind;
    qm_buffer name, text;  /* of a call: the function's name, its arguments */
    int whole;             /* of a call: the arguments are one valid JSON object */
    char id[40], call[40]; /* call: another one, of calls alone */
    json_t *logprobs;      /* of texts: an array, where they were asked for */
} block;

typedef struct exchange exchange;
/* How a protocol writes it. b is x's, and may move with the next block; its index is b - x->blocks. */
typedef struct {
    const char *id, *block_ids[N_BLOCK_KINDS], *call_id; /* what ids begin with */
    /* Streamed, in this order: begin, for each block open, delta .., close; then end, or broke. */
    void (*begin)(exchange *x);
    void (*open)(exchange *x, block *b);
    void (*delta)(exchange *x, block *b, const char *s, size_t n);
    void (*close)(exchange *x, block *b);
    void (*end)(exchange *x);
    void (*broke)(exchange *x, int status, const qm_err *e);
    /* Not streamed: the whole. NULL: no memory. */
    json_t *(*answer)(exchange *x);
} protocol;

struct exchange {
    server *s;
    http_request *r;
    task *t;
    const protocol *how;
    int stream, broken; /* broken: memory ran out */
    json_t *request;    /* an object: what the answer repeats of the request */
    char id[40];
    double created; /* seconds since 1970 */
    uint32_t n_prompt, max_tokens, sequence;
    block *blocks; /* [n] the last one is still being written, if open */
    size_t n;
    int open;
    json_t *logprobs; /* of tokens whose text has not come yet */
    task_finish finish;
    char *stopped; /* the stop string, or NULL */
    task_usage u;
};
/* Takes what is in a, and request. r is answered, now or later. max_tokens: as it was asked for; 0: it was not. */
void exchange_begin(server *s, http_request *r, task_ask *a, const protocol *how, int stream, uint32_t max_tokens,
                    json_t *request);
json_t *exchange_text(const qm_buffer *b); /* a string */
/* How many of the generated tokens were thought: those that the text of it has. */
uint32_t exchange_thought(const exchange *x);
/* The call's arguments as JSON: an object. NULL: they are none. */
json_t *exchange_arguments(const block *b);
#endif
