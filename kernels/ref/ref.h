/* ref.h: the C meaning of every op, qm_ref_<op>. Addresses in the argument structs are host addresses; weights
 * are raw GGUF rows (unpacked), [n_rows, n_cols] or [n_expert, n_rows, n_cols], `expert_bytes` the
 * raw bytes of one expert. Accumulation is in double; outputs are rounded once. Activations that the
 * device quantises (q16a) are quantised here by the same rule, so only rounding can differ. */
#ifndef QM_REF_H
#define QM_REF_H
#include "args.h"
#include "kv.h"
#include "launch.h"

/* How an op was specialised and launched: what its meaning depends on besides its arguments. */
typedef struct {
    int wtype;           /* qm_type of the weights (runtime/file/quant.h); ops without weights: 0 */
    int head_dim;        /* qkrope, attn, combine */
    qm_kv_cache_type kv; /* qkrope, attn */
    uint32_t grid[3];    /* the device's launch grid: the parts that matvec writes are grid[1] */
    uint32_t block;      /* threads per CTA */
    uint32_t rows;       /* that the op computes at most; 0: 1 */
    int f32_act;         /* 1: x is f32 even where the kernel takes q16a (matvec, moe_up, moe_matvec): what
                         quantised activations cost is measured against this */
} qm_ref_env;

#define QM_REF_DECL(op) void qm_ref_##op(const qm_##op##_args *a, const qm_ref_env *env)
#define OP(word, WORD) QM_REF_DECL(word);
#include "../../contracts/ops.def"

/* Which rows an op computes (contracts/ops.def): how many, and which of the step's the i-th is. */
uint32_t qm_ref_count(const qm_ref_env *env, uint64_t count);
uint32_t qm_ref_row(uint64_t map, uint32_t i);

/* matvec with an explicit stride (in floats) between the parts of y: a fused region (q,k,v) is
 * several tensors in the file, and each writes its rows of one output. qm_ref_matvec: stride n_rows. */
void qm_ref_matvec_strided(const qm_matvec_args *a, const qm_ref_env *env, uint32_t y_stride);

/* Host-side RoPE table in the layout of abi.h; table holds 2 * (256 + ceil(n_ctx/256)) * head_dim/2
 * floats. inv_freq [head_dim/2] is the angle per position of each pair (radians), in double. */
void qm_rope_table(float *table, const double *inv_freq, int head_dim, uint32_t n_ctx);
#endif
