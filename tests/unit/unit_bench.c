/* unit_bench: what `qmoe-gpu bench` is made of: statistics, the bytes of a step, a cache filled without
 * computing, the tests themselves, and the yardsticks (memory, bus, storage). */
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "fixture.h"
#include "../../runtime/observe/bench.h"
#include "../../runtime/observe/probe.h"
#include "../../runtime/device/counters.h"
#include "../../runtime/sim/sim.h"

static int near(double a, double b, double tol) { return fabs(a - b) <= tol; }

/* The samples that the README of llama-bench shows, and what it makes of them. */
static void statistics(void **state) {
    (void)state;
    static const uint64_t pp[] = {74601900, 71632900, 71745200, 71952700, 70745500};
    static const uint64_t tg[] = {1075361300, 1065089400, 1071761200, 1081934900, 1089692600};
    qm_bench_result r;
    qm_bench_stats(pp, 5, 512, &r);
    assert_true(near(r.avg_ns, 72135640, 1) && near(r.stddev_ns, 1453752, 1));
    assert_true(near(r.avg_ts, 7100.002165, 1e-5) && near(r.stddev_ts, 140.341520, 1e-5));
    qm_bench_stats(tg, 5, 128, &r);
    assert_true(near(r.stddev_ns, 9449585, 1));
    assert_true(near(r.avg_ts, 118.881588, 1e-5) && near(r.stddev_ts, 1.041811, 1e-5));
    qm_bench_stats(pp, 1, 512, &r);
    assert_true(r.avg_ns == 74601900 && r.stddev_ns == 0 && r.stddev_ts == 0);
    qm_bench_stats((const uint64_t[]){5, 5, 5}, 3, 7, &r);
    assert_true(r.avg_ns == 5 && r.stddev_ns == 0 && near(r.avg_ts, 1.4e9, 1) && r.stddev_ts == 0);
}

/* "small": 4 layers, 2 kv heads of 128: 2 KiB of keys and values a position and layer. */
static void bytes_of_a_step(void **state) {
    (void)state;
    qm_engine *g = fix_engine("small", "graph");
    uint64_t w, kv, w0, kv0;
    qm_err e;
    fix_ok(qm_bench_step_bytes(g, (qm_work){0, 1, 1, 1}, &w, &kv, &e), &e);
    assert_int_equal(w, g->info.bytes_per_token);
    assert_int_equal(kv, 4 * 1024);
    fix_ok(qm_bench_step_bytes(g, (qm_work){300, 1, 1, 1}, &w, &kv, &e), &e);
    assert_int_equal(w, g->info.bytes_per_token);
    assert_int_equal(kv, 4 * 1024 * 301);
    /* without logits: no lm_head, nothing behind the last layer's cache append */
    fix_ok(qm_bench_step_bytes(g, (qm_work){300, 1, 1, 0}, &w0, &kv0, &e), &e);
    assert_true(w0 < w);
    assert_int_equal(kv0, 3 * 1024 * 301);
    qm_engine_close(g);
}

static void logits_at(const char *executor, uint32_t depth, uint64_t seed, float *out, uint32_t vocab) {
    qm_engine *g = fix_engine("small", executor);
    qm_session *s;
    qm_err e;
    assert_int_equal(g->model->hp.n_vocab, vocab);
    fix_ok(qm_session_open(&s, g, &e), &e);
    fix_ok(qm_inside_fill(s, depth, seed, &e), &e);
    assert_int_equal(qm_session_length(s), depth);
    fix_ok(qm_session_eval(s, 17, &e), &e);
    fix_ok(qm_session_logits(s, out, &e), &e);
    qm_session_close(s);
    assert_int_equal(g->kv.n_free, g->kv.n_pages);
    qm_engine_close(g);
}

/* A filled cache is really there: both executors see the same one, and it matters. */
static void filled_cache(void **state) {
    (void)state;
    enum { V = 512, DEPTH = 100 };
    static float a[V], b[V], c[V], d[V];
    logits_at("graph", DEPTH, 1, a, V);
    for (int i = 0; i < V; i++) assert_true(isfinite(a[i]));
    logits_at("ref", DEPTH, 1, b, V);
    print_message("behind 100 filled positions: device against reference, relative L2 %.2g\n", fix_rel_l2(a, b, V));
    assert_true(fix_rel_l2(a, b, V) < 1e-3);
    logits_at("graph", DEPTH, 1, c, V);
    assert_memory_equal(a, c, sizeof a);
    logits_at("graph", DEPTH, 2, d, V);
    assert_true(fix_rel_l2(d, a, V) > 0.05);
    logits_at("graph", DEPTH + 1, 1, d, V);
    assert_true(fix_rel_l2(d, a, V) > 0.01);
}

/* n bytes of the KV pool at off, read or written behind the executor's back. */
static void pool(qm_session *s, uint64_t off, void *host, uint64_t n, int write) {
    qm_inside x;
    qm_err e;
    fix_ok(qm_inside_open(&x, s->g, s, 0, &e), &e);
    const qm_ref at = QM_REF(QM_SPACE_KV, off);
    fix_ok(write ? qm_inside_write(&x, at, host, n, &e) : qm_inside_read(&x, at, host, n, &e), &e);
    qm_inside_close(&x);
}

/* The whole pool is filled, also one that takes several copies: halves of either sign, magnitudes 1/16 to 1. */
static void fill_is_whole(void **state) {
    (void)state;
    for (int ref = 0; ref < 2; ref++) {
        const char *dev = getenv("QMOE_TEST_DEVICE");
        qm_engine_opts o = {.device = ref ? NULL : dev ? dev : "sim", .executor = ref ? "ref" : "graph", .n_ctx = 9000};
        qm_engine *g;
        qm_session *s;
        qm_err e;
        fix_ok(qm_engine_open(&g, fix_model("huge_ctx"), &o, &e), &e);
        fix_ok(qm_session_open(&s, g, &e), &e);
        fix_ok(qm_inside_fill(s, 100, 1, &e), &e);
        uint64_t bytes = g->info.kv_bytes, odd = 0, up = 0;
        assert_true(bytes > 8 << 20); /* not once, not a whole number of times what the host makes */
        uint16_t *v = malloc(bytes);
        assert_non_null(v);
        pool(s, 0, v, bytes, 0);
        for (uint64_t i = 0; i < bytes / 2; i++) {
            odd += (v[i] & 0x7fff) < 0x2c00 || (v[i] & 0x7fff) > 0x3bff;
            up += !(v[i] >> 15);
        }
        assert_int_equal(odd, 0);
        assert_true(up > bytes / 2 * 49 / 100 && up < bytes / 2 * 51 / 100);
        free(v);
        qm_session_close(s);
        qm_engine_close(g);
    }
}

/* Every filled page is one of its own, and steps read each: other keys or values in any of them give other logits. */
static void each_filled_page_is_read(void **state) {
    (void)state;
    enum { V = 512, DEPTH = 100, PAGES = 4 };
    static float a[V], b[V];
    for (int ref = 0; ref < 2; ref++) {
        const char *executor = ref ? "ref" : "graph";
        logits_at(executor, DEPTH, 1, a, V);
        qm_engine *g = fix_engine("small", executor);
        uint64_t page = qm_kv_page_bytes(&g->model->hp, g->limits.kv_type), layer = 2 * page * g->limits.n_pages;
        qm_session *s;
        qm_err e;
        uint16_t other[64];
        for (int i = 0; i < 64; i++) other[i] = i % 2 ? 0x3c00 : 0xbc00; /* 1 and -1 */
        for (int i = 0; i < 2 * PAGES; i++) { /* K and V; the first positions of a page of the first layer */
            fix_ok(qm_session_open(&s, g, &e), &e);
            fix_ok(qm_inside_fill(s, DEPTH, 1, &e), &e);
            assert_int_equal(s->n_pages, PAGES);
            for (int k = 0; k < i % PAGES; k++) assert_true(s->pages[k] != s->pages[i % PAGES]);
            pool(s, (i >= PAGES ? layer / 2 : 0) + page * s->pages[i % PAGES], other, sizeof other, 1);
            fix_ok(qm_session_eval(s, 17, &e), &e);
            fix_ok(qm_session_logits(s, b, &e), &e);
            if (!memcmp(a, b, sizeof a))
                fail_msg("%s: nobody reads page %d of the %s", executor, i % PAGES, i < PAGES ? "keys" : "values");
            qm_session_close(s);
        }
        qm_engine_close(g);
    }
}

/* Attention at a filled depth reads what kv_bytes says, counted on the software device. */
static void kv_bytes_are_read(void **state) {
    (void)state;
    qm_engine *g = fix_engine("long_ctx", "graph");
    if (!qm_counters_here(g->dev)) {
        qm_engine_close(g);
        skip();
    }
    qm_sim_options o, was;
    qm_sim_get_options(&was);
    o = was;
    o.count = 1;
    qm_sim_set_options(&o);
    qm_session *s;
    qm_sim_counters c;
    uint64_t w, kv;
    uint32_t id;
    qm_err e;
    fix_ok(qm_session_open(&s, g, &e), &e);
    fix_ok(qm_inside_fill(s, 2047, 1, &e), &e);
    fix_ok(qm_bench_step_bytes(g, (qm_work){2047, 1, 1, 1}, &w, &kv, &e), &e);
    qm_sim_counters_reset();
    fix_ok(qm_session_eval(s, 17, &e), &e);
    fix_ok(qm_session_result(s, 2047, &id, &e), &e);
    assert_int_equal(qm_sim_counters_kernel("qm_attn_decode_f16_hd128", &c), 1);
    print_message("attention at position 2047: %llu bytes asked for, %llu of keys and values\n",
                  (unsigned long long)c.gld_bytes, (unsigned long long)kv);
    /* besides keys and values: queries and what they come from, table, position */
    if (c.gld_bytes < kv || (double)c.gld_bytes > 1.1 * (double)kv)
        fail_msg("attention asked for %llu bytes, kv_bytes says %llu", (unsigned long long)c.gld_bytes,
                 (unsigned long long)kv);
    qm_session_close(s);
    qm_engine_close(g);
    qm_sim_set_options(&was);
}

static void fill_is_refused(void **state) {
    (void)state;
    qm_engine *g = fix_engine("small", "graph");
    qm_session *s;
    qm_err e;
    fix_ok(qm_session_open(&s, g, &e), &e);
    assert_int_equal(qm_inside_fill(s, 513, 1, &e), QM_ERR_LIMIT);
    assert_non_null(strstr(e.msg, "513"));
    assert_non_null(strstr(e.msg, "512"));
    fix_ok(qm_inside_fill(s, 0, 1, &e), &e);
    fix_ok(qm_inside_fill(s, 40, 1, &e), &e);
    assert_int_equal(qm_inside_fill(s, 40, 1, &e), QM_ERR_ARG);
    qm_session_close(s);
    qm_engine_close(g);
}

static void run_of(qm_engine *g, qm_bench_test t) {
    uint64_t ns[4];
    qm_bench_result r, again;
    qm_err e;
    memset(ns, 0, sizeof ns);
    fix_ok(qm_bench_run(g, &t, ns, &r, &e), &e);
    uint32_t tokens = t.n_prompt + t.n_gen;
    qm_bench_stats(ns, t.reps, tokens, &again);
    for (uint32_t i = 0; i < t.reps; i++) assert_true(ns[i] > 0);
    assert_int_equal(ns[t.reps], 0);
    assert_true(r.avg_ns == again.avg_ns && r.avg_ts == again.avg_ts && r.stddev_ts == again.stddev_ts);
    if (t.n_prompt) assert_true(near(r.first_token_ns, r.avg_ns, 1)); /* a prompt ends with its first token */
    else if (tokens > 1) assert_true(r.first_token_ns < r.avg_ns);
    assert_true(r.first_token_ns > 0);
    if (t.n_gen) { /* positions depth .. depth + n - 1 attend to depth + 1 .. depth + n */
        assert_true(r.weight_bytes == (double)g->info.bytes_per_token);
        assert_true(near(r.kv_bytes, 4096 * (t.depth + 0.5 * (t.n_gen + 1)), 1e-6));
    } else assert_true(r.weight_bytes <= (double)g->info.bytes_per_token);
    assert_int_equal(g->kv.n_free, g->kv.n_pages); /* everything given back */
}

static void tests_run(void **state) {
    (void)state;
    static const char *const executors[] = {"graph", "ref"};
    for (int i = 0; i < 2; i++) {
        qm_engine *g = fix_engine("small", executors[i]);
        run_of(g, (qm_bench_test){.n_prompt = 3, .reps = 2, .seed = 1, .warmup = 1});
        run_of(g, (qm_bench_test){.n_prompt = 1, .depth = 33, .reps = 1, .seed = 1});
        run_of(g, (qm_bench_test){.n_gen = 4, .reps = 3, .seed = 1});
        run_of(g, (qm_bench_test){.n_gen = 1, .reps = 1, .seed = 1, .warmup = 1});
        run_of(g,
               (qm_bench_test){.n_gen = 3, .depth = 31, .reps = 2, .seed = 2, .warmup = 1}); /* over a page's border */
        run_of(g, (qm_bench_test){.n_gen = 2, .depth = 5, .reps = 1, .seed = 2, .prefill = 1});
        run_of(g, (qm_bench_test){.n_gen = 2, .depth = 510, .reps = 1, .seed = 2}); /* to the last position */
        qm_engine_close(g);
    }
}

static void tests_are_refused(void **state) {
    (void)state;
    static const qm_bench_test bad[] = {{.reps = 1},
                                        {.n_prompt = 1, .n_gen = 1, .reps = 1},
                                        {.n_gen = 1, .reps = 0},
                                        {.n_gen = 2, .depth = 511, .reps = 1},
                                        {.n_prompt = 513, .reps = 1},
                                        {.n_gen = 1, .depth = UINT32_MAX, .reps = 1}};
    qm_engine *g = fix_engine("small", "graph");
    uint64_t ns[1];
    qm_bench_result r;
    qm_err e;
    for (int i = 0; i < 6; i++) {
        int rc = qm_bench_run(g, &bad[i], ns, &r, &e);
        assert_int_equal(rc, i < 3 ? QM_ERR_ARG : QM_ERR_LIMIT);
        assert_non_null(strstr(e.msg, i < 3 ? "bench" : "512"));
    }
    qm_engine_close(g);
}

static void memory_bandwidth(void **state) {
    (void)state;
    const char *dev = getenv("QMOE_TEST_DEVICE");
    qm_device *d;
    qm_bandwidth b;
    size_t before, after, total;
    qm_err e;
    fix_ok(qm_device_open(&d, dev ? dev : "sim", NULL, 0, &e), &e);
    fix_ok(qm_device_mem(d, &before, &total, &e), &e);
    fix_ok(qm_probe_bandwidth(d, 5 << 20, &b, &e), &e);
    assert_int_equal(b.bytes, 4 << 20); /* whole pairs of chunks */
    assert_true(b.passes > 4);
    assert_true(b.read_best >= b.read_median && b.read_median > 0 && b.copy_best >= b.copy_median && b.copy_median > 0);
    fix_ok(qm_device_mem(d, &after, &total, &e), &e);
    if (d->caps.interpreted) assert_int_equal(after, before); /* a GPU's driver keeps modules */
    /* of its own choice: far more than any cache on a GPU, little where that would take long */
    fix_ok(qm_probe_bandwidth(d, 0, &b, &e), &e);
    if (d->caps.interpreted) assert_int_equal(b.bytes, 16 << 20);
    else assert_true(b.bytes >= 1ull << 30 || b.bytes >= before / 5);
    qm_device_close(d);

    qm_engine *g = fix_engine("small", "ref");
    assert_int_equal(qm_engine_bandwidth(g, &b, &e), QM_ERR_UNSUPPORTED);
    assert_int_equal(b.passes, 0);
    qm_engine_close(g);
}

static void loading_limits(void **state) {
    (void)state;
    const char *path = fix_model("small");
    qm_load_limits l;
    uint64_t used, total;
    qm_err e;
    qm_engine *g = fix_engine("small", "graph");
    fix_ok(qm_engine_load_limits(g, path, &l, &e), &e);
    assert_true(l.storage > 0 && l.bus > 0 && (l.direct == 0 || l.direct == 1));
    fix_ok(qm_engine_memory(g, &used, &total, &e), &e);
    assert_true(used >= g->info.weight_bytes + g->info.kv_bytes + g->info.scratch_bytes && used < total);
    assert_int_equal(qm_engine_load_limits(g, "/nowhere/x.gguf", &l, &e), QM_ERR_IO);
    assert_non_null(strstr(e.msg, "/nowhere/x.gguf: No such file"));
    qm_engine_close(g);
    g = fix_engine("small", "ref");
    fix_ok(qm_engine_load_limits(g, path, &l, &e), &e);
    assert_true(l.storage > 0 && l.bus == 0);
    fix_ok(qm_engine_memory(g, &used, &total, &e), &e);
    assert_true(used == 0 && total == 0);
    qm_engine_close(g);
    double cached = qm_file_cached(path); /* just read through */
    assert_true(cached > 0 && cached <= 1);
    assert_true(qm_file_cached("/nowhere/x.gguf") < 0);
    assert_true(qm_file_cached("/dev/null") < 0);
}

static void machine(void **state) {
    (void)state;
    qm_engine *g = fix_engine("small", "graph");
    qm_machine m;
    qm_engine_machine(g, &m);
    char *text = qm_machine_json(&m);
    assert_non_null(text);
    json_t *j = json_loads(text, 0, NULL);
    free(text);
    assert_non_null(j);
    assert_string_equal(json_string_value(json_object_get(j, "device")), g->info.device);
    int sim = !g->dev->caps.timed;
    assert_int_equal(json_is_true(json_object_get(j, "simulated")), sim);
    static const char *const real[] = {"driver",          "cuda",    "clock_khz_peak", "memory_clock_khz_peak",
                                       "memory_bus_bits", "l2_bytes"};
    for (int i = 0; i < 6; i++) {
        const json_t *v = json_object_get(j, real[i]);
        assert_non_null(v);
        if (sim) assert_true(json_is_null(v)); /* made-up clocks are not reported */
    }
    const char *commit = json_string_value(json_object_get(j, "commit")),
               *date = json_string_value(json_object_get(j, "date"));
    assert_true(commit && strlen(commit) >= 7); /* a hash, or "unknown" */
    assert_true(date && strlen(date) == 20 && date[10] == 'T' && date[19] == 'Z');
    json_decref(j);
    qm_engine_close(g);
    g = fix_engine("small", "ref");
    qm_engine_machine(g, &m);
    assert_true(m.simulated);
    assert_string_equal(m.device, "host");
    qm_engine_close(g);
}

int main(void) {
    const struct CMUnitTest t[] = {
        cmocka_unit_test(statistics),
        cmocka_unit_test(bytes_of_a_step),
        cmocka_unit_test(filled_cache),
        cmocka_unit_test(fill_is_whole),
        cmocka_unit_test(each_filled_page_is_read),
        cmocka_unit_test(kv_bytes_are_read),
        cmocka_unit_test(fill_is_refused),
        cmocka_unit_test(tests_run),
        cmocka_unit_test(tests_are_refused),
        cmocka_unit_test(memory_bandwidth),
        cmocka_unit_test(loading_limits),
        cmocka_unit_test(machine),
    };
    return cmocka_run_group_tests(t, NULL, NULL);
}
