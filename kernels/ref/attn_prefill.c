/* attn_prefill: attn and combine of each row of the runs. */
#include <stdlib.h>
#include "dot.h"

void qm_ref_attn_prefill(const qm_attn_prefill_args *a, const qm_ref_env *env) {
    const uint32_t hd = (uint32_t)env->head_dim, n_runs = qm_ref_count(env, a->count), nq = a->n_head * hd;
    const uint32_t(*runs)[2] = qm_ref_ptr(a->runs);
    const qm_row_record *rows = qm_ref_ptr(a->row);
    for (uint32_t i = 0; i < n_runs; i++)
        for (uint32_t r = runs[i][0]; r < runs[i][0] + runs[i][1]; r++) {
            const uint32_t n_spans = rows[r].pos / QM_SPAN + 1;
            float *acc = malloc((size_t)nq * n_spans * sizeof *acc);
            float *ml = malloc((size_t)a->n_head * n_spans * 2 * sizeof *ml);
            const qm_attn_args at = {.q = a->q + 4ull * r * nq,
                                     .k_pool = a->k_pool,
                                     .v_pool = a->v_pool,
                                     .table = a->table,
                                     .row = (uint64_t)(uintptr_t)&rows[r],
                                     .acc = (uint64_t)(uintptr_t)acc,
                                     .ml = (uint64_t)(uintptr_t)ml,
                                     .n_head = a->n_head,
                                     .n_kv = a->n_kv,
                                     .n_spans = n_spans,
                                     .rows = 1,
                                     .scale = a->scale};
            const qm_combine_args to = {.acc = at.acc,
                                        .ml = at.ml,
                                        .row = at.row,
                                        .y = a->y ? a->y + 4ull * r * nq : 0,
                                        .yq = a->yq ? a->yq + r * (uint64_t)QM_Q16A_BYTES(nq) : 0,
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
}
