/* check_sample_scan: the greedy token, order keys, flags and window of sample_scan against its reference, to the bit;
 * each step goes on to sample_draw, so that what the one leaves the other can use. Each case is launched twice in a
 * row, since counters, sums and histogram must return to zero by themselves. */
#include "sample_case.h"

/* ---- greedy: the id exactly, over sizes, grids, ties and non-finite logits ---- */
static void greedy_shapes(void **state) {
    static const uint32_t ns[] = {1, 2, 3, 4, 5, 31, 33, 127, 128, 129, 1000, 4099, 32003, 151936};
    static const unsigned grids[] = {5, 7, 33, 128};
    (void)state;
    for (size_t i = 0; i < sizeof ns / sizeof *ns; i++)
        for (size_t j = 0; j < sizeof grids / sizeof *grids; j++) {
            smp_task t = {.n = ns[i],
                          .pos = (uint32_t)(i + j),
                          .scan_grid = grids[j] + ns[i] / QM_SAMPLE_RANGE,
                          .scan_block = 256,
                          .draw_grid = 2,
                          .draw_block = 64,
                          .s = smp_greedy};
            smp_begin(&t, "greedy", 0);
            t.x = smp_logits(t.n, ORA_NORMAL);
            smp_both(&t);
        }
    for (unsigned block = 32; block <= 1024; block *= 2) {
        smp_task t = {.n = 5003,
                      .scan_grid = 1 + 1024 / block,
                      .scan_block = block,
                      .draw_grid = 1,
                      .draw_block = 32,
                      .s = smp_greedy};
        smp_begin(&t, "greedy", 0);
        t.x = smp_logits(t.n, ORA_TIES);
        smp_both(&t);
    }
}

static void greedy_kinds(void **state) {
    (void)state;
    for (int kind = 0; kind < ORA_N_KINDS; kind++)
        for (int penal = 0; penal < 2; penal++) {
            smp_task t = {.n = 1003,
                          .pos = 20,
                          .scan_grid = 5,
                          .scan_block = 64,
                          .draw_grid = 1,
                          .draw_block = 32,
                          .s = smp_greedy};
            t.s.repeat_penalty = penal ? 1.5f : 1;
            for (uint32_t i = 0; i <= 20; i++) t.tokens[i] = 7 * i;
            smp_begin(&t, ora_kind_name[kind], 0);
            t.x = smp_logits(t.n, kind);
            smp_both(&t);
        }
}

static void greedy_one_hot(void **state) { /* the winner at every place of a small vector */
    (void)state;
    for (uint32_t hot = 0; hot < 67; hot++) {
        smp_task t = {.n = 67, .scan_grid = 3, .scan_block = 32, .draw_grid = 1, .draw_block = 32, .s = smp_greedy};
        smp_begin(&t, "one hot", 0);
        float *x = chk_tmp(67 * 4);
        for (uint32_t i = 0; i < 67; i++) x[i] = i == hot ? -1.0f : -2.0f;
        t.x = x;
        smp_both(&t);
    }
}

/* NaN of both signs and +inf raise the flag, wherever they are; -inf does not. In every mode the id stays in range. */
static void nonfinite(void **state) {
    static const float bad[] = {NAN, -NAN, INFINITY, -INFINITY};
    (void)state;
    for (int b = 0; b < 4; b++)
        for (uint32_t where = 0; where < 5; where++)
            for (int mode = 0; mode < 2; mode++) {
                smp_task t = {.n = 1001,
                              .pos = 1,
                              .scan_grid = 4,
                              .scan_block = 64,
                              .draw_grid = 2,
                              .draw_block = 64,
                              .s = mode ? smp_plain : smp_greedy};
                if (where & 1) t.s.top_k = 7;
                smp_begin(&t, "non-finite", 0);
                float *x = smp_logits(t.n, ORA_NORMAL);
                if (where < 4) x[where == 3 ? t.n - 1 : where * 333] = bad[b];
                for (uint32_t i = 0; where == 4 && i < t.n; i++) x[i] = bad[b];
                t.x = x;
                smp_placed p;
                smp_place(&p, &t);
                smp_step(&p, &t);
                uint32_t flags = smp_word32(chk_get(p.scan.state), SMP_OFF + QM_STATE_FLAGS);
                if (flags != (b < 3 ? QM_FLAG_NONFINITE : 0)) chk_fail("flags %u for %g", flags, bad[b]);
                if (smp_tokens(&p)[2] >= t.n) chk_fail("a token outside the vocabulary");
                chk_end();
            }
}

/* ---- the penalty: window, duplicates, ids of nobody, sign ---- */
static void window(void **state) {
    static const int lasts[] = {0, 1, 2, 7, 64, 299, 1000, -1};
    static const float penalties[] = {1, 1.3f, 0.5f};
    (void)state;
    for (size_t a = 0; a < sizeof lasts / sizeof *lasts; a++)
        for (size_t b = 0; b < 3; b++)
            for (uint32_t pos = 0; pos < 290; pos += 47) {
                smp_task t = {.n = 611,
                              .pos = pos,
                              .scan_grid = 3,
                              .scan_block = 96,
                              .draw_grid = 1,
                              .draw_block = 128,
                              .s = ORA_HOW(1, 0, 1, 0, penalties[b], lasts[a], 42)};
                smp_begin(&t, "window", 0);
                for (uint32_t i = 0; i <= SMP_CTX; i++)
                    t.tokens[i] = qm_rng_below(chk_rng(), i % 5 ? 40 : 700); /* some beyond n */
                t.x = smp_logits(t.n, ORA_NORMAL);
                smp_both(&t);
            }
}

/* Presence and frequency over the window, biases: few and as many as there may be, of ids in every CTA; with ids of the
 * window, without, and with a token that fills it. */
static void biases(void **state) {
    qm_logit_bias bias[QM_SAMPLE_BIASES];
    (void)state;
    for (uint32_t n_bias = 0; n_bias <= QM_SAMPLE_BIASES; n_bias = n_bias ? n_bias * 4 : 1)
        for (int k = 0; k < 8; k++) {
            smp_task t = {.n = 5003,
                          .pos = 280,
                          .scan_grid = 3 + (unsigned)k,
                          .scan_block = 64u << (k & 3),
                          .draw_grid = 1,
                          .draw_block = 32,
                          .s = ORA_HOW((float)(k & 1), 0, 1, 0, k & 2 ? 1.3f : 1, k & 4 ? -1 : 50, 42)};
            t.s.presence_penalty = k % 3 ? 0.7f : 0;
            t.s.frequency_penalty = k % 5 ? 0.11f : 0;
            t.s.bias = bias;
            t.s.n_bias = n_bias;
            smp_begin(&t, "biases", 0);
            for (uint32_t i = 0; i < n_bias; i++)
                bias[i] = (qm_logit_bias){(i * 4001 + 7) % t.n, (float)qm_rng_below(chk_rng(), 9) - 4};
            if (n_bias > 1) bias[1].bias = -INFINITY;
            for (uint32_t i = 0; i <= SMP_CTX; i++)
                t.tokens[i] = k == 7 ? 7 : 7 + 4001 * qm_rng_below(chk_rng(), 9) % t.n;
            t.x = smp_logits(t.n, ORA_NORMAL);
            smp_both(&t);
        }
}

/* ---- the mask ---- */
/* Of n tokens one in `of`, and the last one. */
static const uint32_t *some_of(uint32_t n, uint32_t of) {
    uint32_t *mask = chk_tmp(4 * (size_t)QM_MASK_WORDS(n));
    memset(mask, 0, 4 * (size_t)QM_MASK_WORDS(n));
    for (uint32_t i = 0; i < n; i++)
        if (i + 1 == n || qm_rng_below(chk_rng(), of) == 0) mask[i / 32] |= 1u << i % 32;
    for (uint32_t i = n; i % 32; i++) mask[i / 32] |= 1u << i % 32; /* of nobody */
    return mask;
}

/* Few and many tokens, with and without biases and penalties; the token is one of them whatever its logit is: also where
 * theirs are all -inf. Vocabularies that end within a word. */
static void masks(void **state) {
    static const uint32_t ns[] = {1, 31, 32, 33, 1001, 5003}, ofs[] = {1, 2, 40, 100000};
    static const qm_sampling s[] = {
        ORA_HOW(0, 40, 0.9, 0.1, 1, 64, 1),     ORA_HOW(0, 40, 0.9, 0.1, 1.3f, 64, 1), ORA_HOW(1, 0, 1, 0, 1, 0, 2),
        ORA_HOW(1.5f, 40, 0.95, 0.05, 1, 0, 3), ORA_HOW(1.5f, 0, 0.9, 0, 1.2f, -1, 4),
    };
    qm_logit_bias bias[3];
    (void)state;
    for (size_t a = 0; a < sizeof ns / sizeof *ns; a++)
        for (size_t b = 0; b < sizeof ofs / sizeof *ofs; b++)
            for (size_t c = 0; c < sizeof s / sizeof *s; c++)
                for (int kind = ORA_NORMAL; kind <= ORA_ALL_NEG_INF; kind += ORA_ALL_NEG_INF - ORA_NORMAL) {
                    smp_task t = {.n = ns[a],
                                  .pos = 20,
                                  .scan_grid = 2 + (unsigned)c,
                                  .scan_block = 64,
                                  .draw_grid = 2,
                                  .draw_block = 64,
                                  .s = s[c]};
                    smp_begin(&t, ora_kind_name[kind], 0);
                    t.mask = some_of(t.n, ofs[b]);
                    t.x = smp_logits(t.n, kind);
                    for (uint32_t i = 0; i < 3; i++) bias[i] = (qm_logit_bias){(i * 401 + 7) % t.n, 30};
                    t.s.bias = bias;
                    t.s.n_bias = b & 1 ? 3 : 0; /* such a bias does not lift a token over the mask */
                    for (uint32_t i = 0; i <= SMP_CTX; i++) t.tokens[i] = 7 * i % t.n;
                    smp_placed p;
                    smp_place(&p, &t);
                    uint32_t n_allowed = 0;
                    for (uint32_t i = 0; i < t.n; i++) n_allowed += t.mask[i / 32] >> i % 32 & 1;
                    if (smp_step(&p, &t) && n_allowed <= QM_SAMPLE_CAP)
                        chk_fail("the slow path, for %u tokens", n_allowed);
                    const uint32_t id = smp_tokens(&p)[t.pos + 1];
                    if (id >= t.n || !(t.mask[id / 32] >> id % 32 & 1)) chk_fail("token %u was not allowed", id);
                    chk_end();
                }
}

/* Races and unwritten bytes: parts and histogram are another CTA's until the counter has been met. */
static void checked(void **state) {
    static const qm_sampling s[] = {ORA_HOW(0, 40, 0.9, 0.1, 1, 64, 1), ORA_HOW(0, 40, 0.9, 0.1, 1.2f, 3, 1),
                                    ORA_HOW(1, 0, 1, 0, 1.2f, 3, 1), ORA_HOW(1, 7, 1, 0, 1, 0, 1)};
    (void)state;
    for (size_t i = 0; i < sizeof s / sizeof *s; i++)
        for (unsigned grid = 1; grid <= 5; grid += 2) {
            smp_task t = {
                .n = 1501, .pos = 4, .scan_grid = grid, .scan_block = 96, .draw_grid = 2, .draw_block = 64, .s = s[i]};
            for (uint32_t j = 0; j < 5; j++) t.tokens[j] = 300 * j;
            smp_begin(&t, "checked", 1);
            if (grid > 1) t.mask = some_of(t.n, 5);
            t.x = smp_logits(t.n, ORA_NORMAL);
            smp_both(&t);
        }
}

/* The plan's geometry: every vocabulary that there may be fits the CTAs' ranges. */
static void geometry(void **state) {
    (void)state;
    for (uint32_t n = 1; n < QM_SAMPLE_MAX_N; n += 1 + n / 37) {
        uint32_t grid = qm_launch_sample_scan(n).grid[0], range = (n + 4 * grid - 1) / (4 * grid) * 4;
        if (range > QM_SAMPLE_RANGE || grid > QM_SAMPLE_CTAS) fail_msg("%u CTAs for %u ids: %u each", grid, n, range);
    }
    uint32_t n = QM_SAMPLE_MAX_N - 1, grid = qm_launch_sample_scan(n).grid[0];
    assert_true((n + 4 * grid - 1) / (4 * grid) * 4 <= QM_SAMPLE_RANGE);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(greedy_shapes), cmocka_unit_test(greedy_kinds), cmocka_unit_test(greedy_one_hot),
        cmocka_unit_test(nonfinite),     cmocka_unit_test(window),       cmocka_unit_test(biases),
        cmocka_unit_test(geometry),      cmocka_unit_test(checked),      cmocka_unit_test(masks),
    };
    return chk_main(tests);
}
