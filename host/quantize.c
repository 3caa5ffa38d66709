/* quantize.c: qmoe-gpu quantize: a GGUF into another, its tensors in fewer bits. Arguments are llama-quantize's. */
#include "host.h"
#include "runtime/qmoe_tools.h"
#include <ctype.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct {
    FILE *to_person; /* stdout, unless that is the file itself */
    qm_progress meter;
    int quiet;
    size_t n_tensors;
    uint64_t from, to; /* bytes */
} report;

static int show(void *user, uint64_t done, uint64_t total) {
    report *r = user;
    qm_progress_bytes(&r->meter, done, total);
    return 0;
}

static int line(void *user, const qm_quantize_tensor *t) {
    report *r = user;
    char shape[96], name[320], a[32], b[32];
    int n = 0;
    r->n_tensors++;
    r->from += t->bytes_from;
    r->to += t->bytes;
    if (r->quiet) return 0;
    for (uint32_t d = 0; d < t->n_dims; d++)
        n += snprintf(shape + n, sizeof shape - (size_t)n, "%s%llu", d ? " x " : "", (unsigned long long)t->ne[d]);
    qm_progress_wipe(&r->meter);
    fprintf(r->to_person, "%-32s %-18s %-5s %-5s %8s %8s", qm_text_show(name, sizeof name, t->name, strlen(t->name)),
            shape, t->from, t->to, qm_host_bytes(a, sizeof a, t->bytes_from), qm_host_bytes(b, sizeof b, t->bytes));
    if (strcmp(t->from, t->to)) fprintf(r->to_person, "  error %.3g%%", t->rms > 0 ? 100 * t->rmse / t->rms : 0.0);
    fprintf(r->to_person, "%s%s\n", t->note ? "  " : "", t->note ? t->note : "");
    return 0;
}

typedef struct {
    const char *in, *out, *type;
    int threads;
    char made[PATH_MAX]; /* the output's name where none is given */
} arguments;

/* Of `IN TYPE` llama-quantize makes ggml-model-TYPE.gguf in IN's folder. A name that nobody typed replaces nothing. */
static int name_output(arguments *a) {
    const char *slash = strrchr(a->in, '/');
    int n = snprintf(a->made, sizeof a->made, "%.*sggml-model-%s.gguf", slash ? (int)(slash - a->in) + 1 : 0, a->in,
                     a->type);
    if (n >= (int)sizeof a->made) return qm_host_usage("quantize: %s: the name is too long", a->in);
    for (char *s = a->made + n - 5 - strlen(a->type); *s != '.'; s++) *s = (char)toupper((unsigned char)*s);
    a->out = a->made;
    if (!access(a->made, F_OK)) {
        qm_host_say("%s is there already: name the output to replace it", a->made);
        return QM_EXIT_FAIL;
    }
    return -1;
}

/* IN OUT, IN OUT TYPE, IN TYPE; the last two also with a number of threads after them. */
static int read_arguments(arguments *a, poptContext con) {
    const char *w[5] = {NULL};
    int n = 0;
    while (n < 5 && (w[n] = poptGetArg(con))) n++;
    if (n < 2) return qm_host_usage("quantize: give the file to read, and the file to write or the type");
    int own = qm_quantize_knows(w[1]) && (n < 3 || !qm_quantize_knows(w[2]));
    const char *threads = w[own ? 2 : 3];
    a->in = w[0];
    a->out = own ? NULL : w[1];
    a->type = own ? w[1] : w[2];
    if (n > (own ? 3 : 4)) return qm_host_usage("quantize: '%s' is one argument too many", w[own ? 3 : 4]);
    if (threads) {
        char *end;
        long v = strtol(threads, &end, 10);
        if (a->threads) return qm_host_usage("quantize: threads are given twice, by --threads and by '%s'", threads);
        if (*end || end == threads || v < 1 || v > INT_MAX)
            return qm_host_usage("quantize: '%s': expected a number of threads, 1 and above", threads);
        a->threads = (int)v;
    }
    return own ? name_output(a) : -1;
}

static int run(const arguments *a, int quiet) {
    report r = {.to_person = qm_host_report_stream(a->out), .quiet = quiet};
    qm_quantize_opts o = {
        .type = a->type, .threads = (uint32_t)a->threads, .on_tensor = line, .progress = show, .user = &r};
    char from[32], to[32], name[PATH_MAX];
    qm_err e;
    qm_progress_begin(&r.meter, !quiet);
    int rc = qm_quantize(a->in, a->out, &o, &e);
    qm_progress_end(&r.meter);
    if (rc) return rc == QM_ERR_ARG ? qm_host_usage("quantize: %s", e.msg) : qm_host_fail(&e);
    fprintf(r.to_person, "%s: %zu tensors, %s (from %s)\n", qm_text_show(name, sizeof name, a->out, strlen(a->out)),
            r.n_tensors, qm_host_bytes(to, sizeof to, r.to), qm_host_bytes(from, sizeof from, r.from));
    return QM_EXIT_OK;
}

int qm_cmd_quantize(int argc, char **argv) {
    static int threads, quiet;
    static const struct poptOption table[] = {
        {"threads", 't', POPT_ARG_INT, &threads, 0, "processor threads (default: all); the result is the same", "N"},
        {"quiet", 'q', POPT_ARG_NONE, &quiet, 0, "no line for each tensor", NULL},
        POPT_TABLEEND,
    };
    poptContext con;
    char about[800];
    snprintf(about, sizeof about,
             "IN [OUT] [TYPE [THREADS]] [options]\n\n"
             "Writes the model IN with its matrices in another type, q4_k_m if none is named; there are\n"
             "  %s\n"
             "With a type and no OUT it writes ggml-model-TYPE.gguf beside IN, if there is none.\n"
             "Norms and the router stay F32. The error shown is that of the weights, root mean square\n"
             "over root mean square.\n"
             "  example: qmoe-gpu quantize model-f16.gguf model-q4.gguf q4_k_m",
             qm_quantize_types());
    int rc = qm_host_options(&con, argc, argv, table, about);
    if (rc >= 0) return rc;
    arguments a = {.threads = threads};
    qm_host_log(QM_LOG_WARN);
    if (threads < 0) rc = qm_host_usage("quantize: --threads %d: must not be negative", threads);
    else rc = read_arguments(&a, con);
    if (rc < 0) rc = run(&a, quiet);
    poptFreeContext(con);
    return rc;
}
