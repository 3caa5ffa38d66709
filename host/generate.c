/* generate.c: qmoe-gpu generate: a prompt in, text out. Text goes to stdout as it comes; what ran and
 * how fast goes to stderr. */
#include "run.h"
#include "sampling.h"
#include "json.h"
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct {
    char *file;
    int raw, special, json, verbose_prompt;
} opt;

static const struct poptOption table[] = {
    {NULL, 0, POPT_ARG_INCLUDE_TABLE, (void *)qm_run_table, 0, NULL, NULL},
    {"file", 'f', POPT_ARG_STRING, &opt.file, 0, "read the prompt from FILE, - is standard input", "FILE"},
    {"raw", 0, POPT_ARG_NONE, &opt.raw, 0, "continue the prompt as plain text, without the chat format", NULL},
    {"special", 0, POPT_ARG_NONE, &opt.special, 0,
     "with --raw: match control tokens such as <|im_start|> in the prompt", NULL},
    {"verbose-prompt", 0, POPT_ARG_NONE, &opt.verbose_prompt, 0, "list the prompt's tokens on stderr, ids and pieces",
     NULL},
    {"json", 0, POPT_ARG_NONE, &opt.json, 0, "print one JSON object instead of text", NULL},
    {NULL, 0, POPT_ARG_INCLUDE_TABLE, (void *)qm_sampling_table, 0, "How tokens are chosen:", NULL},
    POPT_TABLEEND};

typedef struct {
    char *s;
    size_t n;
} text;

/* The prompt from -p, -f or standard input, whichever was given. */
static int read_prompt(text *t) {
    if (qm_run.prompt && opt.file) return qm_host_usage("give the prompt by --prompt or by --file, not both");
    if (qm_run.prompt) {
        t->n = strlen(qm_run.prompt);
        t->s = strdup(qm_run.prompt);
        return t->s ? QM_EXIT_OK : QM_EXIT_FAIL;
    }
    if (!opt.file && isatty(0)) return qm_host_usage("no prompt: give --prompt TEXT, --file FILE, or standard input");
    return qm_run_read(opt.file ? opt.file : "-", QM_PROMPT_MOST, &t->s, &t->n) ? QM_EXIT_FAIL : QM_EXIT_OK;
}

typedef struct {
    FILE *out;        /* NULL with --json */
    qm_buffer answer; /* --json: all of it */
    json_t *ids;      /* --json */
    int failed;
    qm_progress prefill;
} sink;

static int on_token(void *user, uint32_t id, const char *s, size_t n) {
    sink *k = user;
    qm_progress_end(&k->prefill);
    if (k->out) {
        if (n && (fwrite(s, 1, n, k->out) != n || fflush(k->out))) k->failed = 1;
        return k->failed;
    }
    if (qm_buffer_put(&k->answer, s, n)) return k->failed = 1;
    if (id != UINT32_MAX) json_array_append_new(k->ids, json_integer(id));
    return 0;
}

static int on_prefill(void *user, uint32_t done, uint32_t total) {
    sink *k = user;
    qm_progress_show(&k->prefill, "prompt ", done, total);
    return 0;
}

static void report(const qm_engine_info *i, const qm_gen_stats *s, const qm_sampling *p) {
    double tps = qm_run_rate(s->n_generated > 1 ? s->n_generated - 1 : 0, s->decode_s);
    fputc('\n', stderr);
    qm_run_say_device(i);
    fprintf(stderr, "prompt  %u tokens, %.2f s, %.1f tok/s\n", s->n_prompt, s->prefill_s,
            qm_run_rate(s->n_prompt, s->prefill_s));
    fprintf(stderr, "decode  %u tokens, %.2f s, %.1f tok/s, %.3f GB/s of weights\n", s->n_generated, s->decode_s, tps,
            tps * 1e-9 * (double)i->bytes_per_token);
    fputs("sample  ", stderr);
    qm_sampling_print(stderr, p);
    fprintf(stderr, "finish  %s, logits hash %016" PRIx64 "\n", qm_finish_name(s->finish), s->logits_hash);
}

static int print_json(const qm_engine_info *i, const qm_gen_stats *s, const qm_sampling *p, sink *k) {
    json_t *j =
        json_pack("{s:s, s:o, s:O, s:s, s:{s:s, s:s, s:s}, s:{s:i, s:f, s:f}, s:{s:i, s:f, s:f}, s:f}", "model",
                  i->name, "text", qm_host_json_text(k->answer.s ? k->answer.s : "", k->answer.n), "token_ids", k->ids,
                  "finish_reason", qm_finish_name(s->finish), "device", "id", i->device, "name", i->device_name,
                  "executor", i->executor, "prompt", "tokens", (int)s->n_prompt, "seconds", s->prefill_s,
                  "tokens_per_second", qm_run_rate(s->n_prompt, s->prefill_s), "decode", "tokens", (int)s->n_generated,
                  "seconds", s->decode_s, "tokens_per_second",
                  qm_run_rate(s->n_generated > 1 ? s->n_generated - 1 : 0, s->decode_s), "load_seconds", i->load_s);
    if (!j) {
        qm_host_say("cannot build the JSON answer");
        return QM_EXIT_FAIL;
    }
    char hash[17];
    snprintf(hash, sizeof hash, "%016" PRIx64, s->logits_hash);
    json_object_set_new(j, "logits_hash", json_string(hash));
    json_object_set_new(j, "sampling", qm_sampling_json(p));
    int bad = json_dumpf(j, stdout, JSON_INDENT(2) | JSON_PRESERVE_ORDER) || putchar('\n') == EOF || fflush(stdout);
    json_decref(j);
    if (bad) qm_host_say("standard output: %s", strerror(errno));
    return bad ? QM_EXIT_FAIL : QM_EXIT_OK;
}

static int render(const qm_engine *g, const text *prompt, qm_tokens *ids, qm_err *e) {
    qm_message m[2];
    size_t n = 0;
    if (qm_run.system) m[n++] = (qm_message){"system", qm_run.system, strlen(qm_run.system)};
    m[n++] = (qm_message){"user", prompt->s, prompt->n};
    return qm_engine_render(g, m, n, ids, e);
}

/* The prompt's ids, before anything is loaded: they say how much context is needed. */
typedef struct {
    const text *prompt;
    qm_tokens ids;
    int refused; /* by the template, or no text: not wrong usage */
} asked;

static int measure(void *user, const qm_engine *g, uint32_t *n_needed, uint32_t *n_wanted, qm_err *e) {
    asked *a = user;
    const text *p = a->prompt;
    int rc = opt.raw ? qm_engine_tokenize(g, p->s, p->n, opt.special, &a->ids, e) : render(g, p, &a->ids, e);
    a->refused = rc != 0;
    uint64_t n = a->ids.n + (qm_run.n < 0 ? 1 : (uint64_t)qm_run.n);
    *n_needed = n < UINT32_MAX ? (uint32_t)n : UINT32_MAX;
    if (qm_run.n < 0) *n_wanted = QM_CTX_OPEN;
    return rc;
}

static int run(text prompt) {
    qm_err e = {0};
    qm_engine *g = NULL;
    qm_session *s = NULL;
    asked a = {.prompt = &prompt};
    qm_engine_info info;
    qm_gen_stats st;
    qm_sampling how;
    sink k = {.out = opt.json ? NULL : stdout, .ids = json_array()};
    int status = QM_EXIT_FAIL;
    qm_gen_opts go = {.max_tokens = qm_run.n < 0 ? 0 : (uint32_t)qm_run.n,
                      .ignore_eos = qm_run.ignore_eos,
                      .stop = (const char *const *)qm_run.stop,
                      .n_stop = qm_run.n_stop,
                      .on_token = on_token,
                      .on_prefill = on_prefill,
                      .user = &k};
    if (qm_run_open(&g, NULL, measure, &a, &e)) {
        status = a.refused ? qm_host_fail(&e) : qm_host_open_fail(&e, qm_run.ctx);
        goto out;
    }
    qm_engine_get_info(g, &info);
    qm_run_describe(&info);
    if (opt.verbose_prompt) {
        fprintf(stderr, "prompt  %zu tokens\n", a.ids.n);
        for (size_t i = 0, n; i < a.ids.n; i++) {
            const char *piece = qm_engine_piece(g, a.ids.v[i], &n);
            qm_host_token(stderr, a.ids.v[i], piece, n);
        }
    }
    qm_sampling_choose(g, &how);
    qm_progress_begin(&k.prefill, !qm_run.quiet && !opt.json);
    if (qm_session_open(&s, g, &e) || qm_session_set_sampling(s, &how, &e) ||
        qm_generate(s, a.ids.v, a.ids.n, &go, &st, &e))
        goto failed;
    if (k.failed) {
        qm_host_say("standard output: cannot be written");
        goto out;
    }
    status = opt.json ? print_json(&info, &st, &how, &k) : QM_EXIT_OK;
    if (!opt.json) putchar('\n');
    fflush(stdout);
    if (!qm_run.quiet) report(&info, &st, &how);
    goto out;
failed:
    qm_progress_end(&k.prefill);
    qm_host_fail(&e);
out:
    qm_session_close(s);
    qm_engine_close(g);
    free(a.ids.v);
    free(k.answer.s);
    json_decref(k.ids);
    return status;
}

int qm_cmd_generate(int argc, char **argv) {
    int rc = qm_run_args(argc, argv, table, "[-m] FILE -p TEXT [options]");
    if (rc >= 0) return rc;
    if ((rc = qm_sampling_args()) >= 0) return rc;
    if (opt.raw && qm_run.system) return qm_host_usage("--system has no place with --raw");
    if (opt.raw && (qm_run.template_file || qm_run.template_kwargs))
        return qm_host_usage("--chat-template and --template-kwargs have no place with --raw");
    if (opt.special && !opt.raw) return qm_host_usage("--special goes with --raw: a chat message is never trusted");
    text prompt = {0};
    rc = read_prompt(&prompt);
    if (rc == QM_EXIT_OK && !prompt.n && opt.raw)
        rc = qm_host_usage("the prompt is empty"); /* an empty message is one */
    if (rc == QM_EXIT_OK) rc = run(prompt);
    free(prompt.s);
    return rc;
}
