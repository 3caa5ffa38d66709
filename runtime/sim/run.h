/* run.h: a grid while it runs, shared by exec_grid.c (workers and waves), exec_sched.c (turns of warps) and exec_cta.c (a
 * CTA's life), each of which uses those after it. */
#ifndef QM_SIM_RUN_H
#define QM_SIM_RUN_H
#include <stdatomic.h>
#include "warp.h"

/* i -> (i * mul + add) mod n; mul and n share no factor. mul 0: i -> i mod n */
typedef struct {
    uint64_t n, mul, add;
} sim_permutation;

typedef struct sim_run_state {
    const sim_launch *l;
    uint64_t n_cta;
    _Atomic uint64_t next; /* CTAs handed out, in launch order */
    _Atomic uint64_t resident, max_resident;
    _Atomic uint64_t epoch; /* rises whenever any worker makes progress */
    _Atomic uint64_t idle;  /* epoch << IDLE_BITS | workers that have seen nothing change since that epoch */
    _Atomic int fault, active;
    sim_permutation order, sms; /* the seed's: of the CTAs, and of the multiprocessors that take them in turn */
    int n_workers;
} sim_run_state;

/* ---- exec_cta.c ---- */
sim_cta *sim_cta_new(sim_worker *wk); /* NULL: out of memory */
void sim_cta_free(sim_cta *c);
/* The at-th CTA to start: which one it is and where it runs. */
void sim_cta_start(sim_cta *c, uint64_t at);
void sim_cta_describe(const sim_cta *c, char *out, size_t n); /* where each warp stands */
int sim_cta_report_blocked(const sim_cta *c);                 /* nothing in it can run: the fault, reported */
/* Lanes of w wait at two aligned barriers: 1, reported. */
int sim_cta_diverged(const sim_cta *c, sim_warp *w);

/* ---- exec_sched.c ---- */
enum { C_MOVED, C_WAITS, C_DONE, C_FAULT };
int sim_cta_round(sim_worker *wk, sim_cta *c); /* one slice for every warp that can run */
#endif
