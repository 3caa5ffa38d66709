/* sample_scan: order keys of the logits after biases and penalties; where the choice is greedy, tokens[pos + 1]. A NaN
 * or +inf raises QM_FLAG_NONFINITE. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "ref.h"
#include "sample.h"

void qm_ref_sample_scan(const qm_sample_scan_args *a, const qm_ref_env *env) {
    const float *logits = (const float *)(uintptr_t)a->logits;
    const qm_row_record *row = (const qm_row_record *)(uintptr_t)a->row;
    uint32_t *tokens = (uint32_t *)(uintptr_t)(a->tokens + row->seq_off);
    uint32_t *keys = (uint32_t *)(uintptr_t)a->keys, *own = NULL, pos = row->pos;
    char *state = (char *)(uintptr_t)(a->state + row->seq_off), *work = (char *)(uintptr_t)a->work;
    qm_sample_params p;
    (void)env;
    memcpy(&p, state + QM_STATE_MODE, sizeof p);
    for (uint32_t i = 0; i < a->n; i++)
        if (isnan(logits[i]) || logits[i] == INFINITY) state[QM_STATE_FLAGS] |= QM_FLAG_NONFINITE;
    /* a greedy choice leaves no keys */
    if (!p.mode && !(keys = own = malloc(((size_t)a->n + 3) / 4 * 16))) return;
    qm_sample_keys(keys, logits, a->n, &p, (const qm_sample_bias *)(const void *)(state + QM_STATE_BIAS), tokens, pos);
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
