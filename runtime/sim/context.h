/* context.h: the driver's lock, the primary context, and why the last call failed. */
#ifndef QM_SIM_CONTEXT_H
#define QM_SIM_CONTEXT_H
#include <cuda.h>

/* One lock around every entry: work is done at once, in the order it is enqueued, or late (order.c). */
void sim_lock(void);
CUresult sim_unlock(CUresult r); /* returns r */
/* Keeps the text that cuGetErrorString shall give for r; returns r. */
CUresult sim_fail(CUresult r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
const char *sim_fail_text(CUresult r); /* that text; NULL if the last failure explained was another */

int sim_inited(void);
void sim_init(void);
CUresult sim_ready(void);             /* initialised, a live context is current, no sticky fault */
void sim_poison(CUresult r);          /* the context is lost; every later call returns r */
CUcontext sim_context_ref(void);      /* made at the first call; NULL: out of memory */
int sim_context_unref(void);          /* references left; -1: there was none */
void sim_context_end(void);           /* after the last reference and all that the context held */
void sim_context_set_aside(size_t v); /* CU_LIMIT_PERSISTING_L2_CACHE_SIZE; 0 in a new context */
size_t sim_context_aside(void);
int sim_context_use(CUcontext c); /* current in this thread; NULL: none. -1: not a live context */
#endif
