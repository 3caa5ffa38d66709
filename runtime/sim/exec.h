/* exec.h: what the hot handlers call and are called by. */
#ifndef QM_SIM_EXEC_H
#define QM_SIM_EXEC_H
#include "warp.h"

int sim_alloc_refill(sim_warp *w, const sim_inst *in, uint64_t lo,
                     uint64_t end); /* 1 if one live allocation holds it all */
int sim_ld_any(sim_warp *w, const sim_inst *in, uint32_t m);
int sim_st_any(sim_warp *w, const sim_inst *in, uint32_t m);
/* exec_dot.c: a faster handler of this name on this CPU, or NULL. level: 0 baseline, 1 AVX2, 2 AVX-512. */
sim_handler sim_dot_better(const char *name, int level);
/* math.c: directed rounding and the approximate functions that have no vector form */
float qm_sim_sqrt_dir(float a, uint32_t mod);
float qm_sim_div_dir(float a, float b, uint32_t mod);
/* exec_async.c */
void sim_async_free(sim_warp *w);
#endif
