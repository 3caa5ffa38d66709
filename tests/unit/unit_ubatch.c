/* unit_ubatch: a row's logits are the same bits whatever step computes it: a text's at every position, cut into steps of 1, 2, 3,
 * 7, 16, 31, 64 and 512 rows; a row alone and among others of other sequences and depths; in both executors, on software devices of
 * 4 to 132 multiprocessors, with every type of weights, heads of 64 and 128, 1 to 16 query heads a kv head, with and without
 * experts; behind prompts that end anywhere in a page. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "../../runtime/base/rng.h"
#include "../../runtime/engine/schedule.h"
#include "../../runtime/sim/sim.h"
#include "../support/fixture.h"

enum { MAX_N = 512 };
/* Steps of that many rows: a text is cut into chunks of them, whatever the bucket that they are computed in. */
static const uint32_t chunks[] = {2, 3, 7, 16, 31, 64, 512};
enum { N_CHUNKS = sizeof chunks / sizeof *chunks };

static void multiprocessors(int n) {
    qm_sim_options o;
    qm_sim_get_options(&o);
    o.n_sm = n;
    qm_sim_set_options(&o);
}

static qm_engine *engine(const char *path, const char *executor, uint32_t n_ctx, uint32_t n_ubatch,
                         uint32_t n_parallel) {
    qm_engine_opts o = {.device = "sim",
                        .executor = executor,
                        .n_ctx = n_ctx,
                        .n_ubatch = n_ubatch,
                        .n_outs = n_ubatch,
                        .n_parallel = n_parallel,
                        .n_kv = n_ctx};
    qm_engine *g;
    qm_err e;
    fix_ok(qm_engine_open(&g, path, &o, &e), &e);
    return g;
}

/* Of n tokens of a random text, chunk rows a step; as many of them as the pages before position `lead` are appended as a prompt. */
static void score(uint64_t *hash, qm_engine *g, uint32_t n, uint32_t lead, uint32_t chunk) {
    uint32_t ids[MAX_N];
    qm_session *s;
    qm_err e;
    fix_prompt(g, ids, n, 3);
    fix_ok(qm_session_open(&s, g, &e), &e);
    if (lead) fix_ok(qm_inside_append(s, ids, lead, NULL, NULL, &e), &e);
    fix_hashes(hash, s, ids, lead, n, chunk);
    qm_session_close(s);
}

static void compare(const char *what, const char *executor, int n_sm, uint32_t chunk, const uint64_t *want,
                    const uint64_t *got, uint32_t from, uint32_t n) {
    for (uint32_t i = from; i < n; i++)
        if (want[i] != got[i])
            fail_msg("%s, %s, %d multiprocessors, %u rows a step: other logits at position %u", what, executor, n_sm,
                     chunk, i);
}

/* One row a step gives what is wanted. */
static void same(const char *path, const char *name, uint32_t n, const int *sms, int n_sms, int persistent) {
    static uint64_t want[MAX_N], got[MAX_N];
    if (getenv("QMOE_TEST_DEVICE") && strcmp(getenv("QMOE_TEST_DEVICE"), "sim")) skip();
    multiprocessors(sms[0]);
    qm_engine *g = engine(path, "graph", MAX_N, 1, 1);
    score(want, g, n, 0, 1);
    qm_engine_close(g);
    for (int i = 0; i < n_sms; i++)
        for (int x = 0; x <= persistent; x++) {
            multiprocessors(sms[i]);
            g = engine(path, x ? "persistent" : "graph", MAX_N, MAX_N, 1);
            for (int c = 0; c < N_CHUNKS; c++) {
                if ((i || x) && c % 3 != (i + x) % 3) continue; /* not all on each */
                if (chunks[c] > n && chunks[c] < MAX_N) continue;
                score(got, g, n, 0, chunks[c]);
                compare(name, x ? "persistent" : "graph", sms[i], chunks[c], want, got, 0, n);
            }
            qm_engine_close(g);
        }
}

static void test_demo(void **state) {
    (void)state;
    static const int sms[] = {48, 132};
    const char *path = getenv("QMOE_DEMO");
    same(path && *path ? path : "models/demo.gguf", "demo", 66, sms, 2, 1);
}

/* Every type of weights, experts and none. */
static void test_types(void **state) {
    (void)state;
    static const char *const types[] = {
#define QM_STREAM_LOADED(word, ...) #word,
#define QM_STREAM(word, ...) #word, "dense_" #word,
#include "../../contracts/streams.def"
#undef QM_STREAM
        "small", "dense"};
    static const int sms[] = {4, 128};
    /* the larger device with every third: test_shapes has more of that */
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        same(fix_model(types[i]), types[i], 33, sms, 1 + (i % 3 == 0), 0);
}

/* Query heads a kv head, head lengths, and 8 of 128 experts. */
static void test_shapes(void **state) {
    (void)state;
    static const struct {
        uint32_t n_head, n_kv, head_dim, n_expert;
    } shape[] = {{4, 4, 64, 128}, {8, 2, 64, 8}, {8, 1, 128, 128}, {16, 1, 128, 8}};
    static const int sms[] = {4, 132};
    for (size_t i = 0; i < sizeof shape / sizeof *shape; i++) {
        qm_synth_opts o = {.preset = "tiny",
                           .seed = 7,
                           .n_layers = 2,
                           .n_embd = 256,
                           .n_head = shape[i].n_head,
                           .n_kv_head = shape[i].n_kv,
                           .head_dim = shape[i].head_dim,
                           .n_expert = shape[i].n_expert,
                           .n_expert_used = 8,
                           .n_ff_exp = 256,
                           .n_vocab = 512,
                           .n_ctx = MAX_N};
        char path[300], name[80];
        qm_err e;
        const char *dir = getenv("QMOE_TEST_TMP");
        snprintf(path, sizeof path, "%s/qmoe-%ld-shape.gguf", dir ? dir : "/tmp", (long)getpid());
        snprintf(name, sizeof name, "%u/%u heads of %u, %u experts", shape[i].n_head, shape[i].n_kv, shape[i].head_dim,
                 shape[i].n_expert);
        fix_ok(qm_synth(path, &o, &e), &e);
        same(path, name, 66, sms, 2, 0);
        unlink(path);
    }
}

/* Behind prompts that end anywhere in a page, and before and behind the border of a span. */
static void test_ends(void **state) {
    (void)state;
    static uint64_t want[MAX_N], got[MAX_N];
    if (getenv("QMOE_TEST_DEVICE") && strcmp(getenv("QMOE_TEST_DEVICE"), "sim")) skip();
    multiprocessors(4);
    qm_engine *one = engine(fix_model("small"), "graph", MAX_N, 1, 1),
              *g = engine(fix_model("small"), "graph", MAX_N, MAX_N, 1);
    score(want, one, 290, 0, 1);
    for (uint32_t lead = 1; lead <= 33; lead += lead % 32 == 1 ? 1 : 6) {
        score(got, g, lead + 5, lead, 512);
        compare("small", "graph", 4, 512, want, got, lead, lead + 5);
    }
    for (uint32_t lead = 250; lead <= 258; lead++) {
        score(got, g, 290, lead, 512);
        compare("small", "graph", 4, 512, want, got, lead, 290);
    }
    qm_engine_close(one);
    qm_engine_close(g);
}

/* ---- among others ---- */
enum { MANY = 65, DEEP = 100 };

/* A sequence's next token and logits, alone and in a step with 64 others of mixed depths, some of them with a chunk of their prompt. */
static void among(const char *executor) {
    static uint32_t ids[MANY][DEEP];
    static float alone[MANY][512], l[512];
    uint32_t id[MANY], next;
    qm_session *s[MANY];
    qm_want w[MANY];
    qm_err e;
    qm_synth_opts o = {.preset = "tiny", .seed = 9, .n_vocab = 512, .n_ctx = 512};
    char path[300];
    const char *dir = getenv("QMOE_TEST_TMP");
    snprintf(path, sizeof path, "%s/qmoe-%ld-among.gguf", dir ? dir : "/tmp", (long)getpid());
    fix_ok(qm_synth(path, &o, &e), &e);
    qm_engine_opts eo = {.device = "sim", .executor = executor, .n_ctx = 512, .n_parallel = MANY, .n_ubatch = 512};
    qm_engine *g;
    qm_rng r = {5};
    fix_ok(qm_engine_open(&g, path, &eo, &e), &e);
    assert_true(g->model->hp.n_vocab <= 512);
    for (int k = 0; k < MANY; k++) {
        const uint32_t n = 1 + qm_rng_below(&r, DEEP - 1);
        fix_prompt(g, ids[k], n, 100 + (uint64_t)k);
        fix_ok(qm_session_open(&s[k], g, &e), &e);
        qm_sampling p = {.temperature = k % 2 ? 0.8f : 0,
                         .top_k = 20 + k,
                         .top_p = 0.95,
                         .repeat_penalty = 1.1f,
                         .repeat_last_n = 64,
                         .seed = (uint64_t)k};
        fix_ok(qm_session_set_sampling(s[k], &p, &e), &e);
        fix_ok(qm_inside_append(s[k], ids[k], n, NULL, &id[k], &e), &e);
        fix_ok(qm_session_logits(s[k], alone[k], &e), &e);
        /* again, all but the last 1 .. 20 of its positions are in the cache */
        const uint32_t back = k % 3 ? 1 : 1 + qm_rng_below(&r, n < 20 ? n : 20);
        fix_ok(qm_session_truncate(s[k], n - back, &e), &e);
        memcpy(s[k]->ids, ids[k], n * sizeof **ids);
        s[k]->n = n;
        fix_ok(g->exec->put_tokens(g, s[k]->seq, n - back, ids[k] + n - back, back, &e), &e);
        w[k] = (qm_want){s[k], n - back, n, n, QM_DRAW, 0};
    }
    fix_ok(qm_schedule_step(g, w, MANY, &e), &e);
    for (int k = 0; k < MANY; k++) {
        assert_int_equal(w[k].next, w[k].end); /* one step was enough */
        s[k]->n_cached = s[k]->n;
        fix_ok(qm_session_result(s[k], s[k]->n - 1, &next, &e), &e);
        fix_ok(qm_session_logits(s[k], l, &e), &e);
        if (next != id[k] || memcmp(l, alone[k], 4ull * g->model->hp.n_vocab) != 0)
            fail_msg("%s: sequence %d at position %u: token %u, alone %u; or other logits", executor, k, s[k]->n - 1,
                     next, id[k]);
    }
    for (int k = 0; k < MANY; k++) qm_session_close(s[k]);
    qm_engine_close(g);
    unlink(path);
}

static void test_among(void **state) {
    (void)state;
    if (getenv("QMOE_TEST_DEVICE") && strcmp(getenv("QMOE_TEST_DEVICE"), "sim")) skip();
    multiprocessors(4);
    among("graph"); /* steps of many rows are the same in the persistent executor */
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_types), cmocka_unit_test(test_shapes),
                                       cmocka_unit_test(test_ends), cmocka_unit_test(test_among),
                                       cmocka_unit_test(test_demo)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
