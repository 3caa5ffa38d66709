/* unit_batch_limits: requests that limit their tokens by a mask, and such that are told logprobs, among others in one
 * batch, by executors that compute a model. Each token is the one that the model's logits, the seed and the mask say, by
 * sampling's reference; logprobs are those of a softmax in double over the same logits; and who asks for neither has the
 * tokens that it has where nobody does. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "../../runtime/engine/batch.h"
#include "../../runtime/sim/sim.h"
#include "../support/fixture.h"
#include "../support/oracle.h"

enum { N_CTX = 96, REQUESTS = 6, PROMPT = 9, MOST = 14, VOCAB = 527 /* ends within a word */ };
static char path[256];

typedef struct {
    qm_sampling how;
    int every;    /* of so many tokens one may come; 0: no mask */
    int logprobs; /* asked for with so many alternatives; -1: not */
    uint32_t ids[PROMPT + MOST], n_got, words[QM_MASK_WORDS(VOCAB)];
    qm_logprobs lp[MOST];
    qm_usage u;
} req;
static const req cases[REQUESTS] = {
    {.how = ORA_HOW(0, 40, 0.95, 0.05, 1, 64, 1), .logprobs = -1},
    {.how = ORA_HOW(1.5f, 40, 0.95, 0.05, 1.1f, 8, 2), .logprobs = -1},
    {.how = ORA_HOW(1.5f, 0, 1, 0, 1, 0, 3), .every = 50, .logprobs = -1},
    {.how = ORA_HOW(0, 40, 0.95, 0.05, 1.3f, 64, 4), .every = 7, .logprobs = 5},
    {.how = ORA_HOW(1.5f, 40, 0.95, 0.05, 1, 0, 5), .logprobs = QM_TOP_LOGPROBS},
    {.how = ORA_HOW(1.5f, 40, 0.9, 0.01, 1.2f, -1, 6), .every = 3, .logprobs = 0},
};

/* Before the token at pos; behind the vocabulary are bits of nobody. Every sixth is not limited. */
static const uint32_t *mask_at(const req *r, uint32_t before, uint32_t pos, uint32_t *words) {
    if (!r->every || pos % 6 == 5) return NULL;
    memset(words, 0, sizeof r->words);
    for (uint32_t i = (before + pos) % (uint32_t)r->every; i < VOCAB; i += (uint32_t)r->every)
        words[i / 32] |= 1u << i % 32;
    words[VOCAB / 32] |= ~0u << VOCAB % 32;
    return words;
}

static const uint32_t *mask(void *user) {
    req *r = user;
    const uint32_t pos = PROMPT + r->n_got;
    return mask_at(r, r->ids[pos - 1], pos, r->words);
}

static int on_token(void *user, uint32_t id, const qm_logprobs *lp) {
    req *r = user;
    assert_true(r->n_got < MOST);
    assert_int_equal(lp != NULL, r->logprobs >= 0);
    if (lp) r->lp[r->n_got] = *lp;
    r->ids[PROMPT + r->n_got++] = id;
    return 0;
}

static void on_end(void *user, const qm_usage *u) { ((req *)user)->u = *u; }

/* All cases at once; plain: those alone that ask for nothing. */
static void run(qm_engine *g, req *r, int plain) {
    qm_batch *b;
    qm_err e;
    fix_ok(qm_batch_open(&b, g, NULL, &e), &e);
    for (uint64_t i = 0; i < REQUESTS; i++) {
        r[i] = cases[i];
        fix_prompt(g, r[i].ids, PROMPT, 60 + i);
        if (plain && (r[i].every || r[i].logprobs >= 0)) continue;
        const qm_request q = {.ids = r[i].ids,
                              .n = PROMPT,
                              .sampling = &r[i].how,
                              .max_tokens = MOST,
                              .ignore_eos = 1,
                              .logprobs = r[i].logprobs >= 0,
                              .n_logprobs = r[i].logprobs > 0 ? (uint32_t)r[i].logprobs : 0,
                              .mask = r[i].every ? mask : NULL,
                              .on_token = on_token,
                              .on_end = on_end,
                              .user = &r[i]};
        fix_ok(qm_batch_submit(b, &q, NULL, &e), &e);
    }
    for (int more = 1; more;) {
        more = qm_batch_step(b, &e);
        if (more < 0) fail_msg("%s", e.msg);
    }
    qm_batch_close(b);
}

static void check_token(const req *r, const float *l, uint32_t pos) {
    static uint32_t keys[VOCAB], words[QM_MASK_WORDS(VOCAB)];
    static uint64_t items[VOCAB];
    qm_sample_words w;
    qm_err e;
    const uint32_t *m = mask_at(r, r->ids[pos - 1], pos, words), id = r->ids[pos];
    fix_ok(qm_sampling_words(&w, &r->how, VOCAB, &e), &e);
    qm_sample_keys(keys, l, VOCAB, &w.p, w.bias, r->ids, pos - 1);
    if (m) qm_sample_mask(keys, VOCAB, m);
    qm_sample_order(items, keys, VOCAB);
    uint32_t want = ~(uint32_t)items[0];
    if (w.p.mode) /* top_k as it was asked for */
        want = qm_sample_pick(items, qm_sample_keep(items, VOCAB, &w.p), &w.p, qm_sample_bits(r->how.seed, pos, 0));
    assert_int_equal(id, want);
    if (m) assert_true(id < VOCAB && m[id / 32] >> id % 32 & 1);
}

static void check_logprobs(const req *r, const float *l, uint32_t pos) {
    static uint64_t items[VOCAB];
    const qm_logprobs *lp = &r->lp[pos - PROMPT];
    double sum = 0, first = -INFINITY;
    for (uint32_t i = 0; i < VOCAB; i++) first = fmax(first, l[i]);
    for (uint32_t i = 0; i < VOCAB; i++) {
        sum += exp(l[i] - first);
        items[i] = qm_sample_item(qm_order_key(l[i]), i);
    }
    assert_int_equal(lp->n, r->logprobs);
    assert_true(fabs(lp->logprob - (l[r->ids[pos]] - first - log(sum))) < 1e-4);
    for (uint32_t k = 0; k < lp->n; k++) {
        uint32_t best = 0;
        for (uint32_t i = 1; i < VOCAB; i++)
            if (items[i] > items[best]) best = i;
        items[best] = 0;
        assert_int_equal(lp->top[k].id, best);
        assert_true(fabs(lp->top[k].logprob - (l[best] - first - log(sum))) < 1e-4);
    }
}

static void check(qm_engine *g, const req *r) {
    static float l[VOCAB];
    qm_session *s;
    qm_err e;
    assert_int_equal(r->u.finish, QM_FINISH_LENGTH);
    assert_int_equal(r->n_got, MOST);
    fix_ok(qm_session_open(&s, g, &e), &e);
    for (uint32_t pos = 1; pos < PROMPT + MOST; pos++) {
        fix_ok(qm_session_eval(s, r->ids[pos - 1], &e), &e);
        if (pos < PROMPT) continue;
        fix_ok(qm_session_logits(s, l, &e), &e);
        check_token(r, l, pos);
        if (r->logprobs >= 0) check_logprobs(r, l, pos);
    }
    qm_session_close(s);
}

static void on_executor(const char *executor) {
    qm_engine_opts o = {.device = "sim",
                        .executor = executor,
                        .n_ctx = N_CTX,
                        .n_parallel = REQUESTS,
                        .n_ubatch = 8,
                        .n_kv = REQUESTS * N_CTX};
    static req r[REQUESTS], plain[REQUESTS];
    qm_engine *g;
    qm_err e;
    fix_ok(qm_engine_open(&g, path, &o, &e), &e);
    run(g, plain, 1);
    run(g, r, 0);
    for (int i = 0; i < REQUESTS; i++) {
        check(g, &r[i]);
        if (plain[i].n_got) assert_memory_equal(r[i].ids, plain[i].ids, sizeof r[i].ids);
    }
    assert_true(plain[0].n_got && plain[1].n_got);
    qm_engine_close(g);
}

static void sim(int lazy, uint64_t order, int checks) {
    qm_sim_options o;
    qm_sim_get_options(&o);
    o.lazy = lazy;
    o.order_seed = order;
    o.check_races = o.check_uninit = checks;
    qm_sim_set_options(&o);
}

static void test_ref(void **state) {
    (void)state;
    on_executor("ref");
}
static void test_graph(void **state) {
    (void)state;
    sim(0, 0, 0);
    on_executor("graph");
}
static void test_persistent(void **state) {
    (void)state;
    sim(0, 0, 0);
    on_executor("persistent");
}
/* Masks come neither too early nor too late where all that is enqueued runs as late as it may. */
static void test_lazy(void **state) {
    (void)state;
    for (uint64_t order = 0; order < 2; order++) {
        sim(1, order, 0);
        on_executor("graph");
    }
    sim(0, 0, 0);
}
static void test_races_uninit(void **state) {
    (void)state;
    sim(0, 0, 1);
    on_executor("graph");
    sim(0, 0, 0);
}

static int write_model(void **state) {
    const char *dir = getenv("QMOE_TEST_TMP");
    const qm_synth_opts o = {.preset = "tiny",
                             .seed = 8,
                             .n_layers = 1,
                             .n_embd = 256,
                             .n_head = 2,
                             .n_kv_head = 1,
                             .head_dim = 128,
                             .n_expert = 4,
                             .n_expert_used = 2,
                             .n_ff_exp = 256,
                             .n_vocab = VOCAB,
                             .n_ctx = N_CTX};
    qm_err e;
    (void)state;
    snprintf(path, sizeof path, "%s/qmoe-%ld-limits.gguf", dir ? dir : "/tmp", (long)getpid());
    fix_ok(qm_synth(path, &o, &e), &e);
    return 0;
}
static int remove_model(void **state) {
    (void)state;
    return unlink(path);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ref),  cmocka_unit_test(test_graph),        cmocka_unit_test(test_persistent),
        cmocka_unit_test(test_lazy), cmocka_unit_test(test_races_uninit),
    };
    return cmocka_run_group_tests(tests, write_model, remove_model);
}
