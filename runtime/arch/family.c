/* family.c: see family.h. */
#include "family.h"
#include <stdio.h>
#include <string.h>

#define QM_FAMILY(name) &qm_family_##name,
const qm_family *const qm_families[] = {
#include "families.def"
};
#undef QM_FAMILY
const int qm_n_families = sizeof qm_families / sizeof *qm_families;

const qm_weight_spec qm_weights_outside[QM_N_OUTSIDE] = {
    [QM_TOKEN_EMBD] = QM_MATRIX("token_embd", VOCAB, EMBD),
    [QM_OUTPUT_NORM] = QM_VECTOR("output_norm", EMBD),
    [QM_OUTPUT] = QM_MATRIX("output", VOCAB, EMBD, .may_be_absent = 1),
};

static int is(const char *word, const char *name, size_t n) {
    return word && strlen(word) == n && !memcmp(word, name, n);
}

const qm_family *qm_family_find(const char *name, size_t n) {
    for (int i = 0; i < qm_n_families; i++)
        for (int k = 0; k < QM_FAMILY_NAMES; k++)
            if (is(qm_families[i]->names[k], name, n)) return qm_families[i];
    return NULL;
}

int qm_shape_check(const qm_family *f, const uint32_t *v, char *why, size_t n) {
    for (int i = 0; i < QM_DIMS; i++) {
        const qm_dim_range *d = &f->dims[i];
        if (!d->flag || (v[i] >= d->lo && v[i] <= d->hi && v[i] % d->multiple == 0)) continue;
        if (d->multiple > 1 && d->hi == 2 * d->lo && d->lo == d->multiple)
            snprintf(why, n, "must be %u or %u", d->lo, d->hi);
        else
            snprintf(why, n, d->multiple > 1 ? "must be from %u to %u, a multiple of %u" : "must be from %u to %u",
                     d->lo, d->hi, d->multiple);
        return i;
    }
    if (v[QM_DIM_HEADS] % v[QM_DIM_KV_HEADS]) {
        snprintf(why, n, "must divide the %u query heads", v[QM_DIM_HEADS]);
        return QM_DIM_KV_HEADS;
    }
    if (f->dims[QM_DIM_EXPERTS].flag && v[QM_DIM_USED] > v[QM_DIM_EXPERTS]) {
        snprintf(why, n, "must be at most the %u experts", v[QM_DIM_EXPERTS]);
        return QM_DIM_USED;
    }
    return -1;
}

uint32_t qm_extent(const uint32_t *v, qm_dim d) {
    switch (d) {
    case QM_DIM_Q: return v[QM_DIM_HEADS] * v[QM_DIM_HEAD_DIM];
    case QM_DIM_KV: return v[QM_DIM_KV_HEADS] * v[QM_DIM_HEAD_DIM];
    case QM_DIM_ONE: return 1;
    default: return v[d];
    }
}
