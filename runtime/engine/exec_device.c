/* exec_device.c: steps on a device. A plan is captured once into a CUDA graph and replayed. Everything that changes
 * from step to step lies in device memory: what a row is in its record, tokens and block table in its sequence's
 * block. So there is one graph a shape, however many sequences there are, and none goes stale. */
#include "exec_device.h"
#include <stdlib.h>
#include <string.h>
#include "../base/units.h"
#include "../device/prof.h"
#include "capture.h"
#include "engine.h"
#include "inside_means.h"
#include "weights.h"

struct qm_seq {
    uint32_t index;                   /* its number: whose block, whose ring */
    CUdeviceptr block;                /* qm_seq_layout */
    qm_result *ring;                  /* [QM_RESULT_RING], pinned: the device writes it */
    uint64_t step_of[QM_RESULT_RING]; /* the number of the step that computed position i mod it */
};

typedef struct {
    const qm_plan *plan;
    qm_captured c;
} step_graph;

/* MAX_GRAPHS: tests run plans of their own beside the engine's. MAX_STEPS: what is further back than these is waited
 * for by a later step's event. */
enum { MAX_GRAPHS = 2 * QM_MAX_PLANS, MAX_STEPS = 64 };

typedef struct {
    qm_kernels *kernels;
    CUstream stream;
    CUdeviceptr weights, kv, scratch, rope;
    CUdeviceptr seqs;    /* [n_seqs] blocks */
    CUdeviceptr step;    /* qm_step_record */
    qm_walk_cases cases; /* resident: the bodies that its kernel has */
    qm_uploader *put;    /* small copies to the device: through pinned memory, in the stream's order */
    qm_seq_layout layout;
    unsigned char *taken;          /* [n_seqs] */
    void *rings;                   /* qm_result [n_seqs, QM_RESULT_RING], pinned */
    CUdeviceptr d_rings;           /* the same, as the device sees it */
    qm_row next[QM_STEP_ROWS_MAX]; /* what the rows on the device compute next */
    uint32_t n_next;               /* 0: not known */
    int lists;                     /* the lists of the step's record are of these rows too */
    qm_logits_places places;
    uint64_t logits_off; /* in scratch */
    step_graph graph[MAX_GRAPHS];
    int n_graphs;
    CUevent done[MAX_STEPS]; /* of step i mod it */
    uint64_t n_steps;
} device_state;

/* What goes through `put` is small: parameters, ids of a prompt, a table of pages, masks; but there may be one for each
 * sequence of a step, and the step before it is not waited for. */
enum { PUT_BYTES = 64 << 10, PUT_BUFFERS = 32 };

/* Where host and device share memory, what may be used counts the page cache in, since the kernel gives it back; but a
 * driver may ask for more at once than it gets so fast. */
static int alloc(qm_device *d, CUdeviceptr *p, uint64_t bytes, qm_err *e) {
    CUresult r = d->cu.MemAlloc(p, bytes ? bytes : 1);
    if (r == CUDA_ERROR_OUT_OF_MEMORY && d->integrated)
        return qm_fail(e, QM_ERR_NOMEM,
                       "%s: %.2f GiB cannot be allocated although that much can be freed: the page cache of files "
                       "read before holds it. `sync; echo 3 | sudo tee /proc/sys/vm/drop_caches` gives it back",
                       d->spec, qm_gib((double)bytes));
    return r ? qm_cu_fail(d, r, "MemAlloc()", e) : 0;
}

/* ---- modules ---- */
/* Longer than this: they do not come from the driver's cache. */
#define COMPILING_S 2.0

typedef struct {
    qm_engine *g;
    const qm_engine_opts *o;
    double start;
    int told;
} modules;

static int load_module(modules *m, int kernel, qm_err *e) {
    const device_state *x = m->g->exec_state;
    CUfunction f;
    int rc = qm_kernels_get(x->kernels, kernel, &f, e);
    if (m->told || qm_now() - m->start < COMPILING_S) return rc;
    m->told = 1;
    if (m->o->notice)
        m->o->notice(
            m->o->user,
            "the driver is compiling the kernels; 10 s and more the first time, later they come from its cache");
    return rc;
}

static int load_modules_of(void *user, const qm_plan *p, qm_err *e) {
    modules *m = user;
    device_state *x = m->g->exec_state;
    int rc = 0;
    qm_walk_need(&x->cases, p);
    for (int i = 0; i < p->n_ops && !rc; i++) rc = load_module(user, p->ops[i].kernel, e);
    return rc;
}

/* Everything that a step can need, before anything is uploaded: no prompt waits for a compiler, and what does not load
 * fails at once. */
static int load_modules(qm_engine *g, const qm_engine_opts *o, qm_err *e) {
    modules m = {g, o, qm_now(), 0};
    QM_PROF_SCOPE(QM_PROF_LOAD, "modules");
    device_state *x = g->exec_state;
    int rc = qm_engine_each_plan(g, load_modules_of, &m, e);
    if (!rc && g->exec->resident && !(rc = qm_walk_load(&x->cases, x->kernels, e)))
        rc = load_module(&m, qm_walk_kernel(), e);
    g->info.compile_s = qm_now() - m.start;
    return rc;
}

static int upload_rope(qm_engine *g, device_state *x, uint64_t bytes, qm_err *e) {
    int rc;
    float *table = malloc(bytes);
    if (!table) return qm_fail(e, QM_ERR_NOMEM, "rope table: out of memory");
    qm_rope_fill(table, &g->model->hp, g->limits.n_ctx);
    rc = qm_uploader_copy(x->put, x->rope, table, bytes, e);
    free(table);
    return rc;
}

void qm_device_exec_close(qm_engine *g) {
    device_state *x = g->exec_state;
    if (!x) return;
    qm_cuda *cu = &g->dev->cu;
    if (x->stream) {
        cu->StreamSynchronize(x->stream);
        qm_uploader_close(x->put);
        cu->StreamDestroy(x->stream);
    }
    for (int i = 0; i < x->n_graphs; i++) qm_captured_drop(&x->graph[i].c, g->dev);
    for (int i = 0; i < MAX_STEPS; i++)
        if (x->done[i]) cu->EventDestroy(x->done[i]);
    qm_kernels_close(x->kernels);
    CUdeviceptr all[] = {x->weights, x->kv, x->scratch, x->rope, x->seqs, x->step};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (all[i]) cu->MemFree(all[i]);
    if (x->rings) cu->MemFreeHost(x->rings);
    free(x->taken);
    free(x);
    g->exec_state = NULL;
}

/* The sequences' memory: what they are is written when one is opened. */
static int make_sequences(qm_engine *g, device_state *x, qm_err *e) {
    qm_device *d = g->dev;
    const size_t n = g->limits.n_seqs;
    int rc = 0;
    x->layout = qm_seq_layout_of(&g->model->hp, g->limits);
    x->logits_off = g->plans[0]->logits_off;
    if (!(x->taken = calloc(n, 1))) return qm_fail(e, QM_ERR_NOMEM, "executor: out of memory");
    if ((rc = alloc(d, &x->seqs, n * x->layout.bytes, e)) || (rc = alloc(d, &x->step, QM_STEP_SIZE, e))) return rc;
    QM_CU_TRY(d, MemHostAlloc(&x->rings, n * QM_RESULT_RING * QM_RESULT_SIZE, CU_MEMHOSTALLOC_DEVICEMAP));
    QM_CU_TRY(d, MemHostGetDevicePointer(&x->d_rings, x->rings, 0));
    for (int i = 0; i < MAX_STEPS; i++) QM_CU_TRY(d, EventCreate(&x->done[i], CU_EVENT_DISABLE_TIMING));
out:
    return rc;
}

static int prepare_plan(void *user, const qm_plan *p, qm_err *e) { return qm_device_prepare(user, p, e); }

int qm_device_exec_open(qm_engine *g, const qm_engine_opts *o, qm_err *e) {
    qm_device *d = g->dev;
    uint64_t rope_bytes = qm_rope_bytes(&g->model->hp, g->limits.n_ctx);
    int rc = 0;
    device_state *x = calloc(1, sizeof *x);
    if (!x) return qm_fail(e, QM_ERR_NOMEM, "executor: out of memory");
    g->exec_state = x;
    if ((rc = qm_kernels_open(&x->kernels, d, e))) goto out;
    if (g->info.dependent) qm_kernels_dependent(x->kernels);
    if ((rc = load_modules(g, o, e))) goto out;
    QM_CU_TRY(d, StreamCreate(&x->stream, CU_STREAM_NON_BLOCKING));
    if ((rc = qm_uploader_open_threads(&x->put, d, x->stream, PUT_BYTES, PUT_BUFFERS, 1, e))) goto out;
    if ((rc = alloc(d, &x->weights, g->place->bytes, e)) || (rc = alloc(d, &x->kv, g->info.kv_bytes, e)) ||
        (rc = alloc(d, &x->scratch, g->memory.scratch, e)) || (rc = alloc(d, &x->rope, rope_bytes, e)) ||
        (rc = make_sequences(g, x, e)))
        goto out;
    /* zero counters; and no uninitialised page is ever multiplied by a masked-out zero weight */
    QM_CU_TRY(d, MemsetD8Async(x->scratch, 0, g->memory.scratch, x->stream));
    QM_CU_TRY(d, MemsetD8Async(x->kv, 0, g->info.kv_bytes, x->stream));
    if ((rc = upload_rope(g, x, rope_bytes, e))) goto out;
    if ((rc = qm_weights_upload(g, x->weights, x->stream, o, e))) goto out;
    rc = qm_engine_each_plan(g, prepare_plan, g, e);
out:
    if (rc) qm_device_exec_close(g);
    return rc;
}

void qm_device_seq_close(qm_engine *g, qm_seq *s) {
    device_state *x = g->exec_state;
    g->dev->cu.StreamSynchronize(x->stream);
    for (uint32_t r = 0; r < x->n_next; r++)
        if (x->next[r].seq == s) x->n_next = 0;
    qm_logits_forget(&x->places, g, s);
    x->taken[s->index] = 0;
    free(s);
}

int qm_device_seq_open(qm_engine *g, qm_seq **out, qm_err *e) {
    device_state *x = g->exec_state;
    qm_device *d = g->dev;
    const size_t ring = QM_RESULT_RING * sizeof(qm_result);
    uint32_t i;
    int rc = qm_seq_take(x->taken, g->limits.n_seqs, &i, e);
    if (rc) return rc;
    qm_seq *s = calloc(1, sizeof *s);
    if (!s) {
        x->taken[i] = 0;
        return qm_fail(e, QM_ERR_NOMEM, "session: out of memory");
    }
    s->index = i;
    s->block = x->seqs + i * x->layout.bytes;
    s->ring = (qm_result *)x->rings + (size_t)i * QM_RESULT_RING;
    memset(s->ring, 0xff, ring); /* no position's */
    QM_CU_TRY(d, MemsetD8Async(s->block, 0, x->layout.bytes, x->stream));
    *out = s;
out:
    if (rc) qm_device_seq_close(g, s);
    return rc;
}

/* bytes at src to dst, in the stream's order; src may go when this returns. */
static int put(qm_engine *g, uint64_t dst, const void *src, uint64_t bytes, qm_err *e) {
    return qm_uploader_copy(((device_state *)g->exec_state)->put, dst, src, bytes, e);
}

int qm_device_put_tokens(qm_engine *g, qm_seq *s, uint32_t pos, const uint32_t *ids, uint32_t n, qm_err *e) {
    device_state *x = g->exec_state;
    qm_device *d = g->dev;
    int rc = put(g, s->block + x->layout.tokens_off + 4ull * pos, ids, 4ull * n, e);
    if (rc) return rc;
    QM_CU_TRY(d, MemsetD32Async(s->block + x->layout.state_off + QM_STATE_FLAGS, 0, 1, x->stream));
out:
    return rc;
}

int qm_device_put_pages(qm_engine *g, qm_seq *s, uint32_t i, const uint32_t *pages, uint32_t n, qm_err *e) {
    const device_state *x = g->exec_state;
    return put(g, s->block + x->layout.table_off + 4ull * i, pages, 4ull * n, e);
}

int qm_device_put_sampling(qm_engine *g, qm_seq *s, const qm_sample_words *w, qm_err *e) {
    const device_state *x = g->exec_state;
    return put(g, s->block + x->layout.state_off + QM_STATE_MODE, w, qm_sample_words_bytes(w), e);
}

int qm_device_put_mask(qm_engine *g, qm_seq *s, const qm_sample_params *p, const uint32_t *mask, qm_err *e) {
    const device_state *x = g->exec_state;
    const uint64_t bytes = 4ull * QM_MASK_WORDS(g->model->hp.n_vocab);
    int rc = p ? put(g, s->block + x->layout.state_off + QM_STATE_MODE, p, sizeof *p, e) : 0;
    return rc || !mask ? rc : put(g, s->block + x->layout.mask_off, mask, bytes, e);
}

/* ---- rows ---- */
/* The logits in scratch's place o move to their sequence's block. */
static int keep_logits(qm_engine *g, qm_seq *s, uint32_t o, qm_err *e) {
    device_state *x = g->exec_state;
    qm_device *d = g->dev;
    const uint64_t bytes = 4ull * g->model->hp.n_vocab;
    int rc = 0;
    QM_CU_TRY(
        d, MemcpyDtoDAsync(s->block + x->layout.logits_off, x->scratch + x->logits_off + o * bytes, bytes, x->stream));
out:
    return rc;
}

static qm_row_record where(const qm_seq *s, uint64_t seq_bytes) {
    return (qm_row_record){.seq = s->index, .seq_off = s->index * seq_bytes};
}

/* The step's record, as it is before a step; without lists of a plan of one row, which has none. */
static int put_rows(qm_engine *g, const qm_row *rows, uint32_t n, int lists, qm_err *e) {
    device_state *x = g->exec_state;
    qm_step_record rec;
    qm_step_fill(&rec, rows, n, where, x->layout.bytes);
    x->lists = lists;
    return lists ? put(g, x->step, &rec, QM_STEP_SIZE, e) : put(g, x->step + QM_STEP_AT_ROWS, rec.rows, QM_ROW_SIZE, e);
}

int qm_device_place(qm_engine *g, const qm_row *rows, uint32_t n, qm_err *e) {
    device_state *x = g->exec_state;
    x->n_next = 0; /* how far its ops take the rows is not known here */
    int rc = qm_logits_take(&x->places, g, rows, n, keep_logits, e);
    return rc ? rc : put_rows(g, rows, n, 1, e);
}

/* Rows that go on where they were need no word from the host. */
static int aim(qm_engine *g, const qm_row *rows, uint32_t n, int lists, qm_err *e) {
    device_state *x = g->exec_state;
    int same = x->n_next == n && (x->lists || !lists), rc = 0;
    for (uint32_t r = 0; r < n && same; r++)
        same = x->next[r].seq == rows[r].seq && x->next[r].pos == rows[r].pos && x->next[r].logits == rows[r].logits;
    if (!same) rc = qm_logits_take(&x->places, g, rows, n, keep_logits, e);
    if (!rc && !same) rc = put_rows(g, rows, n, lists, e);
    x->n_next = rc ? 0 : n;
    for (uint32_t r = 0; r < n; r++) x->next[r] = (qm_row){rows[r].seq, rows[r].pos + 1, rows[r].logits};
    return rc;
}

static qm_bases bases_of(const device_state *x) {
    qm_bases b = {{0}};
    b.base[QM_SPACE_REGION] = x->weights;
    b.base[QM_SPACE_SCRATCH] = x->scratch;
    b.base[QM_SPACE_KV] = x->kv;
    b.base[QM_SPACE_SEQ] = x->seqs;
    b.base[QM_SPACE_ROPE] = x->rope;
    b.base[QM_SPACE_RESULT] = x->d_rings;
    b.base[QM_SPACE_STEP] = x->step;
    return b;
}

/* ---- ops and graphs ---- */
/* stamps: NULL, or with time stamps. after: capture.h; an op with stamps is timed apart from those beside it. */
static int launch_op(qm_engine *g, const qm_plan *p, int i, CUstream st, int after, const qm_stamps *stamps,
                     qm_err *e) {
    device_state *x = g->exec_state;
    const qm_op *op = &p->ops[i];
    const qm_bases b = bases_of(x);
    qm_op_args args;
    qm_op_resolve(p, op, &b, &args);
    QM_PROF_SCOPE(QM_PROF_OP, op->slot);
    int rc = stamps  ? qm_stamped_launch(stamps->kernels, op->kernel, op->grid, op->block, op->shared, &args,
                                         stamps->at + (uint64_t)i * QM_STAMP_BYTES, st, e)
             : after ? qm_kernels_launch_after(x->kernels, op->kernel, op->grid, op->block, op->shared, &args, st, e)
                     : qm_kernels_launch(x->kernels, op->kernel, op->grid, op->block, op->shared, &args, st, e);
    if (rc) qm_err_prefix(e, "layer %d, %s", op->layer, op->slot);
    return rc;
}

static int run_op(qm_engine *g, const qm_plan *p, int i, CUstream st, const qm_stamps *stamps, qm_err *e) {
    return launch_op(g, p, i, st, 0, stamps, e);
}

typedef struct {
    qm_engine *g;
    const qm_plan *plan;
    const qm_walk *walk;
    const qm_stamps *stamps;
} captured;

static int launch_captured(void *user, int i, CUstream st, int after, qm_err *e) {
    const captured *c = user;
    const device_state *x = c->g->exec_state;
    const CUdeviceptr at = c->stamps ? c->stamps->at + (uint64_t)i * QM_STAMP_BYTES : 0;
    if (c->walk->n && i == c->walk->first) return qm_walk_launch(c->walk, x->kernels, at, st, e);
    return launch_op(c->g, c->plan, i, st, after, c->stamps, e);
}

static int capture(qm_engine *g, const qm_plan *p, const qm_stamps *stamps, qm_captured *out, qm_err *e) {
    device_state *x = g->exec_state;
    const qm_bases b = bases_of(x);
    int rc = 0;
    QM_PROF_SCOPE(QM_PROF_LOAD, "capture");
    /* Nothing loads while a stream is being captured; a plan that is not the engine's own may need what it has not loaded.
     * Kernels with stamps their owner has loaded (stamp.h). */
    for (int i = 0; i < p->n_ops && !rc && !stamps; i++) {
        CUfunction f;
        rc = qm_kernels_get(x->kernels, p->ops[i].kernel, &f, e);
    }
    if (rc) return rc;
    if (g->exec->resident && qm_walk_need(&x->cases, p) && (rc = qm_walk_load(&x->cases, x->kernels, e))) return rc;
    if (g->exec->resident && (rc = qm_walk_open(&out->walk, x->put, g->dev, x->kernels, p, &b, e))) return rc;
    return qm_capture_plan(g->dev, x->stream, p, &out->walk, launch_captured, &(captured){g, p, &out->walk, stamps},
                           &out->graph, e);
}

void qm_captured_drop(qm_captured *c, qm_device *d) {
    if (c->graph) d->cu.GraphExecDestroy(c->graph);
    qm_walk_close(&c->walk, d);
    c->graph = NULL;
}

/* ---- for who looks inside ---- */
static CUstream stream_of(qm_engine *g) { return ((device_state *)g->exec_state)->stream; }

static qm_bases bases_for(qm_engine *g, const qm_seq *s) {
    qm_bases b = bases_of(g->exec_state);
    b.base[QM_SPACE_SEQ] = s->block;
    b.base[QM_SPACE_RESULT] += (uint64_t)s->index * QM_RESULT_RING * QM_RESULT_SIZE;
    return b;
}

const qm_inside_means qm_device_inside = {stream_of, bases_for, run_op, put, capture};

static step_graph *find(device_state *x, const qm_plan *p) {
    for (int i = 0; i < x->n_graphs; i++)
        if (x->graph[i].plan == p) return &x->graph[i];
    return NULL;
}

int qm_device_prepare(qm_engine *g, const qm_plan *p, qm_err *e) {
    device_state *x = g->exec_state;
    qm_device *d = g->dev;
    int rc = 0;
    if (find(x, p)) return 0;
    if (x->n_graphs == MAX_GRAPHS) return qm_fail(e, QM_ERR_LIMIT, "executor: more than %d plans", MAX_GRAPHS);
    step_graph *s = &x->graph[x->n_graphs];
    *s = (step_graph){.plan = p};
    x->n_graphs++;
    if ((rc = capture(g, p, NULL, &s->c, e))) goto out;
    QM_CU_TRY(d, GraphUpload(s->c.graph, x->stream));
out:
    return rc;
}

/* ---- steps ---- */
/* One launch and one event, by which the host knows how far the device is: nothing else stands between two steps of
 * the same sequences. */
int qm_device_step(qm_engine *g, const qm_row *rows, uint32_t n, const qm_plan *p, qm_err *e) {
    device_state *x = g->exec_state;
    qm_device *d = g->dev;
    const step_graph *s = find(x, p);
    int rc = 0;
    if (n < 1 || n > p->shape.rows)
        return qm_fail(e, QM_ERR_ARG, "executor: a step of %u rows by a plan of %u", n, p->shape.rows);
    if (!s || !s->c.graph)
        return qm_fail(e, QM_ERR_ARG, "executor: a step of %u splits was not prepared", p->shape.n_splits);
    if ((rc = aim(g, rows, n, p->shape.rows > 1, e))) return rc;
    QM_CU_TRY(d, GraphLaunch(s->c.graph, x->stream));
    QM_CU_TRY(d, EventRecord(x->done[x->n_steps % MAX_STEPS], x->stream));
    for (uint32_t r = 0; r < n; r++) rows[r].seq->step_of[rows[r].pos % QM_RESULT_RING] = x->n_steps;
    x->n_steps++;
out:
    return rc;
}

int qm_device_wait(qm_engine *g, qm_seq *s, uint32_t pos, qm_err *e) {
    const device_state *x = g->exec_state;
    qm_device *d = g->dev;
    int rc = 0;
    QM_CU_TRY(d, EventSynchronize(x->done[s->step_of[pos % QM_RESULT_RING] % MAX_STEPS]));
out:
    return rc;
}

int qm_device_result(qm_engine *g, qm_seq *s, uint32_t pos, qm_result *r, qm_err *e) {
    int rc = qm_device_wait(g, s, pos, e);
    return rc ? rc : qm_result_take(s->ring, pos, r, e);
}

int qm_device_logits(qm_engine *g, qm_seq *s, float *out, qm_err *e) {
    device_state *x = g->exec_state;
    qm_device *d = g->dev;
    const uint64_t bytes = 4ull * g->model->hp.n_vocab;
    const uint32_t o = qm_logits_find(&x->places, g, s);
    const CUdeviceptr at =
        o < g->limits.n_outs ? x->scratch + x->logits_off + o * bytes : s->block + x->layout.logits_off;
    int rc = 0;
    QM_CU_TRY(d, StreamSynchronize(x->stream));
    QM_CU_TRY(d, MemcpyDtoH(out, at, bytes));
out:
    return rc;
}

int qm_device_outs(qm_engine *g, uint32_t first, uint32_t n, float *out, qm_err *e) {
    device_state *x = g->exec_state;
    qm_device *d = g->dev;
    const uint64_t bytes = 4ull * g->model->hp.n_vocab;
    int rc = 0;
    if (first + n > g->limits.n_outs)
        return qm_fail(e, QM_ERR_ARG, "executor: a step has the logits of %u rows at most", g->limits.n_outs);
    QM_CU_TRY(d, StreamSynchronize(x->stream));
    QM_CU_TRY(d, MemcpyDtoH(out, x->scratch + x->logits_off + first * bytes, n * bytes));
out:
    return rc;
}
