/* depend.h: what kernels do before their griddepcontrol.wait, under QMOE_SIM_CHECK=dependent. */
#ifndef QM_SIM_DEPEND_H
#define QM_SIM_DEPEND_H
#include "access.h"
#include "grid.h"

/* A launch in captured stream `stream` (0 for others too). dependent: it may begin before the kernel before it there is done.
 * Fills l->serial, l->chain and l->early. */
void sim_depend_begin(sim_launch *l, int stream, int dependent);
/* Something else has run in the stream, or in all of them (-1): what comes next begins after all that came before. */
void sim_depend_break(int stream);
/* waited: lanes that have passed griddepcontrol.wait. 0, or SIM_LAUNCH_FAILED with a report. */
int sim_depend_access(const sim_access *a, const sim_launch *l, uint32_t waited);
/* Lanes that end without it. 0, or likewise. */
int sim_depend_exit(const sim_launch *l, uint64_t cta, uint64_t thread, uint32_t line);
#endif
