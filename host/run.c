/* run.c: the options that generate and chat share, opening a model, and what is reported of it. */
#include "run.h"
#include <errno.h>
#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

qm_run_options qm_run = {.n = -1, .ctx = INT_MIN};

static char *system_file;
static int escape, no_escape;
const struct poptOption qm_run_model_table[] = {
    {"model", 'm', POPT_ARG_STRING, &qm_run.model, 0, "the model, a GGUF file (any part of a split set)", "FILE"},
    {"chat-template", 0, POPT_ARG_STRING, &qm_run.template_file, 0,
     "render the conversation by this Jinja template instead of the model's own: a file, or the template itself",
     "FILE"},
    {"template-kwargs", 0, POPT_ARG_STRING, &qm_run.template_kwargs, 0,
     "more variables for the template: '{\"enable_thinking\": false}'", "JSON"},
    {"ctx", 'c', POPT_ARG_INT, &qm_run.ctx, 0,
     "context: positions to make room for; 0: the model's limit (default: what is asked for takes, at least 4096, "
     "without an end 32768; at most the model's limit and what fits)",
     "N"},
    {NULL, 0, POPT_ARG_INCLUDE_TABLE, (void *)qm_cache_table, 0, NULL, NULL},
    {NULL, 0, POPT_ARG_INCLUDE_TABLE, (void *)qm_apart_table, 0, NULL, NULL},
    {NULL, 0, POPT_ARG_INCLUDE_TABLE, (void *)qm_ubatch_table, 0, NULL, NULL},
    {"no-nfc", 0, POPT_ARG_NONE, &qm_run.no_nfc, 0, "do not normalise the text to NFC (llama.cpp's ids)", NULL},
    {"device", 'd', POPT_ARG_STRING, &qm_run.device, 0, "where to run (default: auto)", "auto|cuda:N|sim"},
    {"executor", 0, POPT_ARG_STRING, &qm_run.executor, 0,
     "one CUDA graph a step, one resident kernel that walks it, or the C reference (default: auto, the faster of the "
     "two, as measured or by the GPU's generation)",
     "auto|graph|persistent|ref"},
    {"rope-freq-base", 0, POPT_ARG_FLOAT, &qm_run.rope_base, 0, "override the file's RoPE base", "X"},
    {"verbose", 'v', POPT_ARG_NONE, &qm_run.verbose, 0, "more about the model and the device on stderr", NULL},
    {"quiet", 'q', POPT_ARG_NONE, &qm_run.quiet, 0, "nothing on stderr but errors", NULL},
    POPT_TABLEEND};

const struct poptOption qm_run_table[] = {
    {"prompt", 'p', POPT_ARG_STRING, &qm_run.prompt, 0, "the prompt; of a chat the first one", "TEXT"},
    {"system", 0, POPT_ARG_STRING, &qm_run.system, 0, "a system message before the prompt", "TEXT"},
    {"system-file", 0, POPT_ARG_STRING, &system_file, 0, "read the system message from FILE", "FILE"},
    {"escape", 'e', POPT_ARG_NONE, &escape, 0,
     "\\n, \\r, \\t, \\', \\\", \\\\ and \\xHH in --prompt, --system and --stop stand for what they name (default: "
     "text is taken as it "
     "stands)",
     NULL},
    {"no-escape", 0, POPT_ARG_NONE, &no_escape, 0, "the opposite of --escape: the default", NULL},
    {"n-predict", 'n', POPT_ARG_INT, &qm_run.n, 0,
     "tokens of an answer at most; -1: until it ends or the context is full", "N"},
    {"stop", 0, POPT_ARG_ARGV, &qm_run.stop, 0, "end an answer before this text (may be given several times)", "TEXT"},
    {"ignore-eos", 0, POPT_ARG_NONE, &qm_run.ignore_eos, 0, "go on after an end-of-text token", NULL},
    {NULL, 0, POPT_ARG_INCLUDE_TABLE, (void *)qm_run_model_table, 0, NULL, NULL},
    POPT_TABLEEND};

/* What the template makes of them is the engine's affair; that they are JSON is ours to say before anything is opened. */
static int check_kwargs(void) {
    json_error_t at;
    json_t *j = json_loads(qm_run.template_kwargs, JSON_REJECT_DUPLICATES, &at);
    if (!j) return qm_host_usage("--template-kwargs: line %d, column %d: %s", at.line, at.column, at.text);
    int object = json_is_object(j);
    json_decref(j);
    return object ? -1 : qm_host_usage("--template-kwargs: expected an object: '{\"name\": value}'");
}

int qm_run_read(const char *path, size_t limit, char **s, size_t *n) {
    int own = strcmp(path, "-"), rc = -1, over = 0;
    const char *name = own ? path : "standard input";
    FILE *f = own ? fopen(path, "rbe") : stdin;
    size_t cap = 65536, k;
    *n = 0;
    *s = f ? malloc(cap) : NULL;
    while (*s && !over && (k = fread(*s + *n, 1, cap - *n - 1, f))) {
        *n += k;
        over = *n > limit;
        if (*n + 1 < cap || over) continue;
        char *p = realloc(*s, cap *= 2);
        if (!p) free(*s);
        *s = p;
    }
    if (!f || (*s && ferror(f))) qm_host_say("%s: %s", name, strerror(errno));
    else if (!*s) qm_host_say("%s: out of memory", name);
    else if (over) qm_host_say("%s: more than %zu MiB, the most that is read here", name, limit >> 20);
    else rc = 0;
    if (own && f) fclose(f);
    if (rc) free(*s);
    else (*s)[*n] = 0;
    if (rc) *s = NULL;
    return rc;
}

static void unescape_all(void) {
    qm_host_unescape(qm_run.prompt);
    if (!system_file) qm_host_unescape(qm_run.system);
    for (size_t i = 0; i < qm_run.n_stop; i++) qm_host_unescape(qm_run.stop[i]);
}

int qm_run_args(int argc, char **argv, const struct poptOption *table, const char *synopsis) {
    poptContext con;
    int rc = qm_host_options(&con, argc, argv, table, synopsis);
    if (rc >= 0) return rc;
    if (!qm_run.model && poptPeekArg(con)) qm_run.model = strdup(poptGetArg(con));
    rc = qm_host_args(&con, NULL, 0, "");
    if (rc >= 0) return rc;
    poptFreeContext(con);
    const char *name = strchr(argv[0], ' ') ? strchr(argv[0], ' ') + 1 : argv[0];
    if (!qm_run.model) return qm_host_usage("%s: no model: give --model FILE", name);
    if (qm_run.n == 0 || qm_run.n < -1) return qm_host_usage("--n-predict %d: expected -1, or 1 and above", qm_run.n);
    if (qm_run.ctx == INT_MIN) qm_run.ctx = -1;
    else if (qm_run.ctx < 0) return qm_host_usage("--ctx %d: expected 0 (the model's limit) and above", qm_run.ctx);
    if ((rc = qm_ubatch_check()) >= 0) return rc;
    if (system_file && qm_run.system)
        return qm_host_usage("give the system message by --system or by --system-file, not both");
    size_t n;
    if (system_file && qm_run_read(system_file, QM_PROMPT_MOST, &qm_run.system, &n)) return QM_EXIT_FAIL;
    if (escape && no_escape) return qm_host_usage("--escape and --no-escape at once");
    while (qm_run.stop && qm_run.stop[qm_run.n_stop]) qm_run.n_stop++;
    if (escape) unescape_all();
    if (qm_run.template_kwargs && (rc = check_kwargs()) >= 0) return rc;
    qm_host_log(qm_run.verbose ? QM_LOG_DEBUG : qm_run.quiet ? -1 : QM_LOG_WARN);
    return -1;
}

int qm_run_smart(int fd) {
    const char *term = getenv("TERM");
    return isatty(fd) && term && term[0] && strcmp(term, "dumb");
}

typedef struct {
    int show, last;
    int (*cancelled)(void);
    qm_run_measure measure;
    void *user;
} loading;

static int measure(void *user, const qm_engine *g, uint32_t *n_needed, uint32_t *n_wanted, qm_err *e) {
    const loading *l = user;
    if (l->measure) return l->measure(l->user, g, n_needed, n_wanted, e);
    *n_wanted = QM_CTX_OPEN;
    return 0;
}

static int progress(void *user, uint64_t done, uint64_t total) {
    loading *l = user;
    int pct = total ? (int)(100 * done / total) : 100;
    if (l->show && pct != l->last)
        fprintf(stderr, "\rloading [%-30.*s] %3d%%%s", pct * 30 / 100, "##############################", pct,
                done == total ? "\r\033[K" : "");
    l->last = pct;
    if (!l->cancelled || !l->cancelled()) return 0;
    if (l->show && done < total) fputs("\r\033[K", stderr);
    return 1;
}

int qm_run_open(qm_engine **g, int (*cancelled)(void), qm_run_measure m, void *user, qm_err *e) {
    loading l = {
        .show = !qm_run.quiet && qm_run_smart(2), .last = -1, .cancelled = cancelled, .measure = m, .user = user};
    qm_engine_opts o = {.device = qm_run.device,
                        .executor = qm_run.executor,
                        .n_ctx = qm_run.ctx < 0 ? 0
                                 : qm_run.ctx   ? (uint32_t)qm_run.ctx
                                                : QM_CTX_MODEL,
                        .cache_k = qm_cache.k,
                        .cache_v = qm_cache.v,
                        .apart = qm_apart,
                        .dependent_launch = qm_dependent,
                        .n_ubatch = (uint32_t)qm_ubatch,
                        .n_parallel = qm_run.n_parallel,
                        .n_kv = qm_run.n_kv,
                        .measure = measure,
                        .rope_base = qm_run.rope_base,
                        .no_nfc = qm_run.no_nfc,
                        .template_kwargs = qm_run.template_kwargs,
                        .before_load = qm_run.quiet ? NULL : qm_host_before_load,
                        .notice = qm_run.quiet ? NULL : qm_host_notice,
                        .progress = progress,
                        .user = &l};
    char *text = NULL;
    size_t n;
    /* llama.cpp's option takes the template itself: what holds a Jinja tag is one. */
    if (qm_run.template_file && (strstr(qm_run.template_file, "{%") || strstr(qm_run.template_file, "{{"))) {
        n = strlen(qm_run.template_file);
        text = strdup(qm_run.template_file);
        if (!text) return qm_fail(e, QM_ERR_NOMEM, "--chat-template: out of memory");
    } else if (qm_run.template_file && qm_run_read(qm_run.template_file, QM_TEMPLATE_MOST, &text, &n))
        return qm_fail(e, QM_ERR_IO, "--chat-template %s: cannot be read", qm_run.template_file);
    if (text && strlen(text) != n) {
        free(text);
        return qm_fail(e, QM_ERR_FORMAT, "--chat-template %s: holds a NUL byte: not a text", qm_run.template_file);
    }
    o.chat_template = text;
    int rc = qm_engine_open(g, qm_run.model, &o, e);
    free(text);
    return rc;
}

double qm_run_rate(double n, double s) { return s > 0 ? n / s : 0; }

void qm_run_describe(const qm_engine_info *i) {
    char a[32], b[32], experts[48] = "a feed-forward network";
    if (!qm_run.verbose) return;
    if (i->n_expert) snprintf(experts, sizeof experts, "%u of %u experts", i->n_expert_used, i->n_expert);
    fprintf(stderr, "model   %s (%s): %u layers, %u wide, %u/%u heads of %u, %s of %u, vocabulary %u\n", i->name,
            i->arch, i->n_layers, i->n_embd, i->n_head, i->n_kv_head, i->head_dim, experts, i->n_ff_exp, i->n_vocab);
    fprintf(stderr, "chat    %s\n", i->chat_format);
    fprintf(stderr, "memory  %s of KV cache for %u positions in %s, %s of weights read per token\n",
            qm_host_bytes(a, sizeof a, i->kv_bytes), i->n_ctx, i->cache,
            qm_host_bytes(b, sizeof b, i->bytes_per_token));
    fprintf(stderr, "steps   %u positions at most, %s of activations\n", i->n_ubatch,
            qm_host_bytes(a, sizeof a, i->scratch_bytes));
}

void qm_run_say_device(const qm_engine_info *i) {
    char a[32];
    fprintf(stderr, "device  %s (%s), executor %s%s\n", i->device, i->device_name, i->executor,
            i->dependent ? ", dependent launches" : "");
    if (i->device_why[0]) fprintf(stderr, "        %s\n", i->device_why);
    if (i->executor_why[0] && !i->interpreted) fprintf(stderr, "        executor by %s\n", i->executor_why);
    fprintf(stderr, "load    %.2f s, %s of weights, %.2f GB/s\n", i->load_s,
            qm_host_bytes(a, sizeof a, i->weight_bytes), qm_run_rate(1e-9 * (double)i->weight_bytes, i->load_s));
}
