/* schedule.c: see schedule.h. */
#include "schedule.h"
#include "../device/prof.h"

static uint32_t least(uint32_t a, uint32_t b) { return a < b ? a : b; }

/* Of n rows of w from next on, how many can have the logits that they want. */
static uint32_t with_logits(const qm_want *w, uint32_t n, uint32_t outs) {
    if (w->logits == QM_SCORE) return least(n, outs);
    return n && w->logits && w->next + n == w->end && !outs ? n - 1 : n;
}

uint32_t qm_schedule(qm_want *w, uint32_t n, qm_row *rows, uint32_t max, uint32_t max_outs) {
    uint32_t room = max, outs = max_outs, n_rows = 0;
    for (uint32_t i = 0; i < n; i++) {
        w[i].n = with_logits(&w[i], w[i].next < w[i].end && room, outs);
        room -= w[i].n;
        outs -= w[i].n && (w[i].logits == QM_SCORE || (w[i].logits && w[i].next + 1 == w[i].end));
    }
    for (uint32_t i = 0; i < n; i++) {
        const uint32_t left = w[i].n ? w[i].end - w[i].next - 1 : 0;
        const uint32_t more =
            left ? with_logits(&w[i], 1 + least(left, room), outs + (w[i].logits == QM_SCORE)) - 1 : 0;
        w[i].n += more;
        room -= more;
        if (w[i].logits == QM_SCORE) outs -= more;
        else if (w[i].logits && more && w[i].next + w[i].n == w[i].end) outs--;
        for (uint32_t pos = w[i].next; pos < w[i].next + w[i].n; pos++)
            rows[n_rows++] =
                (qm_row){w[i].s->seq, pos, w[i].logits == QM_SCORE || pos + 1 == w[i].end ? w[i].logits : QM_NO_LOGITS};
    }
    return n_rows;
}

int qm_schedule_step(qm_engine *g, qm_want *w, uint32_t n, qm_err *e) {
    qm_row rows[QM_STEP_ROWS_MAX];
    const qm_plan *p;
    const uint32_t n_rows = qm_schedule(w, n, rows, least(g->exec->max_rows, g->limits.n_rows), g->limits.n_outs);
    int decode = 1, rc = 0; /* every row draws: no prompt among them */
    if (!n_rows) return 0;
    for (uint32_t r = 0; r < n_rows; r++) decode &= rows[r].logits == QM_DRAW;
    QM_PROF_SCOPE(decode ? QM_PROF_DECODE : QM_PROF_PREFILL, "step");
    for (uint32_t i = 0; i < n && !rc; i++)
        if (w[i].n) rc = qm_session_grow(w[i].s, w[i].next + w[i].n, w[i].until, e);
    if (!rc) rc = qm_engine_step_plan(g, rows, n_rows, &p, e);
    if (!rc) rc = g->exec->step(g, rows, n_rows, p, e);
    for (uint32_t i = 0; i < n && !rc; i++) {
        w[i].next += w[i].n;
        if (w[i].n && w[i].logits == QM_DRAW && w[i].next == w[i].end) w[i].s->last = p;
    }
    return rc;
}
