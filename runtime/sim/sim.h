/* sim.h: the software CUDA device's own controls: for tests, benches and developers. The runtime
 * reaches sim only through the driver table (contracts/cuda.def). All of it is process-wide. */
#ifndef QM_SIM_H
#define QM_SIM_H
#include <stddef.h>
#include <stdint.h>

typedef struct {
    int n_sm;            /* declared multiprocessors (default 4; env QMOE_SIM_SMS) */
    int threads;         /* host worker threads for one launch (default: the host's cores) */
    int check_races;     /* same word, different threads, a write, no ordering between */
    int check_uninit;    /* reads of never-written global and shared bytes */
    int check_dependent; /* what kernels of dependent launches do before griddepcontrol.wait (docs/sim.md) */
    int count;           /* fill the counters below (costs time) */
    uint64_t sched_seed; /* 0 = fixed order; else it draws the order of CTAs and warps, their turns, and %smid */
    int lazy;            /* enqueued work runs as late as its synchronisation allows (docs/sim.md) */
    uint64_t order_seed; /* lazy: 0 = always the latest order; else any legal one, drawn by this */
    size_t mem_bytes;    /* declared device memory (default: half the host's) */
    uint64_t lost_at;    /* not 0: with the n-th launch of a graph the device is lost, as one that falls off its bus */
} qm_sim_options;
void qm_sim_get_options(qm_sim_options *o);
void qm_sim_set_options(const qm_sim_options *o); /* between launches only */

/* Counters since the last reset, summed over launches; exact whatever the number of threads. */
typedef struct {
    uint64_t launches;
    uint64_t dependents;   /* of these, dependent launches */
    uint64_t warp_insts;   /* instructions issued by warps */
    uint64_t thread_insts; /* the same times active lanes (predicated-off lanes excluded) */
    uint64_t gld_bytes;    /* global bytes requested by loads, per lane (a broadcast of one address
                                 within a warp instruction counts once) */
    uint64_t gst_bytes;
    uint64_t gld_sectors; /* distinct 32-byte sectors per warp instruction */
    uint64_t gst_sectors;
    uint64_t shared_wavefronts;       /* shared-memory passes incl. bank conflicts */
    uint64_t shared_insts;            /* shared-memory instructions: wavefronts beyond ideal = conflicts */
    uint64_t mma_int, mma_float;      /* multiply-adds of mma: of 8-bit integers, of 16-bit floats */
    uint64_t last_bytes, first_bytes; /* of gld_bytes: asked for with a policy of L2::evict_last, of L2::evict_first */
    uint64_t atomics;
    uint64_t barriers;        /* bar.sync & co, per CTA arrival */
    uint64_t prefetches;      /* addresses that threads asked for by prefetch; of its bulk form every 32 bytes */
    uint64_t prefetch_digest; /* which 32-byte sectors these were, whatever their order: qm_sim_expect_prefetch */
    uint64_t async_bytes;     /* of gld_bytes those that cp.async asked for */
    uint64_t async_digest;    /* which words these were, whatever their order: qm_sim_expect_async */
} qm_sim_counters;
/* Adds to c what one prefetch of each sector that [address, address + bytes) begins in steps of 32 counts. */
void qm_sim_expect_prefetch(qm_sim_counters *c, uint64_t address, uint64_t bytes);
/* The same of one copy of each word of [address, address + bytes) by cp.async. */
void qm_sim_expect_async(qm_sim_counters *c, uint64_t address, uint64_t bytes);
void qm_sim_counters_get(qm_sim_counters *c); /* needs options.count; warp_insts always counts */
void qm_sim_counters_reset(void);
/* The same per kernel entry name; 1 if that kernel has run since the reset. */
int qm_sim_counters_kernel(const char *entry, qm_sim_counters *c);

/* The full report behind the last error (file, line, instruction, lane, address, PCs of a deadlock).
 * cuGetErrorString returns the same text, so nothing above the table needs this header. */
const char *qm_sim_last_report(void);
#endif
