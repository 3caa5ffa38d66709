/* plan.h: a model as data. Three steps, each pure C with no device at hand:
 *   place  where every weight lives on the device (regions), shared by all plans of a model
 *   build  the ops of a step of up to so many rows, and the scratch buffers between them
 *   ref    runs a plan on the host: the meaning of it all (run_ref)
 * A plan is immutable once built; executors resolve its references against their own base addresses. */
#ifndef QM_PLAN_H
#define QM_PLAN_H
#include "../../kernels/ref/args.h"
#include "../../kernels/ref/kv.h"
#include "../base/err.h"
#include "../device/kernel_table.h"
#include "model.h"

/* ---- regions: weights on the device ---- */
enum { QM_REGION_SEGMENTS = 3 };
typedef struct {
    int weight[QM_REGION_SEGMENTS]; /* model weights, in order: rows concatenated (q,k,v of one type) */
    int n_segments;
    const qm_type_info *type;          /* of the packed weights; the file's may be another (narrow.h) */
    int packed;                        /* 1: tile layout; 0: F32 vectors, copied as they are */
    uint32_t n_expert, n_rows, n_cols; /* n_rows: over all segments, each padded to whole tiles but the last */
    uint64_t bytes;                    /* on the device */
    uint64_t expert_bytes;             /* bytes of one expert; == bytes where n_expert is 1 */
    uint64_t off;                      /* in the weight arena, 256-byte aligned */
    int bias;                          /* the region of its rows' biases; -1: none */
} qm_region;

typedef struct {
    const qm_model *model;
    qm_region *regions; /* [n_regions] */
    int n_regions;
    int *region_of; /* [model->n_weights] the region that a weight is part of */
    uint64_t bytes; /* of the weight arena */
    int n_narrow;   /* regions whose type is not the file's */
} qm_place;
/* QM_ERR_ARG: QMOE_NARROW, which with 0 keeps the file's types, is not 0 or 1. */
int qm_place_build(qm_place **out, const qm_model *m, qm_err *e);
void qm_place_free(qm_place *p);

/* ---- references: what an address field of an op's arguments holds until it is resolved ---- */
typedef uint64_t qm_ref; /* space << 56 | value; 0 = absent */
typedef enum {
    QM_SPACE_NONE,
    QM_SPACE_REGION,  /* value: region index */
    QM_SPACE_SCRATCH, /* value: byte offset, as in the rest */
    QM_SPACE_KV,      /* the KV page pool of all layers */
    QM_SPACE_SEQ,    /* sequence 0's block (state, tokens, block table, logits); the others' follow it, of equal size */
    QM_SPACE_ROPE,   /* RoPE table */
    QM_SPACE_RESULT, /* the sequences' rings of results; a base of 0: none are wanted */
    QM_SPACE_STEP,   /* the step (qm_step_record): which sequence's its rows are, at which position */
    QM_N_SPACES
} qm_space;
#define QM_REF(space, value) ((qm_ref)(space) << 56 | (qm_ref)(value))
#define QM_REF_SPACE(r) ((qm_space)((r) >> 56))
#define QM_REF_VALUE(r) ((r)&0x00ffffffffffffffu)

/* ---- the step's shape and the plan ---- */
/* What a captured graph depends on: everything else is read from device memory by the kernels. */
typedef struct {
    uint32_t n_splits; /* CTAs that share the spans of attention of a row; a power of two */
    uint32_t rows;     /* that it has at most; a power of two. 1: the ops of decoding; more: products of many rows */
    uint32_t outs;     /* rows at most whose logits are wanted; 0: it ends after the last KV append */
} qm_shape;

/* What is kept apart that one op could compute (contracts/apart.def): bits. */
enum {
#define QM_APART(word, WORD, text) QM_APART_##WORD##_AT,
#include "../../contracts/apart.def"
#undef QM_APART
    QM_N_APART,
#define QM_APART(word, WORD, text) QM_APART_##WORD = 1 << QM_APART_##WORD##_AT,
#include "../../contracts/apart.def"
#undef QM_APART
};
/* "norm,attn", "all", "none" or NULL; QM_ERR_ARG: none of them. */
extern const char qm_apart_words[]; /* as in qmoe.h */
int qm_apart_of(uint32_t *apart, const char *words, qm_err *e);
/* The type of the KV cache by the names for keys and for values; NULL: "f16". QM_ERR_ARG where there is none of that name, or
 * the two differ. */
extern const char qm_cache_types[]; /* as in qmoe.h */
int qm_kv_type_of(qm_kv_cache_type *kv, const char *k, const char *v, qm_err *e);

typedef struct {
    uint32_t n_sm;    /* what the launch geometry knows of the device, with flight_bytes */
    uint32_t n_ctx;   /* positions of a sequence */
    uint32_t n_seqs;  /* sequences that may be there at once */
    uint32_t n_rows;  /* of a step at most, a power of two <= QM_STEP_ROWS_MAX */
    uint32_t n_outs;  /* of these, whose logits are wanted, at most */
    uint32_t n_pages; /* of the KV pool, which all sequences share: for n_ctx of each, or fewer, or more */
    qm_kv_cache_type kv_type;
    int f32_act;    /* 1: no quantised activations; for run_ref only, as the yardstick */
    uint32_t apart; /* of a step of one row: QM_APART_*; 0: fused wherever it can be */
    int chain;      /* 1: every op waits for the one before it; else ops run at the same time where they can */
    uint64_t l2_bytes, prefetch_bytes; /* prefetch_bytes: most in one pause (prefetch.c); 0: nothing is prefetched */
    /* of shared memory that a resident grid's CTA may fill with weights ahead (ring.c); 0: nothing is */
    uint32_t ring_bytes;
    /* of weights that a multiprocessor should have on its way (qm_flight_bytes); 0: all that it can */
    uint32_t flight_bytes;
    uint64_t keep_bytes; /* of weights that the L2 is asked to keep from step to step (keep.c); 0: it is told nothing */
} qm_limits;
/* prefetch_bytes of a device: what its memory delivers in a pause of about 2 us; bytes_per_s 0: unknown. */
uint64_t qm_prefetch_bytes(double bytes_per_s, uint64_t l2_bytes);
/* flight_bytes of a device whose memory delivers bytes_per_s (0: unknown): by Little's law twice what its latency asks for, since the
 * warps of a CTA also wait for each other. More warps than that repeat what each does around its products, and wait longer. */
uint32_t qm_flight_bytes(double bytes_per_s, uint32_t n_sm);
/* keep_bytes of a device: half of its L2, and no more than it can set aside for that. */
uint64_t qm_keep_bytes(uint64_t l2_bytes, uint64_t aside_bytes);

typedef struct {
    qm_op_kind kind;
    int kernel;       /* index into qm_kernel_table */
    int layer;        /* -1 outside the layers */
    const char *slot; /* what the op computes: "attn_norm", "qkv", ... */
    uint32_t rows;    /* that it computes at most: v->rows of ops.def */
    uint32_t grid[3], block, shared;
    int waits;       /* 1: for all ops before it; 0: it may run beside those since the last that waits (ops.h) */
    qm_op_args args; /* address fields hold qm_ref */
    uint64_t weights, weight_bytes; /* weights used and their bytes in one step */
    struct {
        int region;
        uint64_t off, bytes; /* of the region; bytes 0: nothing */
    } prefetch;              /* weights of an op to come, for a grid that waits after this one */
    /* steps of its weights that each warp of a resident grid copies to shared memory before it waits, beside the chunk that it has
     * in registers (ring.c) */
    uint32_t ring;
} qm_op;

/* The run of ops that a resident kernel can walk: from the first whose body it holds to the last. */
typedef struct {
    int first, n; /* ops [first, first + n) of the plan; n == 0: none */
    int missing;  /* the first op between them that the kernel does not hold; -1: it holds all */
} qm_resident;

/* Byte offsets in a sequence's block and in scratch that the executors need. */
typedef struct {
    uint64_t state_off, tokens_off, table_off, mask_off;
    uint64_t logits_off; /* f32 [n_vocab]: of its last step that had any, once another row has scratch */
    uint64_t bytes;
} qm_seq_layout;

typedef struct {
    const qm_place *place;
    qm_shape shape;
    qm_limits limits;
    qm_op *ops; /* [n_ops] */
    int n_ops, cap_ops;
    uint64_t scratch_bytes;
    uint64_t x_off;      /* f32 [rows, n_embd]: the residual stream */
    uint64_t logits_off; /* f32 [outs, n_vocab], in scratch: the step's logits; in all plans of a model the same */
    qm_seq_layout seq;
    uint64_t weight_bytes; /* sum over the ops */
    uint64_t kept_bytes;   /* of these, asked to stay in the L2 */
    qm_resident resident;
} qm_plan;
int qm_plan_build(qm_plan **out, const qm_place *p, qm_shape shape, qm_limits limits, qm_err *e);
void qm_plan_free(qm_plan *p);
/* Fills ops[].args' operands that say what the L2 does with weights. */
void qm_plan_keep(qm_plan *p);
/* That operand, QM_L2_*; NORMAL where it has none. */
uint32_t qm_op_l2(const qm_op *op);
/* Fills resident. */
void qm_plan_resident(qm_plan *p);
/* After it: fills ops[].ring. */
void qm_plan_ring(qm_plan *p);
/* The last part of the building: fills ops[].prefetch. */
void qm_plan_prefetch(qm_plan *p);
/* Bytes of shared memory that op->ring takes, of a CTA of the op. */
uint32_t qm_ring_shared(const qm_op *op);
/* Of an op whose weights are known (ops.h) the bytes, from the first on, among which is all that it asks for by itself while it waits:
 * what belongs to the CTAs that are at work at once. 0: each warp's first chunk alone, and there is more. */
uint64_t qm_ring_reach(const qm_plan *p, const qm_op *op);
/* CTAs of the op that a resident grid's CTA has side by side when each has as much shared memory as `shared`, of `room` bytes; 0:
 * not one. */
uint32_t qm_resident_parts(const qm_op *op, uint32_t n_sm, uint32_t shared, uint32_t room);
/* Room where nothing is copied ahead: less than any device's most; what is left is the L1. */
enum { QM_RESIDENT_SHARED = 88 * 1024 };
/* ring_bytes of a device whose CTAs may have so much shared memory: whole KiB, and the kernel has some of its own. */
static inline uint32_t qm_ring_bytes(uint32_t shared) { return shared > 4096 ? (shared - 4096) & ~1023u : 0; }
/* Bodies of the resident kernel: lines QM_WALK of contracts/kernels.def. */
enum {
    QM_N_RESIDENT_CASES = 0
#define QM_WALK(op, wtype, kv, head_dim) +1
#include "../../contracts/kernels.def"
};
/* The body of an op in the resident kernel, its counted in contracts/kernels.def; -1: it has none. */
int qm_resident_case(const qm_op *op);
/* Threads that an op's CTAs have there: all that it asks for, or as many as there are. */
uint32_t qm_resident_block(const qm_op *op);
/* For which of the run's ops each of them waits: waits [resident.n, max], counted from resident.first, n_waits[i] of op i. As few
 * as say it: what these wait for is not named again. *too_many: the first op (of the plan) that has more than max; -1: none. */
int qm_resident_waits(const qm_plan *p, int max, int *waits, int *n_waits, int *too_many, qm_err *e);
/* scratch_bytes of every plan for these limits. */
uint64_t qm_plan_scratch_bytes(const qm_place *pl, qm_limits limits);
/* The number of CTAs that share attention's spans in a step of one row at position pos. */
uint32_t qm_plan_splits(const qm_hparams *hp, qm_limits limits, uint32_t pos);
/* The shape of a step of n_rows rows, of which n_outs want logits, the deepest at position pos: rows becomes a power of two, so that few
 * shapes serve all steps. */
qm_shape qm_plan_shape(const qm_hparams *hp, qm_limits limits, uint32_t n_rows, uint32_t n_outs, uint32_t pos);

/* Pages that hold n tokens. */
static inline uint32_t qm_pages_for(uint64_t n) { return (uint32_t)((n + QM_PAGE_TOKENS - 1) / QM_PAGE_TOKENS); }
/* KV pool: per layer K pages then V pages. */
uint64_t qm_kv_page_bytes(const qm_hparams *hp, qm_kv_cache_type kv); /* one page, all kv heads, K or V of one layer */
uint64_t qm_kv_pool_bytes(const qm_hparams *hp, qm_kv_cache_type kv, uint32_t n_pages);
qm_seq_layout qm_seq_layout_of(const qm_hparams *hp, qm_limits limits);
/* RoPE table: bytes, and the fill (host memory). */
uint64_t qm_rope_bytes(const qm_hparams *hp, uint32_t n_ctx);
void qm_rope_fill(float *table, const qm_hparams *hp, uint32_t n_ctx);

/* ---- resolving ---- */
typedef struct {
    uint64_t base[QM_N_SPACES]; /* REGION: the weight arena's base */
} qm_bases;
/* out: the op's arguments with real addresses; regions resolve to base + region.off. */
void qm_op_resolve(const qm_plan *p, const qm_op *op, const qm_bases *b, qm_op_args *out);
/* Address of a reference. */
uint64_t qm_ref_resolve(const qm_plan *p, qm_ref r, const qm_bases *b);

/* ---- run_ref: host memory; weights are read raw from the mapped file (bases REGION is not used) ---- */
int qm_run_ref_op(const qm_plan *p, int i, const qm_bases *b, qm_err *e);
int qm_run_ref(const qm_plan *p, const qm_bases *b, qm_err *e);
#endif
