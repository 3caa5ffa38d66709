/* unit_memory: what a model takes of a device's memory is counted whole and held against what there is before any work,
 * and the context is chosen by it (runtime/engine/memory.c). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "../../runtime/arch/arch.h"
#include "../../runtime/engine/memory.h"
#include "fixture.h"

/* A device of its own, for looking at the software device's memory and for taking it away. */
static qm_device *device(size_t *free_bytes, size_t *total) {
    qm_device *d;
    qm_err e;
    fix_ok(qm_device_open(&d, "sim", NULL, 0, &e), &e);
    fix_ok(qm_device_mem(d, free_bytes, total, &e), &e);
    return d;
}

/* An engine that is closed leaves no context behind. */
static void again(qm_device *d) { assert_int_equal(d->cu.CtxSetCurrent(d->ctx), CUDA_SUCCESS); }

static size_t free_now(qm_device *d) {
    size_t f, t;
    qm_err e;
    again(d);
    fix_ok(qm_device_mem(d, &f, &t, &e), &e);
    return f;
}

/* Every part by its own formula, from the shape of the fixture's file: 4 layers, 256 wide, 8/2 heads of 128, 8 of 32 experts
 * of 256, vocabulary 512, ctx 512. */
static void test_parts(void **state) {
    (void)state;
    qm_engine *g = fix_engine("small", "graph");
    qm_memory m;
    qm_memory_of(&m, g->place, g->limits, &(qm_engine_opts){0}, 1ull << 40, 1ull << 40);
    assert_int_equal(m.n_ctx, 512);
    assert_int_equal(m.weights, g->place->bytes);
    assert_true(m.weights > 4ull * 3 * 32 * 256 * 256 / 2); /* the experts alone, at half a byte */
    assert_int_equal(m.kv, 512ull * 4 * 2 * 2 * 128 * 2); /* positions, layers, K and V, kv heads, dimensions, bytes */
    assert_true(m.rope >= 512 / QM_ROPE_FINE * 128 * 4ull);
    assert_true(m.sequence >= 4ull * 512 + 4 * 512 / QM_PAGE_TOKENS + 4ull * g->model->hp.n_vocab);
    assert_true(m.scratch > 0);
    assert_int_equal(m.headroom, 256ull << 20);
    assert_int_equal(m.need, m.weights + m.kv + m.scratch + m.rope + m.step + m.sequence + m.loading + m.headroom);
    assert_true(m.fits);
    assert_int_equal(m.n_ctx_max, 512);
    qm_engine_close(g);
}

/* What is counted is what is taken, by either executor: nothing is left out. */
static void test_counted_is_taken(void **state) {
    (void)state;
    static const char *const executors[] = {"graph", "persistent"};
    for (int i = 0; i < 2; i++) {
        size_t before, total;
        qm_device *d = device(&before, &total);
        qm_engine *g = fix_engine("small", executors[i]);
        qm_session *s;
        qm_err e;
        fix_ok(qm_session_open(&s, g, &e), &e);
        uint64_t taken = before - free_now(d), counted = g->memory.need - g->memory.loading - g->memory.headroom;
        assert_in_range(taken, counted, counted + g->memory.headroom / 16);
        if (!i) assert_in_range(taken, counted, counted + 8192); /* each buffer is rounded up */
        qm_session_close(s);
        qm_engine_close(g);
        qm_device_close(d);
    }
}

static int loading(void *user, const qm_engine_info *i) {
    (void)i;
    ++*(int *)user;
    return 0;
}

/* FALSIFY-QW3-MOE-GPU-MEMORY-001, by what is free: to the byte. */
static void test_free_memory(void **state) {
    (void)state;
    size_t avail, total, grain = 512;
    CUdeviceptr hog[2];
    int began = 0;
    qm_device *d = device(&avail, &total);
    qm_memory m;
    qm_engine *g;
    qm_err e;
    qm_engine_opts o = {.device = "sim", .n_ctx = 512, .before_load = loading, .user = &began};
    fix_ok(qm_memory_estimate(&m, fix_model("small"), &o, &e), &e);
    uint64_t need = (m.need + grain - 1) / grain * grain;
    assert_true(m.fits && need + 64 * grain < avail && m.n_ctx_max == 512);
    again(d);
    assert_int_equal(d->cu.MemAlloc(&hog[0], avail - need), CUDA_SUCCESS);
    assert_int_equal(free_now(d), need);
    fix_ok(qm_engine_open(&g, fix_model("small"), &o, &e), &e);
    qm_engine_close(g);
    assert_int_equal(began, 1);

    again(d);
    assert_int_equal(d->cu.MemAlloc(&hog[1], grain), CUDA_SUCCESS);
    assert_int_equal(qm_engine_open(&g, fix_model("small"), &o, &e), QM_ERR_NOMEM);
    assert_int_equal(began, 1); /* before any work */
    assert_int_equal(free_now(d), need - grain);
    char number[64];
    snprintf(number, sizeof number, "needs %.2f GiB", (double)m.need / 1073741824);
    assert_non_null(strstr(e.msg, number));
    assert_non_null(strstr(e.msg, "for 512 positions"));
    assert_non_null(strstr(e.msg, "-c")); /* the largest context that fits */
    fix_ok(qm_memory_estimate(&m, fix_model("small"), &o, &e), &e);
    assert_false(m.fits);
    assert_true(m.n_ctx_max > 256 && m.n_ctx_max < 512);
    /* nobody asked for 512: what fits will do, unless more is needed */
    o.n_ctx = 0;
    o.n_needed = m.n_ctx_max;
    fix_ok(qm_engine_open(&g, fix_model("small"), &o, &e), &e);
    assert_int_equal(g->limits.n_ctx, m.n_ctx_max);
    assert_int_equal(g->kv.n_pages, (m.n_ctx_max + QM_PAGE_TOKENS - 1) / QM_PAGE_TOKENS);
    qm_engine_close(g);
    o.n_needed++;
    assert_int_equal(qm_engine_open(&g, fix_model("small"), &o, &e), QM_ERR_NOMEM);
    again(d);
    for (int i = 0; i < 2; i++) assert_int_equal(d->cu.MemFree(hog[i]), CUDA_SUCCESS);
    qm_device_close(d);
}

/* The same by 95% of all there is. */
static void test_share_of_total(void **state) {
    (void)state;
    size_t avail, total;
    qm_device *d = device(&avail, &total);
    assert_int_equal(avail, total);
    qm_memory m;
    qm_engine *g;
    qm_err e;
    qm_engine_opts o = {.device = "sim", .n_ctx = 64};
    fix_ok(qm_memory_estimate(&m, fix_model("huge_ctx"), &o, &e), &e);
    assert_int_equal(m.limit, (uint64_t)(0.95 * (double)total));
    assert_true(m.n_ctx_max > 64 && m.n_ctx_max < m.n_ctx_train);
    o.n_ctx = m.n_ctx_max;
    fix_ok(qm_memory_estimate(&m, fix_model("huge_ctx"), &o, &e), &e);
    assert_true(m.fits && m.need <= m.limit);
    o.n_ctx++;
    fix_ok(qm_memory_estimate(&m, fix_model("huge_ctx"), &o, &e), &e);
    assert_true(!m.fits && m.need > m.limit && m.need < total);
    assert_int_equal(qm_engine_open(&g, fix_model("huge_ctx"), &o, &e), QM_ERR_NOMEM);
    char number[64];
    snprintf(number, sizeof number, "is %u (-c)", m.n_ctx_max);
    assert_non_null(strstr(e.msg, number));
    qm_device_close(d);
}

/* The rule at qm_engine_opts.n_ctx: a file whose limit is 2^27, on memory without end. */
static void test_context_rule(void **state) {
    (void)state;
    static const struct {
        uint32_t n_ctx, needed, wanted, gives;
    } t[] = {
        {0, 0, 0, 4096},           {0, 100, 0, 4096},          {0, 4088, 0, 4096},       {0, 4089, 0, 4097},
        {0, 9000, 0, 9008},        {0, 100, 32768, 32768},     {0, 40000, 32768, 40008}, {64, 0, 0, 64},
        {64, 64, 32768, 64},       {0, 1u << 27, 0, 1u << 27}, {64, 65, 0, 0},           {0, (1u << 27) + 1, 0, 0},
        {(1u << 27) + 1, 0, 0, 0},
    };
    qm_gguf *f;
    qm_model *model;
    qm_place *pl;
    qm_err e;
    fix_ok(qm_gguf_open(&f, fix_model("huge_ctx"), &e), &e);
    fix_ok(qm_model_open(&model, f, 0, &e), &e);
    fix_ok(qm_place_build(&pl, model, &e), &e);
    for (size_t i = 0; i < sizeof t / sizeof *t; i++) {
        qm_memory m;
        qm_engine_opts o = {.n_ctx = t[i].n_ctx, .n_needed = t[i].needed, .n_wanted = t[i].wanted};
        int rc = qm_memory_choose(&m, pl, (qm_limits){.n_sm = 4}, 1ull << 50, 1ull << 50, &o, "nowhere", &e);
        if (t[i].gives) fix_ok(rc, &e);
        else assert_int_equal(rc, QM_ERR_LIMIT);
        if (t[i].gives) assert_int_equal(m.n_ctx, t[i].gives);
    }
    /* nothing is known to be needed: less than 4096 is not worth having */
    qm_memory m, at;
    qm_memory_of(&at, pl, (qm_limits){.n_sm = 4, .n_ctx = 4096}, &(qm_engine_opts){0}, 1ull << 50, 1ull << 50);
    qm_engine_opts o = {0};
    fix_ok(qm_memory_choose(&m, pl, (qm_limits){.n_sm = 4}, at.need, 1ull << 50, &o, "nowhere", &e), &e);
    assert_int_equal(qm_memory_choose(&m, pl, (qm_limits){.n_sm = 4}, at.need - 1, 1ull << 50, &o, "nowhere", &e),
                     QM_ERR_NOMEM);
    o.n_wanted = 32768;
    fix_ok(qm_memory_choose(&m, pl, (qm_limits){.n_sm = 4}, at.need, 1ull << 50, &o, "nowhere", &e), &e);
    assert_int_equal(m.n_ctx, 4096);
    qm_place_free(pl);
    qm_model_close(model);
    qm_gguf_close(f);
}

/* The prompt is measured before anything is loaded. */
typedef struct {
    int measured, loaded;
    uint32_t n;
} seen;

static int measure(void *user, const qm_engine *g, uint32_t *needed, uint32_t *wanted, qm_err *e) {
    seen *s = user;
    qm_tokens ids = {0};
    qm_message said = {"user", "Hi", 2};
    (void)wanted;
    assert_int_equal(s->loaded, 0);
    s->measured++;
    int rc = qm_engine_render(g, &said, 1, &ids, e);
    *needed = (uint32_t)ids.n + s->n;
    free(ids.v);
    return rc;
}

static int before_load(void *user, const qm_engine_info *i) {
    seen *s = user;
    s->loaded += i->n_ctx == 512;
    return 0;
}

static void test_measured_first(void **state) {
    (void)state;
    seen s = {0};
    qm_engine *g;
    qm_err e;
    qm_engine_opts o = {.device = "sim", .measure = measure, .before_load = before_load, .user = &s};
    fix_ok(qm_engine_open(&g, fix_model("small"), &o, &e), &e);
    qm_engine_close(g);
    assert_int_equal(s.measured, 1);
    assert_int_equal(s.loaded, 1);
    s = (seen){.n = 512};
    assert_int_equal(qm_engine_open(&g, fix_model("small"), &o, &e), QM_ERR_LIMIT);
    assert_non_null(strstr(e.msg, "limit is 512"));
    assert_int_equal(s.loaded, 0);
}

int main(void) {
    setenv("QMOE_SIM_MEM", "8G", 1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parts),        cmocka_unit_test(test_counted_is_taken),
        cmocka_unit_test(test_free_memory),  cmocka_unit_test(test_share_of_total),
        cmocka_unit_test(test_context_rule), cmocka_unit_test(test_measured_first),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
