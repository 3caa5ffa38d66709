/* completion.h: the scripts by which bash and zsh complete a command line, made from the tables that the commands
 * read. */
#ifndef QM_HOST_COMPLETION_H
#define QM_HOST_COMPLETION_H
#include "host.h"

typedef struct qm_completion_shell qm_completion_shell;
/* "bash" or "zsh"; NULL for any other. The script goes to stdout. */
qm_completion_shell *qm_completion_begin(const char *shell);
void qm_completion_command(qm_completion_shell *s, const char *name, const char *help);
/* A qm_host_visitor: the options of the command last named; s is the user. */
void qm_completion_options(void *s, const char *prog, const struct poptOption *table);
/* Ends the script; returns the exit status. */
int qm_completion_end(qm_completion_shell *s);
#endif
