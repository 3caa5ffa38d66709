/* exec.h: what the hot handlers call and are called by. */
#ifndef QM_SIM_EXEC_H
#define QM_SIM_EXEC_H
#include "warp.h"

int sim_alloc_refill(sim_warp *w, const sim_inst *in, uint64_t lo,
                     uint64_t end); /* 1 if one live allocation holds it all */
int sim_ld_any(sim_warp *w, const sim_inst *in, uint32_t m);
int sim_st_any(sim_warp *w, const sim_inst *in, uint32_t m);
/* exec_mma.c: of an instruction that needs the whole warp, when only m is here: X_RESCHED until the others come, or a
 * fault; and ldmatrix with checks, or that faults */
int sim_part_of_warp(sim_warp *w, const sim_inst *in, uint32_t m);
int sim_ldmatrix_any(sim_warp *w, const sim_inst *in, uint32_t m);
/* exec_dot.c: a faster handler of this name on this CPU, or NULL. level: 0 baseline, 1 AVX2, 2 AVX-512. */
sim_handler sim_dot_better(const char *name, int level);
/* math.c: directed rounding and the approximate functions that have no vector form */
float qm_sim_sqrt_dir(float a, uint32_t mod);
float qm_sim_div_dir(float a, float b, uint32_t mod);
/* exec_warp.c: a shuffle of whatever lanes */
enum { SHFL_UP, SHFL_DOWN, SHFL_BFLY, SHFL_IDX };
int sim_shfl_any(sim_warp *w, const sim_inst *in, uint32_t m, int mode);
/* exec_async.c: copies of this warp under way. sim_cp_async_any: with checks, or that faults. NULL: out of memory */
int sim_cp_async_any(sim_warp *w, const sim_inst *in, uint32_t m);
sim_copy *sim_copy_add(sim_warp *w);
void sim_async_free(sim_warp *w);
#endif
