/* stamp.h: the kernels once more, each with two time stamps: when its first CTA began and when its last
 * warp was done, on the device's own clock (%globaltimer, ns). The texts are those of kernels.h with a
 * second parameter, the stamp's address, and a few instructions at both ends of each entry; nothing is
 * added to the kernels that users run.
 *
 * A stamp is two u64, both set to all ones before: begin (least over the CTAs), end (most over the warps).
 * The end is the last instruction of a warp, not the last byte of its stores. What it costs is a few
 * instructions a warp and one atomic minimum or maximum on one word; the caller measures the step with and
 * without and reports both. */
#ifndef QM_STAMP_H
#define QM_STAMP_H
#include "kernels.h"

enum { QM_STAMP_BEGIN = 0, QM_STAMP_END = 8, QM_STAMP_BYTES = 16 };

/* ptx with stamps; the caller frees it. QM_ERR_UNSUPPORTED, naming the entry, for a text in which an entry
 * is left anywhere but at an unconditional `ret`. */
int qm_stamp_text(char **out, const char *ptx, qm_err *e);

typedef struct qm_stamped qm_stamped;
int qm_stamped_open(qm_stamped **out, qm_device *d, qm_err *e);
void qm_stamped_close(qm_stamped *k); /* NULL is fine */
/* Loads table entry i (contracts/kernels.def): before a capture. */
int qm_stamped_load(qm_stamped *k, int i, qm_err *e);
/* As qm_kernels_launch; stamp: device address of QM_STAMP_BYTES, 8-byte aligned. */
int qm_stamped_launch(qm_stamped *k, int i, const unsigned grid[3], unsigned block, unsigned shared, const void *args,
                      CUdeviceptr stamp, CUstream s, qm_err *e);
#endif
