/* unit_sampling: what sampling promises, through the engine on a synthetic model (contracts/sampling.yaml and
 * repetition_penalty.yaml). Steps run ahead of the host as they do for users. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "fixture.h"
#include "oracle.h"

enum { PROMPT = 8, N = 24 };
static const qm_sampling greedy = ORA_HOW(0, 40, 0.95, 0.05, 1, 64, 42), usual = ORA_HOW(0.7f, 0, 1, 0, 1, 64, 42);

typedef struct {
    uint32_t ids[64], n;
} record;
static int on_token(void *user, uint32_t id, const char *s, size_t n) {
    record *r = user;
    (void)s, (void)n;
    if (id != UINT32_MAX) r->ids[r->n++] = id;
    return 0;
}

static qm_session *session(qm_engine *g) {
    qm_session *s;
    qm_err e;
    fix_ok(qm_session_open(&s, g, &e), &e);
    return s;
}

static uint64_t continue_with(qm_session *s, const uint32_t *prompt, size_t n_prompt, uint32_t n, record *r) {
    qm_gen_opts o = {.max_tokens = n, .ignore_eos = 1, .on_token = on_token, .user = r};
    qm_gen_stats st;
    qm_err e;
    r->n = 0;
    fix_ok(qm_generate(s, prompt, n_prompt, &o, &st, &e), &e);
    assert_int_equal(r->n, n);
    return st.logits_hash;
}

/* From the beginning; p NULL: as the session is. */
static record generate(qm_session *s, const qm_sampling *p, const uint32_t *prompt, uint32_t n) {
    record r = {0};
    qm_err e;
    fix_ok(qm_session_truncate(s, 0, &e), &e);
    if (p) fix_ok(qm_session_set_sampling(s, p, &e), &e);
    continue_with(s, prompt, PROMPT, n, &r);
    return r;
}

static int same(const record *a, const record *b) { return a->n == b->n && !memcmp(a->ids, b->ids, 4 * a->n); }

/* FALSIFY-QWEN3_MOE_SAMPLING_V1_001 and _004: three greedy runs; top_k 1 whatever the temperature. */
static void test_greedy(void **state) {
    (void)state;
    qm_engine *g = fix_engine("small", "graph");
    qm_session *s = session(g);
    uint32_t ids[PROMPT];
    fix_prompt(g, ids, PROMPT, 1);
    record first = generate(s, NULL, ids, N); /* a new session is greedy */
    for (int i = 0; i < 3; i++) {
        record r = generate(s, &greedy, ids, N);
        assert_true(same(&r, &first));
    }
    for (int i = 0; i < 3; i++) {
        qm_sampling hot = ORA_HOW((float)(1 + 100 * i), 1, 0.5 + 0.25 * i, 0, 1, 64, 7 + (uint64_t)i);
        record r = generate(s, &hot, ids, N);
        assert_true(same(&r, &first));
    }
    qm_session_close(s);
    qm_engine_close(g);
}

/* _002: the same seed repeats, in another engine too. */
static void test_seed_repeats(void **state) {
    (void)state;
    record first = {0};
    for (int i = 0; i < 2; i++) {
        qm_engine *g = fix_engine("small", "graph");
        qm_session *s = session(g), *other = session(g);
        uint32_t ids[PROMPT];
        fix_prompt(g, ids, PROMPT, 1);
        for (int k = 0; k < 2; k++) {
            record r = generate(k ? other : s, &usual, ids, N);
            if (!i && !k) first = r;
            assert_true(same(&r, &first));
        }
        qm_session_close(s);
        qm_session_close(other);
        qm_engine_close(g);
    }
}

/* _003 */
static void test_seeds_differ(void **state) {
    (void)state;
    qm_engine *g = fix_engine("small", "graph");
    qm_session *s = session(g);
    uint32_t ids[PROMPT], firsts[32], distinct = 0;
    fix_prompt(g, ids, PROMPT, 1);
    qm_sampling p = usual;
    record a = generate(s, &p, ids, 16);
    p.seed = 43;
    record b = generate(s, &p, ids, 16);
    assert_false(same(&a, &b));
    p.seed = 42 + (1ull << 32); /* the upper half counts as well */
    record c = generate(s, &p, ids, 16);
    assert_false(same(&a, &c));
    for (uint32_t i = 0; i < 32; i++) {
        p.seed = i;
        firsts[i] = generate(s, &p, ids, 1).ids[0];
        uint32_t k = 0;
        while (firsts[k] != firsts[i]) k++;
        distinct += k == i;
    }
    print_message("32 seeds: %u distinct first tokens\n", distinct);
    assert_true(distinct >= 3);
    qm_session_close(s);
    qm_engine_close(g);
}

/* The token that the device chose at position `pos` is the one that the raw logits, tokens and seed say. */
static void expect_token(qm_session *s, const qm_sampling *p, uint32_t pos, uint32_t id) {
    uint32_t n = s->g->model->hp.n_vocab, *keys = malloc(4ull * n);
    uint64_t *items = malloc(8ull * n);
    float *l = malloc(4ull * n);
    qm_sample_words w;
    qm_err e;
    fix_ok(qm_sampling_words(&w, p, n, &e), &e);
    fix_ok(qm_session_logits(s, l, &e), &e);
    qm_sample_keys(keys, l, n, &w.p, w.bias, s->ids, pos);
    qm_sample_order(items, keys, n);
    uint32_t want = ~(uint32_t)items[0];
    if (w.p.mode)
        want = qm_sample_pick(items, qm_sample_keep(items, n, &w.p), &w.p, qm_sample_bits(p->seed, pos + 1, 0));
    assert_int_equal(id, want);
    if (w.p.mode) {
        ora_kept o = ora_keep(l, n, p, s->ids, pos);
        assert_true(o.kept[id] || o.near);
        ora_free(&o);
    }
    free(keys);
    free(items);
    free(l);
}

/* A text of n tokens, each of which is what it should be. */
static void follow(qm_session *s, const qm_sampling *p, uint32_t n) {
    uint32_t id = 65;
    qm_err e;
    fix_ok(qm_session_truncate(s, 0, &e), &e);
    fix_ok(qm_session_set_sampling(s, p, &e), &e);
    for (uint32_t pos = 0; pos < n; pos++) {
        fix_ok(qm_session_eval(s, id, &e), &e);
        fix_ok(qm_session_result(s, pos, &id, &e), &e);
        expect_token(s, p, pos, id);
    }
}

/* Order and meaning of all parameters: token by token, on both executors, for settings that each cut something. */
static void test_is_the_reference(void **state) {
    static const qm_sampling p[] = {
        ORA_HOW(0, 40, 0.95, 0.05, 1, 64, 42),    ORA_HOW(0, 40, 0.95, 0.05, 1.4f, 5, 42),
        ORA_HOW(0.8f, 40, 0.95, 0.05, 1, 64, 42), ORA_HOW(1.5f, 0, 0.6, 0, 1.2f, -1, 43),
        ORA_HOW(1, 0, 1, 0, 1, 64, 44),           ORA_HOW(3, 7, 1, 0, 0.8f, 3, 45),
        ORA_HOW(1, 0, 1, 0.3, 1, 64, 46),         ORA_HOW(100, 100000000, 0.999, 0, 1.1f, 64, 47),
    };
    (void)state;
    for (int k = 0; k < 2; k++) {
        qm_engine *g = fix_engine("small", k ? "ref" : "graph");
        qm_session *s = session(g);
        for (size_t i = 0; i < sizeof p / sizeof *p; i++) follow(s, &p[i], k ? 4 : 10);
        qm_session_close(s);
        qm_engine_close(g);
    }
}

/* The same for chains in other orders, presence and frequency penalties and biases; a session forgets what it had. */
static void test_chains_and_penalties(void **state) {
    static const qm_logit_bias bias[] = {{65, 1.5f}, {70, -INFINITY}, {90, 3}, {90, 0.5f}};
    static const struct {
        qm_sampling s;
        const char *chain;
        float presence, frequency;
        size_t n_bias;
    } c[] = {
        {ORA_HOW(2.5f, 40, 0.9, 0.1, 1, 64, 42), "penalties;top_k;top_p;min_p;temperature", 0, 0, 0},
        {ORA_HOW(2.5f, 30, 0.8, 0.02, 1.2f, 6, 43 + (7ull << 40)), "penalties;min_p;top_p;temperature;top_k", 0.5f,
         0.25f, 4},
        {ORA_HOW(4, 9, 0.8, 0, 1, -1, 44), "penalties;temperature;top_p;top_k", 0, 0.7f, 3},
        {ORA_HOW(0, 40, 0.95, 0.05, 1, 3, 45), NULL, 1.5f, 0.5f, 0},
        {ORA_HOW(0, 40, 0.95, 0.05, 1, 0, 46), NULL, 0, 0, 4},
        {ORA_HOW(1, 0, 1, 0, 1, 64, 1ull << 63), NULL, 0, 0, 0},
    };
    (void)state;
    for (int k = 0; k < 2; k++) {
        qm_engine *g = fix_engine("small", k ? "ref" : "graph");
        qm_session *s = session(g);
        for (size_t i = 0; i < sizeof c / sizeof *c; i++) {
            qm_sampling p = c[i].s;
            qm_err e;
            if (c[i].chain) fix_ok(qm_samplers_parse(p.samplers, c[i].chain, 0, &e), &e);
            p.presence_penalty = c[i].presence;
            p.frequency_penalty = c[i].frequency;
            p.bias = bias;
            p.n_bias = c[i].n_bias;
            follow(s, &p, k ? 4 : 10);
        }
        qm_session_close(s);
        qm_engine_close(g);
    }
}

/* A draw depends on seed, position and logits alone: however a position was reached, after whatever else the session
 * did, and whatever the parameters were before. The raw logits are untouched. */
static void test_position_only(void **state) {
    (void)state;
    qm_engine *g = fix_engine("small", "graph");
    qm_session *s = session(g), *fresh = session(g);
    uint32_t ids[PROMPT + N];
    qm_sampling p = ORA_HOW(1.2f, 50, 0.95, 0.01, 1.1f, 16, 99), hot = ORA_HOW(50, 0, 1, 0, 1, 0, 5);
    record whole, r = {0};
    qm_err e;
    fix_prompt(g, ids, PROMPT, 2);
    whole = generate(fresh, &p, ids, N);
    memcpy(ids + PROMPT, whole.ids, 4 * N);
    generate(s, &hot, ids, 3);
    whole = generate(s, &p, ids, N);
    assert_memory_equal(whole.ids, ids + PROMPT, 4 * N);
    for (uint32_t from = 1; from < N; from += 5) {
        /* cut back and go on with the last token again */
        fix_ok(qm_session_truncate(s, PROMPT + from - 1, &e), &e);
        continue_with(s, ids + PROMPT + from - 1, 1, N - from, &r);
        assert_memory_equal(r.ids, ids + PROMPT + from, 4 * (N - from));
        /* the same tokens as one prompt of a session that has seen nothing else */
        fix_ok(qm_session_truncate(fresh, 0, &e), &e);
        uint64_t sampled = continue_with(fresh, ids, PROMPT + from, N - from, &r);
        assert_memory_equal(r.ids, ids + PROMPT + from, 4 * (N - from));
        fix_ok(qm_session_set_sampling(fresh, &greedy, &e), &e);
        fix_ok(qm_session_truncate(fresh, 0, &e), &e);
        assert_true(continue_with(fresh, ids, PROMPT + from, 1, &r) == sampled); /* logits_hash */
        fix_ok(qm_session_set_sampling(fresh, &p, &e), &e);
    }
    qm_session_close(s);
    qm_session_close(fresh);
    qm_engine_close(g);
}

/* Nothing to choose from is an error; so is a parameter outside its range, which leaves the session as it was. */
static void test_refuses(void **state) {
    (void)state;
    qm_engine *g = fix_engine("small", "graph");
    qm_session *s = session(g);
    float *l = malloc(4ull * g->model->hp.n_vocab);
    uint32_t ids[PROMPT];
    qm_gen_opts o = {.max_tokens = 1};
    qm_gen_stats st;
    qm_err e;
    fix_prompt(g, ids, PROMPT, 3);
    assert_int_equal(qm_session_logits(s, l, &e), QM_ERR_ARG);
    assert_int_equal(qm_generate(s, ids, 0, &o, &st, &e), QM_ERR_ARG);
    record before = generate(s, &usual, ids, 8);
    qm_sampling bad = greedy;
    bad.top_p = 1.5;
    assert_int_equal(qm_session_set_sampling(s, &bad, &e), QM_ERR_ARG);
    assert_non_null(strstr(e.msg, "top_p is 1.5, not in the range 0 to 1"));
    record after = generate(s, NULL, ids, 8);
    assert_true(same(&before, &after));
    free(l);
    qm_session_close(s);
    qm_engine_close(g);
}

/* FALSIFY-QWEN3_MOE_REPETITION_PENALTY_V1_001: 1.0, or a window of 0, changes nothing. */
static void test_penalty_off(void **state) {
    (void)state;
    qm_engine *g = fix_engine("small", "graph");
    qm_session *s = session(g);
    uint32_t ids[PROMPT];
    fix_prompt(g, ids, PROMPT, 4);
    for (int drawn = 0; drawn < 2; drawn++) {
        qm_sampling p = drawn ? usual : greedy;
        p.repeat_last_n = 0;
        record none = generate(s, &p, ids, N);
        p.repeat_penalty = 1.8f;
        record no_window = generate(s, &p, ids, N);
        p.repeat_penalty = 1;
        p.repeat_last_n = -1;
        record one = generate(s, &p, ids, N);
        assert_true(same(&none, &no_window) && same(&none, &one));
    }
    qm_session_close(s);
    qm_engine_close(g);
}

/* The prompt with a token at `place` that is also the greedy choice after it; 0 where none is found. */
static int with_choice_at(qm_session *s, uint32_t *prompt, uint32_t place, uint32_t *choice) {
    for (int again = 0; again < 12; again++) { /* putting it there may change the choice: until it does not */
        *choice = generate(s, &greedy, prompt, 1).ids[0];
        if (prompt[place] == *choice) return 1;
        prompt[place] = *choice;
    }
    return 0;
}

/* _003: a token counts while it is among the last n, the prompt's included, and not one position longer. */
static void test_penalty_window(void **state) {
    (void)state;
    qm_engine *g = fix_engine("small", "graph");
    qm_session *s = session(g);
    uint32_t ids[PROMPT], choice, tried = 0;
    fix_prompt(g, ids, PROMPT, 5);
    for (uint32_t back = 1; back <= 4; back++) {
        uint32_t p[PROMPT];
        int again = 0; /* the same token nearer to the end would count as well */
        memcpy(p, ids, sizeof p);
        if (!with_choice_at(s, p, PROMPT - back, &choice)) continue;
        for (uint32_t i = PROMPT - back + 1; i < PROMPT; i++) again |= p[i] == choice;
        if (again) continue;
        tried++;
        qm_sampling w = greedy;
        w.repeat_penalty = 100;
        w.repeat_last_n = (int32_t)back;
        assert_int_not_equal(generate(s, &w, p, 1).ids[0], choice);
        if (--w.repeat_last_n) { /* the others in the window are penalised, this one is not */
            qm_err e;
            fix_ok(qm_session_truncate(s, PROMPT - 1, &e), &e);
            fix_ok(qm_session_set_sampling(s, &w, &e), &e);
            fix_ok(qm_session_eval(s, p[PROMPT - 1], &e), &e);
            uint32_t id;
            fix_ok(qm_session_result(s, PROMPT - 1, &id, &e), &e);
            expect_token(s, &w, PROMPT - 1, id);
        }
        assert_int_equal(generate(s, &w, p, 1).ids[0], choice);
    }
    print_message("%u of 4 places tried\n", tried);
    assert_true(tried >= 2);
    qm_session_close(s);
    qm_engine_close(g);
}

/* _004: after a prompt that repeats itself, 1.2 over 64 moves probability away from what was said; so do the draws. */
static void test_penalty_measurable(void **state) {
    (void)state;
    enum { LONG = 32, SEEDS = 96 };
    qm_engine *g = fix_engine("small", "graph");
    qm_session *s = session(g);
    uint32_t n = g->model->hp.n_vocab, ids[LONG], choice = 0, drawn[2] = {0, 0};
    float *l = malloc(4ull * n);
    double distance = 0, said[2] = {0, 0};
    qm_sampling p[2] = {ORA_HOW(1, 0, 1, 0, 1, 64, 0), ORA_HOW(1, 0, 1, 0, 1.2f, 64, 0)};
    ora_kept k[2];
    qm_err e;
    fix_prompt(g, ids, 4, 6);
    for (int again = 0; again < 12; again++) { /* the pattern holds the token that the model then likes most */
        record r = {0};
        for (int i = 4; i < LONG; i++) ids[i] = ids[i % 4];
        fix_ok(qm_session_set_sampling(s, &greedy, &e), &e);
        fix_ok(qm_session_truncate(s, 0, &e), &e);
        continue_with(s, ids, LONG, 1, &r);
        choice = r.ids[0];
        if (choice == ids[again % 3]) break;
        ids[again % 3] = choice;
    }
    for (int i = 4; i < LONG; i++) ids[i] = ids[i % 4];
    for (int with = 0; with < 2; with++)
        for (uint64_t seed = 0; seed < SEEDS; seed++) {
            uint32_t id, keep = seed || with ? LONG - 1 : 0;
            p[with].seed = seed;
            fix_ok(qm_session_truncate(s, keep, &e), &e);
            fix_ok(qm_session_set_sampling(s, &p[with], &e), &e);
            for (uint32_t i = keep; i < LONG; i++) fix_ok(qm_session_eval(s, ids[i], &e), &e);
            fix_ok(qm_session_result(s, LONG - 1, &id, &e), &e);
            for (int i = 0; i < 4; i++)
                if (id == ids[i]) {
                    drawn[with]++;
                    break;
                }
        }
    fix_ok(qm_session_logits(s, l, &e), &e);
    for (int with = 0; with < 2; with++) {
        k[with] = ora_keep(l, n, &p[with], s->ids, LONG - 1);
        for (uint32_t i = 0; i < n; i++)
            for (int j = 0; j < 4; j++)
                if (i == ids[j]) {
                    said[with] += k[with].p[i];
                    break;
                }
    }
    for (uint32_t i = 0; i < n; i++) distance += fabs(k[0].p[i] - k[1].p[i]) / 2;
    print_message(
        "total variation %.4f; probability of what was said %.4f, with the penalty %.4f; drawn %u and %u times of %d\n",
        distance, said[0], said[1], drawn[0], drawn[1], SEEDS);
    assert_true(distance > 0.01 && said[1] < 0.9 * said[0]);
    assert_true(drawn[1] < drawn[0]);
    ora_free(&k[0]);
    ora_free(&k[1]);
    free(l);
    qm_session_close(s);
    qm_engine_close(g);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_greedy),
        cmocka_unit_test(test_seed_repeats),
        cmocka_unit_test(test_seeds_differ),
        cmocka_unit_test(test_is_the_reference),
        cmocka_unit_test(test_chains_and_penalties),
        cmocka_unit_test(test_position_only),
        cmocka_unit_test(test_refuses),
        cmocka_unit_test(test_penalty_off),
        cmocka_unit_test(test_penalty_window),
        cmocka_unit_test(test_penalty_measurable),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
