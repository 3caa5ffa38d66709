/* check_stats: device against reference: sizes around the block's, partial sums, an addend, copies, vectors
 * with NaN, inf and zeros, and several jobs of one launch. */
#include "check.h"
#include <math.h>
#include <string.h>

typedef struct {
    uint32_t n, parts, stride;
    int add, copy;
    float scale, offset;
    int kind;
} shape;
enum { PLAIN = 0, ODD, ALL_NAN, ALL_INF, ZERO, CONSTANT };

static float *fill(const shape *c, size_t n) {
    float *x = chk_normal(n, c->scale);
    for (size_t i = 0; i < n; i++) {
        if (c->kind == CONSTANT) x[i] = 0;
        x[i] += c->offset;
        if (c->kind == ALL_NAN) x[i] = NAN;
        if (c->kind == ALL_INF) x[i] = i & 1 ? INFINITY : -INFINITY;
        if (c->kind == ZERO) x[i] = i & 1 ? 0.0f : -0.0f;
        if (c->kind == ODD && i % 7 == 3) x[i] = NAN;
        if (c->kind == ODD && i % 11 == 5) x[i] = i & 1 ? INFINITY : -INFINITY;
        if (c->kind == ODD && i % 13 == 2) x[i] = i & 1 ? 0.0f : -0.0f;
    }
    return x;
}

static int same(double a, double b, double tolerance) {
    if (isnan(a) || isnan(b)) return isnan(a) && isnan(b);
    return a == b || fabs(a - b) <= tolerance; /* inf equals inf */
}

/* n_jobs jobs like c, each with data of its own; n_words words copied twice. */
static void run(int checked, unsigned block, uint32_t n_jobs, uint32_t n_words, const shape *c) {
    enum { MAX_JOBS = 40 };
    (checked ? chk_begin_checked
             : chk_begin)("stats n=%u parts=%u stride=%u add=%d copy=%d scale=%g offset=%g kind=%d block=%u jobs=%u",
                          c->n, c->parts, c->stride, c->add, c->copy, c->scale, c->offset, c->kind, block, n_jobs);
    int k = chk_kernel(QM_OP_STATS, -1, 0);
    qm_stats_job dev[MAX_JOBS], host[MAX_JOBS];
    size_t n = (size_t)(c->parts - 1) * c->stride + c->n;
    for (uint32_t i = 0; i < n_jobs; i++) {
        dev[i] = (qm_stats_job){.n = c->n, .n_parts = c->parts, .stride = c->stride};
        dev[i].x = chk_in("x", fill(c, n), 4 * n);
        if (c->add) dev[i].add = chk_in("add", chk_normal(c->n, c->scale), 4 * (size_t)c->n);
        if (c->copy) dev[i].copy = chk_out("copy", 4 * (size_t)c->n);
        host[i] = dev[i];
        host[i].x = (uint64_t)(uintptr_t)chk_twin(dev[i].x);
        host[i].add = (uint64_t)(uintptr_t)chk_twin(dev[i].add);
        host[i].copy = (uint64_t)(uintptr_t)chk_twin(dev[i].copy);
    }
    qm_stats_args a = {.n_words = n_words}, r;
    a.jobs = chk_in2("jobs", dev, n_jobs * sizeof *dev, host, n_jobs * sizeof *host);
    a.out = chk_out("out", n_jobs * sizeof(qm_stats_record));
    if (n_words) {
        uint32_t *w = chk_tmp(8 * n_words);
        for (uint32_t i = 0; i < 2 * n_words; i++) w[i] = 0x7f800000u + i * 977; /* bits, whatever they mean */
        a.words = chk_in("words", w, 4 * n_words);
        a.words2 = chk_in("words2", w + n_words, 4 * n_words);
        a.words_to = chk_out("words_to", 8 * n_words);
    }
    chk_launch(k, n_jobs, 1, 1, block, 0, &a);
    chk_ref_args(QM_OP_STATS, &r, &a);
    qm_ref_stats(&r, &(qm_ref_env){.grid = {n_jobs, 1, 1}, .block = block});
    const qm_stats_record *got = chk_get(a.out), *want = chk_twin(a.out);
    for (uint32_t i = 0; i < n_jobs; i++) {
        const qm_stats_record *g = &got[i], *w = &want[i];
        /* the device adds the parts in f32, the reference rounds once */
        double size = fmax(fabs(w->min), fabs(w->max)), t = chk_tolerance(k) * (isfinite(size) ? size : 0);
        if (c->parts == 1 && !c->add) t = 1e-7 * w->std_dev + 2e-8 * fabs(w->mean);
        if (!same(g->mean, w->mean, t) || !same(g->std_dev, w->std_dev, t) || !same(g->l2, w->l2, t * sqrt(c->n)) ||
            !same(g->min, w->min, t) || !same(g->max, w->max, t))
            chk_fail("job %u: mean %.9g %.9g, std %.9g %.9g, l2 %.9g %.9g, min %g %g, max %g %g", i, g->mean, w->mean,
                     g->std_dev, w->std_dev, g->l2, w->l2, g->min, w->min, g->max, w->max);
        if (g->nans != w->nans || g->infs != w->infs || g->zeros != w->zeros || g->count != w->count)
            chk_fail("job %u: NaNs %u %u, infs %u %u, zeros %u %u, count %u %u", i, g->nans, w->nans, g->infs, w->infs,
                     g->zeros, w->zeros, g->count, w->count);
        if (c->copy) chk_f32(dev[i].copy, c->n, c->parts == 1 && !c->add ? 0 : chk_tolerance(k));
    }
    if (n_words) chk_bytes(a.words_to, 8 * n_words);
    chk_end();
}

static void sizes(void **state) {
    static const uint32_t ns[] = {1, 2, 31, 32, 33, 127, 255, 256, 257, 1000, 1024, 1025, 5003};
    static const unsigned blocks[] = {32, 256, 1024};
    (void)state;
    for (size_t i = 0; i < sizeof ns / sizeof *ns; i++)
        for (size_t j = 0; j < sizeof blocks / sizeof *blocks; j++)
            run(0, blocks[j], 1, 0, &(shape){ns[i], 1, ns[i], 0, i & 1, 1, 0, PLAIN});
}

static void parts(void **state) /* as ops leave them: partial sums to add to a residual */
{
    (void)state;
    for (uint32_t p = 1; p <= 9; p++) {
        run(0, 256, 1, 0, &(shape){512, p, 512, 0, 1, 1, 0, PLAIN});
        run(0, 256, 1, 0, &(shape){300, p, 512, 1, 1, 1, 0, PLAIN});
    }
}

/* In f32, the parts by rising index first, then the addend: what rmsnorm makes of them, to the bit. */
static void parts_first(void **state) {
    enum { N = 300, PARTS = 5 };
    (void)state;
    for (uint32_t n_parts = 1; n_parts <= PARTS; n_parts++) {
        chk_begin("stats parts=%u first", n_parts);
        float *x = chk_normal((size_t)N * n_parts, 1), *add = chk_normal(N, 1), v[N];
        for (uint32_t i = 0; i < N; i++) {
            v[i] = x[i];
            for (uint32_t s = 1; s < n_parts; s++) v[i] += x[(size_t)s * N + i];
            v[i] = add[i] + v[i];
        }
        qm_stats_job job = {.n = N, .n_parts = n_parts, .stride = N};
        job.x = chk_in("x", x, sizeof v * n_parts);
        job.add = chk_in("add", add, sizeof v);
        job.copy = chk_out("copy", sizeof v);
        qm_stats_args a = {.jobs = chk_in("jobs", &job, sizeof job), .out = chk_out("out", sizeof(qm_stats_record))};
        chk_launch(chk_kernel(QM_OP_STATS, -1, 0), 1, 1, 1, 64, 0, &a);
        if (memcmp(chk_get(job.copy), v, sizeof v)) chk_fail("v is not add + ((x0 + x1) + ..)");
        chk_end();
    }
}

static void magnitudes(void **state) /* v^2 overflows or vanishes in f32; a mean far from zero */
{
    static const float scales[] = {1e-30f, 1e-20f, 1e-3f, 30, 1e19f, 1e30f};
    (void)state;
    for (size_t i = 0; i < sizeof scales / sizeof *scales; i++)
        run(0, 256, 1, 0, &(shape){700, 1, 700, 0, 0, scales[i], 0, PLAIN});
    run(0, 256, 1, 0, &(shape){700, 1, 700, 0, 0, 1, 100, PLAIN});
    run(0, 256, 1, 0, &(shape){700, 1, 700, 0, 0, 1, 3, CONSTANT});
}

static void oddities(void **state) {
    (void)state;
    for (int kind = ODD; kind <= ZERO; kind++) {
        run(0, 256, 1, 0, &(shape){1003, 1, 1003, 0, 1, 1, 0, kind});
        run(0, 64, 1, 0, &(shape){5, 1, 5, 0, 1, 1, 0, kind});
        run(0, 256, 1, 0, &(shape){600, 3, 600, 1, 1, 1, 0, kind});
    }
}

static void jobs(void **state) {
    (void)state;
    run(0, 256, 9, 8, &(shape){257, 2, 300, 1, 1, 1, 0, PLAIN});
    run(0, 32, 3, 130, &(shape){40, 1, 40, 0, 0, 1, 0, ODD});
    run(0, 64, 1, 1, &(shape){40, 1, 40, 0, 0, 1, 0, PLAIN});
}

static void checked(void **state) {
    (void)state;
    run(1, 64, 3, 8, &(shape){300, 2, 320, 1, 1, 1, 0, PLAIN});
    run(1, 256, 1, 0, &(shape){33, 1, 33, 0, 0, 1, 0, ODD});
}

static void ledger(void **state) {
    qm_sim_counters c;
    const uint32_t n = 1024;
    (void)state;
    chk_begin_counted("stats ledger");
    int k = chk_kernel(QM_OP_STATS, -1, 0);
    qm_stats_job job = {.n = n, .n_parts = 1, .stride = n};
    job.x = chk_in("x", chk_normal(n, 1), 4 * n);
    qm_stats_args a = {.jobs = chk_in("jobs", &job, sizeof job)};
    a.out = chk_out("out", sizeof(qm_stats_record));
    chk_launch(k, 1, 1, 1, 256, 0, &a);
    if (chk_counters(k, &c)) {
        double per = (double)c.warp_insts / 8, element = 32.0 * (double)c.warp_insts / n;
        print_message("stats n=1024: %.1f warp instructions a warp, %.1f thread instructions an element\n", per,
                      element);
        if (per > 256) chk_fail("%.1f warp instructions a warp", per);
    }
    chk_end();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes), cmocka_unit_test(parts),   cmocka_unit_test(magnitudes), cmocka_unit_test(oddities),
        cmocka_unit_test(jobs),  cmocka_unit_test(checked), cmocka_unit_test(ledger),     cmocka_unit_test(parts_first),
    };
    return chk_main(tests);
}
