/* weights.h: from the mapped file to the device's weight arena. */
#ifndef QM_WEIGHTS_H
#define QM_WEIGHTS_H
#include "engine.h"
/* Device memory that loading takes for itself and gives back. */
enum { QM_LOAD_BYTES = 64 << 20 };
/* Packs and uploads every region of g->place to base + region.off; the file's pages are dropped from
 * the page cache behind the upload on a device that shares the host's memory. */
int qm_weights_upload(qm_engine *g, CUdeviceptr base, CUstream stream, const qm_engine_opts *o, qm_err *e);
#endif
