/* routing.c: see routing.h. */
#include "routing.h"
#include <stdlib.h>
#include <string.h>
#include "../../kernels/ref/ref.h"
#include "../base/rng.h"

enum { SEED = 1 };

static void choose(uint32_t *ids, uint32_t rows, uint32_t n_used, uint32_t n_expert) {
    qm_rng rng = {SEED};
    for (uint32_t i = 0; i < rows * n_used; i++) {
        const uint32_t *mine = ids + i / n_used * n_used;
        for (int again = 1; again;) {
            ids[i] = qm_rng_below(&rng, n_expert);
            again = 0;
            for (const uint32_t *p = mine; p < ids + i; p++) again |= *p == ids[i];
        }
    }
}

int qm_routing_make(qm_routing *r, const qm_moe_sort_args *args, uint32_t rows, qm_err *e) {
    qm_moe_sort_args a = *args;
    const uint32_t n = a.rows * a.n_used;
    *r = (qm_routing){.n_slots = n,
                      .ids = calloc(n, sizeof *r->ids),
                      .order = calloc(n, sizeof *r->order),
                      .groups = calloc(n, sizeof *r->groups)};
    if (!r->ids || !r->order || !r->groups) return qm_fail(e, QM_ERR_NOMEM, "routing: out of memory");
    choose(r->ids, rows, a.n_used, a.n_expert);
    a.ids = (uintptr_t)r->ids;
    a.order = (uintptr_t)r->order;
    a.groups = (uintptr_t)r->groups;
    a.n_groups = (uintptr_t)&r->n_groups;
    a.count = 0;
    qm_ref_moe_sort(&a, &(qm_ref_env){.rows = rows});
    for (uint32_t i = 0; i < r->n_groups; i++) r->n_chosen += !i || r->groups[i].expert != r->groups[i - 1].expert;
    return 0;
}

void qm_routing_free(qm_routing *r) {
    free(r->ids);
    free(r->order);
    free(r->groups);
    *r = (qm_routing){0};
}

const void *qm_routing_of(const qm_routing *r, const char *operand, size_t *bytes) {
    const struct {
        const char *name;
        const void *from;
        size_t bytes;
    } given[] = {{"ids", r->ids, 4ull * r->n_slots},
                 {"order", r->order, 4ull * r->n_slots},
                 {"groups", r->groups, sizeof *r->groups * r->n_groups},
                 {"n_groups", &r->n_groups, 4}};
    for (size_t i = 0; i < sizeof given / sizeof *given && r->n_slots; i++)
        if (!strcmp(operand, given[i].name)) {
            *bytes = given[i].bytes;
            return given[i].from;
        }
    return NULL;
}
