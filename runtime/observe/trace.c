/* trace.c: see trace.h. */
#include "trace.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "../../kernels/ref/ref.h"
#include "../device/kernels.h"
#include "../device/prof.h"
#include "../plan/ops.h"

/* Elements of a job: few enough that f64 sums cost little even where a multiprocessor has two f64 lanes. */
enum { JOB = 1024, BLOCK = 256 };

/* One launch of stats, before op `before` of the plan (n_ops: after the last). */
typedef struct {
    int before, router; /* router: the op whose choice it takes along, or -1 */
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
    const qm_session *s; /* whose addresses the jobs hold; NULL: none yet */
};

/* ---- what is looked at ---- */
/* The operands that have a name of their own here. Where vectors are kept, every other F32 operand that an op writes is
 * there too, as "slot.operand". */
enum {
    KEPT = 1,     /* not of the report */
    EACH = 2,     /* each part is one, where parts are of chosen experts */
    RESIDUAL = 4, /* added to the stream */
    ADDED = 8     /* of an op that adds to the stream itself: it has the operand `add`; else of one that does not */
};
static const struct view {
    const char *slot, *operand, *name; /* name NULL: looked at elsewhere, or a sum that nobody means */
    int how;
} views[] = {
    {"embed", "y", "embedding", 0},
    {"attn_norm", "y", "attn_norm", 0},
    {"qkv", "xn", "attn_norm", 0},
    {"qkv", "y", NULL, 0}, /* may be of several ops; the next one reads them all */
    {"qkrope", "qkv", "qkv", 0},
    {"qkrope", "q_out", "q_rope", KEPT},
    {"attn_heads", "y", "attn_heads", KEPT},
    {"attn", "qkv", "qkv", 0}, /* where it is one op with what is before and after it */
    {"attn", "q_out", "q_rope", KEPT},
    {"attn", "y", "attn_heads", KEPT},
    {"attn_out", "y", "attn_out", 0},
    {"attn_out", "sum", "attn_out", ADDED},
    {"attn_out", "y", NULL, ADDED}, /* the stream, of which the next norm tells */
    {"ffn_norm", "y", "ffn_norm", 0},
    {"router_logits", "xn", "ffn_norm", 0},
    {"router_logits", "y", "router_logits", KEPT},
    {"router", "weights", NULL, 0}, /* with the ids, in every trace */
    {"ffn_gate", "y", NULL, 0},
    {"ffn_up", "y", NULL, 0},
    {"ffn_up", "weights", NULL, 0},
    {"ffn_up", "xn", "ffn_norm", 0},
    {"ffn_up", "h", "ffn_up", KEPT},
    {"ffn_act", "h", "ffn_up", KEPT},
    {"ffn_out", "y", "expert", EACH}, /* weighted already */
    {"ffn_out", "y", "ffn_out", 0},
    {"ffn_out", "y", "output", RESIDUAL},
    {"ffn_out", "parts", "expert", EACH | ADDED},
    {"ffn_out", "parts", "ffn_out", ADDED},
    {"ffn_out", "sum", "ffn_out", ADDED},
    {"ffn_out", "y", "output", ADDED},
    {"output_norm", "y", "final_norm", 0},
    {"logits", "y", "logits", 0},
};
enum { N_VIEWS = sizeof views / sizeof *views };

/* Of operand o of op i; 0, or -1 out of memory. */
static int add_vector(qm_tracer *t, int i, const qm_operand *o, const char *name, int how) {
    const qm_op *op = &t->plan->ops[i];
    const uint32_t n = (uint32_t)qm_operand_n(o), ranks = how & EACH ? o->n_parts : 1;
    if (how & KEPT && !t->keep) return 0;
    for (uint32_t r = 0; r < ranks; r++) {
        if (t->n_vectors == t->cap_vectors) {
            int cap = t->cap_vectors ? 2 * t->cap_vectors : 256;
            qm_trace_vector *s = realloc(t->vectors, (size_t)cap * sizeof *s);
            if (!s) return -1;
            t->vectors = s;
            t->cap_vectors = cap;
        }
        qm_trace_vector *v = &t->vectors[t->n_vectors++];
        *v = (qm_trace_vector){.layer = op->layer,
                               .rank = how & EACH ? (int)r : -1,
                               .extra = how & KEPT,
                               .op = i,
                               .x = o->ref + 4ull * r * n,
                               .add = how & RESIDUAL ? QM_REF(QM_SPACE_SCRATCH, t->plan->x_off) : 0,
                               .n = n,
                               .n_parts = how & EACH ? 1 : o->n_parts,
                               .stride = n};
        if (name) snprintf(v->name, sizeof v->name, "%s", name);
        else snprintf(v->name, sizeof v->name, "%s.%s", op->slot, o->name);
    }
    return 0;
}

/* The vectors that op i completes. 0, or -1 out of memory. */
static int vectors_of(qm_tracer *t, int i) {
    qm_operand o[QM_MAX_OPERANDS];
    const qm_op *op = &t->plan->ops[i];
    const int n = qm_op_operands(t->plan, op, o), adds = qm_operand_find(o, n, "add") != NULL;
    for (int k = 0; k < n; k++) {
        int named = 0;
        if (!o[k].ref || o[k].kind != QM_KIND_F32) continue;
        for (int v = 0; v < N_VIEWS; v++) {
            if (strcmp(views[v].slot, op->slot) || strcmp(views[v].operand, o[k].name)) continue;
            if (adds != ((views[v].how & ADDED) != 0)) continue;
            named = 1;
            if (views[v].how & EACH && !qm_operand_find(o, n, "ids")) continue;
            if (views[v].name && add_vector(t, i, &o[k], views[v].name, views[v].how)) return -1;
        }
        if (!named && o[k].dir == QM_OUT && add_vector(t, i, &o[k], NULL, KEPT)) return -1;
    }
    return 0;
}

const qm_trace_vector *qm_tracer_find(const qm_tracer *t, int layer, const char *name, int rank) {
    for (int i = 0; i < t->n_vectors; i++)
        if (t->vectors[i].layer == layer && t->vectors[i].rank == rank && !strcmp(t->vectors[i].name, name))
            return &t->vectors[i];
    return NULL;
}

/* ---- where it is looked at ---- */
/* Whether op i writes into [r, r + n). */
static int writes(const qm_plan *p, int i, qm_ref r, uint64_t n) {
    qm_operand o[QM_MAX_OPERANDS];
    const int n_o = qm_op_operands(p, &p->ops[i], o);
    for (int k = 0; r && k < n_o; k++)
        if (o[k].dir & QM_OUT && o[k].ref && QM_REF_SPACE(o[k].ref) == QM_REF_SPACE(r) && o[k].ref < r + n &&
            r < o[k].ref + o[k].bytes)
            return 1;
    return 0;
}

static int spoils(const qm_plan *p, int i, const qm_trace_vector *s) {
    return writes(p, i, s->x, 4ull * ((uint64_t)(s->n_parts - 1) * s->stride + s->n)) ||
           writes(p, i, s->add, 4ull * s->n);
}

/* What a router chose: its ids and their weights. */
typedef struct {
    int layer; /* -1: no router */
    qm_ref ids, weights;
    uint32_t n;
} choice;

static choice choice_of(const qm_plan *p, int i) {
    qm_operand o[QM_MAX_OPERANDS];
    const int n = qm_op_operands(p, &p->ops[i], o);
    const int own = !strcmp(p->ops[i].slot, "router");
    const qm_operand *ids = qm_operand_find(o, n, own ? "ids" : "picked"), *weights = qm_operand_find(o, n, "weights");
    if (!ids || !weights) return (choice){.layer = -1};
    return (choice){p->ops[i].layer, ids->ref, weights->ref, (uint32_t)qm_operand_n(ids)};
}

static int spoils_choice(const qm_plan *p, int i, const choice *c) {
    return c->layer >= 0 && (writes(p, i, c->ids, 4ull * c->n) || writes(p, i, c->weights, 4ull * c->n));
}

/* Vectors and launches, from the plan. */
static int lay_out(qm_tracer *t, qm_err *e) {
    const qm_plan *p = t->plan;
    int waiting = 0, router = -1; /* vectors[waiting ..] have not been looked at, nor what the op `router` chose */
    choice chosen = {.layer = -1};
    uint32_t job = 0;
    if (!(t->m->points = malloc(((size_t)p->n_ops + 1) * sizeof *t->m->points))) goto nomem;
    for (int i = 0; i <= p->n_ops; i++) {
        int due = i == p->n_ops || spoils_choice(p, i, &chosen);
        for (int k = waiting; k < t->n_vectors && !due; k++) due = spoils(p, i, &t->vectors[k]);
        if (due && (t->n_vectors > waiting || router >= 0)) {
            t->m->points[t->n_points++] = (point){i, router, job, t->n_jobs - job};
            job = t->n_jobs;
            waiting = t->n_vectors;
            router = -1;
            chosen = (choice){.layer = -1};
        }
        if (i == p->n_ops) break;
        int first = t->n_vectors;
        if (vectors_of(t, i)) goto nomem;
        for (int k = first; k < t->n_vectors; k++) {
            qm_trace_vector *s = &t->vectors[k];
            s->job = t->n_jobs;
            s->n_jobs = (s->n + JOB - 1) / JOB;
            s->at = t->n_values;
            t->n_jobs += s->n_jobs;
            t->n_values += s->n;
        }
        choice c = choice_of(p, i);
        if (c.layer < 0) continue;
        chosen = c;
        router = i;
        t->n_used = c.n;
    }
    return 0;
nomem:
    return qm_fail(e, QM_ERR_NOMEM, "trace: out of memory");
}

/* ---- memory ---- */
static uint64_t align256(uint64_t n) { return (n + 255) & ~(uint64_t)255; }

static int allocate(qm_tracer *t, qm_err *e) {
    struct qm_trace_memory *m = t->m;
    qm_device *d = qm_inside_device(t->g);
    uint64_t n_words = 2ull * t->plan->place->model->hp.n_layers * t->n_used;
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
    QM_CU_TRY(d, MemsetD8Async(m->dev, 0, m->bytes, NULL));
    QM_CU_TRY(d, CtxSynchronize()); /* the steps' stream does not wait for this one */
    rc = qm_kernels_open(&m->kernels, d, e);
out:
    return rc;
}

static uint64_t base(const qm_tracer *t) { return t->m->host ? (uint64_t)(uintptr_t)t->m->host : t->m->dev; }

/* The jobs' addresses are those of one sequence. */
static int resolve(qm_tracer *t, const qm_inside *x, qm_err *e) {
    struct qm_trace_memory *m = t->m;
    for (int i = 0; i < t->n_vectors; i++) {
        const qm_trace_vector *s = &t->vectors[i];
        for (uint32_t k = 0; k < s->n_jobs; k++) {
            uint64_t at = 4ull * k * JOB;
            uint32_t left = s->n - k * JOB;
            m->jobs[s->job + k] = (qm_stats_job){
                .x = qm_inside_address(x, s->x) + at,
                .add = s->add ? qm_inside_address(x, s->add) + at : 0,
                .copy = t->keep ? base(t) + m->values_off + 4 * s->at + at : 0,
                .n = left < JOB ? left : JOB,
                .n_parts = s->n_parts,
                .stride = s->stride,
            };
        }
    }
    m->s = x->s;
    return qm_inside_put(x, base(t) + m->jobs_off, m->jobs, t->n_jobs * sizeof *m->jobs, e);
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
    qm_device *d = qm_inside_device(t->g);
    if (d) {
        d->cu.CtxSynchronize();
        if (m->dev) d->cu.MemFree(m->dev);
        qm_kernels_close(m->kernels);
    }
    free(m->points);
    free(m->jobs);
    free(m->records);
    free(m->words);
    free(m->host);
    free(m);
    free(t->vectors);
    free(t->ids);
    free(t->weights);
    free(t->values);
    free(t);
}

/* ---- a step ---- */
static int look(qm_tracer *t, const qm_inside *x, const point *pt, qm_err *e) {
    struct qm_trace_memory *m = t->m;
    int k = qm_kernel_find(QM_OP_STATS, -1, -1, 0);
    const unsigned grid[3] = {pt->n_jobs, 1, 1};
    qm_stats_args a = {.jobs = base(t) + m->jobs_off + pt->job * sizeof *m->jobs,
                       .out = base(t) + m->records_off + pt->job * sizeof *m->records};
    if (pt->router >= 0) {
        const choice c = choice_of(t->plan, pt->router);
        a.words = qm_inside_address(x, c.ids);
        a.words2 = qm_inside_address(x, c.weights);
        a.words_to = base(t) + m->words_off + 8ull * t->n_used * (uint32_t)c.layer;
        a.n_words = t->n_used;
    }
    if (x->dev) return qm_kernels_launch(m->kernels, k, grid, BLOCK, 0, &a, x->stream, e);
    qm_ref_stats(&a, &(qm_ref_env){.grid = {grid[0], 1, 1}, .block = BLOCK});
    return 0;
}

static int fetch(const qm_tracer *t, qm_device *d, void *to, uint64_t off, uint64_t n, qm_err *e) {
    int rc = 0;
    if (!d) memcpy(to, t->m->host + off, n);
    else QM_CU_TRY(d, MemcpyDtoH(to, t->m->dev + off, n));
out:
    return rc;
}

static double n_finite(const qm_stats_record *r) { return (double)(r->count - r->nans - r->infs); }

/* The record of two vectors one after the other. Mean and deviation as in Chan, Golub, LeVeque (1979). */
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

static int collect(qm_tracer *t, const qm_inside *x, qm_err *e) {
    struct qm_trace_memory *m = t->m;
    uint64_t n_words = 2ull * t->plan->place->model->hp.n_layers * t->n_used;
    int rc = qm_inside_read(x, QM_REF(QM_SPACE_SEQ, t->plan->seq.state_off + QM_STATE_FLAGS), &t->flags, 4, e);
    if (rc || (rc = fetch(t, x->dev, m->records, m->records_off, t->n_jobs * sizeof *m->records, e)) ||
        (n_words && (rc = fetch(t, x->dev, m->words, m->words_off, 4 * n_words, e))) ||
        (t->keep && (rc = fetch(t, x->dev, t->values, m->values_off, 4 * t->n_values, e))))
        return rc;
    for (int i = 0; i < t->n_vectors; i++) {
        qm_trace_vector *v = &t->vectors[i];
        v->stats = m->records[v->job];
        for (uint32_t k = 1; k < v->n_jobs; k++) join(&v->stats, &m->records[v->job + k]);
    }
    for (uint32_t l = 0; t->n_used && l < t->plan->place->model->hp.n_layers; l++) {
        memcpy(t->ids + l * t->n_used, m->words + 2 * l * t->n_used, 4 * t->n_used);
        memcpy(t->weights + l * t->n_used, m->words + (2 * l + 1) * t->n_used, 4 * t->n_used);
    }
    return 0;
}

int qm_tracer_enqueue(qm_tracer *t, const qm_inside *x, int observe, qm_err *e) {
    int rc = 0, next = 0;
    for (int i = 0; i <= t->plan->n_ops && !rc; i++) {
        if (observe && next < t->n_points && t->m->points[next].before == i) rc = look(t, x, &t->m->points[next++], e);
        if (!rc && i < t->plan->n_ops) rc = qm_inside_run(x, i, NULL, NULL, e);
    }
    return rc;
}

int qm_tracer_step(qm_tracer *t, qm_session *s, uint32_t token, qm_err *e) {
    qm_inside x;
    QM_PROF_SCOPE(QM_PROF_DECODE, "traced step");
    int rc = qm_inside_open(&x, t->g, s, qm_session_length(s), e);
    if (rc) return rc;
    if (x.plan != t->plan)
        rc = qm_fail(e, QM_ERR_ARG, "trace: position %u is of another plan than this tracer's", x.pos);
    if (!rc) rc = qm_inside_begin(&x, token, e);
    if (!rc && t->m->s != s) rc = resolve(t, &x, e);
    if (!rc) rc = qm_tracer_enqueue(t, &x, 1, e);
    if (!rc) rc = collect(t, &x, e);
    if (!rc) qm_inside_end(&x);
    qm_inside_close(&x);
    return rc;
}
