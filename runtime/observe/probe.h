/* probe.h: what a device's memory gives, measured: the yardstick that every bandwidth figure is held against. */
#ifndef QM_PROBE_H
#define QM_PROBE_H
#include "../device/cuda.h"
#include "../qmoe_tools.h"
/* Takes about a second of a GPU. bytes: of the buffer that is read; 0 = a quarter of what is free, at most
 * 4 GiB (a slow device, one that would take long for that, is measured with 16 MiB). */
int qm_probe_bandwidth(qm_device *d, uint64_t bytes, qm_bandwidth *b, qm_err *e);
#endif
