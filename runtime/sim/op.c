/* op.c: see op.h. */
#include "op.h"
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>
#include "context.h"
#include "counters.h"
#include "depend.h"
#include "grid.h"
#include "handle.h"
#include "mem.h"
#include "report.h"

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
        return sim_fail(CUDA_ERROR_INVALID_HANDLE, "the kernel's module has been unloaded");
    qm_sim_counters c = {0};
    sim_launch l = {
        .func = op->func->fn, .dyn_shared = op->dyn_shared, .cooperative = op->cooperative, .params = op->params};
    memcpy(l.grid, op->grid, sizeof l.grid);
    memcpy(l.block, op->block, sizeof l.block);
    qm_sim_get_options(&l.opt);
    l.dependent = op->dependent;
    if (l.opt.check_dependent) sim_depend_begin(&l, op->stream, op->dependent);
    if (l.opt.check_races) l.opt.threads = 1; /* race.c takes the order of its calls as that of the accesses */
    sim_report_clear();
    int fault = sim_run(&l, &c);
    sim_counters_add(sim_func_name(l.func), &c);
    if (!fault) return CUDA_SUCCESS;
    CUresult r = fault_code(fault);
    const char *why = qm_sim_last_report();
    if (*why) sim_fail(r, "%s", why);
    else sim_fail(r, "%s", sim_func_name(l.func));
    sim_poison(r);
    return r;
}

/* Host memory is anything to the driver, but what was pinned and is freed is known to be gone. */
static CUresult check_host(uint64_t p) {
    const sim_alloc *a = sim_mem_find(p);
    if (!a || a->live) return CUDA_SUCCESS;
    return sim_fail(CUDA_ERROR_INVALID_VALUE,
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
        return sim_fail(CUDA_ERROR_ILLEGAL_ADDRESS,
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
    return sim_fail(CUDA_ERROR_ILLEGAL_ADDRESS,
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
            return sim_fail(CUDA_ERROR_INVALID_VALUE, "copy of %llu bytes: %s", (unsigned long long)op->n, why);
        if (!op->dst || !op->src) return sim_fail(CUDA_ERROR_INVALID_VALUE, "copy with a null address");
        if (!op->dst_dev) r = check_host(op->dst);
        if (!r && !op->src_dev && op->host != SIM_HOST_STAGED) r = check_host(op->src);
    } else if (op->kind == SIM_OP_SET && op->n)
        if (op->n > SIZE_MAX / op->width || !sim_mem_range(op->dst, op->n * op->width, why, sizeof why))
            return sim_fail(CUDA_ERROR_INVALID_VALUE, "memset of %llu x %u bytes: %s", (unsigned long long)op->n,
                            op->width, op->n > SIZE_MAX / op->width ? "too many" : why);
    return r;
}

CUresult sim_op_run(const sim_op *op) {
    CUresult r = sim_op_check(op);
    if (r) return r;
    if (op->kind != SIM_OP_KERNEL) sim_depend_break(op->kind == SIM_OP_CHILD ? -1 : op->stream);
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
        for (size_t i = 0; i < op->child->n && !r; i++) r = sim_op_run(op->child->v[i]);
        return r;
    }
}
