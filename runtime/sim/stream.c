/* stream.c: what a stream can be asked to do: operations (run now, late or recorded by a capture), events,
 * launches. A capture keeps its operations in the order of the calls; that order respects every
 * dependency an event can express, so replaying it in order is right. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>
#include "stream.h"

static sim_capture *g_captures; /* those in progress */
static sim_node *g_legacy;      /* the legacy stream's last pending work */

/* ---- lists of operations ---- */
sim_op *sim_op_copy(const sim_op *op) {
    sim_op *c = malloc(sizeof *c);
    if (!c) return NULL;
    *c = *op;
    if (op->params && !(c->params = malloc(op->params_bytes + 1))) {
        free(c);
        return NULL;
    }
    if (op->params) memcpy(c->params, op->params, op->params_bytes);
    if (op->child) sim_ops_share(op->child);
    return c;
}

void sim_op_free(sim_op *op) {
    if (!op) return;
    sim_ops_drop(op->child);
    free(op->params);
    free(op);
}

sim_oplist *sim_ops_new(void) {
    sim_oplist *l = calloc(1, sizeof *l);
    if (l) l->refs = 1;
    return l;
}

sim_oplist *sim_ops_share(sim_oplist *l) {
    l->refs++;
    return l;
}

int sim_ops_add(sim_oplist *l, const sim_op *op) {
    if (l->n == l->cap) {
        size_t cap = l->cap ? l->cap * 2 : 64;
        sim_op **v = realloc(l->v, cap * sizeof *v);
        if (!v) return -1;
        l->v = v;
        l->cap = cap;
    }
    if (!(l->v[l->n] = sim_op_copy(op))) return -1;
    l->n++;
    return 0;
}

void sim_ops_drop(sim_oplist *l) {
    if (!l || --l->refs) return;
    for (size_t i = 0; i < l->n; i++) sim_op_free(l->v[i]);
    free(l->v);
    free(l);
}

/* ---- running one ---- */
static CUresult fault_code(int fault) {
    switch (fault) {
    case SIM_ILLEGAL_ADDRESS: return CUDA_ERROR_ILLEGAL_ADDRESS;
    case SIM_MISALIGNED: return CUDA_ERROR_MISALIGNED_ADDRESS;
    case SIM_ILLEGAL_INSTRUCTION: return CUDA_ERROR_ILLEGAL_INSTRUCTION;
    case SIM_DEADLOCK: return CUDA_ERROR_LAUNCH_TIMEOUT;
    default: return CUDA_ERROR_LAUNCH_FAILED;
    }
}

static CUresult run_kernel(const sim_op *op) {
    if (!sim_handle_is(op->func, SIM_H_FUNC) || op->func->id != op->func_id)
        return sim_say(CUDA_ERROR_INVALID_HANDLE, "the kernel's module has been unloaded");
    qm_sim_counters c = {0};
    sim_launch l = {
        .func = op->func->fn, .dyn_shared = op->dyn_shared, .cooperative = op->cooperative, .params = op->params};
    memcpy(l.grid, op->grid, sizeof l.grid);
    memcpy(l.block, op->block, sizeof l.block);
    qm_sim_get_options(&l.opt);
    if (l.opt.check_races) l.opt.threads = 1; /* race.c takes the order of its calls as that of the accesses */
    sim_report_clear();
    int fault = sim_run(&l, &c);
    c.launches = 1;
    sim_counters_add(sim_func_name(l.func), &c);
    if (!fault) return CUDA_SUCCESS;
    CUresult r = fault_code(fault);
    const char *why = qm_sim_last_report();
    if (*why) sim_say(r, "%s", why);
    else sim_say(r, "%s", sim_func_name(l.func));
    sim_poison(r);
    return r;
}

/* Host memory is anything to the driver, but what was pinned and is freed is known to be gone. */
static CUresult check_host(uint64_t p) {
    const sim_alloc *a = sim_mem_find(p);
    if (!a || a->live) return CUDA_SUCCESS;
    return sim_say(CUDA_ERROR_INVALID_VALUE,
                   "copy with 0x%llx, in allocation #%u (%s, %llu bytes), which has been freed", (unsigned long long)p,
                   a->id, a->what, (unsigned long long)a->size);
}

/* Pageable memory of an asynchronous copy that runs late must still be what it was at the call: the driver may have
 * read it then, or may read it only now. On this thread's stack it must belong to a function that has not returned. */
static CUresult pageable_ok(const sim_op *op) {
    static _Thread_local uintptr_t stack_end; /* the lowest address of this thread's stack */
    const uint64_t p = op->dst_dev ? op->src : op->dst;
    const char *what = op->dst_dev ? "source" : "destination";
    if (!stack_end) {
        pthread_attr_t a;
        void *low;
        size_t n;
        stack_end = UINTPTR_MAX;
        if (!pthread_getattr_np(pthread_self(), &a)) {
            if (!pthread_attr_getstack(&a, &low, &n)) stack_end = (uintptr_t)low;
            pthread_attr_destroy(&a);
        }
    }
    if (p >= stack_end && p < (uintptr_t)__builtin_frame_address(0))
        return sim_say(CUDA_ERROR_ILLEGAL_ADDRESS,
                       "asynchronous copy of %llu bytes: its %s 0x%llx is pageable, and the function "
                       "whose variable it was has returned",
                       (unsigned long long)op->n, what, (unsigned long long)p);
    if (!op->dst_dev) return CUDA_SUCCESS;
    uint8_t *now = malloc(op->n);
    if (!now) return CUDA_ERROR_OUT_OF_MEMORY;
    struct iovec to = {now, op->n}, from = {(void *)(uintptr_t)p, op->n};
    /* the kernel reads it, so that memory that is gone is an answer and no fault */
    const int same =
        process_vm_readv(getpid(), &to, 1, &from, 1, 0) == (ssize_t)op->n && !memcmp(now, op->params, op->n);
    free(now);
    if (same) return CUDA_SUCCESS;
    return sim_say(CUDA_ERROR_ILLEGAL_ADDRESS,
                   "asynchronous copy of %llu bytes: its source 0x%llx is pageable, and changed "
                   "between the call and the copy",
                   (unsigned long long)op->n, (unsigned long long)p);
}

CUresult sim_op_check(const sim_op *op) {
    char why[256];
    CUresult r = CUDA_SUCCESS;
    if (op->kind == SIM_OP_COPY && op->n) {
        if ((op->dst_dev && !sim_mem_range(op->dst, op->n, why, sizeof why)) ||
            (op->src_dev && !sim_mem_range(op->src, op->n, why, sizeof why)))
            return sim_say(CUDA_ERROR_INVALID_VALUE, "copy of %llu bytes: %s", (unsigned long long)op->n, why);
        if (!op->dst || !op->src) return sim_say(CUDA_ERROR_INVALID_VALUE, "copy with a null address");
        if (!op->dst_dev) r = check_host(op->dst);
        if (!r && !op->src_dev && op->host != SIM_HOST_STAGED) r = check_host(op->src);
    } else if (op->kind == SIM_OP_SET && op->n)
        if (op->n > SIZE_MAX / op->width || !sim_mem_range(op->dst, op->n * op->width, why, sizeof why))
            return sim_say(CUDA_ERROR_INVALID_VALUE, "memset of %llu x %u bytes: %s", (unsigned long long)op->n,
                           op->width, op->n > SIZE_MAX / op->width ? "too many" : why);
    return r;
}

CUresult sim_op_run(const sim_op *op) {
    CUresult r = sim_op_check(op);
    if (r) return r;
    switch (op->kind) {
    case SIM_OP_KERNEL: return run_kernel(op);
    case SIM_OP_COPY:
        if (!op->n) return CUDA_SUCCESS;
        if (op->host == SIM_HOST_PAGEABLE && (r = pageable_ok(op))) return r;
        memmove((void *)(uintptr_t)op->dst, op->host == SIM_HOST_STAGED ? op->params : (const void *)(uintptr_t)op->src,
                op->n);
        if (op->dst_dev && op->src_dev) sim_mem_move_init(op->dst, op->src, op->n);
        else if (op->dst_dev) sim_mem_mark_init(op->dst, op->n);
        return CUDA_SUCCESS;
    case SIM_OP_SET:
        if (!op->n) return CUDA_SUCCESS;
        if (op->width == 1) memset((void *)(uintptr_t)op->dst, (int)op->value, op->n);
        else
            for (uint64_t i = 0; i < op->n; i++) ((uint32_t *)(uintptr_t)op->dst)[i] = op->value;
        sim_mem_mark_init(op->dst, op->n * op->width);
        return CUDA_SUCCESS;
    default:
        if (sim_order_lazy()) return sim_order_graph(op->child);
        for (size_t i = 0; i < op->child->n && !r; i++) r = sim_op_run(op->child->v[i]);
        return r;
    }
}

/* ---- streams and captures ---- */
static int is_null_stream(CUstream s) { return !s || s == CU_STREAM_LEGACY || s == CU_STREAM_PER_THREAD; }

static CUresult stream_of(CUstream s, sim_stream **out) {
    *out = NULL;
    if (is_null_stream(s)) return CUDA_SUCCESS;
    if (!sim_handle_is(s, SIM_H_STREAM)) return sim_say(CUDA_ERROR_INVALID_HANDLE, "not a live stream");
    *out = (sim_stream *)s;
    return CUDA_SUCCESS;
}

static CUresult bad_capture(sim_capture *c, CUresult r, const char *call) {
    c->invalid = 1;
    return sim_say(r, "%s: not while a stream is being captured; the capture is lost", call);
}

CUresult sim_unsafe_in_capture(const char *call) {
    for (sim_capture *c = g_captures; c; c = c->next)
        if (!c->invalid &&
            (c->mode == CU_STREAM_CAPTURE_MODE_GLOBAL ||
             (c->mode == CU_STREAM_CAPTURE_MODE_THREAD_LOCAL && pthread_equal(c->thread, pthread_self()))))
            return bad_capture(c, CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, call);
    return CUDA_SUCCESS;
}

CUresult sim_legacy_in_capture(const char *call) {
    for (sim_capture *c = g_captures; c; c = c->next)
        for (int i = 0; i < c->n_streams && !c->invalid; i++)
            if (c->stream[i] && !c->stream[i]->non_blocking)
                return bad_capture(c, CUDA_ERROR_STREAM_CAPTURE_IMPLICIT, call);
    return CUDA_SUCCESS;
}

/* ---- the order of late work ---- */
/* Behind what the stream has, and behind `also`. The legacy stream's work comes after all that blocking streams have, and
 * before all that they get later; a non-blocking stream knows of neither. */
static CUresult enqueue(sim_stream *st, const sim_op *op, sim_node *also) {
    sim_node **dep, *x;
    sim_node **tail = st ? &st->tail : &g_legacy;
    size_t at = 0;
    int n = 0, cap = 3;
    while (!st && sim_handle_next(SIM_H_STREAM, &at)) cap++;
    if (!(dep = malloc((size_t)cap * sizeof *dep))) return CUDA_ERROR_OUT_OF_MEMORY;
    dep[n++] = *tail;
    dep[n++] = also;
    if (st && !st->non_blocking) dep[n++] = g_legacy;
    at = 0;
    for (const sim_stream *o; !st && (o = sim_handle_next(SIM_H_STREAM, &at));)
        if (!o->non_blocking) dep[n++] = o->tail;
    CUresult r = sim_order_add(op, dep, n, &x);
    free(dep);
    if (!x) return r;
    sim_node_drop(*tail);
    *tail = x;
    return r;
}

/* Does a copy read or write host memory that nobody pinned? */
static int is_pageable(const sim_op *op) {
    if (op->kind != SIM_OP_COPY || !op->n || op->src_dev == op->dst_dev) return 0;
    const sim_alloc *a = sim_mem_find(op->dst_dev ? op->src : op->dst);
    return !a || !a->live;
}

/* Enqueues op, or runs it now that all before it has run. host: SIM_HOST_*, what a late copy finds. */
static CUresult start(sim_stream *st, const sim_op *op, int host) {
    CUresult r;
    if (!sim_order_lazy()) {
        r = sim_order_drain(); /* of a time when it was on */
        return r ? r : sim_op_run(op);
    }
    if ((r = sim_op_check(op))) return r;
    sim_op late = *op;
    late.host = host;
    if (host != SIM_HOST_DIRECT && !op->src_dev) {
        late.params = (uint8_t *)(uintptr_t)op->src;
        late.params_bytes = op->n;
    }
    return enqueue(st, &late, NULL);
}

/* From pageable memory: once what the legacy stream has is done the bytes are staged, and the call returns; the copy itself
 * may come later. Otherwise it returns when the copy is done. */
CUresult sim_submit_sync(const sim_op *op) {
    const int staged = op->dst_dev && is_pageable(op) && sim_order_lazy();
    CUresult r = staged ? enqueue(NULL, NULL, NULL) : start(NULL, op, SIM_HOST_DIRECT);
    if (!r) r = sim_order_finish(g_legacy);
    return r || !staged ? r : start(NULL, op, SIM_HOST_STAGED);
}

/* A call that waits for the stream or asks about it. */
static CUresult wait_on(CUstream s, const char *call, CUresult (*how)(sim_node *)) {
    sim_stream *st;
    sim_lock();
    CUresult r = sim_ready();
    if (!r) r = stream_of(s, &st);
    if (!r && !st) r = sim_legacy_in_capture(call);
    if (!r && st && st->cap) r = bad_capture(st->cap, CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, call);
    if (!r) r = sim_unsafe_in_capture(call);
    if (!r) r = how(st ? st->tail : g_legacy);
    return sim_unlock(r);
}

CUresult sim_submit(CUstream s, const sim_op *op, const char *call) {
    sim_stream *st;
    CUresult r = stream_of(s, &st);
    if (r) return r;
    if (!st && (r = sim_legacy_in_capture(call))) return r;
    if (!st || !st->cap) return start(st, op, is_pageable(op) ? SIM_HOST_PAGEABLE : SIM_HOST_DIRECT);
    sim_capture *c = st->cap;
    if (c->invalid) return sim_say(CUDA_ERROR_STREAM_CAPTURE_INVALIDATED, "%s: the capture was lost before", call);
    sim_op caught = *op;
    caught.lane = st->index;
    caught.serial = c->serial + 1;
    memcpy(caught.after, st->seen, sizeof caught.after);
    if (sim_ops_add(c->ops, &caught)) return CUDA_ERROR_OUT_OF_MEMORY;
    st->seen[st->index] = ++c->serial;
    return CUDA_SUCCESS;
}

CUresult CUDAAPI sim_cu_StreamCreate(CUstream *s, unsigned int flags) {
    sim_lock();
    CUresult r = sim_ready();
    if (r) return sim_unlock(r);
    if (!s || (flags & ~(unsigned)CU_STREAM_NON_BLOCKING)) return sim_unlock(CUDA_ERROR_INVALID_VALUE);
    sim_stream *st = calloc(1, sizeof *st);
    if (!st || sim_handle_add(st, SIM_H_STREAM)) {
        free(st);
        return sim_unlock(CUDA_ERROR_OUT_OF_MEMORY);
    }
    st->non_blocking = flags != 0;
    *s = (CUstream)st;
    return sim_unlock(CUDA_SUCCESS);
}

static void capture_drop(sim_capture *c) {
    for (int i = 0; i < c->n_streams; i++)
        if (c->stream[i]) c->stream[i]->cap = NULL;
    for (sim_capture **p = &g_captures; *p; p = &(*p)->next)
        if (*p == c) {
            *p = c->next;
            break;
        }
    sim_ops_drop(c->ops);
    free(c);
}

static void stream_free(sim_stream *st) {
    if (st->cap) {
        /* Destroying a stream mid-capture loses the capture; its origin still has to end it. */
        st->cap->invalid = 1;
        if (st->index == 0) capture_drop(st->cap);
        else st->cap->stream[st->index] = NULL;
    }
    sim_handle_del(st);
    sim_node_drop(st->tail);
    free(st);
}

CUresult CUDAAPI sim_cu_StreamDestroy(CUstream s) {
    sim_stream *st;
    sim_lock();
    CUresult r = sim_ready();
    if (!r) r = stream_of(s, &st);
    if (!r && !st) r = sim_say(CUDA_ERROR_INVALID_HANDLE, "the legacy stream cannot be destroyed");
    /* Its work goes on; what the legacy stream gets later still comes after that of a blocking one. */
    if (!r && !st->non_blocking && !sim_node_done(st->tail)) r = enqueue(NULL, NULL, NULL);
    if (!r) stream_free(st);
    return sim_unlock(r);
}

CUresult CUDAAPI sim_cu_StreamSynchronize(CUstream s) { return wait_on(s, "cuStreamSynchronize", sim_order_finish); }
CUresult CUDAAPI sim_cu_StreamQuery(CUstream s) { return wait_on(s, "cuStreamQuery", sim_order_query); }

CUresult CUDAAPI sim_cu_CtxSynchronize(void) {
    sim_lock();
    CUresult r = sim_ready();
    for (sim_capture *c = g_captures; c && !r; c = c->next)
        if (!c->invalid) r = bad_capture(c, CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, "cuCtxSynchronize");
    if (!r) r = sim_order_drain();
    return sim_unlock(r);
}

CUresult CUDAAPI sim_cu_StreamBeginCapture(CUstream s, CUstreamCaptureMode mode) {
    sim_stream *st;
    sim_lock();
    CUresult r = sim_ready();
    if (!r) r = stream_of(s, &st);
    if (r) return sim_unlock(r);
    if (mode > CU_STREAM_CAPTURE_MODE_RELAXED) return sim_unlock(CUDA_ERROR_INVALID_VALUE);
    if (!st) return sim_unlock(sim_say(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, "the legacy stream cannot be captured"));
    if (st->cap) return sim_unlock(sim_say(CUDA_ERROR_ILLEGAL_STATE, "the stream is being captured already"));
    sim_capture *c = calloc(1, sizeof *c);
    if (!c || !(c->ops = sim_ops_new())) {
        free(c);
        return sim_unlock(CUDA_ERROR_OUT_OF_MEMORY);
    }
    static uint64_t n_captures;
    c->mode = mode;
    c->id = ++n_captures;
    c->thread = pthread_self();
    c->stream[c->n_streams++] = st;
    c->next = g_captures;
    g_captures = c;
    st->cap = c;
    st->index = 0;
    memset(st->seen, 0, sizeof st->seen);
    return sim_unlock(CUDA_SUCCESS);
}

CUresult CUDAAPI sim_cu_StreamEndCapture(CUstream s, CUgraph *g) {
    sim_stream *st;
    sim_lock();
    CUresult r = sim_ready();
    if (!r) r = stream_of(s, &st);
    if (r) return sim_unlock(r);
    if (!g) return sim_unlock(CUDA_ERROR_INVALID_VALUE);
    *g = NULL;
    if (!st || !st->cap) return sim_unlock(sim_say(CUDA_ERROR_ILLEGAL_STATE, "the stream is not being captured"));
    sim_capture *c = st->cap;
    if (st->index)
        return sim_unlock(bad_capture(c, CUDA_ERROR_STREAM_CAPTURE_UNMATCHED, "cuStreamEndCapture on another stream"));
    if (c->mode != CU_STREAM_CAPTURE_MODE_RELAXED && !pthread_equal(c->thread, pthread_self()))
        return sim_unlock(sim_say(CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD, "the capture began on another thread"));
    if (c->invalid) r = sim_say(CUDA_ERROR_STREAM_CAPTURE_INVALIDATED, "an earlier call broke the capture");
    for (int i = 1; i < c->n_streams && !r; i++)
        if (c->stream[i] && c->stream[i]->seen[i] != st->seen[i])
            r = sim_say(CUDA_ERROR_STREAM_CAPTURE_UNJOINED, "work on another captured stream is not waited for");
    if (!r) r = sim_graph_new(g, c->ops);
    capture_drop(c);
    return sim_unlock(r);
}

/* ---- events ---- */
double sim_now_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec * 1e-6;
}

static CUresult event_of(CUevent e, sim_event **out) {
    if (!sim_handle_is(e, SIM_H_EVENT)) return sim_say(CUDA_ERROR_INVALID_HANDLE, "not a live event");
    *out = (sim_event *)e;
    return CUDA_SUCCESS;
}

/* The capture in progress that the event was last recorded in, or NULL. */
static sim_capture *event_capture(const sim_event *ev) {
    for (sim_capture *c = g_captures; c; c = c->next)
        if (c->id == ev->capture_id) return c;
    return NULL;
}

CUresult CUDAAPI sim_cu_EventCreate(CUevent *e, unsigned int flags) {
    sim_lock();
    CUresult r = sim_ready();
    if (r) return sim_unlock(r);
    if (!e || (flags & ~(unsigned)(CU_EVENT_BLOCKING_SYNC | CU_EVENT_DISABLE_TIMING)))
        return sim_unlock(sim_say(CUDA_ERROR_INVALID_VALUE, "cuEventCreate: flags %u", flags));
    sim_event *ev = calloc(1, sizeof *ev);
    if (!ev || sim_handle_add(ev, SIM_H_EVENT)) {
        free(ev);
        return sim_unlock(CUDA_ERROR_OUT_OF_MEMORY);
    }
    ev->no_timing = (flags & CU_EVENT_DISABLE_TIMING) != 0;
    *e = (CUevent)ev;
    return sim_unlock(CUDA_SUCCESS);
}

static void event_free(sim_event *ev) {
    sim_node_drop(ev->mark);
    sim_handle_del(ev);
    free(ev);
}

CUresult CUDAAPI sim_cu_EventDestroy(CUevent e) {
    sim_event *ev = NULL;
    sim_lock();
    CUresult r = sim_ready();
    if (!r) r = event_of(e, &ev);
    if (!r) event_free(ev);
    return sim_unlock(r);
}

CUresult CUDAAPI sim_cu_EventRecord(CUevent e, CUstream s) {
    sim_event *ev = NULL;
    sim_stream *st;
    sim_lock();
    CUresult r = sim_ready();
    if (!r) r = event_of(e, &ev);
    if (!r) r = stream_of(s, &st);
    if (!r && !st) r = sim_legacy_in_capture("cuEventRecord");
    if (!r && st && st->cap && st->cap->invalid) r = CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
    if (r) return sim_unlock(r);
    ev->capture_id = 0;
    if (st && st->cap) {
        ev->capture_id = st->cap->id;
        memcpy(ev->seen, st->seen, sizeof ev->seen);
    } else {
        ev->recorded = 1;
        ev->ms = sim_now_ms();
        sim_node_drop(ev->mark);
        ev->mark = NULL;
        if (sim_order_lazy() && !(r = enqueue(st, NULL, NULL))) ev->mark = sim_node_share(st ? st->tail : g_legacy);
    }
    return sim_unlock(r);
}

static CUresult event_wait(CUevent e, const char *call, CUresult (*how)(sim_node *)) {
    sim_event *ev = NULL;
    sim_lock();
    CUresult r = sim_ready();
    if (!r) r = event_of(e, &ev);
    if (!r && event_capture(ev)) r = bad_capture(event_capture(ev), CUDA_ERROR_CAPTURED_EVENT, call);
    else if (!r && ev->capture_id) r = sim_say(CUDA_ERROR_CAPTURED_EVENT, "%s: last recorded in a capture", call);
    if (!r) r = sim_unsafe_in_capture(call);
    if (!r) r = how(ev->mark);
    return sim_unlock(r);
}
CUresult CUDAAPI sim_cu_EventQuery(CUevent e) { return event_wait(e, "cuEventQuery", sim_order_query); }
CUresult CUDAAPI sim_cu_EventSynchronize(CUevent e) { return event_wait(e, "cuEventSynchronize", sim_order_finish); }

CUresult CUDAAPI sim_cu_EventElapsedTime(float *ms, CUevent a, CUevent b) {
    sim_event *ea = NULL, *eb = NULL;
    sim_lock();
    CUresult r = sim_ready();
    if (!r) r = event_of(a, &ea);
    if (!r) r = event_of(b, &eb);
    if (r) return sim_unlock(r);
    if (!ms) return sim_unlock(CUDA_ERROR_INVALID_VALUE);
    if (ea->capture_id || eb->capture_id)
        return sim_unlock(sim_say(CUDA_ERROR_CAPTURED_EVENT, "an event was last recorded in a capture"));
    if (!ea->recorded || !eb->recorded || ea->no_timing || eb->no_timing)
        return sim_unlock(sim_say(CUDA_ERROR_INVALID_HANDLE, "an event was not recorded or keeps no time"));
    if (!sim_node_done(ea->mark) || !sim_node_done(eb->mark)) return sim_unlock(CUDA_ERROR_NOT_READY);
    *ms = (float)((eb->mark ? sim_node_ms(eb->mark) : eb->ms) - (ea->mark ? sim_node_ms(ea->mark) : ea->ms));
    return sim_unlock(CUDA_SUCCESS);
}

/* Outside a capture this matters to late work only. Waiting for an event of a capture pulls the stream into it. */
CUresult CUDAAPI sim_cu_StreamWaitEvent(CUstream s, CUevent e, unsigned int flags) {
    sim_event *ev = NULL;
    sim_stream *st;
    sim_lock();
    CUresult r = sim_ready();
    if (!r) r = stream_of(s, &st);
    if (!r) r = event_of(e, &ev);
    if (!r && flags) r = CUDA_ERROR_INVALID_VALUE;
    if (!r && !st) r = sim_legacy_in_capture("cuStreamWaitEvent");
    if (r) return sim_unlock(r);
    sim_capture *c = event_capture(ev);
    if (st && st->cap && st->cap->invalid) r = CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
    else if (!c && ev->capture_id) r = sim_say(CUDA_ERROR_CAPTURED_EVENT, "the event's capture has ended");
    else if (!c && st && st->cap)
        r = bad_capture(st->cap, CUDA_ERROR_STREAM_CAPTURE_ISOLATION, "cuStreamWaitEvent for uncaptured work");
    else if (c && c->invalid) r = CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
    else if (c && !st) r = bad_capture(c, CUDA_ERROR_STREAM_CAPTURE_IMPLICIT, "cuStreamWaitEvent on the legacy stream");
    else if (c && st->cap && st->cap != c) r = bad_capture(c, CUDA_ERROR_STREAM_CAPTURE_MERGE, "cuStreamWaitEvent");
    else if (c && !st->cap) {
        if (c->n_streams == SIM_CAPTURE_STREAMS) r = bad_capture(c, CUDA_ERROR_NOT_SUPPORTED, "a 17th captured stream");
        else {
            st->cap = c;
            st->index = c->n_streams;
            memset(st->seen, 0, sizeof st->seen);
            /* Joining is itself something that the origin must wait for. */
            st->seen[st->index] = ++c->serial;
            c->stream[c->n_streams++] = st;
        }
    }
    if (!r && c)
        for (int i = 0; i < SIM_CAPTURE_STREAMS; i++)
            if (st->seen[i] < ev->seen[i]) st->seen[i] = ev->seen[i];
    if (!r && !c && !sim_node_done(ev->mark)) r = enqueue(st, NULL, ev->mark);
    return sim_unlock(r);
}

void sim_streams_drop(void) {
    void *h;
    sim_order_drop();
    while ((h = sim_handle_any(SIM_H_STREAM))) stream_free(h);
    while ((h = sim_handle_any(SIM_H_EVENT))) event_free(h);
    sim_node_drop(g_legacy);
    g_legacy = NULL;
    sim_graphs_drop();
}
