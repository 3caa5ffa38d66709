/* exec_persistent.c: the executor persistent: the same, but that one resident kernel walks the ops which it holds
 * (walk.h). */
#include "exec_device.h"
#include "walk.h"

const qm_executor qm_executor_persistent = {
    .name = "persistent", .resident = 1, .validate = qm_walk_validate, QM_DEVICE_EXECUTOR};
