/* unit_canonical: what a position computes depends on its tokens, its place and the weights alone: the logits have the same
 * bits on software devices of 1 to 170 multiprocessors, as a graph and in one persistent kernel, behind contexts that end at
 * every border: of a page (32), of spans (256), of the numbers of CTAs that share them. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "../../runtime/base/hash.h"
#include "../../runtime/observe/bench.h"
#include "../../runtime/sim/sim.h"
#include "../support/fixture.h"

static const int sms[] = {4, 170, 1, 48, 128, 132};
enum { FEW_SMS = 3, N_SMS = sizeof sms / sizeof *sms, MAX_DEPTHS = 16 };

static void multiprocessors(int n) {
    qm_sim_options o;
    qm_sim_get_options(&o);
    o.n_sm = n;
    qm_sim_set_options(&o);
}

/* hash[i]: of the logits of one token behind depth[i] positions; depths fall, 0 ends them. The cache's contents are random,
 * the same whatever the device. */
static void logits(uint64_t *hash, const char *path, const char *executor, const char *apart, int n_sm, uint32_t n_ctx,
                   const uint32_t *depth) {
    /* steps of one row: unit_ubatch has the others */
    qm_engine_opts o = {.device = "sim", .executor = executor, .apart = apart, .n_ctx = n_ctx, .n_ubatch = 1};
    qm_engine *g;
    qm_session *s;
    qm_err e;
    multiprocessors(n_sm);
    fix_ok(qm_engine_open(&g, path, &o, &e), &e);
    const size_t bytes = g->model->hp.n_vocab * sizeof(float);
    float *l = malloc(bytes);
    assert_non_null(l);
    fix_ok(qm_session_open(&s, g, &e), &e);
    fix_ok(qm_inside_fill(s, depth[0], 5, &e), &e);
    for (int i = 0; i < MAX_DEPTHS; i++) {
        fix_ok(qm_session_truncate(s, depth[i], &e), &e);
        fix_ok(qm_session_eval(s, 7 + (uint32_t)i, &e), &e);
        fix_ok(qm_session_logits(s, l, &e), &e);
        hash[i] = qm_fnv1a(l, bytes);
        if (!depth[i]) break;
    }
    free(l);
    qm_session_close(s);
    qm_engine_close(g);
}

/* apart: which fused ops are taken apart; NULL: none */
static void same_apart(const char *path, const char *name, const char *apart, uint32_t n_ctx, const uint32_t *depth,
                       int n_sms) {
    uint64_t first[MAX_DEPTHS] = {0}, h[MAX_DEPTHS] = {0};
    int others = 0;
    if (getenv("QMOE_TEST_DEVICE") && strcmp(getenv("QMOE_TEST_DEVICE"), "sim")) skip();
    for (int i = 0; i < n_sms; i++)
        for (int x = 0; x < 2; x++) {
            const char *executor = x ? "persistent" : "graph";
            logits(i || x ? h : first, path, executor, apart, sms[i], n_ctx, depth);
            for (int d = 0; (i || x) && d < MAX_DEPTHS; d++) {
                if (h[d] != first[d]) {
                    print_message("%s, %s on %d multiprocessors: other bits behind %u positions\n", name, executor,
                                  sms[i], depth[d]);
                    others++;
                }
                if (h[d] != first[d] || !depth[d]) break;
            }
        }
    if (others) fail_msg("%s: %d times other bits than the graph's on %d multiprocessors", name, others, sms[0]);
}

static void same(const char *path, const char *name, uint32_t n_ctx, const uint32_t *depth, int n_sms) {
    same_apart(path, name, NULL, n_ctx, depth, n_sms);
}

static const char *demo(void) {
    const char *path = getenv("QMOE_DEMO");
    return path && *path ? path : "models/demo.gguf";
}

static void test_demo(void **state) {
    (void)state;
    static const uint32_t depth[MAX_DEPTHS] = {1023, 1000, 768, 767, 512, 511, 510, 257,
                                               256,  255,  254, 33,  32,  31,  1,   0};
    same(demo(), "demo", 1024, depth, N_SMS);
}

/* Attention by an op of its own, whose CTAs have several spans where multiprocessors are few. */
static void test_attention_apart(void **state) {
    (void)state;
    static const uint32_t depth[MAX_DEPTHS] = {1023, 768, 300, 0};
    same_apart(demo(), "attention apart", "attn", 1024, depth, FEW_SMS);
}

/* As wide as a model in use, where there are more tiles, splits and segments to deal differently; 16 query heads share a kv
 * head. */
static void test_wide(void **state) {
    (void)state;
    static const uint32_t depth[MAX_DEPTHS] = {2048, 1025, 1024, 1023, 0};
    qm_synth_opts o = {.preset = "tiny",
                       .seed = 7,
                       .n_layers = 2,
                       .n_embd = 2048,
                       .n_head = 32,
                       .n_kv_head = 2,
                       .head_dim = 128,
                       .n_expert = 8,
                       .n_expert_used = 8,
                       .n_ff_exp = 768,
                       .n_vocab = 1024,
                       .n_ctx = 2304};
    char path[300];
    qm_err e;
    const char *dir = getenv("QMOE_TEST_TMP");
    snprintf(path, sizeof path, "%s/qmoe-%ld-wide.gguf", dir ? dir : "/tmp", (long)getpid());
    fix_ok(qm_synth(path, &o, &e), &e);
    same(path, "wide", 2304, depth, N_SMS);
    unlink(path);
}

/* Every type of weights. */
static void test_types(void **state) {
    (void)state;
    static const char *const types[] = {
#define QM_STREAM_LOADED QM_STREAM
#define QM_STREAM(word, ...) #word,
#include "../../contracts/streams.def"
#undef QM_STREAM
    };
    static const uint32_t depth[MAX_DEPTHS] = {300, 0};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) same(fix_model(types[i]), types[i], 512, depth, FEW_SMS);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_demo), cmocka_unit_test(test_attention_apart),
                                       cmocka_unit_test(test_wide), cmocka_unit_test(test_types)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
