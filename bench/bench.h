/* bench.h: what the benches share: facts of the machine, samples, time on the device. */
#ifndef QM_BENCH_H
#define QM_BENCH_H
#include <jansson.h>
#include <stdint.h>
#include "../runtime/device/cuda.h"

/* The machine as every result file names it (runtime/observe/machine.h), and its clocks of this moment. */
json_t *qm_bench_machine(qm_device *d);
/* An attribute of the device, or `otherwise` where the driver does not know it. */
int qm_bench_attribute(qm_device *d, CUdevice_attribute a, int otherwise);

/* The preprocessed text of bench/ptx/<file>.ptx, or NULL. */
const char *qm_bench_ptx(const char *file);

/* Sorts v[n]; returns its median. n >= 1. */
double qm_bench_median(double *v, int n);
#endif
