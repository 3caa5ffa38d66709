/* driver.h: the driver's entries (driver*.c), sim_cu_<field> for each line of contracts/cuda.def, and what one file of
 * them holds of the context for driver.c to let go. */
#ifndef QM_SIM_DRIVER_H
#define QM_SIM_DRIVER_H
#include "../device/cuda.h"
#include "context.h"
#include "handle.h"
#include "op.h"

#define QM_CU(field, symbol, params) CUresult CUDAAPI sim_cu_##field params;
#include "../../contracts/cuda.def"
#undef QM_CU

/* The context ends. */
void sim_streams_drop(void);
void sim_events_drop(void);
void sim_graphs_drop(void);
void sim_modules_drop(void);

CUresult sim_graph_new(CUgraph *g, sim_oplist *ops); /* shares the list */
#endif
