/* sample_draw: tokens[pos + 1] by top-k, top-p, min-p and a draw, if the choice is not greedy; the step's result. */
#include <string.h>
#include "ref.h"
#include "sample.h"

static void draw(const qm_sample_draw_args *a) {
    const uint32_t *keys = (const uint32_t *)(uintptr_t)a->keys;
    uint64_t *items = (uint64_t *)(uintptr_t)a->cand, last = 0;
    char *state = (char *)(uintptr_t)a->state, *work = (char *)(uintptr_t)a->work;
    uint32_t pos;
    qm_sample_params p;
    memcpy(&pos, state + QM_STATE_POS, 4);
    memcpy(&p, state + QM_STATE_MODE, sizeof p);
    if (!p.mode) return;
    qm_sample_order(items, keys, a->n);
    qm_sample_kept kept = qm_sample_keep(items, a->n, &p);
    if ((p.top_k && p.top_k < a->n) || p.top_p < 1) last = items[kept.n - 1];
    memcpy(work + QM_WORK_LAST, &last, 8);
    memcpy(work + QM_WORK_KEPT, &kept.total, 8);
    ((uint32_t *)(uintptr_t)a->tokens)[pos + 1] =
        qm_sample_pick(items, kept, &p, qm_sample_bits(p.seed, pos + 1, p.seq));
}

void qm_ref_sample_draw(const qm_sample_draw_args *a, const qm_ref_env *env) {
    const char *state = (const char *)(uintptr_t)a->state;
    qm_result r = {0};
    (void)env;
    draw(a);
    if (!a->result) return;
    memcpy(&r.pos, state + QM_STATE_POS, 4);
    memcpy(&r.flags, state + QM_STATE_FLAGS, 4);
    r.token = ((const uint32_t *)(uintptr_t)a->tokens)[r.pos + 1];
    ((qm_result *)(uintptr_t)a->result)[r.pos % QM_RESULT_RING] = r;
}
