/* unit_gates_cache.c: what keys and values in q8_0 cost against f16, on the demo model: KL, likeliest token and perplexity, each
 * with its bar; and that the bars refuse a page whose scales are not its own. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include "fault.h"
#include "fixture.h"

/* Mean KL in nats; the share of positions with another likeliest token that are not near ties (0.1 nats); how far the
 * perplexity may be, as a share. Seen over 1,020 positions: 4.5e-4, 0.2%, 0.05%. */
static const double KL = 1e-3, DIFFER = 0.005, PPL = 0.01;

static const char *const text = "tests/golden/peers/text_hf.lp"; /* whose sequences are run: 2,048 tokens */
static char base[256], some[256];

static const char *path(char *at, const char *what) {
    const char *tmp = getenv("QMOE_TEST_TMP");
    snprintf(at, sizeof base, "%s/qmoe-cache-%s-%ld.lp", tmp ? tmp : "/tmp", what, (long)getpid());
    return at;
}

static qm_engine *engine(const char *cache) {
    const char *dev = getenv("QMOE_TEST_DEVICE"), *model = getenv("QMOE_DEMO");
    qm_engine_opts o = {
        .device = dev ? dev : "sim", .n_ctx = 512, .n_outs = FAULT_ROWS, .cache_k = cache, .cache_v = cache};
    qm_engine *g;
    qm_err e;
    fix_ok(qm_engine_open(&g, model ? model : "models/demo.gguf", &o, &e), &e);
    return g;
}

static int passes(const char *what, const qm_perplexity_result *r) {
    const double differ = (double)(r->kl.n - r->kl.n_same - r->kl.n_near) / (double)r->kl.n;
    const double ppl = r->ppl / r->kl.base_ppl - 1;
    print_message(
        "%-24s mean KL %.3g, largest %.3g; same arg max at %llu of %llu, %llu near ties; perplexity %.4f for %.4f "
        "(%+.3f%%)\n",
        what, r->kl.mean, r->kl.max, (unsigned long long)r->kl.n_same, (unsigned long long)r->kl.n,
        (unsigned long long)r->kl.n_near, r->ppl, r->kl.base_ppl, 100 * ppl);
    return r->kl.mean <= KL && differ <= DIFFER && fabs(ppl) <= PPL;
}

static void run(qm_engine *g, const char *from, const char *out, qm_perplexity_result *r) {
    qm_err e;
    fix_ok(qm_perplexity(g, NULL, 0, &(qm_perplexity_opts){.base = from, .out = out}, r, &e), &e);
    qm_engine_close(g);
}

static void test_q8_0(void **state) {
    (void)state;
    qm_perplexity_result r;
    run(engine("f16"), text, path(base, "f16"), &r);
    run(engine("q8_0"), base, NULL, &r);
    assert_true(r.kl.n >= 1000);
    if (!passes("q8_0", &r)) fail_msg("q8_0 costs more than it may");
    if (r.kl.mean < 1e-6) fail_msg("q8_0 is not what ran");
    unlink(base);
}

static const char prose[] =
    "The lighthouse keeper wrote down every ship that passed, its flag and the hour. In winter there were few, and so "
    "he "
    "wrote about the gulls, the wind and the colour of the water. One morning a boat without a flag lay before the "
    "rocks. "
    "He rowed out to it, found nobody on board, and took home the only thing that was there: a clock that still went. "
    "From "
    "that day on two clocks struck in the tower, and never at the same time. When the new keeper came in spring he "
    "asked "
    "which of them was right. \"Neither,\" said the old man, \"but between the two of them I always know where I am.\"";

/* The log-probability of a text's tokens, to the bit, by steps of so many rows, with what an op could do more kept apart or not. */
static double scored(uint32_t n_ubatch, const char *apart) {
    qm_engine_opts o = {.device = "sim",
                        .n_ctx = 512,
                        .n_outs = 1,
                        .n_ubatch = n_ubatch,
                        .apart = apart,
                        .cache_k = "q8_0",
                        .cache_v = "q8_0"};
    const char *model = getenv("QMOE_DEMO");
    qm_perplexity_result r;
    qm_tokens ids = {0};
    qm_engine *g;
    qm_err e;
    fix_ok(qm_engine_open(&g, model ? model : "models/demo.gguf", &o, &e), &e);
    fix_ok(qm_engine_tokenize(g, prose, sizeof prose - 1, 0, &ids, &e), &e);
    fix_ok(qm_perplexity(g, ids.v, ids.n, &(qm_perplexity_opts){.n_ctx = (uint32_t)ids.n}, &r, &e), &e);
    qm_engine_close(g);
    free(ids.v);
    return r.nll;
}

static void test_rows_agree(void **state) {
    (void)state;
    const double one = scored(1, NULL);
    assert_true(one > 0);
    if (scored(1, "all") != one) fail_msg("kept apart: other bits than fused");
    if (scored(16, NULL) != one) fail_msg("steps of 16 rows: other bits than of one");
    if (scored(512, NULL) != one) fail_msg("one step: other bits than of one row");
}

static void test_scales_reject(void **state) {
    (void)state;
    qm_perplexity_result r;
    qm_tokens ids = {0};
    qm_err e;
    qm_engine *g = engine("f16");
    fix_ok(qm_engine_tokenize(g, prose, sizeof prose - 1, 0, &ids, &e), &e);
    fix_ok(qm_perplexity(g, ids.v, ids.n, &(qm_perplexity_opts){.n_ctx = (uint32_t)ids.n, .out = path(some, "some")},
                         &r, &e),
           &e);
    qm_engine_close(g);
    free(ids.v);
    for (int i = 0; i < FAULT_Q8_0_N; i++)
        for (int neutral = 1; neutral >= 0; neutral--) {
            g = engine("q8_0");
            fix_ok(fault_apply(g, &faults_of_q8_0[i], (fault_at){.layer = -1, .from = 40, .neutral = neutral}, &e), &e);
            run(g, some, NULL, &r);
            if (passes(neutral ? "control" : faults_of_q8_0[i].name, &r) != neutral)
                fail_msg("%s: the gates %s", faults_of_q8_0[i].name, neutral ? "refuse the control" : "let it pass");
        }
    unlink(some);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_q8_0), cmocka_unit_test(test_rows_agree),
                                       cmocka_unit_test(test_scales_reject)};
    return cmocka_run_group_tests_name("gates_cache", tests, NULL, NULL);
}
