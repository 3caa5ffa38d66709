/* kernel_table.c: contracts/kernels.def as an array. */
#include "kernel_table.h"
#include <stdint.h>
#include <stdio.h>
#include "../../contracts/abi.h"
#include "../file/quant.h"
#include "texts.h"

/* What an argument struct has structs for: their sizes. */
typedef struct {
    uint32_t of[QM_DEAL_SIZE / 4];
} qm_deal;
typedef struct {
    uint32_t of[QM_GROUPS_SIZE / 4];
} qm_groups;
typedef struct {
    uint32_t of[QM_CHOICE_OF_SIZE / 4];
} qm_choice_place;

/* Of each op: its number and the size of its argument struct by its word, and its name. */
/* clang-format off */
#define OP(word, WORD) enum { op_##word = QM_OP_##WORD }; typedef struct {
#define OPERAND(field, ...) uint64_t field;
#define SCALAR(type, field) type field;
#define END(word) } args_##word;
/* clang-format on */
#include "../../contracts/ops.def"

static const char *const op_names[QM_N_OPS] = {
#define OP(word, WORD) #word,
#include "../../contracts/ops.def"
};

/* qm_kv_cache_type (kernels/ref/kv.h), for the table's column. */
enum {
#define QM_KV_CACHE(name, NAME, bytes) QM_KV_CACHE_##NAME,
#include "../../contracts/kv.def"
#undef QM_KV_CACHE
};

const qm_kernel_info qm_kernel_table[QM_N_KERNELS] = {
#define QM_KERNEL(op, wtype, hd, entry, block, tol) \
    {(qm_op_kind)op_##op, #op, wtype, -1, hd, 0, #entry, block, tol, (int)sizeof(args_##op)},
#define QM_KERNEL_KV(op, kv, hd, entry, block, tol) \
    {(qm_op_kind)op_##op, #op, -1, kv, hd, 0, #entry, block, tol, (int)sizeof(args_##op)},
#define QM_KERNEL_ROWS(op, wtype, width, entry, block, tol) \
    {(qm_op_kind)op_##op, #op, wtype, -1, 0, width, #entry, block, tol, (int)sizeof(args_##op)},
#include "../../contracts/kernels.def"
};

int qm_kernel_find(qm_op_kind op, int wtype, int kv, int head_dim) {
    for (int i = 0; i < QM_N_KERNELS; i++) {
        const qm_kernel_info *k = &qm_kernel_table[i];
        if (k->op == op && k->wtype == wtype && k->kv == kv && k->head_dim == head_dim && !k->width) return i;
    }
    return -1;
}

int qm_kernel_find_rows(qm_op_kind op, int wtype, int width) {
    for (int i = 0; i < QM_N_KERNELS; i++) {
        const qm_kernel_info *k = &qm_kernel_table[i];
        if (k->op == op && k->wtype == wtype && k->width == width) return i;
    }
    return -1;
}

int qm_kernel_can_wait(int i) {
    char file[64];
    snprintf(file, sizeof file, "%s" QM_PTX_DEPENDENT, qm_kernel_table[i].file);
    return qm_ptx_text(file) != NULL;
}

const char *qm_op_name(qm_op_kind op) { return (unsigned)op < QM_N_OPS ? op_names[op] : "unknown op"; }
