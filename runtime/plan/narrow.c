/* narrow.c: see narrow.h. */
#include "narrow.h"
#include <string.h>

static uint32_t bits_at(const qm_weight *w, uint64_t i) {
    uint32_t u;
    memcpy(&u, (const unsigned char *)w->data + 4 * i, 4);
    return u;
}

static uint64_t n_weights(const qm_weight *w) { return (uint64_t)w->n_expert * w->n_rows * w->n_cols; }

const qm_type_info *qm_narrow_type(const qm_weight *w) {
    if (!w->may_narrow || w->type->type != QM_TYPE_F32) return w->type;
    for (uint64_t i = 0; i < n_weights(w); i++)
        if (bits_at(w, i) & 0xffff) return w->type;
    return qm_type_get(QM_TYPE_F32H);
}

void qm_narrow(void *dst, const qm_weight *w) {
    for (uint64_t i = 0; i < n_weights(w); i++) {
        const uint16_t high = (uint16_t)(bits_at(w, i) >> 16);
        memcpy((unsigned char *)dst + 2 * i, &high, 2);
    }
}
