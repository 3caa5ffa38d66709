/* moe_sort: slots {row, pick} by rising expert, then by rising slot, and the groups of at most `width` neighbours that share
 * one: a stable counting sort. */
#include "dot.h"

void qm_ref_moe_sort(const qm_moe_sort_args *a, const qm_ref_env *env) {
    const uint32_t *ids = qm_ref_ptr(a->ids), n = qm_ref_count(env, a->count) * a->n_used;
    uint32_t *order = qm_ref_ptr(a->order), at = 0, n_groups = 0;
    qm_group *groups = qm_ref_ptr(a->groups);
    for (uint32_t e = 0; e < a->n_expert; e++) {
        const uint32_t first = at;
        for (uint32_t s = 0; s < n; s++)
            if (qm_ref_expert(ids[s], a->n_expert) == e) order[at++] = s;
        for (uint32_t i = first; i < at; i += a->width)
            groups[n_groups++] = (qm_group){e, i, at - i < a->width ? at - i : a->width, 0};
    }
    *(uint32_t *)qm_ref_ptr(a->n_groups) = n_groups;
}
