/* generate.c: qmoe-gpu generate: a prompt in, text out. Text goes to stdout as it comes; what ran and
 * how fast goes to stderr. */
#include "host.h"
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct {
    char *model, *prompt, *file, *system, *device, *executor;
    char **stop;
    int n, ctx, raw, special, no_nfc, json, ignore_eos, verbose, quiet;
    float rope_base;
} opt = {.n = -1};

static const struct poptOption table[] = {
    {"model", 'm', POPT_ARG_STRING, &opt.model, 0, "the model, a GGUF file (any part of a split set)", "FILE"},
    {"prompt", 'p', POPT_ARG_STRING, &opt.prompt, 0, "the prompt", "TEXT"},
    {"file", 'f', POPT_ARG_STRING, &opt.file, 0, "read the prompt from FILE, - is standard input", "FILE"},
    {"system", 0, POPT_ARG_STRING, &opt.system, 0, "a system message before the prompt", "TEXT"},
    {"raw", 0, POPT_ARG_NONE, &opt.raw, 0, "continue the prompt as plain text, without the chat format", NULL},
    {"special", 0, POPT_ARG_NONE, &opt.special, 0, "with --raw: match control tokens such as <|im_start|> in the prompt",
     NULL},
    {"no-nfc", 0, POPT_ARG_NONE, &opt.no_nfc, 0, "do not normalise the text to NFC (llama.cpp's ids)", NULL},
    {"n-predict", 'n', POPT_ARG_INT, &opt.n, 0, "tokens at most; -1: until the answer ends or the context is full",
     "N"},
    {"ctx", 'c', POPT_ARG_INT, &opt.ctx, 0, "context: positions to make room for (default: 4096 or the model's limit)",
     "N"},
    {"stop", 0, POPT_ARG_ARGV, &opt.stop, 0, "end before this text (may be given several times)", "TEXT"},
    {"ignore-eos", 0, POPT_ARG_NONE, &opt.ignore_eos, 0, "go on after an end-of-text token", NULL},
    {"device", 'd', POPT_ARG_STRING, &opt.device, 0, "auto, cuda:N, or sim (default: auto)", "DEVICE"},
    {"executor", 0, POPT_ARG_STRING, &opt.executor, 0, "graph, or ref: the C reference (default: graph)", "NAME"},
    {"rope-freq-base", 0, POPT_ARG_FLOAT, &opt.rope_base, 0, "override the file's RoPE base", "X"},
    {"json", 0, POPT_ARG_NONE, &opt.json, 0, "print one JSON object instead of text", NULL},
    {"verbose", 'v', POPT_ARG_NONE, &opt.verbose, 0, "more about the model and the device on stderr", NULL},
    {"quiet", 'q', POPT_ARG_NONE, &opt.quiet, 0, "nothing on stderr but errors", NULL},
    POPT_TABLEEND};

typedef struct {
    char *s;
    size_t n;
} text;

static int read_all(FILE *f, const char *name, text *t) {
    size_t cap = 0;
    for (;;) {
        if (t->n == cap) {
            cap = cap ? 2 * cap : 65536;
            char *p = realloc(t->s, cap);
            if (!p) {
                qm_host_say("%s: out of memory", name);
                return QM_EXIT_FAIL;
            }
            t->s = p;
        }
        size_t k = fread(t->s + t->n, 1, cap - t->n, f);
        t->n += k;
        if (!k) break;
    }
    if (!ferror(f)) return QM_EXIT_OK;
    qm_host_say("%s: %s", name, strerror(errno));
    return QM_EXIT_FAIL;
}

/* The prompt from -p, -f or standard input, whichever was given. */
static int read_prompt(text *t) {
    if (opt.prompt && opt.file) return qm_host_usage("give the prompt by --prompt or by --file, not both");
    if (opt.prompt) {
        t->n = strlen(opt.prompt);
        t->s = strdup(opt.prompt);
        return t->s ? QM_EXIT_OK : QM_EXIT_FAIL;
    }
    if (opt.file && strcmp(opt.file, "-")) {
        FILE *f = fopen(opt.file, "rb");
        if (!f) {
            qm_host_say("%s: %s", opt.file, strerror(errno));
            return QM_EXIT_FAIL;
        }
        int rc = read_all(f, opt.file, t);
        fclose(f);
        return rc;
    }
    if (!opt.file && isatty(0)) return qm_host_usage("no prompt: give --prompt TEXT, --file FILE, or standard input");
    return read_all(stdin, "standard input", t);
}

typedef struct {
    FILE *out;          /* NULL with --json */
    text said;          /* --json: all of it */
    json_t *ids;        /* --json */
    int failed;
} sink;

static int on_token(void *user, uint32_t id, const char *s, size_t n) {
    sink *k = user;
    if (k->out) {
        if (n && (fwrite(s, 1, n, k->out) != n || fflush(k->out))) k->failed = 1;
        return k->failed;
    }
    char *p = realloc(k->said.s, k->said.n + n + 1);
    if (!p) return k->failed = 1;
    k->said.s = p;
    memcpy(p + k->said.n, s, n);
    k->said.n += n;
    if (id != UINT32_MAX) json_array_append_new(k->ids, json_integer(id));
    return 0;
}

static int progress(void *user, uint64_t done, uint64_t total) {
    (void)user;
    static int last = -1;
    int pct = total ? (int)(100 * done / total) : 100;
    if (pct == last) return 0;
    last = pct;
    fprintf(stderr, "\rloading [%-30.*s] %3d%%%s", pct * 30 / 100, "##############################", pct,
            done == total ? "\r\033[K" : "");
    return 0;
}

static double rate(double n, double s) { return s > 0 ? n / s : 0; }

static void report(const qm_engine_info *i, const qm_gen_stats *s) {
    char a[32];
    double tps = rate(s->n_generated > 1 ? s->n_generated - 1 : 0, s->decode_s);
    fprintf(stderr, "\ndevice  %s (%s), executor %s\n", i->device, i->device_name, i->executor);
    if (i->device_why[0]) fprintf(stderr, "        %s\n", i->device_why);
    fprintf(stderr, "load    %.2f s, %s of weights, %.2f GB/s\n", i->load_s,
            qm_host_bytes(a, sizeof a, i->weight_bytes), rate(1e-9 * (double)i->weight_bytes, i->load_s));
    fprintf(stderr, "prompt  %u tokens, %.2f s, %.1f tok/s\n", s->n_prompt, s->prefill_s,
            rate(s->n_prompt, s->prefill_s));
    fprintf(stderr, "decode  %u tokens, %.2f s, %.1f tok/s, %.3f GB/s of weights\n", s->n_generated, s->decode_s, tps,
            tps * 1e-9 * (double)i->bytes_per_token);
    fprintf(stderr, "finish  %s, logits hash %016" PRIx64 "\n", qm_finish_name(s->finish), s->logits_hash);
}

static void describe(const qm_engine_info *i) {
    char a[32], b[32];
    fprintf(stderr, "model   %s (%s): %u layers, %u wide, %u/%u heads of %u, %u of %u experts of %u, vocabulary %u\n",
            i->name, i->arch, i->n_layers, i->n_embd, i->n_head, i->n_kv_head, i->head_dim, i->n_expert_used,
            i->n_expert, i->n_ff_exp, i->n_vocab);
    fprintf(stderr, "memory  %s of KV cache for %u positions, %s of weights read per token\n",
            qm_host_bytes(a, sizeof a, i->kv_bytes), i->n_ctx, qm_host_bytes(b, sizeof b, i->bytes_per_token));
}

static int print_json(const qm_engine_info *i, const qm_gen_stats *s, sink *k) {
    json_t *j = json_pack(
        "{s:s, s:s%, s:O, s:s, s:{s:s, s:s, s:s}, s:{s:i, s:f, s:f}, s:{s:i, s:f, s:f}, s:f}", "model", i->name,
        "text", k->said.s ? k->said.s : "", k->said.n, "token_ids", k->ids, "finish_reason", qm_finish_name(s->finish),
        "device", "id", i->device, "name", i->device_name, "executor", i->executor, "prompt", "tokens",
        (int)s->n_prompt, "seconds", s->prefill_s, "tokens_per_second", rate(s->n_prompt, s->prefill_s), "decode",
        "tokens", (int)s->n_generated, "seconds", s->decode_s, "tokens_per_second",
        rate(s->n_generated > 1 ? s->n_generated - 1 : 0, s->decode_s), "load_seconds", i->load_s);
    if (!j) {
        qm_host_say("cannot build the JSON answer");
        return QM_EXIT_FAIL;
    }
    char hash[17];
    snprintf(hash, sizeof hash, "%016" PRIx64, s->logits_hash);
    json_object_set_new(j, "logits_hash", json_string(hash));
    int bad = json_dumpf(j, stdout, JSON_INDENT(2) | JSON_PRESERVE_ORDER) || putchar('\n') == EOF || fflush(stdout);
    json_decref(j);
    if (bad) qm_host_say("standard output: %s", strerror(errno));
    return bad ? QM_EXIT_FAIL : QM_EXIT_OK;
}

static size_t count(char **list) {
    size_t n = 0;
    while (list && list[n]) n++;
    return n;
}

static int run(text prompt) {
    qm_err e = {0};
    qm_engine *g = NULL;
    qm_session *s = NULL;
    qm_tokens ids = {0};
    qm_engine_info info;
    qm_gen_stats st;
    sink k = {.out = opt.json ? NULL : stdout, .ids = json_array()};
    int show = !opt.quiet && isatty(2), status = QM_EXIT_FAIL;
    qm_engine_opts eo = {.device = opt.device, .executor = opt.executor, .n_ctx = (uint32_t)opt.ctx,
                         .rope_base = opt.rope_base, .no_nfc = opt.no_nfc, .before_load = opt.quiet ? NULL : qm_host_before_load,
                         .progress = show ? progress : NULL};
    qm_gen_opts go = {.max_tokens = opt.n < 0 ? 0 : (uint32_t)opt.n, .ignore_eos = opt.ignore_eos,
                      .stop = (const char *const *)opt.stop, .n_stop = count(opt.stop), .on_token = on_token,
                      .user = &k};
    if (qm_engine_open(&g, opt.model, &eo, &e)) goto failed;
    qm_engine_get_info(g, &info);
    if (opt.verbose) describe(&info);
    if (opt.raw ? qm_engine_tokenize(g, prompt.s, prompt.n, opt.special, &ids, &e)
                : qm_engine_chat(g, opt.system, prompt.s, prompt.n, &ids, &e))
        goto failed;
    if (qm_session_open(&s, g, &e) || qm_generate(s, ids.v, ids.n, &go, &st, &e)) goto failed;
    if (k.failed) {
        qm_host_say("standard output: cannot be written");
        goto out;
    }
    status = opt.json ? print_json(&info, &st, &k) : QM_EXIT_OK;
    if (!opt.json) putchar('\n');
    fflush(stdout);
    if (!opt.quiet) report(&info, &st);
    goto out;
failed:
    qm_host_fail(&e);
out:
    qm_session_close(s);
    qm_engine_close(g);
    free(ids.v);
    free(k.said.s);
    json_decref(k.ids);
    return status;
}

int qm_cmd_generate(int argc, char **argv) {
    poptContext con;
    int rc = qm_host_options(&con, argc, argv, table, "[-m] FILE -p TEXT [options]");
    if (rc >= 0) return rc;
    if (!opt.model && poptPeekArg(con)) opt.model = strdup(poptGetArg(con)); /* `generate MODEL` means -m MODEL */
    rc = qm_host_args(&con, NULL, 0, "");
    if (rc >= 0) return rc;
    poptFreeContext(con);
    if (!opt.model) return qm_host_usage("generate: no model: give --model FILE");
    if (opt.n == 0 || opt.n < -1) return qm_host_usage("--n-predict %d: expected -1, or 1 and above", opt.n);
    if (opt.ctx < 0) return qm_host_usage("--ctx %d: expected 1 and above", opt.ctx);
    if (opt.raw && opt.system) return qm_host_usage("--system has no place with --raw");
    if (opt.special && !opt.raw) return qm_host_usage("--special goes with --raw: a chat message is never trusted");
    qm_host_log(opt.verbose ? QM_LOG_DEBUG : opt.quiet ? -1 : QM_LOG_WARN);
    text prompt = {0};
    rc = read_prompt(&prompt);
    if (rc == QM_EXIT_OK && !prompt.n) rc = qm_host_usage("the prompt is empty");
    if (rc == QM_EXIT_OK) rc = run(prompt);
    free(prompt.s);
    return rc;
}
