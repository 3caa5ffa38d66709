/* ptx.c: the names of types and special registers. */
#include "ptx.h"
#include <string.h>

const ptx_type_info ptx_types[PT_N] = {
    [PT_NONE] = {"", 0, PK_NONE},         [PT_PRED] = {"pred", 0, PK_PRED}, [PT_B8] = {"b8", 1, PK_BITS},
    [PT_U8] = {"u8", 1, PK_UINT},         [PT_S8] = {"s8", 1, PK_SINT},     [PT_B16] = {"b16", 2, PK_BITS},
    [PT_U16] = {"u16", 2, PK_UINT},       [PT_S16] = {"s16", 2, PK_SINT},   [PT_F16] = {"f16", 2, PK_FLOAT},
    [PT_BF16] = {"bf16", 2, PK_FLOAT},    [PT_B32] = {"b32", 4, PK_BITS},   [PT_U32] = {"u32", 4, PK_UINT},
    [PT_S32] = {"s32", 4, PK_SINT},       [PT_F32] = {"f32", 4, PK_FLOAT},  [PT_F16X2] = {"f16x2", 4, PK_BITS},
    [PT_BF16X2] = {"bf16x2", 4, PK_BITS}, [PT_B64] = {"b64", 8, PK_BITS},   [PT_U64] = {"u64", 8, PK_UINT},
    [PT_S64] = {"s64", 8, PK_SINT},       [PT_F64] = {"f64", 8, PK_FLOAT},  [PT_B128] = {"b128", 16, PK_BITS},
};

ptx_type ptx_type_of(const char *name) {
    for (int i = 1; i < PT_N; i++)
        if (!strcmp(name, ptx_types[i].name)) return (ptx_type)i;
    return PT_NONE;
}

static const struct {
    const char *name;
    uint8_t sreg, type;
} sregs[] = {
    {"%tid.x", SR_TID_X, PT_U32},
    {"%tid.y", SR_TID_Y, PT_U32},
    {"%tid.z", SR_TID_Z, PT_U32},
    {"%ntid.x", SR_NTID_X, PT_U32},
    {"%ntid.y", SR_NTID_Y, PT_U32},
    {"%ntid.z", SR_NTID_Z, PT_U32},
    {"%ctaid.x", SR_CTAID_X, PT_U32},
    {"%ctaid.y", SR_CTAID_Y, PT_U32},
    {"%ctaid.z", SR_CTAID_Z, PT_U32},
    {"%nctaid.x", SR_NCTAID_X, PT_U32},
    {"%nctaid.y", SR_NCTAID_Y, PT_U32},
    {"%nctaid.z", SR_NCTAID_Z, PT_U32},
    {"%laneid", SR_LANEID, PT_U32},
    {"%warpid", SR_WARPID, PT_U32},
    {"%nwarpid", SR_NWARPID, PT_U32},
    {"%smid", SR_SMID, PT_U32},
    {"%nsmid", SR_NSMID, PT_U32},
    {"%gridid", SR_GRIDID, PT_U64},
    {"%lanemask_eq", SR_LANEMASK_EQ, PT_U32},
    {"%lanemask_le", SR_LANEMASK_LE, PT_U32},
    {"%lanemask_lt", SR_LANEMASK_LT, PT_U32},
    {"%lanemask_ge", SR_LANEMASK_GE, PT_U32},
    {"%lanemask_gt", SR_LANEMASK_GT, PT_U32},
    {"%dynamic_smem_size", SR_DYNAMIC_SMEM_SIZE, PT_U32},
    {"%total_smem_size", SR_TOTAL_SMEM_SIZE, PT_U32},
    {"%clock", SR_CLOCK, PT_U32},
    {"%clock_hi", SR_CLOCK_HI, PT_U32},
    {"%clock64", SR_CLOCK64, PT_U64},
    {"%globaltimer", SR_GLOBALTIMER, PT_U64},
    {"%globaltimer_lo", SR_GLOBALTIMER_LO, PT_U32},
    {"%globaltimer_hi", SR_GLOBALTIMER_HI, PT_U32},
};

ptx_sreg ptx_sreg_of(const char *name, ptx_type *type) {
    for (size_t i = 0; i < sizeof sregs / sizeof sregs[0]; i++)
        if (!strcmp(sregs[i].name, name)) {
            *type = (ptx_type)sregs[i].type;
            return (ptx_sreg)sregs[i].sreg;
        }
    return SR_NONE;
}
