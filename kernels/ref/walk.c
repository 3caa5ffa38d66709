/* walk: the ops of n records, one after the other. What it adds to them is nothing but that. */
#include "ref.h"
#include "../../runtime/file/quant.h"

enum {
#define OP(word, WORD) op_##word,
#include "../../contracts/ops.def"
};

static const struct {
    int op, wtype, kv, head_dim;
} cases[] = {
#define QM_WALK(op, wtype, kv, head_dim) {op_##op, wtype, kv, head_dim},
#include "../../contracts/kernels.def"
};

void qm_ref_walk(const qm_walk_args *a, const qm_ref_env *env) {
    const qm_walk_record *r = (const qm_walk_record *)(uintptr_t)a->records;
    for (uint32_t i = 0; i < a->n; i++, r++) {
        qm_ref_env of = {.wtype = cases[r->id].wtype < 0 ? 0 : cases[r->id].wtype,
                         .head_dim = cases[r->id].head_dim,
                         .kv = cases[r->id].kv < 0 ? 0 : (qm_kv_cache_type)cases[r->id].kv,
                         .grid = {r->grid[0], r->grid[1], r->grid[2]},
                         .block = 32 * r->warps,
                         .f32_act = env->f32_act};
        switch (cases[r->id].op) {
/* clang-format off */
#define OP(word, WORD) case op_##word: qm_ref_##word(&r->args.word, &of); break;
#include "../../contracts/ops.def"
        }
        /* clang-format on */
    }
}
