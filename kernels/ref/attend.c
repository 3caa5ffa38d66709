/* attend: attn and combine in one, for the references of attn_prefill and attn_decode. */
#include <stdlib.h>
#include "dot.h"

void qm_ref_attend(const qm_attn_args *a, uint64_t y, uint64_t yq, const qm_ref_env *env) {
    const qm_row_record *row = qm_ref_ptr(a->row);
    const uint32_t n_spans = row->pos / QM_SPAN + 1;
    const size_t n = (size_t)a->n_head * n_spans;
    float *acc = malloc(n * (uint32_t)env->head_dim * sizeof *acc), *ml = malloc(2 * n * sizeof *ml);
    qm_attn_args at = *a;
    at.acc = (uint64_t)(uintptr_t)acc;
    at.ml = (uint64_t)(uintptr_t)ml;
    at.n_spans = n_spans;
    at.rows = 1;
    const qm_combine_args to = {.acc = at.acc,
                                .ml = at.ml,
                                .row = a->row,
                                .y = y,
                                .yq = yq,
                                .n_head = a->n_head,
                                .n_spans = n_spans,
                                .rows = 1};
    qm_ref_env one = *env;
    one.rows = 1;
    if (acc && ml) {
        qm_ref_attn(&at, &one);
        qm_ref_combine(&to, &one);
    }
    free(acc);
    free(ml);
}
