/* api.h: the server and its endpoints. An endpoint is a line in endpoints.def and a function api_<name> in the file of its
 * protocol; it answers its request now, or begins a task. */
#ifndef QM_SERVE_API_H
#define QM_SERVE_API_H
#include <jansson.h>
#include "../host.h"
#include "http.h"
#include "metrics.h"
#include "task.h"

struct server {
    qm_engine *g;
    qm_engine_info info;
    loop *loop;
    http *http;
    runner *runner;
    metrics *metrics;
    const char *alias;  /* what the model is called here: --alias, or the file's name without .gguf */
    const char *commit; /* of the build */
    double started;     /* wall clock, seconds since 1970: "created" of the model */
    char **keys;        /* [n_keys] API keys; none: no key is asked for */
    size_t n_keys;
    int draining;               /* SIGTERM: new requests are refused with 503, those that run go on */
    void (*drained)(server *s); /* the last task of a draining server has ended */
    int quiet, log_json;
    double timeout_s;     /* what a request may take; 0: any time */
    qm_sampling sampling; /* the file's own, or the command line's */
    int seeded;           /* 1: its seed is for every request that says none; 0: each draws one */
    char unknown[64][48]; /* [n_unknown] names of fields that nobody knows: they are logged once */
    size_t n_unknown;
    uint32_t n_parallel, max_queue; /* max_queue 0: no bound */
    double started_clock;           /* loop's clock */
    task *tasks;                    /* all that run, for /slots and the drain; next by task's own link */
};

typedef struct {
    const char *method, *path; /* a path ending in '*' takes all that begin so */
    void (*fn)(server *s, http_request *r);
    int open; /* no key needed */
} endpoint;
/* Calls the endpoint, or answers 401, 404, 405 (with Allow), 503. OPTIONS: CORS. */
void api_dispatch(server *s, http_request *r);
#define QM_ENDPOINT(method, path, name, open) void api_##name(server *s, http_request *r);
#include "endpoints.def"
#undef QM_ENDPOINT

/* May this request be answered (admit.c)? open: no key is needed. 0; -1: it has been, with 401 or 403. Sets the headers that let
 * pages of elsewhere in. */
int api_admit(server *s, int open, http_request *r);

/* ---- errors ---- reply.c */
/* Which shape: by path: /v1/messages.. is Anthropic's {"type":"error","error":{type,message}}, all else OpenAI's
 * {"error":{message,type,param,code}}. param: the field ("messages[2].content"), or NULL. status 400, 401, 403, 404, 405, 413, 429,
 * 500, 503, 504. */
void api_error(http_request *r, int status, const char *param, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
/* The same for a failure: the field is the place that its message begins with. What a sink's failed() answers with before the
 * stream began. */
void api_fail(http_request *r, int status, const qm_err *e);
/* Likewise for what cannot be done as it was asked for (api_prepare, api_fit): 400, or 500. */
void api_refuse(http_request *r, const qm_err *e);
/* The same objects, for streams that have begun. NULL: no memory. */
json_t *api_error_json(int anthropic, int status, const qm_err *e);
int api_is_anthropic(const http_request *r);
/* Of what went wrong with a request that was taken: QM_ERR_LIMIT 429 (the queue is full: what could never be has been refused
 * before), QM_ERR_ARG and UNSUPPORTED 400, CANCELLED 503, else 500. */
int api_status_of(const qm_err *e);

/* ---- answers ---- reply.c */
void api_reply_json(http_request *r, int status, json_t *j); /* takes j; NULL: 500, no memory */
void api_begin_stream(http_request *r);                      /* 200, text/event-stream */
/* An event of a stream: "event: NAME\n" unless NULL, "data: JSON\n\n". Takes j. -1 as http_write. */
int api_event(http_request *r, const char *name, json_t *j);
void api_id(char out[40], const char *prefix); /* "chatcmpl-" (15 bytes at most) and 24 random letters and digits */

/* ---- requests ---- fields.c */
/* The body as an object, or NULL: answered with 400 (invalid UTF-8, deeper than 64, a name twice: the place in the message). */
json_t *api_body(http_request *r);
/* Reads fields of one object; the first error is kept and names the field, the rest then do nothing. */
typedef struct {
    const json_t *o;
    const char *at; /* what stands before names: "stream_options." */
    char error[256], param[128];
    const char *known[128]; /* names asked for so far: what else is there is unknown, and logged once */
    size_t n_known;
} fields;
void fields_begin(fields *f, const json_t *o);
/* An object inside of another: at "stream_options.". Its error becomes the outer one's by fields_join. */
void fields_within(fields *f, const json_t *o, const char *at);
void fields_join(fields *f, const fields *inner);
void fields_fail(fields *f, const char *param, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* null is as if it were not there. */
double fields_number(fields *f, const char *name, double low, double high, double otherwise);
int64_t fields_int(fields *f, const char *name, int64_t low, int64_t high, int64_t otherwise);
int fields_bool(fields *f, const char *name, int otherwise);
const char *fields_string(fields *f, const char *name, const char *otherwise); /* a NUL inside is refused */
json_t *fields_array(fields *f, const char *name);                             /* borrowed; NULL: not there */
json_t *fields_object(fields *f, const char *name);                            /* borrowed */
json_t *fields_any(fields *f, const char *name);                               /* borrowed */
/* Refused by name where it is there and not one of what asks for what is done anyway (JSON texts: "1|null|false"). */
void fields_refuse(fields *f, const char *name, const char *unless, const char *why);
typedef struct {
    const char *name, *unless, *why;
} fields_refusal;
void fields_refuse_all(fields *f, const fields_refusal *v, size_t n);
/* 0, or the request is answered with 400, -1. Logs unknown names once a name. */
int fields_end(fields *f, server *s, http_request *r);
/* What all protocols share: temperature, top_p, top_k, min_p, penalties, seed, logit_bias, stop (`stop_name`), ignore_eos: into a. */
void fields_sampling(fields *f, server *s, const char *stop_name, task_ask *a); /* fields_ask.c */
/* max_tokens by its names: the first that is there; -1 is 0, until the context is full; nothing there: otherwise. */
uint32_t fields_max_tokens(fields *f, const char *const *names, size_t n, uint32_t otherwise);

/* ---- prompts ---- prepare.c */
/* The conversation and the tools: messages and tools as OpenAI has them -> prompt, thinking, tools, guide. tool_choice: "auto", "none",
 * "required", or "named": tool_name. schema: NULL, "" any object, else a schema's text. 0, or *e is filled, and begins with the place. */
typedef struct {
    json_t *messages, *tools, *kwargs; /* borrowed; tools, kwargs may be NULL */
    const char *tool_choice, *tool_name;
    int parallel_calls;
    const char
        *begun; /* what the answer goes on from, or NULL: of a prompt that is free: no schema, no required call */
    const char *schema, *schema_name; /* schema_name: the field that it came by; NULL: response_format */
} api_conversation;
int api_prepare(server *s, const api_conversation *c, task_ask *a, qm_err *e);
/* The conversation as text, malloc'd [*n]: what /apply-template says. turn: the assistant's is opened. */
int api_render_text(server *s, json_t *messages, json_t *tools, json_t *kwargs, int turn, char **text, size_t *n,
                    qm_err *e);
/* max_tokens is cut to what the context has room for; QM_ERR_LIMIT where the prompt leaves room for nothing. */
int api_fit(const server *s, task_ask *a, qm_err *e);
#endif
