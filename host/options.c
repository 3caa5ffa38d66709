/* options.c: popt, with suggestions for wrong options and with --help that returns. */
#include "host.h"
#include <stdio.h>
#include <string.h>

enum { HELP = 0x4851, MAX_NAMES = 96 }; /* a value that no command's own option uses */

static int names_of(const struct poptOption *t, const char **names, int n) {
    for (; t->longName || t->shortName || t->arg; t++) {
        if ((t->argInfo & POPT_ARG_MASK) == POPT_ARG_INCLUDE_TABLE)
            n = names_of(t->arg, names, n);
        else if (t->longName && n < MAX_NAMES)
            names[n++] = t->longName;
    }
    return n;
}

static int refuse(poptContext con, int rc, const struct poptOption *all, const char *prog) {
    const char *bad = poptBadOption(con, POPT_BADOPTION_NOALIAS);
    if (rc != POPT_ERROR_BADOPT) return qm_host_usage("%s: %s", bad, poptStrerror(rc));
    const char *names[MAX_NAMES], *near = NULL;
    char word[64];
    const char *w = bad;
    while (*w == '-') w++;
    snprintf(word, sizeof word, "%.*s", (int)strcspn(w, "="), w);
    if (word[0] && word[1]) near = qm_host_nearest(word, names, names_of(all, names, 0));
    if (near) return qm_host_usage("there is no option %s; did you mean --%s?", bad, near);
    return qm_host_usage("there is no option %s; `%s --help` lists them", bad, prog);
}

int qm_host_options(poptContext *con, int argc, char **argv, const struct poptOption *table,
                    const char *synopsis) {
    static struct poptOption all[] = { /* static: the context keeps a pointer to it */
        {NULL, 0, POPT_ARG_INCLUDE_TABLE, NULL, 0, "Options:", NULL},
        {"help", 'h', POPT_ARG_NONE, NULL, HELP, "show this text", NULL},
        POPT_TABLEEND,
    };
    all[0].arg = (void *)table;
    *con = poptGetContext(argv[0], argc, (const char **)argv, all, 0);
    if (!*con) return qm_host_usage("out of memory");
    poptSetOtherOptionHelp(*con, synopsis);
    int rc, status = -1;
    while ((rc = poptGetNextOpt(*con)) >= 0)
        if (rc == HELP) {
            poptPrintHelp(*con, stdout, 0);
            status = QM_EXIT_OK;
            goto out;
        }
    if (rc < -1) status = refuse(*con, rc, all, argv[0]);
out:
    if (status >= 0) *con = poptFreeContext(*con);
    return status;
}

int qm_host_args(poptContext *con, const char **args, int n, const char *what) {
    int status = -1;
    for (int i = 0; i < n && status < 0; i++)
        if (!(args[i] = poptGetArg(*con))) status = qm_host_usage("give %s", what);
    const char *extra;
    if (status < 0 && (extra = poptPeekArg(*con)))
        status = n ? qm_host_usage("'%s' is one argument too many: only %s is expected", extra, what)
                   : qm_host_usage("'%s' is one argument too many: none is expected", extra);
    if (status >= 0) *con = poptFreeContext(*con);
    return status;
}
