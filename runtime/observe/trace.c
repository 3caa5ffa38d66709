/* trace.c: see trace.h. */
#include "trace.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "../../kernels/ref/ref.h"
#include "../device/prof.h"

/* Elements of a job: few enough that f64 sums cost little even where a multiprocessor has two f64 lanes. */
enum { JOB = 1024, BLOCK = 256 };

/* One launch of stats, before op `before` of the plan (n_ops: behind the last). */
typedef struct {
    int before, router; /* router: the op whose ids and weights it takes along, or -1 */
    uint32_t job, n_jobs;
} point;

/* One block of memory where the executor computes: jobs, records, words (ids, weights), vectors. */
struct qm_trace_memory {
    point *points;            /* [n_points] */
    qm_stats_job *jobs;       /* [n_jobs] addresses resolved */
    qm_stats_record *records; /* [n_jobs] the host's copy */
    uint32_t *words;          /* [n_layers, 2, n_used] the host's copy */
    uint64_t jobs_off, records_off, words_off, values_off, bytes;
    CUdeviceptr dev;     /* the block on a device, or */
    unsigned char *host; /* in host memory, for "ref" */
    qm_kernels *kernels;
    const qm_seq *seq; /* the sequence whose addresses the jobs hold; NULL: none yet */
};

/* ---- what is looked at ---- */
static qm_trace_slot *add_slot(qm_tracer *t, const char *name, int op, qm_ref x, uint32_t n, uint32_t parts) {
    if (t->n_slots == t->cap_slots) {
        int cap = t->cap_slots ? 2 * t->cap_slots : 256;
        qm_trace_slot *s = realloc(t->slots, (size_t)cap * sizeof *s);
        if (!s) return NULL;
        t->slots = s;
        t->cap_slots = cap;
    }
    qm_trace_slot *s = &t->slots[t->n_slots++];
    *s = (qm_trace_slot){.name = name,
                         .layer = t->plan->ops[op].layer,
                         .rank = -1,
                         .op = op,
                         .x = x,
                         .n = n,
                         .n_parts = parts,
                         .stride = n};
    return s;
}

/* What a layer adds to the residual stream, and the stream with it: [n] in k parts. */
static int add_output(qm_tracer *t, int i, uint32_t n, uint32_t k) {
    const qm_ref x = t->plan->ops[i].out;
    qm_trace_slot *s;
    if (!add_slot(t, "ffn_out", i, x, n, k) || !(s = add_slot(t, "output", i, x, n, k))) return -1;
    s->add = QM_REF(QM_SPACE_SCRATCH, t->plan->x_off);
    return 0;
}

/* The slots that op i completes. 0, or -1 out of memory. */
static int slots_of(qm_tracer *t, int i) {
    const qm_op *op = &t->plan->ops[i];
    const qm_hparams *hp = &t->plan->place->model->hp;
    qm_trace_slot *s;
    const char *extra = NULL;
    switch (op->kind) {
    case QM_OP_EMBED: return add_slot(t, "embedding", i, op->out, op->out_n, 1) ? 0 : -1;
    case QM_OP_RMSNORM: return add_slot(t, op->layer < 0 ? "final_norm" : op->slot, i, op->out, op->out_n, 1) ? 0 : -1;
    case QM_OP_QKROPE: /* qkv may be of several ops: this one reads them all */
        if (!add_slot(t, "qkv", i, op->args.qkrope.qkv, (hp->n_head + 2 * hp->n_kv) * hp->head_dim,
                      op->args.qkrope.n_partials))
            return -1;
        extra = "q_rope";
        break;
    case QM_OP_COMBINE: extra = "attn_heads"; break;
    case QM_OP_MOE_UP:
    case QM_OP_SWIGLU: extra = "ffn_up"; break;
    case QM_OP_MATVEC:
        if (!strcmp(op->slot, "attn_out") || !strcmp(op->slot, "logits"))
            return add_slot(t, op->slot, i, op->out, op->out_n, op->out_parts) ? 0 : -1;
        if (!strcmp(op->slot, "ffn_out")) return add_output(t, i, op->out_n, op->out_parts);
        if (!strcmp(op->slot, "router_logits")) extra = op->slot;
        break;
    case QM_OP_MOE_MATVEC:
        if (strcmp(op->slot, "ffn_out")) break;
        uint32_t n = op->args.moe_matvec.n_rows, k = op->grid[1];
        for (uint32_t r = 0; r < k; r++) { /* weighted already */
            if (!(s = add_slot(t, "expert", i, op->out + 4ull * r * n, n, 1))) return -1;
            s->rank = (int)r;
        }
        if (add_output(t, i, n, k)) return -1;
        break;
    default: break;
    }
    if (!extra || !t->keep) return 0;
    if (!(s = add_slot(t, extra, i, op->out, op->out_n, op->out_parts))) return -1;
    s->extra = 1;
    return 0;
}

const qm_trace_slot *qm_tracer_find(const qm_tracer *t, int layer, const char *name, int rank) {
    for (int i = 0; i < t->n_slots; i++)
        if (t->slots[i].layer == layer && t->slots[i].rank == rank && !strcmp(t->slots[i].name, name))
            return &t->slots[i];
    return NULL;
}

/* ---- where it is looked at ---- */
static int overlaps(qm_ref a, uint64_t n_a, qm_ref b, uint64_t n_b) {
    return a && b && QM_REF_SPACE(a) == QM_REF_SPACE(b) && a < b + n_b && b < a + n_a;
}

/* Whether op writes into [r, r + n). */
static int writes(const qm_op *op, qm_ref r, uint64_t n) {
    if (overlaps(op->out, 4ull * op->out_n * op->out_parts, r, n)) return 1;
    if (op->kind == QM_OP_RMSNORM) return overlaps(op->args.rmsnorm.x_out, 4ull * op->args.rmsnorm.n, r, n);
    if (op->kind == QM_OP_ROUTER) return overlaps(op->args.router.ids, 4ull * op->args.router.n_used, r, n);
    return 0;
}

static int spoils(const qm_op *op, const qm_trace_slot *s) {
    return writes(op, s->x, 4ull * ((uint64_t)(s->n_parts - 1) * s->stride + s->n)) || writes(op, s->add, 4ull * s->n);
}

static int spoils_router(const qm_plan *p, const qm_op *op, int router) {
    if (router < 0) return 0;
    const qm_router_args *a = &p->ops[router].args.router;
    return writes(op, a->ids, 4ull * a->n_used) || writes(op, a->weights, 4ull * a->n_used);
}

/* Slots and launches, from the plan. */
static int lay_out(qm_tracer *t, qm_err *e) {
    const qm_plan *p = t->plan;
    int waiting = 0, router = -1; /* slots[waiting ..] have not been looked at, nor what the op `router` chose */
    uint32_t job = 0;
    if (!(t->m->points = malloc(((size_t)p->n_ops + 1) * sizeof *t->m->points))) goto nomem;
    for (int i = 0; i <= p->n_ops; i++) {
        int due = i == p->n_ops || spoils_router(p, &p->ops[i], router);
        for (int k = waiting; k < t->n_slots && !due; k++) due = spoils(&p->ops[i], &t->slots[k]);
        if (due && (t->n_slots > waiting || router >= 0)) {
            t->m->points[t->n_points++] = (point){i, router, job, t->n_jobs - job};
            job = t->n_jobs;
            waiting = t->n_slots;
            router = -1;
        }
        if (i == p->n_ops) break;
        int first = t->n_slots;
        if (slots_of(t, i)) goto nomem;
        for (int k = first; k < t->n_slots; k++) {
            qm_trace_slot *s = &t->slots[k];
            s->job = t->n_jobs;
            s->n_jobs = (s->n + JOB - 1) / JOB;
            s->at = t->n_values;
            t->n_jobs += s->n_jobs;
            t->n_values += s->n;
        }
        if (p->ops[i].kind == QM_OP_ROUTER) {
            router = i;
            t->n_used = p->ops[i].args.router.n_used;
        }
    }
    return 0;
nomem:
    return qm_fail(e, QM_ERR_NOMEM, "trace: out of memory");
}

/* ---- memory ---- */
static uint64_t align256(uint64_t n) { return (n + 255) & ~(uint64_t)255; }

static int allocate(qm_tracer *t, qm_err *e) {
    struct qm_trace_memory *m = t->m;
    qm_device *d = t->g->dev;
    uint64_t n_words = 2ull * t->g->model->hp.n_layers * t->n_used;
    int rc = 0;
    m->records_off = m->jobs_off + align256(t->n_jobs * sizeof *m->jobs);
    m->words_off = m->records_off + align256(t->n_jobs * sizeof *m->records);
    m->values_off = m->words_off + align256(4 * n_words);
    m->bytes = m->values_off + (t->keep ? align256(4 * t->n_values) : 0);
    m->jobs = calloc(t->n_jobs, sizeof *m->jobs);
    m->records = calloc(t->n_jobs, sizeof *m->records);
    m->words = calloc(n_words + 1, 4);
    t->ids = calloc(n_words / 2 + 1, 4);
    t->weights = calloc(n_words / 2 + 1, 4);
    if (t->keep) t->values = calloc(t->n_values, 4);
    if (!d) m->host = calloc(1, m->bytes);
    if (!m->jobs || !m->records || !m->words || !t->ids || !t->weights || (t->keep && !t->values) || (!d && !m->host))
        return qm_fail(e, QM_ERR_NOMEM, "trace: out of memory");
    if (!d) return 0;
    QM_CU_TRY(d, MemAlloc(&m->dev, m->bytes));
    /* a layer without a router keeps zeros */
    QM_CU_TRY(d, MemsetD8Async(m->dev, 0, m->bytes, qm_graph_stream(t->g)));
    rc = qm_kernels_open(&m->kernels, d, e);
out:
    return rc;
}

static uint64_t base(const qm_tracer *t) { return t->m->host ? (uint64_t)(uintptr_t)t->m->host : t->m->dev; }

static uint64_t address(const qm_tracer *t, qm_seq *seq, qm_ref r) {
    if (!r) return 0;
    if (t->g->dev) return qm_graph_address(t->g, seq, t->plan, r);
    qm_bases b = qm_ref_bases(t->g, seq);
    return qm_ref_resolve(t->plan, r, &b);
}

/* The jobs' addresses are those of one sequence. */
static int resolve(qm_tracer *t, qm_seq *seq, qm_err *e) {
    struct qm_trace_memory *m = t->m;
    int rc = 0;
    for (int i = 0; i < t->n_slots; i++) {
        const qm_trace_slot *s = &t->slots[i];
        for (uint32_t k = 0; k < s->n_jobs; k++) {
            uint64_t at = 4ull * k * JOB;
            uint32_t left = s->n - k * JOB;
            m->jobs[s->job + k] = (qm_stats_job){
                .x = address(t, seq, s->x) + at,
                .add = s->add ? address(t, seq, s->add) + at : 0,
                .copy = t->keep ? base(t) + m->values_off + 4 * s->at + at : 0,
                .n = left < JOB ? left : JOB,
                .n_parts = s->n_parts,
                .stride = s->stride,
            };
        }
    }
    if (t->g->dev) rc = qm_graph_put(t->g, m->dev + m->jobs_off, m->jobs, t->n_jobs * sizeof *m->jobs, e);
    else memcpy(m->host + m->jobs_off, m->jobs, t->n_jobs * sizeof *m->jobs);
    m->seq = seq;
    return rc;
}

int qm_tracer_open(qm_tracer **out, qm_engine *g, const qm_plan *p, int keep, qm_err *e) {
    *out = NULL;
    qm_tracer *t = calloc(1, sizeof *t);
    if (!t || !(t->m = calloc(1, sizeof *t->m))) {
        free(t);
        return qm_fail(e, QM_ERR_NOMEM, "trace: out of memory");
    }
    t->g = g;
    t->plan = p;
    t->keep = keep;
    int rc = lay_out(t, e);
    if (!rc) rc = allocate(t, e);
    if (rc) qm_tracer_close(t);
    else *out = t;
    return rc;
}

void qm_tracer_close(qm_tracer *t) {
    if (!t) return;
    struct qm_trace_memory *m = t->m;
    if (t->g->dev) {
        t->g->dev->cu.StreamSynchronize(qm_graph_stream(t->g));
        if (m->dev) t->g->dev->cu.MemFree(m->dev);
        qm_kernels_close(m->kernels);
    }
    free(m->points);
    free(m->jobs);
    free(m->records);
    free(m->words);
    free(m->host);
    free(m);
    free(t->slots);
    free(t->ids);
    free(t->weights);
    free(t->values);
    free(t);
}

/* ---- a step ---- */
int qm_trace_place(qm_session *s, uint32_t pos, uint32_t token, qm_err *e) {
    qm_engine *g = s->g;
    if (pos >= g->limits.n_ctx) return qm_fail(e, QM_ERR_LIMIT, "the context is full: %u positions", g->limits.n_ctx);
    if (token >= g->model->hp.n_vocab)
        return qm_fail(e, QM_ERR_ARG, "token %u is outside the vocabulary of %u", token, g->model->hp.n_vocab);
    int rc = g->exec->put_tokens(g, s->seq, pos, &token, 1, e);
    if (!rc) rc = qm_session_place(s, pos, e);
    if (!rc) rc = qm_session_pages(s, pos / QM_PAGE_TOKENS + 1, e);
    s->ids[pos] = token;
    return rc;
}

static int look(qm_tracer *t, qm_seq *seq, const point *pt, qm_err *e) {
    struct qm_trace_memory *m = t->m;
    int k = qm_kernel_find(QM_OP_STATS, -1, -1, 0);
    const unsigned grid[3] = {pt->n_jobs, 1, 1};
    qm_stats_args a = {.jobs = base(t) + m->jobs_off + pt->job * sizeof *m->jobs,
                       .out = base(t) + m->records_off + pt->job * sizeof *m->records};
    if (pt->router >= 0) {
        const qm_op *op = &t->plan->ops[pt->router];
        a.words = address(t, seq, op->args.router.ids);
        a.words2 = address(t, seq, op->args.router.weights);
        a.words_to = base(t) + m->words_off + 8ull * t->n_used * (uint32_t)op->layer;
        a.n_words = t->n_used;
    }
    if (t->g->dev) return qm_kernels_launch(m->kernels, k, grid, BLOCK, 0, &a, qm_graph_stream(t->g), e);
    qm_ref_stats(&a, &(qm_ref_env){.grid = {grid[0], 1, 1}, .block = BLOCK});
    return 0;
}

static int run_op(qm_tracer *t, qm_seq *seq, int i, qm_err *e) {
    if (t->g->dev) return qm_graph_launch_op(t->g, seq, t->plan, i, e);
    qm_bases b = qm_ref_bases(t->g, NULL);
    return qm_run_ref_op(t->plan, i, &b, e);
}

static int fetch(const qm_tracer *t, void *to, uint64_t off, uint64_t n, qm_err *e) {
    qm_device *d = t->g->dev;
    int rc = 0;
    if (!d) memcpy(to, t->m->host + off, n);
    else QM_CU_TRY(d, MemcpyDtoH(to, t->m->dev + off, n));
out:
    return rc;
}

static double n_finite(const qm_stats_record *r) { return (double)(r->count - r->nans - r->infs); }

/* The record of two vectors behind one another. Mean and deviation as in Chan, Golub, LeVeque (1979). */
static void join(qm_stats_record *a, const qm_stats_record *b) {
    double na = n_finite(a), nb = n_finite(b), n = na + nb, d = b->mean - a->mean;
    if (nb > 0) {
        double m2 = na > 0 ? na * a->std_dev * a->std_dev + nb * b->std_dev * b->std_dev + na * nb / n * d * d
                           : nb * b->std_dev * b->std_dev;
        a->mean = na > 0 ? a->mean + d * nb / n : b->mean;
        a->std_dev = sqrt(m2 / n);
        a->l2 = hypot(a->l2, b->l2);
    }
    a->min = fminf(a->min, b->min);
    a->max = fmaxf(a->max, b->max);
    a->nans += b->nans;
    a->infs += b->infs;
    a->zeros += b->zeros;
    a->count += b->count;
}

static int collect(qm_tracer *t, qm_session *s, qm_err *e) {
    struct qm_trace_memory *m = t->m;
    qm_device *d = t->g->dev;
    uint64_t n_words = 2ull * t->g->model->hp.n_layers * t->n_used;
    uint64_t flags = address(t, s->seq, QM_REF(QM_SPACE_SEQ, t->plan->seq.state_off + QM_STATE_FLAGS));
    int rc = 0;
    if (d) {
        QM_CU_TRY(d, StreamSynchronize(qm_graph_stream(t->g)));
        QM_CU_TRY(d, MemcpyDtoH(&t->flags, flags, 4));
    } else {
        memcpy(&t->flags, (void *)(uintptr_t)flags, 4);
    }
    if ((rc = fetch(t, m->records, m->records_off, t->n_jobs * sizeof *m->records, e)) ||
        (n_words && (rc = fetch(t, m->words, m->words_off, 4 * n_words, e))) ||
        (t->keep && (rc = fetch(t, t->values, m->values_off, 4 * t->n_values, e))))
        goto out;
    for (int i = 0; i < t->n_slots; i++) {
        qm_trace_slot *slot = &t->slots[i];
        slot->stats = m->records[slot->job];
        for (uint32_t k = 1; k < slot->n_jobs; k++) join(&slot->stats, &m->records[slot->job + k]);
    }
    for (uint32_t l = 0; t->n_used && l < t->g->model->hp.n_layers; l++) {
        memcpy(t->ids + l * t->n_used, m->words + 2 * l * t->n_used, 4 * t->n_used);
        memcpy(t->weights + l * t->n_used, m->words + (2 * l + 1) * t->n_used, 4 * t->n_used);
    }
out:
    return rc;
}

int qm_tracer_enqueue(qm_tracer *t, qm_session *s, int observe, qm_err *e) {
    int rc = 0, next = 0;
    for (int i = 0; i <= t->plan->n_ops && !rc; i++) {
        if (observe && next < t->n_points && t->m->points[next].before == i)
            rc = look(t, s->seq, &t->m->points[next++], e);
        if (!rc && i < t->plan->n_ops) rc = run_op(t, s->seq, i, e);
    }
    return rc;
}

int qm_tracer_step(qm_tracer *t, qm_session *s, uint32_t token, qm_err *e) {
    QM_PROF_SCOPE(QM_PROF_DECODE, "traced step");
    int rc = qm_trace_place(s, s->n, token, e);
    if (!rc && t->m->seq != s->seq) rc = resolve(t, s->seq, e);
    if (!rc) rc = qm_tracer_enqueue(t, s, 1, e);
    if (!rc) rc = collect(t, s, e);
    if (rc) return rc;
    s->n++;
    s->n_cached = s->n;
    s->last = t->plan;
    return 0;
}
