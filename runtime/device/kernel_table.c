/* kernel_table.c: contracts/kernels.def as an array. */
#include "kernel_table.h"
#include "../../contracts/abi.h"
#include "../file/quant.h"

/* One line per op: its word, and the word of its enum and of its sizes in abi.h. */
/* clang-format off */
#define QM_OPS(X)                                                                                       \
    X(embed, EMBED) X(rmsnorm, RMSNORM) X(matvec, MATVEC) X(moe_up, MOE_UP) X(moe_matvec, MOE_MATVEC)   \
    X(swiglu, SWIGLU) X(qkrope, QKROPE) X(attn, ATTN) X(combine, COMBINE) X(router, ROUTER)             \
    X(sample_scan, SAMPLE_SCAN) X(sample_draw, SAMPLE_DRAW) X(probe, PROBE) X(stats, STATS) X(walk, WALK)
/* clang-format on */
#define X(word, WORD) op_##word = QM_OP_##WORD, size_##word = QM_##WORD##_SIZE,
enum { QM_OPS(X) op_end_ };
#undef X
#define X(word, WORD) [QM_OP_##WORD] = #word,
static const char *const op_names[QM_N_OPS] = {QM_OPS(X)};
#undef X

const qm_kernel_info qm_kernel_table[QM_N_KERNELS] = {
#define QM_KERNEL(op, wtype, hd, entry, block, tol) \
    {(qm_op_kind)op_##op, #op, wtype, hd, #entry, block, tol, size_##op},
#include "../../contracts/kernels.def"
#undef QM_KERNEL
};

int qm_kernel_find(qm_op_kind op, int wtype, int head_dim) {
    for (int i = 0; i < QM_N_KERNELS; i++) {
        const qm_kernel_info *k = &qm_kernel_table[i];
        if (k->op == op && k->wtype == wtype && k->head_dim == head_dim) return i;
    }
    return -1;
}

const char *qm_op_name(qm_op_kind op) { return (unsigned)op < QM_N_OPS ? op_names[op] : "unknown op"; }
