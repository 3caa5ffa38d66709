/* probe.c: memory bandwidth. */
#include "probe.h"
#include <string.h>
#include "engine.h"
int qm_probe_bandwidth(qm_device *d, uint64_t bytes, qm_bandwidth *b, qm_err *e) {
    (void)d, (void)bytes;
    memset(b, 0, sizeof *b);
    return qm_fail(e, QM_ERR_UNSUPPORTED, "bandwidth: not measured by this build");
}
int qm_engine_bandwidth(qm_engine *g, qm_bandwidth *b, qm_err *e) {
    memset(b, 0, sizeof *b);
    if (!g->dev) return qm_fail(e, QM_ERR_UNSUPPORTED, "bandwidth: the C reference has no device");
    return qm_probe_bandwidth(g->dev, 0, b, e);
}
