/* prof.h: what a profiler sees. NVTX ranges in the domain "qmoe-gpu" (Nsight Systems shows them as a row
 * of bars), and timers on the device's own clock. Without a profiler a range is a call that finds a null
 * pointer. docs/profiling.md shows the use. */
#ifndef QM_PROF_H
#define QM_PROF_H
#include "cuda.h"

typedef enum {
    QM_PROF_LOAD = 1,
    QM_PROF_PREFILL,
    QM_PROF_DECODE,
    QM_PROF_OP,
    QM_PROF_TOKENIZE,
    QM_PROF_SAMPLE,
    QM_PROF_BENCH,
    QM_PROF_N
} qm_prof_category;

/* Ranges of one thread nest: each push is closed by one pop in the same thread. */
void qm_prof_push(qm_prof_category c, const char *name);
void qm_prof_pop(void);
int qm_prof_on(void); /* 1: somebody listens, a computed name is worth its cost */

/* QM_PROF_SCOPE(QM_PROF_LOAD, "upload"); lasts to the end of the enclosing block, whichever way out. */
static inline void qm_prof_scope_end_(const int *unused) {
    (void)unused;
    qm_prof_pop();
}
static inline int qm_prof_scope_begin_(qm_prof_category c, const char *name) {
    qm_prof_push(c, name);
    return 0;
}
#define QM_PROF_JOIN2_(a, b) a##b
#define QM_PROF_JOIN_(a, b) QM_PROF_JOIN2_(a, b)
#define QM_PROF_SCOPE(c, name)                                                                            \
    const int QM_PROF_JOIN_(prof_scope_, __LINE__) __attribute__((cleanup(qm_prof_scope_end_), unused)) = \
        qm_prof_scope_begin_((c), (name))

/* A pair of events around work on a stream. */
typedef struct {
    qm_device *d;
    CUevent from, to;
} qm_timer;
int qm_timer_open(qm_timer *t, qm_device *d, qm_err *e);
void qm_timer_close(qm_timer *t); /* safe on a zeroed timer */
int qm_timer_start(qm_timer *t, CUstream s, qm_err *e);
int qm_timer_stop(qm_timer *t, CUstream s, qm_err *e);
/* Milliseconds between start and stop; waits for stop's work. */
int qm_timer_ms(qm_timer *t, double *ms, qm_err *e);
#endif
