/* openai_completions_sink.c: answers as /v1/completions writes them: one object, or chunks. Each prompt is a task; answer j of
 * prompt i is choice i * n + j. */
#include "openai_completions.h"
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef struct {
    sink_answer got;  /* not streamed */
    json_t *logprobs; /* the older shape, of tokens that no chunk has told of yet; NULL: none */
    size_t n_chars;   /* characters that have come as text, and where the next token's begin */
    size_t token_at;
    int has_token;
    task_finish finish;
} choice;

typedef struct completions completions;
typedef struct {
    completions *c;
    uint32_t first; /* its first choice */
    task *t;        /* NULL: not begun, or ended */
} part;

struct completions {
    server *s;
    http_request *r;
    openai_common c;
    char id[40];
    json_int_t created;
    int begun;  /* a task has; the stream, where there is one, too */
    int broken; /* memory ran out, or the client takes nothing: nothing more is written */
    uint64_t seed;
    uint32_t n_parts, n_choices;
    uint32_t n_done, n_finished, last; /* tasks; answers, the last of which is `last` */
    task_usage u;
    part *parts;     /* [n_parts] */
    choice *choices; /* [n_choices] */
};

static void completions_free(completions *c) {
    if (!c) return;
    for (uint32_t i = 0; c->choices && i < c->n_choices; i++) {
        sink_answer_free(&c->choices[i].got);
        json_decref(c->choices[i].logprobs);
    }
    free(c->choices);
    free(c->parts);
    free(c);
}

static size_t count_chars(const char *s, size_t n) {
    size_t chars = 0;
    for (size_t i = 0; i < n; i++) chars += ((unsigned char)s[i] & 0xc0) != 0x80;
    return chars;
}

/* ---- log-probabilities, in the shape that chats do not have ---- */
/* A token's text; one that is not UTF-8 by itself as "bytes:\xe2\x80". */
static json_t *token_name(const char *s, size_t n) {
    json_t *j = json_stringn(s, n);
    if (j) return j;
    char text[8 + 4 * 128];
    size_t at = (size_t)snprintf(text, sizeof text, "bytes:");
    for (size_t i = 0; i < n && at + 5 < sizeof text; i++)
        at += (size_t)snprintf(text + at, sizeof text - at, "\\x%02x", (unsigned char)s[i]);
    return json_string(text);
}

static void add(json_t *logprobs, const char *name, json_t *v) {
    json_array_append_new(json_object_get(logprobs, name), v);
}

static void on_token(void *p, uint32_t i, uint32_t id, const char *piece, size_t n, const qm_logprobs *lp) {
    part *q = p;
    completions *c = q->c;
    choice *o = &c->choices[q->first + i];
    (void)id;
    if (!o->logprobs)
        o->logprobs = json_pack("{s:[], s:[], s:[], s:[]}", "tokens", "token_logprobs", "top_logprobs", "text_offset");
    if (!o->has_token) o->token_at = o->n_chars; /* behind the prompt, if it is told again */
    o->has_token = 1;
    add(o->logprobs, "tokens", token_name(piece, n));
    add(o->logprobs, "token_logprobs", json_real(openai_logprob(lp->logprob)));
    json_t *top = json_object();
    for (uint32_t k = 0; k < lp->n; k++) {
        size_t m;
        const char *s = qm_engine_piece(c->s->g, lp->top[k].id, &m);
        json_t *name = token_name(s ? s : "", s ? m : 0);
        json_object_set_new(top, json_string_value(name), json_real(openai_logprob(lp->top[k].logprob)));
        json_decref(name);
    }
    add(o->logprobs, "top_logprobs", top);
    add(o->logprobs, "text_offset", json_integer((json_int_t)o->token_at));
    o->token_at += count_chars(piece, n);
}

static json_t *take_logprobs(choice *o) {
    json_t *j = o->logprobs;
    o->logprobs = NULL;
    return j ? j : json_null();
}

/* ---- chunks ---- */
static void send(completions *c, json_t *choices, int has_usage, int last) {
    json_t *j = openai_object(c->s, c->id, "text_completion", c->created, choices);
    if (c->c.include_usage) json_object_set_new(j, "usage", has_usage ? openai_usage(&c->u) : json_null());
    if (last) openai_last(j, &c->u, c->seed);
    if (c->broken) json_decref(j);
    else if (api_event(c->r, NULL, j)) c->broken = 1;
}

static void chunk(completions *c, uint32_t i, const char *s, size_t n, const char *finish, int last) {
    json_t *o = json_pack("{s:o, s:I, s:o, s:s?}", "text", sink_string(s, n), "index", (json_int_t)i, "logprobs",
                          take_logprobs(&c->choices[i]), "finish_reason", finish);
    send(c, json_pack("[o]", o), 0, last);
}

static void on_begin(void *p) {
    completions *c = ((part *)p)->c;
    if (!c->begun && c->c.stream) api_begin_stream(c->r);
    c->begun = 1;
}

static void on_part(void *p, uint32_t i, qm_part kind, const char *s, size_t n) {
    part *q = p;
    completions *c = q->c;
    choice *o = &c->choices[q->first + i];
    if (kind != QM_PART_TEXT) return; /* nothing else was asked for */
    o->n_chars += count_chars(s, n);
    if (c->c.stream) chunk(c, q->first + i, s, n, NULL, 0);
    else if (sink_take(&o->got, "", kind, s, n)) c->broken = 1;
}

/* The very last answer's end waits for done, which is next, so that the last chunk can tell the timings. */
static void on_finish(void *p, uint32_t i, task_finish f, const char *stopped_by) {
    part *q = p;
    completions *c = q->c;
    (void)stopped_by;
    c->choices[q->first + i].finish = f;
    c->last = q->first + i;
    if (++c->n_finished < c->n_choices && c->c.stream) chunk(c, c->last, "", 0, openai_finish(f), 0);
}

static json_t *whole(completions *c) {
    json_t *choices = json_array();
    for (uint32_t i = 0; i < c->n_choices; i++) {
        choice *o = &c->choices[i];
        json_array_append_new(choices,
                              json_pack("{s:o, s:I, s:o, s:s}", "text", sink_text(&o->got.text), "index", (json_int_t)i,
                                        "logprobs", take_logprobs(o), "finish_reason", openai_finish(o->finish)));
    }
    if (json_array_size(choices) < c->n_choices) c->broken = 1;
    json_t *j = openai_object(c->s, c->id, "text_completion", c->created, choices);
    json_object_set_new(j, "usage", openai_usage(&c->u));
    openai_last(j, &c->u, c->seed);
    return j;
}

static void on_done(void *p, const task_usage *u) {
    part *q = p;
    completions *c = q->c;
    q->t = NULL;
    sink_add_usage(&c->u, u);
    if (++c->n_done < c->n_parts) return;
    if (c->c.stream) {
        chunk(c, c->last, "", 0, openai_finish(c->choices[c->last].finish), !c->c.include_usage);
        if (c->c.include_usage) send(c, json_array(), 1, 1);
        if (!c->broken) http_write(c->r, "data: [DONE]\n\n", 14);
        http_end(c->r);
    } else {
        json_t *j = whole(c);
        if (c->broken) json_decref(j), j = NULL;
        api_reply_json(c->r, 200, j);
    }
    completions_free(c);
}

static void cancel_all(completions *c) {
    for (uint32_t i = 0; i < c->n_parts; i++) {
        if (c->parts[i].t) task_cancel(c->parts[i].t);
        c->parts[i].t = NULL;
    }
}

/* One that fails fails all: an answer with a hole would not be one. */
static void on_failed(void *p, int began, int status, const qm_err *e) {
    part *q = p;
    completions *c = q->c;
    (void)began;
    q->t = NULL;
    cancel_all(c);
    if (c->begun && c->c.stream) {
        if (!c->broken) api_event(c->r, NULL, api_error_json(0, status, e));
        http_end(c->r);
    } else api_fail(c->r, status, e);
    completions_free(c);
}

static const task_sink sink = {on_begin, on_token, on_part, on_finish, on_done, on_failed};

static void on_gone(void *p) {
    completions *c = p;
    cancel_all(c);
    completions_free(c);
}

/* Each prompt is asked with what all are; the stop strings and the biases are copied. */
static int ask_copy(task_ask *to, const task_ask *a, qm_tokens *prompt) {
    const size_t n_bias = a->sampling.n_bias;
    *to = *a;
    to->prompt = *prompt;
    *prompt = (qm_tokens){0};
    to->n_stop = 0;
    to->stop = a->n_stop ? calloc(a->n_stop, sizeof *to->stop) : NULL;
    to->sampling.bias = to->bias = n_bias ? malloc(n_bias * sizeof *to->bias) : NULL;
    if ((a->n_stop && !to->stop) || (n_bias && !to->bias)) return -1;
    if (n_bias) memcpy(to->bias, a->bias, n_bias * sizeof *to->bias);
    while (to->n_stop < a->n_stop && (to->stop[to->n_stop] = strdup(a->stop[to->n_stop]))) to->n_stop++;
    return to->n_stop < a->n_stop ? -1 : 0;
}

void openai_completions_begin(server *s, http_request *r, const task_ask *a, qm_tokens *prompts, size_t n,
                              const openai_common *common) {
    completions *c = calloc(1, sizeof *c);
    qm_err e;
    if (!c) goto failed;
    c->s = s;
    c->r = r;
    c->c = *common;
    c->n_parts = (uint32_t)n;
    c->n_choices = c->n_parts * c->c.n;
    c->created = (json_int_t)time(NULL);
    c->seed = a->sampling.seed;
    c->parts = calloc(c->n_parts, sizeof *c->parts);
    c->choices = calloc(c->n_choices, sizeof *c->choices);
    if (!c->parts || !c->choices) goto failed;
    api_id(c->id, "cmpl-");
    for (uint32_t i = 0; i < c->n_parts; i++) {
        task_ask one;
        c->parts[i] = (part){.c = c, .first = i * c->c.n};
        if (!ask_copy(&one, a, &prompts[i]) && !api_fit(s, &one, &e))
            c->parts[i].t = task_begin(s, http_peer(r), &one, &sink, &c->parts[i], c->id);
        task_ask_free(&one);
        if (!c->parts[i].t) goto failed;
    }
    http_on_gone(r, on_gone, c);
    return;
failed:
    if (c && c->parts) cancel_all(c);
    completions_free(c);
    api_error(r, 500, NULL, "out of memory");
}
