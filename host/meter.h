/* meter.h: a line on stderr that says how far a long write is, only where a person watches. */
#ifndef QM_METER_H
#define QM_METER_H
#include <stdint.h>

typedef struct {
    int on, shown;       /* shown: there is a line to wipe */
    double start, last;  /* seconds; last: when it was drawn */
} qm_meter;

void qm_meter_begin(qm_meter *m, int quiet);
/* "42.0%  1.92 GB of 4.57 GB, 310 MB/s, 0:09 left", at most ten times a second. */
void qm_meter_show(qm_meter *m, uint64_t done, uint64_t total);
void qm_meter_wipe(qm_meter *m);
#endif
