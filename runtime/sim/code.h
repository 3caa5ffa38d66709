/* code.h: pre-decoded code and the state of a running warp.
 *
 * A warp's registers are structure-of-arrays in one block: predicates first (one u32 mask each), then
 * 32 x u32 for every register of up to 32 bits, 32 x u64 for the 64-bit ones, then the splatted
 * constants. An operand is a byte offset into that block, so that a handler is a plain loop. */
#ifndef QM_SIM_CODE_H
#define QM_SIM_CODE_H
#include <stddef.h>
#include <stdint.h>
#include "core.h"

/* clang-format off */
enum {
    F_FTZ = 1, F_SAT = 2, F_RN = 4, F_RZ = 8, F_RM = 16, F_RP = 32, F_RNA = 64, F_INT = 128 /* rni rzi rmi rpi */,
    F_APPROX = 256, F_NAN = 512, F_WRAP = 1024, F_TRANS = 2048, F_ADDR32 = 4096, F_VOLATILE = 8192, F_UNI = 1 << 14,
    F_ALIGNED = 1 << 15, F_RELU = 1 << 16, F_HI = 1 << 17, F_LEFT = 1 << 18, F_XORSIGN = 1 << 19, F_NOFTZ = 1 << 20,
    F_SHIFTAMT = 1 << 21, F_CONST = 1 << 22 /* not a space of its own: .const */, F_SCOPE_GPU = 1 << 23, F_NOINC = 1 << 24,
    F_RED = 1 << 25, F_DSTSHARED = 1 << 26, F_SCOPE_CTA = 1 << 27, F_NC = 1 << 28 /* .nc, ldu */
};
enum { CMP_EQ, CMP_NE, CMP_LT, CMP_LE, CMP_GT, CMP_GE, CMP_EQU, CMP_NEU, CMP_LTU, CMP_LEU, CMP_GTU, CMP_GEU,
       CMP_NUM, CMP_NAN };
enum { BOOL_NONE, BOOL_AND, BOOL_OR, BOOL_XOR };
enum { ATOM_ADD = 1, ATOM_MIN, ATOM_MAX, ATOM_AND, ATOM_OR, ATOM_XOR, ATOM_EXCH, ATOM_CAS, ATOM_INC, ATOM_DEC, ATOM_POPC };
enum { IF_JOIN = 1, IF_SYNC = 2, IF_MEM = 4 };
/* sim_inst.cmp of an mbarrier operation */
enum { MB_INIT, MB_INVAL, MB_ARRIVE, MB_ARRIVE_TX, MB_EXPECT, MB_COMPLETE, MB_TEST, MB_TEST_PARITY, MB_TRY, MB_TRY_PARITY,
       MB_CP_ARRIVE };
/* clang-format on */

#define SIM_MAX_O 8
typedef struct sim_inst {
    uint16_t op;
    uint8_t flags, n;     /* n: vector elements */
    uint32_t guard, gneg; /* offset of the guard predicate (0 = always), all ones for @!p */
    uint32_t mod;         /* F_* */
    uint32_t o[SIM_MAX_O];
    int64_t imm;
    uint8_t cmp, bop, space, order, sub;
    uint8_t ty, ty2;  /* ptx_type of destination and source */
    uint8_t esz, rsz; /* memory element bytes; destination register bytes */
    int32_t target;
    uint32_t line;
    uint32_t aux, n_aux; /* operands beyond o[], in sim_func.aux */
} sim_inst;

typedef struct sim_warp sim_warp;
/* Executes one instruction for the lanes of m (never 0). */
typedef int (*sim_handler)(sim_warp *w, const sim_inst *in, uint32_t m);
enum { X_NEXT = 0, X_JUMP, X_RESCHED, X_FAULT, X_YIELD, X_PARK };

typedef struct {
    const char *name;
    sim_handler fn;
} sim_op;
extern const sim_op sim_ops_base[], sim_ops_avx2[], sim_ops_avx512[];
extern const sim_op sim_slow_ops[];            /* ops compiled once: control, atomics, tensor */
int sim_op_find(const char *name);             /* index into the joined table, or -1 */
const sim_handler *sim_op_table(void);         /* best for this CPU; SIM_ISA=base|avx2 forces less */
const sim_handler *sim_op_table_checked(void); /* memory ops call the hooks first */
#define SIM_MAX_OPS 1024

typedef struct {
    uint8_t sreg;
    uint32_t off;
} sim_sreg;
struct sim_func {
    const char *name;
    const struct ptx_func *src;
    sim_inst *code;
    const char **text; /* [n_code] statement of each instruction */
    int *text_n;
    int n_code;
    uint32_t *aux;
    uint32_t n_aux;
    uint32_t reg_bytes; /* of a warp's block, a multiple of 64 */
    uint32_t const_off; /* constants: [const_off, reg_bytes), copied from consts */
    uint8_t *consts;
    sim_sreg *sreg;
    int n_sreg;
    uint32_t shared_bytes, shared_align, local_bytes, n_regs, max_threads;
    size_t param_bytes;
    int n_param;
    size_t *param_off, *param_size;
    uint32_t reqntid[3];
};

/* Windows of the generic address space: no host address looks like these. */
#define SIM_WIN_MASK 0xff00000000000000ull
#define SIM_WIN_SHARED 0x0100000000000000ull
#define SIM_WIN_LOCAL 0x0200000000000000ull
#define SIM_WIN_PARAM 0x0300000000000000ull

enum { G_RUN, G_DEFER, G_SYNC, G_BAR };
typedef struct {
    int32_t pc;
    uint32_t mask;
    uint8_t state;
    uint8_t bar, bar_op; /* barrier id; 0 sync, 1 popc, 2 and, 3 or */
    uint32_t member;     /* SYNC: the member mask */
    uint32_t pred;       /* BAR with a reduction: the lanes' predicate */
} sim_group;

/* kind 0: cp.async, global src to shared dst, take bytes read and the rest zeroed; 1: bulk store, shared src
 * to global dst */
typedef struct {
    uint64_t src, dst;
    uint32_t bytes, take, group;
    uint8_t lane, kind;
} sim_async;
typedef struct {
    uint64_t src, dst, mbar;
    uint32_t bytes;
} sim_bulk; /* global to shared, signals mbar */

#define SIM_N_BAR 16
typedef struct {
    uint32_t arrived; /* threads */
    uint32_t expect;  /* 0: all live threads */
    uint32_t red_popc, red_and, red_or, gen;
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
    uint32_t id, back_edges, polls;
    uint8_t *local;   /* [32][local_bytes] */
    sim_async *async; /* cp.async issued, not yet waited for */
    uint32_t n_async, cap_async, commits[32], bulk_commits[32];
    int done, blocked;
};

#define SIM_ACACHE 64
typedef struct sim_worker {
    struct sim_run_state *rs;
    const sim_launch *l;
    const sim_func *f;
    const sim_handler *tab;
    const sim_alloc *acache[SIM_ACACHE]; /* last allocation hit, by instruction */
    qm_sim_counters c;
    int fault;
    uint64_t progress;
    uint8_t *params;
    int index;
    uint64_t n_insts, turn; /* turn: state of the seed's lengths of turns */
} sim_worker;

/* exec_mem.c: the host address of one lane's access, or NULL after a report (wk->fault set).
 * space: PS_*; write only widens the message. */
uint8_t *sim_resolve(sim_warp *w, const sim_inst *in, int lane, int space, uint64_t addr, uint32_t bytes,
                     const char *what);
uint64_t sim_addr_of(const sim_warp *w, const sim_inst *in, int operand, int lane);
int sim_fault(sim_warp *w, const sim_inst *in, int lane, int code, const char *fmt, ...)
    __attribute__((format(printf, 5, 6)));
/* exec_table.c: tells the checks and counters of one access, if they are on. X_NEXT or X_FAULT. */
int sim_hook(sim_warp *w, const sim_inst *in, uint32_t m, int space, int kind, int order, uint32_t bytes,
             const uint64_t *addr);
#define SIM_FULL 0xffffffffu
#endif
