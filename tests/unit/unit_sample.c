/* unit_sample: the integer meaning of sampling (kernels/ref/sample.c) against published vectors, libm, an oracle in
 * double, and chi-squared. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "oracle.h"
#include "../../runtime/base/rng.h"

/* Random123's kat_vectors, philox4x32 of 10 rounds: all zeros, all ones, digits of pi. */
static void test_philox_vectors(void **state) {
    static const uint32_t kat[3][10] = {
        {0, 0, 0, 0, 0, 0, 0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8},
        {~0u, ~0u, ~0u, ~0u, ~0u, ~0u, 0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd},
        {0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344, 0xa4093822, 0x299f31d0, 0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1},
    };
    (void)state;
    for (int i = 0; i < 3; i++) {
        uint32_t out[4];
        qm_philox4x32(kat[i], kat[i] + 4, out);
        assert_memory_equal(out, kat[i] + 6, sizeof out);
    }
    assert_true(qm_sample_bits(0, 0, 0) == 0xe169c58d6627e8d5u);
    assert_true(qm_sample_bits(42, 1, 0) != qm_sample_bits(43, 1, 0));
    assert_true(qm_sample_bits(42, 1, 0) != qm_sample_bits(42, 2, 0));
    assert_true(qm_sample_bits(42, 1, 0) != qm_sample_bits(42, 1, 1));
    assert_true(qm_sample_bits(42, 1, 0) != qm_sample_bits(42ull | 1ull << 32, 1, 0));
}

/* Errors in units of the last place, over dense and random arguments; never above 1, and 0 where no mass is left. */
static void test_exp(void **state) {
    qm_rng r = {7};
    double worst = 0;
    (void)state;
    for (int i = 0; i < 2000000; i++) {
        float x = i < 1000000 ? -31.0f * (float)i / 1000000 : -31.0f * fabsf(qm_rng_unit(&r)) * fabsf(qm_rng_unit(&r));
        double want = exp(x), got = qm_sample_exp(x);
        int exponent;
        if (x <= -31) continue;
        frexp(want, &exponent);
        double err = fabs(got - want) / ldexp(1, exponent - 24);
        if (err > worst) worst = err;
        assert_true(got <= 1);
    }
    print_message("e^x: at most %.3f ulp\n", worst);
    assert_true(worst <= 1);
    assert_true(qm_sample_exp(0) == 1 && qm_sample_exp(-0.0f) == 1 && qm_sample_exp(-1e-30f) == 1);
    assert_true(qm_sample_exp(-INFINITY) == 0 && qm_sample_exp(-31) == 0 && qm_sample_exp(NAN) == 0);
    assert_true(exp(-31) * 0x1p44 < 1); /* so nothing is lost there */
}

static void test_order(void **state) {
    static const float rising[] = {-INFINITY, -3e38f, -1, -1e-38f, -1e-45f, 0, 1e-45f, 1e-38f, 1, 3e38f, INFINITY};
    (void)state;
    for (size_t i = 0; i < sizeof rising / sizeof *rising; i++) {
        assert_true(qm_order_value(qm_order_key(rising[i])) == rising[i]);
        assert_true(i == 0 || qm_order_key(rising[i]) > qm_order_key(rising[i - 1]));
    }
    assert_int_equal(qm_order_key(-0.0f), qm_order_key(0));
    assert_int_equal(qm_order_key(NAN), 1);
    assert_int_equal(qm_order_key(-NAN), 1);
    assert_true(isnan(qm_order_value(1)));
    assert_true(qm_sample_item(5, 3) > qm_sample_item(5, 4) && qm_sample_item(6, 9) > qm_sample_item(5, 0));
}

/* The kept set of the integer reference is the oracle's. */
static void test_kept_is_the_oracles(void **state) {
    static const uint32_t ns[] = {1, 2, 7, 64, 501};
    static const float temps[] = {0.05f, 0.8f, 1, 3, 500};
    static const double ps[] = {1, 0.999, 0.95, 0.5, 0.1, 0}, mins[] = {0, 0.05, 0.5, 1};
    uint32_t tried = 0, skipped = 0, tokens[6];
    float x[501];
    uint32_t keys[501];
    uint64_t items[501];
    qm_rng r = {11};
    (void)state;
    for (int kind = 0; kind < ORA_N_KINDS; kind++)
        for (size_t a = 0; a < 5; a++)
            for (int draw = 0; draw < 120; draw++) {
                uint32_t n = ns[a];
                qm_sampling s = {temps[qm_rng_below(&r, 5)], (int32_t)qm_rng_below(&r, n + 2), ps[qm_rng_below(&r, 6)],
                                 mins[qm_rng_below(&r, 4)], qm_rng_below(&r, 2) ? 1 : 0.5f + 0.3f * (float)qm_rng_below(&r, 6),
                                 (int32_t)qm_rng_below(&r, 8) - 1, 1};
                qm_sample_params p;
                qm_err e;
                for (int i = 0; i < 6; i++) tokens[i] = qm_rng_below(&r, n < 9 ? n : 9);
                ora_logits(x, n, kind, qm_rng_u64(&r));
                assert_int_equal(qm_sampling_params(&p, &s, &e), 0);
                qm_sample_keys(keys, x, n, &p, tokens, 5);
                qm_sample_order(items, keys, n);
                qm_sample_kept kept = qm_sample_keep(items, n, &p);
                ora_kept o = ora_keep(x, n, &s, tokens, 5);
                tried++;
                uint32_t differ = ora_differ(&o, keys, n, items[kept.n - 1], &p);
                if (differ && !o.near)
                    fail_msg("%s n=%u temp=%g k=%d p=%g min=%g penalty=%g/%d: %u ids differ", ora_kind_name[kind], n,
                             s.temperature, s.top_k, s.top_p, s.min_p, s.repeat_penalty, s.repeat_last_n, differ);
                skipped += differ && o.near;
                assert_true(o.n_kept >= 1 && kept.total >= QM_SAMPLE_ONE);
                for (uint64_t bits = 0; bits < 3; bits++) { /* the ends and the middle of the range stay inside it */
                    uint32_t id = qm_sample_pick(items, kept, &p, bits == 0 ? 0 : bits == 1 ? UINT64_MAX : 1ull << 63);
                    assert_true(id < n && (o.near || o.kept[id]));
                    if (kind == ORA_NEG_INF && isfinite(qm_order_value((uint32_t)(items[0] >> 32)))) assert_true(x[id] > -INFINITY);
                }
                ora_free(&o);
            }
    print_message("kept sets: %u, of these %u differ because a cut is within 1e-6\n", tried, skipped);
    assert_true(skipped * 1000 < tried);
}

/* Divided where positive, multiplied elsewhere; once, whether the token is there once or twice. */
static void test_penalty_sign(void **state) {
    static const float x[] = {2, -2, 0, -0.0f, 2, -INFINITY, 1}, want[] = {1, -4, 0, 0, 2, -INFINITY, 0.5f};
    static const uint32_t tokens[] = {0, 1, 2, 3, 0, 5, 6, 0, 6, 77};
    const qm_sample_params p = {.penalty = 2, .last_n = 10};
    uint32_t keys[7];
    (void)state;
    qm_sample_keys(keys, x, 7, &p, tokens, 9);
    for (int i = 0; i < 7; i++) assert_true(qm_order_value(keys[i]) == want[i]);
}

/* Probability of counts at least as far from p as `seen`; classes too rare to stand alone are one. */
static double fit(const uint32_t *seen, const double *p, uint32_t n, uint32_t draws, double *chi2, uint32_t *classes) {
    double rest = 0, rest_p = 0;
    *chi2 = *classes = 0;
    for (uint32_t i = 0; i < n; i++) {
        double want = p[i] * draws;
        if (want < 10) {
            rest += seen[i];
            rest_p += p[i];
            continue;
        }
        *chi2 += (seen[i] - want) * (seen[i] - want) / want;
        ++*classes;
    }
    if (rest_p * draws >= 10) {
        *chi2 += (rest - rest_p * draws) * (rest - rest_p * draws) / (rest_p * draws);
        ++*classes;
    }
    return ora_chi2_tail(*chi2, *classes - 1);
}

/* 100,000 draws, each position its own, against the oracle's probabilities: chi-squared at the level 0.1%. */
static void test_chi_squared(void **state) {
    static const qm_sampling s[] = {
        {1, 0, 1, 0, 1, 0, 42}, {0.8f, 40, 0.95, 0.05, 1, 64, 43}, {1.5f, 20, 1, 0, 1, 0, 7}, {1, 0, 0.7, 0, 1, 0, 99},
    };
    enum { N = 96, DRAWS = 100000 };
    (void)state;
    for (size_t k = 0; k < sizeof s / sizeof *s; k++) {
        float x[N];
        uint32_t keys[N], seen[N] = {0}, classes;
        uint64_t items[N];
        double chi2;
        qm_sample_params p;
        qm_err e;
        ora_logits(x, N, k == 0 ? ORA_TIES : ORA_NORMAL, 5 + k);
        for (int i = 0; i < N && k; i++) x[i] *= 0.4f;
        assert_int_equal(qm_sampling_params(&p, &s[k], &e), 0);
        qm_sample_keys(keys, x, N, &p, (uint32_t[]){0}, 0);
        qm_sample_order(items, keys, N);
        qm_sample_kept kept = qm_sample_keep(items, N, &p);
        ora_kept o = ora_keep(x, N, &s[k], NULL, 0);
        for (uint32_t pos = 0; pos < DRAWS; pos++) seen[qm_sample_pick(items, kept, &p, qm_sample_bits(p.seed, pos, 0))]++;
        for (int i = 0; i < N; i++) assert_true(o.kept[i] || !seen[i]);
        double tail = fit(seen, o.p, N, DRAWS, &chi2, &classes);
        print_message("%u draws over %u kept, %u classes: chi2 %.1f, probability %.3f\n", DRAWS, o.n_kept, classes, chi2, tail);
        assert_true(classes >= 8 && tail > 0.001);
        /* it would have seen the likeliest token taken a fifth too often */
        uint32_t first = ~(uint32_t)items[0];
        double p0 = o.p[first];
        for (int i = 0; i < N; i++) o.p[i] *= (1 - 1.2 * p0) / (1 - p0);
        o.p[first] = 1.2 * p0;
        assert_true(fit(seen, o.p, N, DRAWS, &chi2, &classes) < 0.001);
        ora_free(&o);
    }
}

/* Each value outside its range is refused, and the message says the range. */
static void test_ranges(void **state) {
    const qm_sampling ok = {0.8f, 40, 0.95, 0.05, 1.1f, 64, 1};
    const struct {
        qm_sampling s;
        const char *name, *range;
    } bad[] = {
        {{-0.1f, 40, 0.95, 0.05, 1, 64, 1}, "temperature", "0 to 1000"},
        {{NAN, 40, 0.95, 0.05, 1, 64, 1}, "temperature", "0 to 1000"},
        {{0.8f, -1, 0.95, 0.05, 1, 64, 1}, "top_k", "0 and up"},
        {{0.8f, 40, 1.01, 0.05, 1, 64, 1}, "top_p", "0 to 1"},
        {{0.8f, 40, 0.95, -0.05, 1, 64, 1}, "min_p", "0 to 1"},
        {{0.8f, 40, 0.95, 0.05, 0, 64, 1}, "repeat_penalty", "0.01 to 100"},
        {{0.8f, 40, 0.95, 0.05, 1, -2, 1}, "repeat_last_n", "-1 and up"},
    };
    qm_sample_params p;
    qm_err e;
    (void)state;
    assert_int_equal(qm_sampling_params(&p, &ok, &e), 0);
    assert_int_equal(p.mode, 1);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(qm_sampling_params(&p, &bad[i].s, &e), QM_ERR_ARG);
        assert_non_null(strstr(e.msg, bad[i].name));
        assert_non_null(strstr(e.msg, bad[i].range));
    }
    qm_sampling greedy = ok;
    greedy.temperature = 0;
    assert_int_equal(qm_sampling_params(&p, &greedy, &e), 0);
    assert_int_equal(p.mode, 0);
    greedy = ok;
    greedy.top_k = 1;
    assert_int_equal(qm_sampling_params(&p, &greedy, &e), 0);
    assert_int_equal(p.mode, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_philox_vectors), cmocka_unit_test(test_exp), cmocka_unit_test(test_order),
        cmocka_unit_test(test_kept_is_the_oracles), cmocka_unit_test(test_penalty_sign), cmocka_unit_test(test_chi_squared),
        cmocka_unit_test(test_ranges),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
