/* exec_graph.c: the executor that users get: a kernel node per op, captured once per step shape into a CUDA graph and
 * replayed. */
#include "exec_device.h"

const qm_executor qm_executor_graph = {.name = "graph", QM_DEVICE_EXECUTOR};
