/* options.c: a command's options: flags.c makes the words plain, popt stores them, help.c prints them. */
#include "flags.h"
#include <string.h>

enum { HELP = 0x4851, VERSION = 0x4852 }; /* values that no command's own option uses */

static qm_host_visitor visit;
static void *visit_user;

void qm_host_visit(qm_host_visitor fn, void *user) {
    visit = fn;
    visit_user = user;
}

/* popt stumbled over a value, which stands after '=' (flags.c). */
static int refuse(poptContext con, int rc) {
    const char *bad = poptBadOption(con, POPT_BADOPTION_NOALIAS);
    size_t n = strcspn(bad, "=");
    const char *why = rc == POPT_ERROR_BADNUMBER  ? "expected a number"
                      : rc == POPT_ERROR_OVERFLOW ? "the number is out of range"
                                                  : poptStrerror(rc);
    return qm_host_usage("%.*s%s%s: %s", (int)n, bad, bad[n] ? " " : "", bad[n] ? bad + n + 1 : "", why);
}

int qm_host_options(poptContext *con, int argc, char **argv, const struct poptOption *table, const char *synopsis) {
    static struct poptOption all[] = {
        /* static: the context keeps a pointer to it */
        {NULL, 0, POPT_ARG_INCLUDE_TABLE, NULL, 0, "Options:", NULL},
        {"help", 'h', POPT_ARG_NONE, NULL, HELP, "show this text", NULL},
        {"version", 0, POPT_ARG_NONE, NULL, VERSION, "show the version", NULL},
        POPT_TABLEEND,
    };
    int n, rc;
    char **words;
    all[0].arg = (void *)table;
    *con = NULL;
    if (visit) {
        visit(visit_user, argv[0], all);
        return QM_EXIT_OK;
    }
    if ((rc = qm_flags_read(argc, argv, all, &n, &words)) >= 0) return rc;
    *con = poptGetContext(argv[0], n, (const char **)words, all, 0);
    if (!*con) return qm_host_usage("out of memory");
    int status = -1;
    while (status < 0 && (rc = poptGetNextOpt(*con)) >= 0) {
        if (rc == HELP) qm_host_help(stdout, argv[0], synopsis, all);
        if (rc == VERSION) printf("qmoe-gpu %s\n", QM_VERSION);
        if (rc == HELP || rc == VERSION) status = QM_EXIT_OK;
    }
    if (status < 0 && rc < -1) status = refuse(*con, rc);
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
