/* context.c: see context.h. There is one device and one context on it, the primary one. */
#include "context.h"
#include "spare.h"
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

static pthread_mutex_t g_lock = PTHREAD_MUTEX_INITIALIZER;
static int g_inited;
static struct {
    int refs;
    uint64_t seq;
    size_t aside;
} * g_ctx; /* NULL before the first reference */
static _Thread_local CUcontext t_current;
static _Thread_local uint64_t t_current_seq; /* of the context when it was made current */
static uint64_t g_ctx_seq;
static CUresult g_sticky;
static CUresult g_failed; /* the code that g_text explains */
static char g_text[4200];

void sim_lock(void) { pthread_mutex_lock(&g_lock); }
CUresult sim_unlock(CUresult r) {
    pthread_mutex_unlock(&g_lock);
    return r;
}

CUresult sim_fail(CUresult r, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(g_text, sizeof g_text, fmt, ap);
    va_end(ap);
    g_failed = r;
    return r;
}

const char *sim_fail_text(CUresult r) { return g_failed == r ? g_text : NULL; }

int sim_inited(void) { return g_inited; }
void sim_init(void) { g_inited = 1; }
void sim_poison(CUresult r) { g_sticky = r; }

CUresult sim_ready(void) {
    if (!g_inited) return sim_fail(CUDA_ERROR_NOT_INITIALIZED, "cuInit has not been called");
    if (!t_current) return sim_fail(CUDA_ERROR_INVALID_CONTEXT, "no context is current on this thread");
    if (!g_ctx || t_current != (CUcontext)g_ctx || t_current_seq != g_ctx->seq)
        return sim_fail(CUDA_ERROR_CONTEXT_IS_DESTROYED, "this thread's context has been destroyed");
    return g_sticky;
}

CUcontext sim_context_ref(void) {
    if (!g_ctx) {
        g_ctx = calloc(1, sizeof *g_ctx);
        if (!g_ctx) return NULL;
        g_ctx->seq = ++g_ctx_seq;
        g_sticky = CUDA_SUCCESS;
    }
    g_ctx->refs++;
    return (CUcontext)g_ctx;
}

int sim_context_unref(void) { return g_ctx ? --g_ctx->refs : -1; }

void sim_context_end(void) {
    free(g_ctx);
    sim_spare_drop();
    g_ctx = NULL;
    g_sticky = CUDA_SUCCESS;
}

void sim_context_set_aside(size_t v) { g_ctx->aside = v; }
size_t sim_context_aside(void) { return g_ctx->aside; }

int sim_context_use(CUcontext c) {
    if (c && c != (CUcontext)g_ctx) return -1;
    t_current = c;
    t_current_seq = c ? g_ctx->seq : 0;
    return 0;
}
