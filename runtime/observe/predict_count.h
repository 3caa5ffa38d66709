/* predict_count.h: a step's ops run one by one over zeros on the software device, and counted. An op's counts depend on
 * its kernel, launch and shape, and on how the router deals the rows to experts; not on what the weights are. */
#ifndef QM_PREDICT_COUNT_H
#define QM_PREDICT_COUNT_H
#include "../device/kernels.h"
#include "op_records.h"

/* Fills count of every op, counted and total. Ops that differ in layer alone are run once, as are those that a step of
 * before [n] has. Every row chooses its experts at random, all equally likely, the same in every run. Of a product of many
 * rows, or attention of runs, that takes more than `whole` warp instructions, a few of the CTAs along x (and of the
 * runs) are run, and what they count is multiplied: they differ in which data they have alone. */
enum { QM_PREDICT_WHOLE = 4000000 };
int qm_predict_count(qm_device *d, qm_kernels *k, qm_op_records *r, double whole, qm_op_records *const *before, int n,
                     qm_err *e);
#endif
