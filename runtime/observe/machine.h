/* machine.h: what a measurement was made on: the head of every result file. */
#ifndef QM_MACHINE_H
#define QM_MACHINE_H
#include <jansson.h>
#include "../device/cuda.h"
#include "../qmoe_tools.h"
/* d NULL: no device, the C reference on the host. */
void qm_machine_of(qm_device *d, qm_machine *m);
json_t *qm_machine_object(const qm_machine *m); /* what qm_machine_json is the text of */
#endif
