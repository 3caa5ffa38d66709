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
        {0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344, 0xa4093822, 0x299f31d0, 0xd16cfe09, 0x94fdcceb, 0x5001e420,
         0x24126ea1},
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
                qm_sampling s = {.temperature = temps[qm_rng_below(&r, 5)], .seed = 1};
                s.top_k = (int32_t)qm_rng_below(&r, n + 2);
                s.top_p = ps[qm_rng_below(&r, 6)];
                s.min_p = mins[qm_rng_below(&r, 4)];
                s.repeat_penalty = qm_rng_below(&r, 2) ? 1 : 0.5f + 0.3f * (float)qm_rng_below(&r, 6);
                s.repeat_last_n = (int32_t)qm_rng_below(&r, 8) - 1;
                qm_sample_params p;
                qm_err e;
                for (int i = 0; i < 6; i++) tokens[i] = qm_rng_below(&r, n < 9 ? n : 9);
                ora_logits(x, n, kind, qm_rng_u64(&r));
                assert_int_equal(qm_sampling_params(&p, &s, &e), 0);
                qm_sample_keys(keys, x, n, &p, NULL, tokens, 5);
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
                    if (kind == ORA_NEG_INF && isfinite(qm_order_value((uint32_t)(items[0] >> 32))))
                        assert_true(x[id] > -INFINITY);
                }
                ora_free(&o);
            }
    print_message("kept sets: %u, of these %u differ because a cut is within 1e-6\n", tried, skipped);
    assert_true(skipped * 1000 < tried);
}

/* Every chain keeps what the oracle keeps, which goes through it link by link; and the order matters. */
static void test_every_chain(void **state) {
    static const float temps[] = {0.3f, 1, 2.5f, 40};
    static const double ps[] = {1, 0.95, 0.7, 0.3}, mins[] = {0, 0.02, 0.2, 0.6};
    uint32_t tried = 0, skipped = 0, moved[ORA_N_CHAINS] = {0}, tokens[6];
    enum { N = 233 };
    float x[N];
    uint32_t keys[N];
    uint64_t items[N];
    qm_logit_bias bias[8];
    qm_rng r = {21};
    (void)state;
    for (int draw = 0; draw < 400; draw++) {
        int kind = draw % 4 == 3 ? (int)qm_rng_below(&r, ORA_N_KINDS) : draw % 2 ? ORA_PEAKED : ORA_NORMAL;
        qm_sampling s = {
            .temperature = temps[qm_rng_below(&r, 4)], .repeat_penalty = 1, .repeat_last_n = -1, .seed = 1};
        s.top_k = (int32_t)(qm_rng_below(&r, 2) ? qm_rng_below(&r, N) : qm_rng_below(&r, 12)) - 1;
        s.top_p = ps[qm_rng_below(&r, 4)];
        s.min_p = mins[qm_rng_below(&r, 4)];
        ora_more(&s, bias, 8, N, &r);
        for (int i = 0; i < 6; i++) tokens[i] = qm_rng_below(&r, N);
        ora_logits(x, N, kind, qm_rng_u64(&r));
        uint32_t usual = 0;
        for (int chain = 0; chain < ORA_N_CHAINS; chain++) {
            qm_sample_words w;
            qm_err e;
            ora_chain(s.samplers, chain);
            assert_int_equal(qm_sampling_words(&w, &s, N, &e), 0);
            qm_sample_keys(keys, x, N, &w.p, w.bias, tokens, 5);
            qm_sample_order(items, keys, N);
            qm_sample_kept kept = {1, QM_SAMPLE_ONE};
            if (w.p.mode) kept = qm_sample_keep(items, N, &w.p);
            ora_kept o = ora_keep(x, N, &s, tokens, 5);
            uint32_t differ = ora_differ(&o, keys, N, items[kept.n - 1], &w.p);
            if (!w.p.mode) differ = o.kept[~(uint32_t)items[0]] != 1 || o.n_kept != 1;
            if (differ && !o.near)
                fail_msg("chain %d, %s temp=%g k=%d p=%g min=%g: %u ids differ", chain, ora_kind_name[kind],
                         s.temperature, s.top_k, s.top_p, s.min_p, differ);
            if (!differ && w.p.mode) { /* and as likely: the draw's own temperature */
                double all = 0, most = 0;
                for (uint32_t i = 0; i < kept.n; i++)
                    all += o.kept[~(uint32_t)items[i]]
                               ? (double)qm_sample_mass((uint32_t)(items[i] >> 32), (uint32_t)(items[0] >> 32),
                                                        w.p.temperature)
                               : 0;
                assert_true(all == (double)kept.total || fabs(all - (double)kept.total) < 1e-9 * all);
                for (uint32_t i = 0; i < kept.n; i++) {
                    uint64_t m =
                        qm_sample_mass((uint32_t)(items[i] >> 32), (uint32_t)(items[0] >> 32), w.p.temperature);
                    if (o.kept[~(uint32_t)items[i]])
                        most = fmax(most, fabs((double)m / all - o.p[~(uint32_t)items[i]]));
                }
                assert_true(most < 1e-5);
            }
            if (!chain) usual = o.n_kept;
            moved[chain] += o.n_kept != usual;
            skipped += differ && o.near;
            tried++;
            ora_free(&o);
        }
    }
    uint32_t others = 0;
    for (int chain = 1; chain <= 24; chain++) others += moved[chain] > 0;
    print_message("%u cases, %u skipped near a cut; %u of 24 orders keep something else than the default somewhere\n",
                  tried, skipped, others);
    assert_true(skipped * 500 < tried &&
                others == 22); /* all but the default itself and top_k before its temperature */
}

/* Counts: less by frequency for each time, by presence once; a bias before all of it, whatever the sign it leaves. */
static void test_counts(void **state) {
    static const float x[] = {2, -2, 2, -1, 3, 0, 1},
                       want[] = {2 / 2.0f - 1.25f, -2 * 2.0f - 0.75f, 2, 1 / 2.0f - 0.75f, -INFINITY, 2, 1};
    static const uint32_t tokens[] = {2, 0, 1, 0, 3, 0, 99};
    static const qm_logit_bias bias[] = {{3, 1.5f}, {4, -INFINITY}, {3, 0.5f}, {5, 2}};
    qm_sampling s = ORA_HOW(1, 0, 1, 0, 2, 6, 1); /* 2 has just left the window */
    qm_sample_words w;
    qm_err e;
    uint32_t keys[7];
    (void)state;
    s.presence_penalty = 0.5f;
    s.frequency_penalty = 0.25f;
    s.bias = bias;
    s.n_bias = 4;
    assert_int_equal(qm_sampling_words(&w, &s, 7, &e), 0);
    assert_int_equal(w.p.n_bias, 3);
    qm_sample_keys(keys, x, 7, &w.p, w.bias, tokens, 6);
    for (int i = 0; i < 7; i++)
        if (qm_order_value(keys[i]) != want[i]) fail_msg("token %d: %g, not %g", i, qm_order_value(keys[i]), want[i]);
}

/* Names, letters, and what is refused, by name. */
static void test_chain_names(void **state) {
    static const struct {
        const char *text;
        int letters;
        unsigned char chain[QM_N_SAMPLERS];
        const char *error;
    } c[] = {
        {"penalties;dry;top_n_sigma;top_k;typ_p;top_p;min_p;xtc;temperature",
         0,
         {QM_SAMPLER_PENALTIES, QM_SAMPLER_TOP_K, QM_SAMPLER_TOP_P, QM_SAMPLER_MIN_P, QM_SAMPLER_TEMPERATURE},
         NULL},
        {"edskypmxt",
         1,
         {QM_SAMPLER_PENALTIES, QM_SAMPLER_TOP_K, QM_SAMPLER_TOP_P, QM_SAMPLER_MIN_P, QM_SAMPLER_TEMPERATURE},
         NULL},
        {"top-k;nucleus;min-p;temp",
         0,
         {QM_SAMPLER_TOP_K, QM_SAMPLER_TOP_P, QM_SAMPLER_MIN_P, QM_SAMPLER_TEMPERATURE},
         NULL},
        {"temperature;", 0, {QM_SAMPLER_TEMPERATURE}, NULL},
        {"t", 1, {QM_SAMPLER_TEMPERATURE}, NULL},
        {"top_k;infill", 0, {0}, "infill is not supported"},
        {"ki", 1, {0}, "infill is not supported"},
        {"adaptive_p", 0, {0}, "adaptive_p is not supported"},
        {"top_k;top_k", 0, {0}, "top_k is there twice"},
        {"mirostat", 0, {0}, "mirostat is not known"},
        {"top_k, top_p", 0, {0}, "top_k, top_p is not known"},
        {"top", 0, {0}, "top is not known"},
        {"kq", 1, {0}, "q is not known"},
        {"", 0, {0}, "names none"},
        {"xtc;dry", 0, {0}, "names none"},
        {";top_k", 0, {0}, " is not known"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof c / sizeof *c; i++) {
        unsigned char chain[QM_N_SAMPLERS];
        qm_err e;
        int rc = qm_samplers_parse(chain, c[i].text, c[i].letters, &e);
        if (c[i].error) {
            assert_true(rc < 0);
            if (!strstr(e.msg, c[i].error)) fail_msg("%s: %s", c[i].text, e.msg);
        } else {
            if (rc) fail_msg("%s: %s", c[i].text, e.msg);
            assert_memory_equal(chain, c[i].chain, sizeof chain);
        }
    }
}

/* Divided where positive, multiplied elsewhere; once, whether the token is there once or twice. */
static void test_penalty_sign(void **state) {
    static const float x[] = {2, -2, 0, -0.0f, 2, -INFINITY, 1}, want[] = {1, -4, 0, 0, 2, -INFINITY, 0.5f};
    static const uint32_t tokens[] = {0, 1, 2, 3, 0, 5, 6, 0, 6, 77};
    const qm_sample_params p = {.edits = 1, .penalty = 2, .last_n = 10};
    uint32_t keys[7];
    (void)state;
    qm_sample_keys(keys, x, 7, &p, NULL, tokens, 9);
    for (int i = 0; i < 7; i++) assert_true(qm_order_value(keys[i]) == want[i]);
}

/* A mask's parameters choose what the plain ones choose of the same keys, for any number of tokens; none: 0 of them. */
static void test_masked(void **state) {
    enum { N = 5003 };
    static const uint32_t counts[] = {1, 2, 39, 40, 41, QM_SAMPLE_CAP - 1, QM_SAMPLE_CAP, QM_SAMPLE_CAP + 1, N};
    static const qm_sampling s[] = {
        ORA_HOW(1.5f, 40, 1, 0, 1, 0, 1),       ORA_HOW(1.5f, 0, 1, 0, 1, 0, 2), ORA_HOW(1, 4500, 0.95, 0.01, 1, 0, 3),
        ORA_HOW(1.5f, 40, 0.95, 0.05, 1, 0, 4), ORA_HOW(0, 40, 0.9, 0, 1, 0, 5), ORA_HOW(2, 0, 0.9, 0, 1, 0, 6),
    };
    static uint32_t keys[N], mask[QM_MASK_WORDS(N)];
    static uint64_t items[N];
    static float x[N];
    uint32_t n_allowed = 1;
    (void)state;
    ora_logits(x, N, ORA_NORMAL, 9);
    for (size_t a = 0; a < sizeof s / sizeof *s; a++)
        for (size_t c = 0; c < sizeof counts / sizeof *counts; c++) {
            qm_sample_params p, m;
            qm_err e;
            assert_int_equal(qm_sampling_params(&p, &s[a], &e), 0);
            if (a == 3) p.k_late = 1; /* behind top_p */
            memset(mask, 0, sizeof mask);
            mask[N / 32] = ~0u << N % 32; /* of nobody */
            for (uint32_t i = 0; i < counts[c]; i++) mask[i * 7 % N / 32] |= 1u << i * 7 % N % 32;
            m = qm_sampling_masked(&p, mask, N, &n_allowed);
            assert_true(n_allowed == counts[c] || (n_allowed < counts[c] && n_allowed > (p.top_k ? p.top_k : 4096)));
            assert_int_equal(m.edits, QM_EDIT_MASK);
            if (counts[c] <= QM_SAMPLE_CAP) assert_in_range(m.top_k, 1, counts[c]);
            qm_sample_keys(keys, x, N, &p, NULL, (uint32_t[]){0}, 0);
            qm_sample_mask(keys, N, mask);
            qm_sample_order(items, keys, N);
            const qm_sample_kept plain = qm_sample_keep(items, N, &p), masked = qm_sample_keep(items, N, &m);
            for (uint32_t pos = 0; pos < 50; pos++) {
                const uint64_t bits = qm_sample_bits(7, pos, 0);
                const uint32_t id = qm_sample_pick(items, masked, &m, bits);
                assert_int_equal(id, qm_sample_pick(items, plain, &p, bits));
                assert_true(mask[id / 32] >> id % 32 & 1);
            }
        }
    qm_sample_params p = {.top_k = 3}, m;
    memset(mask, 0, sizeof mask);
    mask[N / 32] = ~0u << N % 32;
    qm_sampling_masked(&p, mask, N, &n_allowed);
    assert_int_equal(n_allowed, 0);
    m = qm_sampling_masked(&p, NULL, N, &n_allowed);
    assert_memory_equal(&m, &p, sizeof p);
    assert_int_equal(n_allowed, N);
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
        ORA_HOW(1, 0, 1, 0, 1, 0, 42),
        ORA_HOW(0.8f, 40, 0.95, 0.05, 1, 64, 43),
        ORA_HOW(1.5f, 20, 1, 0, 1, 0, 7),
        ORA_HOW(1, 0, 0.7, 0, 1, 0, 99),
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
        qm_sample_keys(keys, x, N, &p, NULL, (uint32_t[]){0}, 0);
        qm_sample_order(items, keys, N);
        qm_sample_kept kept = qm_sample_keep(items, N, &p);
        ora_kept o = ora_keep(x, N, &s[k], NULL, 0);
        for (uint32_t pos = 0; pos < DRAWS; pos++)
            seen[qm_sample_pick(items, kept, &p, qm_sample_bits(p.seed, pos, 0))]++;
        for (int i = 0; i < N; i++) assert_true(o.kept[i] || !seen[i]);
        double tail = fit(seen, o.p, N, DRAWS, &chi2, &classes);
        print_message("%u draws over %u kept, %u classes: chi2 %.1f, probability %.3f\n", DRAWS, o.n_kept, classes,
                      chi2, tail);
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
    const qm_sampling ok = ORA_HOW(0.8f, 40, 0.95, 0.05, 1.1f, 64, 1);
    const struct {
        qm_sampling s;
        const char *name, *range;
    } bad[] = {
        {ORA_HOW(1001, 40, 0.95, 0.05, 1, 64, 1), "temperature", "-1000 to 1000"},
        {ORA_HOW(NAN, 40, 0.95, 0.05, 1, 64, 1), "temperature", "-1000 to 1000"},
        {ORA_HOW(0.8f, 40, 1.01, 0.05, 1, 64, 1), "top_p", "0 to 1"},
        {ORA_HOW(0.8f, 40, 0.95, -0.05, 1, 64, 1), "min_p", "0 to 1"},
        {ORA_HOW(0.8f, 40, 0.95, 0.05, 0, 64, 1), "repeat_penalty", "0.01 to 100"},
        {ORA_HOW(0.8f, 40, 0.95, 0.05, 1, -2, 1), "repeat_last_n", "-1 and up"},
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
    static const struct {
        qm_logit_bias b;
        const char *said;
    } biases[] = {{{50, 1}, "token 50 is outside the vocabulary of 50"},
                  {{1, NAN}, "logit bias"},
                  {{1, INFINITY}, "logit bias is inf"},
                  {{1, -2e6f}, "-1e+06 to 1e+06"}};
    qm_sample_words w;
    for (size_t i = 0; i < sizeof biases / sizeof *biases; i++) {
        qm_sampling s = ok;
        s.bias = &biases[i].b;
        s.n_bias = 1;
        assert_int_equal(qm_sampling_words(&w, &s, 50, &e), QM_ERR_ARG);
        if (!strstr(e.msg, biases[i].said)) fail_msg("%s", e.msg);
    }
    qm_logit_bias many[QM_SAMPLE_BIASES + 2];
    qm_sampling s = ok;
    for (uint32_t i = 0; i < QM_SAMPLE_BIASES + 2; i++)
        many[i] = (qm_logit_bias){i ? i - 1 : 0, 1}; /* the first one twice */
    s.bias = many;
    s.n_bias = QM_SAMPLE_BIASES + 1;
    assert_int_equal(qm_sampling_words(&w, &s, 5000, &e), 0);
    assert_true(w.p.n_bias == QM_SAMPLE_BIASES && w.bias[0].bias == 2 && w.p.edits);
    s.n_bias++;
    assert_int_equal(qm_sampling_words(&w, &s, 5000, &e), QM_ERR_ARG);
    assert_non_null(strstr(e.msg, "more than 1024 tokens"));
    for (int which = 0; which < 4; which++) {
        s = ok;
        if (which == 0) s.presence_penalty = 101;
        if (which == 1) s.frequency_penalty = NAN;
        if (which == 2)
            memcpy(s.samplers, (unsigned char[]){QM_SAMPLER_TOP_K, QM_SAMPLER_PENALTIES}, 2); /* 1.1 is on */
        if (which == 3) memcpy(s.samplers, (unsigned char[]){QM_SAMPLER_TOP_K, QM_SAMPLER_TOP_K}, 2);
        static const char *const said[] = {"presence_penalty is 101", "frequency_penalty",
                                           "penalties that are on come first, not behind top_k",
                                           "top_k is there twice"};
        assert_int_equal(qm_sampling_params(&p, &s, &e), QM_ERR_ARG);
        if (!strstr(e.msg, said[which])) fail_msg("%s", e.msg);
    }
    s = ok;
    s.repeat_penalty = 1; /* off: wherever they stand */
    memcpy(s.samplers, (unsigned char[]){QM_SAMPLER_TOP_K, QM_SAMPLER_PENALTIES}, 2);
    assert_int_equal(qm_sampling_params(&p, &s, &e), 0);
    qm_sampling below = ok; /* as elsewhere: less than nothing is off */
    below.top_k = -1;
    assert_int_equal(qm_sampling_params(&p, &below, &e), 0);
    assert_true(p.mode == 1 && p.top_k == 0);
    below.temperature = -1;
    assert_int_equal(qm_sampling_params(&p, &below, &e), 0);
    assert_int_equal(p.mode, 0);
    static const int32_t windows[][2] = {
        {0, 0}, {1, 1}, {5, 5}, {64, 64}, {-1, QM_SAMPLE_WINDOW}, {INT32_MAX, QM_SAMPLE_WINDOW}};
    for (size_t i = 0; i < sizeof windows / sizeof *windows; i++) {
        s = ok;
        s.repeat_last_n = windows[i][0];
        assert_int_equal(qm_sampling_params(&p, &s, &e), 0);
        assert_true(p.last_n == (uint32_t)windows[i][1] && (p.edits != 0) == (p.last_n != 0));
    }
    qm_sampling wide = ok; /* all 64 bits of a seed */
    wide.seed = 0x123456789abcdef0u;
    assert_int_equal(qm_sampling_params(&p, &wide, &e), 0);
    assert_true(p.seed == wide.seed);
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
        cmocka_unit_test(test_philox_vectors),      cmocka_unit_test(test_exp),          cmocka_unit_test(test_order),
        cmocka_unit_test(test_kept_is_the_oracles), cmocka_unit_test(test_every_chain),  cmocka_unit_test(test_counts),
        cmocka_unit_test(test_chain_names),         cmocka_unit_test(test_penalty_sign), cmocka_unit_test(test_masked),
        cmocka_unit_test(test_chi_squared),         cmocka_unit_test(test_ranges),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
