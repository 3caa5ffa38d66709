/* options.h: sim's settings, from the environment (QMOE_SIM_*) and from sim.h. */
#ifndef QM_SIM_OPTIONS_H
#define QM_SIM_OPTIONS_H
#include <stddef.h>
#include "sim.h"

/* Options and compute capability as the environment sets them; why: the first mistake in it, or "". */
void sim_env_read(qm_sim_options *o, int *cc, char *why, size_t why_n);
int sim_cc(void); /* the compute capability: 80, or QMOE_SIM_CC */
#endif
