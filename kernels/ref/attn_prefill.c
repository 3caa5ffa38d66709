/* attn_prefill: attn and combine of each row of the runs. */
#include "dot.h"

void qm_ref_attn_prefill(const qm_attn_prefill_args *a, const qm_ref_env *env) {
    const uint32_t n_runs = qm_ref_count(env, a->count), nq = a->n_head * (uint32_t)env->head_dim;
    const uint32_t(*runs)[2] = qm_ref_ptr(a->runs);
    const qm_row_record *rows = qm_ref_ptr(a->row);
    for (uint32_t i = 0; i < n_runs; i++)
        for (uint32_t r = runs[i][0]; r < runs[i][0] + runs[i][1]; r++) {
            const qm_attn_args at = {.q = a->q + 4ull * r * nq,
                                     .k_pool = a->k_pool,
                                     .v_pool = a->v_pool,
                                     .table = a->table,
                                     .row = (uint64_t)(uintptr_t)&rows[r],
                                     .n_head = a->n_head,
                                     .n_kv = a->n_kv,
                                     .scale = a->scale};
            qm_ref_attend(&at, a->y ? a->y + 4ull * r * nq : 0, a->yq ? a->yq + r * (uint64_t)QM_Q16A_BYTES(nq) : 0,
                          env);
        }
}
