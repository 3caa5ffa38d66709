/* race.h: the happens-before race check; check.c calls it. One worker thread only: the order of the calls
 * is the order of the memory accesses. */
#ifndef QM_SIM_RACE_H
#define QM_SIM_RACE_H
#include "access.h"
#include "grid.h"

typedef struct race_cta race_cta;
void race_launch_begin(void);
void race_launch_end(void);
race_cta *race_cta_new(const sim_launch *l, uint64_t cta, uint32_t shared_bytes); /* NULL: out of memory */
void race_cta_free(race_cta *c);
/* 0, or SIM_LAUNCH_FAILED with a report. */
int race_access(const sim_access *a, race_cta *c);
/* The lanes' asynchronous copies (cp.async) into shared memory begin: as writes of these threads, and until race_landed
 * nobody may touch the bytes, whatever orders it with the copy's instruction. */
int race_copying(const sim_access *a, race_cta *c);
void race_landed(const sim_access *a, race_cta *c);
void race_barrier(race_cta *c);
void race_barrier_part(race_cta *c, uint32_t arrive, uint32_t wait);
void race_warp_sync(race_cta *c, uint32_t warp, uint32_t mask);
void race_fence(race_cta *c, uint32_t thread, int gpu_scope);
#endif
