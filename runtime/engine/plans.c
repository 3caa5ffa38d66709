/* plans.c: the plans of an engine: one for each shape that a step can have, built on first use. */
#include "engine.h"

int qm_engine_plan(qm_engine *g, uint32_t pos, int logits, const qm_plan **out, qm_err *e) {
    const qm_shape shape = {
        .outs = logits != 0, .n_splits = qm_plan_splits(&g->model->hp, g->limits, pos), .rows = 1};
    for (int i = 0; i < g->n_plans; i++) {
        const qm_shape *have = &g->plans[i]->shape;
        if (have->outs != shape.outs || have->n_splits != shape.n_splits || have->rows != shape.rows) continue;
        *out = g->plans[i];
        return 0;
    }
    int rc = qm_plan_build(&g->plans[g->n_plans], g->place, shape, g->limits, e);
    if (!rc) *out = g->plans[g->n_plans++]; /* splits are powers of two up to 64: 14 shapes in all */
    return rc;
}

/* Deep enough for the deepest row, with logits if one wants them. Its ops compute one row, whatever the step has: an
 * executor that takes more runs them for each. */
int qm_engine_step_plan(qm_engine *g, const qm_row *rows, uint32_t n, const qm_plan **out, qm_err *e) {
    uint32_t deepest = 0;
    int logits = 0;
    for (uint32_t r = 0; r < n; r++) {
        if (rows[r].pos > deepest) deepest = rows[r].pos;
        logits |= rows[r].logits;
    }
    return qm_engine_plan(g, deepest, logits, out, e);
}

int qm_engine_each_plan(qm_engine *g, qm_plan_fn fn, void *user, qm_err *e) {
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
