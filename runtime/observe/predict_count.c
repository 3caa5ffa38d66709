/* predict_count.c: see predict_count.h. */
#include "predict_count.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "../plan/ops.h"
#include "routing.h"

enum { SOME_RUNS = 8 };

/* Memory of one space each; every weight lies at the same place, every layer's KV pool too, and all sequences are the
 * first one: where things are does not show in the counts. */
typedef struct {
    qm_device *d;
    qm_kernels *k;
    const qm_plan *plan;
    qm_work work;
    CUdeviceptr base[QM_N_SPACES];
    uint64_t bytes[QM_N_SPACES], layer_pool;
    qm_step_record step;
    double whole;       /* warp instructions of an op that is run whole */
    qm_routing routing; /* no slots: the step has no groups */
} memory;

/* ---- what the counts depend on ---- */
static void rows_of(memory *s) {
    const qm_work w = s->work;
    const uint32_t each = w.rows / w.seqs;
    qm_step_record *t = &s->step;
    t->n_rows = w.rows;
    t->n_outs = t->n_draws = w.outs;
    for (uint32_t i = 0; i < w.seqs; i++) {
        const uint32_t first = i * each;
        for (uint32_t j = 0; j < each; j++) t->rows[first + j].pos = w.depth + j;
        if (i < w.outs) t->outs[i] = first + each - 1;
        if (each == 1) t->singles[t->n_singles++] = first;
        for (uint32_t j = 0; each > 1 && j < each; j += QM_RUN_ROWS) {
            t->runs[t->n_runs][0] = first + j;
            t->runs[t->n_runs++][1] = each - j < QM_RUN_ROWS ? each - j : QM_RUN_ROWS;
        }
    }
}

/* Who chooses which expert, where the step has groups of slots. */
static int route(memory *s, qm_err *e) {
    const qm_plan *p = s->plan;
    int i = 0;
    while (i < p->n_ops && p->ops[i].kind != QM_OP_MOE_SORT) i++;
    return i < p->n_ops ? qm_routing_make(&s->routing, &p->ops[i].args.moe_sort, s->work.rows, e) : 0;
}

/* ---- memory ---- */
static int memory_open(memory *s, qm_device *d, qm_kernels *k, const qm_op_records *r, qm_err *e) {
    const qm_plan *p = r->plan;
    const qm_hparams *hp = &p->place->model->hp;
    uint32_t *table = NULL;
    int rc = 0;
    *s = (memory){.d = d,
                  .k = k,
                  .plan = p,
                  .work = r->work,
                  .layer_pool = 2 * qm_kv_page_bytes(hp, p->limits.kv_type) * p->limits.n_pages};
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
            const qm_region *of = &p->place->regions[QM_REF_VALUE(o[a].ref)];
            /* tokens are 0 in a step of one row, logits alike: it can touch the first experts' */
            const uint64_t first = of->expert_bytes * (hp->n_expert ? hp->n_used : 1);
            const uint64_t n = p->shape.rows == 1 && first < of->bytes ? first : of->bytes;
            if (n > s->bytes[QM_SPACE_REGION]) s->bytes[QM_SPACE_REGION] = n;
        }
    }
    rows_of(s);
    if ((rc = route(s, e))) goto out;
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
    qm_routing_free(&s->routing);
}

/* The op's arguments with addresses; what its counts depend on is at them. */
static int bind(memory *s, const qm_op *op, qm_op_args *args, qm_err *e) {
    qm_device *d = s->d;
    qm_operand o[QM_MAX_OPERANDS];
    const int n = qm_op_operands(s->plan, op, o);
    int rc = 0;
    *args = op->args;
    QM_CU_TRY(d, MemsetD8Async(s->base[QM_SPACE_SCRATCH], 0, s->bytes[QM_SPACE_SCRATCH], NULL));
    for (int i = 0; i < n; i++) {
        const qm_space space = QM_REF_SPACE(o[i].ref);
        const uint64_t value = QM_REF_VALUE(o[i].ref), at = space == QM_SPACE_NONE     ? 0
                                                            : space == QM_SPACE_REGION ? s->base[space]
                                                            : space == QM_SPACE_KV
                                                                ? s->base[space] + value % s->layer_pool
                                                                : s->base[space] + value;
        memcpy(args->bytes + o[i].offset, &at, 8);
        size_t bytes;
        const void *given = o[i].dir == QM_IN ? qm_routing_of(&s->routing, o[i].name, &bytes) : NULL;
        if (given) QM_CU_TRY(d, MemcpyHtoD(at, given, bytes));
    }
out:
    return rc;
}

/* ---- one op ---- */
/* Which of its CTAs: the first x along x, n of its runs, evenly spread. */
typedef struct {
    uint32_t x, n_runs;
} part;

/* The middle of the i-th of k equal parts of 0 .. n - 1; between two, the lower and the upper one in turn. */
static uint32_t spread(uint32_t i, uint32_t n, uint32_t k) {
    return ((2 * i + 1) * n - k + (i % 2 ? 2 * k - 1 : 0)) / (2 * k);
}

static int run(memory *s, const qm_op *op, part of, qm_counters *c, qm_err *e) {
    qm_device *d = s->d;
    qm_op_args args;
    qm_step_record t = s->step;
    const uint32_t grid[3] = {of.x, op->grid[1], op->grid[2]};
    int rc = bind(s, op, &args, e);
    if (rc) return rc;
    for (uint32_t i = 0; i < of.n_runs; i++) memcpy(t.runs[i], s->step.runs[spread(i, s->step.n_runs, of.n_runs)], 8);
    t.n_runs = of.n_runs;
    for (uint32_t i = 0; i < t.n_rows && op == s->plan->ops; i++)
        t.rows[i].pos--; /* it moves the step to its position */
    QM_CU_TRY(d, MemcpyHtoD(s->base[QM_SPACE_STEP], &t, sizeof t));
    QM_CU_TRY(d, CtxSynchronize());
    qm_counters none;
    qm_counters_take(&none);
    if ((rc = qm_kernels_launch(s->k, op->kernel, grid, op->block, op->shared, &args, NULL, e))) goto out;
    QM_CU_TRY(d, CtxSynchronize());
    qm_counters_take(c);
out:
    if (rc) qm_err_prefix(e, "layer %d, %s", op->layer, op->slot);
    return rc;
}

static void scale(qm_counters *c, double by) {
    uint64_t *v[] = {&c->warp_insts,    &c->thread_insts,  &c->load_bytes, &c->store_bytes, &c->load_sectors,
                     &c->store_sectors, &c->shared_passes, &c->mma_int,    &c->mma_float,   &c->atomics,
                     &c->barriers,      &c->last_bytes,    &c->first_bytes};
    for (size_t i = 0; i < sizeof v / sizeof *v; i++) *v[i] = (uint64_t)llround((double)*v[i] * by);
}

/* Of what may be large, a small part first. */
static int count_op(memory *s, const qm_op *op, qm_counters *c, int *sampled, qm_err *e) {
    qm_operand o[QM_MAX_OPERANDS];
    const int n = qm_op_operands(s->plan, op, o), runs = qm_operand_find(o, n, "runs") != NULL;
    const part all = {op->grid[0], s->step.n_runs}, few = {1, runs && all.n_runs > SOME_RUNS ? SOME_RUNS : all.n_runs};
    const double whole = (double)all.x / few.x * (runs && few.n_runs ? (double)all.n_runs / few.n_runs : 1);
    *sampled = 0;
    if (op->rows > 1 && whole > 1 && (runs || qm_operand_find(o, n, "n_groups") || op->kind == QM_OP_GEMM)) {
        int rc = run(s, op, few, c, e);
        *sampled = !rc && (double)c->warp_insts * whole > s->whole;
        if (*sampled) scale(c, whole);
        if (rc || *sampled) return rc;
    }
    return run(s, op, all, c, e);
}

/* ---- a step ---- */
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

/* The record of an op like r, among the first n of a step. The work of what reads keys and values depends on the depth as
 * well; that of many rows on how many there are, and on whether they share sequences. */
static const qm_op_record *seen(const qm_op_records *in, int n, const qm_op_records *of, const qm_op_record *r) {
    const qm_work a = in->work, b = of->work;
    if ((r->reads_kv && a.depth != b.depth) || a.rows != b.rows || a.seqs != b.seqs || a.outs != b.outs) return NULL;
    for (int i = 0; i < n; i++)
        if (alike(in->plan, in->op[i].op, of->plan, r->op)) return &in->op[i];
    return NULL;
}

int qm_predict_count(qm_device *d, qm_kernels *k, qm_op_records *r, double whole, qm_op_records *const *before, int n,
                     qm_err *e) {
    memory s;
    int rc = memory_open(&s, d, k, r, e);
    s.whole = whole;
    if (!rc && !(rc = qm_counters_begin(d, e))) {
        for (int i = 0; i < r->n_ops && !rc; i++) {
            qm_op_record *o = &r->op[i];
            qm_operand x[QM_MAX_OPERANDS];
            const qm_op_record *like = seen(r, i, r, o);
            for (int j = n - 1; j >= 0 && !like; j--) like = seen(before[j], before[j]->n_ops, r, o);
            if (like) {
                o->count = like->count;
                o->sampled = like->sampled;
            } else rc = count_op(&s, o->op, &o->count, &o->sampled, e);
            if (qm_operand_find(x, qm_op_operands(r->plan, o->op, x), "groups") && o->op->grid[1] > 1)
                o->ctas = (double)o->op->grid[0] * s.routing.n_groups;
            r->n_sampled += o->sampled;
            qm_counters_add(&r->total, &o->count);
        }
        qm_counters_end();
    }
    memory_close(&s);
    r->counted = !rc;
    return rc;
}
