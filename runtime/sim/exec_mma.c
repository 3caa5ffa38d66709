/* exec_mma.c: ldmatrix and mma. Which lane holds which element: PTX ISA, "Matrix fragments for mma"
 * (g = lane / 4, t = lane % 4). Sums are made in double (integers: exactly) and rounded once, since
 * hardware generations differ in how they accumulate. */
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("O3,fp-contract=off,no-strict-aliasing")
#endif
#include <math.h>
#include <stdint.h>
#include <string.h>
#include "exec.h"
#include "exec_scalar.h"
#include "ptx.h"
#if defined(__clang__)
#pragma STDC FP_CONTRACT OFF
#endif
#include "exec_num.inc"

static int whole_warp(sim_warp *w, const sim_inst *in, uint32_t m) {
    if (m == SIM_FULL) return X_NEXT;
    return sim_sync_enter(w, in, m, SIM_FULL) == X_NEXT
               ? sim_fault(w, in, __builtin_ctz(m), SIM_LAUNCH_FAILED, "all 32 lanes must execute it")
               : X_RESCHED;
}

int h_ldmatrix(sim_warp *w, const sim_inst *in, uint32_t m) {
    int rc = whole_warp(w, in, m);
    if (rc) return w->wk->fault ? X_FAULT : rc;
    const uint32_t *aux = w->cta->f->aux + in->aux;
    uint16_t mat[4][8][8];
    uint64_t at[32] = {0};
    for (int l = 0; l < 8 * in->n; l++) {
        at[l] = sim_addr_of(w, in, 0, l);
        const uint8_t *p = sim_resolve(w, in, l, PS_SHARED, at[l], 16, "matrix row read");
        if (!p) return X_FAULT;
        memcpy(mat[l / 8][l % 8], p, 16);
    }
    rc = sim_hook(w, in, in->n == 4 ? SIM_FULL : (1u << (8 * in->n)) - 1, SIM_SPACE_SHARED, SIM_READ, SIM_WEAK, 16, at);
    if (rc) return rc;
    for (int i = 0; i < in->n; i++) {
        u32 *d = (u32 *)(w->r + aux[i]);
        for (int l = 0; l < 32; l++) {
            int r = l / 4, c = l % 4 * 2;
            d[l] = in->mod & F_TRANS ? (u32)mat[i][c][r] | (u32)mat[i][c + 1][r] << 16
                                     : (u32)mat[i][r][c] | (u32)mat[i][r][c + 1] << 16;
        }
    }
    return X_NEXT;
}

int h_mma(sim_warp *w, const sim_inst *in, uint32_t m) {
    int rc = whole_warp(w, in, m);
    if (rc) return w->wk->fault ? X_FAULT : rc;
    const uint32_t *aux = w->cta->f->aux + in->aux;
    int k = in->n, nc = in->rsz == 2 ? 2 : 4, per = in->sub == 3 ? 4 : in->sub == 2 ? 1 : 2; /* elements a register */
    int na = 16 * k / 32 / per, nb = 8 * k / 32 / per;
    const uint32_t *ra = aux + nc, *rb = ra + na, *rc_ = rb + nb;
    if (w->cta->l->opt.count) *(in->sub == 3 ? &w->wk->c.mma_int : &w->wk->c.mma_float) += 128ull * (uint64_t)k;
    if (in->sub == 3) {
        static _Thread_local int32_t A[16][32], B[8][32];
        for (int i = 0; i < na; i++)
            for (int l = 0; l < 32; l++)
                for (int e = 0; e < 4; e++) {
                    uint8_t v = (uint8_t)(((const u32 *)(w->r + ra[i]))[l] >> (8 * e));
                    A[l / 4 + 8 * (i & 1)][l % 4 * 4 + e + 16 * (i >> 1)] = in->cmp ? (int8_t)v : v;
                }
        for (int i = 0; i < nb; i++)
            for (int l = 0; l < 32; l++)
                for (int e = 0; e < 4; e++) {
                    uint8_t v = (uint8_t)(((const u32 *)(w->r + rb[i]))[l] >> (8 * e));
                    B[l / 4][l % 4 * 4 + e + 16 * i] = in->bop ? (int8_t)v : v;
                }
        u32 out[4][32];
        for (int i = 0; i < 4; i++)
            for (int l = 0; l < 32; l++) {
                const int32_t *a = A[l / 4 + 8 * (i >> 1)], *b = B[l % 4 * 2 + (i & 1)];
                int64_t s = ((const s32 *)(w->r + rc_[i]))[l];
                for (int j = 0; j < k; j++) s += a[j] * b[j];
                if (in->mod & F_SAT) s = s > INT32_MAX ? INT32_MAX : s < INT32_MIN ? INT32_MIN : s;
                out[i][l] = (u32)s;
            }
        for (int i = 0; i < 4; i++) memcpy(w->r + aux[i], out[i], 128);
        return X_NEXT;
    }
    static _Thread_local double A[16][16], B[8][16];
    for (int i = 0; i < na; i++)
        for (int l = 0; l < 32; l++) {
            u32 v = ((const u32 *)(w->r + ra[i]))[l];
            int row = l / 4 + 8 * (i & 1);
            if (in->sub == 2) A[row][l % 4 + 4 * (i >> 1)] = (double)u2f(v & 0xffffe000u);
            else
                for (int e = 0; e < 2; e++) {
                    u32 h = v >> (16 * e) & 0xffff;
                    A[row][l % 4 * 2 + e + 8 * (i >> 1)] = (double)(in->sub ? b2f(h) : h2f(h));
                }
        }
    for (int i = 0; i < nb; i++)
        for (int l = 0; l < 32; l++) {
            u32 v = ((const u32 *)(w->r + rb[i]))[l];
            if (in->sub == 2) B[l / 4][l % 4 + 4 * i] = (double)u2f(v & 0xffffe000u);
            else
                for (int e = 0; e < 2; e++) {
                    u32 h = v >> (16 * e) & 0xffff;
                    B[l / 4][l % 4 * 2 + e + 8 * i] = (double)(in->sub ? b2f(h) : h2f(h));
                }
        }
    float out[4][32];
    for (int i = 0; i < 4; i++)
        for (int l = 0; l < 32; l++) {
            const double *a = A[l / 4 + 8 * (i >> 1)], *b = B[l % 4 * 2 + (i & 1)];
            u32 c = ((const u32 *)(w->r + rc_[nc == 2 ? i >> 1 : i]))[l];
            double s = 0;
            for (int j = 0; j < k; j++) s += a[j] * b[j];
            s += (double)(nc == 2 ? h2f(c >> (16 * (i & 1)) & 0xffff) : u2f(c));
            out[i][l] = cn((float)s);
        }
    for (int i = 0; i < nc; i++)
        for (int l = 0; l < 32; l++)
            ((u32 *)(w->r + aux[i]))[l] = nc == 2 ? f2h(out[2 * i][l]) | f2h(out[2 * i + 1][l]) << 16 : f2u(out[i][l]);
    return X_NEXT;
}
