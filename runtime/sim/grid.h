/* grid.h: a launch, and running it. */
#ifndef QM_SIM_GRID_H
#define QM_SIM_GRID_H
#include <stdint.h>
#include "module.h"
#include "sim.h"

typedef struct {
    const sim_func *func;
    uint32_t grid[3], block[3];
    uint32_t dyn_shared;
    int cooperative;       /* all CTAs resident; else waves of n_sm * occupancy */
    const uint8_t *params; /* sim_func_param_bytes() of them */
    qm_sim_options opt;
    int dependent;          /* it was launched so (counted) */
    uint32_t serial, chain; /* check_dependent: depend.h */
    int early;              /* it may begin before what it waits for is done */
} sim_launch;
enum {
    SIM_OK = 0,
    SIM_ILLEGAL_ADDRESS,
    SIM_MISALIGNED,
    SIM_LAUNCH_FAILED,
    SIM_TRAP,
    SIM_ILLEGAL_INSTRUCTION,
    SIM_DEADLOCK
};
/* Runs to the end or to the first fault; a fault fills the report (sim_report). Adds to *c (never NULL):
 * launches, warp_insts, thread_insts, barriers and what sim_count_access adds. It
 * calls sim_check_launch_begin/_end itself when a check is on. */
int sim_run(const sim_launch *l, qm_sim_counters *c);
#endif
