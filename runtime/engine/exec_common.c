/* exec_common.c: what all executors do alike. */
#include "executor.h"

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
