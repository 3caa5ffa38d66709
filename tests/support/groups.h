/* groups.h: slots of experts and their groups (contracts/abi.h, "Groups of slots"), for the checks of moe_gemm_up and
 * moe_gemm. */
#ifndef QM_TEST_GROUPS_H
#define QM_TEST_GROUPS_H
#include "check.h"

/* Who gets which slots. */
typedef enum {
    GRP_ANY,    /* each expert as often as chance will */
    GRP_ONE,    /* one expert all of them */
    GRP_STAIRS, /* expert e about e + 1 of them, as long as there are any: groups of every size */
    GRP_LOADS
} grp_load;

typedef struct {
    uint32_t rows, n_used, n_expert, width;
    uint32_t count;      /* rows that there are, <= rows */
    uint32_t max_groups; /* of `rows` rows */
    uint32_t n;          /* groups that there are */
    uint32_t n_experts;  /* that have a slot */
    uint32_t n_32;       /* groups, cut further so that none has more than 32 slots */
    const uint32_t *ids; /* [count * n_used] */
    uint64_t ids_at, order_at, groups_at, n_groups_at;
} grp;

/* Buffers of a case, sorted by the reference; what is beyond the groups that there are is poison. bad: the last
 * group's expert is one that is not there, and so are the ids of its slots: the last expert is meant. */
grp grp_in(uint32_t rows, uint32_t count, uint32_t n_used, uint32_t n_expert, uint32_t width, grp_load load, int bad);

/* What a product of a case's groups cost, by kernel k's counters: prints it, and fails above max_insts warp instructions a packed
 * block and group (n_32), where more than 1.10 of the weights (bytes of the experts used) are asked for, or more than once a
 * group, or where sectors are touched in part. blocks: of an expert's matrices; columns: bytes of activations and results. */
void grp_ledger(const char *op, const grp *g, int k, double blocks, double weights, double columns, double max_insts);
#endif
