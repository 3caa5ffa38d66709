/* trace.c: qmoe-gpu trace: one step, seen from inside. */
#include "host.h"
#include "runtime/qmoe_tools.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct {
    char *model, *prompt, *device, *executor, *compare, *stop_after, *layers, *dump;
    int json, special, chat, no_nfc, all, free_run, top_k, ctx, verbose, quiet;
    float rope_base;
    double cosine;
} opt;

static const struct poptOption table[] = {
    {"model", 'm', POPT_ARG_STRING, &opt.model, 0, "GGUF file", "FILE"},
    {"prompt", 'p', POPT_ARG_STRING, &opt.prompt, 0, "text to trace, as it stands", "TEXT"},
    {"json", 'j', POPT_ARG_NONE, &opt.json, 0, "JSON and nothing else on the standard output", NULL},
    {"verbose", 'v', POPT_ARG_NONE, &opt.verbose, 0, "every slot and every compared op", NULL},
    {"quiet", 'q', POPT_ARG_NONE, &opt.quiet, 0, "no warnings", NULL},
    {"top-k", 'k', POPT_ARG_INT, &opt.top_k, 0, "logits shown; default 5", "N"},
    {"all-positions", 'a', POPT_ARG_NONE, &opt.all, 0, "count the experts' use over the whole prompt", NULL},
    {"chat", 0, POPT_ARG_NONE, &opt.chat, 0,
     "the text is a user's message: trace the whole prompt that generate makes of it", NULL},
    {"special", 0, POPT_ARG_NONE, &opt.special, 0, "match control tokens in the text", NULL},
    {"compare", 0, POPT_ARG_STRING, &opt.compare, 0,
     "\"ref\": each op against its C reference; or a directory of .npy files", "ref|DIR"},
    {"free", 0, POPT_ARG_NONE, &opt.free_run, 0, "with --compare ref: both compute the whole prompt on their own",
     NULL},
    {"stop-after", 0, POPT_ARG_STRING, &opt.stop_after, 0, "compare no further than this op: qkv, or 3.qkv", "OP"},
    {"layers", 0, POPT_ARG_STRING, &opt.layers, 0, "compare and dump these layers only: 3, or 3-7", "A-B"},
    {"cosine", 0, POPT_ARG_DOUBLE, &opt.cosine, 0, "a cosine below this departs; default 0.9999, a directory's 0.999",
     "X"},
    {"dump", 0, POPT_ARG_STRING, &opt.dump, 0, "write every vector as DIR/LAYER.SLOT.npy", "DIR"},
    {"ctx", 'c', POPT_ARG_INT, &opt.ctx, 0, "positions to make room for (default: the prompt's, at least 4096)", "N"},
    {NULL, 0, POPT_ARG_INCLUDE_TABLE, (void *)qm_cache_table, 0, NULL, NULL},
    {NULL, 0, POPT_ARG_INCLUDE_TABLE, (void *)qm_apart_table, 0, NULL, NULL},
    {NULL, 0, POPT_ARG_INCLUDE_TABLE, (void *)qm_ubatch_table, 0, NULL, NULL},
    {"device", 'd', POPT_ARG_STRING, &opt.device, 0, "where to run (default: auto)", "auto|cuda:N|sim"},
    {"executor", 0, POPT_ARG_STRING, &opt.executor, 0, "what runs a step (default: auto)", "auto|graph|persistent|ref"},
    {"rope-base", 0, POPT_ARG_FLOAT, &opt.rope_base, 0, "overrides the file's", "X"},
    {"no-nfc", 0, POPT_ARG_NONE, &opt.no_nfc, 0, "tokenise the text as it stands, as llama.cpp does", NULL},
    POPT_TABLEEND,
};

/* "3" or "3-7" */
static int parse_layers(const char *s, int *first, int *last) {
    char *end;
    long a = strtol(s, &end, 10), b = a;
    if (end == s || a < 0) return -1;
    if (*end == '-') {
        const char *second = end + 1;
        b = strtol(second, &end, 10);
        if (end == second) return -1;
    }
    if (*end || b < a || b > 1 << 20) return -1;
    *first = (int)a;
    *last = (int)b;
    return 0;
}

/* The prompt's ids, before anything is loaded: they say how much context is needed. */
static int measure(void *user, const qm_engine *g, uint32_t *n_needed, uint32_t *n_wanted, qm_err *e) {
    qm_tokens *ids = user;
    size_t n = strlen(opt.prompt);
    qm_message message = {"user", opt.prompt, n};
    int rc =
        opt.chat ? qm_engine_render(g, &message, 1, ids, e) : qm_engine_tokenize(g, opt.prompt, n, opt.special, ids, e);
    (void)n_wanted;
    *n_needed = ids->n < UINT32_MAX ? (uint32_t)ids->n : UINT32_MAX;
    return rc;
}

static int run(const qm_trace_opts *o) {
    qm_tokens ids = {0};
    qm_engine_opts eo = {.device = opt.device,
                         .executor = opt.executor,
                         .n_ctx = (uint32_t)opt.ctx,
                         .cache_k = qm_cache.k,
                         .cache_v = qm_cache.v,
                         .apart = qm_apart,
                         .dependent_launch = qm_dependent,
                         .n_ubatch = (uint32_t)qm_ubatch,
                         .rope_base = opt.rope_base,
                         .no_nfc = opt.no_nfc,
                         .before_load = opt.quiet ? NULL : qm_host_before_load,
                         .notice = opt.quiet ? NULL : qm_host_notice,
                         .measure = measure,
                         .user = &ids};
    qm_engine *g = NULL;
    qm_err e = {0};
    int departed = 0, status;
    if (qm_engine_open(&g, opt.model, &eo, &e)) status = qm_host_open_fail(&e, opt.ctx);
    else if (qm_trace(g, opt.prompt, strlen(opt.prompt), ids.v, ids.n, o, &departed, qm_host_write, stdout, &e))
        status = qm_host_open_fail(&e, -1);
    else status = departed ? QM_EXIT_FAIL : QM_EXIT_OK;
    free(ids.v);
    qm_engine_close(g);
    return status;
}

int qm_cmd_trace(int argc, char **argv) {
    poptContext con;
    qm_trace_opts o = {.last_layer = -1};
    int rc = qm_host_options(&con, argc, argv, table,
                             "[-m] FILE -p TEXT [options]\n\nShows one step from inside: statistics of every layer, "
                             "what the routers chose, the logits.\n"
                             "With --compare the exit status is 1 where something departs.\n"
                             "  example: qmoe-gpu trace model.gguf -p \"2 + 2 =\" --compare ref");
    if (rc >= 0) return rc;
    if (!opt.model && poptPeekArg(con)) opt.model = strdup(poptGetArg(con)); /* `trace MODEL` means -m MODEL */
    if ((rc = qm_host_args(&con, NULL, 0, "")) >= 0) return rc;
    poptFreeContext(con);
    if (!opt.model) return qm_host_usage("trace: no model: give --model FILE");
    if (!opt.prompt) return qm_host_usage("trace: no prompt: give --prompt TEXT");
    if (!opt.prompt[0]) return qm_host_usage("trace: the prompt is empty");
    if (opt.ctx < 0) return qm_host_usage("--ctx %d: expected 1 and above", opt.ctx);
    if ((rc = qm_ubatch_check()) >= 0) return rc;
    if (opt.top_k < 0) return qm_host_usage("--top-k %d: expected 1 and above", opt.top_k);
    if (opt.chat && opt.special)
        return qm_host_usage("--special has no place with --chat: a chat message is never trusted");
    if (opt.layers && parse_layers(opt.layers, &o.first_layer, &o.last_layer))
        return qm_host_usage("--layers %s: expected 3 or 3-7", opt.layers);
    int ref = opt.compare && !strcmp(opt.compare, "ref");
    if (opt.free_run && !ref) return qm_host_usage("--free goes with --compare ref");
    if (opt.stop_after && (!ref || opt.free_run))
        return qm_host_usage("--stop-after goes with --compare ref, op by op");
    if (ref && opt.executor && !strcmp(opt.executor, "ref"))
        return qm_host_usage("--compare ref compares a device; --executor ref has none");
    if (!(opt.cosine >= 0 && opt.cosine <= 1)) return qm_host_usage("--cosine %g: expected 0 to 1", opt.cosine);
    o.path = opt.model;
    o.json = opt.json;
    o.verbose = opt.verbose;
    o.all_positions = opt.all;
    o.top_k = (uint32_t)opt.top_k;
    o.dump = opt.dump;
    o.compare = opt.compare;
    o.free_run = opt.free_run;
    o.stop_after = opt.stop_after;
    o.min_cosine = opt.cosine;
    qm_host_log(opt.quiet ? -1 : QM_LOG_WARN);
    return run(&o);
}
