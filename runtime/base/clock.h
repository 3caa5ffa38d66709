/* clock.h: wall time for statistics. */
#ifndef QM_CLOCK_H
#define QM_CLOCK_H
double qm_now(void); /* seconds, monotonic, from an arbitrary start */
#endif
