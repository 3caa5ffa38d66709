/* machine.h: the declared multiprocessor. */
#ifndef QM_SIM_MACHINE_H
#define QM_SIM_MACHINE_H
#include <stdint.h>
#include "module.h"

enum {
    SIM_SHARED_DEFAULT = 48 << 10, /* bytes a CTA; up to OPTIN after cuFuncSetAttribute */
    SIM_SHARED_OPTIN = 163 << 10,
    SIM_SHARED_PER_SM = 164 << 10,
    SIM_THREADS_PER_SM = 2048,
    SIM_CTAS_PER_SM = 32,
    SIM_REGS_PER_SM = 65536,
    SIM_L2 = 4 << 20,
    SIM_L2_PERSISTING = SIM_L2 / 4 * 3 /* of it, the most that may be set aside for what is given up last */
};
/* CTAs of this shape that one SM holds (0: not even one): the figure behind the waves of an ordinary grid and the
 * limit of a cooperative one. Registers are left out: ptxas allocates them, and what PTX declares says little. */
int sim_occupancy(const sim_func *f, uint32_t threads, uint32_t dyn_shared);
#endif
