/* run.h: what the commands that run a model for a person share (generate, chat, serve): their common options, how a
 * model is opened and what is reported of it. */
#ifndef QM_HOST_RUN_H
#define QM_HOST_RUN_H
#include "host.h"

/* The common options, as popt stores them: strings may be NULL, numbers 0. */
typedef struct {
    char *model, *prompt, *system, *device, *executor, *template_file, *template_kwargs;
    char **stop; /* [n_stop] */
    size_t n_stop;
    int n, ctx, no_nfc, ignore_eos, verbose, quiet; /* n -1: no limit; ctx -1: not given, 0: the model's */
    float rope_base;
    uint32_t n_parallel, n_kv; /* qm_engine_opts': set by who wants more than one sequence */
} qm_run_options;
extern qm_run_options qm_run;
extern const struct poptOption qm_run_model_table[]; /* the model, its context and where it runs */
extern const struct poptOption qm_run_table[];       /* these, a prompt and how an answer ends */

/* Reads argv by `table`, which includes qm_run_table or qm_run_model_table, and checks the common options. `COMMAND MODEL` means
 * -m MODEL. Returns -1 to go on, or the exit status. */
int qm_run_args(int argc, char **argv, const struct poptOption *table, const char *synopsis);
/* The most that is read of what should be a text: of /dev/zero or a wrong file too. The longest context there is
 * takes a few MiB of prompt; published templates have some 20 kB; the largest texts that perplexity is taken of have
 * half a GB. */
#define QM_PROMPT_MOST ((size_t)64 << 20)
#define QM_TEMPLATE_MOST ((size_t)4 << 20)
#define QM_TEXT_MOST ((size_t)1 << 30)
/* A whole file ("-": standard input) of at most `limit` bytes into *s, [*n] and a NUL; 0, or reported already. free
 * it. */
int qm_run_read(const char *path, size_t limit, char **s, size_t *n);
/* Opens the model. cancelled: asked now and then while loading; measure: how much context is needed and wanted
 * (qm_engine_opts), with `user`. Either may be NULL; without measure the conversation has no end. */
typedef int (*qm_run_measure)(void *user, const qm_engine *g, uint32_t *n_needed, uint32_t *n_wanted, qm_err *e);
int qm_run_open(qm_engine **g, int (*cancelled)(void), qm_run_measure measure, void *user, qm_err *e);
/* With --verbose: the model and its memory, on stderr. */
void qm_run_describe(const qm_engine_info *i);
/* Device and load, two lines on stderr. */
void qm_run_say_device(const qm_engine_info *i);
/* Whether stream fd is a terminal that understands escape codes. */
int qm_run_smart(int fd);
double qm_run_rate(double n, double s); /* n / s, 0 for no time */
#endif
