/* schedule.c: see schedule.h. */
#include "schedule.h"
#include "../device/prof.h"

static uint32_t least(uint32_t a, uint32_t b) { return a < b ? a : b; }

uint32_t qm_schedule(qm_want *w, uint32_t n, qm_row *rows, uint32_t max) {
    uint32_t room = max, n_rows = 0;
    for (uint32_t i = 0; i < n; i++) {
        w[i].n = w[i].next < w[i].end && room;
        room -= w[i].n;
    }
    for (uint32_t i = 0; i < n; i++) {
        uint32_t more = w[i].n ? least(w[i].end - w[i].next - 1, room) : 0;
        w[i].n += more;
        room -= more;
        for (uint32_t pos = w[i].next; pos < w[i].next + w[i].n; pos++)
            rows[n_rows++] = (qm_row){w[i].s->seq, pos, w[i].logits && pos + 1 == w[i].end};
    }
    return n_rows;
}

int qm_schedule_step(qm_engine *g, qm_want *w, uint32_t n, qm_err *e) {
    qm_row rows[QM_STEP_ROWS_MAX];
    const qm_plan *p;
    const uint32_t n_rows = qm_schedule(w, n, rows, least(g->exec->max_rows, QM_STEP_ROWS_MAX));
    int logits = 0, rc = 0;
    if (!n_rows) return 0;
    for (uint32_t r = 0; r < n_rows; r++) logits |= rows[r].logits;
    QM_PROF_SCOPE(logits ? QM_PROF_DECODE : QM_PROF_PREFILL, "step");
    for (uint32_t i = 0; i < n && !rc; i++)
        if (w[i].n) rc = qm_session_grow(w[i].s, w[i].next + w[i].n, w[i].until, e);
    if (!rc) rc = qm_engine_step_plan(g, rows, n_rows, &p, e);
    if (!rc) rc = g->exec->step(g, rows, n_rows, p, e);
    for (uint32_t i = 0; i < n && !rc; i++) {
        w[i].next += w[i].n;
        if (w[i].n && w[i].logits && w[i].next == w[i].end) w[i].s->last = p;
    }
    return rc;
}
