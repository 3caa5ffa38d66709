/* jobs.h: one launch of one kernel at the shapes of a model: what counters.c counts and kernels.c times. */
#ifndef QM_BENCH_JOBS_H
#define QM_BENCH_JOBS_H
#include "../kernels/ref/ref.h"
#include "../runtime/device/kernels.h"
#include "../runtime/observe/routing.h"
#include "../runtime/plan/ops.h"
#include "../runtime/sim/sim.h"

/* The dimensions that shapes follow from. */
typedef struct {
    const char *name;
    uint32_t n_embd, n_head, n_kv, head_dim, n_ff, n_expert, n_used, n_vocab;
    uint32_t pos; /* attention reads pos + 1 tokens */
    uint32_t probe_bytes;
} qm_bench_model;
extern const qm_bench_model qm_bench_models[]; /* Qwen3-30B-A3B and a small one of head_dim 64; then name NULL */

typedef struct {
    const qm_bench_model *m;
    const char *what; /* "qkv": the slot of a decode step */
    qm_op_kind op;
    int wtype;                     /* -1: none */
    int kv;                        /* -1: does not touch the cache */
    int head_dim;                  /* 0: none */
    uint32_t n_rows, n_cols;       /* of one weight matrix; 0 where there is none */
    uint32_t max_parts;            /* of K that matvec may write */
    uint32_t rows_run;             /* 0 = all; else only as many rows, in the geometry of all */
    uint32_t rows;                 /* of the step; 0 and 1: one */
    int normed, added;             /* matvec: 1: it norms its input itself; it adds its result to a vector */
    int width;                     /* of a product of many rows, which picks its kernel; 0: none such */
    uint32_t tiles, slices, parts; /* a geometry of its own (qm_bench_sweep); tiles 0: the plan's */
} qm_bench_job;
/* Every kernel of contracts/kernels.def at each place where a step of that model may use it (tests/cli/test_bench.py
 * fails where an op of the plan is left out). Returns how many; fills at most cap. */
int qm_bench_jobs(const qm_bench_model *m, qm_bench_job *out, int cap);
/* The ops of a step that stream most of its bytes (Q4_K and Q6_K), each in every geometry that the kernel takes: 1, 2 or 4
 * tiles of rows a CTA, the warps that share a tile's rows (slices), and all of K in a CTA or each part of it in one of its own.
 * Answers whether qm_launch_matvec chooses well. */
int qm_bench_sweep(const qm_bench_model *m, qm_bench_job *out, int cap);
/* "30b/qkv/matvec/Q4_K", "30b/attn/attn/f16", of many rows "30b/qkv/gemm/Q4_K/r:32", of a sweep "30b/qkv/matvec/Q4_K/tiles:1/slices:4/parts:4" */
void qm_bench_job_name(const qm_bench_job *j, char *s, size_t n);

enum { QM_BENCH_BUFFERS = QM_MAX_OPERANDS + 1, QM_BENCH_RESET_EVERY = 1024 };
typedef struct {
    qm_bench_job job;
    qm_device *d;
    qm_kernels *ks;
    int kernel; /* in qm_kernel_table */
    qm_launch l;
    uint32_t n_copies; /* of what is streamed: weights, cache, logits */
    qm_op_args *args;  /* [n_copies] */
    CUdeviceptr buffer[QM_BENCH_BUFFERS];
    int n_buffers;
    CUdeviceptr row; /* 0: the op has none */
    double weights;  /* of one launch; 0: no weights */
    double weight_bytes;
    double bytes;       /* that one launch must move: weights, cache, activations, results */
    qm_op_view view;    /* of its operands */
    qm_routing routing; /* of many rows to experts; no slots: none */
} qm_bench_work;

/* Experts that a product of many rows has here: the model's, or of types that take much memory and no model has, fewer. */
uint32_t qm_bench_experts(const qm_bench_job *j);
/* Of the ops that are there for many rows alone: launch, scalars and routing. */
int qm_bench_shape_rows(qm_bench_work *w, uint32_t n_sm, qm_op_args *a, qm_err *e);
/* Of what all rows share: blocks of 32 x 256 weights times the columns, up to 32 of a CTA's at a time, that each is multiplied
 * by. */
double qm_bench_packed_blocks(const qm_bench_work *w);

/* Allocates and fills what the job needs. The weights etc. are there as often as fills `spread` bytes (1: once), so
 * that launches i = 0, 1, 2 ... with spread > L2 find nothing of theirs in it; at most 1024 times. n_sm: for the
 * geometry. Close also after a failure. */
int qm_bench_open(qm_bench_work *w, qm_device *d, qm_kernels *ks, const qm_bench_job *j, uint32_t n_sm, double spread,
                  qm_err *e);
void qm_bench_close(qm_bench_work *w);
/* Launch number i. After QM_BENCH_RESET_EVERY launches at the latest a reset is due: embed counts positions up. */
int qm_bench_launch(qm_bench_work *w, uint32_t i, CUstream s, qm_err *e);
int qm_bench_reset(qm_bench_work *w, CUstream s, qm_err *e);
/* On the software device, with counting on: the counters of one launch. */
int qm_bench_count(qm_bench_work *w, qm_sim_counters *c, qm_err *e);
#endif
