/* counters.h: what one access counts, and the sums that sim.h gives out. */
#ifndef QM_SIM_COUNTERS_H
#define QM_SIM_COUNTERS_H
#include "access.h"
#include "sim.h"

/* Bytes, sectors, bank conflicts of one warp instruction into c. */
void sim_count_access(qm_sim_counters *c, const sim_access *a);
/* c of one launch of this entry into the sums. Thread-safe. */
void sim_counters_add(const char *entry, const qm_sim_counters *c);
#endif
