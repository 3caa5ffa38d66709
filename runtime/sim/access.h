/* access.h: one access of a warp to memory, as the checks and the counters see it. */
#ifndef QM_SIM_ACCESS_H
#define QM_SIM_ACCESS_H
#include <stdint.h>
#include "mem.h"
#include "module.h"

enum { SIM_SPACE_GLOBAL, SIM_SPACE_SHARED };
enum { SIM_READ, SIM_WRITE, SIM_ATOMIC };
/* A policy that createpolicy makes is SIM_POLICY | one of these. Only what is given up first or last is counted. */
#define SIM_POLICY 0x716d6f6500000000u
enum { SIM_EVICT_NORMAL, SIM_EVICT_FIRST, SIM_EVICT_LAST, SIM_EVICT_UNCHANGED };
enum { SIM_WEAK, SIM_RELAXED, SIM_ACQUIRE, SIM_RELEASE, SIM_ACQ_REL };
typedef struct {
    int space, kind, order; /* volatile is SIM_RELAXED; an mbarrier arrive is a SIM_ATOMIC with
                                     SIM_RELEASE, a try_wait that succeeds one with SIM_ACQUIRE */
    int cta_scope;          /* 1: .cta; 0: .gpu, .sys (and .cluster) */
    int nc;                 /* a read through the non-coherent cache */
    int policy;             /* of the L2, SIM_EVICT_* */
    uint32_t bytes;         /* per lane: 1..16 */
    uint32_t mask;          /* lanes that access */
    const uint64_t *addr;   /* [32]; shared: byte offset in the CTA's shared memory */
    const sim_alloc *alloc; /* global: of the first lane; other lanes may differ */
    uint64_t cta, thread0;  /* linear CTA id; linear id in the CTA of lane 0 */
    void *cta_shadow;       /* from sim_check_cta_begin; for global accesses too */
    uint32_t line;          /* PTX source line, for reports */
    const sim_func *func;
} sim_access;
#endif
