/* exec_scalar.h: handlers that are compiled once (scalar.def lists them), and the services they share. */
#ifndef QM_SIM_EXEC_SCALAR_H
#define QM_SIM_EXEC_SCALAR_H
#include "warp.h"
#define OP(name) int h_##name(sim_warp *w, const sim_inst *in, uint32_t m);
#include "scalar.def"
#undef OP
int sim_bar_try(sim_cta *c, int id);
/* X_NEXT when all of the member mask's live lanes are here (m is exactly them), else X_RESCHED or X_FAULT. */
int sim_sync_enter(sim_warp *w, const sim_inst *in, uint32_t m, uint32_t member);
#endif
