/* machine.c: see machine.h. */
#include "machine.h"

int sim_occupancy(const sim_func *f, uint32_t threads, uint32_t dyn_shared) {
    const uint32_t warps = (threads + 31) / 32;
    const uint32_t shared = sim_func_static_shared(f) + dyn_shared + 1024; /* 1 KiB is the system's own */
    if (!warps || threads > sim_func_max_threads(f) || shared > SIM_SHARED_PER_SM) return 0;
    uint32_t n = SIM_THREADS_PER_SM / (warps * 32), by_shared = SIM_SHARED_PER_SM / ((shared + 127) & ~127u);
    if (n > by_shared) n = by_shared;
    return (int)(n > SIM_CTAS_PER_SM ? SIM_CTAS_PER_SM : n);
}
