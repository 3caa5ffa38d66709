/* moe_up.c: h[e, i] = silu(Wgate[id_e] x)[i] * (Wup[id_e] x)[i]; hq is h rounded to f32, then q16a. ids are given, or what router
 * makes of the logits. */
#include "dot.h"

void qm_ref_moe_up(const qm_moe_up_args *a, const qm_ref_env *env) {
    const qm_type_info *t = qm_type_get((uint32_t)env->wtype);
    if (a->logits)
        qm_ref_router(&(qm_router_args){.logits = a->logits,
                                        .ids = a->picked,
                                        .weights = a->weights,
                                        .n_expert = a->n_expert,
                                        .n_used = env->grid[1],
                                        .n_partials = a->n_partials,
                                        .rows = 1},
                      &(qm_ref_env){.rows = 1});
    const uint32_t *ids = qm_ref_ptr(a->logits ? a->picked : a->ids);
    size_t row_bytes = qm_row_bytes(t, a->n_cols);
    float *x = a->r ? qm_ref_normed(t, a->r, a->norm, a->eps, a->n_cols, env->f32_act, a->xn, 0)
                    : qm_ref_activation(t, a->x, a->n_cols, env->f32_act);
    float *own = malloc(a->n_ff * sizeof *own);
    for (uint32_t e = 0; x && own && e < env->grid[1]; e++) {
        uint64_t at = qm_ref_expert(ids[e], a->n_expert) * a->expert_bytes;
        const uint8_t *gate = qm_ref_ptr(a->w_gate + at), *up = qm_ref_ptr(a->w_up + at);
        float *h = a->h ? (float *)qm_ref_ptr(a->h) + (size_t)e * a->n_ff : own;
        for (uint32_t r = 0; r < a->n_ff; r++)
            h[r] = qm_ref_silu_mul(qm_ref_dot(t, gate + r * row_bytes, x, 0, a->n_cols),
                                   qm_ref_dot(t, up + r * row_bytes, x, 0, a->n_cols));
        if (a->hq && !env->f32_act)
            qm_q16a_quantize((uint8_t *)qm_ref_ptr(a->hq) + (size_t)e * QM_Q16A_BYTES(a->n_ff), h, a->n_ff);
    }
    free(own);
    free(x);
}
