/* sample_draw: of each row tokens[pos + 1] by top-k, top-p, min-p and a draw, if the choice is not greedy; the row's result. */
#include <stdlib.h>
#include <string.h>
#include "ref.h"
#include "sample.h"

/* Of the op's i-th row; p, tokens: its sequence's */
static void draw(const qm_sample_draw_args *a, uint32_t i, const qm_sample_params *p, uint32_t *tokens, uint32_t pos) {
    const uint32_t *keys = (const uint32_t *)(uintptr_t)a->keys + (size_t)i * ((a->n + 3) / 4 * 4);
    uint64_t *items, last = 0;
    char *work = (char *)(uintptr_t)a->work + (size_t)i * QM_WORK_SIZE;
    if (!p->mode || !(items = malloc(a->n * sizeof *items))) return;
    qm_sample_order(items, keys, a->n);
    memcpy((uint64_t *)(uintptr_t)a->cand + (size_t)i * QM_SAMPLE_CAP, items,
           (a->n < QM_SAMPLE_CAP ? a->n : QM_SAMPLE_CAP) * sizeof *items);
    qm_sample_kept kept = qm_sample_keep(items, a->n, p);
    if ((p->top_k && p->top_k < a->n) || p->top_p < 1) last = items[kept.n - 1];
    memcpy(work + QM_WORK_LAST, &last, 8);
    memcpy(work + QM_WORK_KEPT, &kept.total, 8);
    tokens[pos + 1] = qm_sample_pick(items, kept, p, qm_sample_bits(p->seed, pos + 1, p->seq));
    free(items);
}

static void draw_and_tell(const qm_sample_draw_args *a, uint32_t i) {
    const qm_row_record *row = (const qm_row_record *)(uintptr_t)a->row + qm_ref_row(a->map, i);
    const char *state = (const char *)(uintptr_t)(a->state + row->seq_off);
    uint32_t *tokens = (uint32_t *)(uintptr_t)(a->tokens + row->seq_off);
    qm_sample_params p;
    memcpy(&p, state + QM_STATE_MODE, sizeof p);
    draw(a, i, &p, tokens, row->pos);
    if (!a->result) return;
    qm_result *r = (qm_result *)(uintptr_t)a->result + (size_t)row->seq * QM_RESULT_RING + row->pos % QM_RESULT_RING;
    if (p.logprobs)
        qm_sample_tell(r, (const float *)(uintptr_t)a->logits + (size_t)i * a->n, a->n, tokens[row->pos + 1]);
    memcpy(&r->flags, state + QM_STATE_FLAGS, 4);
    r->token = tokens[row->pos + 1];
    r->pos = row->pos;
    r->pad_ = 0;
}

void qm_ref_sample_draw(const qm_sample_draw_args *a, const qm_ref_env *env) {
    for (uint32_t i = 0; i < qm_ref_count(env, a->count); i++) draw_and_tell(a, i);
}
