/* executor.c: the list of executors, and what all of them do alike. */
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
    qm_fail(e, QM_ERR_ARG, "executor '%s' is not one of: %s", name, names);
    return NULL;
}

int qm_result_take(const qm_result *ring, uint32_t pos, uint32_t *id, uint32_t *flags, qm_err *e) {
    const volatile qm_result *v = &ring[pos % QM_RESULT_RING]; /* the device writes it */
    if (v->pos != pos)
        return qm_fail(e, QM_ERR_DEVICE, "the result of position %u is not there: its slot has that of %u", pos,
                       v->pos);
    *id = v->token;
    *flags = v->flags;
    return 0;
}

int qm_seq_take(unsigned char *taken, uint32_t n, uint32_t *i, qm_err *e) {
    for (*i = 0; *i < n; ++*i)
        if (!taken[*i]) {
            taken[*i] = 1;
            return 0;
        }
    return qm_fail(e, QM_ERR_LIMIT, "session: all %u sequences of this engine are open (n_parallel sets how many)", n);
}
