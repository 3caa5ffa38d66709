/* warp.h: the state of what runs: warps and their groups of lanes, CTAs, a host thread's worker; and what handlers
 * are served with. */
#ifndef QM_SIM_WARP_H
#define QM_SIM_WARP_H
#include "access.h"
#include "grid.h"
#include "opcode.h"

enum { G_RUN, G_DEFER, G_SYNC, G_BAR };
typedef struct {
    int32_t pc;
    uint32_t mask;
    uint8_t state;
    uint8_t bar;     /* BAR: the barrier's number */
    uint32_t member; /* SYNC: the member mask */
} sim_group;

/* One cp.async: each lane in mask copies take[lane] bytes from src (global) to dst (shared), and zeroes up to bytes. */
typedef struct {
    uint64_t src[32];
    uint32_t dst[32];
    uint8_t take[32];
    uint32_t mask;  /* lanes whose copy has not landed */
    uint32_t group; /* of all of them */
    uint32_t bytes;
} sim_copy;
/* A bulk store, shared src to global dst. */
typedef struct {
    uint64_t src, dst;
    uint32_t bytes, group, lane;
} sim_async;
typedef struct {
    uint64_t src, dst, mbar;
    uint32_t bytes;
} sim_bulk; /* global to shared, signals mbar */

#define SIM_N_BAR 16
typedef struct {
    uint32_t arrived; /* threads */
    uint32_t expect;  /* 0: all live threads */
    uint32_t red_popc, red_and, red_or;
    uint32_t came, waits; /* bit per warp, for the race check */
} sim_bar;

typedef struct sim_cta {
    const sim_launch *l;
    const sim_func *f;
    struct sim_worker *wk;
    uint64_t id;
    uint32_t sm; /* %smid */
    uint32_t ctaid[3], n_threads, n_warps, live_threads;
    uint8_t *shared;
    uint32_t shared_bytes;
    void *shadow;
    sim_warp *warps; /* [n_warps] */
    sim_bar bar[SIM_N_BAR];
    sim_bulk *bulk; /* [n_bulk] copies under way */
    uint32_t n_bulk, cap_bulk;
} sim_cta;

/* Where a lane's byte of local memory lies; an aligned access of at most 16 bytes is in one piece. */
#define SIM_LOCAL_AT(addr, lane) (((addr) & ~(uint64_t)15) * 32 + (uint64_t)(lane)*16 + ((addr)&15))
struct sim_warp {
    uint8_t *r; /* registers, 64-byte aligned */
    sim_cta *cta;
    struct sim_worker *wk;
    uint8_t *shared;
    uint32_t shared_bytes;
    uint32_t live;   /* lanes that have not exited */
    uint32_t gmask;  /* lanes of the running group */
    int32_t pc, npc; /* of the running instruction; X_JUMP's goal */
    int ng, cur;
    sim_group g[32];
    uint32_t waited; /* lanes that have passed griddepcontrol.wait, or need not */
    uint32_t id, back_edges, polls;
    uint8_t *local; /* [local_bytes / 16][32 lanes][16], as hardware has it: SIM_LOCAL_AT */
    sim_copy *copy; /* [first_copy, n_copy) cp.async issued, not yet waited for, oldest first */
    uint32_t first_copy, n_copy, cap_copy, commits[32];
    sim_async *async; /* [n_async] bulk stores, likewise */
    uint32_t n_async, cap_async, bulk_commits[32];
    int done, blocked;
};

typedef struct sim_worker {
    struct sim_run_state *rs;
    const sim_launch *l;
    const sim_func *f;
    const sim_handler *tab;
    const sim_alloc *acache[SIM_ACACHE]; /* last allocation hit, by instruction */
    qm_sim_counters c;
    int hooked; /* accesses are checked or counted */
    int fault;
    uint64_t progress;
    uint8_t *params;
    int index;
    uint64_t n_insts, turn; /* turn: state of the seed's lengths of turns */
} sim_worker;

/* exec_mem.c: the host address of one lane's access, or NULL after a report (wk->fault set).
 * space: PS_*; what: "read", "write" ..., for the report. */
uint8_t *sim_resolve(sim_warp *w, const sim_inst *in, int lane, int space, uint64_t addr, uint32_t bytes,
                     const char *what);
uint64_t sim_addr_of(const sim_warp *w, const sim_inst *in, int operand, int lane);
int sim_fault(sim_warp *w, const sim_inst *in, int lane, int code, const char *fmt, ...)
    __attribute__((format(printf, 5, 6)));
/* exec_hook.c: tells the checks and counters of one access, if they are on. X_NEXT or X_FAULT. */
int sim_hook(sim_warp *w, const sim_inst *in, uint32_t m, int space, int kind, int order, uint32_t bytes,
             const uint64_t *addr);
/* The same of cp.async: what it writes to shared memory is on its way, or has landed: then the write itself follows. */
int sim_hook_copy(sim_warp *w, const sim_inst *in, uint32_t m, uint32_t bytes, const uint64_t *addr, int landed);
#define SIM_FULL 0xffffffffu
#endif
