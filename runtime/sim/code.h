/* code.h: pre-decoded code.
 *
 * A warp's registers are structure-of-arrays in one block: predicates first (one u32 mask each), then
 * 32 x u32 for every register of up to 32 bits, 32 x u64 for the 64-bit ones, then the splatted
 * constants. An operand is a byte offset into that block, so that a handler is a plain loop. */
#ifndef QM_SIM_CODE_H
#define QM_SIM_CODE_H
#include <stddef.h>
#include <stdint.h>
#include "module.h"

/* clang-format off */
enum { /* sim_inst.mod: modifiers that handlers or checks look at */
    F_FTZ = 1 << 0, F_SAT = 1 << 1, F_RELU = 1 << 2, F_NAN = 1 << 3,
    F_RN = 1 << 4, F_RZ = 1 << 5, F_RM = 1 << 6, F_RP = 1 << 7, F_INT = 1 << 8 /* rni rzi rmi rpi */,
    F_TRANS = 1 << 9, F_SHIFTAMT = 1 << 10, F_ALIGNED = 1 << 11, F_NOINC = 1 << 12,
    F_ADDR32 = 1 << 13 /* the address is a 32-bit register */, F_CONST = 1 << 14 /* .const: not a space of its own */,
    F_VOLATILE = 1 << 15, F_NC = 1 << 16 /* .nc, ldu */, F_SCOPE_CTA = 1 << 17, F_SCOPE_GPU = 1 << 18,
    F_HINT = 1 << 19 /* a load with a cache policy: the last of o[] */
};
enum { CMP_EQ, CMP_NE, CMP_LT, CMP_LE, CMP_GT, CMP_GE, CMP_EQU, CMP_NEU, CMP_LTU, CMP_LEU, CMP_GTU, CMP_GEU,
       CMP_NUM, CMP_NAN };
enum { BOOL_NONE, BOOL_AND, BOOL_OR, BOOL_XOR };
enum { ATOM_ADD = 1, ATOM_MIN, ATOM_MAX, ATOM_AND, ATOM_OR, ATOM_XOR, ATOM_EXCH, ATOM_CAS, ATOM_INC, ATOM_DEC };
/* sim_inst.flags: groups may have to reconverge before it; it may leave lanes behind; it accesses memory; it is an
 * mma of 8-bit integers, of floats */
enum { IF_RECONVERGE = 1, IF_SYNC = 2, IF_MEM = 4, IF_MMA_INT = 8, IF_MMA_FLOAT = 16 };
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

typedef struct {
    uint8_t sreg;
    uint32_t off;
} sim_sreg;
struct sim_func {
    const char *name;
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

#define SIM_ACACHE 64 /* allocations that a worker remembers, by instruction */
#endif
