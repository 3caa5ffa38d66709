/* race_sync.h: what a thread knows of others: the half of the race check that follows synchronisation. race.c is the
 * other, which follows accesses. */
#ifndef QM_SIM_RACE_SYNC_H
#define QM_SIM_RACE_SYNC_H
#include "race.h"
#include "vector_clock.h"

typedef struct {
    uint32_t stamp;
    vclock *know;                /* beyond the thread itself, its warp's and its CTA's base */
    vclock *pend_gpu, *pend_cta; /* seen by strong reads, known once a fence follows */
    vclock *snap_gpu, *snap_cta; /* known at the last fence: what later strong writes release */
    const struct sync_var *last; /* a spin re-reads one variable: nothing new if version == last_version */
    uint32_t last_version;
} race_thread;

struct race_cta {
    race_cta *next;
    uint32_t id, n_threads, count; /* count: synchronising events so far */
    uint32_t base;                 /* stamps below are known to all threads of the CTA */
    uint32_t warp_base[32];        /* ... to all lanes of the warp, of that warp */
    race_thread *t;                /* [n_threads] */
    struct race_cell *shared;      /* [shared_bytes / 4 + 1], race.c's */
    struct race_copy *copying;     /* likewise: the asynchronous copy under way to each word */
};
extern int race_oom; /* since the launch began something could not be kept: the check has no more to say */

int race_threads_new(race_cta *c, uint32_t n); /* 0 or -1: out of memory */
void race_threads_free(race_cta *c);
/* A strong access at addr, which is a synchronising variable from then on. space: 0 global, else CTA + 1. */
void race_strong_access(race_cta *c, uint32_t thread, uint64_t space, uint64_t addr, const sim_access *a);
void race_vars_free(void); /* the launch ends */
#endif
