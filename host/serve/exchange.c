/* exchange.c: see exchange.h. */
#include "exchange.h"
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "openai.h"

static void block_free(block *b) {
    free(b->name.s);
    free(b->text.s);
    json_decref(b->logprobs);
}

static void exchange_free(exchange *x) {
    for (size_t i = 0; i < x->n; i++) block_free(&x->blocks[i]);
    free(x->blocks);
    free(x->stopped);
    json_decref(x->logprobs);
    json_decref(x->request);
    free(x);
}

json_t *exchange_text(const qm_buffer *b) { return sink_string(b->s ? b->s : "", b->n); }

json_t *exchange_arguments(const block *b) {
    json_t *j = b->whole ? json_loadb(b->text.s ? b->text.s : "", b->text.n, JSON_ALLOW_NUL, NULL) : NULL;
    if (json_is_object(j)) return j;
    json_decref(j);
    return NULL;
}

uint32_t exchange_thought(const exchange *x) {
    qm_tokens ids = {0};
    for (size_t i = 0; i < x->n; i++)
        if (x->blocks[i].kind == BLOCK_THINKING)
            qm_engine_tokenize(x->s->g, x->blocks[i].text.s, x->blocks[i].text.n, 0, &ids, NULL);
    size_t n = ids.n;
    qm_tokens_free(&ids);
    return n < x->u.n_generated ? (uint32_t)n : x->u.n_generated;
}

static void end_block(exchange *x) {
    if (x->open && x->stream) x->how->close(x, &x->blocks[x->n - 1]);
    x->open = 0;
}

static block *start_block(exchange *x, block_kind kind, const char *name, size_t n) {
    end_block(x);
    block *v = realloc(x->blocks, (x->n + 1) * sizeof *v), *b;
    if (!v) return NULL;
    x->blocks = v;
    b = &v[x->n];
    *b = (block){.kind = kind};
    if (qm_buffer_put(&b->name, name, n)) return NULL;
    api_id(b->id, x->how->block_ids[kind]);
    if (kind == BLOCK_CALL) api_id(b->call, x->how->call_id);
    x->n++;
    x->open = 1;
    if (x->stream) x->how->open(x, b);
    return b;
}

/* 0, or -1: no memory. */
static int take(exchange *x, qm_part part, const char *s, size_t n) {
    static const block_kind kinds[] = {BLOCK_TEXT, BLOCK_THINKING, BLOCK_CALL, BLOCK_CALL, BLOCK_CALL}; /* by qm_part */
    block *b = x->open ? &x->blocks[x->n - 1] : NULL;
    if (part == QM_PART_CALL) return start_block(x, BLOCK_CALL, s, n) ? 0 : -1;
    if (part == QM_PART_CALL_END) {
        if (b) b->whole = 1;
        end_block(x);
        return 0;
    }
    if (!n) return 0;
    if ((!b || b->kind != kinds[part]) && !(b = start_block(x, kinds[part], "", 0))) return -1;
    if (part == QM_PART_TEXT && x->logprobs) {
        if (b->logprobs ? json_array_extend(b->logprobs, x->logprobs) : !(b->logprobs = json_copy(x->logprobs)))
            return -1;
    }
    if (qm_buffer_put(&b->text, s, n)) return -1;
    if (x->stream) x->how->delta(x, b, s, n);
    return 0;
}

/* ---- the task's sink ---- */
static void on_begin(void *p) {
    exchange *x = p;
    if (!x->stream) return;
    api_begin_stream(x->r);
    x->how->begin(x);
}

static void on_token(void *p, uint32_t i, uint32_t id, const char *piece, size_t n, const qm_logprobs *lp) {
    exchange *x = p;
    (void)i;
    (void)id;
    if (!x->logprobs) x->logprobs = json_array();
    if (json_array_append_new(x->logprobs, openai_token(x->s, piece, n, lp))) x->broken = 1;
}

static void on_part(void *p, uint32_t i, qm_part kind, const char *s, size_t n) {
    exchange *x = p;
    (void)i;
    if (!x->broken && take(x, kind, s, n)) x->broken = 1;
    json_decref(x->logprobs); /* what they tell of has been said */
    x->logprobs = NULL;
}

static void on_finish(void *p, uint32_t i, task_finish f, const char *stopped_by) {
    exchange *x = p;
    (void)i;
    x->finish = f;
    if (!x->broken) end_block(x);
    if (stopped_by && !(x->stopped = strdup(stopped_by))) x->broken = 1;
}

static void on_failed(void *p, int began, int status, const qm_err *e) {
    exchange *x = p;
    if (began && x->stream) {
        x->how->broke(x, status, e);
        http_end(x->r);
    } else api_fail(x->r, status, e);
    exchange_free(x);
}

static void on_done(void *p, const task_usage *u) {
    exchange *x = p;
    qm_err e;
    x->u = *u;
    if (x->broken) {
        qm_fail(&e, QM_ERR_NOMEM, "out of memory");
        on_failed(x, 1, 500, &e);
        return;
    }
    if (x->stream) {
        x->how->end(x);
        http_end(x->r);
    } else api_reply_json(x->r, 200, x->how->answer(x));
    exchange_free(x);
}

static void on_gone(void *p) {
    exchange *x = p;
    task_cancel(x->t);
    exchange_free(x);
}

void exchange_begin(server *s, http_request *r, task_ask *a, const protocol *how, int stream, uint32_t max_tokens,
                    json_t *request) {
    static const task_sink sink = {on_begin, on_token, on_part, on_finish, on_done, on_failed};
    struct timespec now;
    exchange *x = calloc(1, sizeof *x);
    if (!x || !request) goto no_memory;
    clock_gettime(CLOCK_REALTIME, &now);
    *x = (exchange){.s = s,
                    .r = r,
                    .how = how,
                    .stream = stream,
                    .request = request,
                    .created = (double)now.tv_sec,
                    .n_prompt = (uint32_t)a->prompt.n,
                    .max_tokens = max_tokens};
    api_id(x->id, how->id);
    if (!(x->t = task_begin(s, http_peer(r), a, &sink, x, x->id))) goto no_memory;
    http_on_gone(r, on_gone, x);
    return;
no_memory:
    api_error(r, 500, NULL, "out of memory");
    json_decref(request);
    free(x);
}
