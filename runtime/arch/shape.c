/* shape.c: see shape.h. Where the limits come from: head lengths are the kernels' (contracts/kernels.def); experts are the
 * router's; a row of n_embd or n_ff floats must fit in the shared memory of any device since sm_80 (99 KiB); the
 * vocabulary is sampling's. */
#include "shape.h"
#include <stdio.h>
#include "../../contracts/abi.h"

const qm_dim_range qm_dim_ranges[QM_DIMS] = {
    [QM_DIM_CTX] = {"context_length", "ctx", 1, 1u << 28, 1},
    [QM_DIM_EMBD] = {"embedding_length", "embd", 32, 1u << 14, 32},
    [QM_DIM_LAYERS] = {"block_count", "layers", 1, 1024, 1},
    [QM_DIM_HEADS] = {"attention.head_count", "heads", 1, 1024, 1},
    [QM_DIM_KV_HEADS] = {"attention.head_count_kv", "kv-heads", 1, 1024, 1},
    [QM_DIM_HEAD_DIM] = {"attention.key_length", "head-dim", 64, 128, 64},
    [QM_DIM_EXPERTS] = {"expert_count", "experts", 1, 512, 1},
    [QM_DIM_USED] = {"expert_used_count", "experts-used", 1, 32, 1},
    [QM_DIM_FF] = {"expert_feed_forward_length", "ff", 32, 1u << 14, 32},
    [QM_DIM_VOCAB] = {NULL, "vocab", 1, QM_SAMPLE_MAX_N - 1, 1},
};

int qm_shape_check(const uint32_t *v, char *why, size_t n) {
    for (int i = 0; i < QM_DIMS; i++) {
        const qm_dim_range *d = &qm_dim_ranges[i];
        if (v[i] >= d->lo && v[i] <= d->hi && v[i] % d->multiple == 0) continue;
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
    if (v[QM_DIM_USED] > v[QM_DIM_EXPERTS]) {
        snprintf(why, n, "must be at most the %u experts", v[QM_DIM_EXPERTS]);
        return QM_DIM_USED;
    }
    return -1;
}
