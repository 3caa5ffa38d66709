/* walk: the ops of n records, one after the other. What it adds to them is nothing but that. */
#include "ref.h"
#include "../../runtime/file/quant.h"

typedef struct {
    int wtype, head_dim;
} walk_case;
static const walk_case cases[] = {
#define QM_WALK(number, op, wtype, head_dim) [number] = {wtype, head_dim},
#include "../../contracts/walk.def"
#undef QM_WALK
};

void qm_ref_walk(const qm_walk_args *a, const qm_ref_env *env) {
    const qm_walk_record *r = (const qm_walk_record *)(uintptr_t)a->records;
    for (uint32_t i = 0; i < a->n; i++, r++) {
        const walk_case *c = &cases[r->id];
        qm_ref_env of = {.wtype = c->wtype < 0 ? 0 : c->wtype,
                         .head_dim = c->head_dim,
                         .grid = {r->grid[0], r->grid[1], r->grid[2]},
                         .block = 32 * r->warps,
                         .f32_act = env->f32_act};
        switch (r->id) {
#define QM_WALK(number, op, wtype, head_dim) \
    case number:                             \
        qm_ref_##op(&r->args.op, &of);       \
        break;
#include "../../contracts/walk.def"
#undef QM_WALK
        }
    }
}
