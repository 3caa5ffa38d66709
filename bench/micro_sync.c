/* micro_sync.c: waiting for another CTA (bench/ptx/sync.ptx). Cooperative launches, so that all CTAs are
 * resident; ns a round: the slope between a short and a long launch. */
#include "micro.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { POLLS = 1 << 22 }; /* of one thread in one launch: seconds; then the kernel gives up and ends */

typedef struct {
    micro *m;
    CUfunction f;
    unsigned grid, block;
    CUdeviceptr area, out; /* counters or flags and data; results */
    CUdeviceptr data;
    size_t area_bytes, out_bytes;
    uint32_t words, counters, partner, polls, rounds;
    enum { BARRIER, HOP, FAN } kind;
} job;

static int launch(void *user, uint32_t rounds, qm_err *e) {
    job *j = user;
    int rc = 0;
    j->rounds = rounds;
    void *barrier[] = {&j->area, &j->data, &j->out, &j->rounds, &j->polls};
    void *hop[] = {&j->area, &j->out, &j->partner, &j->rounds, &j->polls};
    void *fan[] = {&j->area, &j->data, &j->out, &j->words, &j->counters, &j->rounds, &j->polls};
    void **const params[] = {barrier, hop, fan};
    QM_CU_TRY(j->m->d, LaunchCooperativeKernel(j->f, j->grid, 1, 1, j->block, 1, 1, 0, j->m->s, params[j->kind]));
out:
    return rc;
}

/* One timed launch from zeroed counters; its results in res[out_bytes / 4]. */
static int once(job *j, uint32_t rounds, double *ns, uint32_t *res, qm_err *e) {
    int rc = 0;
    memset(res, 0, j->out_bytes);
    if (j->kind == FAN) /* fewest polls left: a minimum */
        for (unsigned c = 0; c < j->grid; c++) res[2 * c + 1] = 0xffffffffu;
    QM_CU_TRY(j->m->d, MemcpyHtoDAsync(j->out, res, j->out_bytes, j->m->s));
    QM_CU_TRY(j->m->d, MemsetD8Async(j->area, 0, j->area_bytes, j->m->s));
    QM_CU_TRY(j->m->d, StreamSynchronize(j->m->s));
    if ((rc = micro_time(j->m, launch, j, rounds, ns, NULL, e))) goto out;
    QM_CU_TRY(j->m->d, MemcpyDtoH(res, j->out, j->out_bytes));
out:
    return rc;
}

/* NULL, or what is wrong with the results of a launch of `rounds`. check_data: sums are expected. */
static const char *judge(const job *j, const uint32_t *res, uint32_t rounds, int check_data) {
    const uint32_t series = (uint32_t)((uint64_t)rounds * (rounds + 1) / 2); /* 1 + 2 + ... + rounds */
    uint32_t want = series, n = j->grid, step = 2;
    if (j->kind == FAN) want *= (uint32_t)((uint64_t)j->words * (j->words + 1) / 2);
    if (j->kind == HOP) { /* 32 lanes, 4 words of lane + r for r < rounds */
        want = 4 * (32 * (series - rounds) + 496 * rounds);
        n = 2;
        step = 4;
    }
    for (uint32_t i = 0; i < n; i++) {
        if (!res[i * step + 1]) return "a wait was given up";
        if (check_data && res[i * step] != want) return "the data that came with the signal is not what was sent";
    }
    return NULL;
}

static int measure(job *j, const char *name, int check_data, json_t *params, qm_err *e) {
    micro *m = j->m;
    const uint32_t few = m->sim ? 2 : 100, many = m->sim ? 5 : 1100;
    const char *wrong = NULL;
    double *ns = calloc((size_t)m->repeats, sizeof *ns);
    uint32_t *res = calloc(1, j->out_bytes);
    int rc = 0, n = 0;
    if (!ns || !res) {
        rc = qm_fail(e, QM_ERR_NOMEM, "%s: out of host memory", name);
        goto out;
    }
    for (int i = m->sim ? 0 : -1; i < m->repeats && !wrong; i++) { /* -1: warm-up */
        double a, b;
        if ((rc = once(j, few, &a, res, e))) goto out;
        if ((wrong = judge(j, res, few, check_data))) break;
        if ((rc = once(j, many, &b, res, e))) goto out;
        wrong = judge(j, res, many, check_data);
        if (i >= 0) ns[n++] = (b - a) / (many - few);
    }
    if (j->kind == HOP) { /* two hops a round */
        for (int i = 0; i < n; i++) ns[i] /= 2;
        json_object_set_new(params, "smid", json_pack("[i,i]", (int)res[2], (int)res[6]));
    }
    micro_report(m, name, params, ns, n, 0, wrong);
    params = NULL;
out:
    json_decref(params);
    free(ns);
    free(res);
    return rc;
}

/* CTAs of this shape that are certain to be resident together, at most per_sm on each multiprocessor. */
static int resident(micro *m, CUfunction f, unsigned block, int per_sm, unsigned *grid, qm_err *e) {
    int rc = 0, most = 0;
    QM_CU_TRY(m->d, OccupancyMaxActiveBlocks(&most, f, (int)block, 0));
    if (most > per_sm) most = per_sm;
    if (!most) rc = qm_fail(e, QM_ERR_DEVICE, "no CTA of %u threads fits", block);
    *grid = (unsigned)(most * m->d->n_sm);
out:
    return rc;
}

static int barriers(job j, qm_err *e) {
    static const char *const entries[] = {"qm_micro_barrier", "qm_micro_barrier_data"};
    static const struct {
        unsigned block;
        int per_sm;
    } shapes[] = {{32, 1}, {256, 1}, {256, 2}, {1024, 1}};
    int rc = 0;
    char name[64];
    j.kind = BARRIER;
    for (int data = 0; data < 2; data++)
        for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
            j.block = shapes[i].block;
            snprintf(name, sizeof name, "sync/%s %dx%u", entries[data] + 9, shapes[i].per_sm, j.block);
            if (!micro_wanted(j.m, name)) continue;
            if ((rc = micro_function(j.m, MICRO_SYNC, entries[data], &j.f, e)) ||
                (rc = resident(j.m, j.f, j.block, shapes[i].per_sm, &j.grid, e)))
                return rc;
            j.out_bytes = 8 * (size_t)j.grid;
            if ((rc = measure(&j, name, data, json_pack("{s:i,s:i}", "grid", (int)j.grid, "block", (int)j.block), e)))
                return rc;
        }
    return rc;
}

static int hops(job j, qm_err *e) {
    static const char *const entries[] = {"qm_micro_hop_st", "qm_micro_hop_red", "qm_micro_hop_data"};
    int rc = 0;
    char name[64];
    j.kind = HOP;
    j.block = 32;
    j.grid = (unsigned)j.m->d->n_sm; /* CTA i tends to land on the i-th free multiprocessor: near and far partners */
    j.out_bytes = 32;
    const uint32_t partners[] = {1, j.grid / 2, j.grid - 1};
    static const char *const labels[] = {"next", "middle", "last"};
    for (int i = 0; i < 3; i++)
        for (int p = 0; p < 3; p++) {
            if (p && partners[p] <= partners[p - 1]) continue;
            j.partner = partners[p];
            snprintf(name, sizeof name, "sync/%s %s", entries[i] + 9, labels[p]);
            if (!micro_wanted(j.m, name)) continue;
            if (j.grid < 2) {
                micro_skip(j.m, name, "one multiprocessor");
                continue;
            }
            if ((rc = micro_function(j.m, MICRO_SYNC, entries[i], &j.f, e)) ||
                (rc = measure(&j, name, i == 2, json_pack("{s:i}", "partner", (int)j.partner), e)))
                return rc;
        }
    return rc;
}

static int fans(job j, qm_err *e) {
    static const char *const entries[] = {"qm_micro_fan_cta", "qm_micro_fan_warp"};
    static const uint32_t counters[] = {1, 4, 16}, words[] = {256, 2048, 6144}; /* 1, 8 and 24 KB: of floats */
    int rc = 0;
    char name[64];
    j.kind = FAN;
    j.block = 256;
    for (int i = 0; i < 2; i++)
        for (int c = 0; c < 3; c++)
            for (int w = 0; w < 3; w++) {
                if (c && w != 1) continue;
                j.counters = counters[c];
                j.words = words[w];
                snprintf(name, sizeof name, "sync/%s c%u %uB", entries[i] + 9, j.counters, 4 * j.words);
                if (!micro_wanted(j.m, name)) continue;
                if ((rc = micro_function(j.m, MICRO_SYNC, entries[i], &j.f, e)) ||
                    (rc = resident(j.m, j.f, j.block, 1, &j.grid, e)))
                    return rc;
                j.out_bytes = 8 * (size_t)j.grid;
                if ((rc = measure(&j, name, 1,
                                  json_pack("{s:i,s:i,s:i,s:i}", "grid", (int)j.grid, "block", (int)j.block, "counters",
                                            (int)j.counters, "bytes", 4 * (int)j.words),
                                  e)))
                    return rc;
            }
    return rc;
}

int micro_sync_all(micro *m, qm_err *e) {
    int rc = 0;
    job j = {.m = m, .polls = POLLS, .area_bytes = 4096};
    const size_t data_bytes = 2 * 4 * 6144 > 2 * 4 * 4 * m->d->n_sm ? 2 * 4 * 6144 : (size_t)(2 * 4 * 4 * m->d->n_sm);
    if (!qm_bench_attribute(m->d, CU_DEVICE_ATTRIBUTE_COOPERATIVE_LAUNCH, 0)) {
        micro_skip(m, "sync", "the device has no cooperative launch");
        return 0;
    }
    QM_CU_TRY(m->d, MemAlloc(&j.area, j.area_bytes));
    QM_CU_TRY(m->d, MemAlloc(&j.data, data_bytes));
    QM_CU_TRY(m->d, MemAlloc(&j.out, 8 * 2 * (size_t)m->d->n_sm + 64));
    if ((rc = barriers(j, e)) || (rc = hops(j, e)) || (rc = fans(j, e))) goto out;
out:
    if (j.area) m->d->cu.MemFree(j.area);
    if (j.data) m->d->cu.MemFree(j.data);
    if (j.out) m->d->cu.MemFree(j.out);
    return rc;
}
