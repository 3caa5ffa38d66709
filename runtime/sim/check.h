/* check.h: the hooks that the interpreter calls when a check is on. */
#ifndef QM_SIM_CHECK_H
#define QM_SIM_CHECK_H
#include "access.h"
#include "grid.h"

/* Per CTA shadow of its shared memory (NULL if no check is on). */
void *sim_check_cta_begin(const sim_launch *l, uint64_t cta, uint32_t shared_bytes);
void sim_check_cta_end(void *shadow);
/* 0, or a SIM_* fault after sim_report(). Call it before the access, and after the bounds check. */
int sim_check_access(const sim_launch *l, const sim_access *a);
/* Asynchronous copies of threads into shared memory begin (0, or a fault after sim_report()), and have landed: the
 * access, a write, comes after that. */
int sim_check_copying(const sim_access *a);
void sim_check_landed(const sim_access *a);
/* Ordering edges: a CTA barrier completed; a fence; (release/acquire come through sim_access.order). */
void sim_check_barrier(void *cta_shadow); /* all warps of the CTA */
/* A barrier of some warps: bit w of arrive = warp w came (bar.arrive or bar.sync), of wait = it waited. */
void sim_check_barrier_part(void *cta_shadow, uint32_t arrive, uint32_t wait);
/* bar.warp.sync only: shfl, vote and match order no memory. */
void sim_check_warp_sync(void *cta_shadow, uint32_t warp, uint32_t mask);
void sim_check_fence(void *cta_shadow, uint32_t thread, int gpu_scope);
/* Bytes that an asynchronous copy has written: initialised. The race check leaves bulk copies out. */
void sim_check_async_write(void *cta_shadow, int space, uint64_t addr, uint64_t bytes);
void sim_check_launch_begin(const sim_launch *l);
void sim_check_launch_end(const sim_launch *l);
#endif
