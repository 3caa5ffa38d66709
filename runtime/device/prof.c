/* prof.c: NVTX is header-only: without a profiler its first call finds no injection library and every
 * later one is a test of a null pointer. We stop even before that, at a domain that is not there. */
#include "prof.h"
#include <nvtx3/nvToolsExt.h>
#include <pthread.h>
#include <string.h>

static pthread_once_t once = PTHREAD_ONCE_INIT;
static nvtxDomainHandle_t domain; /* NULL: nobody listens */

static void open_domain(void) {
    static const char *const names[QM_PROF_N] = {
        [QM_PROF_LOAD] = "load",   [QM_PROF_PREFILL] = "prefill",   [QM_PROF_DECODE] = "decode",
        [QM_PROF_OP] = "op",       [QM_PROF_TOKENIZE] = "tokenize", [QM_PROF_SAMPLE] = "sample",
        [QM_PROF_BENCH] = "bench",
    };
    domain = nvtxDomainCreateA("qmoe-gpu");
    if (!domain) return;
    for (uint32_t c = 1; c < QM_PROF_N; c++) nvtxDomainNameCategoryA(domain, c, names[c]);
}

int qm_prof_on(void) {
    pthread_once(&once, open_domain);
    return domain != NULL;
}

void qm_prof_push(qm_prof_category c, const char *name) {
    /* One colour a category (ARGB), so that phases are told apart at a glance. */
    static const uint32_t colour[QM_PROF_N] = {
        [QM_PROF_LOAD] = 0xff4e79a7,  [QM_PROF_PREFILL] = 0xfff28e2b,  [QM_PROF_DECODE] = 0xff59a14f,
        [QM_PROF_OP] = 0xff9c9c9c,    [QM_PROF_TOKENIZE] = 0xffb07aa1, [QM_PROF_SAMPLE] = 0xffe15759,
        [QM_PROF_BENCH] = 0xffedc948,
    };
    if (!qm_prof_on()) return;
    nvtxEventAttributes_t a;
    memset(&a, 0, sizeof a);
    a.version = NVTX_VERSION;
    a.size = NVTX_EVENT_ATTRIB_STRUCT_SIZE;
    a.category = (uint32_t)c;
    a.colorType = NVTX_COLOR_ARGB;
    a.color = (unsigned)c < QM_PROF_N ? colour[c] : 0;
    a.messageType = NVTX_MESSAGE_TYPE_ASCII;
    a.message.ascii = name;
    nvtxDomainRangePushEx(domain, &a);
}

void qm_prof_pop(void) {
    if (qm_prof_on()) nvtxDomainRangePop(domain);
}

int qm_timer_open(qm_timer *t, qm_device *d, qm_err *e) {
    int rc = 0;
    memset(t, 0, sizeof *t);
    t->d = d;
    QM_CU_TRY(d, EventCreate(&t->from, 0));
    QM_CU_TRY(d, EventCreate(&t->to, 0));
out:
    if (rc) qm_timer_close(t);
    return rc;
}

void qm_timer_close(qm_timer *t) {
    if (t->from) t->d->cu.EventDestroy(t->from);
    if (t->to) t->d->cu.EventDestroy(t->to);
    memset(t, 0, sizeof *t);
}

int qm_timer_start(qm_timer *t, CUstream s, qm_err *e) {
    int rc = 0;
    QM_CU_TRY(t->d, EventRecord(t->from, s));
out:
    return rc;
}

int qm_timer_stop(qm_timer *t, CUstream s, qm_err *e) {
    int rc = 0;
    QM_CU_TRY(t->d, EventRecord(t->to, s));
out:
    return rc;
}

int qm_timer_ms(qm_timer *t, double *ms, qm_err *e) {
    int rc = 0;
    float f = 0;
    QM_CU_TRY(t->d, EventSynchronize(t->to));
    QM_CU_TRY(t->d, EventElapsedTime(&f, t->from, t->to));
    *ms = f;
out:
    return rc;
}
