/* unit_engine: the forward-pass and KV-cache contracts (contracts/forward.yaml, kv_cache.yaml) through the
 * engine's public surface. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "fixture.h"

enum { MAX_GEN = 128 };
typedef struct {
    uint32_t ids[MAX_GEN];
    uint32_t n, calls, stop_at; /* stop_at: the call that says stop; 0 never */
    char text[4096];
    size_t text_n;
} record;

static int on_token(void *user, uint32_t id, const char *s, size_t n) {
    record *r = user;
    assert_true(r->text_n + n < sizeof r->text);
    memcpy(r->text + r->text_n, s, n);
    r->text_n += n;
    if (id == UINT32_MAX) return 0;
    assert_true(r->n < MAX_GEN);
    r->ids[r->n++] = id;
    return ++r->calls == r->stop_at;
}

static qm_gen_stats generate(qm_session *s, const uint32_t *prompt, size_t n, uint32_t max, record *r) {
    qm_gen_opts o = {.max_tokens = max, .ignore_eos = 1, .on_token = on_token, .user = r};
    qm_gen_stats st;
    qm_err e;
    r->n = r->calls = 0;
    r->text_n = 0;
    fix_ok(qm_generate(s, prompt, n, &o, &st, &e), &e);
    return st;
}

static qm_session *session(qm_engine *g) {
    qm_session *s;
    qm_err e;
    fix_ok(qm_session_open(&s, g, &e), &e);
    return s;
}

/* F-QW3-MOE-C22211-001 */
static void test_forward_shapes(void **state) {
    (void)state;
    qm_engine *g = fix_engine("small", "graph");
    qm_session *s = session(g);
    uint32_t n = g->model->hp.n_vocab, best = 0;
    float *l = malloc(n * sizeof *l);
    qm_err e;
    fix_ok(qm_session_eval(s, 65, &e), &e);
    fix_ok(qm_session_logits(s, l, &e), &e);
    for (uint32_t i = 0; i < n; i++) {
        assert_true(isfinite(l[i]));
        if (l[i] > l[best]) best = i;
    }
    qm_result r;
    fix_ok(g->exec->result(g, s->seq, 0, &r, &e), &e);
    assert_int_equal(r.token, best); /* the device's argmax is the logits' argmax */
    assert_int_equal(r.flags, 0);
    assert_int_equal(qm_session_eval(s, n, &e), QM_ERR_ARG);
    free(l);
    qm_session_close(s);
    qm_engine_close(g);
}

static void top2(const float *l, uint32_t n, uint32_t *id, float *gap) {
    uint32_t a = 0;
    float second = -INFINITY;
    for (uint32_t i = 1; i < n; i++)
        if (l[i] > l[a]) a = i;
    for (uint32_t i = 0; i < n; i++)
        if (i != a && l[i] > second) second = l[i];
    *id = a;
    *gap = l[a] - second;
}

/* F-QW3-MOE-STEP5-001: over several pairs of prompts that end in the same token, so that only the
 * context can make the difference. */
static void test_two_prompts_differ(void **state) {
    (void)state;
    qm_engine *g = fix_engine("small", "graph");
    qm_session *s = session(g);
    uint32_t n = g->model->hp.n_vocab, ids[2][6], first[2], differ = 0;
    float *l = malloc(n * sizeof *l), gap;
    qm_err e;
    for (uint64_t pair = 0; pair < 4; pair++) {
        for (int k = 0; k < 2; k++) {
            fix_prompt(g, ids[k], 6, 100 + 2 * pair + (uint64_t)k);
            ids[k][5] = 70;
            fix_ok(qm_session_truncate(s, 0, &e), &e);
            for (int i = 0; i < 6; i++) fix_ok(qm_session_eval(s, ids[k][i], &e), &e);
            fix_ok(qm_session_logits(s, l, &e), &e);
            top2(l, n, &first[k], &gap);
            assert_true(gap < 50);
        }
        differ += first[0] != first[1];
    }
    assert_true(differ >= 3);
    free(l);
    qm_session_close(s);
    qm_engine_close(g);
}

/* FALSIFY-QW3-MOE-FORWARD-002 */
static void test_arch_refused(void **state) {
    (void)state;
    char path[64] = "/tmp/qmoe-arch-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    FILE *in = fopen(fix_model("small"), "rb"), *out = fdopen(fd, "wb");
    assert_non_null(in);
    char *buf = malloc(1 << 20);
    size_t n = fread(buf, 1, 1 << 20, in);
    char *at = memmem(buf, n, "qwen3moe", 8); /* the value of general.architecture comes first */
    assert_non_null(at);
    memcpy(at, "qwen9moe", 8);
    do fwrite(buf, 1, n, out);
    while ((n = fread(buf, 1, 1 << 20, in)) > 0);
    fclose(in);
    fclose(out);
    free(buf);
    qm_engine *g;
    qm_err e;
    assert_int_equal(qm_engine_open(&g, path, &(qm_engine_opts){.device = "sim"}, &e), QM_ERR_UNSUPPORTED);
    assert_non_null(strstr(e.msg, "qwen9moe"));
    assert_non_null(strstr(e.msg, "is not supported; qwen3moe is: Qwen3-30B-A3B"));
    unlink(path);
}

/* FALSIFY-QW3-MOE-GPU-MEMORY-001: refused before any work, with the numbers. */
static void test_memory_refused(void **state) {
    (void)state;
    qm_engine *g;
    qm_err e;
    qm_engine_opts o = {.device = "sim", .n_ctx = 1u << 27};
    assert_int_equal(qm_engine_open(&g, fix_model("huge_ctx"), &o, &e), QM_ERR_NOMEM);
    assert_non_null(strstr(e.msg, "needs"));
    assert_non_null(strstr(e.msg, "GiB"));
    o.n_ctx++;
    assert_int_equal(qm_engine_open(&g, fix_model("huge_ctx"), &o, &e), QM_ERR_LIMIT);
    assert_non_null(strstr(e.msg, "134217728"));
}

/* moe_kv_cache_equivalence: greedy tokens with the cache are those of a full prefill per token, across
 * page borders (32, 64), and the logits are the same bits. */
static void test_kv_cache_equivalence(void **state) {
    (void)state;
    enum { PROMPT = 28, N = 40 };
    qm_engine *g = fix_engine("small", "graph");
    qm_session *s = session(g), *full = session(g);
    uint32_t ids[PROMPT + N], n = g->model->hp.n_vocab;
    float *a = malloc(n * sizeof *a), *b = malloc(n * sizeof *b);
    record r = {0}, one = {0};
    qm_err e;
    fix_prompt(g, ids, PROMPT, 3);
    generate(s, ids, PROMPT, N, &r);
    assert_int_equal(r.n, N);
    memcpy(ids + PROMPT, r.ids, sizeof r.ids[0] * N);
    for (uint32_t i = 0; i < N; i += i == 2 ? 1 : 3) {
        fix_ok(qm_session_truncate(full, 0, &e), &e);
        generate(full, ids, PROMPT + i, 1, &one);
        assert_int_equal(one.ids[0], r.ids[i]);
    }
    fix_ok(qm_session_truncate(s, PROMPT + 20, &e), &e); /* the cache up to here came token by token */
    fix_ok(qm_session_eval(s, 66, &e), &e);
    fix_ok(qm_session_logits(s, a, &e), &e);
    fix_ok(qm_session_truncate(full, 0, &e), &e);
    generate(full, ids, PROMPT + 20, 1, &one);
    fix_ok(qm_session_truncate(full, PROMPT + 20, &e), &e);
    fix_ok(qm_session_eval(full, 66, &e), &e);
    fix_ok(qm_session_logits(full, b, &e), &e);
    assert_memory_equal(a, b, n * sizeof *a);
    free(a);
    free(b);
    qm_session_close(s);
    qm_session_close(full);
    qm_engine_close(g);
}

/* Freed pages are used again, in another order, and nothing of their old contents shows. */
static void test_pages_reused(void **state) {
    (void)state;
    enum { PROMPT = 50, N = 24 };
    qm_engine *g = fix_engine("small", "graph");
    qm_session *s = session(g), *other = session(g);
    uint32_t ids[PROMPT], filler[PROMPT];
    record first = {0}, again = {0};
    qm_err e;
    fix_prompt(g, ids, PROMPT, 4);
    fix_prompt(g, filler, PROMPT, 5);
    generate(s, ids, PROMPT, N, &first);
    uint32_t page0 = s->pages[0], free_pages = g->kv.n_free;
    fix_ok(qm_session_truncate(s, 0, &e), &e);
    assert_int_equal(g->kv.n_free, g->kv.n_pages);
    generate(other, filler, 20, 20, &again); /* takes the page that s had first, and dirties it */
    generate(s, ids, PROMPT, N, &again);
    assert_true(s->pages[0] != page0 || g->kv.n_free != free_pages);
    assert_memory_equal(first.ids, again.ids, N * sizeof first.ids[0]);
    /* a full pool is an error with the numbers, and the other sequence goes on unharmed */
    qm_session *big = session(g);
    uint32_t *many = malloc(g->limits.n_ctx * sizeof *many);
    fix_prompt(g, many, g->limits.n_ctx, 6);
    qm_gen_opts o = {.max_tokens = 1};
    qm_gen_stats st;
    assert_int_equal(qm_generate(big, many, g->limits.n_ctx - 1, &o, &st, &e), QM_ERR_LIMIT);
    assert_non_null(strstr(e.msg, "of 16 pages are free"));
    assert_int_equal(big->n_pages, 0); /* before any work */
    qm_session_close(big);
    free(many);
    fix_ok(qm_session_truncate(s, 0, &e), &e);
    generate(s, ids, PROMPT, N, &again);
    assert_memory_equal(first.ids, again.ids, N * sizeof first.ids[0]);
    qm_session_close(other);
    qm_session_close(s);
    qm_engine_close(g);
}

/* FALSIFY-QW3-MOE-GPU-DETERMINISM-001: two runs from scratch, byte for byte. */
static void test_determinism(void **state) {
    (void)state;
    enum { PROMPT = 10, N = 32 };
    float *l[2];
    record r[2] = {{{0}, 0, 0, 0, {0}, 0}, {{0}, 0, 0, 0, {0}, 0}};
    uint64_t hash[2];
    uint32_t n = 0;
    for (int k = 0; k < 2; k++) {
        qm_engine *g = fix_engine("small", "graph");
        qm_session *s = session(g);
        uint32_t ids[PROMPT];
        qm_err e;
        n = g->model->hp.n_vocab;
        l[k] = malloc(n * sizeof *l[k]);
        fix_prompt(g, ids, PROMPT, 9);
        hash[k] = generate(s, ids, PROMPT, N, &r[k]).logits_hash;
        fix_ok(qm_session_logits(s, l[k], &e), &e);
        qm_session_close(s);
        qm_engine_close(g);
    }
    assert_memory_equal(r[0].ids, r[1].ids, N * sizeof r[0].ids[0]);
    assert_memory_equal(l[0], l[1], n * sizeof *l[0]);
    assert_int_equal(r[0].text_n, r[1].text_n);
    assert_memory_equal(r[0].text, r[1].text, r[0].text_n);
    assert_true(hash[0] == hash[1]);
    free(l[0]);
    free(l[1]);
}

/* Decoding begins with the first token: a step of it takes about as long as a step of the prompt. */
static void test_times_apart(void **state) {
    (void)state;
    qm_engine *g = fix_engine("small", "graph");
    qm_session *s = session(g);
    record r = {0};
    uint32_t ids[8];
    fix_prompt(g, ids, 8, 3);
    generate(s, ids, 8, 2, &r); /* the graphs are there */
    qm_gen_stats st = generate(s, ids, 8, 2, &r);
    assert_true(st.decode_s > 0.1 * st.prefill_s / 8);
    assert_true(st.first_token_s >= st.prefill_s);
    qm_session_close(s);
    qm_engine_close(g);
}

/* Ops that the plan lets run at once: the order in which they do may not change a bit. The software device runs
 * them one after the other, so here the order is turned round. */
static void test_concurrent(void **state) {
    (void)state;
    enum { PROMPT = 40 };
    float *l[2];
    uint32_t n = 0, n_turned = 0;
    for (int k = 0; k < 2; k++) {
        qm_engine *g = fix_engine("small", "graph");
        uint32_t ids[PROMPT];
        qm_err e;
        n = g->model->hp.n_vocab;
        l[k] = malloc(n * sizeof *l[k]);
        fix_prompt(g, ids, PROMPT, 10);
        for (int j = 0; k && j < g->n_plans; j++) {
            qm_plan *p = g->plans[j];
            for (int i = 1; i < p->n_ops; i++) {
                if (p->ops[i].waits) continue;
                assert_true(p->ops[i - 1].waits);
                qm_op first = p->ops[i - 1];
                p->ops[i - 1] = p->ops[i];
                p->ops[i - 1].waits = 1;
                p->ops[i] = first;
                p->ops[i++].waits = 0;
                n_turned++;
            }
        }
        qm_session *s = session(g); /* captures what the plans say now */
        for (uint32_t pos = 0; pos < PROMPT; pos++) fix_ok(qm_session_eval(s, ids[pos], &e), &e);
        fix_ok(qm_session_logits(s, l[k], &e), &e);
        qm_session_close(s);
        qm_engine_close(g);
    }
    assert_true(n_turned > 0);
    assert_memory_equal(l[0], l[1], n * sizeof *l[0]);
    free(l[0]);
    free(l[1]);
}

/* Every way to end, each with its reason; limits are errors before any work. */
static void test_finish_reasons(void **state) {
    (void)state;
    qm_engine *g = fix_engine("small", "graph");
    qm_session *s = session(g);
    uint32_t ids[8];
    record r = {0}, stopped = {0};
    qm_gen_stats st;
    qm_err e;
    fix_prompt(g, ids, 8, 11);
    assert_int_equal(generate(s, ids, 8, 12, &r).finish, QM_FINISH_LENGTH);
    assert_int_equal(r.n, 12);
    assert_int_equal(qm_session_length(s), 20);

    fix_ok(qm_session_truncate(s, 0, &e), &e);
    stopped.stop_at = 3; /* callback_stop_short_circuits */
    assert_int_equal(generate(s, ids, 8, 12, &stopped).finish, QM_FINISH_CALLBACK);
    assert_int_equal(stopped.calls, 3);

    /* a stop string that spans the border of two tokens: out of the text that came before it */
    assert_true(r.text_n > 6);
    char stop[4] = {0};
    memcpy(stop, r.text + 3, 3);
    const char *stops[] = {"never in the text", stop};
    record cut = {0};
    qm_gen_opts o = {.max_tokens = 12, .ignore_eos = 1, .stop = stops, .n_stop = 2, .on_token = on_token, .user = &cut};
    fix_ok(qm_session_truncate(s, 0, &e), &e);
    fix_ok(qm_generate(s, ids, 8, &o, &st, &e), &e);
    const char *at = memmem(r.text, r.text_n, stop, 3);
    assert_int_equal(st.finish, QM_FINISH_STOP);
    assert_int_equal(cut.text_n, at - r.text);
    assert_memory_equal(cut.text, r.text, cut.text_n);

    fix_ok(qm_session_truncate(s, 0, &e), &e);
    uint32_t *many = malloc(g->limits.n_ctx * sizeof *many);
    fix_prompt(g, many, g->limits.n_ctx, 12);
    record rest = {0};
    assert_int_equal(generate(s, many, g->limits.n_ctx - 5, 0, &rest).finish, QM_FINISH_CONTEXT);
    assert_int_equal(rest.n, 5);
    free(many);

    o = (qm_gen_opts){.max_tokens = g->limits.n_ctx};
    fix_ok(qm_session_truncate(s, 0, &e), &e);
    assert_int_equal(qm_generate(s, ids, 8, &o, &st, &e), QM_ERR_LIMIT);
    assert_non_null(strstr(e.msg, "512"));
    assert_int_equal(qm_generate(s, ids, 0, &o, &st, &e), QM_ERR_ARG);
    assert_int_equal(qm_session_length(s), 0);
    qm_session_close(s);
    qm_engine_close(g);
}

/* Several turns over one cache equal one long prompt: the last generated token, sampled but not yet
 * computed, is not forgotten. */
static void test_turns_continue(void **state) {
    (void)state;
    qm_engine *g = fix_engine("small", "graph");
    qm_session *s = session(g), *whole = session(g);
    uint32_t a[5], b[4], all[5 + 6 + 4];
    record r = {0}, second = {0}, once = {0};
    fix_prompt(g, a, 5, 21);
    fix_prompt(g, b, 4, 22);
    generate(s, a, 5, 6, &r);
    generate(s, b, 4, 8, &second);
    memcpy(all, a, sizeof a);
    memcpy(all + 5, r.ids, 6 * sizeof *all);
    memcpy(all + 11, b, sizeof b);
    generate(whole, all, 15, 8, &once);
    assert_memory_equal(second.ids, once.ids, 8 * sizeof *all);
    qm_session_close(s);
    qm_session_close(whole);
    qm_engine_close(g);
}

/* What a sequence has computed stays its own while another one of the same engine steps: logits, tokens, flags. */
static void test_two_sessions(void **state) {
    (void)state;
    static const char *const executors[] = {"graph", "persistent", "ref"};
    for (int x = 0; x < 3; x++) {
        qm_engine *g = fix_engine("small", executors[x]);
        qm_session *s[2] = {session(g), session(g)};
        uint32_t n = g->model->hp.n_vocab, ids[2][6];
        qm_result r[2], again;
        float *alone[2], *l = malloc(n * sizeof *l);
        qm_err e;
        for (int k = 0; k < 2; k++) { /* each by itself */
            alone[k] = malloc(n * sizeof **alone);
            fix_prompt(g, ids[k], 6, 31 + (uint64_t)k);
            for (int i = 0; i < 6; i++) fix_ok(qm_session_eval(s[k], ids[k][i], &e), &e);
            fix_ok(qm_session_logits(s[k], alone[k], &e), &e);
            fix_ok(g->exec->result(g, s[k]->seq, 5, &r[k], &e), &e);
        }
        assert_memory_not_equal(alone[0], alone[1], n * sizeof *l);
        for (int k = 0; k < 2; k++) { /* the other has stepped since, or not */
            fix_ok(qm_session_logits(s[k], l, &e), &e);
            assert_memory_equal(l, alone[k], n * sizeof *l);
            fix_ok(qm_session_truncate(s[k], 0, &e), &e);
        }
        for (int i = 0; i < 6; i++) /* step by step in turn */
            for (int k = 0; k < 2; k++) fix_ok(qm_session_eval(s[k], ids[k][i], &e), &e);
        for (int k = 0; k < 2; k++) {
            fix_ok(qm_session_logits(s[k], l, &e), &e);
            assert_memory_equal(l, alone[k], n * sizeof *l);
            fix_ok(g->exec->result(g, s[k]->seq, 5, &again, &e), &e);
            assert_int_equal(again.token, r[k].token);
            assert_int_equal(again.flags, 0);
        }
        for (int k = 0; k < 2; k++) {
            free(alone[k]);
            qm_session_close(s[k]);
        }
        free(l);
        qm_engine_close(g);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_forward_shapes),       cmocka_unit_test(test_two_prompts_differ),
        cmocka_unit_test(test_arch_refused),         cmocka_unit_test(test_memory_refused),
        cmocka_unit_test(test_kv_cache_equivalence), cmocka_unit_test(test_pages_reused),
        cmocka_unit_test(test_determinism),          cmocka_unit_test(test_finish_reasons),
        cmocka_unit_test(test_turns_continue),       cmocka_unit_test(test_concurrent),
        cmocka_unit_test(test_times_apart),          cmocka_unit_test(test_two_sessions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
