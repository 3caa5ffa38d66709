/* handle.h: the live handles, so that a stale or foreign one is refused and not followed. Callers hold the driver's
 * lock. */
#ifndef QM_SIM_HANDLE_H
#define QM_SIM_HANDLE_H
#include <stddef.h>

enum sim_kind { SIM_H_CTX = 1, SIM_H_MODULE, SIM_H_FUNC, SIM_H_STREAM, SIM_H_EVENT, SIM_H_GRAPH, SIM_H_EXEC };
int sim_handle_add(void *h, int kind); /* 0 or -1 (out of memory) */
int sim_handle_is(const void *h, int kind);
void sim_handle_del(const void *h);
void *sim_handle_any(int kind);              /* some live handle of that kind, or NULL */
void *sim_handle_next(int kind, size_t *at); /* the first at *at or after, *at moved past it; NULL: no more */
#endif
