/* exec_mma.c: what mma and ldmatrix fall back to: parts of a warp, checks, faults. exec_mma.inc has the fast ways. */
#include <string.h>
#include "exec.h"
#include "exec_scalar.h"
#include "ptx.h"

int sim_part_of_warp(sim_warp *w, const sim_inst *in, uint32_t m) {
    int rc = sim_sync_enter(w, in, m, SIM_FULL);
    if (rc == X_NEXT) rc = sim_fault(w, in, __builtin_ctz(m), SIM_LAUNCH_FAILED, "all 32 lanes must execute it");
    return w->wk->fault ? X_FAULT : X_RESCHED;
}

int sim_ldmatrix_any(sim_warp *w, const sim_inst *in, uint32_t m) {
    if (m != SIM_FULL) return sim_part_of_warp(w, in, m);
    const uint32_t *aux = w->cta->f->aux + in->aux;
    uint16_t mat[4][8][8];
    uint64_t at[32] = {0};
    for (int l = 0; l < 8 * in->n; l++) {
        at[l] = sim_addr_of(w, in, 0, l);
        const uint8_t *p = sim_resolve(w, in, l, PS_SHARED, at[l], 16, "matrix row read");
        if (!p) return X_FAULT;
        memcpy(mat[l / 8][l % 8], p, 16);
    }
    int rc =
        sim_hook(w, in, in->n == 4 ? SIM_FULL : (1u << (8 * in->n)) - 1, SIM_SPACE_SHARED, SIM_READ, SIM_WEAK, 16, at);
    if (rc) return rc;
    for (int i = 0; i < in->n; i++) {
        uint32_t *d = (uint32_t *)(w->r + aux[i]);
        for (int l = 0; l < 32; l++) {
            int r = l / 4, c = l % 4 * 2;
            d[l] = in->mod & F_TRANS ? (uint32_t)mat[i][c][r] | (uint32_t)mat[i][c + 1][r] << 16
                                     : (uint32_t)mat[i][r][c] | (uint32_t)mat[i][r][c + 1] << 16;
        }
    }
    return X_NEXT;
}
