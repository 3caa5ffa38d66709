/* core.h: the joint inside the software device. Two halves meet here and nowhere else:
 *   front: parse.c decode.c exec*.c math.c  - PTX text to pre-decoded code; runs a grid
 *   back:  driver.c mem.c graph.c check.c count.c report.c - the driver table, memory, shadows,
 *          counters, sim_report and the controls of sim.h
 * A device address IS a host address inside a live allocation, so a checked access is a plain load. */
#ifndef QM_SIM_CORE_H
#define QM_SIM_CORE_H
#include <stddef.h>
#include <stdint.h>
#include "sim.h"

/* ---- memory (mem.c) ---- */
typedef struct sim_alloc {
    uint64_t base, size; /* [base, base+size) */
    int live;            /* 0: freed (kept in quarantine so that use-after-free is named) */
    uint32_t id;         /* running number, for reports */
    const char *what;    /* "cuMemAlloc", "module global NAME", "host pinned" */
    uint8_t *init;       /* one byte per byte, 1 = written; NULL unless check_uninit */
    void *race;          /* check.c's shadow; NULL unless check_races */
} sim_alloc;
/* The allocation (live or quarantined) that holds addr, else NULL. Thread-safe against other readers;
 * the table changes only between launches. A caller should cache the last hit. */
const sim_alloc *sim_mem_find(uint64_t addr);
sim_alloc *sim_mem_new(size_t bytes, const char *what); /* 256-byte aligned; NULL if device memory is full */
int sim_mem_free(uint64_t base);                        /* 0, or -1 if base is not a live allocation */

/* ---- modules (parse.c, decode.c) ---- */
typedef struct sim_module sim_module;
typedef struct sim_func sim_func;
/* Returns NULL and fills log ("line 12: unknown modifier .foo in `add.foo.s32`") on any rejection. */
sim_module *sim_module_load(const char *ptx, char *log, size_t log_n);
void sim_module_free(sim_module *m);
sim_func *sim_module_func(sim_module *m, const char *entry);
int sim_module_global(sim_module *m, const char *name, uint64_t *addr, size_t *bytes); /* 0 or -1 */
const char *sim_func_name(const sim_func *f);
size_t sim_func_param_bytes(const sim_func *f);
/* i-th .param of the entry: 0, or -1 past the end */
int sim_func_param(const sim_func *f, int i, size_t *off, size_t *bytes);
uint32_t sim_func_static_shared(const sim_func *f);
uint32_t sim_func_max_threads(const sim_func *f); /* .maxntid, or 1024 */
uint32_t sim_func_n_regs(const sim_func *f);      /* 32-bit registers declared: a rough figure */
/* CTAs of this shape that one SM holds (driver.c; 0: not even one): the figure behind the waves of an
 * ordinary grid and the limit of a cooperative one. */
int sim_occupancy(const sim_func *f, uint32_t block_threads, uint32_t dyn_shared);

/* ---- running a grid (exec.c) ---- */
typedef struct {
    const sim_func *func;
    uint32_t grid[3], block[3];
    uint32_t dyn_shared;
    int cooperative;       /* all CTAs resident; else waves of n_sm * occupancy */
    const uint8_t *params; /* sim_func_param_bytes() of them */
    qm_sim_options opt;
} sim_launch;
enum {
    SIM_OK = 0,
    SIM_ILLEGAL_ADDRESS,
    SIM_MISALIGNED,
    SIM_LAUNCH_FAILED,
    SIM_TRAP,
    SIM_ILLEGAL_INSTRUCTION,
    SIM_DEADLOCK
};
/* Runs to the end or to the first fault; a fault fills the report (sim_report). Adds to *c (never NULL):
 * warp_insts, thread_insts, barriers and what sim_count_access adds; the driver counts launches. It
 * calls sim_check_launch_begin/_end itself when a check is on. */
int sim_run(const sim_launch *l, qm_sim_counters *c);
/* printf into the process-wide last report (report.c; thread-safe; first fault of a launch wins, until
 * sim_report_clear, which the driver calls before each launch). */
void sim_report(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void sim_report_clear(void);

/* ---- hooks that exec calls when an option asks for them (check.c, count.c) ---- */
enum { SIM_SPACE_GLOBAL, SIM_SPACE_SHARED };
enum { SIM_READ, SIM_WRITE, SIM_ATOMIC };
enum { SIM_WEAK, SIM_RELAXED, SIM_ACQUIRE, SIM_RELEASE, SIM_ACQ_REL };
typedef struct {
    int space, kind, order; /* volatile is SIM_RELAXED; an mbarrier arrive is a SIM_ATOMIC with
                                     SIM_RELEASE, a try_wait that succeeds one with SIM_ACQUIRE */
    int cta_scope;          /* 1: .cta; 0: .gpu, .sys (and .cluster) */
    int nc;                 /* a read through the non-coherent cache */
    uint32_t bytes;         /* per lane: 1..16 */
    uint32_t mask;          /* lanes that access */
    const uint64_t *addr;   /* [32]; shared: byte offset in the CTA's shared memory */
    const sim_alloc *alloc; /* global: of the first lane; other lanes may differ */
    uint64_t cta, thread0;  /* linear CTA id; linear id in the CTA of lane 0 */
    void *cta_shadow;       /* from sim_check_cta_begin; for global accesses too */
    uint32_t line;          /* PTX source line, for reports */
    const sim_func *func;
} sim_access;
/* Per CTA shadow of its shared memory (NULL if no check is on). */
void *sim_check_cta_begin(const sim_launch *l, uint64_t cta, uint32_t shared_bytes);
void sim_check_cta_end(void *shadow);
/* 0, or a SIM_* fault after sim_report(). Call it before the access, and after the bounds check. */
int sim_check_access(const sim_launch *l, const sim_access *a);
/* Ordering edges: a CTA barrier completed; a fence; (release/acquire come through sim_access.order). */
void sim_check_barrier(const sim_launch *l, uint64_t cta, void *cta_shadow); /* all warps of the CTA */
/* A barrier of some warps: bit w of arrive = warp w came (bar.arrive or bar.sync), of wait = it waited. */
void sim_check_barrier_part(const sim_launch *l, uint64_t cta, void *cta_shadow, uint32_t arrive, uint32_t wait);
/* bar.warp.sync only: shfl, vote and match order no memory. */
void sim_check_warp_sync(const sim_launch *l, uint64_t cta, void *cta_shadow, uint32_t warp, uint32_t mask);
void sim_check_fence(const sim_launch *l, uint64_t cta, uint32_t thread, int gpu_scope);
/* Bytes that an asynchronous copy has written: initialised. The race check leaves bulk copies out. */
void sim_check_async_write(void *cta_shadow, int space, uint64_t addr, uint64_t bytes);
void sim_check_launch_begin(const sim_launch *l);
void sim_check_launch_end(const sim_launch *l);
/* Bytes, sectors, bank conflicts of one warp instruction into c. */
void sim_count_access(qm_sim_counters *c, const sim_access *a);
#endif
