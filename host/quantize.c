/* quantize.c: qmoe-gpu quantize: a GGUF into another, its tensors in fewer bits. */
#include "host.h"
#include <stdio.h>
#include <string.h>
#include <unistd.h>

typedef struct {
    int tty, shown, quiet;
    size_t n_tensors;
    uint64_t from, to;  /* bytes */
} report;

static void wipe(report *r) {
    if (r->shown >= 0) fprintf(stderr, "\r\033[K");
    r->shown = -1;
}

/* A line that rewrites itself, only where a person watches. */
static int show(void *user, uint64_t done, uint64_t total) {
    report *r = user;
    int per_mille = total ? (int)((double)done * 1000 / (double)total) : 1000;
    char a[32], b[32];
    if (!r->tty || per_mille == r->shown) return 0;
    r->shown = per_mille;
    fprintf(stderr, "\r%5.1f%%  %s of %s ", per_mille / 10.0, qm_host_bytes(a, sizeof a, done),
            qm_host_bytes(b, sizeof b, total));
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
    wipe(r);
    printf("%-32s %-18s %-5s %-5s %8s %8s", qm_text_show(name, sizeof name, t->name, strlen(t->name)), shape, t->from, t->to, qm_host_bytes(a, sizeof a, t->bytes_from),
           qm_host_bytes(b, sizeof b, t->bytes));
    if (strcmp(t->from, t->to)) printf("  error %.3g%%", t->rms > 0 ? 100 * t->rmse / t->rms : 0.0);
    printf("%s%s\n", t->note ? "  " : "", t->note ? t->note : "");
    return 0;
}

int qm_cmd_quantize(int argc, char **argv) {
    static int threads, quiet;
    static const struct poptOption table[] = {
        { "threads", 't', POPT_ARG_INT, &threads, 0, "processor threads (default: all); the result is the same", "N" },
        { "quiet", 'q', POPT_ARG_NONE, &quiet, 0, "no line for each tensor", NULL },
        POPT_TABLEEND,
    };
    const char *args[3] = { NULL, NULL, NULL };
    poptContext con;
    int rc = qm_host_options(&con, argc, argv, table,
                             "IN OUT [TYPE] [options]\n\n"
                             "Writes the model IN with its matrices in another type:\n"
                             "  q4_k_m (default), q4_k_s, q5_k_m, q5_k_s, q6_k, q8_0, bf16, f16 or f32.\n"
                             "Norms and the router stay F32. The error shown is that of the weights, root mean square\n"
                             "over root mean square.\n"
                             "  example: qmoe-gpu quantize model-f16.gguf model-q4.gguf q4_k_m");
    if (rc >= 0) return rc;
    int n = 0;
    while (n < 3 && (args[n] = poptGetArg(con))) n++;
    if (n < 2) rc = qm_host_usage("quantize: give the file to read and the file to write");
    else if (poptPeekArg(con)) rc = qm_host_usage("quantize: '%s' is one argument too many", poptPeekArg(con));
    else if (threads < 0) rc = qm_host_usage("quantize: --threads %d: must not be negative", threads);
    if (rc < 0) {
        report r = { isatty(STDERR_FILENO), -1, quiet, 0, 0, 0 };
        qm_quantize_opts o = { .type = args[2], .threads = (uint32_t)threads, .on_tensor = line, .progress = show, .user = &r };
        char a[32], b[32];
        qm_err e;
        qm_host_log(QM_LOG_WARN);
        rc = qm_quantize(args[0], args[1], &o, &e);
        wipe(&r);
        if (rc) rc = rc == QM_ERR_ARG ? qm_host_usage("quantize: %s", e.msg) : qm_host_fail(&e);
        else printf("%s: %zu tensors, %s (from %s)\n", args[1], r.n_tensors, qm_host_bytes(a, sizeof a, r.to),
                    qm_host_bytes(b, sizeof b, r.from));
    }
    poptFreeContext(con);
    return rc;
}
