/* counters.c: see counters.h. */
#include "counters.h"

static const qm_caps *g_counting; /* of the device that counts since begin() */
static int g_before;              /* whether it counted before */

int qm_counters_here(const qm_device *d) { return d->caps.count != NULL; }

int qm_counters_begin(qm_device *d, qm_err *e) {
    qm_counters none;
    if (!qm_counters_here(d)) return qm_fail(e, QM_ERR_UNSUPPORTED, "%s (%s) counts nothing", d->spec, d->name);
    g_counting = &d->caps;
    g_before = g_counting->count(1);
    g_counting->take_counters(&none);
    return 0;
}

void qm_counters_take(qm_counters *c) { g_counting->take_counters(c); }
void qm_counters_end(void) { g_counting->count(g_before); }

void qm_counters_add(qm_counters *to, const qm_counters *c) {
    to->launches += c->launches;
    to->warp_insts += c->warp_insts;
    to->thread_insts += c->thread_insts;
    to->load_bytes += c->load_bytes;
    to->store_bytes += c->store_bytes;
    to->load_sectors += c->load_sectors;
    to->store_sectors += c->store_sectors;
    to->last_bytes += c->last_bytes;
    to->first_bytes += c->first_bytes;
    to->shared_passes += c->shared_passes;
    to->mma_int += c->mma_int;
    to->mma_float += c->mma_float;
    to->atomics += c->atomics;
    to->barriers += c->barriers;
}
