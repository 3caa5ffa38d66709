/* plans.c: the plans of an engine: one for each shape that a step can have, built on first use. */
#include "engine.h"

static int plan_of(qm_engine *g, qm_shape shape, const qm_plan **out, qm_err *e) {
    for (int i = 0; i < g->n_plans; i++) {
        const qm_shape *have = &g->plans[i]->shape;
        if (have->outs != shape.outs || have->n_splits != shape.n_splits || have->rows != shape.rows) continue;
        *out = g->plans[i];
        return 0;
    }
    int rc = g->n_plans < QM_MAX_PLANS
                 ? qm_plan_build(&g->plans[g->n_plans], g->place, shape, g->limits, e)
                 : qm_fail(e, QM_ERR_LIMIT, "engine: more than %d shapes of a step", QM_MAX_PLANS);
    if (!rc) *out = g->plans[g->n_plans++];
    return rc;
}

int qm_engine_plan(qm_engine *g, uint32_t pos, int logits, const qm_plan **out, qm_err *e) {
    return plan_of(g, qm_plan_shape(&g->model->hp, g->limits, 1, logits != 0, pos), out, e);
}

int qm_engine_step_plan(qm_engine *g, const qm_row *rows, uint32_t n, const qm_plan **out, qm_err *e) {
    uint32_t deepest = 0, outs = 0;
    for (uint32_t r = 0; r < n; r++) {
        if (rows[r].pos > deepest) deepest = rows[r].pos;
        outs += rows[r].logits != QM_NO_LOGITS;
    }
    if (n > g->limits.n_rows || outs > g->limits.n_outs)
        return qm_fail(e, QM_ERR_LIMIT, "a step of %u rows, %u with logits: there is room for %u and %u", n, outs,
                       g->limits.n_rows, g->limits.n_outs);
    return plan_of(g, qm_plan_shape(&g->model->hp, g->limits, n, outs, deepest), out, e);
}

/* Of one row: by depth, with and without logits. */
static int each_of_one(qm_engine *g, qm_plan_fn fn, void *user, qm_err *e) {
    uint32_t before = 0;
    int rc = 0;
    for (uint64_t pos = 0; pos < g->limits.n_ctx && !rc; pos += QM_PAGE_TOKENS) {
        const qm_plan *p;
        uint32_t splits = qm_plan_splits(&g->model->hp, g->limits, (uint32_t)pos);
        if (splits == before) continue;
        before = splits;
        for (int logits = 0; logits < 2 && !rc; logits++)
            if (!(rc = qm_engine_plan(g, (uint32_t)pos, logits, &p, e))) rc = fn(user, p, e);
    }
    return rc;
}

int qm_engine_each_plan(qm_engine *g, qm_plan_fn fn, void *user, qm_err *e) {
    int rc = each_of_one(g, fn, user, e);
    for (uint32_t rows = 2; rows <= g->limits.n_rows && !rc; rows *= 2)
        for (uint32_t outs = 0; outs <= 2 && outs <= g->limits.n_outs && !rc;
             outs++) { /* none, one, as many as there may be */
            const qm_plan *p;
            rc = plan_of(g, qm_plan_shape(&g->model->hp, g->limits, rows, outs, 0), &p, e);
            if (!rc) rc = fn(user, p, e);
        }
    return rc;
}
