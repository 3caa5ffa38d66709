/* tokenize.c: qmoe-gpu tokenize: the tokens of a text, as llama-tokenize shows them. */
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <utf8proc.h>
#include "run.h"

static struct {
    char *model, *prompt, *file;
    int from_stdin, ids, json, no_bos, no_special, special, count, no_nfc, escape, no_escape;
} opt;

static const struct poptOption table[] = {
    {"model", 'm', POPT_ARG_STRING, &opt.model, 0, "the model, a GGUF file (any part of a split set)", "FILE"},
    {"prompt", 'p', POPT_ARG_STRING, &opt.prompt, 0, "the text", "TEXT"},
    {"file", 'f', POPT_ARG_STRING, &opt.file, 0, "read the text from FILE, - is standard input", "FILE"},
    {"stdin", 0, POPT_ARG_NONE, &opt.from_stdin, 0, "read the text from standard input", NULL},
    {"ids", 0, POPT_ARG_NONE, &opt.ids, 0, "only the ids, as [1, 2, 3]", NULL},
    {"json", 0, POPT_ARG_NONE, &opt.json, 0,
     "one JSON object: ids, and pieces: text, or bytes where they are no whole characters", NULL},
    {"no-bos", 0, POPT_ARG_NONE, &opt.no_bos, 0, "no BOS token, also where the model wants one", NULL},
    {"special", 0, POPT_ARG_NONE, &opt.special, 0, "match control tokens such as <|im_start|> in the text: the default",
     NULL},
    {"no-parse-special", 0, POPT_ARG_NONE, &opt.no_special, 0, "do not: the ids of a chat message", NULL},
    {"show-count", 0, POPT_ARG_NONE, &opt.count, 0, "say at the end how many there are", NULL},
    {"escape", 'e', POPT_ARG_NONE, &opt.escape, 0,
     "\\n, \\t ... in --prompt stand for what they name (default: text is taken as it stands)", NULL},
    {"no-escape", 0, POPT_ARG_NONE, &opt.no_escape, 0, "the opposite of --escape: the default", NULL},
    {"no-nfc", 0, POPT_ARG_NONE, &opt.no_nfc, 0, "do not normalise the text to NFC (llama.cpp's ids)", NULL},
    POPT_TABLEEND};

static int printable(utf8proc_int32_t c) {
    utf8proc_category_t k = utf8proc_category(c);
    return k != UTF8PROC_CATEGORY_CC && k != UTF8PROC_CATEGORY_CF && k != UTF8PROC_CATEGORY_CN &&
           k != UTF8PROC_CATEGORY_CO && k != UTF8PROC_CATEGORY_ZL && k != UTF8PROC_CATEGORY_ZP;
}

void qm_host_token(FILE *f, uint32_t id, const char *piece, size_t n) {
    static const char from[] = "\n\r\t'\\", to[] = "nrt'\\";
    fprintf(f, "%6u -> '", id);
    for (size_t k; n; piece += k, n -= k) {
        utf8proc_int32_t c;
        const char *at = *piece ? strchr(from, *piece) : NULL;
        utf8proc_ssize_t got = utf8proc_iterate((const utf8proc_uint8_t *)piece, (utf8proc_ssize_t)n, &c);
        k = got > 0 ? (size_t)got : 1;
        if (at) fprintf(f, "\\%c", to[at - from]);
        else if (got > 0 && printable(c)) fwrite(piece, 1, k, f);
        else
            for (size_t i = 0; i < k; i++) fprintf(f, "\\x%02x", (unsigned char)piece[i]);
    }
    fputs("'\n", f);
}

static json_t *piece_json(const char *s, size_t n) {
    json_t *j = json_stringn(s, n); /* NULL where it is not UTF-8 */
    if (j) return j;
    j = json_array();
    for (size_t i = 0; i < n; i++) json_array_append_new(j, json_integer((unsigned char)s[i]));
    return j;
}

static int print(const qm_vocab *v, const qm_tokens *t) {
    size_t n;
    if (opt.json) {
        json_t *ids = json_array(), *pieces = json_array();
        for (size_t i = 0; i < t->n; i++) {
            const char *s = qm_vocab_piece(v, t->v[i], &n);
            json_array_append_new(ids, json_integer(t->v[i]));
            json_array_append_new(pieces, piece_json(s, n));
        }
        json_t *j = json_pack("{s:I, s:o, s:o}", "n_tokens", (json_int_t)t->n, "ids", ids, "pieces", pieces);
        int bad = !j || json_dumpf(j, stdout, JSON_COMPACT) || putchar('\n') == EOF;
        json_decref(j);
        return bad;
    }
    if (opt.ids) {
        for (size_t i = 0; i < t->n; i++) printf("%s%u", i ? ", " : "[", t->v[i]);
        puts(t->n ? "]" : "[]");
    } else
        for (size_t i = 0; i < t->n; i++) {
            const char *s = qm_vocab_piece(v, t->v[i], &n);
            qm_host_token(stdout, t->v[i], s, n);
        }
    if (opt.count) printf("Total number of tokens: %zu\n", t->n);
    return ferror(stdout);
}

static int run(const char *text, size_t n) {
    qm_err e = {0};
    qm_vocab *v = NULL;
    qm_tokens t = {0};
    int status = QM_EXIT_OK;
    if (qm_vocab_open(&v, opt.model, opt.no_nfc, &e) ||
        qm_vocab_tokenize(v, text, n, !opt.no_special, !opt.no_bos, &t, &e))
        status = qm_host_fail(&e);
    else if (print(v, &t) || fflush(stdout)) {
        qm_host_say("standard output: %s", strerror(errno));
        status = QM_EXIT_FAIL;
    }
    free(t.v);
    qm_vocab_close(v);
    return status;
}

int qm_cmd_tokenize(int argc, char **argv) {
    poptContext con;
    int rc = qm_host_options(
        &con, argc, argv, table,
        "[-m] FILE -p TEXT [options]\n\n"
        "The tokens of a text, one a line: id and piece. Only the file's vocabulary is read: no weights, no GPU. "
        "Control tokens in the text are matched, as llama-tokenize does; generate and chat never do that in a "
        "message.\n"
        "  example: qmoe-gpu tokenize -m model.gguf -p \"Hello\" --ids");
    if (rc >= 0) return rc;
    if (!opt.model && poptPeekArg(con)) opt.model = strdup(poptGetArg(con));
    if ((rc = qm_host_args(&con, NULL, 0, "")) >= 0) return rc;
    poptFreeContext(con);
    if (!opt.model) return qm_host_usage("tokenize: no model: give --model FILE");
    if ((opt.prompt != NULL) + (opt.file != NULL) + opt.from_stdin > 1)
        return qm_host_usage("tokenize: give the text by one of --prompt, --file and --stdin");
    if (opt.ids && opt.json) return qm_host_usage("tokenize: --ids and --json at once");
    if (opt.special && opt.no_special) return qm_host_usage("tokenize: --special and --no-parse-special at once");
    if (opt.escape && opt.no_escape) return qm_host_usage("tokenize: --escape and --no-escape at once");
    if (!opt.prompt && !opt.file && !opt.from_stdin && isatty(0))
        return qm_host_usage("tokenize: no text: give --prompt TEXT, --file FILE, or standard input");
    qm_host_log(QM_LOG_WARN);
    char *text = opt.prompt;
    if (opt.escape) qm_host_unescape(text);
    size_t n = text ? strlen(text) : 0;
    if (!text && qm_run_read(opt.file ? opt.file : "-", QM_PROMPT_MOST, &text, &n)) return QM_EXIT_FAIL;
    rc = run(text, n);
    if (!opt.prompt) free(text);
    return rc;
}
