/* machine.h: what a measurement was made on: the head of every result file. */
#ifndef QM_MACHINE_H
#define QM_MACHINE_H
#include "../device/cuda.h"
#include "../qmoe.h"
/* d NULL: no device, the C reference on the host. */
void qm_machine_of(qm_device *d, qm_machine *m);
#endif
