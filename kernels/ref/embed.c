/* embed.c: state.pos += 1; y = row tokens[pos] of W. A token outside the matrix raises
 * QM_FLAG_BAD_TOKEN and takes row 0. */
#include <string.h>
#include "dot.h"

void qm_ref_embed(const qm_embed_args *a, const qm_ref_env *env) {
    const qm_type_info *t = qm_type_get((uint32_t)env->wtype);
    uint8_t *state = qm_ref_ptr(a->state);
    uint32_t pos, flags, token;
    memcpy(&pos, state + QM_STATE_POS, 4);
    pos++;
    memcpy(state + QM_STATE_POS, &pos, 4);
    memcpy(&token, (uint8_t *)qm_ref_ptr(a->tokens) + 4 * (size_t)pos, 4);
    if (token >= a->n_rows) {
        memcpy(&flags, state + QM_STATE_FLAGS, 4);
        flags |= QM_FLAG_BAD_TOKEN;
        memcpy(state + QM_STATE_FLAGS, &flags, 4);
        token = 0;
    }
    t->to_f32(qm_ref_ptr(a->y), (uint8_t *)qm_ref_ptr(a->w) + token * qm_row_bytes(t, a->n_cols), a->n_cols);
}
