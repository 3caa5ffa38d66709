/* unit_batch_model: many sequences at once, by executors that compute a model (unit_batch has the rules): random
 * schedules over pools of few pages, with prefixes in common, cancelled and paused, on the references and on the
 * software device, its work as late as it may be, with checks for races and for reads of what nobody wrote. Every
 * request has the tokens that it has alone; and logits behind a prefix that was found are, to the bit, those behind one
 * that was computed. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "../../runtime/base/rng.h"
#include "../../runtime/engine/batch.h"
#include "../../runtime/engine/inside.h"
#include "../../runtime/sim/sim.h"
#include "../support/fixture.h"

enum { P = QM_PAGE_TOKENS, N_CTX = 96, N_SEQS = 4, TEXTS = 3, MOST = 40, VOCAB = 512 };
static const uint32_t lengths[] = {20, 32, 33, 50, 64, 81};
enum { LENGTHS = sizeof lengths / sizeof *lengths };
static const qm_sampling drawn = {
    .temperature = 1, .top_p = 0.95, .top_k = 40, .repeat_penalty = 1.1f, .repeat_last_n = 16, .seed = 3};
static const qm_sampling greedy = {.top_p = 1, .repeat_penalty = 1};
static char path[256];
static qm_engine *g;
static uint32_t text[TEXTS][N_CTX];

static int write_model(void **state) {
    const char *dir = getenv("QMOE_TEST_TMP");
    qm_err e;
    const qm_synth_opts o = {.preset = "tiny",
                             .seed = 7,
                             .n_layers = 2,
                             .n_embd = 256,
                             .n_head = 2,
                             .n_kv_head = 1,
                             .head_dim = 128,
                             .n_expert = 4,
                             .n_expert_used = 2,
                             .n_ff_exp = 256,
                             .n_vocab = VOCAB,
                             .n_ctx = N_CTX};
    (void)state;
    snprintf(path, sizeof path, "%s/qmoe-%ld-batch.gguf", dir ? dir : "/tmp", (long)getpid());
    fix_ok(qm_synth(path, &o, &e), &e);
    return 0;
}

static int remove_model(void **state) {
    (void)state;
    return unlink(path);
}

static void sim(int lazy, uint64_t order, int checks) {
    qm_sim_options o;
    qm_sim_get_options(&o);
    o.lazy = lazy;
    o.order_seed = order;
    o.check_races = o.check_uninit = checks;
    qm_sim_set_options(&o);
}

static void open_engine(const char *executor, uint32_t n_ubatch) {
    qm_engine_opts o = {.device = "sim",
                        .executor = executor,
                        .n_ctx = N_CTX,
                        .n_parallel = N_SEQS,
                        .n_ubatch = n_ubatch,
                        .n_kv = N_SEQS * N_CTX};
    qm_err e;
    fix_ok(qm_engine_open(&g, path, &o, &e), &e);
    for (uint64_t k = 0; k < TEXTS; k++) {
        fix_prompt(g, text[k], N_CTX, 40 + k);
        if (k) memcpy(text[k], text[0], 40 * sizeof **text); /* they begin alike, and part within a page */
    }
}

/* ---- what a request has alone: by the references, and by the first executor on a device ---- */
typedef struct {
    uint32_t id[MOST], n;
} answer;
static answer alone[2][TEXTS][LENGTHS][2];

static int put(void *user, uint32_t id) {
    answer *a = user;
    assert_true(a->n < MOST);
    a->id[a->n++] = id;
    return 0;
}

static int on_token_alone(void *user, uint32_t id, const char *s, size_t n) {
    (void)s, (void)n;
    return id == UINT32_MAX ? 0 : put(user, id);
}

static uint32_t most(uint32_t l) { return N_CTX - lengths[l] < MOST ? N_CTX - lengths[l] : MOST; }

static const answer *answer_of(uint32_t k, uint32_t l, uint32_t draw) {
    answer *a = &alone[g->exec->on_device][k][l][draw];
    const qm_gen_opts o = {.max_tokens = most(l), .ignore_eos = 1, .on_token = on_token_alone, .user = a};
    qm_gen_stats st;
    qm_session *s;
    qm_err e;
    if (a->n) return a;
    fix_ok(qm_session_open(&s, g, &e), &e);
    fix_ok(qm_session_set_sampling(s, draw ? &drawn : &greedy, &e), &e);
    fix_ok(qm_generate(s, text[k], lengths[l], &o, &st, &e), &e);
    qm_session_close(s);
    return a;
}

/* ---- a schedule ---- */
enum { REQUESTS = 6 };
typedef struct {
    uint32_t k, l, draw, max;
    uint64_t ticket;
    answer got;
    int ended;
    qm_usage u;
} req;
static struct { uint32_t finished, cancelled, paused, found; } seen;

static void on_end(void *user, const qm_usage *u) {
    req *r = user;
    r->ended++;
    r->u = *u;
}

static int on_req_token(void *user, uint32_t id, const qm_logprobs *lp) {
    assert_null(lp);
    return put(&((req *)user)->got, id);
}

static void submit(qm_batch *b, req *r, qm_rng *rng) {
    qm_err e;
    *r = (req){.k = qm_rng_below(rng, TEXTS), .l = qm_rng_below(rng, LENGTHS), .draw = qm_rng_below(rng, 2)};
    r->max = qm_rng_below(rng, 3) ? 1 + qm_rng_below(rng, 6) : most(r->l);
    const qm_request q = {.ids = text[r->k],
                          .n = lengths[r->l],
                          .sampling = r->draw ? &drawn : NULL,
                          .max_tokens = r->max,
                          .ignore_eos = 1,
                          .on_token = on_req_token,
                          .on_end = on_end,
                          .user = r};
    fix_ok(qm_batch_submit(b, &q, &r->ticket, &e), &e);
}

static void schedule(uint64_t seed) {
    static req r[REQUESTS];
    static const uint32_t rows[] = {1, 2, 3, 8, 64};
    qm_rng rng = {seed};
    qm_batch *b;
    qm_err e;
    uint32_t n = 0;
    const uint32_t n_pages = g->kv.n_pages;
    qm_batch_opts o = {.n_seqs = 2 + qm_rng_below(&rng, N_SEQS - 1), .n_rows = rows[qm_rng_below(&rng, 5)]};
    qm_pages_close(&g->kv); /* of the pool's pages so many */
    fix_ok(qm_pages_open(&g->kv, N_CTX / P + qm_rng_below(&rng, 2), &e), &e);
    fix_ok(qm_batch_open(&b, g, &o, &e), &e);
    for (int more = 1; more || n < REQUESTS;) {
        const uint32_t what = qm_rng_below(&rng, 60);
        if (n < REQUESTS && what < 20) submit(b, &r[n++], &rng);
        else if (n && what == 20) qm_batch_cancel(b, r[qm_rng_below(&rng, n)].ticket);
        more = qm_batch_step(b, &e);
        if (more < 0) fail_msg("schedule %llu: %s", (unsigned long long)seed, e.msg);
    }
    qm_batch_close(b);
    assert_int_equal(g->kv.n_free, g->kv.n_pages);
    qm_pages_close(&g->kv);
    fix_ok(qm_pages_open(&g->kv, n_pages, &e), &e);
    for (uint32_t i = 0; i < n; i++) {
        const answer *want = answer_of(r[i].k, r[i].l, r[i].draw);
        assert_int_equal(r[i].ended, 1);
        if (memcmp(r[i].got.id, want->id, r[i].got.n * sizeof *want->id))
            fail_msg("schedule %llu: a request of %u tokens has others than alone", (unsigned long long)seed,
                     lengths[r[i].l]);
        if (r[i].u.finish != QM_FINISH_CANCELLED) {
            assert_int_equal(r[i].u.finish, QM_FINISH_LENGTH);
            assert_int_equal(r[i].got.n, r[i].max);
            seen.finished++;
        } else seen.cancelled++;
        seen.paused += r[i].u.n_paused;
        seen.found += r[i].u.n_cached;
    }
}

/* As many as QMOE_SCHEDULES says, or n. */
static uint64_t many(uint64_t n) {
    const char *more = getenv("QMOE_SCHEDULES");
    return more ? strtoull(more, NULL, 10) : n;
}

/* n of them, from `first` on. */
static void schedules(uint64_t first, uint64_t n) {
    const double start = qm_now();
    memset(&seen, 0, sizeof seen);
    for (uint64_t i = 0; i < n; i++) schedule(first + i);
    print_message("%llu schedules: %u finished, %u cancelled, %u pauses, %u positions found, %.1f s\n",
                  (unsigned long long)n, seen.finished, seen.cancelled, seen.paused, seen.found, qm_now() - start);
    assert_true(seen.finished > n && seen.found > 10 * n);
    if (n >= 25) assert_true(seen.cancelled > 0 && seen.paused > 0);
    qm_engine_close(g);
}

static void test_ref(void **state) {
    (void)state;
    open_engine("ref", 0);
    schedules(0, many(10));
}

static void test_graph(void **state) {
    (void)state;
    sim(0, 0, 0);
    open_engine("graph", 0);
    schedules(10000, many(8));
}

static void test_persistent(void **state) {
    (void)state;
    sim(0, 0, 0);
    open_engine("persistent", 0);
    schedules(20000, 4);
}

/* What is enqueued runs as late as it may, or in any order that its synchronisation allows. */
static void test_lazy(void **state) {
    (void)state;
    for (uint64_t order = 0; order < 3; order++) {
        sim(1, order, 0);
        open_engine("graph", 0);
        schedules(30000 + 100 * order, 3);
    }
    sim(0, 0, 0);
}

static void test_races_uninit(void **state) {
    (void)state;
    sim(0, 0, 1);
    open_engine("graph", 0);
    schedules(40000, 1);
    sim(0, 0, 0);
}

/* The logits behind a prefix that another sequence has computed, in chunks of another length, are the bits of one's
 * own. */
static void test_found_is_computed(void **state) {
    (void)state;
    static const char *const executors[] = {"ref", "graph", "persistent"};
    for (int x = 0; x < 3; x++) {
        qm_session *s;
        qm_batch *b;
        qm_err e;
        float want[VOCAB], got[VOCAB];
        uint32_t id;
        open_engine(executors[x], 0);
        fix_ok(qm_session_open(&s, g, &e), &e);
        fix_ok(qm_inside_append(s, text[0], 85, NULL, &id, &e), &e);
        fix_ok(qm_session_logits(s, want, &e), &e);
        fix_ok(qm_session_truncate(s, 0, &e), &e);
        fix_ok(qm_batch_open(&b, g, &(qm_batch_opts){.n_seqs = 2, .n_rows = 7}, &e), &e);
        const qm_request q = {.ids = text[0], .n = 70, .max_tokens = 1};
        fix_ok(qm_batch_submit(b, &q, NULL, &e), &e);
        while (qm_batch_step(b, &e) > 0) {}
        memcpy(s->ids, text[0], 85 * sizeof **text);
        s->n = 85;
        fix_ok(qm_session_adopt(s, &e), &e);
        assert_int_equal(s->n_cached, 64);
        fix_ok(qm_session_prefill(s, NULL, &e), &e);
        fix_ok(qm_session_logits(s, got, &e), &e);
        assert_memory_equal(got, want, sizeof got);
        qm_batch_close(b);
        fix_ok(qm_session_truncate(s, 0, &e), &e);
        assert_true(g->kv.n_kept > 0);
        fix_ok(qm_inside_fill(s, 40, 1, &e),
               &e); /* random keys and values all over the pool: nothing is known any more */
        assert_int_equal(g->kv.n_kept, 0);
        assert_int_equal(qm_pages_find(&g->kv, QM_NO_PAGE, text[0]), QM_NO_PAGE);
        qm_session_close(s);
        qm_engine_close(g);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_found_is_computed), cmocka_unit_test(test_ref),  cmocka_unit_test(test_graph),
        cmocka_unit_test(test_persistent),        cmocka_unit_test(test_lazy), cmocka_unit_test(test_races_uninit),
    };
    return cmocka_run_group_tests(tests, write_model, remove_model);
}
