/* metrics.c: see metrics.h. The text format: https://prometheus.io/docs/instrumenting/exposition_formats/ . Names that begin
 * with vllm: are those that routers and gateways read, with vLLM's meaning. */
#include "metrics.h"
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const paths[] = {
#define QM_ENDPOINT(method, path, name, open) path,
#include "endpoints.def"
#undef QM_ENDPOINT
    "other"};
enum { N_PATHS = sizeof paths / sizeof *paths, N_STATUS = 16 };

/* Upper ends in seconds; one more counts what is beyond. */
static const double fine[] = {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10};
static const double coarse[] = {0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600};
enum { MOST_ENDS = 15 };
typedef struct {
    const char *name, *help;
    const double *ends;
    int n;
} shape;
enum { FIRST_TOKEN, BETWEEN, LATENCY, QUEUED, N_HISTOGRAMS };
#define ENDS(x) x, sizeof x / sizeof *x
static const shape shapes[N_HISTOGRAMS] = {
    [FIRST_TOKEN] = {"qmoe_time_to_first_token_seconds", "From a request's arrival to its first token.", ENDS(coarse)},
    [BETWEEN] = {"qmoe_time_per_output_token_seconds", "Between two tokens of an answer.", ENDS(fine)},
    [LATENCY] = {"qmoe_request_seconds", "From a request's arrival to its end.", ENDS(coarse)},
    [QUEUED] = {"qmoe_queue_seconds", "From a request's arrival to its first step.", ENDS(coarse)},
};
static const char *const finishes[] = {"stop", "length", "tool_calls", "cancelled", "error"};
enum { N_FINISHES = sizeof finishes / sizeof *finishes };

typedef struct {
    uint64_t in[MOST_ENDS + 1], n;
    double sum;
} histogram;

struct metrics {
    struct {
        int status; /* 0: none yet */
        uint64_t n;
    } requests[N_PATHS][N_STATUS];
    uint64_t ended[N_FINISHES], prompt, cached, generated;
    histogram h[N_HISTOGRAMS];
};

metrics *metrics_open(void) { return calloc(1, sizeof(metrics)); }

void metrics_close(metrics *m) { free(m); }

static int path_of(const char *path) {
    for (int i = 0; path && i < N_PATHS - 1; i++) {
        const size_t n = strlen(paths[i]);
        if (paths[i][n - 1] == '*' ? !strncmp(path, paths[i], n - 1) && path[n - 1] : !strcmp(path, paths[i])) return i;
    }
    return N_PATHS - 1;
}

void metrics_request(metrics *m, const char *path, int status) {
    const int i = path_of(path);
    for (int k = 0; k < N_STATUS; k++)
        if (!m->requests[i][k].status || m->requests[i][k].status == status) {
            m->requests[i][k].status = status;
            m->requests[i][k].n++;
            return;
        }
}

void metrics_task(metrics *m, const char *finish, uint32_t n_prompt, uint32_t n_cached, uint32_t n_generated) {
    for (int i = 0; i < N_FINISHES; i++)
        if (!strcmp(finishes[i], finish)) m->ended[i]++;
    m->prompt += n_prompt;
    m->cached += n_cached;
    m->generated += n_generated;
}

static void observe(metrics *m, int i, double v) {
    histogram *h = &m->h[i];
    int k = 0;
    while (k < shapes[i].n && v > shapes[i].ends[k]) k++;
    h->in[k]++;
    h->n++;
    h->sum += v;
}

void metrics_first_token(metrics *m, double seconds) { observe(m, FIRST_TOKEN, seconds); }
void metrics_between_tokens(metrics *m, double seconds) { observe(m, BETWEEN, seconds); }
void metrics_latency(metrics *m, double seconds) { observe(m, LATENCY, seconds); }
void metrics_queued(metrics *m, double seconds) { observe(m, QUEUED, seconds); }

/* ---- the text ---- */
typedef struct {
    qm_buffer *b;
    int failed;
} text;

static void put(text *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void put(text *t, const char *fmt, ...) {
    char line[512];
    va_list ap;
    va_start(ap, fmt);
    const int n = vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    if (n < 0 || (size_t)n >= sizeof line || qm_buffer_put(t->b, line, (size_t)n)) t->failed = 1;
}

static void head(text *t, const char *name, const char *type, const char *help) {
    put(t, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

/* NAME="VALUE": a backslash, a quote and a line feed are escaped; what is not UTF-8 is mended. */
static void label(text *t, const char *name, const char *value) {
    size_t n;
    char *s = qm_text_utf8(value ? value : "", value ? strlen(value) : 0, &n);
    if (!s) t->failed = 1;
    put(t, "%s=\"", name);
    for (size_t i = 0; s && i < n; i++)
        if (s[i] == '\\' || s[i] == '"') put(t, "\\%c", s[i]);
        else if (s[i] == '\n') put(t, "\\n");
        else put(t, "%c", s[i]);
    put(t, "\"");
    free(s);
}

static void value(text *t, const char *name, const char *type, double v, const char *help) {
    head(t, name, type, help);
    put(t, "%s %.15g\n", name, v);
}

static void count(text *t, const char *name, uint64_t v, const char *help) {
    head(t, name, "counter", help);
    put(t, "%s %" PRIu64 "\n", name, v);
}

/* With the model's name as vLLM has it. */
static void of_model(text *t, const metrics_now *now, const char *name, double v, const char *help) {
    head(t, name, "gauge", help);
    put(t, "%s{", name);
    label(t, "model_name", now->model);
    put(t, "} %.15g\n", v);
}

static void put_histogram(text *t, const shape *s, const histogram *h) {
    uint64_t n = 0;
    head(t, s->name, "histogram", s->help);
    for (int i = 0; i < s->n; i++) put(t, "%s_bucket{le=\"%g\"} %" PRIu64 "\n", s->name, s->ends[i], n += h->in[i]);
    put(t, "%s_bucket{le=\"+Inf\"} %" PRIu64 "\n%s_sum %.9g\n%s_count %" PRIu64 "\n", s->name, h->n, s->name, h->sum,
        s->name, h->n);
}

static void put_rows(text *t, const metrics_now *now) {
    static const char name[] = "qmoe_step_rows";
    uint64_t n = 0;
    head(t, name, "histogram", "Rows of a step: a token of each answer, and positions of prompts.");
    for (int i = 0; i < METRICS_ROWS; i++)
        put(t, "%s_bucket{le=\"%d\"} %" PRIu64 "\n", name, 1 << i, n += now->steps_of[i]);
    put(t, "%s_bucket{le=\"+Inf\"} %" PRIu64 "\n%s_sum %" PRIu64 "\n%s_count %" PRIu64 "\n", name, n, name, now->n_rows,
        name, n);
}

static void put_requests(text *t, const metrics *m) {
    head(t, "qmoe_requests_total", "counter", "Requests that were answered, by path and HTTP status.");
    for (int i = 0; i < N_PATHS; i++)
        for (int k = 0; k < N_STATUS && m->requests[i][k].status; k++) {
            put(t, "qmoe_requests_total{");
            label(t, "path", paths[i]);
            put(t, ",status=\"%d\"} %" PRIu64 "\n", m->requests[i][k].status, m->requests[i][k].n);
        }
    head(t, "qmoe_finished_total", "counter", "Requests for text that have ended, by how.");
    for (int i = 0; i < N_FINISHES; i++)
        put(t, "qmoe_finished_total{reason=\"%s\"} %" PRIu64 "\n", finishes[i], m->ended[i]);
}

static void put_now(text *t, const metrics_now *now) {
    of_model(t, now, "vllm:num_requests_running", now->n_running, "Sequences that are being computed.");
    of_model(t, now, "vllm:num_requests_waiting", now->n_waiting, "Sequences that wait to be.");
    of_model(t, now, "vllm:kv_cache_usage_perc", now->n_pages ? (double)now->n_held / now->n_pages : 0,
             "The part of the KV cache in use; 1 is all of it.");
    head(t, "vllm:cache_config_info", "gauge", "The KV cache: positions of a block, and blocks.");
    put(t, "vllm:cache_config_info{block_size=\"%u\",num_gpu_blocks=\"%u\"} 1\n", now->page_tokens, now->n_pages);
    value(t, "qmoe_kv_pages", "gauge", now->n_pages, "Pages of the KV cache.");
    value(t, "qmoe_kv_pages_held", "gauge", now->n_held, "Of these, in use.");
    value(t, "qmoe_kv_pages_kept", "gauge", now->n_kept, "Of these, kept for who begins with the same.");
    value(t, "qmoe_connections", "gauge", now->n_connections, "Open connections.");
    value(t, "qmoe_uptime_seconds", "gauge", now->uptime_s, "Since the server began to listen.");
    count(t, "qmoe_steps_total", now->n_steps, "Steps of the device.");
    count(t, "qmoe_step_failures_total", now->n_failed, "Steps that failed.");
    put_rows(t, now);
}

int metrics_text(metrics *m, const metrics_now *now, qm_buffer *b) {
    text t = {b, 0};
    head(&t, "qmoe_info", "gauge", "What runs here.");
    put(&t, "qmoe_info{");
    label(&t, "model", now->model);
    put(&t, ",");
    label(&t, "device", now->device);
    put(&t, ",");
    label(&t, "executor", now->executor);
    put(&t, ",");
    label(&t, "version", now->version);
    put(&t, "} 1\n");
    put_now(&t, now);
    put_requests(&t, m);
    count(&t, "qmoe_prompt_tokens_total", m->prompt, "Tokens of prompts.");
    count(&t, "qmoe_cached_tokens_total", m->cached, "Of these, found in the KV cache and not computed.");
    count(&t, "qmoe_generated_tokens_total", m->generated, "Tokens that were generated.");
    for (int i = 0; i < N_HISTOGRAMS; i++) put_histogram(&t, &shapes[i], &m->h[i]);
    return t.failed ? -1 : 0;
}
