/* attn_decode: qkrope, attn and combine of a step's one row. What they hand each other on the device, acc and ml, is the
 * device's own affair: here it lies elsewhere. */
#include <stdlib.h>
#include "dot.h"

void qm_ref_attn_decode(const qm_attn_decode_args *a, const qm_ref_env *env) {
    float *q = malloc((size_t)a->n_head * (uint32_t)env->head_dim * sizeof *q);
    const qm_qkrope_args rope = {.qkv = a->qkv,
                                 .q_norm = a->q_norm,
                                 .k_norm = a->k_norm,
                                 .rope = a->rope,
                                 .row = a->row,
                                 .table = a->table,
                                 .k_pool = a->k_pool,
                                 .v_pool = a->v_pool,
                                 .q_out = a->q_out ? a->q_out : (uint64_t)(uintptr_t)q,
                                 .n_head = a->n_head,
                                 .n_kv = a->n_kv,
                                 .n_partials = a->n_partials,
                                 .rows = 1,
                                 .eps = a->eps};
    const qm_attn_args at = {.q = rope.q_out,
                             .k_pool = a->k_pool,
                             .v_pool = a->v_pool,
                             .table = a->table,
                             .row = a->row,
                             .n_head = a->n_head,
                             .n_kv = a->n_kv,
                             .scale = a->scale};
    qm_ref_env one = *env;
    one.rows = 1;
    if (q) {
        qm_ref_qkrope(&rope, &one);
        qm_ref_attend(&at, a->y, a->yq, &one);
    }
    free(q);
}
