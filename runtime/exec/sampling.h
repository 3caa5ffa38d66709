/* sampling.h: from what a user says to what the device reads. */
#ifndef QM_SAMPLING_H
#define QM_SAMPLING_H
#include "../../kernels/ref/sample.h"
#include "../qmoe.h"
/* QM_ERR_ARG with the range where a value is outside it. */
int qm_sampling_params(qm_sample_params *out, const qm_sampling *p, qm_err *e);
#endif
