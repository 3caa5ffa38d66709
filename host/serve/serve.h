/* serve.h: the server as the command `serve` starts it. */
#ifndef QM_SERVE_SERVE_H
#define QM_SERVE_SERVE_H
#include "runtime/qmoe.h"

typedef struct {
    const char *host;                                    /* NULL: 127.0.0.1 */
    uint16_t port;                                       /* 0: any free one */
    const char *alias, *model_path, *tls_cert, *tls_key; /* paths of PEM files, both or neither */
    char **keys;                                         /* [n_keys] */
    size_t n_keys;
    uint32_t n_parallel, max_queue; /* max_queue 0: any number */
    double timeout_s, drain_s;      /* drain_s: after SIGTERM, what runs may take */
    double vanish_s;                /* as http_opts */
    qm_sampling sampling;           /* where a request says nothing */
    int seeded;                     /* 1: also its seed; 0: each such request draws one */
    const char *commit;             /* of the build */
    int quiet, log_json;
} serve_opts;
/* Serves until a signal ends it, or the device fails. The exit status: 0 after a drain, 1 otherwise, said on stderr. */
int serve_run(qm_engine *g, const serve_opts *o);
#endif
