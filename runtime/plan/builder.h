/* builder.h: what the files that write a plan share (build.c, build_experts.c): the plan so far, the buffers of a step, and how an op is
 * appended. Functions here do nothing once one has failed. */
#ifndef QM_BUILDER_H
#define QM_BUILDER_H
#include "../../kernels/ref/ref.h"
#include "build.h"
#include "plan.h"

/* Scratch buffers of a step: offsets, each with room for limits.n_rows rows (the head's: n_outs). Nothing is aliased: the
 * whole is small, and any op's output can be looked at after the step. */
typedef struct {
    qm_ref x, xn, xq;                            /* residual stream; normalised, f32 and q16a */
    qm_ref qkv, q, acc, ml, arrived;             /* attention */
    qm_ref att, attq, o;                         /* heads' output; o: partial sums of attn_output */
    qm_ref rlogits, ids, rw;                     /* router */
    qm_ref order, groups, n_groups;              /* slots by expert, of many rows */
    qm_ref gate, up, h, hq, down;                /* experts; down: partial sums, one per chosen expert */
    qm_ref logits, keys, hist, part, cand, work; /* sampling */
} buffers;

struct qm_builder {
    qm_plan *p;
    const qm_hparams *hp;
    buffers b;
    int layer;
    int failed;
    qm_err *e;
    /* partial sums waiting to be added to the residual by the next rmsnorm */
    qm_ref pending;
    uint32_t n_pending;
    /* of xn and xq that are not there: what they are the norm of x by, where the next op takes that itself; or 0 */
    qm_ref norm;
    const char *norm_slot;
    uint32_t n_qkv_parts;   /* partial sums in qkv */
    int q_norm, k_norm;     /* weights, of the layer's heads, where attention norms them itself */
    uint32_t n_logit_parts; /* in rlogits; 0: the experts are chosen */
    uint32_t rows;          /* that the ops compute: the step's, in the head those whose logits are wanted */
    qm_ref count, map;      /* how many of them there are, and which (contracts/ops.def); 0 in a step of one row */
};
typedef qm_builder builder;

enum { MAX_PARTS = 1 << QM_PARTS_LOG };

static inline uint32_t least(uint32_t a, uint32_t b) { return a < b ? a : b; }
static inline uint32_t at_least_1(uint32_t n) { return n ? n : 1; }

static inline qm_ref region(int i) { return i < 0 ? 0 : QM_REF(QM_SPACE_REGION, i); }
/* The region that a weight is part of. */
static inline int region_of(const builder *s, int weight) { return s->p->place->region_of[weight]; }
static inline const qm_region *region_at(const builder *s, int weight) {
    return &s->p->place->regions[region_of(s, weight)];
}
static inline qm_ref weight_ref(const builder *s, int weight) { return weight < 0 ? 0 : region(region_of(s, weight)); }
static inline int many(const builder *s) { return s->p->shape.rows > 1; }
/* Rows of the step's arrays. */
static inline uint32_t n_rows(const builder *s) { return s->p->shape.rows; }

/* The activation a weight type wants of a pair of buffers. */
static inline int quantised(const builder *s, const qm_type_info *t) { return t->q16a && !s->p->limits.f32_act; }
static inline qm_ref activation(const builder *s, const qm_type_info *t, qm_ref f32, qm_ref q16a) {
    return quantised(s, t) ? q16a : f32;
}

/* A network without a router is expert 0 of one: its ids are the zero that scratch begins with (exec_*.c), and that no op
 * writes. */
static inline uint32_t n_expert(const qm_hparams *hp) { return hp->n_expert ? hp->n_expert : 1; }
static inline uint32_t n_used(const qm_hparams *hp) { return hp->n_expert ? hp->n_used : 1; }

/* An op of one kernel for this type of weights (-1: none); NULL where there is none or no memory. grid is 1, 1, 1. */
qm_op *qm_builder_push(builder *s, qm_op_kind kind, int wtype, int head_dim, const char *slot);
/* A product of many rows, launched so. */
qm_op *qm_builder_push_rows(builder *s, qm_op_kind kind, int wtype, const qm_launch *l, const char *slot);
/* What products of one row are dealt to. */
qm_sms qm_builder_sms(const builder *s);
/* The op reads weights of the region; used: experts read out of it (1 where it has none). */
void qm_builder_reads(builder *s, qm_op *op, const qm_region *r, uint32_t used);
/* The product with all weights of a region, of the norm where that is not there; y [parts of K, rows, y_stride], of which it has
 * the first n_rows of each row; returns how many parts. */
uint32_t qm_builder_product(builder *s, int weight, qm_ref f32, qm_ref q16a, qm_ref y, uint32_t y_stride,
                            uint32_t max_parts, const char *slot);
/* x += the product with a vector that is no norm's, where one op can; else that is pending: sum, what is added. */
void qm_builder_add_product(builder *s, int weight, qm_ref f32, qm_ref q16a, qm_ref sum, const char *slot);
/* The next op does not norm its input itself. */
void qm_builder_norm_apart(builder *s);
/* The op that has been appended leaves what it normed. */
void qm_builder_leave_norm(builder *s, qm_ref xn, qm_ref xq);
#endif
