/* check_sample_draw: tokens and cuts of sample_draw, behind sample_scan, against their reference, to the bit; and what
 * they keep against the oracle in double. */
#include <stdio.h>
#include "sample_case.h"

/* ---- what is kept is what the oracle keeps ---- */
static void compare_kept(const smp_task *t, uint32_t *skipped) {
    smp_placed b;
    smp_place(&b, t);
    smp_step(&b, t);
    ora_kept o = ora_keep(t->x, t->n, &t->s, t->tokens, t->pos);
    uint32_t differ =
        ora_differ(&o, chk_get(b.scan.keys), t->n, smp_word64(chk_get(b.scan.work), QM_WORK_LAST), &b.w.p);
    uint32_t id = smp_tokens(&b)[t->pos + 1];
    int near = o.near, kept = id < t->n && o.kept[id];
    ora_free(&o);
    if (differ && !near) chk_fail("%u ids are kept by one side only", differ);
    if (!kept && !near) chk_fail("token %u was drawn, but is not kept", id);
    *skipped += differ && near;
    chk_end();
}

static void kept_sets(void **state) {
    static const uint32_t ns[] = {1, 2, 7, 64, 501, 5003};
    static const float temps[] = {0.05f, 0.8f, 1, 3, 1000};
    static const double ps[] = {1, 0.999, 0.95, 0.5, 0.1, 0}, mins[] = {0, 0.05, 0.5, 1};
    uint32_t tried = 0, skipped = 0;
    (void)state;
    for (int kind = 0; kind < ORA_N_KINDS; kind++)
        for (size_t a = 0; a < sizeof ns / sizeof *ns; a++)
            for (int draw = 0; draw < 20; draw++) {
                qm_rng r = {(uint64_t)kind * 1000 + a * 100 + (uint64_t)draw + 1};
                uint32_t n = ns[a];
                smp_task t = {.n = n, .pos = 5, .force_draw = 1, .seq = qm_rng_below(&r, 3)};
                t.scan_grid = 1 + n / QM_SAMPLE_RANGE + qm_rng_below(&r, 9);
                t.scan_block = 32 << qm_rng_below(&r, 4);
                t.draw_grid = 1 + qm_rng_below(&r, 5);
                t.draw_block = 32u << qm_rng_below(&r, 6);
                t.s.temperature = temps[qm_rng_below(&r, 5)];
                t.s.top_k = (int32_t)(qm_rng_below(&r, 2) ? qm_rng_below(&r, n + 2) : qm_rng_below(&r, 60));
                t.s.top_p = ps[qm_rng_below(&r, 6)];
                t.s.min_p = mins[qm_rng_below(&r, 4)];
                t.s.repeat_penalty = qm_rng_below(&r, 2) ? 1 : 0.5f + 0.3f * (float)qm_rng_below(&r, 6);
                t.s.repeat_last_n = (int32_t)qm_rng_below(&r, 8) - 1;
                t.s.seed = qm_rng_u64(&r);
                if (draw == 0) t.s = smp_plain;
                qm_logit_bias bias[8];
                if (draw > 8) ora_more(&t.s, bias, 8, n, &r);
                for (int i = 0; i < 6; i++) t.tokens[i] = qm_rng_below(&r, n < 9 ? n : 9);
                smp_begin(&t, ora_kind_name[kind], 0);
                t.x = smp_logits(n, kind);
                compare_kept(&t, &skipped);
                tried++;
            }
    print_message("kept sets: %u, of these %u differ because a cut is within 1e-6\n", tried, skipped);
    assert_true(skipped * 200 < tried);
}

static void every_k(void **state) { /* ties at the k-th place, for every k */
    uint32_t skipped = 0;
    (void)state;
    for (int kind = 0; kind < ORA_N_KINDS; kind++)
        for (int32_t k = 1; k <= 41; k += kind == ORA_TIES || kind == ORA_EQUAL ? 1 : 8) {
            smp_task t = {.n = 40,
                          .pos = 3,
                          .scan_grid = 2,
                          .scan_block = 32,
                          .draw_grid = 2,
                          .draw_block = 32,
                          .force_draw = 1,
                          .s = ORA_HOW(1, k, 1, 0, 1, 0, (uint64_t)k)};
            smp_begin(&t, ora_kind_name[kind], 0);
            t.x = smp_logits(t.n, kind);
            compare_kept(&t, &skipped);
        }
    assert_int_equal(skipped, 0);
}

/* top_p at a crossing exactly, and the next number on either side of it: with 64 equal masses, of any k. */
static void crossings(void **state) {
    (void)state;
    for (int i = 1; i <= 64; i += i < 4 ? 1 : 6)
        for (int side = -1; side <= 1; side++) {
            double p = side < 0 ? nextafter(i / 64.0, 0) : side ? nextafter(i / 64.0, 2) : i / 64.0;
            if (p > 1) continue;
            smp_task t = {.n = 64,
                          .scan_grid = 1,
                          .scan_block = 64,
                          .draw_grid = 1,
                          .draw_block = 64,
                          .s = ORA_HOW(1, 0, p, 0, 1, 0, 5)};
            smp_begin(&t, "crossing", 0);
            t.x = smp_logits(64, ORA_EQUAL);
            smp_placed b;
            smp_place(&b, &t);
            smp_step(&b, &t);
            uint64_t last = smp_word64(chk_get(b.scan.work), QM_WORK_LAST);
            /* p just over i / 64: the product is truncated to the same integer where it is that close */
            if (p < 1 && ~(uint32_t)last != (uint32_t)i - 1 && ~(uint32_t)last != (uint32_t)i)
                chk_fail("the last of p=%.17g is token %u", p, ~(uint32_t)last);
            if (side <= 0 && p < 1 && ~(uint32_t)last != (uint32_t)i - 1) chk_fail("token %u crosses", ~(uint32_t)last);
            chk_end();
        }
}

/* ---- flat logits, which the candidates cannot decide ---- */
static void slow_path(void **state) {
    static const struct {
        int kind;
        uint32_t n;
        qm_sampling s;
        int slow; /* of the two steps */
    } c[] = {
        {ORA_EQUAL, 9001, ORA_HOW(1, 0, 1, 0, 1, 0, 1), 2},
        {ORA_EQUAL, 9001, ORA_HOW(1, 5000, 0.9, 0, 1, 0, 2), 2},
        {ORA_EQUAL, 9001, ORA_HOW(1, 40, 1, 0, 1, 0, 3), 2},
        {ORA_FLAT, 9001, ORA_HOW(1, 0, 0.95, 0.5, 1, 0, 4), 2},
        {ORA_NORMAL, 20002, ORA_HOW(1000, 0, 0.9, 0, 1, 0, 5), 2},
        {ORA_NORMAL, 20002, ORA_HOW(1000, 9000, 0.5, 0, 1, 0, 6), 2},
        {ORA_TIES, 20002, ORA_HOW(1, 6000, 0.99, 0.01, 1, 0, 7), 2},
        {ORA_NEG_INF, 20002, ORA_HOW(900, 0, 0.99, 0, 1, 0, 8), 2},
        {ORA_ALL_NEG_INF, 9001, ORA_HOW(1, 0, 0.3, 0, 1, 0, 9), 2},
        {ORA_NORMAL, 20002, ORA_HOW(0.3f, 0, 0.95, 0, 1, 0, 10), 0},
        {ORA_NORMAL, 20002, ORA_HOW(0.8f, 40, 0.95, 0.05f, 1, 0, 11), 0},
        {ORA_PEAKED, 151936, ORA_HOW(0.7f, 20, 0.8, 0, 1, 0, 12), 0},
        {ORA_NORMAL, 151936, ORA_HOW(500, 0, 0.5, 0, 1, 0, 13), 2},
        {ORA_HUGE, 9001, ORA_HOW(1, 0, 0.9, 0, 1, 0, 14), 0},
        {ORA_TIES, 501, ORA_HOW(1, 40, 1, 1, 1, 0, 15), 0},
    };
    /* the same where the temperature comes last, top_k behind top_p, min_p before it */
    static const struct {
        int kind;
        uint32_t n;
        qm_sampling s;
        const char *chain;
        int slow;
    } m[] = {
        {ORA_NORMAL, 20002, ORA_HOW(3, 0, 1, 0.1, 1, 0, 1), "top_k;top_p;min_p;temperature", 0},
        {ORA_NORMAL, 20002, ORA_HOW(900, 0, 0.9, 0.001, 1, 0, 2), "top_k;top_p;min_p;temperature", 0},
        {ORA_NORMAL, 20002, ORA_HOW(900, 7000, 0.9999, 0, 1, 0, 3), "top_k;top_p;temperature", 2},
        {ORA_FLAT, 20002, ORA_HOW(900, 300, 0.9, 0, 1, 0, 4), "top_p;top_k;temperature", 2},
        {ORA_FLAT, 20002, ORA_HOW(2, 5000, 0.9, 0.9999, 1, 0, 5), "min_p;temperature;top_p;top_k", 2},
        {ORA_NORMAL, 20002, ORA_HOW(200, 6000, 0.1, 0.0001, 1, 0, 6), "min_p;temperature;top_p;top_k", 2},
        {ORA_NORMAL, 20002, ORA_HOW(200, 9000, 0.99, 0.001, 1, 0, 7), "top_p;temperature;min_p;top_k", 2},
        {ORA_NORMAL, 20002, ORA_HOW(1, 50, 0.99, 0.001, 1, 0, 8), "top_p;top_k;min_p;temperature", 0},
        {ORA_NORMAL, 20002, ORA_HOW(500, 0, 1, 0.01, 1, 0, 9), "min_p;temperature", 0},
        {ORA_TIES, 20002, ORA_HOW(500, 0, 1, 0.01, 1, 0, 10), "min_p;temperature", 2},
    };
    (void)state;
    for (size_t i = 0; i < sizeof c / sizeof *c; i++) {
        smp_task t = {.n = c[i].n,
                      .scan_grid = 9 + c[i].n / QM_SAMPLE_RANGE,
                      .scan_block = 256,
                      .draw_grid = 5,
                      .draw_block = 1024,
                      .s = c[i].s};
        smp_begin(&t, ora_kind_name[c[i].kind], 0);
        t.x = smp_logits(t.n, c[i].kind);
        uint32_t slow = smp_both(&t);
        if (slow != (uint32_t)c[i].slow) fail_msg("case %zu: %u steps took the slow path, not %d", i, slow, c[i].slow);
    }
    for (size_t i = 0; i < sizeof m / sizeof *m; i++) {
        smp_task t = {.n = m[i].n, .scan_grid = 9, .scan_block = 256, .draw_grid = 5, .draw_block = 1024, .s = m[i].s};
        qm_err e;
        uint32_t skipped = 0;
        if (qm_samplers_parse(t.s.samplers, m[i].chain, 0, &e)) fail_msg("%s", e.msg);
        smp_begin(&t, m[i].chain, 0);
        t.x = smp_logits(t.n, m[i].kind);
        uint32_t slow = smp_both(&t);
        if (slow != (uint32_t)m[i].slow)
            fail_msg("case %zu, %s: %u steps took the slow path, not %d", i, m[i].chain, slow, m[i].slow);
        smp_begin(&t, m[i].chain, 0);
        t.x = smp_logits(t.n, m[i].kind);
        compare_kept(&t, &skipped);
    }
}

/* ---- the draw ---- */
/* Position after position: the device's tokens are the reference's, whose distribution unit_sample tests; seeds
 * differ, the same seed repeats, another sequence of the same seed differs. */
static void draws(void **state) {
    enum { N = 96, DRAWS = 1200 };
    uint32_t drawn[4][DRAWS];
    static const struct {
        uint64_t seed;
        uint32_t seq;
    } who[4] = {{42, 0}, {42 + (1ull << 32), 0}, {42, 0}, {42, 1}}; /* seeds that differ above 32 bits */
    float *x = NULL;
    (void)state;
    for (int k = 0; k < 4; k++) {
        smp_task t = {.n = N,
                      .scan_grid = 1,
                      .scan_block = 32,
                      .draw_grid = 1,
                      .draw_block = 32,
                      .s = ORA_HOW(0.9f, 40, 0.95, 0.02, 1, 0, 0)};
        t.s.seed = who[k].seed;
        t.seq = who[k].seq;
        chk_begin("sample draws"); /* the same name: the same logits */
        x = smp_logits(N, ORA_NORMAL);
        t.x = x;
        smp_placed b;
        smp_place(&b, &t);
        smp_step(&b, &t);
        uint64_t *items = chk_tmp(8 * N);
        qm_sample_order(items, chk_twin(b.scan.keys), N);
        qm_sample_kept kept = qm_sample_keep(items, N, &b.w.p);
        for (uint32_t i = 0; i < DRAWS; i++) {
            uint32_t pos =
                i % SMP_CTX; /* far positions: the tokens' buffer is short, so the counter's other word moves */
            b.w.p.seq = t.seq + 2 * (i / SMP_CTX);
            b.row.pos = pos;
            memcpy((char *)b.st + QM_STATE_MODE, &b.w, sizeof b.w);
            smp_write(&b);
            chk_launch(chk_kernel(QM_OP_SAMPLE_DRAW, -1, 0), 1, 1, 1, 32, 0, &b.draw);
            drawn[k][i] = smp_tokens(&b)[pos + 1];
            uint32_t want = qm_sample_pick(items, kept, &b.w.p, qm_sample_bits(who[k].seed, pos + 1, b.w.p.seq));
            if (drawn[k][i] != want) chk_fail("draw %u is %u, not %u", i, drawn[k][i], want);
            if (i + 1 == DRAWS || (i + 1) % SMP_CTX == 0) smp_write_tokens(&b, t.tokens);
        }
        smp_write_tokens(&b, t.tokens);
        chk_end();
    }
    uint32_t differ[4] = {0};
    for (int k = 1; k < 4; k++)
        for (int i = 0; i < DRAWS; i++) differ[k] += drawn[k][i] != drawn[0][i];
    assert_true(differ[1] > DRAWS / 2 && differ[3] > DRAWS / 2);
    assert_int_equal(differ[2], 0);
}

/* Rows of one step: each of a sequence with parameters, seed, penalties and biases of its own, greedy ones among them; logits
 * that begin at no multiple of 16 bytes; more equals than candidates in one of them. */
static void rows_of(int checked, uint32_t n, uint32_t count, int shift) {
    enum { TASKS = 7, OP = 5 };
    static const qm_logit_bias bias[] = {{0, 2}, {60, -INFINITY}, {300, 1}};
    static const qm_sampling s[TASKS] = {
        ORA_HOW(0, 40, 0.9, 0.1, 1.3f, 64, 1), ORA_HOW(0.8f, 40, 0.95, 0.05, 1, 0, 2),
        ORA_HOW(1, 0, 0.9, 0, 1.2f, 5, 3),     ORA_HOW(1, 0, 1, 0, 1, 0, 4),
        ORA_HOW(0, 40, 0.9, 0.1, 1, 64, 5),    ORA_HOW(1, 0, 0.5, 0, 1, 0, 6),
        ORA_HOW(1, 7, 1, 0.1, 0.7f, -1, 7),
    };
    smp_task t[TASKS] = {0};
    uint32_t map[OP];
    for (uint32_t i = 0; i < OP; i++) map[i] = (5 * i + 2 + (uint32_t)shift) % TASKS;
    t[0].scan_grid = 3;
    t[0].scan_block = 96;
    t[0].draw_grid = 2;
    t[0].draw_block = 64;
    char what[32];
    snprintf(what, sizeof what, "rows %u of %d, %d", count, OP, shift);
    for (uint32_t i = 0; i < TASKS; i++) {
        t[i].n = n;
        t[i].s = s[i];
        t[i].pos = 3 + 2 * i;
        t[i].seq = i & 1;
        if (i == 2 || i == 4) t[i].s.bias = bias, t[i].s.n_bias = 3;
        if (i == 6) t[i].s.presence_penalty = t[i].s.frequency_penalty = 0.3f;
        for (uint32_t j = 0; j <= SMP_CTX; j++) t[i].tokens[j] = (60 * j + 31 * i) % n;
    }
    smp_begin(t, what, checked);
    for (uint32_t i = 0; i < TASKS; i++) t[i].x = smp_logits(n, i == 5 ? ORA_EQUAL : i == 2 ? ORA_TIES : ORA_NORMAL);
    smp_rows(t, TASKS, map, OP, count);
}

static void rows(void **state) {
    static const uint32_t ns[] = {301, 302, 303, 304, 4999};
    (void)state;
    for (size_t i = 0; i < sizeof ns / sizeof *ns; i++)
        for (uint32_t count = 0; count <= 5; count++)
            for (int shift = 0; shift < 7; shift += 3) rows_of(0, ns[i], count, shift);
    rows_of(1, 301, 3, 0);
    rows_of(1, 304, 4, 4);
    rows_of(1, 4201, 5, 3);
}

static void checked(void **state) {
    static const qm_sampling s[] = {ORA_HOW(0, 40, 0.9, 0.1, 1.2f, 3, 1), ORA_HOW(1, 0, 0.9, 0.05, 1.2f, 3, 1),
                                    ORA_HOW(1, 5, 0.9, 0, 1, 0, 1), ORA_HOW(1, 0, 1, 0, 1, 0, 1)};
    (void)state;
    for (size_t i = 0; i < sizeof s / sizeof *s; i++)
        for (int kind = ORA_NORMAL; kind <= ORA_TIES; kind += 3) {
            smp_task t = {.n = 301 + (uint32_t)i,
                          .pos = 4,
                          .scan_grid = 3,
                          .scan_block = 64,
                          .draw_grid = 3,
                          .draw_block = 64,
                          .s = s[i]};
            for (uint32_t j = 0; j < 5; j++) t.tokens[j] = 60 * j;
            smp_begin(&t, "checked", 1);
            t.x = smp_logits(t.n, kind);
            smp_both(&t);
        }
    static const qm_logit_bias bias[] = {{0, 2}, {60, -INFINITY}, {300, 1}};
    for (int temp = 0; temp < 2; temp++) { /* biases, counts and two temperatures */
        smp_task t = {.n = 302,
                      .pos = 4,
                      .scan_grid = 3,
                      .scan_block = 64,
                      .draw_grid = 3,
                      .draw_block = 64,
                      .s = ORA_HOW((float)(2 * temp), 0, 0.9, 0.05, 1.2f, 3, 1)};
        qm_err e;
        t.s.presence_penalty = t.s.frequency_penalty = 0.5f;
        t.s.bias = bias;
        t.s.n_bias = 3;
        if (qm_samplers_parse(t.s.samplers, "penalties;min_p;temperature;top_p;top_k", 0, &e)) fail_msg("%s", e.msg);
        for (uint32_t j = 0; j < 5; j++) t.tokens[j] = 60 * (j & 1);
        smp_begin(&t, "checked", 1);
        t.x = smp_logits(t.n, ORA_NORMAL);
        smp_both(&t);
    }
    /* and the slow path: more equals than candidates */
    smp_task t = {.n = 4200,
                  .pos = 4,
                  .scan_grid = 2,
                  .scan_block = 64,
                  .draw_grid = 2,
                  .draw_block = 256,
                  .s = ORA_HOW(1, 4150, 0.5, 0, 1, 0, 3)};
    smp_begin(&t, "checked", 1);
    t.x = smp_logits(t.n, ORA_EQUAL);
    assert_int_equal(smp_both(&t), 2);
}

/* Thread instructions and bytes of both kernels at the 30B's vocabulary, in the plan's geometry: bounds of their own,
 * and at most 2% of a step of Qwen3-30B-A3B Q4_K_M (bench --predict --per-op: 3.04e9 weights of 1.658 thread
 * instructions each, 1919 MB). */
static void ledger(void **state) {
    static const struct {
        const char *what;
        int kind;
        qm_sampling s;
        double scan, draw; /* thread instructions a logit, at most */
        uint32_t n_bias;
        const char *chain;
    } c[] = {
        {"greedy", ORA_NORMAL, ORA_HOW(0, 40, 0.95, 0.05, 1, 64, 1), 27.1, 5.7, 0, NULL},
        {"greedy, penalty 64", ORA_NORMAL, ORA_HOW(0, 40, 0.95, 0.05, 1.1f, 64, 1), 32.4, 5.7, 0, NULL},
        {"greedy, penalty 64, 300 biases", ORA_NORMAL, ORA_HOW(0, 40, 0.95, 0.05, 1.1f, 64, 1), 37, 5.7, 300, NULL},
        {"temp 0.8, k 40, p 0.95, min 0.05", ORA_PEAKED, ORA_HOW(0.8f, 40, 0.95, 0.05, 1, 64, 1), 51.4, 35, 0, NULL},
        {"the same, temperature last", ORA_PEAKED, ORA_HOW(0.8f, 40, 0.95, 0.05, 1, 64, 1), 51.4, 36.5, 0,
         "penalties;top_k;top_p;min_p;temperature"},
        {"temp 0.8, p 0.95", ORA_PEAKED, ORA_HOW(0.8f, 0, 0.95, 0, 1, 64, 1), 51.4, 103.5, 0, NULL},
        {"temp 1", ORA_NORMAL, ORA_HOW(1, 0, 1, 0, 1, 64, 1), 51.4, 215, 0, NULL},
        {"temp 500, p 0.5: slow", ORA_NORMAL, ORA_HOW(500, 0, 0.5, 0, 1, 64, 1), 51.4, 310, 0, NULL},
        {"greedy, mask", ORA_NORMAL, ORA_HOW(0, 40, 0.95, 0.05, 1, 64, 1), 40, 5.7, 0, NULL},
        {"temp 0.8, k 40, p 0.95, min 0.05, mask", ORA_PEAKED, ORA_HOW(0.8f, 40, 0.95, 0.05, 1, 64, 1), 64, 35, 0,
         NULL},
        {"temp 1, mask", ORA_NORMAL, ORA_HOW(1, 0, 1, 0, 1, 64, 1), 64, 38.2, 0, NULL},
    };
    static qm_logit_bias bias[300];
    for (uint32_t i = 0; i < 300; i++) bias[i] = (qm_logit_bias){500 * i, -1};
    const double step_insts = 3.04e9 * 1.658, step_bytes = 1.919e9;
    const uint32_t n = 151936;
    (void)state;
    for (size_t i = 0; i < sizeof c / sizeof *c; i++) {
        smp_task t = {.n = n,
                      .pos = 100,
                      .scan_grid = qm_launch_sample_scan(n).grid[0],
                      .scan_block = 256,
                      .draw_grid = qm_launch_sample_draw(n).grid[0],
                      .draw_block = 1024,
                      .s = c[i].s};
        qm_sim_counters s, d;
        chk_begin_counted("sample ledger %s", c[i].what);
        t.x = smp_logits(n, c[i].kind);
        t.s.bias = bias;
        t.s.n_bias = c[i].n_bias;
        uint32_t *mask = chk_tmp(4 * QM_MASK_WORDS(n)); /* one token in 160 */
        for (uint32_t k = 0; k < n; k += 160) mask[k / 32] = 1;
        if (strstr(c[i].what, "mask")) t.mask = mask;
        qm_err e;
        if (c[i].chain && qm_samplers_parse(t.s.samplers, c[i].chain, 0, &e)) fail_msg("%s", e.msg);
        smp_placed b;
        smp_place(&b, &t);
        smp_step(&b, &t);
        int ks = chk_kernel(QM_OP_SAMPLE_SCAN, -1, 0), kd = chk_kernel(QM_OP_SAMPLE_DRAW, -1, 0);
        if (chk_counters(ks, &s) && chk_counters(kd, &d)) {
            double ps = 32.0 * (double)s.warp_insts / n, pd = 32.0 * (double)d.warp_insts / n;
            double insts = 32.0 * (double)(s.warp_insts + d.warp_insts);
            double bytes = (double)(s.gld_bytes + s.gst_bytes + d.gld_bytes + d.gst_bytes);
            print_message(
                "%-34s scan %6.2f, draw %7.2f thread instructions a logit; %5.2f MB; of a step %.2f%% and %.2f%%\n",
                c[i].what, ps, pd, bytes * 1e-6, 100 * insts / step_insts, 100 * bytes / step_bytes);
            if (ps > c[i].scan || pd > c[i].draw) chk_fail("%.2f and %.2f thread instructions a logit", ps, pd);
            if (insts > 0.02 * step_insts || bytes > 0.02 * step_bytes) chk_fail("more than 2%% of a step");
            /* greedy is one pass: the logits, for each warp the row, and little else */
            double rows = 8.0 * (t.scan_grid * t.scan_block + t.draw_grid * t.draw_block) / 32;
            if (!b.w.p.mode && bytes > 4.3 * n + rows + 4.0 * c[i].n_bias * t.scan_grid)
                chk_fail("%.0f bytes for %u logits", bytes, n);
        }
        chk_end();
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kept_sets), cmocka_unit_test(every_k), cmocka_unit_test(crossings),
        cmocka_unit_test(slow_path), cmocka_unit_test(draws),   cmocka_unit_test(checked),
        cmocka_unit_test(ledger),    cmocka_unit_test(rows),
    };
    return chk_main(tests);
}
