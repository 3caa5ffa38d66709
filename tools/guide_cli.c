/* guide_cli: answers under a guide, for tests/tools/test_schema.py (make build/guide_cli).
 *
 *   guide_cli FILE.gguf < requests > answers
 *
 * A request is a line of JSON: {"guide": {schema, tools: text; any_object, thinking, tool_choice, name, parallel, xml, lenient},
 * "walks": N, "seed": N, "end": text, "accept": [text ...]}. An answer is a line of JSON: {"error": [code, text]}, or
 *   walks   N texts, of tokens drawn from those allowed; every one ended by itself
 *   accept  for each text how many of its bytes the guide takes, one more where it may end there; the same for the
 *           tokenizer's own ids, joined
 *   cost    seconds of processor time: the first mask ("open" with it: the guide's), masks at states not seen before and seen, how many of each;
 *           the slowest mask
 * While it draws it also holds masks against accept: a token is allowed by both or by none. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "runtime/base/json.h"
#include "runtime/base/rng.h"
#include "runtime/text/guide.h"

enum { PATIENCE = 80, MOST_STEPS = 20000 };
static const qm_tokenizer *tok;
static qm_rng rng;

typedef struct {
    double open, first, slowest, all;
    uint64_t n;
} cost;

static void die(const char *what) {
    fprintf(stderr, "guide_cli: %s\n", what);
    exit(1);
}

/* Of this thread: others do not count. */
static double cpu_now(void) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static const uint32_t *mask(qm_guided *s, cost *k) {
    double t = cpu_now();
    const uint32_t *m = qm_guided_mask(s);
    t = cpu_now() - t;
    if (!k->n++) k->first = t;
    if (t > k->slowest) k->slowest = t;
    k->all += t;
    return m;
}

static int allowed(const uint32_t *m, uint32_t id) { return !m || qm_bit(m, id); }

static int byte_token(const uint32_t *m, char byte, uint32_t *id) {
    for (*id = 0; *id < qm_tokenizer_n(tok); ++*id) {
        qm_str s = qm_token_bytes(tok, *id);
        if (s.n == 1 && *s.s == byte && allowed(m, *id)) return 1;
    }
    return 0;
}

/* One of those allowed. Late in an answer, and now and then before, one that closes something, if there is one: end is what
 * closes text that may hold anything. */
static uint32_t draw(const uint32_t *m, uint32_t n, int close, const char *end, const char **at) {
    uint32_t id;
    close = close && qm_rng_below(&rng, 8); /* now and then anything: what closes may be content */
    for (id = 0; close && id < n; id++)
        if (allowed(m, id) && qm_token_is_eog(tok, id)) return id;
    if (end && (close || **at)) {
        if (!**at) *at = end;
        if (byte_token(m, *(*at)++, &id)) return id;
        *at = "";
    }
    for (const char *c = "\"}]>"; close && *c; c++)
        if (byte_token(m, *c, &id)) return id;
    uint32_t all = 0, k;
    for (id = 0; id < n; id++) all += (uint32_t)allowed(m, id);
    if (!all) die("a mask that allows nothing");
    k = qm_rng_below(&rng, all);
    for (id = 0; !allowed(m, id) || k--; id++) {}
    return id;
}

static json_t *walk(const qm_guide *g, const char *end, cost *k) {
    const char *at = "";
    qm_guided *s;
    qm_err e;
    char *text = NULL;
    size_t len = 0, cap = 0;
    uint32_t n = qm_tokenizer_n(tok);
    if (qm_guided_open(&s, g, &e)) die(e.msg);
    for (int step = 0;; step++) {
        const uint32_t *m = mask(s, k);
        if (step > MOST_STEPS) die("an answer without an end");
        int before = qm_guided_done(s);
        for (int i = 0; m && i < 8; i++) { /* what the mask does not allow is not accepted */
            uint32_t id = qm_rng_below(&rng, n);
            if (!qm_bit(m, id) && !qm_guided_accept(s, id)) die("a token was accepted that the mask does not allow");
        }
        uint32_t id = draw(m, n, step > PATIENCE || qm_rng_below(&rng, 6) == 0, end, &at);
        if (before && !qm_token_is_eog(tok, id)) die("an answer that is done goes on");
        if (qm_guided_accept(s, id)) die("a token was not accepted that the mask allows");
        if (qm_token_is_eog(tok, id)) break;
        size_t n_bytes;
        const char *p = qm_token_answer(tok, id, &n_bytes);
        if (len + n_bytes > cap) {
            text = realloc(text, cap = 2 * (len + n_bytes));
            if (!text) die("out of memory");
        }
        if (n_bytes) memcpy(text + len, p, n_bytes);
        len += n_bytes;
    }
    if (!qm_guided_done(s) || !qm_guided_accept(s, 0)) die("an answer that has ended goes on");
    qm_guided_close(s);
    json_t *j = qm_json_text(text ? text : "", len);
    free(text);
    return j;
}

static json_int_t by_bytes(const qm_guide *g, const char *p, size_t n) {
    qm_guided *s;
    qm_err e;
    json_int_t k = 0;
    if (qm_guided_open(&s, g, &e)) die(e.msg);
    while ((size_t)k < n && !qm_guided_accept_bytes(s, p + k, 1)) k++;
    if ((size_t)k == n) k += qm_guided_complete(s);
    qm_guided_close(s);
    return k;
}

static json_int_t by_tokens(const qm_guide *g, const char *p, size_t n, cost *c) {
    qm_guided *s;
    qm_err e;
    qm_tokens ids = {0};
    json_int_t k = 0;
    size_t i = 0;
    if (qm_guided_open(&s, g, &e) || qm_tokenize(tok, p, n, QM_TOK_SPECIAL | QM_TOK_NO_NFC, &ids, &e)) die(e.msg);
    for (; i < ids.n; i++) {
        const uint32_t *m = mask(s, c);
        int may = allowed(m, ids.v[i]);
        if (may != !qm_guided_accept(s, ids.v[i])) die("mask and accept do not agree");
        if (!may) break;
        k += (json_int_t)qm_token_bytes(tok, ids.v[i]).n;
    }
    if (i == ids.n) k += qm_guided_complete(s);
    qm_tokens_free(&ids);
    qm_guided_close(s);
    return k;
}

static json_t *answer(const json_t *q) {
    const json_t *o = json_object_get(q, "guide");
#define TEXT(name) json_string_value(json_object_get(o, name))
#define INT(name) (int)json_integer_value(json_object_get(o, name))
    qm_guide_opts opts = {.thinking = INT("thinking"),
                          .schema = TEXT("schema"),
                          .any_object = INT("any_object"),
                          .tools = TEXT("tools"),
                          .tool_choice = (qm_tools_choice)INT("tool_choice"),
                          .name = TEXT("name"),
                          .parallel = INT("parallel"),
                          .xml = INT("xml"),
                          .lenient = INT("lenient")};
    qm_guide *g;
    qm_err e;
    cost k = {0};
    double t = cpu_now();
    int rc = qm_guide_make(&g, tok, &opts, &e);
    k.open = cpu_now() - t;
    if (rc) return json_pack("{s:[i,o]}", "error", rc, qm_json_str(e.msg));
    json_t *walks = json_array(), *accept = json_array();
    rng.s = (uint64_t)json_integer_value(json_object_get(q, "seed"));
    for (json_int_t i = json_integer_value(json_object_get(q, "walks")); i > 0; i--)
        json_array_append_new(walks, walk(g, json_string_value(json_object_get(q, "end")), &k));
    size_t i;
    json_t *x;
    json_array_foreach (json_object_get(q, "accept"), i, x) {
        const char *p = json_string_value(x);
        size_t n = json_string_length(x);
        json_array_append_new(accept, json_pack("[I,I]", by_bytes(g, p, n), by_tokens(g, p, n, &k)));
    }
    qm_guide_close(g);
    return json_pack("{s:o,s:o,s:{s:f,s:f,s:f,s:f,s:I}}", "walks", walks, "accept", accept, "cost", "open", k.open,
                     "first", k.first, "slowest", k.slowest, "all", k.all, "n", (json_int_t)k.n);
}

int main(int argc, char **argv) {
    qm_err e;
    qm_gguf *g = NULL;
    qm_tokenizer *t = NULL;
    char *line = NULL;
    size_t cap = 0;
    ssize_t n;
    if (argc != 2) {
        fprintf(stderr, "usage: guide_cli FILE.gguf < requests > answers\n");
        return 2;
    }
    if (qm_gguf_open(&g, argv[1], &e) || qm_tokenizer_open(&t, g, &e)) die(e.msg);
    tok = t;
    while ((n = getline(&line, &cap, stdin)) > 0) {
        json_t *q = json_loadb(line, (size_t)n, 0, NULL), *a = NULL;
        if (!q || !(a = answer(q))) die("a request that is no JSON");
        json_dumpf(a, stdout, JSON_COMPACT);
        putchar('\n');
        json_decref(a);
        json_decref(q);
    }
    free(line);
    qm_tokenizer_close(t);
    qm_gguf_close(g);
    return fflush(stdout) ? 1 : 0;
}
