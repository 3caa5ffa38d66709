/* unit_parity: the device against run_ref, op by op and end to end; what quantised activations cost; and
 * against Hugging Face's Qwen3-MoE on the same dequantised weights (tests/golden/hf_small.json). */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "fixture.h"
#include "../../runtime/plan/ops.h"
#include "../../runtime/observe/trace.h"
#include "../../runtime/observe/trace_compare.h"

/* Bars: per op only rounding and the order of sums differ. */
static const double OP_COSINE = 0.9999, LOGITS_COSINE = 0.999999;

/* ---- op by op: each reference gets the device's own inputs (runtime/observe/trace_compare.h) ---- */

/* The weights that an op leaves of the experts that it chose; NULL: it chooses none. */
static const qm_operand *choice_of(const qm_plan *p, const qm_op *op, qm_operand o[QM_MAX_OPERANDS]) {
    const qm_operand *w = qm_operand_find(o, qm_op_operands(p, op, o), "weights");
    return w && w->dir == QM_OUT ? w : NULL;
}

/* AC_QW3_MOE_002 on what the device left: n_used weights, each above 0, falling, that sum to 1. */
static void check_weights_sum(qm_session *s, const qm_plan *p, const qm_operand *weights) {
    const uint32_t n = (uint32_t)qm_operand_n(weights);
    float w[32];
    double sum = 0;
    qm_device *d = s->g->dev;
    assert_int_equal(d->cu.CtxSynchronize(), CUDA_SUCCESS);
    assert_int_equal(d->cu.MemcpyDtoH(w, fix_address(s, p, weights->ref), 4ull * n), CUDA_SUCCESS);
    assert_int_equal(n, s->g->model->hp.n_used);
    for (uint32_t k = 0; k < n; k++) {
        assert_true(w[k] > 0 && w[k] <= (k ? w[k - 1] : 1));
        sum += w[k];
    }
    assert_true(fabs(sum - 1) < 1e-6);
}

/* Every op of the step at position `depth`, all that it leaves: outputs, quantised activations, the cache's new
 * row, expert ids, the token. */
enum { MAX_DEPTH = 300 };
static void per_op(const char *kind, uint32_t depth) {
    qm_err e;
    qm_engine *g = fix_engine(kind, "graph");
    qm_session *s;
    qm_mirror *m;
    qm_inside x;
    uint32_t ids[MAX_DEPTH + 1];
    assert_true(depth <= MAX_DEPTH);
    fix_ok(qm_session_open(&s, g, &e), &e);
    fix_prompt(g, ids, depth + 1, 31);
    for (uint32_t i = 0; i < depth; i++) fix_ok(qm_session_eval(s, ids[i], &e), &e);
    /* one more step, by hand */
    fix_ok(qm_inside_open(&x, g, s, depth, &e), &e);
    fix_ok(qm_inside_begin(&x, ids[depth], &e), &e);
    fix_ok(qm_mirror_open(&m, &x, &e), &e);
    const qm_plan *p = x.plan;
    double worst = 1, worst_rel = 0;
    uint32_t routers = 0;
    for (int i = 0; i < p->n_ops; i++) {
        qm_difference d;
        fix_ok(qm_mirror_op(m, i, 1, &d, &e), &e);
        if (!(d.cosine >= OP_COSINE))
            fail_msg("%s: op %d (layer %d, %s), %s: cosine %.7f, relative L2 %.3g, worst at %u: %g, expected %g", kind,
                     i, d.layer, d.slot, d.tensor, d.cosine, d.rel_l2, d.worst, d.got, d.want);
        qm_operand o[QM_MAX_OPERANDS];
        const qm_operand *weights = choice_of(p, &p->ops[i], o);
        if (weights) check_weights_sum(s, p, weights);
        routers += weights != NULL;
        worst = fmin(worst, d.cosine);
        worst_rel = fmax(worst_rel, d.rel_l2);
    }
    assert_int_equal(routers, g->model->hp.n_expert ? g->model->hp.n_layers : 0);
    print_message("%s at position %u: %d ops, lowest cosine %.9f, largest relative L2 %.3g\n", kind, depth, p->n_ops,
                  worst, worst_rel);
    qm_mirror_close(m);
    qm_inside_close(&x);
    qm_session_close(s);
    qm_engine_close(g);
}

static void test_per_op_matches_ref(void **state) {
    (void)state;
    per_op("small", 0);
    per_op("small", 37);
    per_op("small", MAX_DEPTH); /* deep enough for attention to be split */
}

static void test_per_op_every_type(void **state) {
    (void)state;
    static const char *const kinds[] = {
#define QM_STREAM_LOADED QM_STREAM
#define QM_STREAM(word, ...) #word,
#include "../../contracts/streams.def"
#undef QM_STREAM
    };
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) per_op(kinds[i], 3);
}

/* Qwen3 without experts: the same kernels over one network. */
static void test_per_op_dense(void **state) {
    (void)state;
    static const char *const kinds[] = {"dense_f32",  "dense_f16",  "dense_bf16",
                                        "dense_q8_0", "dense_q5_k", "dense_q6_k"};
    per_op("dense", 0);
    per_op("dense", 37);
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) per_op(kinds[i], 3);
}

/* ---- end to end ---- */

/* Logits of every position of ids[0..n) by one executor: [n, vocab]. */
static float *logits_of(const char *kind, const char *executor, const uint32_t *ids, uint32_t n, uint32_t *vocab,
                        int f32_act) {
    qm_engine *g = fix_engine(kind, executor);
    qm_session *s;
    qm_err e;
    g->limits.f32_act = f32_act;
    if (f32_act) { /* the plans made at open have the production's activations */
        while (g->n_plans) qm_plan_free(g->plans[--g->n_plans]);
    }
    fix_ok(qm_session_open(&s, g, &e), &e);
    *vocab = g->model->hp.n_vocab;
    float *l = malloc((size_t)n * *vocab * sizeof *l);
    for (uint32_t i = 0; i < n; i++) {
        fix_ok(qm_session_eval(s, ids[i], &e), &e);
        fix_ok(qm_session_logits(s, l + (size_t)i * *vocab, &e), &e);
    }
    qm_session_close(s);
    qm_engine_close(g);
    return l;
}

static double lowest_cosine(const float *a, const float *b, uint32_t n, uint32_t vocab, double *mean) {
    double low = 1;
    *mean = 0;
    for (uint32_t i = 0; i < n; i++) {
        double c = fix_cosine(a + (size_t)i * vocab, b + (size_t)i * vocab, vocab);
        *mean += c / n;
        if (c < low) low = c;
    }
    return low;
}

/* KL(p || q) of softmaxed logits, in nats. */
static double kl(const float *p, const float *q, uint32_t n) {
    double mp = -INFINITY, mq = -INFINITY, sp = 0, sq = 0, d = 0;
    for (uint32_t i = 0; i < n; i++) {
        mp = p[i] > mp ? p[i] : mp;
        mq = q[i] > mq ? q[i] : mq;
    }
    for (uint32_t i = 0; i < n; i++) {
        sp += exp(p[i] - mp);
        sq += exp(q[i] - mq);
    }
    for (uint32_t i = 0; i < n; i++) {
        double lp = p[i] - mp - log(sp), lq = q[i] - mq - log(sq);
        d += exp(lp) * (lp - lq);
    }
    return d;
}

static void test_device_matches_ref(void **state) {
    (void)state;
    enum { N = 12 };
    uint32_t ids[N], vocab;
    qm_engine *g = fix_engine("small", "ref");
    fix_prompt(g, ids, N, 41);
    qm_engine_close(g);
    float *dev = logits_of("small", "graph", ids, N, &vocab, 0), *ref = logits_of("small", "ref", ids, N, &vocab, 0);
    float *f32 = logits_of("small", "ref", ids, N, &vocab, 1);
    double mean, low = lowest_cosine(dev, ref, N, vocab, &mean), worst_kl = 0;
    print_message("device against run_ref over %d positions: cosine lowest %.7f, mean %.7f\n", N, low, mean);
    assert_true(low >= LOGITS_COSINE);
    low = lowest_cosine(ref, f32, N, vocab, &mean);
    for (int i = 0; i < N; i++) worst_kl = fmax(worst_kl, kl(f32 + (size_t)i * vocab, ref + (size_t)i * vocab, vocab));
    print_message("q16a activations against f32 ones (both run_ref): cosine lowest %.7f, mean %.7f, largest KL %.2g\n",
                  low, mean, worst_kl);
    assert_true(worst_kl <= 1e-4); /* the stated contract of quantised activations */
    free(dev);
    free(ref);
    free(f32);
}

/* 64 greedy tokens of the device; run_ref, fed the same tokens, must choose each wherever its two best
 * are further apart than the tolerance. */
static void test_greedy_64_matches_ref(void **state) {
    (void)state;
    enum { PROMPT = 6, N = 64 };
    uint32_t ids[PROMPT + N], vocab, near = 0;
    qm_engine *g = fix_engine("small", "graph");
    qm_session *s;
    qm_err e;
    qm_gen_stats st;
    fix_prompt(g, ids, PROMPT, 51);
    fix_ok(qm_session_open(&s, g, &e), &e);
    qm_gen_opts o = {.max_tokens = N, .ignore_eos = 1};
    fix_ok(qm_generate(s, ids, PROMPT, &o, &st, &e), &e);
    memcpy(ids + PROMPT, s->ids + PROMPT, N * sizeof *ids);
    qm_session_close(s);
    qm_engine_close(g);
    float *ref = logits_of("small", "ref", ids, PROMPT + N - 1, &vocab, 0);
    for (uint32_t i = 0; i < N; i++) {
        const float *l = ref + (size_t)(PROMPT - 1 + i) * vocab;
        double norm = 0;
        uint32_t best = 0, second = 1;
        for (uint32_t v = 0; v < vocab; v++) norm += (double)l[v] * l[v];
        for (uint32_t v = 1; v < vocab; v++)
            if (l[v] > l[best]) best = v;
        second = best == 0;
        for (uint32_t v = 0; v < vocab; v++)
            if (v != best && l[v] > l[second]) second = v;
        if (ids[PROMPT + i] == best) continue;
        double tolerance = 1e-3 * sqrt(norm / vocab); /* 0.1% of the logits' RMS */
        if (l[best] - l[second] > tolerance || ids[PROMPT + i] != second)
            fail_msg("token %u: device %u, reference %u by %.4g (tolerance %.4g)", i, ids[PROMPT + i], best,
                     (double)l[best] - l[second], tolerance);
        near++;
    }
    print_message("64 greedy tokens: identical but for %u near ties\n", near);
    assert_true(near <= 2);
    free(ref);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_per_op_matches_ref),    cmocka_unit_test(test_per_op_every_type),
        cmocka_unit_test(test_per_op_dense),          cmocka_unit_test(test_device_matches_ref),
        cmocka_unit_test(test_greedy_64_matches_ref),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
