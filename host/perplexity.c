/* perplexity.c: qmoe-gpu perplexity: how well a model predicts a text, and how far its predictions are from those of
 * another computation of it (--kl). The figure goes to stdout, what runs and how far it is to stderr. */
#include "run.h"
#include "json.h"
#include "runtime/qmoe_tools.h"
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct {
    char *model, *file, *output, *out, *kl, *device, *executor;
    int ctx, chunks, top_k, no_nfc, verbose, quiet;
    float rope_base;
} opt;

/* Scored positions that are computed together: their logits take 4 bytes each of the vocabulary, 37 MiB with Qwen3's, and
 * beyond these a step has little to gain. */
enum { OUTS = 64 };

static const struct poptOption table[] = {
    {"model", 'm', POPT_ARG_STRING, &opt.model, 0, "the model, a GGUF file (any part of a split set)", "FILE"},
    {"file", 'f', POPT_ARG_STRING, &opt.file, 0, "the text, - is standard input", "FILE"},
    {"ctx", 'c', POPT_ARG_INT, &opt.ctx, 0, "tokens of a chunk (default: 512)", "N"},
    {"chunks", 0, POPT_ARG_INT, &opt.chunks, 0, "chunks at most (default: all of the text)", "N"},
    {"logits-out", 0, POPT_ARG_STRING, &opt.out, 0, "write the log-probabilities of every scored position", "FILE"},
    {"top-k", 0, POPT_ARG_INT, &opt.top_k, 0,
     "with --logits-out: only the N likeliest tokens and the rest's sum (default: all)", "N"},
    {"kl", 0, POPT_ARG_STRING, &opt.kl, 0, "compare with such a file; its tokens are the text", "FILE"},
    {"output", 'o', POPT_ARG_STRING, &opt.output, 0, "how the result is written (default: text)", "text|json"},
    {"no-nfc", 0, POPT_ARG_NONE, &opt.no_nfc, 0, "do not normalise the text to NFC (llama.cpp's ids)", NULL},
    {NULL, 0, POPT_ARG_INCLUDE_TABLE, (void *)qm_cache_table, 0, NULL, NULL},
    {NULL, 0, POPT_ARG_INCLUDE_TABLE, (void *)qm_apart_table, 0, NULL, NULL},
    {NULL, 0, POPT_ARG_INCLUDE_TABLE, (void *)qm_ubatch_table, 0, NULL, NULL},
    {"device", 'd', POPT_ARG_STRING, &opt.device, 0, "where to run (default: auto)", "auto|cuda:N|sim"},
    {"executor", 0, POPT_ARG_STRING, &opt.executor, 0,
     "what runs a step; ref: the C reference with activations in f32, the yardstick (default: auto)",
     "auto|graph|persistent|ref"},
    {"rope-freq-base", 0, POPT_ARG_FLOAT, &opt.rope_base, 0, "override the file's RoPE base", "X"},
    {"verbose", 'v', POPT_ARG_NONE, &opt.verbose, 0, "more about the model and the device on stderr", NULL},
    {"quiet", 'q', POPT_ARG_NONE, &opt.quiet, 0, "nothing on stderr but errors", NULL},
    POPT_TABLEEND};

static int on_position(void *user, uint64_t done, uint64_t of, uint32_t chunk, uint32_t n, double ppl) {
    char what[96];
    int k = snprintf(what, sizeof what, "%s %u of %u,", opt.kl ? "sequence" : "chunk", chunk, n);
    if (ppl > 0) snprintf(what + k, sizeof what - (size_t)k, " PPL %.4f,", ppl);
    qm_progress_show(user, what, done, of);
    return 0;
}

/* The running estimate, as llama-perplexity has it: "[1]15.2701,[2]5.4007,". */
static int on_chunk(void *user, uint32_t done, uint32_t n, double ppl) {
    (void)user;
    fprintf(stderr, "[%u]%.4f,%s", done, ppl, done == n || done % 10 == 0 ? "\n" : "");
    return 0;
}

static void describe(const qm_engine_info *i) {
    char a[32];
    fprintf(stderr, "model   %s (%s), %s of weights, vocabulary %u\ndevice  %s (%s), executor %s%s\n", i->name, i->arch,
            qm_host_bytes(a, sizeof a, i->weight_bytes), i->n_vocab, i->device, i->device_name, i->executor,
            !strcmp(i->executor, "ref") ? ", activations in f32" : "");
    if (i->device_why[0]) fprintf(stderr, "        %s\n", i->device_why);
}

static double share(uint64_t part, uint64_t all) { return all ? (double)part / (double)all : 0; }

static void print_text(FILE *f, const qm_perplexity_result *r, const qm_logprobs_info *base) {
    const qm_divergence *d = &r->kl;
    fprintf(f, "Final estimate: PPL = %.4f +/- %.5f  (%" PRIu64 " of %" PRIu64 " tokens scored, %u %s)\n", r->ppl,
            r->err, r->n_scored, r->n_tokens, r->n_seqs, opt.kl ? "sequences" : "chunks");
    if (!opt.kl) return;
    fprintf(f, "\nagainst %s%s%s\n", opt.kl, base->note[0] ? ": " : "", base->note);
    if (base->k < base->n_vocab)
        fprintf(f, "it names %u of %u tokens; all others, together %.3g on average, count as one\n", base->k,
                base->n_vocab, d->rest_mass);
    fprintf(f, "\nmean KL      %11.3e +/- %.1e nats over %" PRIu64 " positions\n", d->mean, d->err, d->n);
    fprintf(f, "largest KL   %11.3e (sequence %u, position %u)\n", d->max, d->max_seq, d->max_pos);
    fprintf(f,
            "99.9%%        %11.3e\n99%%          %11.3e\n95%%          %11.3e\n90%%          %11.3e\nmedian       "
            "%11.3e\nleast        %11.3e\n",
            d->p999, d->p99, d->p95, d->p90, d->median, d->min);
    fprintf(f, "same top     %10.3f %% (%" PRIu64 " of %" PRIu64 "; %" PRIu64 " of the others at near ties)\n",
            100 * share(d->n_same, d->n), d->n_same, d->n, d->n_near);
    if (!d->n_next) return;
    fprintf(f, "PPL(base)    %11.4f over %" PRIu64 " tokens\n", d->base_ppl, d->n_next);
    fprintf(f, "mean delta p %10.4f %%\nRMS delta p  %10.4f %%\n", 100 * d->mean_dp, 100 * d->rms_dp);
}

static json_t *divergence_json(const qm_divergence *d, const qm_logprobs_info *base) {
    const struct {
        const char *key;
        double v;
    } numbers[] = {{"mean_kl", d->mean},
                   {"mean_kl_err", d->err},
                   {"max_kl", d->max},
                   {"p99_9_kl", d->p999},
                   {"p99_kl", d->p99},
                   {"p95_kl", d->p95},
                   {"p90_kl", d->p90},
                   {"median_kl", d->median},
                   {"min_kl", d->min},
                   {"rest_mass", d->rest_mass},
                   {"same_top", share(d->n_same, d->n)},
                   {"base_ppl", d->base_ppl},
                   {"mean_delta_p", d->mean_dp},
                   {"rms_delta_p", d->rms_dp}};
    json_t *j = json_pack("{s:o, s:s, s:I, s:I, s:I, s:{s:i, s:i}, s:I, s:I}", "base", qm_host_json_str(opt.kl), "note",
                          base->note, "n_vocab", (json_int_t)base->n_vocab, "k", (json_int_t)base->k, "n_positions",
                          (json_int_t)d->n, "max_at", "sequence", (int)d->max_seq, "position", (int)d->max_pos,
                          "n_same_top", (json_int_t)d->n_same, "n_near_ties", (json_int_t)d->n_near);
    for (size_t i = 0; j && i < sizeof numbers / sizeof *numbers; i++)
        json_object_set_new(j, numbers[i].key, qm_host_json_number(numbers[i].v));
    return j;
}

static int print_json(FILE *f, const qm_engine_info *i, const qm_perplexity_result *r, const qm_logprobs_info *base) {
    json_t *j =
        json_pack("{s:s, s:s, s:s, s:s, s:b, s:I, s:I, s:I, s:o, s:o, s:o, s:f}", "model", i->name, "device", i->device,
                  "device_name", i->device_name, "executor", i->executor, "f32_activations",
                  !strcmp(i->executor, "ref"), "n_chunks", (json_int_t)r->n_seqs, "n_tokens", (json_int_t)r->n_tokens,
                  "n_scored", (json_int_t)r->n_scored, "nll", qm_host_json_number(r->nll), "ppl",
                  qm_host_json_number(r->ppl), "ppl_err", qm_host_json_number(r->err), "seconds", r->seconds);
    if (j && opt.kl && json_object_set_new(j, "kl", divergence_json(&r->kl, base))) {
        json_decref(j);
        j = NULL;
    }
    if (!j) {
        qm_host_say("cannot build the JSON answer");
        return 1;
    }
    int bad = json_dumpf(j, f, JSON_INDENT(2) | JSON_PRESERVE_ORDER | JSON_REAL_PRECISION(9)) || putc('\n', f) == EOF;
    json_decref(j);
    if (bad) qm_host_say("standard output: %s", strerror(errno));
    return bad;
}

static int run(const char *text, size_t n) {
    qm_err e = {0};
    qm_engine *g = NULL;
    qm_tokens ids = {0};
    qm_engine_info info;
    qm_perplexity_result r;
    qm_logprobs_info base = {0};
    qm_progress progress = {0};
    char note[512];
    FILE *to = opt.out ? qm_host_report_stream(opt.out) : stdout;
    int json = opt.output && !strcmp(opt.output, "json"), status = QM_EXIT_FAIL;
    if (opt.out && opt.file && qm_input_keep(strcmp(opt.file, "-") ? opt.file : "/dev/stdin", &e)) goto failed;
    if (opt.kl && qm_logprobs_get_info(opt.kl, &base, &e)) goto failed;
    qm_engine_opts eo = {.device = opt.device,
                         .executor = opt.executor,
                         .rope_base = opt.rope_base,
                         .no_nfc = opt.no_nfc,
                         .cache_k = qm_cache.k,
                         .cache_v = qm_cache.v,
                         .apart = qm_apart,
                         .dependent_launch = qm_dependent,
                         .n_ubatch = (uint32_t)qm_ubatch,
                         .n_outs = OUTS,
                         .n_ctx = opt.kl    ? base.longest
                                  : opt.ctx ? (uint32_t)opt.ctx
                                            : 512,
                         .f32_act = opt.executor && !strcmp(opt.executor, "ref"),
                         .before_load = opt.quiet ? NULL : qm_host_before_load,
                         .notice = opt.quiet ? NULL : qm_host_notice};
    if (qm_engine_open(&g, opt.model, &eo, &e)) {
        status = qm_host_open_fail(&e, opt.ctx);
        goto out;
    }
    qm_engine_get_info(g, &info);
    if (opt.verbose) describe(&info);
    if (text && qm_engine_tokenize(g, text, n, 0, &ids, &e)) goto failed;
    qm_progress_begin(&progress, !opt.quiet);
    snprintf(note, sizeof note, "qmoe-gpu " QM_VERSION ", %s, executor %s%s, %s", info.device_name, info.executor,
             eo.f32_act ? " with f32 activations" : "", info.name);
    qm_perplexity_opts po = {.n_ctx = eo.n_ctx,
                             .max_chunks = (uint32_t)opt.chunks,
                             .base = opt.kl,
                             .out = opt.out,
                             .note = note,
                             .k = (uint32_t)opt.top_k,
                             .user = &progress,
                             .on_chunk = opt.quiet || progress.on ? NULL : on_chunk,
                             .on_position = progress.on ? on_position : NULL};
    if (qm_perplexity(g, text ? ids.v : NULL, ids.n, &po, &r, &e)) goto failed;
    qm_progress_end(&progress);
    if (!json) print_text(to, &r, &base);
    else if (print_json(to, &info, &r, &base)) goto out;
    status = QM_EXIT_OK;
    if (fflush(to) || ferror(to)) {
        qm_host_say("standard output: %s", strerror(errno));
        status = QM_EXIT_FAIL;
    }
    if (!opt.quiet)
        fprintf(stderr, "%.1f s, %.1f tok/s on %s (%s), executor %s\n", r.seconds, (double)r.n_tokens / r.seconds,
                info.device, info.device_name, info.executor);
    goto out;
failed:
    qm_progress_end(&progress);
    qm_host_fail(&e);
out:
    qm_engine_close(g);
    free(ids.v);
    return status;
}

int qm_cmd_perplexity(int argc, char **argv) {
    poptContext con;
    int rc = qm_host_options(
        &con, argc, argv, table,
        "[-m] FILE -f TEXT [options]\n\n"
        "Perplexity as llama-perplexity takes it: chunks of --ctx tokens, the second half of each scored.\n"
        "--kl compares position by position with what another program, or --executor ref, wrote:\n"
        "  qmoe-gpu perplexity -m m.gguf -f text.txt --executor ref --logits-out ref.lp\n"
        "  qmoe-gpu perplexity -m m.gguf --kl ref.lp");
    if (rc >= 0) return rc;
    if (!opt.model && poptPeekArg(con)) opt.model = strdup(poptGetArg(con));
    if ((rc = qm_host_args(&con, NULL, 0, "")) >= 0) return rc;
    poptFreeContext(con);
    if (!opt.model) return qm_host_usage("perplexity: no model: give --model FILE");
    if (opt.ctx && opt.ctx < 4) return qm_host_usage("--ctx %d: expected 4 and above", opt.ctx);
    if ((rc = qm_ubatch_check()) >= 0) return rc;
    if (opt.chunks < 0) return qm_host_usage("--chunks %d: expected 1 and above", opt.chunks);
    if (opt.top_k < 0) return qm_host_usage("--top-k %d: expected 1 and above", opt.top_k);
    if (opt.top_k && !opt.out) return qm_host_usage("--top-k goes with --logits-out");
    if (opt.output && strcmp(opt.output, "text") && strcmp(opt.output, "json"))
        return qm_host_usage("--output %s: expected text or json", opt.output);
    if (opt.kl && opt.file) return qm_host_usage("--kl brings its own tokens: leave out --file");
    if (opt.kl && opt.ctx) return qm_host_usage("--kl brings its own chunks: leave out --ctx");
    if (opt.kl && opt.out && opt.chunks)
        return qm_host_usage("--chunks has no place with --kl and --logits-out together");
    if (!opt.kl && !opt.file) return qm_host_usage("perplexity: no text: give --file FILE");
    qm_host_log(opt.verbose ? QM_LOG_DEBUG : opt.quiet ? -1 : QM_LOG_WARN);
    size_t n = 0;
    char *text = NULL;
    if (opt.file && qm_run_read(opt.file, QM_TEXT_MOST, &text, &n)) return QM_EXIT_FAIL;
    rc = opt.file && !n ? qm_host_usage("%s: the text is empty", opt.file) : run(text, n);
    free(text);
    return rc;
}
