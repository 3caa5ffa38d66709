/* unit_rows: a step is a list of rows of whatever sequences: how they are dealt to steps, that it changes nothing for any of
 * them, and what sequences share: the graphs, the room for so many of them, the pages of one pool. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "../../runtime/engine/schedule.h"
#include "../support/fixture.h"

enum { VOCAB = 512 };
static const char *const executors[] = {"graph", "persistent", "ref"};
enum { N_EXECUTORS = 3, REF = 2 };

static qm_engine *engine(const char *executor, uint32_t n_ctx, uint32_t n_parallel, uint32_t n_kv) {
    qm_engine *g;
    qm_err e;
    qm_engine_opts o = {.device = "sim", .executor = executor, .n_ctx = n_ctx, .n_parallel = n_parallel, .n_kv = n_kv};
    fix_ok(qm_engine_open(&g, fix_model("small"), &o, &e), &e);
    return g;
}

static qm_session *session(qm_engine *g) {
    qm_session *s;
    qm_err e;
    fix_ok(qm_session_open(&s, g, &e), &e);
    return s;
}

/* ---- dealing ---- */
enum { MANY = 6 };

/* One deal of these wants: every rule that schedule.h gives. */
static uint32_t check_deal(qm_want *w, uint32_t n, uint32_t max) {
    qm_row rows[QM_STEP_ROWS_MAX];
    uint32_t all = 0, at = 0, n_rows = qm_schedule(w, n, rows, max, max);
    for (uint32_t i = 0; i < n; i++) all += w[i].end - w[i].next;
    assert_int_equal(n_rows, all < max ? all : max); /* no row is left over where one is wanted */
    for (uint32_t i = 0, served = 0; i < n; i++) {
        if (w[i].next == w[i].end) assert_int_equal(w[i].n, 0);
        else if (served++ < max) assert_true(w[i].n >= 1); /* nobody waits for another's long prompt */
        for (uint32_t k = 0; k < w[i].n; k++, at++) {
            assert_ptr_equal(rows[at].seq, w[i].s->seq);
            assert_int_equal(rows[at].pos, w[i].next + k);
            assert_int_equal(rows[at].logits, w[i].logits && w[i].next + k + 1 == w[i].end);
        }
    }
    assert_int_equal(at, n_rows);
    return n_rows;
}

/* Wants of lengths from none to long, over steps of every size: dealt to the end, in the least number of steps. */
static void test_dealt(void **state) {
    (void)state;
    static const uint32_t lengths[][MANY] = {
        {1, 1, 1, 1, 1, 1}, {300, 1, 1, 0, 1, 2}, {0, 7, 0, 0, 513, 1}, {40, 40, 40, 40, 40, 40}, {5}, {0}};
    static const uint32_t sizes[] = {1, 2, 3, 4, 8, 64, 512};
    for (size_t l = 0; l < sizeof lengths / sizeof *lengths; l++)
        for (size_t m = 0; m < sizeof sizes / sizeof *sizes; m++) {
            qm_session s[MANY];
            qm_want w[MANY];
            uint32_t all = 0, done = 0, steps = 0;
            memset(s, 0, sizeof s);
            for (int i = 0; i < MANY; i++) {
                s[i].seq = (qm_seq *)(void *)&s[i]; /* never looked into */
                w[i] = (qm_want){&s[i], 10u * (uint32_t)i, 10u * (uint32_t)i + lengths[l][i], 1000, i != 2, 0};
                all += lengths[l][i];
            }
            for (uint32_t n; (n = check_deal(w, MANY, sizes[m])); steps++) {
                done += n;
                for (int i = 0; i < MANY; i++) w[i].next += w[i].n;
            }
            assert_int_equal(done, all);
            assert_int_equal(steps, (all + sizes[m] - 1) / sizes[m]);
        }
}

/* ---- steps of several rows ---- */

/* An executor whose steps have five rows: a device's, which takes them one by one. */
static const qm_executor *inner;
static uint32_t most_rows;
static int step_by_step(qm_engine *g, const qm_row *rows, uint32_t n, const qm_plan *p, qm_err *e) {
    int rc = 0;
    (void)p; /* each row by its own */
    if (n > most_rows) most_rows = n;
    for (uint32_t r = 0; r < n && !rc; r++) {
        const qm_plan *own;
        rc = qm_engine_step_plan(g, &rows[r], 1, &own, e);
        if (!rc) rc = inner->step(g, &rows[r], 1, own, e);
    }
    return rc;
}

enum { N = 3 };
static const uint32_t lengths[N] = {38, 1, 9};

/* Of each sequence the logits behind its prompt, and the token that they choose. */
typedef struct {
    float logits[VOCAB];
    uint32_t id;
} answer;

static void hand_over(qm_engine *g, qm_session *s, int k, qm_want *w) {
    qm_err e;
    fix_prompt(g, s->ids, lengths[k], 31 + (uint64_t)k);
    s->n = lengths[k];
    fix_ok(g->exec->put_tokens(g, s->seq, 0, s->ids, s->n, &e), &e);
    *w = (qm_want){s, 0, s->n, s->n, 1, 0};
}

static void take(qm_session *s, answer *a) {
    qm_err e;
    fix_ok(qm_session_result(s, s->n - 1, &a->id, &e), &e);
    fix_ok(qm_session_logits(s, a->logits, &e), &e);
}

/* Three prompts, dealt together to steps, end as each does alone: to the bit on a device. */
static void test_prompts_together(void **state) {
    (void)state;
    for (int x = 0; x < N_EXECUTORS; x++)
        for (int wide = 0; wide < (x == REF ? 1 : 2); wide++) {
            qm_engine *g = engine(executors[x], 128, 4, 0);
            qm_executor five = *g->exec;
            qm_session *s[N], *one;
            qm_want w[N];
            answer alone[N], together[N];
            qm_err e;
            for (int k = 0; k < N; k++) {
                one = session(g);
                hand_over(g, one, k, w);
                while (w->next < w->end) fix_ok(qm_schedule_step(g, w, 1, &e), &e);
                take(one, &alone[k]);
                qm_session_close(one);
            }
            inner = g->exec;
            most_rows = 0;
            five.max_rows = 5;
            five.step = step_by_step;
            if (wide) g->exec = &five;
            for (int k = 0; k < N; k++) hand_over(g, s[k] = session(g), k, &w[k]);
            for (uint32_t left = 1; left;) {
                fix_ok(qm_schedule_step(g, w, N, &e), &e);
                left = 0;
                for (int k = 0; k < N; k++) left += w[k].end - w[k].next;
            }
            assert_int_equal(most_rows, wide ? 5 : 0);
            for (int k = 0; k < N; k++) {
                take(s[k], &together[k]);
                assert_int_equal(together[k].id, alone[k].id);
                assert_memory_equal(together[k].logits, alone[k].logits, sizeof alone[k].logits);
            }
            /* and on: each its own token */
            for (int k = 0; k < N; k++) {
                s[k]->n_cached = s[k]->n;
                fix_ok(qm_session_eval(s[k], together[k].id, &e), &e);
            }
            g->exec = inner;
            for (int k = 0; k < N; k++) qm_session_close(s[k]);
            assert_int_equal(g->kv.n_free, g->kv.n_pages);
            qm_engine_close(g);
        }
}

/* ---- what sequences share ---- */

/* As many as were asked for, and then an error with the number; a place that is free again is as new. */
static void test_so_many_sequences(void **state) {
    (void)state;
    for (int x = 0; x < N_EXECUTORS; x++) {
        qm_engine *g = engine(executors[x], 64, 2, 0);
        qm_session *a = session(g), *b = session(g), *c;
        qm_sampling how;
        qm_err e;
        uint32_t id, again;
        float first[VOCAB], l[VOCAB];
        assert_int_equal(g->info.n_parallel, 2);
        assert_int_equal(g->info.n_kv, 128); /* a context for each */
        assert_int_equal(qm_session_open(&c, g, &e), QM_ERR_LIMIT);
        assert_null(c);
        assert_non_null(strstr(e.msg, "all 2 sequences"));
        fix_ok(qm_session_eval(a, 65, &e), &e);
        fix_ok(qm_session_result(a, 0, &id, &e), &e);
        fix_ok(qm_session_logits(a, first, &e), &e);
        qm_engine_sampling(g, &how);
        how.seed = 3;
        how.temperature = 100;
        fix_ok(qm_session_set_sampling(b, &how, &e), &e);
        fix_ok(qm_session_eval(b, 77, &e), &e);
        qm_session_close(b);
        c = session(g); /* in b's place, and greedy */
        fix_ok(qm_session_eval(c, 65, &e), &e);
        fix_ok(qm_session_result(c, 0, &again, &e), &e);
        assert_int_equal(again, id);
        fix_ok(qm_session_logits(c, l, &e), &e);
        assert_memory_equal(l, first, sizeof l);
        fix_ok(qm_session_logits(a, l, &e), &e);
        assert_memory_equal(l, first, sizeof l);
        qm_session_close(c);
        qm_session_close(a);
        qm_engine_close(g);
    }
}

/* Two that take turns: where one goes on, the other has just been at the position before. */
static void test_turn_about(void **state) {
    (void)state;
    for (int x = 0; x < N_EXECUTORS; x++) {
        qm_engine *g = engine(executors[x], 64, 2, 0);
        qm_session *a = session(g), *b;
        qm_err e;
        float alone[VOCAB], l[VOCAB];
        fix_ok(qm_session_eval(a, 65, &e), &e);
        fix_ok(qm_session_eval(a, 70, &e), &e);
        fix_ok(qm_session_logits(a, alone, &e), &e);
        qm_session_close(a);
        a = session(g), b = session(g);
        fix_ok(qm_session_eval(a, 65, &e), &e);
        fix_ok(qm_session_eval(b, 77, &e), &e);
        fix_ok(qm_session_eval(a, 70, &e), &e);
        fix_ok(qm_session_logits(a, l, &e), &e);
        assert_memory_equal(l, alone, sizeof l);
        qm_session_close(b);
        qm_session_close(a);
        qm_engine_close(g);
    }
}

typedef struct {
    const qm_engine *g;
    uint32_t least, left; /* free pages; tokens until it is enough */
} watcher;

static int look_at_pool(void *user, uint32_t id, const char *s, size_t n) {
    watcher *w = user;
    (void)id, (void)s, (void)n;
    if (w->g->kv.n_free < w->least) w->least = w->g->kv.n_free;
    return --w->left == 0;
}

/* A generation without an end takes what it needs and some pages more, not all there are. */
static void test_room_for_others(void **state) {
    (void)state;
    enum { PROMPT = 30 };
    qm_engine *g = engine("graph", 512, 2, 512);
    qm_session *s = session(g);
    uint32_t ids[PROMPT];
    watcher w = {g, UINT32_MAX, 10};
    qm_gen_opts o = {.ignore_eos = 1, .on_token = look_at_pool, .user = &w};
    qm_gen_stats st;
    qm_err e;
    fix_prompt(g, ids, PROMPT, 5);
    fix_ok(qm_generate(s, ids, PROMPT, &o, &st, &e), &e);
    assert_int_equal(st.n_generated, 10); /* over the border of the prompt's page */
    assert_int_equal(w.least, g->kv.n_pages - 1 - QM_GROW_PAGES);
    assert_int_equal(g->kv.n_free, g->kv.n_pages - 2); /* and gives back what it did not */
    qm_session_close(s);
    qm_engine_close(g);
}

/* Two sequences on a pool that is too small for both. Who finds it empty is told so, with the numbers, and loses nothing; the
 * other goes on; when that is gone the first goes on too, and nobody can tell that it was interrupted. */
static void test_pool_exhausted(void **state) {
    (void)state;
    enum { PROMPT = 20, BIG = 70, POOL = 128, LEFT = 32, END = 60 }; /* LEFT: positions that the other leaves */
    qm_engine *g = engine("graph", POOL, 2, POOL);
    qm_session *a = session(g), *b = session(g);
    uint32_t ids[BIG], whole[POOL], n;
    float want[VOCAB], got[VOCAB];
    qm_gen_stats st;
    qm_err e;
    qm_gen_opts endless = {.ignore_eos = 1}, few = {.ignore_eos = 1, .max_tokens = 20};
    assert_int_equal(g->kv.n_pages, POOL / QM_PAGE_TOKENS);
    fix_prompt(g, ids, BIG, 6);
    /* undisturbed: to the end of the context */
    fix_ok(qm_generate(b, ids, PROMPT, &endless, &st, &e), &e);
    assert_int_equal(st.finish, QM_FINISH_CONTEXT);
    memcpy(whole, b->ids, sizeof whole);
    fix_ok(qm_session_truncate(b, 0, &e), &e);
    assert_int_equal(g->kv.n_free, g->kv.n_pages);

    fix_ok(qm_generate(a, ids, BIG, &few, &st, &e), &e);
    assert_int_equal(a->n_pages, 3);
    assert_int_equal(qm_generate(b, ids, PROMPT, &endless, &st, &e), QM_ERR_LIMIT);
    assert_non_null(strstr(e.msg, "holds 1, but only 0 of 4 are free"));
    n = qm_session_length(b);
    assert_in_range(n, LEFT - QM_RUN_AHEAD, LEFT + 1);
    assert_memory_equal(b->ids, whole, 4 * n);
    assert_int_equal(qm_generate(b, ids, PROMPT, &few, &st, &e), QM_ERR_LIMIT); /* before any work */
    assert_int_equal(qm_session_length(b), n);
    fix_ok(qm_session_truncate(b, LEFT - 1, &e), &e);
    fix_ok(qm_session_eval(b, whole[LEFT - 1], &e), &e);
    assert_int_equal(qm_session_eval(b, whole[LEFT], &e), QM_ERR_LIMIT);
    assert_int_equal(qm_session_length(b), LEFT);
    fix_ok(qm_session_eval(a, 65, &e), &e); /* within its own pages */
    fix_ok(qm_session_truncate(a, 40, &e), &e);
    fix_ok(qm_session_eval(a, 66, &e), &e);
    assert_int_equal(a->n_pages, 2);

    for (uint32_t i = LEFT; i < END; i++) fix_ok(qm_session_eval(b, whole[i], &e), &e);
    fix_ok(qm_session_logits(b, got, &e), &e);
    qm_session_close(a);
    qm_session *c = session(g);
    for (uint32_t i = 0; i < END; i++) fix_ok(qm_session_eval(c, whole[i], &e), &e);
    fix_ok(qm_session_logits(c, want, &e), &e);
    assert_memory_equal(got, want, sizeof got);
    qm_session_close(b);
    qm_session_close(c);
    assert_int_equal(g->kv.n_free, g->kv.n_pages); /* nothing leaked */
    qm_engine_close(g);
}

/* The rules of n_parallel and n_kv, and what they refuse. */
static void test_pool_sizes(void **state) {
    (void)state;
    static const struct {
        uint32_t n_ctx, n_parallel, n_kv, pages;
    } c[] = {{64, 0, 0, 2}, {64, 3, 0, 6}, {64, 3, 100, 4}, {64, 1, 512, 16}, {0, 2, 96, 3}};
    qm_engine *g;
    qm_err e;
    for (size_t i = 0; i < sizeof c / sizeof *c; i++) {
        g = engine("graph", c[i].n_ctx, c[i].n_parallel, c[i].n_kv);
        assert_int_equal(g->kv.n_pages, c[i].pages);
        assert_int_equal(g->limits.n_ctx, c[i].n_ctx ? c[i].n_ctx : 96);
        assert_int_equal(g->memory.kv, (uint64_t)c[i].pages * QM_PAGE_TOKENS * 4 * 2 * 2 * 128 * 2);
        qm_engine_close(g);
    }
    uint64_t one, three;
    g = engine("graph", 64, 1, 64);
    one = g->memory.sequence;
    qm_engine_close(g);
    g = engine("graph", 64, 3, 64);
    three = g->memory.sequence;
    qm_engine_close(g);
    assert_int_equal(three, 3 * one);
    qm_engine_opts o = {.device = "sim", .n_ctx = 128, .n_kv = 64};
    assert_int_equal(qm_engine_open(&g, fix_model("small"), &o, &e), QM_ERR_LIMIT);
    assert_non_null(strstr(e.msg, "128 positions, the KV cache (n_kv) has 64"));
    o = (qm_engine_opts){.device = "sim", .n_parallel = 5000};
    assert_int_equal(qm_engine_open(&g, fix_model("small"), &o, &e), QM_ERR_LIMIT);
    assert_non_null(strstr(e.msg, "n_parallel"));
}

/* A list of one line each: whoever is in it can be asked for, and the message names them all. */
static void test_executors(void **state) {
    (void)state;
    qm_err e;
    assert_ptr_equal(qm_executor_find(NULL, &e), &qm_executor_graph);
    for (int x = 0; x < N_EXECUTORS; x++) {
        const qm_executor *f = qm_executor_find(executors[x], &e);
        assert_non_null(f);
        assert_string_equal(f->name, executors[x]);
        assert_true(f->max_rows >= 1 && f->max_rows <= QM_STEP_ROWS_MAX);
    }
    assert_null(qm_executor_find("grap", &e));
    assert_non_null(strstr(e.msg, "auto, graph, persistent, ref"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_dealt),
        cmocka_unit_test(test_prompts_together),
        cmocka_unit_test(test_so_many_sequences),
        cmocka_unit_test(test_turn_about),
        cmocka_unit_test(test_room_for_others),
        cmocka_unit_test(test_pool_exhausted),
        cmocka_unit_test(test_pool_sizes),
        cmocka_unit_test(test_executors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
