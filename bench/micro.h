/* micro.h: inside the microbenchmarks: the run, what is timed, what is reported. */
#ifndef QM_MICRO_H
#define QM_MICRO_H
#include "bench.h"

typedef struct {
    qm_device *d;
    CUstream s;
    CUevent from, to;
    CUmodule mod[4]; /* sync, dependent, stream, bulk; NULL until used */
    int sim;         /* sizes are tiny */
    int timed;       /* 0 on the software device: times are null */
    int repeats;
    const char *only;    /* names must contain it; NULL: all */
    const char *ptx_dir; /* NULL: the texts built in */
    int max_shared;      /* dynamic shared memory a CTA may ask for */
    size_t l2_bytes;
    json_t *results;  /* one record a measurement */
    json_t *machine;  /* what they are made on */
    const char *path; /* NULL, or the file that holds them after every measurement */
    int n_wrong;      /* checks that failed */
} micro;

enum { MICRO_SYNC, MICRO_DEPENDENT, MICRO_STREAM, MICRO_BULK };
int micro_function(micro *m, int module, const char *entry, CUfunction *f, qm_err *e);
/* 1: this name is wanted. */
int micro_wanted(const micro *m, const char *name);

/* Times go(user) on the device's clock, in ns (host_ns, may be NULL: until go returned). */
typedef int (*micro_go)(void *user, uint32_t n, qm_err *e);
int micro_time(micro *m, micro_go go, void *user, uint32_t n, double *ns, double *host_ns, qm_err *e);

/* One measurement: ns_[n] samples of one unit of work each, which moved `bytes` (0: not a stream).
 * wrong: NULL, or why the result cannot be trusted. params is taken over. */
void micro_report(micro *m, const char *name, json_t *params, double *ns, int n, double bytes, const char *wrong);
void micro_skip(micro *m, const char *name, const char *why);

int micro_sync_all(micro *m, qm_err *e);
int micro_launch_all(micro *m, qm_err *e);
int micro_stream_all(micro *m, qm_err *e);
#endif
