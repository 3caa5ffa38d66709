/* inside_means.h: what an executor lends to inside.c, so that a step's ops can be run and looked at one by one. */
#ifndef QM_INSIDE_MEANS_H
#define QM_INSIDE_MEANS_H
#include "executor.h"
#include "inside.h"
#include "walk.h"

/* A step's launches as one graph, and the records that its resident kernel walks, if it has one. */
struct qm_captured {
    CUgraphExec graph;
    qm_walk walk; /* n == 0: none */
};
void qm_captured_drop(qm_captured *c, qm_device *d); /* what it holds */

typedef struct qm_inside_means {
    CUstream (*stream)(qm_engine *g); /* NULL for the host's */
    /* Of what is a sequence's: s's. */
    qm_bases (*bases)(qm_engine *g, const qm_seq *s);
    /* Enqueues op i for the rows that place has said. */
    int (*run)(qm_engine *g, const qm_plan *p, int i, CUstream on, const qm_stamps *stamps, qm_err *e);
    int (*put)(qm_engine *g, uint64_t dst, const void *src, uint64_t bytes, qm_err *e);
    /* NULL where no kernels run. out is zeroed; the caller drops it, after an error too. */
    int (*capture)(qm_engine *g, const qm_plan *p, const qm_stamps *stamps, qm_captured *out, qm_err *e);
} qm_inside_means;
#endif
