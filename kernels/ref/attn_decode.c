/* attn_decode: qkrope, attn and combine of a step's one row. What they hand each other on the device, acc and ml, is the
 * device's own affair: here it lies elsewhere. */
#include <stdlib.h>
#include "dot.h"

void qm_ref_attn_decode(const qm_attn_decode_args *a, const qm_ref_env *env) {
    const size_t nq = (size_t)a->n_head * (uint32_t)env->head_dim;
    const qm_row_record *row = qm_ref_ptr(a->row);
    const uint32_t n_spans = row->pos / QM_SPAN + 1;
    float *q = malloc(nq * sizeof *q), *acc = malloc(nq * n_spans * sizeof *acc);
    float *ml = malloc((size_t)a->n_head * n_spans * 2 * sizeof *ml);
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
                             .acc = (uint64_t)(uintptr_t)acc,
                             .ml = (uint64_t)(uintptr_t)ml,
                             .n_head = a->n_head,
                             .n_kv = a->n_kv,
                             .n_spans = n_spans,
                             .rows = 1,
                             .scale = a->scale};
    const qm_combine_args to = {.acc = at.acc,
                                .ml = at.ml,
                                .row = a->row,
                                .y = a->y,
                                .yq = a->yq,
                                .n_head = a->n_head,
                                .n_spans = n_spans,
                                .rows = 1};
    qm_ref_env one = *env;
    one.rows = 1;
    if (q && acc && ml) {
        qm_ref_qkrope(&rope, &one);
        qm_ref_attn(&at, &one);
        qm_ref_combine(&to, &one);
    }
    free(q);
    free(acc);
    free(ml);
}
