/* predict_count.c: the plan of a step for any number of multiprocessors, its ops run over zeros on the
 * software device and counted. An op's counts depend on its kernel, launch and shape, not on what the
 * weights are: ops that differ in layer alone are run once. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "../arch/arch.h"
#include "../base/scratch.h"
#include "../plan/ops.h"
#include "../qmoe_tools.h"
#include "predict.h"

enum { MAX_STEPS = 256 };

struct qm_predictor {
    qm_gguf *gguf;
    qm_model *model;
    qm_place *place;
    qm_device *dev;
    qm_kernels *kernels;
    qm_plan *plans[MAX_STEPS];
    qm_op_records *steps[MAX_STEPS];
    int n;
};

void qm_predictor_close(qm_predictor *p) {
    if (!p) return;
    for (int i = 0; i < p->n; i++) {
        qm_op_records_free(p->steps[i]);
        qm_plan_free(p->plans[i]);
    }
    qm_kernels_close(p->kernels);
    if (p->dev) qm_device_close(p->dev);
    qm_place_free(p->place);
    qm_model_close(p->model);
    qm_gguf_close(p->gguf);
    free(p);
}

/* A file of the 30B's shape whose weights are a hole: it takes a few megabytes of disk and is gone from its
 * folder before this returns. */
static int open_shape(qm_gguf **out, qm_err *e) {
    const char *tmp = getenv("TMPDIR");
    char dir[512], path[600];
    snprintf(dir, sizeof dir, "%s/qmoe-shape-XXXXXX", tmp && *tmp ? tmp : "/tmp");
    if (!mkdtemp(dir)) return qm_fail(e, QM_ERR_IO, "%s: cannot make a folder", dir);
    snprintf(path, sizeof path, "%s/shape.gguf", dir);
    int slots[] = {qm_scratch_add(dir), qm_scratch_add(path)};
    int rc = qm_synth(path, &(qm_synth_opts){.preset = "qwen3-30b-a3b", .seed = 1, .sparse = 1}, e);
    if (!rc) rc = qm_gguf_open(out, path, e);
    unlink(path);
    rmdir(dir);
    for (int i = 0; i < 2; i++) qm_scratch_drop(slots[i]);
    return rc;
}

int qm_predictor_open(qm_predictor **out, const char *path, qm_err *e) {
    qm_predictor *p = calloc(1, sizeof *p);
    *out = NULL;
    if (!p) return qm_fail(e, QM_ERR_NOMEM, "prediction: out of memory");
    int rc = path ? qm_gguf_open(&p->gguf, path, e) : open_shape(&p->gguf, e);
    if (!rc) rc = qm_model_open(&p->model, p->gguf, 0, e);
    if (!rc) rc = qm_place_build(&p->place, p->model, e);
    if (!rc) rc = qm_device_open(&p->dev, "sim", NULL, 0, e);
    if (!rc) rc = qm_kernels_open(&p->kernels, p->dev, e);
    if (rc) qm_predictor_close(p);
    else *out = p;
    return rc;
}

/* Memory of one space each; every weight lies at the same place, every layer's KV pool too. */
typedef struct {
    qm_device *d;
    CUdeviceptr base[QM_N_SPACES];
    uint64_t bytes[QM_N_SPACES], layer_pool;
    uint32_t depth;
} memory;

static int memory_open(memory *s, qm_device *d, const qm_plan *p, uint32_t depth, qm_err *e) {
    const qm_hparams *hp = &p->place->model->hp;
    uint32_t *table = NULL;
    int rc = 0;
    *s =
        (memory){.d = d, .depth = depth, .layer_pool = 2 * qm_kv_page_bytes(hp, p->limits.kv_type) * p->limits.n_pages};
    s->bytes[QM_SPACE_SCRATCH] = p->scratch_bytes;
    s->bytes[QM_SPACE_SEQ] = p->seq.bytes;
    s->bytes[QM_SPACE_ROPE] = qm_rope_bytes(hp, p->limits.n_ctx);
    s->bytes[QM_SPACE_KV] = s->layer_pool;
    s->bytes[QM_SPACE_RESULT] = QM_RESULT_RING * QM_RESULT_SIZE;
    s->bytes[QM_SPACE_STEP] = QM_STEP_SIZE;
    for (int i = 0; i < p->n_ops; i++) {
        qm_operand o[QM_MAX_OPERANDS];
        int n_o = qm_op_operands(p, &p->ops[i], o);
        for (int a = 0; a < n_o; a++) {
            if (QM_REF_SPACE(o[a].ref) != QM_SPACE_REGION) continue;
            /* ids and tokens are 0: it can touch the first expert's */
            uint64_t n = p->place->regions[QM_REF_VALUE(o[a].ref)].expert_bytes;
            if (n > s->bytes[QM_SPACE_REGION]) s->bytes[QM_SPACE_REGION] = n;
        }
    }
    for (int i = 1; i < QM_N_SPACES; i++) {
        QM_CU_TRY(d, MemAlloc(&s->base[i], s->bytes[i] ? s->bytes[i] : 1));
        if (s->bytes[i]) QM_CU_TRY(d, MemsetD8Async(s->base[i], 0, s->bytes[i], NULL));
    }
    if (!(table = malloc(4 * (size_t)p->limits.n_pages))) {
        rc = qm_fail(e, QM_ERR_NOMEM, "prediction: out of memory");
        goto out;
    }
    for (uint32_t i = 0; i < p->limits.n_pages; i++) table[i] = i;
    QM_CU_TRY(d, MemcpyHtoD(s->base[QM_SPACE_SEQ] + p->seq.table_off, table, 4 * (size_t)p->limits.n_pages));
out:
    free(table);
    return rc;
}

static void memory_close(memory *s) {
    for (int i = 1; i < QM_N_SPACES; i++)
        if (s->base[i]) s->d->cu.MemFree(s->base[i]);
}

static int run_op(memory *s, qm_kernels *k, const qm_plan *p, const qm_op *op, qm_counters *c, qm_err *e) {
    qm_device *d = s->d;
    qm_op_args args = op->args;
    uint32_t pos = op == p->ops ? s->depth - 1 : s->depth; /* the first one moves the step to its position */
    int rc = 0;
    qm_operand o[QM_MAX_OPERANDS];
    int n_o = qm_op_operands(p, op, o);
    for (int a = 0; a < n_o; a++) {
        uint64_t r = o[a].ref, at;
        qm_space space = QM_REF_SPACE(r);
        at = space == QM_SPACE_NONE     ? 0
             : space == QM_SPACE_REGION ? s->base[space]
             : space == QM_SPACE_KV     ? s->base[space] + QM_REF_VALUE(r) % s->layer_pool
                                        : s->base[space] + QM_REF_VALUE(r);
        memcpy(args.bytes + o[a].offset, &at, 8);
    }
    QM_CU_TRY(d, MemcpyHtoD(s->base[QM_SPACE_STEP] + QM_STEP_AT_ROWS + QM_ROW_POS, &pos, 4));
    QM_CU_TRY(d, MemsetD8Async(s->base[QM_SPACE_SCRATCH], 0, s->bytes[QM_SPACE_SCRATCH], NULL));
    QM_CU_TRY(d, CtxSynchronize());
    qm_counters none;
    qm_counters_take(&none);
    if ((rc = qm_kernels_launch(k, op->kernel, op->grid, op->block, op->shared, &args, NULL, e))) goto out;
    QM_CU_TRY(d, CtxSynchronize());
    qm_counters_take(c);
out:
    if (rc) qm_err_prefix(e, "layer %d, %s", op->layer, op->slot);
    return rc;
}

/* Do two ops differ in nothing but the addresses (and these in nothing but where they point)? */
static int alike(const qm_plan *p, const qm_op *a, const qm_plan *q, const qm_op *b) {
    if (a->kernel != b->kernel || memcmp(a->grid, b->grid, sizeof a->grid) || a->block != b->block ||
        a->shared != b->shared)
        return 0;
    qm_operand x[QM_MAX_OPERANDS], y[QM_MAX_OPERANDS];
    qm_op_args u = a->args, v = b->args;
    int n = qm_op_operands(p, a, x);
    qm_op_operands(q, b, y);
    for (int i = 0; i < n; i++) {
        if (QM_REF_SPACE(x[i].ref) != QM_REF_SPACE(y[i].ref)) return 0;
        memset(u.bytes + x[i].offset, 0, 8);
        memset(v.bytes + x[i].offset, 0, 8);
    }
    return !memcmp(&u, &v, sizeof u);
}

/* The counts of an op like that of record r, among the first n of a step. The work of what reads keys and values
 * depends on the depth as well. */
static const qm_counters *seen(const qm_op_records *in, int n, const qm_op_records *of, const qm_op_record *r) {
    if (r->reads_kv && in->depth != of->depth) return NULL;
    for (int i = 0; i < n; i++)
        if (alike(in->plan, in->op[i].op, of->plan, r->op)) return &in->op[i].count;
    return NULL;
}

static int count_step(qm_predictor *p, qm_op_records *r, qm_err *e) {
    memory s;
    int rc = memory_open(&s, p->dev, r->plan, r->depth, e);
    if (!rc && !(rc = qm_counters_begin(p->dev, e))) {
        for (int i = 0; i < r->n_ops && !rc; i++) {
            const qm_op *op = r->op[i].op;
            const qm_counters *c = seen(r, i, r, &r->op[i]);
            for (int j = p->n - 1; j >= 0 && !c; j--) c = seen(p->steps[j], p->steps[j]->n_ops, r, &r->op[i]);
            if (c) r->op[i].count = *c;
            else rc = run_op(&s, p->kernels, r->plan, op, &r->op[i].count, e);
            qm_counters_add(&r->total, &r->op[i].count);
        }
        qm_counters_end();
    }
    memory_close(&s);
    r->counted = !rc;
    return rc;
}

int qm_predictor_step(qm_predictor *p, const qm_chip *c, uint32_t depth, const char *executor,
                      const qm_op_records **out, qm_err *e) {
    const qm_hparams *hp = &p->model->hp;
    *out = NULL;
    if (depth >= hp->n_ctx_train)
        return qm_fail(e, QM_ERR_LIMIT, "depth %u exceeds the model's limit of %u positions", depth, hp->n_ctx_train);
    if (p->n == MAX_STEPS) return qm_fail(e, QM_ERR_LIMIT, "prediction: more than %d steps", MAX_STEPS);
    uint32_t pages = depth / QM_PAGE_TOKENS + 1;
    qm_limits limits = {.n_sm = (uint32_t)c->sms.v,
                        .n_ctx = pages * QM_PAGE_TOKENS,
                        .n_seqs = 1,
                        .n_pages = pages,
                        .l2_bytes = (uint64_t)c->l2.v,
                        .prefetch_bytes = qm_prefetch_bytes(c->bandwidth.v, (uint64_t)c->l2.v)};
    qm_shape shape = {.outs = 1, .n_splits = qm_plan_splits(hp, limits, depth), .rows = 1};
    qm_plan *plan = NULL;
    qm_op_records *r = NULL;
    int resident = 0;
    int rc = qm_plan_build(&plan, p->place, shape, limits, e);
    if (!rc) rc = qm_inside_runs(executor, plan, &resident, e);
    if (!rc) rc = qm_op_records_new(&r, plan, depth, e);
    if (!rc) rc = count_step(p, r, e);
    if (rc) {
        qm_op_records_free(r);
        qm_plan_free(plan);
        return rc;
    }
    qm_predict_step(c, resident, r);
    snprintf(r->executor, sizeof r->executor, "%s", executor ? executor : "graph");
    p->plans[p->n] = plan;
    p->steps[p->n++] = r;
    *out = r;
    return 0;
}
