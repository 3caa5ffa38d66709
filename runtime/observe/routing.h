/* routing.h: rows dealt to experts at random: what a router would do on average, for who counts or times the ops behind it. */
#ifndef QM_ROUTING_H
#define QM_ROUTING_H
#include "../../kernels/ref/args.h"
#include "../base/err.h"

typedef struct {
    uint32_t n_slots, n_groups, n_chosen; /* slots: rows * n_used; experts with a row */
    uint32_t *ids, *order;                /* [n_slots] (contracts/abi.h, "Groups of slots") */
    qm_group *groups;                     /* [n_slots], of which n_groups are */
} qm_routing;
/* Each row chooses n_used different ones of n_expert, all equally likely, the same in every run; the groups are those of op
 * moe_sort with these arguments, of `rows` rows of its args->rows. Free with qm_routing_free, also after a failure. */
int qm_routing_make(qm_routing *r, const qm_moe_sort_args *args, uint32_t rows, qm_err *e);
void qm_routing_free(qm_routing *r);
/* What an op's operand of that name holds by it, and its bytes; NULL: it says nothing of such a one, or was not made. */
const void *qm_routing_of(const qm_routing *r, const char *operand, size_t *bytes);
#endif
