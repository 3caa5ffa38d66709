/* exec_common.c: what all executors do alike. */
#include <string.h>
#include "engine.h"

int qm_result_take(const qm_result *ring, uint32_t pos, qm_result *r, qm_err *e) {
    *r = *(const volatile qm_result *)&ring[pos % QM_RESULT_RING]; /* the device writes it */
    if (r->pos != pos)
        return qm_fail(e, QM_ERR_DEVICE, "the result of position %u is not there: its slot has that of %u", pos,
                       r->pos);
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

uint32_t qm_logits_find(const qm_logits_places *p, const qm_engine *g, const qm_seq *s) {
    uint32_t o = 0;
    while (o < g->limits.n_outs && p->of[o] != s) o++;
    return o;
}

void qm_logits_forget(qm_logits_places *p, const qm_engine *g, const qm_seq *s) {
    const uint32_t o = qm_logits_find(p, g, s);
    if (o < g->limits.n_outs) p->of[o] = NULL;
}

int qm_logits_take(qm_logits_places *p, qm_engine *g, const qm_row *rows, uint32_t n, qm_keep_fn keep, qm_err *e) {
    qm_seq *next[QM_STEP_ROWS_MAX];
    uint32_t n_outs = 0;
    int rc = 0;
    for (uint32_t r = 0; r < n; r++)
        if (rows[r].logits == QM_DRAW) {
            qm_logits_forget(p, g, rows[r].seq); /* this step's are newer */
            next[n_outs++] = rows[r].seq;
        }
    for (uint32_t r = 0; r < n; r++)
        if (rows[r].logits == QM_SCORE) next[n_outs++] = NULL;
    for (uint32_t o = 0; o < n_outs && !rc; o++) {
        if (p->of[o]) rc = keep(g, p->of[o], o, e);
        p->of[o] = next[o];
    }
    return rc;
}
