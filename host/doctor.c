/* doctor.c: qmoe-gpu doctor: what this machine offers and what is missing. */
#include "host.h"
#include <stdio.h>

int qm_cmd_doctor(int argc, char **argv) {
    static int json;
    static const struct poptOption table[] = {
        {"json", 0, POPT_ARG_NONE, &json, 0, "the same as one JSON object", NULL},
        POPT_TABLEEND,
    };
    poptContext con;
    int rc = qm_host_options(&con, argc, argv, table,
                             "[options]\n\n"
                             "Looks for a driver, GPUs and NVRTC, and says which device a run would take. Exit status 0\n"
                             "also when something is missing: the software device always works.");
    if (rc >= 0) return rc;
    if ((rc = qm_host_args(&con, NULL, 0, "")) >= 0) return rc;
    poptFreeContext(con);
    qm_err e;
    if (qm_doctor(json, qm_host_write, stdout, &e)) return qm_host_fail(&e);
    return QM_EXIT_OK;
}
