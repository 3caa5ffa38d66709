/* family.h: a model family as data: its dimensions and their ranges, keys, tensors and the function that writes a layer's
 * ops. One file a family, one line in families.def: nothing else knows their names. Whoever reads a model asks this
 * (model.c), and whoever writes one (convert/synth.c), so that nothing is written that would not be read. */
#ifndef QM_FAMILY_H
#define QM_FAMILY_H
#include <stddef.h>
#include <stdint.h>
#include "../../contracts/abi.h"

typedef enum {
    QM_DIM_CTX,
    QM_DIM_EMBD,
    QM_DIM_LAYERS,
    QM_DIM_HEADS,
    QM_DIM_KV_HEADS,
    QM_DIM_HEAD_DIM,
    QM_DIM_EXPERTS,
    QM_DIM_USED,
    QM_DIM_FF,
    QM_DIM_VOCAB,
    QM_DIMS,
    /* products, for shapes of tensors */
    QM_DIM_Q = QM_DIMS, /* query heads * head_dim */
    QM_DIM_KV,          /* kv heads * head_dim */
    QM_DIM_ONE,
    QM_EXTENTS
} qm_dim;

/* A dimension: where the file says it and what of it runs here. All zero: the family has no such thing. */
typedef struct {
    const char *key;  /* the metadata key after the architecture's prefix; NULL: the rows of token_embd.weight */
    const char *flag; /* synth's option, without dashes */
    uint32_t lo, hi, multiple;
} qm_dim_range;

/* What every family here has. Where the limits come from: head lengths are the kernels' (contracts/kernels.def); a row of
 * n_embd floats must fit in the shared memory of any device since sm_80 (99 KiB); the vocabulary is sampling's. */
#define QM_DIMS_OF_A_DECODER                                                 \
    [QM_DIM_CTX] = {"context_length", "ctx", 1, 1u << 28, 1},                \
    [QM_DIM_EMBD] = {"embedding_length", "embd", 32, 1u << 14, 32},          \
    [QM_DIM_LAYERS] = {"block_count", "layers", 1, 1024, 1},                 \
    [QM_DIM_HEADS] = {"attention.head_count", "heads", 1, 1024, 1},          \
    [QM_DIM_KV_HEADS] = {"attention.head_count_kv", "kv-heads", 1, 1024, 1}, \
    [QM_DIM_HEAD_DIM] = {"attention.key_length", "head-dim", 64, 128, 64},   \
    [QM_DIM_VOCAB] = {NULL, "vocab", 1, QM_SAMPLE_MAX_N - 1, 1}

typedef enum { QM_NO_BIAS, QM_MAY_HAVE_BIAS, QM_HAS_BIAS /* a file without it is refused */ } qm_bias;

/* A weight of a layer: the tensor blk.N.<name>.weight, in shape [experts, rows, cols]. */
typedef struct {
    const char *name;
    qm_dim experts, rows, cols; /* experts and, of vectors, rows: QM_DIM_ONE */
    int vector;                 /* F32, one row: a norm */
    qm_bias bias;               /* blk.N.<name>.bias, f32 [rows], which is added */
    int may_be_absent;          /* a file may lack it; of a layer: its w (layer) is -1 then, and synth writes none */
    int joins;                  /* has the input of the weight before it: one product for both where types allow */
    int may_narrow;             /* of a layer, one that does not join: plan/model.h */
} qm_weight_spec;
#define QM_VECTOR(NAME, N) \
    { NAME, QM_DIM_ONE, QM_DIM_ONE, QM_DIM_##N, .vector = 1 }
#define QM_MATRIX(NAME, ROWS, COLS, ...) \
    { NAME, QM_DIM_ONE, QM_DIM_##ROWS, QM_DIM_##COLS, .vector = 0, __VA_ARGS__ }
#define QM_EXPERTS(NAME, ROWS, COLS) \
    { NAME, QM_DIM_EXPERTS, QM_DIM_##ROWS, QM_DIM_##COLS, .vector = 0 }
/* Outside the layers, of every family; a file without output.weight has tied embeddings. */
enum { QM_TOKEN_EMBD, QM_OUTPUT_NORM, QM_OUTPUT, QM_N_OUTSIDE };
extern const qm_weight_spec qm_weights_outside[QM_N_OUTSIDE];

/* A key that nobody asks for and that changes nothing at these values: what is done anyhow. Flags are 0 and 1. */
typedef struct {
    const char *key;
    double ok[2];
    const char *what;
} qm_neutral_key;

/* A shape that synth knows by name: of models that are, or a small one. QM_SHAPE: dimensions, 0 where there are none. */
typedef struct {
    const char *name;
    uint32_t dims[QM_DIMS];
    const char *types; /* a mix (convert/mix.h) */
    int tied;          /* token_embd is the output too */
    int bf16_routers;  /* their weights are BF16 values */
} qm_preset;
#define QM_SHAPE(LAYERS, EMBD, HEADS, KV_HEADS, HEAD_DIM, EXPERTS, USED, FF, VOCAB, CTX)                      \
    {                                                                                                         \
        [QM_DIM_LAYERS] = LAYERS, [QM_DIM_EMBD] = EMBD, [QM_DIM_HEADS] = HEADS, [QM_DIM_KV_HEADS] = KV_HEADS, \
        [QM_DIM_HEAD_DIM] = HEAD_DIM, [QM_DIM_EXPERTS] = EXPERTS, [QM_DIM_USED] = USED, [QM_DIM_FF] = FF,     \
        [QM_DIM_VOCAB] = VOCAB, [QM_DIM_CTX] = CTX                                                            \
    }

enum { QM_FAMILY_NAMES = 4 };
struct qm_builder;
typedef struct {
    /* general.architecture, which is also the prefix of keys; and other names under which it comes, up to a NULL */
    const char *names[QM_FAMILY_NAMES];
    const char *title;  /* "Qwen3-MoE" */
    const char *models; /* which models these are, for a message */
    double rope_base;   /* where the file has none */
    qm_dim_range dims[QM_DIMS];
    const qm_weight_spec *weights; /* [n_weights] of a layer, in the order in which they lie on the device */
    int n_weights;
    const qm_neutral_key *neutral; /* beside those of every family (keys.c); ends with a key of NULL */
    const char *const *idle;       /* keys of no effect on what is computed; ends with NULL */
    const qm_preset *presets;      /* ends with a name of NULL; the first family's first is synth's own choice */
    void (*layer)(struct qm_builder *b, const int *w); /* plan/model.h */
} qm_family;

#define QM_FAMILY(name) extern const qm_family qm_family_##name;
#include "families.def"
#undef QM_FAMILY
extern const qm_family *const qm_families[];
extern const int qm_n_families;
/* By general.architecture or its other spelling; NULL: none. */
const qm_family *qm_family_find(const char *name, size_t n);

/* The first dimension of v[QM_DIMS] that is out of its range or at odds with another, and why[n] in words
 * ("must be 64 or 128"); -1 where all is well. Dimensions that the family lacks are not looked at. */
int qm_shape_check(const qm_family *f, const uint32_t *v, char *why, size_t n);
/* The extent of dimension d: one of v[QM_DIMS], or a product of them. */
uint32_t qm_extent(const uint32_t *v, qm_dim d);
#endif
