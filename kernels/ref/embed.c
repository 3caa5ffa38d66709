/* embed.c: of each row, row.pos += 1; y = row tokens[pos] of W. A token outside the matrix raises
 * QM_FLAG_BAD_TOKEN and takes row 0. */
#include <string.h>
#include "dot.h"

static void embed_row(const qm_embed_args *a, const qm_type_info *t, qm_row_record *row, float *y) {
    uint8_t *state = qm_ref_ptr(a->state + row->seq_off);
    uint32_t flags, token, pos = ++row->pos;
    memcpy(&token, (uint8_t *)qm_ref_ptr(a->tokens + row->seq_off) + 4 * (size_t)pos, 4);
    if (token >= a->n_rows) {
        memcpy(&flags, state + QM_STATE_FLAGS, 4);
        flags |= QM_FLAG_BAD_TOKEN;
        memcpy(state + QM_STATE_FLAGS, &flags, 4);
        token = 0;
    }
    t->to_f32(y, (uint8_t *)qm_ref_ptr(a->w) + token * qm_row_bytes(t, a->n_cols), a->n_cols);
}

void qm_ref_embed(const qm_embed_args *a, const qm_ref_env *env) {
    const qm_type_info *t = qm_type_get((uint32_t)env->wtype);
    qm_row_record *rows = qm_ref_ptr(a->row);
    float *y = qm_ref_ptr(a->y);
    for (uint32_t i = 0; i < qm_ref_count(env, a->count); i++) embed_row(a, t, &rows[i], y + (size_t)i * a->n_cols);
}
