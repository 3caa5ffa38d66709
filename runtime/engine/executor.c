/* executor.c: the list of executors. */
#include "executor.h"
#include <stdio.h>
#include <string.h>

const qm_executor *qm_executor_find(const char *name, qm_err *e) {
#define ENTRY(name) &qm_executor_##name,
    static const qm_executor *const all[] = {QM_EXECUTORS(ENTRY)};
#undef ENTRY
    enum { N = sizeof all / sizeof *all };
    char names[128] = "";
    if (!name) return all[0];
    for (int i = 0; i < N; i++) {
        if (!strcmp(name, all[i]->name)) return all[i];
        size_t n = strlen(names);
        snprintf(names + n, sizeof names - n, "%s%s", i ? ", " : "", all[i]->name);
    }
    qm_fail(e, QM_ERR_ARG, "executor '%s' is not one of: auto, %s", name, names);
    return NULL;
}
