/* micro_stream.c: bytes per second from DRAM and from L2 (bench/ptx/stream.ptx, bulk.ptx), and of the driver's
 * own copy and fill. One launch reads the whole buffer (gigabytes, so that its launch disappears), and the sum
 * of all words is compared with the closed form of the sequence that fills it. */
#include "micro.h"
#include <stdio.h>
#include <string.h>

/* sum over i < n of (i^2 a + i b + c) mod 2^32: what fill writes (stream.ptx). */
static uint32_t expected_sum(uint64_t n) {
    unsigned __int128 i1 = (unsigned __int128)n * (n - 1) / 2, i2 = i1 * (2 * (unsigned __int128)n - 1) / 3;
    return (uint32_t)((uint32_t)i2 * 0x9e3779b1u + (uint32_t)i1 * 0x85ebca6bu + (uint32_t)n * 0xc2b2ae35u);
}

typedef struct {
    micro *m;
    CUfunction f;
    CUdeviceptr buffer, out;
    unsigned grid, block, shared;
    uint32_t cta_stride, load_stride, n_iter, passes; /* in vectors of 16 bytes */
    uint32_t run_vecs, stages;                        /* bulk */
} job;

static int launch(void *user, uint32_t n, qm_err *e) {
    job *j = user;
    int rc = 0;
    (void)n;
    void *params[] = {&j->buffer, &j->out,    &j->cta_stride, &j->load_stride,
                      &j->n_iter, &j->passes, &j->run_vecs,   &j->stages};
    QM_CU_TRY(j->m->d, LaunchKernel(j->f, j->grid, 1, 1, j->block, 1, 1, j->shared, j->m->s, params, NULL));
out:
    return rc;
}

/* vecs: what one pass reads: all of [0, vecs), each vector once. */
static int measure(job *j, const char *name, uint64_t vecs, json_t *params, qm_err *e) {
    micro *m = j->m;
    double ns[1000];
    const double bytes = 16.0 * (double)vecs * j->passes;
    const uint32_t want = expected_sum(4 * vecs) * j->passes;
    const char *wrong = NULL;
    uint32_t sum;
    int rc = 0, n = 0;
    for (int i = m->sim ? 0 : -1; i < m->repeats && !wrong; i++) {
        double t;
        QM_CU_TRY(m->d, MemsetD32Async(j->out, 0, 1, m->s));
        if ((rc = micro_time(m, launch, j, 1, &t, NULL, e))) goto out;
        QM_CU_TRY(m->d, MemcpyDtoH(&sum, j->out, 4));
        if (sum != want) wrong = "the sum of what was read is not that of what is there";
        if (i >= 0) ns[n++] = t;
    }
    json_object_set_new(params, "grid", json_integer(j->grid));
    json_object_set_new(params, "block", json_integer(j->block));
    json_object_set_new(params, "buffer_bytes", json_integer((json_int_t)(16 * vecs)));
    json_object_set_new(params, "passes", json_integer(j->passes));
    micro_report(m, name, params, ns, n, bytes, wrong);
    params = NULL;
out:
    json_decref(params);
    return rc;
}

/* Deals at most max_vecs to the grid: runs of run_vecs, n_iter * unroll of them a CTA. Returns the vectors of a pass. */
static uint64_t deal(job *j, uint64_t max_vecs, uint32_t run_vecs, uint32_t unroll, int chunk) {
    uint64_t round = (uint64_t)j->grid * run_vecs * unroll, n = max_vecs / round;
    if (!n) n = 1;
    j->n_iter = (uint32_t)n;
    j->cta_stride = chunk ? (uint32_t)n * unroll * run_vecs : run_vecs;
    j->load_stride = chunk ? run_vecs : run_vecs * j->grid;
    return n * round;
}

typedef struct {
    const char *label;
    uint64_t vecs;
    uint32_t passes;
} place;

static int loads(job j, const place *p, qm_err *e) {
    static const struct {
        const char *entry, *label;
        uint32_t unroll, stages;
    } kinds[] = {
        {"qm_micro_read_u1", "ld u1", 1, 0},
        {"qm_micro_read_u2", "ld u2", 2, 0},
        {"qm_micro_read_u4", "ld u4", 4, 0},
        {"qm_micro_read_u8", "ld u8", 8, 0},
        {"qm_micro_read_u4_256", "ld u4 L2::256B", 4, 0},
        {"qm_micro_async_s4", "cp.async s4", 1, 4},
        {"qm_micro_async_s8", "cp.async s8", 1, 8},
    };
    static const struct {
        unsigned per_sm, block;
    } shapes[] = {{1, 256}, {2, 256}, {4, 256}, {8, 256}, {1, 512}, {1, 1024}, {2, 1024}};
    char name[80];
    int rc = 0;
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++)
        for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++)
            for (int chunk = 1; chunk >= 0; chunk--) {
                int fit = 0;
                snprintf(name, sizeof name, "stream/%s %s %ux%u %s", p->label, kinds[k].label, shapes[s].per_sm,
                         shapes[s].block, chunk ? "chunk" : "interleave");
                if (!chunk && s != 2 && s != 6) continue; /* two shapes show the difference */
                if (!micro_wanted(j.m, name)) continue;
                j.block = shapes[s].block;
                j.grid = shapes[s].per_sm * (unsigned)j.m->d->n_sm;
                j.shared = kinds[k].stages * 16 * j.block;
                j.passes = p->passes;
                if ((rc = micro_function(j.m, MICRO_STREAM, kinds[k].entry, &j.f, e))) return rc;
                if (j.shared > 48 << 10) { /* 1024 threads x 8 stages: 128 KB */
                    if (j.shared > (unsigned)j.m->max_shared ||
                        j.m->d->cu.FuncSetAttribute(j.f, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES,
                                                    (int)j.shared)) {
                        micro_skip(j.m, name, "a CTA cannot have that much shared memory");
                        continue;
                    }
                }
                QM_CU_TRY(j.m->d, OccupancyMaxActiveBlocks(&fit, j.f, (int)j.block, j.shared));
                if (fit < (int)shapes[s].per_sm) {
                    micro_skip(j.m, name, "the CTAs do not fit a multiprocessor together");
                    continue;
                }
                uint64_t vecs = deal(&j, p->vecs, j.block, kinds[k].unroll, chunk);
                if (vecs > p->vecs) {
                    micro_skip(j.m, name, "the buffer is smaller than what this shape reads at once");
                    continue;
                }
                if ((rc = measure(&j, name, vecs,
                                  json_pack("{s:i,s:b}", "unroll", (int)kinds[k].unroll, "chunk", chunk), e)))
                    return rc;
            }
out:
    return rc;
}

static int bulks(job j, const place *p, qm_err *e) {
    static const struct {
        unsigned per_sm, kib;
        uint32_t stages;
    } shapes[] = {
        {1, 2, 4}, {1, 4, 4}, {1, 8, 4}, {1, 16, 4}, {1, 4, 8},  {1, 8, 8},
        {2, 4, 4}, {2, 8, 4}, {4, 4, 4}, {4, 8, 4},  {1, 32, 3},
    };
    char name[80];
    int rc = 0;
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
        int fit = 0;
        snprintf(name, sizeof name, "stream/%s bulk %ux256 %uK s%u", p->label, shapes[s].per_sm, shapes[s].kib,
                 shapes[s].stages);
        if (!micro_wanted(j.m, name)) continue;
        if (j.m->d->cc_major < 9) {
            micro_skip(j.m, name, "needs compute capability 9.0");
            continue;
        }
        j.block = 256;
        j.grid = shapes[s].per_sm * (unsigned)j.m->d->n_sm;
        j.run_vecs = shapes[s].kib * 64;
        j.stages = shapes[s].stages;
        j.shared = 128 + j.stages * j.run_vecs * 16;
        j.passes = p->passes;
        if ((rc = micro_function(j.m, MICRO_BULK, "qm_micro_bulk", &j.f, e))) return rc;
        if (j.shared > (unsigned)j.m->max_shared) {
            micro_skip(j.m, name, "a CTA cannot have that much shared memory");
            continue;
        }
        QM_CU_TRY(j.m->d, FuncSetAttribute(j.f, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, (int)j.shared));
        QM_CU_TRY(j.m->d, OccupancyMaxActiveBlocks(&fit, j.f, (int)j.block, j.shared));
        if (fit < (int)shapes[s].per_sm) {
            micro_skip(j.m, name, "the CTAs do not fit a multiprocessor together");
            continue;
        }
        uint64_t vecs = deal(&j, p->vecs, j.run_vecs, 1, 1);
        if (vecs > p->vecs) {
            micro_skip(j.m, name, "the buffer is smaller than what this shape reads at once");
            continue;
        }
        if ((rc = measure(&j, name, vecs,
                          json_pack("{s:i,s:i}", "run_bytes", (int)j.run_vecs * 16, "stages", (int)j.stages), e)))
            return rc;
    }
out:
    return rc;
}

/* The driver's copy within the device (bytes counted twice: read and written) and its fill (once). */
typedef struct {
    micro *m;
    CUdeviceptr from, to;
    size_t n;
} transfer;
static int copy(void *user, uint32_t n, qm_err *e) {
    transfer *t = user;
    int rc = 0;
    (void)n;
    QM_CU_TRY(t->m->d, MemcpyDtoDAsync(t->to, t->from, t->n, t->m->s));
out:
    return rc;
}
static int fill(void *user, uint32_t n, qm_err *e) {
    transfer *t = user;
    int rc = 0;
    (void)n;
    QM_CU_TRY(t->m->d, MemsetD32Async(t->to, 0x5a5a5a5a, t->n / 4, t->m->s));
out:
    return rc;
}

static int copies(job *j, size_t bytes, qm_err *e) {
    static const struct {
        const char *name;
        micro_go go;
        double times;
        uint32_t word;
    } rows[] = {
        {"copy/device to device", copy, 2, 0xc2b2ae35u},
        {"copy/fill", fill, 1, 0x5a5a5a5au},
    };
    micro *m = j->m;
    transfer t = {m, j->buffer, j->buffer + bytes / 2, bytes / 2};
    double ns[1000];
    int rc = 0;
    for (size_t r = 0; r < sizeof rows / sizeof *rows; r++) {
        uint32_t word = 0;
        int n = 0;
        if (!micro_wanted(m, rows[r].name)) continue;
        for (int i = m->sim ? 0 : -1; i < m->repeats; i++) {
            double dt;
            if ((rc = micro_time(m, rows[r].go, &t, 1, &dt, NULL, e))) goto out;
            if (i >= 0) ns[n++] = dt;
        }
        QM_CU_TRY(m->d, MemcpyDtoH(&word, t.to, 4)); /* word 0 of the sequence, or of the fill */
        const double moved = rows[r].times * (double)t.n;
        micro_report(m, rows[r].name, json_pack("{s:I}", "buffer_bytes", (json_int_t)t.n), ns, n, moved,
                     word == rows[r].word ? NULL : "the destination does not hold what was copied");
    }
out:
    return rc;
}

/* Does prefetch.global.L2 bring what is read next, and how far do its addresses have to lie apart? A read of a buffer that
 * fits the L2, after other memory has been written over twice the L2, and after a prefetch with one address every `step`
 * bytes; and that prefetch alone. If the read after it is as fast as one from L2, the persistent kernel may rely on it. */
typedef struct {
    job *j;
    CUfunction f;
    uint64_t bytes;
    uint32_t step;
} ask;
static int ask_for(void *user, uint32_t n, qm_err *e) {
    ask *a = user;
    qm_device *d = a->j->m->d;
    int rc = 0;
    (void)n;
    QM_CU_TRY(d, LaunchKernel(a->f, (unsigned)d->n_sm, 1, 1, 512, 1, 1, 0, a->j->m->s,
                              ((void *[]){&a->j->buffer, &a->bytes, &a->step}), NULL));
out:
    return rc;
}

static int prefetches(job j, size_t bytes, size_t l2, qm_err *e) {
    static const uint32_t steps[] = {0, 32, 64, 128}; /* 0: none */
    micro *m = j.m;
    double ns[1000], t, none;
    char name[80];
    const size_t beyond = bytes / 2 < 2 * m->l2_bytes || m->sim ? bytes / 2 : 2 * m->l2_bytes;
    int rc = 0;
    j.block = 512;
    j.grid = (unsigned)m->d->n_sm;
    j.passes = 1;
    ask a = {.j = &j};
    if ((rc = micro_function(m, MICRO_STREAM, "qm_micro_read_u4", &j.f, e)) ||
        (rc = micro_function(m, MICRO_STREAM, "qm_micro_prefetch", &a.f, e)))
        return rc;
    const uint64_t vecs = deal(&j, l2 / 16, j.block, 4, 1);
    a.bytes = 16 * vecs;
    for (size_t k = 0; k < sizeof steps / sizeof *steps; k++)
        for (int alone = 0; alone < (steps[k] ? 2 : 1); alone++) {
            const char *wrong = NULL;
            uint32_t sum = 0;
            int n = 0;
            a.step = steps[k];
            if (!steps[k]) snprintf(name, sizeof name, "prefetch/cold read");
            else
                snprintf(name, sizeof name, "prefetch/%s every %u bytes", alone ? "alone," : "read after one",
                         steps[k]);
            if (!micro_wanted(m, name)) continue;
            for (int i = m->sim ? 0 : -1; i < m->repeats && !wrong; i++) {
                QM_CU_TRY(m->d, MemsetD32Async(j.buffer + bytes - beyond, 0x5a5a5a5a, beyond / 4, m->s));
                QM_CU_TRY(m->d, MemsetD32Async(j.out, 0, 1, m->s));
                if (steps[k] && !alone && (rc = micro_time(m, ask_for, &a, 1, &none, NULL, e))) goto out;
                if ((rc = micro_time(m, alone ? ask_for : launch, alone ? (void *)&a : (void *)&j, 1, &t, NULL, e)))
                    goto out;
                QM_CU_TRY(m->d, MemcpyDtoH(&sum, j.out, 4));
                if (sum != (alone ? 0 : expected_sum(4 * vecs)))
                    wrong = "the sum of what was read is not that of what is there";
                if (i >= 0) ns[n++] = t;
            }
            micro_report(m, name, json_pack("{s:i,s:I}", "step", (int)steps[k], "buffer_bytes", (json_int_t)a.bytes),
                         ns, n, (double)a.bytes, wrong);
        }
out:
    return rc;
}

/* Is the hint still worth something while the memory is busy? A read of an eighth of the L2 that a kernel has asked for
 * beside its own loads, which keep the memory busy: not at all, by prefetch, by real loads. If the read after the hint is as
 * slow as after none, hints are dropped under load, and the persistent kernel must ask with loads. */
typedef struct {
    job *j;
    CUfunction f;
    CUdeviceptr other;
    uint64_t bytes;
    uint32_t how, turns;
    unsigned grid;
} busy;
static int ask_busy(void *user, uint32_t n, qm_err *e) {
    busy *b = user;
    int rc = 0;
    (void)n;
    QM_CU_TRY(b->j->m->d,
              LaunchKernel(b->f, b->grid, 1, 1, 1024, 1, 1, 0, b->j->m->s,
                           ((void *[]){&b->j->buffer, &b->bytes, &b->how, &b->other, &b->turns, &b->j->out}), NULL));
out:
    return rc;
}

static int asks_under_load(job j, size_t bytes, size_t l2, qm_err *e) {
    static const char *const hows[] = {"nobody", "prefetch", "loads"};
    micro *m = j.m;
    double ns[1000], during[1000];
    char name[80];
    int rc = 0;
    j.block = 512;
    j.grid = (unsigned)m->d->n_sm;
    j.passes = 1;
    busy b = {.j = &j, .grid = 2 * (unsigned)m->d->n_sm};
    if ((rc = micro_function(m, MICRO_STREAM, "qm_micro_read_u4", &j.f, e)) ||
        (rc = micro_function(m, MICRO_STREAM, "qm_micro_ask_busy", &b.f, e)))
        return rc;
    const size_t asked = m->sim ? l2 / 4 : l2 / 2; /* l2: a quarter of it */
    const uint64_t vecs = deal(&j, asked / 16, j.block, 4, 1), threads = 1024ull * b.grid;
    b.bytes = 16 * vecs;
    b.other = j.buffer + b.bytes;
    const uint64_t asks = (b.bytes / 32 + threads - 1) / threads, load = asked / 8 / threads;
    b.turns = (uint32_t)(asks > load ? asks : load);
    const uint64_t all = vecs + b.turns * threads;
    const size_t beyond = bytes / 2 < 2 * m->l2_bytes || m->sim ? bytes / 2 : 2 * m->l2_bytes;
    if (16 * all > bytes - beyond) {
        micro_skip(m, "prefetch/under load", "the buffer is smaller than what is read at once");
        return 0;
    }
    for (b.how = 0; b.how < 3; b.how++)
        for (int after = 0; after < 2; after++) {
            const char *wrong = NULL;
            uint32_t sum = 0,
                     want = expected_sum(4 * all) - expected_sum(4 * vecs) + (after ? expected_sum(4 * vecs) : 0);
            int n = 0;
            snprintf(name, sizeof name, "prefetch/%s, asked by %s", after ? "after load" : "load itself", hows[b.how]);
            if (!micro_wanted(m, name)) continue;
            for (int i = m->sim ? 0 : -1; i < m->repeats && !wrong; i++) {
                double t, *v = after ? ns : during;
                QM_CU_TRY(m->d, MemsetD32Async(j.buffer + bytes - beyond, 0x5a5a5a5a, beyond / 4, m->s));
                QM_CU_TRY(m->d, MemsetD32Async(j.out, 0, 1, m->s));
                if ((rc = micro_time(m, ask_busy, &b, 1, &t, NULL, e))) goto out;
                if (after && (rc = micro_time(m, launch, &j, 1, &t, NULL, e))) goto out;
                QM_CU_TRY(m->d, MemcpyDtoH(&sum, j.out, 4));
                if (sum != want) wrong = "the sum of what was read is not that of what is there";
                if (i >= 0) v[n++] = t;
            }
            micro_report(m, name,
                         json_pack("{s:s,s:I,s:I}", "by", hows[b.how], "asked_bytes", (json_int_t)b.bytes,
                                   "other_bytes", (json_int_t)(16 * b.turns * threads)),
                         after ? ns : during, n, after ? (double)b.bytes : 16.0 * (double)(b.turns * threads), wrong);
        }
out:
    return rc;
}

int micro_stream_all(micro *m, qm_err *e) {
    int rc = 0;
    size_t avail = 0, total = 0, bytes;
    job j = {.m = m};
    if ((rc = qm_device_mem(m->d, &avail, &total, e))) return rc;
    /* DRAM: up to 4 GiB (2^28 vectors), far beyond any L2; L2: a quarter of it, as often as makes up 2 GiB. On
     * the software device twice what the widest shape reads at once shows that the kernels are right. */
    bytes = m->sim ? (size_t)m->d->n_sm << 19 : (size_t)4 << 30;
    while (bytes > avail / 2) bytes /= 2;
    if (!m->sim && bytes < 8 * m->l2_bytes) {
        micro_skip(m, "stream", "too little free memory for a buffer of 8 times the L2");
        return 0;
    }
    QM_CU_TRY(m->d, MemAlloc(&j.buffer, bytes));
    QM_CU_TRY(m->d, MemAlloc(&j.out, 128));
    if ((rc = micro_function(m, MICRO_STREAM, "qm_micro_fill", &j.f, e))) goto out;
    uint32_t n_vec = (uint32_t)(bytes / 16);
    QM_CU_TRY(m->d, LaunchKernel(j.f, 4 * (unsigned)m->d->n_sm, 1, 1, 256, 1, 1, 0, m->s,
                                 ((void *[]){&j.buffer, &n_vec}), NULL));
    QM_CU_TRY(m->d, StreamSynchronize(m->s));
    const size_t l2 = m->sim ? bytes / 2 : m->l2_bytes / 4;
    const place dram = {"dram", bytes / 16, 1};
    const place cache = {"l2", l2 / 16, m->sim ? 2 : (uint32_t)(((size_t)2 << 30) / l2)};
    if ((rc = loads(j, &dram, e)) || (rc = bulks(j, &dram, e)) || (rc = loads(j, &cache, e)) ||
        (rc = bulks(j, &cache, e)) || (rc = prefetches(j, bytes, l2, e)) || (rc = asks_under_load(j, bytes, l2, e)) ||
        (rc = copies(&j, bytes, e))) /* these last: they write into the buffer's end */
        goto out;
out:
    if (j.buffer) m->d->cu.MemFree(j.buffer);
    if (j.out) m->d->cu.MemFree(j.out);
    return rc;
}
