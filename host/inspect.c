/* inspect.c: qmoe-gpu inspect: what a file holds and what would be run for it. */
#include "host.h"
#include "runtime/qmoe_tools.h"
#include <stdio.h>

int qm_cmd_inspect(int argc, char **argv) {
    static int meta, tensors, plan, json;
    static const struct poptOption table[] = {
        {"meta", 'm', POPT_ARG_NONE, &meta, 0, "the keys and their values (the default)", NULL},
        {"tensors", 't', POPT_ARG_NONE, &tensors, 0, "every tensor: type, shape, bytes, offset", NULL},
        {"plan", 'p', POPT_ARG_NONE, &plan, 0, "the ops of one step, with the bytes they move", NULL},
        {"json", 'j', POPT_ARG_NONE, &json, 0, "as JSON", NULL},
        POPT_TABLEEND,
    };
    poptContext con;
    const char *path;
    qm_err e;
    int rc =
        qm_host_options(&con, argc, argv, table,
                        "[options] FILE\n\nShows what a GGUF file holds; of a split set name any part. Needs no GPU.\n"
                        "  example: qmoe-gpu inspect --tensors model.gguf");
    if (rc >= 0) return rc;
    if ((rc = qm_host_args(&con, &path, 1, "FILE")) >= 0) return rc;
    int what = (meta ? QM_INSPECT_META : 0) | (tensors ? QM_INSPECT_TENSORS : 0) | (plan ? QM_INSPECT_PLAN : 0);
    if (!what) what = QM_INSPECT_META;
    rc = qm_inspect(path, what | (json ? QM_INSPECT_JSON : 0), qm_host_write, stdout, &e);
    if (rc) rc = qm_host_fail(&e);
    poptFreeContext(con);
    return rc;
}
