/* kernel_table.h: which kernels there are (contracts/kernels.def): data, with no device at hand. kernels.h loads and
 * launches them. */
#ifndef QM_KERNEL_TABLE_H
#define QM_KERNEL_TABLE_H

typedef enum {
#define OP(word, WORD) QM_OP_##WORD,
#include "../../contracts/ops.def"
    QM_N_OPS
} qm_op_kind;

typedef struct {
    qm_op_kind op;
    const char *file; /* "matvec" */
    int wtype;        /* -1: none */
    int kv;           /* qm_kv_cache_type of the cache; -1: the op does not touch it */
    int head_dim;
    int width; /* rows that a warp has, of a product of many; 0: none such */
    const char *entry;
    int max_block;
    double tolerance;
    int args_bytes; /* size of the argument struct */
} qm_kernel_info;

enum {
#define QM_KERNEL(op, wtype, hd, entry, block, tol) +1
#define QM_KERNEL_KV(op, kv, hd, entry, block, tol) +1
#define QM_KERNEL_ROWS(op, wtype, width, entry, block, tol) +1
    QM_N_KERNELS = 0
#include "../../contracts/kernels.def"
};
extern const qm_kernel_info qm_kernel_table[QM_N_KERNELS];
/* Index into the table, or -1. wtype, kv -1 and head_dim 0 where the op has none. */
int qm_kernel_find(qm_op_kind op, int wtype, int kv, int head_dim);
/* The same of a product of many rows. */
int qm_kernel_find_rows(qm_op_kind op, int wtype, int width);
/* Whether it has a text that waits for the kernel before it, of dependent launches: for sm_90 and later (texts.h). */
int qm_kernel_can_wait(int i);
const char *qm_op_name(qm_op_kind op);
#endif
