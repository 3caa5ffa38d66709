/* serve.c: qmoe-gpu serve: the model over HTTP, for other programs and for people. The server itself is host/serve. */
#include "serve/serve.h"
#include "runtime/qmoe_tools.h"
#include "run.h"
#include "sampling.h"
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

static struct {
    char *host, *alias, *key_file, *tls_cert, *tls_key;
    char **keys; /* --api-key, several */
    int port, parallel, max_queue, log_json;
    double timeout, drain, vanish;
} opt = {.port = 8080, .parallel = 4, .max_queue = 256, .drain = 30, .vanish = 15};

static const struct poptOption table[] = {
    {NULL, 0, POPT_ARG_INCLUDE_TABLE, (void *)qm_run_model_table, 0, NULL, NULL},
    {"host", 0, POPT_ARG_STRING, &opt.host, 0, "the address to listen on (default: 127.0.0.1, this machine alone)",
     "ADDRESS"},
    {"port", 0, POPT_ARG_INT, &opt.port, 0, "the port; 0: any free one, the log says which (default: 8080)", "N"},
    {"parallel", 0, POPT_ARG_INT, &opt.parallel, 0,
     "answers that are computed at once, 1 to 1024; more requests wait (default: 4)", "N"},
    {"max-queue", 0, POPT_ARG_INT, &opt.max_queue, 0,
     "requests that may wait; more are refused with 429; 0: any number (default: 256)", "N"},
    {"timeout", 0, POPT_ARG_DOUBLE, &opt.timeout, 0, "seconds that a request may take; 0: any (default)", "S"},
    {"drain", 0, POPT_ARG_DOUBLE, &opt.drain, 0,
     "seconds that requests may run on after SIGTERM or SIGINT (default: 30)", "S"},
    {"vanish", 0, POPT_ARG_DOUBLE, &opt.vanish, 0,
     "seconds after which a client whose machine or link is silent counts as gone, 2 and above (default: 15)", "S"},
    {"alias", 0, POPT_ARG_STRING, &opt.alias, 0, "the model's name in answers (default: the file's, without .gguf)",
     "NAME"},
    {"api-key", 0, POPT_ARG_ARGV, &opt.keys, 0,
     "clients must give this key (may be given several times); other users of this machine can see it: see "
     "--api-key-file",
     "KEY"},
    {"api-key-file", 0, POPT_ARG_STRING, &opt.key_file, 0, "the same, one key a line", "FILE"},
    {"tls-cert", 0, POPT_ARG_STRING, &opt.tls_cert, 0, "HTTPS: the certificate and its chain, PEM", "FILE"},
    {"tls-key", 0, POPT_ARG_STRING, &opt.tls_key, 0, "HTTPS: the certificate's private key, PEM", "FILE"},
    {"log-json", 0, POPT_ARG_NONE, &opt.log_json, 0, "the log as JSON, an object a line", NULL},
    {NULL, 0, POPT_ARG_INCLUDE_TABLE, (void *)qm_sampling_table, 0, "How tokens are chosen by default:", NULL},
    POPT_TABLEEND};

/* The keys of --api-key-file behind those of the command line. */
static int read_keys(size_t *n) {
    size_t size;
    char *text;
    *n = 0;
    while (opt.keys && opt.keys[*n]) ++*n;
    if (!opt.key_file) return 0;
    if (qm_run_read(opt.key_file, 1 << 20, &text, &size)) return QM_EXIT_FAIL;
    const size_t before = *n;
    for (char *save, *line = strtok_r(text, "\r\n", &save); line; line = strtok_r(NULL, "\r\n", &save)) {
        line += strspn(line, " \t");
        line[strcspn(line, " \t")] = 0;
        if (!*line || *line == '#') continue;
        char **grown = realloc(opt.keys, (*n + 2) * sizeof *grown);
        if (!grown) return qm_host_usage("--api-key-file: out of memory");
        opt.keys = grown;
        opt.keys[(*n)++] = line; /* text lives as long as the program */
        opt.keys[*n] = NULL;
    }
    return *n > before ? 0 : qm_host_usage("--api-key-file %s: no key in it", opt.key_file);
}

static int check(void) {
    if (opt.port < 0 || opt.port > 65535) return qm_host_usage("--port %d: expected 0 to 65535", opt.port);
    if (opt.parallel < 1 || opt.parallel > 1024)
        return qm_host_usage("--parallel %d: expected 1 to 1024", opt.parallel);
    if (opt.max_queue < 0) return qm_host_usage("--max-queue %d: expected 0 and above", opt.max_queue);
    if (!(opt.timeout >= 0)) return qm_host_usage("--timeout %g: expected 0 and above", opt.timeout);
    if (!(opt.drain >= 0)) return qm_host_usage("--drain %g: expected 0 and above", opt.drain);
    if (!(opt.vanish >= 2)) return qm_host_usage("--vanish %g: expected 2 and above", opt.vanish);
    if (!opt.tls_cert != !opt.tls_key) return qm_host_usage("--tls-cert and --tls-key: both, or neither");
    return -1;
}

/* How much context is of use: what -c says, all answers together. */
static int measure(void *user, const qm_engine *g, uint32_t *n_needed, uint32_t *n_wanted, qm_err *e) {
    (void)user, (void)g, (void)n_needed, (void)e;
    *n_wanted = qm_run.ctx > 0 ? (uint32_t)qm_run.ctx : QM_CTX_OPEN;
    return 0;
}

int qm_cmd_serve(int argc, char **argv) {
    int rc =
        qm_run_args(argc, argv, table,
                    "MODEL [options]\n"
                    "Answers OpenAI's and Anthropic's APIs (/v1/chat/completions, /v1/completions, /v1/responses, "
                    "/v1/messages ..) and shows a page for people, at /. Many requests are computed at once, and none "
                    "changes another's answer.\n"
                    "--ctx is what all answers have together; what they begin with alike takes room once.");
    if (rc >= 0 || (rc = check()) >= 0 || (rc = qm_sampling_args()) >= 0) return rc;
    serve_opts o = {.host = opt.host,
                    .port = (uint16_t)opt.port,
                    .alias = opt.alias,
                    .model_path = qm_run.model,
                    .tls_cert = opt.tls_cert,
                    .tls_key = opt.tls_key,
                    .n_parallel = (uint32_t)opt.parallel,
                    .max_queue = (uint32_t)opt.max_queue,
                    .timeout_s = opt.timeout,
                    .drain_s = opt.drain,
                    .vanish_s = opt.vanish,
                    .quiet = qm_run.quiet,
                    .log_json = opt.log_json};
    if ((rc = read_keys(&o.n_keys))) return rc;
    o.keys = opt.keys;
    qm_err e = {0};
    qm_engine *g = NULL;
    const int ctx = qm_run.ctx;
    qm_run.n_parallel = o.n_parallel;
    qm_run.n_kv = ctx > 0 ? (uint32_t)ctx : QM_KV_SHARED;
    if (ctx > 0) qm_run.ctx = -1; /* of one answer: what there is for all, or the model's limit */
    rc = qm_run_open(&g, NULL, measure, NULL, &e);
    if (rc) return qm_host_open_fail(&e, ctx);
    qm_engine_info i;
    qm_engine_get_info(g, &i);
    qm_run_describe(&i);
    if (!qm_run.quiet) qm_run_say_device(&i);
    qm_sampling_choose(g, &o.sampling);
    o.seeded = qm_sampling_seeded();
    qm_machine m;
    qm_engine_machine(g, &m);
    o.commit = m.commit;
    rc = serve_run(g, &o);
    qm_engine_close(g);
    return rc;
}
