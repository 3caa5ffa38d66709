/* sample_scan: of each row order keys of the logits after biases, penalties and mask; where the choice is greedy, tokens[pos + 1]. A NaN
 * or +inf raises QM_FLAG_NONFINITE. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "ref.h"
#include "sample.h"

/* The op's i-th row. */
static void scan(const qm_sample_scan_args *a, uint32_t i_row) {
    const uint32_t n4 = (a->n + 3) / 4 * 4;
    const float *logits = (const float *)(uintptr_t)a->logits + (size_t)i_row * a->n;
    const qm_row_record *row = (const qm_row_record *)(uintptr_t)a->row + qm_ref_row(a->map, i_row);
    uint32_t *tokens = (uint32_t *)(uintptr_t)(a->tokens + row->seq_off);
    uint32_t *keys = (uint32_t *)(uintptr_t)a->keys + (size_t)i_row * n4, *own = NULL, pos = row->pos;
    char *state = (char *)(uintptr_t)(a->state + row->seq_off),
         *work = (char *)(uintptr_t)a->work + (size_t)i_row * QM_WORK_SIZE;
    qm_sample_params p;
    memcpy(&p, state + QM_STATE_MODE, sizeof p);
    for (uint32_t i = 0; i < a->n; i++)
        if (isnan(logits[i]) || logits[i] == INFINITY) state[QM_STATE_FLAGS] |= QM_FLAG_NONFINITE;
    /* a greedy choice leaves no keys */
    if (!p.mode && !(keys = own = malloc((size_t)n4 * sizeof *own))) return;
    qm_sample_keys(keys, logits, a->n, &p, (const qm_sample_bias *)(const void *)(state + QM_STATE_BIAS), tokens, pos);
    if (p.edits & QM_EDIT_MASK) qm_sample_mask(keys, a->n, (const uint32_t *)(uintptr_t)(a->mask + row->seq_off));
    for (uint32_t i = a->n; i % 4; i++) keys[i] = 0;
    uint64_t first = 0;
    for (uint32_t i = 0; i < a->n; i++) {
        uint64_t c = qm_sample_item(keys[i], i);
        if (c > first) first = c;
    }
    if (p.mode) memcpy(work + QM_WORK_FIRST, &first, 8);
    else tokens[pos + 1] = ~(uint32_t)first;
    free(own);
}

void qm_ref_sample_scan(const qm_sample_scan_args *a, const qm_ref_env *env) {
    for (uint32_t i = 0; i < qm_ref_count(env, a->count); i++) scan(a, i);
}
