/* rows.c: which rows of a step an op computes (contracts/abi.h, "Rows of a step"). */
#include "ref.h"

uint32_t qm_ref_count(const qm_ref_env *env, uint64_t count) {
    const uint32_t most = env->rows ? env->rows : 1;
    const uint32_t n = count ? *(const uint32_t *)(uintptr_t)count : most;
    return n < most ? n : most;
}

uint32_t qm_ref_row(uint64_t map, uint32_t i) { return map ? ((const uint32_t *)(uintptr_t)map)[i] : i; }
