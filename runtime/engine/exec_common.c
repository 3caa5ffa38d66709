/* exec_common.c: what all executors do alike. */
#include <string.h>
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

/* The rows' lists. Two passes over the outs: those that choose a token stand first. */
void qm_step_fill(qm_step_record *s, const qm_row *rows, uint32_t n, qm_where_fn where, uint64_t seq_bytes) {
    memset(s, 0, sizeof *s);
    s->n_rows = n;
    for (uint32_t r = 0; r < n; r++) {
        s->rows[r] = where(rows[r].seq, seq_bytes);
        s->rows[r].pos = rows[r].pos - 1; /* embed adds 1 at the step's begin */
        if (rows[r].logits == QM_DRAW) s->outs[s->n_draws++] = r;
    }
    s->n_outs = s->n_draws;
    for (uint32_t r = 0; r < n; r++)
        if (rows[r].logits == QM_SCORE) s->outs[s->n_outs++] = r;
    for (uint32_t r = 0, of; r < n; r += of) {
        for (of = 1; r + of < n && rows[r + of].seq == rows[r].seq; of++) {}
        if (of == 1) s->singles[s->n_singles++] = r;
        for (uint32_t i = 0; of > 1 && i < of; i += QM_RUN_ROWS) {
            s->runs[s->n_runs][0] = r + i;
            s->runs[s->n_runs++][1] = of - i < QM_RUN_ROWS ? of - i : QM_RUN_ROWS;
        }
    }
}
