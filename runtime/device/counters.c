/* counters.c: see counters.h. The software device's counters are process-wide, so these are too. */
#include "counters.h"
#include <string.h>
#include "../sim/sim.h"

static int g_before;

int qm_counters_here(const qm_device *d) { return !strcmp(d->spec, "sim"); }

static void count(int on) {
    qm_sim_options o;
    qm_sim_get_options(&o);
    o.count = on;
    qm_sim_set_options(&o);
}

int qm_counters_begin(qm_device *d, qm_err *e) {
    if (!qm_counters_here(d))
        return qm_fail(e, QM_ERR_UNSUPPORTED, "%s counts nothing; only the software device does", d->spec);
    qm_sim_options o;
    qm_sim_get_options(&o);
    g_before = o.count;
    count(1);
    qm_sim_counters_reset();
    return 0;
}

void qm_counters_take(qm_counters *c) {
    qm_sim_counters s;
    qm_sim_counters_get(&s);
    qm_sim_counters_reset();
    *c = (qm_counters){.launches = s.launches,
                       .warp_insts = s.warp_insts,
                       .thread_insts = s.thread_insts,
                       .load_bytes = s.gld_bytes,
                       .store_bytes = s.gst_bytes,
                       .load_sectors = s.gld_sectors,
                       .store_sectors = s.gst_sectors,
                       .shared_passes = s.shared_wavefronts,
                       .atomics = s.atomics,
                       .barriers = s.barriers};
}

void qm_counters_end(void) { count(g_before); }

void qm_counters_add(qm_counters *to, const qm_counters *c) {
    to->launches += c->launches;
    to->warp_insts += c->warp_insts;
    to->thread_insts += c->thread_insts;
    to->load_bytes += c->load_bytes;
    to->store_bytes += c->store_bytes;
    to->load_sectors += c->load_sectors;
    to->store_sectors += c->store_sectors;
    to->shared_passes += c->shared_passes;
    to->atomics += c->atomics;
    to->barriers += c->barriers;
}
