/* order.h: pending work (QMOE_SIM_ORDER=lazy). */
#ifndef QM_SIM_ORDER_H
#define QM_SIM_ORDER_H
#include "op.h"

/* Work that has been enqueued and not run (QMOE_SIM_ORDER=lazy). NULL stands for work that is done. */
typedef struct sim_pending sim_pending;
int sim_order_lazy(void);
/* A node that runs op (NULL: nothing, as an event's record or wait does) once all of dep[n] (NULL among them allowed) are
 * done. *out is the caller's to drop. */
CUresult sim_order_add(const sim_op *op, sim_pending *const *dep, int n, sim_pending **out);
sim_pending *sim_pending_share(sim_pending *n);
void sim_pending_drop(sim_pending *n);
int sim_pending_done(const sim_pending *n);
double sim_pending_ms(const sim_pending *n);  /* when it was done */
CUresult sim_order_finish(sim_pending *want); /* runs it and what it waits for, no more */
CUresult sim_order_query(sim_pending *want);  /* CUDA_ERROR_NOT_READY, having run one of these, or success if done */
void sim_order_drop(void);                    /* the context is lost or ends: what is pending never runs */
CUresult sim_order_drain(void);               /* runs all that is pending */
#endif
