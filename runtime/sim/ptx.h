/* ptx.h: words of PTX that the reader and the interpreter share: types, state spaces, special registers. */
#ifndef QM_SIM_PTX_H
#define QM_SIM_PTX_H
#include <stdint.h>

/* clang-format off */
typedef enum {
    PT_NONE, PT_PRED,
    PT_B8, PT_U8, PT_S8,
    PT_B16, PT_U16, PT_S16, PT_F16, PT_BF16,
    PT_B32, PT_U32, PT_S32, PT_F32, PT_F16X2, PT_BF16X2,
    PT_B64, PT_U64, PT_S64, PT_F64,
    PT_B128, PT_N
} ptx_type;
/* clang-format on */
typedef enum { PK_NONE, PK_PRED, PK_BITS, PK_UINT, PK_SINT, PK_FLOAT } ptx_kind;
typedef struct {
    const char *name;
    uint8_t bytes, kind;
} ptx_type_info;
extern const ptx_type_info ptx_types[PT_N];
ptx_type ptx_type_of(const char *name); /* "u32" -> PT_U32; PT_NONE if it is no type */

typedef enum { PS_NONE, PS_REG, PS_GLOBAL, PS_CONST, PS_SHARED, PS_LOCAL, PS_PARAM, PS_GENERIC } ptx_space;

/* Special registers that hold one value per warp's life live in ordinary registers, filled at its
 * start; the ones from SR_CLOCK on are read anew by each instruction that names them. */
/* clang-format off */
typedef enum {
    SR_NONE, SR_TID_X, SR_TID_Y, SR_TID_Z, SR_NTID_X, SR_NTID_Y, SR_NTID_Z,
    SR_CTAID_X, SR_CTAID_Y, SR_CTAID_Z, SR_NCTAID_X, SR_NCTAID_Y, SR_NCTAID_Z,
    SR_LANEID, SR_WARPID, SR_NWARPID, SR_SMID, SR_NSMID, SR_GRIDID,
    SR_LANEMASK_EQ, SR_LANEMASK_LE, SR_LANEMASK_LT, SR_LANEMASK_GE, SR_LANEMASK_GT,
    SR_DYNAMIC_SMEM_SIZE, SR_TOTAL_SMEM_SIZE,
    SR_CLOCK, SR_CLOCK_HI, SR_CLOCK64, SR_GLOBALTIMER, SR_GLOBALTIMER_LO, SR_GLOBALTIMER_HI,
    SR_N
} ptx_sreg;
/* clang-format on */
/* "%tid.x" -> SR_TID_X and its type; SR_NONE if there is none of that name. */
ptx_sreg ptx_sreg_of(const char *name, ptx_type *type);
#endif
