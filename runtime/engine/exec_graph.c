/* graph.c: the executor users get: one kernel node per op, captured once per step shape into a CUDA
 * graph and replayed. Everything that changes from step to step (position, tokens, block table) lies
 * in device memory, so a graph never goes stale. */
#include <stdlib.h>
#include <string.h>
#include "../base/units.h"
#include "../device/prof.h"
#include "capture.h"
#include "engine.h"
#include "weights.h"

typedef struct {
    qm_kernels *kernels;
    CUstream stream;
    CUdeviceptr weights, kv, scratch, rope;
    CUdeviceptr arrived; /* persistent: arrivals at its grid's barriers */
    qm_uploader *put;    /* small copies to the device: through pinned memory, in the stream's order */
} device_state;

/* What goes through `put` is small: parameters, ids of a prompt, a table of pages. */
enum { PUT_BYTES = 64 << 10, PUT_BUFFERS = 8 };

struct qm_seq {
    CUdeviceptr block; /* qm_seq_layout */
    qm_seq_layout layout;
    uint32_t pos; /* the next step's */
    const qm_plan *plan[QM_MAX_PLANS];
    CUgraphExec graph[QM_MAX_PLANS]; /* captured from plan[i] */
    qm_walk walk[QM_MAX_PLANS];      /* persistent: its ops as records */
    int n_graphs;
    qm_result *ring;    /* [QM_RESULT_RING], pinned: the device writes it */
    CUdeviceptr d_ring; /* the same, as the device sees it */
    CUevent done[QM_RESULT_RING];
};

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
    int said;
} modules;

static int load_module(modules *m, int kernel, qm_err *e) {
    const device_state *x = m->g->exec_state;
    CUfunction f;
    int rc = qm_kernels_get(x->kernels, kernel, &f, e);
    if (m->said || qm_now() - m->start < COMPILING_S) return rc;
    m->said = 1;
    if (m->o->notice)
        m->o->notice(
            m->o->user,
            "the driver is compiling the kernels; 10 s and more the first time, later they come from its cache");
    return rc;
}

static int load_modules_of(void *user, const qm_plan *p, qm_err *e) {
    int rc = 0;
    for (int i = 0; i < p->n_ops && !rc; i++) rc = load_module(user, p->ops[i].kernel, e);
    return rc;
}

/* Everything that a step can need, before anything is uploaded: no prompt waits for a compiler, and what does not load
 * fails at once. */
static int load_modules(qm_engine *g, const qm_engine_opts *o, qm_err *e) {
    modules m = {g, o, qm_now(), 0};
    QM_PROF_SCOPE(QM_PROF_LOAD, "modules");
    int rc = qm_engine_each_plan(g, load_modules_of, &m, e);
    if (!rc && g->exec == &qm_executor_persistent) rc = load_module(&m, qm_kernel_find(QM_OP_WALK, -1, -1, 128), e);
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

static void graph_close(qm_engine *g) {
    device_state *x = g->exec_state;
    if (!x) return;
    qm_cuda *cu = &g->dev->cu;
    if (x->stream) {
        cu->StreamSynchronize(x->stream);
        qm_uploader_close(x->put);
        cu->StreamDestroy(x->stream);
    }
    qm_kernels_close(x->kernels);
    CUdeviceptr all[] = {x->weights, x->kv, x->scratch, x->rope, x->arrived};
    for (int i = 0; i < 5; i++)
        if (all[i]) cu->MemFree(all[i]);
    free(x);
    g->exec_state = NULL;
}

static int graph_open(qm_engine *g, const qm_engine_opts *o, qm_err *e) {
    qm_device *d = g->dev;
    uint64_t rope_bytes = qm_rope_bytes(&g->model->hp, g->limits.n_ctx);
    int rc = 0;
    device_state *x = calloc(1, sizeof *x);
    if (!x) return qm_fail(e, QM_ERR_NOMEM, "executor: out of memory");
    g->exec_state = x;
    if ((rc = qm_kernels_open(&x->kernels, d, e)) || (rc = load_modules(g, o, e))) goto out;
    QM_CU_TRY(d, StreamCreate(&x->stream, CU_STREAM_NON_BLOCKING));
    if ((rc = qm_uploader_open_threads(&x->put, d, x->stream, PUT_BYTES, PUT_BUFFERS, 1, e))) goto out;
    if ((rc = alloc(d, &x->weights, g->place->bytes, e)) || (rc = alloc(d, &x->kv, g->info.kv_bytes, e)) ||
        (rc = alloc(d, &x->scratch, g->memory.scratch, e)) || (rc = alloc(d, &x->rope, rope_bytes, e)) ||
        (rc = alloc(d, &x->arrived, 8, e)))
        goto out;
    /* zero counters; and no uninitialised page is ever multiplied by a masked-out zero weight */
    QM_CU_TRY(d, MemsetD8Async(x->arrived, 0, 8, x->stream));
    QM_CU_TRY(d, MemsetD8Async(x->scratch, 0, g->memory.scratch, x->stream));
    QM_CU_TRY(d, MemsetD8Async(x->kv, 0, g->info.kv_bytes, x->stream));
    if ((rc = upload_rope(g, x, rope_bytes, e))) goto out;
    rc = qm_weights_upload(g, x->weights, x->stream, o, e);
out:
    if (rc) graph_close(g);
    return rc;
}

static void graph_seq_close(qm_engine *g, qm_seq *s) {
    device_state *x = g->exec_state;
    qm_cuda *cu = &g->dev->cu;
    cu->StreamSynchronize(x->stream);
    for (int i = 0; i < QM_MAX_PLANS; i++) {
        if (s->graph[i]) cu->GraphExecDestroy(s->graph[i]);
        qm_walk_close(&s->walk[i], g->dev);
    }
    for (int i = 0; i < QM_RESULT_RING; i++)
        if (s->done[i]) cu->EventDestroy(s->done[i]);
    if (s->ring) cu->MemFreeHost(s->ring);
    if (s->block) cu->MemFree(s->block);
    free(s);
}

static int graph_seq_open(qm_engine *g, qm_seq **out, qm_err *e) {
    device_state *x = g->exec_state;
    qm_device *d = g->dev;
    int rc = 0;
    void *ring = NULL;
    qm_seq *s = calloc(1, sizeof *s);
    if (!s) return qm_fail(e, QM_ERR_NOMEM, "session: out of memory");
    s->layout = qm_seq_layout_of(&g->model->hp, g->limits);
    if ((rc = alloc(d, &s->block, s->layout.bytes, e))) goto out;
    QM_CU_TRY(d, MemsetD8Async(s->block, 0, s->layout.bytes, x->stream));
    QM_CU_TRY(d, MemHostAlloc(&ring, QM_RESULT_RING * sizeof *s->ring, CU_MEMHOSTALLOC_DEVICEMAP));
    s->ring = ring;
    memset(ring, 0xff, QM_RESULT_RING * sizeof *s->ring); /* no position's */
    QM_CU_TRY(d, MemHostGetDevicePointer(&s->d_ring, ring, 0));
    for (int i = 0; i < QM_RESULT_RING; i++) QM_CU_TRY(d, EventCreate(&s->done[i], CU_EVENT_DISABLE_TIMING));
    *out = s;
out:
    if (rc) graph_seq_close(g, s);
    return rc;
}

int qm_graph_put(qm_engine *g, CUdeviceptr dst, const void *src, uint64_t bytes, qm_err *e) {
    return qm_uploader_copy(((device_state *)g->exec_state)->put, dst, src, bytes, e);
}

static int graph_put_tokens(qm_engine *g, qm_seq *s, uint32_t pos, const uint32_t *ids, uint32_t n, qm_err *e) {
    return qm_graph_put(g, s->block + s->layout.tokens_off + 4ull * pos, ids, 4ull * n, e);
}

static int graph_put_pages(qm_engine *g, qm_seq *s, uint32_t i, const uint32_t *pages, uint32_t n, qm_err *e) {
    return qm_graph_put(g, s->block + s->layout.table_off + 4ull * i, pages, 4ull * n, e);
}

static int graph_put_sampling(qm_engine *g, qm_seq *s, const qm_sample_words *w, qm_err *e) {
    return qm_graph_put(g, s->block + s->layout.state_off + QM_STATE_MODE, w, qm_sample_words_bytes(w), e);
}

/* One word, in stream order, with no host buffer that must stay alive. */
static int put_word(qm_engine *g, CUdeviceptr at, uint32_t v, qm_err *e) {
    device_state *x = g->exec_state;
    qm_device *d = g->dev;
    int rc = 0;
    QM_CU_TRY(d, MemsetD32Async(at, v, 1, x->stream));
out:
    return rc;
}

static int graph_set_pos(qm_engine *g, qm_seq *s, uint32_t pos, qm_err *e) {
    s->pos = pos;
    /* embed adds 1 at the step's begin */
    int rc = put_word(g, s->block + s->layout.state_off + QM_STATE_POS, pos - 1, e);
    return rc ? rc : put_word(g, s->block + s->layout.state_off + QM_STATE_FLAGS, 0, e);
}

static qm_bases bases_of(const device_state *x, const qm_seq *s) {
    qm_bases b = {{0}};
    b.base[QM_SPACE_REGION] = x->weights;
    b.base[QM_SPACE_SCRATCH] = x->scratch;
    b.base[QM_SPACE_KV] = x->kv;
    b.base[QM_SPACE_SEQ] = s->block;
    b.base[QM_SPACE_ROPE] = x->rope;
    b.base[QM_SPACE_RESULT] = s->d_ring;
    return b;
}

int qm_graph_launch_op_on(qm_engine *g, qm_seq *s, const qm_plan *p, int i, CUstream st, qm_err *e) {
    device_state *x = g->exec_state;
    const qm_op *op = &p->ops[i];
    qm_bases b = bases_of(x, s);
    qm_op_args args;
    qm_op_resolve(p, op, &b, &args);
    QM_PROF_SCOPE(QM_PROF_OP, op->slot);
    int rc = qm_kernels_launch(x->kernels, op->kernel, op->grid, op->block, op->shared, &args, st, e);
    if (rc) qm_err_prefix(e, "layer %d, %s", op->layer, op->slot);
    return rc;
}

int qm_graph_launch_op(qm_engine *g, qm_seq *s, const qm_plan *p, int i, qm_err *e) {
    return qm_graph_launch_op_on(g, s, p, i, qm_graph_stream(g), e);
}

CUdeviceptr qm_graph_address(qm_engine *g, qm_seq *s, const qm_plan *p, qm_ref r) {
    qm_bases b = bases_of(g->exec_state, s);
    return qm_ref_resolve(p, r, &b);
}

void qm_graph_args(qm_engine *g, qm_seq *s, const qm_plan *p, int i, qm_op_args *out) {
    qm_bases b = bases_of(g->exec_state, s);
    qm_op_resolve(p, &p->ops[i], &b, out);
}

CUstream qm_graph_stream(qm_engine *g) { return ((device_state *)g->exec_state)->stream; }

int qm_graph_walk_open(qm_engine *g, qm_seq *s, const qm_plan *p, qm_walk *w, qm_err *e) {
    qm_bases b = bases_of(g->exec_state, s);
    const device_state *x = g->exec_state;
    return qm_walk_open(w, x->put, g->dev, x->kernels, p, &b, e);
}

int qm_graph_walk_launch(qm_engine *g, const qm_walk *w, CUdeviceptr stamps, CUstream st, qm_err *e) {
    const device_state *x = g->exec_state;
    return qm_walk_launch(w, x->kernels, x->arrived, stamps, st, e);
}

typedef struct {
    qm_engine *g;
    qm_seq *s;
    const qm_plan *p;
    const qm_walk *walk;
} captured;

static int launch_captured(void *user, int i, CUstream st, qm_err *e) {
    const captured *c = user;
    if (c->walk->n && i == c->walk->first) return qm_graph_walk_launch(c->g, c->walk, 0, st, e);
    return qm_graph_launch_op_on(c->g, c->s, c->p, i, st, e);
}

static int capture(qm_engine *g, qm_seq *s, const qm_plan *p, qm_walk *w, CUgraphExec *out, qm_err *e) {
    device_state *x = g->exec_state;
    int rc = 0;
    captured c = {g, s, p, w};
    QM_PROF_SCOPE(QM_PROF_LOAD, "capture");
    if (g->exec == &qm_executor_persistent && (rc = qm_graph_walk_open(g, s, p, w, e))) return rc;
    return qm_capture_plan(g->dev, x->stream, p, w, launch_captured, &c, out, e);
}

static int find(const qm_seq *s, const qm_plan *p) {
    int i = 0;
    while (i < s->n_graphs && s->plan[i] != p) i++;
    return i;
}

static int graph_prepare(qm_engine *g, qm_seq *s, const qm_plan *p, qm_err *e) {
    device_state *x = g->exec_state;
    qm_device *d = g->dev;
    int i = find(s, p), rc;
    if (i < s->n_graphs) return 0;
    if (i == QM_MAX_PLANS) return qm_fail(e, QM_ERR_LIMIT, "executor: more than %d plans", QM_MAX_PLANS);
    s->plan[s->n_graphs++] = p;
    if ((rc = capture(g, s, p, &s->walk[i], &s->graph[i], e))) return rc;
    QM_CU_TRY(d, GraphUpload(s->graph[i], x->stream));
out:
    return rc;
}

/* One launch and one event, by which the host knows how far the device is: nothing else stands between two steps. */
static int graph_step(qm_engine *g, qm_seq *s, const qm_plan *p, qm_err *e) {
    device_state *x = g->exec_state;
    qm_device *d = g->dev;
    int i = find(s, p), rc = 0;
    if (i == s->n_graphs)
        return qm_fail(e, QM_ERR_ARG, "executor: a step of %u splits was not prepared", p->shape.n_splits);
    QM_CU_TRY(d, GraphLaunch(s->graph[i], x->stream));
    QM_CU_TRY(d, EventRecord(s->done[s->pos % QM_RESULT_RING], x->stream));
    s->pos++;
out:
    return rc;
}

static int graph_wait(qm_engine *g, qm_seq *s, uint32_t pos, qm_err *e) {
    qm_device *d = g->dev;
    int rc = 0;
    QM_CU_TRY(d, EventSynchronize(s->done[pos % QM_RESULT_RING]));
out:
    return rc;
}

static int graph_result(qm_engine *g, qm_seq *s, uint32_t pos, uint32_t *id, uint32_t *flags, qm_err *e) {
    int rc = graph_wait(g, s, pos, e);
    return rc ? rc : qm_result_take(&s->ring[pos % QM_RESULT_RING], pos, id, flags, e);
}

static int graph_logits(qm_engine *g, qm_seq *s, float *out, qm_err *e) {
    device_state *x = g->exec_state;
    qm_device *d = g->dev;
    int rc = 0;
    QM_CU_TRY(d, StreamSynchronize(x->stream));
    QM_CU_TRY(d, MemcpyDtoH(out, s->block + s->layout.logits_off, 4ull * g->model->hp.n_vocab));
out:
    return rc;
}

#define EXECUTOR(name)                                                                                              \
    {                                                                                                               \
        name, graph_open, graph_close, graph_seq_open, graph_seq_close, graph_prepare, graph_put_tokens,            \
            graph_put_pages, graph_set_pos, graph_put_sampling, graph_step, graph_wait, graph_result, graph_logits, \
    }
const qm_executor qm_executor_graph = EXECUTOR("graph");
/* The same, but that a step's ops are walked by one resident kernel (walk.h). */
const qm_executor qm_executor_persistent = EXECUTOR("persistent");
